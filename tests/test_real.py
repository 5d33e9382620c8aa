"""Real data: the shipped workflows agree with CDO, xarray and exact sums, and read as expected.

Where the data or a program are absent the tests are skipped, or fail if the environment variable
CLIMDASK_REQUIRE_DATA is 1.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr

import climdask
from climdask.running.results import RunResult
from tests.archives import ARCHIVES, CANESM2, EC_EARTH, OISST, REAL, Archive
from tests.readback import contents, leftovers
from tests.tools import call, cdo, lacking

ROOT = Path(__file__).parents[1]

# Rounding to float32 is off by half a unit in the last place; sums of 30 in float64 add some
# 30 * 2^-53 of the mean, which is 2^-24 of that unit.
HALF_ULP = 0.5 + 1e-6


of_each_archive = pytest.mark.parametrize("archive", ARCHIVES, ids=lambda a: a.workflow[:-5])
of_each_variable = pytest.mark.parametrize(
    ("archive", "variable"),
    [(a, v) for a in ARCHIVES for v in a.variables],
    ids=lambda value: value if isinstance(value, str) else value.workflow[:-5],
)


# Where two runs start at once, both may find port 8787 free; Dask then leaves a socket behind.
WARNINGS = ("-W", "error", "-W", "ignore:unclosed <socket:ResourceWarning")


def climdask_cli(state: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Call climdask as users do, away from the checkout and from the user's locks."""
    more = {"XDG_STATE_HOME": str(state), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *WARNINGS, "-m", "climdask.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=state,
        env={**os.environ, **more},
    )


def read(path: Path, variable: str) -> np.ndarray:
    """Read [day, lat, lon], NaN where missing, latitudes and longitudes ascending."""
    with xr.open_dataset(path, decode_times=False) as dataset:
        return field_of(dataset, variable).values


def field_of(dataset: xr.Dataset, variable: str) -> xr.DataArray:
    field = dataset[variable].squeeze(set(dataset[variable].dims) - {"time", "lat", "lon"})
    return field.transpose("time", "lat", "lon").sortby(["lat", "lon"]).load()


def assert_rounded_once(normal: np.ndarray, mean: np.ndarray) -> None:
    """Check that a normal is a mean in float64 rounded to float32, and missing where that is."""
    assert normal.dtype == np.float32
    assert mean.dtype == np.float64
    assert normal.shape == mean.shape
    np.testing.assert_array_equal(np.isnan(normal), np.isnan(mean))
    there = ~np.isnan(normal)
    ulps = np.abs(normal[there] - mean[there]) / np.spacing(normal[there])
    assert there.any()
    assert ulps.max() <= HALF_ULP


# ---------------------------------------------------------------- the three runs


@pytest.fixture(scope="module", autouse=True)
def _real_data() -> None:
    if not REAL.is_dir():
        lacking(f"real data are not at {REAL}", "DATA")


@dataclass(frozen=True)
class Finished:
    """The end of a run of a shipped workflow."""

    archive: Archive
    state: Path
    process: subprocess.CompletedProcess[str]

    @property
    def out(self) -> Path:
        return self.state / "out"

    @property
    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / ".climdask/manifest.json").read_text())
        return found

    def normal(self, variable: str, region: str, target: int) -> Path:
        return self.out / self.archive.normal(variable, region, target)


Finish = Callable[[Archive], Finished]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finish:
    """Run a shipped workflow whole, once: the command line with a local cluster."""

    @cache
    def of(archive: Archive) -> Finished:
        state = tmp_path_factory.mktemp(archive.workflow[:-5])
        data = REAL / archive.folder
        workflow = ROOT / "workflows" / archive.workflow
        process = climdask_cli(state, "run", workflow, "--input-root", data, "--out", state / "out")
        return Finished(archive, state, process)

    return of


@of_each_archive
@pytest.mark.slow
def test_a_shipped_workflow_makes_every_normal_and_nothing_else(finished, archive):
    run = finished(archive)
    assert run.process.returncode == 0, run.process.stderr
    assert run.process.stderr == ""
    expected = {
        archive.normal(variable, region, target)
        for variable in archive.variables
        for region in archive.regions
        for target in archive.targets
    }
    made = {str(p.relative_to(run.out)) for p in run.out.rglob("*") if p.is_file()}
    assert {path for path in made if not path.startswith(".climdask/")} == expected
    assert f"{len(expected)} of {len(expected)} normals are in {run.out}" in run.process.stdout
    assert leftovers(run.out) == []
    assert not list((run.out / ".climdask/checkpoints").glob("*"))


@of_each_archive
@pytest.mark.slow
def test_the_audit_proves_that_every_file_was_opened_once(finished, archive):
    run = finished(archive)
    files = sum(len(archive.sources(v, archive.years)) for v in archive.variables)
    assert f"audit: {files} opens of {files} files by " in run.process.stdout
    expected = {"opens": files, "files": files, "probes": len(archive.variables)}
    expected |= {"overlaps": 0, "unproven": 0, "skipped": []}
    found = run.manifest["audit"]
    assert {key: found[key] for key in expected} == expected
    again = climdask_cli(run.state, "audit", run.out)
    assert (again.returncode, again.stderr) == (0, "")
    assert "at most 1 of one file" in again.stdout
    assert "0 overlaps, 0 unproven: no file was ever open twice at once" in again.stdout


@of_each_archive
def test_the_manifest_names_every_input_and_what_was_done(finished, archive):
    manifest = finished(archive).manifest
    n_normals = len(archive.variables) * len(archive.regions) * len(archive.targets)
    assert manifest["state"] == "done"
    assert manifest["counts"]["normals"] == manifest["counts"]["normals_to_make"] == n_normals
    assert manifest["counts"]["opens_expected"] == manifest["counts"]["files_expected"]
    assert set(manifest["chains"]) == {f"{archive.series}/{v}" for v in archive.variables}
    for variable in archive.variables:
        sources = archive.sources(variable, archive.years)
        chain = manifest["chains"][f"{archive.series}/{variable}"]
        assert chain["state"] == "done"
        assert chain["files_read"] == len(sources)
        assert chain["target_years_written"] == len(archive.targets)
        assert chain["repeated_tasks"] == 0
        inputs = {
            path: size for path, size, _ in manifest["inputs"][f"{archive.series}/{variable}"]
        }
        root = REAL / archive.folder
        assert inputs == {p.relative_to(root).as_posix(): p.stat().st_size for p in sources}


@of_each_archive
def test_only_an_incomplete_year_is_worth_a_note(finished, archive):
    run = finished(archive)
    note = (
        "EC-EARTH/r1i1p1/gn/tas: incomplete year, by its name: "
        "tas_day_EC-EARTH_historical_r1i1p1_20000101-20091130.nc"
    )
    expected = [note] if archive is EC_EARTH else []
    assert run.manifest["notes"] == expected
    told = [line for line in run.process.stdout.splitlines() if line.startswith("note: ")]
    assert told[: len(expected)] == [f"note: {text}" for text in expected]
    # EC-EARTH's files are NetCDF-3, which is told too, once for all of them.
    slow = "note: 16 files were read through the netCDF library, which is slower: NETCDF3 format ("
    assert [line.startswith(slow) for line in told[len(expected) :]] == [True] * len(expected)


@of_each_variable
def test_a_normal_names_its_years_and_files(finished, archive, variable):
    run = finished(archive)
    for target in (archive.targets[0], archive.targets[-1]):
        years = range(target - 29, target + 1)
        files = [archive.file(variable, year) for year in years]
        with netCDF4.Dataset(run.normal(variable, "global", target)) as dataset:
            assert list(dataset.source_years) == list(years)
            assert dataset.source_files.split(", ") == list(dict.fromkeys(files))
            time, bounds = dataset["time"], dataset["climatology_bnds"]
            dates = netCDF4.num2date(bounds[0], time.units, time.calendar)
            assert [d.isoformat() for d in dates] == [
                f"{target - 29}-01-01T00:00:00",
                f"{target}-01-02T00:00:00",
            ]


# ---------------------------------------------------------------- agreement with CDO


def cdo_means(archive: Archive, variable: str, target: int, path: Path, *first: str) -> np.ndarray:
    """Let CDO make the day means of the window from its files, in float64."""
    years = range(target - 29, target + 1)
    steps = ["-ydaymean", *(["-del29feb"] if archive.leap_day == "drop" else []), *first]
    select = f"-selyear,{years[0]}/{years[-1]}"
    cdo("-b", "F64", *steps, select, "-mergetime", *archive.sources(variable, years), path)
    return read(path, variable)


@pytest.mark.parametrize(
    ("archive", "target"),
    [
        (CANESM2, 1979),  # the first
        (CANESM2, 2005),  # the last of historical years only
        (CANESM2, 2006),  # the first hybrid
        (CANESM2, 2020),
        (CANESM2, 2036),  # the first of scenario years only
        (CANESM2, 2100),
        (OISST, 2011),  # seven leap days
        (OISST, 2012),  # eight
        (OISST, 2016),
        (EC_EARTH, 1880),
        (EC_EARTH, 1900),
        (EC_EARTH, 1999),
        (EC_EARTH, 2009),  # December of 29 years
    ],
    ids=lambda value: str(value) if isinstance(value, int) else value.workflow[:-5],
)
@pytest.mark.slow
def test_normals_are_those_of_cdo_rounded_to_float32(finished, tmp_path, archive, target):
    run = finished(archive)
    for variable in archive.variables:
        theirs = cdo_means(archive, variable, target, tmp_path / f"{variable}.nc")
        assert_rounded_once(read(run.normal(variable, "global", target), variable), theirs)


@pytest.mark.slow
def test_a_region_is_what_cdo_cuts_out(finished, tmp_path):
    box = "-sellonlatbox,147,149,-44,-40"
    theirs = cdo_means(OISST, "sst", 2014, tmp_path / "cut.nc", box)
    assert theirs.shape == (366, 16, 8)
    assert_rounded_once(read(finished(OISST).normal("sst", "tasmania", 2014), "sst"), theirs)


@pytest.mark.slow
def test_a_day_with_too_few_years_is_missing_where_cdo_has_a_mean(tmp_path, out):
    """CDO takes the mean of whatever is there; December 2009 is not."""
    result = climdask.run(
        {
            "input": {"root": str(REAL / EC_EARTH.folder), "pattern": "cmip5"},
            "variables": ["tas"],
            "regions": ["global"],
            "targets": [2009],
            "min_years": 30,
            "output": {"root": str(out)},
        },
        serial=True,
    )
    assert result.ok, result.failures
    ours = read(out / EC_EARTH.normal("tas", "global", 2009), "tas")
    theirs = cdo_means(EC_EARTH, "tas", 2009, tmp_path / "cdo.nc")
    december = slice(334, 365)
    assert not np.isnan(theirs).any()
    assert np.isnan(ours[december]).all()
    assert_rounded_once(ours[:334], theirs[:334])


# ---------------------------------------------------------------- agreement with exact sums


@cache
def record(archive: Archive, variable: str) -> np.ndarray:
    """Read a whole record with xarray: float32 [year, day, lat, lon], days by month and day."""
    places = np.full((13, 32), -1)
    for place, month_and_day in enumerate(archive.days):
        places[month_and_day] = place
    values = None
    for path in archive.sources(variable, archive.years):
        with xr.open_dataset(path) as dataset:
            field = field_of(dataset, variable)
        time = field["time"].dt
        year, day = time.year.values - archive.years[0], places[time.month, time.day]
        if values is None:
            shape = (len(archive.years), len(archive.days), *field.shape[1:])
            values = np.full(shape, np.nan, dtype=field.dtype)
        values[year[day >= 0], day[day >= 0]] = field.values[day >= 0]
    assert values is not None
    assert values.dtype == np.float32
    return values


def window_of(archive: Archive, variable: str, target: int) -> np.ndarray:
    last = target - archive.years[0]
    return record(archive, variable)[last - 29 : last + 1]


def exact_day_means(window: np.ndarray) -> np.ndarray:
    """Return float64 [day, lat, lon]: exact sums of what is there, each divided by its number."""
    count = (~np.isnan(window)).sum(axis=0)
    sums = [
        [math.fsum(values) for values in day.reshape(len(window), -1).T.tolist()]
        for day in np.moveaxis(np.nan_to_num(window.astype(np.float64)), 1, 0)
    ]
    with np.errstate(invalid="ignore"):
        return np.reshape(sums, count.shape) / count


@of_each_variable
@pytest.mark.slow
def test_every_normal_is_the_exact_mean_rounded_to_float32(finished, archive, variable):
    run = finished(archive)
    for target in archive.targets:
        mean = exact_day_means(window_of(archive, variable, target))
        normal = read(run.normal(variable, "global", target), variable)
        np.testing.assert_array_equal(normal, mean.astype(np.float32), err_msg=str(target))


@pytest.mark.parametrize("target", OISST.targets)
def test_a_region_has_the_numbers_of_the_whole_grid(finished, target):
    run = finished(OISST)
    with (
        xr.open_dataset(run.normal("sst", "global", target)) as whole,
        xr.open_dataset(run.normal("sst", "tasmania", target)) as part,
    ):
        assert part.sizes == {"time": 366, "lat": 16, "lon": 8, "bnds": 2}
        cut = whole.sel(lat=slice(-44, -40), lon=slice(147, 149))
        for name in ("sst", "count", "number_of_years", "climatology_bnds"):
            xr.testing.assert_equal(part[name], cut[name])


@pytest.mark.parametrize(("target", "leap_days"), [(2011, 7), (2012, 8), (2016, 8)])
def test_29_february_is_the_mean_of_its_own_years(finished, target, leap_days):
    with xr.open_dataset(finished(OISST).normal("sst", "global", target)) as normal:
        expected = np.full(366, 30)
        expected[59] = leap_days
        np.testing.assert_array_equal(normal["years_per_day"], expected)
        sea = ~np.isnan(window_of(OISST, "sst", target)).all(axis=(0, 1))
        assert (~sea).sum() == 83  # land
        np.testing.assert_array_equal(normal["count"], expected[:, None, None] * sea)
        np.testing.assert_array_equal(np.isnan(normal["sst"]), np.broadcast_to(~sea, (366, 32, 32)))


def test_the_days_after_an_incomplete_year_ends_are_means_of_one_year_less(finished):
    with xr.open_dataset(finished(EC_EARTH).normal("tas", "global", 2009)) as normal:
        expected = np.full(365, 30)
        expected[334:] = 29
        np.testing.assert_array_equal(normal["years_per_day"], expected)
        assert normal["number_of_years"] == 30


@pytest.mark.parametrize(
    ("archive", "variable", "target"),
    [
        (CANESM2, "pr", 2020),
        (CANESM2, "tasmax", 2100),
        (OISST, "sst", 2016),
        (EC_EARTH, "tas", 2009),
    ],
    ids=lambda value: str(value) if not isinstance(value, Archive) else value.workflow[:-5],
)
@pytest.mark.slow
def test_normals_are_those_of_xarrays_groupby(finished, archive, variable, target):
    years = range(target - 29, target + 1)
    fields = []
    for path in archive.sources(variable, years):
        with xr.open_dataset(path) as dataset:
            fields.append(field_of(dataset, variable))
    daily = xr.concat(fields, "time", coords="minimal", compat="override", join="override")
    daily = daily.sel(time=slice(f"{years[0]}-01-01", f"{years[-1]}-12-31"))
    daily = daily.assign_coords(day=daily["time"].dt.strftime("%m-%d"))
    if archive.leap_day == "drop":
        daily = daily.sel(time=daily["day"] != "02-29")
    normal = read(finished(archive).normal(variable, "global", target), variable)
    means = daily.astype(np.float64).groupby("day").mean("time")
    assert_rounded_once(normal, means.values)
    # As most people write it: sums of 30 in float32, whose error is up to 30 * 2^-24 of the mean.
    plain = daily.groupby("day").mean("time")
    np.testing.assert_allclose(normal, plain.values, rtol=30 * 2.0**-24, atol=0)


# ---------------------------------------------------------------- other real files


@pytest.mark.slow
def test_files_of_151_years_give_the_bits_of_the_annual_files(finished, out):
    """One NetCDF-3 file for a variable: no scenario in its name, so it serves both."""
    result = climdask.run(
        {
            "input": {
                "root": str(REAL / "canesm2_cmip5/original"),
                "pattern": "tiny_daily_{variable}.nc",
                "facets": {
                    "model": "CanESM2",
                    "member": "r1i1p1",
                    "start": "19500101",
                    "end": "21001231",
                },
            },
            "variables": ["pr", "tasmax", "tasmin"],
            "scenarios": ["rcp26"],
            "last_historical_year": 2005,
            "regions": ["global"],
            "output": {"root": str(out)},
        },
        serial=True,
    )
    assert result.exit_code == 0
    assert (result.audit.files, result.audit.opens) == (3, result.plan.opens)
    annual, joined = contents(finished(CANESM2).out), contents(out)
    assert set(joined) == set(annual)
    for path, variables in annual.items():
        for name in set(variables) - {""}:
            # Attributes differ: the annual files have no bounds and other names.
            assert joined[path][name][:3] == variables[name][:3], (path, name)


@pytest.mark.parametrize(
    ("model", "n_days", "calendar"),
    [("HadGEM2-CC_360day", 360, "360_day"), ("CanESM2_365day", 365, "noleap")],
)
def test_a_window_of_one_year_gives_back_the_year(out, model, n_days, calendar):
    root = REAL / "single_year_formats" / model
    result = climdask.run(
        {
            "input": {
                "root": str(root),
                "pattern": "{variable}_day_{model}_{scenario}_{member}_{grid}_*_{year}.nc",
            },
            "variables": ["pr", "tasmax", "tasmin"],
            "historical": "rcp85",
            "regions": ["global"],
            "window": 1,
            "min_years": 1,
            "output": {"root": str(out)},
        },
        serial=True,
    )
    assert result.exit_code == 0
    assert len(result.outputs) == 3
    for path in result.outputs:
        variable = path.name.split("_")[0]
        (source,) = root.glob(f"{variable}_*.nc")
        normal = read(path, variable)
        assert normal.shape == (n_days, 36, 36)
        assert 0 < np.isnan(normal).sum() < normal.size
        np.testing.assert_array_equal(normal, read(source, variable))
        with netCDF4.Dataset(path) as dataset:
            assert dataset["time"].calendar == calendar


CMIP6 = {
    "KACE-1-0-G": ("r1i1p1f1_gr", 360, 2014),
    "NESM3": ("r1i1p1f1_gn", 366, 2014),
    "NorESM2-LM": ("r1i1p1f1_gn", 365, 2009),
}


def run_ta(root: Path, out: Path) -> RunResult:
    return climdask.run(
        {
            "input": {"root": str(root), "pattern": "cmip6"},
            "variables": ["ta"],
            "regions": ["global"],
            "window": 10,
            "leap_day": "keep",
            "output": {"root": str(out)},
        },
        serial=True,
    )


def test_a_field_on_levels_is_refused_with_the_cure(out):
    result = run_ta(REAL / "cmip6_ta", out)
    assert result.exit_code == 1
    assert {chain.split("/")[0] for chain in result.failures} == set(CMIP6)
    for message in result.failures.values():
        assert "ta has a dimension plev of length 2: levels in Pa; expected one level" in message
        assert "cut one level out first (cdo sellevel" in message


@pytest.mark.slow
def test_one_level_cut_out_makes_normals_on_every_calendar(tmp_path, out):
    """360_day over ten years; noleap since year 1; gregorian with its leap days."""
    cut = tmp_path / "cut"
    cut.mkdir()
    for source in (REAL / "cmip6_ta").glob("*.nc"):
        cdo("sellevel,85000", source, cut / source.name)
    result = run_ta(cut, out)
    assert result.exit_code == 0, result.failures
    assert len(result.outputs) == 6 + 26 + 1
    for model, (member_and_grid, n_days, target) in CMIP6.items():
        (source,) = cut.glob(f"ta_day_{model}_*")
        (path,) = out.rglob(f"ta_day_{model}_{member_and_grid}_*_{target}_10yr_normal.nc")
        theirs = tmp_path / f"{model}.nc"
        cdo("-b", "F64", "-ydaymean", f"-selyear,{target - 9}/{target}", source, theirs)
        normal = read(path, "ta")
        assert len(normal) == n_days
        assert_rounded_once(normal, read(theirs, "ta"))
        with xr.open_dataset(path) as dataset:
            assert dataset["ta"]["plev"] == 85000


# ---------------------------------------------------------------- as users read them

of_one_normal_each = pytest.mark.parametrize(
    ("archive", "variable", "target", "stamped"),
    [
        (CANESM2, "pr", 2020, 2020),
        (OISST, "sst", 2015, 2012),  # stamps of the window's last leap year
        (EC_EARTH, "tas", 2009, 2009),
    ],
    ids=lambda value: str(value) if not isinstance(value, Archive) else value.workflow[:-5],
)


@of_one_normal_each
def test_cdo_sees_days_and_months(finished, archive, variable, target, stamped):
    path = finished(archive).normal(variable, "global", target)
    dates = [f"{stamped}-{month:02}-{day:02}" for month, day in archive.days]
    assert cdo("showdate", path).split() == dates
    february = [day for day in dates if day[5:7] == "02"]
    assert cdo("showdate", "-selmon,2", path).split() == february
    assert len(february) == {"drop": 28, "keep": 29}[archive.leap_day]
    information = cdo("sinfo", path)
    assert "0000-00-00" not in information
    assert f"time : {len(dates)} steps" in information


@of_one_normal_each
def test_cdo_sees_the_field(finished, archive, variable, target, stamped):
    path = finished(archive).normal(variable, "global", target)
    done = call("cdo", "-s", "infon", path)
    assert done.returncode == 0
    assert done.stderr == ""
    rows = [row.split() for row in done.stdout.splitlines() if row.split()[-1] == variable]
    field = read(path, variable)
    assert len(rows) == len(archive.days)
    #  1 : 2020-01-01 12:00:00  0  <cells>  <missing> : <minimum> <mean> <maximum> : pr
    assert [int(row[6]) for row in rows] == list(np.isnan(field).sum(axis=(1, 2)))
    printed = np.array([[float(row[8]), float(row[10])] for row in rows])
    expected = np.stack([np.nanmin(field, (1, 2)), np.nanmax(field, (1, 2))], axis=1)
    np.testing.assert_allclose(printed, expected, rtol=5e-5)


@of_one_normal_each
def test_nco_prints_the_header(finished, archive, variable, target, stamped):
    done = call("ncks", "-m", finished(archive).normal(variable, "global", target))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"float {variable}(time,lat,lon)" in done.stdout


@of_one_normal_each
def test_xarray_opens_a_normal_with_dates(finished, archive, variable, target, stamped):
    with xr.open_dataset(finished(archive).normal(variable, "global", target)) as dataset:
        field = dataset[variable]
        assert field.dims == ("time", "lat", "lon")
        assert field.dtype == np.float32
        assert field.attrs["units"] == {"pr": "kg m-2 s-1", "sst": "degC", "tas": "K"}[variable]
        calendars = {"drop": "noleap", "keep": "proleptic_gregorian"}  # xarray's own dates
        time = dataset["time"].dt
        assert time.calendar == calendars[archive.leap_day]
        assert set(time.year.values) == {stamped}
        assert set(time.hour.values) == {12}
        np.testing.assert_array_equal(time.month, [month for month, _ in archive.days])
        np.testing.assert_array_equal(field["dayofyear"], np.arange(1, len(archive.days) + 1))
        assert dataset.attrs["target_year"] == target


@of_one_normal_each
@pytest.mark.slow
def test_the_cf_checker_finds_nothing(finished, archive, variable, target, stamped):
    path = finished(archive).normal(variable, "global", target)
    done = call("compliance-checker", "--test=cf:1.11", path)
    assert "cf:1.11" in done.stdout, done.stderr
    found = [line for line in done.stdout.splitlines() if line.startswith("*")]
    assert found == []

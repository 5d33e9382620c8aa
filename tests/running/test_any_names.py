"""Input files of any name: where the name says no variable, or one file holds but some days."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import distributed
import netCDF4
import numpy as np
import pytest

import climdask
from climdask.execution import tasks
from climdask.execution.checkpoints import set_mark
from climdask.execution.tasks import RunContext
from climdask.inputs.access import FileAccess
from climdask.inputs.audit import audit
from climdask.inputs.headers import Header
from climdask.inputs.inventory import InputFile
from climdask.inputs.netcdf import PassingError
from climdask.outputs.folder import OutputFolder
from climdask.planning.plan import Limits
from climdask.running.results import RunResult
from tests.readback import contents
from tests.samples import dates_of, sample_values, write_file, write_year
from tests.tools import cdo

OBS = {"model": "OBS", "member": "r1"}
YEARS = range(1990, 1996)


def flow(root: Path, out: Path, pattern: str = "", **keys: Any) -> dict[str, Any]:
    """Return a workflow over files of observations, with windows of 3 years."""
    own = {"pattern": pattern} if pattern else {}
    return {
        "input": {"root": str(root), "facets": OBS, **own},
        "variables": ["pr"],
        "historical": "obs",
        "regions": ["global"],
        "window": 3,
        "min_years": 3,
        "output": {"root": str(out)},
        **keys,
    }


def write_renamed(root: Path, name: str, variable: str, inside: str, **more: Any) -> None:
    """Write a file for each year, where ``variable`` is called otherwise."""
    for year in YEARS:
        values = sample_values(variable, year, "noleap")
        write_year(root / name.format(year=year), inside, year, "noleap", values, **more)


def truth(variable: str, last: int) -> np.ndarray:
    """The mean of a window by numpy, float64 [day, lat, lon], NaN where a year lacks the day."""
    years = [sample_values(variable, y, "noleap") for y in range(last - 2, last + 1)]
    return np.mean(np.stack(years).astype(np.float64), axis=0)


def normal(out: Path, variable: str, last: int) -> np.ndarray:
    (path,) = (p for p in out.rglob(f"{variable}_*_{last}_3yr_normal.nc"))
    with netCDF4.Dataset(path) as dataset:
        return np.ma.filled(dataset[variable][...].astype(np.float64), np.nan)


def check(result: RunResult, out: Path, variables: Mapping[str, str]) -> None:
    """Check all normals against numpy; ``variables`` maps names to those of the samples."""
    assert result.ok, result.failures
    assert result.audit.holds
    for name, sample in variables.items():
        for last in range(YEARS[2], YEARS[-1] + 1):
            np.testing.assert_allclose(
                normal(out, name, last), truth(sample, last), rtol=2**-23, equal_nan=True
            )


# ---------------------------------------------------------------- the variable


@pytest.mark.slow
def test_a_variable_may_have_another_name_inside_and_a_pattern_of_its_own(
    tmp_path: Path, out: Path
) -> None:
    write_renamed(tmp_path, "rain/pr_{year}.nc", "pr", "precipitation_amount")
    write_renamed(tmp_path, "t/tas_{year}.nc", "tas", "tas")
    variables = {
        "pr": {"name": "precipitation_amount", "file": "rain/pr_{year}.nc"},
        "tas": {"file": "t/{variable}_{year}.nc"},
    }
    result = climdask.run(flow(tmp_path, out, variables=variables), serial=True)
    check(result, out, {"pr": "pr", "tas": "tas"})
    (path,) = out.rglob("pr_*_1992_3yr_normal.nc")
    assert "OBS/r1/pr/global/obs" in str(path)
    with netCDF4.Dataset(path) as dataset:
        assert dataset["pr"].input_variable == "precipitation_amount"
        assert "precipitation_amount" not in dataset.variables


@pytest.mark.slow
def test_the_only_field_of_a_file_is_taken_and_the_plan_says_so(tmp_path: Path, out: Path) -> None:
    write_renamed(tmp_path, "gridmet_{year}.nc", "pr", "precipitation_amount", bounds=True)
    result = climdask.run(flow(tmp_path, out, "gridmet_{year}.nc"), serial=True)
    check(result, out, {"pr": "pr"})
    assert any("pr is precipitation_amount in the files" in note for note in result.plan.notes)


def add_field(path: Path, name: str, of: str) -> None:
    """Add a copy of a field to a file."""
    with netCDF4.Dataset(path, "a") as dataset:
        new = dataset.createVariable(name, "f4", ("time", "lat", "lon"))
        new.units = dataset[of].units
        new[...] = dataset[of][...]


def test_two_fields_where_one_is_expected_are_named_with_the_cure(
    tmp_path: Path, out: Path
) -> None:
    write_renamed(tmp_path, "era5_{year}.nc", "tas", "t2m")
    for year in YEARS:
        add_field(tmp_path / f"era5_{year}.nc", "d2m", "t2m")
    content = flow(tmp_path, out, "era5_{year}.nc", variables=["tas"])
    told = str(climdask.plan(content).failures)
    for word in ('holds no variable "tas"', "t2m, d2m", "variables: {tas: {name: t2m}}"):
        assert word in told
    assert not out.exists()


def test_a_variable_that_is_in_no_file_is_told_with_what_is_there(
    tmp_path: Path, out: Path
) -> None:
    write_renamed(tmp_path, "era5_{year}.nc", "tas", "t2m")
    variables = {"tas": {"name": "tm2"}}
    told = str(climdask.plan(flow(tmp_path, out, "era5_{year}.nc", variables=variables)).failures)
    for word in ('expected the variable "tm2"', "it holds t2m", 'did you mean "t2m"?'):
        assert word in told


@pytest.mark.slow
def test_another_name_inside_makes_the_normals_anew(tmp_path: Path, out: Path) -> None:
    write_renamed(tmp_path, "era5_{year}.nc", "tas", "t2m")
    for year in YEARS:
        add_field(tmp_path / f"era5_{year}.nc", "d2m", "t2m")

    def run(name: str) -> RunResult:
        content = flow(tmp_path, out, "era5_{year}.nc", variables={"tas": {"name": name}})
        return climdask.run(content, serial=True)

    assert run("t2m").plan.n_normals == 4
    assert run("t2m").plan.n_normals == 0
    assert run("d2m").plan.n_normals == 4


# ---------------------------------------------------------------- one date for a file


def write_parts(
    root: Path, name: str, *, leave_out: Collection[str] = (), calendar: str = "noleap"
) -> list[str]:
    """Write ``pr`` into files of as many days as their names have in common; return the names."""
    names = []
    for year in YEARS:
        dates, values = dates_of(year, year, calendar), sample_values("pr", year, calendar)
        said = [name.format(year=y, month=m, day=d) for y, m, d in dates]
        for one in dict.fromkeys(said):
            days = [n for n, text in enumerate(said) if text == one]
            if one not in leave_out:
                names.append(one)
                write_file(root / one, "pr", [dates[n] for n in days], calendar, values[days])
    return names


MONTHLY = ("pr_{year}{month:02}.nc", "pr_{year}{month}.nc")
DAILY = ("{year}/pr.{year}-{month:02}-{day:02}.nc", "*/pr.{date}.nc")


def numbers(out: Path) -> dict[str, object]:
    """Return the values of all normals, by path, as bytes."""
    return {path: found["pr"][:3] for path, found in contents(out).items()}


@pytest.fixture(scope="module")
def annual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    root = tmp_path_factory.mktemp("annual")
    write_renamed(root, "pr_{year}.nc", "pr", "pr")
    assert climdask.run(flow(root, root / "out", "pr_{year}.nc"), serial=True).ok
    return numbers(root / "out")


def threaded(content: dict[str, Any]) -> RunResult:
    """Run on a worker of four threads."""
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=4, processes=False, dashboard_address="127.0.0.1:0"
    )
    with cluster, distributed.Client(cluster) as client:
        return climdask.run(content, client=client)


@pytest.mark.parametrize(("names", "pattern"), [MONTHLY, DAILY], ids=["monthly", "daily"])
@pytest.mark.slow
def test_files_of_a_month_or_a_day_give_the_bits_of_annual_files_and_are_opened_once(
    names: str, pattern: str, tmp_path: Path, out: Path, annual: dict[str, object]
) -> None:
    files = write_parts(tmp_path, names)
    result = threaded(flow(tmp_path, out, pattern))
    check(result, out, {"pr": "pr"})
    assert numbers(out) == annual
    assert result.audit.opens == result.audit.files == result.plan.opens == len(files)
    assert result.audit.most == 1
    (chain,) = result.plan.chains
    assert [len(read.slice.files) for read in chain.branches.reads] == [len(files) // 6] * 6
    assert not result.plan.notes


@pytest.mark.slow
def test_files_of_a_month_agree_with_cdo(tmp_path: Path, out: Path) -> None:
    files = [tmp_path / name for name in write_parts(tmp_path, MONTHLY[0])]
    assert climdask.run(flow(tmp_path, out, MONTHLY[1]), serial=True).ok
    window = [path for path in files if path.name[3:7] in ("1993", "1994", "1995")]
    cdo("-b", "F64", "ydaymean", "-cat", *window, tmp_path / "truth.nc")
    with netCDF4.Dataset(tmp_path / "truth.nc") as dataset:
        mean = np.ma.filled(dataset["pr"][...].astype(np.float64), np.nan)
    found = normal(out, "pr", 1995)
    # CDO leaves missing years out, min_years: 3 does not.
    kept = np.isfinite(found)
    assert kept.mean() > 0.8
    np.testing.assert_allclose(found[kept], mean[kept], rtol=2**-23)


@pytest.mark.slow
def test_without_memory_for_the_window_each_file_of_a_month_is_opened_twice_never_at_once(
    tmp_path: Path, out: Path, annual: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parts(tmp_path, MONTHLY[0])
    few = Limits(memory_per_worker=100_000, workers=1, threads=4)
    monkeypatch.setattr("climdask.running.run.client_limits", lambda _: few)
    result = threaded(flow(tmp_path, out, MONTHLY[1], run={"lookahead": 1}))
    assert result.ok, result.failures
    assert result.audit.holds
    assert (result.audit.most, result.audit.opens) == (2, result.plan.opens)
    assert numbers(out) == annual


@pytest.mark.slow
def test_a_missing_month_and_missing_days_are_told_and_the_years_need_no_more_than_min_years(
    tmp_path: Path, out: Path
) -> None:
    write_parts(tmp_path, DAILY[0], leave_out={f"1993/pr.1993-02-{d:02}.nc" for d in range(1, 29)})
    (tmp_path / "1994/pr.1994-07-09.nc").unlink()
    result = climdask.run(flow(tmp_path, out, DAILY[1], min_years=2), serial=True)
    assert result.ok, result.failures
    notes = "\n".join(result.plan.notes)
    assert "incomplete year 1993, by the names of the files: no file for 02-01 to 02-28" in notes
    assert "incomplete year 1994, by the names of the files: no file for 07-09" in notes
    values = [sample_values("pr", y, "noleap").astype(np.float64) for y in range(1993, 1996)]
    values[0][31:59] = np.nan
    values[1][189] = np.nan
    valid = np.isfinite(values).sum(axis=0)
    wanted = np.where(valid >= 2, np.nansum(values, axis=0) / np.maximum(valid, 1), np.nan)
    found = normal(out, "pr", 1995)
    np.testing.assert_allclose(found, wanted, rtol=2**-23, equal_nan=True)
    assert np.isfinite(found[40]).any()


@pytest.mark.slow
def test_a_run_over_files_of_a_month_that_is_killed_goes_on_with_the_same_bits(
    tmp_path: Path, out: Path, annual: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parts(tmp_path, MONTHLY[0])
    content = flow(tmp_path, out, MONTHLY[1]) | {"run": {"checkpoint_every": 1}}
    read = tasks.YearInParts.add

    def dying(self: Any, path: Path, **keys: Any) -> None:
        if path.name == "pr_199405.nc":
            raise KeyboardInterrupt
        read(self, path, **keys)

    with monkeypatch.context() as patch:
        patch.setattr(tasks.YearInParts, "add", dying)
        with pytest.raises(KeyboardInterrupt):
            climdask.run(content, serial=True)
    assert 0 < len(numbers(out)) < len(annual)
    result = climdask.run(content, serial=True)
    assert result.ok, result.failures
    assert result.plan.n_normals < result.plan.n_all
    assert numbers(out) == annual
    assert result.audit.holds


@pytest.mark.slow
def test_a_damaged_file_of_a_month_leaves_out_its_days_only_if_that_is_allowed(
    tmp_path: Path, out: Path
) -> None:
    write_parts(tmp_path, MONTHLY[0])
    (tmp_path / "pr_199405.nc").write_bytes(b"")
    content = flow(tmp_path, out, MONTHLY[1], min_years=2)
    failed = climdask.run(content, serial=True)
    assert "pr_199405.nc: is empty" in str(failed.failures)
    result = climdask.run(content | {"run": {"on_bad_file": "skip"}}, serial=True)
    assert result.ok, result.failures
    assert [Path(path).name for path, _ in result.audit.skipped] == ["pr_199405.nc"]
    values = [sample_values("pr", y, "noleap").astype(np.float64) for y in range(1993, 1996)]
    values[1][120:151] = np.nan
    valid = np.isfinite(values).sum(axis=0)
    wanted = np.where(valid >= 2, np.nansum(values, axis=0) / np.maximum(valid, 1), np.nan)
    np.testing.assert_allclose(normal(out, "pr", 1995), wanted, rtol=2**-23, equal_nan=True)


@pytest.mark.slow
def test_where_names_say_no_end_the_last_file_tells_it(
    tmp_path: Path, out: Path, annual: dict[str, object]
) -> None:
    for first, last in ((1990, 1992), (1993, 1995)):
        years = range(first, last + 1)
        dates = [date for y in years for date in dates_of(y, y, "noleap")]
        values = np.concatenate([sample_values("pr", y, "noleap") for y in years])
        write_file(tmp_path / f"pr_from_{first}.nc", "pr", dates, "noleap", values)
    result = climdask.run(flow(tmp_path, out, "pr_from_{start}.nc"), serial=True)
    check(result, out, {"pr": "pr"})
    assert numbers(out) == annual
    assert (result.audit.opens, result.audit.probes) == (2, 2)


def test_a_normal_of_daily_files_names_the_first_and_the_last_of_each_year(
    tmp_path: Path, out: Path
) -> None:
    files = tuple(
        InputFile((1990, m, d), (1990, m, d), f"{m:02}{d:02}.nc", "", (), 1, 1)
        for m in range(1, 13)
        for d in range(1, 29)
    )
    names, versions = tasks.names_of(files)
    assert names == ("0101.nc to 1228.nc (336 files)",)
    assert versions == "none"
    assert tasks.names_of(files[:2]) == (("0101.nc", "0102.nc"), "none+none")


# ---------------------------------------------------------------- several variables in one file


def write_together(root: Path, name: str = "all_{year}.nc") -> None:
    """Write ``tas`` and ``pr`` into one file for each year."""
    write_renamed(root, name, "tas", "tas")
    for year in YEARS:
        with netCDF4.Dataset(root / name.format(year=year), "a") as dataset:
            new = dataset.createVariable("precip", "f4", ("time", "lat", "lon"), fill_value=1e20)
            new.units = "kg m-2 s-1"
            new[...] = np.ma.masked_invalid(sample_values("pr", year, "noleap"))


BOTH: dict[str, Any] = {"variables": {"tas": {"name": "tas"}, "pr": {"name": "precip"}}}


def serially(content: dict[str, Any]) -> RunResult:
    return climdask.run(content, serial=True)


@pytest.mark.parametrize("execute", [serially, threaded])
@pytest.mark.slow
def test_a_file_of_several_variables_is_opened_once_for_all_of_them(
    execute: Callable[[dict[str, Any]], RunResult], tmp_path: Path, out: Path
) -> None:
    write_together(tmp_path)
    result = execute(flow(tmp_path, out, "all_{year}.nc", **BOTH))
    check(result, out, {"tas": "tas", "pr": "pr"})
    assert result.audit.opens == result.audit.files == result.plan.opens == len(YEARS)
    assert result.audit.most == 1
    assert "in the same openings as tas" in str(result.plan)
    assert [row.reads for row in result.rows] == [len(YEARS)] * 2


@pytest.mark.slow
def test_files_of_a_month_of_several_variables_are_opened_once(tmp_path: Path, out: Path) -> None:
    write_parts(tmp_path, MONTHLY[0])
    for path in tmp_path.glob("*.nc"):
        add_field(path, "again", "pr")
    variables = {"pr": {"name": "pr"}, "twin": {"name": "again"}}
    result = threaded(flow(tmp_path, out, MONTHLY[1], variables=variables))
    check(result, out, {"pr": "pr"})
    for last in range(1992, 1996):
        np.testing.assert_array_equal(normal(out, "twin", last), normal(out, "pr", last))
    assert result.audit.opens == result.audit.files == 72


@pytest.mark.parametrize("execute", [serially, threaded])
@pytest.mark.slow
def test_a_variable_that_cannot_be_read_does_not_stop_the_others_of_its_file(
    execute: Callable[[dict[str, Any]], RunResult], tmp_path: Path, out: Path
) -> None:
    write_together(tmp_path)
    with netCDF4.Dataset(tmp_path / "all_1993.nc", "a") as dataset:
        dataset["precip"].units = "mm"
    result = execute(flow(tmp_path, out, "all_{year}.nc", **BOTH))
    assert list(result.failures) == ["OBS/r1/gn/pr"]
    assert 'all_1993.nc: has units "mm"' in result.failures["OBS/r1/gn/pr"]
    assert result.audit.holds
    for last in range(1992, 1996):
        np.testing.assert_allclose(
            normal(out, "tas", last), truth("tas", last), rtol=2**-23, equal_nan=True
        )


@pytest.mark.slow
def test_after_a_kill_the_variables_of_a_file_go_on_with_the_same_bits(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_together(tmp_path)
    content = flow(tmp_path, out, "all_{year}.nc", **BOTH, run={"checkpoint_every": 1})
    read = tasks.read_years

    def dying(path: Path, *args: Any, **keys: Any) -> Any:
        if path.name == "all_1994.nc":
            raise KeyboardInterrupt
        return read(path, *args, **keys)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "read_years", dying)
        with pytest.raises(KeyboardInterrupt):
            climdask.run(content, serial=True)
    (out / "OBS/r1/pr/global/obs").joinpath(
        "pr_day_OBS_r1_gn_global_obs_1992_3yr_normal.nc"
    ).unlink()  # so that the chains have not the same left to do
    result = threaded(content)
    check(result, out, {"tas": "tas", "pr": "pr"})
    assert result.audit.holds


@pytest.mark.slow
def test_a_repeated_opening_reads_only_for_the_chains_that_are_not_further_on(
    tmp_path: Path, out: Path
) -> None:
    write_together(tmp_path)
    plan = climdask.plan(flow(tmp_path, out, "all_{year}.nc", **BOTH))
    access = FileAccess("x", tmp_path / "locks", OutputFolder(out).trace("x"))
    access.prepare()
    context = RunContext("x", out, plan.inventory.root, access, "fail", 0)
    pr, tas = plan.chains
    jobs, specs = [c.branches.reads[0] for c in (pr, tas)], [pr.spec, tas.spec]

    def read() -> list[str]:
        return [type(a).__name__ for a in tasks.read_together(context, jobs, *specs)]

    assert read() == ["tuple", "tuple"]
    set_mark(context.folder, "x", pr.id, "obs", tmp_path / "saved", 1995)
    assert read() == ["Superseded", "tuple"]
    set_mark(context.folder, "x", tas.id, "obs", tmp_path / "saved", 1995)
    assert read() == ["Superseded", "Superseded"]
    assert audit([access.trace_dir]).opens == 2


@pytest.mark.slow
def test_a_file_that_fails_once_is_read_again_for_all_its_variables(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_together(tmp_path)
    failures = iter([PassingError("all_1993.nc: not this time")])
    read = tasks.read_years

    def shaky(path: Path, header: Header, *args: Any, **keys: Any) -> Any:
        if (path.name, header.variable) == ("all_1993.nc", "pr"):
            for error in failures:
                raise error
        return read(path, header, *args, **keys)

    monkeypatch.setattr(tasks, "read_years", shaky)
    result = serially(flow(tmp_path, out, "all_{year}.nc", **BOTH))
    check(result, out, {"tas": "tas", "pr": "pr"})
    assert (result.audit.opens, result.audit.most) == (7, 2)


@pytest.mark.slow
def test_without_memory_for_two_chains_at_once_each_opens_the_files_itself(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_together(tmp_path)
    few = Limits(memory_per_worker=1_000_000, workers=1, threads=4)
    monkeypatch.setattr("climdask.running.run.client_limits", lambda _: few)
    result = threaded(flow(tmp_path, out, "all_{year}.nc", **BOTH))
    check(result, out, {"tas": "tas", "pr": "pr"})
    assert result.plan.at_once == 1
    assert result.audit.opens == result.plan.opens == 2 * len(YEARS)


# ---------------------------------------------------------------- what is not daily


def write_months(root: Path, *, with_bounds: bool, name: str = "pr_{year}{month:02}.nc") -> None:
    """Write a file with one mean for each month."""
    for year in YEARS:
        for month in range(1, 13):
            path = root / name.format(year=year, month=month)
            values = sample_values("pr", year, "noleap")[:1]
            write_file(path, "pr", [(year, month, 15)], "noleap", values)
            if with_bounds:
                add_time_bounds(path, 30.0)


def add_time_bounds(path: Path, length: float) -> None:
    with netCDF4.Dataset(path, "a") as dataset:
        time = dataset["time"]
        time.bounds = "time_bnds"
        dataset.createDimension("two", 2)
        edges = dataset.createVariable("time_bnds", "f8", ("time", "two"))
        edges[...] = time[...][:, None] + np.array([[-length / 2, length / 2]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("with_bounds", "words"),
    [
        (True, "its one step is 30 days long, by time_bnds; expected one step a day"),
        (False, "holds one step, on 1990-01-15, for 1990-01-01 to 1990-01-31, which its name says"),
    ],
)
def test_means_of_months_in_files_of_a_month_are_refused(
    tmp_path: Path, out: Path, with_bounds: bool, words: str
) -> None:
    write_months(tmp_path, with_bounds=with_bounds)
    plan = climdask.plan(flow(tmp_path, out, MONTHLY[1]))
    (told,) = plan.failures.values()
    assert words in told
    assert "fetch the daily file" in told.lower()
    result = climdask.run(flow(tmp_path, out, MONTHLY[1]), serial=True)
    assert not result.ok
    assert not contents(out)


@pytest.mark.slow
def test_a_file_of_one_day_with_bounds_of_that_day_is_read(tmp_path: Path, out: Path) -> None:
    write_parts(tmp_path, "pr_{year}{month:02}{day:02}.nc")
    add_time_bounds(tmp_path / "pr_19900101.nc", 1.0)
    assert not climdask.plan(flow(tmp_path, out, "pr_{date}.nc")).failures


# ---------------------------------------------------------------- with areas and changes


def areas_and_changes(root: Path) -> dict[str, Any]:
    """Return keys of a workflow for the mean of a polygon, and its change since 1990-1992."""
    pytest.importorskip("pyogrio")
    corners = [[100, -30], [170, -20], [150, 20], [110, 20], [100, -30]]
    shape = {"type": "Polygon", "coordinates": [corners]}
    feature = {"type": "Feature", "properties": {"code": "sea"}, "geometry": shape}
    path = root / "seas.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    regions = [{"areas": str(path), "id": "code", "region": "seas"}]
    return {"regions": regions, "change": {"reference": "1990-1992"}}


def every_number(out: Path, *names: str) -> dict[tuple[str, str], object]:
    """Return the values of variables of all normals, by path and name, as bytes."""
    found = contents(out).items()
    return {(path, n): own[n][:3] for path, own in found for n in names if n in own}


@pytest.mark.parametrize("execute", [serially, threaded])
@pytest.mark.slow
def test_changes_of_areas_from_files_of_a_month_have_the_bits_of_annual_files(
    execute: Callable[[dict[str, Any]], RunResult], tmp_path: Path
) -> None:
    keys = areas_and_changes(tmp_path)
    write_renamed(tmp_path / "years", "pr_{year}.nc", "pr", "pr")
    write_parts(tmp_path / "months", MONTHLY[0])
    got = []
    for folder, pattern in (("years", "pr_{year}.nc"), ("months", MONTHLY[1])):
        result = execute(flow(tmp_path / folder, tmp_path / f"{folder}.out", pattern, **keys))
        assert result.ok, result.failures
        assert result.audit.holds
        got.append(every_number(tmp_path / f"{folder}.out", "pr", "pr_change"))
    assert len(got[0]) == 8
    assert got[1] == got[0]


@pytest.mark.parametrize("execute", [serially, threaded])
@pytest.mark.slow
def test_changes_of_areas_of_variables_in_one_file_have_the_bits_of_each_made_alone(
    execute: Callable[[dict[str, Any]], RunResult], tmp_path: Path
) -> None:
    keys = areas_and_changes(tmp_path)
    write_together(tmp_path)
    names = ("tas", "pr", "tas_change", "pr_change")
    result = execute(flow(tmp_path, tmp_path / "both", "all_{year}.nc", **BOTH, **keys))
    assert result.ok, result.failures
    assert result.audit.opens == len(YEARS)
    for name, inside in BOTH["variables"].items():
        own = {"variables": {name: inside}}
        assert serially(flow(tmp_path, tmp_path / "alone", "all_{year}.nc", **own, **keys)).ok
    assert len(every_number(tmp_path / "both", *names)) == 16
    assert every_number(tmp_path / "both", *names) == every_number(tmp_path / "alone", *names)

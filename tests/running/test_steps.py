"""Normals of months, seasons, years and own days: right, the same on every way, and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import distributed
import numpy as np
import pytest
import xarray as xr

from climdask.errors import ClimdaskError, OutputError, PlanError
from climdask.execution import tasks
from climdask.running.results import RunResult
from climdask.running.run import run
from tests.readback import contents
from tests.samples import Archive, write_archive
from tests.tools import cdo
from tests.workflows import small

NORMALS: list[Any] = [
    "mean",
    {"each": "month", "over_years": ["mean", "std", "max"]},
    {"each": "season"},
    {"each": "year", "within": "days above 290 K", "name": "hot_days", "missing_days": 0.5},
    {"each": {"name": "growing", "from": "04-01", "to": "09-30"}},
]
TARGETS = "2010-2014"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    root = tmp_path_factory.mktemp("archive")
    return write_archive(root, variables=["tas"], first=2003, last=2014, calendar="standard")


def make(archive: Archive, out: Path, format: str = "netcdf", **changes: Any) -> RunResult:
    serial = changes.pop("client", None) is None
    client = None if serial else changes.pop("with_client")
    given: dict[str, Any] = {
        "normals": NORMALS, "scenarios": [], "targets": TARGETS, "last_historical_year": 2014,
        "output": {"root": str(out), "format": format}, "run": {"checkpoint_every": 2},
    }  # fmt: skip
    return run(small(archive.root, out, **{**given, **changes}), serial=serial, client=client)


def years_of(archive: Archive, first: int, last: int) -> xr.DataArray:
    """Return all days, float64 [time, lat, lon]."""
    values = [archive.values("tas", year) for year in range(first, last + 1)]
    times = xr.date_range(f"{first}-01-01", f"{last}-12-31", freq="D", use_cftime=True)
    return xr.DataArray(
        np.concatenate(values).astype(float), dims=("time", "lat", "lon"), coords={"time": times}
    )


@pytest.mark.slow
@pytest.mark.parametrize("output_format", ["netcdf", "zarr"])
def test_each_frequency_is_what_cdo_makes_of_the_same_days(
    archive: Archive, tmp_path: Path, output_format: str
) -> None:
    result = make(archive, tmp_path / "out", output_format)
    assert result.ok, result.failures
    whole = tmp_path / "all.nc"
    cdo("mergetime", *(archive.path("tas", year) for year in range(2003, 2015)), whole)
    chains = {
        "month": ["-ymonmean", "-monmean", "-selyear,2010/2014"],
        "season": ["-yseasmean", "-seasmean", "-seldate,2009-12-01,2014-11-30"],
    }
    for each, operators in chains.items():
        made = tmp_path / f"{each}.nc"
        cdo("-b", "F64", "copy", *operators, whole, made)
        with xr.open_dataset(made, decode_times=False) as right:
            ours = result.open("tas", "global", each=each).sel(target_year=2014)
            np.testing.assert_allclose(ours["tas"].values, right["tas"].values, rtol=2e-7)
            assert np.isfinite(ours["tas"].values).any()


def sources_of(path: Path) -> tuple[list[int], list[str]]:
    with xr.open_dataset(path, decode_times=False) as dataset:
        years = np.atleast_1d(dataset.attrs["source_years"]).tolist()
        return years, dataset.attrs["source_files"].split(", ")


@pytest.mark.slow
def test_a_winter_names_the_file_of_its_first_december(archive: Archive, tmp_path: Path) -> None:
    result = make(archive, tmp_path / "out", targets=[2007, 2014])
    winters = sorted(p for p in result.outputs if "_seas_" in p.name)
    days = sorted(p for p in result.outputs if "_day_" in p.name)
    assert [sources_of(p)[0] for p in days] == [list(range(2003, 2008)), list(range(2010, 2015))]
    years, files = sources_of(winters[1])
    assert years == list(range(2009, 2015))
    assert [Path(f).name for f in files] == [archive.path("tas", y).name for y in years]
    # The archive begins with 2003, so the first winter of the first window is missing.
    assert sources_of(winters[0])[0] == list(range(2003, 2008))


@pytest.mark.slow
def test_statistics_of_steps_are_those_of_their_definitions(
    archive: Archive, tmp_path: Path
) -> None:
    result = make(archive, tmp_path / "out")
    days = years_of(archive, 2010, 2014)
    monthly = days.groupby("time.year").map(
        lambda year: year.groupby("time.month").mean(skipna=True).astype(np.float32)
    )
    ours = result.open("tas", "global", each="month").sel(target_year=2014)
    valid = np.isfinite(ours["tas_std"].values)
    spread = monthly.astype(float).std("year", ddof=1).transpose("month", "lat", "lon").values
    highest = monthly.max("year").transpose("month", "lat", "lon").values
    np.testing.assert_allclose(ours["tas_std"].values[valid], spread[valid], rtol=3e-7)
    np.testing.assert_array_equal(ours["tas_max"].values[valid], highest[valid])
    hot = (days > 290).groupby("time.year").sum().mean("year")
    ours = result.open("tas", "global", each="year").sel(target_year=2014)
    there = np.isfinite(ours["hot_days"].values[0])
    assert there.any()
    np.testing.assert_allclose(ours["hot_days"].values[0][there], hot.values[there], rtol=1e-7)


@pytest.mark.slow
def test_a_normal_is_the_same_alone_and_among_others(archive: Archive, tmp_path: Path) -> None:
    """The December before the window is read for the first target as for all others."""
    assert make(archive, tmp_path / "all").ok
    assert make(archive, tmp_path / "one", targets="2012-2012").ok
    alone, among = contents(tmp_path / "one"), contents(tmp_path / "all")
    assert len(alone) == 5
    assert alone == {path: among[path] for path in alone}


@pytest.mark.slow
@pytest.mark.parametrize("output_format", ["netcdf", "zarr"])
def test_a_killed_run_goes_on_with_all_steps(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output_format: str
) -> None:
    assert make(archive, tmp_path / "whole", output_format).ok
    real = tasks.write

    def stop(spec: Any, context: Any, job: Any, carry: Any) -> Any:
        if job.window.last_year == 2013:
            raise OutputError("stopped by the test")
        return real(spec, context, job, carry)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "write", stop)
        assert not make(archive, tmp_path / "out", output_format).ok
    again = make(archive, tmp_path / "out", output_format)
    assert again.ok
    assert again.plan.chains[0].branches.steps["historical"][0].restores
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_workers_of_dask_make_the_same_steps(archive: Archive, tmp_path: Path) -> None:
    assert make(archive, tmp_path / "serial").ok
    with distributed.Client(
        processes=False, dashboard_address="127.0.0.1:0", set_as_default=False
    ) as client:
        assert make(archive, tmp_path / "dask", client=True, with_client=client).ok
    assert contents(tmp_path / "dask") == contents(tmp_path / "serial")


@pytest.mark.slow
def test_daily_normals_do_not_change_when_steps_are_made_too(
    archive: Archive, tmp_path: Path
) -> None:
    assert make(archive, tmp_path / "alone", normals=["mean"]).ok
    assert make(archive, tmp_path / "both").ok
    alone, both = contents(tmp_path / "alone"), contents(tmp_path / "both")
    assert len(alone) == 5
    assert alone == {path: both[path] for path in alone}


@pytest.mark.slow
def test_the_plan_lists_what_is_made(archive: Archive, tmp_path: Path) -> None:
    result = make(archive, tmp_path / "out")
    (line,) = (one for one in str(result.plan).splitlines() if "makes " in one)
    parts = line.strip().removeprefix("makes ").split("; ")
    assert parts[0] == "day: tas"
    assert set(parts[1:]) == {
        "mon: tas, tas_std, tas_max", "seas: tas", "yr: hot_days", "growing: tas"
    }  # fmt: skip


@pytest.mark.slow
def test_files_are_opened_once_for_all_frequencies(archive: Archive, tmp_path: Path) -> None:
    result = make(archive, tmp_path / "out")
    assert result.audit.opens == result.audit.files == 10  # 2005 to 2014, for the December of 2005


@pytest.mark.slow
def test_a_window_of_one_year_gives_each_years_own_values(archive: Archive, tmp_path: Path) -> None:
    entry = {"each": "year", "within": "max"}
    result = make(archive, tmp_path / "out", normals=[entry], window=1, targets="2010-2012")
    assert result.ok, result.failures
    made = result.open("tas", "global", each="year")["tas_max"]
    right = years_of(archive, 2010, 2012).groupby("time.year").max()
    there = np.isfinite(made.values[:, 0])
    assert there.any()
    np.testing.assert_array_equal(made.values[:, 0][there], right.values[there].astype(np.float32))


@pytest.mark.parametrize(
    ("normals", "said"),
    [
        ([{"each": "week"}], "'week' is no part of a year"),
        ([{"each": "month", "within": "days abov 3 K"}], "says no reduction"),
        ([{"each": "month", "pool_days": 5, "over_years": ["p90"]}], "pool_days is of days"),
        ([{"within": "sum"}], "made of the days of longer steps"),
        ([{"each": "month", "missing_days": "some"}], "some"),
        ([{"each": "month"}, {"each": [6, 7]}], "give one of them as days of its own name"),
        ([{"each": "month"}, {"each": "month"}], "named more than once"),
        ([{"each": "month", "variables": ["pr"]}], "pr is none of the workflow's tas"),
    ],
)
def test_what_cannot_be_made_is_said_with_its_key(
    normals: list[Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ClimdaskError, match=r"normals") as error:
        small(tmp_path, tmp_path / "out", normals=normals)
    assert said in str(error.value)


@pytest.mark.slow
def test_units_that_do_not_fit_are_said_before_a_run(archive: Archive, tmp_path: Path) -> None:
    entry = {"each": "year", "within": "days above 5 mm/day"}
    with pytest.raises(PlanError, match=r'normals: within: "days above 5 mm/day" .* "K"'):
        make(archive, tmp_path / "out", normals=[entry])
    assert not (tmp_path / "out").exists()

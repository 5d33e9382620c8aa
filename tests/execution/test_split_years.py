"""Years that lie partly in historical and partly in scenario files, as HadGEM2's do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from climdask.execution.serial import _Walk
from climdask.planning.plan import Limits
from climdask.running.results import RunResult
from climdask.running.run import run
from climdask.settings.workflow import Workflow
from tests.plans import context_of, plan_of
from tests.readback import contents
from tests.samples import dates_of, sample_values, write_file
from tests.workflows import small

CALENDAR = "360_day"
DECEMBER = 330  # its first day, counted from 0
# First and last month of each file: years from December to November.
FILES: Mapping[str, Sequence[tuple[int, int]]] = {
    "historical": ((199912, 200111), (200112, 200511)),
    "rcp45": ((200512, 200911), (200912, 201011)),
    "rcp85": ((200512, 200711), (200712, 201011)),
}


def values_of(experiment: str, year: int) -> npt.NDArray[np.float32]:
    """What an experiment has of a year, whole or not: float32 [day, lat, lon]."""
    return sample_values("tas", year, CALENDAR, seed=experiment)


def write_hadgem2(root: Path, files: Mapping[str, Sequence[tuple[int, int]]] = FILES) -> Path:
    for experiment, spans in files.items():
        for first, last in spans:
            write_months(root, experiment, first, last)
    return root


def write_months(
    root: Path, experiment: str, first: int, last: int, *, also: tuple[int, int, int] | None = None
) -> Path:
    """Write the months from ``first`` to ``last``, YYYYMM; ``also`` is a day that is not theirs."""
    years = range(first // 100, last // 100 + 1)
    dates = dates_of(years[0], years[-1], CALENDAR)
    values = np.concatenate([values_of(experiment, year) for year in years])
    kept = [first <= y * 100 + m <= last or (y, m, d) == also for y, m, d in dates]
    name = f"tas_day_HadGEM2-ES_{experiment}_r1i1p1_{first}01-{last}30.nc"
    own = [date for date, keep in zip(dates, kept, strict=True) if keep]
    write_file(root / name, "tas", own, CALENDAR, values[kept])
    return root / name


def workflow(root: Path, out: Path, **changes: Any) -> Workflow:
    content: dict[str, Any] = {
        "input": {"root": str(root), "pattern": "cmip5"}, "scenarios": ["rcp45", "rcp85"],
        "window": 3, "min_years": 1, "output": {"root": str(out), "count": True},
    }  # fmt: skip
    for key, value in changes.items():
        content[key] = content.get(key, {}) | value if isinstance(value, dict) else value
    return small(root, out, **content)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hadgem2(tmp_path_factory.mktemp("hadgem2"))


def year_of(branch: str, year: int) -> npt.NDArray[np.float32]:
    """A year on the way of a scenario: December of 2005 is the scenario's own."""
    values = values_of("historical" if year <= 2005 else branch, year).copy()
    if year == 2005:
        values[DECEMBER:] = values_of(branch, year)[DECEMBER:]
    if year == 1999:
        values[:DECEMBER] = np.nan
    if year == 2010:
        values[DECEMBER:] = np.nan
    return values


def mean_of(branch: str, target: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The normal of a target year and the values behind it, by NumPy."""
    years = np.stack([year_of(branch, y) for y in range(target - 2, target + 1)]).astype(np.float64)
    count = (~np.isnan(years)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return (np.nansum(years, axis=0) / count).astype(np.float32), count


def check(result: RunResult, first: str = "rcp45") -> None:
    """Check every normal; those of history have December of the scenario that is named first."""
    assert result.ok, result.failures
    for branch in result.plan.workflow.scenarios:
        with result.open("tas", "global", scenario=branch) as opened:
            assert opened["target_year"].values.tolist() == list(range(2001, 2011))
            for target in range(2001, 2011):
                normal = opened.sel(target_year=target)
                expected, count = mean_of(first if target <= 2005 else branch, target)
                np.testing.assert_array_equal(normal["tas"].values, expected)
                np.testing.assert_array_equal(normal["count"].values, count)


@pytest.mark.parametrize("form", ["netcdf", "zarr"])
@pytest.mark.slow
def test_a_year_takes_its_months_from_the_files_of_both_experiments(
    form: str, archive: Path, out: Path
) -> None:
    result = run(workflow(archive, out, output={"format": form}), serial=True)
    check(result)
    assert result.audit.opens == result.audit.files == 6


def own_client(flow: Workflow) -> RunResult:
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=4, processes=False, dashboard_address="127.0.0.1:0"
    )
    with cluster, distributed.Client(cluster) as client:
        return run(flow, client=client)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["netcdf", "zarr"])
def test_dask_leaves_the_same_bits(form: str, archive: Path, tmp_path: Path) -> None:
    serial, dask = (workflow(archive, tmp_path / n, output={"format": form}) for n in "ab")
    result = own_client(dask)
    check(result)
    assert result.audit.opens == result.audit.files == 6
    assert run(serial, serial=True).ok
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.slow
def test_without_memory_for_the_window_the_numbers_are_the_same(
    archive: Path, tmp_path: Path
) -> None:
    assert run(workflow(archive, tmp_path / "a"), serial=True).ok
    flow = workflow(archive, tmp_path / "b")
    plan = plan_of(flow, limits=Limits(memory_per_worker=1_000_000))
    (chain,) = plan.chains
    assert not chain.memory.keeps_ring
    list(_Walk(chain, context_of(flow, tmp_path / "locks")).events())
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.slow
def test_a_scenario_has_the_same_normals_whatever_others_are_named(
    archive: Path, tmp_path: Path
) -> None:
    assert run(workflow(archive, tmp_path / "both"), serial=True).ok
    alone = run(workflow(archive, tmp_path / "alone", scenarios=["rcp85"]), serial=True)
    check(alone, first="rcp85")
    both, own = contents(tmp_path / "both"), contents(tmp_path / "alone")
    of_2005 = {name for name in own if "_2005_" in name}
    assert len(of_2005) == 1
    assert {n: both[n] for n in own.keys() - of_2005} == {n: own[n] for n in own.keys() - of_2005}


@pytest.mark.slow
def test_other_scenarios_make_the_split_year_of_history_again_and_nothing_else(
    archive: Path, out: Path
) -> None:
    assert run(workflow(archive, out, scenarios=["rcp45"]), serial=True).ok
    again = run(workflow(archive, out, scenarios=["rcp85", "rcp45"]), serial=True)
    check(again, first="rcp85")
    made = [(job.branch, job.window.last_year) for _, job in again.plan.jobs]
    assert made == [("historical", 2005), *(("rcp85", year) for year in range(2006, 2011))]


def test_a_normal_tells_both_experiments_of_a_split_year(archive: Path, out: Path) -> None:
    assert run(workflow(archive, out, targets=[2006, 2008]), serial=True).ok
    path = next(out.rglob("*rcp85_2006_*.nc"))
    with xr.open_dataset(path, decode_times=False) as normal:
        said = normal.attrs["source_scenarios"].split(", ")
        files = normal.attrs["source_files"].split(", ")
    assert said == ["historical", "historical+rcp85", "rcp85"]
    assert files == [
        "tas_day_HadGEM2-ES_historical_r1i1p1_20011201-20051130.nc",
        "tas_day_HadGEM2-ES_rcp85_r1i1p1_20051201-20071130.nc",
    ]
    with xr.open_dataset(next(out.rglob("*rcp85_2008_*.nc")), decode_times=False) as normal:
        assert normal.attrs["source_scenarios"] == "rcp85, rcp85, rcp85"


def test_history_that_goes_on_gives_the_months_before_a_scenario_begins(
    tmp_path: Path, out: Path
) -> None:
    files = {"historical": [(200301, 200611)], "rcp45": [(200612, 200812)]}
    root = write_hadgem2(tmp_path / "in", files)
    result = run(workflow(root, out, scenarios=["rcp45"], targets=2007), serial=True)
    years = [values_of("historical", 2005), values_of("historical", 2006).copy(),
             values_of("rcp45", 2007)]  # fmt: skip
    years[1][DECEMBER:] = values_of("rcp45", 2006)[DECEMBER:]
    stack = np.stack(years).astype(np.float64)
    with np.errstate(invalid="ignore"):
        expected = np.nansum(stack, axis=0) / (~np.isnan(stack)).sum(axis=0)
    found = result.open("tas", "global").sel(target_year=2007)["tas"].values
    np.testing.assert_array_equal(found, expected.astype(np.float32))


@pytest.mark.slow
def test_a_bad_file_of_a_scenario_leaves_its_december_out(tmp_path: Path, out: Path) -> None:
    root = write_hadgem2(tmp_path / "in")
    (root / "tas_day_HadGEM2-ES_rcp85_r1i1p1_20051201-20071130.nc").write_bytes(b"no NetCDF")
    flow = workflow(root, out, run={"on_bad_file": "skip"})
    assert run(flow, serial=True).ok
    with xr.open_dataset(next(out.rglob("*rcp85_2008_*.nc")), decode_times=False) as normal:
        # All of 2006, and 2007 but for December, were in the bad file.
        assert normal.attrs["source_years"].tolist() == [2007, 2008]
        assert normal["years_per_day"].values.tolist() == [1] * DECEMBER + [2] * 30
    with xr.open_dataset(next(out.rglob("*rcp45_2008_*.nc")), decode_times=False) as normal:
        assert set(normal["years_per_day"].values.tolist()) == {3}


# ---------------------------------------------------------------- the edges of files


@pytest.mark.slow
def test_a_step_beyond_the_last_day_of_a_file_is_not_taken_for_the_next_ones(
    tmp_path: Path, out: Path
) -> None:
    root = write_hadgem2(tmp_path / "in")
    write_months(root, "historical", 200112, 200511, also=(2005, 12, 1))
    write_months(root, "rcp45", 200512, 200911, also=(2005, 11, 30))
    check(run(workflow(root, out), serial=True))


@pytest.mark.slow
def test_days_that_a_file_lacks_of_its_part_of_a_year_are_noted(tmp_path: Path, out: Path) -> None:
    root = write_hadgem2(tmp_path / "in")
    dates = dates_of(2001, 2005, CALENDAR)
    values = np.concatenate([values_of("historical", year) for year in range(2001, 2006)])
    own = [(y, m) < (2005, 12) and (y, m) > (2001, 11) for y, m, _ in dates]
    values[[date in [(2005, 11, 29), (2005, 11, 30)] for date in dates]] = np.nan
    path = root / "tas_day_HadGEM2-ES_historical_r1i1p1_20011201-20051130.nc"
    write_file(path, "tas", [d for d, k in zip(dates, own, strict=True) if k], CALENDAR,
               values[own])  # fmt: skip
    result = run(workflow(root, out), serial=True)
    assert result.audit.incomplete == ((str(path), "2 days of 2005 have no value"),)


@pytest.mark.slow
def test_whole_files_of_years_from_december_to_november_are_not_noted(
    archive: Path, out: Path
) -> None:
    assert run(workflow(archive, out), serial=True).audit.incomplete == ()

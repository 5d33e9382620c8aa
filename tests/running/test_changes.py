"""Changes against reference periods from end to end: values, both formats, resuming, Dask."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import distributed
import netCDF4
import numpy as np
import pytest

from climdask.climatology.calendars import DayAxis, Window
from climdask.climatology.changes import ReferenceNormals
from climdask.climatology.coverage import MissingRule, needed_values
from climdask.climatology.doubledoubles import DoubleDouble
from climdask.errors import ConfigError, DataError, PlanError
from climdask.execution import tasks
from climdask.execution.checkpoints import load_reference, save_reference
from climdask.execution.graph import build_chain, stage_of
from climdask.execution.tasks import RunContext, Superseded
from climdask.inputs.access import FileAccess
from climdask.planning.chains import CarryId
from climdask.planning.plan import Plan
from climdask.running.driver import Driver
from climdask.running.results import RunResult
from climdask.running.run import plan, run
from climdask.settings.workflow import Workflow
from tests.faults import FlakyReads
from tests.readback import contents
from tests.samples import Archive, write_archive
from tests.tools import call, wait_for
from tests.workflows import small

NORMALS: list[Any] = [
    "mean",
    {"over_years": ["std", "p90", "count"]},
    {"smooth": {"running_mean": 31}, "name": "smooth"},
    {"each": "month"},
    {"each": "season"},
    {"each": "month", "within": "sum", "variables": ["pr"], "missing_days": 0.5},
    {
        "each": "year",
        "within": "days above 280 K",
        "variables": ["tas"],
        "name": "warm_days",
        "missing_days": 0.5,
    },
]
CHANGE = {"reference": "2003-2007", "relative_floor": ["0.1 mm/day", "3 mm", "1 day"]}


def flow(archive: Archive, out: Path, **changes: Any) -> Workflow:
    wanted: dict[str, Any] = {
        "variables": ["tas", "pr"], "normals": NORMALS, "change": CHANGE, "min_years": 4,
        "targets": "2008-2019", "units": {"pr": "mm/day"},
    }  # fmt: skip
    return small(archive.root, out, **(wanted | changes))


def short(archive: Archive, out: Path, **changes: Any) -> Workflow:
    """The same with the mean of one variable alone."""
    return flow(
        archive, out, **({"variables": ["tas"], "normals": ["mean"], "units": {}} | changes)
    )


def context_of(todo: Plan, out: Path) -> RunContext:
    access = FileAccess("trace", out / "locks", out / "trace")
    access.prepare()
    return RunContext("run1", out, todo.inventory.root, access, "fail", 0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    root = tmp_path_factory.mktemp("in")
    return write_archive(root, variables=["tas", "pr"], first=2001, last=2019, calendar="noleap")


@pytest.fixture(scope="module")
def made(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    result = run(flow(archive, tmp_path_factory.mktemp("out")), serial=True)
    assert result.ok, result.failures
    return result


# ---------------------------------------------------------------- values, made by other means


def values_of(archive: Archive, variable: str, last: int, factor: float = 1.0) -> np.ndarray:
    """float64 [year, day, lat, lon] of the five years up to one."""
    years = [archive.values(variable, year) for year in range(last - 4, last + 1)]
    return np.stack(years).astype(np.float64) * factor


def mean_of(values: np.ndarray, least: int = 4) -> np.ndarray:
    """The mean by fsum, missing where fewer than some values are there."""
    found = np.full(values.shape[1:], np.nan)
    for place in np.ndindex(found.shape):
        there = values[(slice(None), *place)]
        there = there[~np.isnan(there)]
        if len(there) >= least:
            found[place] = math.fsum(there) / len(there)
    return found


def averaged(normal: np.ndarray) -> np.ndarray:
    """The mean of the 31 days around each, of those that are there."""
    shifted = [np.roll(normal, shift, axis=0) for shift in range(-15, 16)]
    total = np.nansum(shifted, axis=0)
    return np.where(np.isnan(normal), np.nan, total / (~np.isnan(shifted)).sum(axis=0).clip(1))


def ratio(normal: np.ndarray, reference: np.ndarray, floor: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.where(np.abs(reference) < floor, np.nan, 100 * (normal - reference) / reference)


@pytest.mark.slow
@pytest.mark.parametrize("target", [2008, 2014, 2019])
def test_the_change_of_a_daily_mean_is_target_minus_reference(
    target: int, archive: Archive, made: RunResult
) -> None:
    tas, reference = (mean_of(values_of(archive, "tas", y)) for y in (target, 2007))
    pr, pr_before = (mean_of(values_of(archive, "pr", y, 86400.0)) for y in (target, 2007))
    with made.open("tas", "global") as one, made.open("pr", "global") as other:
        got = one["tas_change"].sel(target_year=target).values
        np.testing.assert_allclose(got, tas - reference, rtol=1e-6, atol=1e-12)
        assert (np.isnan(got) == np.isnan(tas - reference)).all()
        assert 0 < np.isnan(got).mean() < 0.5
        got = other["pr_change"].sel(target_year=target).values
        np.testing.assert_allclose(got, pr - pr_before, rtol=1e-6, atol=1e-9)
        got = other["pr_change_percent"].sel(target_year=target).values
        wanted = ratio(pr, pr_before, 0.1)
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)
        assert np.isnan(got).sum() > np.isnan(pr - pr_before).sum(), "some are below the floor"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_changes_of_other_statistics_are_made_before_the_rounding(
    archive: Archive, made: RunResult
) -> None:
    own, before = (values_of(archive, "pr", year, 86400.0) for year in (2016, 2007))
    enough = [(~np.isnan(v)).sum(axis=0) >= 4 for v in (own, before)]
    with made.open("pr", "global") as dataset:
        for name, make in {
            "pr_std": lambda v: np.nanstd(v, axis=0, ddof=1),
            "pr_p90": lambda v: np.nanquantile(v, 0.9, axis=0),
        }.items():
            pair = [
                np.where(e, make(v), np.nan) for v, e in zip((own, before), enough, strict=True)
            ]
            got = dataset.sel(target_year=2016)
            np.testing.assert_allclose(
                got[f"{name}_change"], pair[0] - pair[1], rtol=1e-6, atol=1e-9, err_msg=name
            )
            np.testing.assert_allclose(
                got[f"{name}_change_percent"], ratio(*pair, 0.1), rtol=1e-6, atol=1e-6, err_msg=name
            )
        assert not {n for n in dataset.data_vars if str(n).startswith("pr_count_")}


@pytest.mark.slow
def test_the_change_of_a_smoothed_normal_is_that_of_smoothed_normals(
    archive: Archive, made: RunResult
) -> None:
    own, before = (averaged(mean_of(values_of(archive, "tas", year))) for year in (2017, 2007))
    with made.open("tas", "global") as dataset:
        got = dataset["smooth_change"].sel(target_year=2017).values
    np.testing.assert_allclose(got, own - before, rtol=1e-5, atol=1e-10)
    assert not np.isnan(got).all()


@pytest.mark.slow
def test_months_seasons_and_years_have_changes_too(archive: Archive, made: RunResult) -> None:
    def near(dataset: Any, name: str, percent: float | None = None) -> None:
        """Compare with what the rounded normals give, of which one target is the reference."""
        normal = dataset[name].astype(np.float64)
        reference = normals_of_reference[name].astype(np.float64)
        for target in (2008, 2019):
            pair = normal.sel(target_year=target).values, reference.values
            one = dataset.sel(target_year=target)
            bound = 2e-7 * np.nanmax(np.abs(pair[0]))
            np.testing.assert_allclose(one[f"{name}_change"], pair[0] - pair[1], atol=bound)
            assert not np.isnan(one[f"{name}_change"]).all()
            assert (percent is not None) == (f"{name}_change_percent" in dataset)
            if percent is not None:
                got = one[f"{name}_change_percent"]
                np.testing.assert_allclose(got, ratio(*pair, percent), rtol=1e-3, atol=1e-3)

    # The reference period as a target of a plain workflow.
    plain = run(
        flow(archive, made.folder.root.parent / "plain", change=None, targets=2007), serial=True
    )
    for variable, each, name, percent in (
        ("tas", "month", "tas", None),
        ("tas", "season", "tas", None),
        ("tas", "year", "warm_days", 1.0),
        ("pr", "month", "pr", 0.1),
        ("pr", "month", "pr_sum", 3.0),
    ):
        with (
            made.open(variable, "global", each=each) as dataset,
            plain.open(variable, "global", each=each) as other,
        ):
            normals_of_reference = other.sel(target_year=2007)
            near(dataset, name, percent)


@pytest.mark.slow
@pytest.mark.parametrize("calendar", ["standard", "360_day"])
def test_29_february_has_a_change_where_both_have_it(calendar: str, tmp_path: Path) -> None:
    own = write_archive(tmp_path / "in", first=2001, last=2016, calendar=calendar)
    result = run(
        short(own, tmp_path / "out", leap_day="keep", targets="2014-2016", min_years=3), serial=True
    )
    assert result.ok, result.failures
    plain = run(
        short(own, tmp_path / "plain", leap_day="keep", targets="2007-2016", min_years=3,
              change=None), serial=True,
    )  # fmt: skip
    with result.open("tas", "global") as one, plain.open("tas", "global") as other:
        normals = other["tas"].astype(np.float64)
        wanted = normals.sel(target_year=2015) - normals.sel(target_year=2007)
        got = one["tas_change"].sel(target_year=2015)
        np.testing.assert_allclose(got.values, wanted.values, atol=5e-5)
        axis = DayAxis(calendar, "keep")
        needed = needed_values(MissingRule(3, 5), axis, Window.ending(2007, 5))
        leap = axis.days.index((2, 29))
        assert needed[leap] == (1 if calendar == "standard" else 3)
        assert not np.isnan(got.values[leap]).all()


# ---------------------------------------------------------------- formats, executors, metadata


@pytest.mark.slow
def test_the_plain_normals_beside_changes_are_those_alone(
    archive: Archive, made: RunResult, tmp_path: Path
) -> None:
    alone = run(flow(archive, tmp_path, change=None), serial=True)
    for each in ("day", "month"):
        with (
            alone.open("pr", "global", each=each) as one,
            made.open("pr", "global", each=each) as two,
        ):
            assert set(one.data_vars) < set(two.data_vars)
            for name in one.data_vars:
                np.testing.assert_array_equal(one[name].values, two[name].values)
                assert one[name].attrs == two[name].attrs


@pytest.mark.slow
def test_both_formats_hold_the_same(archive: Archive, made: RunResult, tmp_path: Path) -> None:
    output = {"root": str(tmp_path), "format": "zarr"}
    stores = run(flow(archive, tmp_path, output=output), serial=True)
    assert stores.ok, stores.failures
    for each in ("day", "season"):
        with (
            made.open("pr", "global", each=each) as one,
            stores.open("pr", "global", each=each) as two,
        ):
            assert set(one.data_vars) == set(two.data_vars)
            own = two.sel(target_year=slice(2015, 2019))  # the store of the scenario
            for name in one.data_vars:
                mine = one[name].sel(target_year=own["target_year"].values)
                np.testing.assert_array_equal(mine.values, own[name].values, err_msg=str(name))


@pytest.mark.slow
def test_dask_makes_what_the_reference_executor_makes(
    archive: Archive, made: RunResult, tmp_path: Path
) -> None:
    with distributed.Client(
        processes=False, dashboard_address="127.0.0.1:0", set_as_default=False
    ) as client:
        result = run(flow(archive, tmp_path), client=client)
    assert result.ok, result.failures
    assert contents(tmp_path) == contents(made.folder.root)


@pytest.mark.slow
def test_each_file_is_opened_once_also_where_the_targets_are_far_from_the_reference(
    archive: Archive, tmp_path: Path
) -> None:
    result = run(short(archive, tmp_path, targets=2019), serial=True)
    assert result.ok, result.failures
    assert result.plan.opens == result.plan.files == 10
    with result.open("tas", "global") as dataset:
        wanted = mean_of(values_of(archive, "tas", 2019)) - mean_of(values_of(archive, "tas", 2007))
        got = dataset["tas_change"].sel(target_year=2019).values
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-12)


@pytest.mark.slow
def test_the_metadata_say_what_a_change_is(archive: Archive, made: RunResult) -> None:
    paths = {v: next(p for p in made.outputs if f"{v}_day" in p.name) for v in ("tas", "pr")}
    for path in paths.values():
        done = call("compliance-checker", "--test=cf:1.11", "--criteria=strict", path)
        assert done.returncode == 0, done.stdout
        assert "warning" not in call("cdo", "-s", "infon", path).stderr.lower()
    with netCDF4.Dataset(paths["tas"]) as dataset:
        normal, change = dataset["tas"], dataset["tas_change"]
        assert change.long_name == f"change from 2003-2007 of {normal.long_name}"
        assert (change.units, change.units_metadata) == ("K", "temperature: difference")
        assert change.reference_period == "2003-2007"
        assert change.cell_methods == normal.cell_methods
        assert not {"standard_name", "relative_floor"} & set(change.ncattrs())
        assert "tas_change_percent" not in dataset.variables, "no ratio of temperatures"
        assert dataset["smooth_change"].smoothing == "centred running mean of 31 days"
    with netCDF4.Dataset(paths["pr"]) as dataset:
        normal, percent = dataset["pr"], dataset["pr_change_percent"]
        assert percent.long_name == f"relative change from 2003-2007 of {normal.long_name}"
        assert (percent.units, percent.relative_floor) == ("%", "0.1 mm/day")
        assert dataset["pr_change"].units == "mm/day"


@pytest.mark.slow
def test_several_reference_periods_are_told_apart_by_name(archive: Archive, tmp_path: Path) -> None:
    change = {"reference": ["2003-2007", "2001-2005"], "relative_floor": "0.1 mm/day"}
    result = run(
        short(archive, tmp_path, variables=["pr"], change=change, targets="2008-2010"), serial=True
    )
    assert result.ok, result.failures
    factor = 1.0  # as in the files
    own, *others = (mean_of(values_of(archive, "pr", y, factor)) for y in (2009, 2005, 2007))
    with result.open("pr", "global") as dataset:
        one = dataset.sel(target_year=2009)
        for period, reference in zip(("2001_2005", "2003_2007"), others, strict=True):
            got = one[f"pr_change_{period}"].values
            np.testing.assert_allclose(got, own - reference, rtol=1e-6, atol=1e-14)
            got = one[f"pr_change_percent_{period}"].values
            np.testing.assert_allclose(
                got, ratio(own, reference, 0.1 / 86400), rtol=1e-5, atol=1e-5
            )
        assert "pr_change" not in dataset


@pytest.mark.slow
@pytest.mark.parametrize("scenarios", [["ssp245"], ["ssp245", "ssp585"]])
def test_a_reference_period_that_ends_in_a_scenario_is_that_of_each_scenario(
    scenarios: list[str], tmp_path: Path
) -> None:
    own = write_archive(tmp_path / "in", first=2008, last=2020, calendar="noleap",
                        scenarios=scenarios)  # fmt: skip
    change = {"reference": "2012-2016"}
    flow_ = short(own, tmp_path / "out", scenarios=scenarios, change=change, targets="2012-2020")
    result = run(flow_, serial=True)
    assert result.ok, result.failures
    assert any("changes of 2012-2015 against 2012-2016 are missing" in n for n in result.plan.notes)
    plain = run(
        short(own, tmp_path / "plain", scenarios=scenarios, change=None, targets="2012-2020"),
        serial=True,
    )
    for scenario in scenarios:
        with (
            result.open("tas", "global", scenario=scenario) as one,
            plain.open("tas", "global", scenario=scenario) as other,
        ):
            normals = other["tas"].astype(np.float64)
            for target in (2016, 2017, 2020):
                wanted = normals.sel(target_year=target) - normals.sel(target_year=2016)
                got = one["tas_change"].sel(target_year=target)
                np.testing.assert_allclose(got.values, wanted.values, atol=5e-5)
            assert not np.isnan(one["tas_change"].sel(target_year=2020)).all()
            assert (one["tas_change"].sel(target_year=2016).fillna(0) == 0).all()
            assert np.isnan(one["tas_change"].sel(target_year=[2012, 2015])).all()


# ---------------------------------------------------------------- going on, and what is stale


@pytest.mark.slow
@pytest.mark.parametrize("output_format", ["netcdf", "zarr"])
def test_a_run_that_broke_off_after_its_reference_goes_on_with_the_same_bits(
    output_format: str, tmp_path: Path
) -> None:
    own = write_archive(tmp_path / "in", first=2001, last=2019, calendar="noleap")
    out, whole = ({"root": str(tmp_path / n), "format": output_format} for n in ("out", "whole"))
    bad = own.path("tas", 2018)
    good = bad.read_bytes()
    bad.write_bytes(good[: len(good) // 2])
    assert not run(short(own, tmp_path / "out", output=out), serial=True).ok
    (saved,) = (tmp_path / "out").rglob("*.reference.npz")
    assert "day--tas" in load_reference(saved).values
    bad.write_bytes(good)
    again = run(short(own, tmp_path / "out", output=out), serial=True)
    assert again.ok, again.failures
    assert again.plan.opens < 10, "the years of the reference are not read again"
    assert not list((tmp_path / "out").rglob("*.npz")), "what is done needs none"
    assert run(short(own, tmp_path / "whole", output=whole), serial=True).ok
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_saved_reference_serves_dask_and_a_damaged_one_is_made_again(
    is_damaged: bool, tmp_path: Path
) -> None:
    own = write_archive(tmp_path / "in", first=2001, last=2019, calendar="noleap")
    bad = own.path("tas", 2018)
    good = bad.read_bytes()
    bad.write_bytes(good[: len(good) // 2])
    assert not run(short(own, tmp_path / "out"), serial=True).ok
    bad.write_bytes(good)
    (saved,) = (tmp_path / "out").rglob("*.reference.npz")
    if is_damaged:
        saved.write_bytes(saved.read_bytes()[:-100])
    with distributed.Client(
        processes=False, dashboard_address="127.0.0.1:0", set_as_default=False
    ) as client:
        again = run(short(own, tmp_path / "out"), client=client)
    assert again.ok, again.failures
    assert (2005 in again_years(again)) is is_damaged
    assert run(short(own, tmp_path / "whole"), serial=True).ok
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_the_loss_of_a_worker_does_not_change_a_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = write_archive(tmp_path / "in", first=2001, last=2024, calendar="noleap")
    wanted: dict[str, Any] = {"targets": "2007-2024", "change": {"reference": "2003-2007"}}
    out = tmp_path / "out"
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", memory_limit="4GiB"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.register_plugin(FlakyReads(share=0.0, seconds=0.05))
        pids = [next(iter(client.run(os.getpid).values()))]

        def kill(driver: Driver) -> bool:
            """Kill the worker long after the reference, which it holds."""
            if pids and len(list(out.rglob("*normal.nc"))) > 9:
                os.kill(pids.pop(), signal.SIGKILL)
                wait_for(lambda: any(future.status == "lost" for future in driver.futures))
            return True

        monkeypatch.setattr(Driver, "_go_on", kill)
        result = run(short(own, out, **wanted), client=client)
    assert result.ok, result.failures
    assert not pids, "it was killed"
    assert run(short(own, tmp_path / "whole", **wanted), serial=True).ok
    assert contents(out) == contents(tmp_path / "whole")
    assert 1 <= result.audit.opens - 24 <= 5 + 4 + 2 * result.plan.workflow.run.lookaheads[0]


def again_years(result: RunResult) -> set[int]:
    reads = [read for chain in result.plan.chains for read in chain.branches.reads]
    return {block.year for read in reads for block in read.blocks}


@pytest.mark.slow
def test_a_target_that_is_added_later_has_the_same_bits(archive: Archive, tmp_path: Path) -> None:
    for targets in ("2008-2012", "2008-2019"):
        result = run(short(archive, tmp_path / "out", targets=targets), serial=True)
        assert result.ok, result.failures
    assert result.plan.n_normals == 7
    assert run(short(archive, tmp_path / "whole"), serial=True).ok
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_normals_are_stale_when_the_reference_or_the_floor_or_its_files_change(
    tmp_path: Path,
) -> None:
    own = write_archive(tmp_path / "in", variables=["pr"], first=2001, last=2016, calendar="noleap")
    wanted: dict[str, Any] = {"variables": ["pr"], "targets": "2013-2014"}
    for change in (
        {"reference": "2003-2007"},
        {"reference": "2003-2007", "relative_floor": "0.1 mm/day"},
        {"reference": "2003-2007", "relative_floor": "0.2 mm/day"},
        {"reference": "2002-2006", "relative_floor": "0.2 mm/day"},
        None,
    ):
        result = run(short(own, tmp_path / "out", change=change, **wanted), serial=True)
        assert result.ok, result.failures
        assert result.plan.n_normals == 2
        assert (
            run(short(own, tmp_path / "out", change=change, **wanted), serial=True).plan.n_normals
            == 0
        )
    assert run(short(own, tmp_path / "files", **wanted), serial=True).ok
    path = own.path("pr", 2003)
    path.write_bytes(path.read_bytes())
    assert run(short(own, tmp_path / "files", **wanted), serial=True).plan.n_normals == 2


def test_changes_leave_hashes_and_checkpoints_of_what_they_do_not_touch(
    archive: Archive, tmp_path: Path
) -> None:
    plain, compared = (
        plan(short(archive, tmp_path, change=change)).chains[0] for change in (None, CHANGE)
    )
    assert plain.carry_hash("ssp245", 2016) == compared.carry_hash("ssp245", 2016)
    hashes = {c.normals("ssp245", 2016)[0].input_hash for c in (plain, compared)}
    assert len(hashes) == 2
    more = compared.memory.n_bytes - plain.memory.n_bytes
    assert more == (8 + 24 + 16) * plain.spec.cell_days, "written, unrounded and kept"


@pytest.mark.slow
def test_a_bad_file_that_the_reference_skipped_is_named_and_its_normals_made_again(
    tmp_path: Path,
) -> None:
    own = write_archive(tmp_path / "in", first=2001, last=2016, calendar="noleap")
    wanted: dict[str, Any] = {"targets": 2014, "run": {"on_bad_file": "skip"}}
    bad = own.path("tas", 2004)
    good = bad.read_bytes()
    bad.write_bytes(b"no netCDF")
    result = run(short(own, tmp_path / "out", **wanted), serial=True)
    assert result.ok, result.failures
    with netCDF4.Dataset(result.outputs[0]) as dataset:
        assert "2004" in dataset.skipped_files
    strict = run(short(own, tmp_path / "out", targets=2014), serial=True)
    assert strict.plan.n_normals == 1, "without skip what lacks the file is not taken"
    assert not strict.ok
    for least, works in ((4, True), (5, False)):
        thin = run(short(own, tmp_path / f"out{least}", min_years=least, **wanted), serial=True)
        assert thin.ok is works
    assert any("reference period 2003-2007: without the bad files of 2004" in text
               for text in thin.failures.values())  # fmt: skip
    bad.write_bytes(good)
    again = run(short(own, tmp_path / "out", targets=2014), serial=True)
    assert again.plan.n_normals == 1


@pytest.mark.slow
def test_a_region_has_the_changes_that_it_has_alone(archive: Archive, tmp_path: Path) -> None:
    box = {"name": "east", "lon": [60, 150], "lat": [-60, 40]}
    both, alone = (
        run(short(archive, tmp_path / name, regions=regions, targets=2015), serial=True)
        for name, regions in (("both", ["global", box]), ("alone", [box]))
    )
    with both.open("tas", "east") as one, alone.open("tas", "east") as other:
        np.testing.assert_array_equal(one["tas_change"].values, other["tas_change"].values)


def test_each_write_waits_for_its_reference_and_a_checkpoint_for_both(
    archive: Archive, tmp_path: Path
) -> None:
    todo = plan(short(archive, tmp_path, targets="2005-2019"))
    graph = build_chain(todo, todo.chains[0], context_of(todo, tmp_path))
    (reference,) = (key for key in graph.tasks if stage_of(key) == "reference")
    assert reference[2:4] == ("historical", 2007)
    assert reference in graph.wanted
    waiting = {key[3] for key in graph.tasks if reference in graph.tasks[key].dependencies
               and stage_of(key) == "write"}  # fmt: skip
    assert waiting == set(range(2007, 2020)), "the targets before its end have no change"
    checkpoints = [key for key in graph.tasks if stage_of(key) == "checkpoint"]
    (first,) = (key for key in checkpoints if key[3] == 2008)
    assert reference in graph.tasks[first].dependencies, "who is superseded finds it saved"


def test_a_superseded_reference_is_the_saved_one(archive: Archive, tmp_path: Path) -> None:
    todo = plan(short(archive, tmp_path))
    path = tmp_path / "saved.reference.npz"
    saved = ReferenceNormals(
        {"day--tas": DoubleDouble.of(np.array([[1.5, np.nan]]))},
        {"day--tas": np.array([True])},
        ((2004, "a/b.nc"),),
    )
    save_reference(path, saved)
    at, context = CarryId("historical", 2007), context_of(todo, tmp_path)
    marks = Superseded((("historical", 2012, "checkpoint"),))
    got = tasks.reference(todo.chains[0].spec, context, at, path, marks)
    np.testing.assert_array_equal(got.values["day--tas"].high, [[1.5, np.nan]])
    assert got.enough["day--tas"].tolist() == [True]
    assert got.skipped == saved.skipped
    path.rename(tmp_path / "other.reference.npz")
    with pytest.raises(DataError, match=r"other.reference.npz: checkpoint cannot be read .*moved"):
        load_reference(tmp_path / "other.reference.npz")


# ---------------------------------------------------------------- what is refused, and told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "change.reference: missing"),
        ({"reference": []}, r"change.reference: \[\]: .*at least 1"),
        ({"reference": "1990"}, 'change.reference.*"1990" is no period of years; expected such as'),
        ({"reference": 1990}, r"change.reference\[0\]: 1990: .*string"),
        ({"reference": "2010-1981"}, '"2010-1981" is no period of years'),
        ({"reference": "2001-2010"},
         "change: reference: 2001-2010 has 10 years, and window: 5; expected a period of the "
         "same length, such as 2001-2005"),
        ({"reference": ["2001-2005", "2001 - 2005"]}, "2001-2005 is named more than once"),
        ({"reference": "2001-2005", "relative_floor": "0.1"}, "no number above 0 with units"),
        ({"reference": "2001-2005", "relative_floor": "1 degC"}, "is a temperature, of which no"),
        ({"reference": "2001-2005", "floor": "1 mm"}, 'change.floor: unknown key "floor"'),
        ("2001-2005", "change: '2001-2005': expected keys and values: reference, relative_floor"),
    ],
)  # fmt: skip
def test_a_wrong_change_is_told_with_what_is_expected(
    change: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        small(tmp_path, tmp_path, change=change)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"change": {"reference": "2015-2019"}, "targets": "2010-2018"},
         "reference: 2015-2019 ends after the last target year 2018, so no change can be made; "
         "expected targets from 2019 on, or an earlier period"),
        ({"change": {"reference": "1998-2002"}},
         "change: reference: 1998-2002 has 2 source years .historical., fewer than min_years: 4"),
        ({"normals": ["mean", {"name": "tas_change", "over_years": "mean",
                               "smooth": {"harmonics": 2}}]},
         "normals: tas_change is the name of a change, and of something else"),
    ],
)  # fmt: skip
def test_a_reference_that_cannot_be_used_is_refused(
    changes: dict[str, Any], words: str, archive: Archive, tmp_path: Path
) -> None:
    with pytest.raises(PlanError, match=words):
        plan(short(archive, tmp_path, **changes))


def test_a_plan_tells_changes_and_targets_that_come_too_early(
    archive: Archive, tmp_path: Path
) -> None:
    text = str(plan(flow(archive, tmp_path, targets="2005-2019")))
    assert "change   against 2003-2007, in percent from 0.1 mm/day and 3 mm and 1 day on" in text
    assert "tas_p90, 4 changes; " in text
    assert "yr: warm_days, 2 changes" in text
    assert "tas: changes of 2005-2006 against 2003-2007 are missing: these target years" in text


def test_a_plan_notes_normals_whose_units_no_floor_fits(archive: Archive, tmp_path: Path) -> None:
    change = {"reference": "2003-2007", "relative_floor": "0.1 mm/day"}
    text = str(plan(flow(archive, tmp_path, change=change)))
    assert "no ratio of pr_sum (mm), as relative_floor has nothing of its units" in text
    assert "no ratio of warm_days (day)" in text
    assert "no ratio of tas (" not in text

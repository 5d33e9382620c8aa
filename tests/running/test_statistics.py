"""All statistics over the years from end to end: against CDO, after a fault, in both formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import distributed
import netCDF4
import numpy as np
import pytest
import xarray as xr

from climdask.climatology.calendars import DayAxis
from climdask.climatology.statistics import STATES
from climdask.running.results import RunResult
from climdask.running.run import plan, run
from climdask.settings.workflow import Workflow
from tests.readback import contents
from tests.samples import Archive, write_archive
from tests.tools import call, cdo
from tests.workflows import small

ALL: list[Any] = [
    "mean",
    "std",
    {"over_years": ["min", "max", "median", "count"]},
    {"over_years": ["p10", "p90", "p99.5"], "pool_days": 5},
    {"over_years": ["p90", "median"], "method": "weibull", "name": "day"},
]
CFTIME = xr.coders.CFDatetimeCoder(use_cftime=True)
NAMES = {
    "tas", "tas_std", "tas_min", "tas_max", "tas_median", "tas_count", "tas_p10", "tas_p90",
    "tas_p99_5", "day_p90", "day_median",
}  # fmt: skip
CALENDARS = {"standard": "keep", "noleap": "drop", "360_day": "drop"}


@pytest.fixture(scope="module", params=CALENDARS)
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    root = tmp_path_factory.mktemp("in")
    return write_archive(root, first=2007, last=2018, calendar=request.param)


def flow(archive: Archive, out: Path, **changes: Any) -> Workflow:
    leap_day = CALENDARS[archive.calendar]
    return small(
        archive.root, out, **{"normals": ALL, "leap_day": leap_day, "min_years": 4, **changes}
    )


@pytest.fixture(scope="module")
def made(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    result = run(flow(archive, tmp_path_factory.mktemp("out")), serial=True)
    assert result.ok, result.failures
    return result


def on_axis(archive: Archive, years: range) -> tuple[DayAxis, np.ndarray]:
    """The axis, and float64 [year, day, lat, lon] of what the files hold, NaN where missing."""
    axis = DayAxis(archive.calendar, CALENDARS[archive.calendar])
    found = np.full((len(years), len(axis), 4, 5), np.nan)
    for n, year in enumerate(years):
        with xr.open_dataset(archive.path("tas", year), decode_times=CFTIME) as dataset:
            places = axis.positions(dataset.time.dt.month, dataset.time.dt.day)
            found[n, places[places >= 0]] = dataset["tas"].values[places >= 0]
    return axis, found


def values_of(result: RunResult, target: int) -> xr.Dataset:
    path = next(p for p in result.outputs if f"_{target}_" in p.name)
    with xr.open_dataset(path, decode_times=False) as dataset:
        return dataset.load()


@pytest.mark.slow
def test_every_statistic_is_what_its_definition_says(archive: Archive, made: RunResult) -> None:
    axis, values = on_axis(archive, range(2010, 2015))
    near = [(np.arange(len(axis)) + step) % len(axis) for step in range(-2, 3)]
    pools = np.concatenate([values[:, days] for days in near])
    one, pooled = ((~np.isnan(v)).sum(axis=0) for v in (values, pools))
    exists = np.stack([axis.exists_in(year) for year in range(2010, 2015)]).sum(axis=0)
    enough = one >= np.maximum(-(-4 * exists // 5), 1)[:, None, None]
    share = sum(exists[days] for days in near)
    enough_pooled = pooled >= np.maximum(-(-4 * share // 5), 1)[:, None, None]
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
        expected = {
            "tas": (np.nanmean(values, axis=0), enough),
            "tas_std": (np.nanstd(values, axis=0, ddof=1), enough & (one > 1)),
            "tas_min": (np.nanmin(values, axis=0), enough),
            "tas_max": (np.nanmax(values, axis=0), enough),
            "tas_median": (np.nanmedian(values, axis=0), enough),
            "day_median": (np.nanmedian(values, axis=0), enough),
            "day_p90": (np.nanquantile(values, 0.9, axis=0, method="weibull"), enough),
            "tas_p10": (np.nanquantile(pools, 0.1, axis=0), enough_pooled),
            "tas_p90": (np.nanquantile(pools, 0.9, axis=0), enough_pooled),
            "tas_p99_5": (np.nanquantile(pools, 0.995, axis=0), enough_pooled),
        }
    got = values_of(made, 2014)
    np.testing.assert_array_equal(got["tas_count"].values, one)
    for name, (theirs, there) in expected.items():
        wanted = np.where(there, theirs, np.nan).astype(np.float32)
        np.testing.assert_allclose(got[name].values, wanted, rtol=2e-6, atol=0, err_msg=name)
    for name in ("tas_min", "tas_max"):
        wanted = np.where(enough, expected[name][0], np.nan).astype(np.float32)
        np.testing.assert_array_equal(got[name].values, wanted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "operator"),
    [("tas", "ydaymean"), ("tas_std", "ydaystd1"), ("tas_min", "ydaymin"), ("tas_max", "ydaymax")],
)
def test_it_is_what_cdo_makes_of_the_window(
    name: str, operator: str, archive: Archive, made: RunResult, tmp_path: Path
) -> None:
    sources = [archive.path("tas", year) for year in range(2010, 2015)]
    cdo("-b", "F64", f"-{operator}", "-mergetime", *sources, tmp_path / "cdo.nc")
    with xr.open_dataset(tmp_path / "cdo.nc", decode_times=False) as dataset:
        theirs = dataset["tas"].values
    ours = values_of(made, 2014)[name].values
    there = ~np.isnan(ours)
    assert ours.shape == theirs.shape
    assert there.mean() > 0.8
    if operator in ("ydaymin", "ydaymax"):
        np.testing.assert_array_equal(ours[there], theirs[there])
    # Two steps of float32 at 300 K, and what the running sums of CDO in float64 lose.
    np.testing.assert_allclose(ours[there], theirs[there], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_both_formats_hold_the_same(archive: Archive, made: RunResult, tmp_path: Path) -> None:
    stores = run(flow(archive, tmp_path, output={"root": str(tmp_path), "format": "zarr"}),
                 serial=True)  # fmt: skip
    assert stores.ok, stores.failures
    with made.open("tas", "global") as files, stores.open("tas", "global") as zarr:
        assert NAMES <= set(files.data_vars) == set(zarr.data_vars)
        for name in NAMES:
            mine, theirs = files[name].load(), zarr[name].load()
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine.values, theirs.values, err_msg=name)
            assert mine.attrs == theirs.attrs
            assert mine.dims == theirs.dims


@pytest.mark.slow
def test_dask_makes_what_the_reference_makes(
    archive: Archive, made: RunResult, tmp_path: Path
) -> None:
    with distributed.Client(
        processes=False, dashboard_address=":0", set_as_default=False
    ) as client:
        result = run(flow(archive, tmp_path), client=client)
    assert result.ok, result.failures
    assert contents(tmp_path) == contents(made.folder.root)


@pytest.mark.slow
@pytest.mark.parametrize("output_format", ["netcdf", "zarr"])
def test_a_run_that_broke_off_goes_on_with_the_same_bits(
    output_format: str, archive: Archive, tmp_path: Path
) -> None:
    out, whole = ({"root": str(tmp_path / n), "format": output_format} for n in ("out", "whole"))
    bad = archive.path("tas", 2017)
    good = bad.read_bytes()
    bad.write_bytes(good[: len(good) // 2])
    try:
        assert not run(flow(archive, tmp_path / "out", output=out), serial=True).ok
    finally:
        bad.write_bytes(good)
    assert list((tmp_path / "out").rglob("*.npz")), "it left checkpoints"
    told: list[str] = []
    again = run(flow(archive, tmp_path / "out", output=out), serial=True, report=told.append)
    assert again.ok
    assert any("1 branch starts from a checkpoint" in line for line in told)
    assert run(flow(archive, tmp_path / "whole", output=whole), serial=True).ok
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


# ---------------------------------------------------------------- one calendar is enough for these


@pytest.fixture
def short(tmp_path: Path) -> Archive:
    return write_archive(tmp_path / "in", first=2008, last=2015, calendar="noleap")


@pytest.mark.slow
def test_the_mean_beside_other_statistics_is_the_mean_alone(short: Archive, tmp_path: Path) -> None:
    alone = run(small(short.root, tmp_path / "alone"), serial=True)
    beside = run(small(short.root, tmp_path / "all", normals=ALL), serial=True)
    with alone.open("tas", "global") as one, beside.open("tas", "global") as all_:
        xr.testing.assert_identical(one["tas"].load(), all_["tas"].load())


@pytest.mark.slow
@pytest.mark.parametrize("output_format", ["netcdf", "zarr"])
@pytest.mark.parametrize("normals", [["std"], ["p90", "count"], ["count"]])
def test_normals_without_the_mean(
    normals: list[str], output_format: str, short: Archive, tmp_path: Path
) -> None:
    output = {"root": str(tmp_path / "out"), "format": output_format}
    result = run(small(short.root, tmp_path / "out", normals=normals, output=output), serial=True)
    assert result.ok, result.failures
    with result.open("tas", "global") as dataset:
        assert {f"tas_{n}" for n in normals} <= set(dataset.data_vars)
        assert "tas" not in dataset
    again = run(small(short.root, tmp_path / "out", normals=normals, output=output), serial=True)
    assert again.plan.n_normals == 0


@pytest.mark.slow
def test_a_report_shows_normals_without_the_mean(short: Archive, tmp_path: Path) -> None:
    from climdask.reporting.data import collect

    for output_format in ("netcdf", "zarr"):
        out = tmp_path / output_format
        output = {"root": str(out), "format": output_format}
        assert run(small(short.root, out, normals="std", output=output), serial=True).ok
        data = collect(out)
        assert [field.product for field in data.fields] == ["tas_std"]
        assert not data.left_out


def test_statistics_that_keep_the_same_share_checkpoints_and_no_normals(
    short: Archive, tmp_path: Path
) -> None:
    entries = (["mean"], ["mean", "p90"], ["mean", "median", "p95"], ["mean", "std"], ["std"])
    chains = [plan(small(short.root, tmp_path / "out", normals=n)).chains[0] for n in entries]
    carries = [chain.carry_hash("ssp245", 2014) for chain in chains]
    assert carries[1] == carries[2]
    assert carries[3] == carries[4]
    assert len(set(carries)) == 3
    normals = {chain.normals("ssp245", 2015)[0].input_hash for chain in chains}
    assert len(normals) == 5


@pytest.mark.slow
def test_the_checker_and_cdo_accept_the_files(short: Archive, tmp_path: Path) -> None:
    result = run(small(short.root, tmp_path / "out", normals=ALL), serial=True)
    done = call("compliance-checker", "--test=cf:1.11", "--criteria=strict", result.outputs[0])
    assert done.returncode == 0, done.stdout
    assert "warning" not in call("cdo", "-s", "infon", result.outputs[0]).stderr.lower()
    with netCDF4.Dataset(result.outputs[0]) as dataset:
        mean, std, p90, count = (dataset[f"tas{n}"] for n in ("", "_std", "_p90", "_count"))
        assert std.cell_methods == "time: mean within years time: standard_deviation over years"
        assert (std.units, std.units_metadata) == ("K", "temperature: difference")
        assert "cell_methods" not in p90.ncattrs(), "CF has none for percentiles"
        assert p90.long_name == f"percentile 90 over the years and 5 days of {mean.long_name}"
        said = (p90.percentile, p90.percentile_definition, p90.pool_days, p90.units_metadata)
        assert said == (90, "linear", 5, "temperature: on_scale")
        assert (count.dtype, count.units) == (np.int16, "1")
        assert dataset.history.endswith(
            "mean, std, min, max, median, count, p10, p90, p99.5 of each day of the year over "
            f"{dataset.target_year - 4}-{dataset.target_year}"
        )


@pytest.mark.slow
def test_digits_are_rounded_of_values_and_not_of_counts(short: Archive, tmp_path: Path) -> None:
    output = {"root": str(tmp_path / "out"), "significant_digits": 2}
    result = run(
        small(short.root, tmp_path / "out", normals=["std", "count"], output=output), serial=True
    )
    with xr.open_dataset(result.outputs[0], decode_times=False) as dataset:
        assert not (dataset["tas_std"].values.view(np.uint32) & 0xFFFF).any()
        assert set(np.unique(dataset["tas_count"])) == {3, 4, 5} or dataset["tas_count"].max() == 5


def test_a_plan_says_what_sorted_years_take_and_that_they_do_not_fit(
    short: Archive, tmp_path: Path
) -> None:
    from climdask.planning.plan import Limits

    made = plan(small(short.root, tmp_path / "out", normals=["mean", "p90"]))
    (chain,) = made.chains
    alone = plan(small(short.root, tmp_path / "out")).chains[0]
    assert chain.spec.state_bytes - alone.spec.state_bytes == 5 * 4
    assert STATES["sorted"].bytes_per_value(30) == 120
    tight = made.fitted(Limits(memory_per_worker=500 << 10))
    (note,) = (n for n in tight.notes if "projected memory" in n)
    assert "KiB of it are the 5 years of each day and cell, sorted for min, max, median" in note
    roomy = made.fitted(Limits(memory_per_worker=1 << 30))
    assert not any("projected memory" in n for n in roomy.notes)


def test_the_output_of_a_plan_counts_all_statistics(short: Archive, tmp_path: Path) -> None:
    one, all_ = (
        plan(small(short.root, tmp_path / "out", normals=n)) for n in (["mean"], ["std", "count"])
    )
    assert all_.output_bytes * 4 == one.output_bytes * 6

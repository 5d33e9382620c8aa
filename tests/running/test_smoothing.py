"""Smoothed normals from end to end: values, metadata, both formats, after a fault, with Dask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import distributed
import netCDF4
import numpy as np
import pytest
import xarray as xr

from climdask.climatology.calendars import DayAxis, Window
from climdask.climatology.coverage import MissingRule, needed_values
from climdask.errors import ConfigError
from climdask.running.run import plan, run
from climdask.settings.workflow import Workflow
from tests.readback import contents
from tests.samples import Archive, write_archive
from tests.tools import call
from tests.workflows import small

SMOOTH: list[Any] = [
    "mean",
    {"smooth": {"harmonics": 4}, "name": "waves"},
    {"over_years": ["mean", "std", "p90"], "smooth": {"running_mean": 31}, "name": "running"},
    {"smooth": {"triangular": 29}, "name": "triangle", "over_years": ["mean", "median"]},
    {"over_years": "p90", "pool_days": 5, "smooth": {"harmonics": 2}},
]
NAMES = {
    "tas", "waves", "running", "running_std", "running_p90", "triangle", "triangle_median",
    "tas_p90_smoothed",
}  # fmt: skip
CALENDARS = {"standard": "keep", "noleap": "drop", "360_day": "drop"}


def flow(archive: Archive, out: Path, **changes: Any) -> Workflow:
    leap_day = CALENDARS[archive.calendar]
    return small(
        archive.root, out, **{"normals": SMOOTH, "leap_day": leap_day, "min_years": 4, **changes}
    )


def window_of(archive: Archive, target: int) -> tuple[DayAxis, np.ndarray]:
    """The axis, and float64 [year, day, cell] of a window's years, NaN where missing."""
    axis = DayAxis(archive.calendar, CALENDARS[archive.calendar])
    found = np.full((5, len(axis), 4, 5), np.nan)
    for n, year in enumerate(range(target - 4, target + 1)):
        coder = xr.coders.CFDatetimeCoder(use_cftime=True)
        with xr.open_dataset(archive.path("tas", year), decode_times=coder) as dataset:
            places = axis.positions(dataset.time.dt.month, dataset.time.dt.day)
            found[n, places[places >= 0]] = dataset["tas"].values[places >= 0]
    return axis, found.reshape(5, len(axis), -1)


def fitted(normal: np.ndarray, pairs: int) -> np.ndarray:
    """A fit by numpy, cell by cell, on the days that are there."""
    angle = 2 * np.pi * np.arange(len(normal)) / len(normal)
    waves = [f(k * angle) for k in range(1, pairs + 1) for f in (np.sin, np.cos)]
    basis = np.stack([np.ones(len(normal)), *waves], axis=1)
    found = np.full(normal.shape, np.nan)
    for cell, values in enumerate(normal.T):
        there = ~np.isnan(values)
        if there.sum() >= basis.shape[1]:
            weights = np.linalg.lstsq(basis[there], values[there], rcond=None)[0]
            found[there, cell] = basis[there] @ weights
    return found


def averaged(normal: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A centred mean around the circle, day by day, of the days that are there."""
    half, n_days = len(weights) // 2, len(normal)
    found = np.full(normal.shape, np.nan)
    for day in range(n_days):
        near = normal[np.arange(day - half, day + half + 1) % n_days]
        weighed = np.where(np.isnan(near), 0, weights[:, None])
        with np.errstate(invalid="ignore"):
            found[day] = np.nansum(near * weighed, axis=0) / weighed.sum(axis=0)
    return np.where(np.isnan(normal), np.nan, found)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("calendar", CALENDARS)
def test_smoothed_normals_are_what_their_definition_says(calendar: str, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "in", first=2009, last=2015, calendar=calendar)
    result = run(flow(archive, tmp_path / "out"), serial=True)
    assert result.ok, result.failures
    axis, values = window_of(archive, 2015)
    needed = needed_values(MissingRule(4, 5), axis, Window.ending(2015, 5))
    enough = (~np.isnan(values)).sum(axis=0) >= needed[:, None]
    plain = {
        "mean": np.nanmean(values, axis=0),
        "std": np.nanstd(values, axis=0, ddof=1),
        "median": np.nanmedian(values, axis=0),
        "p90": np.nanquantile(values, 0.9, axis=0),
    }
    plain = {name: np.where(enough, one, np.nan) for name, one in plain.items()}
    flat, falling = np.ones(31), 15.0 - np.abs(np.arange(-14, 15))
    expected = {
        "tas": plain["mean"],
        "waves": fitted(plain["mean"], 4),
        "running": averaged(plain["mean"], flat),
        "running_std": averaged(plain["std"], flat),
        "running_p90": averaged(plain["p90"], flat),
        "triangle": averaged(plain["mean"], falling),
        "triangle_median": averaged(plain["median"], falling),
    }
    with result.open("tas", "global") as dataset:
        for name, wanted in expected.items():
            got = dataset[name].sel(target_year=2015).values.reshape(len(axis), -1)
            np.testing.assert_allclose(got, wanted, rtol=2e-7, atol=0, err_msg=name)


# ---------------------------------------------------------------- one calendar is enough for these


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return write_archive(tmp_path / "in", first=2008, last=2017, calendar="noleap")


@pytest.mark.slow
def test_the_metadata_say_how_it_was_smoothed(archive: Archive, tmp_path: Path) -> None:
    result = run(flow(archive, tmp_path / "out"), serial=True)
    done = call("compliance-checker", "--test=cf:1.11", "--criteria=strict", result.outputs[0])
    assert done.returncode == 0, done.stdout
    with netCDF4.Dataset(result.outputs[0]) as dataset:
        mean, waves, running = (dataset[name] for name in ("tas", "waves", "running_std"))
        assert "smoothing" not in mean.ncattrs()
        assert waves.smoothing == "least-squares fit of the mean and 4 harmonics of the year"
        assert waves.long_name == f"smoothed mean over the years of {mean.long_name}"
        assert waves.cell_methods == mean.cell_methods
        assert waves.standard_name == mean.standard_name
        assert running.smoothing == "centred running mean of 31 days"
        assert (
            running.long_name == f"smoothed standard deviation over the years of {mean.long_name}"
        )
        assert dataset["triangle"].smoothing == "centred triangular mean of 29 days"


@pytest.mark.slow
def test_both_formats_and_executors_hold_the_same(archive: Archive, tmp_path: Path) -> None:
    files = run(flow(archive, tmp_path / "files"), serial=True)
    output = {"root": str(tmp_path / "zarr"), "format": "zarr"}
    stores = run(flow(archive, tmp_path / "zarr", output=output), serial=True)
    with distributed.Client(
        processes=False, dashboard_address="127.0.0.1:0", set_as_default=False
    ) as client:
        assert run(flow(archive, tmp_path / "dask"), client=client).ok
    assert contents(tmp_path / "dask") == contents(tmp_path / "files")
    with files.open("tas", "global") as one, stores.open("tas", "global") as other:
        assert NAMES <= set(one.data_vars) == set(other.data_vars)
        for name in NAMES:
            mine, theirs = one[name].load(), other[name].load()
            np.testing.assert_array_equal(mine.values, theirs.values, err_msg=name)
            assert mine.attrs == theirs.attrs


@pytest.mark.slow
def test_a_run_that_broke_off_goes_on_with_the_same_bits(archive: Archive, tmp_path: Path) -> None:
    bad = archive.path("tas", 2017)
    good = bad.read_bytes()
    bad.write_bytes(good[: len(good) // 2])
    assert not run(flow(archive, tmp_path / "out"), serial=True).ok
    bad.write_bytes(good)
    told: list[str] = []
    assert run(flow(archive, tmp_path / "out"), serial=True, report=told.append).ok
    assert any("1 branch starts from a checkpoint" in line for line in told)
    assert run(flow(archive, tmp_path / "whole"), serial=True).ok
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_another_smoothing_makes_normals_stale(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for smooth in ({"harmonics": 3}, {"harmonics": 4}, {"running_mean": 31}, {"triangular": 31}):
        made = run(flow(archive, out, normals=[{"smooth": smooth}]), serial=True)
        assert made.ok, made.failures
        assert made.plan.n_normals == made.plan.n_all
    assert run(flow(archive, out, normals=[{"smooth": smooth}]), serial=True).plan.n_normals == 0


def test_smoothing_shares_the_checkpoints_of_what_is_not_smoothed(
    archive: Archive, tmp_path: Path
) -> None:
    entries: list[Any] = [["mean"], [{"smooth": {"harmonics": 4}}]]
    plain, smooth = (plan(flow(archive, tmp_path, normals=n)).chains[0] for n in entries)
    assert plain.carry_hash("ssp245", 2015) == smooth.carry_hash("ssp245", 2015)
    more = smooth.memory.n_bytes - plain.memory.n_bytes
    assert more == 24 * plain.spec.cell_days, "two float64 before the rounding, and one smoothed"


def test_a_plan_lists_how_products_are_smoothed(archive: Archive, tmp_path: Path) -> None:
    text = str(plan(flow(archive, tmp_path / "out")))
    assert "makes day: tas, running (centred running mean of 31 days), " in text
    assert "tas_p90_smoothed (least-squares fit of the mean and 2 harmonics of the year)" in text


@pytest.mark.parametrize(
    ("normals", "words"),
    [
        ([{"smooth": {}}], r"normals\[0\].*smooth: nothing given; expected exactly one of harmoni"),
        ([{"smooth": {"harmonics": 4, "running_mean": 31}}],
         "smooth: harmonics and running_mean given; expected exactly one of harmonics, running_m"),
        ([{"smooth": 4}], r"normals\[0\].smooth: 4: expected keys and values: harmonics"),
        ([{"smooth": {"harmonic": 4}}], 'unknown key "harmonic"; did you mean "harmonics"'),
        ([{"smooth": {"harmonics": 0}}], "harmonics: 0: .*greater than or equal to 1"),
        ([{"smooth": {"harmonics": 180}}], "harmonics: 180: .*less than 180"),
        ([{"smooth": {"harmonics": True}}], "harmonics: True: YAML reads this as true or false"),
        ([{"smooth": {"harmonics": 2.5}}], "harmonics: 2.5: .*valid integer"),
        ([{"smooth": {"running_mean": 30}}], "running_mean: 30: .*odd number, such as 31"),
        ([{"smooth": {"running_mean": 361}}], "running_mean: 361: .*less than 360"),
        ([{"smooth": {"triangular": 1}}], "triangular: 1: .*greater than or equal to 3"),
        ([{"smooth": {"harmonics": 4}, "each": "month"}], "smooth is of days; leave it out"),
        ([{"smooth": {"harmonics": 4}, "over_years": ["mean", "count"]}],
         "over_years: count is a number of values, which is not smoothed"),
        ([{"smooth": {"triangular": 29}}, {"smooth": {"running_mean": 31}}],
         r"smooth: \{running_mean: 31\} and mean with smooth: \{triangular: 29\} would both be "
         "tas_smoothed; give one of them a name"),
        (["mean", {"smooth": {"harmonics": 4}, "name": "tas"}],
         r"mean and mean with smooth: \{harmonics: 4\}, name: tas would both be tas; give one"),
    ],
)  # fmt: skip
def test_a_wrong_smoothing_is_told_with_what_is_expected(
    normals: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        small(tmp_path, tmp_path, normals=normals)


@pytest.mark.slow
def test_a_normal_and_what_is_smoothed_of_it_stand_side_by_side(
    archive: Archive, tmp_path: Path
) -> None:
    normals = ["mean", "std", {"smooth": {"harmonics": 4}, "over_years": ["mean", "std"]}]
    result = run(flow(archive, tmp_path / "out", normals=normals), serial=True)
    with result.open("tas", "global") as dataset:
        values = {n: dataset[n].isel(target_year=0).values for n in ("tas", "tas_std")}
        for name, plain in values.items():
            right = fitted(plain.reshape(len(plain), -1).astype(float), 4)
            got = dataset[f"{name}_smoothed"].isel(target_year=0).values
            np.testing.assert_allclose(got.reshape(right.shape), right, rtol=1e-6)

"""Reductions within the year against CDO."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np
import pytest

from climdask.climatology.blocks import Block
from climdask.climatology.calendars import DayAxis, is_leap
from climdask.climatology.cycles import Cycle
from climdask.climatology.expressions import parse
from climdask.climatology.missingdays import ALL
from climdask.climatology.reductions import YearReduction, tail_of
from climdask.climatology.smoothing import Windowed
from tests.tools import cdo

pytestmark = pytest.mark.slow  # starts CDO

AXIS = DayAxis("standard", "keep")
YEARS = (1999, 2000, 2001)
CELLS = (3, 4)


def values_of(kind: str) -> np.ndarray:
    """Return three years, float32 [day, cell]; temperatures in K, or precipitation."""
    rng = np.random.default_rng(11)
    n = sum(366 if is_leap("standard", y) else 365 for y in YEARS)
    if kind == "pr":
        return rng.gamma(0.1, 5e-5, (n, 12)).astype(np.float32)
    cycle = 12 * np.sin(2 * np.pi * np.arange(n) / 365.25 - 2)
    noise = np.cumsum(rng.normal(size=(n, 12)), axis=0) % 7
    return (285 + cycle[:, None] + noise).astype(np.float32)


def written(path: Path, name: str, values: np.ndarray, units: str) -> Path:
    with netCDF4.Dataset(path, "w") as ds:
        for dim, size in zip(("time", "lat", "lon"), (len(values), *CELLS), strict=True):
            ds.createDimension(dim, None if dim == "time" else size)
        time = ds.createVariable("time", "f8", ("time",))
        time.units, time.calendar = f"days since {YEARS[0]}-01-01", "standard"
        time[:] = np.arange(len(values)) + 0.5
        for dim, units_of, size in (("lat", "degrees_north", 3), ("lon", "degrees_east", 4)):
            axis = ds.createVariable(dim, "f8", (dim,))
            axis.units, axis[:] = units_of, np.arange(size)
        field = ds.createVariable(name, "f4", ("time", "lat", "lon"))
        field.units, field[:] = units, values.reshape(-1, *CELLS)
    return path


def blocks_of(values: np.ndarray) -> list[Block]:
    blocks, first = [], 0
    for year in YEARS:
        exists = AXIS.exists_in(year)
        found = np.full((366, values.shape[1]), np.nan, np.float32)
        found[exists] = values[first : first + exists.sum()]
        first += exists.sum()
        blocks.append(Block.of(year, found))
    return blocks


def ours(text: str, each: str, kind: str) -> np.ndarray:
    """Return every year's steps, float32 [year, step, cell]."""
    units = "kg m-2 s-1" if kind == "pr" else "K"
    bound = parse(text).bind(units, water=kind == "pr")
    reduction = YearReduction(bound.reduction, Cycle.of(each).on(AXIS), ALL)
    before, found = None, []
    for block in blocks_of(values_of(kind)):
        found.append(reduction(block, tail_of(before, reduction.days_before)).values)
        before = block
    return np.stack(found)


def theirs(tmp_path: Path, kind: str, *operators: str) -> np.ndarray:
    """Return what CDO makes of it, float32 [step, cell]."""
    units = "kg m-2 s-1" if kind == "pr" else "K"
    name = "pr" if kind == "pr" else "tas"
    source = written(tmp_path / "in.nc", name, values_of(kind), units)
    cdo(*operators, source, tmp_path / "out.nc")
    with netCDF4.Dataset(tmp_path / "out.nc") as ds:
        first = next(v for v in ds.variables.values() if v.ndim >= 3)
        return np.ma.filled(first[:].astype(np.float64), np.nan).reshape(-1, 12)


@pytest.mark.parametrize(
    ("text", "each", "kind", "operators"),
    [
        ("mean", "month", "tas", ["monmean"]),
        ("std", "month", "tas", ["monstd1"]),
        ("max", "month", "tas", ["monmax"]),
        ("min", "year", "tas", ["yearmin"]),
        ("mean", "month", "pr", ["monmean"]),
        ("sum", "month", "pr", ["-mulc,86400", "-monsum"]),
        ("sum", "year", "pr", ["-mulc,86400", "-yearsum"]),
        ("std", "year", "pr", ["yearstd1"]),
        ("days above 25 degC", "month", "tas", ["-monsum", "-gtc,298.15"]),
        ("days below 0 degC", "year", "tas", ["-yearsum", "-ltc,273.15"]),
        ("days at or above 1 mm/day", "year", "pr", ["-yearsum", "-gec,1", "-mulc,86400"]),
        ("degree days above 10 degC", "month", "tas", ["-monsum", "-maxc,0", "-subc,283.15"]),
        ("degree days below 18 degC", "year", "tas", ["-yearsum", "-maxc,0", "-mulc,-1",
                                                      "-subc,291.15"]),
    ],
)  # fmt: skip
def test_months_and_years_are_those_of_cdo(tmp_path, text, each, kind, operators):
    found = ours(text, each, kind)
    expected = theirs(tmp_path, kind, *operators).reshape(found.shape)
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=1e-5 if kind == "tas" else 0)
    if "days" in text and "degree" not in text:
        np.testing.assert_array_equal(found, expected)
        assert found.max() > 0


def test_seasons_are_those_of_cdo(tmp_path):
    found = ours("mean", "season", "tas")
    # JF of the first year, whole seasons, and a last December alone
    expected = theirs(tmp_path, "tas", "seasmean")
    assert np.isnan(found[0, 0]).all()
    np.testing.assert_allclose(found.reshape(12, -1)[1:], expected[1:12], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "operator"),
    [
        ("days above 25 degC", "eca_su"),
        ("days below 0 degC", "eca_fd"),
        ("longest spell below 0 degC", "eca_cfd"),
        ("longest spell above 25 degC", "eca_csu"),
    ],
)
def test_indices_of_a_year_are_those_of_cdo(tmp_path, text, operator):
    found = ours(text, "year", "tas")
    for number, year in enumerate(YEARS):
        expected = theirs(tmp_path, "tas", f"-{operator}", f"-selyear,{year}")
        np.testing.assert_array_equal(found[number], expected)


def test_the_wettest_five_days_are_those_of_cdo_but_for_the_stamp_of_a_window(tmp_path):
    found = ours("max of 5-day sum", "year", "pr")
    sums = theirs(tmp_path, "pr", "-mulc,86400", "-runsum,5")
    assert len(sums) == sum(AXIS.exists_in(y).sum() for y in YEARS) - 4
    # CDO's first window ends on the fifth day
    ends = np.repeat(YEARS, [AXIS.exists_in(y).sum() for y in YEARS])[4:]
    expected = np.stack([sums[ends == year].max(axis=0) for year in YEARS])
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)


def test_the_coldest_week_is_that_of_cdo(tmp_path):
    found = ours("min of 7-day mean", "month", "tas")
    means = theirs(tmp_path, "tas", "runmean,7")
    dates = np.arange("1999-01-07", "2002-01-01", dtype="datetime64[D]").astype("datetime64[M]")
    expected = np.stack([means[dates == m].min(axis=0) for m in np.unique(dates)])
    np.testing.assert_allclose(found.reshape(36, 12), expected, rtol=1e-6)


def test_a_running_mean_around_the_year_is_that_of_cdo(tmp_path):
    year = values_of("tas")[:365].astype(np.float64)
    found = Windowed(31)(year)
    # three times the same year, of which CDO's middle one sees no edge
    thrice = np.concatenate([year] * 3).astype(np.float32)
    source = written(tmp_path / "in.nc", "tas", thrice, "K")
    cdo("runmean,31", source, tmp_path / "out.nc")
    with netCDF4.Dataset(tmp_path / "out.nc") as ds:
        means = np.asarray(ds["tas"][:]).reshape(-1, 12)
    np.testing.assert_allclose(found, means[365 - 15 : 730 - 15], rtol=1e-6)

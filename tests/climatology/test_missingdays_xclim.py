"""The rule of the WMO for missing days, against xclim's."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from climdask.climatology.blocks import Block
from climdask.climatology.calendars import DayAxis
from climdask.climatology.cycles import Cycle
from climdask.climatology.expressions import parse
from climdask.climatology.missingdays import WMO
from climdask.climatology.reductions import YearReduction

pytestmark = pytest.mark.slow  # xclim takes seconds to import

AXIS = DayAxis("standard", "keep")
CELLS = 200


def with_gaps(year: int) -> np.ndarray:
    """A year of 200 cells, each with more gaps than the one before, some of days in a row."""
    rng = np.random.default_rng(year)
    exists = AXIS.exists_in(year)
    values = rng.normal(280, 5, (int(exists.sum()), CELLS)).astype(np.float32)
    values[rng.random(values.shape) < np.linspace(0, 0.4, CELLS)] = np.nan
    for cell in range(CELLS):
        first = rng.integers(0, len(values) - 8)
        values[first : first + rng.integers(0, 8), cell] = np.nan
    return values


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("year", [2003, 2004])
@pytest.mark.parametrize(("each", "frequency"), [("month", "MS"), ("year", "YS")])
def test_a_step_is_missing_where_it_is_for_xclim(year: int, each: str, frequency: str) -> None:
    missing = pytest.importorskip("xclim.core.missing")
    values = with_gaps(year)
    days = np.full((366, CELLS), np.nan, np.float32)
    days[AXIS.exists_in(year)] = values
    mean = parse("mean").bind("K", water=False).reduction
    ours = YearReduction(mean, Cycle.of(each).on(AXIS), WMO)(Block.of(year, days), None)
    time = xr.date_range(f"{year}-01-01", periods=len(values), freq="D")
    daily = xr.DataArray(values, coords={"time": time}, dims=("time", "cell"))
    theirs = missing.missing_wmo(daily, freq=frequency, src_timestep="D").transpose("time", "cell")
    np.testing.assert_array_equal(np.isnan(ours.values), theirs.values)
    if each == "month":
        assert 0.05 < theirs.values.mean() < 0.95

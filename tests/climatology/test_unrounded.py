"""What statistics are before the one rounding."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from climdask.climatology.blocks import Block
from climdask.climatology.carry import Carry
from climdask.climatology.conversions import Conversion, conversion
from climdask.climatology.doubledoubles import DoubleDouble
from climdask.climatology.smoothing import CELLS, Harmonics, Windowed
from climdask.climatology.statistics import STATES, Mean, statistic_of

NAMES = ["mean", "std", "min", "median", "max", "p90", "p33.3"]
UNITS = [Conversion("K", "K"), conversion("K", "degF"), conversion("mm day-1", "m s-1")]
NEEDED = np.full(20, 3, dtype=np.int16)


def years(seed: int = 1) -> np.ndarray:
    """Seven years of float32 [year, day, cell], some missing, precipitation in one column."""
    random = np.random.default_rng(seed)
    values = random.normal(280, 8, (7, 20, 6)).astype(np.float32)
    values[:, :, 2] = np.float32(10.0) ** random.uniform(-30, 2, (7, 20))
    values[:, 4, 1] = values[0, 4, 1]  # equal values
    values[random.random(values.shape) < 0.2] = np.nan
    values[:5, 3, 3] = np.nan  # too few
    return values


def carry_of(values: np.ndarray) -> Carry:
    carry = Carry.empty(values.shape[1], values.shape[2], tuple(STATES))
    for number, block in enumerate(values):
        carry = carry.add(Block.of(2000 + number, block))
    return carry


@pytest.mark.parametrize("units", UNITS, ids=lambda u: u.target)
@pytest.mark.parametrize("name", NAMES)
def test_the_result_is_what_it_was_before_rounded_once(name: str, units: Conversion) -> None:
    carry, statistic = carry_of(years()), statistic_of(name)
    units = units.of_differences if name == "std" else units
    wide = carry.unrounded(NEEDED, 3, statistic, units)
    rounded = carry.normal(NEEDED, 3, statistic, units)
    np.testing.assert_array_equal(wide.high.astype(np.float32), rounded)
    assert np.isnan(rounded[3, 3])
    assert np.isnan(wide.high[3, 3])


def test_the_mean_before_the_rounding_has_twice_the_digits() -> None:
    values = years()
    wide = carry_of(values).unrounded(NEEDED, 3, statistic_of("mean"), conversion("K", "degF"))
    for day, cell in np.argwhere(~np.isnan(wide.high)):
        there = values[:, day, cell][~np.isnan(values[:, day, cell])]
        exact = sum(map(Fraction, there.tolist()), Fraction(0)) / there.size
        exact = exact * Fraction(9, 5) - Fraction(45967, 100)
        got = Fraction(wide.high[day, cell]) + Fraction(wide.low[day, cell])
        assert abs(got - exact) <= abs(exact) / 2**98


def test_the_standard_deviation_before_the_rounding_is_right_to_float64() -> None:
    values = years()
    wide = carry_of(values).unrounded(NEEDED, 3, statistic_of("std"))
    assert wide.high[4, 1] == 0, "equal values"
    for day, cell in np.argwhere(~np.isnan(wide.high)):
        there = [
            Fraction(v) for v in values[:, day, cell][~np.isnan(values[:, day, cell])].tolist()
        ]
        mean = sum(there, Fraction(0)) / len(there)
        variance = sum(((v - mean) ** 2 for v in there), Fraction(0)) / (len(there) - 1)
        assert wide.high[day, cell] == pytest.approx(math.sqrt(variance), rel=1e-14)


@pytest.mark.filterwarnings("ignore:All-NaN")
def test_a_percentile_before_the_rounding_is_that_of_numpy_in_float64() -> None:
    values = years()
    wide = carry_of(values).unrounded(NEEDED, 3, statistic_of("p90")).high
    theirs = np.nanquantile(values.astype(np.float64), 0.9, axis=0)
    there = ~np.isnan(wide)
    np.testing.assert_allclose(wide[there], theirs[there], rtol=1e-14)
    assert (wide != wide.astype(np.float32))[there].any(), "it has more digits than a float32"


def test_too_few_years_have_no_value_before_the_rounding() -> None:
    wide = carry_of(years()).unrounded(NEEDED, 8, statistic_of("mean"))
    assert np.isnan(wide.high).all()


@pytest.mark.parametrize("smoothing", [Harmonics(2), Windowed(5), Windowed(5, triangular=True)])
@pytest.mark.parametrize("name", NAMES)
def test_a_smoothed_statistic_is_smoothed_before_the_rounding(
    name: str, smoothing: Harmonics | Windowed
) -> None:
    carry, statistic = carry_of(years()), statistic_of(name)
    wide = carry.unrounded(NEEDED, 3, statistic).high
    got = carry.normal(NEEDED, 3, statistic, smoothing=smoothing)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, smoothing(wide).astype(np.float32))


def test_many_cells_are_smoothed_in_pieces_without_a_trace() -> None:
    values = np.random.default_rng(4).normal(280, 8, (1, 12, CELLS + 3)).astype(np.float32)
    got = carry_of(values).normal(
        np.ones(12, np.int16), 1, statistic_of("mean"), smoothing=Windowed(3)
    )
    np.testing.assert_array_equal(got, Windowed(3)(values[0].astype(np.float64)).astype(np.float32))


class Total(Mean):
    """The sum, which hands out its state as it is."""

    def unrounded(self, states: Any, coverage: Any, units: Any) -> DoubleDouble:
        return DoubleDouble.of_terms(states["sum"])


def test_what_a_statistic_hands_out_may_be_its_state_which_does_not_change() -> None:
    carry = Carry.empty(20, 6).add(Block.of(2000, years()[0]))
    before = carry.states["sum"][0].copy()
    wide = carry.unrounded(NEEDED, 1, Total())
    assert np.isnan(wide.high).all(), "one year is too few"
    np.testing.assert_array_equal(carry.states["sum"][0], before)

"""Changes against reference periods: the arithmetic, and floors."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from climdask.climatology.blocks import Block
from climdask.climatology.calendars import Window
from climdask.climatology.carry import Carry
from climdask.climatology.changes import PIECE, Change, Floor
from climdask.climatology.doubledoubles import DoubleDouble
from climdask.climatology.statistics import statistic_of

DIFFERENCE = Change(Window(1981, 2010))
FLOOR = Floor.of("0.5 mm/day")
RATIO = Change(Window(1981, 2010), (FLOOR.value, FLOOR.text))


def mean_of(values: np.ndarray) -> DoubleDouble:
    carry = Carry.empty(values.shape[1], values.shape[2])
    for number, block in enumerate(values):
        carry = carry.add(Block.of(2000 + number, block))
    return carry.unrounded(np.ones(values.shape[1], np.int16), 1, statistic_of("mean"))


def exact_mean(values: np.ndarray) -> Fraction:
    return sum(map(Fraction, values.tolist()), Fraction(0)) / len(values)


def nearest(number: Fraction) -> np.float32:
    """The float32 nearest to a fraction, found among three."""
    near = np.float32(float(number))
    others = [near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))]
    return min(others, key=lambda other: abs(Fraction(float(other)) - number))


def test_the_change_of_a_mean_is_rounded_once_from_the_exact_sums() -> None:
    random = np.random.default_rng(1)
    # Means that agree in their first 20 bits, so that a difference of float32 has few digits left.
    own = random.normal(280, 1e-3, (7, 6, 5)).astype(np.float32)
    other = random.normal(280, 1e-3, (30, 6, 5)).astype(np.float32)
    got = DIFFERENCE(mean_of(own), mean_of(other))
    assert got.dtype == np.float32
    for day, cell in np.ndindex(got.shape):
        exact = exact_mean(own[:, day, cell]) - exact_mean(other[:, day, cell])
        assert got[day, cell] == nearest(exact)


def test_a_ratio_is_rounded_once_from_the_exact_sums() -> None:
    random = np.random.default_rng(2)
    own = random.gamma(1, 3, (7, 6, 5)).astype(np.float32) + np.float32(1)
    other = random.gamma(1, 3, (30, 6, 5)).astype(np.float32) + np.float32(1)
    got = RATIO(mean_of(own), mean_of(other))
    for day, cell in np.ndindex(got.shape):
        one, two = exact_mean(own[:, day, cell]), exact_mean(other[:, day, cell])
        assert got[day, cell] == nearest(100 * (one - two) / two)


def test_a_change_against_itself_is_zero_without_a_sign() -> None:
    normal = mean_of(np.random.default_rng(3).normal(-5, 3, (9, 4, 3)).astype(np.float32))
    for change in (DIFFERENCE, replace(RATIO, floor=(Fraction(1, 10**9), "tiny"))):
        got = change(normal, normal)
        assert (got == 0).all()
        assert not np.signbit(got).any()


def test_a_ratio_is_missing_where_the_size_of_the_reference_is_below_the_floor() -> None:
    reference = np.array([[0.0, 0.4999, 0.5, 2.0, -0.25, -0.5, -2.0, np.nan]])
    normal = np.ones_like(reference)
    normal[0, 3] = np.nan
    got = RATIO(DoubleDouble.of(normal), DoubleDouble.of(reference))
    nan = np.nan
    wanted = np.array([[nan, nan, 100.0, nan, nan, -300.0, -150.0, nan]], dtype=np.float32)
    np.testing.assert_array_equal(got, wanted)


def test_a_reference_just_below_the_floor_has_no_ratio() -> None:
    just_below = DoubleDouble(np.array([[0.5]]), np.array([[-1e-20]]))
    assert np.isnan(RATIO(DoubleDouble.of(np.array([[1.0]])), just_below))


def test_many_cells_are_compared_in_pieces_without_a_trace() -> None:
    random = np.random.default_rng(5)
    own, other = random.normal(1, 1, (2, 3, PIECE + 5))
    got = DIFFERENCE(DoubleDouble.of(own), DoubleDouble.of(other))
    np.testing.assert_array_equal(got, (own - other).astype(np.float32))


def test_a_floor_is_made_in_other_units_exactly() -> None:
    floor = Floor.of("0.1 mm/day")
    assert floor.in_units("kg m-2 s-1", water=True) == Fraction(1, 864000)
    assert floor.in_units("mm day-1") == Fraction(1, 10)
    assert Floor.of("1e-1 day").in_units("day") == Fraction(1, 10)


@pytest.mark.parametrize("units", ["K", "degC", "mm", "no such thing"])
def test_a_floor_does_not_fit_what_measures_something_else(units: str) -> None:
    assert Floor.of("0.1 mm/day").in_units(units, water=True) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.1", "no number above 0 with units"),
        ("0 mm/day", "no number above 0 with units"),
        ("-1 mm/day", "no number above 0 with units"),
        ("some mm/day", "no number above 0 with units"),
        ("1 K", "is a temperature, of which no ratio is made"),
        ("1 foobar", '"foobar" are not known'),
    ],
)
def test_a_wrong_floor_is_told(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Floor.of(text)


def test_a_change_has_a_name_that_tells_the_period_where_there_are_several() -> None:
    assert DIFFERENCE.suffix == "_change"
    assert RATIO.suffix == "_change_percent"
    assert replace(DIFFERENCE, is_one_of_several=True).suffix == "_change_1981_2010"
    assert replace(RATIO, is_one_of_several=True).suffix == "_change_percent_1981_2010"

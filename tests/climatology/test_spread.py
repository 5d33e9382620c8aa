"""The standard deviation against fractions: rounded once, and never of a variance below zero."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climdask.climatology import spread
from climdask.climatology.blocks import Block
from climdask.climatology.carry import Carry
from climdask.climatology.statistics import STATISTICS, kept_by

STD = STATISTICS["std"]
MAGNITUDES = [1.0, 2.0**-30, 2.0**-100, 2.0**40]


def carry_of(values: np.ndarray) -> Carry:
    """values: float32 [year, day, cell]."""
    carry = Carry.empty(*values.shape[1:], kept_by([STD]))
    for year, own in enumerate(values, start=1950):
        carry = carry.add(Block.of(year, own))
    return carry


def std_of(values: np.ndarray) -> np.ndarray:
    return carry_of(values).normal(np.ones(values.shape[1], np.int16), 1, STD)


def exact(values: list[float]) -> np.float32:
    """The float32 nearest to the standard deviation of values."""
    there = [Fraction(v) for v in values if not math.isnan(v)]
    n = len(there)
    if n < 2:
        return np.float32(np.nan)
    mean = sum(there) / n
    return root(sum((v - mean) ** 2 for v in there) / (n - 1))


def root(variance: Fraction) -> np.float32:
    """The float32 nearest to a square root, found by bisection over all float32."""
    low, high = 0, 0x7F800000  # bits of float32, which are in the order of their values
    while high - low > 1:
        half = (low + high) // 2
        if Fraction(as_float(half)) ** 2 <= variance:
            low = half
        else:
            high = half
    middle = (Fraction(as_float(low)) + Fraction(as_float(low + 1))) / 2
    up = variance > middle**2 or (variance == middle**2 and low % 2 == 1)
    return np.uint32(low + up).view(np.float32)


def as_float(bits: int) -> float:
    return float(np.uint32(bits).view(np.float32))


def assert_exact(values: np.ndarray) -> None:
    got = std_of(values)
    for place in np.ndindex(got.shape):
        expected = exact(values[(slice(None), *place)].tolist())
        np.testing.assert_array_equal(got[place], expected)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 31), st.sampled_from(MAGNITUDES))
def test_it_is_rounded_once(seed: int, n_years: int, spread_: float) -> None:
    rng = np.random.default_rng(seed)
    values = (280 + spread_ * rng.normal(0, 1, (n_years, 2, 3))).astype(np.float32)
    assert_exact(values)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_it_is_rounded_once_where_values_span_many_magnitudes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(1, 2, (9, 2, 2)) * 2.0 ** rng.integers(-60, 10, (9, 2, 2))
    values[rng.random(values.shape) < 0.3] = 0
    values[rng.random(values.shape) < 0.2] = np.nan
    assert_exact(values.astype(np.float32))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from([280.0, np.nextafter(np.float32(280), np.float32(281))]),
                min_size=2, max_size=31))  # fmt: skip
def test_values_that_hardly_differ_have_the_spread_that_they_have(values: list[float]) -> None:
    assert_exact(np.array(values, dtype=np.float32).reshape(-1, 1, 1))


@pytest.mark.parametrize("value", [271.35, 0.0, 1e-7, -3e5, 1.1754944e-38])
def test_equal_values_have_no_spread_at_all(value: float) -> None:
    values = np.full((30, 2, 2), value, dtype=np.float32)
    assert std_of(values).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_one_value_has_no_standard_deviation() -> None:
    values = np.full((3, 1, 2), np.nan, dtype=np.float32)
    values[0] = 1
    values[1, 0, 1] = 3
    np.testing.assert_array_equal(std_of(values), [[np.nan, np.float32(math.sqrt(2))]])


def test_what_is_left_after_years_have_gone_is_as_if_they_had_never_been() -> None:
    rng = np.random.default_rng(3)
    values = (rng.uniform(1, 2, (12, 2, 2)) * 2.0 ** rng.integers(-40, 40, (12, 2, 2))).astype("f4")
    carry = carry_of(values)
    for year in range(1950, 1956):
        carry = carry.drop(Block.of(year, values[year - 1950]))
    got = carry.normal(np.ones(2, np.int16), 1, STD)
    np.testing.assert_array_equal(got, std_of(values[6:]))


@pytest.mark.parametrize("n", [2, 3])
def test_a_root_in_the_middle_goes_to_the_even_one(n: int) -> None:
    # Two values 2 a apart, or three of a, 0 and -a: the spread is a sqrt(2), or a. With sums of one
    # term the root is exact in float64, so it can be put in the middle of two float32.
    middle = 1 + 2.0**-24
    sums = [np.array([0.0])]
    squares = [np.array([middle**2 * (n - 1)]), np.array([0.0])]
    rest = Fraction(middle) ** 2 * (n - 1) - Fraction(float(squares[0][0]))
    squares[1][0] = float(rest)
    assert Fraction(float(squares[1][0])) == rest
    assert spread.deviation(sums, squares, np.array([n])).tolist() == [1.0]
    squares[1] += 2.0**-90
    assert spread.deviation(sums, squares, np.array([n])).tolist() == [1 + 2.0**-23]


def test_what_is_left_of_a_difference_is_in_the_second_terms() -> None:
    sums, squares = [1.0, 2.0**-60], [0.5, 2.0**-58]
    s, q = (sum(map(Fraction, terms)) for terms in (sums, squares))
    terms = ([np.array([t]) for t in own] for own in (sums, squares))
    assert spread.deviation(*terms, np.array([2])) == root((2 * q - s * s) / 2)


def test_what_is_zero_but_for_the_last_digits_is_zero() -> None:
    # n equal values of 51 bits: the sum of squares has two terms, and so has the square of the sum.
    for value in np.random.default_rng(0).integers(2**50, 2**51, 300).tolist():
        exact_squares = 3 * Fraction(value) ** 2
        high = float(exact_squares)
        low = float(exact_squares - Fraction(high))
        sums, squares = [np.array([3.0 * value])], [np.array([high]), np.array([low])]
        assert Fraction(float(sums[0][0])) == 3 * value
        assert spread.deviation(sums, squares, np.array([3])).tolist() == [0.0]

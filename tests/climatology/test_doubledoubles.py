"""Numbers of 106 bits, against fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from climdask.climatology.doubledoubles import DoubleDouble, two_product, two_sum

NUMBERS = st.floats(1e-30, 1e30).flatmap(lambda x: st.sampled_from([x, -x])) | st.just(0.0)
PAIRS = st.tuples(NUMBERS, st.floats(-0.5, 0.5))
NEARLY = Fraction(1, 2**100)


def made(pair: tuple[float, float]) -> DoubleDouble:
    high, part = pair
    return DoubleDouble(np.array([high]), np.array([part * math.ulp(high)]))


def exact(number: DoubleDouble) -> Fraction:
    return Fraction(float(number.high.flat[0])) + Fraction(float(number.low.flat[0]))


@given(NUMBERS, NUMBERS)
def test_a_sum_and_a_product_keep_their_errors(a, b):
    s, e = two_sum(np.array([a]), np.array([b]))
    assert Fraction(float(s[0])) + Fraction(float(e[0])) == Fraction(a) + Fraction(b)
    p, e = two_product(np.array([a]), np.array([b]))
    assert Fraction(float(p[0])) + Fraction(float(e[0])) == Fraction(a) * Fraction(b)


@given(PAIRS, PAIRS)
def test_sums_products_and_quotients_are_right_to_a_hundred_bits(a, b):
    one, other = made(a), made(b)
    x, y = exact(one), exact(other)
    assert abs(exact(one * other) - x * y) <= NEARLY * abs(x * y)
    # after a cancellation the error is that of the larger number
    assert abs(exact(one + other) - (x + y)) <= NEARLY * abs(x + y)
    assert abs(exact(one - other) - (x - y)) <= NEARLY * abs(x - y)
    assume(y)
    assert abs(exact(one / other) - x / y) <= NEARLY * abs(x / y)


@given(PAIRS, st.integers(1, 2**26 - 1))
def test_a_quotient_by_a_count_is_right_to_a_hundred_bits(pair, count):
    number = made(pair)
    wanted = exact(number) / count
    assert abs(exact(number.over_count(np.array([count]))) - wanted) <= NEARLY * abs(wanted)


@given(st.fractions(min_value=Fraction(1, 10**9), max_value=10**9), st.sampled_from([1, -1]))
def test_a_fraction_is_taken_to_a_hundred_bits(number, sign):
    assert abs(exact(DoubleDouble.of_fraction(sign * number)) - sign * number) <= NEARLY * number


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=4))
def test_terms_are_summed(values):
    total = DoubleDouble.of_terms([np.array([[v]]) for v in values])
    expected = sum(map(Fraction, values))
    assert float(total.high[0, 0]) == float(expected)
    if len(values) <= 2:
        assert exact(total) == expected
    assert abs(exact(total) - expected) <= NEARLY * abs(expected)


@given(st.floats(1e-30, 1e30), st.floats(-0.5, 0.5))
def test_a_square_root_is_rounded_once(high, part):
    number = made((high, part))
    root = float(number.square_root()[0])
    # the exact root lies within half a unit of it, or so nearly that no float32 can tell
    half = Fraction(math.ulp(root)) / 2 * (1 + Fraction(1, 2**40))
    assert (Fraction(root) - half) ** 2 <= exact(number) <= (Fraction(root) + half) ** 2


def test_the_root_of_nothing_is_nothing():
    found = DoubleDouble(np.array([0.0, -1e-40, 4.0]), np.zeros(3)).square_root()
    assert found.tolist() == [0.0, 0.0, 2.0]

"""The standard deviation over the years, from exact sums: rounded once to float32.

Method. With the exact sums ``S`` of n values and ``Q`` of their squares, n (n - 1) times the
variance is ``D = n Q - S^2``. D is computed in two float64 together (Dekker 1971, "A floating-point
technique for extending the available precision": exact products and sums), with an error of less
than 2^-98 n Q. If not all values are equal, two float32 differ by at least 2^-24 of the larger one,
so D is at least 2^-68 n Q for up to a thousand values; what is less is 0. So there is no variance
below zero, and the spread of equal values is exactly 0. Where the bound on the error leaves open to
which float32 the square root rounds, about one value in 10^7, it is decided with fractions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from climdask.climatology.conversions import Conversion
from climdask.climatology.coverage import Coverage
from climdask.climatology.doubledoubles import DoubleDouble
from climdask.climatology.exactsum import KERNEL_FROM, PIECE, Doubles, two_sum

# Of n Q: what D may be wrong by, and what it is more than if any two values differ.
ERROR, LEAST = 2.0**-98, 2.0**-72
# Of the square root in float64, and of its argument.
ROOT_ERROR = 2.0**-50
# Of each sum, that the compiled twin takes; sums of more, which real data do not have, it does not.
KERNEL_TERMS = 3
# Splits 53 bits in two halves (Veltkamp).
_SPLITTER = 2.0**27 + 1

Counts = npt.NDArray[np.integer[Any]]
Roots = Callable[
    [Sequence[Doubles], Sequence[Doubles], Counts, Fraction],
    tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]],
]


class StandardDeviation:
    """The standard deviation of a sample: the divisor is n - 1. NaN where n is 1."""

    keeps = ("sum", "squares")
    method = "standard_deviation"
    quantity: Literal["difference"] = "difference"
    pool_days = 1

    def result(
        self, states: Mapping[str, Any], coverage: Coverage, units: Conversion
    ) -> npt.NDArray[np.float32]:
        """Return the standard deviation, float32 [day, cell]."""
        terms = [states[name] for name in self.keeps]
        few = max(map(len, terms)) <= KERNEL_TERMS and terms[0][0].size >= KERNEL_FROM
        make = partial(deviation, roots=by_kernel if few else by_numpy)
        return self._in_pieces(make, np.float32, states, coverage, units)

    def unrounded(
        self, states: Mapping[str, Any], coverage: Coverage, units: Conversion
    ) -> DoubleDouble:
        """Return the standard deviation, double-doubles [day, cell]; it is right to float64."""
        made = self._in_pieces(unrounded_deviation, np.float64, states, coverage, units)
        return DoubleDouble.of(made)

    def _in_pieces(
        self,
        make: Callable[..., npt.NDArray[Any]],
        dtype: type[np.float32] | type[np.float64],
        states: Mapping[str, Any],
        coverage: Coverage,
        units: Conversion,
    ) -> npt.NDArray[Any]:
        """Return what is made of the sums, [day, cell]."""
        sums, squares = ([t.reshape(-1) for t in states[name]] for name in self.keeps)
        shape = states["sum"][0].shape
        out = np.empty(sums[0].size, dtype=dtype)
        count = np.broadcast_to(coverage.count, shape)
        step = max(1, PIECE // max(1, shape[1]))
        for first in range(0, shape[0], step):
            n = count[first : first + step].reshape(-1)
            part = slice(first * shape[1], first * shape[1] + n.size)
            s, q = ([t[part] for t in terms] for terms in (sums, squares))
            out[part] = make(s, q, n, units.factor)
        return out.reshape(shape)


def deviation(
    sums: Sequence[Doubles],
    squares: Sequence[Doubles],
    count: Counts,
    factor: Fraction = Fraction(1),
    roots: Roots | None = None,
) -> npt.NDArray[np.float32]:
    """Return the standard deviation, float32 [value], rounded once; NaN for fewer than two values.

    Args:
        sums: terms of the exact sum, float64 [value] each.
        squares: terms of the exact sum of squares, of at most 1000 values.
        count: of the values, [value].
        factor: of other units.
        roots: :func:`by_numpy`, or a compiled twin.
    """
    found, unsure = (roots or by_numpy)(sums, squares, count, factor)
    for place in np.flatnonzero(unsure & (count > 1)).tolist():
        s, q = ([float(t[place]) for t in terms] for terms in (sums, squares))
        found[place] = _by_fractions(s, q, int(count[place]), factor)
    found[count < 2] = np.nan
    return found


def by_numpy(
    sums: Sequence[Doubles], squares: Sequence[Doubles], count: Counts, factor: Fraction
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return standard deviations, and which may be rounded to a neighbour of the right one."""
    n = np.maximum(count, 2).astype(np.float64)
    root, slack = _root(sums, squares, n)
    if factor != 1:  # two roundings more
        root, slack = root * float(factor), slack + ROOT_ERROR
    with np.errstate(over="ignore", invalid="ignore"):  # 0 times an infinite slack is unsure too
        found = root.astype(np.float32)
        unsure = (root * (1 - slack)).astype(np.float32) != (root * (1 + slack)).astype(np.float32)
    return found, unsure


def by_kernel(
    sums: Sequence[Doubles], squares: Sequence[Doubles], count: Counts, factor: Fraction
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Do what :func:`by_numpy` does, compiled, with up to :data:`KERNEL_TERMS` terms each."""
    from climdask.climatology import sumkernels

    found, unsure = np.empty(count.size, dtype=np.float32), np.empty(count.size, dtype=bool)
    none = np.empty(0)
    s, q = ([*terms, none, none][:KERNEL_TERMS] for terms in (sums, squares))
    sumkernels.spread(
        *s, len(sums), *q, len(squares), np.ascontiguousarray(count, dtype=np.int16),
        float(factor), factor != 1, found, unsure,
    )  # fmt: skip
    return found, unsure


def unrounded_deviation(
    sums: Sequence[Doubles],
    squares: Sequence[Doubles],
    count: npt.NDArray[np.integer[Any]],
    factor: Fraction = Fraction(1),
) -> Doubles:
    """Return what :func:`deviation` rounds, float64 [value], within 2^-48 of itself."""
    root, slack = _root(sums, squares, np.maximum(count, 2).astype(np.float64))
    root = root * float(factor) if factor != 1 else root
    for place in np.flatnonzero((slack > 2 * ROOT_ERROR) & (count > 1)).tolist():
        s, q = ([float(t[place]) for t in terms] for terms in (sums, squares))
        root[place] = _float_root(_variance(s, q, int(count[place]), factor))
    root[count < 2] = np.nan
    return root


def _root(
    sums: Sequence[Doubles], squares: Sequence[Doubles], n: Doubles
) -> tuple[Doubles, Doubles]:
    """Return the standard deviation in float64, and what it may be wrong by, of itself."""
    (s, s_low, s_error), (q, q_low, q_error) = _in_two(sums), _in_two(squares)
    square, square_low = _two_product(s, s)
    total, total_low = _two_product(n, q)
    high, low = two_sum(total, -square)
    low += (total_low - square_low) + (n * q_low - 2 * s * s_low)
    scaled = high + low
    error = ERROR * total + n * q_error + 2 * np.abs(s) * s_error + s_error * s_error
    is_zero = (scaled <= LEAST * total) & (error <= LEAST * total)
    scaled = np.where(is_zero, 0.0, scaled)
    with np.errstate(divide="ignore", invalid="ignore"):
        # All that is not sure to be positive is left to fractions.
        slack = np.where(scaled > 2 * error, error / scaled + ROOT_ERROR, np.inf)
    slack[is_zero] = 0.0
    return np.sqrt(np.maximum(scaled, 0.0) / (n * (n - 1))), slack


def _in_two(terms: Sequence[Doubles]) -> tuple[Doubles, Doubles, Doubles | float]:
    """Return terms as a float64, the rest in another one, and a bound on what that lacks."""
    if len(terms) == 1:
        return terms[0], np.zeros_like(terms[0]), 0.0
    high, low = two_sum(terms[0], terms[1])
    if len(terms) == 2:
        return high, low, 0.0
    lacks = np.zeros_like(high)
    for term in terms[2:]:
        high, rest = two_sum(high, term)
        low = low + rest
        lacks += np.abs(low) * 2.0**-52
    return *two_sum(high, low), lacks


def _two_product(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    """Return ``p, e`` with ``p = fl(a b)`` and ``a b = p + e`` exactly (Dekker 1971)."""
    p = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = (a_high, a_low) if b is a else _halves(b)
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(a: Doubles) -> tuple[Doubles, Doubles]:
    scaled = a * _SPLITTER
    high = scaled - (scaled - a)
    return high, a - high


def _by_fractions(
    sums: Sequence[float], squares: Sequence[float], n: int, factor: Fraction
) -> np.float32:
    """Return the standard deviation of n values, without any error before the rounding."""
    variance = _variance(sums, squares, n, factor)
    near = np.float32(_float_root(variance))
    for step in (np.float32(0), np.float32(np.inf)):
        # To the neighbour if the root lies beyond the middle; a tie goes to the even one.
        other = np.nextafter(near, step)
        if not np.isfinite(other) or other == near:
            continue
        middle = (Fraction(float(near)) + Fraction(float(other))) / 2
        beyond = variance < middle**2 if step == 0 else variance > middle**2
        is_odd = bool(near.view(np.uint32) & 1)
        if beyond or (variance == middle**2 and is_odd):
            return np.float32(other)
    return near


def _variance(
    sums: Sequence[float], squares: Sequence[float], n: int, factor: Fraction
) -> Fraction:
    """Return the variance of n values, exactly."""
    s, q = (sum(map(Fraction, terms), Fraction(0)) for terms in (sums, squares))
    return factor**2 * (n * q - s * s) / (n * (n - 1))


def _float_root(value: Fraction) -> float:
    """Return the square root in float64."""
    return math.sqrt(value) if value > 0 else 0.0

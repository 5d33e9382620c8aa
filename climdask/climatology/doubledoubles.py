"""Double-doubles: arrays of numbers of 106 bits, each the sum of two float64.

Between exact sums of float32 (:mod:`climdask.climatology.exactsum`) and a result that is rounded
once there are a division, a product or a difference: of a standard deviation, of a change of units.
With float64 each of them rounds, and a difference of near numbers keeps only the rounding errors.
Here each has a relative error of some 2^-100, so the one rounding at the end is as good as of the
exact number, but for one case in 2^40 or less.

Method: Dekker 1971 ("A floating-point technique for extending the available precision") and Knuth's
TwoSum, as in the QD library (Hida, Li and Bailey 2001). Every operation is elementwise, so that the
result for a cell does not depend on the cells beside it. Values are finite and below 1e150.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

_SPLITTER = 134217729.0  # 2^27 + 1 (Veltkamp)


@dataclass(frozen=True, eq=False)
class DoubleDouble:
    """Numbers ``high + low``; ``low`` is at most half a unit in the last place of ``high``.

    Attributes:
        high: float64, any shape: the numbers, rounded once.
        low: float64, of the same shape.
    """

    high: Doubles
    low: Doubles

    @classmethod
    def of(cls, values: npt.ArrayLike) -> DoubleDouble:
        """Take float64 or float32 values as they are."""
        high = np.asarray(values, dtype=np.float64)
        return cls(high, np.zeros_like(high))

    @classmethod
    def of_fraction(cls, number: Fraction) -> DoubleDouble:
        """Return the number nearest to a fraction, as an array of no dimension."""
        high = float(number)
        return cls(np.asarray(high), np.asarray(float(number - Fraction(high))))

    @classmethod
    def of_terms(cls, terms: Sequence[Doubles]) -> DoubleDouble:
        """Return the sum of the terms of an exact sum.

        Args:
            terms: as of :func:`climdask.climatology.exactsum.accumulate`.
        """
        if len(terms) == 1:
            return cls.of(terms[0])
        high, low = two_sum(terms[0], terms[1])
        if len(terms) > 2:
            high, low = high.copy(), low.copy()
            flat = [t.reshape(-1) for t in terms]
            rare = np.flatnonzero(np.logical_or.reduce([t != 0 for t in flat[2:]]))
            for place in rare.tolist():
                parts = [float(t[place]) for t in flat]
                total = math.fsum(parts)
                high.reshape(-1)[place] = total
                low.reshape(-1)[place] = math.fsum([*parts, -total])
        return cls(high, low)

    def __neg__(self) -> DoubleDouble:
        return DoubleDouble(-self.high, -self.low)

    def __add__(self, other: DoubleDouble) -> DoubleDouble:
        high, error = two_sum(self.high, other.high)
        low, lower = two_sum(self.low, other.low)
        high, error = _quick_two_sum(high, error + low)
        return DoubleDouble(*_quick_two_sum(high, error + lower))

    def __sub__(self, other: DoubleDouble) -> DoubleDouble:
        return self + -other

    def __mul__(self, other: DoubleDouble) -> DoubleDouble:
        high, error = two_product(self.high, other.high)
        error = error + (self.high * other.low + self.low * other.high)
        return DoubleDouble(*_quick_two_sum(high, error))

    def __truediv__(self, other: DoubleDouble) -> DoubleDouble:
        first = self.high / other.high
        rest = self - other * DoubleDouble.of(first)
        second = rest.high / other.high
        rest = rest - other * DoubleDouble.of(second)
        high, low = _quick_two_sum(first, second)
        return DoubleDouble(high, low) + DoubleDouble.of(rest.high / other.high)

    def over_count(self, count: npt.ArrayLike) -> DoubleDouble:
        """Return the numbers divided by whole numbers below 2^26: a shorter division.

        The product of a quotient and such a number has no error beyond ``two_product``'s, so one
        step of correction is enough.

        Args:
            count: above 0, of a shape that fits.
        """
        divisor = np.asarray(count, dtype=np.float64)
        first = self.high / divisor
        product, error = two_product(first, divisor)
        rest = ((self.high - product) - error) + self.low
        return DoubleDouble(*_quick_two_sum(first, rest / divisor))

    def square_root(self) -> Doubles:
        """Return the square root, float64 (Karp and Markstein 1997); of what is below 0, 0."""
        positive = np.maximum(self.high, 0.0)
        root = np.sqrt(positive)
        rest = self - DoubleDouble(*two_product(root, root))
        half = np.divide(rest.high, 2.0 * root, out=np.zeros_like(root), where=root > 0)
        return np.asarray(root + half)


def two_sum(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    """Return ``s, e`` with ``s = fl(a + b)`` and ``a + b = s + e`` exactly (Knuth 1969)."""
    s = a + b
    b_rounded = s - a
    return s, (a - (s - b_rounded)) + (b - b_rounded)


def two_product(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    """Return ``p, e`` with ``p = fl(a * b)`` and ``a * b = p + e`` exactly (Dekker 1971)."""
    p = a * b
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def _split(a: Doubles) -> tuple[Doubles, Doubles]:
    scaled = _SPLITTER * a
    high = scaled - (scaled - a)
    return high, a - high


def _quick_two_sum(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    s = a + b
    return s, b - (s - a)

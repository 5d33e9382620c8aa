"""Reductions of the days of one step, and when a step counts as missing.

A :class:`StepReduction` turns the days of one step into one value for each cell. It knows no
calendar and no rule for missing days: :mod:`climdask.climatology.reductions` brings the days, and
blanks what has too few.

Every result is exact, then rounded once: float64 that equals ``math.fsum(...)`` of the definition
(and of the standard deviation the root of the exact variance, to some 2^-47). Which days lie above
a threshold is decided on float32, what files hold: the threshold is rounded to float32 first, so
that a day whose value in the file stands for 25 degC is *at* 25 degC, neither above nor below it.
(So does xclim with NumPy 2; CDO compares float64, and differs where a value equals the threshold.)
The base of degree days is not rounded.

Spells are counted within the step: one that reaches over its edge is cut there (as xclim does with
``resample_before_rl``, and climdex.pcic for warm spells). So a step's value depends on its own
days, and no spell is longer than its step. A missing day ends a spell.

A running window of n days belongs to the step of its last day and may begin before the step, as
ETCCDI defines Rx5day ("the 5-day interval ending day k") and xclim has it. CDO's ``runsum`` stamps
the middle day. A window with a missing day is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from climdask.climatology.doubledoubles import DoubleDouble, Doubles, two_sum
from climdask.climatology.exactsum import PIECE

# From so many values on the compiled loop is worth loading; cells that it works on at once.
KERNEL_FROM, TILE = 1 << 18, 1 << 10

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class StepDays:
    """The days of one step, in order, without those that the year lacks.

    Attributes:
        values: float32 [before + day, cell], NaN where missing.
        before: days before the step that come first; as many as the reduction asked for, or
            fewer if there are no more.
    """

    values: Floats
    before: int = 0

    @property
    def own(self) -> Floats:
        """The values of the step itself, float32 [day, cell]."""
        return self.values[self.before :]


class StepReduction(Protocol):
    """One value for each cell from the days of one step.

    Attributes:
        days_before: days before the step that it reads too.
        is_total: whether a missing day makes it too small, as of a sum or a count; the rule of
            the WMO then asks for all days.
    """

    @property
    def days_before(self) -> int:
        """Days before the step that it reads too."""

    @property
    def is_total(self) -> bool:
        """Whether all days are needed by the WMO."""

    def __call__(self, days: StepDays) -> Doubles:
        """Return float64 [cell], NaN where no day allows a value. Missing days are left out."""


@dataclass(frozen=True)
class Mean:
    """The arithmetic mean of the days."""

    days_before: int = 0
    is_total: bool = False

    def __call__(self, days: StepDays) -> Doubles:
        """Return ``fsum(values) / n``."""
        count = valid_days(days.own)
        with np.errstate(invalid="ignore"):
            return np.asarray(exact_sum(days.own).high / count)


@dataclass(frozen=True)
class Sum:
    """The sum of the days, or the integral of a rate over them.

    Attributes:
        per_day: what a day with the value 1 adds: 86400 for a rate each second, 1 for amounts.
    """

    per_day: Fraction = Fraction(1)
    days_before: int = 0
    is_total: bool = True

    def __call__(self, days: StepDays) -> Doubles:
        """Return ``per_day * fsum(values)``."""
        total = scaled(exact_sum(days.own), self.per_day)
        return np.where(valid_days(days.own) > 0, total, np.nan)


@dataclass(frozen=True)
class Extreme:
    """The least or the greatest day.

    Attributes:
        greatest: whether it is the maximum.
    """

    greatest: bool
    days_before: int = 0
    is_total: bool = False

    def __call__(self, days: StepDays) -> Doubles:
        """Return the extreme value."""
        extreme = np.fmax if self.greatest else np.fmin
        return np.asarray(extreme.reduce(days.own, axis=0), dtype=np.float64)


@dataclass(frozen=True)
class StandardDeviation:
    """The standard deviation of the days, n - 1 in its denominator."""

    days_before: int = 0
    is_total: bool = False

    def __call__(self, days: StepDays) -> Doubles:
        """Return the root of ``(n * fsum(x**2) - fsum(x)**2) / (n * (n - 1))``; NaN for one day."""
        n = DoubleDouble.of(valid_days(days.own))
        total = exact_sum(days.own)
        deviations = n * exact_sum(days.own, power=2) - total * total
        pairs = n.high * (n.high - 1.0)
        enough = pairs > 0
        variance = deviations / DoubleDouble.of(np.where(enough, pairs, 1.0))
        return np.where(enough, variance.square_root(), np.nan)


class Relation(Enum):
    """How values are compared with a threshold."""

    ABOVE = "above"
    AT_OR_ABOVE = "at or above"
    BELOW = "below"
    AT_OR_BELOW = "at or below"


_COMPARE = {
    Relation.ABOVE: np.greater,
    Relation.AT_OR_ABOVE: np.greater_equal,
    Relation.BELOW: np.less,
    Relation.AT_OR_BELOW: np.less_equal,
}


@dataclass(frozen=True)
class Condition:
    """What a day is counted for.

    Attributes:
        limit: the threshold, exactly, in the units of the values; rounded to float32 to compare.
    """

    relation: Relation
    limit: Fraction

    def holds(self, values: Floats) -> Bools:
        """Return bool of the values' shape; a missing value never holds."""
        return np.asarray(_COMPARE[self.relation](values, np.float32(float(self.limit))))


@dataclass(frozen=True)
class DaysWith:
    """The number of days that meet a condition."""

    condition: Condition
    days_before: int = 0
    is_total: bool = True

    def __call__(self, days: StepDays) -> Doubles:
        """Return the number of days."""
        return np.asarray(self.condition.holds(days.own).sum(axis=0), dtype=np.float64)


@dataclass(frozen=True)
class DegreeDays:
    """The sum over the days of what is above, or below, a base.

    Attributes:
        above: whether ``max(x - base, 0)`` is summed; else ``max(base - x, 0)``.
        base: in the units of the values, exactly.
    """

    above: bool
    base: Fraction
    days_before: int = 0
    is_total: bool = True

    def __call__(self, days: StepDays) -> Doubles:
        """Return the sum, in the units of the values times a day."""
        # x > base for float32 x, of any fraction: beyond the float32 next to it
        nearest = np.float32(float(self.base))
        beyond = np.greater if self.above else np.less
        counted = beyond(days.own, nearest)
        if Fraction(float(nearest)) != self.base:
            nearest_too = (Fraction(float(nearest)) > self.base) == self.above
            counted |= (days.own == nearest) & nearest_too
        total = exact_sum(np.where(counted, days.own, np.float32(0.0)))
        base = DoubleDouble.of_fraction(self.base) * DoubleDouble.of(counted.sum(axis=0))
        return np.asarray((total - base if self.above else base - total).high)


@dataclass(frozen=True)
class LongestSpell:
    """The most days in a row that meet a condition."""

    condition: Condition
    days_before: int = 0
    is_total: bool = True

    def __call__(self, days: StepDays) -> Doubles:
        """Return the number of days."""
        longest = np.zeros(days.own.shape[1], dtype=np.int16)
        for run in runs(self.condition.holds(days.own)):
            np.maximum(longest, run, out=longest)
        return longest.astype(np.float64)


@dataclass(frozen=True)
class Spells:
    """Spells of so many days or more that meet a condition.

    Attributes:
        length: the days in a row that make a spell.
        count_days: whether the days in spells are counted; else the spells.
    """

    condition: Condition
    length: int
    count_days: bool = False
    days_before: int = 0
    is_total: bool = True

    def __call__(self, days: StepDays) -> Doubles:
        """Return the number of spells, or of days in them."""
        count = np.zeros(days.own.shape[1], dtype=np.int16)
        for run in runs(self.condition.holds(days.own)):
            begins = run == self.length
            if self.count_days:
                count += (run > self.length) + np.int16(self.length) * begins
            else:
                count += begins
        return count.astype(np.float64)


@dataclass(frozen=True)
class RunningExtreme:
    """The extreme of running sums or means over a window of days.

    Attributes:
        greatest: whether it is the maximum.
        length: days of a window.
        per_day: as of :class:`Sum`, for a sum; None for a mean.
    """

    greatest: bool
    length: int
    per_day: Fraction | None = None
    is_total: bool = False

    @property
    def days_before(self) -> int:
        """The days of the first window that lie before the step."""
        return self.length - 1

    def __call__(self, days: StepDays) -> Doubles:
        """Return the extreme of the windows that end in the step and lack no day."""
        n_windows, n_cells = len(days.values) - self.length + 1, days.values.shape[1]
        found = np.full(n_cells, np.nan)
        if n_windows < 1:
            return found
        width = max(1, 4 * PIECE // n_windows)
        for first in range(0, n_cells, width):
            cells = slice(first, first + width)
            found[cells] = self._of_cells(np.ascontiguousarray(days.values[:, cells]), n_windows)
        return found

    def _of_cells(self, values: Floats, n_windows: int) -> Doubles:
        """Return the extreme of each cell, float64 [cell].

        Sums that round tell which windows may be the extreme one, most often one of a cell; only
        those are then summed exactly.
        """
        extreme = np.fmax if self.greatest else np.fmin
        shifted = [values[k : k + n_windows] for k in range(self.length)]
        nearly, sizes = np.zeros(shifted[0].shape), np.zeros(shifted[0].shape)
        for part in shifted:
            nearly += part
            sizes += np.abs(part)
        best = extreme.reduce(nearly, axis=0)
        error = np.fmax.reduce(sizes, axis=0) * (self.length * 2.0**-51)
        window, cell = np.nonzero(np.abs(nearly - best) <= error)
        total = exact_sum_of([part[window, cell] for part in shifted])
        if self.per_day is None:
            exact = total.high / self.length
        else:
            exact = scaled(total, self.per_day)
        found = np.full(values.shape[1], np.nan)
        extreme.at(found, cell, exact)
        return found


def valid_days(values: npt.NDArray[np.floating]) -> Doubles:
    """Return how many values of each cell are not missing, float64 [cell]."""
    return np.asarray((~np.isnan(values)).sum(axis=0), dtype=np.float64)


def scaled(numbers: DoubleDouble, factor: Fraction) -> Doubles:
    """Return numbers times a factor, rounded once."""
    return (numbers * DoubleDouble.of_fraction(factor)).high if factor != 1 else numbers.high


def runs(holds: Bools) -> Iterable[npt.NDArray[np.int16]]:
    """Yield for each day how many in a row hold until then, int16 [cell]; always the same array."""
    run = np.zeros(holds.shape[1], dtype=np.int16)
    for day in holds:
        run += 1
        run *= day
        yield run


def exact_sum(values: Floats, power: int = 1) -> DoubleDouble:
    """Return the sum over the days, missing values left out; as :func:`exact_sum_of`.

    Args:
        values: float32 [day, cell].
        power: 1, or 2 for squares.
    """
    if values.size < KERNEL_FROM:
        return _plain_sum(values, power)
    from climdask.climatology import sumkernels

    return sum_by_kernel(values, power, sumkernels.sum_days)


def sum_by_kernel(values: Floats, power: int, kernel: Any) -> DoubleDouble:
    """Do what :func:`exact_sum` does, compiled; where two float64 are not enough, with numpy.

    Args:
        values: float32 [day, cell].
        power: 1 or 2.
        kernel: :func:`climdask.climatology.sumkernels.sum_days`.
    """
    values, n_cells = np.ascontiguousarray(values), values.shape[1]
    high, low = np.empty(n_cells), np.empty(n_cells)
    for first in range(0, n_cells, TILE):
        cells = slice(first, min(first + TILE, n_cells))
        if not kernel(values, first, cells.stop - first, power, high, low):
            plain = _plain_sum(values[:, cells], power)
            high[cells], low[cells] = plain.high, plain.low
    return DoubleDouble(high, low)


def _plain_sum(values: Floats, power: int) -> DoubleDouble:
    if power == 1:
        return exact_sum_of(list(values))
    # squares of float32 are exact in float64
    wide = values.astype(np.float64)
    return exact_sum_of(list(wide * wide), bits=48)


def exact_sum_of(parts: Sequence[npt.NDArray[np.floating]], bits: int = 24) -> DoubleDouble:
    """Return the sum of arrays of one shape, missing values left out. Elementwise.

    Where float64 cannot round, because the values are alike enough, it is a plain sum. Else each
    addition keeps its error, as :mod:`climdask.climatology.exactsum` has it.

    Args:
        parts: float32, or the squares of float32 in float64.
        bits: that a value has: 24 of float32, whose sum is exact; 48 of its squares, whose sum may
            have a relative error of 2^-106 where they differ by more than that.
    """
    shape = parts[0].shape
    flat = [np.ascontiguousarray(part).reshape(-1) for part in parts]
    high, low = np.empty(flat[0].size), np.empty(flat[0].size)
    for start in range(0, high.size, PIECE):
        piece = slice(start, start + PIECE)
        high[piece], low[piece] = _sum_of_piece([part[piece] for part in flat], bits)
    return DoubleDouble(high.reshape(shape), low.reshape(shape))


def _sum_of_piece(parts: Sequence[npt.NDArray[np.floating]], bits: int) -> tuple[Doubles, Doubles]:
    least, greatest, has_missing = _range_of(parts)
    total = np.zeros(parts[0].size)
    if len(parts) * greatest <= least * 2.0 ** (53 - bits):
        for part in parts:
            total += np.nan_to_num(part) if has_missing else part
        return total, np.zeros_like(total)
    terms = [total]
    for part in parts:
        terms = _grow(terms, np.nan_to_num(part.astype(np.float64)))
    if len(terms) > 2 and bits > 24:
        high, low = two_sum(terms[0], terms[1])
        return two_sum(high, low + sum(terms[3:], start=terms[2]))
    found = DoubleDouble.of_terms(terms)
    return found.high, found.low


def _range_of(parts: Sequence[npt.NDArray[np.floating]]) -> tuple[float, float, bool]:
    """Return the least size above 0, the greatest, and whether a value is missing."""
    least, greatest, has_missing = np.inf, 0.0, False
    for part in parts:
        sizes = np.abs(part)
        has_missing = has_missing or bool(np.isnan(sizes.max(initial=0.0)))
        greatest = max(greatest, float(np.fmax.reduce(sizes, initial=0.0)))
        least = min(least, float(np.fmin.reduce(sizes, initial=np.inf, where=sizes > 0)))
    return least, greatest, has_missing


def _grow(terms: list[Doubles], x: Doubles) -> list[Doubles]:
    """Add ``x`` to an expansion: what one term cannot take goes on to the next."""
    grown = []
    for term in terms:
        total, x = two_sum(term, x)
        grown.append(total)
        if not x.any():
            return grown + terms[len(grown) :]
    return [*grown, x]

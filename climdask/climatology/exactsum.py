"""The running normal: an exact sum that years are added to and dropped from.

Knows no geography, no files and no Dask: arrays [day, cell], float32 in and out.

Method. A sliding mean by add-and-drop keeps the rounding errors of every year that ever passed
through it, so a plain float64 sum is not good enough: in real precipitation a cell-day's values
span more than 2^29, and sums drift, turn negative or do not return to zero. Here the sum is kept
without any error, as a short list of float64 terms (Shewchuk 1997, "Adaptive precision
floating-point arithmetic", grow-expansion; each step is Knuth's TwoSum): a term is added only
where an addition was inexact, so temperatures need one and precipitation two. The order of
additions, a restart from a checkpoint or a window filled from scratch therefore cannot change
the result, and the normal equals ``float32(math.fsum(values) / n)`` to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from climdask.years import DayAxis, Window, years_with_day

Doubles = npt.NDArray[np.float64]
Shorts = npt.NDArray[np.int16]

# Elements that are worked on at once: temporaries of 128 KiB stay in a core's cache.
PIECE = 1 << 14


@dataclass(frozen=True, eq=False)
class Block:
    """One source year of one variable.

    Attributes:
        year: the source year.
        values: float32 [day, cell], NaN where missing; never infinite.
        days_any: bool [day], days with at least one valid cell.
        days_all: bool [day], days with no missing cell.
    """

    year: int
    values: npt.NDArray[np.float32]
    days_any: npt.NDArray[np.bool_]
    days_all: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, year: int, values: npt.NDArray[np.float32]) -> Block:
        """Make a block, noting where values are missing."""
        missing = np.isnan(values)
        return cls(year, values, ~np.all(missing, axis=1), ~np.any(missing, axis=1))

    @property
    def is_ragged(self) -> bool:
        """Whether some day is missing in some cells only."""
        return bool((self.days_any != self.days_all).any())

    def __sizeof__(self) -> int:
        return int(self.values.nbytes) + 2 * self.days_any.nbytes


def join_blocks(parts: Sequence[Block]) -> Block:
    """Join the parts of a year that lies in several files.

    Raises:
        ValueError: two parts have a value for the same day.
    """
    if len(parts) == 1:
        return parts[0]
    year, values = parts[0].year, parts[0].values.copy()
    seen = parts[0].days_any.copy()
    for part in parts[1:]:
        doubled = np.flatnonzero(seen & part.days_any)
        if doubled.size:
            raise ValueError(f"day {int(doubled[0]) + 1} of {year} is in two files")
        values[part.days_any] = part.values[part.days_any]
        seen |= part.days_any
    return Block.of(year, values)


@dataclass(frozen=True)
class MissingRule:
    """When a normal is missing (the idea is WMO-No. 1203, section 4.2.1: 80 % of the years).

    Attributes:
        min_years: source years with any valid day that a target year needs; a cell-day needs
            the same share of the years whose calendar has that day, rounded up.
        window: the years that a full window has.
    """

    min_years: int
    window: int

    def needed(self, years_with_day: Shorts) -> Shorts:
        """Return int16 [day]: the valid values that a cell-day needs, 1 at least."""
        share = -(-self.min_years * years_with_day.astype(np.int64) // self.window)
        return np.maximum(share, 1).astype(np.int16)


@dataclass(frozen=True, eq=False)
class RunningNormal:
    """The carry of a chain: the exact sum over a window, and what went into it. Immutable.

    Attributes:
        terms: float64 [day, cell] each; their exact sum is the sum of the window's values.
        count: int16 [day, 1] where every cell has the same number of values, else [day, cell].
        years_per_day: int16 [day], years with any valid cell on that day.
        years: source years in the sum, in order, with any valid day.
    """

    terms: tuple[Doubles, ...]
    count: Shorts
    years_per_day: Shorts
    years: tuple[int, ...]

    @classmethod
    def empty(cls, n_days: int, n_cells: int) -> RunningNormal:
        """Return the sum over no years."""
        return cls(
            (np.zeros((n_days, n_cells)),),
            np.zeros((n_days, 1), dtype=np.int16),
            np.zeros(n_days, dtype=np.int16),
            (),
        )

    def __sizeof__(self) -> int:
        return int(
            sum(t.nbytes for t in self.terms) + self.count.nbytes + self.years_per_day.nbytes
        )

    def add(self, block: Block) -> RunningNormal:
        """Return the sum with one more year."""
        return self.slide(enters=block, leaves=None)

    def drop(self, block: Block) -> RunningNormal:
        """Return the sum without a year that is in it."""
        return self.slide(enters=None, leaves=block)

    def slide(self, *, enters: Block | None, leaves: Block | None) -> RunningNormal:
        """Return the sum with ``enters`` added and ``leaves`` dropped, in one pass.

        Raises:
            ValueError: the year that enters is in the sum, or the one that leaves is not.
        """
        years = list(self.years)
        count, years_per_day = self.count, self.years_per_day
        signed: list[tuple[Block, float]] = []
        for block, sign in ((enters, 1), (leaves, -1)):
            if block is None or not block.days_any.any():
                continue
            if (block.year in years) is (sign > 0):
                raise ValueError(f"year {block.year} is {'' if sign > 0 else 'not '}in {years}")
            years = (
                sorted({*years, block.year}) if sign > 0 else [y for y in years if y != block.year]
            )
            count = _count(count, block, sign)
            years_per_day = years_per_day + np.int16(sign) * block.days_any
            signed.append((block, float(sign)))
        if not signed:
            return self
        return replace(
            self,
            terms=_accumulate(self.terms, signed),
            count=count,
            years_per_day=years_per_day,
            years=tuple(years),
        )

    def normal(self, needed: Shorts, min_years: int) -> npt.NDArray[np.float32]:
        """Return the mean, float32 [day, cell], NaN where too few values are valid.

        Args:
            needed: int16 [day], from :meth:`MissingRule.needed`.
            min_years: source years that the window needs at all.
        """
        n_days, n_cells = self.terms[0].shape
        mean = np.full((n_days, n_cells), np.nan, dtype=np.float32)
        if len(self.years) < min_years:
            return mean
        step = max(1, PIECE // max(1, n_cells))
        for first in range(0, n_days, step):
            days = slice(first, first + step)
            count = self.count[days]
            total = _rounded_sum([t[days] for t in self.terms])
            # Adding 0 turns -0 into 0.
            means = (total / np.maximum(count, 1)).astype(np.float32) + np.float32(0.0)
            np.copyto(mean[days], means, where=count >= needed[days, None])
        return mean


def needed_values(rule: MissingRule, axis: DayAxis, window: Window) -> Shorts:
    """Return int16 [day]: valid values that each day of the window's normal needs."""
    return rule.needed(years_with_day(axis, window))


def _count(count: Shorts, block: Block, sign: int) -> Shorts:
    """Return ``count`` with the block's valid values; [day, 1] for as long as that can say it."""
    if block.is_ragged:
        return count + np.int16(sign) * (~np.isnan(block.values)).astype(np.int16)
    out = count + np.int16(sign) * block.days_all[:, None].astype(np.int16)
    if out.shape[1] > 1 and bool((out == out[:, :1]).all()):
        return np.ascontiguousarray(out[:, :1])
    return out


def _two_sum(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    """Return ``s, e`` with ``s = fl(a + b)`` and ``a + b = s + e`` exactly (Knuth 1969)."""
    s = a + b
    b_rounded = s - a
    e = a - (s - b_rounded)
    b_rounded -= b
    e -= b_rounded
    return s, e


def _accumulate(
    terms: Sequence[Doubles], signed: Sequence[tuple[Block, float]]
) -> tuple[Doubles, ...]:
    """Return the terms with the signed blocks added, without any rounding error."""
    shape = terms[0].shape
    out = [np.empty(terms[0].size)]
    old = [t.reshape(-1) for t in terms]
    values = [(block.values.reshape(-1), sign, not block.days_all.all()) for block, sign in signed]
    for start in range(0, terms[0].size, PIECE):
        piece = slice(start, start + PIECE)
        parts = [t[piece] for t in old]
        for flat, sign, has_missing in values:
            x = flat[piece].astype(np.float64)
            if has_missing:
                np.nan_to_num(x, copy=False, nan=0.0)
            if sign < 0:
                np.negative(x, out=x)
            parts = _grow(parts, x)
        for place, part in enumerate([parts[0], *(p for p in parts[1:] if p.any())]):
            if place == len(out):
                out.append(np.zeros(terms[0].size))
            out[place][piece] = part
    return tuple(t.reshape(shape) for t in out)


def _grow(parts: list[Doubles], x: Doubles) -> list[Doubles]:
    """Add ``x`` to an expansion: what one term cannot take goes on to the next."""
    grown = []
    for part in parts:
        s, x = _two_sum(part, x)
        grown.append(s)
        if not x.any():
            return grown + parts[len(grown) :]
    return [*grown, x]


def _rounded_sum(terms: Sequence[Doubles]) -> Doubles:
    """Return the sum of the terms, rounded once."""
    if len(terms) == 1:
        return terms[0]
    total = terms[0] + terms[1]
    if len(terms) > 2:
        flat = [t.reshape(-1) for t in terms]
        tail = np.flatnonzero(np.logical_or.reduce([t != 0 for t in flat[2:]]))
        columns = zip(*(t[tail].tolist() for t in flat), strict=True)
        total.reshape(-1)[tail] = np.fromiter(map(math.fsum, columns), float, tail.size)
    return total

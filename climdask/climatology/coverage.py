"""Coverage: which years, days and cells of a window have values, and when that is too few.

One for all statistics of a chain, because it follows from the values alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.climatology.blocks import Block
from climdask.climatology.calendars import DayAxis, Window, years_with_day

Shorts = npt.NDArray[np.int16]
Counts = npt.NDArray[np.integer[Any]]


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

    def needed(self, years_with_day: Counts) -> Counts:
        """Return [day]: the valid values that a cell-day needs, 1 at least; dtype as given."""
        share = -(-self.min_years * years_with_day.astype(np.int64) // self.window)
        return np.maximum(share, 1).astype(years_with_day.dtype)


@lru_cache
def needed_values(rule: MissingRule, axis: DayAxis, window: Window, pool_days: int = 1) -> Counts:
    """Return [day]: valid values that each day of the window's normal needs; not to be changed.

    Args:
        rule: of the workflow.
        axis: the days.
        window: of the normal.
        pool_days: days that are taken together; they need the same share of all their values.
    """
    return rule.needed(pooled(years_with_day(axis, window), pool_days))


def pooled_days(n_days: int, pool_days: int) -> npt.NDArray[np.int64]:
    """Return int64 [day, place]: the days that are taken together for each day, itself included.

    A pool is centred, and goes round the end of the year: that of 1 January and 5 days has 30 and
    31 December of the window's own years. It is one of places on the axis of days, so days keep
    their month and date in leap years too. Where the axis has no 29 February, 28 February and
    1 March are neighbours, in leap years as well; where it has, 29 February is one of the days of
    each pool that it lies in, with values of leap years only. In a 360-day calendar 30 December and
    1 January are neighbours.

    Args:
        n_days: of the axis.
        pool_days: odd.
    """
    near = np.arange(pool_days) - pool_days // 2
    return np.asarray((np.arange(n_days)[:, None] + near) % n_days, dtype=np.int64)


def pooled(counts: Counts, pool_days: int) -> Counts:
    """Return the sums of counts [day, ...] over each pool, int32 unless the pool is one day."""
    if pool_days == 1:
        return counts
    days = pooled_days(len(counts), pool_days)
    total = np.zeros(counts.shape, dtype=np.int32)
    for place in range(pool_days):
        total += counts[days[:, place]]
    return total


@dataclass(frozen=True, eq=False)
class Coverage:
    """What of a window's years, days and cells has values. Immutable.

    Attributes:
        years: source years with any valid day, in order.
        count: int16 [day, 1] where every cell has the same number of values, else [day, cell].
        skipped: (year, path below the input root) of bad files that are not in it, in order.
        valid_days: bool [year, region, day], for each of the years: whether any cell of the region
            is valid. A region's normals so depend on the region alone, whatever else the workflow
            asks for.
    """

    years: tuple[int, ...]
    count: Shorts
    skipped: tuple[tuple[int, str], ...] = ()
    valid_days: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 1, 0), bool))

    @classmethod
    def empty(cls, n_days: int, n_regions: int = 1) -> Coverage:
        """Return the coverage of no years."""
        nothing = np.zeros((0, n_regions, n_days), dtype=bool)
        return cls((), np.zeros((n_days, 1), dtype=np.int16), (), nothing)

    def pooled_count(self, pool_days: int) -> Counts:
        """Return the number of values in the pool of each day, [day, 1] or [day, cell]."""
        return pooled(self.count, pool_days)

    def slide(self, block: Block, *, enters: bool) -> Coverage:
        """Return the coverage with a year added, or dropped; ``valid_days`` stays as it is.

        Raises:
            ValueError: the year that enters is in it, or the one that leaves is not.
        """
        if (block.year in self.years) is enters:
            raise ValueError(
                f"year {block.year} is {'' if enters else 'not '}in {list(self.years)}"
            )
        others = [y for y in self.years if y != block.year]
        years = sorted([*others, block.year]) if enters else others
        count = _count(self.count, block, 1 if enters else -1)
        return replace(self, years=tuple(years), count=count)


def _count(count: Shorts, block: Block, sign: int) -> Shorts:
    """Return ``count`` with the block's valid values; [day, 1] for as long as that can say it."""
    if block.is_ragged:
        return count + np.int16(sign) * (~np.isnan(block.values)).astype(np.int16)
    out = count + np.int16(sign) * block.days_all[:, None].astype(np.int16)
    if out.shape[1] > 1 and bool((out == out[:, :1]).all()):
        return np.ascontiguousarray(out[:, :1])
    return out

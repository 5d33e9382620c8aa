"""Coverage: which years, days and cells of a window have values, and when that is too few.

One for all statistics of a chain, because it follows from the values alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from climdask.climatology.blocks import Block
from climdask.climatology.calendars import DayAxis, Window, years_with_day

Shorts = npt.NDArray[np.int16]


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


def needed_values(rule: MissingRule, axis: DayAxis, window: Window) -> Shorts:
    """Return int16 [day]: valid values that each day of the window's normal needs."""
    return rule.needed(years_with_day(axis, window))


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

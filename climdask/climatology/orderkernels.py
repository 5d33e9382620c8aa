"""Loops over sorted years, compiled by numba; plain numpy twins are in ``orderstatistics``.

See :mod:`climdask.climatology.compiling` for how and when they are compiled.

Nothing here rounds: numbers are compared and copied, so no compiler can change a bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from climdask.climatology.compiling import array_type, compiled, part

Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int32]
Days = npt.NDArray[np.int64]

# Cells that are worked on at once, so that the years of a pool of days stay in a core's cache.
TILE = 128


_F2, _F3 = array_type(types.float32, 2), array_type(types.float32, 3)


# Where an index is unsigned, it cannot count from the end, and the loop becomes one of vectors.


@part
def _missing_last(values: Floats, day: int, first: int, into: Floats) -> None:
    """Write a day's values with infinity for NaN, which is sorted last, and 0 for -0."""
    for c in range(min(TILE, values.shape[1] - first)):
        x = values[day, np.uint64(first + c)]
        into[c] = x + np.float32(0.0) if x == x else np.float32(np.inf)


@part
def _take(years: Floats, day: int, first: int, made: Floats) -> None:
    """Copy the years of some cells to where work on them is fast."""
    for r in range(years.shape[1]):
        for c in range(min(TILE, years.shape[2] - first)):
            made[r, c] = years[day, r, np.uint64(first + c)]


@part
def _put(made: Floats, day: int, first: int, out: Floats) -> None:
    """Copy the years of some cells back."""
    for r in range(out.shape[1]):
        for c in range(min(TILE, out.shape[2] - first)):
            out[day, r, np.uint64(first + c)] = made[r, c]


@part
def _drop(old: Floats, n_years: int, gone: Floats, made: Floats) -> None:
    """Copy sorted years without a value each: what is not less than it moves down by one."""
    for r in range(n_years - 1):
        for c in range(TILE):
            v, after, x = old[r, c], old[r + 1, c], gone[c]
            made[r, c] = v if v < x else after


@part
def _all_there(old: Floats, n_years: int, n: int, gone: Floats) -> bool:
    """Tell whether the values of n cells are among their sorted years."""
    seen = np.zeros(TILE, np.float32)
    for r in range(n_years):
        for c in range(TILE):
            seen[c] = max(seen[c], np.float32(old[r, c] == gone[c]))
    return bool(seen[:n].sum() == n)


@part
def _add(made: Floats, kept: int, new: Floats) -> None:
    """Put a value into the sorted years of each cell: the larger of two goes on to the next."""
    for r in range(kept):
        for c in range(TILE):
            v, x = made[r, c], new[c]
            made[r, c] = v if v < x else x
            new[c] = x if v < x else v
    for c in range(TILE):
        made[kept, c] = new[c]


@part
def _count_less(years: Floats, day: int, first: int, cuts: Floats, less: Counts) -> None:
    """Write how many years of a day are less than the cut of each cell."""
    n = min(TILE, years.shape[2] - first)
    for c in range(n):
        less[c] = 0
    for r in range(years.shape[1]):
        for c in range(n):
            less[c] += np.int32(years[day, r, np.uint64(first + c)] < cuts[c])


@part
def _at(years: Floats, day: int, place: int, cell: int) -> Any:
    """Return the year at a place, infinite beyond the ends."""
    if place < 0:
        return np.float32(-np.inf)
    return years[day, place, cell] if place < years.shape[1] else np.float32(np.inf)


@part
def _walk(years: Floats, days: Days, cell: int, place: Counts, heads: Floats, k: int) -> None:
    """Move the cut through the lists of a pool until k values are below it.

    Args:
        years: float32 [day, year, cell].
        days: of the pool, [list].
        cell: which.
        place: int32 [list], values below the cut; changed.
        heads: float32 [list], filled with the first value above the cut.
        k: wanted below.
    """
    below = 0
    for w in range(days.size):
        below += place[w]
        heads[w] = _at(years, days[w], place[w], cell)
    while below < k:
        best = 0
        for w in range(1, days.size):
            best = w if heads[w] < heads[best] else best
        place[best] += 1
        heads[best] = _at(years, days[best], place[best], cell)
        below += 1
    while below > k:
        best, value = 0, _at(years, days[0], place[0] - 1, cell)
        for w in range(1, days.size):
            x = _at(years, days[w], place[w] - 1, cell)
            best, value = (w, x) if x > value else (best, value)
        place[best] -= 1
        heads[best] = value
        below -= 1


@part
def _next_two(
    years: Floats, days: Days, cell: int, place: Counts, heads: Floats
) -> tuple[Any, Any]:
    """Return the two lowest values above the cut."""
    one = two = np.float32(np.inf)
    for w in range(days.size):
        x, y = heads[w], _at(years, days[w], place[w] + 1, cell)
        two = min(min(two, y), max(one, x))
        one = min(one, x)
    return one, two


@compiled(
    types.boolean, _F3, _F2, _F2, types.boolean, types.boolean,
    array_type(types.float32, 3, readonly=False),
)  # fmt: skip
def slide(
    years: Floats, enters: Floats, leaves: Floats, has_enters: bool, has_leaves: bool, out: Floats
) -> bool:
    """Write sorted years with one value dropped and one added for each day and cell.

    Args:
        years: float32 [day, year, cell], ascending along the years, infinite where missing.
        enters: float32 [day, cell], NaN where missing; of any shape if ``has_enters`` is false.
        leaves: as ``enters``; its values are among the years.
        has_enters: whether there is a year to add.
        has_leaves: whether there is one to drop.
        out: [day, year, cell], filled.

    Returns:
        Whether all values that leave were there.
    """
    n_days, n_years, n_cells = years.shape
    old = np.zeros((n_years + 1, TILE), np.float32)
    made = np.zeros((n_years + 1, TILE), np.float32)
    value = np.zeros(TILE, np.float32)
    for day in range(n_days):
        for first in range(0, n_cells, TILE):
            n = min(TILE, n_cells - first)
            if has_leaves:
                _take(years, day, first, old)
                _missing_last(leaves, day, first, value)
                if not _all_there(old, n_years, n, value):
                    return False
                _drop(old, n_years, value, made)
            else:
                _take(years, day, first, made)
            if has_enters:
                _missing_last(enters, day, first, value)
                _add(made, n_years - has_leaves, value)
            _put(made, day, first, out)
    return True


@compiled(
    types.void, _F3, array_type(types.int64, 2), array_type(types.int32, 2),
    array_type(types.int32, 2), array_type(types.float32, 2, readonly=False),
    array_type(types.float32, 2, readonly=False),
)  # fmt: skip
def select(
    years: Floats,
    pools: npt.NDArray[np.int64],
    count: npt.NDArray[np.int32],
    rank: npt.NDArray[np.int32],
    low: Floats,
    high: Floats,
) -> None:
    """Write two neighbours by rank among the values of each pool of days.

    From day to day a pool loses a list and gains one, and the value of a rank moves little: so the
    places in the lists are kept, the new list is cut at the old value, and ranks are walked.

    Args:
        years: float32 [day, year, cell], ascending along the years, infinite where missing.
        pools: int64 [row, place], days; each row is the one before, moved on by a day.
        count: int32 [row, cell] or [row, 1], valid values in the pool.
        rank: as ``count``, from 0; less than the count where that is not 0.
        low: float32 [row, cell], filled with the value of the rank; infinite where there is none.
        high: with that of the rank after it, or the same where there is none.
    """
    n_years, n_cells = years.shape[1:]
    n_rows, width = pools.shape
    wide = 1 if count.shape[1] > 1 else 0
    places, heads = np.zeros((TILE, width), np.int32), np.empty(width, np.float32)
    cuts, less = np.empty(TILE, np.float32), np.empty(TILE, np.int32)
    for first in range(0, n_cells, TILE):
        cells = range(first, min(first + TILE, n_cells))
        for row in range(n_rows):
            days = pools[row]
            if row == 0:
                for cell in cells:
                    at = min(n_years - 1, rank[0, cell * wide] // width)
                    cuts[cell - first] = years[days[width // 2], at, cell]
            for w in range(0 if row == 0 else width - 1, width):
                _count_less(years, days[w], first, cuts, less)
                for cell in cells:
                    places[cell - first, w] = less[cell - first]
            for cell in cells:
                k, place = rank[row, cell * wide], places[cell - first]
                _walk(years, days, cell, place, heads, k)
                one, two = _next_two(years, days, cell, place, heads)
                cuts[cell - first] = low[row, cell] = one
                high[row, cell] = two if k + 1 < count[row, cell * wide] else one
                for w in range(width - 1):  # the next pool lacks the first list
                    place[w] = place[w + 1]

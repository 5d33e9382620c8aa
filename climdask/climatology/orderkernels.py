"""Compiled loops over sorted years; plain numpy twins are in ``orderstatistics``.

See :mod:`climdask.climatology.compiling` for how and when they are compiled.

Numbers are compared and copied; only :func:`between` rounds.
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
Places = npt.NDArray[np.int32]
Order = npt.NDArray[np.int32]

# Cells that are worked on at once, so that the years of a pool of days stay in a core's cache.
TILE = 128
# The same of lists that slide: long enough rows that memory is read and written in a stream.
WIDE = 1024


_F2, _F3 = array_type(types.float32, 2), array_type(types.float32, 3)
_I1, _I2 = array_type(types.int32, 1), array_type(types.int32, 2)
_F2_OUT = array_type(types.float32, 2, readonly=False)


# Where an index is unsigned, it cannot count from the end, and the loop becomes one of vectors.


@part
def _missing_last(values: Floats, day: int, first: int, into: Floats) -> None:
    """Write a day's values with infinity for NaN, which is sorted last, and 0 for -0."""
    for c in range(min(len(into), values.shape[1] - first)):
        x = values[day, np.uint64(first + c)]
        into[c] = x + np.float32(0.0) if x == x else np.float32(np.inf)


@part
def _slide_year(
    now: Floats, after: Floats, gone: Floats, new: Floats, seen: Floats, out: Floats
) -> None:
    """Write one year of sorted lists: without what is gone, and with what is new.

    Args:
        now: [cell], the year at this place; what is not less than what is gone moves down by one.
        after: [cell], the year after it.
        gone: [cell], what is dropped.
        new: [cell], what is added; changed to what goes on to the next place, the larger of two.
        seen: [cell], set to 1 where the year is what is dropped.
        out: [cell], filled.
    """
    for c in range(len(out)):
        v, x = now[c], new[c]
        seen[c] = max(seen[c], np.float32(v == gone[c]))
        v = v if v < gone[c] else after[c]
        out[c] = v if v < x else x
        new[c] = x if v < x else v


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
    endless = np.full(WIDE, np.float32(np.inf))
    gone, new, seen, over = endless.copy(), endless.copy(), endless.copy(), endless.copy()
    for day in range(n_days):
        for first in range(0, n_cells, WIDE):
            n = min(WIDE, n_cells - first)
            end = first + n
            new[:], seen[:] = np.float32(np.inf), np.float32(0.0)
            if has_enters:
                _missing_last(enters, day, first, new)
            if has_leaves:
                _missing_last(leaves, day, first, gone)
            for r in range(n_years + (has_enters and not has_leaves)):
                now = years[day, r, first:end] if r < n_years else endless
                after = years[day, r + 1, first:end] if r + 1 < n_years else endless
                made = out[day, r, first:end] if r < out.shape[1] else over[:n]
                _slide_year(now, after, gone, new, seen, made)
            if has_leaves and seen[:n].sum() != n:
                return False
    return True


@compiled(
    types.void, _F3, array_type(types.int64, 2), _I2, _I2, _F2_OUT, _F2_OUT,
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


@part
def _compare(values: Floats, pairs: Places) -> None:
    """Put the smaller of two values into the first place, the larger one into the second."""
    for p in range(len(pairs)):
        i, j = np.uint64(pairs[p, 0]), np.uint64(pairs[p, 1])
        for c in range(values.shape[1]):
            x, y = values[i, c], values[j, c]
            values[i, c] = x if x < y else y
            values[j, c] = y if x < y else x


@part
def _take_day(years: Floats, day: int, first: int, made: Floats, row: int) -> None:
    """Copy the years of some cells to rows of an array."""
    n = min(TILE, years.shape[2] - first)
    for r in range(years.shape[1]):
        for c in range(n):
            made[row + r, c] = years[day, r, np.uint64(first + c)]


@part
def _copy_rows(values: Floats, order: Order, made: Floats, row: int) -> None:
    width = made.shape[1]
    for r in range(len(order)):
        place = np.uint64(order[r])
        for c in range(width):
            made[row + r, c] = values[place, c]


@part
def _of_rank(pairs: Floats, order: Order, last: Floats, k: int, found: Floats) -> None:
    """Write the value of rank k, from 0, among sorted pairs and a sorted list.

    The least, over the number of values taken of either, of the greater of their last ones.
    """
    n_pairs, n = len(order), last.shape[0]
    width = len(found)
    for c in range(width):
        found[c] = np.float32(np.inf)
    for taken in range(max(0, k + 1 - n_pairs), min(n, k + 1) + 1):
        of_pairs = k - taken
        if taken == 0 or of_pairs < 0:
            for c in range(width):
                x = last[taken - 1, c] if taken else pairs[np.uint64(order[of_pairs]), c]
                found[c] = x if x < found[c] else found[c]
        else:
            place, own = np.uint64(order[of_pairs]), np.uint64(taken - 1)
            for c in range(width):
                x, y = pairs[place, c], last[own, c]
                x = y if x < y else x
                found[c] = x if x < found[c] else found[c]


@part
def _merge_pair(years: Floats, days: Days, first: int, pair: Places, made: Floats) -> None:
    """Write the years of two days, each sorted, and compare them as the network says."""
    _take_day(years, days[0], first, made, 0)
    _take_day(years, days[1], first, made, years.shape[1])
    _compare(made, pair)


@part
def _put_ranks(
    pairs: Floats, order: Order, last: Floats, count: Counts, rank: Counts, low: Floats,
    high: Floats, row: int, first: int, own: Floats,
) -> None:  # fmt: skip
    """Write two neighbours by rank of some cells, one rank after the other."""
    wide = 1 if count.shape[1] > 1 else 0
    cells = range(first, min(first + TILE, low.shape[1]))
    least, greatest = np.int32(2**31 - 1), np.int32(-1)
    for cell in cells:
        low[row, cell] = high[row, cell] = np.float32(np.inf)
        if count[row, cell * wide] > 0:
            least = min(least, rank[row, cell * wide])
            greatest = max(greatest, rank[row, cell * wide])
    for k in range(least, greatest + 1):
        there = False
        for cell in cells:
            there |= (rank[row, cell * wide] == k) & (count[row, cell * wide] > 0)
        if not there:
            continue
        _of_rank(pairs, order, last, k, own[0])
        _of_rank(pairs, order, last, k + 1, own[1])
        for cell in cells:
            n = count[row, cell * wide]
            if rank[row, cell * wide] == k and n > 0:
                low[row, cell] = own[0, cell - first]
                high[row, cell] = own[1 if k + 1 < n else 0, cell - first]


@compiled(
    types.void, _F3, array_type(types.int64, 2), _I2, _I1, _I2, _I1, _I2, _I2, _F2_OUT, _F2_OUT,
)  # fmt: skip
def select_merged(
    years: Floats,
    pools: npt.NDArray[np.int64],
    pair: Places,
    pair_order: Order,
    joined: Places,
    order: Order,
    count: Counts,
    rank: Counts,
    low: Floats,
    high: Floats,
) -> None:
    """Do what :func:`select` does for pools of a few days, by merging their lists.

    Args:
        years: as of :func:`select`.
        pools: as of :func:`select`, of an odd number of days, 3 or more.
        pair: of :class:`climdask.climatology.mergenetworks.Merging`, as the next three; its ranks
            are all that are wanted, one more after them, and as many before as a list is long.
        pair_order: as that has it.
        joined: as that has it.
        order: as that has it.
        count: as of :func:`select`.
        rank: as of :func:`select`.
        low: as of :func:`select`.
        high: as of :func:`select`.
    """
    n_years, n_cells = years.shape[1:]
    n_pairs = pools.shape[1] // 2
    ring = 2 * n_pairs - 1
    merged = np.zeros((ring, 2 * n_years, TILE), np.float32)
    pairs = np.zeros((n_pairs * 2 * n_years, TILE), np.float32)
    last, own = np.zeros((n_years, TILE), np.float32), np.zeros((2, TILE), np.float32)
    for first in range(0, n_cells, TILE):
        for row in range(len(pools)):
            days = pools[row]
            for place in range(0 if row == 0 else ring - 1, ring):
                _merge_pair(years, days[place:], first, pair, merged[(row + place) % ring])
            for number in range(n_pairs):
                begin = number * 2 * n_years
                _copy_rows(merged[(row + 2 * number) % ring], pair_order, pairs, begin)
            _compare(pairs, joined)
            _take_day(years, days[-1], first, last, 0)
            _put_ranks(pairs, order, last, count, rank, low, high, row, first, own)


@compiled(types.void, _F2, _F2, array_type(types.float64, 2), _I2, _F2_OUT)
def between(
    low: Floats, high: Floats, share: npt.NDArray[np.float64], count: Counts, out: Floats
) -> None:
    """Write values between neighbours, rounded once to float32; NaN where there is none.

    Args:
        low: float32 [row, cell].
        high: float32 [row, cell].
        share: float64 [row, cell] or [row, 1], how far it is from the one to the other, below 1.
        count: int32, of the shape of ``share``, of the values.
        out: float32 [row, cell], filled.
    """
    wide = 1 if share.shape[1] > 1 else 0
    for row in range(low.shape[0]):
        for c in range(low.shape[1]):
            s, x, y = share[row, c * wide], np.float64(low[row, c]), np.float64(high[row, c])
            step = y - x
            found = x + step * s if s < 0.5 else y - step * (1.0 - s)
            found = found if s != 0.0 else x
            out[row, c] = np.float32(found) if count[row, c * wide] > 0 else np.float32(np.nan)

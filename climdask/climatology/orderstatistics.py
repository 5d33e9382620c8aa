"""Order statistics over the years: minimum, maximum, median and percentiles.

Method. The values of the window's years are kept sorted for each day and cell; a year enters by an
insertion and leaves by a deletion, so neither the order of years nor a restart can change a bit.
All order statistics share these lists. A percentile lies between two values that are neighbours by
rank, at the place that one of the definitions of Hyndman and Fan (1996, "Sample quantiles
in statistical packages") gives: place and share are exact fractions, the value is interpolated in
float64 and rounded once to float32.

Days may be taken together in pools (Zhang et al. 2005, "Avoiding inhomogeneity in percentile-based
indices of temperature extremes"): all values of a centred window of days, of all years; see
:func:`climdask.climatology.coverage.pooled_days`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from climdask.climatology.blocks import Block
from climdask.climatology.conversions import UNCHANGED, Conversion
from climdask.climatology.coverage import Counts, Coverage, pooled_days
from climdask.climatology.doubledoubles import DoubleDouble
from climdask.climatology.mergenetworks import merging
from climdask.errors import InconsistentFile

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Signed = Sequence[tuple[Block, float]]
FloatType = type[np.float32] | type[np.float64]

# The definitions 4 to 9 of Hyndman and Fan as (alpha, beta): a share p of n values is at the rank
# alpha + p (n + 1 - alpha - beta), counted from 1. The names are those of numpy.
METHODS: Mapping[str, tuple[Fraction, Fraction]] = {
    "interpolated_inverted_cdf": (Fraction(0), Fraction(1)),
    "hazen": (Fraction(1, 2), Fraction(1, 2)),
    "weibull": (Fraction(0), Fraction(0)),
    "linear": (Fraction(1), Fraction(1)),
    "median_unbiased": (Fraction(1, 3), Fraction(1, 3)),
    "normal_unbiased": (Fraction(3, 8), Fraction(3, 8)),
}
LINEAR = "linear"
# Rows of one call of the kernel: enough that the search on its first row does not matter.
ROWS = 64
# Days of a pool whose lists are merged; of longer pools the ranks are walked.
MOST_MERGED = 9
# Ranks for which a network is made are rounded to this, so that few networks are.
STEP = 8


class SortedYears:
    """The values of the years, sorted: float32 [day, year, cell], infinite where missing.

    There are as many places along ``year`` as years have entered.
    """

    def bytes_per_value(self, window: int) -> int:
        """Return the bytes of a value for each year."""
        return 4 * window

    def empty(self, n_days: int, n_cells: int) -> Floats:
        """Return the lists of no years."""
        return np.empty((n_days, 0, n_cells), dtype=np.float32)

    def slide(self, state: Floats, signed: Signed) -> Floats:
        """Return the lists with values added or dropped.

        Raises:
            InconsistentFile: what leaves has never entered.
        """
        from climdask.climatology import orderkernels

        return slid(state, signed, orderkernels.slide)

    def save(self, state: Floats) -> dict[str, npt.NDArray[Any]]:
        """Return the lists."""
        return {"years": state}

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Floats:
        """Return the lists."""
        return np.ascontiguousarray(arrays["years"])

    def n_bytes(self, state: Floats) -> int:
        """Return the bytes of the lists."""
        return int(state.nbytes)


def slid(state: Floats, signed: Signed, slide: Any) -> Floats:
    """Return sorted years with blocks added or dropped.

    Args:
        state: float32 [day, year, cell].
        signed: one block that enters (+1), one that leaves (-1), or both.
        slide: :func:`climdask.climatology.orderkernels.slide`, or its twin :func:`plain_slide`.

    Raises:
        InconsistentFile: what leaves has never entered.
    """
    blocks = {sign > 0: block for block, sign in signed}
    n_days, n_years, n_cells = state.shape
    nothing = np.empty((0, 0), dtype=np.float32)
    enters, leaves = (
        np.ascontiguousarray(blocks[way].values) if way in blocks else nothing
        for way in (True, False)
    )
    out = np.empty((n_days, n_years + (True in blocks) - (False in blocks), n_cells), np.float32)
    if not slide(state, enters, leaves, True in blocks, False in blocks, out):
        year = blocks[False].year
        raise InconsistentFile(
            f"{year} leaves the window with other values than it entered with; expected the same; "
            "its file was changed while the run was at work: run again"
        )
    return out


def plain_slide(
    years: Floats, enters: Floats, leaves: Floats, has_enters: bool, has_leaves: bool, out: Floats
) -> bool:
    """Do what :func:`climdask.climatology.orderkernels.slide` does, with numpy."""
    whole, kept = True, years
    if has_leaves:
        gone = _missing_last(leaves)[:, None]
        whole = bool((years == gone).any(axis=1).all())
        kept = np.where(years[:, :-1] >= gone, years[:, 1:], years[:, :-1])
    if has_enters:
        kept = np.concatenate([kept, _missing_last(enters)[:, None]], axis=1)
    out[...] = np.sort(kept, axis=1)
    return whole


def _missing_last(values: Floats) -> Floats:
    """Return values with infinity for NaN, which is sorted last, and 0 for -0, which is equal."""
    return np.where(np.isnan(values), np.float32(np.inf), values) + np.float32(0)


def plain_select(
    years: Floats,
    pools: npt.NDArray[np.int64],
    count: npt.NDArray[np.int32],
    rank: npt.NDArray[np.int32],
    low: Floats,
    high: Floats,
) -> None:
    """Do what :func:`climdask.climatology.orderkernels.select` does, with numpy."""
    n_cells = years.shape[2]
    for row, days in enumerate(pools):
        values = np.sort(years[days].reshape(-1, n_cells), axis=0)
        first = np.broadcast_to(rank[row], n_cells)
        after = np.minimum(first + 1, np.maximum(np.broadcast_to(count[row], n_cells) - 1, first))
        low[row] = np.take_along_axis(values, first[None], axis=0)
        high[row] = np.take_along_axis(values, after[None], axis=0)


def select_one_day(
    years: Floats, pools: npt.NDArray[np.int64], count: Ints, rank: Ints, low: Floats, high: Floats
) -> None:
    """Do what :func:`plain_select` does for pools of one day: its values are sorted already."""
    days, after = pools[:, 0], np.minimum(rank + 1, np.maximum(count - 1, rank))
    if count.shape[1] == 1:
        low[...], high[...] = years[days, rank[:, 0]], years[days, after[:, 0]]
        return
    cells = np.arange(years.shape[2])
    low[...], high[...] = years[days[:, None], rank, cells], years[days[:, None], after, cells]


@dataclass(frozen=True)
class Percentile:
    """A percentile of the values of a pool of days over all years.

    Attributes:
        level: the share of values that are lower, above 0 and below 1; 0 is the minimum, 1 the
            maximum.
        definition: one of :data:`METHODS`.
        pool_days: odd.
        method: the word of CF for it, if there is one.
    """

    level: Fraction
    definition: str = LINEAR
    pool_days: int = 1
    method: str = ""

    keeps: ClassVar[tuple[str, ...]] = ("sorted",)
    quantity: ClassVar[Literal["value"]] = "value"

    def result(self, states: Mapping[str, Any], coverage: Coverage, units: Conversion) -> Floats:
        """Return the percentile, float32 [day, cell]; NaN where there is no value at all."""
        made: Floats = self._of(states, coverage, units, np.float32)
        return made

    def unrounded(
        self, states: Mapping[str, Any], coverage: Coverage, units: Conversion
    ) -> DoubleDouble:
        """Return the percentile, double-doubles [day, cell]; it is right to float64."""
        return DoubleDouble.of(self._of(states, coverage, units, np.float64))

    def _of(
        self, states: Mapping[str, Any], coverage: Coverage, units: Conversion, dtype: FloatType
    ) -> npt.NDArray[Any]:
        from climdask.climatology import orderkernels

        count = coverage.pooled_count(self.pool_days)
        return self.made(states["sorted"], count, orderkernels, units, dtype)

    def made(
        self,
        years: Floats,
        count: Counts,
        kernels: Any = None,
        units: Conversion = UNCHANGED,
        dtype: FloatType = np.float32,
    ) -> npt.NDArray[Any]:
        """Return the percentile [day, cell].

        Args:
            years: float32 [day, year, cell], sorted.
            count: [day, cell] or [day, 1], values in the pool of each day.
            kernels: :mod:`climdask.climatology.orderkernels`; the bits are the same without it.
            units: applied before the rounding.
            dtype: to which it is rounded, once.
        """
        n_days, n_years, n_cells = years.shape
        out = np.full((n_days, n_cells), np.nan, dtype=dtype)
        if not n_years:
            return out
        pools = pooled_days(n_days, self.pool_days)
        ranks, shares = _places(self.level, self.definition, n_years * self.pool_days)
        select = _selection(kernels, self.pool_days, n_years, ranks, count)
        for first in range(0, n_days, ROWS):
            rows = slice(first, first + ROWS)
            own = np.ascontiguousarray(count[rows], dtype=np.int32)
            low, high = (np.empty((len(own), n_cells), np.float32) for _ in range(2))
            select(years, np.ascontiguousarray(pools[rows]), own, ranks[own], low, high)
            if kernels is not None and units.is_identity and dtype is np.float32:
                kernels.between(low, high, shares[own], own, out[rows])
                continue
            for row, n in enumerate(own):
                found = _between(low[row], high[row], shares[n], units, dtype)
                np.copyto(out[first + row], found, where=n > 0)
        return out


def _selection(
    kernels: Any, pool_days: int, n_years: int, ranks: npt.NDArray[np.int32], count: Counts
) -> Callable[..., None]:
    """Return what writes the two neighbours of a percentile, as :func:`plain_select` does.

    Args:
        kernels: the compiled loops, or None.
        pool_days: days of a pool.
        n_years: places of a list.
        ranks: of so many values.
        count: values in the pool of each day.
    """
    if pool_days == 1:
        return select_one_day
    if kernels is None:
        return plain_select
    if pool_days > MOST_MERGED:
        return kernels.select  # type: ignore[no-any-return]
    n_pairs = pool_days // 2
    wanted = ranks[np.unique(count[count > 0])] if (count > 0).any() else ranks[:1]
    first = max(0, int(wanted.min()) - n_years) // STEP * STEP
    end = min(2 * n_pairs * n_years, -(-(int(wanted.max()) + 2) // STEP) * STEP)
    own = merging(n_years, n_pairs, first, end)

    def select(
        years: Floats, pools: npt.NDArray[np.int64], count: Ints, rank: Ints, low: Floats,
        high: Floats,
    ) -> None:  # fmt: skip
        kernels.select_merged(
            years, pools, own.pair, own.pair_order, own.joined, own.order, count, rank, low, high
        )

    return select


@lru_cache(maxsize=256)
def _places(
    level: Fraction, definition: str, most: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Return for 0 to ``most`` values the rank below the percentile, and how far it is to the next.

    Both are exact until the share is rounded to float64. Not to be changed.
    """
    alpha, beta = METHODS[definition]
    ranks, shares = np.zeros(most + 1, dtype=np.int32), np.zeros(most + 1)
    for n in range(1, most + 1):
        at = alpha + level * (n + 1 - alpha - beta)
        at = min(max(at, Fraction(1)), Fraction(n)) - 1
        ranks[n] = at.numerator // at.denominator
        shares[n] = float(at - int(ranks[n]))
    return ranks, shares


def _between(
    low: Floats,
    high: Floats,
    share: npt.NDArray[np.float64],
    units: Conversion,
    dtype: FloatType,
) -> npt.NDArray[Any]:
    """Return values between neighbours, rounded once.

    From the nearer neighbour, so that the result lies between the two; as numpy does it.
    """
    if not share.any():
        return _converted(low, units, dtype)
    wide_low, wide_high = low.astype(np.float64), high.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinite where there is no value; blanked by the caller
        step = wide_high - wide_low
        found = np.where(share < 0.5, wide_low + step * share, wide_high - step * (1 - share))
    return _converted(found, units, dtype)


def _converted(values: npt.NDArray[Any], units: Conversion, dtype: FloatType) -> npt.NDArray[Any]:
    """Return values in other units, rounded once; infinite ones are blanked by the caller."""
    with np.errstate(invalid="ignore"):
        return np.asarray(values if units.is_identity else units(values), dtype=dtype)


# The names of percentiles, each with one spelling.
PERCENTILE = r"p(0|[1-9]\d?)(\.\d{0,5}[1-9])?"


def percentile_level(name: str) -> Fraction | None:
    """Return the share that a name such as ``p90`` or ``p99.5`` says; None if it is no percentile.

    Each percentile has one name, so ``p05`` and ``p90.0`` are none; neither is ``p0``.
    """
    level = Fraction(name[1:]) / 100 if re.fullmatch(PERCENTILE, name) else Fraction(0)
    return level or None


ORDER_STATISTICS: Mapping[str, Percentile] = {
    "min": Percentile(Fraction(0), method="minimum"),
    "max": Percentile(Fraction(1), method="maximum"),
    "median": Percentile(Fraction(1, 2), method="median"),
}

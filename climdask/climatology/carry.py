"""The carry of a chain: what a window hands to the next. Immutable.

One coverage for all statistics, and the states that they share.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.climatology.blocks import Block
from climdask.climatology.conversions import UNCHANGED, Conversion
from climdask.climatology.coverage import Counts, Coverage, Shorts
from climdask.climatology.doubledoubles import DoubleDouble
from climdask.climatology.smoothing import Smoothing, in_pieces
from climdask.climatology.statistics import (
    MEAN,
    STATES,
    STATISTICS,
    State,
    WindowStatistic,
    pieces_of_days,
)
from climdask.climatology.stepyears import StepYears, YearEnd


@dataclass(frozen=True, eq=False)
class Carry:
    """The years of a window, as far as its statistics need them.

    Attributes:
        shape: days and cells.
        states: what is kept of the values, by names of :data:`statistics.STATES`.
        steps: the window's years as steps, such as months; one for each reduction of the chain.
        year_end: the last days of the latest year, if steps of the next one reach back to them.
    """

    shape: tuple[int, int]
    coverage: Coverage
    states: Mapping[str, State]
    steps: tuple[StepYears, ...] = ()
    year_end: YearEnd | None = None

    @classmethod
    def empty(
        cls, n_days: int, n_cells: int, states: Sequence[str] = ("sum",), n_regions: int = 1
    ) -> Carry:
        """Return the carry of no years."""
        empty = {name: STATES[name].empty(n_days, n_cells) for name in states}
        return cls((n_days, n_cells), Coverage.empty(n_days, n_regions), empty)

    @property
    def years(self) -> tuple[int, ...]:
        """The source years with any valid day, in order."""
        return self.coverage.years

    def __sizeof__(self) -> int:
        states = sum(STATES[name].n_bytes(state) for name, state in self.states.items())
        steps = sum(sys.getsizeof(one) for one in self.steps)
        return int(states + steps + self.coverage.count.nbytes + self.coverage.valid_days.nbytes)

    def add(self, block: Block) -> Carry:
        """Return the carry with one more year."""
        return self.slide(enters=block, leaves=None)

    def drop(self, block: Block) -> Carry:
        """Return the carry without a year that is in it."""
        return self.slide(enters=None, leaves=block)

    def slide(self, *, enters: Block | None, leaves: Block | None) -> Carry:
        """Return the carry with ``enters`` added and ``leaves`` dropped, in one pass.

        Raises:
            ValueError: the year that enters is in it, or the one that leaves is not.
        """
        coverage = self.coverage
        signed: list[tuple[Block, float]] = []
        for block, sign in ((enters, 1.0), (leaves, -1.0)):
            if block is not None and block.days_any.any():
                coverage = coverage.slide(block, enters=sign > 0)
                signed.append((block, sign))
        if not signed:
            return self
        states = {n: STATES[n].slide(state, signed) for n, state in self.states.items()}
        return replace(self, coverage=coverage, states=states)

    def normal(
        self,
        needed: Counts,
        min_years: int,
        statistic: WindowStatistic = STATISTICS[MEAN],
        units: Conversion = UNCHANGED,
        smoothing: Smoothing | None = None,
    ) -> npt.NDArray[np.float32] | Shorts:
        """Return a statistic [day, cell]: float32, NaN where too few values are valid.

        A number of values is int16, and never missing.

        Args:
            needed: [day], from :func:`coverage.needed_values` for the statistic's ``pool_days``.
            min_years: source years that the window needs at all.
            statistic: whose states the carry has.
            units: that the result is to have.
            smoothing: made of the result before it is rounded; none of a number.
        """
        if statistic.quantity == "number":
            return np.ascontiguousarray(
                np.broadcast_to(statistic.result(self.states, self.coverage, units), self.shape)
            )
        if len(self.years) < min_years:
            return np.full(self.shape, np.nan, dtype=np.float32)
        if smoothing is not None:
            wide = self.unrounded(needed, min_years, statistic, units, smoothing)
            return wide.high.astype(np.float32) + np.float32(0)
        out = statistic.result(self.states, self.coverage, units)
        self._blank(out, needed, statistic)
        return out

    def unrounded(
        self,
        needed: Counts,
        min_years: int,
        statistic: WindowStatistic,
        units: Conversion = UNCHANGED,
        smoothing: Smoothing | None = None,
    ) -> DoubleDouble:
        """Return what :meth:`normal` rounds, double-doubles [day, cell]; not of a number."""
        if len(self.years) < min_years:
            return DoubleDouble.of(np.full(self.shape, np.nan))
        wide = statistic.unrounded(self.states, self.coverage, units)
        high = wide.high.copy()  # it may be a part of the state
        self._blank(high, needed, statistic)
        if smoothing is None:
            return DoubleDouble(high, wide.low)
        return DoubleDouble.of(in_pieces(smoothing, high))

    def _blank(self, values: npt.NDArray[Any], needed: Counts, statistic: WindowStatistic) -> None:
        """Make missing, in place, what too few values are behind."""
        count = self.coverage.pooled_count(statistic.pool_days)
        for days in pieces_of_days(*self.shape):
            np.copyto(values[days], np.nan, where=count[days] < needed[days, None])


def carry_of_steps(
    years: StepYears,
    steps: int,
    cells: int,
    states: Sequence[str],
    regions: Sequence[npt.NDArray[np.intp]],
) -> Carry:
    """Return the carry of the steps of a window's years.

    Args:
        years: of one reduction.
        steps: of a year.
        cells: of a block.
        states: that the statistics need.
        regions: the cells of each.
    """
    carry = Carry.empty(steps, cells, states, len(regions))
    for block in years.blocks:
        carry = carry.add(block)
    if not years.blocks:
        return carry
    valid = np.stack([years.valid(own) for own in regions], axis=1)
    return replace(carry, coverage=replace(carry.coverage, valid_days=valid))

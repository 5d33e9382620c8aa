"""The carry of a chain: what a window hands to the next. Immutable.

One coverage for all statistics, and a state for each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from climdask.climatology.blocks import Block
from climdask.climatology.coverage import Coverage, Shorts
from climdask.climatology.statistics import MEAN, STATISTICS, State, piece_of_days


@dataclass(frozen=True, eq=False)
class Carry:
    """The years of a window, as far as its statistics need them.

    Attributes:
        shape: days and cells.
        states: what each statistic keeps, by its name.
    """

    shape: tuple[int, int]
    coverage: Coverage
    states: Mapping[str, State]

    @classmethod
    def empty(
        cls, n_days: int, n_cells: int, statistics: Sequence[str] = (MEAN,), n_regions: int = 1
    ) -> Carry:
        """Return the carry of no years."""
        states = {name: STATISTICS[name].empty(n_days, n_cells) for name in statistics}
        return cls((n_days, n_cells), Coverage.empty(n_days, n_regions), states)

    @property
    def years(self) -> tuple[int, ...]:
        """The source years with any valid day, in order."""
        return self.coverage.years

    def __sizeof__(self) -> int:
        states = sum(STATISTICS[name].n_bytes(state) for name, state in self.states.items())
        return int(states + self.coverage.count.nbytes + self.coverage.valid_days.nbytes)

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
        states = {n: STATISTICS[n].slide(state, signed) for n, state in self.states.items()}
        return replace(self, coverage=coverage, states=states)

    def normal(
        self, needed: Shorts, min_years: int, statistic: str = MEAN
    ) -> npt.NDArray[np.float32]:
        """Return a statistic, float32 [day, cell], NaN where too few values are valid.

        Args:
            needed: int16 [day], from :meth:`MissingRule.needed`.
            min_years: source years that the window needs at all.
            statistic: one of the carry's.
        """
        n_days, n_cells = self.shape
        out = np.full((n_days, n_cells), np.nan, dtype=np.float32)
        if len(self.years) < min_years:
            return out
        step = piece_of_days(n_cells)
        for first in range(0, n_days, step):
            days = slice(first, first + step)
            values = STATISTICS[statistic].result(self.states[statistic], self.coverage, days)
            np.copyto(out[days], values, where=self.coverage.count[days] >= needed[days, None])
        return out

"""Reductions within the year: from the days of a year to its months, seasons, own steps.

A :class:`YearReduction` is what is made of the days of a step (:mod:`.stepvalues`), the steps
(:mod:`.cycles`), and when a step is missing (:mod:`.missingdays`)::

    sums = YearReduction(Sum(Fraction(86400)), Cycle.months().on(axis), WMO)
    block = sums(year, before=tail_of(year_before, sums.days_before))      # Block [step, cell]

A step may need days of the year before: DJF its December, a running window that ends on 1 January
the days before it. ``days_before`` says how many days, at the end of the axis, :func:`tail_of`
takes them from the block of that year, and that is all that has to be kept of it. Without them, in
the first year of a record, they count as missing.

**What a step's value is rounded to: float32.** It is exact until then: float64 as ``math.fsum`` of
the definition, then once to float32. So a block of steps is a block like others: sums over the
years are exact over it (squares of float32 fit into float64), order statistics and checkpoints need
half of float64's bytes, and each year's own value, which ``window: 1`` writes, is just the number
that enters: the normal of 30 years can be made again, to the last bit, from the 30 values. The
price is at most half a unit in the last place of float32 for each year, 1.5e-5 K at 288 K, no more
than daily values have. Units are changed after the mean over the years, on exact sums, never here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from climdask.climatology.blocks import Block
from climdask.climatology.cycles import CycleDays
from climdask.climatology.missingdays import MissingDays
from climdask.climatology.stepvalues import StepDays, StepReduction


@dataclass(frozen=True)
class YearReduction:
    """A reduction of the days of each step of a cycle.

    Attributes:
        reduction: of the days of one step.
        cycle: the steps, on the axis of the blocks.
        missing: when a step has too few days.
    """

    reduction: StepReduction
    cycle: CycleDays
    missing: MissingDays

    @property
    def days_before(self) -> int:
        """Days of the year before that it reads: days of the axis, at its end.

        A running window reads one more where a 29 February may not exist.
        """
        reach = max(self._lead - first for first, _ in self.cycle.spans)
        return min(max(reach, 0), len(self.cycle.axis))

    @property
    def _lead(self) -> int:
        """The days of the axis before a step that hold those that it reads."""
        needed = self.reduction.days_before
        return needed + 1 if needed else 0  # one may be a 29 February that is not

    def __call__(self, year: Block, before: npt.NDArray[np.float32] | None = None) -> Block:
        """Return the value of each step.

        Args:
            year: its ``values`` float32 [day, cell] on the axis; not infinite.
            before: float32 [:attr:`days_before`, cell], the last days of the year before; None if
                there are none, and they count as missing.

        Returns:
            The block of the same year, its ``values`` float32 [step, cell], NaN where missing.

        Raises:
            ValueError: days that the axis does not have, or a value too large for float32.
        """
        n_days, n_cells = year.values.shape
        if n_days != len(self.cycle.axis):
            raise ValueError(f"{n_days} days of {year.year}; the axis has {len(self.cycle.axis)}")
        before = self._checked(before, n_cells)
        found = np.full((len(self.cycle), n_cells), np.nan, dtype=np.float32)
        for step in range(len(self.cycle)):
            found[step] = self._of_step(step, year, before)
        if np.isinf(found).any():
            raise ValueError(f"a value of {year.year} is too large for float32")
        return Block.of(year.year, found)

    def _checked(
        self, before: npt.NDArray[np.float32] | None, n_cells: int
    ) -> npt.NDArray[np.float32]:
        shape = (self.days_before, n_cells)
        if before is None:
            return np.full(shape, np.nan, dtype=np.float32)
        if before.shape != shape:
            raise ValueError(f"days before of shape {before.shape}; expected {shape}")
        return before

    def _of_step(
        self, step: int, year: Block, before: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        first, end = self.cycle.spans[step]
        more = min(self._lead, first + len(self.cycle.axis))
        exists = self.cycle.exists(year.year, step, before=more)
        values = _rows(before, year.values, first - more, end)
        if not exists.all():
            values = values[exists]
        n_before = int(exists[:more].sum())
        drop = max(0, n_before - self.reduction.days_before)
        days = StepDays(values[drop:], n_before - drop)
        months = self.cycle.months(step)[exists[more:]]
        return self._blanked(days, months)

    def _blanked(self, days: StepDays, months: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
        lacks = np.isnan(days.own)
        n_days, n_cells = lacks.shape
        if not n_days:
            return np.full(n_cells, np.nan, dtype=np.float32)
        values = self.reduction(days)
        blank = lacks.all(axis=0)
        if lacks.any():
            blank |= self.missing.is_missing(lacks, months, total=self.reduction.is_total)
        with np.errstate(over="ignore"):
            # Adding 0 turns -0 into 0.
            rounded = values.astype(np.float32) + np.float32(0.0)
        rounded[blank] = np.nan
        return rounded


def tail_of(block: Block | None, n_days: int) -> npt.NDArray[np.float32] | None:
    """Return the last days of a block, float32 [n_days, cell], not a view; None of no block."""
    if block is None or not n_days:
        return None
    return block.values[len(block.values) - n_days :].copy()


def _rows(
    before: npt.NDArray[np.float32], year: npt.NDArray[np.float32], first: int, end: int
) -> npt.NDArray[np.float32]:
    """Return the rows of both from ``first``, below 0 in the year before, to ``end``."""
    if first >= 0:
        return year[first:end]
    return np.concatenate([before[len(before) + first :], year[:end]])

"""The window's years as steps, such as months: what a chain keeps of a reduction within the year.

A year has few steps, so all years of the window stay as they are, and statistics over them are made
when a normal is written. Nothing is added up on the way, so nothing can drift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from climdask.climatology.blocks import Block
from climdask.climatology.reductions import YearReduction, tail_of

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class StepYears:
    """The steps of the years of a window, of one reduction. Immutable.

    Attributes:
        blocks: float32 [step, cell] each, in order of years; years without a value are left out.
    """

    blocks: tuple[Block, ...] = ()

    @property
    def years(self) -> tuple[int, ...]:
        """The years with any value, in order."""
        return tuple(block.year for block in self.blocks)

    def slide(self, enters: Block | None, first_year: int) -> StepYears:
        """Return the years from ``first_year`` on, with one more.

        Raises:
            ValueError: the year that enters is not later than those that are there.
        """
        kept = tuple(block for block in self.blocks if block.year >= first_year)
        if enters is None or not enters.days_any.any():
            return StepYears(kept)
        if kept and kept[-1].year >= enters.year:
            raise ValueError(f"year {enters.year} after {kept[-1].year}")
        return StepYears((*kept, enters))

    def valid(self, cells: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Return bool [year, step]: whether any of some cells has a value."""
        if not self.blocks:
            return np.zeros((0, 0), dtype=bool)
        return np.stack([~np.isnan(block.values[:, cells]).all(axis=1) for block in self.blocks])

    def save(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return arrays that hold the years: int64 [year], float32 [year, step, cell]."""
        if not self.blocks:
            return {"years": np.zeros(0, np.int64), "values": np.zeros((0, 0, 0), np.float32)}
        values = np.stack([block.values for block in self.blocks])
        return {"years": np.array(self.years, np.int64), "values": values}

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> StepYears:
        """Return the years that :meth:`save` returned, to the last bit."""
        pairs = zip(arrays["years"].tolist(), arrays["values"], strict=True)
        return cls(tuple(Block.of(year, np.ascontiguousarray(v)) for year, v in pairs))

    def __sizeof__(self) -> int:
        return sum(block.values.nbytes for block in self.blocks)


def slide_steps(
    steps: Sequence[StepYears],
    reductions: Sequence[YearReduction],
    enters: Block | None,
    year_end: YearEnd | None,
    first_year: int,
) -> tuple[StepYears, ...]:
    """Return the years of each reduction from ``first_year`` on, with those of one more block.

    Args:
        steps: one for each reduction.
        reductions: of the days of a year.
        enters: the days of the year, float32 [day, cell].
        year_end: the last days of the year before.
        first_year: of the window.
    """
    return tuple(
        own.slide(_reduced(reduction, enters, year_end), first_year)
        for own, reduction in zip(steps, reductions, strict=True)
    )


def _reduced(
    reduction: YearReduction, enters: Block | None, year_end: YearEnd | None
) -> Block | None:
    if enters is None:
        return None
    before = year_end.before(enters.year, reduction.days_before) if year_end else None
    return reduction(enters, before)


@dataclass(frozen=True, eq=False)
class YearEnd:
    """The last days of a year, which steps of the next one reach back to.

    Attributes:
        values: float32 [day, cell].
    """

    year: int
    values: Floats

    @classmethod
    def of(cls, block: Block | None, n_days: int) -> YearEnd | None:
        """Return the last days of a block; None of no block, or no days."""
        values = tail_of(block, n_days)
        return None if block is None or values is None else cls(block.year, values)

    def before(self, year: int, n_days: int) -> Floats | None:
        """Return the last ``n_days`` before a year; None if this is not the year before."""
        if year != self.year + 1 or not n_days:
            return None
        return self.values[len(self.values) - n_days :]

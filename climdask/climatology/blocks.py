"""Blocks: the values of one source year, float32 [day, cell]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


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

    def select(self, days: Sequence[bool]) -> Block:
        """Return the block with some of its days only."""
        kept = np.asarray(days, dtype=bool)
        return Block(self.year, self.values[kept], self.days_any[kept], self.days_all[kept])

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

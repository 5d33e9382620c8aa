"""Statistics over the years of a window: what each keeps, and how a year enters and leaves.

A new statistic is one module with a :class:`WindowStatistic`, and a call of :func:`register`. It
knows no file, no calendar and no Dask: arrays [day, cell] go in and come out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from climdask.climatology import exactsum
from climdask.climatology.blocks import Block
from climdask.climatology.coverage import Coverage
from climdask.climatology.exactsum import Doubles, accumulate, rounded_sum

# What a statistic keeps of a window: arrays with the days first and the cells second.
State = Any
# A block with +1 where it enters the window, -1 where it leaves.
Signed = Sequence[tuple[Block, float]]


class WindowStatistic(Protocol):
    """A statistic of each day and cell over the years of a window.

    Attributes:
        bytes_per_value: that a state needs for each day and cell, to plan memory.
        method: the word of CF for it (appendix E), as in ``time: mean over years``.
    """

    bytes_per_value: int
    method: str

    def empty(self, n_days: int, n_cells: int) -> State:
        """Return the state of no years."""

    def slide(self, state: State, signed: Signed) -> State:
        """Return the state with blocks added or dropped; ``state`` itself never changes."""

    def result(self, state: State, coverage: Coverage, days: slice) -> npt.NDArray[np.float32]:
        """Return the statistic of some days, float32 [day, cell], rounded once.

        What too few values are behind is blanked by the caller.
        """

    def save(self, state: State) -> dict[str, npt.NDArray[Any]]:
        """Return arrays that hold a state."""

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> State:
        """Return the state that :meth:`save` returned, to the last bit."""

    def n_bytes(self, state: State) -> int:
        """Return the bytes of a state."""


class Mean:
    """The mean, exact: ``math.fsum(values) / n``, rounded once to float32."""

    bytes_per_value = 16  # two float64 terms, which precipitation needs
    method = "mean"

    def empty(self, n_days: int, n_cells: int) -> tuple[Doubles, ...]:
        """Return the sum of nothing, one term."""
        return (np.zeros((n_days, n_cells)),)

    def slide(self, state: tuple[Doubles, ...], signed: Signed) -> tuple[Doubles, ...]:
        """Return the exact sum with blocks added or dropped."""
        return accumulate(state, signed)

    def result(
        self, state: tuple[Doubles, ...], coverage: Coverage, days: slice
    ) -> npt.NDArray[np.float32]:
        """Return the mean of some days, float32 [day, cell]."""
        total = rounded_sum([term[days] for term in state])
        # Adding 0 turns -0 into 0.
        count = np.maximum(coverage.count[days], 1)
        return (total / count).astype(np.float32) + np.float32(0.0)

    def save(self, state: tuple[Doubles, ...]) -> dict[str, npt.NDArray[Any]]:
        """Return the terms, float64 [term, day, cell]."""
        return {"terms": np.stack(state)}

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[Doubles, ...]:
        """Return the terms."""
        return tuple(np.ascontiguousarray(term) for term in arrays["terms"])

    def n_bytes(self, state: tuple[Doubles, ...]) -> int:
        """Return the bytes of the terms."""
        return sum(term.nbytes for term in state)


MEAN = "mean"
STATISTICS: dict[str, WindowStatistic] = {MEAN: Mean()}


def register(name: str, statistic: WindowStatistic) -> None:
    """Add a statistic, which a workflow then names in ``normals``."""
    STATISTICS[name] = statistic


def piece_of_days(n_cells: int) -> int:
    """Return how many days are worked on at once, so that temporaries stay in a core's cache."""
    return max(1, exactsum.PIECE // max(1, n_cells))

"""Statistics over the years of a window: what is kept of the years, and what is made of that.

A :class:`WindowState` says what is kept, and how a year enters and leaves; a
:class:`WindowStatistic` makes a result of the states that it names, so statistics that need the
same share it. A new statistic is one module and a call of :func:`register`. It knows no file, no
calendar and no Dask: arrays [day, cell] go in and come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from climdask.climatology import exactsum, stepvalues
from climdask.climatology.blocks import Block
from climdask.climatology.conversions import Conversion
from climdask.climatology.coverage import Coverage, Shorts
from climdask.climatology.doubledoubles import DoubleDouble
from climdask.climatology.exactsum import Doubles, accumulate, rounded_sum
from climdask.climatology.orderstatistics import (
    LINEAR,
    METHODS,
    ORDER_STATISTICS,
    Percentile,
    SortedYears,
    percentile_level,
)
from climdask.climatology.spread import StandardDeviation
from climdask.errors import did_you_mean

# What is kept of a window: arrays with the days first and the cells last.
State = Any
# A block with +1 where it enters the window, -1 where it leaves.
Signed = Sequence[tuple[Block, float]]
# What a result is: a value of the variable, a difference of such values, or a number of values.
Quantity = Literal["value", "difference", "number"]


class WindowState(Protocol):
    """What is kept of the years of a window for each day and cell."""

    def bytes_per_value(self, window: int) -> int:
        """Return the bytes for each day and cell in a full window of so many years."""

    def empty(self, n_days: int, n_cells: int) -> State:
        """Return the state of no years."""

    def slide(self, state: State, signed: Signed) -> State:
        """Return the state with blocks added or dropped; ``state`` itself never changes."""

    def save(self, state: State) -> dict[str, npt.NDArray[Any]]:
        """Return arrays that hold a state."""

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> State:
        """Return the state that :meth:`save` returned, to the last bit."""

    def n_bytes(self, state: State) -> int:
        """Return the bytes of a state."""


class WindowStatistic(Protocol):
    """A statistic of each day and cell over the years of a window."""

    @property
    def keeps(self) -> tuple[str, ...]:
        """The states that it is made from; names of :data:`STATES`."""

    @property
    def method(self) -> str:
        """The word of CF for it (appendix E), as in ``time: mean over years``; "" for none."""

    @property
    def quantity(self) -> Quantity:
        """What the result is."""

    @property
    def pool_days(self) -> int:
        """How many days around each one are taken together; 1 for the day alone."""

    def result(
        self, states: Mapping[str, State], coverage: Coverage, units: Conversion
    ) -> npt.NDArray[np.float32] | Shorts:
        """Return the statistic [day, cell]: float32, rounded once; a number is int16.

        What too few values are behind is blanked by the caller, but for a number.

        Args:
            states: what is kept of the window, by name.
            coverage: of the window.
            units: applied before the rounding; a number has none.
        """

    def unrounded(
        self, states: Mapping[str, State], coverage: Coverage, units: Conversion
    ) -> DoubleDouble:
        """Return what :meth:`result` rounds, double-doubles [day, cell]; never asked of a number.

        Something else is made of it before the one rounding, such as a smoothing.
        """


class ExactSum:
    """The exact sum of a power of the values, as float64 terms [day, cell].

    Args:
        power: 1, or 2 for squares, which of a float32 are exact in float64.
        terms: that plans count with.
    """

    def __init__(self, power: Literal[1, 2], terms: int) -> None:
        self.power, self._bytes = power, 8 * terms

    def bytes_per_value(self, window: int) -> int:
        """Return the bytes of the terms."""
        del window
        return self._bytes

    def empty(self, n_days: int, n_cells: int) -> tuple[Doubles, ...]:
        """Return the sum of nothing, one term."""
        return (np.zeros((n_days, n_cells)),)

    def slide(self, state: tuple[Doubles, ...], signed: Signed) -> tuple[Doubles, ...]:
        """Return the exact sum with blocks added or dropped."""
        return accumulate(state, signed, self.power)

    def save(self, state: tuple[Doubles, ...]) -> dict[str, npt.NDArray[Any]]:
        """Return the terms, float64 [term, day, cell]."""
        return {"terms": np.stack(state)}

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[Doubles, ...]:
        """Return the terms."""
        return tuple(np.ascontiguousarray(term) for term in arrays["terms"])

    def n_bytes(self, state: tuple[Doubles, ...]) -> int:
        """Return the bytes of the terms."""
        return sum(term.nbytes for term in state)


class Mean:
    """The mean, exact: ``math.fsum(values) / n``, rounded once to float32."""

    keeps = ("sum",)
    method = "mean"
    quantity: Quantity = "value"
    pool_days = 1

    def result(
        self, states: Mapping[str, State], coverage: Coverage, units: Conversion
    ) -> npt.NDArray[np.float32]:
        """Return the mean, float32 [day, cell]."""
        terms: tuple[Doubles, ...] = states["sum"]
        out = np.empty(terms[0].shape, dtype=np.float32)
        for days in pieces_of_days(*terms[0].shape):
            # Adding 0 turns -0 into 0.
            count = np.maximum(coverage.count[days], 1)
            own = [term[days] for term in terms]
            mean = rounded_sum(own) / count if units.is_identity else units.of_mean(own, count)
            out[days] = mean.astype(np.float32) + np.float32(0.0)
        return out

    def unrounded(
        self, states: Mapping[str, State], coverage: Coverage, units: Conversion
    ) -> DoubleDouble:
        """Return the mean, double-doubles [day, cell]."""
        terms: tuple[Doubles, ...] = states["sum"]
        high, low = np.empty(terms[0].shape), np.empty(terms[0].shape)
        for days in pieces_of_days(*terms[0].shape):
            count = np.maximum(coverage.count[days], 1)
            own = [term[days] for term in terms]
            if units.is_identity:
                mean = DoubleDouble.of_terms(own).over_count(count)
            else:
                mean = units.of_unrounded_mean(own, count)
            high[days], low[days] = mean.high, mean.low
        return DoubleDouble(high, low)


class Count:
    """The number of valid values, which is never missing."""

    keeps = ()
    method = ""
    quantity: Quantity = "number"
    pool_days = 1

    def result(self, states: Mapping[str, State], coverage: Coverage, units: Conversion) -> Shorts:
        """Return the count, int16 [day, cell], or [day, 1] where all cells have the same."""
        del states, units
        return coverage.count

    def unrounded(
        self, states: Mapping[str, State], coverage: Coverage, units: Conversion
    ) -> DoubleDouble:
        """Return the count as it is."""
        del states, units
        return DoubleDouble.of(coverage.count)


MEAN = "mean"
# Precipitation needs two terms; its squares span twice as many powers of two.
STATES: dict[str, WindowState] = {
    "sum": ExactSum(1, terms=2),
    "squares": ExactSum(2, terms=3),
    "sorted": SortedYears(),
}
# In the order in which an output has them; percentiles come last.
STATISTICS: dict[str, WindowStatistic] = {
    MEAN: Mean(),
    "std": StandardDeviation(),
    **ORDER_STATISTICS,
    "count": Count(),
}


def register(
    name: str, statistic: WindowStatistic, states: Mapping[str, WindowState] | None = None
) -> None:
    """Add a statistic, which a workflow then names in ``normals``, and states that it needs."""
    STATISTICS[name] = statistic
    STATES.update(states or {})


def statistic_of(name: str, pool_days: int = 1, method: str = LINEAR) -> WindowStatistic:
    """Return the statistic of a name: one of :data:`STATISTICS`, or a percentile such as ``p90``.

    Args:
        name: of the statistic.
        pool_days: days that are taken together; more than 1 for order statistics only.
        method: the definition of percentiles; one of ``orderstatistics.METHODS``.

    Raises:
        ValueError: there is no such statistic, or it has no pools.
    """
    level = percentile_level(name)
    if level is None and name not in STATISTICS:
        known = ", ".join(STATISTICS)
        raise ValueError(
            f'"{name}" is none of {known}, and no percentile such as p90 or p99.5, above p0 and '
            f"below p100{did_you_mean(name, STATISTICS)}"
        )
    if method not in METHODS:
        raise ValueError(f'method "{method}" is none of {", ".join(METHODS)}')
    found = STATISTICS[name] if level is None else Percentile(level, method)
    if pool_days == 1:
        return found
    if not isinstance(found, Percentile):
        pooling = ", ".join(ORDER_STATISTICS)
        raise ValueError(f'"{name}" takes no pool_days; expected {pooling} or percentiles with it')
    return replace(found, pool_days=pool_days)


def kept_by(statistics: Iterable[WindowStatistic]) -> tuple[str, ...]:
    """Return the states that some statistics need, each once, in the order of :data:`STATES`."""
    needed = {name for statistic in statistics for name in statistic.keeps}
    return tuple(name for name in STATES if name in needed)


def compile_kernels(states: Iterable[str], n_values: int, *, has_steps: bool) -> None:
    """Compile what is needed, or find it compiled, so that processes started later find it.

    Args:
        states: that are kept, by name.
        n_values: of a year, days times cells.
        has_steps: whether steps such as months are made of the days.
    """
    if "sorted" in states:
        import_module("climdask.climatology.orderkernels")
    if n_values >= (stepvalues.KERNEL_FROM if has_steps else exactsum.KERNEL_FROM):
        import_module("climdask.climatology.sumkernels")


def pieces_of_days(n_days: int, n_cells: int) -> Iterator[slice]:
    """Yield the days that are worked on at once, so that temporaries stay in a core's cache."""
    step = max(1, exactsum.PIECE // max(1, n_cells))
    for first in range(0, n_days, step):
        yield slice(first, first + step)

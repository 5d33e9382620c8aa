"""Circular smoothing of daily normals: harmonics, running means, triangular means.

The days of a normal are a circle: 1 January follows 31 December. Each is taken as one step of
it, 29 February too where the axis has it. Smoothing is made on float64 before the one rounding.

Missing days: a day that is missing stays missing, whatever lies around it; the others are smoothed
from the days that are there. A window takes the mean of its days that are there, with their
weights. Harmonics are fitted to the days that are there, by least squares; with fewer of them than
coefficients, all days are missing.

Every operation is elementwise over the cells, so a cell does not depend on the cells beside it.

Source: harmonics of daily normals, Epstein 1988 ("A spectral climatology", J. Climate 1, 88-107).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

# Cells that are smoothed at once, so that temporaries stay in a core's cache.
CELLS = 1 << 9


class Smoothing(Protocol):
    """A circular smoothing of days."""

    @property
    def text(self) -> str:
        """How it is named in metadata."""

    def __call__(self, normal: Doubles) -> Doubles:
        """Return days smoothed, float64 [day, cell], from float64 [day, cell], NaN where missing.

        Raises:
            ValueError: more days of a window, or coefficients, than the normal has days.
        """


@dataclass(frozen=True)
class Harmonics:
    """The mean and the first harmonics of the year, by least squares.

    Attributes:
        pairs: of sine and cosine; 1 or more.
    """

    pairs: int

    def __post_init__(self) -> None:
        if self.pairs < 1:
            raise ValueError(f"{self.pairs} harmonics; expected 1 or more")

    @property
    def text(self) -> str:
        """How it is named in metadata."""
        return f"least-squares fit of the mean and {self.pairs} harmonics of the year"

    def __call__(self, normal: Doubles) -> Doubles:
        """Return the fit, on the days that are there."""
        n_days, n_cells = normal.shape
        if 2 * self.pairs + 1 > n_days:
            raise ValueError(f"{self.pairs} harmonics of {n_days} days; they have fewer")
        there = ~np.isnan(normal)
        basis = _basis(n_days, self.pairs)
        if there.all():
            return _fitted(basis, normal)
        fit = np.full(normal.shape, np.nan)
        # Cells that lack the same days share the work.
        patterns, group = np.unique(there, axis=1, return_inverse=True)
        for number, pattern in enumerate(patterns.T):
            if pattern.sum() >= basis.shape[1]:
                cells = np.flatnonzero(group.reshape(n_cells) == number)
                days = np.flatnonzero(pattern)
                fit[np.ix_(days, cells)] = _fitted(basis[days], normal[np.ix_(days, cells)])
        return fit


@dataclass(frozen=True)
class Windowed:
    """A centred mean over an odd number of days.

    Attributes:
        days: of the window, 3 or more.
        triangular: whether the weights fall off to both sides, by 1 each day, to 1 at the edges;
            else they are alike.
    """

    days: int
    triangular: bool = False

    def __post_init__(self) -> None:
        if self.days < 3 or self.days % 2 == 0:
            raise ValueError(
                f"a centred mean of {self.days} days; expected an odd number, 3 or more"
            )

    @property
    def text(self) -> str:
        """How it is named in metadata."""
        return f"centred {'triangular' if self.triangular else 'running'} mean of {self.days} days"

    def __call__(self, normal: Doubles) -> Doubles:
        """Return the mean around each day that is there."""
        if self.days > len(normal):
            raise ValueError(f"a mean of {self.days} days; the normal has {len(normal)}")
        there = ~np.isnan(normal)
        if there.all():
            return self._weighed(normal) / self._weighed(np.ones((len(normal), 1)))
        total, weights = self._weighed(np.where(there, normal, 0.0)), self._weighed(there)
        smooth = np.full(normal.shape, np.nan)
        np.divide(total, weights, out=smooth, where=there)
        return smooth

    def _weighed(self, values: npt.NDArray[Any]) -> Doubles:
        """Return the weighed sum around each day, from the days after it to those before."""
        n_days, half = len(values), self.days // 2
        circle = np.concatenate([values[n_days - half :], values, values[:half]])
        total = np.zeros(values.shape)
        for ahead in range(half, -half - 1, -1):
            near = circle[half + ahead : half + ahead + n_days]
            total += (half + 1.0 - abs(ahead)) * near if self.triangular else near
        return total


def in_pieces(smoothing: Smoothing, normal: Doubles) -> Doubles:
    """Return days smoothed, as the smoothing itself does, some cells at a time: less memory."""
    smooth = np.empty(normal.shape)
    for first in range(0, normal.shape[1], CELLS):
        cells = slice(first, first + CELLS)
        smooth[:, cells] = smoothing(normal[:, cells])
    return smooth


def _basis(n_days: int, pairs: int) -> Doubles:
    """Return 1, and cosine and sine of each harmonic, float64 [day, 2 * pairs + 1]."""
    angle = 2.0 * np.pi * np.arange(n_days) / n_days
    waves = [f(k * angle) for k in range(1, pairs + 1) for f in (np.cos, np.sin)]
    return np.stack([np.ones(n_days), *waves], axis=1)


def _fitted(basis: Doubles, values: Doubles) -> Doubles:
    """Return the least-squares fit of values to the columns of a basis, both of the same days.

    The columns are made orthonormal first. The sums over the days are made row by row, not by a
    product of matrices, whose rounding depends on the number of cells.
    """
    orthonormal = np.linalg.qr(basis)[0]
    fit = np.zeros(values.shape)
    for column in orthonormal.T:
        coefficient = np.zeros(values.shape[1])
        for weight, row in zip(column, values, strict=True):
            coefficient += weight * row
        for weight, row in zip(column, fit, strict=True):
            row += weight * coefficient
    return fit

"""Grids: the cells of an input file, numbered row by row.

:class:`Grid` is what the rest needs of one; the rectilinear grid is the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

# Coordinates are alike if they are so to this many degrees: they are often stored in float32, where
# 234.125 may read 234.12500763.
TOLERANCE = 1e-4

Floats = npt.NDArray[np.float64]


class Grid(Protocol):
    """The cells of an input file; cell ``row * columns + column`` of its storage."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the storage."""

    @property
    def digest(self) -> str:
        """The identity of the grid, for hashes: coordinates to :data:`TOLERANCE`."""

    @property
    def identity(self) -> Hashable:
        """All coordinates to the last bit: grids that share it share their selections."""

    def matches(self, other: Grid) -> bool:
        """Tell whether the two have the same cells in the same order."""

    def difference(self, other: Grid) -> str:
        """Say how ``other`` differs from this grid."""

    def where(self, cell: int) -> str:
        """Return the place of a cell as text, for messages."""


@dataclass(frozen=True, eq=False)
class RectilinearGrid:
    """A rectilinear grid, in the order of the file.

    Attributes:
        lat: degrees north, float64 [lat], ascending or descending.
        lon: degrees east, float64 [lon], 0 to 360 or -180 to 180.
        lat_bounds, lon_bounds: float64 [lat, 2] and [lon, 2], or None.
    """

    lat: Floats
    lon: Floats
    lat_bounds: Floats | None = None
    lon_bounds: Floats | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of latitudes and longitudes."""
        return self.lat.size, self.lon.size

    @property
    def identity(self) -> tuple[bytes, ...]:
        """All coordinates to the last bit: grids that share it share their selections."""
        axes = (self.lat, self.lon, self.lat_bounds, self.lon_bounds)
        return tuple(b"" if axis is None else axis.tobytes() for axis in axes)

    def where(self, cell: int) -> str:
        """Return the place of a cell as text, for messages."""
        row, column = divmod(cell, self.lon.size)
        return f"lat {self.lat[row]:g}, lon {self.lon[column]:g}"

    @property
    def digest(self) -> str:
        """A hash of the coordinates to 1e-4 degree: the identity of the grid."""
        text = hashlib.sha256()
        for axis in (self.lat, self.lon):
            text.update(np.round(axis / TOLERANCE).astype("<i8").tobytes())
        return text.hexdigest()[:16]

    def matches(self, other: Grid) -> bool:
        """Tell whether the two have the same cells in the same order, to 1e-4 degree."""
        if not isinstance(other, RectilinearGrid) or self.shape != other.shape:
            return False
        return all(
            np.allclose(mine, theirs, rtol=0, atol=TOLERANCE)
            for mine, theirs in ((self.lat, other.lat), (self.lon, other.lon))
        )

    def difference(self, other: Grid) -> str:
        """Say how ``other`` differs from this grid, down to a coordinate if only some do."""
        text = f"a grid of {other}, not {self}"
        if isinstance(other, RectilinearGrid) and self.shape == other.shape:
            for name, mine, theirs in (("lat", self.lat, other.lat), ("lon", self.lon, other.lon)):
                apart = np.flatnonzero(np.abs(theirs - mine) > TOLERANCE)
                if apart.size:
                    at = apart[0]
                    return f"{text} ({name} {at + 1} is {theirs[at]:.8g}, not {mine[at]:.8g})"
        return text

    def __str__(self) -> str:
        (south, north), (west, east) = (
            (float(axis.min()), float(axis.max())) for axis in (self.lat, self.lon)
        )
        return (
            f"{self.lat.size} x {self.lon.size} cells, "
            f"lat {south:.6g} to {north:.6g}, lon {west:.6g} to {east:.6g}"
        )


def each_once(lon: Floats, columns: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Leave out columns at the place of an earlier one: some files store 0 and 360 E both."""
    east = (lon[columns] - lon[columns[0]]) % 360.0
    east[east > 360.0 - TOLERANCE] = 0.0
    order = np.argsort(east, kind="stable")
    return np.delete(columns, order[1:][np.diff(east[order]) <= TOLERANCE])

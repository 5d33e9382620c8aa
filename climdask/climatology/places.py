"""Boxes on a latitude-longitude grid: which cells, in which order, with which coordinates."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from climdask.errors import RegionError

# A cell is in a box if its centre is within it to this many degrees: coordinates are often
# stored in float32, where 234.125 may read 234.12500763.
TOLERANCE = 1e-4

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """A region: edges in degrees, inclusive; ``west > east`` wraps around.

    Attributes:
        west, east: degrees east, -180 to 360; ``None`` for all longitudes.
        south, north: degrees north; ``None`` for all latitudes.
    """

    name: str
    west: float | None
    east: float | None
    south: float | None
    north: float | None

    def __str__(self) -> str:
        if self.west is None:
            return f"{self.name} (the whole grid)"
        return f"{self.name} ({self.west:g} to {self.east:g} E, {self.south:g} to {self.north:g} N)"


GLOBAL = Box("global", None, None, None, None)

DEFAULT_REGIONS = {
    box.name: box
    for box in (
        Box("CONUS", 234.0, 294.0, 24.0, 50.0),
        Box("AK", 170.0, 235.0, 50.0, 72.0),
        Box("HI", 181.63, 205.20, 18.92, 28.45),
        Box("PRVI", 292.03, 295.49, 17.62, 18.57),
        Box("GU", 144.58, 146.12, 13.18, 20.61),
        GLOBAL,
    )
}


@dataclass(frozen=True, eq=False)
class Grid:
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
    def digest(self) -> str:
        """A hash of the coordinates to 1e-4 degree: the identity of the grid."""
        text = hashlib.sha256()
        for axis in (self.lat, self.lon):
            text.update(np.round(axis / TOLERANCE).astype("<i8").tobytes())
        return text.hexdigest()[:16]

    def matches(self, other: Grid) -> bool:
        """Tell whether the two have the same cells in the same order, to 1e-4 degree."""
        return self.shape == other.shape and all(
            np.allclose(mine, theirs, rtol=0, atol=TOLERANCE)
            for mine, theirs in ((self.lat, other.lat), (self.lon, other.lon))
        )

    def difference(self, other: Grid) -> str:
        """Say how ``other`` differs from this grid, down to a coordinate if only some do."""
        text = f"a grid of {other}, not {self}"
        if self.shape == other.shape:
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


@dataclass(frozen=True, eq=False)
class RegionCells:
    """The cells of one region, latitude ascending and longitude west to east.

    Attributes:
        lat: float64 [lat] ascending; lon: float64 [lon] strictly increasing and continuous, in
            0 to 360, or -180 to 180 if the box crosses 0 E.
        lat_bounds, lon_bounds: [lat, 2], [lon, 2] in the same convention, or None.
        index: intp [lat, lon], the place of each cell in ``Selection.cells``.
    """

    box: Box
    lat: Floats
    lon: Floats
    lat_bounds: Floats | None
    lon_bounds: Floats | None
    index: npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Selection:
    """The union of all regions' cells on one grid.

    Attributes:
        cells: int64 [cell], sorted flat indices ``row * n_lon + column`` into the file's grid.
        regions: one :class:`RegionCells` for each box, in the order given.
    """

    cells: npt.NDArray[np.int64]
    regions: tuple[RegionCells, ...]

    def region(self, name: str) -> RegionCells:
        """Return a region by its name."""
        return next(region for region in self.regions if region.box.name == name)


def select(grid: Grid, boxes: Sequence[Box]) -> Selection:
    """Find the cells of all boxes; regions that overlap share cells.

    Raises:
        RegionError: a box holds no cell centre.
    """
    picked = [(box, _rows(grid, box), *_columns(grid, box)) for box in boxes]
    n_lon = grid.lon.size
    flat = [rows[:, None] * n_lon + columns[None, :] for _, rows, columns, _ in picked]
    cells = np.unique(np.concatenate([f.ravel() for f in flat]))
    return Selection(
        cells.astype(np.int64),
        tuple(
            RegionCells(
                box,
                grid.lat[rows],
                grid.lon[columns] + shift,
                _cut_bounds(grid.lat_bounds, rows, 0.0),
                _cut_bounds(grid.lon_bounds, columns, shift, around=grid.lon[columns] + shift),
                np.searchsorted(cells, index),
            )
            for (box, rows, columns, shift), index in zip(picked, flat, strict=True)
        ),
    )


def _rows(grid: Grid, box: Box) -> npt.NDArray[np.intp]:
    """Return the rows in the box, southernmost first."""
    if box.south is None or box.north is None:
        return np.argsort(grid.lat, kind="stable")
    inside = (grid.lat >= box.south - TOLERANCE) & (grid.lat <= box.north + TOLERANCE)
    rows = np.flatnonzero(inside)
    if rows.size == 0:
        raise RegionError(
            f"region {box} holds no cell: the grid's latitudes go from {grid.lat.min():.6g} to "
            f"{grid.lat.max():.6g}, {_nearest(grid.lat, (box.south + box.north) / 2)}; "
            "widen the box (edges are inclusive on cell centres)"
        )
    return rows[np.argsort(grid.lat[rows], kind="stable")]


def _columns(grid: Grid, box: Box) -> tuple[npt.NDArray[np.intp], Floats]:
    """Return the columns in the box, westernmost first, and what to add to their longitudes."""
    lon = grid.lon
    if box.west is None or box.east is None or box.east - box.west >= 360.0:
        columns = np.argsort(lon, kind="stable")
        return columns, np.zeros(columns.size)
    width = (box.east - box.west) % 360.0
    eastward = (lon - box.west) % 360.0
    eastward[eastward > 360.0 - TOLERANCE] -= 360.0  # a hair west of the edge counts as on it
    columns = np.flatnonzero(eastward <= width + TOLERANCE)
    if columns.size == 0:
        middle = box.west + width / 2
        raise RegionError(
            f"region {box} holds no cell: the grid's longitudes go from {lon.min():.6g} to "
            f"{lon.max():.6g}, {_nearest(lon, middle, circle=360.0)}; "
            "widen the box (edges are inclusive on cell centres)"
        )
    columns = columns[np.argsort(eastward[columns], kind="stable")]
    start = box.west % 360.0
    if start + width >= 360.0 + TOLERANCE:  # crosses 0 E: count from -180
        start -= 360.0
    wanted = start + eastward[columns]
    # Whole turns only, so that the file's own values survive to the last bit.
    return columns, 360.0 * np.round((wanted - lon[columns]) / 360.0)


def _nearest(axis: Floats, value: float, *, circle: float | None = None) -> str:
    distance = np.abs(axis - value)
    if circle is not None:
        distance = np.minimum(distance % circle, circle - distance % circle)
    return f"the centre nearest to the middle of the box is {axis[int(distance.argmin())]:.6g}"


def _cut_bounds(
    bounds: Floats | None,
    places: npt.NDArray[np.intp],
    shift: Floats | float,
    *,
    around: Floats | None = None,
) -> Floats | None:
    """Cut and shift bounds with their cells, lower edge first."""
    if bounds is None:
        return None
    cut = bounds[places] + np.reshape(shift, (-1, 1))
    if around is not None:  # an edge may be a turn away from its centre (359.875 for 0)
        cut = cut - 360.0 * np.round((cut - around[:, None]) / 360.0)
    return np.asarray(np.sort(cut, axis=1))

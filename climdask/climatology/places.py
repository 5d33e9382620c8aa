"""Places: the regions that normals are made of, and their cells on a grid.

:class:`Place` is what the rest needs of a region; boxes are the first. Regions that overlap share
cells, so that each cell of the grid is decoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from climdask.climatology.grids import TOLERANCE, Floats, Grid, RectilinearGrid, each_once
from climdask.errors import RegionError


@dataclass(frozen=True, eq=False)
class Footprint:
    """The cells of a grid that a place has, latitude ascending and longitude west to east.

    Attributes:
        cells: intp [lat, lon], numbers of cells of the grid.
        lat, lon: float64 [lat] and [lon], as they are written.
        lat_bounds, lon_bounds: [lat, 2] and [lon, 2], or None.
    """

    cells: npt.NDArray[np.intp]
    lat: Floats
    lon: Floats
    lat_bounds: Floats | None = None
    lon_bounds: Floats | None = None


class Place(Protocol):
    """A region that normals are made of."""

    @property
    def name(self) -> str:
        """Names the region in paths, messages and hashes."""

    @property
    def facts(self) -> list[object]:
        """All that decides its cells, for hashes."""

    def on(self, grid: Grid) -> Footprint:
        """Find its cells on a grid.

        Raises:
            RegionError: there are none, or the grid is of a kind that it cannot be found on.
        """


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

    @property
    def facts(self) -> list[object]:
        """Name and exact edges, for hashes."""
        return [self.name, self.west, self.east, self.south, self.north]

    def on(self, grid: Grid) -> Footprint:
        """Find the cells whose centres are in the box.

        Raises:
            RegionError: there are none, or the grid has no rows and columns of one coordinate.
        """
        if not isinstance(grid, RectilinearGrid):
            raise RegionError(f"region {self}: boxes need a grid of latitudes and longitudes")
        rows, (columns, shift) = _rows(grid, self), _columns(grid, self)
        lon = grid.lon[columns] + shift
        return Footprint(
            rows[:, None] * grid.lon.size + columns[None, :],
            grid.lat[rows],
            lon,
            _cut_bounds(grid.lat_bounds, rows, 0.0),
            _cut_bounds(grid.lon_bounds, columns, shift, around=lon),
        )

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
class RegionCells:
    """The cells of one region, latitude ascending and longitude west to east.

    Attributes:
        lat: float64 [lat] ascending; lon: float64 [lon] strictly increasing and continuous, in
            0 to 360, or -180 to 180 if a box crosses 0 E.
        lat_bounds, lon_bounds: [lat, 2], [lon, 2] in the same convention, or None.
        index: intp [lat, lon], the place of each cell in ``Selection.cells``.
    """

    place: Place
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
        return next(region for region in self.regions if region.place.name == name)


def select(grid: Grid, places: Sequence[Place]) -> Selection:
    """Find the cells of all places; regions that overlap share cells.

    Raises:
        RegionError: a place has no cell.
    """
    found = [place.on(grid) for place in places]
    cells = np.unique(np.concatenate([own.cells.ravel() for own in found]))
    return Selection(
        cells.astype(np.int64),
        tuple(
            RegionCells(
                place,
                own.lat,
                own.lon,
                own.lat_bounds,
                own.lon_bounds,
                np.searchsorted(cells, own.cells),
            )
            for place, own in zip(places, found, strict=True)
        ),
    )


def _rows(grid: RectilinearGrid, box: Box) -> npt.NDArray[np.intp]:
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


def _columns(grid: RectilinearGrid, box: Box) -> tuple[npt.NDArray[np.intp], Floats]:
    """Return the columns in the box, westernmost first, and what to add to their longitudes."""
    lon = grid.lon
    if box.west is None or box.east is None or box.east - box.west >= 360.0:
        columns = each_once(lon, np.argsort(lon, kind="stable"))
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
    columns = each_once(lon, columns[np.argsort(eastward[columns], kind="stable")])
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

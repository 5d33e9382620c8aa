"""Places: the regions that normals are made of, and their cells on a grid.

:class:`Place` is what the rest needs of a region; boxes are the first, sets of areas the second.
Regions that overlap share cells, so that each cell of the grid is decoded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Protocol

import numpy as np
import numpy.typing as npt

from climdask.climatology.areas import ROUNDING, AreaMeans, Areas, AreaWeights, joined
from climdask.climatology.blocks import Block
from climdask.climatology.grids import TOLERANCE, Floats, Grid, RectilinearGrid, each_once
from climdask.errors import RegionError
from climdask.plaintext import few


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


@dataclass(frozen=True, eq=False)
class AreaFootprint:
    """The cells of a grid that a set of areas has.

    Attributes:
        areas: the set, as the outputs need it.
        weights: of the cells of the grid in each area.
    """

    areas: Areas
    weights: AreaWeights


class Place(Protocol):
    """A region that normals are made of."""

    @property
    def name(self) -> str:
        """Names the region in paths, messages and hashes."""

    @property
    def facts(self) -> list[object]:
        """All that decides its cells, for hashes."""

    def on(self, grid: Grid) -> Footprint | AreaFootprint:
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
    """The places of one region: cells of a box, latitude ascending and longitude west to east.

    Those of a set of areas are its areas, in order; ``lat`` and ``lon`` are then the middle of each
    area, float64 [area], and there are no bounds.

    Attributes:
        lat: float64 [lat] ascending; lon: float64 [lon] strictly increasing and continuous, in
            0 to 360, or -180 to 180 if a box crosses 0 E.
        lat_bounds, lon_bounds: [lat, 2], [lon, 2] in the same convention, or None.
        index: intp [lat, lon], or [area]; the places of a block.
    """

    place: Place | Areas
    lat: Floats
    lon: Floats
    lat_bounds: Floats | None
    lon_bounds: Floats | None
    index: npt.NDArray[np.intp]

    @property
    def areas(self) -> Areas | None:
        """The set of areas; None for a box."""
        return self.place if isinstance(self.place, Areas) else None

    @property
    def dims(self) -> tuple[str, ...]:
        """The dimensions of its places."""
        return ("lat", "lon") if self.areas is None else ("area",)


@dataclass(frozen=True, eq=False)
class Selection:
    """The union of all regions' cells on one grid, and the places that are made of them.

    Attributes:
        cells: int64 [cell], sorted flat indices ``row * n_lon + column`` into the file's grid.
        regions: one :class:`RegionCells` for each region, in the order given.
        means: how cells become areas; None where there are none: then cells are places.
    """

    cells: npt.NDArray[np.int64]
    regions: tuple[RegionCells, ...]
    means: AreaMeans | None = None

    @property
    def n_places(self) -> int:
        """Places of a block."""
        return self.cells.size if self.means is None else self.means.n_places

    @cached_property
    def digest(self) -> str:
        """A hash of the places, and what they are made of."""
        own = sha256(self.cells.tobytes()).hexdigest()
        return own if self.means is None else f"{own}{self.means.digest}"

    @cached_property
    def groups(self) -> tuple[npt.NDArray[np.intp], ...]:
        """The cells of each region as places among ``cells``, intp [cell] each."""
        found = [region.index.ravel() for region in self.regions]
        if self.means is None:
            return tuple(found)
        return tuple(
            self.means.kept[index] if region.areas is None else self.means.cells_of(index)
            for region, index in zip(self.regions, found, strict=True)
        )

    def placed(self, block: Block) -> Block:
        """Return the places of a block of cells."""
        return (
            block if self.means is None else Block.of(block.year, self.means.reduced(block.values))
        )

    def region(self, name: str) -> RegionCells:
        """Return a region by its name."""
        return next(region for region in self.regions if region.place.name == name)


def select(grid: Grid, places: Sequence[Place]) -> Selection:
    """Find the cells of all places; regions that overlap share cells.

    Raises:
        RegionError: a place has no cell.
    """
    found = [place.on(grid) for place in places]
    boxes = [own.cells.ravel() for own in found if isinstance(own, Footprint)]
    sets = [own for own in found if isinstance(own, AreaFootprint)]
    stay = np.unique(np.concatenate(boxes)) if boxes else np.zeros(0, dtype=np.intp)
    cells = np.unique(np.concatenate([stay, *(own.weights.cells for own in sets)]))
    ends = stay.size + np.cumsum([0, *(len(own.areas.ids) for own in sets)])
    first = iter(ends)
    regions = [
        _box_cells(place, own, stay)
        if isinstance(own, Footprint)
        else _area_places(own, int(next(first)))
        for place, own in zip(places, found, strict=True)
    ]
    means = _means(cells, stay, sets) if sets else None
    return Selection(cells.astype(np.int64), tuple(regions), means)


def _box_cells(place: Place, own: Footprint, cells: npt.NDArray[np.intp]) -> RegionCells:
    index = np.searchsorted(cells, own.cells)
    return RegionCells(place, own.lat, own.lon, own.lat_bounds, own.lon_bounds, index)


def _area_places(own: AreaFootprint, first: int) -> RegionCells:
    index = first + np.arange(len(own.areas.ids), dtype=np.intp)
    return RegionCells(own.areas, own.weights.lat, own.weights.lon, None, None, index)


def _means(
    cells: npt.NDArray[np.int64], stay: npt.NDArray[np.intp], sets: Sequence[AreaFootprint]
) -> AreaMeans:
    """Return what makes places of cells: those of boxes stay, then the areas of each set."""
    weights = joined([own.weights for own in sets])
    least = [np.full(len(own.areas.ids), own.areas.min_coverage) for own in sets]
    numbered = np.searchsorted(cells, weights.cells).astype(np.int64)
    kept = np.searchsorted(cells, stay)
    return AreaMeans(kept, replace(weights, cells=numbered), np.concatenate(least))


def uncovered(selection: Selection) -> Iterator[str]:
    """Tell which areas can never have a value, as too little of them lies in the grid."""
    if selection.means is None:
        return
    covered = selection.means.weights.covered
    for region in selection.regions:
        if region.areas is None:
            continue
        own = covered[region.index - selection.means.kept.size]
        lost = (own < region.areas.min_coverage - ROUNDING) | (own <= 0.0)
        if lost.any():
            names = [n for n, is_lost in zip(region.areas.labels, lost, strict=True) if is_lost]
            have = "has" if len(names) == 1 else "have"
            yield (
                f"region {region.areas.name}: {len(names)} of {lost.size:,} areas {have} less than "
                f"the share {region.areas.min_coverage:g} (min_coverage) in cells of the grid, so "
                f"no value on any day: {few(names)}"
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

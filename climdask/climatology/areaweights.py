"""The weights of cells in areas: how much of each area lies in each cell, on the sphere.

An edge of a polygon is a straight line in longitude and latitude, as GeoJSON defines it (RFC 7946,
3.1.1), and so is an edge of a cell. Cell and polygon are intersected in that plane, where shapely
is exact to the last digits. The area of what both have in common is then taken on the sphere, by
Green's theorem: it is the integral of sin(lat) over longitude along the edges, which a straight
edge has in closed form. So nothing is approximated: no edge is cut into short ones, and no cell is
taken for flat.

shapely is an extra; this module is imported only by who needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from climdask.climatology.areas import AreaWeights
from climdask.climatology.celledges import Intervals, column_edges, row_edges
from climdask.climatology.grids import Floats, Grid, RectilinearGrid
from climdask.errors import RegionError

Geometries = npt.NDArray[np.object_]
Indices = npt.NDArray[np.intp]

# Raised when weights change between versions: those that are kept are then made again.
WEIGHTS_VERSION = 1
# km; the radius of the sphere that has the Earth's surface (IUGG 1980, R2).
EARTH_RADIUS = 6371.0072
_POLYGON = 3
# Polygons with more vertices are cut in two, and again, so that few cells meet many vertices.
_MOST_VERTICES = 256
# Shares of a cell, or of an area, below which an intersection is rounding.
_LEAST_SHARE = 1e-9
# Degrees of longitude of one edge, above which it is not told which way it goes round the globe.
_LONGEST_EDGE = 180.0


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Polygons that make up areas.

    Attributes:
        shapes: polygons in degrees, each simple.
        owners: intp [piece], the area that each belongs to; ascending.
    """

    shapes: Geometries
    owners: Indices


def area_weights(grid: Grid, shapes: Sequence[Any], names: Sequence[str]) -> AreaWeights:
    """Return the weights of the cells of a grid in areas.

    Args:
        grid: a rectilinear grid.
        shapes: shapely polygons and multipolygons in degrees east and north, valid; longitudes in
            any turn, such as 190 or -170.
        names: of the areas, for messages.

    Returns:
        Weights in km2; those of an area do not depend on which other areas there are.

    Raises:
        RegionError: coordinates are no degrees, or do not say which way an area goes round the
            globe; or the grid does not tell the edges of its cells.

    An area without a surface, or outside the grid, has no cell.
    """
    if not isinstance(grid, RectilinearGrid):
        raise RegionError("areas need a grid of latitudes and longitudes")
    geometries = np.array(list(shapes), dtype=object)
    _check(geometries, names)
    pieces = _pieces(geometries)
    each = sphere_areas(pieces.shapes)
    sizes = _sums(pieces.owners, each, len(names))
    lat, lon = _centres(pieces, each, len(names))
    area, cell, weight = _pairs(grid, pieces, sizes)
    starts = np.searchsorted(area, np.arange(len(names) + 1)).astype(np.int64)
    return AreaWeights(starts, cell.astype(np.int64), weight, sizes, lat, lon)


# ---------------------------------------------------------------- polygons


def _check(shapes: Geometries, names: Sequence[str]) -> None:
    """Refuse coordinates that are no degrees, and edges that do not tell which way they go."""
    for name, (west, south, east, north) in zip(names, shapely.bounds(shapes), strict=True):
        if south < -90.0 - 1e-6 or north > 90.0 + 1e-6 or west < -540.0 or east > 720.0:
            raise RegionError(
                f"area {name}: reaches from {west:g} to {east:g} and from {south:g} to {north:g}; "
                "expected degrees east and north: name the coordinate reference system in the file"
            )
        if east - west > 360.0 + 1e-6:
            raise RegionError(
                f"area {name}: is {east - west:g} degrees wide, from {west:g} to {east:g} E; "
                "expected at most 360: the places that it has twice would count twice"
            )
    polygons, owners = _polygons(shapes, np.arange(shapes.size))
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    coordinates, ring = shapely.get_coordinates(rings, return_index=True)
    step = np.abs(np.diff(coordinates[:, 0]))
    same = ring[1:] == ring[:-1]
    unclear = np.flatnonzero(same & (step > _LONGEST_EDGE) & (step < 360.0 - 1e-6))
    if unclear.size:
        at = int(unclear[0])
        name = names[owners[polygon[ring[at]]]]
        west, east = coordinates[at, 0], coordinates[at + 1, 0]
        raise RegionError(
            f"area {name}: has an edge from {west:g} to {east:g} E, longer than half a turn, so it "
            "is not clear which way it goes; expected polygons that are cut where they cross "
            "180 E (RFC 7946; ogr2ogr -wrapdateline), or longitudes that go on, such as 190 for "
            "-170; an edge that is so long needs a vertex between its ends"
        )


def _pieces(shapes: Geometries) -> _Pieces:
    """Cut areas into polygons of few vertices: their parts, and those halved again and again."""
    parts, owners = _polygons(shapes, np.arange(shapes.size))
    done: list[tuple[Geometries, Indices]] = []
    while parts.size or not done:
        large = shapely.get_num_coordinates(parts) > _MOST_VERTICES
        done.append((parts[~large], owners[~large]))
        parts, owners = _halved(parts[large], owners[large])
    shapes, owners = (np.concatenate(each) for each in zip(*done, strict=True))
    order = np.argsort(owners, kind="stable")
    return _Pieces(shapes[order], owners[order])


def _halved(shapes: Geometries, owners: Indices) -> tuple[Geometries, Indices]:
    """Cut polygons in two across their longer side."""
    if not shapes.size:
        return shapes, owners
    west, south, east, north = shapely.bounds(shapes).T
    middle, is_wide = (west + east) / 2, east - west >= north - south
    first = shapely.box(
        west, south, np.where(is_wide, middle, east), np.where(is_wide, north, (south + north) / 2)
    )
    second = shapely.box(
        np.where(is_wide, middle, west), np.where(is_wide, south, (south + north) / 2), east, north
    )
    halves = np.concatenate([shapely.intersection(shapes, half) for half in (first, second)])
    return _polygons(halves, np.concatenate([owners, owners]))


def _polygons(shapes: Geometries, owners: Indices) -> tuple[Geometries, Indices]:
    """Take geometries apart, and keep their polygons: cuts leave points and lines, too."""
    for _ in range(2):  # a collection may hold multipolygons
        shapes, index = shapely.get_parts(shapes, return_index=True)
        owners = owners[index]
    kept = (shapely.get_type_id(shapes) == _POLYGON) & ~shapely.is_empty(shapes)
    return shapes[kept], owners[kept]


def sphere_areas(shapes: Geometries) -> Floats:
    """Return the areas of polygons on the sphere, km2 [shape].

    Args:
        shapes: any geometries in degrees; edges are straight in longitude and latitude.
    """
    polygons, owners = _polygons(shapes, np.arange(shapes.size))
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    if not rings.size:
        return np.zeros(shapes.size)
    is_shell = np.diff(polygon, prepend=-1) > 0
    own = np.where(is_shell, 1.0, -1.0) * np.abs(_ring_integrals(rings))
    return _sums(owners[polygon], own, shapes.size) * EARTH_RADIUS**2


def _ring_integrals(rings: Geometries) -> Floats:
    """Return the integral of sin(lat) over longitude along each ring, float64 [ring], radians.

    Along a straight edge the mean of sin(lat) is sin(lat at its middle) times sin(h) / h, where h
    is half its height. The sine at the start of the ring is taken off, which changes nothing in
    the sum round the ring, and keeps the digits of small areas.
    """
    degrees, ring = shapely.get_coordinates(rings, return_index=True)
    lon, lat = np.radians(degrees).T
    is_edge = ring[1:] == ring[:-1]
    first = np.searchsorted(ring, np.arange(rings.size))
    start = np.sin(lat[first])[ring[1:]]
    height = lat[1:] - lat[:-1]
    mean = np.sin((lat[1:] + lat[:-1]) / 2) * np.sinc(height / (2 * np.pi)) - start
    along = np.where(is_edge, (lon[1:] - lon[:-1]) * mean, 0.0)
    return _sums(ring[1:], along, rings.size)


def _sums(owners: Indices, values: Floats, n: int) -> Floats:
    """Return the sum of the values of each owner, float64 [owner], added in their order."""
    return np.asarray(np.bincount(owners, weights=values, minlength=n), dtype=np.float64)


def _centres(pieces: _Pieces, sizes: Floats, n_areas: int) -> tuple[Floats, Floats]:
    """Return latitude and longitude of the middle of each area, -180 to 180 E.

    The mean direction of the middles of its pieces: so areas on both sides of 180 E have theirs
    between, and not on the other side of the globe.
    """
    lon, lat = np.radians(shapely.get_coordinates(shapely.centroid(pieces.shapes))).T
    xyz = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    x, y, z = (_sums(pieces.owners, sizes * axis, n_areas) for axis in xyz)
    return np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))


# ---------------------------------------------------------------- cells


def _pairs(
    grid: RectilinearGrid, pieces: _Pieces, sizes: Floats
) -> tuple[Indices, npt.NDArray[np.int64], Floats]:
    """Return area, cell and common area in km2 of all that overlap, in order of area and cell."""
    rows, columns = row_edges(grid), column_edges(grid)
    shapely.prepare(pieces.shapes)
    found = []
    for piece, turn, row, column in _candidates(rows, columns, pieces.shapes):
        common = _common(rows, columns, pieces.shapes[piece], turn, row, column)
        found.append((pieces.owners[piece], row, column, common))
    if not found:
        nothing = np.zeros(0, dtype=np.intp)
        return nothing, nothing.astype(np.int64), np.zeros(0)
    area, row, column, common = (np.concatenate(each) for each in zip(*found, strict=True))
    cell = rows.numbers[row] * grid.lon.size + columns.numbers[column]
    order = np.lexsort((cell, area))  # stable: pieces of an area stay in their order
    area, cell, common = area[order], cell[order], common[order]
    whole = _cell_areas(rows, columns, row[order], column[order])
    is_first = np.concatenate([[True], (np.diff(area) != 0) | (np.diff(cell) != 0)])
    first = np.flatnonzero(is_first)
    common = _sums(np.cumsum(is_first) - 1, common, first.size)
    area, cell, whole = area[first], cell[first], whole[first]
    kept = common > _LEAST_SHARE * np.minimum(whole, sizes[area])
    return area[kept], cell[kept].astype(np.int64), common[kept]


_MOST_AT_ONCE = 200_000  # cells whose shapes are in memory


def _candidates(
    rows: Intervals, columns: Intervals, shapes: Geometries
) -> Iterator[tuple[Indices, Floats, Indices, Indices]]:
    """Yield piece, turn in degrees, row and column of what may overlap, many at a time."""
    waiting: list[tuple[npt.NDArray[Any], ...]] = []
    n_waiting = 0
    for piece, (west, south, east, north) in enumerate(shapely.bounds(shapes)):
        row = rows.overlapping(south, north)
        for turn in _turns(columns, west, east):
            column = columns.overlapping(west + turn, east + turn)
            grid = np.mgrid[row, column].reshape(2, -1)
            size = grid.shape[1]
            waiting.append((np.full(size, piece), np.full(size, turn), grid[0], grid[1]))
            n_waiting += size
            if n_waiting >= _MOST_AT_ONCE:
                yield _joined(waiting)
                waiting, n_waiting = [], 0
    if n_waiting:
        yield _joined(waiting)


def _joined(parts: Sequence[tuple[npt.NDArray[Any], ...]]) -> Any:
    return tuple(np.concatenate(each) for each in zip(*parts, strict=True))


def _turns(columns: Intervals, west: float, east: float) -> Floats:
    """Return the whole turns, in degrees, that bring a piece to where the grid is."""
    first = np.ceil((columns.low[0] - east) / 360.0)
    last = np.floor((columns.high[-1] - west) / 360.0)
    return 360.0 * np.arange(first, last + 1)


def _common(
    rows: Intervals,
    columns: Intervals,
    shapes: Geometries,
    turn: Floats,
    row: Indices,
    column: Indices,
) -> Floats:
    """Return the area that each piece and its cell have in common, km2 [pair]."""
    boxes = shapely.box(
        columns.low[column] - turn, rows.low[row], columns.high[column] - turn, rows.high[row]
    )
    common = np.zeros(boxes.size)
    inside = shapely.covers(shapes, boxes)
    common[inside] = _cell_areas(rows, columns, row[inside], column[inside])
    rest = ~inside & shapely.intersects(shapes, boxes)
    common[rest] = sphere_areas(shapely.intersection(shapes[rest], boxes[rest]))
    return common


def _cell_areas(rows: Intervals, columns: Intervals, row: Indices, column: Indices) -> Floats:
    """Return the areas of cells, km2 [pair]."""
    width = columns.high[column] - columns.low[column]
    return rectangle_areas(rows.low[row], rows.high[row], width)


def rectangle_areas(south: Floats, north: Floats, width: Floats) -> Floats:
    """Return the areas between latitudes, so wide in longitude, on the sphere, km2.

    Args:
        south, north, width: degrees, of one shape.
    """
    south, north = np.radians(south), np.radians(north)
    height = 2 * np.sin((north - south) / 2) * np.cos((north + south) / 2)  # sin north - sin south
    return np.asarray(EARTH_RADIUS**2 * np.radians(width) * height)

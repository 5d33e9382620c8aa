"""Polygons from files: GeoJSON, GeoPackage and Shapefile, as areas in degrees east and north.

They are read by pyogrio (GDAL), brought to degrees by pyproj, and mended by shapely. These are an
extra, and loaded only here and by who weighs cells.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.errors import RegionError, did_you_mean
from climdask.plaintext import few

SUFFIXES = (".geojson", ".json", ".gpkg", ".shp")
DEGREES = "EPSG:4326"
# Metres, longest edge of a polygon in another reference system than degrees: its straight edges
# bend when they are brought to degrees; one of this length by about 3 m at 60 degrees north.
LONGEST_EDGE = 10_000.0
_EXTRA = (
    "areas need pyogrio, pyproj and shapely ({error}); install them: pip install 'climdask[areas]'"
)
_STARTSWITH = re.compile(r"(\w+)\.(?:str\.)?startswith\(\s*(['\"])(.*?)\2\s*\)")

Geometries = npt.NDArray[np.object_]


@dataclass(frozen=True)
class ShapeQuery:
    """What is wanted of a file of polygons.

    Attributes:
        path: of the file.
        id, name: columns; the name of an area is its id where there is no column of names.
        where: a condition in the SQL of OGR, such as ``STATE = '06'``; "" for all.
        layer: of a file with several; "" for the only one.
    """

    path: Path
    id: str
    name: str = ""
    where: str = ""
    layer: str = ""


@dataclass(frozen=True, eq=False)
class Shapes:
    """Polygons in degrees east and north.

    Attributes:
        ids: one for each area, in the order of the file; no two are alike.
        names: one for each area.
        geometries: shapely polygons and multipolygons, valid; empty for an area without a surface.
        digest: of ids, names and polygons as the file has them.
        notes: what is to be said of them.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    geometries: Geometries
    digest: str
    notes: tuple[str, ...] = ()


def read_shapes(query: ShapeQuery) -> Shapes:
    """Read polygons.

    Raises:
        RegionError: the file cannot be read, lacks a column, has an id twice, or holds something
            else than polygons; or nothing fits ``where``; or the extra is not installed.
    """
    shapely = _library("shapely")
    _check_path(query)
    layer = _layer(query)
    _check_columns(query, layer)
    crs, stored, fields = _read(query, layer)
    ids, names = _labels(query, fields)
    with _explained(query.path):
        geometries = shapely.force_2d(shapely.from_wkb(stored))
    geometries = np.where(shapely.is_missing(geometries), shapely.Polygon(), geometries)
    _check_polygons(query.path, geometries, ids)
    digest = _digest(crs, ids, names, stored)
    notes = []
    if crs is None:
        notes.append(f"{query.path}: names no coordinate reference system; taken as degrees")
    geometries = _in_degrees(query.path, geometries, crs, ids)
    geometries, mended = _mended(geometries)
    if mended.any():
        own = [name for name, is_mended in zip(names, mended, strict=True) if is_mended]
        notes.append(f"{query.path}: rings of {few(own)} cross themselves; mended")
    return Shapes(ids, names, geometries, digest, tuple(notes))


def _library(name: str) -> Any:
    """Import a library of the extra.

    Raises:
        RegionError: it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise RegionError(_EXTRA.format(error=error)) from None


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what GDAL and shapely raise into an error that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # GDAL's, of what does not concern polygons
            yield
    except RegionError:
        raise
    except Exception as error:  # of several libraries, each with a tree of its own
        raise RegionError(
            f"{path}: cannot be read as polygons ({' '.join(str(error).split())}); expected a "
            "GeoJSON file, GeoPackage or Shapefile"
        ) from None


# ---------------------------------------------------------------- the file


def _check_path(query: ShapeQuery) -> None:
    if query.path.suffix.lower() not in SUFFIXES:
        raise RegionError(
            f"{query.path}: expected a file of polygons that ends with {', '.join(SUFFIXES)}; "
            "convert it (ogr2ogr areas.gpkg FILE), or unpack it"
        )
    if not query.path.is_file():
        raise RegionError(f"{query.path}: no such file; expected a file of polygons")


def _layer(query: ShapeQuery) -> str | None:
    """Return the layer to read; None for the only one."""
    pyogrio = _library("pyogrio")
    with _explained(query.path):
        layers = [str(name) for name, _ in pyogrio.list_layers(query.path)]
    if query.layer and query.layer not in layers:
        raise RegionError(
            f'{query.path}: layer: "{query.layer}" is none of {", ".join(layers)}'
            f"{did_you_mean(query.layer, layers)}"
        )
    if not query.layer and len(layers) > 1:
        raise RegionError(
            f"{query.path}: has layers {', '.join(layers)}; say which one with layer: {layers[0]}"
        )
    return query.layer or None


def _check_columns(query: ShapeQuery, layer: str | None) -> None:
    pyogrio = _library("pyogrio")
    with _explained(query.path):
        columns = [str(c) for c in pyogrio.read_info(query.path, layer=layer)["fields"]]
    for key, column in (("id", query.id), ("name", query.name)):
        if column and column not in columns:
            raise RegionError(
                f'{query.path}: {key}: has no column "{column}"{did_you_mean(column, columns)}; '
                f"there are {', '.join(columns) or 'none'}"
            )


def _read(
    query: ShapeQuery, layer: str | None
) -> tuple[str | None, npt.NDArray[Any], dict[str, npt.NDArray[Any]]]:
    """Return the reference system, the polygons as WKB, and the columns."""
    pyogrio = _library("pyogrio")
    columns = list(dict.fromkeys(c for c in (query.id, query.name) if c))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            meta, _, stored, values = pyogrio.raw.read(
                query.path, layer=layer, columns=columns, where=query.where or None
            )
    except Exception as error:  # of GDAL, in several kinds
        if not query.where:
            with _explained(query.path):
                raise
        raise _bad_where(query, error) from None
    if stored is None:
        raise RegionError(f"{query.path}: has no polygons; expected a layer with geometries")
    if not len(stored):
        none = f"where: {query.where}: fits none of them" if query.where else "it is empty"
        raise RegionError(f"{query.path}: no area is left: {none}")
    return meta["crs"], stored, dict(zip(map(str, meta["fields"]), values, strict=True))


def _bad_where(query: ShapeQuery, error: Exception) -> RegionError:
    hint = "write a condition of SQL, such as STATE = '06' or GEOID LIKE '06%'"
    if found := _STARTSWITH.search(query.where):
        hint = f"this is Python; in SQL it is {found[1]} LIKE '{found[3]}%'"
    elif "==" in query.where or "&&" in query.where or "||" in query.where:
        hint += "; equal is = there, and conditions are joined by AND and OR"
    return RegionError(
        f"{query.path}: where: {query.where}: is no condition that can be used "
        f"({' '.join(str(error).split())}); {hint}"
    )


def _labels(
    query: ShapeQuery, fields: dict[str, npt.NDArray[Any]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return ids and names; ids must be there, each once."""
    ids = [_text(value) for value in fields[query.id]]
    if "" in ids:
        raise RegionError(
            f'{query.path}: id: column "{query.id}" is empty in row {ids.index("") + 1}; expected '
            "an id for each area"
        )
    seen: set[str] = set()
    doubled = list(dict.fromkeys(i for i in ids if i in seen or seen.add(i)))  # type: ignore[func-returns-value]
    if doubled:
        raise RegionError(
            f'{query.path}: id: column "{query.id}" has {few(doubled)} more than once; expected '
            "another column, or one row for each area: join its parts first (ogr2ogr with "
            "ST_Union, or dissolve)"
        )
    names = [_text(value) for value in fields[query.name or query.id]]
    return tuple(ids), tuple(name or own for own, name in zip(ids, names, strict=True))


def _text(value: Any) -> str:
    """Return an id or name as text; whole numbers without a point, nothing as ""."""
    if value is None or value != value:
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


# ---------------------------------------------------------------- polygons


def _check_polygons(path: Path, geometries: Geometries, ids: Sequence[str]) -> None:
    shapely = _library("shapely")
    kinds = shapely.get_type_id(geometries)
    wrong = np.flatnonzero(~np.isin(kinds, (3, 6)) & ~shapely.is_empty(geometries))
    if wrong.size:
        at = int(wrong[0])
        raise RegionError(
            f"{path}: area {ids[at]} is a {geometries[at].geom_type}; expected polygons"
        )


def _digest(
    crs: str | None, ids: Sequence[str], names: Sequence[str], stored: npt.NDArray[Any]
) -> str:
    """Return a hash of what decides weights and labels, as the file has it."""
    text = sha256(repr((crs, ids, names)).encode())
    for polygon in stored:
        text.update(polygon or b"")
    return text.hexdigest()[:24]


def _in_degrees(
    path: Path, geometries: Geometries, crs: str | None, ids: Sequence[str]
) -> Geometries:
    """Bring polygons to degrees east and north, longitude first."""
    if crs is None or crs.upper() in (DEGREES, "OGC:CRS84"):
        return geometries
    shapely, pyproj = _library("shapely"), _library("pyproj")
    with _explained(path):
        source = pyproj.CRS.from_user_input(crs)
        if not source.is_geographic:
            metres = source.axis_info[0].unit_conversion_factor
            geometries = shapely.segmentize(geometries, LONGEST_EDGE / metres)
        to_degrees = pyproj.Transformer.from_crs(source, DEGREES, always_xy=True)
        moved = shapely.transform(
            geometries, lambda xy: np.stack(to_degrees.transform(xy[:, 0], xy[:, 1]), axis=1)
        )
    lost = ~np.isfinite(shapely.bounds(moved)).all(axis=1) & ~shapely.is_empty(moved)
    if lost.any():
        raise RegionError(
            f"{path}: area {ids[int(lost.argmax())]} lies outside what {crs} can bring to degrees; "
            f"expected coordinates of that system: correct it, or write the file in {DEGREES}"
        )
    return np.asarray(moved, dtype=object)


def _mended(geometries: Geometries) -> tuple[Geometries, npt.NDArray[np.bool_]]:
    """Mend rings that cross themselves; return which were mended."""
    shapely = _library("shapely")
    broken = ~shapely.is_valid(geometries)
    out = geometries.copy()
    out[broken] = shapely.make_valid(geometries[broken], method="structure", keep_collapsed=False)
    return out, broken

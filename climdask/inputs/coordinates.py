"""Coordinates of an input file: which dimension is what, and the values, unpacked, as CF says.

A dimension is time, latitude or longitude by the units, standard name or name of its coordinate
variable (CF 4.1, 4.2, 4.4). What is neither is reported with its reason: a level, stations, a
curvilinear grid, or units that no latitude or longitude has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.climatology.grids import TOLERANCE, Grid, RectilinearGrid, each_once
from climdask.errors import InconsistentFile, did_you_mean
from climdask.inputs.attributes import attributes_of, text_of
from climdask.inputs.decoding import unpacked
from climdask.inputs.headers import STORAGE, Scalar
from climdask.inputs.timeaxis import is_time

Floats = npt.NDArray[np.float64]

# What no grid or time axis of daily data has; memory is asked for only below it.
_MOST_CELLS, _MOST_STEPS = 10**9, 10**7

_EXPECTED = {"lat": "degrees_north", "lon": "degrees_east"}
_WORDS = {"lat": "latitude", "lon": "longitude"}
_NAMES = {"lat": "lat", "latitude": "lat", "lon": "lon", "longitude": "lon"}
_EDGES = {"lat": (-90.0, 90.0), "lon": (-360.0, 720.0)}  # degrees
_PROJECTED = re.compile(r"grid_(latitude|longitude)|projection_[xy](_angular)?_coordinate")
_LEVELS = re.compile(
    r"lev|level|levels|plev\w*|height|depth|altitude|pressure|isobaric\w*|z|sigma|hybrid|lev_\w+|nlev"
)
_PRESSURES = {"pa", "hpa", "mb", "mbar", "millibar", "millibars", "bar", "level", "layer", "sigma"}


@dataclass(frozen=True)
class Layout:
    """Names of the coordinate variables, and the places of their dimensions in the variable."""

    time: str
    lat: str
    lon: str
    order: tuple[int, int, int]
    shape: tuple[int, ...]


# ---------------------------------------------------------------- dimensions


def layout_of(path: Path, dataset: Any, variable: str) -> Layout:
    """Find time, latitude and longitude among the dimensions of a variable.

    Raises:
        InconsistentFile: one of them is not there, or another dimension has a length above 1.
    """
    var = _numeric(path, dataset, variable)
    found: dict[str, tuple[str, int]] = {}
    # Long dimensions first: one of length 1, such as reftime, is no rival of a longer time.
    for place in sorted(range(var.ndim), key=lambda p: var.shape[p] == 1):
        dim, length = var.dimensions[place], var.shape[place]
        kind = _kind(path, dataset.variables.get(dim), dim)
        if kind and kind not in found:
            found[kind] = (dim, place)
        elif length != 1:
            raise _odd_dimension(path, dataset, var, dim, length, kind)
    for kind in ("time", "lat", "lon"):
        if kind not in found:
            raise _no_axis(path, dataset, var, kind)
    (time, t), (lat, y), (lon, x) = (found[k] for k in ("time", "lat", "lon"))
    _check_size(path, variable, *(var.shape[place] for place in (t, y, x)))
    return Layout(time, lat, lon, (t, y, x), tuple(var.shape))


def only_field(path: Path, dataset: Any, variable: str) -> str:
    """Return the name of a variable, or of the only field with time where there is none of it.

    Raises:
        InconsistentFile: there is no such field, or there are several.
    """
    if variable in dataset.variables:
        return variable
    fields = _fields(path, dataset)
    if len(fields) != 1:
        cure = f"variables: {{{variable}: {{name: {fields[0]}}}}}" if fields else ""
        raise InconsistentFile(
            f'{path}: holds no variable "{variable}", '
            + (
                f"and several that it may be: {', '.join(fields)}; say which one, such as {cure}"
                if fields
                else "and no other field with a time axis; narrow the pattern, or fetch it again"
            )
        )
    return fields[0]


def _fields(path: Path, dataset: Any) -> list[str]:
    """Return the variables of numbers over time and something else that describe no other one."""
    words = ("bounds", "climatology", "coordinates", "ancillary_variables", "cell_measures")
    named = {
        word
        for var in dataset.variables.values()
        for key, text in attributes_of(var).items()
        if key in words
        for word in str(text).split()
    }
    return [
        name
        for name, var in dataset.variables.items()
        if var.ndim >= 2
        and _has_numbers(var)
        and name not in named
        and not name.endswith(("_bnds", "_bounds"))
        and any(_kind(path, dataset.variables.get(d), d) == "time" for d in var.dimensions)
    ]


def _numeric(path: Path, dataset: Any, variable: str) -> Any:
    """Return a variable that holds numbers."""
    if variable not in dataset.variables:
        there = [n for n, v in dataset.variables.items() if len(v.dimensions) >= 3]
        in_name = re.search(rf"(?<![A-Za-z0-9]){re.escape(variable)}(?![A-Za-z0-9])", str(path))
        says = "its name says" if in_name else "expected the variable"
        raise InconsistentFile(
            f'{path}: {says} "{variable}", but it holds {", ".join(there) or "no field"}'
            f"{did_you_mean(variable, there)}"
        )
    var = dataset.variables[variable]
    if not _has_numbers(var):
        raise InconsistentFile(f"{path}: {variable} holds {var.dtype}; expected numbers")
    return var


def _has_numbers(var: Any) -> bool:
    return getattr(var.dtype, "kind", "") in tuple("fiu")


def _check_size(path: Path, variable: str, n_time: int, n_lat: int, n_lon: int) -> None:
    if n_lat * n_lon > _MOST_CELLS or n_time > _MOST_STEPS:
        raise InconsistentFile(
            f"{path}: {variable} declares {n_time:,} time steps of {n_lat:,} x {n_lon:,} cells; "
            f"expected at most {_MOST_STEPS:,} steps and {_MOST_CELLS:,} cells: the header is "
            "damaged (fetch it again), or cut the file into smaller ones"
        )


def _kind(path: Path, coordinate: Any, dim: str) -> str:
    """Tell what a dimension is: ``time``, ``lat``, ``lon``, or nothing of these.

    Raises:
        InconsistentFile: units, standard name and name contradict each other.
    """
    if coordinate is None or coordinate.ndim != 1:
        return ""
    attributes = attributes_of(coordinate)
    units = text_of(attributes, "units")
    if is_time(units.lower(), dim, attributes):
        return "time"
    standard = text_of(attributes, "standard_name").lower()
    if _PROJECTED.fullmatch(standard):
        return ""
    by_units, named = _kind_of_units(units), _NAMES.get(standard) or _NAMES.get(dim.lower(), "")
    if named and by_units in ("other", *({"lat", "lon"} - {named})):
        raise InconsistentFile(
            f'{path}: {dim} is a {_WORDS[named]} by its name, but has units "{units}"; expected '
            f'"{_EXPECTED[named]}": correct the units '
            f"(ncatted -a units,{dim},o,c,{_EXPECTED[named]} FILE)"
        )
    return named or (by_units if by_units in _WORDS else "")


def _kind_of_units(units: str) -> str:
    """Return ``lat`` or ``lon``, ``plain`` for degrees or nothing, ``other`` for all else."""
    text = re.sub(r"[\s_]", "", units.lower()).replace("°", "degrees")
    if re.fullmatch(r"deg(ree)?s?(n|north)", text):
        return "lat"
    if re.fullmatch(r"deg(ree)?s?(e|east|true)", text):
        return "lon"
    return "plain" if re.fullmatch(r"(deg(ree)?s?)?|1|none", text) else "other"


# ---------------------------------------------------------------- what is no axis


def _odd_dimension(
    path: Path, dataset: Any, var: Any, dim: str, length: int, kind: str
) -> InconsistentFile:
    """Return the error of a dimension that is longer than 1 and no axis, with its reason."""
    head = f"{path}: {var.name} has a dimension {dim} of length {length}"
    if kind:
        return InconsistentFile(
            f"{head}, beside another {'time' if kind == 'time' else _WORDS[kind]}; expected one: "
            f"choose one index of the other first (ncks -d {dim},0 IN OUT)"
        )
    if spread := _spread(dataset, dim):
        return _not_rectilinear(head, dataset, dim, spread)
    coordinate = dataset.variables.get(dim)
    attributes = {} if coordinate is None else attributes_of(coordinate)
    units = text_of(attributes, "units")
    if _is_level(dim, attributes, units):
        return InconsistentFile(
            f"{head}: levels{f' in {units}' if units else ''}; expected one level: cut one level "
            f"out first (cdo sellevel,VALUE IN OUT, or ncks -d {dim},0 IN OUT)"
        )
    axis = {"X": "lon", "Y": "lat"}.get(text_of(attributes, "axis").upper())
    if axis:
        return InconsistentFile(
            f'{head}, with axis "{attributes["axis"]}" and units "{units}"; expected '
            f'"{_EXPECTED[axis]}": correct the units if it is a {_WORDS[axis]} '
            f"(ncatted -a units,{dim},o,c,{_EXPECTED[axis]} FILE), or remap a projected grid "
            "(cdo remapbil,GRID IN OUT)"
        )
    what = f'units "{units}"' if coordinate is not None else "no coordinate variable"
    return InconsistentFile(
        f"{head} and {what}; expected time, latitude and longitude only, known by units such as "
        '"degrees_north": correct its units if it is one of these, or choose one index of it '
        f"first (ncks -d {dim},0 IN OUT)"
    )


def _no_axis(path: Path, dataset: Any, var: Any, kind: str) -> InconsistentFile:
    """Return the error of a variable that lacks an axis."""
    head = f"{path}: {var.name}({', '.join(var.dimensions)})"
    if kind in _WORDS:
        for dim in var.dimensions:
            if spread := _spread(dataset, dim):
                return _not_rectilinear(head, dataset, dim, spread)
    needed = (
        'a time coordinate with units such as "days since 1950-01-01"'
        if kind == "time"
        else f'a {_WORDS[kind]} coordinate with units "{_EXPECTED[kind]}", of a rectilinear grid'
    )
    return InconsistentFile(f"{head} has no {kind} axis; expected {needed}")


def _spread(dataset: Any, dim: str) -> str:
    """Return the name of a latitude that lies along a dimension of another name; empty if none."""
    for name, var in dataset.variables.items():
        if name == dim or dim not in var.dimensions or not _has_numbers(var):
            continue
        standard = str(getattr(var, "standard_name", "")).lower()
        units = _kind_of_units(str(getattr(var, "units", "")))
        if standard == "latitude" or (not standard and units == "lat" and var.ndim <= 2):
            return str(name)
    return ""


def _not_rectilinear(head: str, dataset: Any, dim: str, latitude: str) -> InconsistentFile:
    dims = dataset.variables[latitude].dimensions
    if len(dims) >= 2:
        return InconsistentFile(
            f"{head}: its grid is curvilinear, such as a rotated pole: the latitude is "
            f"{latitude}({', '.join(dims)}); expected latitude and longitude of one dimension "
            "each: remap it first (cdo remapbil,GRID IN OUT, or remapcon for precipitation)"
        )
    return InconsistentFile(
        f"{head}: it holds stations or an unstructured grid, all places lie along {dim}; expected "
        "a rectilinear grid with dimensions latitude and longitude: remap it first "
        "(cdo remapdis,GRID IN OUT)"
    )


def _is_level(dim: str, attributes: Mapping[str, Any], units: str) -> bool:
    """Tell whether a dimension is vertical (CF 4.3)."""
    return bool(
        text_of(attributes, "axis").upper() == "Z"
        or "positive" in attributes
        or units.lower() in _PRESSURES
        or _LEVELS.fullmatch(dim.lower())
    )


# ---------------------------------------------------------------- values


def grid_of(path: Path, dataset: Any, layout: Layout) -> tuple[Grid, tuple[str, ...]]:
    """Return the grid, unpacked, and what is to be said of it.

    Raises:
        InconsistentFile: a coordinate is missing, out of range, or a latitude is there twice.
    """
    lat, lon = (_axis(path, dataset, n, k) for n, k in ((layout.lat, "lat"), (layout.lon, "lon")))
    _check_once(path, layout.lat, lat)
    notes = _twins(layout.lon, lon)
    edges = [
        _bounds(path, dataset, name, centres, notes)
        for name, centres in ((layout.lat, lat), (layout.lon, lon))
    ]
    return RectilinearGrid(lat, lon, *edges), tuple(notes)


def _axis(path: Path, dataset: Any, name: str, kind: str) -> Floats:
    """Return latitudes or longitudes in degrees, float64 [lat] or [lon]."""
    var = dataset.variables[name]
    if not _has_numbers(var):
        raise InconsistentFile(f"{path}: {name} holds {var.dtype}; expected numbers, in degrees")
    values, missing = unpacked(np.ma.getdata(var[...]), attributes_of(var), f"{path}: {name}")
    low, high = _EDGES[kind]
    wrong = missing | ~((values >= low - TOLERANCE) & (values <= high + TOLERANCE))
    if wrong.any():
        place = int(wrong.argmax())
        what = "missing" if missing[place] else f"{values[place]:g}"
        raise InconsistentFile(
            f"{path}: {name}: {_WORDS[kind]} {place + 1} of {values.size} is {what}; expected "
            f"{low:g} to {high:g} degrees: correct the coordinates, or fetch the file again"
        )
    return values


def _check_once(path: Path, name: str, values: Floats) -> None:
    order = np.argsort(values, kind="stable")
    twins = np.flatnonzero(np.diff(values[order]) <= TOLERANCE)
    if twins.size:
        first, second = sorted(int(order[twins[0] + n]) for n in (0, 1))
        raise InconsistentFile(
            f"{path}: {name}: latitude {values[first]:g} is there twice, as number {first + 1} and "
            f"{second + 1} of {values.size}; expected each once: leave one out "
            f"(ncks -d {name},FIRST,LAST IN OUT), or correct the coordinates"
        )


def _twins(name: str, lon: Floats) -> list[str]:
    """Tell of longitudes that are there twice; a selection has each once."""
    once = each_once(lon, np.arange(lon.size))
    if once.size == lon.size:
        return []
    again = np.delete(lon, once)
    columns = "1 column repeats" if again.size == 1 else f"{again.size} columns repeat"
    return [f"{name}: {columns} a place, at {again[0]:g} E; each place is used once"]


def _bounds(
    path: Path, dataset: Any, name: str, centres: Floats, notes: list[str]
) -> Floats | None:
    """Return the edges of cells in degrees, float64 [cell, 2], or None if there are none of use.

    Packed bounds have attributes of their own, or those of their coordinate (CF 7.1).
    """
    parent = attributes_of(dataset.variables[name])
    of = text_of(parent, "bounds")
    if of not in dataset.variables:
        return None
    var = dataset.variables[of]
    if var.shape != (centres.size, 2) or not _has_numbers(var):
        return None
    own, raw = attributes_of(var), np.ma.getdata(var[...])
    packing = {k: parent[k] for k in ("scale_factor", "add_offset") if k in parent}
    is_packed = raw.dtype.kind in "iu" and not {"scale_factor", "add_offset"} & own.keys()
    for attributes in [own | packing, own] if is_packed and packing else [own, own | packing]:
        edges, missing = unpacked(raw, attributes, f"{path}: {of}")
        if not missing.any() and _hold(edges, centres):
            return edges
    notes.append(f"{of}: its bounds do not hold the values of {name}; they are left out")
    return None


def _hold(edges: Floats, centres: Floats) -> bool:
    """Tell whether edges lie around their centres, perhaps a turn away."""
    turns = 360.0 * np.round((edges - centres[:, None]) / 360.0)
    low, high = np.sort(edges - turns, axis=1).T
    room = TOLERANCE + 1e-3 * np.abs(high - low)
    return bool(((low <= centres + room) & (centres <= high + room)).all())


# ---------------------------------------------------------------- scalars


def scalars_of(path: Path, dataset: Any, var: Any, layout: Layout) -> Iterator[Scalar]:
    """Yield coordinates of one number: scalar ones, and levels that are dimensions of length 1.

    Text, and values that are missing, are left out; so are times, which differ between files.
    """
    axes = (layout.time, layout.lat, layout.lon)
    levels = [d for d in var.dimensions if d not in axes]
    named = text_of(attributes_of(var), "coordinates").split()
    for name in dict.fromkeys(n for n in (*levels, *named) if n not in axes):
        coordinate = dataset.variables.get(name)
        if coordinate is None or coordinate.size != 1 or not _has_numbers(coordinate):
            continue
        attributes = attributes_of(coordinate)
        if re.search(r"\bsince\b", text_of(attributes, "units")):
            continue
        raw = np.atleast_1d(np.ma.getdata(coordinate[...])).ravel()
        values, missing = unpacked(raw, attributes, f"{path}: {name}")
        if not missing[0]:
            kept = tuple((k, v) for k, v in attributes.items() if k not in STORAGE)
            yield Scalar(name, float(values[0]), kept)

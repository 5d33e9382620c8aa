"""What a file says about itself, apart from its numbers: the header of a chain."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from climdask.climatology.calendars import compatible_calendars
from climdask.climatology.grids import Grid
from climdask.climatology.units import TEMPERATURE_SCALES, one_spelling
from climdask.inputs.namedates import Date

Attributes = tuple[tuple[str, object], ...]

# Attributes that describe storage or other files, and would be wrong on a normal.
STORAGE = {
    "_FillValue", "missing_value", "scale_factor", "add_offset", "valid_min", "valid_max",
    "valid_range", "_Unsigned", "coordinates", "grid_mapping", "cell_measures", "bounds",
    "ancillary_variables", "associated_files", "history", "_ChunkSizes", "actual_range",
    "_ARRAY_DIMENSIONS", "DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "_Netcdf4Dimid",
    "_Netcdf4Coordinates",
}  # fmt: skip

# Where the input names no method, or a known wrong one: NEX-GDDP labels tas "maximum".
_METHODS = {"tasmax": "maximum", "tasmin": "minimum", "tas": "mean"}


@dataclass(frozen=True)
class Scalar:
    """A scalar coordinate, such as the height of a near-surface temperature."""

    name: str
    value: float
    attributes: Attributes

    @property
    def is_vertical(self) -> bool:
        """Whether it is a height, depth or pressure (CF 4.3): another one is another field."""
        said = dict(self.attributes)
        return "positive" in said or str(said.get("axis", "")).strip().upper() == "Z"


@dataclass(frozen=True, eq=False)
class Header:
    """The header of one file of a chain.

    Attributes:
        path: the file, for messages.
        variable: as it is called outside of the files; it decides what kind of quantity it is.
        calendar: CF name.
        dtype: of the values on disk, such as ``float32``.
        attributes: the variable's, without those that describe storage.
        scalars: scalar coordinates of the variable.
        provenance: global attributes worth keeping (institution, source, license, ...).
        chunk_bytes: of one chunk on disk, undone; 0 where there are no chunks.
        notes: what is to be said of the file.
        name: of the variable inside the files; empty if it is ``variable``.
        ends: path below the input root and last day of files whose names do not say where they end.
    """

    path: str
    variable: str
    units: str
    calendar: str
    dtype: str
    grid: Grid
    attributes: Attributes = ()
    scalars: tuple[Scalar, ...] = ()
    provenance: Attributes = ()
    chunk_bytes: int = 0
    notes: tuple[str, ...] = ()
    name: str = ""
    ends: tuple[tuple[str, Date], ...] = ()

    @property
    def stored_name(self) -> str:
        """What the variable is called inside the files."""
        return self.name or self.variable

    def differences(self, other: Header) -> list[str]:
        """Say what keeps ``other`` out of this header's chain; empty if nothing does."""
        found = []
        if self.units != other.units:
            found.append(f'units "{other.units}", not "{self.units}"')
        if not compatible_calendars(self.calendar, other.calendar):
            found.append(f'calendar "{other.calendar}", not "{self.calendar}"')
        if not self.grid.matches(other.grid):
            found.append(self.grid.difference(other.grid))
        theirs = {scalar.name: scalar for scalar in other.scalars}
        for mine in self.scalars:
            level = theirs.get(mine.name)
            if (
                level
                and mine.is_vertical
                and not math.isclose(mine.value, level.value, rel_tol=1e-5)
            ):
                found.append(f"{mine.name} {level.value:g}, not {mine.value:g}")
        return found

    @property
    def cell_methods(self) -> str:
        """CF cell_methods of a normal of this variable (CF 1.11, section 7.4)."""
        return climatological_cell_methods(
            self.variable, str(dict(self.attributes).get("cell_methods", ""))
        )

    @property
    def digest(self) -> str:
        """A hash of everything but the path."""
        scalars = [(s.name, s.value, s.attributes) for s in self.scalars]
        content: tuple[object, ...] = (self.variable, self.units, self.calendar, self.grid.digest)
        content += (self.attributes, scalars, self.provenance)
        content += (self.name,) if self.name else ()
        return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:16]


def climatological_cell_methods(variable: str, source: str) -> str:
    """Return ``time: <method> within years time: mean over years``.

    ``<method>`` is the input's own, except where it is absent or known to be wrong. What else the
    input says (an ``area:`` part, an ``(interval: …)``) has no place in this form that the CF
    checker accepts; normals keep the input's own text in ``input_cell_methods``.
    """
    method = _METHODS.get(variable) or _time_method(source) or "mean"
    return f"time: {method} within years time: mean over years"


def _time_method(source: str) -> str | None:
    found = re.search(r"(?:^|\s)time:\s*(?:\w+:\s*)*([a-z_]+)", source)
    return found.group(1) if found else None


def is_temperature(attributes: Mapping[str, Any], units: str) -> bool:
    """Tell whether a field is a temperature, and no difference of temperatures."""
    name = f"{attributes.get('standard_name', '')} {attributes.get('long_name', '')}".lower()
    differs = re.search(r"difference|anomal|range|tendency|change", name)
    return one_spelling(units) in TEMPERATURE_SCALES and not differs

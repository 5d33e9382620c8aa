"""What a file says about itself, apart from its numbers: the header of a chain."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from climdask.regions import Grid
from climdask.years import compatible_calendars

Attributes = tuple[tuple[str, object], ...]

# Where the input names no method, or a known wrong one: NEX-GDDP labels tas "maximum".
_METHODS = {"tasmax": "maximum", "tasmin": "minimum", "tas": "mean"}


@dataclass(frozen=True)
class Scalar:
    """A scalar coordinate, such as the height of a near-surface temperature."""

    name: str
    value: float
    attributes: Attributes


@dataclass(frozen=True, eq=False)
class Header:
    """The header of one file of a chain.

    Attributes:
        path: the file, for messages.
        calendar: CF name.
        dtype: of the values on disk, such as ``float32``.
        attributes: the variable's, without those that describe storage.
        scalars: scalar coordinates of the variable.
        provenance: global attributes worth keeping (institution, source, license, ...).
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

    def differences(self, other: Header) -> list[str]:
        """Say what keeps ``other`` out of this header's chain; empty if nothing does."""
        found = []
        if self.units != other.units:
            found.append(f'units "{other.units}", not "{self.units}"')
        if not compatible_calendars(self.calendar, other.calendar):
            found.append(f'calendar "{other.calendar}", not "{self.calendar}"')
        if not self.grid.matches(other.grid):
            found.append(self.grid.difference(other.grid))
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

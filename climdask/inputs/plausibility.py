"""Values that cannot be: fill values that a file does not declare, reported in time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from climdask.climatology.blocks import Block
from climdask.climatology.calendars import DayAxis
from climdask.climatology.places import Selection
from climdask.climatology.units import KELVIN, TEMPERATURE_SCALES, one_spelling
from climdask.errors import InconsistentFile
from climdask.inputs.attributes import text_of
from climdask.inputs.headers import Header, is_temperature

# No quantity of a climate model is so large in any unit that models use.
_HUGE = 1e19
# What programs write for missing; reported only if it lies far from all other values.
_SENTINELS = np.array(
    [s * v for v in (999, 999.9, 9999, 9999.9, 99999, 999999, 32767, 32768) for s in (-1, 1)],
    dtype=np.float32,
)
# Names that promise a temperature on a scale; only those have absolute zero for a bound.
_NEAR_SURFACE = {"tas", "tasmax", "tasmin", "ts", "tos", "sst"}
_ON_SCALE = {"air_temperature", "surface_temperature", "sea_surface_temperature"}
# Kelvin. Beyond the second, a temperature near the surface is reported if it lies apart.
_ZERO, _HOT, _HOTTEST = -0.01, 400.0, 5000.0


def check_values(
    path: object, header: Header, axis: DayAxis, selection: Selection, block: Block
) -> None:
    """Refuse a block that holds values which cannot be.

    ``path`` is the file, or a mapping from the place of a day to its file.

    Raises:
        InconsistentFile: with the value, how often it is there, the first place, and the cure.
    """
    values = block.values
    least, most = (float(f.reduce(values, axis=None)) for f in (np.fmin, np.fmax))
    if np.isnan(least):
        return
    low, high, why = _bounds(header)
    if (least < low or most > high) and not _are_anomalies(header, least, most):
        value = np.float32(least if least < low else most)
        raise _error(path, header, axis, selection, block, value, why)
    if high < _HUGE and _is_too_hot(header, values, low, most):
        raise _error(path, header, axis, selection, block, np.float32(most), why)
    for extreme in (np.float32(least), np.float32(most)):
        if extreme in _SENTINELS and _is_apart(values, extreme):
            why = "which is a usual mark for missing values and far from all others"
            raise _error(path, header, axis, selection, block, extreme, why)


def _bounds(header: Header) -> tuple[float, float, str]:
    """Return what the values must lie between, and what to say of one that does not."""
    attributes = dict(header.attributes)
    methods = str(attributes.get("cell_methods", ""))
    named = header.variable in _NEAR_SURFACE or text_of(attributes, "standard_name") in _ON_SCALE
    known = named and is_temperature(attributes, header.units)
    if not known or any(w in methods for w in ("variance", "deviation", "range", "anomal")):
        return -_HUGE, _HUGE, "which is too large for any quantity"
    zero, step = TEMPERATURE_SCALES[one_spelling(header.units)]
    why = f"which no temperature in {header.units} can be"
    return zero + step * _ZERO, zero + step * _HOTTEST, why


def _are_anomalies(header: Header, least: float, most: float) -> bool:
    """Tell whether values in kelvin are differences that nothing in the file calls so."""
    return one_spelling(header.units) == KELVIN and least > -150 and most < 100


def _is_too_hot(header: Header, values: npt.NDArray[np.float32], low: float, most: float) -> bool:
    """Tell whether values near the surface lie beyond 400 K, apart from those that do not."""
    hot = low + (_HOT - _ZERO) * TEMPERATURE_SCALES.get(one_spelling(header.units), (0.0, 1.0))[1]
    if header.variable not in _NEAR_SURFACE or most <= hot:
        return False
    rest, beyond = values[values <= hot], values[values > hot]
    return bool(rest.size and beyond.min() - rest.max() > rest.max() - rest.min())


def _is_apart(values: npt.NDArray[np.float32], extreme: np.float32) -> bool:
    """Tell whether a value lies farther from the others than these lie from each other."""
    rest = values[np.isfinite(values) & ~np.isin(values, _SENTINELS)]
    if not rest.size:
        return bool(extreme < 0)
    low, high = float(rest.min()), float(rest.max())
    gap = low - float(extreme) if extreme < low else float(extreme) - high
    return gap > max(high - low, abs(float(extreme)) / 2)


def _error(
    path: object,
    header: Header,
    axis: DayAxis,
    selection: Selection,
    block: Block,
    value: np.float32,
    why: str,
) -> InconsistentFile:
    places = np.argwhere(block.values == value)
    day, cell = (int(p) for p in places[0])
    month, of_month = axis.days[day]
    path = path[day] if isinstance(path, Mapping) else path
    where = header.grid.where(int(selection.cells[cell]))
    return InconsistentFile(
        f"{path}: {header.variable} is {value} {header.units} in {len(places):,} places, first on "
        f"{block.year}-{month:02}-{of_month:02} at {where}, "
        f"{why}; if it means missing, add to the workflow: "
        f"input: {{missing_values: [{value}]}}; if not, correct the file or its units"
    )

"""How variables are shown: units that people use, labels, colour maps that fit.

Colour maps are readable for the colour-blind: perceptually uniform or ColorBrewer's, never a
rainbow; diverging ones are centred on 0 and used for changes and anomalies only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from climdask.climatology.units import CELSIUS, DAILY_DEPTH, FLUX, KELVIN, one_spelling
from climdask.plaintext import printable

MISSING_COLOR = "#d9d9d9"
PERIOD_COLORS = {"historical": "#8c8c8c", "hybrid": "#e6a23c", "scenario": "#4c78a8"}


@dataclass(frozen=True)
class Palette:
    """A colour map by its names.

    Attributes:
        brewer: name in :mod:`bokeh.palettes`, without the number of colours.
        matplotlib: the same one there.
        backwards: whether bokeh has it the other way round.
    """

    brewer: str
    matplotlib: str
    backwards: bool = False


@dataclass(frozen=True)
class Look:
    """How a variable is shown; ``shown = stored * factor + offset``.

    Attributes:
        name: of the variable.
        long_name: what it is.
        units: as shown.
        note: says what is stored, if that is something else.
        from_zero: whether its colour map begins at 0, where 0 is not far off.
        diverging: whether its colour map is centred on 0: changes and anomalies.
    """

    name: str
    long_name: str
    units: str
    note: str
    factor: float
    offset: float
    from_zero: bool
    palette: Palette
    change_palette: Palette
    diverging: bool = False

    @property
    def label(self) -> str:
        """For an axis or a colour bar."""
        return f"{self.name} ({self.units})"

    @property
    def change_label(self) -> str:
        """The same for a change; a change of 1 K is one of 1 °C."""
        return f"change of {self.name} ({self.units})"

    def shown(self, stored: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return values in the units that are shown."""
        return np.asarray(stored, dtype=np.float64) * self.factor + self.offset


_WARM = Palette("Inferno", "inferno")
_WET = Palette("YlGnBu", "YlGnBu", backwards=True)
_OTHER = Palette("Viridis", "viridis")
_WARMER = Palette("RdBu", "RdBu_r")
_WETTER = Palette("BrBG", "BrBG", backwards=True)
_MORE = Palette("PRGn", "PRGn", backwards=True)

_SECONDS_PER_DAY = 86400.0


_CHANGE = re.compile(r"(^|[^a-z])(change|anomaly|anomalies)([^a-z]|$)")


def look_of(name: str, attributes: Mapping[str, object]) -> Look:
    """Return how a product with this name and these CF attributes is shown."""
    name = printable(name)
    long_name = printable(
        str(attributes.get("long_name") or attributes.get("standard_name") or name)
    )
    look = _look_of(name, long_name, attributes)
    if _CHANGE.search(name.lower()) or _CHANGE.search(long_name.lower()):
        return replace(look, palette=look.change_palette, from_zero=False, diverging=True)
    spread = "standard_deviation over years" in str(attributes.get("cell_methods", ""))
    return replace(look, from_zero=look.from_zero or spread)


def _look_of(name: str, long_name: str, attributes: Mapping[str, object]) -> Look:
    units = printable(str(attributes.get("units", "1")).strip())
    standard = str(attributes.get("standard_name", ""))
    wet = any(word in f"{standard} {long_name}".lower() for word in ("precipitation", "rain"))
    of_days = "sum over days" in str(attributes.get("cell_methods", ""))
    if units == "1" and (of_days or standard.startswith("number_of_days")):
        return Look(name, long_name, "days", "", 1.0, 0.0, True, _OTHER, _MORE)
    if attributes.get("units_metadata") == "temperature: difference":
        degrees = "°C" if one_spelling(units) in (KELVIN, CELSIUS) else units
        return Look(name, long_name, degrees, "", 1.0, 0.0, True, _OTHER, _WARMER)
    if one_spelling(units) == KELVIN:
        return Look(name, long_name, "°C", "stored in K", 1.0, -273.15, False, _WARM, _WARMER)
    if one_spelling(units) == CELSIUS:
        return Look(name, long_name, "°C", "", 1.0, 0.0, False, _WARM, _WARMER)
    if wet and one_spelling(units) == FLUX:
        note = f"stored in {units}"
        return Look(
            name, long_name, "mm/day", note, _SECONDS_PER_DAY, 0.0, True, _WET, _WETTER
        )  # 1 kg of water on 1 m2 is 1 mm deep
    if wet:
        units = "mm/day" if one_spelling(units) == DAILY_DEPTH else units
        return Look(name, long_name, units, "", 1.0, 0.0, True, _WET, _WETTER)
    return Look(name, long_name, units, "", 1.0, 0.0, False, _OTHER, _MORE)


def map_limits(values: npt.NDArray[np.floating], look: Look) -> tuple[float, float]:
    """Return the ends of the colour map of a product; centred on 0 where that is diverging."""
    if look.diverging:
        end = change_limit(values)
        return -end, end
    return limits(values, from_zero=look.from_zero)


def limits(values: npt.NDArray[np.floating], *, from_zero: bool = False) -> tuple[float, float]:
    """Return the ends of a colour map: all but the outermost percent of the values."""
    there = values[np.isfinite(values)]
    if not there.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(there, [0.5, 99.5]))
    if from_zero and 0 <= low < high / 3:
        low = 0.0
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def change_limit(values: npt.NDArray[np.floating]) -> float:
    """Return the end of a colour map that is centred on 0."""
    there = np.abs(values[np.isfinite(values)])
    return float(np.percentile(there, 99.5)) or 1.0 if there.size else 1.0


MONTH_NAMES = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def day_name(month: int, day: int) -> str:
    """Return ``29 Feb``."""
    return f"{day} {MONTHS[month - 1]}"

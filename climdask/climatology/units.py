"""Spellings of units, and what is known of them: the one table of units."""

from __future__ import annotations

KELVIN, CELSIUS, FAHRENHEIT = "K", "degC", "degF"
FLUX, DAILY_DEPTH = "kg m-2 s-1", "mm day-1"  # of water: 1 kg on 1 m2 is 1 mm deep

# Absolute zero, and the size of a kelvin.
TEMPERATURE_SCALES = {KELVIN: (0.0, 1.0), CELSIUS: (-273.15, 1.0), FAHRENHEIT: (-459.67, 1.8)}

_TEMPERATURES = {
    KELVIN: ("k", "kelvin", "kelvins"),
    CELSIUS: ("c", "celsius"),
    FAHRENHEIT: ("f", "fahrenheit"),
}
_SPELLINGS = {
    FLUX: (
        "kg m-2 s-1", "kg m**-2 s**-1", "kg/m2/s", "kg/m^2/s", "kg m^-2 s^-1", "mm s-1", "mm/s",
        "kg/(m2 s)", "kg/(m^2 s)", "kg/(m^2*s)", "kg m-2 sec-1", "mm s^-1",
    ),
    DAILY_DEPTH: (
        "mm/day", "mm day-1", "mm d-1", "mm/d", "kg m-2 day-1", "kg m-2 d-1", "mm day^-1",
        "kg/m2/day", "kg/m^2/day", "mm/days",
    ),
}  # fmt: skip
_KNOWN = {text: units for units, texts in _SPELLINGS.items() for text in texts}
for _units, _names in _TEMPERATURES.items():
    _KNOWN |= {f"{start}{name}": _units for start in ("", "deg", "deg_", "degree_", "degrees_",
               "deg ", "degree ", "degrees ", "°") for name in _names}  # fmt: skip


def one_spelling(units: str) -> str:
    """Return units in one spelling of all that mean the same; unknown ones stay as they are.

    ``Kelvin`` and ``degK`` become ``K``; ``kg m**-2 s**-1`` and ``mm/s`` (of water) become
    ``kg m-2 s-1``.
    """
    return _KNOWN.get(" ".join(units.lower().split()), units)

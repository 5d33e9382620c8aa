"""Conversions of units: exact factors and offsets, and how they are applied.

Pint does the parsing, with a registry that counts in fractions: from degF to degC is exactly
5/9 and -160/9. What a workflow or a file writes (``kg m-2 s-1``, ``°C``, ``degrees_C``, ``%``) is
first brought to pint's spelling. Why pint and not UDUNITS: docs/decisions/units.md.

A conversion is made on the exact result, before the one rounding::

    to_celsius = conversion("K", "degC")
    to_celsius.of_mean(terms, count)          # float64, then rounded to float32

Differences of temperatures, such as a standard deviation, convert without the offset:
``conversion("K", "degF", difference=True)``. Amounts and rates of *water* convert between mass for
each area and depth by the density of water, 1000 kg m-3, as CF's names with ``lwe_thickness`` do:
``conversion("kg m-2 s-1", "mm/day", water=True)``. For anything else that is refused, as is every
conversion between units of different dimensions. Months and years have no fixed length here, and
are refused as parts of units.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from climdask.climatology.doubledoubles import DoubleDouble, Doubles
from climdask.climatology.units import TEMPERATURE_SCALES, one_spelling

if TYPE_CHECKING:
    import pint

WATER_DENSITY = Fraction(1000)  # kg m-3

# Of standard names: what is water, and not, say, carbon or the snow that lies.
_WATER = re.compile(
    r"precipitation|rainfall|snowfall|evaporation|evapotranspiration|transpiration|runoff|"
    r"sublimation|drainage|lwe_thickness|(?:^|_)water_(?:flux|amount)|moisture_content"
)
_NOT_WATER = re.compile(r"carbon|nitrogen|tracer|deposition|_in_(?:snow|ice)|isotope|temperature")

_SCALE = re.compile(r"\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)(?![\w.])(.*)", re.DOTALL)
_NO_FIXED_LENGTH = re.compile(r"(?i)\b(?:months?|mon|years?|yr|a)(?![a-z])")
# From the spelling of UDUNITS to that of pint, in this order.
_RESPELT = (
    (re.compile("%"), "percent"),
    (re.compile(r"\bdegrees?_(?:north|east)\b"), "degree"),
    (re.compile(r"\bgpm\b"), "m"),
    (re.compile("°"), "deg"),
    (re.compile(r"\^|\*\*"), "^"),
    (re.compile(r"\s*([/*^])\s*"), r"\1"),
    (re.compile(r"(?<=[A-Za-z)])(?=[-+]?\d)"), "^"),  # m-2
    (re.compile(r"(?<=[\w)])(?:\s*[.·]\s*|\s+)(?=[\w(])"), "*"),  # kg m, m.s
    (re.compile(r"\^"), "**"),
)
_DEGREES = re.compile(r"(?i)\bdeg(?:ree)?s?[_ ]?(c(?:elsius)?|f(?:ahrenheit)?|k(?:elvins?)?)\b")
_RATE = re.compile(
    r"\s*/\s*(?P<over>s|sec|seconds?|min|minutes?|h|hr|hours?|d|days?)\b(?!\s*[-\d^*])"
    r"|(?P<times>\b(?:s|sec|seconds?|min|minutes?|h|hr|hours?|d|days?))\s*(?:\*\*|\^)?\s*-1\b"
)


class UnitsError(ValueError):
    """Units that are not known, or that do not convert."""


@dataclass(frozen=True)
class Conversion:
    """``target = factor * source + offset``, exactly.

    Attributes:
        source: units, as they were given.
        target: units, as they were given.
        factor: above 0.
        offset: in the target's units.
    """

    source: str
    target: str
    factor: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)

    @property
    def is_identity(self) -> bool:
        """Whether values stay as they are."""
        return self.factor == 1 and self.offset == 0

    @property
    def of_differences(self) -> Conversion:
        """The conversion of a difference, which has no offset."""
        return replace(self, offset=Fraction(0))

    def exactly(self, number: Fraction) -> Fraction:
        """Return a number in the target's units."""
        return self.factor * number + self.offset

    def __call__(self, values: npt.ArrayLike) -> Doubles:
        """Return values in the target's units, float64, each rounded once.

        Args:
            values: float32 or float64, any shape, NaN where missing.
        """
        return self._applied(DoubleDouble.of(values)).high

    def of_mean(self, terms: Sequence[Doubles], count: npt.ArrayLike = 1) -> Doubles:
        """Return a sum divided by a count in the target's units, float64, each rounded once.

        Args:
            terms: of an exact sum in the source's units, float64 of one shape.
            count: above 0, of a shape that fits.
        """
        return self.of_unrounded_mean(terms, count).high

    def of_unrounded_mean(self, terms: Sequence[Doubles], count: npt.ArrayLike = 1) -> DoubleDouble:
        """Return what :meth:`of_mean` rounds, as double-doubles."""
        total = DoubleDouble.of_terms(terms)
        if not np.all(np.asarray(count) == 1):
            total = total / DoubleDouble.of(count)
        return self._applied(total)

    def _applied(self, numbers: DoubleDouble) -> DoubleDouble:
        if self.factor != 1:
            numbers = numbers * DoubleDouble.of_fraction(self.factor)
        return numbers + DoubleDouble.of_fraction(self.offset) if self.offset else numbers


UNCHANGED = Conversion("", "")


@lru_cache(maxsize=256)
def conversion(
    source: str, target: str, *, water: bool = False, difference: bool = False
) -> Conversion:
    """Return the conversion between units.

    Args:
        source: units as a file has them.
        target: units as a workflow asks for them.
        water: whether it is water, whose mass for each area is a depth too (:func:`is_water`).
        difference: of two values, such as a standard deviation: without an offset.

    Raises:
        UnitsError: units that are not known, or that measure different things.
    """
    if source == target:
        return Conversion(source, target)
    given, wanted = _parsed(source), _parsed(target)
    bridge = _bridge(given, wanted, water)
    if bridge is None:
        raise UnitsError(_mismatch(source, target, given, wanted))
    try:
        zero, one, two = (_converted(Fraction(n), given, wanted, bridge) for n in (0, 1, 2))
    except TypeError:  # a logarithm of a fraction
        zero = one = two = Fraction(0)
    if two - one != one - zero or one <= zero:
        raise UnitsError(f'"{source}" to "{target}" is no linear conversion, and is not made')
    return Conversion(source, target, one - zero, Fraction(0) if difference else zero)


def wanted_units(given: str, source: str, wanted: str) -> str | None:
    """Return what a result is converted to where its variable is to have some units.

    Args:
        given: units of the result.
        source: units of the variable.
        wanted: for the variable.

    Returns:
        For a sum over time ``wanted`` times days, for degree days ``wanted day``; None of a
        number of days or spells, which stays as it is.
    """
    if given == source:
        return wanted
    summed, wanted_sum = over_time(source), over_time(wanted)
    if summed and wanted_sum and given == summed[0]:
        return wanted_sum[0]
    return f"{wanted} day" if given == f"{source} day" else None


def is_water(standard_name: str) -> bool:
    """Tell by its CF standard name whether a quantity is an amount or a rate of water."""
    return bool(_WATER.search(standard_name)) and not _NOT_WATER.search(standard_name)


def is_temperature(units: str) -> bool:
    """Tell whether units measure a temperature, and nothing else.

    Raises:
        UnitsError: units that are not known.
    """
    return _parsed(units).dimensions == {"[temperature]": 1}


def over_time(units: str) -> tuple[str, Fraction] | None:
    """Return what a rate becomes that goes on for a day, or None for what is no rate.

    ``kg m-2 s-1`` becomes ``kg m-2``, times 86400; ``mm/day`` becomes ``mm``, times 1;
    ``W m-2`` becomes ``J m-2``, times 86400.

    Raises:
        UnitsError: units that are not known.
    """
    rate = _parsed(units).dimensions
    # A power, such as W m-2, has s-3 in it.
    if rate.get("[time]") not in (-1, -3) or (rate["[time]"] == -3 and rate.get("[mass]") != 1):
        return None
    amount = {k: n + (k == "[time]") for k, n in rate.items() if n + (k == "[time]")}
    for text, per_day in _without_time(" ".join(units.split())):
        if _has_dimensions(text, amount):
            return text, per_day
    return f"({units}) s", Fraction(86400)


def _has_dimensions(units: str, dimensions: Mapping[str, int]) -> bool:
    try:
        return _parsed(units).dimensions == dimensions
    except UnitsError:
        return False


def _without_time(units: str) -> Iterator[tuple[str, Fraction]]:
    """Yield what a rate may become in a day, in the words of its units."""
    if re.search(r"\bW\b", units):
        yield re.sub(r"\bW\b", "J", units), Fraction(86400)
    for spelt in dict.fromkeys((units, one_spelling(units))):
        for found in _RATE.finditer(spelt):
            per_day = conversion("day", found["over"] or found["times"]).factor
            rest = f"{spelt[: found.start()].strip()} {spelt[found.end() :].strip()}".strip()
            yield rest or "1", per_day


@dataclass(frozen=True, eq=False)
class _Parsed:
    """Units as pint has them: a number, and a unit."""

    scale: Fraction
    unit: Any

    @property
    def dimensions(self) -> dict[str, int]:
        return {name: int(power) for name, power in self.unit.dimensionality.items()}


_AREAL_MASS_TO_DEPTH = {"[mass]": 1, "[length]": -3}
_DEPTH_TO_AREAL_MASS = {name: -power for name, power in _AREAL_MASS_TO_DEPTH.items()}


def _ratio(given: _Parsed, wanted: _Parsed) -> dict[str, int]:
    """Return the dimensions of a quotient."""
    one, other = given.dimensions, wanted.dimensions
    powers = {name: one.get(name, 0) - other.get(name, 0) for name in one | other}
    return {name: power for name, power in powers.items() if power}


def _bridge(given: _Parsed, wanted: _Parsed, water: bool) -> int | None:
    """Return the power of the density of water between them, or None if they do not convert."""
    ratio = _ratio(given, wanted)
    if water and ratio == _AREAL_MASS_TO_DEPTH:
        return -1
    if water and ratio == _DEPTH_TO_AREAL_MASS:
        return 1
    return 0 if not ratio else None


def _converted(number: Fraction, given: _Parsed, wanted: _Parsed, bridge: int) -> Fraction:
    registry = _registry()
    quantity = registry.Quantity(number * given.scale, given.unit)
    if bridge:
        quantity = quantity * registry.Quantity(WATER_DENSITY, "kilogram / meter ** 3") ** bridge
    return Fraction(quantity.to(wanted.unit).magnitude) / wanted.scale


def _mismatch(source: str, target: str, given: _Parsed, wanted: _Parsed) -> str:
    text = (
        f'"{source}" cannot become "{target}": one is {_in_words(given)}, the other '
        f"{_in_words(wanted)}"
    )
    if _ratio(given, wanted) in (_AREAL_MASS_TO_DEPTH, _DEPTH_TO_AREAL_MASS):
        return (
            f"{text}; only of water is mass for each area a depth, and by its standard_name this "
            "is not water"
        )
    return f"{text}; expected units of the same dimensions"


def _in_words(units: _Parsed) -> str:
    powers = {name.strip("[]"): power for name, power in sorted(units.dimensions.items())}
    return " ".join(n if p == 1 else f"{n}^{p}" for n, p in powers.items()) or "a pure number"


@lru_cache(maxsize=256)
def _parsed(units: str) -> _Parsed:
    """Return what pint makes of a text.

    Raises:
        UnitsError: pint does not know it.
    """
    import pint

    endless = _NO_FIXED_LENGTH.search(units)
    if endless:
        raise UnitsError(
            f'"{units}": "{endless[0]}" has no fixed length; expected units by day or by second'
        )
    # A letter alone is a temperature here, and a charge or a capacity to pint.
    text = one_spelling(units) if one_spelling(units) in TEMPERATURE_SCALES else units
    text = _DEGREES.sub(lambda m: "deg" + m[1][0].upper(), text)
    scale, rest = Fraction(1), text
    if number := _SCALE.match(text):
        scale, rest = Fraction(number[1]), number[2]
    rest = f"1{rest}" if rest.startswith("/") else rest
    for pattern, respelt in _RESPELT:
        rest = pattern.sub(respelt, rest.strip())
    try:
        if not scale:
            raise ValueError("a scale of 0")
        return _Parsed(scale, _registry().parse_units(rest.removeprefix("*")))
    except (pint.errors.PintError, ValueError, TypeError, AttributeError, AssertionError) as error:
        raise UnitsError(
            f'units "{units}" are not known ({error}); expected UDUNITS such as "kg m-2 s-1", '
            '"mm/day", "degC" or "%"'
        ) from None


@lru_cache(maxsize=1)
def _registry() -> pint.UnitRegistry[Any]:
    """Return the registry, which takes 0.3 s to make: not before it is needed."""
    import pint

    return pint.UnitRegistry(non_int_type=Fraction, autoconvert_offset_to_baseunit=True)

"""CF's words for reductions within the year: cell_methods, standard names, threshold coordinates.

Sources: CF 1.11, section 7.4 (climatological statistics), appendix E (methods) and section 3.1.2
(``units_metadata``); the descriptions of ``number_of_days_with_…``, ``spell_length_of_days_with_…``
and ``integral_wrt_time_of_air_temperature_excess`` in the CF standard name table.

CF has two forms for what a step is made of. Where the days are reduced as the year is, such as
means of means, the step has one method::

    time: mean within years time: mean over years

Otherwise what was done within days, and then over the days of the step, is said one after the
other, as CF asks of numbers of days and of spells::

    time: maximum within days time: sum over days time: mean over years
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from climdask.climatology.conversions import UnitsError, conversion, is_temperature, is_water
from climdask.climatology.expressions import Expression, Kind, Threshold
from climdask.climatology.stepvalues import Relation

# Methods of appendix E, for the days of a step.
_METHODS = {
    Kind.MEAN: "mean", Kind.SUM: "sum", Kind.MIN: "minimum", Kind.MAX: "maximum",
    Kind.STD: "standard_deviation", Kind.DAYS: "sum", Kind.DEGREE_DAYS: "sum",
    Kind.LONGEST_SPELL: "maximum", Kind.SPELLS: "sum", Kind.DAYS_IN_SPELLS: "sum",
    Kind.RUNNING_MIN: "minimum", Kind.RUNNING_MAX: "maximum",
}  # fmt: skip

_UP, _DOWN = "above", "below"
_PRECIPITATION = "lwe_thickness_of_precipitation_amount"
# What the table has: quantity and side of number_of_days_with_ and spell_length_of_days_with_.
_NUMBER_OF_DAYS = frozenset({
    ("air_temperature", _UP), ("air_temperature", _DOWN), (_PRECIPITATION, _UP),
    ("surface_temperature", _DOWN), ("wind_speed", _UP),
})  # fmt: skip
_SPELL_LENGTH = frozenset({
    ("air_temperature", _UP), ("air_temperature", _DOWN), (_PRECIPITATION, _UP),
    (_PRECIPITATION, _DOWN),
})  # fmt: skip

# Rates of water: what is left of the name without "_flux", and whether the table has it as an
# amount, as a depth of liquid water, and as a rate of that depth.
_WATER_NAMES = {
    "precipitation": (True, True, True),
    "convective_precipitation": (True, True, True),
    "large_scale_precipitation": (True, True, True),
    "stratiform_precipitation": (True, True, True),
    "snowfall": (True, True, True),
    "convective_snowfall": (True, True, True),
    "large_scale_snowfall": (True, True, True),
    "stratiform_snowfall": (True, True, True),
    "rainfall": (True, False, False),
    "convective_rainfall": (True, False, False),
    "large_scale_rainfall": (True, False, False),
    "stratiform_rainfall": (True, False, False),
    "runoff": (True, False, False),
    "surface_runoff": (True, False, False),
    "subsurface_runoff": (True, False, False),
    "water_evaporation": (True, True, True),
    "water_potential_evaporation": (True, False, False),
}
_INTEGRALS = frozenset({
    "surface_downwelling_shortwave_flux_in_air", "surface_downwelling_longwave_flux_in_air",
    "surface_downward_latent_heat_flux", "surface_downward_sensible_heat_flux",
    "surface_net_downward_shortwave_flux", "surface_net_downward_longwave_flux",
    "toa_outgoing_longwave_flux", "toa_net_downward_shortwave_flux",
})  # fmt: skip


def cell_methods(expression: Expression | None, daily: str, over_years: str = "mean") -> str:
    """Return CF ``cell_methods`` of a normal.

    Args:
        expression: what is made of the days of a step; None where a step is a day.
        daily: the method of the input within a day, such as ``mean`` or ``maximum``.
        over_years: the method over the years, of appendix E.
    """
    end = f"time: {over_years} over years"
    if expression is None:
        return f"time: {daily} within years {end}"
    method = _METHODS[expression.kind]
    if expression.kind in (Kind.MEAN, Kind.SUM, Kind.MIN, Kind.MAX) and method == daily:
        return f"time: {method} within years {end}"
    comment = ""
    if expression.kind in (Kind.RUNNING_MIN, Kind.RUNNING_MAX):
        what = "sum" if expression.of_sum else "mean"
        comment = f" (comment: running {what} of {expression.length} days)"
    return f"time: {daily} within days time: {method} over days{comment} {end}"


def standard_name(expression: Expression | None, source: str, units: str) -> str | None:
    """Return the standard name of a result, or None where CF has none for it.

    Args:
        expression: what is made of the days of a step; None where a step is a day.
        source: the standard name of the input.
        units: of the output.
    """
    kind = expression.kind if expression else Kind.MEAN
    if kind is Kind.SUM or (expression and expression.of_sum):
        return _of_sum(source, units)
    if expression is None or expression.relation is None:
        return _of_rate(source, units)
    side = _side(expression.relation)
    if kind is Kind.DEGREE_DAYS:
        end = "excess" if side == _UP else "deficit"
        is_air = source == "air_temperature"
        return f"integral_wrt_time_of_air_temperature_{end}" if is_air else None
    quantity = _thresholded(source)
    if kind is Kind.DAYS and (quantity, side) in _NUMBER_OF_DAYS:
        return f"number_of_days_with_{quantity}_{side}_threshold"
    if kind is Kind.LONGEST_SPELL and (quantity, side) in _SPELL_LENGTH:
        return f"spell_length_of_days_with_{quantity}_{side}_threshold"
    return None


@dataclass(frozen=True)
class ThresholdCoordinate:
    """The scalar coordinate that gives a threshold, which CF asks for.

    Attributes:
        value: in ``units``.
        units: as the workflow has them; of rates of water those of a day's amount.
        standard_name: of the quantity that is compared; None where there is none.
    """

    value: Fraction
    units: str
    standard_name: str | None


def threshold_coordinate(expression: Expression, source: str) -> ThresholdCoordinate | None:
    """Return the coordinate of an expression's threshold, or None if it has none.

    Args:
        expression: what is made of the days of a step.
        source: the standard name of the input.
    """
    threshold = expression.threshold
    if threshold is None:
        return None
    if expression.kind is Kind.DEGREE_DAYS and source == "air_temperature":
        return ThresholdCoordinate(threshold.value, threshold.units, "air_temperature_threshold")
    quantity = _thresholded(source)
    if quantity == _PRECIPITATION and source != quantity:
        amount = _amount_of_a_day(threshold)
        if amount is not None:
            return ThresholdCoordinate(amount, "mm", quantity)
    return ThresholdCoordinate(threshold.value, threshold.units, quantity or None)


def units_metadata(units: str, *, difference: bool) -> str | None:
    """Return ``units_metadata`` of CF 1.11, section 3.1.2, or None where units say it all.

    Args:
        units: of the result.
        difference: whether it is a difference of temperatures, or an integral of one.
    """
    try:
        temperature = is_temperature(units) or is_temperature(units.removesuffix(" day"))
    except UnitsError:
        return None
    if not temperature:
        return None
    return "temperature: difference" if difference else "temperature: on_scale"


def _side(relation: Relation) -> str:
    return _UP if relation in (Relation.ABOVE, Relation.AT_OR_ABOVE) else _DOWN


def _thresholded(source: str) -> str:
    """Return the quantity that CF's names for thresholds have in the place of an input's."""
    return _PRECIPITATION if source in ("precipitation_flux", "lwe_precipitation_rate") else source


def _amount_of_a_day(threshold: Threshold) -> Fraction | None:
    try:
        return conversion(threshold.units, "mm/day", water=True).exactly(threshold.value)
    except UnitsError:
        return None


def _of_sum(source: str, units: str) -> str | None:
    """Return the standard name of a sum over days: a rate becomes an amount."""
    if source in _INTEGRALS:
        return f"integral_wrt_time_of_{source}"
    water = _water_of(source)
    if water is None:
        return source if source.endswith("_amount") else None
    amount, depth, _ = _WATER_NAMES[water]
    if _converts(units, "mm"):
        return f"lwe_thickness_of_{water}_amount" if depth else None
    return f"{water}_amount" if amount else None


def _of_rate(source: str, units: str) -> str | None:
    """Return the standard name in these units: a flux of mass may have become a depth by time."""
    water = _water_of(source)
    if water is None:
        became_a_depth = source.endswith("_flux") and _converts(units, "mm/day")
        return None if became_a_depth else source or None
    rate = f"lwe_{water}_rate" if _WATER_NAMES[water][2] else None
    if _converts(units, "mm/day"):
        return rate
    return f"{water}_flux" if _converts(units, "kg m-2 s-1") else source


def _water_of(source: str) -> str | None:
    """Return what falls or flows, of the name of a flux or of a rate of depth."""
    for start, end in (("", "_flux"), ("lwe_", "_rate")):
        name = source.removeprefix(start).removesuffix(end)
        if source == f"{start}{name}{end}" and name in _WATER_NAMES and is_water(source):
            return name
    return None


def _converts(units: str, target: str) -> bool:
    try:
        conversion(units, target)
    except UnitsError:
        return False
    return True

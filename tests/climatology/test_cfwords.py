"""CF's words for reductions, against CF's own table of standard names."""

from __future__ import annotations

import re
from fractions import Fraction
from importlib.resources import files

import pytest

from climdask.climatology.cfwords import (
    ThresholdCoordinate,
    cell_methods,
    standard_name,
    threshold_coordinate,
    units_metadata,
)
from climdask.climatology.conversions import conversion
from climdask.climatology.expressions import EXAMPLES, parse


@pytest.fixture(scope="module")
def table() -> dict[str, str]:
    """Return the canonical units of each standard name."""
    text = (files("compliance_checker") / "data" / "cf-standard-name-table.xml").read_text()
    found = dict(re.findall(r'<entry id="([^"]+)">\s*<canonical_units>([^<]*)<', text))
    aliases = re.findall(r'<alias id="([^"]+)">\s*<entry_id>([^<]*)<', text)
    return found | {old: found[new] for old, new in aliases if new in found}


@pytest.mark.parametrize(
    ("text", "daily", "expected"),
    [
        ("mean", "mean", "time: mean within years time: mean over years"),
        ("max", "maximum", "time: maximum within years time: mean over years"),
        ("mean", "maximum", "time: maximum within days time: mean over days time: mean over years"),
        ("sum", "mean", "time: mean within days time: sum over days time: mean over years"),
        (
            "std", "mean",
            "time: mean within days time: standard_deviation over days time: mean over years",
        ),
        (
            "days above 90 degF", "maximum",
            "time: maximum within days time: sum over days time: mean over years",
        ),
        (
            "longest spell below 0 degC", "minimum",
            "time: minimum within days time: maximum over days time: mean over years",
        ),
        # a count is no sum of daily sums
        (
            "days above 1 mm", "sum",
            "time: sum within days time: sum over days time: mean over years",
        ),
        (
            "max of 5-day sum", "mean",
            "time: mean within days time: maximum over days (comment: running sum of 5 days) "
            "time: mean over years",
        ),
    ],
)  # fmt: skip
def test_cell_methods_say_what_was_done_within_days_over_days_and_over_years(text, daily, expected):
    assert cell_methods(parse(text), daily) == expected


def test_days_have_the_cell_methods_that_daily_normals_always_had():
    assert cell_methods(None, "maximum") == "time: maximum within years time: mean over years"
    assert cell_methods(None, "mean", "standard_deviation") == (
        "time: mean within years time: standard_deviation over years"
    )


AIR, RAIN = "air_temperature", "precipitation_flux"


@pytest.mark.parametrize(
    ("text", "source", "units", "expected"),
    [
        ("mean", AIR, "degC", AIR),
        ("std", AIR, "K", AIR),
        ("min of 7-day mean", AIR, "K", AIR),
        ("days above 90 degF", AIR, "1", "number_of_days_with_air_temperature_above_threshold"),
        (
            "days at or below 0 degC", AIR, "1",
            "number_of_days_with_air_temperature_below_threshold",
        ),
        (
            "days above 1 mm/day", RAIN, "1",
            "number_of_days_with_lwe_thickness_of_precipitation_amount_above_threshold",
        ),
        ("days below 1 mm/day", RAIN, "1", None),  # not in the table
        ("days above 10 m s-1", "wind_speed", "1",
         "number_of_days_with_wind_speed_above_threshold"),
        (
            "longest spell above 25 degC", AIR, "day",
            "spell_length_of_days_with_air_temperature_above_threshold",
        ),
        (
            "longest spell below 1 mm/day", RAIN, "day",
            "spell_length_of_days_with_lwe_thickness_of_precipitation_amount_below_threshold",
        ),
        ("spells of 6 days above 30 degC", AIR, "1", None),
        (
            "growing degree days above 10 degC", AIR, "K day",
            "integral_wrt_time_of_air_temperature_excess",
        ),
        (
            "heating degree days below 18 degC", AIR, "degF day",
            "integral_wrt_time_of_air_temperature_deficit",
        ),
        ("degree days above 10 degC", "sea_surface_temperature", "K day", None),
        ("sum", RAIN, "kg m-2", "precipitation_amount"),
        ("sum", RAIN, "inch", "lwe_thickness_of_precipitation_amount"),
        ("sum", "lwe_precipitation_rate", "mm", "lwe_thickness_of_precipitation_amount"),
        ("max of 5-day sum", RAIN, "mm", "lwe_thickness_of_precipitation_amount"),
        ("sum", "rainfall_flux", "mm", None),
        ("sum", "precipitation_amount", "kg m-2", "precipitation_amount"),
        (
            "sum", "surface_downwelling_shortwave_flux_in_air", "MJ m-2",
            "integral_wrt_time_of_surface_downwelling_shortwave_flux_in_air",
        ),
        ("sum", "wind_speed", "m", None),
        ("mean", RAIN, "kg m-2 s-1", RAIN),
        ("mean", RAIN, "mm/day", "lwe_precipitation_rate"),
        ("max", "lwe_precipitation_rate", "kg m-2 s-1", RAIN),
        ("mean", "", "K", None),
        ("mean", "water_evapotranspiration_flux", "mm/day", None),  # CF has no such rate
        ("mean", "water_evapotranspiration_flux", "g m-2 s-1", "water_evapotranspiration_flux"),
    ],
)  # fmt: skip
def test_a_result_has_a_standard_name_of_the_table_and_its_units(
    table, text, source, units, expected
):
    assert standard_name(parse(text), source, units) == expected
    if expected:
        assert expected in table
        conversion(units, table[expected])  # or it raises


@pytest.mark.parametrize(
    "source",
    [
        RAIN,
        "snowfall_flux",
        "runoff_flux",
        "water_evaporation_flux",
        "water_potential_evaporation_flux",
        "rainfall_flux",
    ],
)
@pytest.mark.parametrize("units", ["kg m-2", "mm"])
def test_every_amount_of_water_is_named_by_the_table(table, source, units):
    for text, of_units in (("sum", units), ("mean", f"{units} day-1")):
        name = standard_name(parse(text), source, of_units)
        assert name is None or name in table


def test_a_day_keeps_its_name_where_its_units_allow():
    assert standard_name(None, RAIN, "mm/day") == "lwe_precipitation_rate"
    assert standard_name(None, AIR, "degC") == AIR


def test_a_threshold_is_a_scalar_coordinate():
    assert threshold_coordinate(parse("mean"), AIR) is None
    assert threshold_coordinate(parse("days above 90 degF"), AIR) == ThresholdCoordinate(
        Fraction(90), "degF", AIR
    )
    assert threshold_coordinate(parse("degree days below 18 degC"), AIR) == ThresholdCoordinate(
        Fraction(18), "degC", "air_temperature_threshold"
    )
    for text in ("days above 1 mm/day", "days above 1 kg m-2 day-1"):
        assert threshold_coordinate(parse(text), RAIN) == ThresholdCoordinate(
            Fraction(1), "mm", "lwe_thickness_of_precipitation_amount"
        )


@pytest.mark.parametrize(
    ("units", "difference", "expected"),
    [
        ("K", False, "temperature: on_scale"),
        ("degC", True, "temperature: difference"),
        ("K day", True, "temperature: difference"),
        ("mm", True, None),
        ("1", False, None),
        ("what", False, None),
    ],
)
def test_units_say_whether_a_temperature_is_a_difference(units, difference, expected):
    assert units_metadata(units, difference=difference) == expected


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_has_cell_methods_of_the_form_of_cf(text):
    form = r"time: \w+ within (?:years|days time: \w+ over days(?: \(comment: [^)]*\))?)"
    assert re.fullmatch(rf"{form} time: mean over years", cell_methods(parse(text), "mean"))

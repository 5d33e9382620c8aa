"""Conversions of units: exact factors, and refusals."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from climdask.climatology.blocks import Block
from climdask.climatology.conversions import (
    Conversion,
    UnitsError,
    conversion,
    is_temperature,
    is_water,
    over_time,
)
from climdask.climatology.exactsum import accumulate


@pytest.mark.parametrize(
    ("source", "target", "factor", "offset"),
    [
        ("degF", "degC", "5/9", "-160/9"),
        ("K", "degF", "9/5", "-459.67"),
        ("K", "degC", "1", "-273.15"),
        ("Kelvin", "°C", "1", "-273.15"),
        ("degrees_C", "K", "1", "273.15"),
        ("C", "F", "9/5", "32"),  # not coulomb and farad
        ("hPa", "Pa", "100", "0"),
        ("mm", "inches", "5/127", "0"),
        ("m s-1", "knot", "900/463", "0"),
        ("m.s-1", "mph", "3125/1397", "0"),
        ("m/s", "km/h", "18/5", "0"),
        ("%", "1", "1/100", "0"),
        ("1", "%", "100", "0"),
        ("W m-2", "MJ m-2 day-1", "0.0864", "0"),
        ("kg m-2 d-1", "kg m^-2 s^-1", "1/86400", "0"),
        ("kg/(m2 s)", "g m**-2 s**-1", "1000", "0"),
        ("K day", "degF day", "9/5", "0"),  # a temperature times a time has no zero point
        ("degC day", "K s", "86400", "0"),
        ("1e-3 kg m-2", "g m-2", "1", "0"),
        ("kg m-2", "100 g m-2", "10", "0"),
        ("gpm", "km", "1/1000", "0"),
        ("m3 s-1", "l s-1", "1000", "0"),
        ("1/s", "day-1", "86400", "0"),
        ("psu", "psu", "1", "0"),  # whatever it is
    ],
)
def test_a_factor_and_an_offset_are_exact(source, target, factor, offset):
    found = conversion(source, target)
    assert (found.factor, found.offset) == (Fraction(factor), Fraction(offset))
    assert found.is_identity == (found.factor == 1 and found.offset == 0)


@pytest.mark.parametrize(
    ("source", "target", "factor"),
    [
        ("kg m-2 s-1", "mm/day", "86400"),
        ("mm/day", "kg m-2 s-1", "1/86400"),
        ("kg m-2 s-1", "inch/day", "432000/127"),
        ("kg m-2", "mm", "1"),
        ("m", "kg m-2", "1000"),
        ("m s-1", "mm/day", "86400000"),
        ("kg m-2 s-1", "kg m-2 day-1", "86400"),
    ],
)
def test_water_converts_by_its_density(source, target, factor):
    assert conversion(source, target, water=True) == Conversion(source, target, Fraction(factor))


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("K", "mm/day", '"K" cannot become "mm/day": one is temperature, the other length time'),
        ("kg m-2 s-1", "mm/day", "only of water is mass for each area a depth"),
        ("kg m-2 s-1", "mm", "expected units of the same dimensions"),
        ("mm/day", "mm/month", '"mm/month": "month" has no fixed length'),
        ("mm yr-1", "mm/day", '"yr" has no fixed length'),
        ("foo", "K", 'units "foo" are not known'),
        ("K", "__import__('os')", "are not known"),
        ("0 m", "m", "are not known"),
        ("K", "1", "the other a pure number"),
        ("dB", "1", "no linear conversion"),
        ("K", "degC day", "expected units of the same dimensions"),
        ("degC", "", "expected units of the same dimensions"),
    ],
)
def test_nonsense_is_refused(source, target, message):
    with pytest.raises(UnitsError, match=message):
        conversion(source, target)


def test_not_even_water_turns_a_rate_into_an_amount():
    with pytest.raises(UnitsError, match="expected units of the same dimensions"):
        conversion("kg m-2 s-1", "mm", water=True)


def test_differences_of_temperatures_have_no_offset():
    assert conversion("K", "degF", difference=True) == Conversion("K", "degF", Fraction(9, 5))
    assert conversion("K", "degC", difference=True).is_identity
    assert conversion("K", "degF").of_differences == conversion("K", "degF", difference=True)


@pytest.mark.parametrize(
    ("standard_name", "water"),
    [
        ("precipitation_flux", True),
        ("convective_precipitation_flux", True),
        ("rainfall_flux", True),
        ("snowfall_flux", True),
        ("water_evaporation_flux", True),
        ("lwe_thickness_of_precipitation_amount", True),
        ("runoff_flux", True),
        ("surface_upward_mass_flux_of_carbon_dioxide_expressed_as_carbon", False),
        ("tendency_of_atmosphere_mass_content_of_dust_dry_aerosol_due_to_dry_deposition", False),
        ("air_temperature", False),
        ("", False),
    ],
)
def test_water_is_known_by_its_standard_name(standard_name, water):
    assert is_water(standard_name) is water


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ("kg m-2 s-1", ("kg m-2", 86400)),
        ("kg/m2/s", ("kg/m2", 86400)),
        ("kg/(m2 s)", ("kg m-2", 86400)),
        ("mol/(m2 s)", ("(mol/(m2 s)) s", 86400)),
        ("mm/day", ("mm", 1)),
        ("mm d-1", ("mm", 1)),
        ("mm h-1", ("mm", 24)),
        ("W m-2", ("J m-2", 86400)),
        ("m s-1", ("m", 86400)),
        ("1/s", ("1", 86400)),
        ("K", None),
        ("mm", None),
        ("J m-2", None),
        ("m s-2", None),
        ("kg m-1 s-2", None),  # pressure
        ("Pa", None),
    ],
)
def test_a_rate_goes_on_for_a_day(units, expected):
    assert over_time(units) == expected
    if expected:
        amount = conversion(f"({units}) day", expected[0])
        assert amount.factor == expected[1]


def test_a_temperature_is_known_by_its_units():
    assert [is_temperature(u) for u in ("K", "degC", "°F", "K day", "m", "1")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


VALUES = st.floats(-1e6, 1e6, width=32)
ONES = [conversion("degF", "degC"), conversion("K", "degC"), conversion("mm", "inch")]


@given(VALUES, st.sampled_from(ONES))
def test_a_value_is_rounded_once(value, change):
    expected = change.exactly(Fraction(value))
    found = float(change(np.array([value], dtype=np.float32))[0])
    assert abs(Fraction(found) - expected) <= Fraction(math.ulp(found)) * Fraction(501, 1000)


@given(st.lists(VALUES, min_size=1, max_size=20), st.sampled_from(ONES))
def test_a_mean_is_rounded_once(values, change):
    blocks = [(Block.of(n, np.array([[v]], np.float32)), 1.0) for n, v in enumerate(values)]
    terms = accumulate((np.zeros((1, 1)),), blocks)
    expected = change.exactly(sum(map(Fraction, values)) / len(values))
    found = float(change.of_mean(terms, np.full((1, 1), len(values)))[0, 0])
    assert abs(Fraction(found) - expected) <= Fraction(math.ulp(found)) * Fraction(501, 1000)


def test_a_conversion_near_zero_keeps_its_digits():
    value = np.array([273.15], np.float32)
    assert float(conversion("K", "degC")(value)[0]) == float(
        Fraction(float(value[0])) - Fraction("273.15")
    )


def test_missing_stays_missing():
    found = conversion("K", "degF")(np.array([np.nan, 0.0], np.float32))
    assert np.isnan(found[0])
    assert found[1] == -459.67


def test_pint_is_not_loaded_before_it_is_needed():
    code = "import climdask.climatology.conversions, sys; sys.exit('pint' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

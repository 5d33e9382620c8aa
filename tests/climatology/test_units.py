"""Spellings of units."""

from __future__ import annotations

import pytest

from climdask.climatology.units import one_spelling


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("K", "K"), ("kelvin", "K"), ("degK", "K"), ("degrees_kelvin", "K"), ("Kelvins", "K"),
        ("degC", "degC"), ("°C", "degC"), ("C", "degC"), ("celsius", "degC"),
        ("degrees Celsius", "degC"), ("deg_C", "degC"), ("Degrees_C", "degC"),
        ("degF", "degF"), ("fahrenheit", "degF"), ("degree_fahrenheit", "degF"),
        ("kg m-2 s-1", "kg m-2 s-1"), ("kg m**-2 s**-1", "kg m-2 s-1"), ("mm/s", "kg m-2 s-1"),
        (" kg  m-2 s-1 ", "kg m-2 s-1"),
        ("mm/day", "mm day-1"), ("kg m-2 d-1", "mm day-1"),
        ("m s-1", "m s-1"), ("kg m-2", "kg m-2"), ("1", "1"), ("", ""), ("degree", "degree"),
        ("degrees", "degrees"), ("mK", "mK"), ("cm", "cm"), ("F m-1", "F m-1"),
    ],
)  # fmt: skip
def test_units_that_mean_the_same_have_one_spelling(given: str, expected: str) -> None:
    assert one_spelling(given) == expected

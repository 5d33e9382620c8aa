"""Reductions as text."""

from __future__ import annotations

from fractions import Fraction

import pytest

from climdask.climatology.expressions import (
    EXAMPLES,
    Expression,
    ExpressionError,
    Kind,
    Threshold,
    parse,
)
from climdask.climatology.stepvalues import (
    Condition,
    DaysWith,
    DegreeDays,
    Extreme,
    LongestSpell,
    Mean,
    Relation,
    RunningExtreme,
    Spells,
    StandardDeviation,
    Sum,
)

ABOVE, BELOW = Relation.ABOVE, Relation.BELOW


@pytest.mark.parametrize(
    ("text", "units", "reduction", "of_result"),
    [
        ("mean", "K", Mean(), "K"),
        ("min", "K", Extreme(False), "K"),
        ("maximum", "K", Extreme(True), "K"),
        ("std", "degC", StandardDeviation(), "degC"),
        ("sum", "kg m-2 s-1", Sum(Fraction(86400)), "kg m-2"),
        ("total", "mm/day", Sum(), "mm"),
        ("sum", "mm", Sum(), "mm"),
        ("sum", "W m-2", Sum(Fraction(86400)), "J m-2"),
        ("days above 90 degF", "K", DaysWith(Condition(ABOVE, Fraction(54967, 180))), "1"),
        ("days  above 90degF ", "degF", DaysWith(Condition(ABOVE, Fraction(90))), "1"),
        ("days below 0 degC", "K", DaysWith(Condition(BELOW, Fraction("273.15"))), "1"),
        (
            "days at or above 25 degC", "degC",
            DaysWith(Condition(Relation.AT_OR_ABOVE, Fraction(25))), "1",
        ),
        (
            "days at or below -2.5 °C", "K",
            DaysWith(Condition(Relation.AT_OR_BELOW, Fraction("270.65"))), "1",
        ),
        (
            "growing degree days above 10 degC", "K",
            DegreeDays(True, Fraction("283.15")), "K day",
        ),
        ("heating degree days below 18 degC", "degC", DegreeDays(False, Fraction(18)), "K day"),
        ("cooling degree days above 65 degF", "degF", DegreeDays(True, Fraction(65)), "degF day"),
        ("degree days below 0 degC", "K", DegreeDays(False, Fraction("273.15")), "K day"),
        ("longest spell above 25 K", "K", LongestSpell(Condition(ABOVE, Fraction(25))), "day"),
        ("spells of 6 days above 30 degC", "degC", Spells(Condition(ABOVE, Fraction(30)), 6), "1"),
        (
            "spells of at least 6 days above 30 degC", "degC",
            Spells(Condition(ABOVE, Fraction(30)), 6), "1",
        ),
        (
            "days in spells of 6 days or more above 30 degC", "degC",
            Spells(Condition(ABOVE, Fraction(30)), 6, count_days=True), "1",
        ),
        ("max of 5-day sum", "kg m-2 s-1", RunningExtreme(True, 5, Fraction(86400)), "kg m-2"),
        ("max of 5 day sum", "mm/day", RunningExtreme(True, 5, Fraction(1)), "mm"),
        ("min of 7-day mean", "K", RunningExtreme(False, 7), "K"),
    ],
)  # fmt: skip
def test_a_text_becomes_arithmetic_in_the_units_of_the_values(text, units, reduction, of_result):
    bound = parse(text).bind(units)
    assert (bound.reduction, bound.units) == (reduction, of_result)


def test_thresholds_of_water_may_be_depths():
    wet = parse("days at or above 1 mm/day")
    bound = wet.bind("kg m-2 s-1", water=True)
    assert bound.reduction == DaysWith(Condition(Relation.AT_OR_ABOVE, Fraction(1, 86400)))
    with pytest.raises(ExpressionError, match="only of water is mass for each area a depth"):
        wet.bind("kg m-2 s-1")


def test_a_threshold_keeps_its_value_and_unit():
    hot = parse("days above 90.50 degF")
    assert hot.threshold == Threshold(Fraction("90.5"), "90.50", "degF")
    assert hot.threshold.in_units("degC") == Fraction("58.5") * 5 / 9
    assert hot == Expression(Kind.DAYS, ABOVE, hot.threshold)


def test_what_is_a_difference_of_values_says_so():
    texts = ("std", "degree days above 10 degC", "mean", "days above 10 degC", "max")
    assert [parse(t).bind("K").is_difference for t in texts] == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("text", "spelt", "name"),
    [
        ("maximum", "max", "max"),
        ("standard  deviation", "std", "std"),
        ("days above 90degF", "days above 90 degF", "days_above_90_degF"),
        ("spells of 1 day above 3 K", "spells of 1 days above 3 K", "spells_of_1_days_above_3_K"),
        ("days below -2.5 degC", "days below -2.5 degC", "days_below_minus_2p5_degC"),
        ("days above 1 mm/day", "days above 1 mm/day", "days_above_1_mm_per_day"),
        ("maximum of 5 day total", "max of 5-day sum", "max_of_5day_sum"),
    ],
)
def test_a_text_has_one_spelling_and_a_name(text, spelt, name):
    assert (parse(text).text, parse(text).name) == (spelt, name)


@pytest.mark.parametrize("text", [*EXAMPLES, "days in spells of 6 days below -0.5 degC"])
def test_the_one_spelling_says_the_same(text):
    assert parse(parse(text).text) == parse(text)
    assert parse(text).text == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", '"" says no reduction; expected such as "mean"'),
        ("median", '"median" says no reduction'),
        ("days over 90 degF", 'says no reduction; expected such as "days above 90 degF"'),
        ("days above ninety degF", "says no reduction"),
        ("days above 90", '90 has no unit; expected one, as in "days above 90 degF"'),
        ("growing degree days below 10 degC", "growing degree days are those above a base"),
        ("heating degree days above 10 degC", "heating degree days are those below a base"),
        ("degree days at or above 10 degC", 'expected "above" or "below"'),
        ("max of 1-day sum", "1 days; expected 2 to 365"),
        ("max of 400-day sum", "400 days; expected 2 to 365"),
        ("spells of 0 days above 3 K", "0 days; expected 1 to 365"),
        ("max of 5-day max", "says no reduction"),
        ("Days above 90 degF", "says no reduction"),
    ],
)
def test_what_says_nothing_is_refused_with_examples(text, message):
    with pytest.raises(ExpressionError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("text", "units", "message"),
    [
        ("sum", "K", '"sum" of values in "K": a sum of temperatures means nothing'),
        ("max of 5-day sum", "degC", "a sum of temperatures means nothing"),
        ("sum", "furlongs per fortnight", 'units "furlongs per fortnight" are not known'),
        ("days above 90 degF", "mm/day", '"degF" cannot become "mm/day"'),
        ("days above 1 mm/month", "mm/day", '"month" has no fixed length'),
        ("growing degree days above 10 mm/day", "mm/day", "no temperature"),
    ],
)
def test_what_the_units_do_not_allow_is_refused(text, units, message):
    with pytest.raises(ExpressionError, match=message):
        parse(text).bind(units)

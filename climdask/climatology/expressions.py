"""What is made of the days of a step, as a workflow writes it: ``days above 90 degF``.

:func:`parse` makes an :class:`Expression` of a text, whatever the variable; its thresholds keep
their value and unit. :meth:`Expression.bind` turns it into arithmetic for values of given units,
and says which units the result has::

    hot = parse("days above 90 degF")
    hot.text                                  # "days above 90 degF", one spelling of many
    bound = hot.bind("K")
    bound.reduction                           # DaysWith(Condition(ABOVE, Fraction(54967, 180)))
    bound.units                               # "1"

The texts, with n a whole number, x a number with a unit, and ``at or above`` and ``at or below`` in
the place of ``above`` and ``below`` where a day is compared with a threshold::

    mean, min, max, std                       sum
    days above x                              growing degree days above x
    longest spell below x                     heating degree days below x
    spells of n days above x                  cooling degree days above x
    days in spells of n days above x          degree days above x, degree days below x
    max of n-day sum                          min of n-day mean

A spell of n days is one of at least n. Of a rate a sum is its integral over time: ``kg m-2 s-1``
becomes ``kg m-2``. The sum of a temperature is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from climdask.climatology.conversions import (
    UnitsError,
    conversion,
    is_temperature,
    over_time,
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
    StepReduction,
    Sum,
)
from climdask.climatology.units import CELSIUS, FAHRENHEIT, KELVIN, one_spelling

LONGEST_WINDOW = 365
EXAMPLES = (
    "mean", "sum", "std", "days above 90 degF", "days at or below 0 degC",
    "growing degree days above 10 degC", "heating degree days below 18 degC",
    "longest spell above 25 degC", "spells of 6 days above 30 degC", "max of 5-day sum",
)  # fmt: skip


class ExpressionError(ValueError):
    """A text that says no reduction, or one that the variable's units do not allow."""


class Kind(Enum):
    """What is made of the days."""

    MEAN = "mean"
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    STD = "std"
    DAYS = "days"
    DEGREE_DAYS = "degree days"
    LONGEST_SPELL = "longest spell"
    SPELLS = "spells"
    DAYS_IN_SPELLS = "days in spells"
    RUNNING_MIN = "min of running"
    RUNNING_MAX = "max of running"


@dataclass(frozen=True)
class Threshold:
    """A value and its unit, as they were written.

    Attributes:
        value: exactly what the digits say.
        digits: as they were written.
        units: of the value.
    """

    value: Fraction
    digits: str
    units: str

    def __str__(self) -> str:
        return f"{self.digits} {self.units}"

    def in_units(self, units: str, *, water: bool = False) -> Fraction:
        """Return the value in other units, exactly.

        Raises:
            UnitsError: they measure something else.
        """
        return conversion(self.units, units, water=water).exactly(self.value)


@dataclass(frozen=True)
class Bound:
    """An expression for values of certain units.

    Attributes:
        reduction: the arithmetic, with thresholds in the units of the values.
        units: of the result; output units convert from these.
        is_difference: whether the result is a difference of values, which converts without offset.
    """

    reduction: StepReduction
    units: str
    is_difference: bool = False


@dataclass(frozen=True)
class Expression:
    """What is made of the days of a step.

    Attributes:
        kind: of reduction.
        relation: to the threshold, if there is one.
        threshold: of days, spells and degree days.
        length: days of a window or spell.
        of_sum: whether a running window is summed; else its mean is taken.
        purpose: ``growing``, ``heating`` or ``cooling`` degree days, or nothing.
    """

    kind: Kind
    relation: Relation | None = None
    threshold: Threshold | None = None
    length: int | None = None
    of_sum: bool = False
    purpose: str = ""

    @property
    def text(self) -> str:
        """The expression in its one spelling; :func:`parse` makes the same of it."""
        end = f" {self.relation.value} {self.threshold}" if self.relation else ""
        if self.kind in (Kind.RUNNING_MIN, Kind.RUNNING_MAX):
            return f"{self.kind.value[:3]} of {self.length}-day {'sum' if self.of_sum else 'mean'}"
        start = f"{self.purpose} {self.kind.value}".strip()
        return f"{start} of {self.length} days{end}" if self.length else f"{start}{end}"

    @property
    def name(self) -> str:
        """The text as part of a variable's name: ``days_above_90_degF``."""
        spelt = self.text.replace("-day", "day").replace(" -", " minus ")
        return re.sub(r"\W+", "_", spelt.replace(".", "p").replace("/", " per ")).strip("_")

    def bind(self, units: str, *, water: bool = False) -> Bound:
        """Return the arithmetic for values of a variable.

        Args:
            units: of the values.
            water: whether it is an amount or a rate of water, as
                :func:`~climdask.climatology.conversions.is_water` says.

        Raises:
            ExpressionError: units that the expression cannot be made of.
        """
        try:
            return _BINDERS[self.kind](self, units, water)
        except UnitsError as error:
            raise ExpressionError(f'"{self.text}" of values in "{units}": {error}') from None


def parse(text: str) -> Expression:
    """Return what a text says.

    Raises:
        ExpressionError: nothing that is known.
    """
    plain = " ".join(text.split())
    for pattern, make in _GRAMMAR:
        found = pattern.fullmatch(plain)
        if found:
            return make(text, found)
    raise ExpressionError(f'"{text}" says no reduction; expected such as {_examples(plain)}')


def _examples(text: str) -> str:
    """Return examples, those first that share the most words with a text."""
    words = set(text.lower().split())
    near = sorted(EXAMPLES, key=lambda example: -len(words & set(example.split())))
    return ", ".join(f'"{example}"' for example in near[:4])


# ---------------------------------------------------------------- parsing

_NUMBER = r"(?P<digits>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
_THRESHOLD = rf"(?P<relation>at or above|above|at or below|below) {_NUMBER} ?(?P<units>\D.*)?"
_LENGTH = r"(?:at least )?(?P<length>\d+) days?(?: or more)?"
_SIMPLE = {
    "mean": Kind.MEAN, "sum": Kind.SUM, "total": Kind.SUM, "min": Kind.MIN, "minimum": Kind.MIN,
    "max": Kind.MAX, "maximum": Kind.MAX, "std": Kind.STD, "standard deviation": Kind.STD,
}  # fmt: skip
_PURPOSES = {"growing": Relation.ABOVE, "cooling": Relation.ABOVE, "heating": Relation.BELOW}


def _simple(text: str, found: re.Match[str]) -> Expression:
    del text
    return Expression(_SIMPLE[found[0]])


def _counted(kind: Kind) -> Callable[[str, re.Match[str]], Expression]:
    def make(text: str, found: re.Match[str]) -> Expression:
        parts = found.groupdict()
        length = _length(text, parts["length"], 1) if parts.get("length") else None
        return Expression(kind, Relation(found["relation"]), _threshold(text, found), length)

    return make


def _degree_days(text: str, found: re.Match[str]) -> Expression:
    purpose, relation = found["purpose"] or "", Relation(found["relation"])
    if relation not in (Relation.ABOVE, Relation.BELOW):
        raise ExpressionError(
            f'"{text}": a day at the base adds nothing; expected "above" or "below"'
        )
    if purpose and relation is not _PURPOSES[purpose]:
        wanted = _PURPOSES[purpose].value
        raise ExpressionError(f'"{text}": {purpose} degree days are those {wanted} a base')
    threshold = _threshold(text, found)
    return Expression(Kind.DEGREE_DAYS, relation, threshold, purpose=purpose)


def _running(text: str, found: re.Match[str]) -> Expression:
    kind = Kind.RUNNING_MIN if found["extreme"].startswith("min") else Kind.RUNNING_MAX
    length = _length(text, found["length"], 2)
    return Expression(kind, length=length, of_sum=found["of"] in ("sum", "total"))


def _threshold(text: str, found: re.Match[str]) -> Threshold:
    units = (found["units"] or "").strip()
    if not units:
        raise ExpressionError(
            f'"{text}": {found["digits"]} has no unit; expected one, as in "days above 90 degF"'
        )
    return Threshold(Fraction(found["digits"]), found["digits"], units)


def _length(text: str, digits: str, least: int) -> int:
    length = int(digits) if len(digits) < 9 else 0
    if not least <= length <= LONGEST_WINDOW:
        raise ExpressionError(f'"{text}": {digits} days; expected {least} to {LONGEST_WINDOW}')
    return length


_GRAMMAR: tuple[tuple[re.Pattern[str], Callable[[str, re.Match[str]], Expression]], ...] = (
    (re.compile("|".join(_SIMPLE)), _simple),
    (re.compile(rf"days {_THRESHOLD}"), _counted(Kind.DAYS)),
    (re.compile(rf"longest spell {_THRESHOLD}"), _counted(Kind.LONGEST_SPELL)),
    (re.compile(rf"spells of {_LENGTH} {_THRESHOLD}"), _counted(Kind.SPELLS)),
    (re.compile(rf"days in spells of {_LENGTH} {_THRESHOLD}"), _counted(Kind.DAYS_IN_SPELLS)),
    (re.compile(rf"(?:(?P<purpose>growing|heating|cooling) )?degree days {_THRESHOLD}"),
     _degree_days),
    (re.compile(r"(?P<extreme>max|maximum|min|minimum) of (?P<length>\d+)[- ]days? "
                r"(?P<of>sum|total|mean)"), _running),
)  # fmt: skip


# ---------------------------------------------------------------- binding


def _bind_simple(expression: Expression, units: str, water: bool) -> Bound:
    del water
    reductions: dict[Kind, StepReduction] = {
        Kind.MEAN: Mean(), Kind.MIN: Extreme(False), Kind.MAX: Extreme(True),
    }  # fmt: skip
    return Bound(reductions[expression.kind], units)


def _bind_std(expression: Expression, units: str, water: bool) -> Bound:
    del expression, water
    return Bound(StandardDeviation(), units, is_difference=True)


def _bind_sum(expression: Expression, units: str, water: bool) -> Bound:
    del water
    of_sum, per_day = _summed(expression, units)
    return Bound(Sum(per_day), of_sum)


def _summed(expression: Expression, units: str) -> tuple[str, Fraction]:
    """Return the units of a sum over days, and what a day with the value 1 adds."""
    if is_temperature(units):
        raise ExpressionError(
            f'"{expression.text}" of values in "{units}": a sum of temperatures means nothing; '
            'expected a mean, or "growing degree days above 10 degC"'
        )
    return over_time(units) or (units, Fraction(1))


def _bind_running(expression: Expression, units: str, water: bool) -> Bound:
    del water
    assert expression.length is not None
    greatest = expression.kind is Kind.RUNNING_MAX
    if not expression.of_sum:
        return Bound(RunningExtreme(greatest, expression.length), units)
    of_sum, per_day = _summed(expression, units)
    return Bound(RunningExtreme(greatest, expression.length, per_day), of_sum)


def _bind_days(expression: Expression, units: str, water: bool) -> Bound:
    condition = _condition(expression, units, water)
    if expression.kind is Kind.DAYS:
        return Bound(DaysWith(condition), "1")  # a number of days, as CF's standard names have it
    if expression.kind is Kind.LONGEST_SPELL:
        return Bound(LongestSpell(condition), "day")
    assert expression.length is not None
    in_days = expression.kind is Kind.DAYS_IN_SPELLS
    return Bound(Spells(condition, expression.length, in_days), "1")


def _condition(expression: Expression, units: str, water: bool) -> Condition:
    assert expression.relation is not None
    assert expression.threshold is not None
    return Condition(expression.relation, expression.threshold.in_units(units, water=water))


def _bind_degree_days(expression: Expression, units: str, water: bool) -> Bound:
    condition = _condition(expression, units, water)
    if not is_temperature(units):
        raise ExpressionError(f'"{expression.text}" of values in "{units}": no temperature')
    # A difference of 1 degC is one of 1 K, and "degC day" is not understood everywhere.
    scale = {CELSIUS: KELVIN, KELVIN: KELVIN, FAHRENHEIT: FAHRENHEIT}.get(one_spelling(units))
    above = condition.relation is Relation.ABOVE
    return Bound(DegreeDays(above, condition.limit), f"{scale or units} day", is_difference=True)


_BINDERS: dict[Kind, Callable[[Expression, str, bool], Bound]] = {
    Kind.MEAN: _bind_simple,
    Kind.MIN: _bind_simple,
    Kind.MAX: _bind_simple,
    Kind.STD: _bind_std,
    Kind.SUM: _bind_sum,
    Kind.RUNNING_MIN: _bind_running,
    Kind.RUNNING_MAX: _bind_running,
    Kind.DAYS: _bind_days,
    Kind.LONGEST_SPELL: _bind_days,
    Kind.SPELLS: _bind_days,
    Kind.DAYS_IN_SPELLS: _bind_days,
    Kind.DEGREE_DAYS: _bind_degree_days,
}

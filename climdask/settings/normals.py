"""What is made of a variable: the entries of the key ``normals``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from climdask.climatology.conversions import UnitsError, is_temperature
from climdask.climatology.cycles import WORDS, Cycle
from climdask.climatology.expressions import EXAMPLES, parse
from climdask.climatology.missingdays import missing_rule
from climdask.climatology.orderstatistics import LINEAR, METHODS, PERCENTILE, percentile_level
from climdask.climatology.products import OWN_NAMES, Product, Within
from climdask.climatology.smoothing import Harmonics, Windowed
from climdask.climatology.statistics import MEAN, STATISTICS, statistic_of
from climdask.errors import did_you_mean
from climdask.settings.sections import Section, as_list, refuse_doubles
from climdask.settings.yamlfiles import VARIABLE

MOST_POOL_DAYS = 91  # a season
SHORTEST_YEAR = 360  # days, of all calendars


def check_statistic(name: str) -> str:
    """Return a name of a statistic.

    Raises:
        ValueError: there is none of that name.
    """
    statistic_of(name)
    return name


def _check_pool(days: int) -> int:
    if days % 2 == 0:
        raise ValueError(
            f"a pool is centred on its day; expected an odd number, such as {days + 1}"
        )
    return days


def _check_method(name: str) -> str:
    if name not in METHODS:
        raise ValueError(
            f"input should be one of {', '.join(METHODS)}{did_you_mean(name, METHODS)}"
        )
    return name


# For editors: the names of statistics, and of percentiles.
_SCHEMA = {"pattern": f"^({'|'.join(STATISTICS)}|{PERCENTILE})$"}
Statistic = Annotated[str, AfterValidator(check_statistic), Field(json_schema_extra=_SCHEMA)]


def _check_each(value: object) -> object:
    if not isinstance(value, str | Mapping | Sequence):
        raise ValueError(f"{value!r} is no part of a year; expected one of {', '.join(WORDS)}")
    Cycle.of(value)
    return value


def _check_expression(text: str) -> str:
    return parse(text).text


def _check_missing(rule: str | float) -> str | float:
    missing_rule(rule)
    return rule


Each = Annotated[str | list[int] | dict[str, str], BeforeValidator(_check_each)]


def _check_centred(days: int) -> int:
    if days % 2 == 0:
        raise ValueError(
            f"a mean is centred on its day; expected an odd number, such as {days + 1}"
        )
    return days


WindowDays = Annotated[
    int,
    AfterValidator(_check_centred),
    Field(ge=3, lt=SHORTEST_YEAR, json_schema_extra={"not": {"multipleOf": 2}}),
]


class Smooth(Section):
    """A circular smoothing of the days of a normal: exactly one of these."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    harmonics: Annotated[int, Field(ge=1, lt=SHORTEST_YEAR // 2)] | None = Field(
        None, description="Least-squares fit of the mean and so many harmonics of the year."
    )
    running_mean: WindowDays | None = Field(
        None, description="Centred mean of so many days, odd, all with the same weight."
    )
    triangular: WindowDays | None = Field(
        None, description="Centred mean of so many days, odd, whose weights fall off to both sides."
    )

    @model_validator(mode="after")
    def _is_one(self) -> Smooth:
        given = [name for name in Smooth.model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"smooth: {' and '.join(given) or 'nothing'} given; expected exactly one of "
                f"{', '.join(Smooth.model_fields)}, such as smooth: {{harmonics: 4}}"
            )
        return self

    @property
    def smoothing(self) -> Harmonics | Windowed:
        """The smoothing itself."""
        if self.harmonics is not None:
            return Harmonics(self.harmonics)
        if self.running_mean is not None:
            return Windowed(self.running_mean)
        assert self.triangular is not None
        return Windowed(self.triangular, triangular=True)


class NormalEntry(Section):
    """Some products that share their settings."""

    over_years: Annotated[list[Statistic], BeforeValidator(as_list)] = Field(
        default_factory=lambda: [MEAN],
        min_length=1,
        description=f"Statistics over the years of the window: {', '.join(STATISTICS)}, and "
        "percentiles such as p90 or p99.5.",
    )
    pool_days: Annotated[int, AfterValidator(_check_pool)] = Field(
        1,
        ge=1,
        le=MOST_POOL_DAYS,
        description="Days that min, max, median and percentiles take together, odd.",
        json_schema_extra={"not": {"multipleOf": 2}},
    )
    method: Annotated[str, AfterValidator(_check_method)] | None = Field(
        None,
        description=f"Definition of percentiles (Hyndman and Fan 1996), {LINEAR} if left out.",
        json_schema_extra={"enum": [*METHODS, None]},
    )
    smooth: Smooth | None = Field(
        None,
        description="Circular smoothing of daily normals, before the rounding: {harmonics: 4}, "
        "{running_mean: 31} or {triangular: 29}.",
    )
    name: Annotated[str, Field(pattern=VARIABLE, max_length=80)] | None = Field(
        None, description="What stands in place of the variable's name in those of the products."
    )
    each: Each = Field(
        "day",
        description="The steps of the year: day, month, season, year, a list of months, or days of "
        'your own such as {name: growing, from: "04-01", to: "09-30"}.',
    )
    within: Annotated[str, AfterValidator(_check_expression)] = Field(
        "mean",
        description=f"What is made of the days of each step: {', '.join(EXAMPLES)}.",
    )
    missing_days: Annotated[str | float, AfterValidator(_check_missing)] = Field(
        "wmo",
        description="When a step is missing: wmo (11 missing days or 5 in a row, WMO-No. 1203; "
        "sums and counts need all days), all (all must be there), or the share that must be.",
    )
    variables: Annotated[list[str], BeforeValidator(as_list)] | None = Field(
        None, description="Those of the workflow's variables that this is made of; all if left out."
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> NormalEntry:
        refuse_doubles(self.over_years)
        for name in self.over_years:
            statistic_of(name, self.pool_days)
        if self.method is not None and not any(map(percentile_level, self.over_years)):
            raise ValueError(
                f"method: {self.method} is of percentiles, and over_years has none; leave it out, "
                "or add one such as p90"
            )
        return self

    @model_validator(mode="after")
    def _can_be_smoothed(self) -> NormalEntry:
        numbers = [n for n in self.over_years if statistic_of(n).quantity == "number"]
        if self.smooth and numbers:
            raise ValueError(
                f"over_years: {numbers[0]} is a number of values, which is not smoothed; ask for "
                "it in an entry without smooth"
            )
        return self

    @model_validator(mode="after")
    def _steps_fit(self) -> NormalEntry:
        if self.each != "day" and self.pool_days > 1:
            raise ValueError("pool_days is of days; leave it out, or set each: day")
        if self.each != "day" and self.smooth:
            raise ValueError("smooth is of days; leave it out, or set each: day")
        if self.each == "day" and "within" in self.model_fields_set:
            raise ValueError(
                f"within: {self.within} is made of the days of longer steps; add each: month, "
                "season or year"
            )
        return self

    def is_of(self, variable: str) -> bool:
        """Tell whether it is made of a variable."""
        return self.variables is None or variable in self.variables

    @property
    def products(self) -> tuple[Product, ...]:
        """The products, in the order of the entry."""
        within = None
        if self.each != "day":
            rule = missing_rule(self.missing_days)
            within = Within(Cycle.of(self.each), parse(self.within), rule)
        return tuple(
            Product(
                over_years=name,
                pool_days=self.pool_days,
                method=(self.method or LINEAR) if percentile_level(name) else LINEAR,
                stem=self.name or "",
                within=within,
                smoothing=self.smooth.smoothing if self.smooth else None,
            )
            for name in self.over_years
        )


def _kind(value: object) -> str | None:
    """Return the kind of an entry, as pydantic names it in the place of an error."""
    if isinstance(value, str):
        return "str"
    return "NormalEntry" if isinstance(value, NormalEntry | Mapping) else None


Entry = Annotated[
    Annotated[NormalEntry, Tag("NormalEntry")] | Annotated[Statistic, Tag("str")],
    Discriminator(
        _kind,
        custom_error_type="no_entry",
        custom_error_message="expected the name of a statistic, such as mean or p90, or keys and "
        f"values: {', '.join(NormalEntry.model_fields)}",
    ),
]


def products_of(entries: Sequence[str | NormalEntry], variable: str) -> tuple[Product, ...]:
    """Return the products of a variable, in the order of the output, not of the workflow."""
    made = [
        product
        for entry in entries
        if isinstance(entry, str) or entry.is_of(variable)
        for product in ((Product(entry),) if isinstance(entry, str) else entry.products)
    ]
    return tuple(sorted(made, key=lambda product: product.order))


def check_names(entries: Sequence[str | NormalEntry], variables: Sequence[str]) -> None:
    """Check that no two products of a variable have one name.

    Raises:
        ValueError: they do; or a product has a name that each output needs for something else.
    """
    for entry in entries:
        for variable in () if isinstance(entry, str) else entry.variables or ():
            if variable not in variables:
                raise ValueError(
                    f"normals: variables: {variable} is none of the workflow's "
                    f"{', '.join(variables)}{did_you_mean(variable, variables)}"
                )
    for variable in variables:
        products = products_of(entries, variable)
        _check_cycles(products)
        doubled = [_shown(p) for n, p in enumerate(products) if p in products[:n]]
        if doubled:
            raise ValueError(f"normals: {doubled[0]} is named more than once")
        seen: dict[tuple[str, str], Product] = {}
        for product in products:
            name = product.name(variable)
            key = (product.cycle.name, name)
            if key in seen:
                raise ValueError(
                    f"normals: {_shown(seen[key])} and {_shown(product)} would both be {name}; "
                    "give one of them a name"
                )
            if product.stem and name in OWN_NAMES:
                raise ValueError(
                    f"normals: name: {product.stem}: each output has something else of the name "
                    f"{name}; expected another name"
                )
            seen[key] = product


def _check_cycles(products: Sequence[Product]) -> None:
    """Check that steps of one name are the same steps."""
    seen: dict[str, Cycle] = {}
    for product in products:
        other = seen.setdefault(product.cycle.name, product.cycle)
        if other != product.cycle:
            raise ValueError(
                f"normals: two entries have other steps of the frequency {product.cycle.name}: "
                f"{', '.join(s.name for s in other.spans)} and "
                f"{', '.join(s.name for s in product.cycle.spans)}; give one of them as days of "
                "its own name, {name: …, from: MM-DD, to: MM-DD}, or ask for all months"
            )


def _shown(product: Product) -> str:
    """Return a product as text that tells it from others."""
    parts = [
        product.over_years,
        f"pool_days: {product.pool_days}" * (product.pool_days > 1),
        f"method: {product.method}" * (product.method != LINEAR),
        _shown_smoothing(product),
        f"name: {product.stem}" * bool(product.stem),
        f"each: {product.cycle.name}" * (product.within is not None),
        f"within: {product.within.expression.text}" if product.within else "",
    ]
    return " with ".join(filter(None, [parts[0], ", ".join(filter(None, parts[1:]))]))


def _shown_smoothing(product: Product) -> str:
    if isinstance(product.smoothing, Harmonics):
        return f"smooth: {{harmonics: {product.smoothing.pairs}}}"
    if product.smoothing is None:
        return ""
    key = "triangular" if product.smoothing.triangular else "running_mean"
    return f"smooth: {{{key}: {product.smoothing.days}}}"


def check_units(variable: str, units: str, variables: Sequence[str]) -> None:
    """Check the units that a variable's normals are to have.

    Raises:
        ValueError: there is no such variable, or there are no such units.
    """
    if variable not in variables:
        raise ValueError(
            f"units: {variable} is none of the workflow's {', '.join(variables)}"
            f"{did_you_mean(variable, variables)}"
        )
    try:
        is_temperature(units)  # which parses them
    except UnitsError as error:
        raise ValueError(f"units: {variable}: {error}") from None

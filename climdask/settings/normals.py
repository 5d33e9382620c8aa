"""What is made of a variable: the entries of the key ``normals``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from climdask.climatology.orderstatistics import LINEAR, METHODS, percentile_level
from climdask.climatology.products import OWN_NAMES, Product
from climdask.climatology.statistics import MEAN, STATISTICS, statistic_of
from climdask.errors import did_you_mean
from climdask.settings.sections import Section, as_list, refuse_doubles
from climdask.settings.yamlfiles import VARIABLE

MOST_POOL_DAYS = 91  # a season


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


Statistic = Annotated[
    str,
    AfterValidator(check_statistic),
    Field(examples=[*STATISTICS, "p90", "p99.5"], json_schema_extra={"minLength": 2}),
]


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
    )
    method: Annotated[str, AfterValidator(_check_method)] | None = Field(
        None,
        description=f"Definition of percentiles (Hyndman and Fan 1996), {LINEAR} if left out.",
        json_schema_extra={"enum": [*METHODS, None]},
    )
    name: Annotated[str, Field(pattern=VARIABLE, max_length=80)] | None = Field(
        None, description="What stands in place of the variable's name in those of the products."
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

    @property
    def products(self) -> tuple[Product, ...]:
        """The products, in the order of the entry."""
        return tuple(
            Product(
                over_years=name,
                pool_days=self.pool_days,
                method=(self.method or LINEAR) if percentile_level(name) else LINEAR,
                stem=self.name or "",
            )
            for name in self.over_years
        )


def products_of(entries: Sequence[str | NormalEntry]) -> tuple[Product, ...]:
    """Return the products of all entries, in the order of the output."""
    made = [
        product
        for entry in entries
        for product in ((Product(entry),) if isinstance(entry, str) else entry.products)
    ]
    return tuple(sorted(made, key=lambda product: product.order))


def check_names(entries: Sequence[str | NormalEntry], variables: Sequence[str]) -> None:
    """Check that no two products of a variable have one name.

    Raises:
        ValueError: they do; or a product has a name that each output needs for something else.
    """
    products = products_of(entries)
    refuse_doubles([_shown(product) for product in products])
    coordinates = {product.coordinate[0] for product in products if product.coordinate}
    for variable in variables:
        seen: dict[str, Product] = {}
        for product in products:
            name = product.name(variable)
            if name in seen:
                raise ValueError(
                    f"{_shown(seen[name])} and {_shown(product)} would both be {name}; give one of "
                    "them a name"
                )
            if product.stem and name in OWN_NAMES | coordinates:
                raise ValueError(
                    f"name: {product.stem}: each output has something else of the name {name}; "
                    "expected another name"
                )
            seen[name] = product


def _shown(product: Product) -> str:
    """Return a product as text that tells it from others."""
    parts = [
        product.over_years,
        f"pool_days: {product.pool_days}" * (product.pool_days > 1),
        f"method: {product.method}" * (product.method != LINEAR),
        f"name: {product.stem}" * bool(product.stem),
    ]
    return " with ".join(filter(None, [parts[0], ", ".join(filter(None, parts[1:]))]))

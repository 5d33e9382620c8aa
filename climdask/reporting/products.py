"""Products as pictures show them: their order, their labels, and the spread around them.

Pure: names and attributes in, names out. Whatever numbers a file has for each step and cell is a
product; what its attributes do not tell is shown all the same, after the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from climdask.climatology.cycles import DAY, MONTH, SEASON, WORDS
from climdask.reporting.display import MONTH_NAMES, Look, day_name

Attributes = Mapping[str, object]
Floats = npt.NDArray[np.float64]

_OVER_YEARS = re.compile(r"(\w+) over years")
_ORDER = ("mean", "median", "standard_deviation", "minimum", "maximum")


def over_years(attributes: Attributes) -> str:
    """Return CF's word for the statistic over the years; "" where there is none."""
    found = _OVER_YEARS.findall(str(attributes.get("cell_methods", "")))
    return str(found[-1]) if found else ""


def in_order(products: Mapping[str, Attributes], variable: str) -> tuple[str, ...]:
    """Return the names of products, the variable's own mean first, percentiles from low to high."""

    def place(name: str) -> tuple[bool, int, float, str]:
        about = products[name]
        method = over_years(about)
        known = _ORDER.index(method) if method in _ORDER else len(_ORDER)
        return name != variable, known, _percentile(about), name

    return tuple(sorted(products, key=place))


def _percentile(attributes: Attributes) -> float:
    """Return the percentile that a product is; infinite where it is none."""
    try:
        return float(str(attributes["percentile"]))
    except (KeyError, ValueError):
        return np.inf


def word_of(frequency: str) -> str:
    """Return what a step is called: ``month`` for ``mon``; a user's word as it is."""
    return {code: word for word, code in WORDS.items()}.get(frequency, frequency)


def label(product: str, variable: str, frequency: str) -> str:
    """Return what a product is called in a list: ``day: mean``, ``year: hot_days``."""
    if product == variable:
        name = "mean"
    else:
        rest = product.removeprefix(f"{variable}_")
        name = product if rest in ("", "mean") else rest
    return f"{word_of(frequency)}: {name}"


def step_names(frequency: str, steps: Sequence[str]) -> list[str]:
    """Return the steps of a normal as people call them: ``15 Jul``, ``July``, ``DJF``, ``year``."""
    if frequency == DAY:
        return [day_name(*map(int, step.split("-"))) for step in steps]
    if frequency == MONTH:
        return [MONTH_NAMES[int(step) - 1] for step in steps]
    return list(steps)


# ---------------------------------------------------------------- spread


@dataclass(frozen=True)
class Spread:
    """Which products are drawn as a band around another one.

    Attributes:
        name: for the legend.
        low, high: products at the ends of the band; for a half width both are that product.
        is_half_width: whether the band is the middle less and plus that product.
    """

    name: str
    low: str
    high: str
    is_half_width: bool = False

    def band(self, middle: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Return the ends of the band, from numbers of the middle and of the two products."""
        return (middle - low, middle + high) if self.is_half_width else (low, high)


def spread_of(product: str, products: Mapping[str, Attributes]) -> Spread | None:
    """Return the spread around a mean or a median: p10 to p90, else std, else min to max.

    Products belong together by their names (``tas``, ``tas_p10``) and are what their attributes
    say: a ``tas_min`` of months may be the mean of the least days.
    """
    middle = over_years(products[product])
    if middle not in ("mean", "median"):
        return None
    stem = product.removesuffix("_median") if middle == "median" else product

    def has(end: str, what: str | float) -> bool:
        own = products.get(f"{stem}_{end}", {})
        return what in (over_years(own), _percentile(own))

    if has("p10", 10.0) and has("p90", 90.0):
        low, high = f"{stem}_p10", f"{stem}_p90"
        pool = products[low].get("pool_days")
        days = f" of {pool} days" if pool and pool == products[high].get("pool_days") else ""
        return Spread(f"p10 to p90{days}", low, high)
    if has("std", "standard_deviation"):
        return Spread(f"{middle} ± std", f"{stem}_std", f"{stem}_std", is_half_width=True)
    if has("min", "minimum") and has("max", "maximum"):
        return Spread("min to max", f"{stem}_min", f"{stem}_max")
    return None


def fits(spread: Spread, middle: Look, low: Look, high: Look) -> bool:
    """Return whether a band is in the units of what it is around."""
    same_units = middle.units == low.units == high.units
    same_scale = middle.offset == low.offset == high.offset
    return same_units and (spread.is_half_width or same_scale)


def without_leap_day(n_steps: int, leap_day: int | None) -> list[int]:
    """Return the places that the line of an annual cycle is drawn through.

    A 29 February of leap years only is left out: its normal has a quarter of the years, so beside
    its neighbours it would be a spike that is chance.
    """
    return [n for n in range(n_steps) if n != leap_day]


def ticks(frequency: str, days: Sequence[tuple[int, int]], steps: Sequence[str]) -> dict[int, str]:
    """Return the labels of an axis of steps, by place from 1."""
    if frequency == DAY:
        firsts = [n for n, (month, _) in enumerate(days) if n == 0 or month != days[n - 1][0]]
        return {n + 1: day_name(*days[n]).split()[1] for n in firsts}
    names = step_names(frequency, steps)
    return {n: name[:3] if frequency == MONTH else name for n, name in enumerate(names, start=1)}


def axis_label(frequency: str) -> str:
    """Return the label of an axis of steps."""
    return {DAY: "day of the year", MONTH: "month", SEASON: "season"}.get(frequency, "step")

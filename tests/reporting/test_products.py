"""Products as pictures show them: order, labels, spread, and the line of an annual cycle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from climdask.reporting.display import look_of, map_limits
from climdask.reporting.figures import plain
from climdask.reporting.products import (
    fits,
    in_order,
    label,
    spread_of,
    step_names,
    ticks,
    without_leap_day,
)
from climdask.reporting.summaries import Shape, choose_detail, choose_details


def over(method: str) -> dict[str, Any]:
    return {"cell_methods": f"time: mean within years time: {method} over years"}


PRODUCTS: dict[str, Any] = {
    "tas": over("mean"), "tas_std": over("standard_deviation"), "tas_min": over("minimum"),
    "tas_max": over("maximum"), "tas_median": over("median"),
    "tas_p10": {"percentile": 10.0, "pool_days": 5},
    "tas_p90": {"percentile": 90.0, "pool_days": 5},
    "tas_p9_5": {"percentile": 9.5}, "odd": {"percentile": "many"},
}  # fmt: skip


def test_the_mean_comes_first_and_what_is_not_known_last() -> None:
    assert in_order(PRODUCTS, "tas") == (
        "tas", "tas_median", "tas_std", "tas_min", "tas_max", "tas_p9_5", "tas_p10", "tas_p90",
        "odd",
    )  # fmt: skip


@pytest.mark.parametrize(("product", "frequency", "expected"), [
    ("tas", "day", "day: mean"), ("tas_p90", "day", "day: p90"), ("tas", "mon", "month: mean"),
    ("hot_days", "yr", "year: hot_days"), ("tas", "growing", "growing: mean"),
    ("tas_mean", "seas", "season: tas_mean"), ("tas_", "day", "day: tas_"),
])  # fmt: skip
def test_a_product_is_called_by_its_steps_and_its_statistic(
    product: str, frequency: str, expected: str
) -> None:
    assert label(product, "tas", frequency) == expected


@pytest.mark.parametrize(("product", "without", "name", "ends"), [
    ("tas", [], "p10 to p90 of 5 days", ("tas_p10", "tas_p90")),
    ("tas_median", [], "p10 to p90 of 5 days", ("tas_p10", "tas_p90")),
    ("tas", ["tas_p10"], "mean ± std", ("tas_std", "tas_std")),
    ("tas", ["tas_p90", "tas_std"], "min to max", ("tas_min", "tas_max")),
])  # fmt: skip
def test_the_spread_is_percentiles_else_std_else_extremes(
    product: str, without: list[str], name: str, ends: tuple[str, str]
) -> None:
    spread = spread_of(product, {k: v for k, v in PRODUCTS.items() if k not in without})
    assert spread is not None
    assert (spread.name, (spread.low, spread.high)) == (name, ends)


@pytest.mark.parametrize("product", ["tas_p90", "tas_std", "tas_max", "odd"])
def test_only_a_mean_or_a_median_has_a_spread_around_it(product: str) -> None:
    assert spread_of(product, PRODUCTS) is None


def test_what_has_the_name_of_a_spread_but_is_none_is_not_drawn_as_one() -> None:
    # The mean over the years of the least and the greatest day of each month.
    months = {"tas": over("mean"), "tas_min": over("mean"), "tas_max": over("mean")}
    assert spread_of("tas", months) is None
    assert spread_of("tas", {"tas": over("mean"), "tas_std": over("mean")}) is None
    assert spread_of("tas", {"tas": over("mean"), "tas_p10": {}, "tas_p90": {}}) is None


def test_a_half_width_goes_both_ways_from_the_middle() -> None:
    spread = spread_of("tas", {"tas": over("mean"), "tas_std": over("standard_deviation")})
    assert spread is not None
    low, high = spread.band(np.array([10.0]), np.array([2.0]), np.array([2.0]))
    assert (low.tolist(), high.tolist()) == ([8.0], [12.0])


def test_a_band_is_in_the_units_of_its_middle() -> None:
    spread = spread_of("tas", PRODUCTS)
    kelvin, celsius = look_of("tas", {"units": "K"}), look_of("tas", {"units": "degC"})
    assert spread is not None
    assert fits(spread, kelvin, kelvin, kelvin)
    assert not fits(spread, kelvin, celsius, kelvin)
    assert not fits(spread, kelvin, kelvin, look_of("tas", {"units": "mm"}))


def test_a_29_february_of_leap_years_is_left_out_of_the_line() -> None:
    assert without_leap_day(5, 2) == [0, 1, 3, 4]
    assert without_leap_day(3, None) == [0, 1, 2]


def test_steps_have_the_names_that_people_use() -> None:
    assert step_names("day", ["02-29"]) == ["29 Feb"]
    assert step_names("mon", ["06", "12"]) == ["June", "December"]
    assert step_names("seas", ["DJF"]) == ["DJF"]
    assert ticks("mon", [(6, 16), (12, 16)], ["06", "12"]) == {1: "Jun", 2: "Dec"}
    assert ticks("day", [(1, 31), (2, 1), (2, 2)], []) == {1: "Jan", 2: "Feb"}


# ---------------------------------------------------------------- colours and units


@pytest.mark.parametrize(("name", "attributes"), [
    ("tas_change", {"units": "K", "units_metadata": "temperature: difference"}),
    ("pr_change", {"units": "%", "standard_name": "precipitation_flux"}),
    ("other", {"units": "1", "long_name": "anomaly of tas"}),
])  # fmt: skip
def test_changes_have_a_diverging_scale_centred_on_0(name: str, attributes: Any) -> None:
    look = look_of(name, attributes)
    low, high = map_limits(np.array([-1.0, 3.0, np.nan]), look)
    assert -low == high > 2.9
    assert look.palette == look.change_palette


@pytest.mark.parametrize("attributes", [
    {"units": "kg m-2 s-1", "standard_name": "precipitation_flux"},
    {"units": "1", "cell_methods": "time: maximum within days time: sum over days"},
    {"units": "m s-1", **over("standard_deviation")},
])  # fmt: skip
def test_amounts_have_a_sequential_scale_from_0(attributes: Any) -> None:
    look = look_of("exchange", attributes)  # which has the word change in it
    assert not look.diverging
    assert map_limits(np.array([1.0, 30.0]), look)[0] == 0.0


def test_numbers_of_days_are_in_days() -> None:
    days = {"units": "1", "cell_methods": "time: sum over days time: mean over years"}
    assert look_of("hot_days", days).label == "hot_days (days)"
    named = {"units": "1", "standard_name": "number_of_days_with_air_temperature_above_threshold"}
    assert look_of("hot_days", named).label == "hot_days (days)"
    assert look_of("ratio", {"units": "1"}).label == "ratio (1)"


@pytest.mark.parametrize("text", ["$$x$$", r"\(x\)", r"\[x\]"])
def test_no_text_of_a_file_is_taken_for_a_formula(text: str) -> None:
    assert not any(mark in plain(text) for mark in ("$$", r"\(", r"\["))


# ---------------------------------------------------------------- how coarse


def test_daily_means_keep_more_detail_than_the_other_products() -> None:
    daily = [Shape(tuple(range(2011, 2017)), 366, 32, 32)]
    budget = 11_000_000
    own, others = choose_details(daily, daily * 5, budget)
    assert own.daily
    assert not others.daily
    total = sum(map(own.n_bytes, daily)) + sum(map(others.n_bytes, daily * 5))
    assert total <= budget


def test_few_other_products_take_no_more_than_they_need() -> None:
    daily = [Shape(tuple(range(2000)), 365, 3, 2)]
    yearly = [Shape(tuple(range(10)), 1, 3, 2, daily=False)]
    budget = choose_detail(daily, 10**9).n_bytes(daily[0]) + 10_000
    assert choose_details(daily, yearly, budget)[0] == choose_detail(daily, 10**9)
    assert choose_details(daily, [], budget)[0] == choose_detail(daily, budget)


def test_longer_steps_have_a_map_each_and_no_annual_mean() -> None:
    detail = choose_detail([], 1)
    months = Shape((2001,), 12, 10, 10, changes=0, daily=False)
    assert detail.n_bytes(months) == 12 * 10 * 10 * 2 + 4 * 12

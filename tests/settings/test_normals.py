"""The entries of ``normals``: which products they make, and how wrong ones are told."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from climdask.climatology.products import DAILY_MEAN, Product
from climdask.errors import ConfigError
from climdask.settings.workflow import Workflow, schema
from tests.workflows import small

IN, OUT = Path("in"), Path("out")
METHODS = "interpolated_inverted_cdf, hazen, weibull, linear, median_unbiased, normal_unbiased"
KNOWN = "none of mean, std, min, max, median, count, and no percentile such as p90"

GOOD: list[Any] = [
    "std",
    ["mean", "p99.5"],
    {"over_years": "p90"},
    [{}],
    ["mean", "std", {"over_years": ["min", "max", "median"]}],
    ["mean", {"over_years": ["p10", "p90", "p95"], "pool_days": 5, "method": "weibull"}],
    ["p90", {"over_years": "p90", "pool_days": 5, "name": "pooled"}],
    [{"smooth": {"harmonics": 4}}],
    ["mean", {"over_years": ["std", "p90"], "smooth": {"running_mean": 31}}],
    {"smooth": {"triangular": 29}, "pool_days": 5, "over_years": "p90"},
]
WRONG: list[tuple[Any, str]] = [
    (["maen"], rf'normals\[0\]: \'maen\': "maen" is {KNOWN}.*did you mean "mean"'),
    ("p101", rf'"p101" is {KNOWN} or p99.5, above p0 and below p100'),
    (["p05"], f'"p05" is {KNOWN}'),
    ([5], r"normals\[0\]: 5: expected the name of a statistic, such as mean or p90, or keys and"),
    ([None], r"normals\[0\]: None: expected the name of a statistic"),
    ([True], r"normals\[0\]: True: expected the name of a statistic"),
    ([], "normals: .*at least 1"),
    ([{"pool_dayz": 5}], r'unknown key "pool_dayz"; did you mean "pool_days"'),
    ([{"eech": "month"}], r'normals\[0\].eech: unknown key "eech"'),
    ([{"over_years": "p90", "pool_days": 4}], r"normals\[0\].pool_days: 4: .* odd .*, such as 5"),
    ([{"over_years": "p90", "pool_days": 101}], r"pool_days: 101: .*less than or equal to 91"),
    ([{"over_years": "p90", "pool_days": -1}], r"pool_days: -1: .*greater than or equal to 1"),
    ([{"over_years": "p90", "pool_days": "five"}], "pool_days: 'five': .*valid integer"),
    ([{"over_years": "std", "pool_days": 5}], '"std" takes no pool_days; expected min, max, medi'),
    ([{"over_years": "std", "method": "hazen"}], "method: hazen is of percentiles, and over_years"),
    ([{"over_years": "p90", "method": "wiebull"}], f"one of {METHODS}; did you mean .weibull"),
    ([{"over_years": []}], r"normals\[0\].over_years: \[\]: .*at least 1"),
    ([{"over_years": [90]}], r"^workflow: normals\[0\].over_years\[0\]: 90: [^\n]*string[^\n]*$"),
    ([{"over_years": ["p9", "p9"]}], r"normals\[0\]: p9 is named more than once"),
    (["mean", "mean"], "normals: mean is named more than once"),
    (["std", {"over_years": ["std", "min"]}], "normals: std is named more than once"),
    (["p90", {"over_years": "p90", "pool_days": 5}],
     "p90 and p90 with pool_days: 5 would both be tas_p90; give one of them a name"),
    (["mean", {"name": "tas"}], "mean and mean with name: tas would both be tas"),
    ([{"name": "lat"}], "name: lat: each output has something else of the name lat"),
    ([{"name": "a b"}], r"normals\[0\].name: 'a b': .*of letters, digits and _ only"),
]  # fmt: skip


def flow(normals: object, **changes: Any) -> Workflow:
    return small(IN, OUT, normals=normals, **changes)


@pytest.mark.parametrize(("normals", "words"), WRONG)
def test_a_wrong_entry_is_told_with_key_value_and_what_is_expected(
    normals: object, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        flow(normals)


def test_a_spread_over_one_year_is_refused() -> None:
    with pytest.raises(ConfigError, match="std is of two years at least"):
        flow(["std"], window=1)


def test_without_the_key_there_is_the_daily_mean() -> None:
    for given in (small(IN, OUT), flow("mean"), flow([{}])):
        assert given.products_of("tas") == (DAILY_MEAN,)


def test_the_order_of_entries_does_not_matter() -> None:
    ordered = flow(["mean", "std", "median", "count", {"over_years": ["p9.5", "p90"]}])
    other = flow(["p90", "count", {"over_years": ["median", "std"]}, "mean", "p9.5"])
    names = [product.name("tas") for product in other.products_of("tas")]
    assert names == ["tas", "tas_std", "tas_median", "tas_count", "tas_p9_5", "tas_p90"]
    assert other.products_of("tas") == ordered.products_of("tas")


def test_the_keys_of_an_entry_are_of_all_its_products() -> None:
    entry = {"over_years": ["median", "p90"], "pool_days": 5, "method": "hazen", "name": "warm"}
    assert flow([entry]).products_of("tas") == (
        Product("median", 5, "linear", "warm"),
        Product("p90", 5, "hazen", "warm"),
    )
    assert [p.name("tas") for p in flow([entry]).products_of("tas")] == ["warm_median", "warm_p90"]


@pytest.mark.parametrize("normals", GOOD)
def test_the_schema_takes_what_is_right(normals: object) -> None:
    flow(normals)
    content = {"input": {"root": "in"}, "variables": ["tas"], "regions": ["global"]}
    jsonschema.validate(content | {"normals": normals}, json.loads(schema()))


@pytest.mark.parametrize(
    "normals",
    [
        ["maen"],
        "p101",
        [5],
        [{"each": 1}],
        [{"over_years": "p90", "pool_days": 4}],
        [{"smooth": {}}],
        [{"smooth": {"running_mean": 30}}],
        [{"smooth": {"harmonics": 4, "triangular": 29}}],
    ],
)
def test_the_schema_refuses_what_is_wrong(normals: object) -> None:
    content = {"input": {"root": "in"}, "variables": ["tas"], "regions": ["global"]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content | {"normals": normals}, json.loads(schema()))


@pytest.mark.parametrize(
    ("change", "is_right"),
    [
        (None, True),
        ({"reference": "1981-2010"}, True),
        ({"reference": ["1981-2010", "1961-1990"], "relative_floor": "0.1 mm/day"}, True),
        ({"reference": "1981-2010", "relative_floor": ["0.1 mm/day", "1 day"]}, True),
        ({}, False),
        ({"reference": "1981"}, False),
        ({"reference": []}, False),
        ({"reference": "1981-2010", "floor": "1 mm"}, False),
    ],
)
def test_the_schema_knows_changes(change: Any, is_right: bool) -> None:
    content = {"input": {"root": "in"}, "variables": ["tas"], "regions": ["global"]}
    with nullcontext() if is_right else pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content | {"change": change}, json.loads(schema()))

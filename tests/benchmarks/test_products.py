"""The benchmarks of products and of the arithmetic in small form: numbers, never a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import kernels, pools
from benchmarks.data import make_data
from benchmarks.job import SERIES, make_job
from benchmarks.products import Cost, Product, compare, products_of, ratios, table
from climdask.climatology.blocks import Block


def test_products_are_those_of_the_variables_of_the_job() -> None:
    own = products_of(["tas"])["months, seasons, years, thresholds"].normals
    assert all("variables" not in normal for normal in own if isinstance(normal, dict))
    rain = products_of(["pr", "tas"])["all of statistics.yaml"].normals
    assert {"each": "month", "within": "sum", "variables": ["pr"]} in rain


def test_ratios_are_of_the_same_round_and_stand_beside_the_limit() -> None:
    costs = {"mean": [Cost(1, 2.0), Cost(1, 4.0)], "std": [Cost(1, 3.0), Cost(1, 4.0)]}
    assert ratios(costs, "std") == [1.5, 1.0]
    found = table({"mean": Product(("mean",)), "std": Product(("std",), 1.15)}, costs)
    assert "| std | 3.5 | 1.0 | 1.25 (1.00-1.50) | 1.15 |" in found


@pytest.mark.slow
def test_each_product_runs_once_a_round(tmp_path: Path) -> None:
    job = make_job(tmp_path / "data", scale=0.0006, targets=2, window=3, cores=2, series=SERIES[:1])
    make_data(job)
    known, said = products_of(["pr"]), []
    products = {name: known[name] for name in ("mean", "all of statistics.yaml")}
    (tmp_path / "out").mkdir()
    costs = compare(job, products, 2, tmp_path / "out", said.append)
    assert [len(own) for own in costs.values()] == [2, 2]
    assert [line.split(": ")[1] for line in said] == [*products, *list(products)[::-1]]
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("variable", kernels.WITHIN)
def test_all_arithmetic_is_timed_on_the_years_of_the_benchmark(variable: str) -> None:
    years = kernels.years_of(variable, 4, 7)
    assert [year.values.shape for year in years] == [(365, 7)] * 4
    assert all(np.isfinite(year.values).all() for year in years)
    found = [kernels.timed(name, work, 365 * 7, 1) for name, work in kernels.works(variable, years)]
    shown = kernels.table(variable, found)
    for part in ("slide: sorted years", "target: std", "target: p90 of 5 days", "each month"):
        assert part in shown


def test_what_is_not_installed_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "lacking", lambda _: "it is not installed")
    years = [Block.of(1950 + n, np.full((9, 2), n, np.float32)) for n in range(3)]
    assert kernels.against(years, 1).count("skipped: it is not installed") == len(pools.OTHERS)

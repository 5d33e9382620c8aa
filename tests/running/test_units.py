"""Units of normals: converted before the rounding, named in the file, refused where unfit."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from climdask.errors import ClimdaskError, PlanError
from climdask.running.results import RunResult
from climdask.running.run import run
from tests.samples import Archive, write_archive
from tests.workflows import small

NORMALS: list[Any] = [
    "mean",
    {"over_years": ["std", "max", "p90"]},
    {"each": "month", "within": "sum", "variables": ["pr"]},
    {"each": "year", "within": "days above 15 degC", "variables": ["tas"], "name": "warm",
     "missing_days": 0.5},
    {"each": "year", "within": "degree days above 10 degC", "variables": ["tas"], "name": "gdd",
     "missing_days": 0.5},
]  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    root = tmp_path_factory.mktemp("archive")
    return write_archive(root, variables=["tas", "pr"], first=2008, last=2014, calendar="noleap")


def make(archive: Archive, out: Path, **changes: Any) -> RunResult:
    given: dict[str, Any] = {
        "variables": ["tas", "pr"], "normals": NORMALS, "scenarios": [], "targets": "2014-2014",
        "last_historical_year": 2014,
    }  # fmt: skip
    return run(small(archive.root, out, **{**given, **changes}), serial=True)


@pytest.fixture(scope="module")
def both(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, RunResult]:
    """The normals in the units of the files, and in others."""
    root = tmp_path_factory.mktemp("both")
    units = {"tas": "degF", "pr": "mm/day"}
    return make(archive, root / "plain"), make(archive, root / "units", units=units)


@pytest.mark.slow
def test_a_mean_is_converted_before_it_is_rounded(
    archive: Archive, both: tuple[RunResult, RunResult]
) -> None:
    made = both[1].open("tas", "global").sel(target_year=2014)["tas"]
    years = np.stack([archive.values("tas", year) for year in range(2010, 2015)])
    valid = np.isfinite(years).all(axis=0) & np.isfinite(made.values)
    assert valid.sum() > 100
    for place in list(zip(*np.nonzero(valid), strict=True))[::37]:
        kelvin = sum((Fraction(float(v)) for v in years[(slice(None), *place)]), Fraction(0)) / 5
        exact = (kelvin - Fraction("273.15")) * Fraction(9, 5) + 32
        assert made.values[place] == np.float32(float(exact))
    assert (made.attrs["units"], made.attrs["standard_name"]) == ("degF", "air_temperature")
    assert made.attrs["units_metadata"] == "temperature: on_scale"


@pytest.mark.slow
def test_a_spread_has_the_factor_only(both: tuple[RunResult, RunResult]) -> None:
    plain, made = (r.open("tas", "global").isel(target_year=0)["tas_std"] for r in both)
    np.testing.assert_allclose(made.values, plain.values * np.float64(9) / 5, rtol=2e-7)
    assert made.attrs["units_metadata"] == "temperature: difference"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tas_max", "tas_p90"])
def test_order_statistics_are_converted(both: tuple[RunResult, RunResult], name: str) -> None:
    plain, made = (r.open("tas", "global").isel(target_year=0)[name] for r in both)
    right = (plain.values.astype(float) - 273.15) * 9 / 5 + 32
    np.testing.assert_allclose(made.values, right, rtol=3e-7, atol=5e-5)


@pytest.mark.slow
def test_a_flux_of_water_becomes_a_depth(both: tuple[RunResult, RunResult]) -> None:
    plain, made = (r.open("pr", "global").isel(target_year=0)["pr"] for r in both)
    np.testing.assert_allclose(made.values, plain.values.astype(float) * 86400, rtol=2e-7)
    assert made.attrs["units"] == "mm/day"
    assert made.attrs["standard_name"] == "lwe_precipitation_rate"


@pytest.mark.slow
def test_a_sum_has_the_units_of_a_sum(both: tuple[RunResult, RunResult]) -> None:
    plain, made = (r.open("pr", "global", each="month").isel(target_year=0) for r in both)
    np.testing.assert_allclose(made["pr_sum"].values, plain["pr_sum"].values, rtol=2e-7)
    assert (plain["pr_sum"].attrs["units"], made["pr_sum"].attrs["units"]) == ("kg m-2", "mm")


@pytest.mark.slow
def test_numbers_of_days_stay_and_degree_days_have_the_factor(
    both: tuple[RunResult, RunResult],
) -> None:
    plain, made = (r.open("tas", "global", each="year").isel(target_year=0) for r in both)
    np.testing.assert_array_equal(made["warm"].values, plain["warm"].values)
    np.testing.assert_allclose(made["gdd"].values, plain["gdd"].values * 1.8, rtol=2e-7)
    assert np.isfinite(made["gdd"].values).any()
    assert (made["warm"].attrs["units"], made["gdd"].attrs["units"]) == ("1", "degF day")


@pytest.mark.slow
def test_other_units_make_normals_again(archive: Archive, tmp_path: Path) -> None:
    given: dict[str, Any] = {"variables": ["tas"], "normals": ["mean"]}
    assert make(archive, tmp_path / "out", **given).n_normals == 1
    again = make(archive, tmp_path / "out", units={"tas": "degC"}, **given)
    assert again.plan.n_normals == 1
    assert make(archive, tmp_path / "out", units={"tas": "degC"}, **given).plan.n_normals == 0


def test_units_that_do_not_fit_are_said_before_anything_runs(
    archive: Archive, tmp_path: Path
) -> None:
    with pytest.raises(PlanError, match=r'units: tas: mm/day: .*"K" cannot become "mm/day"'):
        make(
            archive, tmp_path / "out", units={"tas": "mm/day"}, variables=["tas"], normals=["mean"]
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("units", "said"),
    [({"tos": "degC"}, "units: tos is none of the workflow's"), ({"tas": "flurb"}, "units: tas: ")],
)
def test_a_mistake_in_units_is_said_with_its_key(
    units: dict[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ClimdaskError, match=said):
        small(tmp_path, tmp_path / "out", units=units)

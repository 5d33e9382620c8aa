"""What a run leaves: outputs, failures, and the normals as one lazy dataset."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import climdask
from climdask.errors import PlanError
from climdask.outputs.datasets import open_normals
from climdask.running.results import RunResult
from tests.samples import LAT, LON, Archive, write_archive
from tests.workflows import EAST, small

FIRST, LAST_HISTORICAL, LAST = 2001, 2008, 2016
WINDOW = 5  # hybrid to 2013, then the scenario alone
TARGETS = list(range(FIRST + WINDOW - 1, LAST + 1))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return write_archive(
        tmp_path_factory.mktemp("in"), variables=["tas", "pr"], first=FIRST, last=LAST,
        last_historical_year=LAST_HISTORICAL, scenarios=["ssp245", "ssp585"], missing=0.0,
    )  # fmt: skip


def workflow(archive: Archive, out: Path, **changes: Any) -> Any:
    return small(
        archive.root, out, variables=["tas", "pr"], scenarios=["ssp245", "ssp585"],
        regions=["global", EAST], last_historical_year=LAST_HISTORICAL, window=WINDOW, **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def result(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    made = climdask.run(workflow(archive, tmp_path_factory.mktemp("out")), serial=True)
    assert made.ok, made.failures
    return made


@pytest.fixture
def opened(result: RunResult) -> Iterator[xr.Dataset]:
    with result.open("tas", "east", scenario="ssp585") as dataset:
        yield dataset


# ---------------------------------------------------------------- one dataset


@pytest.mark.slow
def test_one_dataset_holds_historical_hybrid_and_scenario_in_order(opened: xr.Dataset) -> None:
    assert opened["tas"].dims == ("target_year", "dayofyear", "lat", "lon")
    assert opened["target_year"].values.tolist() == TARGETS
    assert opened["dayofyear"].values.tolist() == list(range(1, 366))
    assert opened["lat"].values.tolist() == sorted(LAT)
    assert opened["lon"].values.tolist() == [x for x in LON if x <= 180]
    assert opened["tas"].dtype == np.float32
    assert opened["tas"].attrs["units"] == "K"


@pytest.mark.slow
def test_nothing_is_loaded_before_it_is_asked_for(opened: xr.Dataset) -> None:
    assert opened["tas"].chunks is not None
    assert opened["tas"].chunks[0] == (1,) * len(TARGETS)


def test_its_times_and_counts_belong_to_target_year_and_day(opened: xr.Dataset) -> None:
    assert opened["time"].dims == ("target_year", "dayofyear")
    stamps = opened["time"].values
    assert [t.year for t in stamps[:, 0]] == TARGETS
    assert {(t.month, t.day, t.hour) for t in stamps[:, 59]} == {(3, 1, 12)}
    assert opened["number_of_years"].dims == ("target_year",)
    assert opened["years_per_day"].dims == ("target_year", "dayofyear")
    assert (opened["number_of_years"] == WINDOW).all()
    assert (opened["years_per_day"] == WINDOW).all()


@pytest.mark.parametrize("target", [TARGETS[0], LAST_HISTORICAL, LAST_HISTORICAL + 2, LAST])
def test_its_values_are_the_means_of_the_right_years(
    target: int, opened: xr.Dataset, archive: Archive
) -> None:
    years = [archive.values("tas", y, "ssp585") for y in range(target - WINDOW + 1, target + 1)]
    # Day 59 is 28 February, day 60 is 1 March: in leap years one further.
    days = [59 + (len(values) == 366) for values in years]
    cells = np.array([values[day, 0, 1] for values, day in zip(years, days, strict=True)])
    expected = np.float32(math.fsum(map(float, cells)) / WINDOW)
    found = opened["tas"].sel(target_year=target, dayofyear=60, lat=LAT[0], lon=LON[1])
    assert found.values == expected


@pytest.mark.slow
def test_scenarios_share_history_and_differ_after_it(result: RunResult) -> None:
    with (
        result.open("tas", "global", scenario="ssp245") as one,
        result.open("tas", "global", scenario="ssp585") as two,
    ):
        same = (one["tas"] == two["tas"]).all(["dayofyear", "lat", "lon"]).values
    assert same.tolist() == [year <= LAST_HISTORICAL for year in TARGETS]


def test_a_dataset_can_be_saved_again(opened: xr.Dataset, tmp_path: Path) -> None:
    opened.isel(target_year=[0, 1]).to_netcdf(tmp_path / "again.nc")
    with xr.open_dataset(tmp_path / "again.nc", decode_times=False) as again:
        assert again["tas"].shape == (2, 365, len(LAT), 3)


def test_normals_can_be_opened_without_the_run_that_made_them(result: RunResult) -> None:
    paths = [p for p in result.outputs if "/pr/global/historical/" in p.as_posix()]
    with open_normals(paths, [int(p.stem.split("_")[-3]) for p in paths]) as dataset:
        assert dataset["pr"].sizes["target_year"] == LAST_HISTORICAL - FIRST - WINDOW + 2


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tass", "global"), ['"tass"', 'did you mean "tas"?', "ACCESS-CM2/r1i1p1f1/gn/pr"]),
        (("tas", "estt", "ssp245"), ['region "estt" is none of', 'did you mean "east"?']),
        (("tas", "global"), ["scenario: not given; choose one of ssp245, ssp585"]),
        (("tas", "global", "ssp586"), ['"ssp586" is none', "ssp245, ssp585", 'mean "ssp585"?']),
        (("tas", "global", "ssp245", "NorESM2-LM"), ["0 chains fit", "model NorESM2-LM"]),
    ],
)
def test_what_cannot_be_opened_is_told_with_what_there_is(
    arguments: tuple[str | None, ...], words: list[str], result: RunResult
) -> None:
    variable, region, *rest = arguments
    names = dict(zip(("scenario", "model"), rest, strict=False))
    with pytest.raises(PlanError) as error:
        result.open(str(variable), str(region), **names)
    for word in words:
        assert word in str(error.value)


@pytest.mark.slow
def test_of_two_members_one_must_be_chosen(archive: Archive, tmp_path: Path) -> None:
    for member in ("r1i1p1f1", "r2i1p1f1"):
        write_archive(
            tmp_path / "in", variables=["tas"], first=2001, last=2006, member=member, seed=member
        )
    made = climdask.run(small(tmp_path / "in", tmp_path / "out", scenarios=[]), serial=True)
    with pytest.raises(PlanError, match=r"2 chains fit.*r1i1p1f1.*r2i1p1f1"):
        made.open("tas", "global")
    with made.open("tas", "global", member="r2i1p1f1") as dataset:
        assert dataset["target_year"].values.tolist() == [2005, 2006]
        assert dataset.attrs["member"] == "r2i1p1f1"


# ---------------------------------------------------------------- failures


@pytest.mark.slow
def test_a_run_that_failed_in_part_knows_what_is_there(archive: Archive, tmp_path: Path) -> None:
    own = replace(archive, root=tmp_path / "in")
    for variable in ("tas", "pr"):
        for year in range(2001, 2007):
            own.write(variable, year)
    own.path("tas", 2006).write_bytes(b"")
    flow = small(own.root, tmp_path / "out", variables=["tas", "pr"], scenarios=[])
    made = climdask.run(flow, serial=True)
    assert (made.ok, made.exit_code) == (False, 1)
    assert list(made.failures) == ["ACCESS-CM2/r1i1p1f1/gn/tas"]
    assert "is empty" in made.failures["ACCESS-CM2/r1i1p1f1/gn/tas"]
    assert {row.id.rsplit("/", 1)[1]: row.state for row in made.rows} == {
        "pr": "done",
        "tas": "failed",
    }
    assert sorted(p.name.split("_")[0] for p in made.outputs) == ["pr", "pr", "tas"]
    with made.open("tas", "global") as dataset:
        assert dataset["target_year"].values.tolist() == [2005], "what was made before it failed"
    for path in made.outputs:
        if path.name.startswith("tas"):
            path.unlink()
    with pytest.raises(PlanError, match="no normals of global are there; did the run fail"):
        made.open("tas", "global")


def test_a_run_that_went_well_says_so(result: RunResult) -> None:
    assert (result.ok, result.exit_code, dict(result.failures)) == (True, 0, {})
    assert result.seconds > 0
    # Two variables and regions; historical, and two scenarios after it.
    years = LAST_HISTORICAL - TARGETS[0] + 1 + 2 * (LAST - LAST_HISTORICAL)
    assert len(result.outputs) == 2 * 2 * years
    assert all(path.is_file() for path in result.outputs)
    # Each file once, though three regions and two scenarios need it.
    files = 2 * (LAST_HISTORICAL - FIRST + 1 + 2 * (LAST - LAST_HISTORICAL))
    assert (result.audit.opens, result.audit.files, result.audit.most) == (files, files, 1)


def test_a_result_without_a_chain_to_run_still_opens_its_normals(
    archive: Archive, result: RunResult
) -> None:
    again = climdask.run(workflow(archive, result.folder.root), serial=True)
    assert (again.rows, again.audit.opens) == ((), 0)
    assert again.outputs == result.outputs
    with again.open("pr", "global", scenario="ssp245") as dataset:
        assert dataset["target_year"].values.tolist() == TARGETS

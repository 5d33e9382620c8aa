"""What a report shows, against what xarray makes of the same normals."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import climdask
from climdask.errors import OutputError
from climdask.reporting.data import Field, ReportData, collect
from climdask.reporting.display import look_of
from climdask.running.results import RunResult
from tests.samples import LAT, WRAP, Archive, write_archive
from tests.workflows import EAST, small

pytestmark = pytest.mark.slow  # each module fixture is a whole run

FIRST, LAST_HISTORICAL, LAST, WINDOW = 2001, 2008, 2016, 5
GAP = 2010
NOWHERE = {"name": "nowhere", "lon": [140, 150], "lat": [-12, -5]}  # the cell without values
KELVIN = 273.15


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return write_archive(
        tmp_path_factory.mktemp("in"), variables=["tas", "pr"], first=FIRST, last=LAST,
        last_historical_year=LAST_HISTORICAL, scenarios=["ssp245", "ssp585"], gaps=[GAP],
    )  # fmt: skip


def made(archive: Archive, out: Path, **changes: Any) -> RunResult:
    keys = {
        "variables": ["tas", "pr"], "scenarios": ["ssp245", "ssp585"],
        "regions": ["global", EAST, WRAP, NOWHERE], "last_historical_year": LAST_HISTORICAL,
        "window": WINDOW, "min_years": 4,
    }  # fmt: skip
    result = climdask.run(small(archive.root, out, **{**keys, **changes}), serial=True)
    assert result.ok, result.failures
    return result


@pytest.fixture(scope="module")
def result(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return made(archive, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def data(result: RunResult) -> ReportData:
    return collect(result.folder.root)


@pytest.fixture
def field(data: ReportData) -> Callable[[str, str], Field]:
    found = {(f.set.variable, f.set.region): f for f in data.fields}
    return lambda variable, region: found[variable, region]


@pytest.fixture
def opened(result: RunResult) -> Iterator[Callable[..., xr.DataArray]]:
    datasets = []

    def open_one(variable: str, region: str, scenario: str) -> xr.DataArray:
        datasets.append(result.open(variable, region, scenario=scenario))
        return datasets[-1][variable]

    yield open_one
    for dataset in datasets:
        dataset.close()


def place(field: Field, branch: str, target: int) -> int:
    return field.normals.index((branch, target))


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("region", ["global", "east", "WRAP"])
@pytest.mark.parametrize("scenario", ["ssp245", "ssp585"])
def test_regional_means_are_weighted_with_the_cosine_of_latitude(
    region: str, scenario: str, field: Callable[..., Field], opened: Callable[..., xr.DataArray]
) -> None:
    normals, own = opened("tas", region, scenario), field("tas", region)
    yearly = normals.mean("dayofyear").weighted(np.cos(np.radians(normals.lat)))
    expected = yearly.mean(["lat", "lon"]).compute() - KELVIN
    for target in expected.target_year.values.tolist():
        branch = "historical" if target <= LAST_HISTORICAL else scenario
        found = own.means[place(own, branch, target), 0]
        assert found == pytest.approx(float(expected.sel(target_year=target)), abs=2e-4)


def test_each_day_and_cell_of_a_map_is_what_the_file_holds(
    field: Callable[..., Field], opened: Callable[..., xr.DataArray]
) -> None:
    own = field("tas", "WRAP")
    values = opened("tas", "WRAP", "ssp585").sel(target_year=LAST).values - KELVIN
    maps = own.maps.values[own.shown.index(place(own, "ssp585", LAST))]
    assert own.daily
    assert maps.shape == (1 + 365, *values.shape[1:])
    assert (np.isnan(maps[1:]) == np.isnan(values)).all()
    np.testing.assert_allclose(maps[1:], values, atol=0.51 * own.maps.scale + 1e-4)
    year = np.nanmean(values.astype("f8"), axis=0)  # 80 % of the days are there everywhere
    np.testing.assert_allclose(maps[0], year, atol=0.51 * own.maps.scale + 1e-4)
    assert own.maps.scale < 0.01


def test_zarr_stores_are_shown_as_netcdf_files_are(
    archive: Archive, data: ReportData, tmp_path: Path
) -> None:
    made(archive, tmp_path, variables=["tas"], regions=[WRAP], output={"format": "zarr"})
    (store,) = collect(tmp_path).fields
    (files,) = [f for f in data.fields if (f.set.variable, f.set.region) == ("tas", "WRAP")]
    assert store.normals == files.normals
    assert (store.days, store.missing, store.versions) == (
        files.days,
        files.missing,
        files.versions,
    )
    assert store.set.periods == files.set.periods
    np.testing.assert_array_equal(store.means, files.means)
    np.testing.assert_array_equal(store.maps.packed, files.maps.packed)
    np.testing.assert_array_equal(store.lon_edges, files.lon_edges)


def test_precipitation_is_shown_in_millimetres_a_day(
    field: Callable[..., Field], opened: Callable[..., xr.DataArray]
) -> None:
    own = field("pr", "global")
    values = opened("pr", "global", "ssp245").sel(target_year=2005)
    expected = values.weighted(np.cos(np.radians(values.lat))).mean(["lat", "lon"]) * 86400
    np.testing.assert_allclose(own.cycles["historical", 2005], expected.values, rtol=1e-5)
    assert own.look.label == "pr (mm/day)"
    assert own.look.note == "stored in kg m-2 s-1"


def test_the_cycles_are_those_of_the_first_the_middle_and_the_last_target(
    field: Callable[..., Field],
) -> None:
    assert set(field("tas", "east").cycles) == {
        ("historical", 2005), ("ssp245", 2010), ("ssp585", 2010), ("ssp245", 2016),
        ("ssp585", 2016),
    }  # fmt: skip


def test_a_change_is_the_last_target_less_the_first(
    field: Callable[..., Field], opened: Callable[..., xr.DataArray]
) -> None:
    own, normals = field("tas", "east"), opened("tas", "east", "ssp585")
    change = own.changes["ssp585"]
    expected = (normals.sel(target_year=LAST) - normals.sel(target_year=2005)).values
    assert change.ends == (2005, LAST)
    np.testing.assert_allclose(
        change.maps.values[1:], expected, atol=0.51 * change.maps.scale + 1e-4
    )
    other = own.changes["ssp245"].maps.values[0]
    assert not np.allclose(change.maps.values[0], other, equal_nan=True)


def test_a_gap_is_a_missing_year_of_each_window_that_it_is_in(field: Callable[..., Field]) -> None:
    own = field("pr", "global")
    missing = {target: n for (_, target), n in zip(own.normals, own.missing, strict=True)}
    assert missing == {t: int(t - WINDOW < GAP <= t) for t in range(FIRST + WINDOW - 1, LAST + 1)}


def test_a_region_without_any_value_is_shown_as_missing(field: Callable[..., Field]) -> None:
    own = field("tas", "nowhere")
    assert np.isnan(own.means).all()
    assert np.isnan(own.maps.values).all()
    assert set(own.valid_share) == {0.0}
    assert own.limits == ((0.0, 1.0), (0.0, 1.0))
    assert own.changes["ssp245"].limits == (1.0, 1.0)


def test_a_region_across_0_e_keeps_its_cells_side_by_side(field: Callable[..., Field]) -> None:
    edges = field("tas", "WRAP").lon_edges
    assert (np.diff(edges) > 0).all()
    assert edges[0] < 0 < edges[-1] <= 360 + edges[0]


def test_versions_and_scenarios_of_source_years_are_told(field: Callable[..., Field]) -> None:
    assert field("tas", "global").versions == {
        ("historical", "none"): tuple(range(FIRST, LAST_HISTORICAL + 1)),
        **{
            (scenario, "none"): tuple(y for y in range(2009, LAST + 1) if y != GAP)
            for scenario in ("ssp245", "ssp585")
        },
    }


@pytest.mark.parametrize(("calendar", "leap_day", "days"), [
    ("360_day", "drop", 360), ("standard", "keep", 366), ("noleap", "keep", 365),
])  # fmt: skip
def test_every_calendar_has_its_days_and_months(
    calendar: str, leap_day: str, days: int, tmp_path: Path
) -> None:
    archive = write_archive(
        tmp_path / "in", first=2001, last=2007, last_historical_year=2010, calendar=calendar,
        missing=0.0,
    )  # fmt: skip
    result = climdask.run(small(archive.root, tmp_path / "out", scenarios=[], min_years=1,
                                leap_day=leap_day), serial=True)  # fmt: skip
    (daily,) = collect(tmp_path / "out").fields
    (monthly,) = collect(tmp_path / "out", map_bytes=20_000).fields
    assert len(daily.days) == daily.maps.packed.shape[1] - 1 == days
    assert monthly.maps.packed.shape[1] == 13
    with result.open("tas", "global") as dataset:
        of_month = np.array([month for month, _ in daily.days])
        february = dataset["tas"].sel(target_year=2006).values[of_month == 2].astype("f8")
    found = monthly.maps.values[monthly.shown.index(place(monthly, "historical", 2006)), 2]
    np.testing.assert_allclose(
        found, february.mean(axis=0) - KELVIN, atol=0.51 * monthly.maps.scale + 1e-4
    )


# ---------------------------------------------------------------- what is not there


@pytest.fixture
def copy(archive: Archive, tmp_path: Path) -> Path:
    made(archive, tmp_path / "out", variables=["tas"], regions=["global"], scenarios=["ssp245"])
    return tmp_path / "out"


def test_normals_that_are_not_there_are_named_and_the_others_shown(copy: Path) -> None:
    for path in copy.rglob("*_201[23]_5yr_normal.nc"):
        path.unlink()
    data = collect(copy)
    assert data.absent == {"ACCESS-CM2/r1i1p1f1/gn/tas/global": "ssp245 2012-2013"}
    assert [t for _, t in data.fields[0].normals] == [*range(2005, 2012), 2014, 2015, 2016]


def test_a_damaged_normal_is_named_and_the_others_shown(copy: Path) -> None:
    (damaged,) = copy.rglob("*_2016_5yr_normal.nc")
    damaged.write_bytes(damaged.read_bytes()[:2000])
    (own,) = collect(copy).fields
    assert [name for name, _ in own.unreadable] == ["ssp245 2016"]
    assert own.changes["ssp245"].ends == (2005, 2015)


def test_a_set_of_which_nothing_can_be_read_is_left_out(copy: Path) -> None:
    for path in copy.rglob("*_normal.nc"):
        path.write_bytes(b"nothing")
    data = collect(copy)
    assert not data.fields
    assert set(data.left_out.values()) == {"none of its normals can be read"}


def test_an_output_folder_without_traces_or_normals_is_told_as_it_is(copy: Path) -> None:
    shutil.rmtree(copy / ".climdask/runs")
    shutil.rmtree(copy / "ACCESS-CM2")
    data = collect(copy)
    assert (data.runs, data.timeline_run, data.fields) == (0, "", ())
    assert data.absent == {
        "ACCESS-CM2/r1i1p1f1/gn/tas/global": "historical 2005-2008; ssp245 2009-2016"
    }


@pytest.mark.parametrize("content", [None, "{torn"])
def test_a_folder_that_no_run_made_is_a_users_mistake(content: str | None, tmp_path: Path) -> None:
    if content:
        (tmp_path / ".climdask").mkdir()
        (tmp_path / ".climdask/manifest.json").write_text(content)
    with pytest.raises(OutputError, match=r"manifest.*output\.root"):
        collect(tmp_path)


# ---------------------------------------------------------------- the run


def test_the_timeline_is_of_the_latest_run_that_did_anything(archive: Archive, copy: Path) -> None:
    first = json.loads((copy / ".climdask/manifest.json").read_text())["run"]
    made(archive, copy, variables=["tas"], regions=["global"], scenarios=["ssp245"])
    data = collect(copy)
    assert data.manifest["run"] != first
    assert data.timeline_run == first
    n_years = LAST - FIRST + 1
    counts = {stage: n for (_, stage), n in data.timeline.counts.items()}
    assert counts == {"read": n_years - 1, "window": n_years, "write": n_years - WINDOW + 1}
    assert data.audit.opens == n_years - 1
    assert data.audit.holds


def test_who_ran_it_and_what_was_planned_is_in_the_manifest(copy: Path) -> None:
    manifest = collect(copy).manifest
    assert manifest["user"]
    assert manifest["planned"] == {
        "ACCESS-CM2/r1i1p1f1/gn/tas": {
            "last_historical_year": LAST_HISTORICAL,
            "regions": ["global"],
            "target_years": {"historical": "2005-2008", "ssp245": "2009-2016"},
        }
    }


def test_the_sample_grid_is_uneven_so_weights_matter() -> None:
    assert len({round(b - a, 3) for a, b in itertools.pairwise(LAT)}) > 1


@pytest.mark.parametrize("units", ["K", "degC"])
def test_a_spread_of_temperatures_is_shown_as_a_difference(units: str) -> None:
    look = look_of("tas_std", {"units": units, "units_metadata": "temperature: difference"})
    assert look.shown(np.array([2.5])).tolist() == [2.5]
    assert look.units == "°C"

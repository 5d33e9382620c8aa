"""Climatology bounds name the first and the last source year that has the day, in both formats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import cftime
import netCDF4
import numpy as np
import pytest
import xarray as xr

from climdask.running.results import RunResult
from climdask.running.run import run
from tests.outputs.test_netcdf import cf_findings
from tests.readback import contents
from tests.samples import EAST, Archive, dates_of, write_archive, write_file
from tests.workflows import small

FIRST, LAST, GAP, WINDOW = 1999, 2010, 2006, 5
# By (month, day): the years that lack it; leap years end on 30 December, as Daymet's do.
LACKING = {(12, 31): (2000, 2004, 2008), (2, 29): (2000,), (7, 1): (2005,)}
# Years in which no cell of the region EAST has a value.
EAST_LACKS = (2003, 2010)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    made = write_archive(
        tmp_path_factory.mktemp("in"), first=FIRST, last=LAST, scenarios=(), gaps=(GAP,)
    )
    lon = np.asarray(made.style.lon)
    for year in range(FIRST, LAST + 1):
        if year == GAP:
            continue
        dates, values = dates_of(year, year, "standard"), made.values("tas", year).copy()
        if year in EAST_LACKS:
            values[:, :, (lon >= 60) & (lon <= 150)] = np.nan
        there = np.array([year not in LACKING.get(date[1:], ()) for date in dates])
        own = [date for date, is_there in zip(dates, there, strict=True) if is_there]
        write_file(made.path("tas", year), "tas", own, "standard", values[there])
    return made


def years_of(month: int, day: int, target: int, region: str) -> list[int]:
    """The years of a window that have a day, by what was written above."""
    lacking = {GAP, *LACKING.get((month, day), ()), *(EAST_LACKS if region == "EAST" else ())}
    years = {*range(target - WINDOW + 1, target + 1)} & {*range(FIRST, LAST + 1)}
    leap_years = range(1896, 2100, 4)
    return sorted(y for y in years - lacking if (month, day) != (2, 29) or y in leap_years)


def make(archive: Archive, out: Path, form: str, **changes: Any) -> RunResult:
    keys: dict[str, Any] = {
        "scenarios": [], "regions": ["global", EAST], "window": WINDOW, "min_years": 2,
        "leap_day": "keep", "targets": f"{FIRST + 2}-{LAST}", "partial_windows": True,
    }  # fmt: skip
    flow = small(archive.root, out, **{**keys, **changes}, output={"format": form})
    result = run(flow, serial=True)
    assert result.ok, result.failures
    return result


def normals(out: Path) -> Iterator[tuple[str, int, xr.Dataset]]:
    """Yield region, target year and content of each normal, with no time decoded."""
    for path in sorted([*out.rglob("*.nc"), *out.rglob("*.zarr")]):
        with xr.open_dataset(path, decode_times=False) as dataset:
            region = path.name.split("_")[5]
            if path.suffix == ".nc":
                yield region, int(path.name.split("_")[7]), dataset
                continue
            for year in dataset["target_year"].values:
                yield region, int(year), dataset.sel(target_year=year)


def check(out: Path) -> int:
    n = 0
    for region, target, normal in normals(out):
        units, calendar = normal["time"].attrs["units"], normal["time"].attrs["calendar"]
        dates = cftime.num2date(normal["time"].values, units, calendar)
        bounds = cftime.num2date(normal["climatology_bnds"].values, units, calendar)
        per_day = normal["years_per_day"].values
        for date, (start, end), count in zip(dates, bounds, per_day, strict=True):
            years = years_of(date.month, date.day, target, region)
            assert count == len(years)
            if years:
                day = (date.month, date.day)
                first = cftime.datetime(years[0], *day, calendar=calendar)
                last = cftime.datetime(years[-1], *day, calendar=calendar)
                assert (start, end - last) == (first, timedelta(days=1)), (target, date)
        n += 1
    return n


@pytest.mark.parametrize("form", ["netcdf", "zarr"])
@pytest.mark.slow
def test_bounds_name_the_first_and_the_last_source_year_that_has_the_day(
    form: str, archive: Archive, out: Path
) -> None:
    make(archive, out, form)
    assert check(out) == 2 * (LAST - FIRST - 1)


def test_a_day_without_any_value_has_the_bounds_of_the_calendar(
    archive: Archive, out: Path
) -> None:
    make(archive, out, "netcdf", targets=2003)  # 29 February is lacking in 2000
    with netCDF4.Dataset(next(out.rglob("*_global_*_2003_*.nc"))) as normal:
        assert normal["years_per_day"][59] == 0
        start, end = cftime.num2date(normal["climatology_bnds"][59], normal["time"].units)
        assert (str(start), str(end)) == ("2000-02-29 00:00:00", "2000-03-01 00:00:00")


@pytest.mark.slow
@pytest.mark.parametrize("target", [GAP, 2010, 2001])
def test_the_cf_checker_finds_nothing_in_a_normal_that_lacks_years(
    target: int, archive: Archive, out: Path
) -> None:
    make(archive, out, "netcdf", targets=target)
    for path in out.rglob("*.nc"):
        assert cf_findings(path) == []


# ---------------------------------------------------------------- a store, later


def bounds_of(out: Path) -> Path:
    return next(out.rglob("*_global_*.zarr")) / "climatology_bnds/c.0.0.0"


def test_a_second_run_leaves_the_bounds_of_a_store_alone(archive: Archive, out: Path) -> None:
    make(archive, out, "zarr", targets="2006-2007")
    before = bounds_of(out).stat().st_mtime_ns
    make(archive, out, "zarr", targets="2006-2007")
    assert bounds_of(out).stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"damaged"), Path.unlink])
@pytest.mark.slow
def test_damaged_bounds_of_a_store_are_made_again(damage: Any, archive: Archive, out: Path) -> None:
    make(archive, out, "zarr", targets="2005-2007")
    before = contents(out)
    damage(bounds_of(out))
    assert make(archive, out, "zarr", targets="2005-2007").plan.n_normals == 0
    assert contents(out) == before


@pytest.mark.slow
def test_a_longer_store_has_the_bounds_of_the_years_that_were_there(
    archive: Archive, out: Path
) -> None:
    make(archive, out, "zarr", targets="2006-2007")
    again = make(archive, out, "zarr", targets="2005-2010")
    assert again.plan.n_normals == 2 * 4
    assert check(out) == 2 * 6


@pytest.mark.slow
def test_a_store_of_an_earlier_version_keeps_the_bounds_that_it_has(
    archive: Archive, out: Path
) -> None:
    make(archive, out, "zarr", targets="2005-2007")
    for path in (out / ".climdask/done").glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert any("edges" in line for line in lines)
        kept = [{k: v for k, v in line.items() if k != "edges"} for line in lines]
        path.write_text("".join(f"{json.dumps(line)}\n" for line in kept))
    assert make(archive, out, "zarr", targets="2005-2007").plan.n_normals == 0
    for region, target, normal in normals(out):
        units = normal["time"].attrs["units"]
        bounds = cftime.num2date(normal["climatology_bnds"].values[0], units)
        years = [date.year for date in bounds]
        assert years == [target - WINDOW + 1, target], (region, target)


@pytest.mark.parametrize("edges", [7, [[1, 2, 3]], [["a", 0, 1, 2]], [[0, 1, 1999, 10**9]]])
@pytest.mark.slow
def test_a_record_whose_edges_are_none_is_no_record(
    edges: Any, archive: Archive, out: Path
) -> None:
    make(archive, out, "zarr", targets=2005, regions=["global"])
    (path,) = (out / ".climdask/done").glob("*.jsonl")
    record = json.loads(path.read_text()) | {"edges": edges}
    path.write_text(f"{json.dumps(record)}\n")
    assert make(archive, out, "zarr", targets=2005, regions=["global"]).plan.n_normals == 1
    assert check(out) == 1

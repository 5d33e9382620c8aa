"""The output file: what is in it, who can read it, and that it is there whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cftime
import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from climdask.climatology.calendars import Window
from climdask.climatology.places import GLOBAL, Box
from climdask.errors import OutputError
from climdask.inputs.netcdf import read_header
from climdask.outputs import netcdf as normalfile
from climdask.outputs.atomicfiles import atomically, remove_temporaries
from climdask.outputs.cf import NormalField
from climdask.outputs.netcdf import FILL, write_normal
from climdask.planning.plan import ChainSpec
from tests.plans import spec_of
from tests.samples import LAT, LON, write_year

WINDOW = Window(1981, 2010)
WRAP = Box("WRAP", 280.0, 80.0, -20.0, 75.0)


def spec_like(
    tmp_path: Path,
    variable: str = "tas",
    calendar: str = "standard",
    *,
    leap_day: str = "drop",
    boxes: Sequence[Box] = (GLOBAL,),
    count: bool = False,
    compression_level: int = 4,
    significant_digits: int | None = None,
    **style: Any,
) -> ChainSpec:
    """Return the spec of a chain whose files look like the one written here."""
    path = tmp_path / "like.nc"
    write_year(path, variable, calendar=calendar, **style)
    return spec_of(
        read_header(path, variable),
        boxes=boxes,
        leap_day=leap_day,
        count=count,
        compression_level=compression_level,
        significant_digits=significant_digits,
    )


def field_for(spec: ChainSpec) -> NormalField:
    """Make up a field for the first region; some values are missing."""
    shape = (len(spec.axis), *spec.selection.regions[0].index.shape)
    values = np.random.default_rng(1).normal(280.0, 9.0, shape).astype(np.float32)
    values[::9, 0, 1] = np.nan
    values[3] = np.nan
    count = np.full(shape, 30, dtype=np.int16) - np.isnan(values).astype(np.int16)
    attributes = {
        "source_years": np.arange(1981, 2011, dtype=np.int32),
        "source_files": "a_1981.nc, a_1982.nc",
        "input_hash": "0123456789abcdef",
    }
    per_day = np.arange(shape[0], dtype=np.int16) % 30
    return NormalField(values, per_day, count if spec.count else None, 29, attributes)


def write_sample(
    path: Path, spec: ChainSpec, change: Callable[[np.ndarray], np.ndarray] | None = None
) -> NormalField:
    field = field_for(spec)
    if change:
        field = replace(field, values=change(field.values))
    write_normal(path, spec, spec.selection.regions[0], WINDOW, field)
    return field


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[netCDF4.Dataset]:
    """Open a normal with everything in it."""
    spec = spec_like(tmp_path, "tasmax", boxes=(WRAP,), bounds=True, height=True, count=True)
    write_sample(tmp_path / "normal.nc", spec)
    with netCDF4.Dataset(tmp_path / "normal.nc") as dataset:
        dataset.set_auto_maskandscale(False)
        yield dataset


# ---------------------------------------------------------------- what is in it


def test_dimensions_and_variables_have_the_names_that_users_expect(
    opened: netCDF4.Dataset,
) -> None:
    sizes = {name: dim.size for name, dim in opened.dimensions.items()}
    assert sizes == {"time": 365, "bnds": 2, "lat": 3, "lon": 3}
    assert not any(dim.isunlimited() for dim in opened.dimensions.values())
    dims = {name: (var.dtype.str[1:], var.dimensions) for name, var in opened.variables.items()}
    assert dims == {
        "time": ("f8", ("time",)),
        "climatology_bnds": ("f8", ("time", "bnds")),
        "dayofyear": ("i4", ("time",)),
        "lat": ("f8", ("lat",)),
        "lat_bnds": ("f8", ("lat", "bnds")),
        "lon": ("f8", ("lon",)),
        "lon_bnds": ("f8", ("lon", "bnds")),
        "height": ("f8", ()),
        "tasmax": ("f4", ("time", "lat", "lon")),
        "count": ("i2", ("time", "lat", "lon")),
        "years_per_day": ("i2", ("time",)),
        "number_of_years": ("i2", ()),
    }
    assert opened.data_model == "NETCDF4_CLASSIC"


def test_a_region_that_wraps_runs_west_to_east_and_south_to_north(
    opened: netCDF4.Dataset,
) -> None:
    assert opened["lon"][:].tolist() == [LON[4] - 360, LON[0], LON[1]]
    assert opened["lat"][:].tolist() == list(LAT[1:])
    assert opened["lon_bnds"][:].tolist() == [[x - 0.5, x + 0.5] for x in opened["lon"][:]]
    assert opened["lat_bnds"][:].tolist() == [[y - 0.5, y + 0.5] for y in opened["lat"][:]]
    assert opened["lon"].bounds == "lon_bnds"
    assert "bounds" not in opened["time"].ncattrs()


def test_attributes_say_what_the_field_is(opened: netCDF4.Dataset) -> None:
    attributes = {k: opened["tasmax"].getncattr(k) for k in opened["tasmax"].ncattrs()}
    assert attributes.pop("_FillValue") == attributes.pop("missing_value") == FILL
    assert attributes == {
        "standard_name": "air_temperature",
        "long_name": "Daily Maximum Near-Surface Air Temperature",
        "units": "K",
        "units_metadata": "temperature: on_scale",
        "cell_methods": "time: maximum within years time: mean over years",
        "input_cell_methods": "area: mean time: maximum (interval: 15 minutes)",
        "ancillary_variables": "years_per_day number_of_years count",
        "coordinates": "height",
    }
    for name in ("time", "climatology_bnds", "lat", "lon", "count", "years_per_day"):
        assert "_FillValue" not in opened[name].ncattrs()
    assert opened["height"][...] == 2.0
    assert opened["height"].units == "m"


def test_global_attributes_say_where_it_comes_from(opened: netCDF4.Dataset) -> None:
    got = {name: opened.getncattr(name) for name in opened.ncattrs()}
    assert (got["Conventions"], got["coordinates"]) == ("CF-1.11", "dayofyear")
    assert got["institution"] == "climdask tests"
    assert got["source_years"].tolist() == list(WINDOW.years)
    assert (got["target_year"], got["window"], got["min_years"]) == (2010, 30, 25)
    assert (got["model"], got["member"], got["grid"]) == ("ACCESS-CM2", "r1i1p1f1", "gn")
    assert got["leap_day"] == "drop"
    assert "WRAP" in got["region"]
    for word in ("30-year", "tasmax", "ACCESS-CM2", "1981-2010"):
        assert word in got["title"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", got["date_created"])


@pytest.mark.parametrize(
    ("calendar", "leap_day", "n_days", "output_calendar", "stamped"),
    [
        ("standard", "drop", 365, "noleap", 2010),
        ("standard", "keep", 366, "standard", 2008),
        ("proleptic_gregorian", "keep", 366, "proleptic_gregorian", 2008),
        ("noleap", "keep", 365, "noleap", 2010),
        ("360_day", "drop", 360, "360_day", 2010),
    ],
)
def test_every_day_has_its_date_its_bounds_and_its_number(
    tmp_path: Path, calendar: str, leap_day: str, n_days: int, output_calendar: str, stamped: int
) -> None:
    path = tmp_path / "normal.nc"
    write_sample(path, spec_like(tmp_path, calendar=calendar, leap_day=leap_day))
    with netCDF4.Dataset(path) as dataset:
        time = dataset["time"]
        assert (time.calendar, time.climatology) == (output_calendar, "climatology_bnds")
        dates = cftime.num2date(time[:], time.units, time.calendar)
        assert len(dates) == n_days
        assert {(d.year, d.hour) for d in dates} == {(stamped, 12)}
        assert dataset["dayofyear"][:].tolist() == list(range(1, n_days + 1))
        edges = cftime.num2date(dataset["climatology_bnds"][:], time.units, time.calendar)
        for date, (start, end) in zip(dates, edges, strict=True):
            leap = (date.month, date.day) == (2, 29) and calendar != "360_day"
            first, last = (1984, 2008) if leap else (1981, 2010)
            assert (start.year, start.month, start.day, start.hour) == (
                first, date.month, date.day, 0,
            )  # fmt: skip
            day_before = cftime.datetime(last, date.month, date.day, calendar=output_calendar)
            assert (end - day_before).total_seconds() == 86400


def test_values_come_back_to_the_last_bit(tmp_path: Path) -> None:
    spec = spec_like(tmp_path, boxes=(WRAP,), count=True, leap_day="keep")
    field = write_sample(tmp_path / "normal.nc", spec)
    with netCDF4.Dataset(tmp_path / "normal.nc") as dataset:
        got = dataset["tas"][:].filled(np.nan)
        np.testing.assert_array_equal(got, field.values)
        np.testing.assert_array_equal(dataset["count"][:], field.count)
        np.testing.assert_array_equal(dataset["years_per_day"][:], field.years_per_day)
        assert dataset["number_of_years"][...] == 29
        dataset.set_auto_maskandscale(False)
        assert (dataset["tas"][:] == FILL).sum() == np.isnan(field.values).sum() > 0


def test_no_count_is_written_unless_asked_for(tmp_path: Path) -> None:
    write_sample(tmp_path / "normal.nc", spec_like(tmp_path))
    with netCDF4.Dataset(tmp_path / "normal.nc") as dataset:
        assert "count" not in dataset.variables
        assert dataset["tas"].ancillary_variables == "years_per_day number_of_years"
        assert "lat_bnds" not in dataset.variables
        assert "bounds" not in dataset["lat"].ncattrs()


@pytest.mark.parametrize("level", [0, 1, 9])
def test_the_field_is_stored_as_asked_in_chunks_of_whole_days(tmp_path: Path, level: int) -> None:
    spec = spec_like(tmp_path, compression_level=level)
    write_sample(tmp_path / "normal.nc", spec)
    with netCDF4.Dataset(tmp_path / "normal.nc") as dataset:
        filters = dataset["tas"].filters()
        assert (filters["zlib"], filters["shuffle"], filters["complevel"]) == (
            level > 0, level > 0, level,
        )  # fmt: skip
        assert dataset["tas"].chunking() == [365, len(LAT), len(LON)]


def test_a_chunk_of_a_large_region_has_about_a_megabyte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalfile, "CHUNK_BYTES", 1000)
    write_sample(tmp_path / "normal.nc", spec_like(tmp_path))
    with netCDF4.Dataset(tmp_path / "normal.nc") as dataset:
        assert dataset["tas"].chunking() == [12, len(LAT), len(LON)]  # 12 x 4 x 5 x 4 = 960


@pytest.mark.parametrize("chunk_bytes", [1, 1000, 7_000, 1 << 20])
def test_values_are_the_same_at_every_level_whatever_the_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    """Of one day, of twelve with a last one that is not full, of half the days, of all."""
    monkeypatch.setattr(normalfile, "CHUNK_BYTES", chunk_bytes)
    spec = spec_like(tmp_path, boxes=(WRAP,), count=True, leap_day="keep")
    for level in (0, 1, 9) if chunk_bytes == 1 else range(10):
        path = tmp_path / f"{level}.nc"
        field = write_sample(path, replace(spec, compression_level=level))
        with netCDF4.Dataset(path) as dataset:
            dataset.set_auto_maskandscale(False)
            expected = np.where(np.isnan(field.values), FILL, field.values)
            np.testing.assert_array_equal(dataset["tas"][:], expected)
            np.testing.assert_array_equal(dataset["count"][:], field.count)
            assert dataset["tas"].filters()["complevel"] == level


def test_chunks_are_compressed_and_every_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalfile, "CHUNK_BYTES", 10_000)
    spec = spec_like(tmp_path, count=True)
    write_sample(tmp_path / "normal.nc", spec)
    with h5py.File(tmp_path / "normal.nc") as file:
        for name, itemsize in (("tas", 4), ("count", 2)):
            field = file[name]
            days = 10_000 // (20 * itemsize)
            assert field.chunks == (days, 4, 5)
            assert (field.compression, field.compression_opts, field.shuffle) == ("gzip", 4, True)
            assert field.id.get_num_chunks() == -(-365 // days)
            assert all(
                field.id.get_chunk_info(i).filter_mask == 0
                for i in range(field.id.get_num_chunks())
            )
            assert field.id.get_storage_size() < field.size * itemsize
            assert field.maxshape == field.shape
        assert file["time"].chunks is None


@pytest.mark.parametrize("level", [0, 3])
def test_ncdump_tells_how_a_normal_is_stored(tmp_path: Path, level: int) -> None:
    path = tmp_path / "normal.nc"
    write_sample(path, spec_like(tmp_path, count=True, compression_level=level))
    lines = {line.strip() for line in call("ncdump", "-h", "-s", path).splitlines()}
    for name in ("tas", "count"):
        assert f"{name}:_ChunkSizes = 365, 4, 5 ;" in lines
        assert (f'{name}:_Shuffle = "true" ;' in lines) == (level > 0)
        assert (f"{name}:_DeflateLevel = {level} ;" in lines) == (level > 0)
    assert 'lat:_Storage = "contiguous" ;' in lines
    assert ':_Format = "netCDF-4 classic model" ;' in lines


def test_threads_write_normals_at_once(tmp_path: Path) -> None:
    spec = spec_like(tmp_path, count=True)

    def write(number: int) -> np.ndarray:
        return write_sample(tmp_path / f"{number}.nc", spec).values

    with ThreadPoolExecutor(4) as pool:
        fields = list(pool.map(write, range(16)))
    for number, values in enumerate(fields):
        with netCDF4.Dataset(tmp_path / f"{number}.nc") as dataset:
            np.testing.assert_array_equal(dataset["tas"][:].filled(np.nan), values)


def test_the_library_is_only_called_under_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where h5py and netCDF4 share one HDF5 library, it may not be thread-safe."""
    free: list[str] = []

    class Watched(h5py.File):
        def __init__(self, *args: Any) -> None:
            free.extend([] if normalfile.NETCDF_LOCK.locked() else ["open"])
            super().__init__(*args)

        def __getitem__(self, name: str) -> Any:
            free.extend([] if normalfile.NETCDF_LOCK.locked() else ["get"])
            return super().__getitem__(name)

        def close(self) -> None:
            free.extend([] if normalfile.NETCDF_LOCK.locked() else ["close"])
            super().close()

    monkeypatch.setattr(h5py, "File", Watched)
    write_sample(tmp_path / "normal.nc", spec_like(tmp_path))
    assert free == []
    assert not normalfile.NETCDF_LOCK.locked()


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (["one", "two"], "one, two"),
        (np.int64(5), 5),
        (np.int64(2**40), 2.0**40),
        (np.arange(3), [0, 1, 2]),
        (np.uint8(200), 200),
        (np.uint64(2**63), 2.0**63),
        ("Météo, °C", "Météo, °C"),
    ],
)
def test_attributes_that_only_netcdf4_can_hold_are_kept_in_classic_form(
    tmp_path: Path, value: Any, stored: Any
) -> None:
    style = {"attributes": {"note": value}, "file_attributes": {"references": value}}
    write_sample(tmp_path / "normal.nc", spec_like(tmp_path, **style))
    with netCDF4.Dataset(tmp_path / "normal.nc") as dataset:
        assert np.array_equal(dataset["tas"].note, stored)
        assert np.array_equal(dataset.references, stored)


def test_an_attribute_may_have_any_name(tmp_path: Path) -> None:
    """NOAA's fields have an attribute named dataset."""
    names = {"dataset": "a", "name": "b", "dtype": "c", "dims": "d", "values": "e", "storage": "f"}
    write_sample(tmp_path / "normal.nc", spec_like(tmp_path, attributes=names))
    with netCDF4.Dataset(tmp_path / "normal.nc") as dataset:
        assert {k: dataset["tas"].getncattr(k) for k in names} == names


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"units": "degC", "standard_name": "sea_surface_temperature"}, "temperature: on_scale"),
        ({"units": "K", "standard_name": None}, "temperature: on_scale"),
        ({"units": "K", "units_metadata": "temperature: unknown"}, "temperature: unknown"),
        ({"units": "K", "long_name": "diurnal temperature range"}, None),
        ({"units": "K s-1", "standard_name": "tendency_of_air_temperature"}, None),
        ({"units": "mm", "standard_name": "thickness_of_rainfall_amount"}, None),
    ],
)
def test_temperatures_but_no_differences_of_them_are_on_a_scale(
    tmp_path: Path, attributes: dict[str, str], expected: str | None
) -> None:
    write_sample(tmp_path / "normal.nc", spec_like(tmp_path, attributes=attributes))
    with netCDF4.Dataset(tmp_path / "normal.nc") as dataset:
        assert getattr(dataset["tas"], "units_metadata", None) == expected


# ---------------------------------------------------------------- who can read it


def cf_findings(path: Path) -> list[str]:
    """Return all that the compliance checker has to say about a file."""
    runner = pytest.importorskip("compliance_checker.runner")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own affair
        suite = runner.CheckSuite()
        suite.load_all_available_checkers()
        dataset = suite.load_dataset(str(path))
        try:
            ((groups, errors),) = suite.run_all(dataset, ["cf:1.11"], None, []).values()
        finally:
            dataset.close()
    assert not errors
    return [message for group in groups for message in _messages(group)]


def _messages(result: Any) -> list[str]:
    below = [message for child in result.children or () for message in _messages(child)]
    value = result.value
    passed = value[0] == value[1] if isinstance(value, tuple) else bool(value)
    return below if passed else [*(result.msgs or ()), *below]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "options"),
    [
        ("pr", {"attributes": {"cell_methods": "time: mean"}}),
        ("sst", {"attributes": {"units": "degC", "standard_name": "sea_water_temperature"}}),
        ("tas", {"attributes": {"cell_methods": None}, "leap_day": "keep", "height": True}),
        ("foo", {"attributes": {"units": "mm s-1"}, "count": True, "bounds": True}),
        ("pr", {"attributes": {"cell_methods": "time: mean"}, "calendar": "360_day"}),
        ("pr", {"attributes": {"cell_methods": None}, "calendar": "noleap"}),
        (
            "hurs",
            {"attributes": {"units": "%", "standard_name": "relative_humidity",
                            "cell_methods": "lifetime: gone time: POINT (comment: odd: one)"}},
        ),
        (
            "tas",
            {"attributes": {"cell_methods": None, "name": "x", "dataset": "y",
                            "references": ["a", "b"]}, "boxes": (WRAP,), "bounds": True},
        ),
        ("pr", {}),
        ("tas", {"calendar": "proleptic_gregorian", "leap_day": "keep", "height": True}),
        ("tasmax", {"bounds": True, "height": True, "count": True}),
    ],
)  # fmt: skip
def test_the_cf_checker_finds_nothing(
    tmp_path: Path, variable: str, options: dict[str, Any]
) -> None:
    path = tmp_path / "normal.nc"
    write_sample(path, spec_like(tmp_path, variable, **options))
    assert cf_findings(path) == []


def call(*words: str | Path) -> str:
    """Run a tool, or skip if it is not installed."""
    if shutil.which(str(words[0])) is None:
        pytest.skip(f"{words[0]} is not installed")
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == "", "a tool that warns at each command annoys its user"
    return done.stdout


def test_cdo_sees_dates_and_selects_months(tmp_path: Path) -> None:
    path = tmp_path / "normal.nc"
    field = write_sample(path, spec_like(tmp_path, leap_day="keep"))
    lines = call("cdo", "-s", "infon", path).splitlines()
    tas = [line.split() for line in lines if line.rstrip().endswith(" tas")]
    assert len(tas) == 366
    assert tas[59][2:4] == ["2008-02-29", "12:00:00"]
    assert int(tas[0][6]) == np.isnan(field.values[0]).sum() == 1
    february = tmp_path / "february.nc"
    call("cdo", "-s", "-O", "selmon,2", "-selname,tas", path, february)
    with netCDF4.Dataset(february) as dataset:
        np.testing.assert_array_equal(dataset["tas"][:].filled(np.nan), field.values[31:60])


def test_nco_prints_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "normal.nc"
    write_sample(path, spec_like(tmp_path, bounds=True, height=True, count=True))
    text = call("ncks", "-m", path)
    assert 'time:climatology = "climatology_bnds"' in text
    assert "float tas(time,lat,lon)" in text


def test_attributes_can_be_changed_in_place(tmp_path: Path) -> None:
    path = tmp_path / "normal.nc"
    field = write_sample(path, spec_like(tmp_path))
    call("ncatted", "-a", "project,global,c,c,mine", path)
    with netCDF4.Dataset(path, "a") as dataset:
        assert dataset.project == "mine"
        dataset["tas"].comment = "seen"
    with netCDF4.Dataset(path) as dataset:
        assert dataset["tas"].comment == "seen"
        np.testing.assert_array_equal(dataset["tas"][:].filled(np.nan), field.values)


@pytest.mark.parametrize("calendar", ["standard", "360_day"])
def test_xarray_opens_it_with_dates_and_coordinates(tmp_path: Path, calendar: str) -> None:
    path = tmp_path / "normal.nc"
    field = write_sample(path, spec_like(tmp_path, calendar=calendar, height=True))
    with xr.open_dataset(path) as dataset:
        np.testing.assert_array_equal(dataset["tas"].values, field.values)
        assert {"dayofyear", "height"} <= set(dataset["tas"].coords)
        assert dataset["tas"].sel(time=dataset.time.dt.month == 2).sizes["time"] in (28, 30)
        assert dataset["dayofyear"].dtype.kind == "i"


# ---------------------------------------------------------------- whole or not at all


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"

    def fill(temporary: Path) -> None:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent, "a rename is atomic within a folder only"
        temporary.write_text("whole")

    atomically(path, fill)
    assert path.read_text() == "whole"
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize("error", [ValueError("odd"), KeyboardInterrupt()])
def test_a_failed_writer_leaves_the_old_file_and_no_temporary_one(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fill(temporary: Path) -> None:
        temporary.write_text("half")
        raise error

    with pytest.raises(type(error)):
        atomically(path, fill)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_disk_that_is_full_is_told_with_a_cure(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def fill(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError) as caught:
        atomically(path, fill)
    for word in (
        str(path),
        "No space left on device",
        "is the disk full",
        "Nothing half-written is left",
    ):
        assert word in str(caught.value)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match="cannot be written"):
        atomically(tmp_path / "file" / "sub" / "normal.nc", lambda p: p.touch())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 128 KiB, or skip."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("mounting a small disk needs root")
    yield place
    # HDF5 cannot close a file that it could not write, so the disk is still busy.
    subprocess.run(["umount", "--lazy", str(place)], check=True, timeout=30)


def test_a_full_disk_leaves_nothing_but_an_error(small_disk: Path, tmp_path: Path) -> None:
    spec = spec_like(tmp_path, compression_level=0, count=True)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 70_000)
    path = small_disk / "normal.nc"
    with pytest.raises(OutputError, match=r"normal\.nc: cannot be written .*is the disk full"):
        write_sample(path, spec)
    assert names(small_disk) == ["ballast"]
    assert shutil.disk_usage(small_disk).used < 80_000, "the space of the failed file is free again"
    ballast.unlink()
    small = replace(spec, count=False, compression_level=9)
    field = write_sample(path, small)
    with netCDF4.Dataset(path) as dataset:
        np.testing.assert_array_equal(dataset["tas"][:].filled(np.nan), field.values)


def test_a_file_is_synced_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("sync"), real_sync(fd))[1])
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (done.append("rename"), real_replace(self, to))[1]
    )
    atomically(tmp_path / "file", lambda p: p.touch())
    assert done == ["sync", "rename", "sync"]


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left = tmp_path / "sub" / ".normal.nc.0123abcd.tmp"
    left.parent.mkdir()
    mine = [tmp_path / n for n in (".mine.tmp", "a.0123abcd.tmp", ".x.0123abcd.tmp.nc")]
    for path in (left, *mine):
        path.touch()
    remove_temporaries(tmp_path)
    assert not left.exists()
    assert all(path.exists() for path in mine)

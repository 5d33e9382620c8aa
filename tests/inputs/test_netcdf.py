"""Reading: every odd file is read as xarray reads it, and what cannot be read says why."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from climdask.climatology.blocks import Block
from climdask.climatology.calendars import DayAxis
from climdask.climatology.places import GLOBAL, Box, select
from climdask.errors import InconsistentFile, UnreadableFile
from climdask.inputs import libraryreader, netcdf
from climdask.inputs.decoding import Decoder
from climdask.inputs.netcdf import check_file, read_header
from climdask.inputs.reading import YearInParts, read_years
from tests.samples import (
    LAT,
    LON,
    Style,
    dates_of,
    sample_values,
    write_file,
    write_year,
    write_years,
)

REAL = Path(__file__).parents[3] / "shared/data/real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"real data are not at {REAL}")


def blocks_of(
    path: Path,
    years: Sequence[int] = (2001,),
    variable: str = "tas",
    leap_day: str = "drop",
    boxes: Sequence[Box] = (GLOBAL,),
) -> list[Block]:
    """Read years with the file's own header as the chain's."""
    header = read_header(path, variable)
    axis = DayAxis(header.calendar, leap_day)
    return read_years(path, header, axis, select(header.grid, boxes), years)


def field_of(path: Path, year: int = 2001, **more: Any) -> np.ndarray:
    """Read one year as [day, lat, lon], latitude ascending."""
    header = read_header(path, more.get("variable", "tas"))
    (block,) = blocks_of(path, (year,), **more)
    return block.values[:, select(header.grid, (GLOBAL,)).regions[0].index]


# ---------------------------------------------------------------- the zoo


@dataclass(frozen=True)
class Specimen:
    """A file to be written, and what to read of it."""

    calendar: str
    first: int
    last: int
    style: Style
    without: tuple[int, ...]
    infinite: bool
    leap_day: str
    boxes: tuple[Box, ...]


PACKED = [
    {"dtype": "i2", "packing": (0.01, 280.0), "fill": -32768},
    {"dtype": "i2", "packing": (0.01, 280.0), "fill": "default"},
    {"dtype": "i2", "packing": (0.004, 200.0), "fill": -1, "unsigned": True},
    {"dtype": "i2", "packing": (0.004, 200.0), "fill": "default", "unsigned": True},
    {"dtype": "u2", "packing": (0.005, 180.0), "fill": 65535},
    {"dtype": "i1", "packing": (0.5, 285.0), "fill": -128},
    {"dtype": "i1", "packing": (0.5, 220.0), "fill": -1, "unsigned": True},
    {"dtype": "u1", "packing": (0.5, 220.0), "fill": 255},
    {"dtype": ">i2", "packing": (0.01, 280.0), "fill": -32768},
    {"dtype": "i4", "packing": (1e-5, 0.0), "fill": -(2**31)},
]
PLAIN = [
    {"dtype": "f4", "fill": 1e20},
    {"dtype": "f4", "fill": "default"},
    {"dtype": "f4", "fill": np.nan},
    {"dtype": "f4", "fill": None},
    {"dtype": "f8", "fill": 1e20},
    {"dtype": "f8", "fill": "default"},
    {"dtype": ">f4", "fill": -9999.0},
    {"dtype": "f4", "fill": 1e20, "attributes": {"missing_value": np.float32(1e20)}},
    {"dtype": "f4", "fill": "default", "attributes": {"missing_value": np.float64(1e20)}},
    {"dtype": "f4", "fill": 1e20, "attributes": {"valid_range": np.float32([270.0, 300.0])}},
    {"dtype": "f4", "fill": 1e20, "attributes": {"valid_min": 275.5, "valid_max": 299}},
]
EPOCHS = [
    ("days since 1850-01-01", "f8"),
    ("days since 1978-01-01 12:00:00", "f8"),
    ("days since 0001-01-01", "f8"),
    ("days since 1949-12-01 00:00:00", "f4"),
    ("hours since 1900-01-01", "i4"),
    ("seconds since 1970-01-01", "f8"),
]
FORMATS = ["NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET"]


@st.composite
def specimens(draw: st.DrawFn) -> Specimen:
    lat = sorted(draw(st.sets(st.integers(-88, 88), min_size=1, max_size=5)))
    n_lon = draw(st.integers(2, 6))
    start = draw(st.integers(-180, 0))
    lon = [start + 7.5 + 360.0 / n_lon * i for i in range(n_lon)]
    if draw(st.booleans()):
        lon = sorted(x % 360 for x in lon)
    if draw(st.booleans()):
        lat.reverse()
    values = draw(st.sampled_from(PACKED + PLAIN))
    kind = draw(st.sampled_from(FORMATS))
    if str(values["dtype"])[0] in "u>":  # no unsigned numbers in the classic model
        kind = "NETCDF4"
    dims = tuple(draw(st.permutations(["time", "lat", "lon", "level"][: draw(st.integers(3, 4))])))
    first = draw(st.integers(1995, 2003))
    last = first + draw(st.integers(0, 2))
    chunks = (
        None
        if "3" in kind
        else draw(
            st.none()
            | st.tuples(st.integers(1, 400), st.integers(1, len(lat)), st.integers(1, n_lon))
        )
    )
    epoch, time_dtype = draw(st.sampled_from(EPOCHS))
    style = Style(
        lat=lat,
        lon=lon,
        dims=dims,
        format=kind,
        chunks=chunks,
        deflate="3" not in kind and draw(st.booleans()),
        epoch=epoch,
        time_dtype=time_dtype,
        hour=draw(st.sampled_from([0.0, 12.0, 12.5])),
        bounds=draw(st.booleans()),
        **values,
    )
    boxes = [_box(draw, f"box{i}", lat, lon) for i in range(draw(st.integers(1, 3)))]
    return Specimen(
        draw(
            st.sampled_from(["standard", "proleptic_gregorian", "noleap", "360_day", "gregorian"])
        ),
        first,
        last,
        style,
        without=tuple(draw(st.sets(st.integers(0, 700), max_size=4))),
        infinite=values in PLAIN and draw(st.booleans()),
        leap_day=draw(st.sampled_from(["drop", "keep"])),
        boxes=tuple(boxes) if draw(st.booleans()) else (*boxes, GLOBAL),
    )


def _box(draw: st.DrawFn, name: str, lat: Sequence[float], lon: Sequence[float]) -> Box:
    """Draw a box around some cells; its west may lie east of its east."""
    south, north = sorted(draw(st.tuples(st.sampled_from(lat), st.sampled_from(lat))))
    west, east = draw(st.tuples(st.sampled_from(lon), st.sampled_from(lon)))
    return Box(name, west - 0.5, east + 0.5, south - 0.5, north + 0.5)


def write_specimen(path: Path, specimen: Specimen) -> None:
    dates = dates_of(specimen.first, specimen.last, specimen.calendar)
    values = np.concatenate(
        [
            sample_values("tas", year, specimen.calendar, shape=specimen.style.shape)
            for year in range(specimen.first, specimen.last + 1)
        ]
    )
    if specimen.infinite:
        values[3::50, :, 0] = np.inf
        values[9::70, 0, :] = -np.inf
    there = [i for i in range(len(dates)) if i not in specimen.without]
    write_file(
        path,
        "tas",
        [dates[i] for i in there],
        specimen.calendar,
        values[there],
        style=specimen.style,
    )


def by_xarray(path: Path, specimen: Specimen) -> xr.DataArray:
    """Read a file with xarray: [time, lat, lon], NaN where missing."""
    times = xr.coders.CFDatetimeCoder(use_cftime=True)
    with warnings.catch_warnings():
        # xarray warns of several fill values, and of floats that are packed.
        warnings.simplefilter("ignore", xr.SerializationWarning)
        with xr.open_dataset(path, decode_times=times) as dataset:
            field = dataset["tas"].squeeze("level") if "level" in dataset.dims else dataset["tas"]
            field = field.transpose("time", "lat", "lon").load()
    field = field.where(np.isfinite(field))
    # What xarray leaves to its user: the library's default fill, and the valid range.
    if specimen.style.fill == "default":
        with xr.open_dataset(path, decode_times=times, mask_and_scale=False) as dataset:
            raw = dataset["tas"].transpose("time", "lat", "lon", ...).load().values
        default = netCDF4.default_fillvals[raw.dtype.str[1:]]
        field = field.where(raw.reshape(field.shape) != default)
    attributes = specimen.style.attributes
    low, high = attributes.get("valid_range", (attributes.get("valid_min"),) * 2)
    if low is not None:
        high = attributes.get("valid_max", high)
        field = field.where((field >= low) & (field <= high))
    return field


def cut(field: xr.DataArray, specimen: Specimen, box: Box, year: int) -> np.ndarray:
    """Cut a region and year: [day, lat, lon], south to north and west to east."""
    values, lat, lon = field.values, field.lat.values, field.lon.values
    if box.west is not None:
        values = values[:, (lat >= box.south) & (lat <= box.north)]
        lat = lat[(lat >= box.south) & (lat <= box.north)]
        lon = (lon - box.west) % 360
        values = values[:, :, lon <= (box.east - box.west) % 360]
        lon = lon[lon <= (box.east - box.west) % 360]
    values = values[:, np.argsort(lat)][:, :, np.argsort(lon)]
    place = {(t.year, t.month, t.day): i for i, t in enumerate(field.time.values)}
    days = dates_of(2000, 2000, specimen.calendar)  # a leap year, so every day there is
    if specimen.leap_day == "drop" and specimen.calendar != "360_day":
        days = [d for d in days if d[1:] != (2, 29)]
    out = np.full((len(days), *values.shape[1:]), np.nan)
    for i, (_, month, day) in enumerate(days):
        if (year, month, day) in place:
            out[i] = values[place[year, month, day]]
    return out


@given(specimens())
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.slow
def test_whatever_the_file_looks_like_the_values_are_those_that_xarray_reads(
    tmp_path_factory: pytest.TempPathFactory, specimen: Specimen
) -> None:
    path = tmp_path_factory.mktemp("zoo") / "specimen.nc"
    write_specimen(path, specimen)
    header = read_header(path, "tas")
    axis = DayAxis(header.calendar, specimen.leap_day)
    selection = select(header.grid, specimen.boxes)
    years = range(specimen.first, specimen.last + 1)
    blocks = read_years(path, header, axis, selection, years)
    assert [b.year for b in blocks] == list(years)
    field = by_xarray(path, specimen)
    for block in blocks:
        assert block.values.dtype == np.float32
        assert block.values.dtype.isnative
        for region in selection.regions:
            expected = cut(field, specimen, region.place, block.year)
            got = block.values[:, region.index]
            # xarray unpacks 16-bit integers in float32, and rounds twice.
            near = 1e-6 if specimen.style.packing else 0
            np.testing.assert_allclose(got, expected.astype(np.float32), rtol=near, atol=0)
    path.unlink()


def test_packed_values_are_unpacked_in_float64_and_rounded_once(tmp_path: Path) -> None:
    path = tmp_path / "tas.nc"
    held = write_year(path, dtype="i2", packing=(0.013, 281.7), fill=-32768)
    np.testing.assert_array_equal(field_of(path), held)


def test_a_year_is_read_in_pieces_of_whole_chunks_without_losing_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tas.nc"
    held = write_years(path, "tas", 2000, 2002, chunks=(7, 2, 3), deflate=True)
    monkeypatch.setattr(libraryreader, "PIECE_BYTES", 1000)
    np.testing.assert_array_equal(field_of(path, 2001), held[366:731])


@pytest.mark.parametrize("chunks", [(30, 1, 1), (30, 4, 5), None])
def test_regions_far_apart_are_read_alike_one_by_one_and_as_one_rectangle(
    tmp_path: Path, chunks: tuple[int, int, int] | None
) -> None:
    path = tmp_path / "tas.nc"
    held = write_year(path, chunks=chunks)
    boxes = [Box("A", 0, 80, -60, -50), Box("B", 280, 10, 60, 80), Box("C", 280, 300, -60, -50)]
    header = read_header(path, "tas")
    selection = select(header.grid, boxes)
    (block,) = read_years(path, header, DayAxis("standard", "drop"), selection, [2001])
    cells = [[(0, 0), (0, 1)], [(3, 4), (3, 0)], [(0, 4)]]
    for region, own in zip(selection.regions, cells, strict=True):
        rows, columns = zip(*own, strict=True)
        got = block.values[:, region.index.ravel()]
        np.testing.assert_array_equal(got, held[:, list(rows), list(columns)])


@pytest.mark.parametrize(
    "dims", [("time", "reftime", "lat", "lon"), ("reftime", "time", "lat", "lon")]
)
def test_a_second_time_axis_of_length_one_is_no_rival_of_the_first(
    tmp_path: Path, dims: tuple[str, ...]
) -> None:
    path = tmp_path / "tas.nc"
    held = write_year(path, dims=dims)
    with netCDF4.Dataset(path, "a") as dataset:
        dataset.createVariable("reftime", "f8", ("reftime",)).units = "days since 2000-01-01"
    np.testing.assert_array_equal(field_of(path), held)


@pytest.mark.parametrize("units", ["degrees_north", "degree_N", "degreesN", "degree_north"])
def test_an_axis_is_told_by_its_cf_units_and_not_by_its_name(tmp_path: Path, units: str) -> None:
    path = tmp_path / "tas.nc"
    held = write_year(path)
    with netCDF4.Dataset(path, "a") as dataset:
        values = dataset["lat"][:]
        dataset.renameVariable("lat", "y")
        dataset.renameDimension("lat", "y")
    with netCDF4.Dataset(path, "a") as dataset:
        dataset["y"][:] = values  # the netCDF library loses them
        dataset["y"].units = units
    np.testing.assert_array_equal(field_of(path), held)


def test_files_of_several_variables_give_each_its_own(tmp_path: Path) -> None:
    path = tmp_path / "both.nc"
    write_year(path, "tas")
    pr = sample_values("pr", 2001)
    with netCDF4.Dataset(path, "a") as dataset:
        dataset.createVariable("pr", "f4", ("time", "lat", "lon"), fill_value=np.nan)[:] = pr
        dataset["pr"].units = "mm"
    np.testing.assert_array_equal(field_of(path, variable="pr"), pr)


# ---------------------------------------------------------------- decoding

INT16 = np.array([0, 5, -9999, 32767], dtype="i2")
NAN = np.nan


@pytest.mark.parametrize(
    ("raw", "attributes", "expected"),
    [
        # no attributes: the library's default fill is missing, the others are numbers
        (np.array([1.0, 9.969209968386869e36], "f4"), {}, [1, NAN]),
        (np.array([1, -32767], "i2"), {}, [1, NAN]),
        # ... but a byte has no default fill, and a named fill replaces the default
        (np.array([1, -127], "i1"), {}, [1, -127]),
        (np.array([1, -32767, 7], "i2"), {"_FillValue": np.int16(7)}, [1, -32767, NAN]),
        # both named
        (
            INT16,
            {"_FillValue": np.int16(-9999), "missing_value": np.int16(5)},
            [0, NAN, NAN, 32767],
        ),
        # several missing values (CF allows a vector)
        (INT16, {"missing_value": np.array([0, 5], "i2")}, [NAN, NAN, -9999, 32767]),
        # 1e20 is no 16-bit integer; cast, it would be 0 and mask all zeros
        (INT16, {"missing_value": np.float32(1e20)}, [0, 5, -9999, 32767]),
        (INT16, {"missing_value": np.float32(-9999)}, [0, 5, NAN, 32767]),
        # a text hides neither itself nor the number beside it
        (INT16, {"_FillValue": np.int16(-9999), "missing_value": "none"}, [0, 5, NAN, 32767]),
        # a double fill value finds the nearest float
        (np.array([1.0, 1e20], "f4"), {"missing_value": np.float64(1e20)}, [1, NAN]),
        (
            np.array([1.0, NAN, np.inf, -np.inf], "f4"),
            {"_FillValue": np.float32(NAN)},
            [1] + 3 * [NAN],
        ),
        # too large for float32
        (np.array([1.0, 1e300], "f8"), {}, [1, NAN]),
        # the ends of a valid range are valid
        (np.array([1, 2, 3, 4], "i2"), {"valid_range": np.array([2, 3], "i2")}, [NAN, 2, 3, NAN]),
        (np.array([1, 2, 3], "f4"), {"valid_min": 2.0}, [NAN, 2, 3]),
        (np.array([1, 2, 3], "f4"), {"valid_max": 2.0}, [1, 2, NAN]),
        (np.array([350.1], "f4"), {"valid_max": 350.1}, [np.float32(350.1)]),
        # a bound that the type cannot hold excludes nothing
        (np.array([1, -31072], "i2"), {"valid_max": np.int32(100_000)}, [1, -31072]),
        (np.array([1, 2], "f4"), {"valid_range": "1 2"}, [1, 2]),
        # packed: an integer bound is one of stored values, a real one of unpacked values
        (np.array([1, 2, 3], "i2"), {"scale_factor": 0.5, "valid_max": np.int16(2)}, [0.5, 1, NAN]),
        (np.array([1, 2, 3], "i2"), {"scale_factor": 0.5, "valid_max": 1.0}, [0.5, 1, NAN]),
        (np.array([1, 2], "i2"), {"add_offset": 273.15}, np.float32([274.15, 275.15])),
        # unsigned numbers stored as signed ones
        (
            np.array([1, -1, -2], "i1"),
            {"_Unsigned": "true", "_FillValue": np.int8(-1)},
            [1, NAN, 254],
        ),
        (
            np.array([1, -1], "i2"),
            {"_Unsigned": "true", "missing_value": np.int32(65535)},
            [1, NAN],
        ),
        (np.array([1, -32767], "i2"), {"_Unsigned": "true"}, [1, NAN]),
        (
            np.array([1, -1, -2], "i1"),
            {"_Unsigned": "true", "valid_range": np.array([0, -2], "i1")},
            [1, NAN, 254],
        ),
        # big-endian
        (np.array([1, -9999], ">i2"), {"_FillValue": np.int16(-9999)}, [1, NAN]),
    ],
)
def test_stored_values_are_decoded_as_cf_says(
    raw: np.ndarray, attributes: dict[str, Any], expected: list[float]
) -> None:
    before = raw.copy()
    got = Decoder(raw.dtype, attributes)(raw)
    np.testing.assert_array_equal(got, np.array(expected, dtype=np.float32))
    np.testing.assert_array_equal(raw, before)


# ---------------------------------------------------------------- headers


def test_a_header_tells_units_calendar_grid_and_what_is_worth_keeping(tmp_path: Path) -> None:
    path = tmp_path / "tas.nc"
    write_year(
        path,
        calendar="365_day",
        bounds=True,
        height=True,
        attributes={"comment": "kept", "history": "not kept", "valid_min": 0.0},
        file_attributes={"source_id": "ACCESS-CM2", "tracking_id": "not kept"},
    )
    header = read_header(path, "tas")
    assert (header.path, header.variable, header.units) == (str(path), "tas", "K")
    assert (header.calendar, header.dtype) == ("noleap", "float32")
    assert header.grid.lat.tolist() == list(LAT)
    assert header.grid.lon.tolist() == list(LON)
    assert header.grid.lat_bounds is not None
    assert header.grid.lat_bounds[0].tolist() == [LAT[0] - 0.5, LAT[0] + 0.5]
    attributes = dict(header.attributes)
    assert attributes["comment"] == "kept"
    assert not {"history", "valid_min", "_FillValue", "coordinates"} & set(attributes)
    (height,) = header.scalars
    assert (height.name, height.value, dict(height.attributes)["units"]) == ("height", 2.0, "m")
    assert dict(header.provenance) == {"institution": "climdask tests", "source_id": "ACCESS-CM2"}


def test_a_file_without_a_calendar_has_the_standard_one(tmp_path: Path) -> None:
    path = tmp_path / "tas.nc"
    write_year(path)
    with netCDF4.Dataset(path, "a") as dataset:
        dataset["time"].delncattr("calendar")
    assert read_header(path, "tas").calendar == "standard"


# ---------------------------------------------------------------- what cannot be read

Change = Callable[[netCDF4.Dataset], Any]


def _extra_level(path: Path) -> None:
    dates = dates_of(2001, 2001, "standard")
    with netCDF4.Dataset(path, "w") as dataset:
        for name, size in (("time", len(dates)), ("plev", 3), ("lat", 2), ("lon", 4)):
            dataset.createDimension(name, size)
            dataset.createVariable(name, "f8", (name,))[:] = np.arange(size)
        dataset["time"].units = "days since 2001-01-01"
        dataset["plev"].units = "Pa"
        dataset["lat"].units, dataset["lon"].units = "degrees_north", "degrees_east"
        dataset.createVariable("tas", "f4", ("time", "plev", "lat", "lon"))[:] = 1


def _changed(change: Change) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_year(path)
        with netCDF4.Dataset(path, "a") as dataset:
            change(dataset)

    return write


def _with_dates(dates: list[tuple[int, int, int]]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_file(path, "tas", dates, "standard", np.ones((len(dates), 4, 5), np.float32))

    return write


def _stamp(place: int, value: float) -> Change:
    def change(dataset: netCDF4.Dataset) -> None:
        dataset["time"][place] = value

    return change


YEAR = dates_of(2001, 2001, "standard")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda p: write_year(p, "tasmin"), ['says "tas"', "holds tasmin"]),
        (lambda p: write_year(p, "tsa"), ['did you mean "tsa"?']),
        (_extra_level, ["dimension plev of length 3", "cut one level out"]),
        (_changed(lambda d: d["time"].delncattr("units")), ["time: has no attribute units"]),
        (_changed(lambda d: d["time"].setncattr("units", "days since banana")), ["banana"]),
        (_changed(lambda d: d["time"].setncattr("units", "months since 1850-01-01")), ["months"]),
        (_changed(lambda d: d["time"].setncattr("calendar", "lunar")), ['"lunar" is not known']),
        (_with_dates([*YEAR[:10], YEAR[20], YEAR[15], *YEAR[21:]]), ["not in order at step 12"]),
        (_with_dates([*YEAR[:10], YEAR[9], *YEAR[11:]]), ["not in order at step 11"]),
        (
            _changed(lambda d: d["time"].__setitem__(5, d["time"][4] + 0.25)),
            ["2001-01-05 is there twice"],
        ),
        (_changed(_stamp(364, np.nan)), ["step 365 (nan"]),
        (_changed(_stamp(0, np.nan)), ["step 1 (nan"]),
        (_changed(_stamp(364, np.inf)), ["step 365 (inf"]),
        (_changed(_stamp(364, 9.96921e36)), ["time units"]),
        (_with_dates([]), ["time axis is empty"]),
        (lambda p: write_year(p, year=2003), ["its name says 2001", "2003-2003 only"]),
        (
            _changed(
                lambda d: d.renameVariable("tas", "x") or d.createVariable("tas", str, ("time",))
            ),
            ["holds <class 'str'>", "expected numbers"],
        ),
    ],
)
def test_contents_that_contradict_the_name_are_told(
    tmp_path: Path, write: Callable[[Path], Any], words: list[str]
) -> None:
    path = tmp_path / "tas_2001.nc"
    write(path)
    with pytest.raises(InconsistentFile) as caught:
        blocks_of(path)
    assert str(path) in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_check_tells_what_a_read_would_tell(tmp_path: Path) -> None:
    one, other = tmp_path / "tas_2001.nc", tmp_path / "tas_2002.nc"
    write_year(one, year=2001)
    write_year(other, year=2002, attributes={"units": "degC"})
    header = read_header(one, "tas")
    check_file(one, header, [2001])
    with pytest.raises(InconsistentFile, match="its name says 2002"):
        check_file(one, header, [2001, 2002])
    with pytest.raises(InconsistentFile, match='units "degC", not "K"'):
        check_file(other, header, [2002])


def test_a_time_axis_of_one_bad_stamp_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tas.nc"
    write_file(path, "tas", YEAR[:1], "standard", np.ones((1, 4, 5), np.float32))
    with netCDF4.Dataset(path, "a") as dataset:
        dataset["time"][0] = np.nan
    with pytest.raises(InconsistentFile, match=r"step 1 \(nan"):
        blocks_of(path)


def test_a_field_without_a_time_axis_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tas.nc"
    write_year(path)
    with netCDF4.Dataset(path, "a") as dataset:
        dataset.createVariable("orog", "f4", ("lat", "lon"))[:] = 1
    with pytest.raises(InconsistentFile, match=r"orog\(lat, lon\) has no time axis"):
        read_header(path, "orog")


def test_two_latitudes_are_told(tmp_path: Path) -> None:
    path = tmp_path / "tas.nc"
    write_year(path)
    with netCDF4.Dataset(path, "a") as dataset:
        dataset.createDimension("lat2", 2)
        dataset.createVariable("lat2", "f8", ("lat2",)).units = "degrees_north"
        dataset.createVariable("x", "f4", ("time", "lat", "lat2", "lon"))
    with pytest.raises(InconsistentFile, match="dimension lat2 of length 2"):
        read_header(path, "x")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attributes": {"units": "degC"}}, 'has units "degC", not "K"'),
        ({"calendar": "360_day"}, 'calendar "360_day", not "standard"'),
        ({"lat": (-51.0, -9.5, 31.0, 70.0)}, "lat 4 is 70, not 70.25"),
        ({"lat": LAT[::-1]}, "a grid of"),
        ({"lon": LON[:4]}, "a grid of 4 x 4 cells"),
    ],
)
def test_a_file_that_differs_from_its_chain_is_told_with_both_names(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    one, other = tmp_path / "tas_2001.nc", tmp_path / "tas_2002.nc"
    write_year(one, year=2001)
    write_year(other, year=2002, **changes)
    header = read_header(one, "tas")
    selection = select(header.grid, (GLOBAL,))
    with pytest.raises(InconsistentFile) as caught:
        read_years(other, header, DayAxis("standard", "drop"), selection, [2002])
    assert words in str(caught.value)
    assert str(one) in str(caught.value)
    assert str(other) in str(caught.value)


def test_calendars_that_are_alike_since_1582_may_stand_in_one_chain(tmp_path: Path) -> None:
    one, other = tmp_path / "tas_2001.nc", tmp_path / "tas_2004.nc"
    write_year(one, calendar="standard")
    held = write_year(other, year=2004, calendar="proleptic_gregorian")
    header = read_header(one, "tas")
    selection = select(header.grid, (GLOBAL,))
    (block,) = read_years(other, header, DayAxis("standard", "keep"), selection, [2004])
    np.testing.assert_array_equal(block.values, held.reshape(366, -1))


FORMAT_IDS = ["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"]


@pytest.mark.parametrize("kind", FORMAT_IDS)
@pytest.mark.parametrize("keep", [-1, 0.999, 0.5, 0.02])
def test_a_truncated_file_is_never_read_as_zeros(tmp_path: Path, kind: str, keep: float) -> None:
    path = tmp_path / "tas.nc"
    write_year(path, format=kind)
    assert np.isfinite(field_of(path)).any()
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if keep == -1 else int(len(whole) * keep)])
    with pytest.raises(UnreadableFile, match=r"tas\.nc: .*(truncated|cannot be read)"):
        blocks_of(path)


@pytest.mark.parametrize("kind", FORMAT_IDS[1:])
@pytest.mark.parametrize("unlimited", [False, True])
@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_netcdf3_of_any_layout_is_whole_to_the_last_byte_that_counts(
    tmp_path_factory: pytest.TempPathFactory, kind: str, unlimited: bool, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("netcdf3") / "any.nc"
    n = data.draw(st.integers(1, 5), label="records")
    with netCDF4.Dataset(path, "w", format=kind) as dataset:
        dataset.createDimension("time", None if unlimited else n)
        dataset.createDimension("x", 3)
        dataset.title = "t" * data.draw(st.integers(1, 9))
        types = data.draw(
            st.lists(st.sampled_from(["f8", "f4", "i2", "i1"]), min_size=1, max_size=4)
        )
        for i, dtype in enumerate(types):
            dims = data.draw(st.sampled_from([("time",), ("time", "x"), ("x",), ()]))
            var = dataset.createVariable(f"v{i}", dtype, dims)
            var.note = "n" * i
            var[...] = np.ones([n if d == "time" else 3 for d in dims])
    whole = path.read_bytes()
    with path.open("rb") as file:
        needed = netcdf.netcdf3.needed_bytes(file)
    # The library pads the end to four bytes.
    assert len(whole) - 4 < needed <= len(whole)


def test_a_flipped_bit_in_a_compressed_chunk_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tas.nc"
    write_year(path, deflate=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"tas\.nc"):
        blocks_of(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty (0 bytes)"),
        (b"<html>404 Not Found</html>", "is no NetCDF file, it starts with b'<htm'"),
        (b"CDF", "is no NetCDF file"),
        (b"CDF\x01\x00\x00", "damaged or truncated"),
        (b"\x89HDF\r\n\x1a\nrubbish", "cannot be read"),
    ],
)
def test_what_is_no_netcdf_file_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "tas.nc"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile) as caught:
        read_header(path, "tas")
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="No such file"):
        read_header(tmp_path / "tas.nc", "tas")


@pytest.mark.slow
def test_threads_that_read_different_files_do_not_crash_the_library(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.nc" for i in range(4)]
    held = [write_year(path, seed=i, deflate=True) for i, path in enumerate(paths)]
    failed: list[int] = []

    def work(i: int) -> None:
        same = [np.array_equal(field_of(paths[i]), held[i], equal_nan=True) for _ in range(15)]
        failed.extend(i for ok in same if not ok)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


# ---------------------------------------------------------------- real data


@needs_real
def test_observed_sea_surface_temperature_keeps_its_land_mask_and_its_leap_day() -> None:
    path = REAL / "oisst_tasman/annual/sst_day_OISST-V2_obs_r1_gn_1984.nc"
    got = field_of(path, 1984, variable="sst", leap_day="keep")
    with xr.open_dataset(path) as dataset:
        expected = dataset["sst"].sortby("lat").values
    np.testing.assert_array_equal(got, expected)
    assert got.shape == (366, 32, 32)
    assert np.isnan(got).all(axis=0).sum() == 83
    dropped = field_of(path, 1984, variable="sst")
    np.testing.assert_array_equal(dropped, np.delete(expected, 59, axis=0))


@pytest.mark.slow
@needs_real
def test_a_file_of_150_years_and_its_annual_parts_give_the_same_blocks() -> None:
    whole = REAL / "canesm2_cmip5/original/tiny_daily_pr.nc"
    annual = REAL / "canesm2_cmip5/annual"
    years = [1950, 2005, 2006, 2100]
    header = read_header(whole, "pr")
    assert header.calendar == "noleap"
    assert header.grid.lat_bounds is not None
    selection = select(header.grid, (GLOBAL,))
    axis = DayAxis("noleap", "drop")
    blocks = read_years(whole, header, axis, selection, years)
    for year, block in zip(years, blocks, strict=True):
        scenario = "historical" if year <= 2005 else "rcp26"
        part = annual / scenario / "pr" / f"pr_day_CanESM2_{scenario}_r1i1p1_gn_{year}.nc"
        (alone,) = read_years(part, header, axis, selection, [year])
        np.testing.assert_array_equal(block.values, alone.values)
        assert block.days_all.all()


@needs_real
def test_decades_with_epochs_of_their_own_follow_each_other_to_an_incomplete_year() -> None:
    folder = REAL / "ec-earth_cmip5"
    name = "tas_day_EC-EARTH_historical_r1i1p1_{}.nc"
    header = read_header(folder / name.format("18500101-18591231"), "tas")
    selection = select(header.grid, (GLOBAL,))
    axis = DayAxis(header.calendar, "keep")
    last = folder / name.format("20000101-20091130")
    blocks = read_years(last, header, axis, selection, [2008, 2009])
    assert [int(b.days_any.sum()) for b in blocks] == [366, 334]
    assert not blocks[1].days_any[-31:].any()
    with xr.open_dataset(last) as dataset:
        expected = dataset["tas"].sel(time="2009").values
    got = blocks[1].values[blocks[1].days_any]
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)


@needs_real
@pytest.mark.parametrize("variable", ["pr", "tasmax", "tasmin"])
def test_a_year_of_360_days_is_read_whole_beside_a_four_dimensional_neighbour(
    variable: str,
) -> None:
    (path,) = (REAL / "single_year_formats/HadGEM2-CC_360day").glob(f"{variable}_*.nc")
    got = field_of(path, 2095, variable=variable)
    with xr.open_dataset(path, decode_times=False) as dataset:
        expected = dataset[variable].transpose("time", "lat", "lon").sortby("lat").sortby("lon")
    assert got.shape == (360, 36, 36)
    np.testing.assert_array_equal(got, expected.values)


@needs_real
@pytest.mark.parametrize("model", ["KACE-1-0-G", "NESM3", "NorESM2-LM"])
def test_a_field_on_levels_says_that_a_level_must_be_cut_out(model: str) -> None:
    (path,) = (REAL / "cmip6_ta").glob(f"ta_day_{model}_*.nc")
    with pytest.raises(InconsistentFile, match=r"ta has a dimension plev of length 2.*cut one"):
        read_header(path, "ta")


@needs_real
def test_a_series_at_a_point_says_that_it_has_no_grid() -> None:
    path = next((REAL / "single_year_formats/nex_gddp_v1").glob("*.nc"))
    with pytest.raises(InconsistentFile, match=r"pr\(time\) has no lat axis"):
        read_header(path, "pr")


def test_a_year_in_parts_takes_a_day_from_one_file_only_but_a_file_twice(tmp_path: Path) -> None:
    dates = dates_of(2001, 2001, "noleap")
    values = sample_values("tas", 2001, "noleap")
    for name, days in (("a.nc", slice(0, 31)), ("b.nc", slice(31, 365)), ("c.nc", slice(40, 41))):
        write_file(tmp_path / name, "tas", dates[days], "noleap", values[days])
    header = read_header(tmp_path / "a.nc", "tas")
    axis, selection = DayAxis("noleap", "drop"), select(header.grid, [GLOBAL])
    year = YearInParts.empty(header, axis, selection, 2001)
    for name in ("a.nc", "b.nc", "a.nc"):  # a read that failed late is tried again
        year.add(tmp_path / name)
    with pytest.raises(InconsistentFile, match=r"c\.nc: 2001-02-10 is in .*b\.nc, too"):
        year.add(tmp_path / "c.nc")
    np.testing.assert_array_equal(year.block.values, values.reshape(365, -1))

"""Coordinates: what a dimension is, and values that are unpacked before any use."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climdask.climatology.places import GLOBAL, Box, select
from climdask.errors import ClimdaskError, InconsistentFile
from climdask.inputs.headers import Header
from climdask.inputs.netcdf import read_header

REAL = Path(__file__).parents[3] / "shared/data/real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"real data are not at {REAL}")

LAT, LON = np.array([-10.0, 0.0, 10.0]), np.array([0.0, 90.0, 180.0, 270.0])
Hook = Callable[[netCDF4.Dataset], Any]


def write(
    path: Path,
    *,
    lat: Any = LAT,
    lon: Any = LON,
    dtype: str = "f8",
    about: dict[str, dict[str, Any]] | None = None,
    names: tuple[str, str] = ("lat", "lon"),
    hook: Hook = lambda _: None,
) -> Path:
    """Write two days of ``tas``; ``about`` replaces attributes of the coordinates."""
    about = about or {}
    with netCDF4.Dataset(path, "w") as dataset:
        dataset.createDimension("time", 2)
        time = dataset.createVariable("time", "f8", ("time",))
        time.units = "days since 2001-01-01"
        time[:] = [0.5, 1.5]
        for key, values, name, units in (
            ("lat", lat, names[0], "degrees_north"), ("lon", lon, names[1], "degrees_east")
        ):  # fmt: skip
            dataset.createDimension(name, len(values))
            made = dataset.createVariable(name, dtype, (name,))
            made.set_auto_maskandscale(False)
            made.setncatts({"units": units, **about.get(key, {})})
            made[:] = values
        tas = dataset.createVariable("tas", "f4", ("time", *names))
        tas.units = "K"
        tas[:] = 280
        hook(dataset)
    return path


def header_of(path: Path, **given: Any) -> Header:
    return read_header(write(path, **given), "tas")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tas.nc"


# ---------------------------------------------------------------- values


def test_packed_coordinates_are_unpacked(file: Path) -> None:
    about = {
        "lat": {"scale_factor": 0.5, "add_offset": 10.0},
        "lon": {"scale_factor": -2.0, "add_offset": 180.0},
    }
    grid = header_of(file, lat=[-40, -20, 0], lon=[90, 45, 0, -45], dtype="i2", about=about).grid
    assert [*grid.lat] == [-10, 0, 10]
    assert [*grid.lon] == [0, 90, 180, 270]


def bounds(dtype: str, values: Any, **attributes: Any) -> Hook:
    def hook(dataset: netCDF4.Dataset) -> None:
        dataset.createDimension("bnds", 2)
        made = dataset.createVariable("lat_bnds", dtype, ("lat", "bnds"))
        made.set_auto_maskandscale(False)
        made.setncatts(attributes)
        made[:] = values
        dataset["lat"].bounds = "lat_bnds"

    return hook


EDGES = np.array([[-15.0, -5.0], [-5.0, 5.0], [5.0, 15.0]])


@pytest.mark.parametrize(
    "hook",
    [
        bounds("f8", EDGES),
        bounds("i2", EDGES * 10, scale_factor=0.1),  # an own packing
        bounds("i2", EDGES * 2),  # that of the latitudes
        bounds("i2", EDGES),  # none, although the latitudes are packed
    ],
)
def test_bounds_are_unpacked_by_their_own_attributes_or_their_coordinates(
    file: Path, hook: Hook
) -> None:
    header = header_of(
        file, lat=LAT * 2, dtype="i2", about={"lat": {"scale_factor": 0.5}}, hook=hook
    )
    np.testing.assert_allclose(header.grid.lat_bounds, EDGES)
    assert header.notes == ()


@pytest.mark.parametrize(
    "hook",
    [
        bounds("f8", EDGES + 40),
        bounds("f8", [[-15, -5], [np.nan, 5], [5, 15]]),
        bounds("f8", 1e20, _FillValue=1e20),
    ],
)
def test_bounds_that_do_not_hold_their_values_are_left_out_and_told(file: Path, hook: Hook) -> None:
    header = header_of(file, hook=hook)
    assert header.grid.lat_bounds is None
    assert header.notes == (
        "lat_bnds: its bounds do not hold the values of lat; they are left out",
    )


def test_bounds_may_lie_a_turn_away_from_their_longitudes(file: Path) -> None:
    edges = np.array([[315.0, 45.0], [45, 135], [135, 225], [225, 315]])

    def hook(dataset: netCDF4.Dataset) -> None:
        dataset.createDimension("bnds", 2)
        dataset.createVariable("lon_bnds", "f8", ("lon", "bnds"))[:] = edges
        dataset["lon"].bounds = "lon_bnds"

    header = header_of(file, hook=hook)
    np.testing.assert_array_equal(header.grid.lon_bounds, edges)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lat": [-10, np.nan, 10]}, "lat: latitude 2 of 3 is missing; expected -90 to 90 degrees"),
        ({"lat": [-10, 1e20, 10], "about": {"lat": {"missing_value": 1e20}}}, "2 of 3 is missing"),
        ({"lat": [-10, 9.969209968386869e36, 10]}, "latitude 2 of 3 is missing"),
        ({"lat": [-1000, 0, 1000]}, "latitude 1 of 3 is -1000; expected -90 to 90"),
        ({"lon": [0, 90, 180, 27000]}, "longitude 4 of 4 is 27000; expected -360 to 720"),
        ({"lat": [-10, 0, -10]}, "lat: latitude -10 is there twice, as number 1 and 3 of 3"),
        ({"about": {"lat": {"scale_factor": ""}}}, "lat: attribute scale_factor is ''"),
        ({"about": {"lon": {"scale_factor": [1.0, 2.0]}}}, "lon: attribute scale_factor is"),
        ({"about": {"lon": {"add_offset": "east"}}}, "lon: attribute add_offset is 'east'"),
    ],
)
def test_values_that_are_no_places_are_told(file: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InconsistentFile, match=words):
        header_of(file, **given)


def test_longitudes_of_the_same_place_are_used_once_and_told(file: Path) -> None:
    header = header_of(file, lon=[0, 90, 180, 270, 360])
    assert header.notes == ("lon: 1 column repeats a place, at 360 E; each place is used once",)
    assert [*select(header.grid, (GLOBAL,)).regions[0].lon] == [0, 90, 180, 270]


@pytest.mark.parametrize(
    ("lon", "box", "expected"),
    [
        ([0, 90, 180, 270, 360], (-100, 100), [-90, 0, 90]),
        ([0, 90, 180, 270, 360], (0, 90), [0, 90]),
        ([0, 90, 180, 270, 360], (270, 360), [270, 360]),
        ([-180, -90, 0, 90, 180], (90, 270), [90, 180, 270]),
        ([-180, -90, 0, 90, 180], (None, None), [-180, -90, 0, 90]),
        ([-90, 0, 90, 180, 270, 360], (None, None), [-90, 0, 90, 180]),
        ([0, 90, 180, 270, 359.99999], (None, None), [0, 90, 180, 270]),
        ([0, 90, 180, 270, 359.99], (None, None), [0, 90, 180, 270, 359.99]),
    ],
)
def test_each_region_has_a_place_once(
    file: Path, lon: list[float], box: tuple[float | None, float | None], expected: list[float]
) -> None:
    grid = header_of(file, lon=lon).grid
    region = Box("r", *box, None if box[0] is None else -90, None if box[0] is None else 90)
    cells = select(grid, (region,)).regions[0]
    assert [*cells.lon] == expected
    assert cells.index.shape == (3, len(expected))


# ---------------------------------------------------------------- dimensions


@pytest.mark.parametrize(
    ("lat", "lon", "names"),
    [
        ("degrees_N", "degrees_E", ("nlat", "nlon")),
        ("Degrees_North", "Degrees_East", ("y", "x")),
        ("degrees north ", "degrees east", ("y", "x")),
        ("degree", "degrees", ("lat", "lon")),
        ("", "", ("Latitude", "Longitude")),
        ("°N", "°E", ("a", "b")),
    ],
)
def test_spellings_of_degrees(file: Path, lat: str, lon: str, names: tuple[str, str]) -> None:
    grid = header_of(file, about={"lat": {"units": lat}, "lon": {"units": lon}}, names=names).grid
    assert ([*grid.lat], [*grid.lon]) == ([*LAT], [*LON])


def test_a_standard_name_tells_an_axis_whose_units_are_degrees(file: Path) -> None:
    about = {
        "lat": {"units": "degrees", "standard_name": "latitude"},
        "lon": {"units": "degrees", "standard_name": "longitude"},
    }
    assert [*header_of(file, about=about, names=("j", "i")).grid.lat] == [*LAT]


@pytest.mark.parametrize(
    ("about", "names", "words"),
    [
        (
            {"lat": {"units": "degrees_east"}, "lon": {"units": "degrees_north"}},
            ("lat", "lon"),
            r'lat is a latitude by its name, but has units "degrees_east"; expected '
            r'"degrees_north".*ncatted -a units,lat,o,c,degrees_north',
        ),
        ({"lat": {"units": "radians"}}, ("lat", "lon"), 'has units "radians"; expected "degrees_n'),
        ({"lon": {"units": "m"}}, ("lat", "longitude"), 'longitude is a .* has units "m"'),
        (
            {"lat": {"units": "radians", "axis": "Y"}},
            ("y", "lon"),
            'dimension y of length 3, with axis "Y" and units "radians"; expected "degrees_north"',
        ),
        (
            {"lat": {"units": "1", "standard_name": "grid_latitude"}},
            ("rlat", "lon"),
            'dimension rlat of length 3 and units "1"',
        ),
        ({"lat": {"units": "days"}}, ("station", "lon"), 'length 3 and units "days"; expected'),
    ],
)
def test_wrong_units_of_an_axis_are_named(
    file: Path, about: dict[str, Any], names: tuple[str, str], words: str
) -> None:
    with pytest.raises(InconsistentFile, match=words):
        header_of(file, about=about, names=names)


def field(dims: tuple[str, ...], hook: Hook = lambda _: None) -> Hook:
    def make(dataset: netCDF4.Dataset) -> None:
        for dim in dims:
            if dim not in dataset.dimensions:
                dataset.createDimension(dim, 3)
        dataset.createVariable("x", "f4", dims)
        hook(dataset)

    return make


def level(name: str, **attributes: str) -> Hook:
    def hook(dataset: netCDF4.Dataset) -> None:
        dataset.createVariable(name, "f8", (name,)).setncatts(attributes)

    return hook


def places(*dims: str) -> Hook:
    def hook(dataset: netCDF4.Dataset) -> None:
        for name, units in (("here_lat", "degrees_north"), ("here_lon", "degrees_east")):
            dataset.createVariable(name, "f8", dims).units = units

    return hook


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (
            field(("time", "plev", "lat", "lon"), level("plev", units="Pa")),
            "dimension plev of length 3: levels in Pa; .*cut one level out first .cdo sellevel",
        ),
        (
            field(("time", "depth", "lat", "lon"), level("depth", units="m", positive="down")),
            "levels in m; .*ncks -d depth,0",
        ),
        (
            field(("time", "station"), places("station")),
            "length 3: it holds stations or an unstructured grid, all places lie along station",
        ),
        (
            field(("time", "rlat", "rlon"), places("rlat", "rlon")),
            r"rlat of length 3: its grid is curvilinear.*here_lat\(rlat, rlon\).*cdo remapbil",
        ),
        (field(("time", "y", "lat", "lon")), "dimension y of length 3 and no coordinate variable"),
        (
            field(("time", "run", "lat", "lon"), level("run", units="1")),
            r"dimension run .*choose one index of it first \(ncks -d run,0",
        ),
    ],
)
def test_the_advice_fits_the_dimension(file: Path, hook: Hook, words: str) -> None:
    write(file, hook=hook)
    with pytest.raises(InconsistentFile, match=words) as caught:
        read_header(file, "x")
    assert ("cut one level" in str(caught.value)) == ("levels" in str(caught.value))


@needs_real
@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("cordex", "curvilinear"),
        ("era5_cities", "stations|has no lat axis"),
        ("cmip6_ta", "levels"),
    ],
)
def test_real_files_on_other_grids_are_refused_with_their_reason(folder: str, words: str) -> None:
    path = sorted((REAL / folder).rglob("*.nc"))[0]
    with netCDF4.Dataset(path) as dataset:
        name = max(dataset.variables, key=lambda n: dataset[n].size)
    with pytest.raises(InconsistentFile, match=words):
        read_header(path, name)


# ---------------------------------------------------------------- scalars


def scalar(name: str, dtype: Any, value: Any, **attributes: Any) -> Hook:
    def hook(dataset: netCDF4.Dataset) -> None:
        fill = attributes.pop("_FillValue", None)
        made = dataset.createVariable(name, dtype, (), fill_value=fill)
        made.set_auto_maskandscale(False)
        made.setncatts(attributes)
        if value is not None:
            made[...] = value
        dataset["tas"].coordinates = f"lat {name} lon"

    return hook


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        (scalar("height", "f8", 2.0, units="m"), [("height", 2.0)]),
        (scalar("height", "i2", 20, scale_factor=0.1, units="m"), [("height", 2.0)]),
        (scalar("height", "f8", None, _FillValue=1e20), []),
        (scalar("height", "f8", np.nan), []),
        (scalar("member_id", str, "r1i1p1f1"), []),
        (scalar("reftime", "f8", 5.0, units="days since 2000-01-01"), []),
    ],
)
def test_scalar_coordinates_are_unpacked_or_left_out(
    file: Path, hook: Hook, expected: list[tuple[str, float]]
) -> None:
    found = [(s.name, s.value) for s in header_of(file, hook=hook).scalars]
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert all(math.isclose(a[1], b[1]) for a, b in zip(found, expected, strict=True))


def test_the_axes_of_one_cell_are_no_scalars(file: Path) -> None:
    def hook(dataset: netCDF4.Dataset) -> None:
        dataset["tas"].coordinates = "lat lon time"

    header = header_of(file, lat=[5.0], lon=[7.0], hook=hook)
    assert header.scalars == ()
    assert header.grid.shape == (1, 1)


def test_files_at_different_levels_are_no_chain(tmp_path: Path) -> None:
    two = header_of(tmp_path / "a.nc", hook=scalar("height", "f8", 2.0, units="m", positive="up"))
    ten = header_of(tmp_path / "b.nc", hook=scalar("height", "f8", 10.0, units="m", positive="up"))
    assert two.differences(ten) == ["height 10, not 2"]
    assert two.differences(two) == []


# ---------------------------------------------------------------- anything


NUMBERS = st.one_of(
    st.floats(width=32), st.integers(-(2**31), 2**31 - 1), st.sampled_from([0.5, 1e20, -90.0])
)
VALUES = st.one_of(
    NUMBERS, st.text(st.characters(codec="latin-1", exclude_characters="\0"), max_size=12),
    st.lists(NUMBERS.map(float), min_size=1, max_size=3),
)  # fmt: skip
ATTRIBUTES = st.dictionaries(
    st.sampled_from(
        ["units", "standard_name", "axis", "scale_factor", "add_offset", "_FillValue",
         "missing_value", "bounds", "positive", "_Unsigned", "valid_range"]
    ),
    VALUES, max_size=3,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    lat=ATTRIBUTES, lon=ATTRIBUTES, dtype=st.sampled_from(["f8", "f4", "i2", "i4", "u1", "i8"]),
    values=st.lists(st.integers(0, 120), min_size=3, max_size=3),
)  # fmt: skip
def test_hostile_coordinates_give_the_right_places_or_an_error(
    tmp_path_factory: pytest.TempPathFactory,
    lat: dict[str, Any],
    lon: dict[str, Any],
    dtype: str,
    values: list[int],
) -> None:
    path = tmp_path_factory.mktemp("any") / "tas.nc"
    fills = [about.pop("_FillValue", None) for about in (lat, lon)]
    about = {"lat": lat, "lon": lon}
    for key, fill in zip(about, fills, strict=True):
        if isinstance(fill, int) and dtype in ("i4", "i8"):
            about[key]["_FillValue"] = np.array(fill, dtype)
    try:
        write(path, lat=values, lon=[0, 1, 2, 3], dtype=dtype, about=about)
    except (ValueError, TypeError, OverflowError, AttributeError, RuntimeError):
        return  # such a file cannot be made
    try:
        grid = read_header(path, "tas").grid
    except ClimdaskError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert str(path) in refused
        return
    packing = [float(np.ravel(lat.get(k, d))[0]) for k, d in _PACKING]
    expected = np.array(values, dtype=float) * packing[0] + packing[1]
    np.testing.assert_allclose(grid.lat, expected, rtol=1e-6, atol=1e-6)
    assert np.abs(grid.lat).max() <= 90.001


_PACKING = (("scale_factor", 1.0), ("add_offset", 0.0))

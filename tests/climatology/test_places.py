"""Regions: which cells a box holds, in which order, with which coordinates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climdask.climatology.grids import TOLERANCE, Grid, RectilinearGrid
from climdask.climatology.places import DEFAULT_REGIONS, GLOBAL, Box, select
from climdask.errors import RegionError

# NEX-GDDP-CMIP6: 0.25 degrees, without Antarctica.
NEX_LAT = -59.875 + 0.25 * np.arange(600)
NEX_LON = 0.125 + 0.25 * np.arange(1440)


def with_bounds(lat, lon, step) -> Grid:
    """A grid whose cells reach half a step to each side."""
    lat, lon = np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)
    edges = np.array([-step / 2, step / 2])
    return RectilinearGrid(lat, lon, lat[:, None] + edges, lon[:, None] + edges)


NEX = with_bounds(NEX_LAT, NEX_LON, 0.25)
NEX_180 = with_bounds(NEX_LAT, np.sort((NEX_LON + 180) % 360 - 180), 0.25)
NEX_FLIPPED = with_bounds(NEX_LAT[::-1], NEX_LON, 0.25)
COARSE = with_bounds(np.arange(-80.0, 81, 10), np.arange(0.0, 360, 7.5), 5)


def turns_into(box: Box, lon: float) -> float | None:
    """How far east of the box's western edge a centre is; None if it is outside."""
    if box.west is None:
        return lon
    if box.east - box.west >= 360:
        return lon
    east = box.east
    while east < box.west:
        east += 360
    inside = [lon + 360 * k for k in (-2, -1, 0, 1, 2)]
    inside = [x for x in inside if box.west - TOLERANCE <= x <= east + TOLERANCE]
    return inside[0] if inside else None


def oracle(grid: Grid, box: Box) -> dict[tuple[int, int], tuple[float, float]]:
    """The box's (row, column) with how north and how far east each is, cell by cell."""
    columns = {c: x for c, v in enumerate(grid.lon) if (x := turns_into(box, float(v))) is not None}
    found = {}
    for row, lat in enumerate(grid.lat.tolist()):
        for column, eastward in columns.items():
            if box.south is None or box.south - TOLERANCE <= lat <= box.north + TOLERANCE:
                found[row, column] = (lat, eastward)
    return found


def check(grid: Grid, box: Box) -> None:
    """Compare a selection of one box with the oracle, cell by cell."""
    selection = select(grid, [box])
    (region,) = selection.regions
    expected = oracle(grid, box)
    n_lon = grid.lon.size
    assert selection.cells.dtype == np.int64
    assert selection.cells.tolist() == sorted(row * n_lon + column for row, column in expected)
    in_order = [cell for cell, _ in sorted(expected.items(), key=lambda item: item[1])]
    flat = selection.cells[region.index]
    assert flat.shape == (region.lat.size, region.lon.size)
    assert [divmod(cell, n_lon) for cell in flat.ravel().tolist()] == in_order
    rows, columns = np.divmod(flat, n_lon)
    assert (region.lat[:, None] == grid.lat[rows]).all()
    assert ((region.lon - grid.lon[columns]) % 360 == 0).all()  # whole turns only
    assert (np.diff(region.lat) > 0).all()
    assert (np.diff(region.lon) > 0).all()


@pytest.mark.parametrize("name", [n for n in DEFAULT_REGIONS if n != "global"])
@pytest.mark.parametrize("grid", [NEX, NEX_180, NEX_FLIPPED], ids=["0-360", "180", "descending"])
def test_a_default_region_has_the_cells_of_the_brute_force_oracle(name, grid):
    check(grid, DEFAULT_REGIONS[name])


@pytest.mark.parametrize(
    ("name", "shape", "corner"),
    [
        ("CONUS", (104, 240), (24.125, 234.125)),
        ("AK", (88, 260), (50.125, 170.125)),
        ("HI", (38, 94), (19.125, 181.875)),
        ("PRVI", (4, 14), (17.625, 292.125)),
        ("GU", (29, 6), (13.375, 144.625)),
        ("global", (600, 1440), (-59.875, 0.125)),
    ],
)
@pytest.mark.slow
def test_a_default_region_has_its_known_shape_and_corner_on_the_nex_grid(name, shape, corner):
    (region,) = select(NEX, [DEFAULT_REGIONS[name]]).regions
    assert region.index.shape == shape
    assert (region.lat[0], region.lon[0]) == corner


@pytest.mark.parametrize(
    "box",
    [
        Box("wraps the dateline", 170, -170, -15, 15),
        Box("wraps the dateline, 0 to 360", 170, 190, -15, 15),
        Box("crosses 0 E", -10, 10, -15, 15),
        Box("crosses 0 E, 0 to 360", 350, 10, -15, 15),
        Box("ends at 0 E", 340, 0, -15, 15),
        Box("ends at 360 E", 340, 360, -15, 15),
        Box("begins at 0 E", 0, 20, -15, 15),
        Box("begins at 360 E", 360, 20, -15, 15),
        Box("Americas", -120, -60, -15, 15),
        Box("a single centre", 45, 45, 30, 30),
        Box("all but a column", 5, 359, -90, 90),
        Box("all the way round, from the dateline", -180, 180, -90, 90),
        Box("all the way round, from 0 E", 0, 360, -90, 90),
        GLOBAL,
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "grid",
    [
        COARSE,
        with_bounds(COARSE.lat, (COARSE.lon + 180) % 360 - 180, 5),  # 0 … 180, -180 … -7.5
        with_bounds(COARSE.lat, np.sort((COARSE.lon + 180) % 360 - 180), 5),
        with_bounds(COARSE.lat[::-1], COARSE.lon, 5),
        with_bounds(COARSE.lat, COARSE.lon[::-1], 5),  # east to west
    ],
    ids=["0-360", "unsorted", "180", "lat descending", "lon descending"],
)
def test_a_box_has_the_cells_of_the_oracle_whatever_the_convention(grid, box):
    check(grid, box)


edges = st.integers(-180 * 4, 360 * 4).map(lambda n: n / 4)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(west=edges, east=edges, south=st.integers(-85, 70), height=st.integers(10, 40))
def test_any_box_has_the_cells_of_the_oracle(west, east, south, height):
    box = Box("any", west, east, south, south + height)
    for grid in (COARSE, with_bounds(COARSE.lat[::-1], np.arange(-178.0, 180, 7.5), 5)):
        if oracle(grid, box):
            check(grid, box)
        else:
            with pytest.raises(RegionError):
                select(grid, [box])


def test_alaska_crosses_the_dateline_and_stays_continuous():
    for grid in (NEX, NEX_180):
        (region,) = select(grid, [DEFAULT_REGIONS["AK"]]).regions
        assert region.lon.tolist() == (170.125 + 0.25 * np.arange(260)).tolist()
        assert region.lat.tolist() == (50.125 + 0.25 * np.arange(88)).tolist()


@pytest.mark.parametrize("grid", [NEX, NEX_180], ids=["0-360", "180"])
@pytest.mark.parametrize("edges", [(-1, 1), (359, 1)])
def test_a_box_that_crosses_0_e_counts_from_minus_180(grid, edges):
    (region,) = select(grid, [Box("Greenwich", *edges, 51, 52)]).regions
    assert region.lon.tolist() == (-0.875 + 0.25 * np.arange(8)).tolist()


@pytest.mark.parametrize("edges", [(-120, -60), (240, 300), (240, -60)])
def test_a_box_may_be_given_in_either_convention(edges):
    expected = select(NEX, [Box("Americas", 240, 300, 10, 20)])
    for grid in (NEX, NEX_180):
        region = select(grid, [Box("Americas", *edges, 10, 20)]).regions[0]
        assert region.lon.tolist() == expected.regions[0].lon.tolist()


def test_latitudes_ascend_whichever_way_the_file_has_them():
    box = Box("box", 10, 12, 20, 22)
    (up,), (down,) = select(NEX, [box]).regions, select(NEX_FLIPPED, [box]).regions
    assert up.lat.tolist() == down.lat.tolist() == (20.125 + 0.25 * np.arange(8)).tolist()
    cells = select(NEX_FLIPPED, [box]).cells[down.index]
    assert (np.diff(cells[:, 0]) == -1440).all()  # the file's rows go the other way
    assert down.lat_bounds.tolist() == up.lat_bounds.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in DEFAULT_REGIONS if n != "global"])
def test_float32_coordinates_select_the_same_cells(name):
    # In float32 0.1-degree centres are off by up to 1e-5.
    step = 0.1
    lat, lon = -89.95 + step * np.arange(1800), 0.05 + step * np.arange(3600)
    narrow = RectilinearGrid(
        lat.astype(np.float32).astype(float), lon.astype(np.float32).astype(float)
    )
    box = DEFAULT_REGIONS[name]
    snapped = Box(name, *(round(float(e) - 0.05, 1) + 0.05 for e in (box.west, box.east)), 15, 45)
    expected = select(RectilinearGrid(lat, lon), [snapped])
    assert select(narrow, [snapped]).cells.tolist() == expected.cells.tolist()


@pytest.mark.parametrize(
    ("off", "columns"),
    [
        (0.0, 2),  # edges are inclusive
        (0.9e-4, 2),  # float32 noise
        (-0.9e-4, 2),
        (1.1e-4, 1),  # more than noise
    ],
)
def test_a_centre_counts_as_inside_to_a_ten_thousandth_of_a_degree(off, columns):
    for base in (0.0, 90.0, 352.5):  # the western edge at 0 E must wrap
        box = Box("box", base + off, (base + 7.5) % 360, 10, 10)
        (region,) = select(COARSE, [box]).regions
        assert region.lon.size == columns
        box = Box("box", base, base + 7.5 - off if base < 300 else -off, 10, 10)
        (region,) = select(COARSE, [box]).regions
        assert region.lon.size == columns


@pytest.mark.parametrize(("off", "rows"), [(0.0, 2), (0.9e-4, 2), (1.1e-4, 1)])
def test_the_tolerance_holds_for_latitudes_too(off, rows):
    for south, north in ((10 + off, 20), (10, 20 - off)):
        (region,) = select(COARSE, [Box("box", 0, 15, south, north)]).regions
        assert region.lat.size == rows


def test_a_centre_a_hair_west_of_the_edge_keeps_its_own_value():
    grid = RectilinearGrid(np.array([10.0]), np.array([359.99999, 7.5, 15.0]))
    (region,) = select(grid, [Box("box", 0, 10, 0, 20)]).regions
    assert region.lon.tolist() == [359.99999 - 360, 7.5]


@pytest.mark.slow
def test_the_global_region_is_the_whole_grid_in_the_files_convention():
    for grid in (NEX, NEX_180):
        selection = select(grid, [GLOBAL])
        assert np.array_equal(selection.cells, np.arange(600 * 1440))
        assert selection.regions[0].lon.tolist() == grid.lon.tolist()
    (flipped,) = select(NEX_FLIPPED, [GLOBAL]).regions
    assert flipped.index[0, 0] == 599 * 1440


def test_regions_that_overlap_share_cells():
    boxes = [Box("one", 0, 45, 0, 40), Box("two", 30, 60, 20, 60), GLOBAL]
    for n in (2, 3):
        selection = select(COARSE, boxes[:n])
        each = [set(oracle(COARSE, box)) for box in boxes[:n]]
        union = set().union(*each)
        assert len(each[0] & each[1]) == 3 * 3
        assert selection.cells.tolist() == sorted(48 * row + column for row, column in union)
        assert [r.place.name for r in selection.regions] == [b.name for b in boxes[:n]]
        for region, cells in zip(selection.regions, each, strict=True):
            found = selection.cells[region.index].ravel().tolist()
            assert {divmod(cell, 48) for cell in found} == cells
            assert len(found) == len(cells)


def test_a_region_is_the_same_whatever_other_regions_stand_beside_it():
    box = Box("one", 350, 20, 0, 40)
    (alone,) = select(COARSE, [box]).regions
    beside = select(COARSE, [GLOBAL, box]).regions[1]
    assert beside.lat.tolist() == alone.lat.tolist()
    assert beside.lon.tolist() == alone.lon.tolist()
    assert beside.lon_bounds.tolist() == alone.lon_bounds.tolist()


@pytest.mark.parametrize("grid", [NEX, NEX_180, NEX_FLIPPED], ids=["0-360", "180", "descending"])
@pytest.mark.parametrize(
    "box",
    [DEFAULT_REGIONS["AK"], Box("Greenwich", -3, 3, 40, 45), Box("Americas", -70, -60, -5, 5)],
    ids=str,
)
def test_bounds_are_cut_and_shifted_with_their_cells(grid, box):
    (region,) = select(grid, [box]).regions
    for centres, bounds in ((region.lat, region.lat_bounds), (region.lon, region.lon_bounds)):
        assert bounds.shape == (centres.size, 2)
        assert bounds.tolist() == [[c - 0.125, c + 0.125] for c in centres]
        assert (bounds[1:, 0] == bounds[:-1, 1]).all()


def test_bounds_that_lie_a_turn_away_from_their_centre_are_brought_back():
    lon = np.array([0.0, 120.0, 240.0])
    bounds = np.array([[300.0, 60.0], [60.0, 180.0], [180.0, 300.0]])  # 300, not -60
    grid = RectilinearGrid(np.array([5.0]), lon, None, bounds)
    (region,) = select(grid, [GLOBAL]).regions
    assert region.lon_bounds.tolist() == [[-60, 60], [60, 180], [180, 300]]
    (region,) = select(grid, [Box("west", -120, 0, 0, 10)]).regions
    assert region.lon.tolist() == [240, 360]
    assert region.lon_bounds.tolist() == [[180, 300], [300, 420]]


def test_bounds_are_written_lower_edge_first():
    lat = np.array([20.0, 10.0])
    grid = RectilinearGrid(lat, np.array([0.0, 5.0]), np.array([[25.0, 15.0], [15.0, 5.0]]), None)
    (region,) = select(grid, [GLOBAL]).regions
    assert region.lat_bounds.tolist() == [[5, 15], [15, 25]]


def test_a_grid_without_bounds_gives_none():
    (region,) = select(RectilinearGrid(COARSE.lat, COARSE.lon), [GLOBAL]).regions
    assert region.lat_bounds is None
    assert region.lon_bounds is None


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (
            Box("Antarctica", 0, 360, -90, -85),
            r"Antarctica \(0 to 360 E, -90 to -85 N\) holds no cell: the grid's latitudes go "
            r"from -80 to 80, .* of the box is -80;",
        ),
        (
            Box("thin", 0, 90, 11, 12),  # between two rows of centres
            r"thin \(0 to 90 E, 11 to 12 N\) holds no cell: .* of the box is 10;",
        ),
        (
            Box("narrow", 16, 20, 0, 50),  # between two columns of centres
            r"narrow .* the grid's longitudes go from 0 to 352.5, .* of the box is 15;",
        ),
        (
            Box("wraps", 353, -4, 0, 50),
            r"wraps .* of the box is 352.5;",
        ),
        (Box("wraps", 358, 359, 0, 50), r"wraps .* of the box is 0;"),  # nearest across 0 E
        (Box("west", -3, -1, 0, 50), r"west .* of the box is 0;"),
    ],
)
def test_a_box_without_a_cell_is_named_with_the_nearest_centre(box, words):
    with pytest.raises(RegionError, match=rf"region {words} widen the box"):
        select(COARSE, [GLOBAL, box])


def test_a_box_outside_a_grid_of_a_part_of_the_world_is_named():
    regional = RectilinearGrid(np.arange(30.0, 40), np.arange(-10.0, 10))
    check(regional, Box("part", -5, 5, 35, 60))
    with pytest.raises(RegionError, match=r"AK .*latitudes go from 30 to 39, .* is 39;"):
        select(regional, [DEFAULT_REGIONS["AK"]])
    with pytest.raises(RegionError, match=r"east .*longitudes go from -10 to 9, .* is 9;"):
        select(regional, [Box("east", 20, 30, 30, 40)])


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda lat, lon: (lat, lon), True),
        (lambda lat, lon: (lat.astype(np.float32).astype(float), lon), True),
        (lambda lat, lon: (lat + 3e-5, lon - 3e-5), True),
        (lambda lat, lon: (lat + 3e-4, lon), False),
        (lambda lat, lon: (lat, lon + 3e-4), False),
        (lambda lat, lon: (lat[::-1], lon), False),  # rows would be swapped
        (lambda lat, lon: (lat, (lon + 180) % 360 - 180), False),
        (lambda lat, lon: (lat[1:], lon), False),
        (lambda lat, lon: (lat, lon[:-1]), False),
    ],
)
def test_grids_match_if_they_have_the_same_cells_in_the_same_order(change, same):
    other = RectilinearGrid(*change(NEX.lat, NEX.lon))
    assert NEX.matches(other) is same
    assert other.matches(NEX) is same
    assert (NEX.digest == other.digest) is same


def test_a_grid_is_not_taken_for_its_transpose():
    one, other = RectilinearGrid(COARSE.lat, COARSE.lon), RectilinearGrid(COARSE.lon, COARSE.lat)
    assert one.digest != other.digest
    assert not one.matches(other)


def test_a_grid_says_what_it_covers():
    assert str(NEX) == "600 x 1440 cells, lat -59.875 to 89.875, lon 0.125 to 359.875"
    assert str(NEX_FLIPPED) == str(NEX)
    assert NEX.shape == (600, 1440)


def test_a_box_says_its_edges():
    assert str(DEFAULT_REGIONS["HI"]) == "HI (181.63 to 205.2 E, 18.92 to 28.45 N)"
    assert str(GLOBAL) == "global (the whole grid)"

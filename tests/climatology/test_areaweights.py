"""Weights of cells in areas: against closed forms, and against exactextract and regionmask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from climdask.climatology.areas import AreaMeans, AreaWeights, joined
from climdask.climatology.celledges import column_edges, row_edges
from climdask.climatology.grids import RectilinearGrid
from climdask.errors import RegionError

shapely = pytest.importorskip("shapely")
from climdask.climatology.areaweights import EARTH_RADIUS, area_weights, sphere_areas  # noqa: E402

GLOBE = 4 * np.pi * EARTH_RADIUS**2
FIVE = RectilinearGrid(np.arange(-87.5, 90, 5), np.arange(2.5, 360, 5))
# Unlike in both directions, north first, from 180 W, not square.
UNEVEN = RectilinearGrid(
    np.array([80.0, 65.0, 45.0, 30.0, 12.0, -5.0, -40.0, -75.0]),
    np.array([-175.0, -150.0, -120.0, -95.0, -60.0, -33.0, 0.0, 28.0, 70.0, 101.0, 140.0, 160.0]),
)
GRIDS = [FIVE, UNEVEN]


def star(lon: float, lat: float, size: float, points: int, seed: int) -> object:
    """A polygon with many corners, none of them on a grid."""
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, points))
    radius = size * random.uniform(0.3, 1.0, points)
    return shapely.Polygon(
        np.stack([lon + radius * np.cos(angles), lat + radius * np.sin(angles)], 1)
    )


def weights_of(grid: RectilinearGrid, *shapes: object) -> AreaWeights:
    return area_weights(grid, shapes, [f"area {n}" for n in range(len(shapes))])


def cells_of(weights: AreaWeights, area: int = 0) -> dict[int, float]:
    own = slice(weights.starts[area], weights.starts[area + 1])
    return dict(zip(weights.cells[own].tolist(), weights.weights[own].tolist(), strict=True))


def cell_areas(grid: RectilinearGrid) -> npt.NDArray[np.float64]:
    """Areas of cells in km2, [lat, lon], by the formula for a rectangle on the sphere."""
    rows, columns = row_edges(grid), column_edges(grid)
    found = np.zeros(grid.shape)
    height = np.sin(np.radians(rows.high)) - np.sin(np.radians(rows.low))
    width = np.radians(columns.high - columns.low)
    found[np.ix_(rows.numbers, columns.numbers)] = EARTH_RADIUS**2 * height[:, None] * width
    return found


# ---------------------------------------------------------------- areas on the sphere


@pytest.mark.parametrize("grid", GRIDS)
def test_the_whole_globe_has_each_cell_with_its_true_area(grid: RectilinearGrid) -> None:
    weights = weights_of(grid, shapely.box(-180, -90, 180, 90))
    np.testing.assert_allclose(weights.weights, cell_areas(grid).ravel(), rtol=1e-12)
    assert weights.cells.tolist() == list(range(grid.lat.size * grid.lon.size))
    assert weights.sizes == pytest.approx(GLOBE, rel=1e-14)
    assert weights.covered == pytest.approx(1.0, abs=1e-12)


@pytest.mark.slow
def test_the_area_of_a_polygon_is_the_limit_of_thin_strips() -> None:
    shape = star(10, 50, 20, 30, seed=3)
    (size,) = sphere_areas(np.array([shape]))
    edges = np.linspace(28, 72, 20001)
    strips = shapely.box(-20, edges[:-1], 40, edges[1:])
    width = shapely.area(shapely.intersection(shape, strips)) / np.diff(edges)  # degrees
    lat = np.radians(edges)
    assert size == pytest.approx(
        np.sum(np.radians(width) * np.diff(np.sin(lat))) * EARTH_RADIUS**2, rel=1e-7
    )


def test_holes_are_no_part_of_an_area_and_its_parts_are() -> None:
    shell, hole, apart = shapely.box(0, 0, 40, 40), shapely.box(10, 10, 20, 20), shapely.box(
        60, -20, 70, -10
    )  # fmt: skip
    shape = shapely.MultiPolygon([shell.difference(hole), apart])
    sizes = sphere_areas(np.array([shell, hole, apart, shape]))
    assert sizes[3] == pytest.approx(sizes[0] - sizes[1] + sizes[2], rel=1e-13)
    weights = weights_of(FIVE, shape)
    assert weights.weights.sum() == pytest.approx(sizes[3], rel=1e-12)
    assert weights.n_cells[0] == 64 - 4 + 4


# ---------------------------------------------------------------- properties


@pytest.mark.parametrize("grid", GRIDS)
def test_areas_that_tile_a_box_give_the_mean_of_the_box(grid: RectilinearGrid) -> None:
    box = shapely.box(-31.3, -22.7, 77.7, 61.9)
    cut = star(20, 20, 38, 400, seed=1)
    tiles = [
        box.intersection(shapely.box(-40, -30, 13.37, 70)).difference(cut),
        box.intersection(shapely.box(13.37, -30, 80, 70)).difference(cut),
        cut,
    ]
    values = np.random.default_rng(7).normal(280, 30, grid.lat.size * grid.lon.size)
    whole, parts = weights_of(grid, box), weights_of(grid, *tiles)
    mean = np.sum(whole.weights * values[whole.cells]) / whole.sizes[0]
    owner = np.repeat(range(3), parts.n_cells)
    means = np.bincount(owner, parts.weights * values[parts.cells]) / parts.sizes
    assert parts.sizes.sum() == pytest.approx(whole.sizes[0], rel=1e-12)
    assert np.sum(means * parts.sizes) / whole.sizes[0] == pytest.approx(mean, rel=1e-12)


def test_the_weights_of_an_area_do_not_depend_on_the_others() -> None:
    shapes = [star(20 * n - 100, 8 * n - 50, 25, 300 + n, seed=n) for n in range(12)]
    together = weights_of(UNEVEN, *shapes)
    for n, shape in enumerate(shapes):
        alone = weights_of(UNEVEN, shape)
        own = slice(together.starts[n], together.starts[n + 1])
        assert together.weights[own].tobytes() == alone.weights.tobytes()
        assert together.cells[own].tobytes() == alone.cells.tobytes()


def test_an_area_of_many_vertices_is_cut_without_changing_its_weights() -> None:
    corners = star(20, 20, 60, 100, seed=5)
    dense = shapely.segmentize(corners, 0.05)
    assert shapely.get_num_coordinates(dense) > 2000
    few, many = weights_of(FIVE, corners), weights_of(FIVE, dense)
    assert many.cells.tolist() == few.cells.tolist()
    np.testing.assert_allclose(many.weights, few.weights, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("turn", [-360.0, 0.0, 360.0])
@pytest.mark.parametrize("west", [150.0, -10.0, 320.0])
def test_longitudes_of_any_turn_give_the_same_cells(turn: float, west: float) -> None:
    shape = shapely.transform(star(west + 15, 40, 14, 25, seed=2), lambda xy: np.add(xy, (turn, 0)))
    east = RectilinearGrid(FIVE.lat, FIVE.lon)
    west_first = RectilinearGrid(FIVE.lat, np.sort((FIVE.lon + 180) % 360 - 180))
    a, b = cells_of(weights_of(east, shape)), cells_of(weights_of(west_first, shape))
    n = FIVE.lon.size
    moved = {c // n * n + (c % n + n // 2) % n: w for c, w in b.items()}
    assert set(moved) == set(a)
    assert sum(a.values()) == pytest.approx(sphere_areas(np.array([shape]))[0], rel=1e-11)
    for cell, weight in a.items():
        assert moved[cell] == pytest.approx(weight, rel=1e-9, abs=1e-4)


def test_an_area_cut_at_180_and_one_that_goes_on_are_the_same() -> None:
    cut = shapely.MultiPolygon([shapely.box(171, 50, 180, 58), shapely.box(-180, 50, -163, 58)])
    goes_on = shapely.box(171, 50, 197, 58)
    one, other = weights_of(FIVE, cut), weights_of(FIVE, goes_on)
    assert one.cells.tolist() == other.cells.tolist()
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-11)
    assert one.lon == pytest.approx(other.lon, abs=0.5)
    assert -180 <= one.lon[0] <= -175


def test_a_cap_over_a_pole_has_its_cells_up_to_the_pole() -> None:
    weights = weights_of(FIVE, shapely.box(-180, 77, 180, 90))
    assert weights.weights.sum() == pytest.approx(
        GLOBE / 2 * (1 - np.sin(np.radians(77))), rel=1e-12
    )
    assert weights.covered == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-5])
def test_a_small_area_within_a_cell_has_that_cell(size: float) -> None:
    weights = weights_of(FIVE, shapely.box(11.0, 11.0, 11.0 + size, 11.0 + size))
    assert cells_of(weights).keys() == {20 * 72 + 2}
    assert weights.weights[0] == pytest.approx(weights.sizes[0], rel=1e-6)


def test_cells_that_only_touch_an_area_are_not_its_cells() -> None:
    weights = weights_of(FIVE, shapely.box(10, 10, 20, 15))
    assert sorted(cells_of(weights)) == [20 * 72 + 2, 20 * 72 + 3]


def test_an_area_outside_the_grid_or_without_surface_has_no_cell() -> None:
    regional = RectilinearGrid(np.arange(30.0, 41), np.arange(-10.0, 11))
    weights = weights_of(
        regional, shapely.box(100, 30, 101, 31), shapely.Polygon(), shapely.box(9, 35, 12, 36)
    )
    assert weights.n_cells.tolist() == [0, 0, 4]
    # The grid ends at 10.5 E.
    assert weights.covered.tolist() == [0.0, 0.0, pytest.approx(0.5, rel=1e-12)]


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (shapely.box(500000, 4000000, 600000, 4100000), "expected degrees"),
        (shapely.box(-200, 0, 200, 10), "400 degrees wide"),
        (
            shapely.Polygon([(170, 50), (-170, 50), (-170, 60), (170, 60)]),
            "edge from 170 to -170 E",
        ),
    ],
)
def test_coordinates_that_mean_nothing_clear_are_refused(shape: object, says: str) -> None:
    with pytest.raises(RegionError, match=f"area b: .*{says}"):
        area_weights(FIVE, [shapely.box(0, 0, 9, 9), shape], ["a", "b"])


def test_bounds_that_overlap_are_refused() -> None:
    lon = np.array([0.0, 10.0, 20.0])
    bounds = np.stack([lon - 7, lon + 7], 1)
    with pytest.raises(RegionError, match="bounds of the grid's longitude overlap"):
        column_edges(RectilinearGrid(np.array([0.0, 5.0]), lon, None, bounds))
    with pytest.raises(RegionError, match="one latitude without bounds"):
        row_edges(RectilinearGrid(np.array([0.0]), lon))


# ---------------------------------------------------------------- edges of cells


def test_without_bounds_cells_meet_half_way_and_reach_the_poles() -> None:
    gaussian = np.array([-87.86, -85.1, -82.3, 82.3, 85.1, 87.86])
    rows = row_edges(RectilinearGrid(gaussian[::-1], np.array([0.0, 1.0])))
    assert rows.numbers.tolist() == [5, 4, 3, 2, 1, 0]
    assert (rows.low[0], rows.high[-1]) == (-90.0, 90.0)
    assert rows.low[1:].tolist() == rows.high[:-1].tolist()
    assert rows.high[0] == pytest.approx(-86.48)
    regional = row_edges(RectilinearGrid(np.array([40.0, 41.0]), np.array([0.0, 1.0])))
    assert (regional.low[0], regional.high[-1]) == (39.5, 41.5)


@pytest.mark.parametrize(
    ("lon", "order", "edges"),
    [
        ([0, 90, 180, 270], [0, 1, 2, 3], [-45, 45, 135, 225, 315]),
        ([170, 175, 180, -175, -170], [0, 1, 2, 3, 4], [167.5, 172.5, 177.5, 182.5, 187.5, 192.5]),
        ([-180, -175, 170, 175], [2, 3, 0, 1], [167.5, 172.5, 177.5, 182.5, 187.5]),
        ([0, 120, 240, 360], [0, 1, 2], [-60, 60, 180, 300]),
    ],
)
def test_columns_go_east_from_the_widest_gap(
    lon: list[float], order: list[int], edges: list[float]
) -> None:
    found = column_edges(RectilinearGrid(np.array([0.0, 1.0]), np.array(lon, dtype=float)))
    assert found.numbers.tolist() == order
    assert found.low.tolist() == edges[:-1]
    assert found.high.tolist() == edges[1:]


# ---------------------------------------------------------------- means


def means_of(weights: AreaWeights, values: npt.NDArray[np.float64], least: float = 0.5):
    n = weights.sizes.size
    means = AreaMeans(np.zeros(0, dtype=np.intp), weights, np.full(n, least))
    return means.reduced(values.astype(np.float32))


@pytest.mark.slow
def test_a_constant_gives_itself_everywhere() -> None:
    shapes = [star(20 * n - 100, 8 * n - 50, 25, 30, seed=n) for n in range(12)]
    weights = weights_of(UNEVEN, *shapes)
    made = means_of(weights, np.full((3, UNEVEN.lat.size * UNEVEN.lon.size), 273.15), least=0.0)
    assert (made == np.float32(273.15)).all()


@pytest.mark.slow
def test_missing_cells_leave_the_mean_until_too_little_is_covered() -> None:
    weights = weights_of(FIVE, shapely.box(0, 0, 20, 5))  # four cells of one size
    values = np.zeros((4, FIVE.lat.size * FIVE.lon.size))
    own = weights.cells
    values[:, own] = [1, 2, 3, 4]
    values[1, own[0]] = values[2, own[:2]] = values[3, own[:3]] = np.nan
    np.testing.assert_array_equal(means_of(weights, values)[:, 0], [2.5, 3.0, 3.5, np.nan])
    assert means_of(weights, values, 0.0)[3, 0] == 4.0
    assert np.isnan(means_of(weights, values, 1.0)[1:, 0]).all()
    assert means_of(weights, values, 1.0)[0, 0] == 2.5


@pytest.mark.slow
def test_means_are_the_exact_weighted_mean_rounded_once() -> None:
    weights = weights_of(UNEVEN, *(star(10, 20, 60, 40, seed=n) for n in range(5)))
    values = np.random.default_rng(0).normal(280, 20, (6, UNEVEN.lat.size * UNEVEN.lon.size))
    made = means_of(weights, values, 0.0)
    single = values.astype(np.float32).astype(float)
    for area in range(5):
        own = cells_of(weights, area)
        exact = single[:, list(own)] @ np.array(list(own.values())) / sum(own.values())
        np.testing.assert_allclose(made[:, area], exact.astype(np.float32), rtol=6e-8)


@pytest.mark.slow
def test_cells_that_stay_come_first_and_sets_follow_each_other() -> None:
    shapes = [star(0, 0, 40, 20, seed=n) for n in range(3)]
    both = joined([weights_of(FIVE, *shapes[:2]), weights_of(FIVE, shapes[2])])
    whole = weights_of(FIVE, *shapes)
    for name in ("starts", "cells", "weights", "sizes", "lat", "lon"):
        assert getattr(both, name).tobytes() == getattr(whole, name).tobytes()
    values = np.random.default_rng(1).normal(0, 1, (2, 36 * 72)).astype(np.float32)
    kept = np.array([7, 3])
    made = AreaMeans(kept, both, np.full(3, 0.5)).reduced(values)
    assert made.shape == (2, 5)
    assert made[:, :2].tobytes() == values[:, kept].tobytes()
    assert made[:, 2:].tobytes() == means_of(whole, values).tobytes()


# ---------------------------------------------------------------- oracles


def ready(shapes: list[object]) -> list[object]:
    return [shape if shape.is_valid else shape.buffer(0) for shape in shapes]


@pytest.mark.slow
def test_exactextract_finds_the_same_cells_and_shares() -> None:
    exactextract = pytest.importorskip("exactextract")
    shapes = ready([star(15 * n - 90, 5 * n - 25, 22, 25, seed=n) for n in range(12)])
    grid = RectilinearGrid(np.arange(89.5, -90, -1), np.arange(-179.5, 180, 1))
    weights = weights_of(grid, *shapes)
    raster = exactextract.raster.NumPyRasterSource(
        np.arange(180.0 * 360).reshape(180, 360), -180, -90, 180, 90
    )
    features = [
        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(s)}
        for s in shapes
    ]
    found = exactextract.exact_extract(raster, features, ["cell_id", "coverage"])
    sizes = cell_areas(grid).ravel()
    for n, one in enumerate(found):
        theirs = dict(zip(one["properties"]["cell_id"], one["properties"]["coverage"], strict=True))
        own = {c: w / sizes[c] for c, w in cells_of(weights, n).items()}
        for cell in theirs.keys() | own.keys():
            # Theirs is the share of the flat cell, in float32; on the sphere it differs a little.
            assert own.get(cell, 0.0) == pytest.approx(theirs.get(cell, 0.0), abs=5e-3)
        inner = [c for c, share in theirs.items() if share == 1.0]
        assert inner
        assert all(own[c] == pytest.approx(1.0, rel=1e-12) for c in inner)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_regionmask_finds_the_same_shares() -> None:
    regionmask = pytest.importorskip("regionmask")
    shapes = ready([star(30, 20, 18, 15, seed=4), star(-60, -30, 12, 15, seed=5)])
    grid = RectilinearGrid(np.arange(-87.5, 90, 5), np.arange(-177.5, 180, 5))
    found = regionmask.Regions(shapes).mask_3D_frac_approx(grid.lon, grid.lat)
    weights, sizes = weights_of(grid, *shapes), cell_areas(grid).ravel()
    for n in range(2):
        own = np.zeros(sizes.size)
        for cell, weight in cells_of(weights, n).items():
            own[cell] = weight / sizes[cell]
        # Theirs counts ten by ten points of each cell.
        np.testing.assert_allclose(own, found.values[n].ravel(), atol=0.05)

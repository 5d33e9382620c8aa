"""Means, areas and coarseness of what is shown."""

from __future__ import annotations

import numpy as np
import pytest

from climdask.reporting.summaries import (
    DETAILS,
    MISSING,
    Shape,
    area_weights,
    choose_detail,
    coarse,
    coarse_edges,
    edges_of,
    mean_over_days,
    months_of,
    pack,
    raster,
    regional_mean,
    shown_targets,
    spans,
    summarise,
)

FULL = [  # four variables in the default regions at 0.25 degree, 121 target years
    Shape(tuple(range(1980, 2101)), 365, lat, lon)
    for lat, lon in ((104, 240), (88, 260), (38, 95), (4, 14), (30, 6))
    for _ in range(4)
]


@pytest.mark.parametrize("budget", [10_000_000, 3_000_000, 500_000])
def test_maps_are_coarsened_until_they_fit(budget: int) -> None:
    detail = choose_detail(FULL, budget)
    assert sum(map(detail.n_bytes, FULL)) <= budget
    finer = DETAILS[DETAILS.index(detail) - 1]
    assert sum(map(finer.n_bytes, FULL)) > budget


def test_small_maps_are_shown_as_they_are() -> None:
    detail = choose_detail([Shape(tuple(range(1979, 2101)), 365, 3, 2)], 10_000_000)
    assert detail == DETAILS[0]
    assert (detail.factor(3, 2), detail.stride(range(1979, 2101))) == (1, 1)


def test_the_coarsest_detail_is_used_where_nothing_fits() -> None:
    assert choose_detail(FULL, 0) == DETAILS[-1]


def test_the_ends_of_each_series_have_maps_whatever_the_stride() -> None:
    detail = choose_detail(FULL, 1_000_000)
    series = [[1983, *range(1990, 2015), 2031], [1983, *range(1990, 2015), 2049]]
    shown = shown_targets(series, detail)
    assert {1983, 2031, 2049} <= shown
    assert len(shown) < 12


def test_a_coarse_map_has_the_mean_of_the_fine_one() -> None:
    rng = np.random.default_rng(1)
    lat, lon = np.linspace(20, 71, 7), np.linspace(0, 40, 11)
    values, weights = rng.random((5, 7, 11)), area_weights(lat, lon)
    values[:, 2, 3] = np.nan
    found = coarse(values, weights, 3)
    assert found.shape == (5, 3, 4)
    assert found[0, 0, 0] == pytest.approx(
        np.nansum((values * weights)[0, :3, :3]) / (weights[:3, :3].sum())
    )
    blocks = coarse(np.where(np.isnan(values), np.nan, weights), np.ones_like(weights), 3)
    counts = np.add.reduceat(np.add.reduceat(~np.isnan(values[0]), [0, 3, 6], 0, dtype=int),
                             [0, 3, 6, 9], 1)  # fmt: skip
    assert regional_mean(found, blocks[0] * counts) == pytest.approx(regional_mean(values, weights))
    assert coarse_edges(edges_of(lat), 3).tolist() == pytest.approx(
        [20 - 4.25, 20 + 2.5 * 8.5, 20 + 5.5 * 8.5, 71 + 4.25]
    )


def test_a_block_without_any_value_is_missing_and_one_with_some_is_not() -> None:
    values = np.array([[1.0, np.nan, np.nan], [3.0, np.nan, np.nan]])
    assert coarse(values, np.ones((2, 3)), 2).tolist()[0][0] == 2.0
    assert np.isnan(coarse(values, np.ones((2, 3)), 2)[0, 1])


def test_weights_are_areas_of_cells_with_bounds_and_cosines_without() -> None:
    lat, lon = np.array([-60.0, 0.0, 30.0]), np.array([10.0, 20.0])
    assert area_weights(lat, lon)[:, 0] == pytest.approx([0.5, 1.0, np.sqrt(3) / 2])
    lat_bounds = np.array([[-90.0, -30.0], [-30.0, 15.0], [15.0, 90.0]])
    lon_bounds = np.array([[5.0, 15.0], [15.0, 35.0]])
    found = area_weights(lat, lon, lat_bounds, lon_bounds)
    assert found.sum() == pytest.approx(2 * 30)
    assert found[0] == pytest.approx([5.0, 10.0])  # sin goes from -1 to -1/2


def test_pixels_of_uneven_cells_are_in_the_cell_that_they_show() -> None:
    edges = np.array([0.0, 1.0, 2.0, 10.0])
    found = raster(edges)
    assert found.tolist() == [0, 1, 2, 2, 2, 2, 2, 2, 2, 2]
    assert raster(np.arange(0, 5, 0.25)).tolist() == list(range(19))


def test_a_month_needs_most_of_its_days() -> None:
    total, count = np.array([24.0, 25.0, 0.0]), np.array([24, 25, 0])
    assert np.isnan(mean_over_days(total, count, 31)[[0, 2]]).all()
    assert mean_over_days(total, count, 31)[1] == 1.0


def test_months_follow_the_calendar() -> None:
    days = [(m, d) for m in range(1, 13) for d in range(1, 31)]
    assert [(m.start, m.stop) for m in months_of(days)] == [(n, n + 30) for n in range(0, 360, 30)]


def test_each_day_is_read_once() -> None:
    read: list[int] = []

    def days(part: slice) -> np.ndarray:
        read.extend(range(part.start, part.stop))
        return np.zeros((part.stop - part.start, 2, 3), dtype=np.float32)

    axis = [(1, d) for d in range(1, 32)] + [(2, d) for d in range(1, 29)]
    found = summarise(days, axis, np.ones((2, 3)), daily=False, factor=None)
    assert read == list(range(59))
    assert found.maps is None
    assert found.means.tolist() == [0.0, 0.0, 0.0]


def test_packed_numbers_come_back_to_half_a_step() -> None:
    values = np.array([-3.0, 0.1, np.nan, 17.25, np.inf])
    found = pack(values)
    assert found.packed[[2, 4]].tolist() == [MISSING, MISSING]
    np.testing.assert_allclose(found.values[[0, 1, 3]], values[[0, 1, 3]], atol=found.scale / 2)
    assert pack(np.full(3, 5.0)).values.tolist() == [5.0] * 3
    assert np.isnan(pack(np.full(2, np.nan)).values).all()


def test_spans_are_runs_of_one_kind() -> None:
    kinds = [(2000, "a"), (2001, "a"), (2003, "b")]
    assert list(spans(kinds)) == [("a", 2000, 2001), ("b", 2003, 2003)]
    assert list(spans([])) == []

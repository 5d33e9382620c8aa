"""Circular smoothing of daily normals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from climdask.climatology.smoothing import Harmonics, Windowed

RNG = np.random.default_rng(5)


def year(n_days: int, mean: float, *waves: tuple[int, float, float]) -> np.ndarray:
    t = 2 * np.pi * np.arange(n_days) / n_days
    return mean + sum(a * np.cos(k * t) + b * np.sin(k * t) for k, a, b in waves)


def noisy(n_days: int = 365, n_cells: int = 4) -> np.ndarray:
    return year(n_days, 285, (1, 10, 3))[:, None] + RNG.normal(size=(n_days, n_cells))


@pytest.mark.parametrize("n_days", [360, 365, 366])
def test_harmonics_that_are_asked_for_stay_and_others_go(n_days):
    kept = year(n_days, 285, (1, 10, -4), (2, 3, 1), (3, 0.5, 0.25))
    other = year(n_days, 0, (4, 2, 1), (9, 1, 1))
    fit = Harmonics(3)((kept + other)[:, None])
    np.testing.assert_allclose(fit[:, 0], kept, rtol=0, atol=1e-11)


def test_a_fit_with_missing_days_is_that_of_least_squares():
    values = noisy()
    missing = RNG.random(values.shape) < 0.2
    missing[:, 3] = missing[:, 2]
    values[missing] = np.nan
    fit = Harmonics(4)(values)
    np.testing.assert_array_equal(np.isnan(fit), missing)
    t = 2 * np.pi * np.arange(365) / 365
    design = np.stack(
        [np.ones(365), *(f(k * t) for k in (1, 2, 3, 4) for f in (np.cos, np.sin))], axis=1
    )
    for cell in range(4):
        there = ~missing[:, cell]
        solved = np.linalg.lstsq(design[there], values[there, cell])[0]
        np.testing.assert_allclose(fit[there, cell], design[there] @ solved, atol=1e-10)


def test_harmonics_through_a_gap_are_not_disturbed_by_it():
    kept = year(365, 285, (1, 10, -4), (2, 3, 1))[:, None].copy()
    kept[40:70] = np.nan
    np.testing.assert_allclose(Harmonics(2)(kept), kept, atol=1e-10)


def test_fewer_days_than_coefficients_are_missing():
    values = np.full((365, 2), np.nan)
    values[[1, 50, 100, 200], 0] = 1.0
    values[[1, 50, 100, 200, 300], 1] = 1.0
    fit = Harmonics(2)(values)
    assert np.isnan(fit[:, 0]).all()
    assert np.flatnonzero(~np.isnan(fit[:, 1])).tolist() == [1, 50, 100, 200, 300]


def windowed(values: np.ndarray, days: int, triangular: bool) -> np.ndarray:
    """Return the definition, cell by cell and day by day."""
    half, n = days // 2, len(values)
    found = np.full(values.shape, np.nan)
    for day, cell in np.ndindex(values.shape):
        if math.isnan(values[day, cell]):
            continue
        pairs = [
            (half + 1 - abs(k) if triangular else 1, float(values[(day + k) % n, cell]))
            for k in range(-half, half + 1)
        ]
        there = [(w, x) for w, x in pairs if not math.isnan(x)]
        found[day, cell] = math.fsum(w * x for w, x in there) / sum(w for w, _ in there)
    return found


@pytest.mark.parametrize("triangular", [False, True])
@pytest.mark.parametrize("days", [3, 29, 31])
@pytest.mark.parametrize("n_days", [360, 366])
def test_a_window_is_a_weighted_mean_around_the_circle(days, triangular, n_days):
    values = noisy(n_days, 2)
    values[RNG.random(values.shape) < 0.1] = np.nan
    values[:20, 1] = np.nan
    found = Windowed(days, triangular)(values)
    np.testing.assert_allclose(found, windowed(values, days, triangular), rtol=1e-14)


def test_a_window_of_all_days_is_the_mean():
    values = noisy(365, 1)
    np.testing.assert_allclose(Windowed(365)(values), np.full((365, 1), values.mean()), rtol=1e-14)


@pytest.mark.parametrize("smoothing", [Harmonics(4), Windowed(31), Windowed(29, triangular=True)])
@pytest.mark.slow
def test_a_cell_does_not_depend_on_the_cells_beside_it(smoothing):
    values = noisy(365, 40)
    values[RNG.random(values.shape) < 0.01] = np.nan
    before = values.copy()
    whole = smoothing(values)
    np.testing.assert_array_equal(values, before)
    for cell in (0, 17, 39):
        np.testing.assert_array_equal(smoothing(values[:, cell : cell + 1])[:, 0], whole[:, cell])
    # and the circle has no first day
    turned = smoothing(np.roll(values, 100, axis=0))
    np.testing.assert_allclose(np.roll(turned, -100, axis=0), whole, rtol=1e-12)


@pytest.mark.parametrize("smoothing", [Harmonics(1), Windowed(3)])
def test_missing_cells_stay_missing(smoothing):
    assert np.isnan(smoothing(np.full((365, 2), np.nan))).all()


def test_a_smoothing_says_what_it_is():
    assert Harmonics(4).text == "least-squares fit of the mean and 4 harmonics of the year"
    assert Windowed(31).text == "centred running mean of 31 days"
    assert Windowed(29, triangular=True).text == "centred triangular mean of 29 days"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Harmonics(0), "0 harmonics; expected 1 or more"),
        (lambda: Windowed(30), "30 days; expected an odd number, 3 or more"),
        (lambda: Windowed(1), "1 days; expected an odd number"),
        (lambda: Windowed(31)(np.zeros((12, 1))), "a mean of 31 days; the normal has 12"),
        (lambda: Harmonics(6)(np.zeros((12, 1))), "6 harmonics of 12 days; they have fewer"),
    ],
)
def test_what_cannot_be_smoothed_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

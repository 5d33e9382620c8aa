"""Order statistics against sorting, numpy's and scipy's quantiles; kernels against their twins."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mstats

from climdask.climatology import orderkernels
from climdask.climatology.blocks import Block
from climdask.climatology.calendars import DayAxis, Window
from climdask.climatology.carry import Carry
from climdask.climatology.conversions import UNCHANGED, conversion
from climdask.climatology.coverage import MissingRule, needed_values, pooled, pooled_days
from climdask.climatology.orderstatistics import (
    METHODS,
    percentile_level,
    plain_select,
    plain_slide,
    select_one_day,
)
from climdask.climatology.statistics import WindowStatistic, statistic_of
from climdask.errors import InconsistentFile

MM = conversion("kg m-2 s-1", "mm/day", water=True)
INF = np.float32(np.inf)


def material(rng: np.random.Generator, shape: tuple[int, ...], missing: float) -> np.ndarray:
    """float32 with ties, zeros of either sign and missing values."""
    values = rng.normal(0, 3, shape).round(int(rng.integers(0, 3))).astype(np.float32)
    values[rng.random(shape) < 0.1] = -0.0
    values[rng.random(shape) < missing] = np.nan
    return values


def carry_of(values: np.ndarray) -> Carry:
    carry = Carry.empty(*values.shape[1:], ("sorted",))
    for year, own in enumerate(values, start=1950):
        carry = carry.add(Block.of(year, own))
    return carry


def result(values: np.ndarray, statistic: WindowStatistic) -> np.ndarray:
    return carry_of(values).normal(np.ones(values.shape[1], np.int16), 1, statistic)


def pool(values: np.ndarray, day: int, cell: int, pool_days: int) -> np.ndarray:
    """The valid values of a pool, by its definition."""
    half, n_days = pool_days // 2, values.shape[1]
    own = [values[:, (day + step) % n_days, cell] for step in range(-half, half + 1)]
    return np.concatenate(own)[~np.isnan(np.concatenate(own))].astype(np.float64)


def exact_percentile(values: list[float], level: Fraction, method: str) -> float:
    """Hyndman and Fan's definition in fractions."""
    alpha, beta = METHODS[method]
    n, ordered = len(values), sorted(map(Fraction, values))
    at = min(max(alpha + level * (n + 1 - alpha - beta), Fraction(1)), Fraction(n))
    below = int(at)
    above = min(below + 1, n)
    found = ordered[below - 1] + (at - below) * (ordered[above - 1] - ordered[below - 1])
    return float(found)


# ---------------------------------------------------------------- kernels and twins


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(1, 300), st.booleans())
def test_the_kernel_slides_as_its_twin_does(seed, n_years, n_cells, both) -> None:
    rng = np.random.default_rng(seed)
    values = material(rng, (n_years + 1, 3, n_cells), 0.2)
    lists = np.empty((3, 0, n_cells), np.float32)
    nothing = np.empty((0, 0), np.float32)
    for own in values[:n_years]:
        made = [np.empty((3, lists.shape[1] + 1, n_cells), np.float32) for _ in range(2)]
        assert orderkernels.slide(lists, own, nothing, True, False, made[0])
        assert plain_slide(lists, own, nothing, True, False, made[1])
        assert made[0].tobytes() == made[1].tobytes()
        lists = made[0]
    if n_years:
        made = [np.empty((3, n_years - 1 + both, n_cells), np.float32) for _ in range(2)]
        enters = values[-1] if both else nothing
        assert orderkernels.slide(lists, enters, values[0], both, True, made[0])
        assert plain_slide(lists, enters, values[0], both, True, made[1])
        assert made[0].tobytes() == made[1].tobytes()


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 200),
    st.sampled_from([1, 3, 5, 9]), st.sampled_from([0.0, 0.3, 1.0]),
)  # fmt: skip
def test_the_kernel_selects_as_its_twin_does(seed, n_years, n_cells, pool_days, missing) -> None:
    rng = np.random.default_rng(seed)
    values = material(rng, (n_years, 12, n_cells), missing)
    lists = np.sort(np.where(np.isnan(values), INF, values) + np.float32(0), axis=0)
    lists = np.ascontiguousarray(np.moveaxis(lists, 0, 1))
    count = pooled((~np.isnan(values)).sum(axis=0, dtype=np.int16), pool_days).astype(np.int32)
    rank = rng.integers(0, np.maximum(count, 1)).astype(np.int32)
    days = pooled_days(12, pool_days)
    made = [np.empty((12, n_cells), np.float32) for _ in range(4)]
    orderkernels.select(lists, days, count, rank, made[0], made[1])
    plain_select(lists, days, count, rank, made[2], made[3])
    assert [m.tobytes() for m in made[:2]] == [m.tobytes() for m in made[2:]]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 7), st.integers(0, 300),
    st.sampled_from([1, 3, 5, 7, 9, 11]), st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    st.sampled_from(["min", "p3", "p50", "p90", "max"]), st.sampled_from([MM, UNCHANGED]),
)  # fmt: skip
def test_percentiles_are_the_same_with_and_without_kernels(
    seed, n_years, n_cells, pool_days, missing, name, units
) -> None:
    rng = np.random.default_rng(seed)
    values = material(rng, (n_years, 12, n_cells), missing)
    if rng.random() < 0.5:  # as where there is no land
        values[..., rng.random(n_cells) < 0.3] = np.nan
    values *= np.float32(rng.choice([1.0, 2.0**-147, 2.0**100]))  # denormal, huge
    carry, statistic = carry_of(values), statistic_of(name, pool_days)
    years, count = carry.states["sorted"], carry.coverage.pooled_count(pool_days)
    kept = years.copy()
    made = [statistic.made(years, count, k, units) for k in (orderkernels, None)]
    assert made[0].tobytes() == made[1].tobytes()
    assert kept.tobytes() == years.tobytes()


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_one_day_is_looked_up_as_pools_are(missing: float) -> None:
    values = material(np.random.default_rng(4), (7, 9, 5), missing)
    carry = carry_of(values)
    count = carry.coverage.count.astype(np.int32)
    rank = np.maximum(count - 2, 0)
    made = [np.empty((9, 5), np.float32) for _ in range(4)]
    for n, select in enumerate((select_one_day, plain_select)):
        own = made[2 * n : 2 * n + 2]
        select(carry.states["sorted"], pooled_days(9, 1), count, rank, *own)
    assert [m.tobytes() for m in made[:2]] == [m.tobytes() for m in made[2:]]


# ---------------------------------------------------------------- truth


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pool_days", [1, 5])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_percentiles_are_those_of_numpy_and_scipy_and_of_the_definition(
    method: str, pool_days: int, missing: float
) -> None:
    values = material(np.random.default_rng(7), (11, 8, 4), missing)
    for name in ("p1", "p10", "p50", "p66.6", "p99.5"):
        level = percentile_level(name)
        got = result(values, statistic_of(name, pool_days, method))
        for day, cell in np.ndindex(got.shape):
            there = pool(values, day, cell, pool_days)
            exact = np.float32(exact_percentile(there.tolist(), level, method))
            assert got[day, cell] == exact
            numpys = np.quantile(there, float(level), method=method)
            scipys = mstats.mquantiles(there, float(level), *map(float, METHODS[method]))[0]
            assert got[day, cell] == pytest.approx(numpys, rel=1e-6, abs=1e-6)
            if there.size > 1:
                assert got[day, cell] == pytest.approx(scipys, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("pool_days", [1, 3])
def test_minimum_maximum_and_median_are_those_of_the_pool(pool_days: int) -> None:
    values = material(np.random.default_rng(8), (10, 6, 5), 0.3)
    functions = {"min": np.min, "max": np.max, "median": np.median}
    for name, function in functions.items():
        got = result(values, statistic_of(name, pool_days))
        for day, cell in np.ndindex(got.shape):
            assert got[day, cell] == np.float32(function(pool(values, day, cell, pool_days)))


def test_the_linear_percentile_of_float32_is_numpys_to_the_last_bit() -> None:
    values = np.random.default_rng(9).normal(280, 9, (30, 20, 30)).astype(np.float32)
    for name, q in (("p10", 0.1), ("median", 0.5), ("p90", 0.9), ("p95", 0.95)):
        pools = np.concatenate([np.roll(values, step, axis=1) for step in range(-2, 3)])
        expected = np.quantile(pools.astype(np.float64), q, axis=0).astype(np.float32)
        np.testing.assert_array_equal(result(values, statistic_of(name, 5)), expected)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.permutations(range(8)))
def test_the_order_of_years_changes_no_bit(seed: int, order: list[int]) -> None:
    values = material(np.random.default_rng(seed), (8, 4, 3), 0.3)
    blocks = [Block.of(1950 + n, v) for n, v in enumerate(values)]
    one, other = (Carry.empty(4, 3, ("sum", "squares", "sorted")) for _ in range(2))
    for n in range(8):
        one, other = one.add(blocks[n]), other.add(blocks[order[n]])
    for n in order[:3]:
        one = one.drop(blocks[n])
    for n in order[2::-1]:
        other = other.drop(blocks[n])
    assert one.states["sorted"].tobytes() == other.states["sorted"].tobytes()
    for name in ("mean", "std", "min", "median", "p90"):
        mine, theirs = (c.normal(np.ones(4, np.int16), 1, statistic_of(name)) for c in (one, other))
        assert mine.tobytes() == theirs.tobytes()


def test_a_slide_changes_nothing_that_it_was_given() -> None:
    values = material(np.random.default_rng(1), (4, 5, 6), 0.2)
    carry = carry_of(values[:3])
    before = carry.states["sorted"].tobytes()
    carry.states["sorted"].setflags(write=False)  # as what Dask has moved may be
    for own in values:
        own.setflags(write=False)
    carry.slide(enters=Block.of(1953, values[3]), leaves=Block.of(1950, values[0]))
    assert carry.states["sorted"].tobytes() == before


@pytest.mark.parametrize("enters", [True, False])
def test_a_year_that_leaves_with_other_values_is_told(enters: bool) -> None:
    values = material(np.random.default_rng(2), (4, 5, 200), 0.0)
    carry = carry_of(values[:3])
    other = values[0].copy()
    other[4, 199] += 100
    with pytest.raises(InconsistentFile, match="1950 leaves the window with other values"):
        carry.slide(
            enters=Block.of(1953, values[3]) if enters else None, leaves=Block.of(1950, other)
        )


# ---------------------------------------------------------------- pools, calendars, missing values


@pytest.mark.parametrize(
    ("axis", "of", "days"),
    [
        (DayAxis("noleap", "drop"), (1, 1), [(12, 30), (12, 31), (1, 1), (1, 2), (1, 3)]),
        (DayAxis("360_day", "drop"), (12, 30), [(12, 28), (12, 29), (12, 30), (1, 1), (1, 2)]),
        (DayAxis("360_day", "drop"), (2, 29), [(2, 27), (2, 28), (2, 29), (2, 30), (3, 1)]),
        (DayAxis("standard", "drop"), (3, 1), [(2, 27), (2, 28), (3, 1), (3, 2), (3, 3)]),
        (DayAxis("standard", "keep"), (3, 1), [(2, 28), (2, 29), (3, 1), (3, 2), (3, 3)]),
        (DayAxis("standard", "keep"), (2, 29), [(2, 27), (2, 28), (2, 29), (3, 1), (3, 2)]),
    ],
)
def test_a_pool_has_the_days_around_its_own(axis, of, days) -> None:
    own = pooled_days(len(axis), 5)[axis.days.index(of)]
    assert [axis.days[day] for day in own] == days


def test_a_pool_needs_the_share_of_all_its_values_that_a_day_needs_of_its_own() -> None:
    axis, window = DayAxis("standard", "keep"), Window(1991, 2020)
    needed = needed_values(MissingRule(25, 30), axis, window, 5)
    leap = axis.days.index((2, 29))
    assert needed[0] == 125
    assert needed[leap] == -(-25 * (4 * 30 + 8) // 30)
    assert needed.max() < np.iinfo(needed.dtype).max // 1000


def test_a_day_with_too_few_values_in_its_pool_is_missing() -> None:
    values = np.ones((30, 9, 2), np.float32)
    values[:15, 4, 1] = np.nan  # half of one day
    axis_needed = np.full(9, 25 * 3, np.int32)
    carry = carry_of(values)
    got = carry.normal(axis_needed, 25, statistic_of("p90", 3))
    assert np.flatnonzero(np.isnan(got[:, 1])).tolist() == [], "75 of 90 are enough"
    values[:16, 4, 1] = np.nan
    got = carry_of(values).normal(axis_needed, 25, statistic_of("p90", 3))
    assert np.flatnonzero(np.isnan(got[:, 1])).tolist() == [3, 4, 5]
    assert not np.isnan(got[:, 0]).any()


def test_where_there_is_no_value_there_is_no_percentile() -> None:
    values = np.ones((3, 4, 2), np.float32)
    values[:, :, 1] = np.nan
    for name, pool_days in (("p90", 1), ("p90", 3), ("min", 1), ("max", 1)):
        carry = carry_of(values)
        got = carry.normal(np.zeros(4, np.int16), 0, statistic_of(name, pool_days))
        np.testing.assert_array_equal(got, [[1, np.nan]] * 4)
        empty = Carry.empty(4, 2, ("sorted",))
        assert np.isnan(empty.normal(np.zeros(4, np.int16), 0, statistic_of(name, pool_days))).all()


def test_a_count_is_the_number_of_valid_values_and_never_missing() -> None:
    values = material(np.random.default_rng(5), (6, 5, 4), 0.4)
    carry = carry_of(values)
    got = carry.normal(np.full(5, 6, np.int16), 6, statistic_of("count"))
    assert got.dtype == np.int16
    assert got.tolist() == (~np.isnan(values)).sum(axis=0).tolist()


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "level"),
    [("p90", 0.9), ("p5", 0.05), ("p99.5", 0.995), ("p0.1", 0.001), ("p99.999999", 0.99999999)],
)
def test_a_name_says_which_percentile(name: str, level: float) -> None:
    assert float(percentile_level(name)) == level


@pytest.mark.parametrize("name", ["p0", "p100", "p05", "p90.0", "p", "90", "p-5", "pp9", "p1e1"])
def test_what_is_no_percentile_is_refused(name: str) -> None:
    assert percentile_level(name) is None
    with pytest.raises(ValueError, match="no percentile such as p90"):
        statistic_of(name)


@pytest.mark.parametrize("name", ["mean", "std", "count"])
def test_sums_take_no_pools(name: str) -> None:
    with pytest.raises(ValueError, match=f'"{name}" takes no pool_days'):
        statistic_of(name, 5)


# ---------------------------------------------------------------- numba


@pytest.mark.slow
def test_who_needs_no_order_statistics_never_loads_numba() -> None:
    code = (
        "import sys, climdask, climdask.running.run, climdask.execution.tasks;"
        "from climdask.climatology.carry import Carry;"
        "from climdask.climatology.blocks import Block;"
        "import numpy as np;"
        "c = Carry.empty(2, 2, ('sum', 'squares')).add(Block.of(1, np.ones((2, 2), 'f4')));"
        "c.normal(np.ones(2, 'i2'), 1); assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_where_no_folder_can_be_written_kernels_are_compiled_all_the_same(tmp_path: Path) -> None:
    code = (
        "import numba.core.caching as caching;"
        "caching.CacheImpl._locator_classes = [];"
        "from climdask.climatology import orderkernels;"
        "import numpy as np; out = np.empty((1, 1, 1), 'f4');"
        "nothing = np.empty((0, 0), 'f4'); one = np.ones((1, 1), 'f4');"
        "assert orderkernels.slide(np.empty((1, 0, 1), 'f4'), one, nothing, True, False, out);"
        "assert out.tolist() == [[[1.0]]]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})

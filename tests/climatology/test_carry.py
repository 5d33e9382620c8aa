"""The carry and its mean against brute force: math.fsum over the window, rounded once."""

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climdask.climatology import exactsum
from climdask.climatology.blocks import Block, join_blocks
from climdask.climatology.calendars import DayAxis, Window
from climdask.climatology.carry import Carry
from climdask.climatology.coverage import MissingRule, needed_values

ALL = MissingRule(1, 1)  # one value is enough


# --- material ------------------------------------------------------------------------------------


def temperatures(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(220, 330, shape)


def wide(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """2^-40 to 2^40 within one cell-day, of either sign."""
    return (
        rng.choice([-1, 1], shape) * rng.uniform(1, 2, shape) * 2.0 ** rng.uniform(-40, 40, shape)
    )


def arid_rain(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Mostly zeros, some tiny values, few showers: kg m-2 s-1."""
    rain = rng.uniform(1, 2, shape) * 2.0 ** rng.uniform(-60, -10, shape)
    return np.where(rng.random(shape) < 0.7, 0.0, rain)


def cancelling(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A few magnitudes of either sign, so that sums often come to nothing or next to it."""
    return rng.choice([-1, 1], shape) * rng.choice([0, 1e-20, 1, 2.0**24, 2.0**40], shape)


def subnormal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-3, 4, shape) * 2.0**-149


MATERIAL = (temperatures, wide, arid_rain, cancelling, subnormal)


def no_gaps(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape, dtype=bool)


def scattered(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.random(shape) < 0.2


def land_mask(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """The same cells on all days of all years."""
    return np.broadcast_to(rng.random(shape[2]) < 0.4, shape)


def whole_days(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(rng.random((*shape[:2], 1)) < 0.3, shape)


def whole_years(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(rng.random((shape[0], 1, 1)) < 0.3, shape)


def some_of_each(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    missing = land_mask(rng, shape) | whole_days(rng, shape)
    missing[:: int(rng.integers(2, 5))] |= scattered(rng, shape)[:: int(rng.integers(2, 5))][:1]
    return missing | whole_years(rng, shape)


GAPS = (no_gaps, scattered, land_mask, whole_days, whole_years, some_of_each)


@st.composite
def years_of_values(draw) -> np.ndarray:
    """float32 [year, day, cell] with NaN where missing."""
    shape = (draw(st.integers(2, 14)), draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = draw(st.sampled_from(MATERIAL))(rng, shape).astype(np.float32)
    values[draw(st.sampled_from(GAPS))(rng, shape)] = np.nan
    return values


def blocks_of(values: np.ndarray, first_year: int = 1950) -> list[Block]:
    return [Block.of(year, v) for year, v in enumerate(values, start=first_year)]


def empty_for(values: np.ndarray) -> Carry:
    return Carry.empty(*values.shape[1:])


# --- the oracle ----------------------------------------------------------------------------------


def brute_force(values: np.ndarray, needed: Sequence[int], min_years: int = 1) -> np.ndarray:
    """float32(fsum / n) of each cell-day, NaN where fewer values than needed are valid."""
    mean = np.full(values.shape[1:], np.nan, dtype=np.float32)
    valid = ~np.isnan(values)
    if sum(year.any() for year in valid) < min_years:
        return mean
    for place in itertools.product(*map(range, mean.shape)):
        there = values[(slice(None), *place)][valid[(slice(None), *place)]].tolist()
        if len(there) >= needed[place[0]]:
            # Adding 0 turns -0, such as the mean of -0 alone, into 0.
            mean[place] = np.float32(math.fsum(there) / len(there)) + np.float32(0)
    return mean


def assert_same_bits(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.dtype == expected.dtype == np.float32
    assert np.isnan(got).tolist() == np.isnan(expected).tolist()
    there = ~np.isnan(expected)
    assert got[there].view(np.uint32).tolist() == expected[there].view(np.uint32).tolist()


def full_count(carry: Carry) -> list[list[int]]:
    return np.broadcast_to(carry.coverage.count, carry.states["sum"][0].shape).tolist()


def sliding(
    blocks: Sequence[Block], window: int, n_days: int, n_cells: int
) -> Iterator[tuple[int, Carry]]:
    """Yield the index of the last year and the carry after it."""
    carry = Carry.empty(n_days, n_cells)
    for last, block in enumerate(blocks):
        carry = carry.slide(enters=block, leaves=blocks[last - window] if last >= window else None)
        yield last, carry


# --- the sum is exact ----------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(years_of_values(), st.integers(1, 8), st.integers(1, 8), st.sampled_from([1, 3, 7, 1 << 14]))
def test_a_sliding_normal_equals_brute_force_to_the_last_bit(values, window, min_years, piece):
    n_days, n_cells = values.shape[1:]
    min_years = min(min_years, window)
    needed = np.array([1 + d % min_years for d in range(n_days)], dtype=np.int16)
    with mock.patch.object(exactsum, "PIECE", piece):  # several pieces, the last one ragged
        for last, carry in sliding(blocks_of(values), window, n_days, n_cells):
            inside = values[max(0, last - window + 1) : last + 1]
            got = carry.normal(needed, min_years)
            assert_same_bits(got, brute_force(inside, needed.tolist(), min_years))
            valid = ~np.isnan(inside)
            assert full_count(carry) == valid.sum(axis=0).tolist()
            first = 1950 + max(0, last - window + 1)
            with_values = [first + i for i, year in enumerate(valid) if year.any()]
            assert list(carry.years) == with_values


@settings(max_examples=60, deadline=None)
@given(years_of_values(), st.randoms(use_true_random=False))
def test_adding_and_then_dropping_a_year_is_the_identity(values, random):
    needed = np.ones(values.shape[1], dtype=np.int16)
    blocks = blocks_of(values)
    *others, extra = random.sample(blocks, len(blocks))
    before = empty_for(values)
    for block in others:
        before = before.add(block)
    after = before.add(extra).drop(extra)
    assert_same_bits(after.normal(needed, 0), before.normal(needed, 0))
    assert full_count(after) == full_count(before)
    assert after.years == before.years


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(years_of_values(), st.randoms(use_true_random=False))
def test_the_order_in_which_years_come_and_go_does_not_matter(values, random):
    needed = np.ones(values.shape[1], dtype=np.int16)
    blocks = blocks_of(values)
    stay = random.sample(blocks, random.randint(1, len(blocks)))
    moves = [(block, "add") for block in random.sample(blocks, len(blocks))]
    for block in blocks:
        if block not in stay:  # any time after it has come
            moves.insert(
                random.randint(moves.index((block, "add")) + 1, len(moves)), (block, "drop")
            )
    carry = empty_for(values)
    for block, verb in moves:
        carry = getattr(carry, verb)(block)
    kept = sorted(b.year - 1950 for b in stay)
    assert_same_bits(carry.normal(needed, 0), brute_force(values[kept], needed.tolist(), 0))
    assert full_count(carry) == (~np.isnan(values[kept])).sum(axis=0).tolist()


@settings(max_examples=60, deadline=None)
@given(years_of_values(), st.integers(1, 6))
def test_rain_never_becomes_negative(values, window):
    needed = np.ones(values.shape[1], dtype=np.int16)
    for _, carry in sliding(blocks_of(np.abs(values)), window, *values.shape[1:]):
        mean = carry.normal(needed, 1)
        assert not np.signbit(mean[~np.isnan(mean)]).any()


def test_a_window_of_zeros_is_zero_again_after_showers_that_do_not_add_up_in_float64():
    rng = np.random.default_rng(7)
    values = wide(rng, (40, 3, 4)).astype(np.float32)
    values[20:] = 0
    values[25:, 1] = -0.0
    *_, (_, carry) = sliding(blocks_of(values), 10, 3, 4)
    mean = carry.normal(np.ones(3, dtype=np.int16), 10)
    assert mean.view(np.uint32).tolist() == [[0] * 4] * 3  # positive zeros


def test_a_plain_float64_sum_would_have_failed_here():
    # What the compensation is for: if this holds no more, the tests above prove little.
    values = wide(np.random.default_rng(7), (40, 1, 200)).astype(np.float32)
    plain = np.zeros((1, 200))
    for last, year in enumerate(values):
        plain += year
        if last >= 10:
            plain -= values[last - 10]
    *_, (_, carry) = sliding(blocks_of(values), 10, 1, 200)
    needed = np.ones(1, dtype=np.int16)
    exact = brute_force(values[-10:], [1])
    assert ((plain / 10).astype(np.float32) != exact).any()
    assert_same_bits(carry.normal(needed, 1), exact)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        # The small one would vanish beside the large ones, and with it what is left of them.
        ([2.0**60, 1.0, -(2.0**60)], 1.0),
        ([2.0**60, 2.0**-60, -(2.0**60)], 2.0**-60),  # wider than two terms can say at once
        ([2.0**100, 2.0**30, 2.0**-40, -(2.0**100), -(2.0**30)], 2.0**-40),
        ([2.0**100, 1.0, 2.0**-100, 1.0, -(2.0**100), -2.0], 2.0**-100),
    ],
)
def test_small_values_outlive_large_ones(order, expected):
    n = len(order)
    for values in itertools.permutations(order):
        carry = Carry.empty(1, 1)
        for block in blocks_of(np.array(values, dtype=np.float32).reshape(-1, 1, 1)):
            carry = carry.add(block)
        mean = carry.normal(np.array([1], dtype=np.int16), 1)
        assert mean[0, 0] == np.float32(expected / n)


def test_the_sum_is_rounded_once():
    # The exact sum lies just above the middle of two float64; three terms carry it.
    values = np.array([2.0**53, 1.0, 2.0**-60], dtype=np.float32).reshape(-1, 1, 1)
    carry = Carry.empty(1, 1)
    for block in blocks_of(values):
        carry = carry.add(block)
    (total,) = exactsum.rounded_sum(carry.states["sum"]).ravel().tolist()
    assert total == math.fsum(values.ravel().tolist()) == 2.0**53 + 2


@pytest.mark.parametrize(
    ("material", "terms"),
    [
        (temperatures, 1),
        # What the planner's projection of memory counts on.
        (arid_rain, 2),
    ],
)
def test_a_carry_has_no_more_terms_than_its_values_need(material, terms):
    values = material(np.random.default_rng(1), (90, 4, 50)).astype(np.float32)
    most = max(len(carry.states["sum"]) for _, carry in sliding(blocks_of(values), 30, 4, 50))
    assert most == terms


def test_terms_that_are_not_needed_any_more_go_away():
    carry = Carry.empty(1, 2)
    large, small = blocks_of(np.array([[[2.0**60, 1.0]], [[1.0, 1.0]]], dtype=np.float32))
    both = carry.add(large).add(small)
    assert len(both.states["sum"]) == 2
    assert len(both.drop(large).drop(small).states["sum"]) <= 2
    assert sum(both.drop(large).drop(small).states["sum"]).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("shape", [(5, 11), (366, 100), (3, (1 << 14) + 5)])
def test_grids_larger_than_a_piece_are_summed_whole(shape):
    # 366 * 100 is two pieces and a ragged third; in the last one a day is larger than a piece.
    values = wide(np.random.default_rng(3), (4, *shape)).astype(np.float32)
    values[1, :, ::3] = np.nan
    needed = np.ones(shape[0], dtype=np.int16)
    carry = Carry.empty(*shape)
    for block in blocks_of(values):
        carry = carry.add(block)
    carry = carry.drop(blocks_of(values)[0])
    got = carry.normal(needed, 1)
    assert not np.isnan(got).any()
    for cell in {0, 1, shape[1] // 2, shape[1] - 1}:
        column = values[1:, :, cell : cell + 1]
        assert_same_bits(got[:, cell : cell + 1], brute_force(column, needed.tolist()))


# --- counts, and what is missing -----------------------------------------------------------------


def test_a_cell_day_whose_last_value_leaves_is_missing_and_starts_from_zero_again():
    values = np.full((4, 1, 2), np.nan, dtype=np.float32)
    values[0] = [1e10, 1e-10]
    values[1, 0, 1] = 3.0
    values[3] = [2.0, 2.0]
    first, second, nothing, last = blocks_of(values)
    carry = empty_for(values).add(first).add(second).drop(first)
    assert full_count(carry) == [[0, 1]]
    needed = np.array([1], dtype=np.int16)
    assert_same_bits(carry.normal(needed, 1), np.array([[np.nan, 3.0]], dtype=np.float32))
    emptied = carry.drop(second).add(nothing)
    assert full_count(emptied) == [[0, 0]]
    assert sum(emptied.states["sum"]).tolist() == [[0.0, 0.0]]
    assert np.isnan(emptied.normal(needed, 0)).all()
    assert_same_bits(emptied.add(last).normal(needed, 1), values[3])


def test_a_count_is_one_number_a_day_while_days_are_whole():
    whole = np.ones((3, 4), dtype=np.float32)
    no_second_day = whole.copy()
    no_second_day[1] = np.nan
    carry = Carry.empty(3, 4).add(Block.of(1950, whole))
    assert carry.coverage.count.dtype == np.int16
    carry = carry.add(Block.of(1951, no_second_day))
    assert carry.coverage.count.tolist() == [[2], [1], [2]]


def test_a_count_grows_to_cells_with_a_ragged_day_and_shrinks_back():
    whole = np.ones((3, 4), dtype=np.float32)
    ragged = whole.copy()
    ragged[2, 1] = np.nan
    blocks = [Block.of(1950 + i, ragged if i == 1 else whole) for i in range(5)]
    carries = dict(sliding(blocks, 2, 3, 4))
    shapes = [carries[i].coverage.count.shape for i in range(5)]
    assert shapes == [
        (3, 1),
        (3, 4),
        (3, 4),
        (3, 4),
        (3, 1),
    ]
    assert full_count(carries[1]) == [[2] * 4, [2] * 4, [2, 1, 2, 2]]
    assert full_count(carries[4]) == [[2] * 4] * 3
    assert carries[4].coverage.count.__sizeof__() < carries[2].coverage.count.__sizeof__()


def test_a_year_without_any_value_does_not_count():
    nothing = Block.of(1950, np.full((2, 3), np.nan, dtype=np.float32))
    carry = Carry.empty(2, 3).add(nothing)
    assert carry.years == ()
    assert carry.add(nothing).drop(nothing).years == ()


def test_a_block_notes_which_days_have_some_and_which_have_all_values():
    values = np.array([[1, 2], [np.nan, 2], [np.nan, np.nan]], dtype=np.float32)
    block = Block.of(1950, values)
    assert block.days_any.tolist() == [True, True, False]
    assert block.days_all.tolist() == [True, False, False]
    assert block.is_ragged
    assert not Block.of(1950, values[[0, 2]]).is_ragged  # a day is there or not at all


@pytest.mark.parametrize(
    ("min_years", "window", "with_day", "needed"),
    [
        (25, 30, 30, 25),
        (25, 30, 7, 6),  # ceil(5.83)
        (25, 30, 8, 7),  # ceil(6.67)
        (25, 30, 6, 5),  # exactly
        (24, 30, 8, 7),  # WMO's 80 %: ceil(6.4)
        (30, 30, 7, 7),
        (1, 30, 7, 1),
        (25, 30, 0, 1),  # a day that no year has needs a value none the less
        (9, 10, 3, 3),  # 2.7: not by way of a float
        (3, 10, 10, 3),  # 0.3 * 10 in floats is 3.0000000000000004
    ],
)
def test_a_cell_day_needs_the_same_share_of_the_years_that_have_it(
    min_years, window, with_day, needed
):
    got = MissingRule(min_years, window).needed(np.array([with_day], dtype=np.int16))
    assert got.tolist() == [needed]
    assert got.dtype == np.int16


@given(st.integers(1, 1000), st.data())
def test_needed_values_are_rounded_up_exactly(window, data):
    min_years = data.draw(st.integers(1, window))
    with_day = data.draw(st.integers(0, window))
    (got,) = MissingRule(min_years, window).needed(np.array([with_day], dtype=np.int16))
    assert got == max(1, math.ceil(Fraction(min_years * with_day, window)))


@pytest.mark.parametrize(
    ("leap_day", "target", "places"),
    [
        ("keep", 2010, {58: 25, 59: 6, 60: 25}),  # 7 leap years
        ("keep", 2009, {58: 25, 59: 7, 60: 25}),  # 8 of them
        ("drop", 2010, {58: 25, 59: 25}),
    ],
)
def test_29_february_needs_its_share_of_leap_years(leap_day, target, places):
    axis, window = DayAxis("standard", leap_day), Window.ending(target, 30)
    needed = needed_values(MissingRule(25, 30), axis, window)
    assert needed.shape == (len(axis),)
    assert {place: needed[place] for place in places} == places


@pytest.mark.parametrize(("n_years", "is_missing"), [(24, True), (25, False), (30, False)])
def test_a_normal_is_missing_with_fewer_than_min_years(n_years, is_missing):
    blocks = blocks_of(np.ones((n_years, 2, 3), dtype=np.float32))
    carry = Carry.empty(2, 3)
    for block in blocks:
        carry = carry.add(block)
    mean = carry.normal(np.array([1, 1], dtype=np.int16), 25)
    assert np.isnan(mean).tolist() == [[is_missing] * 3] * 2


def test_years_with_a_few_values_only_count_for_min_years_but_not_for_the_other_cells():
    values = np.full((30, 2, 2), np.nan, dtype=np.float32)
    values[:25, 0, 0] = 1
    values[:24, 0, 1] = 1
    values[:, 1, 0] = 1
    carry = empty_for(values)
    for block in blocks_of(values):
        carry = carry.add(block)
    mean = carry.normal(np.array([25, 25], dtype=np.int16), 25)
    assert np.isnan(mean).tolist() == [[False, True], [False, True]]


# --- the carry is immutable ----------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(years_of_values())
def test_a_slide_changes_neither_the_carry_nor_the_blocks(values):
    *others, leaves, enters = blocks_of(values)
    carry = empty_for(values).add(leaves)
    for block in others:
        carry = carry.add(block)
    arrays = [*carry.states["sum"], carry.coverage.count]
    arrays += [a for b in (leaves, enters) for a in (b.values, b.days_any, b.days_all)]
    copies = [a.copy() for a in arrays]
    for array in arrays:
        array.flags.writeable = False  # would raise
    after = carry.slide(enters=enters, leaves=leaves)
    carry.normal(np.ones(values.shape[1], dtype=np.int16), 1)
    for array, copy in zip(arrays, copies, strict=True):
        assert np.array_equal(array, copy, equal_nan=True)
    if enters.days_any.any() or leaves.days_any.any():
        for new in (*after.states["sum"], after.coverage.count):
            assert not any(np.shares_memory(new, old) for old in arrays)


def test_a_carry_with_nothing_to_do_is_itself():
    carry = Carry.empty(2, 2)
    assert carry.slide(enters=None, leaves=None) is carry


@pytest.mark.parametrize("verb", ["add", "drop"])
def test_a_year_is_added_once_and_dropped_only_if_it_is_there(verb):
    one, other = blocks_of(np.ones((2, 1, 1), dtype=np.float32))
    carry = Carry.empty(1, 1).add(one)
    block, words = (one, "year 1950 is in") if verb == "add" else (other, "year 1951 is not in")
    with pytest.raises(ValueError, match=rf"{words} \[1950\]"):
        getattr(carry, verb)(block)


def test_a_year_cannot_be_dropped_twice():
    one, other = blocks_of(np.ones((2, 1, 1), dtype=np.float32))
    carry = Carry.empty(1, 1).add(one).add(other).drop(one)
    with pytest.raises(ValueError, match="1950 is not in"):
        carry.drop(one)


def test_sizes_are_those_of_the_arrays():
    # Dask asks for them to decide what to spill.
    block = Block.of(1950, np.ones((4, 1000), dtype=np.float32))
    assert block.__sizeof__() == 4 * 4 * 1000 + 2 * 4
    carry = Carry.empty(4, 1000).add(block)
    assert carry.__sizeof__() == 8 * 4 * 1000 + 2 * 4


# --- years in several files ----------------------------------------------------------------------


def part(days: Sequence[int], n_days: int = 5, value: float = 1.0) -> Block:
    values = np.full((n_days, 2), np.nan, dtype=np.float32)
    values[list(days)] = value
    return Block.of(1950, values)


def test_parts_of_a_year_are_joined_in_any_order():
    parts = [part([0, 1], value=1), part([2], value=2), part([4], value=3)]
    for some in itertools.permutations(parts):
        joined = join_blocks(some)
        assert joined.year == 1950
        assert joined.values[:, 0].tolist()[:3] == [1, 1, 2]
        assert np.isnan(joined.values[3]).all()
        assert joined.days_any.tolist() == joined.days_all.tolist() == [True] * 3 + [False, True]
    assert np.isnan(parts[0].values[2:]).all()  # they themselves are as they were


def test_a_single_part_is_the_year_itself():
    only = part([0, 3])
    assert join_blocks([only]) is only


def test_a_ragged_part_leaves_the_year_ragged():
    ragged = part([2])
    values = ragged.values.copy()
    values[2, 0] = np.nan
    joined = join_blocks([part([0, 1, 3, 4]), Block.of(1950, values)])
    assert joined.days_all.tolist() == [True, True, False, True, True]
    assert joined.days_any.all()


def test_a_day_that_is_in_two_files_is_an_error():
    with pytest.raises(ValueError, match="day 4 of 1950 is in two files"):
        join_blocks([part([0, 1]), part([2, 3]), part([3, 4])])

"""Compiled exact sums and standard deviations are their numpy twins, bit for bit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climdask.climatology import exactsum, spread, stepvalues, sumkernels
from climdask.climatology.blocks import Block
from climdask.climatology.conversions import UNCHANGED
from climdask.climatology.coverage import Coverage
from climdask.climatology.statistics import ExactSum

# Values that need one term, two, or many; of all float32.
SPANS = {"temperature": (280.0, 5.0), "precipitation": (0.0, 20.0), "all": (0.0, 40.0)}


def values_of(rng: np.random.Generator, shape: tuple[int, ...], kind: str, missing: float):
    middle, width = SPANS[kind]
    if kind == "temperature":
        values = rng.normal(middle, width, shape)
    else:
        values = rng.normal(size=shape) * 2.0 ** rng.uniform(-width, width, shape)
    found = values.astype(np.float32)
    found[rng.random(shape) < 0.05] = -0.0
    found[rng.random(shape) < 0.05] = np.float32(1e-45)
    found[rng.random(shape) < missing] = np.nan
    return found


def same(one, other) -> bool:
    bits = [[term.view(np.uint64) for term in terms] for terms in (one, other)]
    return len(one) == len(other) and all(map(np.array_equal, *bits))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(sorted(SPANS)),
    missing=st.sampled_from([0.0, 0.2, 1.0]),
    power=st.sampled_from([1, 2]),
    size=st.sampled_from([(1, 1), (3, 7), (5, 4000), (2, exactsum.PIECE), (0, 4)]),
)
def test_the_compiled_sum_has_the_bits_of_the_plain_one(seed, kind, missing, power, size):
    rng = np.random.default_rng(seed)
    blocks = [Block.of(y, values_of(rng, size, kind, missing)) for y in range(6)]
    terms = (np.zeros(size),)
    steps = [[(b, 1.0)] for b in blocks[:4]]
    steps += [[(blocks[4], 1.0), (blocks[0], -1.0)], [(blocks[5], 1.0), (blocks[1], -1.0)]]
    steps += [[(blocks[2], -1.0)]]
    for signed in steps:
        plain = exactsum.by_numpy(terms, signed, power)
        found = exactsum.by_kernel(terms, signed, power, sumkernels.accumulate)
        if found is None:
            assert len(plain) > exactsum.MOST_TERMS
            return
        assert same(found, plain)
        if len(plain) > exactsum.MOST_TERMS:
            return
        terms = plain


def test_a_sum_of_more_terms_than_the_kernel_takes_is_left_to_numpy():
    values = np.float32([[1e38], [1e25], [1e12], [1.0], [1e-12], [1e-25], [1e-38]])
    terms: tuple[np.ndarray, ...] = (np.zeros((1, 1)),)
    for year, value in enumerate(values):
        signed = [(Block.of(year, value[None]), 1.0)]
        found = exactsum.by_kernel(terms, signed, 1, sumkernels.accumulate)
        plain = exactsum.by_numpy(terms, signed, 1)
        if found is None:
            assert len(plain) == exactsum.MOST_TERMS + 1
            return
        terms = plain
    pytest.fail("the kernel took all terms")


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(sorted(SPANS)),
    factor=st.sampled_from([Fraction(1), Fraction(9, 5), Fraction(86400)]),
)
def test_the_compiled_standard_deviation_has_the_bits_of_the_plain_one(seed, kind, factor):
    rng = np.random.default_rng(seed)
    n_years, shape = int(rng.integers(1, 8)), (4, 50)
    blocks = [Block.of(y, values_of(rng, shape, kind, 0.2)) for y in range(n_years)]
    blocks.append(Block.of(n_years, blocks[0].values.copy()))
    sums, squares = (ExactSum(p, 2).empty(*shape) for p in (1, 2))
    for block in blocks:
        sums = exactsum.by_numpy(sums, [(block, 1.0)], 1)
        squares = exactsum.by_numpy(squares, [(block, 1.0)], 2)
    if max(len(sums), len(squares)) > spread.KERNEL_TERMS:
        return
    count = sum((~np.isnan(b.values)).astype(np.int16) for b in blocks).reshape(-1)
    s, q = ([t.reshape(-1) for t in terms] for terms in (sums, squares))
    plain = spread.by_numpy(s, q, count, factor)
    found = spread.by_kernel(s, q, count, factor)
    enough = count > 1
    assert np.array_equal(found[0].view(np.uint32)[enough], plain[0].view(np.uint32)[enough])
    assert np.array_equal(found[1][enough], plain[1][enough])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(sorted(SPANS)),
    missing=st.sampled_from([0.0, 0.2, 1.0]),
    power=st.sampled_from([1, 2]),
    size=st.sampled_from([(1, 1), (31, 50), (90, stepvalues.TILE + 3), (0, 4)]),
)
def test_the_compiled_sum_of_a_step_has_the_bits_of_the_plain_one(seed, kind, missing, power, size):
    values = values_of(np.random.default_rng(seed), size, kind, missing)
    found = stepvalues.sum_by_kernel(values, power, sumkernels.sum_days)
    plain = stepvalues.exact_sum(values, power) if len(values) else None
    for name in ("high", "low"):
        right = getattr(plain, name) if plain else np.zeros(size[1])
        assert np.array_equal(getattr(found, name).view(np.uint64), right.view(np.uint64))


def test_a_step_whose_sum_two_numbers_cannot_hold_is_left_to_numpy():
    values = np.float32([[1e38] * 3, [1.0] * 3, [1e-38, 0.0, -1e-30]])
    found = stepvalues.sum_by_kernel(values, 1, lambda *a: sumkernels.sum_days(*a))
    plain = stepvalues.exact_sum(values)
    assert not sumkernels.sum_days(values, 0, 3, 1, np.empty(3), np.empty(3))
    assert np.array_equal(found.high, plain.high)
    assert np.array_equal(found.low, plain.low)


def test_large_grids_are_summed_by_the_kernel_and_small_ones_are_not(monkeypatch):
    used = []
    kernel = sumkernels.accumulate
    monkeypatch.setattr(sumkernels, "accumulate", lambda *a: used.append(1) or kernel(*a))
    rng = np.random.default_rng(5)
    for size, n in (((365, 200), 0), ((365, 3000), 1)):
        block = Block.of(1, values_of(rng, size, "precipitation", 0.1))
        found = exactsum.accumulate((np.zeros(size),), [(block, 1.0)])
        assert same(found, exactsum.by_numpy((np.zeros(size),), [(block, 1.0)], 1))
        assert len(used) == n


@pytest.mark.slow
def test_a_large_standard_deviation_is_that_of_its_parts():
    rng = np.random.default_rng(6)
    shape = (365, 3000)
    blocks = [Block.of(y, values_of(rng, shape, "temperature", 0.0)) for y in range(3)]
    states = {"sum": (np.zeros(shape),), "squares": (np.zeros(shape),)}
    for block in blocks:
        for name, power in (("sum", 1), ("squares", 2)):
            states[name] = exactsum.accumulate(states[name], [(block, 1.0)], power)
    coverage = Coverage.empty(365)
    for block in blocks:
        coverage = coverage.slide(block, enters=True)
    whole = spread.StandardDeviation().result(states, coverage, UNCHANGED)
    some = {name: tuple(t[:3] for t in terms) for name, terms in states.items()}
    first = Coverage((0, 1, 2), coverage.count[:3])
    part = spread.StandardDeviation().result(some, first, UNCHANGED)
    assert np.array_equal(whole[:3], part)
    right = np.std(np.stack([b.values.astype(float) for b in blocks]), axis=0, ddof=1)
    np.testing.assert_allclose(whole, right, rtol=1e-6, atol=1e-6)

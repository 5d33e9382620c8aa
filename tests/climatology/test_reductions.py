"""Reductions within the year, against their definitions in plain Python."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from climdask.climatology.blocks import Block
from climdask.climatology.calendars import DayAxis
from climdask.climatology.cycles import Cycle, Span
from climdask.climatology.missingdays import ALL, WMO, Share, missing_rule
from climdask.climatology.reductions import YearReduction, tail_of
from climdask.climatology.stepvalues import (
    Condition,
    DaysWith,
    DegreeDays,
    Extreme,
    LongestSpell,
    Mean,
    Relation,
    RunningExtreme,
    Spells,
    StandardDeviation,
    StepDays,
    StepReduction,
    Sum,
    exact_sum,
)

KEEP = DayAxis("standard", "keep")
WARM = Condition(Relation.ABOVE, Fraction("1.5"))
COLD = Condition(Relation.AT_OR_BELOW, Fraction("-0.5"))
SECONDS = Fraction(86400)

# ---------------------------------------------------------------- definitions, one cell


def runs_of(days: list[float], holds: Callable[[float], bool]) -> list[int]:
    """Return the lengths of spells."""
    return [len(list(g)) for is_one, g in itertools.groupby(days, key=holds) if is_one]


def windows_of(days: list[float], before: int, length: int) -> list[list[float]]:
    """Return the windows that end on a day of the step, without those that lack a day."""
    ends = range(max(before, length - 1), len(days))
    found = [days[end - length + 1 : end + 1] for end in ends]
    return [w for w in found if not any(map(math.isnan, w))]


def std(days: list[float]) -> float:
    if len(days) < 2:
        return math.nan
    exact = [Fraction(x) for x in days]
    mean = sum(exact) / len(exact)
    variance = sum((x - mean) ** 2 for x in exact) / (len(exact) - 1)
    # the root of a fraction, to 200 bits
    scale = 2**400
    return float(Fraction(math.isqrt(int(variance * scale * scale)), scale))


def exact_over(days: list[float], base: Fraction, sign: int) -> float:
    return float(sum(max(sign * (Fraction(x) - base), Fraction(0)) for x in days))


Definition = Callable[[list[float], int], float]


def valid(days: list[float], before: int) -> list[float]:
    return [x for x in days[before:] if not math.isnan(x)]


def or_nan(values: list[float], of: Callable[[list[float]], float]) -> float:
    return of(values) if values else math.nan


CASES: list[tuple[str, StepReduction, Definition]] = [
    ("mean", Mean(), lambda d, b: or_nan(valid(d, b), lambda v: math.fsum(v) / len(v))),
    ("sum", Sum(), lambda d, b: or_nan(valid(d, b), math.fsum)),
    (
        "integral",
        Sum(SECONDS),
        lambda d, b: or_nan(valid(d, b), lambda v: float(SECONDS * sum(map(Fraction, v)))),
    ),
    ("max", Extreme(True), lambda d, b: or_nan(valid(d, b), max)),
    ("min", Extreme(False), lambda d, b: or_nan(valid(d, b), min)),
    ("std", StandardDeviation(), lambda d, b: std(valid(d, b))),
    ("days above", DaysWith(WARM), lambda d, b: sum(x > 1.5 for x in d[b:])),
    ("days at or below", DaysWith(COLD), lambda d, b: sum(x <= -0.5 for x in d[b:])),
    (
        "degree days above",
        DegreeDays(True, Fraction("0.1")),
        lambda d, b: exact_over(valid(d, b), Fraction("0.1"), 1),
    ),
    (
        "degree days below",
        DegreeDays(False, Fraction(1, 3)),
        lambda d, b: exact_over(valid(d, b), Fraction(1, 3), -1),
    ),
    (
        "longest spell",
        LongestSpell(WARM),
        lambda d, b: max(runs_of(d[b:], lambda x: x > 1.5), default=0),
    ),
    (
        "spells",
        Spells(COLD, 2),
        lambda d, b: sum(n >= 2 for n in runs_of(d[b:], lambda x: x <= -0.5)),
    ),
    (
        "days in spells",
        Spells(COLD, 3, count_days=True),
        lambda d, b: sum(n for n in runs_of(d[b:], lambda x: x <= -0.5) if n >= 3),
    ),
    (
        "max of 5-day sum",
        RunningExtreme(True, 5, SECONDS),
        lambda d, b: or_nan(
            [float(SECONDS * sum(map(Fraction, w))) for w in windows_of(d, b, 5)], max
        ),
    ),
    (
        "min of 3-day mean",
        RunningExtreme(False, 3),
        lambda d, b: or_nan([math.fsum(w) / 3 for w in windows_of(d, b, 3)], min),
    ),
]

# Steps on a grid, where values tie; values that are far apart; and everything in float32.
EASY = st.integers(-8, 8).map(lambda n: n / 4)
FAR = st.tuples(st.floats(-1, 1, width=32), st.integers(-60, 6)).map(
    lambda p: float(np.float32(p[0] * 2.0 ** p[1]))
)
ANY = st.floats(-(2.0**60), 2.0**60, width=32)


@pytest.mark.parametrize(
    ("reduction", "definition"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
@pytest.mark.slow
def test_a_reduction_equals_its_definition(reduction, definition, data):
    shape = (data.draw(st.integers(1, 14)), data.draw(st.integers(1, 3)))
    elements = data.draw(st.sampled_from([EASY, FAR, ANY])) | st.just(math.nan)
    values = data.draw(hnp.arrays(np.float32, shape, elements=elements))
    before = min(data.draw(st.integers(0, reduction.days_before)), shape[0] - 1)
    found = reduction(StepDays(values, before))
    assert (found.dtype, found.shape) == (np.float64, (shape[1],))
    for cell in range(shape[1]):
        expected = definition([float(x) for x in values[:, cell]], before)
        if isinstance(reduction, StandardDeviation | RunningExtreme | Sum):
            # one rounding of a product or a root: off by an ulp in one case of 2^40
            assert found[cell] == pytest.approx(expected, rel=2.0**-50, nan_ok=True)
            assert np.float32(found[cell]) == np.float32(expected) or math.isnan(expected)
        elif isinstance(reduction, DegreeDays):
            np.testing.assert_allclose(found[cell], expected, rtol=2.0**-52)
        else:
            np.testing.assert_array_equal(found[cell], expected)


def test_a_rare_sum_of_many_magnitudes_is_as_exact_as_fsum():
    values = np.array([2.0**100, 1.0, 2.0**-60, 2.0**-140, -(2.0**100), -1.0], np.float32)
    assert exact_sum(values[:, None]).high[0] == math.fsum(values.tolist()) == 2.0**-60 + 2.0**-140


def test_the_standard_deviation_of_equal_values_is_zero():
    values = np.full((31, 1), 293.14999, np.float32)
    assert StandardDeviation()(StepDays(values)).tolist() == [0.0]
    values[3] = np.nextafter(values[3], np.float32(0))
    assert StandardDeviation()(StepDays(values))[0] == std(values[:, 0].tolist())


@pytest.mark.parametrize(
    ("relation", "expected"),
    [
        (Relation.ABOVE, [False, False, True, False]),
        (Relation.AT_OR_ABOVE, [False, True, True, False]),
        (Relation.BELOW, [True, False, False, False]),
        (Relation.AT_OR_BELOW, [True, True, False, False]),
    ],
)
def test_a_value_that_stands_for_the_threshold_is_at_it(relation, expected):
    # float32 of 298.15 lies below 298.15
    at = np.float32(298.15)
    values = np.array([np.nextafter(at, np.float32(0)), at, np.nextafter(at, np.float32(999))])
    days = np.append(values, np.float32(np.nan))
    assert Condition(relation, Fraction("298.15")).holds(days).tolist() == expected


def test_degree_days_of_a_value_beside_the_base_are_never_negative():
    at = np.array([[np.float32(283.15)]])  # below 283.15 by 6e-6
    above = DegreeDays(True, Fraction("283.15"))(StepDays(at))
    below = DegreeDays(False, Fraction("283.15"))(StepDays(at))
    assert above.tolist() == [0.0]
    assert below.tolist() == [float(Fraction("283.15") - Fraction(float(at[0, 0])))]


# ---------------------------------------------------------------- years


def block_of(axis: DayAxis, year: int, values: np.ndarray) -> Block:
    found = values.astype(np.float32)
    found[~axis.exists_in(year)] = np.nan
    return Block.of(year, found)


def day_numbers(axis: DayAxis, year: int) -> Block:
    """Return a year of one cell with the months as values."""
    return block_of(axis, year, np.array([[float(month)] for month, _ in axis.days]))


@pytest.mark.parametrize("year", [2000, 2001])
def test_each_month_has_its_own_days_in_leap_years_and_others(year):
    months = YearReduction(Mean(), Cycle.months().on(KEEP), ALL)
    found = months(day_numbers(KEEP, year))
    assert (found.year, found.values.dtype) == (year, np.float32)
    assert found.values[:, 0].tolist() == list(range(1, 13))
    total = YearReduction(Sum(), Cycle.months().on(KEEP), ALL)(day_numbers(KEEP, year))
    assert total.values[1, 0] == 2 * (29 if year == 2000 else 28)


def test_winter_has_the_december_of_the_year_before():
    seasons = YearReduction(Sum(), Cycle.seasons().on(KEEP), ALL)
    assert seasons.days_before == 31
    before = tail_of(day_numbers(KEEP, 1999), seasons.days_before)
    found = seasons(day_numbers(KEEP, 2000), before).values[:, 0]
    assert found.tolist() == [31 * 12 + 31 * 1 + 29 * 2, 31 * 3 + 30 * 4 + 31 * 5, 645, 910]
    alone = seasons(day_numbers(KEEP, 2000)).values[:, 0]
    assert math.isnan(alone[0])
    assert alone[1:].tolist() == found[1:].tolist()
    lenient = YearReduction(Sum(), Cycle.seasons().on(KEEP), Share(Fraction(6, 10)))
    assert lenient(day_numbers(KEEP, 2000)).values[0, 0] == 31 + 29 * 2


def test_a_span_over_the_end_of_the_year_belongs_to_the_year_of_its_end():
    half = Cycle.own([Span.of("winter_half", "10-01", "03-31")]).on(KEEP)
    sums = YearReduction(Sum(), half, ALL)
    assert sums.days_before == 92
    found = sums(day_numbers(KEEP, 2001), tail_of(day_numbers(KEEP, 2000), 92))
    assert found.values.tolist() == [[31 * 10 + 30 * 11 + 31 * 12 + 31 + 28 * 2 + 31 * 3]]


@pytest.mark.parametrize(
    ("year", "expected"),
    [(2001, [1.0, 5.0]), (2000, [1.0, 5.0])],
)
def test_a_running_window_reaches_over_the_edge_of_a_step_and_past_no_29_february(year, expected):
    # ones, so that a window of 5 days has 5; January of a first year has windows from the 5th
    ones = block_of(KEEP, year, np.ones((366, 1)))
    lows = YearReduction(RunningExtreme(False, 5, Fraction(1)), Cycle.months().on(KEEP), ALL)
    assert lows(ones).values[:, 0].tolist() == [5.0] * 12
    spike = np.zeros((366, 1))
    spike[[58, 60]] = 1.0  # 28 February, 1 March
    highs = YearReduction(RunningExtreme(True, 2, Fraction(1)), Cycle.months().on(KEEP), ALL)
    found = highs(block_of(KEEP, year, spike)).values[:, 0]
    assert found[2] == (2.0 if year == 2001 else 1.0)


def test_a_window_that_ends_on_1_january_has_days_of_the_year_before():
    before, year = np.zeros((366, 1)), np.zeros((366, 1))
    before[-2:], year[:1] = 1.0, 1.0
    highs = YearReduction(RunningExtreme(True, 3, Fraction(1)), Cycle.year().on(KEEP), ALL)
    tail = tail_of(block_of(KEEP, 2000, before), highs.days_before)
    assert highs(block_of(KEEP, 2001, year), tail).values[0, 0] == 3.0
    assert highs(block_of(KEEP, 2001, year)).values[0, 0] == 1.0


def test_a_spell_is_cut_at_the_edge_of_its_step():
    warm = np.zeros((366, 1))
    warm[26:36] = 2.0  # 27 January to 5 February: 5 days and 5
    months = Cycle.months([1, 2]).on(KEEP)
    block = block_of(KEEP, 2001, warm)
    assert YearReduction(LongestSpell(WARM), months, ALL)(block).values[:, 0].tolist() == [5, 5]
    assert YearReduction(Spells(WARM, 6), months, ALL)(block).values[:, 0].tolist() == [0, 0]
    assert YearReduction(Spells(WARM, 6), Cycle.year().on(KEEP), ALL)(block).values == [[1]]


def test_days_are_reduced_to_themselves():
    values = np.random.default_rng(3).normal(size=(366, 4))
    block = block_of(KEEP, 2001, values)
    found = YearReduction(Extreme(True), Cycle.days().on(KEEP), ALL)(block)
    np.testing.assert_array_equal(found.values, block.values)


@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from([c[1] for c in CASES]),
    st.sampled_from([Cycle.months(), Cycle.seasons(), Cycle.year()]),
    st.integers(0, 2**32 - 1),
)
def test_a_cell_does_not_depend_on_the_cells_beside_it(reduction, cycle, seed):
    rng = np.random.default_rng(seed)
    values = rng.gamma(0.1, 1e-3, (366, 5)).astype(np.float32)
    values[rng.random(values.shape) < 0.02] = np.nan
    block = block_of(KEEP, 2001, values)
    reduced = YearReduction(reduction, cycle.on(KEEP), WMO)
    whole = reduced(block, tail_of(block, reduced.days_before))
    one = block_of(KEEP, 2001, values[:, 2:3])
    alone = reduced(one, tail_of(one, reduced.days_before))
    np.testing.assert_array_equal(alone.values[:, 0], whole.values[:, 2])


def test_a_wrong_number_of_days_is_refused():
    sums = YearReduction(Sum(), Cycle.seasons().on(KEEP), ALL)
    block = day_numbers(KEEP, 2000)
    with pytest.raises(ValueError, match="365 days of 2000; the axis has 366"):
        sums(Block.of(2000, block.values[:365]))
    with pytest.raises(ValueError, match=r"shape \(30, 1\); expected \(31, 1\)"):
        sums(block, block.values[:30])
    with pytest.raises(ValueError, match="a value of 2000 is too large for float32"):
        sums(Block.of(2000, np.full((366, 1), 3e38, np.float32)), block.values[:31])


# ---------------------------------------------------------------- missing days


def missing_on(rule, total: bool, days: list[int], n: int = 30) -> bool:
    lacks = np.zeros((n, 1), dtype=bool)
    lacks[days] = True
    return bool(rule.is_missing(lacks, np.full(n, 4, np.int16), total=total)[0])


@pytest.mark.parametrize(
    ("days", "missing"),
    [
        ([], False),
        (list(range(0, 20, 2)), False),  # 10
        (list(range(0, 22, 2)), True),  # 11
        ([3, 4, 5, 6], False),
        ([3, 4, 5, 6, 7], True),
        ([25, 26, 27, 28, 29], True),
        ([0, 1, 2, 3, 5, 6, 7, 8], False),
    ],
)
def test_the_wmo_has_a_month_missing_at_11_days_or_5_in_a_row(days, missing):
    assert missing_on(WMO, False, days) is missing


def test_the_wmo_wants_all_days_of_a_sum():
    assert missing_on(WMO, True, [7])
    assert not missing_on(WMO, True, [])


def test_the_wmo_judges_the_months_of_a_longer_step_one_by_one():
    months = np.repeat(np.array([1, 2], np.int16), 30)
    lacks = np.zeros((60, 3), dtype=bool)
    lacks[[27, 28, 29, 30, 31, 32], 0] = True  # 3 days in each month
    lacks[0:40:4, 1] = True  # 10 days, 8 and 2
    lacks[30:35, 2] = True
    assert WMO.is_missing(lacks, months, total=False).tolist() == [False, False, True]


def test_a_share_is_taken_as_it_is_written():
    nine_tenths = missing_rule(0.9)
    assert not missing_on(nine_tenths, True, [1, 2, 3])  # 27 of 30 is just 0.9
    assert missing_on(nine_tenths, True, [1, 2, 3, 4])
    assert missing_on(missing_rule("all"), False, [1])
    assert [str(missing_rule(t)) for t in ("wmo", "all", 0.9, 1)] == ["wmo", "all", "0.9", "all"]


@pytest.mark.parametrize("text", ["most", 0, 1.1, -0.5, True, "nan", "1/0"])
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(ValueError, match="is no rule for missing days; expected wmo, all, or"):
        missing_rule(text)


def test_the_29_february_that_is_not_is_not_missing():
    counts = YearReduction(DaysWith(WARM), Cycle.months([2]).on(KEEP), WMO)
    assert counts(day_numbers(KEEP, 2001)).values.tolist() == [[28]]
    gap = day_numbers(KEEP, 2000).values.copy()
    gap[59] = np.nan
    assert np.isnan(counts(Block.of(2000, gap)).values).all()

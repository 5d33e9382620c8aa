"""Cycles: the steps of a year, on each calendar."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache

import cftime
import numpy as np
import pytest

from climdask.climatology.calendars import EPOCH, DayAxis, Window, climatology_time
from climdask.climatology.cycles import Cycle, Span

AXES = [
    DayAxis("standard", "keep"),
    DayAxis("standard", "drop"),
    DayAxis("proleptic_gregorian", "keep"),
    DayAxis("julian", "keep"),
    DayAxis("noleap", "keep"),
    DayAxis("all_leap", "keep"),
    DayAxis("360_day", "keep"),
]
WINTER_HALF = Cycle.own([Span.of("winter_half", "10-01", "03-31")])
CYCLES = [
    Cycle.days(),
    Cycle.months(),
    Cycle.months([7, 2]),
    Cycle.seasons(),
    Cycle.year(),
    Cycle.own([Span.of("growing", "04-01", "09-30")]),
    WINTER_HALF,
    Cycle.own([Span.of("water_year", "10-01", "09-30")]),
    Cycle.own([Span.of("a", "02-15", "03-15"), Span.of("b", "12-15", "02-29")], name="odd"),
]


@lru_cache
def dates_of(axis: DayAxis, year: int) -> list[tuple[int, int, int]]:
    """Return the (year, month, day) of a year and the one before, as the calendar has them."""
    day = cftime.datetime(year - 1, 1, 1, calendar=axis.calendar)
    dates = []
    while day.year <= year:
        dates.append((day.year, day.month, day.day))
        day += timedelta(days=1)
    return [d for d in dates if not (axis.drops_leap_day and d[1:] == (2, 29))]


def is_in(cycle: Cycle, name: str, date: tuple[int, int, int], year: int) -> bool:
    """Tell by the definition of each cycle whether a date is in a step of a year."""
    y, month, day = date
    if cycle.name == "day":
        return y == year and f"{month:02}-{day:02}" == name
    if cycle.name == "mon":
        return y == year and month == int(name)
    if cycle.name == "seas":
        of_year = y + 1 if month == 12 else y
        return of_year == year and month in {
            "DJF": (12, 1, 2), "MAM": (3, 4, 5), "JJA": (6, 7, 8), "SON": (9, 10, 11)
        }[name]  # fmt: skip
    if cycle.name == "yr":
        return y == year
    span = next(s for s in cycle.spans if s.name == name)
    first, last = (*span.first,), (*span.last,)
    if first <= last:
        return y == year and first <= (month, day) <= last
    return (y == year - 1 and (month, day) >= first) or (y == year and (month, day) <= last)


def days_of_step(cycle: Cycle, axis: DayAxis, step: int, year: int) -> list[tuple[int, int, int]]:
    """Return the dates that a cycle says are in a step."""
    laid = cycle.on(axis)
    first, end = laid.spans[step]
    places = np.arange(first, end)[laid.exists(year, step)]
    n = len(axis)
    return [(year + p // n, *axis.days[p % n]) for p in places.tolist()]


@pytest.mark.parametrize("axis", AXES, ids=lambda a: f"{a.calendar}-{a.leap_day}")
@pytest.mark.parametrize("cycle", CYCLES, ids=lambda c: c.name)
@pytest.mark.parametrize("year", [1900, 2000, 2001])
@pytest.mark.slow
def test_the_days_of_a_step_are_those_of_its_definition(cycle, axis, year):
    laid = cycle.on(axis)
    everything = dates_of(axis, year)
    for step, name in enumerate(laid.names):
        expected = [d for d in everything if is_in(cycle, name, d, year)]
        assert days_of_step(cycle, axis, step, year) == expected
        assert laid.n_days(year)[step] == len(expected)
        first, end = laid.spans[step]
        assert len(laid.months(step)) == end - first
        months = laid.months(step)[laid.exists(year, step)]
        assert months.tolist() == [m - 12 * (year - y) for y, m, _ in expected]


def test_a_step_reaches_back_as_far_as_its_days_in_the_year_before():
    axis = DayAxis("standard", "keep")
    assert Cycle.months().on(axis).days_before == 0
    assert Cycle.seasons().on(axis).days_before == 31
    assert WINTER_HALF.on(axis).days_before == 92
    assert Cycle.seasons().on(DayAxis("360_day", "keep")).days_before == 30


def test_days_before_a_step_are_there_where_their_year_has_them():
    laid = Cycle.months().on(DayAxis("standard", "keep"))
    # 1 March and the three days before: 29 February of 2000, but not of 2001
    assert laid.exists(2000, 2, before=3)[:4].tolist() == [True, True, True, True]
    assert laid.exists(2001, 2, before=3)[:4].tolist() == [True, True, False, True]
    assert laid.exists(2001, 0, before=366).all() == laid.exists(2001, 0, before=1).all()
    with pytest.raises(ValueError, match='367 days before "01" reach back'):
        laid.exists(2001, 0, before=367)


@pytest.mark.parametrize("axis", AXES, ids=lambda a: f"{a.calendar}-{a.leap_day}")
@pytest.mark.parametrize("cycle", CYCLES[1:], ids=lambda c: c.name)
def test_bounds_are_midnights_of_the_first_day_and_after_the_last(cycle, axis):
    laid, window, calendar = cycle.on(axis), Window(1971, 2000), axis.output_calendar
    time, bounds = laid.climatology_time(window)
    assert (time.shape, bounds.shape) == ((len(laid),), (len(laid), 2))
    for step in range(len(laid)):
        start, end = cftime.num2date(bounds[step], EPOCH, calendar)
        first = days_of_step(cycle, axis, step, 1971)[0]
        last = days_of_step(cycle, axis, step, 2000)[-1]
        assert start == cftime.datetime(*first, calendar=calendar)
        assert end == cftime.datetime(*last, calendar=calendar) + timedelta(days=1)
        of_year = days_of_step(cycle, axis, step, 2000)[0]
        begin = cftime.date2num(cftime.datetime(*of_year, calendar=calendar), EPOCH)
        assert time[step] == (begin + bounds[step, 1]) / 2


def test_bounds_of_winter_reach_from_the_year_before_the_window():
    _, bounds = Cycle.seasons().on(DayAxis("standard", "keep")).climatology_time(Window(1981, 2010))
    dates = cftime.num2date(bounds, EPOCH, "standard")
    assert [[f"{a:%Y-%m-%d}", f"{b:%Y-%m-%d}"] for a, b in dates] == [
        ["1980-12-01", "2010-03-01"],
        ["1981-03-01", "2010-06-01"],
        ["1981-06-01", "2010-09-01"],
        ["1981-09-01", "2010-12-01"],
    ]


def test_bounds_span_the_years_that_each_step_is_said_to_have():
    laid = Cycle.seasons().on(DayAxis("noleap", "keep"))
    edges = np.array([[1982, 2009], [1981, 2010], [1981, 1981], [1990, 1991]])
    _, bounds = laid.climatology_time(Window(1981, 2010), edges)
    dates = cftime.num2date(bounds, EPOCH, "noleap")
    assert [[f"{a:%Y-%m}", f"{b:%Y-%m}"] for a, b in dates] == [
        ["1981-12", "2009-03"], ["1981-03", "2010-06"], ["1981-06", "1981-09"],
        ["1990-09", "1991-12"],
    ]  # fmt: skip


@pytest.mark.parametrize("axis", AXES, ids=lambda a: f"{a.calendar}-{a.leap_day}")
def test_days_have_the_times_that_daily_normals_always_had(axis):
    window = Window(1981, 2010)
    for mine, theirs in zip(
        Cycle.days().on(axis).climatology_time(window), climatology_time(axis, window), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    edges = np.tile([1985, 2004], (len(axis), 1))
    edges[axis.positions([2], [29])[0]] = (1988, 2004)
    bounds = Cycle.days().on(axis).climatology_time(window, edges)[1]
    assert cftime.num2date(bounds[0, 0], EPOCH, axis.output_calendar).year == 1985


@pytest.mark.parametrize(
    ("each", "cycle"),
    [
        ("day", Cycle.days()),
        ("month", Cycle.months()),
        ("season", Cycle.seasons()),
        ("year", Cycle.year()),
        ([6, 7, 8], Cycle.months([6, 7, 8])),
        ([8, 6], Cycle.months([6, 8])),
        ({"name": "growing", "from": "04-01", "to": "09-30"}, CYCLES[5]),
    ],
)
def test_a_workflow_names_a_cycle(each, cycle):
    assert Cycle.of(each) == cycle


def test_each_frequency_has_a_name():
    assert [c.name for c in CYCLES] == [
        "day", "mon", "mon", "seas", "yr", "growing", "winter_half", "water_year", "odd",
    ]  # fmt: skip
    assert Cycle.days().on(AXES[0]).names[59] == "02-29"
    assert Cycle.months().on(AXES[0]).names[11] == "12"


@pytest.mark.parametrize(
    ("each", "message"),
    [
        ("months", "'months' is no part of a year; expected one of day, month, season, year"),
        ([0, 1], r"\[0, 1\] are no months; expected some of 1 to 12"),
        ([3, 3], r"\[3, 3\] are no months"),
        ([], r"\[\] are no months"),
        ([True, "6"], "no part of a year"),
        ([True], "no part of a year"),
        ({"name": "growing", "from": "04-01"}, "no part of a year"),
        ({"name": "growing", "from": "04-31", "to": "09-30"}, '"04-31" of "growing" is no day'),
        ({"name": "growing", "from": "4-1", "to": "09-30"}, '"4-1" of "growing" is no day'),
        ({"name": "growing", "from": "04-01", "to": "13-01"}, '"13-01" of "growing" is no day'),
        ({"name": "../x", "from": "04-01", "to": "09-30"}, "is no name for days"),
        ({"name": "mon", "from": "04-01", "to": "09-30"}, '"mon" cannot name spans of days'),
    ],
)
def test_what_is_no_cycle_is_refused(each, message):
    with pytest.raises(ValueError, match=message):
        Cycle.of(each)


def test_spans_of_one_name_are_refused():
    with pytest.raises(ValueError, match="each with its own name"):
        Cycle.own([Span.of("a", "01-01", "02-01"), Span.of("a", "03-01", "04-01")])
    with pytest.raises(ValueError, match="one or more spans"):
        Cycle.own([])


def test_days_that_only_leap_years_have_are_no_step_of_a_year():
    leap_day = Cycle.own([Span.of("leap_day", "02-29", "02-29")])
    with pytest.raises(ValueError, match='"leap_day" has no day in years of calendar "standard"'):
        leap_day.on(DayAxis("standard", "keep"))
    assert leap_day.on(DayAxis("360_day", "keep")).n_days(2001).tolist() == [1]
    last_day = Cycle.own([Span.of("last_day", "12-31", "12-31")])
    with pytest.raises(ValueError, match='"last_day" has no day'):
        last_day.on(DayAxis("360_day", "keep"))

"""Years: calendars, the month-day axis, windows, CF climatological time, periods."""

from datetime import timedelta

import cftime
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from climdask.climatology.calendars import (
    EPOCH,
    DayAxis,
    Periods,
    Window,
    calendar_edges,
    canonical_calendar,
    climatology_bounds,
    climatology_time,
    compatible_calendars,
    edge_years,
    is_leap,
    run_lengths,
    years_with_day,
)

CALENDARS = ("standard", "proleptic_gregorian", "noleap", "360_day", "julian", "all_leap")


def dates_of(calendar: str, year: int) -> list[cftime.datetime]:
    """Every day of a year, walked one by one: independent of what is tested."""
    first, after = (cftime.datetime(y, 1, 1, calendar=calendar) for y in (year, year + 1))
    numbers = cftime.date2num([first, after], EPOCH, calendar)
    return list(cftime.num2date(np.arange(numbers[0], numbers[1]), EPOCH, calendar))


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("gregorian", "standard"),
        ("standard", "standard"),
        ("Standard", "standard"),  # files are not careful with capitals
        ("proleptic_gregorian", "proleptic_gregorian"),
        ("365_day", "noleap"),
        ("noleap", "noleap"),
        ("NoLeap", "noleap"),
        ("360_day", "360_day"),
        ("366_day", "all_leap"),
        ("all_leap", "all_leap"),
        ("julian", "julian"),
    ],
)
def test_a_calendar_has_one_name(alias, name):
    assert canonical_calendar(alias) == name


def test_an_unknown_calendar_is_named_with_those_that_are_known():
    with pytest.raises(ValueError, match=r'calendar "mayan" is not known.*360_day.*noleap'):
        canonical_calendar("mayan")


@pytest.mark.parametrize("one", CALENDARS)
@pytest.mark.parametrize("other", CALENDARS)
def test_only_the_gregorian_calendars_may_stand_in_one_chain(one, other):
    expected = one == other or {one, other} == {"standard", "proleptic_gregorian"}
    assert compatible_calendars(one, other) is expected


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize("year", [1896, 1900, 1996, 1999, 2000, 2001, 2004, 2100])
def test_leap_years_agree_with_cftime(calendar, year):
    dates = dates_of(calendar, year)
    assert is_leap(calendar, year) == ((2, 29) in {(d.month, d.day) for d in dates})


@pytest.mark.parametrize(
    ("calendar", "leap_day", "length", "output_calendar"),
    [
        ("standard", "drop", 365, "noleap"),
        ("standard", "keep", 366, "standard"),
        ("proleptic_gregorian", "drop", 365, "noleap"),
        ("proleptic_gregorian", "keep", 366, "proleptic_gregorian"),
        ("julian", "drop", 365, "noleap"),
        ("noleap", "drop", 365, "noleap"),
        ("noleap", "keep", 365, "noleap"),  # nothing to keep
        ("all_leap", "drop", 365, "noleap"),
        ("all_leap", "keep", 366, "all_leap"),
        ("360_day", "drop", 360, "360_day"),  # 29 February is a day like others
        ("360_day", "keep", 360, "360_day"),
    ],
)
def test_an_axis_has_the_days_and_the_calendar_of_its_leap_rule(
    calendar, leap_day, length, output_calendar
):
    axis = DayAxis(calendar, leap_day)
    assert len(axis) == len(axis.days) == length
    assert axis.output_calendar == output_calendar
    assert list(axis.days) == sorted(set(axis.days))
    assert axis.days[0] == (1, 1)
    assert axis.days[-1] == ((12, 30) if calendar == "360_day" else (12, 31))


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize("leap_day", ["drop", "keep"])
@pytest.mark.parametrize("year", [1900, 1999, 2000])
def test_positions_align_by_month_and_day_in_every_year(calendar, leap_day, year):
    axis = DayAxis(calendar, leap_day)
    dates = dates_of(calendar, year)
    places = axis.positions([d.month for d in dates], [d.day for d in dates])
    for date, place in zip(dates, places, strict=True):
        if (date.month, date.day) in axis.days:
            assert axis.days[place] == (date.month, date.day)
        else:
            assert place == -1
            assert (date.month, date.day, leap_day) == (2, 29, "drop")
    assert set(np.flatnonzero(axis.exists_in(year))) == set(places) - {-1}


def test_the_first_of_march_has_one_place_in_leap_years_and_in_others():
    # By ordinal day it would be 60 in one and 61 in the other.
    dropping, keeping = DayAxis("standard", "drop"), DayAxis("standard", "keep")
    assert dropping.positions([2, 2, 3], [28, 29, 1]).tolist() == [58, -1, 59]
    assert keeping.positions([2, 2, 3], [28, 29, 1]).tolist() == [58, 59, 60]


def test_days_that_no_calendar_has_have_no_place():
    assert DayAxis("standard", "keep").positions([2, 4, 11], [30, 31, 31]).tolist() == [-1, -1, -1]
    assert DayAxis("360_day", "drop").positions([2, 1], [30, 31]).tolist() == [59, -1]


def test_only_29_february_is_not_in_every_year():
    axis = DayAxis("standard", "keep")
    assert axis.exists_in(2000).all()
    assert np.flatnonzero(~axis.exists_in(1900)).tolist() == [59]
    assert axis.days[59] == (2, 29)
    assert DayAxis("all_leap", "keep").exists_in(1999).all()
    assert DayAxis("360_day", "keep").exists_in(1999).all()
    assert DayAxis("standard", "drop").exists_in(1999).all()


@given(st.integers(1, 3000), st.integers(1, 100))
def test_a_window_ends_in_its_target_year_and_has_its_length(target, length):
    window = Window.ending(target, length)
    assert window.last_year == target
    assert len(window) == length == len(window.years)
    assert window.years[0] == window.first_year
    assert window.years[-1] == target


def test_the_window_of_2014_is_1985_to_2014():
    assert Window.ending(2014, 30) == Window(1985, 2014)


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (Window(1981, 2010), 7),  # 1984 ... 2008
        (Window(1980, 2009), 8),  # 1980 ... 2008
        (Window(1991, 2020), 8),
        (Window(1885, 1914), 6),  # 1900 was none
        (Window(2071, 2100), 7),  # 2100 is none
        (Window(1997, 1999), 0),
    ],
)
def test_29_february_is_in_7_or_8_of_30_years_and_in_fewer_across_1900(window, expected):
    axis = DayAxis("standard", "keep")
    count = years_with_day(axis, window)
    assert count.dtype == np.int16
    assert count[59] == expected
    assert set(np.delete(count, 59)) == {len(window)}


@pytest.mark.parametrize(
    ("calendar", "leap_day"),
    [("standard", "drop"), ("noleap", "keep"), ("360_day", "keep"), ("all_leap", "keep")],
)
def test_every_year_has_every_day_of_the_other_axes(calendar, leap_day):
    assert set(years_with_day(DayAxis(calendar, leap_day), Window(1885, 1914))) == {30}


@pytest.mark.parametrize(
    ("calendar", "leap_day", "window", "stamp_year"),
    [
        ("standard", "drop", Window(1981, 2010), 2010),
        ("noleap", "drop", Window(1981, 2010), 2010),
        ("360_day", "drop", Window(1981, 2010), 2010),
        ("all_leap", "keep", Window(1981, 2010), 2010),
        ("standard", "keep", Window(1981, 2010), 2008),  # its last leap year
        ("standard", "keep", Window(1979, 2008), 2008),
        ("julian", "keep", Window(1871, 1900), 1900),
        ("standard", "keep", Window(1871, 1900), 1896),
        ("proleptic_gregorian", "keep", Window(2071, 2100), 2096),
        ("standard", "keep", Window(1997, 1999), 1996),  # no leap year in it: the one before
    ],
)
def test_time_is_noon_of_each_day_in_the_last_year_and_bounds_span_the_window(
    calendar, leap_day, window, stamp_year
):
    axis = DayAxis(calendar, leap_day)
    time, bounds = climatology_time(axis, window)
    assert time.dtype == bounds.dtype == np.float64
    assert (time.shape, bounds.shape) == ((len(axis),), (len(axis), 2))
    assert (np.diff(time) > 0).all()
    out = axis.output_calendar
    leap_years = [y for y in window.years if is_leap(out, y)] or [stamp_year]
    for i, (month, day) in enumerate(axis.days):
        rare = (month, day) == (2, 29) and out not in ("360_day", "all_leap")
        first, last = (
            (leap_years[0], leap_years[-1]) if rare else (window.years[0], window.years[-1])
        )
        stamp, start, end = cftime.num2date([time[i], *bounds[i]], EPOCH, out)
        assert stamp == cftime.datetime(stamp_year, month, day, 12, calendar=out)
        assert start == cftime.datetime(first, month, day, calendar=out)
        assert end - cftime.datetime(last, month, day, calendar=out) == timedelta(days=1)


def test_bounds_span_the_years_that_each_day_is_said_to_have():
    axis, window = DayAxis("standard", "keep"), Window(1981, 2010)
    edges = calendar_edges(axis, window).copy()
    edges[0], edges[59], edges[365] = (1983, 2007), (1988, 1988), (1981, 2009)
    bounds = climatology_bounds(axis, edges)
    dates = cftime.num2date(bounds[[0, 1, 59, 365]], EPOCH, "standard")
    assert [[f"{start:%Y-%m-%d %H}", f"{end:%Y-%m-%d %H}"] for start, end in dates] == [
        ["1983-01-01 00", "2007-01-02 00"],
        ["1981-01-02 00", "2010-01-03 00"],
        ["1988-02-29 00", "1988-03-01 00"],
        ["1981-12-31 00", "2010-01-01 00"],
    ]
    same = np.delete(np.arange(366), [0, 59, 365])
    np.testing.assert_array_equal(bounds[same], climatology_time(axis, window)[1][same])


def test_edges_are_the_first_and_the_last_year_that_has_a_day():
    has_day = np.array([[0, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 1], [0, 1, 0, 0]], dtype=bool)
    edges = edge_years([1990, 1991, 1993, 1994], has_day, [[0, 0], [0, 0], [7, 8], [0, 0]])
    assert edges.tolist() == [[1991, 1993], [1990, 1994], [7, 8], [1993, 1993]]
    assert edge_years([], has_day[:0], 5).tolist() == [[5, 5]] * 4


def test_bounds_of_29_february_are_its_first_and_last_leap_year():
    axis = DayAxis("standard", "keep")
    time, bounds = climatology_time(axis, Window(1981, 2010))
    start, stamp, end = cftime.num2date([bounds[59, 0], time[59], bounds[59, 1]], EPOCH, "standard")
    assert (str(start), str(stamp), str(end)) == (
        "1984-02-29 00:00:00",
        "2008-02-29 12:00:00",
        "2008-03-01 00:00:00",  # 24:00
    )


@pytest.mark.parametrize(
    ("target", "branch", "kind", "name"),
    [
        (1980, "historical", "historical", "historical"),
        (2014, "historical", "historical", "historical"),
        (2015, "ssp245", "hybrid", "hybrid-ssp245"),
        (2044, "ssp245", "hybrid", "hybrid-ssp245"),
        (2044, "ssp585", "hybrid", "hybrid-ssp585"),
        (2045, "ssp245", "scenario", "ssp245"),
        (2100, "ssp245", "scenario", "ssp245"),
    ],
)
def test_a_target_year_is_historical_hybrid_or_of_its_scenario(target, branch, kind, name):
    periods = Periods("historical", 2014, 30)
    assert periods.kind(target) == kind
    assert periods.name(target, branch) == name


def test_the_hybrid_period_is_as_long_as_the_window_and_follows_the_experiments_names():
    periods = Periods("hist", 2005, 10)
    names = [periods.name(y, "rcp85" if y > 2005 else "hist") for y in (2005, 2006, 2015, 2016)]
    assert names == ["hist", "hybrid-rcp85", "hybrid-rcp85", "rcp85"]


@pytest.mark.parametrize(
    ("years", "text"),
    [
        ([], ""),
        ([2001], "2001"),
        ([1999, 2000], "1999-2000"),
        ([2001, 1950, 1951, 1952], "1950-1952, 2001"),  # in any order
        ([1950, 1950, 1952], "1950, 1952"),  # doubles count once
    ],
)
def test_years_are_named_in_runs(years, text):
    assert run_lengths(years) == text


@given(st.sets(st.integers(1800, 1900)))
def test_runs_can_be_read_back(years):
    spans = [part.split("-") for part in run_lengths(years).split(", ") if part]
    assert [y for a, *b in spans for y in range(int(a), int((b or [a])[0]) + 1)] == sorted(years)

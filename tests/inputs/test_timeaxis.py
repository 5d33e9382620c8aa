"""The time axis: right days, or an error that says what is wrong; never another exception."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import cftime
import netCDF4
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climdask.climatology.calendars import DayAxis
from climdask.climatology.places import GLOBAL, select
from climdask.errors import ClimdaskError, InconsistentFile
from climdask.inputs.netcdf import read_header
from climdask.inputs.reading import read_years
from climdask.inputs.timeaxis import Stored, calendar_of, check_claim, days_of, is_time
from tests.samples import dates_of, write_file, write_year

FILE = Path("tas_2001.nc")
CALENDARS = ["standard", "proleptic_gregorian", "noleap", "360_day", "all_leap", "julian"]
EPOCH = "days since 1950-01-01"
YEAR = ((2001, 1, 1), (2001, 12, 31))


def axis(
    values: Any = None, units: Any = EPOCH, *, calendar: str = "standard", **attributes: Any
) -> Stored:
    """Return a time axis: of 2001 at noon, if not said otherwise."""
    if values is None:
        values = start(calendar) + np.arange(len(dates_of(2001, 2001, calendar))) + 0.5
    return Stored("time", np.asarray(values), {"units": units, **attributes})


def start(calendar: str = "standard", year: int = 2001) -> float:
    return float(cftime.date2num(cftime.datetime(year, 1, 1, calendar=calendar), EPOCH, calendar))


def edges(low: Any, high: Any, **attributes: Any) -> Stored:
    return Stored("time_bnds", np.stack([low, high], axis=1), attributes)


def dates(time: Stored, bounds: Stored | None = None, calendar: str = "standard") -> list[Any]:
    found = days_of(FILE, time, calendar, bounds)
    return list(zip(found.years, found.months, found.days, strict=True))


@pytest.mark.parametrize("calendar", CALENDARS)
def test_stamps_at_the_end_of_each_day_are_of_the_day_that_their_bounds_say(calendar: str) -> None:
    days = start(calendar) + np.arange(len(dates_of(2001, 2001, calendar)))
    found = dates(axis(days + 1), edges(days, days + 1), calendar)
    assert found == dates_of(2001, 2001, calendar)


@pytest.mark.parametrize("hour", [0.0, 0.5])
def test_bounds_around_noon_or_midnight_stamps_change_nothing(hour: float) -> None:
    days = start() + np.arange(365)
    assert dates(axis(days + hour), edges(days, days + 1)) == dates_of(2001, 2001, "standard")


def test_bounds_may_be_packed_reversed_or_in_units_of_their_own() -> None:
    days, right = start() + np.arange(365), dates_of(2001, 2001, "standard")
    late = axis(days + 1)
    hours = edges((days - start()) * 24, (days + 1 - start()) * 24, units="hours since 2001-01-01")
    assert dates(late, hours) == right
    packed = edges(days - 9000, days - 8999, add_offset=9000.0)
    assert dates(late, packed) == right
    assert dates(late, edges(days + 1, days)) == right


def test_bounds_that_are_no_day_are_not_used() -> None:
    days, right = start() + np.arange(365), dates_of(2001, 2001, "standard")
    noon = axis(days + 0.5)
    for bounds in (
        edges(days, days),
        edges(days, days + 30),
        edges(days * np.nan, days),
        Stored("time_bnds", days, {}),
        edges(days.astype(str), days.astype(str)),
        edges(days, days + 1, units="months since 1950-01-01"),
    ):
        assert dates(noon, bounds) == right


def test_bounds_that_do_not_hold_the_stamp_are_told() -> None:
    days = start() + np.arange(365)
    with pytest.raises(InconsistentFile, match="time_bnds: the bounds of step 1 are no day around"):
        dates(axis(days + 0.5), edges(days + 40, days + 41))
    some = edges(days, days + 1)
    some.values[7] = 0
    with pytest.raises(InconsistentFile, match="the bounds of step 8 are no day around"):
        dates(axis(days + 1), some)


@pytest.mark.parametrize(
    "units",
    [
        "days since 19500101",
        "Days Since 1950-01-01",
        "d since 1950-01-01",
        "day  since 1950-1-1 00:00:0.0",
        "days since 1950-01-01T00:00:00Z",
    ],
)
def test_units_whose_meaning_is_beyond_doubt_are_read(units: str) -> None:
    assert dates(axis(units=units)) == dates_of(2001, 2001, "standard")


@pytest.mark.parametrize(
    "units",
    ["days", "", "months since 1950-01-01", "years since 1950-01-01", "day as %Y%m%d.%f",
     "days since", "days since banana", "days since 19501301", "days since 1950-13-01",
     "common_years since 1950-01-01", 5, np.float32([1, 2])],
)  # fmt: skip
def test_units_that_tell_no_day_are_named_with_the_file_and_the_cure(units: Any) -> None:
    with pytest.raises(InconsistentFile) as caught:
        dates(axis(units=units))
    for word in (str(FILE), f'time units "{units}"', 'expected such as "days since', "ncatted"):
        assert word in str(caught.value)


def test_an_axis_is_time_by_its_units_or_by_its_other_names() -> None:
    assert is_time("days SINCE 1950-01-01", "t", {})
    assert is_time("days", "time", {})
    assert is_time("", "x", {"axis": "T"})
    assert is_time("", "x", {"standard_name": "time"})
    assert not is_time("degrees_north", "lat", {"axis": "Y"})


def test_packed_stamps_are_unpacked() -> None:
    packed = axis(np.arange(365, dtype="i2"), add_offset=start() + 0.25, scale_factor=1.0)
    assert dates(packed) == dates_of(2001, 2001, "standard")


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (axis(np.array(["2001-01-01"] * 3)), "holds <U10, not numbers"),
        (axis(scale_factor=""), "attribute scale_factor is ''; expected one number"),
        (axis(add_offset=[1.0, 2.0]), r"attribute add_offset is \[1.0, 2.0\]; expected one number"),
        (axis([1.0, 2.0, -9.0, 4.0], _FillValue=-9.0), "step 3 .* value is missing"),
        (axis([1.0, 2.0, 9.96921e36]), "step 3 .*is missing|are no dates"),
        (axis(start() + np.arange(12) * 30.4), "steps are 30.4 days apart .*fetch the daily file"),
        (axis(start() + np.arange(400) / 4), r"steps are 0.25 days apart .*cdo -daymean"),
        (axis([]), "time axis is empty"),
    ],
)
def test_stamps_that_tell_no_days_are_told(time: Stored, words: str) -> None:
    with pytest.raises(InconsistentFile, match=words):
        dates(time)


@pytest.mark.parametrize("calendar", ["", "none", "No Leap", "365_days", 5])
def test_an_unknown_calendar_is_told_with_those_that_are_known(calendar: Any) -> None:
    with pytest.raises(
        InconsistentFile, match=rf'time: calendar "{calendar}" is not known.*noleap'
    ):
        calendar_of(FILE, "time", {"calendar": calendar})
    assert calendar_of(FILE, "time", {"calendar": " NoLeap "}) == "noleap"
    assert calendar_of(FILE, "time", {}) == "standard"


# ---------------------------------------------------------------- the name


def claim(time: Stored, calendar: str = "standard", span: Any = YEAR) -> None:
    check_claim(FILE, days_of(FILE, time, calendar), calendar, span, time)


def test_noleap_data_labelled_standard_are_told_with_the_likely_calendar() -> None:
    epoch = "days since 1850-01-01"
    first = cftime.date2num(cftime.datetime(1990, 1, 1, calendar="noleap"), epoch, "noleap")
    with pytest.raises(InconsistentFile) as caught:
        claim(axis(first + np.arange(365) + 0.5, epoch), span=((1990, 1, 1), (1990, 12, 31)))
    for word in ("34 of 365 steps are outside of 1990", "1989-11-28", 'calendar "noleap"'):
        assert word in str(caught.value)


def test_stamps_at_the_end_of_each_day_without_bounds_are_told_as_such() -> None:
    with pytest.raises(InconsistentFile, match=r"1 of 365 steps is outside.*2002-01-01.*at 00:00"):
        claim(axis(start() + np.arange(365) + 1.0))


def test_one_step_more_than_the_year_is_left_out() -> None:
    claim(axis(start() + np.arange(366) + 0.5))
    claim(axis(start() + np.arange(-1, 365) + 0.5))
    with pytest.raises(InconsistentFile, match="2 of 367 steps are outside"):
        claim(axis(start() + np.arange(367) + 0.5))
    with pytest.raises(InconsistentFile, match="1 of 366 steps is outside"):
        claim(axis([*(start() + np.arange(365)), start() + 500]))


def test_a_file_that_lacks_days_at_its_ends_is_within_its_name() -> None:
    claim(axis(start() + np.arange(20, 200) + 0.5))
    claim(axis(start() + np.arange(300)), span=((2001, 1, 1), (2005, 12, 31)))
    claim(axis(calendar="360_day"), "360_day", ((2001, 1, 1), (2001, 12, 31)))


def test_days_beyond_a_name_of_dates_are_told() -> None:
    with pytest.raises(InconsistentFile, match=r"31 of 365 .* outside of 2001-02-01 to 2001-12-31"):
        claim(axis(), span=((2001, 2, 1), (2001, 12, 31)))


def test_a_probe_tells_what_is_wrong_with_the_time_axis(tmp_path: Path) -> None:
    path = tmp_path / "tas_2001.nc"
    write_year(path)
    with netCDF4.Dataset(path, "a") as dataset:
        dataset["time"][:] = dataset["time"][:] + 40
    assert read_header(path, "tas").calendar == "standard"
    with pytest.raises(InconsistentFile, match="40 of 365 steps are outside of 2001"):
        read_header(path, "tas", claim=YEAR)


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_a_year_that_a_file_lacks_inside_has_no_value(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "tas.nc"
    there = [*dates_of(2000, 2000, "noleap"), *dates_of(2002, 2002, "noleap")]
    write_file(path, "tas", there, "noleap", np.ones((730, 4, 5), np.float32), format=kind)
    header = read_header(path, "tas")
    selection, days = select(header.grid, (GLOBAL,)), DayAxis("noleap", "drop")
    blocks = read_years(path, header, days, selection, [2000, 2001, 2002])
    assert [bool(b.days_all.all()) for b in blocks] == [True, False, True]
    assert np.isnan(blocks[1].values).all()
    (alone,) = read_years(path, header, days, selection, [2001])
    assert np.isnan(alone.values).all()


# ---------------------------------------------------------------- anything

ATTRIBUTE = (
    st.none()
    | st.text(max_size=8)
    | st.floats()
    | st.integers(-(2**31), 2**31)
    | st.sampled_from(["days since 0001-01-01", "hours since 1900-01-01", "s since 1e9", EPOCH])
)
NUMBERS = st.lists(
    st.floats() | st.integers(18000, 19000).map(float) | st.just(9.96921e36), max_size=6
)


@pytest.mark.slow
@given(
    NUMBERS,
    st.sampled_from(CALENDARS),
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("units", "scale_factor", "add_offset", "_FillValue", "missing_value"),
            ATTRIBUTE,
        ),
    ),
    st.sampled_from(["f8", "f4", "i4", "i1", "S4"]),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_whatever_the_axis_only_errors_of_the_package_come_out(
    numbers: list[float], calendar: str, attributes: dict[str, Any], dtype: str, sort: bool
) -> None:
    with np.errstate(all="ignore"):
        values = np.asarray(sorted(numbers) if sort else numbers).astype(dtype)
    time = Stored("time", values, attributes)
    bounds = Stored("time_bnds", np.stack([values, values], axis=-1), attributes)
    regular = Stored("time", 18000 + np.arange(float(values.size)), {"units": EPOCH})
    for one, other in ((time, None), (time, bounds), (regular, bounds)):
        with suppress(ClimdaskError):
            check_claim(FILE, days_of(FILE, one, calendar, other), calendar, YEAR, one)


@given(
    st.sampled_from(CALENDARS),
    st.integers(1700, 2200),
    st.floats(0, 0.99),
    st.sampled_from([("days", 1.0), ("Hours", 24.0), ("minutes", 1440.0), ("seconds", 86400.0)]),
    st.booleans(),
)
@settings(max_examples=12, deadline=None)
def test_the_days_of_a_year_are_those_of_the_calendar(
    calendar: str, year: int, hour: float, unit: tuple[str, float], with_bounds: bool
) -> None:
    right = dates_of(year, year, calendar)
    days = start(calendar, year) + np.arange(len(right))
    units = f"{unit[0]} since 1950-01-01"
    bounds = edges(days * unit[1], (days + 1) * unit[1]) if with_bounds else None
    assert dates(axis((days + hour) * unit[1], units), bounds, calendar) == right

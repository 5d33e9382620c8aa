"""The time axis: the day of each step, and whether these days are those that the name claims.

Pure: stored numbers and attributes go in, days or an error that names the file come out. A step's
day is that of the midpoint of its bounds (CF 7.1), else that of its stamp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cftime
import numpy as np
import numpy.typing as npt

from climdask.climatology.calendars import canonical_calendar
from climdask.errors import InconsistentFile, did_you_mean
from climdask.inputs.attributes import text_of
from climdask.inputs.decoding import unpacked

Doubles = npt.NDArray[np.float64]
Date = tuple[int, int, int]
Claim = tuple[Date, Date]

EXAMPLE = "days since 1850-01-01"
_SECONDS = {
    86400.0: "day days d",
    3600.0: "hour hours hr hrs h",
    60.0: "minute minutes min mins",
    1.0: "second seconds sec secs s",
    1e-3: "millisecond milliseconds millisec millisecs msec msecs ms",
    1e-6: "microsecond microseconds microsec microsecs",
}
_UNITS = {name: seconds / 86400 for seconds, names in _SECONDS.items() for name in names.split()}
_CALENDARS = ("standard", "proleptic_gregorian", "noleap", "360_day", "all_leap", "julian")
# Stands for the year of a step that belongs to none.
NO_YEAR = np.iinfo(np.int64).min
# Steps and bounds of a daily axis, in days: stamps may be rounded to float32.
_LEAST, _MOST = 0.9, 1.1
# Stamps in float32 may fall just short of midnight.
_HALF_A_MINUTE = np.timedelta64(30, "s").astype(object)


@dataclass(frozen=True)
class Days:
    """Year, month and day of each time step; in order, no day twice."""

    years: npt.NDArray[np.int64]
    months: npt.NDArray[np.int64]
    days: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stored:
    """A variable as it is in the file: its values are not unpacked.

    Attributes:
        values: [step], or [step, 2] of bounds.
    """

    name: str
    values: npt.NDArray[Any]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class _Unit:
    """Units of time: what cftime reads, the length of one in days, and where 0 is."""

    text: str
    days: float
    zero: cftime.datetime


def is_time(units: str, dim: str, attributes: Mapping[str, Any]) -> bool:
    """Tell whether a coordinate is time: by its units, or by what else says so if they do not."""
    if re.search(r"\bsince\b", units, re.IGNORECASE):
        return True
    standard_name = text_of(attributes, "standard_name")
    return text_of(attributes, "axis") == "T" or "time" in (standard_name, dim.lower())


def calendar_of(path: Path, name: str, attributes: Mapping[str, Any]) -> str:
    """Return the CF name of the calendar of a time axis; ``standard`` where none is named.

    Raises:
        InconsistentFile: the calendar is not one that CF knows.
    """
    said = str(attributes.get("calendar", "standard"))
    try:
        return canonical_calendar(said.strip())
    except ValueError:
        near = did_you_mean(said.lower(), (*_CALENDARS, "365_day", "366_day"))
        raise InconsistentFile(
            f'{path}: {name}: calendar "{said}" is not known; expected one of '
            f"{', '.join(_CALENDARS)}; correct the attribute "
            f"(ncatted -a calendar,{name},o,c,noleap FILE, if it is noleap){near}"
        ) from None


def days_of(path: Path, time: Stored, calendar: str, bounds: Stored | None = None) -> Days:
    """Return the day of each step of a daily time axis.

    Args:
        path: the file, for messages.
        time: the stamps.
        calendar: CF name.
        bounds: of the steps, if there are any; those that are no intervals of about a day (all of
            one length 0, say) tell no day, and the stamps do.

    Raises:
        InconsistentFile: units, stamps or bounds tell no days, or the steps are not daily.
    """
    unit = _unit(path, time.name, time.attributes, calendar)
    stamps = _stamps(path, time)
    _check_order(path, time, stamps)
    days = _dates(path, time.name, stamps, unit, calendar)
    middles = _middles(bounds, unit, calendar, stamps.size) if bounds is not None else None
    if bounds is not None and stamps.size == 1:
        _check_one_day(path, bounds, unit, calendar)
    if bounds is not None and middles is not None:
        days = _by_bounds(path, bounds, stamps, middles, days, unit, calendar)
    _check_daily(path, time.name, stamps, days, unit)
    return Days(*days.T)


def _unit(path: Path, name: str, attributes: Mapping[str, Any], calendar: str) -> _Unit:
    if "units" not in attributes:
        raise InconsistentFile(
            f'{path}: {name}: has no attribute units; expected such as "{EXAMPLE}"; add it '
            "(ncatted)"
        )
    said = str(attributes["units"])
    try:
        return _parsed(said, calendar)
    except ValueError as error:
        raise InconsistentFile(
            f'{path}: {name}: time units "{said}": {error}; expected such as "{EXAMPLE}"; correct '
            "the attribute (ncatted), or convert the file (cdo -setreftime,1850-01-01,00:00:00)"
        ) from None


def _parsed(said: str, calendar: str) -> _Unit:
    """Read units of time.

    Raises:
        ValueError: they are none, or of no fixed length.
    """
    match = re.fullmatch(r"\s*([A-Za-z]+)\s+since\s+(\S.*?)\s*", said, re.IGNORECASE | re.DOTALL)
    if match is None:
        raise ValueError("it must be a unit, the word since and a date")
    unit, date = match.group(1).lower(), match.group(2)
    if unit not in _UNITS:
        raise ValueError(f'"{match.group(1)}" is no unit of fixed length, as days and hours are')
    # A date without hyphens, as UDUNITS reads it; cftime does not.
    date = re.sub(r"^(\d{4})(\d\d)(\d\d)(?!\d)", r"\1-\2-\3", date)
    text = f"{unit} since {date}"
    try:
        zero = cftime.num2date(0, text, calendar)
    except (ValueError, TypeError, OverflowError, AttributeError, KeyError, IndexError):
        raise ValueError(f'"{date}" is no date of the calendar {calendar}') from None
    return _Unit(text, _UNITS[unit], zero)


def _stamps(path: Path, time: Stored) -> Doubles:
    """Return the stamps unpacked, float64 [step]."""
    if time.values.dtype.kind not in "fiu":
        raise InconsistentFile(
            f"{path}: {time.name}: holds {time.values.dtype}, not numbers; expected numbers with "
            f'units such as "{EXAMPLE}"; convert it'
        )
    if time.values.size == 0:
        raise InconsistentFile(
            f"{path}: its time axis is empty; expected one step a day; fetch it again"
        )
    stamps, missing = unpacked(time.values, time.attributes, f"{path}: {time.name}")
    if missing.any():
        step = int(missing.argmax())
        raise InconsistentFile(
            f"{path}: its time axis has no date at step {step + 1} ({stamps[step]:g}, time units "
            f'"{time.attributes["units"]}"): the value is missing; expected a date for each step; '
            "fetch it again, or leave the step out (cdo -seltimestep)"
        )
    return stamps


def _check_order(path: Path, time: Stored, stamps: Doubles) -> None:
    wrong = np.flatnonzero(~(np.diff(stamps) > 0))
    if wrong.size:
        step = int(wrong[0]) + 1
        raise InconsistentFile(
            f"{path}: its time axis is not in order at step {step + 1} "
            f"({stamps[step]:g} {time.attributes['units']}); sort it (cdo -sorttimestamp)"
        )


def _dates(
    path: Path, name: str, stamps: Doubles, unit: _Unit, calendar: str
) -> npt.NDArray[np.int64]:
    """Return year, month and day of stamps, [step, 3]."""
    try:
        dates = cftime.num2date(stamps, unit.text, calendar) + _HALF_A_MINUTE
    except (ValueError, TypeError, OverflowError) as error:
        raise InconsistentFile(
            f'{path}: {name}: values from {stamps[0]:g} to {stamps[-1]:g} in time units "'
            f'{unit.text}" are no dates ({error}); expected such as "{EXAMPLE}"; fetch it again'
        ) from None
    return np.array([(d.year, d.month, d.day) for d in dates], dtype=np.int64)


def _check_daily(
    path: Path, name: str, stamps: Doubles, days: npt.NDArray[np.int64], unit: _Unit
) -> None:
    step = float(np.median(np.diff(stamps))) * unit.days if stamps.size > 1 else 1.0
    if not _LEAST <= step <= _MOST:
        cure = "make daily means (cdo -daymean)" if step < _LEAST else "fetch the daily file"
        raise InconsistentFile(
            f"{path}: {name}: its steps are {step:g} days apart (median of {stamps.size} steps); "
            f"expected one step a day; {cure}"
        )
    doubled = np.flatnonzero((np.diff(days, axis=0) == 0).all(axis=1))
    if doubled.size:
        raise InconsistentFile(
            f"{path}: {_text(days[doubled[0]])} is there twice; expected one step a day "
            "(cdo -daymean makes daily means)"
        )


# ---------------------------------------------------------------- bounds


def _middles(bounds: Stored, unit: _Unit, calendar: str, n_steps: int) -> Doubles | None:
    """Return the midpoints of bounds in the units of the stamps, NaN where they are not a day.

    None if no bounds can be had.
    """
    if bounds.values.shape != (n_steps, 2) or bounds.values.dtype.kind not in "fiu":
        return None
    try:
        own = _parsed(str(bounds.attributes["units"]), calendar) if _has_units(bounds) else unit
        edges, missing = unpacked(bounds.values, bounds.attributes, bounds.name)
        shift = (own.zero - unit.zero).total_seconds() / 86400
    except (InconsistentFile, ValueError, OverflowError):
        return None
    edges = edges * own.days
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.abs(edges[:, 1] - edges[:, 0])
        middles: Doubles = (edges.mean(axis=1) + shift) / unit.days
    middles[missing.any(axis=1) | ~((length >= _LEAST) & (length <= _MOST))] = np.nan
    return middles


def _check_one_day(path: Path, bounds: Stored, unit: _Unit, calendar: str) -> None:
    """Refuse a file of one step whose bounds are longer than a day: no second step tells that."""
    if bounds.values.shape != (1, 2) or bounds.values.dtype.kind not in "fiu":
        return
    try:
        own = _parsed(str(bounds.attributes["units"]), calendar) if _has_units(bounds) else unit
        edges, missing = unpacked(bounds.values, bounds.attributes, bounds.name)
    except (InconsistentFile, ValueError, OverflowError):
        return
    length = abs(float(edges[0, 1]) - float(edges[0, 0])) * own.days  # inf - inf does not warn
    if length > _MOST and not missing.any():
        raise InconsistentFile(
            f"{path}: its one step is {length:g} days long, by {bounds.name}; expected one step a "
            "day; fetch the daily file"
        )


def _has_units(bounds: Stored) -> bool:
    return bool(str(bounds.attributes.get("units", "")).strip())


def _by_bounds(
    path: Path,
    bounds: Stored,
    stamps: Doubles,
    middles: Doubles,
    days: npt.NDArray[np.int64],
    unit: _Unit,
    calendar: str,
) -> npt.NDArray[np.int64]:
    """Return the days of the midpoints; those of the stamps where bounds tell nothing else."""
    good = np.isfinite(middles)
    if not good.any():
        return days
    found = days.copy()
    found[good] = _dates(path, bounds.name, middles[good], unit, calendar)
    if (found == days).all():
        return days
    # Half a day from the midpoint is still an edge of the day; a little more for float32.
    wrong = ~(np.abs(middles - stamps) * unit.days <= _MOST / 2)
    if wrong.any():
        step = int(wrong.argmax())
        raise InconsistentFile(
            f"{path}: {bounds.name}: the bounds of step {step + 1} are no day around its stamp, "
            f"{_text(days[step])}; expected bounds of one day that hold the stamp; correct them, "
            "or remove the attribute bounds of the time axis (ncatted)"
        )
    return found


# ---------------------------------------------------------------- the name


def check_claim(path: Path, days: Days, calendar: str, claim: Claim, time: Stored) -> Days:
    """Check that the steps lie within the dates that the name of a file claims.

    One step more, on the day after the last or before the first, is left out without a word if
    the other end shows that the axis is not shifted. Days that are lacking are no error here.

    Args:
        claim: first and last date, both included.
        days, calendar, time: as :func:`days_of` had and gave them.

    Returns:
        The days; the year of a step that is left out is :data:`NO_YEAR`.

    Raises:
        InconsistentFile: steps lie outside.
    """
    dates = np.stack([days.years, days.months, days.days], axis=1)
    if len(dates) == 1 and _is_a_month(claim):
        raise InconsistentFile(
            f"{path}: holds one step, on {_text(dates[0])}, for {_claimed(claim)}, which its name "
            "says; expected one step a day: is it a mean of that time? Fetch the daily file"
        )
    before, after = _outside(dates, claim)
    outside = before | after
    if not outside.any():
        return days
    if _is_one_more(dates, before, after, calendar, claim):
        # It may be in a year of the file: the next file begins within a year, too.
        return replace(days, years=np.where(outside, NO_YEAR, days.years))
    first = int(outside.argmax())
    n = int(outside.sum())
    raise InconsistentFile(
        f"{path}: {n} of {outside.size} steps {'is' if n == 1 else 'are'} outside of "
        f"{_claimed(claim)}, which its name says; the first is on {_text(dates[first])}; "
        f"{_likely_cause(path, time, calendar, claim, after)}"
    )


def _is_a_month(claim: Claim) -> bool:
    """Tell whether a claim is about a month long, or longer."""
    (first, month, day), (last, last_month, last_day) = claim
    return 365 * (last - first) + 30 * (last_month - month) + last_day - day >= 27


def _outside(
    dates: npt.NDArray[np.int64], claim: Claim
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    numbers = dates @ np.array([10000, 100, 1])
    start, end = (y * 10000 + m * 100 + d for y, m, d in claim)
    return numbers < start, numbers > end


def _is_one_more(
    dates: npt.NDArray[np.int64],
    before: npt.NDArray[np.bool_],
    after: npt.NDArray[np.bool_],
    calendar: str,
    claim: Claim,
) -> bool:
    if before.sum() + after.sum() != 1 or len(dates) < 2:
        return False
    first, last = (_existing(date, calendar) for date in claim)
    stray, other = (dates[-1], dates[0]) if after.any() else (dates[0], dates[-1])
    edge, far = (last, first) if after.any() else (first, last)
    apart = cftime.datetime(*map(int, stray), calendar=calendar) - edge
    return bool(abs(apart.days) == 1 and tuple(other) == (far.year, far.month, far.day))


def _existing(date: Date, calendar: str) -> cftime.datetime:
    """Return a date, or the last one of its month if the month is shorter."""
    year, month, day = date
    while day > 28:
        try:
            return cftime.datetime(year, month, day, calendar=calendar)
        except ValueError:
            day -= 1
    return cftime.datetime(year, month, day, calendar=calendar)


def _likely_cause(
    path: Path, time: Stored, calendar: str, claim: Claim, after: npt.NDArray[np.bool_]
) -> str:
    for other in _CALENDARS[:4]:
        if other != calendar and _fits(path, time, other, claim):
            return (
                f'is the calendar "{other}", not "{calendar}"? If so, correct the attribute '
                f"(ncatted -a calendar,{time.name},o,c,{other} FILE)"
            )
    stamps, _ = unpacked(time.values, time.attributes, time.name)
    zero = _unit(path, time.name, time.attributes, calendar)
    hours = cftime.num2date(stamps[-1], zero.text, calendar) + _HALF_A_MINUTE
    if after.sum() == 1 and after[-1] and hours.hour == 0 and hours.minute == 0:
        return (
            "its stamps are at 00:00, without time bounds that say which day: do they mark the end "
            "of each day? If so, set them to noon (cdo -shifttime,-12hour)"
        )
    return "expected no day outside of it; rename the file, or correct its time axis"


def _fits(path: Path, time: Stored, calendar: str, claim: Claim) -> bool:
    try:
        days = days_of(path, time, calendar)
    except InconsistentFile:
        return False
    before, after = _outside(np.stack([days.years, days.months, days.days], axis=1), claim)
    return not (before | after).any()


def _claimed(claim: Claim) -> str:
    (first, *start), (last, *end) = claim
    if (start, end) == ([1, 1], [12, 31]):
        return str(first) if first == last else f"{first}-{last}"
    return f"{_text(claim[0])} to {_text(claim[1])}"


def _text(date: Any) -> str:
    year, month, day = (int(part) for part in date)
    return f"{year:04}-{month:02}-{day:02}"

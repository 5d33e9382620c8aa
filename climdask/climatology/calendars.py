"""Calendars, the month-day axis, windows and periods: the arithmetic of years.

Days are aligned by month and day, never by ordinal day: in a leap year ordinal day 60 is
29 February, and everything after it shifts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cftime
import numpy as np
import numpy.typing as npt

EPOCH = "days since 1850-01-01 00:00:00"

# CF calendar names and their aliases (CF 1.11, section 4.4.1).
_ALIASES = {
    "gregorian": "standard",
    "standard": "standard",
    "proleptic_gregorian": "proleptic_gregorian",
    "noleap": "noleap",
    "365_day": "noleap",
    "360_day": "360_day",
    "julian": "julian",
    "all_leap": "all_leap",
    "366_day": "all_leap",
}
LEAP_CALENDARS = frozenset({"standard", "proleptic_gregorian", "julian"})
# Alike for every date since 1582, so they may stand side by side in one chain.
_SAME_SINCE_1582 = frozenset({"standard", "proleptic_gregorian"})


def canonical_calendar(name: str) -> str:
    """Return the CF name of a calendar (``gregorian`` becomes ``standard``).

    Raises:
        ValueError: the calendar is not one that CF knows.
    """
    try:
        return _ALIASES[name.lower()]
    except KeyError:
        raise ValueError(
            f'calendar "{name}" is not known; expected one of {sorted(_ALIASES)}'
        ) from None


def compatible_calendars(one: str, other: str) -> bool:
    """Tell whether files of the two calendars may stand in one chain."""
    return one == other or {one, other} <= _SAME_SINCE_1582


def is_leap(calendar: str, year: int) -> bool:
    """Tell whether 29 February exists in ``year`` of ``calendar`` (CF name)."""
    if calendar in LEAP_CALENDARS:
        return bool(cftime.is_leap_year(year, calendar))
    return calendar in {"all_leap", "360_day"}


@dataclass(frozen=True)
class DayAxis:
    """The days of the year that a normal has, as (month, day) pairs in order.

    Attributes:
        calendar: CF name of the calendar of the input.
        leap_day: ``drop`` (29 February of leap years is left out) or ``keep``.
    """

    calendar: str
    leap_day: str

    @property
    def drops_leap_day(self) -> bool:
        """Whether 29 February is left out (never in 360_day, where it is a day like others)."""
        return self.leap_day == "drop" and self.calendar != "360_day"

    @property
    def output_calendar(self) -> str:
        """CF calendar of the output: ``noleap`` where 29 February is dropped."""
        return "noleap" if self.drops_leap_day else self.calendar

    @property
    def days(self) -> tuple[tuple[int, int], ...]:
        """The (month, day) pairs: 360, 365 or 366 of them."""
        return _days(self.calendar, self.drops_leap_day)

    def __len__(self) -> int:
        return len(self.days)

    def positions(self, months: npt.ArrayLike, days: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Return the place of each (month, day) on the axis, -1 where it has none."""
        table = np.full((13, 32), -1, dtype=np.intp)
        for place, (month, day) in enumerate(self.days):
            table[month, day] = place
        return np.asarray(table[np.asarray(months), np.asarray(days)])

    def exists_in(self, year: int) -> npt.NDArray[np.bool_]:
        """Return bool [day]: which days of the axis ``year`` of the calendar has; read only."""
        return _exists(self, is_leap(self.calendar, year))


@lru_cache
def _exists(axis: DayAxis, leap: bool) -> npt.NDArray[np.bool_]:
    exists = np.array([leap or day != (2, 29) for day in axis.days])
    exists.flags.writeable = False
    return exists


@lru_cache
def _days(calendar: str, drop: bool) -> tuple[tuple[int, int], ...]:
    if calendar == "360_day":
        return tuple((m, d) for m in range(1, 13) for d in range(1, 31))
    february = 28 if drop or calendar == "noleap" else 29
    lengths = (31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    return tuple((m, d) for m, n in enumerate(lengths, start=1) for d in range(1, n + 1))


@dataclass(frozen=True, order=True)
class Window:
    """``first_year`` to ``last_year``, both included; the target year is the last one."""

    first_year: int
    last_year: int

    @classmethod
    def ending(cls, target_year: int, length: int) -> Window:
        """Return the window of ``length`` years that ends in ``target_year``."""
        return cls(target_year - length + 1, target_year)

    @property
    def years(self) -> range:
        """The years of the window, in order."""
        return range(self.first_year, self.last_year + 1)

    def __len__(self) -> int:
        return self.last_year - self.first_year + 1


def years_with_day(axis: DayAxis, window: Window) -> npt.NDArray[np.int16]:
    """Return int16 [day]: how many years of the window have that day in their calendar."""
    total = np.zeros(len(axis), dtype=np.int16)
    for year in window.years:
        total += axis.exists_in(year)
    return total


@lru_cache(maxsize=512)  # all regions and variables share it
def climatology_time(
    axis: DayAxis, window: Window
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the CF climatological time axis of a window (CF 1.11, section 7.4).

    Returns:
        ``time`` float64 [day], noon of each day in the window's last year (where the axis has a
        29 February that only leap years have: the last leap year), and ``climatology_bnds``
        float64 [day, 2] as :func:`climatology_bounds` makes them of :func:`calendar_edges`. Both
        in :data:`EPOCH` of the output calendar, and not to be changed.
    """
    bounds = climatology_bounds(axis, calendar_edges(axis, window))
    return _midnights(axis, _stamp_year(axis, window)) + 0.5, bounds


def climatology_bounds(axis: DayAxis, edges: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return CF climatology bounds, float64 [day, 2] in :data:`EPOCH` of the output calendar.

    Args:
        axis: the days.
        edges: int64 [day, 2], the first and the last year that enter for each day.

    Returns:
        00:00 of the day in the first year, 24:00 in the last.
    """
    bounds = np.empty(edges.shape)
    for year in np.unique(edges):
        np.copyto(bounds, _midnights(axis, int(year))[:, None], where=edges == year)
    bounds[:, 1] += 1.0
    return bounds


@lru_cache(maxsize=512)
def calendar_edges(axis: DayAxis, window: Window) -> npt.NDArray[np.int64]:
    """Return int64 [day, 2]: the first and the last year of the window that has each day.

    A 29 February that no year of the window has gets the last leap year before the window. Not to
    be changed.
    """
    exists = np.stack([axis.exists_in(year) for year in window.years])
    return edge_years(window.years, exists, _stamp_year(axis, window))


def edge_years(
    years: Sequence[int], has_day: npt.NDArray[np.bool_], otherwise: npt.ArrayLike
) -> npt.NDArray[np.int64]:
    """Return int64 [day, 2]: the first and the last year that has each day.

    Args:
        years: in order.
        has_day: bool [year, day].
        otherwise: for days that no year has; of a shape that fits [day, 2].
    """
    if not len(years):
        return np.broadcast_to(np.asarray(otherwise, dtype=np.int64), (has_day.shape[1], 2))
    first, last = has_day.argmax(axis=0), len(years) - 1 - has_day[::-1].argmax(axis=0)
    edges = np.asarray(years, dtype=np.int64)[np.stack([first, last], axis=1)]
    is_there: npt.NDArray[np.bool_] = np.asarray(has_day.any(axis=0))
    return np.where(is_there[:, None], edges, otherwise)


@lru_cache(maxsize=512)
def _midnights(axis: DayAxis, year: int) -> npt.NDArray[np.float64]:
    """Return 00:00 of each day in a year, float64 [day]; NaN for a day that the year lacks."""
    calendar, exists = axis.output_calendar, axis.exists_in(year)
    found = np.full(len(axis), np.nan)
    there = [day for day, is_there in zip(axis.days, exists, strict=True) if is_there]
    # Days of a month follow each other, but in October 1582, so one date of each is enough.
    each_day = calendar == "standard" and year == 1582
    dates = [
        cftime.datetime(year, month, day, calendar=calendar)
        for month, day in there
        if each_day or day == 1
    ]
    numbers = cftime.date2num(dates, EPOCH, calendar)
    found[exists] = numbers if each_day else [numbers[month - 1] + day - 1 for month, day in there]
    return found


def _stamp_year(axis: DayAxis, window: Window) -> int:
    """Return the last year of the window; the last leap year, where the axis has a 29 February."""
    calendar = axis.output_calendar
    if calendar not in LEAP_CALENDARS:
        return window.last_year
    leap_years = [year for year in window.years if is_leap(calendar, year)]
    return leap_years[-1] if leap_years else _leap_year_before(calendar, window.last_year)


def _leap_year_before(calendar: str, year: int) -> int:
    while not is_leap(calendar, year):
        year -= 1
    return year


@dataclass(frozen=True)
class Periods:
    """Names the period of a target year.

    ``historical`` up to the last historical year, ``hybrid`` for the window's length after it
    (windows that straddle both), then the scenario.

    Attributes:
        historical: name of the historical experiment, which names the first period.
        last_historical_year: 2014 in CMIP6, 2005 in CMIP5.
        window: length of the window in years.
    """

    historical: str
    last_historical_year: int
    window: int

    def kind(self, target_year: int) -> str:
        """Return ``historical``, ``hybrid`` or ``scenario``."""
        after = target_year - self.last_historical_year
        if after <= 0:
            return "historical"
        return "hybrid" if after <= self.window else "scenario"

    def name(self, target_year: int, branch: str) -> str:
        """Return the period's name in paths, such as ``hybrid-ssp245``."""
        kind = self.kind(target_year)
        if kind == "historical" or branch == self.historical:
            return self.historical
        return f"hybrid-{branch}" if kind == "hybrid" else branch


def run_lengths(years: Iterable[int]) -> str:
    """Return years as text with runs joined: ``1950-1999, 2001``."""
    spans: list[list[int]] = []
    for year in sorted(set(years)):
        if spans and spans[-1][1] == year - 1:
            spans[-1][1] = year
        else:
            spans.append([year, year])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def from_run_lengths(text: str) -> list[int]:
    """Return the numbers that :func:`run_lengths` made text of.

    Raises:
        ValueError: it made no such text.
    """
    ends = [[int(n) for n in run.split("-")] for run in text.split(", ") if run]
    return [n for end in ends for n in range(end[0], end[-1] + 1)]

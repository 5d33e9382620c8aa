"""Cycles: the steps of a year that a normal has, such as days, months or seasons.

A :class:`Cycle` says what the steps are, whatever the calendar. Laid on a :class:`DayAxis` it
becomes :class:`CycleDays`, which knows the days of each step, those of the year before too::

    winter = Cycle.seasons().on(DayAxis("standard", "keep"))
    winter.names            # ("DJF", "MAM", "JJA", "SON")
    winter.spans[0]         # (-31, 60): 31 days of the year before, 60 of the year itself
    winter.n_days(2001)     # [90, 92, 92, 91]
    winter.days_before      # 31, what must be kept of the block of the year before

A step belongs to the year in which it ends: the DJF of 2001 has the December of 2000 (as in
WMO-No. 1203, and in the seasons of CDO). Where 29 February is dropped, a leap year's February has
28 days here, and its sums lack a day: for steps longer than a day, keep it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import cftime
import numpy as np
import numpy.typing as npt

from climdask.climatology.calendars import (
    EPOCH,
    DayAxis,
    Window,
    calendar_edges,
    climatology_bounds,
    climatology_time,
)

DAY, MONTH, SEASON, YEAR = "day", "mon", "seas", "yr"
# What the steps are called where a dataset has them as a dimension: days, months, seasons, others.
STEP_DIMENSIONS = ("dayofyear", "month", "season", "step")
# As in `each: month` of a workflow.
WORDS = {"day": DAY, "month": MONTH, "season": SEASON, "year": YEAR}

_SEASONS = (("DJF", 12, 2), ("MAM", 3, 5), ("JJA", 6, 8), ("SON", 9, 11))
_LONGEST = (31, 30, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # February has 30 days in 360_day
_COMMON_YEAR = 2001  # no leap year, in any calendar that has both kinds
_MONTH_DAY = re.compile(r"(\d\d)-(\d\d)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Span:
    """Days in a row, the same in every year.

    A first day that the calendar lacks stands for the next one, such a last day for the one
    before: to 31 October is to 30 October in 360_day.

    Attributes:
        name: of the step.
        first: its first day, (month, day).
        last: its last day, included; one before ``first`` lies in the year after.
    """

    name: str
    first: tuple[int, int]
    last: tuple[int, int]

    @classmethod
    def of(cls, name: str, first: str, last: str) -> Span:
        """Make a span of days as text: ``Span.of("growing", "04-01", "09-30")``.

        Raises:
            ValueError: a day that no calendar has, or a name that is none.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(
                f'"{name}" is no name for days; expected letters, digits and _, a letter first'
            )
        return cls(name, _month_day(name, first), _month_day(name, last))

    @property
    def wraps(self) -> bool:
        """Whether it begins in the year before the one that it belongs to."""
        return self.first > self.last


def _month_day(name: str, text: str) -> tuple[int, int]:
    found = _MONTH_DAY.fullmatch(text)
    month, day = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (1 <= month <= 12 and 1 <= day <= _LONGEST[month - 1]):
        raise ValueError(
            f'"{text}" of "{name}" is no day of the year; expected MM-DD, such as "04-01"'
        )
    return month, day


@dataclass(frozen=True)
class Cycle:
    """The steps of a year.

    Attributes:
        name: names the frequency of outputs: ``day``, ``mon``, ``seas``, ``yr`` or the user's.
        spans: the steps in order; none for days, whose number depends on the calendar.
    """

    name: str
    spans: tuple[Span, ...] = ()

    @classmethod
    def days(cls) -> Cycle:
        """Each day of the axis."""
        return cls(DAY)

    @classmethod
    def months(cls, months: Sequence[int] = range(1, 13)) -> Cycle:
        """Each month, or some of them, in the order of the year.

        Raises:
            ValueError: no month, one that is none, or one twice.
        """
        if not months or len(set(months)) < len(months) or not set(months) <= set(range(1, 13)):
            raise ValueError(f"{list(months)} are no months; expected some of 1 to 12, each once")
        spans = (Span(f"{month:02}", (month, 1), _end_of(month)) for month in sorted(months))
        return cls(MONTH, tuple(spans))

    @classmethod
    def seasons(cls) -> Cycle:
        """DJF, MAM, JJA and SON."""
        spans = (Span(name, (first, 1), _end_of(last)) for name, first, last in _SEASONS)
        return cls(SEASON, tuple(spans))

    @classmethod
    def year(cls) -> Cycle:
        """The whole year, one step."""
        return cls(YEAR, (Span("year", (1, 1), (12, 31)),))

    @classmethod
    def own(cls, spans: Sequence[Span], name: str | None = None) -> Cycle:
        """Steps of a user, which may overlap; of one span the name is that of the cycle.

        Raises:
            ValueError: no span, two of one name, or a name that another frequency has.
        """
        names = [span.name for span in spans]
        if not spans or len(set(names)) < len(names):
            raise ValueError(f"expected one or more spans, each with its own name; got {names}")
        name = name if name is not None else "_".join(names)
        if name in WORDS.values() or not _NAME.fullmatch(name):
            raise ValueError(
                f'"{name}" cannot name spans of days: expected letters, digits and _, and none of '
                f"{sorted(WORDS.values())}"
            )
        return cls(name, tuple(spans))

    @classmethod
    def of(cls, each: str | Sequence[int] | Mapping[str, str]) -> Cycle:
        """Return the cycle that a workflow asks for.

        Args:
            each: ``day``, ``month``, ``season``, ``year``; months, ``[6, 7, 8]``; or a span,
                ``{name: growing, from: 04-01, to: 09-30}``.

        Raises:
            ValueError: it is none of these.
        """
        if isinstance(each, str):
            makers = dict(zip(WORDS, (cls.days, cls.months, cls.seasons, cls.year), strict=True))
            if each in makers:
                return makers[each]()
        elif isinstance(each, Mapping):
            if set(each) == {"name", "from", "to"} and all(
                isinstance(v, str) for v in each.values()
            ):
                return cls.own([Span.of(each["name"], each["from"], each["to"])])
        elif all(type(month) is int for month in each):
            return cls.months(each)
        raise ValueError(
            f"{each!r} is no part of a year; expected one of {', '.join(WORDS)}, months such as "
            '[6, 7, 8], or days such as {name: growing, from: "04-01", to: "09-30"}'
        )

    def on(self, axis: DayAxis) -> CycleDays:
        """Return the days of each step on an axis.

        Raises:
            ValueError: a span has days in leap years only, or none.
        """
        return _laid_on(self, axis)


DAYS = Cycle.days()


@lru_cache
def _laid_on(cycle: Cycle, axis: DayAxis) -> CycleDays:
    return CycleDays(cycle, axis)


def _end_of(month: int) -> tuple[int, int]:
    return month, _LONGEST[month - 1]


@dataclass(frozen=True)
class CycleDays:
    """The steps of a cycle on the days of an axis. Made by :meth:`Cycle.on`, and kept there.

    Places count from 1 January of the step's year, which is 0; those of the year before are
    negative. They count the days of the axis, also a 29 February that the year lacks.
    """

    cycle: Cycle
    axis: DayAxis

    def __post_init__(self) -> None:
        for name, n_days in zip(self.names, self.n_days(_COMMON_YEAR), strict=True):
            if not n_days and self.cycle.spans:
                raise ValueError(
                    f'"{name}" has no day in years of calendar "{self.axis.calendar}"; expected '
                    "days that each year has"
                )

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.spans)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each step; ``MM-DD`` for days."""
        if not self.cycle.spans:
            return tuple(f"{month:02}-{day:02}" for month, day in self.axis.days)
        return tuple(span.name for span in self.cycle.spans)

    @cached_property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """Places of each step: its first day, and one after its last."""
        if not self.cycle.spans:
            return tuple((place, place + 1) for place in range(len(self.axis)))
        return tuple(self._places(span) for span in self.cycle.spans)

    def _places(self, span: Span) -> tuple[int, int]:
        first = sum(day < span.first for day in self.axis.days)
        end = sum(day <= span.last for day in self.axis.days)
        return (first - len(self.axis) if span.wraps else first), end

    @property
    def dimension(self) -> str:
        """What the steps are called where a dataset has them as a dimension."""
        known = dict(zip((DAY, MONTH, SEASON), STEP_DIMENSIONS, strict=False))
        return known.get(self.cycle.name, STEP_DIMENSIONS[-1])

    def edges(self, window: Window) -> npt.NDArray[np.int64]:
        """Return int64 [step, 2]: the first and the last year of a window that have each step."""
        if not self.cycle.spans:
            return calendar_edges(self.axis, window)
        return np.tile(np.array([window.first_year, window.last_year]), (len(self), 1))

    @property
    def days_before(self) -> int:
        """Places of the year before that steps reach back to: 31 for DJF, 0 for months."""
        return max(0, -min(first for first, _ in self.spans))

    def first_day(self, step: int) -> tuple[int, int]:
        """Return the (month, day) on which a step begins."""
        return self.axis.days[self.spans[step][0] % len(self.axis)]

    def months(self, step: int) -> npt.NDArray[np.int16]:
        """Return the month of each day of a step, int16 [place of the step].

        A month of the year before is itself less 12, so that the months of a step differ.
        """
        first, end = self.spans[step]
        months = np.array([month for month, _ in self.axis.days], dtype=np.int16)
        return np.concatenate([months - 12, months])[first + len(months) : end + len(months)]

    def exists(self, year: int, step: int, *, before: int = 0) -> npt.NDArray[np.bool_]:
        """Return bool [place]: which days of a step its year has.

        Args:
            year: that the step belongs to.
            step: its number.
            before: days of the axis before the step that are asked for too.

        Raises:
            ValueError: they reach back further than the year before.
        """
        first, end = self.spans[step]
        if first - before < -len(self.axis):
            raise ValueError(
                f'{before} days before "{self.names[step]}" reach back over more than a year'
            )
        both = np.concatenate([self.axis.exists_in(year - 1), self.axis.exists_in(year)])
        return both[first - before + len(self.axis) : end + len(self.axis)]

    def n_days(self, year: int) -> npt.NDArray[np.int16]:
        """Return int16 [step]: how many days each step of a year has."""
        both = np.concatenate([self.axis.exists_in(year - 1), self.axis.exists_in(year)])
        until = np.concatenate([[0], np.cumsum(both)])
        edges = np.asarray(self.spans) + len(self.axis)
        return np.asarray(until[edges[:, 1]] - until[edges[:, 0]], dtype=np.int16)

    def climatology_time(
        self, window: Window, edges: npt.NDArray[np.int64] | None = None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the CF climatological time axis of a window (CF 1.11, section 7.4).

        Args:
            window: the years.
            edges: int64 [step, 2], the first and the last year that enter for each step; those of
                the window if None.

        Returns:
            ``time`` float64 [step], the middle of each step in the window's last year, and
            ``climatology_bnds`` float64 [step, 2]: 00:00 of the step's first day in the first year,
            24:00 of its last day in the last. DJF of 1981 to 2010 is from 1 December 1980 to
            1 March 2010. Both in :data:`~climdask.climatology.calendars.EPOCH` of the output
            calendar. Days are as :func:`~climdask.climatology.calendars.climatology_time` has them.
        """
        if not self.cycle.spans:
            time, of_window = climatology_time(self.axis, window)
            return time, of_window if edges is None else climatology_bounds(self.axis, edges)
        edges = self.edges(window) if edges is None else edges
        last = [_limits(self, step, window.last_year) for step in range(len(self))]
        bounds = [
            (_limits(self, step, int(first))[0], _limits(self, step, int(end))[1])
            for step, (first, end) in enumerate(edges)
        ]
        return np.array([(a + b) / 2 for a, b in last]), np.array(bounds)


@lru_cache(maxsize=4096)
def _limits(days: CycleDays, step: int, year: int) -> tuple[float, float]:
    """Return 00:00 of the first and 24:00 of the last day of a step, in :data:`EPOCH`."""
    there = np.flatnonzero(days.exists(year, step)) + days.spans[step][0]
    n, calendar = len(days.axis), days.axis.output_calendar
    dates = []
    for place in (int(there[0]), int(there[-1])):
        month, day = days.axis.days[place % n]
        dates.append(cftime.datetime(year + place // n, month, day, calendar=calendar))
    first, last = cftime.date2num(dates, EPOCH, calendar)
    return float(first), float(last) + 1.0

"""Dates in the names of files: the first and the last day that a name claims.

Dates need not exist in every calendar: what a name leaves out is the first or the last of its kind.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

Date = tuple[int, int, int]

# What each facet of a date looks like in a name.
EXPRESSIONS = {
    "year": r"\d{4}",
    "month": r"0[1-9]|1[0-2]",
    "day": r"0[1-9]|[12]\d|3[01]",
    "date": r"\d{4}-\d{2}-\d{2}|\d{8}|\d{4}-\d{2}|\d{6}",
    "start": r"\d{4}-\d{2}-\d{2}|\d{4,8}",
    "end": r"\d{4}-\d{2}-\d{2}|\d{4,8}",
}
_NEEDS = {"month": "year", "day": "month", "end": "start"}
_MOST_RUNS = 5
NO_END: Date = (9999, 12, 31)
_EXPECTED = "expected YYYY, YYYYMM or YYYYMMDD"


def lacking_partner(facets: Sequence[str]) -> tuple[str, str] | None:
    """Return a facet that tells no date without another one, and that one; None if none does."""
    return next(((f, n) for f, n in _NEEDS.items() if f in facets and n not in facets), None)


def claimed(facets: Mapping[str, str]) -> tuple[Date, Date] | None:
    """Return the first and the last day that facets claim, None if they tell no date.

    A ``start`` without an ``end`` claims all days up to :data:`NO_END`.

    Raises:
        ValueError: what they tell is no date, or they contradict each other.
    """
    if "date" in facets:
        first = last = facets["date"]
    elif "start" in facets:
        first, last = facets["start"], facets.get("end", "")
    elif "year" in facets:
        first = last = "".join(facets.get(f, "") for f in ("year", "month", "day"))
    else:
        return None
    start, end = _date(first, is_end=False), _date(last, is_end=True) if last else NO_END
    if start > end:
        raise ValueError(f"its name ends ({last}) before it starts ({first})")
    _check_agreement(facets, start)
    return start, end


def _check_agreement(facets: Mapping[str, str], start: Date) -> None:
    """Check that what else a path says of the date, such as the year of a folder, fits."""
    for facet, number in zip(("year", "month", "day"), start, strict=True):
        if facet in facets and int(facets[facet]) != number:
            raise ValueError(
                f"its path says the {facet} {facets[facet]}, but its name the date "
                f"{text_of_date(start)}; move or rename it"
            )


@lru_cache(maxsize=4096)  # the files of all chains have the same dates
def _date(text: str, *, is_end: bool) -> Date:
    """Read YYYY, YYYYMM or YYYYMMDD, with hyphens or without."""
    digits = text.replace("-", "")
    month = int(digits[4:6] or (12 if is_end else 1))
    day = int(digits[6:8] or (31 if is_end else 1))
    if len(digits) not in (4, 6, 8) or not (1 <= month <= 12 and 1 <= day <= 31):
        raise ValueError(f'"{text}" in its name is no date; {_EXPECTED}')
    return int(digits[:4]), month, day


def day_before(date: Date) -> Date:
    """Return a date that comes before another one, and after all others that do."""
    year, month, day = date
    if day > 1:
        return year, month, day - 1
    return (year, month - 1, 31) if month > 1 else (year - 1, 12, 31)


def days_between(year: int, start: Date, end: Date) -> frozenset[tuple[int, int]]:
    """Return the (month, day) of ``year`` from one date to another that every calendar has."""
    first, last = max(start, (year, 1, 1)), min(end, (year, 12, 31))
    return frozenset(
        (month, day)
        for month in range(first[1], last[1] + 1 if first <= last else first[1])
        for day in range(
            first[2] if month == first[1] else 1,
            min(28 if month == 2 else 30, last[2] if month == last[1] else 31) + 1,
        )
    )


def text_of_date(date: Date) -> str:
    """Return ``1990-02-01``."""
    year, month, day = date
    return f"{year:04}-{month:02}-{day:02}"


# The days that every calendar has: enough to tell from names what is in no file, or in two.
EVERY_DAY = days_between(1, (1, 1, 1), (1, 12, 31))


def runs_of_days(days: Collection[tuple[int, int]]) -> str:
    """Return (month, day) as text with runs joined: ``02-01 to 02-28, 05-03``; five at most."""
    order = sorted(EVERY_DAY)
    places = sorted(order.index(day) for day in days)
    starts = [p for p in places if p - 1 not in places]
    ends = [p for p in places if p + 1 not in places]
    texts = []
    for start, end in zip(starts, ends, strict=True):
        first, last = (f"{month:02}-{day:02}" for month, day in (order[start], order[end]))
        texts.append(first if start == end else f"{first} to {last}")
    more = f" and {len(texts) - _MOST_RUNS} more" if len(texts) > _MOST_RUNS else ""
    return ", ".join(texts[:_MOST_RUNS]) + more

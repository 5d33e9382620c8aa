"""Dates in the names of files: what they claim, and what is wrong with them."""

from __future__ import annotations

import pytest

from climdask.inputs.namedates import (
    EVERY_DAY,
    NO_END,
    claimed,
    day_before,
    days_between,
    lacking_partner,
    runs_of_days,
)


@pytest.mark.parametrize(
    ("facets", "start", "end"),
    [
        ({"year": "1990"}, (1990, 1, 1), (1990, 12, 31)),
        ({"year": "1990", "month": "02"}, (1990, 2, 1), (1990, 2, 31)),
        ({"year": "1990", "month": "02", "day": "29"}, (1990, 2, 29), (1990, 2, 29)),
        ({"date": "19900203"}, (1990, 2, 3), (1990, 2, 3)),
        ({"date": "1990-02-03"}, (1990, 2, 3), (1990, 2, 3)),
        ({"date": "199002"}, (1990, 2, 1), (1990, 2, 31)),
        ({"year": "1990", "date": "19900203"}, (1990, 2, 3), (1990, 2, 3)),
        ({"start": "1990", "end": "199502"}, (1990, 1, 1), (1995, 2, 31)),
        ({"start": "19900203"}, (1990, 2, 3), NO_END),
    ],
)
def test_names_claim_days(facets: dict[str, str], start: object, end: object) -> None:
    assert claimed(facets) == (start, end)


def test_a_name_without_a_date_claims_nothing() -> None:
    assert claimed({"model": "M"}) is None


@pytest.mark.parametrize(
    ("facets", "words"),
    [
        ({"date": "19901301"}, ['"19901301" in its name is no date', "YYYYMMDD"]),
        ({"start": "1990", "end": "1980"}, ["ends (1980) before it starts (1990)"]),
        ({"year": "1991", "date": "19900203"}, ["says the year 1991", "1990-02-03", "rename it"]),
    ],
)
def test_what_is_no_date_is_told(facets: dict[str, str], words: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        claimed(facets)
    for word in words:
        assert word in str(error.value)


def test_a_month_needs_a_year_and_an_end_needs_a_start() -> None:
    assert lacking_partner(["month"]) == ("month", "year")
    assert lacking_partner(["year", "day"]) == ("day", "month")
    assert lacking_partner(["end"]) == ("end", "start")
    assert lacking_partner(["year", "month", "day"]) is None


def test_the_day_before_comes_after_all_that_are_earlier() -> None:
    assert day_before((1990, 3, 1)) == (1990, 2, 31)
    assert day_before((1990, 1, 1)) == (1989, 12, 31)
    assert day_before((1990, 5, 7)) == (1990, 5, 6)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((1990, 1, 1), (1990, 12, 31)),
        ((1990, 2, 1), (1990, 2, 31)),
        ((1990, 2, 27), (1990, 5, 3)),
        ((1989, 5, 3), (1990, 1, 1)),
        ((1990, 12, 30), (1999, 1, 1)),
        ((1991, 1, 1), (1999, 1, 1)),
        ((1990, 2, 29), (1990, 2, 29)),
    ],
)
def test_days_between_dates_are_those_that_compare_so(start: object, end: object) -> None:
    wanted = {(m, d) for m, d in EVERY_DAY if start <= (1990, m, d) <= end}  # type: ignore[operator]
    assert days_between(1990, start, end) == wanted  # type: ignore[arg-type]


def test_runs_of_days_are_joined_over_the_ends_of_months() -> None:
    days = {(1, 30), (2, 1), *((2, d) for d in range(2, 29)), (3, 1), (5, 3)}
    assert runs_of_days(days) == "01-30 to 03-01, 05-03"
    assert runs_of_days({(m, 5) for m in range(1, 9)}).endswith("05-05 and 3 more")

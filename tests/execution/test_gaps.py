"""What the end of a run tells of days that a whole region lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from climdask.climatology.calendars import DayAxis
from climdask.climatology.cycles import Cycle
from climdask.execution.gaps import gaps_of, summarize

STEPS = Cycle.days().on(DayAxis("noleap", "drop"))


def of(missing: list[int], years: int = 23) -> list[dict[str, Any]]:
    values = np.ones((365, 2, 3), np.float32)
    values[missing] = np.nan
    values[5, 0] = np.nan  # a day that some cells lack is no gap
    per_day = np.full(365, 30, np.int16)
    per_day[missing] = years
    return gaps_of("east", values, per_day, np.full(365, 25, np.int16), STEPS)


def event(*gaps: dict[str, Any], chain: str = "M/r1/gn/tas") -> dict[str, Any]:
    return {"event": "write", "chain": chain, "gaps": [*gaps]}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([event(*of([]))], []),
        (
            [event(*of([364])), event(*of([364], 24)), {"chain": "another"}],
            [
                "M/r1/gn/tas, east: 31 December is missing in 2 normals: 23 to 24 years have "
                "values there; min_years asks for 25"
            ],
        ),
        (
            [event(*of([0, 1, 300]))],
            [
                "M/r1/gn/tas, east: 3 days, the first 1 January, are missing in 1 normal: 23 years "
                "have values there; min_years asks for 25"
            ],
        ),
        (
            [event(*of([*range(365)], 4))],
            ["M/r1/gn/tas, east: 1 normal has no value: 4 source years; min_years asks for 25"],
        ),
    ],
)
def test_normals_that_lack_the_same_days_are_told_in_one_sentence(
    events: list[dict[str, Any]], expected: list[str]
) -> None:
    assert summarize(events, 25) == expected


def test_a_month_that_is_missing_is_called_by_its_name() -> None:
    steps = Cycle.seasons().on(DayAxis("noleap", "drop"))
    values = np.zeros((4, 1, 1), dtype=np.float32)
    values[0] = np.nan
    years, needed = np.array([3, 5, 5, 5], np.int16), np.full(4, 4, np.int16)
    (gap,) = gaps_of("box", values, years, needed, steps)
    (said,) = summarize([{"chain": "m", "gaps": [gap]}], 4)
    assert said == (
        "m, box: DJF is missing in 1 normal: 3 years have values there; min_years asks for 4"
    )

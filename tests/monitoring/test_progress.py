"""Progress: counts, pace and clock."""

from __future__ import annotations

import json

import pytest

from climdask.execution.events import Event, Work, packed, unpacked
from climdask.monitoring.progress import RunProgress, clock
from tests.progresses import row, run_of

WHY = "/data/tas_1999.nc: is empty (0 bytes); fetch it again"


def take(progress: RunProgress, *events: Event | Work) -> None:
    for event in events:
        progress.take(event)


# ---------------------------------------------------------------- counts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "?"),
        (0, "0:00"),
        (0.4, "0:00"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3599.4, "59:59"),
        (3599.6, "1:00:00"),
        (3723, "1:02:03"),
        (360000, "100:00:00"),
    ],
)
def test_a_clock_shows_hours_where_there_are_any(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text


def test_what_is_left_follows_from_the_pace_so_far(now: list[float]) -> None:
    chain = row()
    assert (chain.elapsed, chain.eta) == (0.0, None)
    chain.started = 1000.0
    now[0] = 1030.0
    assert (chain.elapsed, chain.eta) == (30.0, None), "no pace before the first year"
    chain.years = 50
    assert chain.eta == pytest.approx(60.0)
    chain.state, chain.finished = "failed", 1040.0
    now[0] = 2000.0
    assert (chain.elapsed, chain.eta) == (40.0, 0.0), "the clock of a chain that has ended stands"


def test_an_event_never_takes_counts_back() -> None:
    chain = row()
    progress = run_of(chain)
    take(
        progress,
        Event("read", chain.id, "historical", 1984, 5),
        Event("window", chain.id, "ssp245", 2015, 4),
        Event("write", chain.id, "ssp245", 2015, 1),
    )
    assert (chain.reads, chain.years, chain.writes) == (5, 4, 1)
    assert (chain.at, chain.state) == (("ssp245", 2015), "active")
    again = Event("read", chain.id, "historical", 1982, 3, repeated=2)
    take(progress, again, again, Event("read", "another", "historical", 1982, 1), Work(files=3))
    assert progress.work.files == 3
    assert (chain.reads, chain.years, chain.writes, chain.repeated) == (5, 4, 1, 2)
    assert chain.at == ("ssp245", 2015)


def test_the_first_start_of_a_chain_counts(now: list[float]) -> None:
    chain = row()
    progress = run_of(chain)
    take(progress, Event("start", chain.id))
    now[0] = 1007.0
    take(progress, Event("start", chain.id))
    assert (chain.started, chain.state, chain.elapsed) == (1000.0, "waiting", 7.0)


def test_why_a_chain_waits_is_told_and_taken_back() -> None:
    chain = row()
    progress = run_of(chain)
    take(progress, Event("start", chain.id), Event("wait", chain.id, message="no worker yet"))
    assert chain.status == "waiting (no worker yet)"
    take(progress, Event("wait", chain.id))
    assert chain.status == "waiting"


def test_the_first_failure_of_a_chain_stays() -> None:
    chain = row()
    progress = run_of(chain, row("pr"))
    take(
        progress,
        Event("fail", chain.id, message="first"),
        Event("fail", chain.id, message="second"),
        Event("finish", chain.id),
    )
    assert (chain.state, chain.message, chain.writes) == ("failed", "first", 0)
    assert progress.failures == {chain.id: "first"}


@pytest.mark.parametrize("event", [Event("wait", "m", "l", 2000, 3, 1, "why"), Work(1, 2, 3)])
def test_an_event_travels_as_plain_values(event: Event | Work) -> None:
    assert unpacked(json.loads(json.dumps(packed(event)))) == event


def test_a_chain_that_ends_well_has_all_its_counts() -> None:
    chain = row(years=140)
    run_of(chain).take(Event("finish", chain.id))
    assert (chain.state, chain.years, chain.reads, chain.writes) == ("done", 150, 150, 121)


def test_the_totals_are_of_the_whole_run() -> None:
    rows = [row("pr", state="done", reads=150, writes=121), row(state="active", reads=7)]
    assert run_of(*rows).totals == "1/2 chains done, 157 files read, 121/242 target years written"
    rows[1].state = "failed"
    assert run_of(*rows).totals.endswith(", 1 failed")

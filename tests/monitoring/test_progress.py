"""Progress: counts, pace and clock."""

from __future__ import annotations

from typing import Any

import pytest

from climdask.executor import Event
from climdask.progress import ChainProgress, clock
from tests.progresses import row, run_of

WHY = "/data/tas_1999.nc: is empty (0 bytes); fetch it again"


def snapshot(chains: dict[str, Any], **work: Any) -> dict[str, Any]:
    return {"chains": chains, "work": work}


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


def test_a_snapshot_never_takes_counts_back() -> None:
    chain = row()
    progress = run_of(chain)
    progress.update(
        snapshot({chain.id: {"read": 5, "window": 4, "write": 1, "at": ["ssp245", 2015]}})
    )
    assert (chain.reads, chain.years, chain.writes) == (5, 4, 1)
    assert (chain.at, chain.state) == (("ssp245", 2015), "active")
    less = {chain.id: {"read": 3, "window": 2, "repeated": 2}, "another": {"read": 1}}
    progress.update(snapshot(less, files=3))
    assert progress.work.files == 3
    assert (chain.reads, chain.years, chain.writes, chain.repeated) == (5, 4, 1, 2)
    assert chain.at == ("ssp245", 2015)


def test_the_events_of_the_reference_executor_are_counted(now: list[float]) -> None:
    chain = ChainProgress("m/r/g/tas", 2, 2, 1)
    progress = run_of(chain)
    for stage, year in (("read", 2000), ("window", 2000), ("read", 2001), ("window", 2001)):
        progress.take(Event(chain.id, stage, "historical", year))
    assert (chain.state, chain.started, chain.at) == ("active", 1000.0, ("historical", 2001))
    progress.take(Event(chain.id, "write", "historical", 2001))
    assert (chain.state, chain.years, chain.reads, chain.writes) == ("done", 2, 2, 1)


def test_the_first_failure_of_a_chain_stays() -> None:
    chain = row()
    progress = run_of(chain, row("pr"))
    progress.fail(chain.id, "first")
    progress.fail(chain.id, "second")
    progress.finish(chain.id)
    assert (chain.state, chain.message, chain.writes) == ("failed", "first", 0)
    assert progress.failures == {chain.id: "first"}


def test_a_chain_that_ends_well_has_all_its_counts() -> None:
    chain = row(years=140)
    run_of(chain).finish(chain.id)
    assert (chain.state, chain.years, chain.reads, chain.writes) == ("done", 150, 150, 121)


def test_the_totals_are_of_the_whole_run() -> None:
    rows = [row("pr", state="done", reads=150, writes=121), row(state="active", reads=7)]
    assert run_of(*rows).totals == "1/2 chains done, 157 files read, 121/242 target years written"
    rows[1].state = "failed"
    assert run_of(*rows).totals.endswith(", 1 failed")

"""The watcher on the scheduler: true counts, also when work is repeated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from climdask.tokens import PLUGIN
from climdask.watcher import ChainWatcher, topic

CHAIN = "M/r1/gn/pr"


class Scheduler:
    """What a watcher needs of a scheduler."""

    def __init__(self, waits: str = "") -> None:
        self.events: list[tuple[str, Any]] = []
        self.plugins = {
            PLUGIN: SimpleNamespace(waiting_for=lambda home: waits and f"{home}: {waits}")
        }

    def log_event(self, name: str, event: Any) -> None:
        self.events.append((name, event))


@pytest.fixture
def watcher() -> ChainWatcher:
    made = ChainWatcher("run", {CHAIN: "home", "M/r1/gn/tas": "other"})
    made.scheduler = Scheduler()
    return made


def finish(
    watcher: ChainWatcher, stage: str, year: int, run: str = "run", to: str = "memory"
) -> None:
    watcher.transition((f"pr-{stage}", CHAIN, "historical", year, run), "processing", to)


def test_each_key_counts_once_by_stage_and_repeats_are_told(watcher: ChainWatcher) -> None:
    for year in (1950, 1951, 1952):
        finish(watcher, "read", year)
        finish(watcher, "window", year)
    finish(watcher, "window", 1951)  # again, after the loss of a worker
    finish(watcher, "write", 1952)
    counts = watcher.snapshot()[CHAIN]
    assert (counts["read"], counts["window"], counts["write"]) == (3, 3, 1)
    assert counts["repeated"] == 1
    assert counts["at"] == ["historical", 1951]


def test_other_runs_other_keys_and_failures_do_not_count(watcher: ChainWatcher) -> None:
    finish(watcher, "window", 1950, run="another")
    finish(watcher, "window", 1951, to="erred")
    watcher.transition("inc-1234", "processing", "memory")
    assert "window" not in watcher.snapshot()[CHAIN]


def test_a_snapshot_is_sent_only_when_something_changed(watcher: ChainWatcher) -> None:
    watcher.tell()
    before = len(watcher.scheduler.events)
    watcher.tell()
    assert len(watcher.scheduler.events) == before
    finish(watcher, "read", 1950)
    watcher.tell()
    name, snapshot = watcher.scheduler.events[-1]
    assert name == topic("run")
    assert snapshot[CHAIN]["read"] == 1


def test_it_says_why_a_chain_waits(watcher: ChainWatcher) -> None:
    watcher.scheduler = Scheduler("no worker yet")
    watcher.tell()
    assert watcher.scheduler.events[-1][1][CHAIN]["waits"] == "home: no worker yet"

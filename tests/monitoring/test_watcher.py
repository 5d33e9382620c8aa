"""The watcher on the scheduler: true counts, also when work is repeated."""

from __future__ import annotations

from pathlib import Path
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import Client, LocalCluster

from climdask.execution.events import Event, Work, unpacked
from climdask.execution.tokens import PLUGIN
from climdask.inputs.access import FileAccess, listeners
from climdask.monitoring.watcher import ChainWatcher, TraceTeller, topic, trace_topic

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


def told(watcher: ChainWatcher, kind: str, chain: str = CHAIN) -> Event | None:
    """Return the last event of a kind."""
    events = [e for e in watcher.so_far() if isinstance(e, Event)]
    return next((e for e in events if (e.chain, e.kind) == (chain, kind)), None)


def work(watcher: ChainWatcher) -> Work:
    """Return what was told last of the work with files."""
    event = unpacked(watcher.scheduler.events[-1][1][-1])
    assert isinstance(event, Work)
    return event


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
    assert told(watcher, "read") == Event("read", CHAIN, "historical", 1952, 3)
    assert told(watcher, "window") == Event("window", CHAIN, "historical", 1951, 3, repeated=1)
    assert told(watcher, "write") == Event("write", CHAIN, "historical", 1952, 1, repeated=1)


def test_other_runs_other_keys_and_failures_do_not_count(watcher: ChainWatcher) -> None:
    finish(watcher, "window", 1950, run="another")
    finish(watcher, "window", 1951, to="erred")
    watcher.transition("inc-1234", "processing", "memory")
    assert told(watcher, "window") is None


def test_only_what_is_new_is_told(watcher: ChainWatcher) -> None:
    watcher.tell()
    before = len(watcher.scheduler.events)
    watcher.tell()
    assert len(watcher.scheduler.events) == before
    finish(watcher, "read", 1950)
    watcher.tell()
    name, events = watcher.scheduler.events[-1]
    assert name == topic("run")
    assert [*map(unpacked, events)] == [Event("read", CHAIN, "historical", 1950, 1), Work()]


def test_it_says_why_a_chain_waits(watcher: ChainWatcher) -> None:
    watcher.scheduler = Scheduler("no worker yet")
    watcher.tell()
    assert told(watcher, "wait") == Event("wait", CHAIN, message="home: no worker yet")
    watcher.scheduler = Scheduler()
    watcher.tell()
    assert told(watcher, "wait") == Event("wait", CHAIN)
    assert unpacked(watcher.scheduler.events[-1][1][0]) == Event("wait", CHAIN)


def line(event: str, **more: Any) -> dict[str, Any]:
    return {
        "event": event, "purpose": "read", "file": "/in/a.nc", "token": "a", "process": "7-x",
        "seq": 1, "opened": 1, "bytes": 800, "worker": "tcp://one", **more,
    }  # fmt: skip


def test_files_and_bytes_are_counted_from_what_workers_tell_of_their_traces(
    watcher: ChainWatcher,
) -> None:
    watcher.log_event(trace_topic("run"), line("open"))
    watcher.tell()
    assert work(watcher).open == 1
    watcher.log_event(trace_topic("another"), line("close"))
    watcher.log_event(trace_topic("run"), line("close"))
    watcher.log_event(trace_topic("run"), line("write", bytes=50))
    watcher.tell()
    done = work(watcher)
    assert (done.open, done.files, done.decoded, done.written) == (0, 1, 800, 50)


def test_files_of_a_worker_that_has_gone_are_open_no_longer(watcher: ChainWatcher) -> None:
    watcher.log_event(trace_topic("run"), line("open"))
    watcher.remove_worker(watcher.scheduler, "tcp://one")
    watcher.tell()
    assert watcher.so_far()[-1] == Work()


def test_a_worker_tells_what_its_tasks_open_and_write_and_nothing_else(tmp_path: Path) -> None:
    access = FileAccess("run", tmp_path / "locks", tmp_path / "trace")
    access.prepare()
    lines: list[tuple[str, Any]] = []
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster, Client(cluster, set_as_default=False) as client:  # fmt: skip
        client.register_plugin(TraceTeller("run"))
        client.subscribe_topic(trace_topic("run"), lines.append)
        client.submit(use, access, tmp_path / "a.nc").result()
        until = monotonic() + 30
        while len(lines) < 3 and monotonic() < until:
            sleep(0.01)
        address = next(iter(client.scheduler_info()["workers"]))
        client.unregister_worker_plugin(trace_topic("run"))
        assert not listeners
    assert [event["event"] for _, event in lines] == ["open", "close", "write"]
    assert {event["worker"] for _, event in lines} == {address}
    assert [event.get("bytes") for _, event in lines] == [None, 42, 7]


def use(access: FileAccess, path: Path) -> None:
    with access.opening(path) as reading:
        reading.add(42)
    access.note("slow", path, reason="of no interest here")
    with access.working("write", "tas", "ssp245", 2020) as told:
        told["bytes"] = 7

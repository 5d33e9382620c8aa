"""Counts what the tasks of a run have done, on the scheduler, and tells it twice a second.

Finished keys are counted as they come to be in memory. Files and bytes are counted from the lines
of the traces: each worker tells the scheduler of those that matter, a few hundred bytes a file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from distributed import Client, SchedulerPlugin, WorkerPlugin, get_worker
from tornado.ioloop import PeriodicCallback

from climdask.execution.events import STAGES, Event, Work, packed
from climdask.execution.graph import stage_of
from climdask.execution.tokens import PLUGIN
from climdask.inputs import access
from climdask.monitoring.throughput import TOLD, Throughput

INTERVAL = 0.5  # seconds between two snapshots


def topic(run_id: str) -> str:
    """Return the name of the events of a run."""
    return f"climdask-{run_id}"


def trace_topic(run_id: str) -> str:
    """Return the name of the events with which workers tell lines of a run's traces."""
    return f"climdask-trace-{run_id}"


def tell(client: Client, run_id: str, event: Event) -> None:
    """Put an event into the stream of a run; the scheduler hands it to all that show the run."""
    if client.status == "running":
        with suppress(OSError, TimeoutError):  # the scheduler has gone, which the driver will see
            client.log_event(topic(run_id), [packed(event)])


class TraceTeller(WorkerPlugin):  # type: ignore[misc]
    """Tells the scheduler of the files that a worker opens and closes, and of what it writes."""

    def __init__(self, run_id: str) -> None:
        self.run_id, self.name = run_id, trace_topic(run_id)

    def setup(self, worker: Any) -> None:  # noqa: ARG002 - Dask's signature
        """Listen to this process's traces of the run."""
        access.listeners[self.run_id] = self.tell

    def teardown(self, worker: Any) -> None:  # noqa: ARG002 - Dask's signature
        """Listen no more."""
        access.listeners.pop(self.run_id, None)

    def tell(self, line: Mapping[str, Any]) -> None:
        """Tell a line of the trace, if it counts."""
        if line["event"] in TOLD:
            worker = get_worker()  # of this thread: a process may have several
            kept = {key: line[key] for key in _TOLD_KEYS & line.keys()}
            worker.log_event(self.name, {"worker": worker.address, **kept})


_TOLD_KEYS = {"event", "purpose", "file", "token", "process", "seq", "opened", "bytes"}


class ChainWatcher(SchedulerPlugin):  # type: ignore[misc]
    """Counts finished keys of one run by chain and stage. A key that is done stays counted.

    Attributes:
        homes: home group by chain, to ask the file tokens why a chain waits.
        files: the files that are open now, bytes decoded and written.
        latest: the last event of each chain and kind.
        news: those of them that were not shown yet.
    """

    def __init__(self, run_id: str, homes: Mapping[str, str]) -> None:
        self.run_id, self.homes = run_id, dict(homes)
        self.name = topic(run_id)
        self.done: dict[tuple[str, str], set[tuple[str, int]]] = defaultdict(set)
        self.repeated: dict[str, int] = defaultdict(int)
        self.latest: dict[tuple[str, str], Event] = {}
        self.news: set[tuple[str, str]] = set()
        self.files = Throughput()
        self.work = Work()

    async def start(self, scheduler: Any) -> None:
        """Begin to tell."""
        self.scheduler = scheduler
        self.callback = PeriodicCallback(self.tell, INTERVAL * 1000)
        self.callback.start()

    async def close(self) -> None:
        """Tell a last time."""
        self.callback.stop()
        self.tell()

    def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
        """Count a key that has come to be in memory."""
        if finish != "memory" or not isinstance(key, tuple) or key[-1] != self.run_id:
            return
        del start
        _, chain, branch, year, _ = key
        stage = stage_of(key)
        done = self.done[chain, stage]
        self.repeated[chain] += (branch, year) in done
        done.add((branch, year))
        if stage in STAGES:
            self._note(Event(stage, chain, branch, year, len(done), self.repeated[chain]))

    def _note(self, event: Event) -> None:
        self.latest[event.chain, event.kind] = event
        self.news.add((event.chain, event.kind))

    def log_event(self, topic: str, msg: Any) -> None:
        """Count a line of a worker's trace."""
        if topic == trace_topic(self.run_id):
            self.files.note(msg, msg["worker"])

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:  # noqa: ARG002
        """Forget the files that a worker had open which has gone."""
        self.files.lose(worker)

    def tell(self) -> None:
        """Tell whoever listens what is new; Dask keeps the last 1000 tellings."""
        for chain in self.homes:
            why, before = self._waits(chain), self.latest.get((chain, "wait"))
            if why != (before.message if before else ""):
                self._note(Event("wait", chain, message=why))
        work = self.files.sample()
        if self.news or work != self.work:
            self.work = work
            news: list[Event | Work] = [self.latest[key] for key in sorted(self.news)]
            self.news = set()
            self.scheduler.log_event(self.name, [packed(event) for event in [*news, work]])

    def _waits(self, chain: str) -> str:
        """Say why a chain's reads wait, or nothing if they need not."""
        tokens = self.scheduler.plugins.get(PLUGIN)
        return tokens.waiting_for(self.homes[chain]) if tokens else ""

    def so_far(self) -> list[Event | Work]:
        """Return the last event of each chain and kind, and the work with files."""
        return [*self.latest.values(), self.files.sample()]


def stop_watching(run_id: str, dask_scheduler: Any = None) -> list[dict[str, Any]]:
    """Return all that is known of a run at its end; called on the scheduler."""
    plugin: ChainWatcher = dask_scheduler.plugins[topic(run_id)]
    return [packed(event) for event in plugin.so_far()]


def remove_watcher(run_id: str, dask_scheduler: Any = None) -> None:
    """Take the watcher of a run off its scheduler; called there."""
    dask_scheduler.plugins[topic(run_id)].callback.stop()
    dask_scheduler.remove_plugin(topic(run_id))

"""Counts what the tasks of a run have done, on the scheduler, and tells it twice a second.

Finished keys are counted as they come to be in memory. Files and bytes are counted from the lines
of the traces: each worker tells the scheduler of those that matter, a few hundred bytes a file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from distributed import SchedulerPlugin, WorkerPlugin, get_worker
from tornado.ioloop import PeriodicCallback

from climdask import files
from climdask.graph import stage_of
from climdask.throughput import TOLD, Throughput, Work
from climdask.tokens import PLUGIN

INTERVAL = 0.5  # seconds between two snapshots


def topic(run_id: str) -> str:
    """Return the name of the events of a run."""
    return f"climdask-{run_id}"


def trace_topic(run_id: str) -> str:
    """Return the name of the events with which workers tell lines of a run's traces."""
    return f"climdask-trace-{run_id}"


class TraceTeller(WorkerPlugin):  # type: ignore[misc]
    """Tells the scheduler of the files that a worker opens and closes, and of what it writes."""

    def __init__(self, run_id: str) -> None:
        self.run_id, self.name = run_id, trace_topic(run_id)

    def setup(self, worker: Any) -> None:  # noqa: ARG002 - Dask's signature
        """Listen to this process's traces of the run."""
        files.listeners[self.run_id] = self.tell

    def teardown(self, worker: Any) -> None:  # noqa: ARG002 - Dask's signature
        """Listen no more."""
        files.listeners.pop(self.run_id, None)

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
    """

    def __init__(self, run_id: str, homes: Mapping[str, str]) -> None:
        self.run_id, self.homes = run_id, dict(homes)
        self.name = topic(run_id)
        self.done: dict[str, dict[str, set[tuple[str, int]]]] = {}
        self.at: dict[str, tuple[str, int]] = {}
        self.repeated: dict[str, int] = defaultdict(int)
        self.waits: dict[str, str] = {}
        self.files = Throughput()
        self.work = Work()
        self.moved: set[str] = set()

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
        _, chain, leg, year, _ = key
        stage = stage_of(key)
        done = self.done.setdefault(chain, {}).setdefault(stage, set())
        if (leg, year) in done:
            self.repeated[chain] += 1
        done.add((leg, year))
        if stage == "window":
            self.at[chain] = (leg, year)
        self.moved.add(chain)

    def log_event(self, topic: str, msg: Any) -> None:
        """Count a line of a worker's trace."""
        if topic == trace_topic(self.run_id):
            self.files.note(msg, msg["worker"])

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:  # noqa: ARG002
        """Forget the files that a worker had open which has gone."""
        self.files.lose(worker)

    def tell(self) -> None:
        """Tell whoever listens of the chains that moved; Dask keeps the last 1000 tellings."""
        waits = {chain: self._waits(chain) for chain in self.homes}
        work = self.files.sample()
        moved = self.moved | {c for c in self.homes if waits[c] != self.waits.get(c, "")}
        if moved or work != self.work:
            self.moved, self.waits, self.work = set(), waits, work
            self.scheduler.log_event(topic(self.run_id), self.snapshot(moved))

    def _waits(self, chain: str) -> str:
        """Say why a chain's reads wait, or nothing if they need not."""
        tokens = self.scheduler.plugins.get(PLUGIN)
        return tokens.waiting_for(self.homes[chain]) if tokens else ""

    def snapshot(self, chains: Collection[str] | None = None) -> dict[str, Any]:
        """Return what is done so far, of all chains or of some.

        Returns:
            ``chains``: counts by chain: a number for each stage, leg and year in work, why it
            waits. ``work``: the fields of :class:`~climdask.throughput.Work`.
        """
        return {
            "chains": {c: self._counts(c) for c in (self.homes if chains is None else chains)},
            "work": asdict(self.work),
        }

    def _counts(self, chain: str) -> dict[str, Any]:
        return {
            **{stage: len(keys) for stage, keys in self.done.get(chain, {}).items()},
            "at": list(self.at.get(chain, ("", 0))),
            "repeated": self.repeated[chain],
            "waits": self.waits.get(chain, ""),
        }


def stop_watching(run_id: str, dask_scheduler: Any = None) -> dict[str, Any]:
    """Return the last snapshot of a run; called on the scheduler."""
    plugin: ChainWatcher = dask_scheduler.plugins[topic(run_id)]
    plugin.work = plugin.files.sample()
    return plugin.snapshot()


def remove_watcher(run_id: str, dask_scheduler: Any = None) -> None:
    """Take the watcher of a run off its scheduler; called there."""
    dask_scheduler.plugins[topic(run_id)].callback.stop()
    dask_scheduler.remove_plugin(topic(run_id))

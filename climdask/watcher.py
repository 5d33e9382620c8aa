"""Counts what the tasks of a run have done, on the scheduler, and tells it twice a second."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from distributed import SchedulerPlugin
from tornado.ioloop import PeriodicCallback

from climdask.graph import stage_of

INTERVAL = 0.5  # seconds between two snapshots


def topic(run_id: str) -> str:
    """Return the name of the events of a run."""
    return f"climdask-{run_id}"


class ChainWatcher(SchedulerPlugin):  # type: ignore[misc]
    """Counts finished keys of one run by chain and stage. A key that is done stays counted."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.name = topic(run_id)
        self.done: dict[str, dict[str, set[tuple[str, int]]]] = {}
        self.at: dict[str, tuple[str, int]] = {}
        self.repeated: dict[str, int] = defaultdict(int)
        self.changed = False

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
        self.changed = True

    def tell(self) -> None:
        """Send a snapshot to whoever listens."""
        if self.changed:
            self.changed = False
            self.scheduler.log_event(topic(self.run_id), self.snapshot())

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Return counts by chain: a number for each stage, ``leg`` and ``year`` in work."""
        return {
            chain: {
                **{stage: len(keys) for stage, keys in stages.items()},
                "at": list(self.at.get(chain, ("", 0))),
                "repeated": self.repeated[chain],
            }
            for chain, stages in self.done.items()
        }


def stop_watching(run_id: str, dask_scheduler: Any = None) -> dict[str, dict[str, Any]]:
    """Return the last snapshot of a run; called on the scheduler."""
    plugin: ChainWatcher = dask_scheduler.plugins[topic(run_id)]
    return plugin.snapshot()

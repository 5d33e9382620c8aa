"""Counts what the tasks of a run have done, on the scheduler, and tells it twice a second."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from distributed import SchedulerPlugin
from tornado.ioloop import PeriodicCallback

from climdask.graph import stage_of
from climdask.tokens import PLUGIN

INTERVAL = 0.5  # seconds between two snapshots


def topic(run_id: str) -> str:
    """Return the name of the events of a run."""
    return f"climdask-{run_id}"


class ChainWatcher(SchedulerPlugin):  # type: ignore[misc]
    """Counts finished keys of one run by chain and stage. A key that is done stays counted.

    Attributes:
        homes: home group by chain, to ask the file tokens why a chain waits.
    """

    def __init__(self, run_id: str, homes: Mapping[str, str]) -> None:
        self.run_id, self.homes = run_id, dict(homes)
        self.name = topic(run_id)
        self.done: dict[str, dict[str, set[tuple[str, int]]]] = {}
        self.at: dict[str, tuple[str, int]] = {}
        self.repeated: dict[str, int] = defaultdict(int)
        self.waits: dict[str, str] = {}
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
        waits = {chain: self._waits(chain) for chain in self.homes}
        if self.changed or waits != self.waits:
            self.changed, self.waits = False, waits
            self.scheduler.log_event(topic(self.run_id), self.snapshot())

    def _waits(self, chain: str) -> str:
        """Say why a chain's reads wait, or nothing if they need not."""
        tokens = self.scheduler.plugins.get(PLUGIN)
        return tokens.waiting_for(self.homes[chain]) if tokens else ""

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Return counts by chain: a number for each stage, leg and year in work, why it waits."""
        return {
            chain: {
                **{stage: len(keys) for stage, keys in self.done.get(chain, {}).items()},
                "at": list(self.at.get(chain, ("", 0))),
                "repeated": self.repeated[chain],
                "waits": self.waits.get(chain, ""),
            }
            for chain in self.homes
        }


def stop_watching(run_id: str, dask_scheduler: Any = None) -> dict[str, dict[str, Any]]:
    """Return the last snapshot of a run; called on the scheduler."""
    plugin: ChainWatcher = dask_scheduler.plugins[topic(run_id)]
    return plugin.snapshot()

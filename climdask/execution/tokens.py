"""File tokens: cluster-wide exclusive resources, so that no two tasks want one file at once.

Dask's worker resources are per worker: two workers that both offer ``file:x`` would run two such
tasks at the same time. Here every worker *locally* owns one unit of every token, and the scheduler
shows each token on exactly one worker, its owner. Moving a token is a synchronous write on the
scheduler; a token that a task needs which has been sent to its owner never moves. Tokens of one
home group have one owner, so blocks and carries do not travel between workers.

This uses internals of the scheduler, which :func:`check_scheduler` looks for before anything is
submitted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

import distributed
from distributed import SchedulerPlugin, WorkerPlugin
from tornado.ioloop import PeriodicCallback

from climdask.errors import ClusterError

PLUGIN = "climdask-file-tokens"
FENCE = 1.0  # seconds between the loss of an owner and the next grant of its tokens
INTERVAL = 0.5  # seconds between two looks at homes and pending grants
PAUSED_LIMIT = 60.0  # seconds that a home may be paused without spilling
PAUSED = "its worker pauses: its memory is nearly full"
# Dask counts every task on a dying worker as suspicious; files.PoisonFile finds the culprit.
ALLOWED_FAILURES = 1000

TESTED = ((2026, 3), (2027, 0))  # from, and below


def check_scheduler(scheduler: Any) -> None:
    """Check that the scheduler has the internals that tokens need.

    Raises:
        ClusterError: it does not, or its version is outside the tested range.
    """
    version = tuple(int(n) for n in distributed.__version__.split(".")[:2])
    if not TESTED[0] <= version < TESTED[1]:
        raise ClusterError(
            f"the scheduler runs distributed {distributed.__version__}; climdask is tested with "
            f"{TESTED[0][0]}.{TESTED[0][1]} to {TESTED[1][0] - 1}.12: install one of these"
        )
    wanted = ("resources", "workers", "running", "unrunnable", "transitions",
              "bulk_schedule_unrunnable_after_adding_worker")  # fmt: skip
    lacking = [name for name in wanted if not hasattr(scheduler, name)]
    if lacking:
        raise ClusterError(f"the Dask scheduler lacks {', '.join(lacking)}, which file tokens need")


class TokenHolder(WorkerPlugin):  # type: ignore[misc]
    """Declares tokens on a worker as it starts, before any task reaches it."""

    def __init__(self, run_id: str, tokens: Collection[str]) -> None:
        self.name = f"climdask-tokens-{run_id}"
        self.tokens = tuple(tokens)

    def setup(self, worker: Any) -> None:
        """Declare one unit of each token; runs that share a token count it."""
        counts = _HELD.setdefault(worker, Counter())
        for token in self.tokens:
            counts[token] += 1
            if token not in worker.state.total_resources:
                worker.state.total_resources[token] = 1
                worker.state.available_resources[token] = 1

    def teardown(self, worker: Any) -> None:
        """Forget the tokens that no other run on this worker uses, and none of its tasks.

        Tasks of a run that was interrupted may still be queued here, and a worker that meets one
        whose resource it does not know shuts down.
        """
        counts = _HELD.get(worker, Counter())
        queued = {t for task in worker.state.tasks.values() for t in task.resource_restrictions}
        for token in self.tokens:
            counts[token] -= 1
            free = worker.state.available_resources.get(token) == 1 and token not in queued
            if counts[token] <= 0 and free:
                del worker.state.total_resources[token]
                del worker.state.available_resources[token]


_HELD: WeakKeyDictionary[Any, Counter[str]] = WeakKeyDictionary()


@dataclass
class _Group:
    """The tokens of one home.

    Attributes:
        tokens: each with the number of runs that use it.
        home: address of the worker that shall own them, if one was found.
        unsettled: whether some token is not yet with the home.
    """

    tokens: Counter[str] = field(default_factory=Counter)
    home: str | None = None
    unsettled: bool = True


class FileTokens(SchedulerPlugin):  # type: ignore[misc]
    """Grants each token to one worker. One on a scheduler, shared by all runs on it."""

    name = PLUGIN
    idempotent = True

    def __init__(self, fence: float = FENCE, interval: float = INTERVAL) -> None:
        self.fence, self.interval = fence, interval
        self.groups: dict[str, _Group] = {}
        self.runs: dict[str, dict[str, set[str]]] = {}
        self.clients: dict[str, str] = {}
        self.owner: dict[str, str] = {}
        self.fenced: dict[str, float] = {}
        self.paused: dict[str, tuple[float, float]] = {}

    async def start(self, scheduler: Any) -> None:
        """Begin to grant tokens."""
        check_scheduler(scheduler)
        self.scheduler = scheduler
        scheduler.allowed_failures = max(scheduler.allowed_failures, ALLOWED_FAILURES)
        self.callback = PeriodicCallback(self.tick, self.interval * 1000)
        self.callback.start()

    async def close(self) -> None:
        """Stop granting."""
        self.callback.stop()

    # ------------------------------------------------------------ runs

    def add_run(self, run_id: str, client: str, groups: Mapping[str, Collection[str]]) -> None:
        """Add tokens by home group for a run; called before its tasks are submitted."""
        self.clients[run_id] = client
        for name, tokens in groups.items():
            mine = self.runs.setdefault(run_id, {}).setdefault(name, set())
            new = set(tokens) - mine
            mine |= new
            group = self.groups.setdefault(name, _Group())
            group.tokens.update(new)
            group.unsettled = True
        self.tick()

    def remove_group(self, run_id: str, name: str) -> None:
        """Give back the tokens of one home group of a run."""
        tokens = self.runs.get(run_id, {}).pop(name, set())
        group = self.groups.get(name)
        if group is None:
            return
        group.tokens.subtract(tokens)
        for token in [t for t in tokens if group.tokens[t] <= 0]:
            del group.tokens[token]
            self._withdraw(token)
        if not group.tokens:
            del self.groups[name]

    def remove_run(self, run_id: str) -> None:
        """Give back all tokens of a run, also after it failed."""
        for name in list(self.runs.get(run_id, {})):
            self.remove_group(run_id, name)
        self.runs.pop(run_id, None)
        self.clients.pop(run_id, None)

    def remove_client(self, scheduler: Any, client: str) -> None:  # noqa: ARG002 - Dask's signature
        """Give back the tokens of a driver that has gone."""
        for run_id in [r for r, c in self.clients.items() if c == client]:
            self.remove_run(run_id)

    # ------------------------------------------------------------ workers

    def add_worker(self, scheduler: Any, worker: str) -> None:  # noqa: ARG002 - Dask's signature
        """Give homeless groups a home at once."""
        self.tick()

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Fence the tokens of a worker that has gone, for what it may still be doing."""
        until = monotonic() + self.fence
        for token in [t for t, address in self.owner.items() if address == worker]:
            del self.owner[token]
            self.fenced[token] = until
        for group in self.groups.values():
            if group.home == worker:
                group.home, group.unsettled = None, True
        self.paused.pop(worker, None)
        scheduler.loop.call_later(self.fence + 0.01, self.tick)

    # ------------------------------------------------------------ decide, then act

    def tick(self) -> None:
        """Find homes for groups, and bring their tokens there."""
        running = [ws.address for ws in self.scheduler.running]
        self.fenced = {t: until for t, until in self.fenced.items() if until > monotonic()}
        self._leave_unfit(set(running))
        if not running:
            return
        self._place(running)
        touched = set()
        for group in self.groups.values():
            if group.unsettled and self._settle(group):
                touched.add(group.home)
        for address in touched:
            # A grant wakes nobody by itself.
            scheduler = self.scheduler
            worker = scheduler.workers[address]
            recommendations = scheduler.bulk_schedule_unrunnable_after_adding_worker(worker)
            scheduler.transitions(recommendations, f"climdask-tokens-{monotonic()}")

    def _leave_unfit(self, running: set[str]) -> None:
        """Take groups from homes that are gone, retiring, or paused for long without spilling.

        A paused home keeps its groups: it pauses because it spills, and moving them would make
        the next one pull the blocks and pause too.
        """
        for group in self.groups.values():
            if group.home is None or group.home in running:
                self.paused.pop(group.home or "", None)
                continue
            worker = self.scheduler.workers.get(group.home)
            if worker is not None and worker.status.name == "paused" and not self._is_stuck(worker):
                continue
            group.home, group.unsettled = None, True

    def _is_stuck(self, worker: Any) -> bool:
        spilled = float((worker.metrics.get("spilled_bytes") or {}).get("disk", 0))
        since, before = self.paused.setdefault(worker.address, (monotonic(), spilled))
        if spilled != before:
            self.paused[worker.address] = (monotonic(), spilled)
            return False
        return monotonic() - since > PAUSED_LIMIT

    def _place(self, running: list[str]) -> None:
        """Place homeless groups on the least loaded workers; then even out by one group."""
        load = dict.fromkeys(running, 0)
        for group in self.groups.values():
            if group.home in load:
                load[group.home] += 1
        for _, group in sorted(self.groups.items()):
            if group.home is None:
                group.home = min(load, key=lambda a: load[a])
                group.unsettled = True
                load[group.home] += 1
        most, least = (pick(load, key=lambda a: load[a]) for pick in (max, min))
        settled = [g for g in self.groups.values() if g.home == most and not g.unsettled]
        if load[most] - load[least] > 1 and settled:
            settled[-1].home, settled[-1].unsettled = least, True

    def _settle(self, group: _Group) -> bool:
        """Bring a group's tokens home, as far as they are free; tell whether any moved."""
        now, moved, left = monotonic(), False, False
        busy: dict[str, set[str]] = {}
        for token in group.tokens:
            owner = self.owner.get(token)
            if owner == group.home:
                continue
            if owner is not None and owner not in busy:
                busy[owner] = self._needed_on(owner)
            fence = self.fenced.get(token, 0.0)
            if fence > now or (owner is not None and token in busy[owner]):
                left = True
                continue
            self._grant(token, str(group.home))
            moved = True
        group.unsettled = left
        return moved

    def _needed_on(self, address: str) -> set[str]:
        """Return the resources that tasks need which were sent to a worker."""
        worker = self.scheduler.workers.get(address)
        return {
            r
            for ts in (worker.processing if worker else ())
            for r in ts.resource_restrictions or ()
        }

    def _grant(self, token: str, address: str) -> None:
        self._withdraw(token)
        worker = self.scheduler.workers[address]
        worker.resources[token] = 1
        worker.used_resources.setdefault(token, 0)
        self.scheduler.resources.setdefault(token, {})[address] = 1
        self.owner[token] = address

    def _withdraw(self, token: str) -> None:
        """Take a token from its owner: 0, never deleted, since the scheduler counts on it."""
        owner = self.owner.pop(token, None)
        if owner in self.scheduler.workers:
            self.scheduler.workers[owner].resources[token] = 0
            self.scheduler.resources[token][owner] = 0

    # ------------------------------------------------------------ report

    def waiting_for(self, name: str) -> str:
        """Say why the reads of a group wait, or nothing if they need not."""
        group = self.groups.get(name)
        if group is None:
            return "no tokens were added"
        home = self.scheduler.workers.get(group.home)
        if home is not None and home.status.name == "paused":
            return PAUSED
        if group.home is None:
            held_up = self.scheduler.workers and not self.scheduler.running
            return PAUSED if held_up else "no worker yet"
        # Few are fenced; to look at all tokens of hundreds of groups takes the scheduler long.
        if any(until > monotonic() and t in group.tokens for t, until in self.fenced.items()):
            return "fenced after the loss of a worker"
        return "file tokens are still in use elsewhere" if group.unsettled else ""


# Called on the scheduler, through Client.run_on_scheduler.


def add_tokens(
    run_id: str, client: str, groups: Mapping[str, Collection[str]], dask_scheduler: Any = None
) -> None:
    """Add tokens for a run on this scheduler."""
    dask_scheduler.plugins[PLUGIN].add_run(run_id, client, groups)


def remove_tokens(run_id: str, group: str | None = None, dask_scheduler: Any = None) -> None:
    """Give back one group of a run's tokens, or all of them."""
    plugin: FileTokens = dask_scheduler.plugins[PLUGIN]
    if group is None:
        plugin.remove_run(run_id)
    else:
        plugin.remove_group(run_id, group)

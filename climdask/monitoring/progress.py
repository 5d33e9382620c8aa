"""Progress of a run: counts, pace, and what is left; of each chain and of all together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from climdask.execution.events import Event, Work
from climdask.inputs.access import listeners
from climdask.monitoring.throughput import Throughput
from climdask.plaintext import quantity
from climdask.planning.plan import Chain, Plan


@dataclass
class ChainProgress:
    """How far a chain is.

    Attributes:
        years, years_total: source years that went through the window.
        reads, reads_total: readings, of a file or of a bundle of them.
        writes, writes_total: target years written, all regions together.
        at: branch and year in work.
        state: ``waiting``, ``active``, ``done`` or ``failed``.
        repeated: tasks that were done again after the loss of a worker.
        waits: why its reads wait, as far as the file tokens know.
    """

    id: str
    years_total: int
    reads_total: int
    writes_total: int
    years: int = 0
    reads: int = 0
    writes: int = 0
    at: tuple[str, int] = ("", 0)
    state: str = "waiting"
    repeated: int = 0
    waits: str = ""
    message: str = ""
    started: float = 0.0
    finished: float = 0.0

    @classmethod
    def of(cls, chain: Chain) -> ChainProgress:
        """Return the progress of a chain that has not begun."""
        steps = sum(len(s) for s in chain.branches.steps.values())
        return cls(chain.id, steps, len(chain.branches.reads), chain.branches.n_targets)

    @classmethod
    def restored(cls, content: Mapping[str, Any]) -> ChainProgress:
        """Return what :attr:`content` holds; its clock goes on, unless the chain has ended."""
        kept = {key: content[key] for key in _KEPT}
        row = cls(**kept | {"at": (content["at"][0], content["at"][1])})
        if content["elapsed"]:
            now = time.monotonic()
            row.started = now - content["elapsed"]
            row.finished = now if row.state in ("done", "failed") else 0.0
        return row

    @property
    def content(self) -> dict[str, Any]:
        """All of it, for JSON; elapsed and ETA in seconds."""
        eta = None if self.eta is None else round(self.eta, 1)
        facts = {key: getattr(self, key) for key in _KEPT} | {"at": list(self.at)}
        return facts | {"elapsed": round(self.elapsed, 1), "eta": eta}

    def take(self, event: Event) -> None:
        """Take over an event of this chain."""
        if event.kind == "start":
            self.started = self.started or time.monotonic()
        elif event.kind == "wait":
            self.waits = event.message
        elif event.kind in _COUNTED:
            self._count(event)
        elif self.state not in ("done", "failed"):
            self._end(event)

    def _count(self, event: Event) -> None:
        name = _COUNTED[event.kind]
        setattr(self, name, max(getattr(self, name), event.count))
        self.repeated = max(self.repeated, event.repeated)
        if event.kind == "window":
            self.at = (event.branch, event.year)
        if self.state == "waiting":
            self.state = "active"

    def _end(self, event: Event) -> None:
        self.finished = time.monotonic()
        if event.kind == "fail":
            self.state, self.message = "failed", event.message
        else:
            self.state = "done"
            self.years, self.reads, self.writes = (
                self.years_total,
                self.reads_total,
                self.writes_total,
            )

    @property
    def status(self) -> str:
        """The state, and why it waits if that is known."""
        known = self.started and self.waits and self.state in ("waiting", "active")
        return f"{self.state} ({self.waits})" if known else self.state

    @property
    def elapsed(self) -> float:
        """Seconds since the chain became active."""
        if not self.started:
            return 0.0
        return (self.finished or time.monotonic()) - self.started

    @property
    def eta(self) -> float | None:
        """Seconds that are left at the pace so far; None while there is no pace."""
        if self.state in ("done", "failed"):
            return 0.0
        if not self.years or not self.elapsed:
            return None
        return self.elapsed / self.years * (self.years_total - self.years)


_COUNTED = {"read": "reads", "window": "years", "write": "writes"}

_KEPT = (
    "id", "state", "years", "years_total", "reads", "reads_total", "writes", "writes_total", "at",
    "repeated", "waits", "message",
)  # fmt: skip


@dataclass
class RunProgress:
    """How far a run is; updated by the run, read by the views.

    Attributes:
        dashboard, scheduler: their addresses; empty where there is none.
        jobs: state of each batch job of the run, by its id.
        note: what the user should know now, such as why jobs wait.
        tunnel: the command that brings the dashboard to the user's own machine.
        work: files open now, bytes decoded and written, and how fast.
    """

    chains: dict[str, ChainProgress]
    dashboard: str = ""
    scheduler: str = ""
    jobs: dict[str, str] = field(default_factory=dict)
    note: str = ""
    work: Work = field(default_factory=Work)
    tunnel: str = ""
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0

    @classmethod
    def of(cls, plan: Plan) -> RunProgress:
        """Return the progress of a plan that has not begun; chains that cannot start failed."""
        rows = {chain.id: ChainProgress.of(chain) for chain in plan.chains}
        for chain_id, message in plan.failures.items():
            rows[chain_id] = ChainProgress(chain_id, 0, 0, 0, state="failed", message=message)
        return cls(dict(sorted(rows.items())))

    @classmethod
    def restored(cls, content: Mapping[str, Any]) -> RunProgress:
        """Return what :attr:`content` holds; its clock goes on."""
        rows = [ChainProgress.restored(row) for row in content["chains"]]
        facts = {key: content[key] for key in ("dashboard", "scheduler", "jobs", "note", "tunnel")}
        return cls(
            {row.id: row for row in rows}, **facts, work=Work(**content["work"]),
            began=time.monotonic() - content["elapsed"],
        )  # fmt: skip

    def stop(self) -> None:
        """Note that the run is over, however it ended: all clocks stand still."""
        self.ended = time.monotonic()
        for row in self.chains.values():
            row.finished = row.finished or self.ended

    @property
    def content(self) -> dict[str, Any]:
        """All of it, for JSON; elapsed and ETA in seconds."""
        return {
            "elapsed": round(self.elapsed, 1),
            "eta": None if self.eta is None else round(self.eta, 1),
            "totals": self.counts,
            "scheduler": self.scheduler,
            "dashboard": self.dashboard,
            "jobs": dict(self.jobs),
            "note": self.note,
            "tunnel": self.tunnel,
            "work": asdict(self.work),
            "chains": [row.content for row in list(self.chains.values())],
        }

    @property
    def elapsed(self) -> float:
        """Seconds since the run began, until it ended."""
        return (self.ended or time.monotonic()) - self.began

    @property
    def eta(self) -> float | None:
        """Seconds that are left: at the pace of all together, or until the slowest chain is done.

        None while there is no pace.
        """
        rows = [row for row in self.chains.values() if row.state != "failed"]
        left = sum(row.years_total - row.years for row in rows)
        done, started = sum(row.years for row in rows), min(self._starts, default=0.0)
        if not left or not done:
            return None if left else 0.0
        seconds = (self.ended or time.monotonic()) - started
        return max(seconds / done * left, *(row.eta or 0.0 for row in rows))

    @property
    def _starts(self) -> list[float]:
        return [row.started for row in self.chains.values() if row.started]

    @property
    def failures(self) -> dict[str, str]:
        """The message of each chain that failed."""
        return {row.id: row.message for row in self.chains.values() if row.state == "failed"}

    def take(self, event: Event | Work) -> None:
        """Take over an event of the run; counts never go back."""
        if isinstance(event, Work):
            self.work = event
        elif event.chain in self.chains:
            self.chains[event.chain].take(event)

    @property
    def counts(self) -> dict[str, int]:
        """Counts of the whole run."""
        rows = list(self.chains.values())
        sums = {
            name: sum(getattr(row, name) for row in rows)
            for name in ("years", "years_total", "reads", "reads_total", "writes", "writes_total")
        }
        states = {state: sum(r.state == state for r in rows) for state in ("done", "failed")}
        return {"chains": len(rows), **states, **sums}

    @property
    def totals(self) -> str:
        """Counts of the whole run, as text."""
        n = self.counts
        text = (
            f"{n['done']}/{n['chains']} chains done, {quantity(n['reads'], 'file')} read, "
            f"{n['writes']}/{n['writes_total']} target years written"
        )
        return text + (f", {n['failed']} failed" if n["failed"] else "")


@contextmanager
def counted(progress: RunProgress, run_id: str) -> Iterator[Callable[[Event], None]]:
    """Count the files and bytes of a run in this process; yield what takes its events."""
    throughput = Throughput()
    listeners[run_id] = throughput.note

    def take(event: Event) -> None:
        progress.take(throughput.sample())
        progress.take(event)

    try:
        yield take
    finally:
        del listeners[run_id]


def clock(seconds: float | None) -> str:
    """Return seconds as ``1:02:03`` or ``2:03``; ``?`` for None."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def short_names(ids: Sequence[str]) -> list[str]:
    """Leave out what all chains have in common: ``model/member/grid`` where there is but one."""
    parts = [name.split("/") for name in ids]
    common = 0
    while parts and all(len(p) > common + 1 and p[common] == parts[0][common] for p in parts):
        common += 1
    return ["/".join(p[common:]) for p in parts]

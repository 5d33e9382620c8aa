"""Progress of a run: the counts of each chain, and two ways to show them.

On a terminal a table with a bar for each chain; elsewhere, as in the log of a batch job, a plain
line for each chain that moved.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from climdask.executor import Event
from climdask.plan import Chain, Plan
from climdask.throughput import Work

PLAIN_INTERVAL = 5.0  # seconds between two plain lines of a chain
BAR, MIN_BAR = 24, 6  # columns of a progress bar, at most and at least
_COLORS = {"waiting": "dim", "active": "cyan", "done": "green", "failed": "red"}


@dataclass
class ChainProgress:
    """How far a chain is.

    Attributes:
        years, years_total: source years that went through the window.
        reads, reads_total: openings of files.
        writes, writes_total: target years written, all regions together.
        at: leg and year in work.
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
        steps = sum(len(s) for s in chain.legs.steps.values())
        return cls(chain.id, steps, len(chain.legs.reads), chain.legs.n_targets)

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


@dataclass
class RunProgress:
    """How far a run is; updated by the run, read by the views.

    Attributes:
        dashboard, scheduler: their addresses; empty where there is none.
        jobs: state of each batch job of the run, by its id.
        note: what the user should know now, such as why jobs wait.
        work: files open now, bytes decoded and written, and how fast.
    """

    chains: dict[str, ChainProgress]
    dashboard: str = ""
    scheduler: str = ""
    jobs: dict[str, str] = field(default_factory=dict)
    note: str = ""
    work: Work = field(default_factory=Work)
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, plan: Plan) -> RunProgress:
        """Return the progress of a plan that has not begun; chains that cannot start failed."""
        rows = {chain.id: ChainProgress.of(chain) for chain in plan.chains}
        for chain_id, message in plan.failures.items():
            rows[chain_id] = ChainProgress(chain_id, 0, 0, 0, state="failed", message=message)
        return cls(dict(sorted(rows.items())))

    @property
    def failures(self) -> dict[str, str]:
        """The message of each chain that failed."""
        return {row.id: row.message for row in self.chains.values() if row.state == "failed"}

    def take(self, event: Event) -> None:
        """Take over an event of the reference executor."""
        row = self.chains[event.chain]
        if row.state == "waiting":
            self.start(event.chain)
            row.state = "active"
        if event.stage == "failed":
            self.fail(event.chain, event.message)
            return
        row.reads += event.stage == "read"
        row.years += event.stage == "window"
        row.writes += event.stage == "write"
        row.at = (event.leg, event.year)
        if (row.years, row.writes) == (row.years_total, row.writes_total):
            self.finish(event.chain)

    def start(self, chain: str) -> None:
        """Note that a chain's tasks were submitted."""
        self.chains[chain].started = time.monotonic()

    def update(self, snapshot: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over a watcher's snapshot; counts never go back."""
        self.work = Work(**snapshot["work"])
        for name, counts in snapshot["chains"].items():
            row = self.chains.get(name)
            if row is None:
                continue
            row.years = max(row.years, counts.get("window", 0))
            row.reads = max(row.reads, counts.get("read", 0))
            row.writes = max(row.writes, counts.get("write", 0))
            row.repeated = counts.get("repeated", 0)
            row.waits = counts.get("waits", "")
            leg, year = counts.get("at", row.at)
            row.at = (leg, year)
            if row.state == "waiting" and (row.reads or row.years):
                row.state = "active"

    def fail(self, chain: str, message: str) -> None:
        """Note the first failure of a chain."""
        row = self.chains[chain]
        if row.state != "failed":
            row.state, row.message = "failed", message
            row.finished = time.monotonic()

    def finish(self, chain: str) -> None:
        """Note that a chain has ended."""
        row = self.chains[chain]
        if row.state != "failed":
            row.state, row.finished = "done", time.monotonic()
            row.years, row.reads, row.writes = row.years_total, row.reads_total, row.writes_total

    @property
    def totals(self) -> str:
        """Counts of the whole run, as text."""
        rows = self.chains.values()
        done = sum(r.state == "done" for r in rows)
        failed = sum(r.state == "failed" for r in rows)
        writes, total = sum(r.writes for r in rows), sum(r.writes_total for r in rows)
        text = (
            f"{done}/{len(rows)} chains done, {sum(r.reads for r in rows)} files read, "
            f"{writes}/{total} target years written"
        )
        return text + (f", {failed} failed" if failed else "")


def clock(seconds: float | None) -> str:
    """Return seconds as ``1:02:03`` or ``2:03``; ``?`` for None."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


# ---------------------------------------------------------------- views


@contextmanager
def shown(
    progress: RunProgress, *, quiet: bool = False, stream: IO[str] | None = None
) -> Iterator[None]:
    """Show progress while the block runs, as fits the stream."""
    stream = stream or sys.stdout
    if quiet:
        yield
    elif stream.isatty():
        console = Console(file=stream)

        def table() -> Group:
            return _table(progress, console.width, console.height)

        with Live(get_renderable=table, console=console, refresh_per_second=4):
            yield
    else:
        with _plain(progress, stream):
            yield


def _table(progress: RunProgress, width: int, height: int) -> Group:
    """Return a row for each chain; the chains in work first if not all fit."""
    rows = list(progress.chains.values())
    room = max(3, height - 6)
    if len(rows) > room:
        order = {"active": 0, "failed": 1, "waiting": 2, "done": 3}
        rows = sorted(rows, key=lambda r: order[r.state])[:room]
    columns = _columns(rows, width)
    bar = min(BAR, width - _width(columns) - 2)
    table = Table(box=None, padding=(0, 1), header_style="bold", expand=False)
    for title in columns:
        table.add_column(
            title, justify="left" if title in ("chain", "state") else "right", no_wrap=True
        )
        if title == "chain" and bar >= MIN_BAR:
            table.add_column("")
    for row, (name, *cells) in zip(rows, zip(*columns.values(), strict=True), strict=True):
        done = ProgressBar(total=max(1, row.years_total), completed=row.years, width=bar)
        texts = [
            Text(cell, _COLORS[row.state] if cell in (row.state, row.status) else "")
            for cell in cells
        ]
        table.add_row(Text(name), *([done] if bar >= MIN_BAR else []), *texts)
    hidden = len(progress.chains) - len(rows)
    foot = [Text(progress.totals + (f" ({hidden} chains not shown)" if hidden else ""), "bold")]
    if progress.dashboard:
        foot.append(Text(f"dashboard: {progress.dashboard}", "dim"))
    failures = [Text(f"{name}: {why}", "red") for name, why in progress.failures.items()]
    return Group(table, *foot, *failures[:5])  # what is too long is cut at its end


def _columns(rows: Sequence[ChainProgress], width: int) -> dict[str, list[str]]:
    """Return the cells by column; where they are too wide the least important columns go."""
    columns = {
        "chain": _short([row.id for row in rows]),
        "years": [f"{row.years}/{row.years_total}" for row in rows],
        "target": [_target(row) for row in rows],
        "normals": [f"{row.writes}/{row.writes_total}" for row in rows],
        "state": [row.status for row in rows],
        "elapsed": [clock(row.elapsed) for row in rows],
        "ETA": [clock(row.eta) for row in rows],
    }
    if _width(columns) > width:
        columns["state"] = [row.state for row in rows]
    for title in ("elapsed", "target", "normals", "ETA"):
        if _width(columns) > width:
            del columns[title]
    return columns


def _width(columns: Mapping[str, Sequence[str]]) -> int:
    return sum(2 + max(map(len, (title, *cells))) for title, cells in columns.items())


def _short(ids: Sequence[str]) -> list[str]:
    """Leave out what all chains have in common: ``model/member/grid`` where there is but one."""
    parts = [name.split("/") for name in ids]
    common = 0
    while parts and all(len(p) > common + 1 and p[common] == parts[0][common] for p in parts):
        common += 1
    return ["/".join(p[common:]) for p in parts]


def _target(row: ChainProgress) -> str:
    leg, year = row.at
    return f"{leg} {year}" if year else ""


@contextmanager
def _plain(progress: RunProgress, stream: IO[str]) -> Iterator[None]:
    if progress.dashboard:
        print(f"dashboard: {progress.dashboard}", file=stream, flush=True)
    stop = threading.Event()
    told: dict[str, tuple[Any, ...]] = {}

    def tell() -> None:
        for row in list(progress.chains.values()):
            now = (row.years, row.writes, row.state)
            if told.get(row.id) != now and (row.state != "waiting" or row.years):
                told[row.id] = now
                print(plain_line(row), file=stream, flush=True)

    def loop() -> None:
        while not stop.wait(PLAIN_INTERVAL):
            tell()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        tell()


def plain_line(row: ChainProgress) -> str:
    """Return a chain's progress as a line."""
    text = (
        f"{time.strftime('%H:%M:%S')} {row.id}: {row.status}, {row.years}/{row.years_total} years, "
        f"{row.writes}/{row.writes_total} target years written, at {_target(row) or 'start'}, "
        f"elapsed {clock(row.elapsed)}, ETA {clock(row.eta)}"
    )
    return text + (f": {row.message}" if row.message else "")


def summary(rows: Sequence[ChainProgress]) -> Table:
    """Return the table that ends a run: what was done, what failed, where and why."""
    table = Table(title=None, box=None, padding=(0, 1), header_style="bold")
    for title in ("chain", "state"):
        table.add_column(title)
    for title in ("files read", "target years", "elapsed"):
        table.add_column(title, justify="right")
    table.add_column("why", overflow="fold")
    for row in rows:
        table.add_row(
            Text(row.id), Text(row.state, _COLORS[row.state]), f"{row.reads}/{row.reads_total}",
            f"{row.writes}/{row.writes_total}", clock(row.elapsed), Text(row.message),
        )  # fmt: skip
    return table

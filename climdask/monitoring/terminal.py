"""What a run shows: a table on a terminal, plain lines elsewhere, and lines for a log file.

Plain lines are for what is kept, such as the log of a batch job: each has its time, says what
moved, and comes the more rarely the longer the run takes.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from rich.cells import cell_len
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from climdask.monitoring.progress import ChainProgress, RunProgress, clock, short_names
from climdask.monitoring.streams import SafeConsole, is_private
from climdask.plaintext import printable, quantity

PLAIN_INTERVAL, MOST_PLAIN = 5.0, 300.0  # seconds between plain lines, at first and at most
MANY = 20  # chains that moved; of more, plain lines tell only what changed its state
BAR, MIN_BAR = 24, 6  # columns of a progress bar, at most and at least
_COLORS = {"waiting": "dim", "active": "cyan", "done": "green", "failed": "red"}

TUNNEL = "dashboard on your own machine"  # before the command that brings it there

# Instead of its address, where others may read it.
ASK = "climdask status OUT_DIR tells you its address, which others must not know"

Tell = Callable[[str], object]


@contextmanager
def shown(
    progress: RunProgress,
    *,
    quiet: bool = False,
    plain: bool = False,
    log: Tell | None = None,
    stream: IO[str] | None = None,
    in_job: bool = False,
) -> Iterator[None]:
    """Show progress while the block runs, as fits the stream.

    Args:
        progress: of the run.
        quiet: show nothing.
        plain: show lines, also on a terminal.
        log: takes plain lines without their time, also if ``quiet``.
        stream: where to show it; the standard output by default.
        in_job: whether the stream is that of a batch job.

    The dashboard's address is shown only where the user alone reads it, and in no log.
    """
    stream = stream or sys.stdout
    with ExitStack() as views:
        if log is not None:
            views.enter_context(_told(progress, log, private=False))
        if not quiet:
            plain = plain or not stream.isatty() or os.environ.get("TERM") in ("dumb", "unknown")
            private = is_private(stream, in_job=in_job)
            views.enter_context(
                _told(progress, _timed(stream), private=private)
                if plain
                else _drawn(progress, stream)
            )
        yield


# ---------------------------------------------------------------- on a terminal


@contextmanager
def _drawn(progress: RunProgress, stream: IO[str]) -> Iterator[None]:
    console = SafeConsole(file=stream)

    def picture() -> Group:
        return table(progress, console.width, console.height)

    with Live(get_renderable=picture, console=console, refresh_per_second=4):
        yield


def table(progress: RunProgress, width: int, height: int) -> Group:
    """Return a row for each chain; the chains in work first if not all fit."""
    rows = list(progress.chains.values())
    foot = _foot(progress)
    lines = sum(-(-cell_len(text.plain) // width) for text in foot)
    room = max(3, height - lines - 3)
    if len(rows) > room:
        order = {"active": 0, "failed": 1, "waiting": 2, "done": 3}
        rows = sorted(rows, key=lambda r: order[r.state])[:room]
        foot.insert(1, Text(f"({quantity(len(progress.chains) - len(rows), 'chain')} not shown)"))
    return Group(_rows(rows, width), *foot)  # what is too long is cut at its end


def _rows(rows: Sequence[ChainProgress], width: int) -> Table:
    columns = _columns(rows, width)
    bar = min(BAR, width - _width(columns) - 2)
    drawn = Table(box=None, padding=(0, 1), header_style="bold", expand=False)
    for title in columns:
        drawn.add_column(
            title, justify="left" if title in ("chain", "state") else "right", no_wrap=True
        )
        if title == "chain" and bar >= MIN_BAR:
            drawn.add_column("")
    for row, (name, *cells) in zip(rows, zip(*columns.values(), strict=True), strict=True):
        done = ProgressBar(total=max(1, row.years_total), completed=row.years, width=bar)
        texts = [
            Text(cell, _COLORS[row.state] if cell in (row.state, row.status) else "")
            for cell in cells
        ]
        drawn.add_row(Text(name), *([done] if bar >= MIN_BAR else []), *texts)
    return drawn


def _foot(progress: RunProgress) -> list[Text]:
    """Return what is below the chains: totals, how fast it goes, addresses, failures."""
    if progress.ended:
        shown = [Text(f"{progress.totals}; elapsed {clock(progress.elapsed)}", "bold")]
        shown.append(Text(progress.work.on_average(progress.elapsed)))
    else:
        shown = [Text(f"{progress.totals}; {_clocks(progress)}", "bold"), Text(str(progress.work))]
    if progress.jobs:
        shown.append(Text(f"jobs: {jobs(progress)}"))
    if progress.note and not progress.ended:
        shown.append(Text(progress.note, "yellow"))
    if progress.dashboard and not progress.ended:
        shown.append(Text(f"dashboard: {progress.dashboard}", "dim"))
    if progress.tunnel and not progress.ended:
        shown.append(Text(f"{TUNNEL}: {progress.tunnel}", "dim"))
    failures = [Text(f"{name}: {why}", "red") for name, why in progress.failures.items()]
    return shown + failures[:5]


def jobs(progress: RunProgress) -> str:
    """Return the batch jobs by state, such as ``2 running (101, 102)``."""
    by_state: dict[str, list[str]] = {}
    for job, state in sorted(progress.jobs.items()):
        by_state.setdefault(state, []).append(job)
    return ", ".join(f"{len(own)} {state} ({', '.join(own)})" for state, own in by_state.items())


def _clocks(progress: RunProgress) -> str:
    return f"elapsed {clock(progress.elapsed)}, ETA {clock(progress.eta)}"


def _columns(rows: Sequence[ChainProgress], width: int) -> dict[str, list[str]]:
    """Return the cells by column; where they are too wide the least important columns go."""
    columns = {
        "chain": short_names([row.id for row in rows]),
        "years": [f"{row.years}/{row.years_total}" for row in rows],
        "target": [_target(row) for row in rows],
        "normals": [f"{row.writes}/{row.writes_total}" for row in rows],
        "state": [row.status for row in rows],
        "elapsed": [clock(row.elapsed) for row in rows],
        "ETA": [clock(row.eta) for row in rows],
    }
    if _width(columns) > width:
        columns["state"] = [row.state for row in rows]
    for title in ("elapsed", "target", "normals", "ETA", "state"):
        if _width(columns) > width:
            del columns[title]
    return columns


def _width(columns: Mapping[str, Sequence[str]]) -> int:
    return sum(2 + max(map(len, (title, *cells))) for title, cells in columns.items())


def _target(row: ChainProgress) -> str:
    branch, year = row.at
    return f"{branch} {year}" if year else ""


# ---------------------------------------------------------------- plain lines


def _timed(stream: IO[str]) -> Tell:
    return lambda line: print(time.strftime("%H:%M:%S"), printable(line), file=stream, flush=True)


@contextmanager
def _told(progress: RunProgress, tell: Tell, *, private: bool) -> Iterator[None]:
    """Tell what moved, every few seconds, and at the end."""
    lines, stop = _Lines(progress, private), threading.Event()

    def loop() -> None:
        while not stop.wait(pause(progress.elapsed)):
            for line in lines.new():
                tell(line)

    thread = threading.Thread(target=loop, daemon=True)
    for line in lines.new():
        tell(line)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for line in lines.new():
            tell(line)


def pause(elapsed: float) -> float:
    """Return the seconds until the next plain lines of a run that has taken some seconds so far."""
    return min(MOST_PLAIN, max(PLAIN_INTERVAL, elapsed / 60))


@dataclass
class _Lines:
    """The lines of a run that were not shown yet.

    Attributes:
        private: whether the user alone reads them.
        shown: what was shown last of each chain, and of the run.
    """

    progress: RunProgress
    private: bool = True
    shown: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def new(self) -> list[str]:
        """Return lines for what has changed."""
        rows = [row for row in list(self.progress.chains.values()) if row.state != "waiting"]
        moved = [row for row in rows if self._is_new(row.id, row.years, row.writes, row.status)]
        turned = [row for row in rows if self._is_new(f"{row.id} state", row.state)]
        lines = self._of_the_run()
        lines += [plain_line(row) for row in (moved if len(moved) <= MANY else turned)]
        if moved and len(self.progress.chains) > 1:
            run = self.progress
            lines.append(f"{run.totals}, {run.work}, {_clocks(run)}")
        return lines

    def _of_the_run(self) -> list[str]:
        run = self.progress
        dashboard = run.dashboard if self.private or not run.dashboard else ASK
        facts = {
            "dashboard": dashboard, TUNNEL: run.tunnel, "jobs": jobs(run), "note": run.note,
        }  # fmt: skip
        return [f"{what}: {text}" for what, text in facts.items() if self._is_new(what, text)]

    def _is_new(self, what: str, *now: Any) -> bool:
        """Tell whether something has changed; nothing is not worth a line."""
        changed = any(now) and self.shown.get(what) != now
        self.shown[what] = now
        return changed


def plain_line(row: ChainProgress) -> str:
    """Return a chain's progress as a line."""
    text = (
        f"{row.id}: {row.status}, {row.years}/{row.years_total} years, "
        f"{row.writes}/{row.writes_total} target years written, at {_target(row) or 'start'}, "
        f"elapsed {clock(row.elapsed)}, ETA {clock(row.eta)}"
    )
    return text + (f": {row.message}" if row.message else "")


# ---------------------------------------------------------------- the end


def summary(rows: Sequence[ChainProgress]) -> Table:
    """Return the table that ends a run: what was done, what failed, where and why."""
    ended = Table(title=None, box=None, padding=(0, 1), header_style="bold")
    for title in ("chain", "state"):
        ended.add_column(title)
    for title in ("files read", "target years", "elapsed"):
        ended.add_column(title, justify="right")
    ended.add_column("why", overflow="fold")
    for row in rows:
        ended.add_row(
            Text(row.id), Text(row.state, _COLORS[row.state]), f"{row.reads}/{row.reads_total}",
            f"{row.writes}/{row.writes_total}", clock(row.elapsed), Text(row.message),
        )  # fmt: skip
    return ended

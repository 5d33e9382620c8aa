"""What the dashboard page shows, as text and numbers: lines of chains, grouped by model. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import PurePath

import numpy as np
import numpy.typing as npt

from climdask.monitoring.progress import ChainProgress, RunProgress, clock, short_names

PAGE = 25  # lines of a page of the table
POINTS = 400  # of the curves over time, at most
MOST_EXCEPTIONS = 10_000  # groups that a reader may have folded one by one
STATES = ("active", "failed", "waiting", "done")
SIGNS = {"waiting": "…", "active": "▶", "done": "✓", "failed": "✗"}


Rates = Mapping[str, npt.NDArray[np.float64]]


@dataclass
class Curve:
    """Counts over time, in bounded memory: where points become too many, every second one goes.

    Attributes:
        points: seconds, and the counts so far: bytes decoded, bytes written, files.
        step: seconds between two points, at least.
    """

    points: list[tuple[float, int, int, int]] = field(default_factory=list)
    step: float = 0.0
    _rates: Rates | None = None

    def add(self, at: float, counts: tuple[int, int, int]) -> None:
        """Add a point, unless the last one is recent."""
        if self.points and at - self.points[-1][0] < max(self.step, 1e-3):
            return
        self._rates = None
        self.points.append((at, *counts))
        if len(self.points) > POINTS:
            del self.points[1::2]
            self.step = 2 * (self.points[-1][0] - self.points[0][0]) / POINTS

    def rates(self) -> Rates:
        """Return columns: seconds, and what was added per second around them; bytes in MB.

        The same object as long as no point was added.
        """
        if self._rates is None:
            at, *counts = np.array(self.points, dtype=np.float64).reshape(-1, 4).T
            seconds = np.diff(at)
            decoded, written, files = (np.diff(n).clip(0) / seconds for n in counts)
            middle = at[:-1] + seconds / 2
            self._rates = {
                "at": middle, "decoded": decoded / 1e6, "written": written / 1e6, "files": files
            }  # fmt: skip
        return self._rates


@dataclass
class WatchedRun:
    """A run as the scheduler knows it.

    Attributes:
        title: the output folder.
        client: id of the driver's Dask client.
        homes: home group by chain.
        progress: the same counts as the driver's, by clocks of the scheduler's host.
    """

    run_id: str
    title: str
    client: str
    homes: Mapping[str, str]
    progress: RunProgress

    @property
    def has_ended(self) -> bool:
        """Whether the run is over, however it ended."""
        return self.progress.ended > 0

    @property
    def state(self) -> str:
        """What the run as a whole is at."""
        if not self.has_ended:
            return "at work"
        left = any(r.state in ("active", "waiting") for r in self.progress.chains.values())
        return "stopped" if left else "ended"


@dataclass(frozen=True)
class RunLine:
    """The totals of a run, as text; ``eta`` and ``failed`` are empty where there is nothing."""

    run_id: str
    title: str
    state: str
    chains: str
    failed: str
    years: str
    reads: str
    writes: str
    decoded: str
    written: str
    elapsed: str
    eta: str

    @classmethod
    def of(cls, run: WatchedRun) -> RunLine:
        """Return the totals of a run."""
        progress = run.progress
        n = progress.counts
        return cls(
            run.run_id,
            run.title,
            run.state,
            of_all(n["done"], n["chains"]),
            str(n["failed"] or ""),
            of_all(n["years"], n["years_total"]),
            of_all(n["reads"], n["reads_total"]),
            of_all(n["writes"], n["writes_total"]),
            amount(progress.work.decoded),
            amount(progress.work.written),
            clock(progress.elapsed),
            "" if run.has_ended else clock(progress.eta),
        )


@dataclass(frozen=True)
class Line:
    """A line of the table: a model with all its chains, or one chain.

    Attributes:
        key: of the group, if the line is a group's; else empty.
        is_child: the line is a chain's below the line of its group.
        name: of the chain within its group, or of the group with a sign that it folds.
        percent: of the source years that are done.
        years, normals: done of all; ``normals`` are target years written, all regions together.
        target: branch and year in work.
        state: one word, of :data:`STATES`; ``status`` says more.
        home: the worker that holds the file tokens, and how many.
    """

    key: str
    is_child: bool
    name: str
    percent: float
    years: str
    normals: str
    target: str
    state: str
    status: str
    eta: str
    home: str


@dataclass(frozen=True)
class Group:
    """The chains of one model in one run, and what they are together."""

    key: str
    name: str
    rows: tuple[ChainProgress, ...]
    homes: Mapping[str, str]

    def count(self, shown: str, *, folded: bool) -> int:
        """Return the number of :meth:`lines` without making them."""
        n = sum(shown in ("all", row.state) for row in self.rows)
        return n if len(self.rows) == 1 else n and 1 + (0 if folded else n)

    def lines(self, shown: str, *, folded: bool) -> Iterator[Line]:
        """Yield a line for the group, and one for each chain, or for those in one state.

        A group of one chain is that chain's line.
        """
        if len(self.rows) == 1:
            names = [f"{self.name} {self.rows[0].id.rpartition('/')[2]}"]
        else:
            names = short_names([row.id for row in self.rows])
            yield self._line(folded)
        for name, row in zip(names, self.rows, strict=True):
            if shown in ("all", row.state) and (len(self.rows) == 1 or not folded):
                yield _chain_line(name, row, self.homes.get(row.id, ""), len(self.rows) > 1)

    def _line(self, folded: bool) -> Line:
        together = RunProgress({row.id: row for row in self.rows})
        states, n = Counter(row.state for row in self.rows), together.counts
        return Line(
            self.key,
            False,
            f"{'▸' if folded else '▾'} {self.name}",
            100 * n["years"] / max(1, n["years_total"]),
            of_all(n["years"], n["years_total"]),
            of_all(n["writes"], n["writes_total"]),
            "",
            next(state for state in STATES if states[state]),
            ", ".join(f"{states[state]} {state}" for state in STATES if states[state]),
            _left(together.eta),
            "",
        )


def _chain_line(name: str, row: ChainProgress, home: str, is_child: bool) -> Line:
    branch, year = row.at
    return Line(
        "",
        is_child,
        name,
        100 * row.years / max(1, row.years_total),
        of_all(row.years, row.years_total),
        of_all(row.writes, row.writes_total),
        f"{branch} {year}" if year else "",
        row.state,
        f"{SIGNS[row.state]} {row.status}",
        _left(row.eta),
        home,
    )


def counts_of(found: Iterable[Group]) -> dict[str, int]:
    """Return how many chains there are, and how many in each state."""
    counts = Counter(row.state for group in found for row in group.rows)
    return {"all": counts.total(), **{state: counts[state] for state in STATES}}


def amount(n_bytes: float) -> str:
    """Return bytes as megabytes or gigabytes."""
    return f"{n_bytes / 1e9:,.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def of_all(done: int, total: int) -> str:
    """Return a count as ``done/all``."""
    return f"{done:,}/{total:,}"


def _left(seconds: float | None) -> str:
    return "" if seconds == 0 else clock(seconds)


def groups(run: WatchedRun, homes: Mapping[str, str], *, titled: bool) -> Iterator[Group]:
    """Group the chains of a run by model.

    Args:
        run: whose chains are in order of id.
        homes: what to show as the holder of a chain's tokens, by chain.
        titled: put the run's title before the model's name, where there are several runs.
    """
    rows = run.progress.chains.values()
    for model, own in groupby(rows, key=lambda row: row.id.split("/")[0]):
        name = f"{run.title}: {model}" if titled else model
        yield Group(f"{run.run_id}/{model}", name, tuple(own), homes)


@dataclass(frozen=True)
class Opening:
    """An input file that is open, who has it open, and for how many seconds."""

    worker: str
    path: str
    seconds: float

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return PurePath(self.path).name


@dataclass(frozen=True)
class View:
    """Everything that there is to see at one time, for all who look.

    Attributes:
        failures: chain and message each.
        curves: columns of throughput over time.
    """

    runs: Sequence[RunLine]
    groups: Sequence[Group]
    failures: Sequence[tuple[str, str]]
    open_files: Sequence[Opening]
    curves: Rates


@dataclass
class Choice:
    """What one reader has chosen to see.

    Attributes:
        shown: ``all``, or one of :data:`STATES`.
        folded: whether groups are folded; None while nobody chose, which folds what is many.
        exceptions: keys of the groups that are not as ``folded`` says.
        page: counted from 0.
    """

    shown: str = "all"
    folded: bool | None = None
    exceptions: set[str] = field(default_factory=set)
    page: int = 0

    def take(self, chosen: str) -> None:
        """Take what a button of the page says; what no button says is passed over.

        Args:
            chosen: ``show STATE``, ``page NUMBER``, ``fold``, ``unfold``, or ``toggle KEY``, which
                folds a group that is unfolded, and the other way round.
        """
        what, _, of = chosen.partition(" ")
        if what in ("fold", "unfold"):
            self.folded, self.page, self.exceptions = what == "fold", 0, set()
        elif what == "show" and of in ("all", *STATES):
            self.shown, self.page = of, 0
        elif what == "page" and of.isdecimal():
            self.page = int(of)
        elif what == "toggle" and len(self.exceptions) < MOST_EXCEPTIONS:
            self.exceptions ^= {of}

    def lines(self, found: Sequence[Group]) -> tuple[list[Line], int]:
        """Return the lines of the page that is chosen, and the number of all lines."""
        many = sum(len(g.rows) for g in found) > PAGE
        by_default = many if self.folded is None else self.folded
        counts = []
        for group in found:
            folded = by_default != (group.key in self.exceptions)
            counts.append((group, folded, group.count(self.shown, folded=folded)))
        total = sum(n for *_, n in counts)
        self.page = max(0, min(self.page, (total - 1) // PAGE))
        return list(self._cut(counts)), total

    def _cut(self, counts: Sequence[tuple[Group, bool, int]]) -> Iterator[Line]:
        """Make the lines of the page, and no others: there may be hundreds."""
        first, last = self.page * PAGE, (self.page + 1) * PAGE
        place = 0
        for group, folded, n in counts:
            if n and place < last and place + n > first:
                own = group.lines(self.shown, folded=folded)
                yield from islice(own, max(0, first - place), last - place)
            place += n

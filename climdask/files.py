"""The only place where input files are opened: a lock, a trace, and the audit of traces.

File tokens (tokens.py) see to it that no two tasks of a cluster want the same file at once. The
guarantee is here, and holds across clusters and runs that know nothing of each other: an advisory
lock for each input file, held while the file is open. Each open and close is traced with a
sequence number that is kept beside the lock, so the audit can order the openings of a file
without trusting the clocks of different hosts.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import socket
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import platformdirs
import psutil

from climdask.errors import BusyFile, OutputError, PoisonFile

MAX_DEATHS = 3  # of readers of one file in one run


def default_lock_dir() -> Path:
    """Return a folder of the user's, in the home folder that clusters share between hosts."""
    return Path(platformdirs.user_state_dir("climdask", appauthor=False)) / "locks"


def file_id(path: str | os.PathLike[str]) -> str:
    """Return the identity of a file: a hash of its resolved path, symbolic links followed."""
    return hashlib.sha256(str(Path(path).resolve()).encode()).hexdigest()[:20]


@cache
def _process() -> tuple[int, str]:
    return os.getpid(), uuid.uuid4().hex[:12]


def process_id() -> str:
    """Return a name for this process that no other ever has, also after a fork."""
    pid, name = _process()
    if pid != os.getpid():
        _process.cache_clear()
        pid, name = _process()
    return f"{pid}-{name}"


@cache
def _boot_id() -> str:
    """Return what tells one boot of one host from others; monotonic clocks compare within it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{socket.gethostname()}-{psutil.boot_time():.0f}"


@dataclass(frozen=True)
class FileAccess:
    """How a run opens input files.

    Attributes:
        run_id: names the run in traces.
        lock_dir: where locks are; never below an output folder.
        trace_dir: where each process appends its trace.
        timeout: seconds to wait for a file that somebody else has open.
    """

    run_id: str
    lock_dir: Path
    trace_dir: Path
    timeout: float = 600.0

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            OutputError: they cannot be made or written.
        """
        for folder, key in ((self.lock_dir, "run.lock_dir"), (self.trace_dir, "output.root")):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                probe = folder / f".probe-{process_id()}"
                probe.touch()
                probe.unlink()
            except OSError as error:
                raise OutputError(f"{key}: {folder} cannot be written ({error.strerror})") from None

    @contextmanager
    def opening(self, path: Path, *, purpose: str = "read") -> Iterator[None]:
        """Hold the right to have ``path`` open; open it inside, and close it before leaving.

        Raises:
            BusyFile: somebody else has the file open for longer than the timeout.
            PoisonFile: its readers died :data:`MAX_DEATHS` times in this run.
        """
        token = file_id(path)
        lock = filelock.FileLock(self.lock_dir / f"{token}.lock", mode=0o660)
        try:
            lock.acquire(timeout=self.timeout, poll_interval=0.05)
        except filelock.Timeout:
            raise BusyFile(
                f"{path}: still open elsewhere after {self.timeout:g} s; wait for the other run, "
                "or raise run.lock_timeout"
            ) from None
        try:
            mark = self._mark(path, token)
            opened = self._trace("open", path, token, purpose=purpose)
            try:
                yield
            finally:
                try:
                    self._trace("close", path, token, purpose=purpose, opened=opened)
                finally:
                    mark.unlink(missing_ok=True)
        finally:
            lock.release()

    def note(self, event: str, path: Path, **content: Any) -> None:
        """Append a line to the trace that is no opening, such as a skipped file."""
        self._append({"event": event, "file": str(path), **content})

    def _mark(self, path: Path, token: str) -> Path:
        """Leave a mark for this opening; marks that are there were left by dead openers."""
        deaths = list(self.lock_dir.glob(f"{token}.opened-{self.run_id}-*"))
        if len(deaths) >= MAX_DEATHS:
            raise PoisonFile(
                f"{path}: {len(deaths)} processes died while they had it open, so it is not opened "
                "again in this run; check the file (ncdump -h), or replace it"
            )
        mark = self.lock_dir / f"{token}.opened-{self.run_id}-{process_id()}-{len(deaths)}"
        mark.touch()
        return mark

    def _trace(self, event: str, path: Path, token: str, **content: Any) -> int:
        sequence = self._next(token)
        self._append(
            {
                "event": event,
                "file": str(path),
                "token": token,
                "seq": sequence,
                "locks": _lock_space(self.lock_dir),
                **content,
            }
        )
        return sequence

    def _next(self, token: str) -> int:
        """Raise the file's sequence number; called under its lock."""
        path = self.lock_dir / f"{token}.seq"
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o660)
        try:
            number = int(os.read(fd, 20) or b"0") + 1
            os.lseek(fd, 0, os.SEEK_SET)
            os.write(fd, b"%020d" % number)
        finally:
            os.close(fd)
        return number

    def _append(self, line: dict[str, Any]) -> None:
        line |= {
            "run": self.run_id,
            "host": socket.gethostname(),
            "boot": _boot_id(),
            "process": process_id(),
            "mono": time.monotonic(),
            "wall": time.time(),
        }
        name = f"{socket.gethostname()}-{process_id()}.jsonl"
        append_line(self.trace_dir / name, line)


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Append a line of JSON, in one write, so that threads of a process never mix their lines.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    line = json.dumps(content).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            if os.write(fd, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)
    except OSError as error:
        raise OutputError(
            f"output.root: {path} cannot be written ({error.strerror}); is the disk full or "
            "read-only? Free some space and run again"
        ) from error


def read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Read lines of JSON, and count the torn ones: their process died, or the disk was full."""
    found: list[dict[str, Any]] = []
    torn = 0
    for line in filter(None, path.read_bytes().split(b"\n")):
        start, whole = line.find(b"{"), None
        while whole is None and start >= 0:
            try:
                whole = json.loads(line[start:])
            except ValueError:  # what was written after a torn line is on the same line
                start = line.find(b"{", start + 1)
        torn += start != 0
        found += [] if whole is None else [whole]
    return found, torn


@cache
def _lock_space(lock_dir: Path) -> str:
    """Return the name of a lock folder: sequence numbers compare only within one."""
    path = lock_dir / "space"
    try:
        with path.open("x") as file:
            file.write(uuid.uuid4().hex)
    except FileExistsError:
        pass
    for _ in range(50):
        if name := path.read_text():
            return name
        time.sleep(0.02)  # another process has made it and not yet written it
    return "nameless"


# ---------------------------------------------------------------- the audit


@dataclass(frozen=True)
class Opening:
    """One opening of one file, from open to close; ``closed`` is None if its process died."""

    opened: Mapping[str, Any]
    closed: Mapping[str, Any] | None


@dataclass(frozen=True)
class Audit:
    """What the traces prove.

    Attributes:
        opens: openings to read; ``probes`` are those that looked at a header only.
        files: different files that were opened to read.
        most: openings of the file that was opened most often, to read.
        overlaps: openings of one file that overlap: file and what overlapped.
        unproven: openings that nothing orders.
        died: openings that ended with their process.
        torn: unfinished lines of traces.
        skipped: files left out under ``on_bad_file: skip``, with the reason.
        incomplete: files whose year lacks days, with how many.
    """

    opens: int = 0
    probes: int = 0
    files: int = 0
    most: int = 0
    processes: int = 0
    overlaps: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()
    died: int = 0
    torn: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    incomplete: tuple[tuple[str, str], ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the traces prove that no file was ever open twice at once."""
        return not self.overlaps and not self.unproven

    def __str__(self) -> str:
        verdict = "no file was ever open twice at once" if self.holds else "NOT PROVEN"
        text = (
            f"{self.opens} opens of {self.files} files by {self.processes} processes, at most "
            f"{self.most} of one file; {self.probes} probes; {len(self.overlaps)} overlaps, "
            f"{len(self.unproven)} unproven: {verdict}"
        )
        return text + (f" ({self.died} closed by the death of their process)" if self.died else "")


def audit(trace_dirs: Iterable[Path]) -> Audit:
    """Read traces, of several runs if need be, and check that no two openings overlap."""
    events: list[dict[str, Any]] = []
    torn = 0
    for path in sorted({p for folder in trace_dirs for p in folder.glob("*.jsonl")}):
        found, more = read_lines(path)
        events, torn = events + found, torn + more
    openings = _pair(events)
    overlaps: list[str] = []
    unproven: list[str] = []
    last_seen = _last_seen(events)
    for own in openings.values():
        for earlier, later in itertools.pairwise(own):
            verdict = _compare(earlier, later, last_seen)
            if verdict:
                (overlaps if verdict == "overlap" else unproven).append(
                    _tell(earlier, later, verdict)
                )
    reads = [[o for o in own if o.opened["purpose"] == "read"] for own in openings.values()]
    return Audit(
        opens=sum(map(len, reads)),
        probes=sum(map(len, openings.values())) - sum(map(len, reads)),
        files=sum(map(bool, reads)),
        most=max(map(len, reads), default=0),
        processes=len({e["process"] for e in events}),
        overlaps=tuple(overlaps),
        unproven=tuple(unproven),
        died=sum(o.closed is None for own in openings.values() for o in own),
        torn=torn,
        skipped=_notes(events, "skip"),
        incomplete=_notes(events, "incomplete"),
    )


def _notes(events: Sequence[Mapping[str, Any]], kind: str) -> tuple[tuple[str, str], ...]:
    """Return file and reason of the notes of a kind, each once."""
    return tuple(dict.fromkeys((e["file"], e["reason"]) for e in events if e["event"] == kind))


def _pair(events: Sequence[Mapping[str, Any]]) -> dict[str, list[Opening]]:
    """Pair opens with closes, by file, in order of sequence number."""
    key = ("token", "locks", "process")
    closes = {(*(e[k] for k in key), e["opened"]): e for e in events if e["event"] == "close"}
    by_file: dict[str, list[Opening]] = defaultdict(list)
    for event in events:
        if event["event"] == "open":
            closed = closes.get((*(event[k] for k in key), event["seq"]))
            by_file[event["token"]].append(Opening(event, closed))
    for own in by_file.values():
        own.sort(key=lambda o: (o.opened["locks"], o.opened["seq"], o.opened["mono"]))
        if len({o.opened["locks"] for o in own}) > 1 and len({o.opened["boot"] for o in own}) == 1:
            own.sort(key=lambda o: o.opened["mono"])
    return by_file


def _last_seen(events: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return when (monotonic) each process wrote its last line."""
    seen: dict[str, float] = {}
    for event in events:
        seen[event["process"]] = max(seen.get(event["process"], 0.0), event["mono"])
    return seen


def _compare(earlier: Opening, later: Opening, last_seen: Mapping[str, float]) -> str:
    """Return ``overlap`` or ``unproven``, or nothing if ``earlier`` ended before ``later``.

    1. On one boot of one host the monotonic clock decides, whatever the locks say.
    2. An opening without a close ended with its process; if the process was seen alive after the
       later opening, the two overlap.
    3. Between hosts the sequence numbers decide; they compare within one lock folder only, and
       prove something only if no two are alike.
    """
    one, two = earlier.opened, later.opened
    same_clock = one["boot"] == two["boot"]
    comparable = one["locks"] == two["locks"]
    if comparable and one["seq"] == two["seq"]:
        return "unproven"
    if earlier.closed is None:
        if same_clock:
            return "overlap" if last_seen[one["process"]] > two["mono"] else ""
        alive_after = last_seen[one["process"]] > one["mono"]
        return "unproven" if alive_after or not comparable else ""
    if same_clock and earlier.closed["mono"] > two["mono"]:
        return "overlap"
    if comparable:
        return "" if earlier.closed["seq"] < two["seq"] else "overlap"
    return "" if same_clock else "unproven"


def _tell(earlier: Opening, later: Opening, verdict: str) -> str:
    one, two = earlier.opened, later.opened
    return (
        f"{one['file']}: {verdict}: opened by {one['host']} {one['process']} "
        f"(number {one['seq']}) and by {two['host']} {two['process']} (number {two['seq']})"
    )


@dataclass
class LockCheck:
    """Whether a lock taken here is refused elsewhere: a probe for mounts without shared locks."""

    lock_dir: Path
    name: str = field(default_factory=lambda: f"check-{uuid.uuid4().hex[:8]}.lock")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock."""
        path = self.lock_dir / self.name
        with filelock.FileLock(path):
            yield
        path.unlink(missing_ok=True)

    def is_refused(self) -> bool:
        """Try to take the lock, from another process."""
        try:
            with filelock.FileLock(self.lock_dir / self.name, timeout=0):
                return False
        except filelock.Timeout:
            return True

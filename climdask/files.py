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
from contextlib import contextmanager, suppress
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


_process_names: dict[int, str] = {}


def process_id() -> str:
    """Return a name for this process that no other ever has, also after a fork."""
    pid = os.getpid()
    # setdefault is atomic: threads that start together agree on one name.
    return f"{pid}-{_process_names.setdefault(pid, uuid.uuid4().hex[:12])}"


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
                probe = folder / f".probe-{uuid.uuid4().hex[:12]}"  # two threads may be here
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
            try:
                opened = self._trace("open", path, token, purpose=purpose)
                try:
                    yield
                finally:
                    self._trace("close", path, token, purpose=purpose, opened=opened)
            finally:
                mark.unlink(missing_ok=True)
        finally:
            lock.release()

    def note(self, event: str, path: Path, **content: Any) -> None:
        """Append a line to the trace that is no opening, such as a skipped file."""
        self._append({"event": event, "file": str(path), **content})

    def _mark(self, path: Path, token: str) -> Path:
        """Leave a mark for this opening; marks that are there were left by dead openers.

        The marks have fixed names, because listing a lock folder of many files takes long.
        """
        for deaths in range(MAX_DEATHS):
            mark = self.lock_dir / f"{token}.opened-{self.run_id}-{deaths}"
            with suppress(FileExistsError):
                os.close(_open_shared(mark, os.O_WRONLY | os.O_EXCL))
                return mark
        raise PoisonFile(
            f"{path}: {MAX_DEATHS} processes died while they had it open, so it is not opened "
            "again in this run; check the file (ncdump -h), or replace it"
        )

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
        fd = _open_shared(self.lock_dir / f"{token}.seq", os.O_RDWR)
        try:
            text = os.read(fd, 20)
            number = int(text) + 1 if text.isdigit() else 1  # new, or torn when a host crashed
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


def _open_shared(path: Path, flags: int) -> int:
    """Open a file of the lock folder, made if need be, for all users whom the folder is for."""
    fd = os.open(path, flags | os.O_CREAT, 0o660)
    if hasattr(os, "fchmod"):
        with suppress(PermissionError):  # it is another user's, who has done it
            os.fchmod(fd, 0o660)  # whatever the umask says
    return fd


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
    with (
        suppress(FileExistsError),
        os.fdopen(_open_shared(path, os.O_WRONLY | os.O_EXCL), "w") as file,
    ):
        file.write(uuid.uuid4().hex)
    for _ in range(50):
        if name := path.read_text():
            return name
        time.sleep(0.02)  # another process has made it and not yet written it
    return f"nameless-{uuid.uuid4().hex}"  # its maker died; nothing compares


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
        for earlier, later in _to_compare(own):
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
    """Pair opens with closes, by file, in order of lock folder and sequence number."""
    key = ("token", "locks", "process")
    closes = {(*(e[k] for k in key), e["opened"]): e for e in events if e["event"] == "close"}
    by_file: dict[str, list[Opening]] = defaultdict(list)
    for event in events:
        if event["event"] == "open":
            closed = closes.get((*(event[k] for k in key), event["seq"]))
            by_file[event["token"]].append(Opening(event, closed))
    for own in by_file.values():
        own.sort(key=lambda o: (o.opened["locks"], o.opened["seq"], o.opened["mono"]))
    return by_file


def _to_compare(own: Sequence[Opening]) -> Iterator[tuple[Opening, Opening]]:
    """Yield the openings of one file that must not overlap, the earlier one first.

    Within a lock folder each with the next one by number: if all of those follow each other, all
    do. Between lock folders nothing but a clock orders them, so each with every other.
    """
    for (_, one), (_, two) in itertools.combinations_with_replacement(
        [(k, list(g)) for k, g in itertools.groupby(own, key=lambda o: o.opened["locks"])], 2
    ):
        if one is two:
            yield from itertools.pairwise(one)
        else:
            for pair in itertools.product(one, two):
                earlier, later = sorted(pair, key=lambda o: float(o.opened["mono"]))
                yield earlier, later


def _last_seen(events: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return when (monotonic) each process wrote its last line."""
    seen: dict[str, float] = {}
    for event in events:
        seen[event["process"]] = max(seen.get(event["process"], 0.0), event["mono"])
    return seen


def _compare(earlier: Opening, later: Opening, last_seen: Mapping[str, float]) -> str:
    """Return ``overlap`` or ``unproven``, or nothing if ``earlier`` ended before ``later``.

    1. On one boot of one host the monotonic clock tells overlaps, whatever the locks say. An
       opening without a close ended with its process, so at the earliest when the process wrote
       its last line.
    2. Between lock folders only that clock can tell that two do not overlap, and only if the
       earlier one was closed: when a process died is not known.
    3. Within a lock folder the later opener had the lock, so a dead one had ended; one that was
       seen alive, on another host, may not have.
    4. Otherwise the sequence numbers decide; they prove something only if no two are alike.
    """
    pair = earlier, later
    one, two = (o.opened for o in pair)
    same_clock = one["boot"] == two["boot"]
    comparable = one["locks"] == two["locks"]
    ends = [o.closed["mono"] if o.closed else last_seen[o.opened["process"]] for o in pair]
    if same_clock and one["mono"] < ends[1] and two["mono"] < ends[0]:
        return "overlap"
    if not comparable:
        return "" if same_clock and earlier.closed else "unproven"
    if earlier.closed is None:
        alive_after = not same_clock and last_seen[one["process"]] > one["mono"]
        return "unproven" if alive_after or one["seq"] == two["seq"] else ""
    if one["seq"] == two["seq"] or earlier.closed["seq"] == two["seq"]:
        return "unproven"
    return "" if earlier.closed["seq"] < two["seq"] else "overlap"


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

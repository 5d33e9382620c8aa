"""The only place where input files are opened: under a lock, and traced.

File tokens (tokens.py) see to it that no two tasks of a cluster want the same file at once. The
guarantee is here, and holds across clusters and runs that know nothing of each other: an advisory
lock for each input file, held while the file is open. Each open and close is traced with a
sequence number that is kept beside the lock, so the audit can order the openings of a file
without trusting the clocks of different hosts.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import platformdirs
import psutil

from climdask.errors import BusyFile, OutputError, PoisonFile
from climdask.inputs.sharedfiles import GUARDED, file_lock, open_shared, read_regular
from climdask.inputs.watchdog import bounded
from climdask.plaintext import quantity

MAX_DEATHS = 3  # of readers of one file in one run

# By run: who receives each line that this process adds to the run's trace.
listeners: dict[str, Callable[[Mapping[str, Any]], object]] = {}


@dataclass
class Reading:
    """What is done with a file while it is open; ``decoded`` are bytes of values."""

    decoded: int = 0
    alive: Callable[[], None] = lambda: None

    def add(self, n_bytes: int) -> None:
        """Count bytes that were decoded; the file is not stuck."""
        self.decoded += n_bytes
        self.alive()


def default_lock_dir() -> Path:
    """Return a folder of the user's, in the home folder that clusters share between hosts.

    Raises:
        OutputError: the account has no home folder.
    """
    try:
        return Path(platformdirs.user_state_dir("climdask", appauthor=False)).absolute() / "locks"
    except (RuntimeError, KeyError, OSError):
        raise OutputError(
            "run.lock_dir: not given, and this account has no home folder for file locks; "
            "expected a folder that can be written: set run.lock_dir, or the variable HOME"
        ) from None


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
def boot_id() -> str:
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
        open_timeout: seconds that a file may be open without values; then this process ends.
    """

    run_id: str
    lock_dir: Path
    trace_dir: Path
    timeout: float = 600.0
    open_timeout: float = 600.0

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
                raise OutputError(
                    f"{key}: {folder} cannot be written ({error.strerror}); expected a folder "
                    f"where this account may make files: give another one with {key}"
                ) from None

    def forget_dead(self) -> None:
        """Remove the marks of dead openers of other runs.

        A mark is there only while the file's lock is held, so what nobody holds was left behind.
        """
        for mark in self.lock_dir.glob("*.opened-*"):
            token, _, of = mark.name.partition(".opened-")
            if of.rpartition("-")[0] == self.run_id:
                continue
            with (
                suppress(OutputError, OSError),  # it is open now, or is not ours to remove
                file_lock(self.lock_dir / f"{token}.lock", timeout=0),
            ):
                mark.unlink(missing_ok=True)

    @contextmanager
    def opening(self, path: Path, *, purpose: str = "read") -> Iterator[Reading]:
        """Hold the right to have ``path`` open; open it inside, and close it before leaving.

        Yields:
            Where to note what was decoded, for the trace.

        Raises:
            BusyFile: somebody else has the file open for longer than the timeout.
            PoisonFile: its readers died :data:`MAX_DEATHS` times in this run.
        """
        token = file_id(path)
        lock = file_lock(self.lock_dir / f"{token}.lock")
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
                reading = Reading()
                try:
                    with bounded(path, self.open_timeout) as reading.alive:
                        yield reading
                finally:
                    more = {"opened": opened, "bytes": reading.decoded}
                    self._trace("close", path, token, purpose=purpose, **more)
            finally:
                mark.unlink(missing_ok=True)
        finally:
            lock.release()

    def note(self, event: str, path: Path, **content: Any) -> None:
        """Append a line to the trace that is no opening, such as a skipped file."""
        self._append({"event": event, "file": str(path), **content})

    @contextmanager
    def working(self, stage: str, chain: str, branch: str, year: int) -> Iterator[dict[str, Any]]:
        """Trace when a window or write began and how long it took; for pictures, no proof.

        The line is short, because a large run has a hundred thousand of them.

        Yields:
            What the line says besides, such as bytes.
        """
        began, wall = time.monotonic(), time.time()
        more: dict[str, Any] = {}
        yield more
        content = {
            "event": stage,
            "chain": chain,
            "branch": branch,
            "year": year,
            "process": process_id(),
            "mono": time.monotonic(),
            "wall": round(wall, 4),
            "seconds": round(time.monotonic() - began, 4),
            **more,
        }
        with suppress(OutputError):  # a full disk is reported by what needs it
            append_line(self._trace_file(), content)
        self._tell(content)

    def _mark(self, path: Path, token: str) -> Path:
        """Leave a mark for this opening; marks that are there were left by dead openers.

        The marks have fixed names, because listing a lock folder of many files takes long.
        """
        for deaths in range(MAX_DEATHS):
            mark = self.lock_dir / f"{token}.opened-{self.run_id}-{deaths}"
            with suppress(FileExistsError):
                os.close(open_shared(mark, os.O_WRONLY | os.O_EXCL))
                return mark
        raise PoisonFile(
            f"{path}: {quantity(MAX_DEATHS, 'process')} died while they had it open, so it is not "
            "opened again in this run; check the file (ncdump -h), or replace it; raise "
            f"run.open_timeout if to read it may take longer than {self.open_timeout:g} s"
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
        fd = open_shared(self.lock_dir / f"{token}.seq", os.O_RDWR)
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
            "boot": boot_id(),
            "process": process_id(),
            "mono": time.monotonic(),
            "wall": time.time(),
        }
        append_line(self._trace_file(), line)
        self._tell(line)

    def _tell(self, line: dict[str, Any]) -> None:
        if listener := listeners.get(self.run_id):
            listener(line)

    def _trace_file(self) -> Path:
        return self.trace_dir / f"{socket.gethostname()}-{process_id()}.jsonl"


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Append a line of JSON, in one write, so that threads of a process never mix their lines.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    line = json.dumps(content).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | GUARDED, 0o644)
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
    try:
        content = read_regular(path)
    except OSError:  # a folder or a pipe in its place tells nothing
        return [], 1
    for line in filter(None, content.split(b"\n")):
        start, whole = line.find(b"{"), None
        while whole is None and start >= 0:
            try:
                whole = json.loads(line[start:])
            except (
                ValueError,
                RecursionError,
            ):  # what was written after a torn line is on the same line
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
        os.fdopen(open_shared(path, os.O_WRONLY | os.O_EXCL), "w") as file,
    ):
        file.write(uuid.uuid4().hex)
    for _ in range(50):
        with suppress(OSError, UnicodeDecodeError):
            if name := read_regular(path).decode():
                return name
        time.sleep(0.02)  # another process has made it and not yet written it
    return f"nameless-{uuid.uuid4().hex}"  # its maker died; nothing compares


@dataclass
class LockCheck:
    """Whether a lock taken here is refused elsewhere: a probe for mounts without shared locks."""

    lock_dir: Path
    name: str = field(default_factory=lambda: f"check-{uuid.uuid4().hex[:8]}.lock")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock."""
        path = self.lock_dir / self.name
        with file_lock(path):
            yield
        path.unlink(missing_ok=True)

    def is_refused(self) -> bool:
        """Try to take the lock, from another process."""
        try:
            with file_lock(self.lock_dir / self.name, timeout=0):
                return False
        except filelock.Timeout:
            return True

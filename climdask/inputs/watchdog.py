"""A bound for open files: a damaged one can make the HDF5 library loop for ever.

Such a loop holds Python's global lock, so no Python code of this process can end it. The timer of
faulthandler is a thread in C, which needs no lock: it ends the process. What happened is reported
by a small process beside it, unless this one is a worker, whose driver tells.
"""

from __future__ import annotations

import atexit
import faulthandler
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from climdask.plaintext import printable

_TELLS = 1.0  # seconds between the message and the end
_APART = 0.05  # of a file's time: it is not given anew before that has passed

# Reads lines [seconds, message] or null; prints the message unless another line comes before.
_TELLER = """
import json, select, sys
wait = message = None
while True:
    if not select.select([0], [], [], wait)[0]:
        print(message, file=sys.stderr, flush=True)
        break
    line = sys.stdin.buffer.raw.readline()
    if not line:
        break
    wait, message = json.loads(line) or (None, None)
"""


class _Watchdog:
    """The files that this process has open, and the timer for the first that is overdue."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.numbers = itertools.count()
        self.open: dict[int, tuple[float, float, Path]] = {}
        self.nowhere = os.open(os.devnull, os.O_WRONLY)
        self.teller = _teller() if multiprocessing.parent_process() is None else None
        if self.teller:
            atexit.register(_close, self.teller)

    def watch(self, number: int, path: Path, seconds: float) -> None:
        """Give a file its time, or give it anew."""
        deadline = time.monotonic() + seconds
        with self.lock:
            known = self.open.get(number)
            if known and deadline - known[0] < _APART * seconds:
                return  # a timer is a thread: too dear for each piece of a file
            self.open[number] = (deadline, seconds, path)
            self._arm()

    def forget(self, number: int) -> None:
        """Note that a file is closed."""
        with self.lock:
            self.open.pop(number, None)
            self._arm()

    def _arm(self) -> None:
        if not self.open:
            faulthandler.cancel_dump_traceback_later()
            self._tell(None)
            return
        deadline, seconds, path = min(self.open.values())
        left = max(0.001, deadline - time.monotonic())
        later = left + (_TELLS if self.teller else 0)
        faulthandler.dump_traceback_later(later, exit=True, file=self.nowhere)
        self._tell([left, printable(overdue(path, seconds))])

    def _tell(self, content: list[object] | None) -> None:
        if self.teller and self.teller.stdin:
            with suppress(OSError, ValueError):  # it has gone; the bound holds without it
                self.teller.stdin.write(json.dumps(content).encode() + b"\n")


def _teller() -> subprocess.Popen[bytes] | None:
    """Start the process that tells, ignoring signals of the terminal; it ends with this one."""
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _TELLER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
    except OSError:
        return None


def _close(teller: subprocess.Popen[bytes]) -> None:
    """Let the process that tells end before this one, which else would be warned of it."""
    if teller.stdin:
        teller.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        teller.wait(5)


@cache
def _of_process(pid: int) -> _Watchdog:
    del pid
    return _Watchdog()


def overdue(path: Path, seconds: float) -> str:
    """Say that a file has not been read in time."""
    return (
        f"climdask: error: {path}: it was open for {seconds:g} s and no values came; expected a "
        "file that can be read in that time: check it (ncdump -h) and replace it, or raise "
        "run.open_timeout if the disk is slow"
    )


@contextmanager
def bounded(path: Path, seconds: float) -> Iterator[Callable[[], None]]:
    """End this process when a file stays open for too long.

    Yields:
        What gives the file its whole time again; called when values have come.
    """
    dog = _of_process(os.getpid())
    number = next(dog.numbers)
    dog.watch(number, path, seconds)
    try:
        yield lambda: dog.watch(number, path, seconds)
    finally:
        dog.forget(number)

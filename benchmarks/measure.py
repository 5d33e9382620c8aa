"""Running a command and measuring it: wall time, CPU time and peak memory of all its processes."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent  # where commands find this package
PERIOD = 0.25  # seconds between two looks at the memory


@dataclass(frozen=True)
class Measured:
    """What a command took.

    Attributes:
        wall: seconds from start to end.
        user, system: CPU seconds of the process and all that it waited for.
        peak_bytes: largest sum of resident sizes of the process tree, seen every 0.25 s; pages
            that processes share count for each.
        code: exit code.
    """

    wall: float
    user: float
    system: float
    peak_bytes: int
    code: int


def command_environment() -> dict[str, str]:
    """Return the environment of a command that finds this package."""
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def measure(command: Sequence[str], log: Path) -> Measured:
    """Run a command to its end; what it prints goes to ``log``."""
    environment = command_environment()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with log.open("wb") as stream:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env=environment
        )
        memory = _Memory(process.pid)
        try:
            code = process.wait()
            wall = time.perf_counter() - began
        finally:
            process.kill()
            memory.stop()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return Measured(wall, user, system, memory.peak, code)


class _Memory:
    """Looks at the memory of a process tree now and then, in a thread of its own."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.is_set():
            with suppress(psutil.Error):
                root = psutil.Process(self._pid)
                self.peak = max(self.peak, sum(map(_resident, [root, *root.children(True)])))
            self._ended.wait(PERIOD)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has ended meanwhile
        return 0

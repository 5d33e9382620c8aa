"""Faults that tests put into workers; shipped to them by value."""

from __future__ import annotations

import errno
import random
import sys
import time
from typing import Any

import cloudpickle
from distributed import WorkerPlugin

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class FlakyReads(WorkerPlugin):  # type: ignore[misc]
    """Make reads slow, and let a share of them fail for a passing reason."""

    name = "flaky-reads"

    def __init__(self, share: float, seconds: float) -> None:
        self.share, self.seconds = share, seconds

    def setup(self, worker: Any) -> None:
        from climdask.execution import tasks

        real = getattr(tasks.read_years, "real", tasks.read_years)
        share, seconds = self.share, self.seconds

        def flaky(*args: Any, **more: Any) -> Any:
            time.sleep(seconds)
            if random.random() < share:
                raise OSError(errno.EIO, "Input/output error, made by the test")
            return real(*args, **more)

        flaky.real = real  # type: ignore[attr-defined]
        tasks.read_years = flaky


class LoopReads(WorkerPlugin):  # type: ignore[misc]
    """Never come back from a certain file, in C, and with Python's lock."""

    name = "loop-reads"

    def __init__(self, poison: str) -> None:
        self.poison = poison

    def setup(self, worker: Any) -> None:
        import re

        from climdask.execution import tasks

        real, poison = tasks.read_years, self.poison

        def looping(path: Any, *args: Any, **more: Any) -> Any:
            if path.name == poison:
                re.match(r"(a+)+b", "a" * 60)
            return real(path, *args, **more)

        tasks.read_years = looping


class PoisonReads(WorkerPlugin):  # type: ignore[misc]
    """Kill the process that reads a certain file, while it has the file open."""

    name = "poison-reads"

    def __init__(self, poison: str) -> None:
        self.poison = poison

    def setup(self, worker: Any) -> None:
        import os
        import signal

        from climdask.execution import tasks

        real, poison = tasks.read_years, self.poison

        def deadly(path: Any, *args: Any, **more: Any) -> Any:
            if path.name == poison:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(path, *args, **more)

        tasks.read_years = deadly

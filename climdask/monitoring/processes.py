"""Which process this is, so that others can tell whether it lives; and which batch job it is in."""

from __future__ import annotations

import math
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from climdask.inputs.access import boot_id

# Start times are given in ticks since boot, and the time of boot moves a little with the clock.
SAME_START = 5.0  # seconds


# As batch systems name jobs: 4242, 4242.server, 4242[7], 4242.0; never an option or a word.
_JOB_ID = re.compile(r"[0-9][0-9A-Za-z_.\-\[\]]{0,99}")


def is_job_id(text: object) -> bool:
    """Tell whether this can be the id of a job, and nothing else that a command would obey."""
    return isinstance(text, str) and _JOB_ID.fullmatch(text) is not None


@dataclass(frozen=True)
class Job:
    """A job of a batch system.

    Attributes:
        system: the ``kind`` of its profile, such as slurm.
        batch: whether it runs a script; False for an allocation in which a person works.
    """

    system: str
    id: str
    batch: bool


@dataclass(frozen=True)
class Process:
    """A process, distinct from all others that ever had its number.

    Attributes:
        place: the boot of the host and the namespace of process numbers.
        started: seconds since 1970, by the clock of its host.
    """

    host: str
    place: str
    pid: int
    started: float

    @classmethod
    def own(cls) -> Process:
        """Return this process."""
        return cls(socket.gethostname(), _place(), os.getpid(), psutil.Process().create_time())

    @classmethod
    def restored(cls, content: Mapping[str, Any]) -> Process:
        """Return what :attr:`content` holds.

        Raises:
            KeyError, TypeError, ValueError: it is not what a run writes.
        """
        made = cls(content["host"], content["place"], content["pid"], content["started"])
        if type(made.pid) is not int or made.pid <= 1:
            raise ValueError(f"process number {made.pid!r}, expected a whole number above 1")
        if type(made.started) not in (int, float) or not math.isfinite(made.started):
            raise ValueError(f"start time {made.started!r}, expected seconds since 1970")
        if not isinstance(made.host, str) or not isinstance(made.place, str):
            raise ValueError("the host of the process is no text")
        return made

    @property
    def content(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)

    @property
    def is_here(self) -> bool:
        """Whether its number means something in this process."""
        return self.place == _place()

    @property
    def is_alive(self) -> bool:
        """Whether it lives; only where :attr:`is_here`."""
        return self._found() is not None

    def terminate(self) -> bool:
        """Ask it to end, if it still lives and can be a run of this user; tell whether it could.

        The number comes from a file: it must be a Python process that this user started.
        """
        found = self._found()
        with suppress(psutil.Error):
            if found is not None and _may_be_a_run(found):
                found.terminate()
                return True
        return False

    def _found(self) -> psutil.Process | None:
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.started) < SAME_START
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except (psutil.Error, OverflowError):
            return None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _may_be_a_run(found: psutil.Process) -> bool:
    if hasattr(os, "getuid") and found.uids().real != os.getuid():
        return False
    words = [found.name(), *found.cmdline()[:3]]
    return any("python" in word or "climdask" in word for word in map(str.lower, words))


def _place() -> str:
    """Return what tells one boot of one host, and one container in it, from others."""
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        namespace = "all"
    return f"{socket.gethostname()} {boot_id()} {namespace}"

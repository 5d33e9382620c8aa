"""Which process this is, so that others can tell whether it lives; and which batch job it is in."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from climdask.files import boot_id

# Start times are told in ticks since boot, and the time of boot moves a little with the clock.
SAME_START = 5.0  # seconds

# By batch system: the variable that names the job. Slurm's is first: some sites set PBS's as well.
_JOB_VARIABLES = {
    "slurm": "SLURM_JOB_ID",
    "pbs": "PBS_JOBID",
    "lsf": "LSB_JOBID",
    "oar": "OAR_JOB_ID",
    "sge": "JOB_ID",
}
# What shows that a person sits in the job, whose allocation it is.
_INTERACTIVE = {"PBS_ENVIRONMENT": "PBS_INTERACTIVE", "LSB_INTERACTIVE": "Y"}


@dataclass(frozen=True)
class Job:
    """A job of a batch system.

    Attributes:
        system: as the ``kind`` of a profile: slurm, pbs, lsf, sge, oar or htcondor.
        batch: whether it runs a script; False for an allocation in which a person works.
    """

    system: str
    id: str
    batch: bool


def own_job(environ: Mapping[str, str] = os.environ) -> Job | None:
    """Return the batch job that this process is in."""
    for system, variable in _JOB_VARIABLES.items():
        job = environ.get(variable, "")
        if job[:1].isdigit():
            return Job(system, job, _is_batch(system, environ))
    return None


def _is_batch(system: str, environ: Mapping[str, str]) -> bool:
    if system in ("slurm", "sge"):
        return environ.get("ENVIRONMENT") == "BATCH"
    return not any(environ.get(name) == value for name, value in _INTERACTIVE.items())


@dataclass(frozen=True)
class Process:
    """A process, told from all others that ever had its number.

    Attributes:
        place: the boot of the host and the namespace of process numbers.
        started: seconds since 1970, as its host told it.
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
        """Return what :attr:`content` told."""
        return cls(content["host"], content["place"], content["pid"], content["started"])

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
        """Ask it to end, if it still lives; tell whether it could be asked."""
        found = self._found()
        with suppress(psutil.Error):
            if found is not None:
                found.terminate()
                return True
        return False

    def _found(self) -> psutil.Process | None:
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.started) < SAME_START
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _place() -> str:
    """Return what tells one boot of one host, and one container in it, from others."""
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        namespace = "all"
    return f"{socket.gethostname()} {boot_id()} {namespace}"


def wait_for_end(process: Process, seconds: float) -> bool:
    """Wait until a process of this host has ended; tell whether it has."""
    until = time.monotonic() + seconds
    while process.is_alive:
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True

"""The status of a run: a small file that the run writes, and what others conclude from it.

The file is all that is needed to watch a run: from any host that sees the output folder, without
the run's scheduler. A run that was killed leaves its last words; whether it lives follows from its
process on the same host, and elsewhere from how long ago it wrote, by the clock of the filesystem.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from climdask.errors import EXIT_DONE, EXIT_FAILED, OutputError
from climdask.inputs.sharedfiles import read_regular
from climdask.monitoring.processes import Job, Process, is_job_id
from climdask.monitoring.progress import RunProgress
from climdask.outputs.folder import OutputFolder

BEAT = 2.0  # seconds between two beats of a run
# A run of another host that is silent for so long is dead: network filesystems may show a file
# with a delay of up to a minute.
SILENCE = 90.0

ENDED = ("done", "failed", "interrupted")
_STATES = ("starting", "running", "stopping", *ENDED)

# What reading the JSON of a file raises that no run has written.
_UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError,
    RecursionError,
)  # fmt: skip


@dataclass(frozen=True)
class RunStatus:
    """What a run says of itself.

    Attributes:
        run: its id.
        state: ``starting``, ``running``, ``stopping``, ``done``, ``failed`` or ``interrupted``.
        message: why it failed or was interrupted.
        process: the driver.
        job: the batch job that the driver is in.
        cluster: kind of the cluster, as in its profile; ``serial`` or ``client`` without one.
        progress: counts, jobs of the workers, addresses.
    """

    run: str
    state: str
    message: str
    process: Process
    job: Job | None
    cluster: str
    progress: RunProgress

    @property
    def content(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "run": self.run,
            "state": self.state,
            "message": self.message,
            "cluster": self.cluster,
            "job": asdict(self.job) if self.job else None,
            "process": self.process.content,
            "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **self.progress.content,
        }

    @classmethod
    def restored(cls, content: Mapping[str, Any]) -> RunStatus:
        """Return what :attr:`content` holds.

        Raises:
            AttributeError, IndexError, KeyError, TypeError, ValueError: no run has written it.
        """
        job = Job(**content["job"]) if content["job"] else None
        facts = {key: content[key] for key in ("run", "state", "message", "cluster")}
        if (
            not all(isinstance(text, str) for text in facts.values())
            or facts["state"] not in _STATES
        ):
            raise ValueError(f"run, state, message and cluster are {facts}, expected text")
        jobs = content["jobs"]
        if not all(map(is_job_id, [*jobs, *([job.id] if job else [])])):
            raise ValueError(f"ids of jobs are {[*jobs]}, expected such as 4242")
        if not all(isinstance(state, str) for state in jobs.values()):
            raise ValueError(f"states of jobs are {jobs}, expected text")
        process, progress = Process.restored(content["process"]), RunProgress.restored(content)
        if facts["state"] in ENDED:
            progress.stop()
        return cls(**facts, process=process, job=job, progress=progress)


@dataclass(frozen=True)
class Verdict:
    """What became of a run.

    Attributes:
        state: as the run says, or ``dead``.
        age: seconds since the last beat.
    """

    status: RunStatus
    state: str
    age: float

    @property
    def is_alive(self) -> bool:
        """Whether the run goes on."""
        return self.state not in (*ENDED, "dead")

    @property
    def exit_code(self) -> int:
        """0 if it is done or goes on, 1 otherwise."""
        return EXIT_DONE if self.is_alive or self.state == "done" else EXIT_FAILED

    @property
    def content(self) -> dict[str, Any]:
        """All of it, for JSON."""
        facts = {"state": self.state, "alive": self.is_alive, "age": round(self.age, 1)}
        return self.status.content | facts

    @property
    def headline(self) -> str:
        """What to tell first."""
        status = self.status
        where = str(status.process) + (f", {status.job.system} job {status.job.id}"
                                       if status.job else "")  # fmt: skip
        if self.is_alive:
            return f"run {status.run} is {self.state}: {where}; last beat {self.age:.0f} s ago"
        if self.state != "dead":
            return f"run {status.run}: {self.state}" + (
                f" ({status.message})" if status.message else ""
            )
        why = "is gone" if status.process.is_here else f"has been silent for {self.age:.0f} s"
        return (
            f"run {status.run} is dead: {where} {why}; it was {status.state}. "
            "Run it again to go on from there"
        )


def latest_run(folder: OutputFolder) -> str:
    """Return the id of the run that wrote last.

    Raises:
        OutputError: no run left a status there.
    """
    found = sorted(folder.statuses(), key=lambda p: p.lstat().st_mtime)
    if not found:
        raise OutputError(
            f"{folder.root}: no run is or was here; expected the output folder of a run"
        )
    return found[-1].parent.name


def read_status(folder: OutputFolder, run_id: str) -> RunStatus:
    """Read the status of a run.

    Raises:
        OutputError: it cannot be read.
    """
    path = folder.status(run_id)
    for last in (False, False, True):
        try:
            status = RunStatus.restored(json.loads(read_regular(path)))
            if status.run != run_id:
                raise ValueError(f"it is the status of run {status.run}, expected {run_id}")
            # A run of version 0.1 wrote it here.
            status.progress.dashboard = status.progress.dashboard or read_address(folder, run_id)
            return status
        except _UNREADABLE as error:
            if last or not isinstance(error, OSError):
                raise OutputError(
                    f"{path}: cannot be read as the status of a run ({_reason(error)}); delete it "
                    "if no run is at work here, and run again"
                ) from None
            time.sleep(0.2)  # another host has just replaced it
    raise AssertionError("unreachable")


def read_address(folder: OutputFolder, run_id: str) -> str:
    """Return where the dashboard of a run is; empty if it has none, or this user may not know."""
    try:
        return read_regular(folder.address(run_id)).decode()
    except (OSError, UnicodeDecodeError):
        return ""


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


def judge(folder: OutputFolder, run_id: str) -> Verdict:
    """Tell what became of a run; never waits for it.

    Raises:
        OutputError: its status cannot be read.
    """
    status = read_status(folder, run_id)
    age = silence(folder.status(run_id))
    if status.state not in ENDED:
        process = status.process
        if not process.is_alive if process.is_here else age > SILENCE:  # or it has just ended
            status = read_status(folder, run_id)
            if status.state not in ENDED:
                status.progress.stop()
                return Verdict(status, "dead", age)
    return Verdict(status, status.state, age)


def silence(path: Path) -> float:
    """Return the seconds since a file was written, by the clock of its filesystem."""
    probe = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
    now = time.time()
    with suppress(OSError):  # where this user may not write, this host's clock must do
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
    return max(0.0, now - path.stat().st_mtime)


def closed(status: RunStatus, message: str) -> RunStatus:
    """Return the status of a dead run that somebody has cleaned up after."""
    progress = replace(status.progress, jobs={}, note="")
    return replace(status, state="interrupted", message=message, progress=progress)

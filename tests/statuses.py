"""Runs that left a status: alive, dead, here and elsewhere."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

from climdask.monitoring.heartbeat import write_status
from climdask.monitoring.processes import Process
from climdask.monitoring.status import RunStatus
from climdask.outputs.folder import OutputFolder
from tests.progresses import row, run_of

RUN = "20260101T000000-00000000"


def elsewhere() -> Process:
    """Return a process of another host."""
    return replace(Process.own(), host="node7", place="node7 another-boot pid:[1]", pid=4242)


def gone() -> Process:
    """Return a process of this host that has ended, and whose number another one has now."""
    return replace(Process.own(), started=Process.own().started - 3600)


def left(folder: OutputFolder, *, silent: float = 0.0, run: str = RUN, **changes: Any) -> RunStatus:
    """Write the status of a run of two chains, last written some seconds ago."""
    progress = run_of(
        row("pr", state="active", years=75, reads=78, writes=46, started=time.monotonic() - 60,
            at=("ssp245", 2025)),
        row("tas"),
    )  # fmt: skip
    progress.began = time.monotonic() - 70
    for name in ("jobs", "note", "dashboard", "scheduler"):
        setattr(progress, name, changes.pop(name, getattr(progress, name)))
    told = {"run": run, "state": "running", "message": "", "process": Process.own(), "job": None,
            "cluster": "slurm", "progress": progress, **changes}  # fmt: skip
    status = RunStatus(**told)
    write_status(folder, status)
    path = folder.status(run)
    now = path.stat().st_mtime - silent
    os.utime(path, (now, now))
    return status

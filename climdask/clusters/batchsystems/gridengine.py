"""Grid Engine: SGE, UGE, AGE."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection

from climdask.clusters.batchsystems.base import BatchSystem, without
from climdask.settings.profiles import SgeProfile

_JOB = re.compile(r"^job_number: *(\d+)$", re.MULTILINE)
_REASON = re.compile(r"^(?:error reason +\d+|scheduling info): *(.+)$", re.MULTILINE)


def qstat(ids: Collection[str]) -> dict[str, tuple[str, str]] | None:
    """Ask Grid Engine for jobs by their ids; it knows only those that have not ended.

    A job in its state of error counts as waiting: it stays until somebody does something.
    One that is being deleted counts as completing.
    """
    listed = _said("qstat")
    if listed is None:
        return None
    rows = [line.split() for line in listed.splitlines()]
    states = {row[0]: row[4] for row in rows if row and row[0] in ids}
    waiting = [job for job, state in states.items() if "w" in state]
    reasons = _reasons(_said("qstat", "-j", ",".join(waiting)) or "") if waiting else {}
    return {job: (_in_words(state), reasons.get(job, "")) for job, state in states.items()}


def _in_words(state: str) -> str:
    if "d" in state:
        return "COMPLETING"
    return "PENDING" if "w" in state else "RUNNING"


def _reasons(details: str) -> dict[str, str]:
    """Return the first reason of each job that waits; not every site lets it be known."""
    _, *parts = _JOB.split(details)
    found = zip(parts[::2], map(_REASON.search, parts[1::2]), strict=True)
    return {job: reason[1].strip() for job, reason in found if reason}


def _said(*command: str) -> str | None:
    """Return what a program of Grid Engine says; None if it does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


GRID_ENGINE = BatchSystem(
    title="Grid Engine",
    profile=SgeProfile,
    job_class=lambda jobqueue: jobqueue.SGECluster.job_cls,
    submit="qsub",
    cancel="qdel",
    ask=qstat,
    job_id=r"[0-9]+(\.[0-9]+)?",
    # Its own default shell is csh, which understands no word of the script.
    directives=("-S /bin/bash", "-o {logs}/", "-r no"),
    literal=without("$:,"),  # variables such as $JOB_ID, a host, a list
    job_variable="JOB_ID",
    inside_variable="SGE_TASK_ID",
    batch_sign=("ENVIRONMENT", "BATCH"),
    submit_host="SGE_O_HOST",
)

"""SLURM."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Collection, Mapping
from typing import Any

from climdask.clusters.batchsystems.base import BatchSystem, without
from climdask.settings.profiles import BatchProfile, SlurmProfile, SlurmRunnerProfile


def squeue(ids: Collection[str]) -> dict[str, tuple[str, str]] | None:
    """Ask SLURM for jobs by their ids, also for those that have ended a short time ago."""
    command = ["squeue", "-h", "-t", "all", "-o", "%i|%T|%r", "-j", ",".join(ids)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    lines = [line.split("|") for line in done.stdout.splitlines()]
    return {job: (state, reason) for job, state, reason in lines}


def _memory(profile: BatchProfile, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the memory in MiB: dask-jobqueue rounds up to whole GiB, perhaps above a node's."""
    del profile
    return {"job_mem": f"{math.ceil(options['memory'] / 2**20)}M"}


def _literal(path: str) -> str:
    """Double ``%``, which begins a pattern such as %j; after a backslash there are no patterns."""
    return without("\\")(path).replace("%", "%%")


SLURM = BatchSystem(
    title="SLURM",
    profile=SlurmProfile,
    runner=SlurmRunnerProfile,
    job_class=lambda jobqueue: jobqueue.SLURMCluster.job_cls,
    submit="sbatch",
    cancel="scancel",
    cancel_options=("--quiet",),
    dry_run=("sbatch", "--test-only"),
    ask=squeue,
    job_id="[0-9]+(_[0-9]+)?",
    directives=("--output={logs}/%j.log", "--no-requeue"),
    literal=_literal,
    log="{id}.log",
    account="account",
    more_options=_memory,
    job_variable="SLURM_JOB_ID",
    inside_variable="SLURM_JOB_ID",
    batch_sign=("ENVIRONMENT", "BATCH"),
    submit_host="SLURM_SUBMIT_HOST",
    # Or --mem of a new job would collide with --mem-per-cpu of the own one.
    kept_back=("SLURM_", "SBATCH_"),
    handed_on=("SLURM_CONF",),
)

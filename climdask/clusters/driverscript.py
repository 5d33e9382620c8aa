"""The job of a driver: the script that ``climdask submit`` puts into the queue."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from climdask.clusters.amounts import bytes_of
from climdask.clusters.batchsystems import system_of
from climdask.clusters.jobscript import job_header, python_of, setup_lines
from climdask.clusters.local import batch_limits
from climdask.clusters.tunnel import LOGIN, login_host
from climdask.planning.plan import Limits
from climdask.settings.profiles import BatchProfile, SlurmRunnerProfile, seconds_of

SAVING = 300.0  # seconds before the walltime in which a run stops and its job follows itself


def driver_script(
    profile: BatchProfile, script: Path, limits: Limits, command: Sequence[object]
) -> str:
    """Return the script of a driver's job.

    Args:
        profile: the cluster profile.
        script: where it will be; logs go beside it.
        limits: workers that the plan can use.
        command: what ``climdask`` is called with in the job; a time to stop after is added.

    The run stops itself some time before the walltime, counted from the start of the script:
    ``sbatch --signal`` may come a minute early, is SLURM's alone, and looks like the SIGTERM
    of scancel, after which no job may follow.

    Raises:
        UserError: dask-jobqueue is not installed, a key is wrong, or a path has a control
            character, which would begin a new line of the script.
    """
    again = system_of(profile.kind).submit_line(script)
    if isinstance(profile, SlurmRunnerProfile):
        header, launch, walltime = _allocation(profile, script.parent, limits)
    else:
        header, launch, walltime = _driver_job(profile, script.parent)
    stop_after = seconds_of(walltime) - saving_time(seconds_of(walltime))
    lines = [
        "#!/usr/bin/env bash",
        header.rstrip(),
        "",
        f"# Made by climdask submit; what stops before its end goes on with: {again}",
        f"cd {shlex.quote(str(Path.cwd()))}",
        *setup_lines(profile),
        f"export {LOGIN}={shlex.quote(login_host())}",
        f"exec {launch}{python_of(profile)} -m climdask.cli {shlex.join(map(str, command))} "
        f"--stop-after $(({stop_after:.0f} - SECONDS))",
        "",
    ]
    return "\n".join(lines)


def runner_script(profile: SlurmRunnerProfile) -> str:
    """Return the script of a runner's job, with placeholders for what a submission decides.

    Raises:
        UserError: dask-jobqueue is not installed, or a key is wrong.
    """
    folder = Path("OUT_DIR/.climdask/submissions/SUBMISSION")
    command = ["run", "WORKFLOW.yaml", "--cluster", "CLUSTER.yaml", "--submission", folder]
    limits = batch_limits(profile, profile.jobs * profile.processes)
    return driver_script(profile, folder / "driver.sh", limits, command)


def saving_time(walltime: float) -> float:
    """Return the seconds before the walltime in which a run stops and its job follows itself."""
    return min(SAVING, walltime / 4)


def _driver_job(profile: BatchProfile, logs: Path) -> tuple[str, str, str]:
    """Return header, launcher and walltime of a job with the driver alone."""
    driver = profile.driver
    changes = {
        "partition": driver.partition or profile.partition,
        "directives": driver.directives,
        "processes": 1,
        "jobs": 1,
        **{key: getattr(driver, key) for key in ("walltime", "cores", "memory")},
    }
    bytes_of(driver.memory, "driver.memory")
    header = job_header(profile.model_copy(update=changes), logs=logs, name="climdask-driver")
    return header, "", driver.walltime


def _allocation(profile: SlurmRunnerProfile, logs: Path, limits: Limits) -> tuple[str, str, str]:
    """Return header, launcher and walltime of an allocation for all ranks, which are alike."""
    ranks = limits.workers + 2  # driver and scheduler besides
    limits = batch_limits(profile, limits.workers)
    memory = bytes_of(profile.memory) // profile.processes
    per_core = math.ceil(memory / limits.threads / 2**20)
    own = (f"--ntasks={ranks}", f"--mem-per-cpu={per_core}M")
    changes = {
        "cores": limits.threads,
        "memory": memory,
        "processes": 1,
        "directives": (*own, *profile.directives),
    }
    header = job_header(
        profile.model_copy(update=changes), logs=logs, name="climdask", skip=("-n 1", "--mem=")
    )
    # srun does not take cpus-per-task from the job.
    launch = f"srun --kill-on-bad-exit=1 --ntasks={ranks} --cpus-per-task={limits.threads} "
    return header, launch, profile.walltime

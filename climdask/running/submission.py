"""Submissions: the driver in a batch job of its own, which follows itself before its walltime.

What was submitted lies frozen in ``<output>/.climdask/submissions``: the workflow and the profile
as they were, the job script, the ids of its jobs and their logs.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from climdask.clusters.batchsystems import system_of
from climdask.clusters.driverscript import driver_script
from climdask.clusters.jobqueue import submit_script
from climdask.clusters.jobscript import check_programs, inheritable, job_script
from climdask.clusters.jobwatch import ALIVE
from climdask.errors import ClusterError, ConfigError, OutputError
from climdask.inputs.access import default_lock_dir
from climdask.inputs.sharedfiles import read_regular
from climdask.monitoring.processes import is_job_id
from climdask.outputs.atomicfiles import atomically
from climdask.outputs.folder import OutputFolder, new_run_id, write_text
from climdask.plaintext import command
from climdask.planning.plan import Limits, Plan
from climdask.running.run import plan
from climdask.running.signals import told_to_stop
from climdask.settings.profiles import BatchProfile, Profile, kind_of, load_profile
from climdask.settings.workflow import Workflow


@dataclass(frozen=True)
class Submission:
    """A driver's job, and those that follow it."""

    folder: Path

    @property
    def script(self) -> Path:
        """The job script."""
        return self.folder / "driver.sh"

    @property
    def workflow(self) -> Path:
        """The workflow as it was."""
        return self.folder / "workflow.yaml"

    @property
    def cluster(self) -> Path:
        """The cluster profile as it was."""
        return self.folder / "cluster.yaml"

    @property
    def profile(self) -> BatchProfile:
        """The cluster profile as it was.

        Raises:
            ConfigError: it cannot be read.
        """
        return batch_profile(load_profile(self.cluster), str(self.cluster))

    @property
    def jobs(self) -> tuple[str, ...]:
        """The ids of its jobs, in order; what is no id of a job is left out."""
        try:
            words = read_regular(self.folder / "jobs").decode().split()
        except (OSError, UnicodeDecodeError):
            return ()
        return tuple(filter(is_job_id, words))

    @property
    def latest_log(self) -> Path:
        """The log of the latest job; where a batch system names logs itself, its folder."""
        name = system_of(self.profile.kind).log
        return self.folder / name.format(id=self.jobs[-1]) if name else self.folder

    def submit(self) -> str:
        """Put a job into the queue; return its id.

        Raises:
            ClusterError: the batch system does not take it, in its own words.
        """
        job_id = submit_script(self.profile, self.script)
        ids = "\n".join((*self.jobs, job_id, ""))
        atomically(self.folder / "jobs", lambda temporary: write_text(temporary, ids))
        return job_id

    def follow(self) -> str:
        """Put the next job into the queue, if there may be one; return what to tell."""
        resubmit = self.profile.driver.resubmit
        if (self.folder / "cancelled").exists():
            return "its submission was cancelled"
        if len(self.jobs) > resubmit:
            return (
                f"the job has followed itself {resubmit} times, as driver.resubmit allows; submit "
                "again to go on from here"
            )
        try:
            job_id = self.submit()
        except ClusterError as error:
            return f"the next job is refused: {error}; submit again to go on from here"
        return f"job {job_id} goes on from here ({len(self.jobs) - 1} of {resubmit})"

    def cancel(self) -> None:
        """Let no job follow any more."""
        (self.folder / "cancelled").touch()


def submit(
    flow: Workflow, profile: BatchProfile, options: Sequence[str] = ()
) -> tuple[Submission, Plan]:
    """Put the driver of a workflow into the queue; mistakes are reported before.

    Args:
        flow: the workflow.
        profile: the cluster profile.
        options: further options of ``climdask run``.

    Returns:
        The submission, and the plan of a run into an empty output folder.

    Raises:
        UserError: the workflow cannot be run, or the batch system takes no job.
    """
    made = plan(flow, cluster=profile)
    check_submission(profile)
    folder = OutputFolder.of(flow)
    with folder.claimed():
        _check_queue(folder, profile)
        submission = _prepare(flow, profile, folder, made.limits, options)
        try:
            submission.submit()
        except ClusterError:
            shutil.rmtree(submission.folder, ignore_errors=True)
            raise
    return submission, made


def submissions(folder: OutputFolder) -> list[Submission]:
    """Return what was submitted for an output folder, the oldest first."""
    return [Submission(path.parent) for path in sorted(folder.submissions.glob("*/driver.sh"))]


def batch_profile(profile: Profile, name: str) -> BatchProfile:
    """Return a profile whose driver can be submitted.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(profile, BatchProfile):
        raise ConfigError(
            f"{name}: kind: {profile.kind}: submit needs a batch system, such as kind: slurm; use "
            "climdask run, or give a profile with --cluster"
        )
    if not system_of(profile.kind).shell_script:
        raise ConfigError(
            f"{name}: kind: {profile.kind}: its jobs have no shell script to submit; use climdask "
            "run on a submit node"
        )
    return profile


# ---------------------------------------------------------------- preparing


def _prepare(
    flow: Workflow,
    profile: BatchProfile,
    folder: OutputFolder,
    limits: Limits,
    options: Sequence[str],
) -> Submission:
    """Write the files of a submission; nothing is submitted yet."""
    made = Submission(folder.submissions / new_run_id())
    called = [
        *("run", made.workflow, "--cluster", made.cluster),
        *("--submission", made.folder, *options),
    ]
    texts = {
        made.workflow: _yaml(frozen_workflow(flow)),
        made.cluster: _yaml(frozen_profile(profile)),
        made.script: driver_script(profile, made.script, limits, called),
    }
    for path, text in texts.items():
        made.folder.mkdir(parents=True, exist_ok=True)
        atomically(path, partial(write_text, text=text))
    made.script.chmod(0o755)
    return made


def _check_queue(folder: OutputFolder, profile: BatchProfile) -> None:
    """Refuse what would come twice.

    Raises:
        OutputError: a job of an earlier submission waits or runs.
    """
    ids = [job for submission in submissions(folder) for job in submission.jobs]
    ask = system_of(profile.kind).ask
    found = (ask(ids) if ids and ask else None) or {}
    for job, (state, _) in found.items():
        if state in ALIVE:
            raise OutputError(
                f"output.root: job {job} for {folder.root} is in the queue already ({state}); wait "
                f"for it, stop it with: {command('climdask', 'cancel', folder.root)}, or choose "
                "another folder with --out"
            )


def frozen_workflow(flow: Workflow) -> dict[str, Any]:
    """Return a workflow as a mapping that means the same in any folder and environment."""
    content: dict[str, Any] = flow.model_dump(mode="json", exclude_unset=True)
    lock_dir = flow.run.lock_dir or default_lock_dir()
    for section, key, path in (
        ("input", "root", flow.input.root),
        ("output", "root", flow.output.root),
        ("run", "lock_dir", lock_dir),
    ):
        content.setdefault(section, {})[key] = str(path.expanduser().absolute())
    for region in content["regions"]:
        if isinstance(region, dict) and "areas" in region:
            region["areas"] = str(Path(region["areas"]).expanduser().absolute())
    return content


def frozen_profile(profile: BatchProfile) -> dict[str, Any]:
    """Return a profile as a mapping that means the same in any folder."""
    content: dict[str, Any] = profile.model_dump(mode="json", exclude_unset=True)
    if profile.logs is not None:
        content["logs"] = str(profile.logs.expanduser().absolute())
    for key, path in profile.security or ():
        content["security"][key] = str(path.expanduser().absolute())
    return {"kind": profile.kind, **content}


def _yaml(content: dict[str, Any]) -> str:
    head = "# As it was when it was submitted; its job goes by this copy.\n"
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def check_submission(profile: BatchProfile) -> None:
    """Ask the batch system whether it would take a job of workers, from this host.

    Raises:
        ClusterError: it would not, in its own words.
    """
    check_programs(profile)
    if not _can_be_asked(profile):
        return
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "worker.sh"
        script.write_text(job_script(profile, logs=Path(folder)), encoding="utf-8")
        done = subprocess.run(
            [*system_of(profile.kind).dry_run, str(script)],
            env=inheritable(os.environ), capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise ClusterError((done.stderr or done.stdout).strip())


def check_node(profile: Profile) -> None:
    """Check within a job that its node may submit more of them.

    Raises:
        ClusterError: it may not.
    """
    if not isinstance(profile, BatchProfile) or not _can_be_asked(profile):
        return
    try:
        check_submission(profile)
    except ClusterError as error:
        raise ClusterError(
            f"jobs cannot be submitted from this compute node, {socket.gethostname()}: {error}\n"
            f"cluster: {_without_submitting(profile)}"
        ) from None


def _can_be_asked(profile: BatchProfile) -> bool:
    """Whether the batch system can be asked whether it would take a job of workers."""
    system = system_of(profile.kind)
    return bool(system.dry_run) and system.submits_workers(profile)


def _without_submitting(profile: BatchProfile) -> str:
    """Say how to run where compute nodes may not submit jobs."""
    runner = system_of(profile.kind).runner
    if runner is None:
        return "use climdask run on a login node"
    kind = kind_of(runner)
    return (
        f"use kind: {kind} (cluster/{kind}.yaml): one allocation for all, and nothing is submitted "
        "from within"
    )


# ---------------------------------------------------------------- in the job


class TimeIsUp(KeyboardInterrupt):
    """Interrupts a run before its walltime."""


@contextmanager
def stopping(seconds: float | None, submission: Submission | None) -> Iterator[None]:
    """Interrupt the block after some seconds; its job, if it is one, then follows itself.

    A block that ends by itself, fails, or is interrupted from outside is not followed.

    Raises:
        TimeIsUp: it was interrupted, whatever came of that; with what comes next.
    """
    if seconds is None:
        yield
        return

    rang = threading.Event()

    def ring(number: int, frame: FrameType | None) -> None:
        del number, frame
        if not told_to_stop.is_set():  # and else it is stopping already
            rang.set()
            raise TimeIsUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    except BaseException:
        if not rang.is_set():
            raise
        what_next = submission.follow() if submission else "run again to go on from here"
        raise TimeIsUp(f"stopped before the walltime: {what_next}") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

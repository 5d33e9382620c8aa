"""One allocation of SLURM: driver, scheduler and workers are the ranks of one srun.

dask_jobqueue's SLURMRunner is not used: it knows no TLS, its file of the scheduler is read half
written, two sruns of one job share that file, and it ends ranks through SIGINT.

Rank 0 is the driver, rank 1 the scheduler, all others are workers. They meet through small files
in the output folder, and part over their connections: a scheduler whose driver has gone ends, and
a worker whose scheduler has gone, so that nothing is left even if srun does not see to it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dask
import distributed
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.utils import silence_logging_cmgr

from climdask.clusters.credentials import (
    Credentials,
    remove_credentials,
    site_credentials,
    temporary_credentials,
)
from climdask.clusters.jobqueue import free_port, undisturbed
from climdask.clusters.local import (
    ALLOCATION,
    IGNORE_SIGNALS,
    batch_limits,
    dashboard_address,
    scheduler_settings,
)
from climdask.clusters.privatescheduler import Scheduler, prefix_of, secret_link
from climdask.clusters.scratch import private_folder, temporary_folder
from climdask.clusters.tunnel import tunnel
from climdask.errors import EXIT_DONE, EXIT_FAILED, EXIT_USER, ClusterError
from climdask.monitoring.links import dashboard_link
from climdask.monitoring.progress import RunProgress
from climdask.outputs.atomicfiles import atomically
from climdask.outputs.folder import OutputFolder, write_private
from climdask.settings.profiles import SlurmRunnerProfile

# Seconds that ranks wait for each other: Python may start slowly on a hundred nodes.
PATIENCE = 300.0
_ANSWER = 30.0  # seconds for a scheduler that is there to answer
_POLL = 0.2


@dataclass(frozen=True)
class Rank:
    """This process among those of one srun.

    Attributes:
        number: from 0.
        count: of all ranks.
        step: names the srun: its job, its step, and how often the job was started again.
    """

    number: int
    count: int
    step: str

    @property
    def role(self) -> Literal["driver", "scheduler", "worker"]:
        """What this process is."""
        return "driver" if self.number == 0 else "scheduler" if self.number == 1 else "worker"

    @property
    def workers(self) -> int:
        """How many ranks are workers."""
        return self.count - 2


def this_rank(environ: Mapping[str, str] | None = None) -> Rank:
    """Return which rank this process is.

    Raises:
        ClusterError: it is none, or there are too few.
    """
    env = os.environ if environ is None else environ
    how = "srun --kill-on-bad-exit=1 --ntasks=4 climdask run WORKFLOW --cluster CLUSTER"
    try:
        number, count = int(env["SLURM_PROCID"]), int(env["SLURM_STEP_NUM_TASKS"])
        step = f"{env['SLURM_JOB_ID']}.{env['SLURM_STEP_ID']}.{env.get('SLURM_RESTART_COUNT', 0)}"
    except (KeyError, ValueError):
        raise ClusterError(
            "cluster: kind: slurm-runner is for the ranks of one srun, and this process is none; "
            f"use climdask submit, or within an allocation: {how}"
        ) from None
    if count < 3:
        if number:  # one of them tells it
            raise SystemExit(EXIT_USER)
        raise ClusterError(
            f"cluster: srun started {count} tasks; driver, scheduler and workers need 3 or more: "
            f"{how}"
        )
    return Rank(number, count, step)


@dataclass(frozen=True)
class Meeting:
    """Where the ranks of one srun tell each other where they are."""

    folder: Path

    @classmethod
    def of(cls, folder: OutputFolder, rank: Rank) -> Meeting:
        """Return the meeting of a rank; no other srun has the same."""
        return cls(folder.state / "ranks" / rank.step)

    def tell(self, role: str, facts: Mapping[str, Any]) -> None:
        """Leave something for the others, and no other user, to read; it appears whole."""
        text = json.dumps(facts)
        path = self.folder / f"{role}.json"
        atomically(path, lambda temporary: write_private(temporary, text))

    def wait_for(self, role: str, patience: float = PATIENCE) -> dict[str, Any]:
        """Wait for what a rank tells.

        Raises:
            ClusterError: it says nothing for too long.
        """
        end = time.monotonic() + patience
        while time.monotonic() < end:
            try:
                found: dict[str, Any] = json.loads((self.folder / f"{role}.json").read_text())
            except OSError:
                time.sleep(_POLL)
            else:
                return found
        raise ClusterError(f"cluster: the {role} did not appear within {patience:g} s")

    def end(self) -> None:
        """Remove what was left."""
        shutil.rmtree(self.folder, ignore_errors=True)


# ---------------------------------------------------------------- the driver


@contextmanager
def gathered(
    profile: SlurmRunnerProfile, folder: OutputFolder, run_id: str, progress: RunProgress
) -> Iterator[distributed.Client]:
    """Gather the other ranks; at the end they all leave.

    Args:
        profile: the cluster profile.
        folder: the output folder, held by this run.
        run_id: names the run's folder of credentials and logs.
        progress: receives where the scheduler is.

    Raises:
        ClusterError: this is no rank of a srun, or the others do not come.
    """
    rank = this_rank()
    _forget_the_dead(folder)
    meeting = Meeting.of(folder, rank)
    site = site_credentials(profile.security) if profile.security else None
    logs = (profile.logs or folder.run(run_id) / "ranks").expanduser().absolute()
    try:
        credentials = site or temporary_credentials(folder.tls(run_id))
        meeting.tell("driver", {"logs": str(logs), **credentials.paths})
        found = meeting.wait_for("scheduler")
        progress.scheduler = found["address"]
        with (
            dask.config.set({"distributed.dashboard.link": found["link"]}),
            silence_logging_cmgr(logging.CRITICAL),
            silence_logging_cmgr(logging.CRITICAL, root="tornado"),
            _connected(found["address"], credentials.security, rank) as client,
        ):
            if link := dashboard_link(client)[0]:
                progress.dashboard = link
                progress.tunnel = tunnel(link, found["host"])
            yield client
    finally:
        meeting.end()
        remove_credentials(folder.tls(run_id))


def _forget_the_dead(folder: OutputFolder) -> None:
    """Remove what killed runs left; this run holds the output folder, so no other is alive."""
    shutil.rmtree(folder.state / "ranks", ignore_errors=True)
    for leftover in folder.state.glob("runs/*/tls"):
        remove_credentials(leftover)


@contextmanager
def _connected(
    address: str, security: distributed.Security, rank: Rank
) -> Iterator[distributed.Client]:
    try:
        client = distributed.Client(
            address, security=security, timeout=_ANSWER, set_as_default=False
        )
    except (OSError, TimeoutError) as error:
        raise ClusterError(f"cluster: no scheduler answers at {address} ({error})") from error
    with client:
        try:
            _await_workers(client, rank.workers)
            yield client
        finally:
            with undisturbed():
                if client.status == "running":
                    client.shutdown()


def _await_workers(client: distributed.Client, count: int) -> None:
    try:
        client.wait_for_workers(count, timeout=PATIENCE)
    except TimeoutError:
        came = len(client.scheduler_info(n_workers=-1)["workers"])
        raise ClusterError(
            f"cluster: {came} of {count} workers came within {PATIENCE:g} s"
        ) from None


# ---------------------------------------------------------------- the others


def serve(profile: SlurmRunnerProfile, folder: OutputFolder, rank: Rank) -> int:
    """Be the scheduler or a worker until the driver has done; return the exit code."""
    meeting = Meeting.of(folder, rank)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # ends at once and says nothing
    facts = meeting.wait_for("driver")
    # From here the driver alone answers signals; when it leaves, so do the others.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _log_to(Path(facts["logs"]) / f"{rank.role}-{rank.number}.log")
    security = Credentials.at(facts).security
    with dask.config.set(_settings(profile)):
        if rank.role == "scheduler":
            return asyncio.run(_schedule(profile, meeting, security))
        return asyncio.run(_work(profile, meeting, security, rank))


def _settings(profile: SlurmRunnerProfile) -> dict[str, Any]:
    given = profile.scratch
    scratch = Path(os.path.expandvars(given)) if given else temporary_folder()
    return {
        "temporary-directory": str(private_folder(scratch)),
        **scheduler_settings(profile.dashboard),
        "distributed.worker.preload": [IGNORE_SIGNALS],
        **{f"distributed.nanny.pre-spawn-environ.{key}": n for key, n in ALLOCATION.items()},
    }


def _log_to(path: Path) -> None:
    """Write what this process and its children say to a file; the job's log is the driver's.

    Its user alone can read it: a scheduler may say where its dashboard is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(file, stream)


class _Driven(SchedulerPlugin):  # type: ignore[misc]
    """Ends a scheduler whose driver, its first client, has gone without a word.

    Attributes:
        deserted: whether that happened.
    """

    name = "climdask-driven"

    def __init__(self) -> None:
        self.driver = ""
        self.deserted = False

    def add_client(self, scheduler: distributed.Scheduler, client: str) -> None:
        del scheduler
        self.driver = self.driver or client

    def remove_client(self, scheduler: distributed.Scheduler, client: str) -> None:
        if client == self.driver and scheduler.status == distributed.Status.running:
            self.deserted = True
            scheduler.loop.add_callback(scheduler.close, reason="the driver has gone")


async def _schedule(
    profile: SlurmRunnerProfile, meeting: Meeting, security: distributed.Security
) -> int:
    link = "" if profile.dashboard == "off" else secret_link()
    scheduler = Scheduler(
        interface=profile.interface,
        port=free_port(profile.scheduler_ports),
        protocol="tls://",
        security=security,
        dashboard=profile.dashboard != "off",
        dashboard_address=dashboard_address(profile.dashboard),
        http_prefix=prefix_of(link),
    )
    driven = _Driven()
    scheduler.add_plugin(driven)
    async with scheduler:
        facts = {"address": scheduler.address, "host": socket.gethostname(), "link": link}
        meeting.tell("scheduler", facts)
        await scheduler.finished()
    return EXIT_FAILED if driven.deserted else EXIT_DONE


async def _work(
    profile: SlurmRunnerProfile, meeting: Meeting, security: distributed.Security, rank: Rank
) -> int:
    limits = batch_limits(profile, rank.workers)
    nanny = distributed.Nanny(
        meeting.wait_for("scheduler")["address"],
        nthreads=limits.threads,
        memory_limit=limits.memory_per_worker,
        name=f"rank-{rank.number}",
        security=security,
        interface=profile.interface,
        port=profile.nanny_ports or 0,
        worker_port=profile.worker_ports or 0,
        death_timeout=PATIENCE,
        # What a worker tells of itself is on the scheduler's page; its own is for its host only.
        dashboard=False,
        dashboard_address="127.0.0.1:0",
    )
    async with nanny:
        await nanny.finished()
    return EXIT_DONE

"""Workers as jobs of a batch system: SLURM, PBS, LSF, Grid Engine, OAR or HTCondor.

dask-jobqueue writes the scripts and submits them, from one code path for all systems. Here is
what a run needs besides: credentials, words of the batch system that refuses a job, jobs that
are replaced when they are lost, and an end that leaves no job behind.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import distributed

from climdask.clusters.batchsystems import system_of
from climdask.clusters.credentials import (
    Credentials,
    remove_credentials,
    site_credentials,
    temporary_credentials,
)
from climdask.clusters.jobscript import (
    check_programs,
    example_job,
    import_jobqueue,
    inheritable,
    interface_of,
    job_class,
    job_options,
    jobqueue_defaults,
)
from climdask.clusters.jobwatch import JobWatch, named
from climdask.clusters.local import batch_limits, dashboard_address, scheduler_settings
from climdask.clusters.privatescheduler import Scheduler, prefix_of, secret_link
from climdask.clusters.scratch import private_folder, temporary_folder
from climdask.clusters.tunnel import tunnel
from climdask.errors import ClusterError
from climdask.monitoring.links import dashboard_link
from climdask.monitoring.progress import RunProgress
from climdask.outputs.folder import OutputFolder
from climdask.planning.plan import Limits
from climdask.settings.profiles import BatchProfile

AT_ONCE = 4  # submissions, so that the batch system is not flooded
LOOK_INTERVAL = 0.5  # seconds between two looks at the workers
RETRY = 60.0  # seconds until a refused replacement is tried again
CLOSE_TIMEOUT = 60.0  # seconds


@dataclass
class JobCluster:
    """A scheduler in this process, and jobs of workers that report to it.

    Attributes:
        wanted: jobs.
        needed: how many jobs are of use now; falls as chains end.
        refused_at: when the batch system last refused a job, on the monotonic clock.
    """

    profile: BatchProfile
    cluster: Any
    client: distributed.Client
    watch: JobWatch
    report: Callable[[str], None]
    wanted: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    needed: Callable[[], int] = lambda: sys.maxsize
    refused_at: float = float("-inf")

    def ask_for(self, workers: int) -> None:
        """Have as many jobs as some workers need, and no more than the profile allows.

        Raises:
            ClusterError: the batch system refuses a job.
        """
        wanted = max(1, min(self.profile.jobs, math.ceil(workers / self.profile.processes)))
        for self.wanted in sorted({1, wanted}):  # one first: a refusal is reported once
            if words := self._submit():
                raise ClusterError(f"{system_of(self.profile.kind).title} refuses the job\n{words}")

    def wait_for_worker(self) -> None:
        """Wait until a worker is there, however long the queue is.

        Raises:
            ClusterError: none can come.
        """
        while not self.watch.any_born:
            self.check()
            time.sleep(0.1)

    def result_of(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Call a function on a worker, and return what it returns.

        Raises:
            ClusterError: no worker can do it.
        """
        future = self.client.submit(function, *arguments, pure=False)
        while not future.done():
            self.check()
            time.sleep(0.1)
        return future.result()

    def check(self) -> None:
        """Check that there is hope.

        Raises:
            ClusterError: the jobs cannot do the work.
        """
        if self.watch.fatal:
            raise ClusterError(self.watch.fatal)

    # ------------------------------------------------------------ keeping jobs

    def keep(self, stop: threading.Event) -> None:
        """Replace jobs that are lost, until asked to stop."""
        while not stop.wait(LOOK_INTERVAL):
            try:
                self._keep()
            except Exception as error:  # whoever waits for workers must hear of it
                self.watch.fatal = f"the jobs cannot be followed: {error!r}"

    def _keep(self) -> None:
        workers = [str(ws.name) for ws in list(self.cluster.scheduler.workers.values())]
        gone = self.watch.look(workers, time.monotonic())
        lacking = min(self.wanted, self.needed()) > len(self.watch.jobs)
        again = time.monotonic() - self.refused_at > RETRY
        if self.watch.fatal or not (gone or (lacking and again)):
            return
        before = set(self.watch.jobs)
        words = self._submit([job.name for job in gone])
        new = [job for name, job in self.watch.jobs.items() if name not in before]
        text = f"{named(gone)} lost" if gone else ""
        text += (
            (f", replaced by {named(new)}" if gone else f"{named(new)} submitted") if new else ""
        )
        if words:
            self.refused_at = time.monotonic()
            text += f"; another one is refused: {words}"
            if not self.watch.jobs:
                self.watch.fatal = f"no job is left, and another one is refused\n{words}"
        self.report(f"note: {text.strip('; ')}")

    def _submit(self, gone: Collection[str] = ()) -> str:
        """Let go of some jobs and bring their number up to what is wanted; return a refusal."""
        with self.lock:
            return str(self.cluster.sync(self._bring, gone))

    async def _bring(self, gone: Collection[str]) -> str:
        refused = self.watch.refused
        if gone:
            await self.cluster.scale_down(gone)
        self.cluster.scale(jobs=max(len(self.watch.jobs), min(self.wanted, self.needed())))
        await self.cluster
        words = next(iter(refused.values()), "")
        if refused:
            await self.cluster.scale_down(list(refused))
            refused.clear()
        return words

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Cancel all jobs, and close the scheduler."""
        self._cancel()
        with suppress(Exception):  # its scheduler goes anyway
            self.client.close(timeout=10)
        try:
            self.cluster.close(timeout=CLOSE_TIMEOUT)
        except Exception as error:
            self.report(f"note: the Dask scheduler did not close well: {error!r}")
        self._cancel()  # what was being submitted
        self.watch.progress.jobs.clear()

    def _cancel(self) -> None:
        ids = {job.id for job in self.watch.jobs.values()} - self.watch.cancelled
        if not ids:
            return
        self.watch.cancelled |= ids
        command = [system_of(self.profile.kind).cancel, *sorted(ids)]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            if self.watch.over(ids):  # one had ended meanwhile
                return
            said = getattr(error, "stderr", "") or getattr(error, "stdout", "")
            words = str(said or error).strip()
            self.report(f"note: jobs may be left ({words}); cancel them: {shlex.join(command)}")


@contextmanager
def open_jobs(
    profile: BatchProfile,
    folder: OutputFolder,
    run_id: str,
    progress: RunProgress,
    report: Callable[[str], None],
) -> Iterator[JobCluster]:
    """Start a scheduler here for jobs of workers; no job is submitted yet.

    Args:
        profile: describes the jobs.
        folder: the output folder, held by this run.
        run_id: names the run's folder of credentials and logs.
        progress: receives the jobs and why they wait.
        report: receives lines for the user.

    Raises:
        ClusterError: the batch system, the scheduler or the credentials cannot be used.
    """
    check_programs(profile)
    for leftover in folder.state.glob("runs/*/tls"):  # of a driver that was killed
        remove_credentials(leftover)
    logs = (profile.logs or folder.run(run_id) / "jobs").expanduser().absolute()
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClusterError(f"cluster: logs: {logs} cannot be made ({error.strerror})") from None
    watch = JobWatch(progress, report, system_of(profile.kind).ask, profile.pending_after, logs)
    temporary = folder.tls(run_id)
    with ExitStack() as stack:
        if profile.security is None:
            stack.callback(remove_credentials, temporary)
            credentials = temporary_credentials(temporary)
        else:
            credentials = site_credentials(profile.security)
        stack.enter_context(dask.config.set(_settings(profile)))
        jobs = _start(profile, credentials, watch, report)
        stop = threading.Event()
        keeper = threading.Thread(target=jobs.keep, args=(stop,), daemon=True)
        keeper.start()
        try:
            yield jobs
        finally:
            with undisturbed():
                stop.set()
                keeper.join(CLOSE_TIMEOUT)
                jobs.close()
                stack.close()  # the credentials too


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no second Ctrl-C or SIGTERM cut the end short, which leaves no job behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _settings(profile: BatchProfile) -> dict[str, Any]:
    """Return Dask's configuration for as long as the cluster is open."""
    settings = {
        "distributed.dashboard.link": secret_link(),
        # Jobs that are lost are the affair of JobCluster.keep.
        "distributed.deploy.lost-worker-timeout": "1000 days",
        **scheduler_settings(profile.dashboard),
    }
    return {**jobqueue_defaults(), **settings}


def _start(
    profile: BatchProfile,
    credentials: Credentials,
    watch: JobWatch,
    report: Callable[[str], None],
) -> JobCluster:
    limits = batch_limits(profile, profile.jobs * profile.processes)
    link = str(dask.config.get("distributed.dashboard.link"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use", category=UserWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        try:
            cluster = _cluster_class()(
                job_cls=_submitting(profile, limits, watch),
                scheduler_cls=Scheduler,
                name="climdask",
                security=credentials.security,
                protocol="tls://",
                interface=interface_of(profile),
                silence_logs=logging.CRITICAL,
                scheduler_options={
                    "interface": profile.interface,
                    "local_directory": str(private_folder(temporary_folder())),
                    "port": free_port(profile.scheduler_ports),
                    "dashboard": profile.dashboard != "off",
                    "dashboard_address": dashboard_address(profile.dashboard),
                    "http_prefix": prefix_of(link),
                },
                **job_options(profile, watch.logs, credentials),
            )
            client = distributed.Client(
                cluster, security=credentials.security, set_as_default=False
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise ClusterError(f"cluster: the Dask scheduler does not start: {error}") from error
    watch.progress.scheduler = cluster.scheduler_address
    if link := dashboard_link(client)[0]:
        watch.progress.dashboard = link
        watch.progress.tunnel = tunnel(link, socket.gethostname())
    return JobCluster(profile, cluster, client, watch, report)


def _cluster_class() -> Any:
    """Return dask-jobqueue's cluster; no two of its jobs ever have the same name."""

    class Cluster(import_jobqueue().JobQueueCluster):  # type: ignore[misc]
        numbers = itertools.count(1)

        def _new_worker_name(self, worker_number: int) -> str:
            del worker_number
            return f"{self._name}-{next(self.numbers)}"

    return Cluster


def _submitting(profile: BatchProfile, limits: Limits, watch: JobWatch) -> Any:
    """Return the job class of a run: it notes ids and refusals, and submits a few at a time."""
    gate = asyncio.Semaphore(AT_ONCE)
    base = speaking(job_class(profile, limits))

    class Job(base):  # type: ignore[misc, valid-type]
        async def start(self) -> None:
            async with gate:
                try:
                    await super().start()
                    watch.submitted(self.name, self.job_id, time.monotonic())
                except (OSError, RuntimeError, ValueError) as error:
                    watch.refused[self.name] = refusal(error)
            self.status = distributed.Status.running  # or Dask would stop the whole cluster

        async def close(self) -> None:
            if self.job_id not in watch.cancelled:
                await super().close()
            self.status = distributed.Status.closed

    return Job


def speaking(base: Any) -> Any:
    """Return a job class that calls the batch system in the right environment, and hears it out."""

    class Job(base):  # type: ignore[misc]
        @staticmethod
        async def _call(command: Sequence[str], **more: Any) -> str:
            # bsub's words are wanted too.
            command = [word.removesuffix(" 2> /dev/null") for word in command]
            return str(await base._call(command, env=inheritable(os.environ), **more))

        async def _submit_job(self, script_filename: str) -> Any:
            # LSF's reads it through a shell.
            through_shell = getattr(self, "use_stdin", False)
            name = shlex.quote(script_filename) if through_shell else script_filename
            return await super()._submit_job(name)

    return Job


def submit_script(profile: BatchProfile, script: Path) -> str:
    """Put the script of a job into the queue; return the job's id.

    Raises:
        ClusterError: the batch system does not take it, in its own words.
    """
    check_programs(profile)
    job = example_job(profile, script.parent, wrap=speaking)
    try:
        words = asyncio.run(job._submit_job(str(script)))
        return str(job._job_id_from_submit_output(words))
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(refusal(error)) from None


def refusal(error: Exception) -> str:
    """Return what a batch system said when it did not take a job."""
    before, _, words = str(error).partition("stderr:\n")
    return words.strip() or before.strip() or repr(error)


def free_port(ports: str | None) -> int:
    """Return a free port of a range; 0, which is any, where there is no range.

    Raises:
        ClusterError: all are taken.
    """
    if ports is None:
        return 0
    first, _, last = ports.partition(":")
    for port in range(int(first), int(last or first) + 1):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port
    raise ClusterError(f"cluster: scheduler_ports: all of {ports} are in use on this host")

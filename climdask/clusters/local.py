"""Clusters: a profile becomes a client. Local, and external by address or file."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask
import distributed
from dask.system import CPU_COUNT
from distributed.system import MEMORY_LIMIT

from climdask.clusters.amounts import bytes_of
from climdask.clusters.credentials import credentials_in_memory, site_credentials
from climdask.clusters.dasksettings import check_scratch, local_settings, safe_settings
from climdask.clusters.privatescheduler import Scheduler, new_secret, with_secret
from climdask.clusters.scratch import private_folder, temporary_folder
from climdask.clusters.starting import check_loopback, reason, started
from climdask.errors import ClusterError, ConfigError
from climdask.plaintext import command
from climdask.planning.plan import Limits
from climdask.settings.profiles import BatchProfile, ExternalProfile, LocalProfile, Profile

# What a job takes beside its workers: the process that starts them, and its shell (78 MiB).
NANNY_BYTES = 96 << 20

# A worker takes about 150 MiB before it has read anything; with less than this its nanny would
# end and restart it for ever.
MIN_WORKER_BYTES = 256 << 20


# Dask tells its workers to give all freed memory back at once (MALLOC_TRIM_THRESHOLD_ of 64 KiB).
# The buffers of each chunk then cost page faults, a third and more of the time of a read. These
# keep buffers of a chunk for the next one; blocks and sums are larger, and still given back.
ALLOCATION = {"MALLOC_TRIM_THRESHOLD_": 64 << 20, "MALLOC_MMAP_THRESHOLD_": 8 << 20}

# Tasks take a tenth of a second and more: looking at them 100 times a second only costs.
# What a worker tells of itself is on the scheduler's page; it serves no page of its own.
WORKER_SETTINGS = {
    "distributed.worker.profile.interval": "100ms",
    "distributed.admin.tick.interval": "100ms",
    "distributed.worker.http.routes": [],
}

# Ctrl-C, the end of a terminal, and a batch system that ends a job reach every process; the run
# alone answers, and closes its workers.
IGNORE_SIGNALS = """
import signal

def dask_setup(worker):
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
"""


@dataclass(frozen=True)
class Machine:
    """What this machine has: cores, and bytes of memory (limits of its control group counted)."""

    cores: int = CPU_COUNT
    memory: int = MEMORY_LIMIT


def local_limits(
    profile: LocalProfile, homes: int, cores_per_variable: int, machine: Machine | None = None
) -> Limits:
    """Divide this machine: one worker for each home, as far as the cores go.

    Threads of a worker are the variable's cores; cores that would stay idle are added to them.
    Two at least, unless ``cores`` says how many may be used: one works while the other waits for
    the disk, and a worker whose chains last longest gets the cores of those that are done.

    Raises:
        ConfigError: ``memory`` is no amount of memory, or too little for a worker.
    """
    machine = machine or Machine()
    cores = profile.cores or machine.cores
    workers = profile.workers or max(1, min(homes, cores // cores_per_variable))
    at_least = 1 if profile.cores else min(cores, 2)
    threads = profile.threads or max(cores_per_variable, cores // workers, at_least)
    memory = machine.memory if profile.memory is None else bytes_of(profile.memory)
    if profile.memory is not None and memory < workers * MIN_WORKER_BYTES:
        raise ConfigError(
            f"cluster: memory: {profile.memory} is too little for {workers} worker processes; "
            f"each needs {MIN_WORKER_BYTES >> 20} MiB or more: raise memory, or lower workers"
        )
    return Limits(int(memory) // workers, workers, threads)


def batch_limits(profile: BatchProfile, homes: int) -> Limits:
    """Divide jobs into workers: as many as are of use, and no more than were asked for.

    Raises:
        ConfigError: ``memory`` is no amount of memory, or too little for a worker.
    """
    memory = (bytes_of(profile.memory) - NANNY_BYTES) // profile.processes
    if memory < MIN_WORKER_BYTES:
        raise ConfigError(
            f"cluster: memory: {profile.memory} is too little for {profile.processes} workers in "
            f"a job; each needs {MIN_WORKER_BYTES >> 20} MiB or more, and all together "
            f"{NANNY_BYTES >> 20} MiB besides"
        )
    workers = min(profile.jobs * profile.processes, homes)
    return Limits(memory, workers, max(1, profile.cores // profile.processes))


def limits_of(profile: Profile, homes: int, cores_per_variable: int) -> Limits:
    """Return what a cluster will offer that climdask starts itself.

    Raises:
        ConfigError: the profile asks for too little memory.
    """
    if isinstance(profile, BatchProfile):
        return batch_limits(profile, homes)
    if isinstance(profile, LocalProfile):
        return local_limits(profile, homes, cores_per_variable)
    raise TypeError(profile)


def client_limits(client: distributed.Client) -> Limits:
    """Return what a client's workers offer; of different workers, the least."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if not workers:
        return Limits(None, 1, 1)
    memory = min(w["memory_limit"] for w in workers)
    return Limits(memory or None, len(workers), min(w["nthreads"] for w in workers))


@contextmanager
def open_cluster(profile: Profile, limits: Limits) -> Iterator[distributed.Client]:
    """Start or reach a cluster, and close what was started.

    Raises:
        ClusterError: it cannot be started or reached.
    """
    if isinstance(profile, ExternalProfile):
        with _external(profile) as client:
            yield client
        return
    if isinstance(profile, BatchProfile):  # jobs belong to a run: climdask.clusters.jobqueue
        raise TypeError(profile)
    check_loopback()
    security, secret = credentials_in_memory(), new_secret()
    settings: dict[str, Any] = {
        **local_settings(),
        "distributed.dashboard.link": with_secret(secret),
        **scheduler_settings(profile.dashboard),
        "distributed.worker.preload": [IGNORE_SIGNALS],
        **{f"distributed.nanny.pre-spawn-environ.{key}": n for key, n in ALLOCATION.items()},
    }
    settings["temporary-directory"] = str(private_folder(_scratch(profile)))
    with dask.config.set(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use", category=UserWarning)
        try:
            with _deaf_to_hangup():
                cluster = started(partial(_local_cluster, profile, limits, security, secret))
        except (OSError, RuntimeError, TimeoutError) as error:
            raise ClusterError(
                f"cluster: kind: local: the local cluster does not start: {reason(error)}; "
                "expected a machine where worker processes can start: mend what is named, or run "
                "with --serial"
            ) from error
        # Not the session's default: one that cannot connect would stay it, and break a notebook.
        with (
            cluster,
            distributed.Client(cluster, security=security, set_as_default=False) as client,
        ):
            yield client


class _Cluster(distributed.LocalCluster):  # type: ignore[misc]
    """Dask's cluster on this machine, with a scheduler that shows its pages to the user alone."""

    async def _start(self) -> None:
        self.scheduler_spec["cls"] = Scheduler
        await super()._start()


def _local_cluster(
    profile: LocalProfile, limits: Limits, security: distributed.Security, secret: str
) -> distributed.LocalCluster:
    return _Cluster(
        n_workers=limits.workers,
        threads_per_worker=limits.threads,
        memory_limit=limits.memory_per_worker,
        processes=True,
        # All users of this machine can connect to its loopback.
        protocol="tls://",
        security=security,
        dashboard_address=dashboard_address(profile.dashboard),
        scheduler_kwargs={"dashboard": profile.dashboard != "off", "http_prefix": secret},
        # What fails is reported by the run itself, once and without tracebacks.
        silence_logs=logging.CRITICAL,
    )


@contextmanager
def _deaf_to_hangup() -> Iterator[None]:
    """Let processes that start meanwhile ignore the end of the terminal.

    Besides the workers it is the tracker of multiprocessing, which else would end before them.
    """
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _scratch(profile: LocalProfile) -> Path:
    """Return where what does not fit in memory may go; a folder of the profile is made.

    Raises:
        ClusterError: it cannot be made or written.
    """
    if profile.scratch is None:
        check_scratch()
        return temporary_folder()
    folder = profile.scratch.expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(None, "not writable")
    except OSError as error:
        raise ClusterError(
            f"cluster: scratch: {folder} cannot be used ({error.strerror}); choose another folder"
        ) from None
    return folder


def scheduler_settings(dashboard: int | str) -> dict[str, Any]:
    """Return what Dask's configuration must say where our scheduler is started."""
    settings: dict[str, Any] = {
        **safe_settings(),
        # Windows stay where their carry is: a stolen one would pull it across.
        "distributed.scheduler.work-stealing": False,
        **WORKER_SETTINGS,
    }
    if dashboard == "off":  # nothing is served, so there is no address to show
        settings |= {"distributed.scheduler.http.routes": [], "distributed.dashboard.link": ""}
    return settings


def dashboard_address(choice: int | str) -> str:
    """Return where the dashboard listens: this machine only, another port if 8787 is taken."""
    if choice == "off":
        return "127.0.0.1:0"  # the scheduler's health page only
    if choice != "auto":
        return f"127.0.0.1:{choice}"
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", 8787)) == 0
    return f"127.0.0.1:{0 if taken else 8787}"


@contextmanager
def _external(profile: ExternalProfile) -> Iterator[distributed.Client]:
    address = profile.address or _address_in(Path(str(profile.scheduler_file)))
    security = site_credentials(profile.security).security if profile.security else None
    try:
        client = distributed.Client(
            address, security=security, timeout=profile.timeout, set_as_default=False
        )
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"cluster: no scheduler answers at {address} within {profile.timeout:g} s ({error}); "
            "check the address, or start one with: dask scheduler"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=profile.timeout)
        except TimeoutError:
            raise ClusterError(
                f"cluster: the scheduler at {address} has no workers, and none came within "
                f"{profile.timeout:g} s; start some with: {command('dask', 'worker', address)}"
            ) from None
        yield client


def _address_in(scheduler_file: Path) -> str:
    """Read the address of a scheduler from the file that it wrote.

    Raises:
        ClusterError: there is no such file, or no address in it.
    """
    where = f"cluster: scheduler_file: {scheduler_file}"
    try:
        content = json.loads(scheduler_file.expanduser().read_text(encoding="utf-8"))
        return str(content["address"])
    except OSError as error:
        raise ClusterError(
            f"{where} cannot be read ({error.strerror}); is the scheduler up?"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ClusterError(
            f"{where} holds no address; expected the file that dask scheduler --scheduler-file "
            "writes"
        ) from None

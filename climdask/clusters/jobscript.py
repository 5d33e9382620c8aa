"""Job scripts: what a batch system is given for a job, through dask-jobqueue's classes.

All of it follows from the profile; nothing is submitted here, and nothing needs the batch system
to be installed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import dask
import yaml

from climdask.clusters.amounts import bytes_of
from climdask.clusters.batchsystems import SYSTEMS, BatchSystem, system_of
from climdask.clusters.credentials import Credentials, credentials_in
from climdask.clusters.local import ALLOCATION, WORKER_SETTINGS, batch_limits
from climdask.errors import ClusterError, ConfigError
from climdask.plaintext import check_no_controls, one_line
from climdask.planning.plan import Limits
from climdask.settings.profiles import BatchProfile, seconds_of

# Seconds that a worker looks for its scheduler: what is left of a dead run ends by itself.
DEATH_TIMEOUT = 60

# A task has one thread of Dask; libraries with threads of their own would share its core.
# HDF5's own lock fails on many shared filesystems; ours is beside it.
ENVIRONMENT: Mapping[str, str] = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
    "HDF5_USE_FILE_LOCKING": "FALSE",
    **{key: str(n) for key, n in ALLOCATION.items()},
    **{
        f"DASK_{key.upper().replace('.', '__').replace('-', '_')}": str(value)
        for key, value in WORKER_SETTINGS.items()
    },
}


# Dask imports from its folder for what does not fit in memory, and in the node's folder for
# temporary files it would take one that another user has made.
OWN_SCRATCH = (
    'export DASK_TEMPORARY_DIRECTORY="$(mktemp -d)"; '
    """trap 'rm -rf "$DASK_TEMPORARY_DIRECTORY"' EXIT"""
)


def inside_job() -> bool:
    """Whether this process runs in a job of a batch system, and not on a login node."""
    return any(system.inside_variable in os.environ for system in SYSTEMS.values())


def inheritable(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for submitting a job.

    Inside a job what that job was given is left out, where the new one would obey it.
    """
    inside = [system for system in SYSTEMS.values() if system.inside_variable in environ]
    own = tuple(beginning for system in inside for beginning in system.kept_back)
    kept = {name for system in inside for name in system.handed_on}
    return {k: v for k, v in environ.items() if k in kept or not k.startswith(own)}


def setup_lines(profile: BatchProfile) -> list[str]:
    """Return the shell lines before Python starts: modules, prologue, environment."""
    modules = [
        "type module >/dev/null 2>&1 || . /etc/profile",  # a job's shell is no login shell
        f"module load {shlex.join(profile.modules)}",
    ]
    return [
        *(modules if profile.modules else ()),
        *profile.prologue,
        "export " + " ".join(f"{key}={shlex.quote(value)}" for key, value in ENVIRONMENT.items()),
    ]


def scratch_lines(profile: BatchProfile) -> list[str]:
    """Return the shell line for a folder of the job's own, where nobody has chosen another."""
    chosen = profile.scratch or dask.config.get("temporary-directory", None)
    return [] if chosen else [OWN_SCRATCH]


def python_of(profile: BatchProfile) -> str:
    """Return the Python of the jobs, quoted for a shell: the profile's, or this one."""
    return shlex.quote(profile.python or sys.executable)


def lifetime(walltime: float) -> tuple[float, float]:
    """Return when a worker ends by itself and by how much that varies, in seconds.

    A worker that leaves before its job's end hands over what it holds. The last one leaves a
    twentieth of the walltime before that end (a minute if there is time for it), and they leave
    one by one, so that others still work while a replacement waits in the queue.
    """
    margin = max(walltime / 20, min(60.0, walltime / 4))
    stagger = walltime / 10
    return walltime - margin - stagger, stagger


def worker_arguments(profile: BatchProfile, credentials: Credentials) -> list[str]:
    """Return arguments of ``dask worker`` that dask-jobqueue does not give; paths, no secrets."""
    after, stagger = lifetime(seconds_of(profile.walltime))
    arguments = {
        "--lifetime": f"{after:.0f}s",
        "--lifetime-stagger": f"{stagger:.0f}s",
        "--worker-port": profile.worker_ports,
        "--nanny-port": profile.nanny_ports,
        "--tls-ca-file": credentials.ca_file,
        "--tls-cert": credentials.cert,
        "--tls-key": credentials.key,
        # What a worker tells of itself is on the scheduler's page; its own is for its host only.
        "--dashboard-address": "127.0.0.1:0",
    }
    given = [
        word
        for key, value in arguments.items()
        if value is not None
        for word in (key, shlex.quote(str(value)))
    ]
    return [*given, "--no-dashboard"]


def job_options(profile: BatchProfile, logs: Path, credentials: Credentials) -> dict[str, Any]:
    """Return the keywords of dask-jobqueue's job class, but for interface and protocol.

    Raises:
        ConfigError: a key says what the batch system cannot do.
    """
    system = system_of(profile.kind)
    quoted = shlex.quote if system.shell_script else str
    folder = _literal(logs, system)
    own = [_with_logs(line, folder, system) for line in system.directives]
    options: dict[str, Any] = {
        "cores": profile.cores,
        "memory": bytes_of(profile.memory),
        "processes": profile.processes,
        "python": python_of(profile),
        "death_timeout": DEATH_TIMEOUT,
        # Expanded where the job runs.
        "local_directory": f'"{profile.scratch}"' if profile.scratch else None,
        "job_name": "climdask",
        "job_script_prologue": [*setup_lines(profile), *scratch_lines(profile)],
        "worker_extra_args": worker_arguments(profile, credentials),
        "job_extra_directives": [*own, *profile.directives],
    }
    if system.queue:
        options[system.queue] = profile.partition and quoted(profile.partition)
    if system.walltime:
        options["walltime"] = system.walltime(seconds_of(profile.walltime))
    if system.account and profile.account is not None:
        options[system.account] = quoted(profile.account)
    return {**options, **system.more_options(profile, options)}


def _literal(logs: Path, system: BatchSystem) -> str:
    """Return the folder of logs as it is written into the header of a job.

    Raises:
        ConfigError: it has characters that mean something there.
    """
    cure = "expected a folder without it: change logs in the cluster profile, or output.root"
    try:
        check_no_controls(str(logs))
        return system.literal(str(logs))
    except ValueError as error:
        said = str(error)
        what = (
            said if len(said) > 1 else f'has "{said}", which {system.title} does not take as it is'
        )
        raise ConfigError(f"cluster: logs: {one_line(str(logs))}: {what}; {cure}") from None


def _with_logs(line: str, logs: str, system: BatchSystem) -> str:
    """Put the folder of logs into a line of the header, whose words may have blanks."""
    if not system.shell_script:  # a value ends with its line
        return line.replace("{logs}", logs)
    return " ".join(shlex.quote(word.replace("{logs}", logs)) for word in line.split())


def interface_of(profile: BatchProfile) -> str | None:
    """Return the network interface of the workers, quoted for a shell."""
    return profile.interface and shlex.quote(profile.interface)


# ---------------------------------------------------------------- dask-jobqueue


def import_jobqueue() -> ModuleType:
    """Import dask-jobqueue, without what its import does besides.

    It replaces the handler of Ctrl-C, which fails outside the main thread, and copies a file into
    the user's folder of settings.

    Raises:
        ClusterError: it is not installed.
    """
    import signal

    with _idle(signal, "signal"), _idle(dask.config, "ensure_file"):
        try:
            import dask_jobqueue
        except ImportError as error:
            raise ClusterError(
                f"batch systems need dask-jobqueue ({error}); install it with: "
                'pip install "climdask[slurm]"'
            ) from None
    return dask_jobqueue


@contextmanager
def _idle(module: ModuleType, name: str) -> Iterator[None]:
    """Let a function do nothing for a while."""
    real = getattr(module, name)
    setattr(module, name, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(module, name, real)


def jobqueue_defaults() -> dict[str, Any]:
    """Return dask-jobqueue's own defaults: what is in the user's file for it does not count.

    Raises:
        ClusterError: dask-jobqueue is not installed.
    """
    source = files(import_jobqueue().__name__).joinpath("jobqueue.yaml")
    content: dict[str, Any] = yaml.safe_load(source.read_text(encoding="utf-8"))
    return content


def job_class(profile: BatchProfile, limits: Limits) -> Any:
    """Return dask-jobqueue's job class for a profile, with the workers that the plan counts on.

    Raises:
        ClusterError: dask-jobqueue is not installed.
    """
    base = system_of(profile.kind).job_class(import_jobqueue())

    class Job(base):  # type: ignore[misc, valid-type]
        worker_process_threads = limits.threads
        worker_process_memory = f"{limits.memory_per_worker}B"

        def __init__(self, *args: Any, security: Any = None, **keywords: Any) -> None:
            del security  # its files are among the worker's arguments, quoted
            super().__init__(*args, **keywords)

    return Job


def check_programs(profile: BatchProfile) -> None:
    """Look for the programs of the batch system.

    Raises:
        ClusterError: they are not there.
    """
    system = system_of(profile.kind)
    for program in (system.submit, system.cancel):
        if shutil.which(program) is None:
            raise ClusterError(
                f"cluster: {program} is not found, so no jobs of {system.title} can be submitted "
                f"here; run this on a login node of the cluster, or load {system.title}'s module"
            )


def job_script(
    profile: BatchProfile,
    *,
    logs: Path = Path("OUT_DIR/.climdask/runs/RUN/jobs"),
    credentials: Credentials | None = None,
    address: str = "tls://SCHEDULER:PORT",
) -> str:
    """Return the script of a worker's job; by default with placeholders for what a run decides.

    Raises:
        UserError: dask-jobqueue is not installed, or a key is wrong.
    """
    return str(example_job(profile, logs, credentials, address).job_script())


def job_header(profile: BatchProfile, *, logs: Path, name: str, skip: Sequence[str] = ()) -> str:
    """Return the lines for the batch system at the top of a job's script, as a worker's has them.

    Args:
        profile: says what the job needs.
        logs: folder of its log.
        name: of the job.
        skip: words; lines of dask-jobqueue with one of them are left out.

    Raises:
        UserError: dask-jobqueue is not installed, or a key is wrong.
    """
    job = example_job(profile, logs, job_name=name, job_directives_skip=list(skip))
    return str(job.job_header)


def example_job(
    profile: BatchProfile,
    logs: Path,
    credentials: Credentials | None = None,
    address: str = "",
    wrap: Callable[[Any], Any] = lambda job: job,
    **more: Any,
) -> Any:
    """Return dask-jobqueue's job of a profile, which belongs to no cluster.

    Args:
        profile, logs, credentials, address: what its script tells.
        wrap: makes another class of its class.
        more: further keywords of dask-jobqueue.

    Raises:
        UserError: dask-jobqueue is not installed, or a key is wrong.
    """
    options = job_options(profile, logs, credentials or credentials_in(logs.parent / "tls"))
    options |= {"interface": interface_of(profile), "protocol": "tls://", **more}
    limits = batch_limits(profile, profile.jobs * profile.processes)
    with dask.config.set(jobqueue_defaults()), ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # of dask-jobqueue's, about its own keywords
        return wrap(job_class(profile, limits))(address, name="climdask-0", **options)

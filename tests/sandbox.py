"""Real batch systems on this machine for the tests: SLURM of cluster/sandbox.sh and Grid Engine of
cluster/sandbox-sge.sh, on ports of their own."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import socket
import string
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.tools import lacking, wait_for

CLUSTER = Path(__file__).parents[1] / "cluster"
SCRIPT = CLUSTER / "sandbox.sh"
SGE_SCRIPT = CLUSTER / "sandbox-sge.sh"
# Debian keeps the daemons where an ordinary user's path does not look.
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


@dataclass(frozen=True)
class Sandbox:
    """A SLURM that runs.

    Attributes:
        env: environment in which sbatch, squeue and climdask find it.
        nodes: names of its nodes.
        found_by: those variables of it by which it is found.
    """

    env: dict[str, str]
    nodes: tuple[str, ...]
    found_by: dict[str, str] = field(default_factory=dict)

    def call(self, *words: object, check: bool = True) -> str:
        """Call a program of the batch system; return what it prints."""
        done = subprocess.run(
            [str(w) for w in words], env=self.env, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def queue(self) -> dict[str, str]:
        """Return the state of each job that waits or runs, by its id."""
        lines = self.call("squeue", "-h", "-o", "%A %T").splitlines()
        return dict(line.split() for line in lines)

    def cancel_all(self) -> None:
        """Cancel every job."""
        if jobs := self.queue():
            self.call("scancel", *jobs, check=False)

    def wait_empty(self) -> None:
        """Wait until no job is left: one that is cancelled takes a moment to end."""
        wait_for(lambda: not self.queue())


class GridEngine(Sandbox):
    """A Grid Engine that runs, on one node."""

    def queue(self) -> dict[str, str]:
        lines = self.call("qstat", "-u", "*").splitlines()[2:]
        return {row[0]: row[4] for row in map(str.split, lines)}

    def cancel_all(self) -> None:
        self.call("qdel", "-u", "*", check=False)


def sandbox(nodes: int = 2) -> AbstractContextManager[Sandbox]:
    """Start a SLURM, and stop what was started; skip where it is not installed."""
    prefix = "".join(random.choices(string.ascii_lowercase, k=4))
    settings = {"SANDBOX_PREFIX": prefix, "SANDBOX_NODES": str(nodes)}
    names = tuple(f"{prefix}{i + 1}" for i in range(nodes))
    programs = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
    return _started(Sandbox, SCRIPT, programs, settings, names)


def gridengine() -> AbstractContextManager[Sandbox]:
    """Start a Grid Engine, and stop what was started; skip where it is not installed."""
    programs = ("sge_qmaster", "sge_execd", "qsub", "qstat", "qdel", "qconf")
    return _started(GridEngine, SGE_SCRIPT, programs, {}, (socket.gethostname(),))


@contextmanager
def _started(
    kind: type[Sandbox],
    script: Path,
    programs: Sequence[str],
    settings: Mapping[str, str],
    nodes: tuple[str, ...],
) -> Iterator[Sandbox]:
    for program in programs:
        if shutil.which(program, path=PATH) is None:
            lacking(f"{program} is not installed; cluster/{script.name} install")
    # Sockets below it have short names, and two sandboxes have nothing in common.
    folder = Path(tempfile.mkdtemp(prefix="sandbox-", dir="/tmp"))
    port = next(filter(_free, iter(lambda: random.randrange(20_000, 30_000, 20), None)))
    env = {**os.environ, "SANDBOX_DIR": str(folder), "SANDBOX_PORT": str(port), **settings}
    try:
        up = _script(script, "up", env)
        if up.returncode:
            lacking(f"{script.name} does not start: {up.stdout}{up.stderr}")
        words = shlex.split(_script(script, "env", env).stdout)
        found_by = dict(word.split("=", 1) for word in words if "=" in word)
        yield kind({**os.environ, **found_by}, nodes, found_by)
    finally:
        _script(script, "clean", env)
        shutil.rmtree(folder, ignore_errors=True)


def _free(first: int, ports: int = 20) -> bool:
    """Whether nobody listens on some ports of this machine."""
    for port in range(first, first + ports):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return False
    return True


def _script(script: Path, verb: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(script), verb], env=env, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip

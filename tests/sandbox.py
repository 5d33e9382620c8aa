"""A real SLURM on this machine for the tests: cluster/sandbox.sh, on ports of its own."""

from __future__ import annotations

import os
import random
import shutil
import string
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.tools import lacking

SCRIPT = Path(__file__).parents[1] / "cluster/sandbox.sh"
# Debian keeps the daemons where an ordinary user's path does not look.
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


@dataclass(frozen=True)
class Sandbox:
    """A SLURM that runs.

    Attributes:
        env: environment in which sbatch, squeue and climdask find it.
        nodes: names of its nodes.
    """

    env: dict[str, str]
    nodes: tuple[str, ...]

    def call(self, *words: object, check: bool = True) -> str:
        """Call a program of SLURM; return what it prints."""
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


@contextmanager
def sandbox(nodes: int = 2) -> Iterator[Sandbox]:
    """Start a SLURM, and stop what was started; skip where it is not installed."""
    for tool in ("munged", "slurmctld", "slurmd", "sbatch", "srun"):
        if shutil.which(tool, path=PATH) is None:
            lacking(f"SLURM is not installed ({tool}); cluster/sandbox.sh install")
    # Sockets below it have short names, and two sandboxes have nothing in common.
    folder = Path(tempfile.mkdtemp(prefix="sandbox-", dir="/tmp"))
    prefix = "".join(random.choices(string.ascii_lowercase, k=4))
    env = {**os.environ, "SANDBOX_DIR": str(folder), "SANDBOX_PREFIX": prefix}
    env |= {"SANDBOX_NODES": str(nodes), "SANDBOX_PORT": str(random.randrange(20_000, 30_000, 20))}
    try:
        up = _script("up", env)
        if up.returncode:
            lacking(f"SLURM does not start: {up.stdout}{up.stderr}")
        conf = {"SLURM_CONF": str(folder / "etc/slurm.conf")}
        yield Sandbox({**os.environ, **conf}, tuple(f"{prefix}{i + 1}" for i in range(nodes)))
    finally:
        _script("clean", env)
        shutil.rmtree(folder, ignore_errors=True)


def _script(verb: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), verb], env=env, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip

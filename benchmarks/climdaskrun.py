"""One run of climdask as a user calls it, with what its processes took."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.arms import ARMS, REFERENCE, ClimdaskArm
from benchmarks.job import Job
from benchmarks.measure import command_environment

PERIOD = 0.2  # seconds between two looks at the memory


@dataclass(frozen=True)
class Run:
    """What a run took.

    Attributes:
        wall: seconds from the start of the process to its end.
        own: seconds that the run itself gives, planning and starting Python left out.
        opens: openings of input files.
        worker_peaks: bytes, the largest resident size of each worker, descending.
    """

    wall: float
    own: float
    opens: int
    worker_peaks: tuple[int, ...]


def workflow_of(job: Job, out: Path, **changes: Any) -> dict[str, Any]:
    """Return the workflow of a job, some keys of it changed."""
    arm = ARMS[REFERENCE]
    assert isinstance(arm, ClimdaskArm)
    return {**arm.workflow(job, out), **changes}


def run_climdask(
    job: Job, out: Path, *, cluster: Mapping[str, Any] | None = None, **changes: Any
) -> Run:
    """Run a job into a new folder; ``changes`` are keys of the workflow.

    Raises:
        RuntimeError: the run failed.
    """
    out.mkdir(parents=True)
    files = {"workflow": workflow_of(job, out, **changes), "cluster": {"kind": "local"}}
    files["cluster"] |= cluster or {}
    for name, content in files.items():
        (out / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    command = [sys.executable, "-m", "climdask.cli", "run", str(out / "workflow.yaml"),
               "--cluster", str(out / "cluster.yaml"), "--quiet"]  # fmt: skip
    peaks: dict[int, int] = {}
    with (out / "log.txt").open("wb") as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=command_environment()
        )
        while process.poll() is None:
            _note_peaks(process.pid, peaks)
            time.sleep(PERIOD)
        wall = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError((out / "log.txt").read_text(encoding="utf-8"))
    figures = ARMS[REFERENCE].figures(out)
    return Run(wall, figures["seconds"], figures["opens"], tuple(sorted(peaks.values())[::-1]))


def _note_peaks(pid: int, peaks: dict[int, int]) -> None:
    """Note the peak resident size of each worker so far."""
    with suppress(psutil.Error, OSError):
        for child in psutil.Process(pid).children(recursive=True):
            if "spawn_main" in " ".join(child.cmdline()):
                peaks[child.pid] = max(peaks.get(child.pid, 0), _peak(child))


def _peak(process: psutil.Process) -> int:
    """Return the peak resident size: the kernel's where it tells it, else the present one."""
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return int(process.memory_info().rss)

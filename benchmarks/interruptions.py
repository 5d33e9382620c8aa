"""Runs that a signal or kill ends at random moments: do they end, and are the normals right?

``python -m benchmarks.interruptions --count 200``: SIGTERM, SIGINT and SIGKILL in turn, to the
whole session as a terminal or batch system sends it, in both formats. After each a rerun goes on;
when one is done, the audit of its traces is read, its normals are compared bit by bit with those
of a run that nobody disturbed, and the folder is emptied. ``--normals workflows/statistics.yaml``
does so with statistics, months, seasons and years.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import netCDF4
import psutil
import yaml

from benchmarks.arguments import job_of, parser_of, write_figures
from benchmarks.climdaskrun import workflow_of
from benchmarks.measure import command_environment

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
FORMATS = ("netcdf", "zarr")
PATIENCE = 60.0  # seconds in which a run must have ended after a signal
EARLY = 0.15  # seconds in which Python itself may still be starting, where no code of ours runs
DATED = {"history", "date_created"}


@dataclass
class Trial:
    """A workflow in one format that is interrupted again and again.

    Attributes:
        slowest: the longest time between a signal and the end, in seconds.
        counts: how often each thing happened; faults have names of :data:`FAULTS`.
    """

    folder: Path
    flow: Path
    right: dict[str, str]
    slowest: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def out(self) -> Path:
        """Where the normals are."""
        return self.folder / "out"


FAULTS = ("hangs", "processes left", "exit codes", "tracebacks", "overlaps", "wrong normals")


def _left(session: int) -> list[psutil.Process]:
    """Return the living processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (OSError, psutil.Error):
            continue
    return found


def interrupt(trial: Trial, number: signal.Signals, after: float) -> bool:
    """Start or go on with a run and send it a signal; tell whether it was done before."""
    process = subprocess.Popen(
        [sys.executable, "-m", "climdask", "run", str(trial.flow), "--quiet"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=command_environment(),
    )  # fmt: skip
    time.sleep(after)
    began = time.monotonic()
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        trial.counts["done before"] += 1
    try:
        _, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        trial.counts["hangs"] += 1
        errors = ""
    trial.slowest = max(trial.slowest, time.monotonic() - began)
    for one in (left := _left(process.pid)):
        one.kill()
    trial.counts["processes left"] += len(left)
    code = process.wait()
    trial.counts[f"{number.name} exit code {code}"] += 1
    by_python = after < EARLY and code in (1, -number)
    if number != signal.SIGKILL and not by_python:
        trial.counts["exit codes"] += code not in (0, 130)
        trial.counts["tracebacks"] += "Traceback" in errors
    return code == 0


def contents(out: Path) -> dict[str, str]:
    """Return a hash of everything in each normal but its dates, by path."""
    found = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = str(path.relative_to(out))
        if name.startswith(".climdask"):
            continue
        if path.suffix == ".nc":
            with netCDF4.Dataset(path) as dataset:
                dataset.set_auto_maskandscale(False)
                parts: list[object] = [(k, dataset.getncattr(k)) for k in dataset.ncattrs()]
                parts = [part for part in parts if part[0] not in DATED]  # type: ignore[index]
                parts += [(n, v[...].tobytes()) for n, v in dataset.variables.items()]
            found[name] = hashlib.sha256(repr(parts).encode()).hexdigest()
        elif path.name != "zarr.json" or path.parent.suffix != ".zarr":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def finish(trial: Trial) -> None:
    """Let the run end, compare its normals and read its audit; then begin anew."""
    command = [sys.executable, "-m", "climdask"]
    done = subprocess.run(
        [*command, "run", str(trial.flow), "--quiet"], env=command_environment(), check=False
    )
    trial.counts["exit codes"] += done.returncode != 0
    trial.counts["wrong normals"] += contents(trial.out) != trial.right
    audit = subprocess.run(
        [*command, "audit", str(trial.out)], env=command_environment(), check=False,
        capture_output=True,
    )  # fmt: skip
    trial.counts["overlaps"] += audit.returncode != 0
    trial.counts["finished and compared"] += 1
    shutil.rmtree(trial.out)


def trials(job_flow: dict[str, object], folder: Path) -> dict[str, Trial]:
    """Return a trial for each format, with the normals of a run that nobody disturbed."""
    found = {}
    for kind in FORMATS:
        place = folder / kind
        place.mkdir()
        given = {**job_flow, "output": {"root": str(place / "out"), "format": kind}}
        flow = place / "workflow.yaml"
        flow.write_text(yaml.safe_dump(given), encoding="utf-8")
        order = [sys.executable, "-m", "climdask", "run", str(flow), "--quiet", "--serial"]
        subprocess.run(order, env=command_environment(), check=True)
        found[kind] = Trial(place, flow, contents(place / "out"))
        shutil.rmtree(place / "out")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Interrupt, compare, print; exit code 1 if anything is not as it should be."""
    parser = parser_of("interruptions", "Signals and kills at random moments.", scale=0.002)
    parser.add_argument("--count", type=int, default=200, help="signals in all")
    parser.add_argument("--longest", type=float, default=8.0, help="seconds until a signal")
    parser.add_argument("--compare-every", type=int, default=5, help="signals before a run ends")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--normals", type=Path, help="a workflow whose key normals is taken")
    given = parser.parse_args(argv)
    more = {}
    if given.normals:
        more = {"normals": yaml.safe_load(given.normals.read_text(encoding="utf-8"))["normals"]}
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        job = job_of(given)
        both = trials(workflow_of(job, Path(folder) / "unused", **more), Path(folder))
        for n in range(given.count):
            trial = both[FORMATS[n % 2]]
            number, after = SIGNALS[n % 3], chance.uniform(0.001, given.longest)
            done = interrupt(trial, number, after)
            if done or n // 2 % given.compare_every == given.compare_every - 1:
                finish(trial)
            if (n + 1) % 20 == 0:
                print(f"{n + 1} of {given.count}", flush=True)
    for kind, trial in both.items():
        print(f"{kind}: ended within {trial.slowest:.1f} s")
        for what, times in sorted({**dict.fromkeys(FAULTS, 0), **trial.counts}.items()):
            print(f"  {times:4}  {what}")
    write_figures(given.json, {k: {**t.counts, "slowest": t.slowest} for k, t in both.items()})
    return int(any(t.counts[fault] for t in both.values() for fault in FAULTS))


if __name__ == "__main__":
    sys.exit(main())

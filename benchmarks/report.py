"""What a session tells: the table, and everything as JSON."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.answers import decoded_bytes, tolerance
from benchmarks.arms import PROGRAMS, REFERENCE
from benchmarks.job import Job
from benchmarks.session import Run, Session

PACKAGES = ("climdask", "dask", "distributed", "flox", "h5py", "hidefix", "netCDF4", "numpy",
            "pyfive", "xarray", "zarr")  # fmt: skip
HEADINGS = ("arm", "targets", "runs", "wall s: median (min-max)", "s per target",
            "x climdask", "own s", "CPU s", "peak MB", "left MB", "answers")  # fmt: skip


def table(session: Session) -> str:
    """Return the table, in Markdown; an arm of a share of the targets says so."""
    rows = [HEADINGS, *(_row(session, arm.name) for arm in session.arms)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    widths[-1] = len(HEADINGS[-1])  # nothing stands right of it
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def _row(session: Session, name: str) -> tuple[str, ...]:
    runs = [run for run in session.runs if run.arm == name]
    if not runs:
        return (name, *["-"] * (len(HEADINGS) - 2), f"skipped: {session.skipped.get(name, '?')}")
    summary = summarise(session, name)
    low, high = summary["wall_min"], summary["wall_max"]
    return (
        name,
        session.job.share(runs[0].targets),
        str(len(runs)),
        f"{summary['wall']:.2f} ({low:.2f}-{high:.2f})",
        f"{summary['per_target']:.3f}",
        f"{summary['ratio']:.2f}" if summary["ratio"] is not None else "-",
        f"{summary['own_seconds']:.2f}",
        f"{summary['cpu']:.1f}",
        f"{summary['peak_bytes'] / 1e6:.0f}",
        f"{summary['written'] / 1e6:.1f}",
        answers_of(runs),
    )


def answers_of(runs: Sequence[Run]) -> str:
    """Say whether an arm was right in all its runs."""
    wrong = [run.verdict for run in runs if not run.verdict.right]
    if wrong:
        return f"VOID: {wrong[0].text}"
    largest = max(run.verdict.largest for run in runs)
    return f"right: {runs[0].verdict.compared} compared, off by <= {largest:.1e}"


def summarise(session: Session, name: str) -> dict[str, Any]:
    """Return the medians of an arm's runs, and of its ratios to climdask in the same rounds."""
    runs = [run for run in session.runs if run.arm == name]
    own = {run.round: run for run in session.runs if run.arm == REFERENCE}
    walls = [run.measured.wall for run in runs]
    ratios = [run.per_target / own[run.round].per_target for run in runs if run.round in own]
    return {
        "targets": len(runs[0].targets),
        "targets_of": len(session.job.targets),
        "runs": len(runs),
        "wall": median(walls),
        "wall_min": min(walls),
        "wall_max": max(walls),
        "per_target": median(run.per_target for run in runs),
        "ratio": median(ratios) if ratios else None,
        "cpu": median(run.measured.user + run.measured.system for run in runs),
        "peak_bytes": max(run.measured.peak_bytes for run in runs),
        "written": max(run.written for run in runs),
        "own_seconds": median(run.figures.get("seconds", run.measured.wall) for run in runs),
        "answers": answers_of(runs),
    }


def describe(job: Job, environment: dict[str, Any]) -> str:
    """Say what the data are, and what a target is."""
    data = environment["data"]
    models = ", ".join(f"{s.variable} ({s.model}, {s.calendar})" for s in job.series)
    held = "warm: read once before" if data["fits_in_memory"] else "too small for the data"
    return (
        f"Data: {data['files']} files, {data['stored_bytes'] / 1e6:.0f} MB, decoded "
        f"{data['decoded_bytes'] / 1e6:.0f} MB; {job.rows} x {job.columns} cells, years "
        f"{job.first_year}-{job.last_year}; {models}\n"
        f"Job: {len(job.targets)} target years {job.targets[0]}-{job.targets[-1]}, windows of "
        f"{job.window} years; a target is {len(job.series)} variables x {len(job.regions)} regions "
        f"({', '.join(job.regions)})\n"
        f"Cores: {job.cores}; load before: {environment['load_before']}; page cache: {held}"
    )


def environment(job: Job) -> dict[str, Any]:
    """Return what figures depend on: machine, versions, size of the data."""
    stored = sum(path.stat().st_size for _, path in job.files)
    memory = psutil.virtual_memory()
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": job.cores,
        "memory_bytes": memory.total,
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "packages": {name: _version(name) for name in PACKAGES},
        "programs": {name: _program_version(name) for name in PROGRAMS},
        "data": {
            "files": len(job.files),
            "stored_bytes": stored,
            "decoded_bytes": decoded_bytes(job),
            "fits_in_memory": stored < 0.7 * memory.available,
        },
    }


def as_json(session: Session, environment: dict[str, Any]) -> dict[str, Any]:
    """Return everything; paths are left out."""
    job = session.job
    names = [arm.name for arm in session.arms if any(run.arm == arm.name for run in session.runs)]
    return {
        "environment": environment,
        "job": {
            "series": [asdict(series) for series in job.series],
            "years": [job.first_year, job.last_year],
            "window": job.window,
            "targets": list(job.targets),
            "regions": list(job.regions),
            "grid": [job.rows, job.columns],
            "tolerance": tolerance(job),
        },
        "arms": {name: summarise(session, name) for name in names},
        "skipped": session.skipped,
        "runs": [asdict(run) for run in session.runs],
        "exit_code": session.exit_code,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _program_version(program: str) -> str | None:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return (done.stdout or done.stderr).splitlines()[0]


def _cpu() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()

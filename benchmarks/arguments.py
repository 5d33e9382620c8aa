"""What the small benchmarks beside the arms have in common: arguments, data, and JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dask.system import CPU_COUNT

from benchmarks.data import make_data
from benchmarks.job import SERIES, Job, Series, make_job


def parser_of(name: str, text: str, *, scale: float = 0.04) -> argparse.ArgumentParser:
    """Return a parser of the arguments that describe a job."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=text)
    parser.add_argument("--scale", type=float, default=scale, help="cells against 600 x 1440")
    parser.add_argument("--targets", type=int, default=31, help="target years")
    parser.add_argument("--window", type=int, default=30, help="years")
    parser.add_argument("--data", type=Path, default=Path("benchmark-data"), help="made, or reused")
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    return parser


def job_of(given: argparse.Namespace, series: Sequence[Series] = SERIES) -> Job:
    """Return the job that arguments describe, with its data made."""
    job = make_job(
        given.data.absolute(), scale=given.scale, targets=given.targets, window=given.window,
        cores=CPU_COUNT, series=series,
    )  # fmt: skip
    make_data(job, print)
    return job


def write_figures(path: Path | None, figures: Any) -> None:
    """Write figures as JSON, if a file was asked for."""
    if path:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")

"""Wall time of a run against number of years, variables, and cores.

``python -m benchmarks.scaling --scale 0.04``: seconds of the run itself, medians of some rounds.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from dask.system import CPU_COUNT

from benchmarks.arguments import job_of, parser_of, write_figures
from benchmarks.climdaskrun import run_climdask
from benchmarks.job import Job

Case = tuple[str, Job, Mapping[str, Any]]


def cases(job: Job, cores: int) -> Iterator[Case]:
    """Yield what to run: a name, the job, and the cluster profile."""
    targets = len(job.targets)
    for fewer in sorted({max(1, targets // share) for share in (4, 2, 1)}):
        less = replace(job, first_year=job.first_year + targets - fewer)
        yield f"{len(less.years)} years", less, {}
    for count in range(1, len(job.series)):
        few = replace(job, series=job.series[:count])
        yield f"{count} variable{'s' * (count > 1)}", few, {}
    for workers, threads in ((1, 1), (1, cores), (cores, 1), (2 * cores, 2)):
        yield f"{workers} x {threads} threads", job, {"workers": workers, "threads": threads}


def measure_scaling(job: Job, cores: int, rounds: int, out: Path) -> list[dict[str, Any]]:
    """Run each case some times, in alternation."""
    taken: dict[str, list[float]] = {}
    for number in range(rounds):
        for name, own, cluster in cases(job, cores):
            run = run_climdask(own, out / f"{number}-{name.replace(' ', '-')}", cluster=cluster)
            taken.setdefault(name, []).append(run.own)
    return [
        {
            "case": name,
            "files": len(own.files),
            "targets": len(own.targets),
            "seconds": median(taken[name]),
            "range": [min(taken[name]), max(taken[name])],
        }
        for name, own, _ in cases(job, cores)
    ]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the cases as a table."""
    lines = [f"{'case':18}{'files':>7}{'targets':>9}{'seconds':>9}{'range':>14}{'s per file':>12}"]
    for row in rows:
        low, high = row["range"]
        lines.append(
            f"{row['case']:18}{row['files']:7}{row['targets']:9}{row['seconds']:9.1f}"
            f"{f'{low:.1f}-{high:.1f}':>14}{row['seconds'] / row['files']:12.3f}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the data, run, print."""
    parser = parser_of("scaling", "Wall time against years and cores.")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(argv)
    job = job_of(given)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure_scaling(job, CPU_COUNT, given.rounds, Path(folder))
    print(table(rows))
    write_figures(given.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

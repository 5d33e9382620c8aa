"""Peak memory of a worker against the plan's projection, for one to five regions and for global.

``python -m benchmarks.memory --scale 0.1``: one variable, one worker.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dask.utils import parse_bytes

import climdask
from benchmarks.arguments import job_of, parser_of, write_figures
from benchmarks.climdaskrun import run_climdask, workflow_of
from benchmarks.job import Job
from climdask.planning.plan import Limits
from climdask.planning.wording import size


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        cells: in all regions together.
        keeps_ring: whether the window's years stayed in memory.
        projected: bytes of the worker, by the plan.
        peak: bytes of the worker, by the kernel.
    """

    variable: str
    regions: tuple[str, ...]
    cells: int
    keeps_ring: bool
    lookahead: int
    opens: int
    projected: int
    peak: int

    @property
    def ratio(self) -> float:
        """Peak against projection."""
        return self.peak / self.projected


def measure_memory(
    job: Job, out: Path, regions: Sequence[str], memory: int, threads: int
) -> list[Row]:
    """Run each variable of a job on one worker of so many bytes."""
    rows = []
    for series in job.series:
        own = replace(job, series=(series,))
        place = out / f"{series.variable}-{'-'.join(regions)}"
        flow = workflow_of(own, out / "plan", regions=list(regions))
        plan = climdask.plan(flow, limits=Limits(memory, 1, threads))
        chain = plan.chains[0]
        cluster = {"workers": 1, "threads": threads, "memory": memory}
        run = run_climdask(own, place, cluster=cluster, regions=list(regions))
        rows.append(
            Row(
                series.variable, tuple(regions), chain.spec.selection.cells.size,
                chain.memory.keeps_ring, chain.memory.lookahead, run.opens,
                plan.worker_bytes, run.worker_peaks[0],
            )
        )  # fmt: skip
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return the runs as a table."""
    lines = [f"{'variable':9}{'regions':22}{'cells':>9}  {'window':10}{'ahead':>6}{'opens':>7}"
             f"{'projected':>12}{'peak':>12}{'ratio':>7}"]  # fmt: skip
    for row in rows:
        kept = "kept" if row.keeps_ring else "read again"
        lines.append(
            f"{row.variable:9}{' '.join(row.regions):22}{row.cells:9,}  {kept:10}"
            f"{row.lookahead:6}{row.opens:7}{size(row.projected):>12}{size(row.peak):>12}"
            f"{row.ratio:7.2f}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the data, run, print."""
    parser = parser_of("memory", "Peak memory against the projection.", scale=0.1)
    parser.add_argument("--threads", type=int, default=2, help="of the worker")
    parser.add_argument("--memory", default="16GiB", help="of the worker")
    parser.add_argument("--global-memory", default="8GiB", help="of the worker, for global")
    given = parser.parse_args(argv)
    whole = job_of(given)
    job = replace(whole, series=whole.series[:2])
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for count in range(1, len(job.regions) + 1):
            regions, memory = job.regions[:count], parse_bytes(given.memory)
            rows += measure_memory(job, Path(folder), regions, memory, given.threads)
        memory = parse_bytes(given.global_memory)
        rows += measure_memory(job, Path(folder), ["global"], memory, given.threads)
    print(table(rows))
    write_figures(given.json, [asdict(row) for row in rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())

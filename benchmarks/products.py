"""What each product costs, as a ratio to a run that makes the daily mean alone.

``python -m benchmarks.products --scale 0.04`` runs the job with each set of products, in another
order in each round, and compares each with the daily mean in the same round; then it makes pooled
percentiles of one target and variable with xclim and CDO.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.arguments import job_of, parser_of, write_figures
from benchmarks.climdaskrun import workflow_of
from benchmarks.job import Job
from benchmarks.measure import Measured, measure

ALONE = "daily mean alone"
POOLED = "p10, p50, p90 of 5 days"
PERCENTILES: dict[str, Any] = {"over_years": ["p10", "p50", "p90"], "pool_days": 5}
STEPS: list[dict[str, Any]] = [
    {"each": "month", "over_years": ["mean", "std"]},
    {"each": "month", "within": "sum", "variables": ["pr"]},
    {"each": "season"},
    {"each": "year"},
    {"each": "year", "within": "days above 20 degC", "variables": ["tasmax"], "name": "warm_days"},
    {"each": "year", "within": "days below 0 degC", "variables": ["tasmin"], "name": "frost_days"},
    {"each": "year", "within": "growing degree days above 10 degC", "variables": ["tas"]},
    {"each": "year", "within": "max of 5-day sum", "variables": ["pr"], "name": "rx5day"},
]


@dataclass(frozen=True)
class Case:
    """A set of products.

    Attributes:
        limit: of the ratio of CPU seconds, if one was set.
    """

    name: str
    normals: tuple[Any, ...] = ()
    limit: float | None = None
    change: bool = False

    def keys(self, job: Job) -> dict[str, Any]:
        """Return the keys of the workflow that ask for it."""
        known = {series.variable for series in job.series}
        own = [
            entry
            for entry in self.normals
            if isinstance(entry, str) or known.issuperset(entry.get("variables", ()))
        ]
        found: dict[str, Any] = {"normals": ["mean", *own]} if own else {}
        if self.change:
            first = job.targets[0] - job.window + 1
            reference = f"{first}-{job.targets[0]}"
            found["change"] = {"reference": reference, "relative_floor": "0.1 mm/day"}
        return found


CASES = (
    Case(ALONE),
    Case("std", ("std",), 1.15),
    Case("min, max", ({"over_years": ["min", "max"]},)),
    Case("median", ("median",)),
    Case(POOLED, (PERCENTILES,), 4.0),
    Case("months, seasons, years, thresholds", tuple(STEPS), 1.25),
    Case("smoothed", ({"smooth": {"harmonics": 4}, "name": "smooth"},)),
    Case("change", change=True),
    Case("all of these", ("std", {"over_years": ["min", "max"]}, PERCENTILES, *STEPS), change=True),
)


@dataclass(frozen=True)
class Row:
    """What a set of products took.

    Attributes:
        cpu, wall: seconds, medians.
        cpu_ratio, wall_ratio: to the daily mean alone in the same round, medians.
        peak: bytes of all processes, the largest.
    """

    name: str
    cpu: float
    wall: float
    cpu_ratio: float
    wall_ratio: float
    peak: int
    limit: float | None


def measure_products(job: Job, rounds: int, work: Path, only: Sequence[str] = ()) -> list[Row]:
    """Run each set of products in each round."""
    cases = [case for case in CASES if not only or case.name in (ALONE, *only)]
    found: dict[str, list[Measured]] = {case.name: [] for case in cases}
    for number in range(rounds):
        for case in random.Random(number).sample(cases, len(cases)):
            out = work / f"{number}-{case.name.replace(' ', '-')}"
            found[case.name].append(run_once(job, out, case.keys(job)))
    base = found[ALONE]
    return [
        Row(
            case.name,
            median(map(_cpu, found[case.name])),
            median(one.wall for one in found[case.name]),
            median(_cpu(a) / _cpu(b) for a, b in zip(found[case.name], base, strict=True)),
            median(a.wall / b.wall for a, b in zip(found[case.name], base, strict=True)),
            max(one.peak_bytes for one in found[case.name]),
            case.limit,
        )
        for case in cases
    ]


def run_once(job: Job, out: Path, keys: dict[str, Any]) -> Measured:
    """Run a job with some keys of the workflow, and remove what it wrote.

    Raises:
        RuntimeError: the run failed.
    """
    out.mkdir(parents=True)
    path = out / "workflow.yaml"
    path.write_text(yaml.safe_dump(workflow_of(job, out, **keys)), encoding="utf-8")
    command = [sys.executable, "-m", "climdask.cli", "run", str(path), "--quiet"]
    done = measure(command, out / "log.txt")
    if done.code:
        raise RuntimeError((out / "log.txt").read_text(encoding="utf-8"))
    for written in sorted((out / "normals").rglob("*"), reverse=True):
        written.rmdir() if written.is_dir() else written.unlink()
    return done


def _cpu(one: Measured) -> float:
    return one.user + one.system


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [
        "| products beside the mean | CPU s | x the mean | limit | wall s | x the mean | peak MB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        limit = f"{row.limit:g}" if row.limit else ""
        lines.append(
            f"| {row.name} | {row.cpu:.1f} | {row.cpu_ratio:.2f} | {limit} | {row.wall:.1f} | "
            f"{row.wall_ratio:.2f} | {row.peak / 1e6:.0f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the tables."""
    parser = parser_of("products", __doc__ or "")
    parser.add_argument("--rounds", type=int, default=3, help="how often each set is made")
    parser.add_argument("--only", default="", help="sets of products, separated by ;")
    parser.add_argument("--peers", type=int, default=1, help="rounds of xclim and CDO; 0 for none")
    given = parser.parse_args(arguments)
    job = job_of(given)
    only = [name.strip() for name in given.only.split(";") if name.strip()]
    with tempfile.TemporaryDirectory(prefix="products-") as work:
        rows = measure_products(job, given.rounds, Path(work), only)
        print(table(rows))
        lines = _beside_peers(job, given.peers, Path(work), rows) if given.peers else []
    for line in lines:
        print(line)
    write_figures(given.json, [asdict(row) for row in rows])
    return 0


def _beside_peers(job: Job, rounds: int, work: Path, rows: Sequence[Row]) -> list[str]:
    """Say what xclim and CDO take for the pooled percentiles of one target and variable."""
    from benchmarks.pooled import PEERS, measure_peer

    ours = next((row for row in rows if row.name == POOLED), None)
    if ours is None:
        return []
    each = ours.cpu / len(job.targets) / len(job.series)
    lines = ["", f"{POOLED}, CPU seconds for one target and variable, all regions:",
             f"climdask: {each:.2f}, its reading and the mean included"]  # fmt: skip
    for peer in PEERS:
        took = measure_peer(peer, job, rounds, work)
        if isinstance(took, str):
            lines.append(f"{peer}: skipped, {took}")
        else:
            lines.append(f"{peer}: {took:.1f}, {took / each:.0f} times as much")
    return lines


if __name__ == "__main__":
    sys.exit(main())

"""What each product costs: a whole job with it against the same job with the mean alone.

``python -m benchmarks.products`` runs the job with the mean alone and with each product, in
alternation, and prints the CPU seconds of all processes, and the ratio to the mean alone in the
same round beside the limit that was set. ``python -m benchmarks.kernels`` times the arithmetic.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.arguments import job_of, parser_of, write_figures
from benchmarks.climdaskrun import workflow_of
from benchmarks.job import SERIES, Job
from benchmarks.measure import ROOT, measure

ROUNDS = 3
MEAN = "mean"
POOLED = {"over_years": ["p10", "p50", "p90"], "pool_days": 5}
STATISTICS = ROOT / "workflows" / "statistics.yaml"


@dataclass(frozen=True)
class Product:
    """What a job makes.

    Attributes:
        normals: as in a workflow.
        limit: CPU seconds against those of the mean alone, at most; None if none was set.
    """

    normals: tuple[Any, ...]
    limit: float | None = None


def products_of(variables: Sequence[str]) -> dict[str, Product]:
    """Return the products for a job of some variables, by name; the mean alone comes first."""
    given = yaml.safe_load(STATISTICS.read_text(encoding="utf-8"))["normals"]
    own = [normal for normal in (_of(one, variables) for one in given) if normal is not None]
    steps = [normal for normal in own if isinstance(normal, dict) and "each" in normal]
    monthly = {"each": "month", "over_years": ["mean", "std", "p90"]}
    return {
        MEAN: Product((MEAN,)),
        "std": Product((MEAN, "std"), 1.15),
        "min, max": Product((MEAN, {"over_years": ["min", "max"]})),
        "median": Product((MEAN, "median")),
        "p10, p50, p90 of 5 days": Product((MEAN, POOLED), 4.0),
        "months: mean, std, p90": Product((MEAN, monthly)),
        "months, seasons, years, thresholds": Product((MEAN, *steps), 1.25),
        "all of statistics.yaml": Product(tuple(own)),
    }


def _of(normal: Any, variables: Sequence[str]) -> Any:
    """Return a normal of those of its variables that the job has; None if it has none of them."""
    if not isinstance(normal, dict) or "variables" not in normal:
        return normal
    kept = [name for name in normal["variables"] if name in variables]
    return {**normal, "variables": kept} if kept else None


@dataclass(frozen=True)
class Cost:
    """What one run took: seconds from its start to its end, and CPU seconds of all processes."""

    wall: float
    cpu: float


def run_product(job: Job, normals: Sequence[Any], out: Path) -> Cost:
    """Run a job into a new folder.

    Raises:
        RuntimeError: the run failed.
    """
    out.mkdir(parents=True)
    flow = workflow_of(job, out, normals=list(normals))
    path, log = out / "workflow.yaml", out / "log.txt"
    path.write_text(yaml.safe_dump(flow), encoding="utf-8")
    took = measure([sys.executable, "-m", "climdask", "run", str(path), "--quiet"], log)
    if took.code:
        raise RuntimeError(log.read_text(encoding="utf-8"))
    return Cost(took.wall, took.user + took.system)


def compare(
    job: Job,
    products: Mapping[str, Product],
    rounds: int,
    out: Path,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, list[Cost]]:
    """Run each product once a round; every other round in the opposite order.

    What a run writes is deleted before the next begins.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in products}
    for number in range(rounds):
        for name in list(products)[:: -1 if number % 2 else 1]:
            with tempfile.TemporaryDirectory(dir=out) as folder:
                cost = run_product(job, products[name].normals, Path(folder) / "run")
            costs[name].append(cost)
            report(f"round {number + 1}: {name}: {cost.cpu:.1f} s of CPU, {cost.wall:.1f} s")
    return costs


def ratios(costs: Mapping[str, Sequence[Cost]], name: str) -> list[float]:
    """Return the CPU seconds of a product against those of the mean alone in each round."""
    return [a.cpu / b.cpu for a, b in zip(costs[name], costs[MEAN], strict=True)]


def table(products: Mapping[str, Product], costs: Mapping[str, Sequence[Cost]]) -> str:
    """Return the costs as a table: medians, and the range of the ratio."""
    lines = [
        "| product | CPU s | wall s | CPU x mean alone: median (min-max) | limit |",
        "|---|---|---|---|---|",
    ]
    for name, product in products.items():
        found = ratios(costs, name)
        limit = f"{product.limit:.2f}" if product.limit else ""
        lines.append(
            f"| {name} | {median(c.cpu for c in costs[name]):.1f} "
            f"| {median(c.wall for c in costs[name]):.1f} "
            f"| {median(found):.2f} ({min(found):.2f}-{max(found):.2f}) | {limit} |"
        )
    return "\n".join(lines)


def _chosen(given: argparse.Namespace, products: Mapping[str, Product]) -> dict[str, Product]:
    """Return the products that were asked for, by numbers, and the mean alone."""
    if not given.only:
        return dict(products)
    names = list(products)
    return {name: products[name] for name in dict.fromkeys([MEAN, *(names[n] for n in given.only)])}


def main(argv: Sequence[str] | None = None) -> int:
    """Make the data, run, print."""
    parser = parser_of("products", "What each product costs against the mean alone.")
    every = [series.variable for series in SERIES]
    parser.add_argument("--variables", nargs="+", choices=every, default=["pr", "tasmax"])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    numbers = range(len(products_of(every)))
    named = ", ".join(f"{n} {name}" for n, name in enumerate(products_of(every)))
    parser.add_argument("--only", nargs="+", type=int, choices=numbers, metavar="N", help=named)
    given = parser.parse_args(argv)
    job = job_of(given, [series for series in SERIES if series.variable in given.variables])
    products = _chosen(given, products_of(given.variables))
    with tempfile.TemporaryDirectory() as folder:
        costs = compare(job, products, given.rounds, Path(folder), _say)
    print(table(products, costs))
    write_figures(given.json, {n: [vars(cost) for cost in costs[n]] for n in products})
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

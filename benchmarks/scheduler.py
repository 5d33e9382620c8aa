"""What the scheduler costs: a run of many chains whose tasks do nothing and open nothing.

``python -m benchmarks.scheduler --chains 300`` builds the graphs of 300 chains of 150 years with
two scenario branches each, and runs them through the driver, with file tokens and progress, on
workers that answer at once. What is measured is so the most that graph builder, driver, scheduler
and workers together can pass on.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil

from benchmarks.arguments import write_figures
from benchmarks.nothing import nothing
from climdask.climatology.grids import RectilinearGrid
from climdask.clusters.local import open_cluster
from climdask.execution import graph
from climdask.execution.tasks import RunContext
from climdask.inputs.access import FileAccess
from climdask.inputs.headers import Header
from climdask.inputs.inventory import InputFile, Inventory, Series
from climdask.monitoring.progress import RunProgress
from climdask.monitoring.watcher import ChainWatcher, topic
from climdask.planning.plan import Limits, Plan
from climdask.planning.survey import survey
from climdask.running.driver import Driver, plugins
from climdask.settings.profiles import LocalProfile
from climdask.settings.workflow import Workflow, load

SCENARIOS = ("ssp245", "ssp585")
LAST_HISTORICAL = 2014


TASKS = SimpleNamespace(
    **dict.fromkeys(("read", "restore", "window", "write", "tick", "checkpoint"), nothing)
)
STAGES = {"chain", *vars(TASKS)}


def plan_of(
    root: Path,
    chains: int,
    first: int,
    last: int,
    limits: Limits,
    variables: Sequence[str] = ("pr",),
) -> Plan:
    """Plan chains of annual files that do not exist, two scenarios each."""
    workflow = _workflow(root, first, variables)
    made = tuple(
        Series(f"M{n // len(variables):03}", "r1i1p1f1", "gn", variables[n % len(variables)],
               _files(n, first, last))
        for n in range(chains)
    )  # fmt: skip
    grid = RectilinearGrid(np.arange(-59.5, 90.0, 1.0), np.arange(0.5, 360.0, 1.0))
    header = Header("none.nc", "pr", "kg m-2 s-1", "noleap", "float32", grid)
    inventory = Inventory(root, made, ())
    headers = dict.fromkeys((s.id for s in made), header)
    return survey(workflow, inventory, headers).fitted(limits)


def _workflow(root: Path, first: int, variables: Sequence[str]) -> Workflow:
    content = {
        "input": {"root": str(root)},
        "variables": list(variables),
        "scenarios": list(SCENARIOS),
        "regions": ["CONUS"],
        "targets": f"{first + 29}-2100",
        "output": {"root": str(root / "out")},
    }
    return load(content)


def _files(number: int, first: int, last: int) -> tuple[InputFile, ...]:
    years = [(y, "historical") for y in range(first, LAST_HISTORICAL + 1)]
    years += [(y, s) for s in SCENARIOS for y in range(LAST_HISTORICAL + 1, last + 1)]
    return tuple(
        InputFile((y, 1, 1), (y, 12, 31), f"{number}/{s}/{y}.nc", s, (), 1 << 28, 1)
        for y, s in years
    )


def _finished(run_id: str, dask_scheduler: Any = None) -> int:
    """Return how many tasks of the chains are done; called on the scheduler."""
    watcher: ChainWatcher = dask_scheduler.plugins[topic(run_id)]
    return sum(len(keys) for (_, stage), keys in watcher.done.items() if stage in STAGES)


def simulate(chains: int, years: int, workers: int) -> dict[str, float]:
    """Run the chains; return seconds, tasks and bytes."""
    me = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        limits = Limits(None, workers, 1)
        began = time.perf_counter()
        plan = plan_of(root, chains, 2101 - years, 2100, limits)
        planned = time.perf_counter() - began
        access = FileAccess("simulated", root / "locks", root / "traces", 60.0)
        access.prepare()
        context = RunContext("simulated", root / "out", root, access, "fail", 0)
        with patch.object(graph, "tasks", TASKS):
            began = time.perf_counter()
            built = graph.build_chain(plan, plan.chains[0], context)
            building = time.perf_counter() - began
            with open_cluster(LocalProfile(dashboard="off"), limits) as client:
                before, cpu = me.memory_info().rss, sum(me.cpu_times()[:2])
                began = time.perf_counter()
                progress = RunProgress.of(plan)
                with plugins(client, plan, context, progress):
                    Driver(client, plan, context, progress).drive()
                    finished = client.run_on_scheduler(_finished, context.run_id)
                seconds = time.perf_counter() - began
                cpu = sum(me.cpu_times()[:2]) - cpu
                memory = me.memory_info().rss - before
    n_tasks = len(built.tasks) * chains
    assert not progress.failures, progress.failures
    return {
        "chains": chains,
        "years": years,
        "workers": workers,
        "tasks": n_tasks,
        "finished": finished,
        "planning_seconds": planned,
        "graph_seconds_per_chain": building,
        "graph_bytes_per_chain": len(pickle.dumps(built.tasks)),
        "seconds": seconds,
        "tasks_per_second": n_tasks / seconds,
        "scheduler_cpu_seconds": cpu,
        "scheduler_memory_bytes": memory,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the simulation and print what it took."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scheduler", description="A run whose tasks do nothing."
    )
    parser.add_argument("--chains", type=int, default=300)
    parser.add_argument("--years", type=int, default=150)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    given = parser.parse_args(argv)
    found = simulate(given.chains, given.years, given.workers)
    for name, value in found.items():
        print(f"{name.replace('_', ' '):26} {value:,.3f}".rstrip("0").rstrip("."))
    write_figures(given.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

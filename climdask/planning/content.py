"""A plan as a mapping for JSON, for programs that read it: ``climdask plan --json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from climdask.inputs.inventory import InputFile, Series
from climdask.planning.plan import Chain, Plan


def content(plan: Plan) -> dict[str, Any]:
    """Return what a plan says: years as lists, memory and output in bytes.

    Keys are only added between versions of climdask, never renamed.
    """
    series = {one.id: one for one in plan.inventory.series}
    flow = plan.workflow
    return {
        "input": {"root": str(plan.inventory.root), "files": plan.inventory.n_files},
        "output": {"root": str(flow.output.root), "format": flow.output.format},
        "window": {
            "years": flow.window, "min_years": flow.years_needed, "leap_day": flow.leap_day,
        },
        "cluster": {
            "workers": plan.limits.workers,
            "threads_per_worker": plan.limits.threads,
            "memory_per_worker": plan.limits.memory_per_worker,
            "useful_workers": min(plan.limits.workers, max(1, plan.homes)),
            "chains_at_once": min(plan.at_once, len(plan.chains)),
            "projected_memory_per_worker": plan.worker_bytes,
        },
        "totals": {
            "chains": len(plan.chains),
            "failed_chains": len(plan.failures),
            "normals": plan.n_normals,
            "opens": plan.opens,
            "files": plan.files,
            "output_bytes": plan.output_bytes,
        },
        "chains": [_chain(chain, series[chain.id]) for chain in plan.all_chains],
        "failures": dict(plan.failures),
        "notes": list(plan.notes),
    }  # fmt: skip


def _chain(chain: Chain, series: Series) -> dict[str, Any]:
    spec = chain.spec
    reads = chain.branches.reads
    return {
        "id": chain.id,
        "model": spec.model,
        "member": spec.member,
        "grid": spec.grid,
        "variable": spec.variable,
        "units": spec.header.units,
        "calendar": spec.header.calendar,
        "last_historical_year": spec.periods.last_historical_year,
        "inputs": {
            scenario: _files([f for f in series.files if f.scenario == scenario])
            for scenario in sorted({f.scenario for f in series.files})
        },
        "targets": {branch: list(years) for branch, years in chain.targets.items()},
        "products": {
            own.frequency: [product.name(own.variable) for product in own.products]
            for own in spec.frequencies
        },
        "regions": [
            {"name": r.place.name, "lat": r.lat.size, "lon": r.lon.size}
            for r in spec.selection.regions
        ],
        "normals": chain.n_normals,
        "opens": sum(len(read.slice.files) for read in reads),
        "files": len({file.path for read in reads for file in read.slice.files}),
        "memory": {
            "bytes": chain.memory.n_bytes,
            "keeps_window": chain.memory.keeps_ring,
            "lookahead": chain.memory.lookahead,
        },
        "output_bytes": chain.output_bytes,
    }


def _files(files: Sequence[InputFile]) -> dict[str, Any]:
    """Return how many files an experiment has, their bytes and their years by name."""
    return {
        "files": len(files),
        "bytes": sum(file.size for file in files),
        "years": sorted({year for file in files for year in file.years}),
    }

"""A plan, printed: files, gaps, chains, targets, opens, memory and output size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from climdask.inventory import describe
from climdask.years import run_lengths

if TYPE_CHECKING:
    from climdask.plan import Chain, Plan


def lines(plan: Plan) -> Iterator[str]:
    """Yield the plan as lines of text."""
    flow = plan.workflow
    yield f"input    {plan.inventory.root}: {plan.inventory.n_files} files"
    yield f"output   {flow.output.root} ({flow.output.format})"
    regions = plan.all_chains[0].spec.selection.regions if plan.all_chains else ()
    for region in regions:
        yield f"region   {region.box}: {region.lat.size} x {region.lon.size} cells"
    yield f"window   {flow.window} years, min_years {flow.years_needed}, leap_day {flow.leap_day}"
    for chain in plan.all_chains:
        yield from _chain(plan, chain)
    for name, why in plan.failures.items():
        yield from f"FAILED   {name}: {why}".replace("\n", "\n         ").splitlines()
    for note in plan.notes:
        yield f"note     {note}"
    yield from _totals(plan)


def _chain(plan: Plan, chain: Chain) -> Iterator[str]:
    series = next(s for s in plan.inventory.series if s.id == chain.id)
    yield f"chain    {chain.id}: {describe(series)}"
    spec = chain.spec
    yield f"         grid {spec.header.grid}; {spec.header.calendar}; {spec.header.units}"
    for leg, years in chain.targets.items():
        by_period: dict[str, list[int]] = {}
        for year in years:
            by_period.setdefault(spec.periods.name(year, leg), []).append(year)
        for period, own in by_period.items():
            yield f"         {period}: target years {run_lengths(own)} ({len(own)})"
    how = "window kept in memory" if chain.memory.keeps_ring else "leaving years read again"
    yield (
        f"         opens {len(chain.legs.reads)} of "
        f"{len({r.slice.file.path for r in chain.legs.reads})} files; {how}: "
        f"{size(chain.memory.n_bytes)} projected"
    )


def _totals(plan: Plan) -> Iterator[str]:
    limits = plan.limits
    memory = "no limit" if limits.memory_per_worker is None else size(limits.memory_per_worker)
    yield (
        f"cluster  {limits.workers} workers of {limits.threads} threads and {memory}; "
        f"{min(plan.at_once, len(plan.chains))} chains at once, "
        f"{size(plan.worker_bytes)} of each worker at most"
    )
    if limits.workers > max(1, plan.homes):
        yield f"note     only {plan.homes} of the {limits.workers} workers can be of use"
    yield (
        f"total    {len(plan.chains)} chains, {plan.n_normals} normals, {plan.opens} opens of "
        f"{plan.files} files, output at most {size(plan.output_bytes)} before compression"
    )


def size(n_bytes: float) -> str:
    """Return bytes as text, such as ``2.3 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"

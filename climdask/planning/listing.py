"""A plan, printed: files, gaps, chains, targets, opens, memory and output size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from climdask.climatology.calendars import run_lengths
from climdask.climatology.products import DAILY_MEAN
from climdask.inputs.inventory import Series, describe
from climdask.plaintext import quantity

if TYPE_CHECKING:
    from climdask.planning.plan import Chain, ChainSpec, Plan


def lines(plan: Plan) -> Iterator[str]:
    """Yield the plan as lines of text."""
    flow = plan.workflow
    yield f"input    {plan.inventory.root}: {quantity(plan.inventory.n_files, 'file')}"
    yield f"output   {flow.output.root} ({flow.output.format})"
    regions = plan.all_chains[0].spec.selection.regions if plan.all_chains else ()
    for region in regions:
        yield f"region   {region.place}: {region.lat.size} x {region.lon.size} cells"
    rules = f"min_years {flow.years_needed}, leap_day {flow.leap_day}"
    yield f"window   {quantity(flow.window, 'year')}, {rules}"
    series = {one.id: one for one in plan.inventory.series}
    for chain in plan.all_chains:
        yield from _chain(chain, series[chain.id])
    for name, why in plan.failures.items():
        yield from f"FAILED   {name}: {why}".replace("\n", "\n         ").splitlines()
    for note in plan.notes:
        yield f"note     {note}"
    yield from _totals(plan)


def _chain(chain: Chain, series: Series) -> Iterator[str]:
    yield f"chain    {chain.id}: {describe(series)}"
    spec = chain.spec
    yield f"         grid {spec.header.grid}; {spec.header.calendar}; {spec.header.units}"
    if spec.products != (DAILY_MEAN,) or spec.others:
        yield f"         makes {'; '.join(map(_products, spec.frequencies))}"
    for branch, years in chain.targets.items():
        by_period: dict[str, list[int]] = {}
        for year in years:
            by_period.setdefault(spec.periods.name(year, branch), []).append(year)
        for period, own in by_period.items():
            yield f"         {period}: target years {run_lengths(own)} ({len(own)})"
    yield f"         {_opens(chain)}; {size(chain.memory.n_bytes)} of memory projected"


def _products(spec: ChainSpec) -> str:
    """Return the products of a frequency: ``mon: tas, tas_std``."""
    return f"{spec.frequency}: {', '.join(p.name(spec.variable) for p in spec.products)}"


def _opens(chain: Chain) -> str:
    """Say how often files are opened, and why one more than once."""
    reads = chain.branches.reads
    files = Counter(read.slice.file.path for read in reads)
    why = ["the window stays in memory"]
    if not chain.memory.keeps_ring:
        why = ["the window does not fit in memory, so each year is read again when it leaves"]
    parts = Counter((r.slice.file.path, r.blocks[0].again) for r in reads)
    if any(n > 1 for n in parts.values()):
        most = quantity(chain.slice_years, "year")
        why.append(f"a longer file is opened once for every {most}, a tenth of the memory")
    return f"opens {len(reads)} of {quantity(len(files), 'file')}: {'; '.join(why)}"


def _totals(plan: Plan) -> Iterator[str]:
    limits = plan.limits
    memory = "no limit" if limits.memory_per_worker is None else size(limits.memory_per_worker)
    yield (
        f"cluster  {quantity(limits.workers, 'worker')} of {quantity(limits.threads, 'thread')} "
        f"and {memory}; {quantity(min(plan.at_once, len(plan.chains)), 'chain')} at once, "
        f"{size(plan.worker_bytes)} of each worker at most"
    )
    if limits.workers > max(1, plan.homes):
        yield f"note     only {plan.homes} of the {limits.workers} workers can be of use"
    yield (
        f"total    {quantity(len(plan.chains), 'chain')}, {quantity(plan.n_normals, 'normal')}, "
        f"{quantity(plan.opens, 'open')} of {quantity(plan.files, 'file')}, output at most "
        f"{size(plan.output_bytes)} before compression"
    )


def size(n_bytes: float) -> str:
    """Return bytes as text, such as ``2.3 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"

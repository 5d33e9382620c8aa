"""A plan, printed: files, gaps, chains, targets, opens, memory and output size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from climdask.climatology.calendars import run_lengths
from climdask.inputs.inventory import Series, describe
from climdask.plaintext import quantity
from climdask.planning.overview import is_long, notes_of, overview
from climdask.planning.wording import makes, openings, size

if TYPE_CHECKING:
    from climdask.climatology.places import RegionCells
    from climdask.planning.plan import Chain, Plan
    from climdask.settings.change import ChangeSection


def lines(plan: Plan) -> Iterator[str]:
    """Yield the plan as lines of text."""
    flow = plan.workflow
    yield f"input    {plan.inventory.root}: {quantity(plan.inventory.n_files, 'file')}"
    yield f"output   {flow.output.root} ({flow.output.format})"
    regions = plan.all_chains[0].spec.selection.regions if plan.all_chains else ()
    for region in regions:
        yield f"region   {region.place}: {_places(region)}"
    rules = f"min_years {flow.years_needed}, leap_day {flow.leap_day}"
    yield f"window   {quantity(flow.window, 'year')}, {rules}"
    if flow.change:
        yield f"change   {_change(flow.change)}"
    yield from overview(plan) if is_long(plan) else _chains(plan)
    for name, why in plan.failures.items():
        yield from f"FAILED   {name}: {why}".replace("\n", "\n         ").splitlines()
    for note in notes_of(plan):
        yield f"note     {note}"
    yield from _totals(plan)


def _places(region: RegionCells) -> str:
    if region.areas is not None:
        return f"missing where less than {region.areas.min_coverage:g} of an area has values"
    return f"{region.lat.size} x {region.lon.size} cells"


def _change(change: ChangeSection) -> str:
    periods = ", ".join(f"{w.first_year}-{w.last_year}" for w in change.references)
    floors = f", in percent from {' and '.join(f.text for f in change.floors)} on"
    return f"against {periods}{floors if change.floors else ''}"


def _chains(plan: Plan) -> Iterator[str]:
    series = {one.id: one for one in plan.inventory.series}
    for chain in plan.all_chains:
        yield from _chain(plan, chain, series[chain.id])


def _chain(plan: Plan, chain: Chain, series: Series) -> Iterator[str]:
    yield f"chain    {chain.id}: {describe(series)}"
    spec = chain.spec
    yield f"         grid {spec.header.grid}; {spec.header.calendar}; {spec.header.units}"
    if made := makes(spec):
        yield f"         makes {made}"
    for branch, years in chain.targets.items():
        by_period: dict[str, list[int]] = {}
        for year in years:
            by_period.setdefault(spec.periods.name(year, branch), []).append(year)
        for period, own in by_period.items():
            yield f"         {period}: target years {run_lengths(own)} ({len(own)})"
    yield f"         {_opens(plan, chain)}; {size(chain.memory.n_bytes)} of memory projected"


def _opens(plan: Plan, chain: Chain) -> str:
    """Say how often files are opened, and why one more than once."""
    reads = chain.branches.reads
    files = Counter(file.path for read in reads for file in read.slice.files)
    why = openings(chain)
    mates = [c for group in plan.together if chain in group for c in group if c is not chain]
    if mates:
        why += f"; in the same openings as {', '.join(c.spec.variable for c in mates)}"
    return f"opens {files.total()} of {quantity(len(files), 'file')}: {why}"


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

"""Many chains of a plan in few lines: what they have in common, and a row for each model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from climdask.climatology.calendars import run_lengths
from climdask.plaintext import quantity
from climdask.planning.wording import makes, openings, size

if TYPE_CHECKING:
    from climdask.planning.plan import Chain, Plan

# More than these are shown as a table.
MOST_CHAINS = 30
_NONE, _FAILED = "-", "FAILED"


def overview(plan: Plan) -> Iterator[str]:
    """Yield what the chains have in common, and where one is different, and the table."""
    chains = plan.all_chains
    yield from _alike("grid", chains, lambda c: str(c.spec.header.grid))
    yield from _alike("calendar", chains, lambda c: c.spec.header.calendar)
    for variable in sorted({c.spec.variable for c in chains}):
        own = [c for c in chains if c.spec.variable == variable]
        yield from _alike("units", own, lambda c: f"{c.spec.variable}: {c.spec.header.units}")
        yield from _alike("makes", own, lambda c: makes(c.spec))
    for branch in _branches(plan):
        yield from _alike("targets", chains, partial(_targets, branch))
    yield from _alike("reading", chains, openings)
    yield from _table(plan)


def is_long(plan: Plan) -> bool:
    """Tell whether a plan has too many chains to tell of each."""
    return len(plan.all_chains) + len(plan.failures) > MOST_CHAINS


def notes_of(plan: Plan) -> list[str]:
    """Return the notes of a plan; of many chains those that say the same are one."""
    if not is_long(plan):
        return list(plan.notes)
    return list(grouped_notes(plan.notes, [chain.id for chain in plan.all_chains]))


def grouped_notes(notes: Iterable[str], ids: Iterable[str]) -> Iterator[str]:
    """Yield notes; what is said of several chains is said once, with the names of all."""
    known, found = set(ids), defaultdict(list)
    for note in notes:
        name, _, text = note.partition(": ")
        found[text if name in known else note].append(name if name in known else "")
    for text, names in found.items():
        if names[0] == "":
            yield text
        elif len(names) == 1:
            yield f"{names[0]}: {text}"
        else:
            yield f"{quantity(len(names), 'chain')}: {text}: {', '.join(names)}"


def _alike(word: str, chains: Sequence[Chain], tell: Callable[[Chain], str]) -> Iterator[str]:
    """Yield each thing that is told of chains, most of them first, and who differs from most."""
    groups: dict[str, list[str]] = defaultdict(list)
    for chain in chains:
        if told := tell(chain):
            groups[told].append(chain.id)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    for place, (told, names) in enumerate(ordered):
        who = f": {', '.join(names)}" if place else ""
        yield f"{word:<9}{told} ({quantity(len(names), 'chain')}{who})"


def _targets(branch: str, chain: Chain) -> str:
    years = chain.targets.get(branch)
    return f"{branch} {run_lengths(years)}" if years else ""


def _branches(plan: Plan) -> list[str]:
    return list(dict.fromkeys(branch for c in plan.all_chains for branch in c.targets))


def _table(plan: Plan) -> Iterator[str]:
    """Yield a row for each model, member and grid, and a column for each variable."""
    branches = _branches(plan)
    chains = {chain.id: chain for chain in plan.all_chains}
    parts = [name.rpartition("/") for name in (*chains, *plan.failures)]
    variables = sorted({variable for _, _, variable in parts})
    head = ["model/member/grid", *variables, "files", "opens", "memory"]
    rows = [
        [name, *_cells(name, variables, branches, chains, plan)]
        for name in sorted({name for name, _, _ in parts})
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    yield f"table    target years of {' + '.join(branches)}; memory of the largest chain"
    for row in (head, *rows):
        first, *others = (text.rjust(width) for text, width in zip(row, widths, strict=True))
        yield "         " + "  ".join([first.strip().ljust(widths[0]), *others])


def _cells(
    name: str,
    variables: Sequence[str],
    branches: Sequence[str],
    chains: Mapping[str, Chain],
    plan: Plan,
) -> Iterator[str]:
    """Yield the cells of a row after its name."""
    own = []
    for variable in variables:
        chain = chains.get(f"{name}/{variable}")
        if chain is None:
            yield _FAILED if f"{name}/{variable}" in plan.failures else _NONE
        else:
            own.append(chain)
            yield "+".join(str(len(chain.targets.get(branch, ()))) for branch in branches)
    reads = [read for chain in own for read in chain.branches.reads]
    yield str(len({file.path for read in reads for file in read.slice.files}))
    yield str(plan.opens_of(own))
    yield size(max(chain.memory.n_bytes for chain in own)) if own else _NONE

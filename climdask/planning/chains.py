"""The arithmetic of one chain: which years it steps through, and what each step reads.

A chain has a trunk (the historical experiment) and one leg for each scenario that follows it;
without scenarios the trunk is the only leg. Each leg is a sequence of :class:`Step`, one for each
source year; each step adds a year to the running sum and drops the one that left the window.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from climdask.climatology.calendars import Window
from climdask.inputs.inventory import InputFile
from climdask.planning.sourceyears import Sources, fork, owner, year_sources


@dataclass(frozen=True, order=True)
class BlockId:
    """The values of one source year.

    Attributes:
        leg: the leg whose files hold the year; the trunk's, up to the last historical year, but
            for a year that is split between two experiments.
        again: read a second time, for the year to leave the sum (where there is no ring).
    """

    leg: str
    year: int
    again: bool = False


@dataclass(frozen=True)
class CarryId:
    """The running sum of a leg after a year."""

    leg: str
    year: int


@dataclass(frozen=True)
class FileSlice:
    """The years of a file that one task reads: some of those from first to last, both included."""

    file: InputFile
    first_year: int
    last_year: int


@dataclass(frozen=True)
class Step:
    """One year of a leg.

    Attributes:
        before: the sum that the step starts from; None for an empty one.
        restores: ``before`` is a checkpoint of an earlier run.
        enters, leaves: the blocks added and dropped; None in a gap of the archive.
        is_target: the sum after this step makes a normal.
        has_checkpoint: the sum after this step is saved.
    """

    leg: str
    year: int
    before: CarryId | None
    restores: bool
    enters: BlockId | None
    leaves: BlockId | None
    is_target: bool
    has_checkpoint: bool


@dataclass(frozen=True)
class Read:
    """One opening of one file.

    Attributes:
        slice: what is read; ``slice.file.years`` may hold more.
        blocks: the blocks that get values from it, in order of year; several legs may have a
            block of the same year.
        first_use: leg, and place of the step on the way through trunk and leg.
        last_uses: for each leg that uses a block of it, the last year that does.
        after: index in ``Legs.reads`` of the slice of the same file that comes before it, if both
            are for years to enter, or both for years to leave.
    """

    slice: FileSlice
    blocks: tuple[BlockId, ...]
    first_use: tuple[str, int]
    last_uses: tuple[tuple[str, int], ...]
    after: int | None

    @property
    def years(self) -> tuple[int, ...]:
        """The years that are read, in order."""
        return tuple(dict.fromkeys(block.year for block in self.blocks))


@dataclass(frozen=True)
class Demand:
    """What a chain still has to make.

    Attributes:
        window: years in the window.
        trunk: name of the historical experiment.
        last_historical_year: last year that the trunk serves.
        targets: target years by leg, the trunk among the legs.
        checkpoints: years by leg whose carry an earlier run saved.
        checkpoint_every: years between checkpoints.
        keep_ring: keep the window's blocks in memory; else read the leaving year again.
        slice_years: years of one file that one task may read at most.
    """

    window: int
    trunk: str
    last_historical_year: int
    targets: Mapping[str, Collection[int]]
    checkpoints: Mapping[str, Collection[int]] = field(default_factory=dict)
    checkpoint_every: int = 10
    keep_ring: bool = True
    slice_years: int = 1


@dataclass(frozen=True)
class Legs:
    """A chain laid out: steps by leg, trunk first, and the openings of files in order of use."""

    trunk: str
    steps: Mapping[str, tuple[Step, ...]]
    reads: tuple[Read, ...]

    def way(self, leg: str) -> tuple[Step, ...]:
        """Return the steps of trunk and leg, one after the other."""
        own = () if leg == self.trunk else self.steps.get(leg, ())
        return self.steps.get(self.trunk, ()) + own

    @property
    def n_targets(self) -> int:
        """How many normals (of all regions together) the chain makes."""
        return sum(step.is_target for steps in self.steps.values() for step in steps)


def lay_out(demand: Demand, files: Mapping[str, Sequence[InputFile]]) -> Legs:
    """Lay out the steps and readings of a chain.

    Args:
        demand: what is wanted.
        files: the files that serve each leg, in order of time; those of the trunk are used up
            to the last historical year, those of a scenario after it.
    """
    sources = year_sources(demand.trunk, demand.last_historical_year, files)
    steps = _steps(demand, sources)
    return Legs(demand.trunk, steps, _reads(demand, steps, sources))


def _steps(demand: Demand, sources: Sources) -> dict[str, tuple[Step, ...]]:
    """Lay out the trunk and the legs; see the numbered cases in :func:`_stretches`."""
    trunk = demand.trunk
    # Where scenarios leave the trunk: before a year of which each has a part of its own.
    last = fork(sources, trunk, demand.last_historical_year)
    wanted = {leg: _years(demand, leg) for leg in demand.targets}
    own = {
        leg: list(_stretches(demand, leg, {y for y in years if y > last}))
        for leg, years in wanted.items()
        if leg != trunk
    }
    # A leg leans on the trunk if its first window reaches back into it, unless it restores a
    # checkpoint of its own.
    leaning = [
        leg
        for leg, stretches in own.items()
        if stretches and min(wanted[leg]) <= last and stretches[0].restores is None
    ]
    trunk_years = set(wanted.get(trunk, ())).union(
        *({y for y in wanted[leg] if y <= last} for leg in leaning)
    )
    leads_on = last if leaning else None
    trunk_stretches = list(_stretches(demand, trunk, trunk_years, leads_on=leads_on))
    steps = {trunk: _walk(demand, sources, trunk, trunk_stretches, leads_on)}
    for leg, stretches in own.items():
        if leg in leaning:
            shared = next(s for s in trunk_stretches if s.sum_start <= last <= s.last)
            stretches[0] = stretches[0].continuing(shared, last)
        steps[leg] = _walk(demand, sources, leg, stretches, None)
    return steps


def _years(demand: Demand, leg: str) -> set[int]:
    """Return the years of all windows of a leg."""
    return {y for t in demand.targets[leg] for y in Window.ending(t, demand.window).years}


@dataclass(frozen=True)
class _Stretch:
    """Years that follow each other in one leg.

    Attributes:
        first, last: years, both included; ``first > last`` if nothing is left but to lead on.
        sum_start: first year that is in the sum as the stretch begins.
        before: the carry it starts from, if any; ``restores`` if that is a checkpoint.
    """

    leg: str
    first: int
    last: int
    sum_start: int
    before: CarryId | None
    restores: CarryId | None

    def continuing(self, trunk: _Stretch, year: int) -> _Stretch:
        """Return this stretch of a leg, starting from the trunk's sum after ``year``."""
        return _Stretch(
            self.leg,
            self.first,
            self.last,
            trunk.sum_start,
            CarryId(trunk.leg, year),
            trunk.restores if trunk.first > year else None,  # nothing is left of the trunk
        )


def _stretches(
    demand: Demand, leg: str, years: Iterable[int], *, leads_on: int | None = None
) -> Iterator[_Stretch]:
    """Cut the years of a leg into stretches, and decide where each starts.

    ``leads_on`` is the year after which other legs start from the sum.

    1. Nothing saved: start from an empty sum and fill the window.
    2. An earlier run saved a carry within the stretch, before its first target: start there.
       The years before it are read only as they leave the window. Where blocks stay in memory
       that saves few readings over filling the window again, but the first new normal comes
       after two readings, so a run that is killed again and again still gets on.
    3. The first window reaches back into the trunk: start from the trunk's sum there
       (:meth:`_Stretch.continuing`).
    """
    targets = sorted(demand.targets.get(leg, ()))
    for first, last in _runs(years):
        due = [t for t in targets if first <= t <= last]
        if leads_on is not None and first <= leads_on <= last:
            due = sorted([*due, leads_on + 1])
        saved = [c for c in demand.checkpoints.get(leg, ()) if first <= c < due[0]]
        if saved:
            carry = CarryId(leg, max(saved))
            start = carry.year - demand.window + 1
            yield _Stretch(leg, carry.year + 1, last, start, carry, carry)
        else:
            yield _Stretch(leg, first, last, first, None, None)


def _runs(years: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of each run of years that follow each other."""
    ordered = sorted(years)
    starts = [y for i, y in enumerate(ordered) if i == 0 or ordered[i - 1] != y - 1]
    ends = [y for i, y in enumerate(ordered) if i + 1 == len(ordered) or ordered[i + 1] != y + 1]
    return zip(starts, ends, strict=True)


def _walk(
    demand: Demand,
    sources: Sources,
    leg: str,
    stretches: Sequence[_Stretch],
    leads_on: int | None,
) -> tuple[Step, ...]:
    """Turn stretches into steps; other legs start from the sum after ``leads_on``."""
    targets = set(demand.targets.get(leg, ()))
    steps: list[Step] = []
    for stretch in stretches:
        for year in range(stretch.first, stretch.last + 1):
            begins = year == stretch.first
            gone = year - demand.window
            is_due = year % demand.checkpoint_every == 0 and year != stretches[-1].last
            is_full = gone + 1 >= stretch.sum_start
            steps.append(
                Step(
                    leg,
                    year,
                    before=stretch.before if begins else CarryId(leg, year - 1),
                    restores=begins and stretch.restores is not None,
                    enters=_block(demand, sources, leg, year),
                    leaves=_block(demand, sources, leg, gone, leaves=True)
                    if gone >= stretch.sum_start
                    else None,
                    is_target=year in targets,
                    has_checkpoint=is_full and (is_due or year == leads_on),
                )
            )
    return tuple(steps)


def _block(
    demand: Demand, sources: Sources, leg: str, year: int, *, leaves: bool = False
) -> BlockId | None:
    whose = owner(sources, demand.trunk, demand.last_historical_year, leg, year)
    if (whose, year) not in sources:
        return None
    return BlockId(whose, year, again=leaves and not demand.keep_ring)


def _reads(
    demand: Demand, steps: Mapping[str, tuple[Step, ...]], sources: Sources
) -> tuple[Read, ...]:
    """Collect the openings of files, in order of first use; one serves all legs."""
    first_use, last_uses = _uses(demand, steps)
    by_file: dict[tuple[bool, InputFile], list[BlockId]] = defaultdict(list)
    for block in sorted(first_use, key=lambda b: (b.year, b.leg)):
        for file in sources[block.leg, block.year]:
            by_file[block.again, file].append(block)
    reads: list[Read] = []
    # A second reading does not wait for the first: its blocks would stay in memory until then.
    latest: dict[tuple[str, bool], int] = {}
    parts = [
        (min(first_use[b][::-1] for b in part), file, part)
        for (_, file), blocks in by_file.items()
        for part in _parts(blocks, demand.slice_years)
    ]
    for _, file, part in sorted(parts, key=lambda p: (p[0], p[1].path, p[2])):
        uses: dict[str, int] = defaultdict(int)
        for block in part:
            for leg, year in last_uses[block].items():
                uses[leg] = max(uses[leg], year)
        reads.append(
            Read(
                FileSlice(file, part[0].year, part[-1].year),
                tuple(part),
                min((first_use[b] for b in part), key=lambda use: (use[1], use[0])),
                tuple(sorted(uses.items())),
                latest.get((file.path, part[0].again)),
            )
        )
        latest[file.path, part[0].again] = len(reads) - 1
    return tuple(reads)


def _uses(
    demand: Demand, steps: Mapping[str, tuple[Step, ...]]
) -> tuple[dict[BlockId, tuple[str, int]], dict[BlockId, dict[str, int]]]:
    """Find where each block is used first (leg, place), and by each leg last (year)."""
    first: dict[BlockId, tuple[str, int]] = {}
    last: dict[BlockId, dict[str, int]] = defaultdict(dict)
    for leg, own in steps.items():
        offset = 0 if leg == demand.trunk else len(steps[demand.trunk])
        for place, step in enumerate(own, start=offset):
            for block in (step.enters, step.leaves):
                if block is not None:
                    if block not in first or place < first[block][1]:
                        first[block] = (leg, place)
                    last[block][leg] = step.year
    return first, last


def _parts(blocks: Sequence[BlockId], most: int) -> Iterator[list[BlockId]]:
    """Cut blocks of one file, in order of year, into parts of at most ``most`` years."""
    years = list(dict.fromkeys(block.year for block in blocks))
    for start in range(0, len(years), most):
        these = set(years[start : start + most])
        yield [block for block in blocks if block.year in these]

"""The arithmetic of one chain: which years it steps through, and what each step reads.

A chain has a trunk (the historical experiment) and one branch for each scenario that follows it;
without scenarios the trunk is the only branch. Each branch is a sequence of :class:`Step`, one for
each source year; each step adds a year to the running sum and drops the one that left the window.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from climdask.climatology.calendars import Window
from climdask.compact import Compact
from climdask.inputs.inventory import InputFile, in_time
from climdask.planning.sourceyears import Sources, fork, owner, year_sources


@dataclass(frozen=True, order=True, slots=True)
class BlockId(Compact):
    """The values of one source year.

    Attributes:
        branch: whose files hold the year; the trunk's, up to the last historical year, but for a
            year that is split between two experiments.
        again: read a second time, for the year to leave the sum (where there is no ring).
    """

    branch: str
    year: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class CarryId(Compact):
    """The running sum of a branch after a year."""

    branch: str
    year: int


@dataclass(frozen=True, slots=True)
class FileSlice(Compact):
    """What one task reads: years of a file, or one year from a bundle of files of some days each.

    Attributes:
        file: the file, or the first of the bundle.
        first_year, last_year: both included; some of the years between them may not be read.
        bundled: the other files of the bundle, in order of time, opened one after the other.
        holder: the file whose token stands for all of them; the same for all tasks that may open
            one of them.
    """

    file: InputFile
    first_year: int
    last_year: int
    bundled: tuple[InputFile, ...] = field(default=(), repr=False)
    holder: InputFile | None = field(default=None, repr=False)

    @property
    def files(self) -> tuple[InputFile, ...]:
        """All files, in order of time."""
        return (self.file, *self.bundled)

    @property
    def token_file(self) -> InputFile:
        """The file whose token stands for the right to open all of them."""
        return self.holder or self.file


@dataclass(frozen=True, slots=True)
class Step(Compact):
    """One year of a branch.

    Attributes:
        before: the sum that the step starts from; None for an empty one.
        restores: ``before`` is a checkpoint of an earlier run.
        enters, leaves: the blocks added and dropped; None in a gap of the archive.
        is_target: the sum after this step makes a normal.
        has_checkpoint: the sum after this step is saved.
        is_reference: the sum after this step makes the normal of a reference period.
    """

    branch: str
    year: int
    before: CarryId | None
    restores: bool
    enters: BlockId | None
    leaves: BlockId | None
    is_target: bool
    has_checkpoint: bool
    is_reference: bool = False


@dataclass(frozen=True, slots=True)
class Read(Compact):
    """One opening of one file, or of each file of a bundle.

    Attributes:
        slice: what is read; ``slice.file.years`` may hold more.
        blocks: the blocks that get values from it, in order of year; several branches may have a
            block of the same year.
        first_use: branch, and place of the step on the way through trunk and branch.
        last_uses: for each branch that uses a block of it, the last year that does.
        after: index in ``Branches.reads`` of the slice of the same file that comes before it, if
            both are for years to enter, or both for years to leave.
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

    @property
    def shared_key(self) -> object:
        """What is alike for reads of several chains that can be done in one opening."""
        paths = tuple(file.path for file in self.slice.files)
        return paths, self.blocks, self.first_use, self.last_uses


@dataclass(frozen=True)
class Demand:
    """What a chain still has to make.

    Attributes:
        window: years in the window.
        trunk: name of the historical experiment.
        last_historical_year: last year that the trunk serves.
        targets: target years by branch, the trunk among the branches.
        checkpoints: years by branch whose carry an earlier run saved.
        checkpoint_every: years between checkpoints.
        keep_ring: keep the window's blocks in memory; else read the leaving year again.
        slice_years: years of one file that one task may read at most.
        reaches_back: whether steps of a year have days of the year before, as DJF has.
        references: last years by branch of the reference periods whose normals are needed.
    """

    window: int
    trunk: str
    last_historical_year: int
    targets: Mapping[str, Collection[int]]
    checkpoints: Mapping[str, Collection[int]] = field(default_factory=dict)
    checkpoint_every: int = 10
    keep_ring: bool = True
    slice_years: int = 1
    reaches_back: bool = False
    references: Mapping[str, Collection[int]] = field(default_factory=dict)

    def due(self, branch: str) -> set[int]:
        """Return the years after which the sum of a branch is needed."""
        return {*self.targets.get(branch, ()), *self.references.get(branch, ())}


@dataclass(frozen=True)
class Branches:
    """A chain laid out: steps by branch, trunk first, and the openings of files in order of use."""

    trunk: str
    steps: Mapping[str, tuple[Step, ...]]
    reads: tuple[Read, ...]

    def way(self, branch: str) -> tuple[Step, ...]:
        """Return the steps of trunk and branch, one after the other."""
        own = () if branch == self.trunk else self.steps.get(branch, ())
        return self.steps.get(self.trunk, ()) + own

    @property
    def n_targets(self) -> int:
        """How many normals (of all regions together) the chain makes."""
        return sum(step.is_target for steps in self.steps.values() for step in steps)


def lay_out(
    demand: Demand, files: Mapping[str, Sequence[InputFile]], sources: Sources | None = None
) -> Branches:
    """Lay out the steps and readings of a chain.

    Args:
        demand: what is wanted.
        files: the files that serve each branch, in order of time; those of the trunk are used up
            to the last historical year, those of a scenario after it.
        sources: which of them give each year, if that is known.
    """
    if sources is None:
        sources = year_sources(demand.trunk, demand.last_historical_year, files)
    steps = _steps(demand, sources)
    return Branches(demand.trunk, steps, _reads(demand, steps, sources))


def _steps(demand: Demand, sources: Sources) -> dict[str, tuple[Step, ...]]:
    """Lay out the trunk and the branches; see the numbered cases in :func:`_stretches`."""
    trunk = demand.trunk
    # Where scenarios leave the trunk: before a year of which each has a part of its own.
    last = fork(sources, trunk, demand.last_historical_year)
    wanted = {branch: _years(demand, branch) for branch in {**demand.targets, trunk: ()}}
    own = {
        branch: list(_stretches(demand, branch, {y for y in years if y > last}))
        for branch, years in wanted.items()
        if branch != trunk
    }
    # A branch leans on the trunk if its first window reaches back into it, unless it restores a
    # checkpoint of its own.
    leaning = [
        branch
        for branch, stretches in own.items()
        if stretches and min(wanted[branch]) <= last and stretches[0].restores is None
    ]
    trunk_years = set(wanted.get(trunk, ())).union(
        *({y for y in wanted[branch] if y <= last} for branch in leaning)
    )
    leads_on = last if leaning else None
    trunk_stretches = list(_stretches(demand, trunk, trunk_years, leads_on=leads_on))
    steps = {trunk: _walk(demand, sources, trunk, trunk_stretches, leads_on)}
    for branch, stretches in own.items():
        if branch in leaning:
            shared = next(s for s in trunk_stretches if s.sum_start <= last <= s.last)
            stretches[0] = stretches[0].continuing(shared, last)
        steps[branch] = _walk(demand, sources, branch, stretches, None)
    return steps


def _years(demand: Demand, branch: str) -> set[int]:
    """Return the years of all windows of a branch, reference periods too.

    With the year before where that is needed.
    """
    length = demand.window + demand.reaches_back
    return {y for t in demand.due(branch) for y in Window.ending(t, length).years}


@dataclass(frozen=True)
class _Stretch:
    """Years that follow each other in one branch.

    Attributes:
        first, last: years, both included; ``first > last`` if nothing is left but to lead on.
        sum_start: first year that is in the sum as the stretch begins.
        before: the carry it starts from, if any; ``restores`` if that is a checkpoint.
    """

    branch: str
    first: int
    last: int
    sum_start: int
    before: CarryId | None
    restores: CarryId | None

    def continuing(self, trunk: _Stretch, year: int) -> _Stretch:
        """Return this stretch of a branch, starting from the trunk's sum after ``year``."""
        return _Stretch(
            self.branch,
            self.first,
            self.last,
            trunk.sum_start,
            CarryId(trunk.branch, year),
            trunk.restores if trunk.first > year else None,  # nothing is left of the trunk
        )


def _stretches(
    demand: Demand, branch: str, years: Iterable[int], *, leads_on: int | None = None
) -> Iterator[_Stretch]:
    """Cut the years of a branch into stretches, and decide where each starts.

    ``leads_on`` is the year after which other branches start from the sum.

    1. Nothing saved: start from an empty sum and fill the window.
    2. An earlier run saved a carry within the stretch, before its first target: start there.
       The years before it are read only as they leave the window. Where blocks stay in memory
       that saves few readings over filling the window again, but the first new normal comes
       after two readings, so a run that is killed again and again still gets on.
    3. The first window reaches back into the trunk: start from the trunk's sum there
       (:meth:`_Stretch.continuing`).
    """
    targets = sorted(demand.due(branch))
    for first, last in _runs(years):
        due = [t for t in targets if first <= t <= last]
        if leads_on is not None and first <= leads_on <= last:
            due = sorted([*due, leads_on + 1])
        saved = [c for c in demand.checkpoints.get(branch, ()) if first <= c < due[0]]
        if saved:
            carry = CarryId(branch, max(saved))
            start = carry.year - demand.window + 1
            yield _Stretch(branch, carry.year + 1, last, start, carry, carry)
        else:
            yield _Stretch(branch, first, last, first, None, None)


def _runs(years: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of each run of years that follow each other."""
    ordered = sorted(years)
    starts = [y for i, y in enumerate(ordered) if i == 0 or ordered[i - 1] != y - 1]
    ends = [y for i, y in enumerate(ordered) if i + 1 == len(ordered) or ordered[i + 1] != y + 1]
    return zip(starts, ends, strict=True)


def _walk(
    demand: Demand,
    sources: Sources,
    branch: str,
    stretches: Sequence[_Stretch],
    leads_on: int | None,
) -> tuple[Step, ...]:
    """Turn stretches into steps; other branches start from the sum after ``leads_on``."""
    targets = set(demand.targets.get(branch, ()))
    steps: list[Step] = []
    for stretch in stretches:
        for year in range(stretch.first, stretch.last + 1):
            begins = year == stretch.first
            gone = year - demand.window
            is_due = year % demand.checkpoint_every == 0 and year != stretches[-1].last
            is_full = gone + 1 >= stretch.sum_start
            steps.append(
                Step(
                    branch,
                    year,
                    before=stretch.before if begins else CarryId(branch, year - 1),
                    restores=begins and stretch.restores is not None,
                    enters=_block(demand, sources, branch, year),
                    leaves=_block(demand, sources, branch, gone, leaves=True)
                    if gone >= stretch.sum_start
                    else None,
                    is_target=year in targets,
                    has_checkpoint=is_full and (is_due or year == leads_on),
                    is_reference=year in demand.references.get(branch, ()),
                )
            )
    return tuple(steps)


def _block(
    demand: Demand, sources: Sources, branch: str, year: int, *, leaves: bool = False
) -> BlockId | None:
    whose = owner(sources, demand.trunk, demand.last_historical_year, branch, year)
    if (whose, year) not in sources:
        return None
    return BlockId(whose, year, again=leaves and not demand.keep_ring)


def _reads(
    demand: Demand, steps: Mapping[str, tuple[Step, ...]], sources: Sources
) -> tuple[Read, ...]:
    """Collect the openings of files, in order of first use; one serves all branches."""
    first_use, last_uses = _uses(demand, steps)
    at = {block: (place, branch) for block, (branch, place) in first_use.items()}
    by_file: dict[tuple[bool, InputFile], list[BlockId]] = defaultdict(list)
    for block in sorted(first_use, key=lambda b: (b.year, b.branch)):
        for file in sources[block.branch, block.year]:
            by_file[block.again, file].append(block)
    holders = _holders(sources)
    reads: list[Read] = []
    # A second reading does not wait for the first: its blocks would stay in memory until then.
    latest: dict[tuple[str, bool], int] = {}
    parts = [
        (min(map(at.__getitem__, part)), files, part)
        for files, blocks in _bundles(by_file)
        for part in _parts(blocks, demand.slice_years)
    ]
    for first, (file, *rest), part in sorted(parts, key=lambda p: (p[0], p[1][0].path, p[2])):
        holder = holders.get((file.scenario, file.start[0])) if file.is_of_one_year else None
        uses: dict[str, int] = defaultdict(int)
        for block in part:
            for branch, year in last_uses[block].items():
                uses[branch] = max(uses[branch], year)
        reads.append(
            Read(
                FileSlice(file, part[0].year, part[-1].year, tuple(rest), holder),
                tuple(part),
                (first[1], first[0]),
                tuple(sorted(uses.items())),
                latest.get((file.path, part[0].again)),
            )
        )
        latest[file.path, part[0].again] = len(reads) - 1
    return tuple(reads)


def _bundles(
    by_file: Mapping[tuple[bool, InputFile], list[BlockId]],
) -> Iterator[tuple[tuple[InputFile, ...], list[BlockId]]]:
    """Bundle the files of one year of one experiment that the same blocks need."""
    bundles: dict[tuple[bool, object], list[InputFile]] = defaultdict(list)
    for (again, file), blocks in by_file.items():
        one_year = file.is_of_one_year and (file.scenario, tuple(blocks))
        bundles[again, one_year or file].append(file)
    for (again, _), files in bundles.items():
        yield tuple(sorted(files, key=in_time)), by_file[again, files[0]]


def _holders(sources: Sources) -> dict[tuple[str, int], InputFile]:
    """Return the first file of each experiment and year, of those with days of that year only."""
    found: dict[tuple[str, int], InputFile] = {}
    for files in sources.values():
        for file in files:
            if file.is_of_one_year:
                key = (file.scenario, file.start[0])
                found[key] = min(file, found.get(key, file), key=in_time)
    return found


def _uses(
    demand: Demand, steps: Mapping[str, tuple[Step, ...]]
) -> tuple[dict[BlockId, tuple[str, int]], dict[BlockId, dict[str, int]]]:
    """Find where each block is used first (branch, place), and by each branch last (year)."""
    first: dict[BlockId, tuple[str, int]] = {}
    last: dict[BlockId, dict[str, int]] = defaultdict(dict)
    for branch, own in steps.items():
        offset = 0 if branch == demand.trunk else len(steps[demand.trunk])
        for place, step in enumerate(own, start=offset):
            for block in (step.enters, step.leaves):
                if block is not None:
                    if block not in first or place < first[block][1]:
                        first[block] = (branch, place)
                    last[block][branch] = step.year
    return first, last


def _parts(blocks: Sequence[BlockId], most: int) -> Iterator[list[BlockId]]:
    """Cut blocks of one file, in order of year, into parts of at most ``most`` years."""
    if len(blocks) == 1:  # as in files of a year
        yield list(blocks)
        return
    years = list(dict.fromkeys(block.year for block in blocks))
    for start in range(0, len(years), most):
        these = set(years[start : start + most])
        yield [block for block in blocks if block.year in these]

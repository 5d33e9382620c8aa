"""The plan: everything that a run will do, decided before it starts.

Pure: :mod:`climdask.planning.survey` makes it from a workflow, an inventory, the headers of one
file for each chain and a summary of what is done already. It can be printed, hashed and compared;
it knows neither Dask nor the contents of files.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path, PurePosixPath

from climdask.climatology.areas import Areas
from climdask.climatology.blocks import Block
from climdask.climatology.calendars import DayAxis, Periods, Window
from climdask.climatology.cycles import DAY, DAYS, Cycle, CycleDays
from climdask.climatology.places import Place, RegionCells, Selection
from climdask.climatology.products import DAILY_MEAN, Product
from climdask.climatology.reductions import YearReduction
from climdask.climatology.statistics import STATES, kept_by
from climdask.compact import Compact
from climdask.inputs.headers import Header
from climdask.inputs.inventory import InputFile, Inventory
from climdask.plaintext import printable
from climdask.planning import listing
from climdask.planning.chains import Branches, CarryId, Demand, Read, lay_out
from climdask.planning.digests import as_json, digest_of, digest_of_json, joined
from climdask.planning.memory import (
    MEMORY_SHARE,
    PROCESS_BYTES,
    REFERENCE_BYTES,
    UNROUNDED_BYTES,
    ChainMemory,
    fit,
)
from climdask.planning.naming import NAMINGS, SeriesName
from climdask.planning.sourceyears import Sources, fork
from climdask.planning.windowfiles import SourceYear, WindowFiles
from climdask.planning.wording import size
from climdask.settings.workflow import Execution, Workflow

# Raised when the numbers of an output or the layout of a file change between versions.
OUTPUT_VERSION = 1


@dataclass(frozen=True)
class Limits:
    """What the cluster offers.

    Attributes:
        memory_per_worker: bytes; None for no limit.
        workers: worker processes at most.
        threads: of one worker.
    """

    memory_per_worker: int | None = None
    workers: int = 1
    threads: int = 1


@dataclass(frozen=True)
class Done:
    """What earlier runs left that is still right.

    Attributes:
        normals: keys of :class:`NormalFile`.
        checkpoints: (chain id, branch, year) each.
        references: (chain id, branch, last year) of the normals of reference periods.
    """

    normals: frozenset[str] = frozenset()
    checkpoints: frozenset[tuple[str, str, int]] = frozenset()
    references: frozenset[tuple[str, str, int]] = frozenset()

    def saved(self, chain_id: str, branch: str) -> list[int]:
        """Return the years after which a branch's carry was saved."""
        return self._saved.get((chain_id, branch), [])

    @cached_property
    def _saved(self) -> dict[tuple[str, str], list[int]]:
        found: dict[tuple[str, str], list[int]] = defaultdict(list)
        for chain, branch, year in self.checkpoints:
            found[chain, branch].append(year)
        return dict(found)


@dataclass(frozen=True, slots=True)
class NormalFile(Compact):
    """One normal on disk: a target year in a region; a NetCDF file, or a part of a Zarr store.

    Attributes:
        path: of the file or store, below the output root.
        key: what completion records call it: the path, and for a store the target year too.
        input_hash: of all that decides its numbers; ``untimed_hash`` leaves out the modification
            times of the input files.
    """

    region: str
    path: str
    key: str
    input_hash: str
    untimed_hash: str
    frequency: str = DAY


@dataclass(frozen=True, slots=True)
class WriteJob(Compact):
    """The writing of one target year: one normal for each region.

    Attributes:
        sources: of the years of the window, and of the year before if steps reach back to it.
    """

    branch: str
    window: Window
    files: tuple[NormalFile, ...]
    sources: tuple[SourceYear, ...]


@dataclass(frozen=True, eq=False)
class ChainSpec:
    """What every task of a chain needs to know.

    Attributes:
        id: ``model/member/grid/variable``.
        axis: the days of the normals.
        selection: the cells of all regions.
        min_years: source years that a normal needs.
        count: whether the number of values is written too.
        significant_digits: that the normals are rounded to; None for all.
        format: one of :data:`climdask.planning.naming.NAMINGS`.
        products: what is made of the variable at this frequency; the daily mean is the first, if
            it is asked for.
        missing_values: that mean missing although the files do not say so; sorted.
        cycle: the steps of a year that a normal has.
        others: the same chain at other frequencies, which share its reading.
    """

    id: str
    model: str
    member: str
    grid: str
    variable: str
    header: Header
    axis: DayAxis
    selection: Selection
    periods: Periods
    min_years: int
    count: bool
    compression_level: int
    significant_digits: int | None = None
    format: str = "netcdf"
    products: tuple[Product, ...] = (DAILY_MEAN,)
    missing_values: tuple[float, ...] = ()
    cycle: Cycle = DAYS
    others: tuple[ChainSpec, ...] = ()

    @cached_property
    def steps(self) -> CycleDays:
        """The steps of a year that a normal has."""
        return self.cycle.on(self.axis)

    @property
    def frequency(self) -> str:
        """How long a step is, for names: ``day``, ``mon``, ``seas``, ``yr`` or a user's word."""
        return self.cycle.name

    @property
    def read_axis(self) -> DayAxis:
        """The days that are read: with 29 February where longer steps are made, as they have it."""
        return self.others[0].axis if self.others else self.axis

    def days_of(self, block: Block | None) -> Block | None:
        """Return the days of a block that the daily normal has."""
        if block is None or self.read_axis == self.axis:
            return block
        return block.select([day in set(self.axis.days) for day in self.read_axis.days])

    @property
    def frequencies(self) -> tuple[ChainSpec, ...]:
        """The chain at each frequency that has products, days first."""
        return (*((self,) if self.products else ()), *self.others)

    @property
    def alone(self) -> ChainSpec:
        """The chain at this frequency only."""
        return replace(self, others=())

    def at(self, frequency: str) -> ChainSpec:
        """Return the chain at a frequency."""
        return next(spec for spec in (self, *self.others) if spec.frequency == frequency)

    @cached_property
    def reductions(self) -> tuple[YearReduction, ...]:
        """What is made of each year besides its days, each once."""
        specs = (self, *self.others)
        found = (p.within.on(s.axis) for s in specs for p in s.products if p.within)
        return tuple(dict.fromkeys(found))

    @property
    def days_before(self) -> int:
        """The last days of the year before that the reductions of a year need."""
        return max((reduction.days_before for reduction in self.reductions), default=0)

    @property
    def reaches_back(self) -> bool:
        """Whether its normals have days of the year before the window."""
        return self.days_before > 0

    @property
    def states(self) -> tuple[str, ...]:
        """What the carry keeps of the values, for all products together."""
        return kept_by(product.statistic for product in self.products)

    @property
    def first_name(self) -> str:
        """The variable of the first product, which stands for the normal."""
        return self.products[0].name(self.variable)

    @property
    def window(self) -> int:
        """Years in the window."""
        return self.periods.window

    @property
    def state_bytes(self) -> int:
        """Bytes that a carry keeps of the values for each cell-day."""
        states = sum(STATES[name].bytes_per_value(self.window) for name in self.states)
        steps = self.window * sum(len(reduction.cycle) for reduction in self.reductions)
        return states + -(-4 * (steps + self.days_before) // len(self.read_axis))

    @property
    def sorted_bytes(self) -> int:
        """Those of them that are the sorted years."""
        return STATES["sorted"].bytes_per_value(self.window) * ("sorted" in self.states)

    @property
    def unrounded_bytes(self) -> int:
        """Bytes of a product that something is made of before the rounding, for each cell-day."""
        return UNROUNDED_BYTES * any(p.smoothing or p.change for p in self.products)

    @property
    def compared(self) -> tuple[Product, ...]:
        """The normals at this frequency that are compared with reference periods."""
        return tuple(dict.fromkeys(p.normal for p in self.products if p.change))

    @cached_property
    def references(self) -> tuple[Window, ...]:
        """The reference periods of all frequencies, in order."""
        found = {p.change.reference for s in self.frequencies for p in s.products if p.change}
        return tuple(sorted(found, key=lambda window: window.last_year))

    @property
    def reference_bytes(self) -> int:
        """Bytes of the normals of the reference periods, for each cell-day."""
        values = sum(len(spec.compared) * len(spec.steps) for spec in self.frequencies)
        return -(-REFERENCE_BYTES * len(self.references) * values // len(self.read_axis))

    @property
    def value_bytes(self) -> int:
        """Bytes of all products for each cell-day, as written."""
        return sum(2 if p.statistic.quantity == "number" else 4 for p in self.products)

    @property
    def cell_days(self) -> int:
        """Values in one block, as it is kept."""
        return len(self.read_axis) * self.selection.n_places

    @property
    def read_cell_days(self) -> int:
        """Values in one block, as it is read: areas are made of more cells than there are areas."""
        return len(self.read_axis) * self.selection.cells.size

    def series(self, region: str, branch: str) -> SeriesName:
        """Return what names the normals of a region along a branch."""
        who = (self.model, self.member, self.grid, self.variable)
        return SeriesName(*who, region, branch, self.window, self.frequency)

    def output_path(self, region: str, branch: str, target_year: int) -> PurePosixPath:
        """Return the path of the file or store of a normal, below the output root."""
        period = self.periods.name(target_year, branch)
        return NAMINGS[self.format].path(self.series(region, branch), period, target_year)

    def output_key(self, region: str, branch: str, target_year: int) -> str:
        """Return what completion records call a normal."""
        period = self.periods.name(target_year, branch)
        return NAMINGS[self.format].key(self.series(region, branch), period, target_year)

    def deciding_keys(self, place: Place | Areas) -> list[object]:
        """Return what of the workflow decides the numbers of a region's normals."""
        keys = [OUTPUT_VERSION, self.window, self.min_years, self.axis.leap_day]
        products = [[p.facts for p in self.products]] * (self.products != (DAILY_MEAN,))
        cycle = [repr(self.cycle)] * (self.frequency != DAY)
        further = [*cycle, *products, *self.masked, *self.renamed]
        return [keys, [self.count, self.significant_digits], place.facts, *further]

    @property
    def carry_keys(self) -> list[object]:
        """Return what decides a carry besides its window, cells and files.

        Products that keep the same share their checkpoints.
        """
        states = [["states", *self.states]] * (self.states != ("sum",))
        steps = [["steps", *map(repr, self.reductions)]] * bool(self.reductions)
        return [*states, *steps, *self.masked, *self.renamed]

    @property
    def renamed(self) -> list[object]:
        """Return which variable of the files it is, where that is not as it is called here."""
        return [["name", self.header.name]] if self.header.name else []

    @property
    def masked(self) -> list[object]:
        """Return the key that decides numbers only where given: other hashes stay as they were."""
        return [["missing_values", *self.missing_values]] if self.missing_values else []


@dataclass(frozen=True, eq=False)
class OutputSeries:
    """The normals of a chain in a region on one branch: what a store holds, or a row of files."""

    spec: ChainSpec
    region: RegionCells
    branch: str

    def path(self, target_year: int) -> PurePosixPath:
        """Return the path of the file or store of a target year, below the output root."""
        return self.spec.output_path(self.region.place.name, self.branch, target_year)

    def key(self, target_year: int) -> str:
        """Return what completion records call a normal."""
        return self.spec.output_key(self.region.place.name, self.branch, target_year)


@dataclass(frozen=True, eq=False)
class Chain:
    """One chain: what the survey found of it, what is done of it, and what the cluster offers.

    What follows from these, its steps and its memory, is laid out when it is asked for.

    Attributes:
        spec: what every task of it needs.
        found: its files.
        targets: every target year by branch, done or not.
        home: chains with the same home share files, so they must share a worker.
        run: the workflow's keys of a run.
        done: what earlier runs left.
        limits: what the cluster offers.
    """

    spec: ChainSpec
    found: WindowFiles
    targets: Mapping[str, tuple[int, ...]]
    home: str
    run: Execution
    done: Done = field(default_factory=Done)
    limits: Limits = field(default_factory=Limits)
    # By branch and target year; kept, and shared by all steps of a plan, as hashing takes its time.
    _named: dict[tuple[str, int], tuple[NormalFile, ...]] = field(default_factory=dict, repr=False)

    @cached_property
    def memory(self) -> ChainMemory:
        """What stays in a worker's memory."""
        spec = self.spec
        return fit(
            spec.cell_days,
            window=spec.window,
            branches=max(1, len(self.files) - 1),
            threads=self.limits.threads,
            lookaheads=self.run.lookaheads,
            products=len(spec.products),
            state_bytes=spec.state_bytes,
            sorted_bytes=spec.sorted_bytes,
            unrounded_bytes=spec.unrounded_bytes,
            reference_bytes=spec.reference_bytes,
            limit=self.limits.memory_per_worker,
            chunk_bytes=spec.header.chunk_bytes,
            read_cell_days=spec.read_cell_days,
        )

    @property
    def files(self) -> Mapping[str, Sequence[InputFile]]:
        """The files that serve each branch, in order of time; the trunk's come first."""
        return self.found.files

    @property
    def sources(self) -> Sources:
        """The files of each (branch, year)."""
        return self.found.sources

    @cached_property
    def branches(self) -> Branches:
        """The steps and readings that are still to do."""
        spec, periods = self.spec, self.spec.periods
        return lay_out(
            Demand(
                window=spec.window,
                trunk=periods.historical,
                last_historical_year=periods.last_historical_year,
                targets=self.pending,
                checkpoints={branch: self.done.saved(self.id, branch) for branch in self.targets},
                checkpoint_every=self.run.checkpoint_every,
                keep_ring=self.memory.keeps_ring,
                slice_years=self.slice_years,
                reaches_back=spec.reaches_back,
                references=self._missing_references(),
            ),
            self.files,
            self.sources,
        )

    def references(self, branch: str, target_year: int) -> tuple[CarryId, ...]:
        """Return the sums of the reference periods that end by a target year, in order of years.

        What lies before the scenarios leave the trunk is made there, once for all of them.
        """
        if not self.spec.references:
            return ()
        trunk, last = self.spec.periods.historical, self.spec.periods.last_historical_year
        leaves = fork(self.found.sources, trunk, last)
        years = [w.last_year for w in self.spec.references if w.last_year <= target_year]
        return tuple(CarryId(trunk if year <= leaves else branch, year) for year in years)

    def _missing_references(self) -> dict[str, set[int]]:
        """Return the last years of the reference periods that are to be made, by branch."""
        found: dict[str, set[int]] = {}
        for branch in self.targets:
            for at in self.references(branch, max(self.pending[branch], default=0)):
                if (self.id, at.branch, at.year) not in self.done.references:
                    found.setdefault(at.branch, set()).add(at.year)
        return found

    @property
    def slice_years(self) -> int:
        """Years of a long file that one task may read: a tenth of a worker's memory."""
        memory = self.limits.memory_per_worker or 4 << 30
        return max(1, memory // 10 // (4 * self.spec.read_cell_days))

    @cached_property
    def pending(self) -> Mapping[str, tuple[int, ...]]:
        """The target years by branch of which a normal is still to make."""
        return {
            branch: tuple(t for t in targets if self._lacks(branch, t))
            for branch, targets in self.targets.items()
        }

    def _lacks(self, branch: str, target_year: int) -> bool:
        return not self.done.normals or any(True for _ in self._left(branch, target_year))

    def _left(self, branch: str, target_year: int) -> Iterator[tuple[ChainSpec, RegionCells]]:
        """Yield each frequency and region whose normal of a target year is still to make."""
        done = self.done.normals
        for spec, region in product(self.spec.frequencies, self.spec.selection.regions):
            if not done or spec.output_key(region.place.name, branch, target_year) not in done:
                yield spec, region

    @property
    def n_normals(self) -> int:
        """Normals to make: one for each frequency, region and target year."""
        return sum(self._to_make.values())

    @property
    def output_bytes(self) -> int:
        """Bytes of the normals to make, before compression."""
        regions = {r.place.name: r for r in self.spec.selection.regions}
        return sum(
            n * regions[name].index.size * len(spec.steps) * spec.value_bytes
            for (frequency, name), n in self._to_make.items()
            for spec in [self.spec.at(frequency)]
        )

    @cached_property
    def _to_make(self) -> Counter[tuple[str, str]]:
        """How many normals of each frequency and region are to make."""
        return Counter(
            (spec.frequency, region.place.name)
            for branch, years in self.pending.items()
            for year in years
            for spec, region in self._left(branch, year)
        )

    @property
    def id(self) -> str:
        """``model/member/grid/variable``."""
        return self.spec.id

    @property
    def series(self) -> Iterator[tuple[OutputSeries, tuple[int, ...]]]:
        """Each series of normals, with its target years, done or not."""
        for spec, region in product(self.spec.frequencies, self.spec.selection.regions):
            for branch, years in self.targets.items():
                if years:
                    yield OutputSeries(spec, region, branch), years

    def job(self, branch: str, target_year: int) -> WriteJob:
        """Return what is to be written for a target year; only what is not done already."""
        window = Window.ending(target_year, self.spec.window)
        left = self.normals_left(branch, target_year)
        reached = Window.ending(target_year, self.spec.window + self.spec.reaches_back)
        return WriteJob(branch, window, left, self.found.window(branch, reached))

    def normals_left(self, branch: str, target_year: int) -> tuple[NormalFile, ...]:
        """Return the normals of a target year that are still to make."""
        done = self.done.normals
        return tuple(f for f in self.normals(branch, target_year) if f.key not in done)

    def normals(self, branch: str, target_year: int) -> tuple[NormalFile, ...]:
        """Return the normals of a target year, done or not."""
        key = (branch, target_year)
        if key not in self._named:
            self._named[key] = self._name_normals(branch, target_year)
        return self._named[key]

    def _name_normals(self, branch: str, target_year: int) -> tuple[NormalFile, ...]:
        return tuple(
            NormalFile(
                region.place.name,
                str(spec.output_path(region.place.name, branch, target_year)),
                spec.output_key(region.place.name, branch, target_year),
                self._normal_hash(spec, region, timed),
                self._normal_hash(spec, region, untimed),
                spec.frequency,
            )
            for spec in self.spec.frequencies
            for timed, untimed in [self._window_hashes(spec, branch, target_year)]
            for region in self.spec.selection.regions
        )

    def _window_hashes(self, spec: ChainSpec, branch: str, year: int) -> tuple[str, str]:
        """Return two hashes of the files of a window, with and without modification times."""
        length = self._lengths[spec.frequency]
        own = self.found.digests(branch, Window.ending(year, length))
        if not spec.alone.references:
            return own
        others = [
            self.found.digests(branch, Window.ending(window.last_year, length))
            for window in spec.alone.references
            if window.last_year <= year
        ]
        timed, untimed = (digest_of(*both) for both in zip(own, *others, strict=True))
        return timed, untimed

    def _normal_hash(self, spec: ChainSpec, region: RegionCells, files: str) -> str:
        """Return a hash of the keys that decide a normal, and of its files' hash."""
        keys = self._deciding[spec.frequency, region.place.name]
        return digest_of_json(joined([*keys, as_json(files)]))

    @cached_property
    def _lengths(self) -> dict[str, int]:
        """The years of which each frequency reads files."""
        return {s.frequency: s.window + s.alone.reaches_back for s in self.spec.frequencies}

    @cached_property
    def _deciding(self) -> dict[tuple[str, str], list[str]]:
        """The keys that decide a normal, as JSON, by frequency and region."""
        return {
            (spec.frequency, region.place.name): [*map(as_json, spec.deciding_keys(region.place))]
            for spec in self.spec.frequencies
            for region in self.spec.selection.regions
        }

    def carry_hash(self, branch: str, year: int) -> str:
        """Return a hash of all that decides the sum of a full window that ends in ``year``."""
        cells = self.spec.selection.digest
        keys = [OUTPUT_VERSION, self.spec.id, self.spec.window, self.spec.axis.leap_day, cells]
        regions = [region.place.facts for region in self.spec.selection.regions]
        window = Window.ending(year, self.spec.window + self.spec.reaches_back)
        files, _ = self.found.digests(branch, window)
        return digest_of(keys, regions, files, *self.spec.carry_keys)

    def reference_hash(self, branch: str, year: int) -> str:
        """Return a hash of all that decides the normals of a reference period that ends then."""
        compared = [[repr(s.cycle), [p.facts for p in s.compared]] for s in self.spec.frequencies]
        return digest_of(self.carry_hash(branch, year), self.spec.min_years, compared)


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that a run will do, in three steps, each of which makes a new plan.

    :func:`climdask.planning.survey.survey` finds the chains and what each could make;
    :meth:`pending` leaves out what is done; :meth:`fitted` decides what stays in memory.

    Attributes:
        surveyed: every chain that can be made, in order of id.
        failures: chains that cannot start, with the reason.
        found: notes of the survey: what the user should know, such as gaps.
    """

    workflow: Workflow
    inventory: Inventory
    surveyed: tuple[Chain, ...]
    failures: Mapping[str, str]
    found: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)

    def pending(self, done: Done) -> Plan:
        """Return the plan of what is left after earlier runs."""
        return replace(self, surveyed=tuple(replace(c, done=done) for c in self.surveyed))

    def fitted(self, limits: Limits) -> Plan:
        """Return the plan that fits what the cluster offers."""
        chains = tuple(replace(c, limits=limits) for c in self.surveyed)
        return replace(self, surveyed=chains, limits=limits)

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """Chains with normals to make, in order of id."""
        return tuple(c for c in self.surveyed if any(c.pending.values()))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, such as gaps, and chains that are larger than the memory."""
        return self.found + tuple(n for chain in self.surveyed for n in self._too_large(chain))

    def _too_large(self, chain: Chain) -> Iterator[str]:
        allowed = self.limits.memory_per_worker
        if allowed is not None and chain.memory.n_bytes > MEMORY_SHARE * allowed:
            yield (
                f"{chain.id}: projected memory {size(chain.memory.n_bytes)} is more than "
                f"half of a worker's {size(allowed)}, so part of it will go to disk; give "
                f"fewer or smaller regions, or more memory for each worker{_sorted_years(chain)}"
            )

    @cached_property
    def at_once(self) -> int:
        """Chains that fit in the memory of all workers together."""
        limits, chains = self.limits, self.chains
        if limits.memory_per_worker is None or not chains:
            return max(1, len(chains))
        largest = max(chain.memory.n_bytes for chain in chains)
        return max(1, int(MEMORY_SHARE * limits.memory_per_worker // largest)) * limits.workers

    @cached_property
    def together(self) -> tuple[tuple[Chain, ...], ...]:
        """The chains in groups: those of a group share files, and open each once for all.

        Not more than fit in one worker are in a group.
        """
        by_home: dict[str, list[Chain]] = {}
        for chain in self.chains:
            by_home.setdefault(chain.home, []).append(chain)
        limited = self.limits.memory_per_worker is not None
        most = max(1, self.at_once // (self.limits.workers if limited else 1))
        groups = (own[n : n + most] for own in by_home.values() for n in range(0, len(own), most))
        return tuple(sorted(map(tuple, groups), key=lambda group: group[0].id))

    @property
    def all_chains(self) -> tuple[Chain, ...]:
        """Chains to do and chains that are done, in order of id."""
        return self.surveyed

    @property
    def homes(self) -> int:
        """Workers that can be of use."""
        return len({chain.home for chain in self.chains})

    @property
    def opens(self) -> int:
        """Openings of input files to expect, probes apart."""
        return sum(map(_openings, self.together))

    def opens_of(self, chains: Iterable[Chain]) -> int:
        """Return the openings of input files to expect for some chains."""
        by_group: dict[int, list[Chain]] = {}
        for chain in chains:
            if chain.id in self._group_of:
                by_group.setdefault(self._group_of[chain.id], []).append(chain)
        return sum(map(_openings, by_group.values()))

    @cached_property
    def _group_of(self) -> dict[str, int]:
        """The place in ``together`` of the group of each chain, by id."""
        return {chain.id: n for n, group in enumerate(self.together) for chain in group}

    @property
    def files(self) -> int:
        """Input files that will be opened."""
        reads = (read for chain in self.chains for read in chain.branches.reads)
        return len({file.path for read in reads for file in read.slice.files})

    @property
    def n_normals(self) -> int:
        """Normals to make: one for each region and target year."""
        return sum(chain.n_normals for chain in self.chains)

    @property
    def n_all(self) -> int:
        """Normals of the whole workflow, done or not."""
        return sum(
            len(years) * len(c.spec.selection.regions) * len(c.spec.frequencies)
            for c in self.all_chains
            for years in c.targets.values()
        )

    @property
    def output_bytes(self) -> int:
        """Bytes of the normals to make, before compression."""
        return sum(chain.output_bytes for chain in self.chains)

    @property
    def worker_bytes(self) -> int:
        """Memory that a worker is projected to take at most, the process itself included."""
        most = max((chain.memory.n_bytes for chain in self.chains), default=0)
        at_once = -(-min(self.at_once, len(self.chains)) // self.limits.workers)
        return PROCESS_BYTES + at_once * most

    @property
    def jobs(self) -> Iterator[tuple[Chain, WriteJob]]:
        """What will be written, chain by chain in order of years; large, so it is never kept."""
        for chain, branch, year in self._writes:
            yield chain, chain.job(branch, year)

    @property
    def _writes(self) -> Iterator[tuple[Chain, str, int]]:
        for chain in self.chains:
            for branch, steps in chain.branches.steps.items():
                yield from ((chain, branch, step.year) for step in steps if step.is_target)

    @cached_property
    def digest(self) -> str:
        """A hash of all that the plan will do: equal plans do the same work."""
        chains = [
            [c.id, c.spec.header.digest, c.memory.keeps_ring, c.branches] for c in self.chains
        ]
        normals = [f.input_hash for c, branch, y in self._writes for f in c.normals_left(branch, y)]
        return digest_of(self.workflow.model_dump(mode="json"), chains, normals)

    def __str__(self) -> str:
        return printable("\n".join(listing.lines(self)))

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self.digest == other.digest

    def input_path(self, file: InputFile) -> Path:
        """Return where an input file is."""
        return self.inventory.source.local(file.path)


def _sorted_years(chain: Chain) -> str:
    """Say what the sorted years take of a chain's memory; "" if there are none."""
    spec = chain.spec
    if "sorted" not in spec.states:
        return ""
    return (
        f"; {size(chain.memory.sorted_bytes)} of it are the {spec.window} years of each day"
        " and cell, sorted for min, max, median and percentiles: leave these out"
    )


def _openings(chains: Sequence[Chain]) -> int:
    """Count the openings of files for chains that are made together; reads alike are one."""
    reads: Iterable[Read] = (read for chain in chains for read in chain.branches.reads)
    if len(chains) > 1:
        reads = {read.shared_key: read for read in reads}.values()
    return sum(len(read.slice.files) for read in reads)

"""The plan: everything that a run will do, decided before it starts.

Pure: :mod:`climdask.planner` makes it from a workflow, an inventory, the headers of one file for
each chain and a summary of what is done already. It can be printed, hashed and compared; it knows
neither Dask nor the contents of files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from climdask import planview
from climdask.chains import Legs, Sources
from climdask.config import Workflow
from climdask.headers import Header
from climdask.inventory import InputFile, Inventory
from climdask.memory import PROCESS_BYTES, ChainMemory
from climdask.regions import Box, Selection
from climdask.years import DayAxis, Periods, Window

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
        checkpoints: (chain id, leg, year) each.
    """

    normals: frozenset[str] = frozenset()
    checkpoints: frozenset[tuple[str, str, int]] = frozenset()


@dataclass(frozen=True)
class SourceYear:
    """Where one year of a window comes from; ``files`` is empty in a gap."""

    year: int
    experiment: str
    files: tuple[InputFile, ...]


@dataclass(frozen=True)
class NormalFile:
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


@dataclass(frozen=True)
class WriteJob:
    """The writing of one target year: one normal for each region."""

    leg: str
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
        format: ``netcdf`` or ``zarr``.
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

    @property
    def window(self) -> int:
        """Years in the window."""
        return self.periods.window

    @property
    def cell_days(self) -> int:
        """Values in one block."""
        return len(self.axis) * self.selection.cells.size

    def output_path(self, region: str, leg: str, target_year: int) -> PurePosixPath:
        """Return the path of the file or store of a normal, below the output root."""
        if self.format == "zarr":
            return self._place(region, leg, f"{self.window}yr_normal.zarr")
        period = self.periods.name(target_year, leg)
        name = f"{target_year}_{self.window}yr_normal.nc"
        return self._place(region, period, name, period)

    def _place(self, region: str, part: str, end: str, *folder: str) -> PurePosixPath:
        who = f"{self.variable}_day_{self.model}_{self.member}_{self.grid}"
        name = f"{who}_{region}_{part}_{end}"
        return PurePosixPath(self.model, self.member, self.variable, region, *folder, name)

    def output_key(self, region: str, leg: str, target_year: int) -> str:
        """Return what completion records call a normal."""
        path = str(self.output_path(region, leg, target_year))
        return f"{path}/{target_year}" if self.format == "zarr" else path

    def deciding_keys(self, box: Box) -> list[object]:
        """Return what of the workflow decides the numbers of a region's normals."""
        keys = [OUTPUT_VERSION, self.window, self.min_years, self.axis.leap_day]
        return [keys, [self.count, self.significant_digits], _edges(box)]


@dataclass(frozen=True, eq=False)
class Chain:
    """One chain: its facts, its steps, and where its years come from.

    Attributes:
        spec: what every task of it needs.
        legs: the steps and readings that are still to do.
        sources: the files of each (leg, year).
        home: chains with the same home share files, so they must share a worker.
        memory: what stays in a worker's memory.
        targets: every target year by leg, done or not.
        done: keys of normals that are there already.
    """

    spec: ChainSpec
    legs: Legs
    sources: Sources
    home: str
    memory: ChainMemory
    targets: Mapping[str, tuple[int, ...]]
    done: frozenset[str]

    @property
    def id(self) -> str:
        """``model/member/grid/variable``."""
        return self.spec.id

    def source_files(self, leg: str, year: int) -> tuple[InputFile, ...]:
        """Return the files that hold ``year`` on the way of ``leg``; empty in a gap."""
        owner = self.legs.trunk if year <= self.spec.periods.last_historical_year else leg
        return self.sources.get((owner, year), ())

    def experiment(self, leg: str, year: int) -> str:
        """Return the experiment that ``year`` comes from on the way of ``leg``."""
        return self.legs.trunk if year <= self.spec.periods.last_historical_year else leg

    def job(self, leg: str, target_year: int) -> WriteJob:
        """Return what is to be written for a target year; only what is not done already."""
        window = Window.ending(target_year, self.spec.window)
        return WriteJob(
            leg,
            window,
            tuple(f for f in self.normals(leg, target_year) if f.key not in self.done),
            self.source_years(leg, target_year),
        )

    def source_years(self, leg: str, target_year: int) -> tuple[SourceYear, ...]:
        """Return where each year of a target year's window comes from."""
        return tuple(
            SourceYear(y, self.experiment(leg, y), self.source_files(leg, y))
            for y in Window.ending(target_year, self.spec.window).years
        )

    def normals(self, leg: str, target_year: int) -> tuple[NormalFile, ...]:
        """Return the normals of a target year, done or not."""
        key = (leg, target_year)
        if key not in self._known_normals:
            self._known_normals[key] = self._name_normals(leg, target_year)
        return self._known_normals[key]

    @cached_property
    def _known_normals(self) -> dict[tuple[str, int], tuple[NormalFile, ...]]:
        """Normals by leg and target year, kept because hashing them takes its time."""
        return {}

    def _name_normals(self, leg: str, target_year: int) -> tuple[NormalFile, ...]:
        timed = self._window_files(leg, target_year, timed=True)
        untimed = self._window_files(leg, target_year, timed=False)
        return tuple(
            NormalFile(
                region.box.name,
                str(self.spec.output_path(region.box.name, leg, target_year)),
                self.spec.output_key(region.box.name, leg, target_year),
                self._input_hash(region.box, timed),
                self._input_hash(region.box, untimed),
            )
            for region in self.spec.selection.regions
        )

    def _input_hash(self, box: Box, window_files: str) -> str:
        """Return a hash of all that decides the numbers of a normal.

        The window's files (path below the input root, size and, if timed, modification time)
        and the keys of the workflow that change its numbers.
        """
        return digest_of(*self.spec.deciding_keys(box), window_files)

    def carry_hash(self, leg: str, year: int) -> str:
        """Return a hash of all that decides the sum of a full window that ends in ``year``."""
        cells = hashlib.sha256(self.spec.selection.cells.tobytes()).hexdigest()
        keys = [OUTPUT_VERSION, self.spec.id, self.spec.window, self.spec.axis.leap_day, cells]
        boxes = [_edges(region.box) for region in self.spec.selection.regions]
        return digest_of(keys, boxes, self._window_files(leg, year, timed=True))

    def _window_files(self, leg: str, year: int, *, timed: bool) -> str:
        window = Window.ending(year, self.spec.window)
        files = sorted({f for y in window.years for f in self.source_files(leg, y)})
        # Which of two files that overlap gives a year hangs on where history ends.
        history = min(self.spec.periods.last_historical_year, year)
        return digest_of(history, [[f.path, f.size, f.mtime_ns if timed else None] for f in files])


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that a run will do.

    Attributes:
        chains: what is still to do, in order of id; a chain whose normals are all there is in
            ``finished`` and not here.
        failures: chains that cannot start, with the reason.
        notes: what the user should know, such as gaps.
        at_once: chains that fit in memory at the same time.
    """

    workflow: Workflow
    inventory: Inventory
    chains: tuple[Chain, ...]
    finished: tuple[Chain, ...]
    failures: Mapping[str, str]
    notes: tuple[str, ...]
    limits: Limits
    at_once: int

    @property
    def all_chains(self) -> tuple[Chain, ...]:
        """Chains to do and chains that are done, in order of id."""
        return tuple(sorted(self.chains + self.finished, key=lambda c: c.id))

    @property
    def homes(self) -> int:
        """Workers that can be of use."""
        return len({chain.home for chain in self.chains})

    @property
    def opens(self) -> int:
        """Openings of input files to expect, probes apart."""
        return sum(len(chain.legs.reads) for chain in self.chains)

    @property
    def files(self) -> int:
        """Input files that will be opened."""
        return len({r.slice.file.path for chain in self.chains for r in chain.legs.reads})

    @property
    def n_normals(self) -> int:
        """Normals to make: one for each region and target year."""
        return sum(len(job.files) for _, job in self.jobs)

    @property
    def n_all(self) -> int:
        """Normals of the whole workflow, done or not."""
        return sum(
            len(years) * len(c.spec.selection.regions)
            for c in self.all_chains
            for years in c.targets.values()
        )

    @property
    def output_bytes(self) -> int:
        """Bytes of the normals to make, before compression."""
        sizes = {
            c.id: {
                r.box.name: r.index.size * len(c.spec.axis) * 4 for r in c.spec.selection.regions
            }
            for c in self.chains
        }
        return sum(sizes[c.id][f.region] for c, job in self.jobs for f in job.files)

    @property
    def worker_bytes(self) -> int:
        """Memory that a worker is projected to take at most, the process itself included."""
        most = max((chain.memory.n_bytes for chain in self.chains), default=0)
        at_once = -(-min(self.at_once, len(self.chains)) // self.limits.workers)
        return PROCESS_BYTES + at_once * most

    @cached_property
    def jobs(self) -> tuple[tuple[Chain, WriteJob], ...]:
        """What will be written, chain by chain in order of years."""
        return tuple(
            (chain, chain.job(leg, step.year))
            for chain in self.chains
            for leg, steps in chain.legs.steps.items()
            for step in steps
            if step.is_target
        )

    @cached_property
    def digest(self) -> str:
        """A hash of all that the plan will do: equal plans do the same work."""
        chains = [[c.id, c.spec.header.digest, c.memory.keeps_ring, c.legs] for c in self.chains]
        normals = [f.input_hash for _, job in self.jobs for f in job.files]
        return digest_of(self.workflow.model_dump(mode="json"), chains, normals)

    def __str__(self) -> str:
        return "\n".join(planview.lines(self))

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self.digest == other.digest

    def input_path(self, file: InputFile) -> Path:
        """Return where an input file is."""
        return self.inventory.root / file.path


def _edges(box: Box) -> list[object]:
    """Return the name and the exact edges of a box."""
    return [box.name, box.west, box.east, box.south, box.north]


def digest_of(*content: object) -> str:
    """Return a hash of anything that JSON or ``str`` can express."""
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:24]

"""The planner: decides what a run will do.

Pure, as the plan is: a workflow, an inventory, the headers of one file for each chain and a
summary of what is done already go in, a :class:`climdask.plan.Plan` comes out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from climdask.chains import Demand, lay_out, sources_of
from climdask.config import Period, Workflow, span
from climdask.errors import ClimdaskError, PlanError
from climdask.headers import Header
from climdask.inventory import InputFile, Inventory, Series
from climdask.memory import MEMORY_SHARE, ChainMemory, fit
from climdask.plan import Chain, ChainSpec, Done, Limits, Plan, SourceYear
from climdask.planview import size
from climdask.regions import Selection, select
from climdask.years import DayAxis, Periods, Window, run_lengths

# Target years, and where each year of their windows comes from.
_Windows = Sequence[tuple[int, tuple[SourceYear, ...]]]


def make_plan(
    workflow: Workflow,
    inventory: Inventory,
    headers: Mapping[str, Header | ClimdaskError],
    *,
    limits: Limits | None = None,
    done: Done | None = None,
) -> Plan:
    """Decide what to do.

    Args:
        workflow: what is wanted.
        inventory: the files.
        headers: the header of one file of each series, or why none could be read.
        limits: what the cluster offers; one worker without a memory limit if left out.
        done: what earlier runs left.

    Raises:
        PlanError: no chain can be made; what stops some chains only is in ``Plan.failures``.
        RegionError: a region holds no cell.
    """
    limits, done = limits or Limits(), done or Done()
    homes = _homes(inventory)
    last = last_historical_year(workflow, inventory)
    chains: list[Chain] = []
    failures: dict[str, ClimdaskError] = {}
    notes = list(inventory.notes)
    selections: dict[tuple[bytes, ...], Selection] = {}
    for series in inventory.series:
        header = headers[series.id]
        if isinstance(header, ClimdaskError):
            failures[series.id] = header
            continue
        maker = _ChainMaker(workflow, series, header, last, limits, done, notes, selections)
        try:
            chains.append(maker.make(homes[series.id]))
        except PlanError as error:  # of this series; the others may well be planned
            failures[series.id] = error
    if not chains and all(isinstance(error, PlanError) for error in failures.values()):
        raise next(iter(failures.values()))
    at_once = _at_once([c for c in chains if c.legs.reads or c.legs.n_targets], limits)
    return Plan(
        workflow,
        inventory,
        tuple(c for c in chains if c.legs.n_targets),
        tuple(c for c in chains if not c.legs.n_targets),
        {name: str(error) for name, error in failures.items()},
        tuple(notes),
        limits,
        at_once,
    )


def last_historical_year(workflow: Workflow, inventory: Inventory) -> int:
    """Return where history ends: as said, as the scenarios' names tell, or the last file's year.

    Raises:
        PlanError: the scenarios' names tell nothing, and the workflow does not say it.
    """
    if workflow.last_historical_year is not None:
        return workflow.last_historical_year
    kinds = {s[:3] for s in workflow.scenarios}
    if kinds <= {"ssp"} and kinds:
        return 2014
    if kinds == {"rcp"}:
        return 2005
    if kinds:
        raise PlanError(
            f"last_historical_year: not given, and scenarios {', '.join(workflow.scenarios)} do "
            "not tell it as ssp… (2014) or rcp… (2005) do; add it to the workflow"
        )
    return max(
        (f.end[0] for s in inventory.series for f in s.of(workflow.historical)), default=9999
    )


@dataclass(frozen=True)
class _ChainMaker:
    """Makes the chain of one series."""

    workflow: Workflow
    series: Series
    header: Header
    last_historical_year: int
    limits: Limits
    done: Done
    notes: list[str] = field(repr=False)
    selections: dict[tuple[bytes, ...], Selection] = field(repr=False)

    def make(self, home: str) -> Chain:
        flow = self.workflow
        spec = self._spec()
        files = {leg: self.series.of(leg) for leg in (flow.historical, *flow.scenarios)}
        for leg in [leg for leg, own in files.items() if not own]:
            self._note(f"no files of {leg}, so no normals of it")
            if leg != flow.historical:
                del files[leg]
        targets = self._targets(files)
        memory = self._memory(spec, max(1, len(files) - 1))
        allowed = self.limits.memory_per_worker
        if allowed is not None and memory.n_bytes > MEMORY_SHARE * allowed:
            self._note(
                f"projected memory {size(memory.n_bytes)} is more than half of a worker's "
                f"{size(allowed)}, so part of it will go to disk; give fewer or smaller regions, "
                "or more memory for each worker"
            )
        demand = Demand(
            window=flow.window,
            trunk=flow.historical,
            last_historical_year=self.last_historical_year,
            targets={leg: self._pending(spec, leg, ts) for leg, ts in targets.items()},
            checkpoints={leg: self._saved(leg) for leg in targets},
            checkpoint_every=flow.run.checkpoint_every,
            keep_ring=memory.keeps_ring,
            slice_years=_slice_years(spec, self.limits),
        )
        legs = lay_out(demand, files)
        sources = sources_of(demand, files)
        chain = Chain(spec, legs, sources, home, memory, targets, self.done.normals)
        self._report(chain)
        return chain

    def _selection(self) -> Selection:
        """Find the cells of the regions; chains of one grid share them."""
        grid = self.header.grid
        axes = (grid.lat, grid.lon, grid.lat_bounds, grid.lon_bounds)
        key = tuple(b"" if axis is None else axis.tobytes() for axis in axes)
        if key not in self.selections:
            self.selections[key] = select(grid, self.workflow.boxes)
        return self.selections[key]

    def _spec(self) -> ChainSpec:
        flow, series = self.workflow, self.series
        return ChainSpec(
            series.id,
            series.model,
            series.member,
            series.grid,
            series.variable,
            self.header,
            DayAxis(self.header.calendar, flow.leap_day),
            self._selection(),
            Periods(flow.historical, self.last_historical_year, flow.window),
            flow.years_needed,
            flow.output.count,
            flow.output.compression_level,
            flow.output.significant_digits,
            format=flow.output.format,
        )

    def _pending(self, spec: ChainSpec, leg: str, targets: Sequence[int]) -> tuple[int, ...]:
        names = [r.box.name for r in spec.selection.regions]
        return tuple(
            t
            for t in targets
            if any(spec.output_key(n, leg, t) not in self.done.normals for n in names)
        )

    def _saved(self, leg: str) -> list[int]:
        return [y for (c, saved, y) in self.done.checkpoints if (c, saved) == (self.series.id, leg)]

    def _targets(self, files: Mapping[str, Sequence[InputFile]]) -> dict[str, tuple[int, ...]]:
        """Return the target years of each leg."""
        trunk, last = self.workflow.historical, self.last_historical_year
        history = [y for f in files[trunk] for y in f.years if y <= last]
        targets = {}
        for leg, own in files.items():
            years = [y for f in own for y in f.years if (y <= last) == (leg == trunk)]
            record = history if leg == trunk else history + years
            targets[leg] = self._targets_of(leg, record)
        if not any(targets.values()):
            record = sorted({y for own in files.values() for f in own for y in f.years})
            raise PlanError(
                f"window: {self.workflow.window}: no window of that many years lies within the "
                f"record of {self.series.id}, {run_lengths(record)}; shorten window, or name "
                "targets and set partial_windows: true"
            )
        return targets

    def _targets_of(self, leg: str, record: Collection[int]) -> tuple[int, ...]:
        flow, last = self.workflow, self.last_historical_year
        is_trunk = leg == flow.historical
        if not record:
            return ()
        possible = range(min(record) + flow.window - 1, max(record) + 1)
        found: set[int] = set()
        for item in flow.targets:
            if item == "all" or item in get_args(Period):
                kind = self._kind
                found |= {t for t in possible if item in ("all", kind(t))}
            else:
                asked = {item} if isinstance(item, int) else set(span(item))
                mine = {t for t in asked if (t <= last) == is_trunk or not flow.scenarios}
                self._check_record(leg, mine, record)
                found |= mine
        return tuple(sorted(t for t in found if (t <= last) == is_trunk))

    def _kind(self, target_year: int) -> str:
        return Periods("", self.last_historical_year, self.workflow.window).kind(target_year)

    def _check_record(self, leg: str, targets: Collection[int], record: Collection[int]) -> None:
        first, last = min(record), max(record)
        whole = first + self.workflow.window - 1
        cure = f"choose targets from {whole} to {last}" if whole <= last else "shorten window"
        for target in sorted(targets):
            window = Window.ending(target, self.workflow.window)
            inside = first <= window.first_year and window.last_year <= last
            overlaps = window.first_year <= last and window.last_year >= first
            if not inside and not (self.workflow.partial_windows and overlaps):
                raise PlanError(
                    f"targets: {target}: its window {window.first_year}-{window.last_year} leaves "
                    f"the record of {self.series.id} ({leg}), {first}-{last}; {cure}"
                    + (", or set partial_windows: true" if overlaps else "")
                )

    def _report(self, chain: Chain) -> None:
        """Note what the user should know about the windows, by the names of their files."""
        windows = [
            (target, chain.source_years(leg, target))
            for leg, targets in chain.targets.items()
            for target in targets
        ]
        self._report_files({s for _, sources in windows for s in sources})
        self._report_versions(windows)
        self._report_thin(windows)

    def _report_files(self, sources: Collection[SourceYear]) -> None:
        """Note the years that are missing or incomplete."""
        for experiment in sorted({s.experiment for s in sources}):
            gaps = [s.year for s in sources if s.experiment == experiment and not s.files]
            if gaps:
                self._note(f"gap: no file of {experiment} for {run_lengths(gaps)}")
        alone = {(s.files[0], s.year) for s in sources if len(s.files) == 1}
        for path in sorted({f.path for f, year in alone if not f.is_whole(year)}):
            self._note(f"incomplete year, by its name: {path}")

    def _report_versions(self, windows: _Windows) -> None:
        """Note the normals that mix versions of files."""
        mixed: dict[tuple[tuple[int, ...], ...], list[int]] = defaultdict(list)
        for target, sources in windows:
            mixed[tuple(sorted({f.version for s in sources for f in s.files}))].append(target)
        for versions, targets in sorted(mixed.items()):
            if len(versions) > 1:
                names = ", ".join("v" + ".".join(map(str, v)) if v else "none" for v in versions)
                self._note(f"normals of {run_lengths(targets)} mix files of versions {names}")

    def _report_thin(self, windows: _Windows) -> None:
        """Note the normals that will be missing.

        Raises:
            PlanError: all of them will be.
        """
        needed = self.workflow.years_needed
        thin = [t for t, sources in windows if sum(bool(s.files) for s in sources) < needed]
        if thin:
            self._note(
                f"normals of {run_lengths(thin)} will be missing: fewer than {needed} "
                "source years (min_years)"
            )
        if len(thin) == len(windows):
            raise PlanError(
                f"{self.series.id}: every window has fewer than {needed} "
                "source years; lower min_years, or complete the archive"
            )

    def _memory(self, spec: ChainSpec, legs: int) -> ChainMemory:
        """Decide what stays in memory; how far reads run ahead only where the user has not."""
        most = self.workflow.lookahead
        given = self.workflow.run.lookahead is not None
        return fit(
            spec.cell_days,
            window=spec.window,
            legs=legs,
            threads=self.limits.threads,
            lookaheads=range(most, most - 1 if given else 0, -1),
            limit=self.limits.memory_per_worker,
        )

    def _note(self, text: str) -> None:
        self.notes.append(f"{self.series.id}: {text}")


def _slice_years(spec: ChainSpec, limits: Limits) -> int:
    """Return how many years of a long file one task may read: a tenth of a worker's memory."""
    memory = limits.memory_per_worker or 4 << 30
    return max(1, memory // 10 // (4 * spec.cell_days))


def _at_once(chains: Sequence[Chain], limits: Limits) -> int:
    """Return how many chains fit in the memory of all workers together."""
    if limits.memory_per_worker is None or not chains:
        return max(1, len(chains))
    largest = max(chain.memory.n_bytes for chain in chains)
    return max(1, int(MEMORY_SHARE * limits.memory_per_worker // largest)) * limits.workers


def _homes(inventory: Inventory) -> dict[str, str]:
    """Give chains that share a file the same home; the home's name is its first chain's id."""
    home = {series.id: series.id for series in inventory.series}
    holder: dict[str, str] = {}
    for series in inventory.series:
        for file in series.files:
            other = holder.setdefault(file.path, series.id)
            if home[other] != home[series.id]:
                keep, give = sorted((home[other], home[series.id]))
                home = {chain: keep if h == give else h for chain, h in home.items()}
    return home

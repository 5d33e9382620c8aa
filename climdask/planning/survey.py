"""The survey: finds the chains of a workflow, and what each could make.

Pure, as the plan is: a workflow, an inventory and the headers of one file for each chain go in, a
:class:`climdask.planning.plan.Plan` comes out, which then leaves out what is done
(:meth:`~climdask.planning.plan.Plan.pending`) and is fitted to the cluster
(:meth:`~climdask.planning.plan.Plan.fitted`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import get_args

from climdask.climatology.calendars import DayAxis, Periods, Window, run_lengths
from climdask.climatology.changes import Change
from climdask.climatology.conversions import (
    UNCHANGED,
    Conversion,
    UnitsError,
    conversion,
    is_temperature,
    is_water,
    wanted_units,
)
from climdask.climatology.cycles import Cycle
from climdask.climatology.expressions import Kind
from climdask.climatology.places import Place, Selection, select, uncovered
from climdask.climatology.products import AREA_NAMES, OWN_NAMES, Product, Within, taken_names
from climdask.errors import ClimdaskError, PlanError
from climdask.inputs.headers import Header
from climdask.inputs.inventory import InputFile, Inventory, Series
from climdask.inputs.namedates import runs_of_days
from climdask.plaintext import quantity
from climdask.planning.chains import CarryId
from climdask.planning.plan import Chain, ChainSpec, Plan
from climdask.planning.sourceyears import days_lacking, split_years
from climdask.planning.windowfiles import SourceYear, WindowFiles
from climdask.settings.workflow import Period, Workflow, span

# Where each year of the windows of each branch comes from.
_Given = Mapping[str, Mapping[int, SourceYear]]


def survey(
    workflow: Workflow,
    inventory: Inventory,
    headers: Mapping[str, Header | ClimdaskError],
    places: Sequence[Place] | None = None,
) -> Plan:
    """Find all that a workflow could make, before anything is done.

    Args:
        workflow: what is wanted.
        inventory: the files.
        headers: the header of one file of each series, or why none could be read.
        places: the regions; the workflow's boxes if left out.

    Raises:
        PlanError: no chain can be made; what stops some chains only is in ``Plan.failures``.
        RegionError: a region holds no cell.
    """
    inventory = _ended(inventory, headers)
    homes = _homes(inventory)
    last = last_historical_year(workflow, inventory)
    chains: list[Chain] = []
    failures: dict[str, ClimdaskError] = {}
    notes = list(inventory.notes)
    places = workflow.boxes if places is None else places
    selections: dict[Hashable, Selection] = {}
    for series in inventory.series:
        header = headers[series.id]
        if isinstance(header, ClimdaskError):
            failures[series.id] = header
            continue
        surveyor = _Surveyor(workflow, series, header, last, notes, places, selections)
        try:
            chains.append(surveyor.chain(homes[series.id]))
        except PlanError as error:  # of this series; the others may well be planned
            failures[series.id] = error
    if not chains and all(isinstance(error, PlanError) for error in failures.values()):
        raise next(iter(failures.values()))
    chains.sort(key=lambda chain: chain.id)
    failed = {name: str(error) for name, error in failures.items()}
    return Plan(workflow, inventory, tuple(chains), failed, tuple(notes))


def _ended(inventory: Inventory, headers: Mapping[str, Header | ClimdaskError]) -> Inventory:
    """Return the inventory with the ends of files that only the files themselves tell."""
    series = []
    for one in inventory.series:
        header = headers[one.id]
        known = {} if isinstance(header, ClimdaskError) else dict(header.ends)
        series.append(one.ending(known))
    return replace(inventory, series=tuple(series))


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


# How many files of an incomplete year a note names.
_NAMED = 3
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.@+-]*")


@dataclass(frozen=True)
class _Surveyor:
    """Finds the chain of one series."""

    workflow: Workflow
    series: Series
    header: Header
    last_historical_year: int
    notes: list[str] = field(repr=False)
    places: Sequence[Place] = field(repr=False)
    selections: dict[Hashable, Selection] = field(repr=False)

    def chain(self, home: str) -> Chain:
        flow = self.workflow
        spec = self._spec()
        files = {branch: self.series.of(branch) for branch in (flow.historical, *flow.scenarios)}
        for branch in [branch for branch, own in files.items() if not own]:
            self._note(f"no files of {branch}, so no normals of it")
            if branch != flow.historical:
                del files[branch]
        found = WindowFiles(flow.historical, self.last_historical_year, files)
        chain = Chain(spec, found, self._targets(files), home, flow.run)
        self._check_split_years(chain)
        self._check_references(chain)
        self._report(chain)
        return chain

    @property
    def _products(self) -> tuple[Product, ...]:
        return self.workflow.products_of(self.series.variable)

    def _by_frequency(self) -> dict[Cycle, tuple[Product, ...]]:
        """Return the products by the steps that they have, bound to the units of the files.

        Raises:
            PlanError: nothing is made of the variable, or something that its units do not allow.
        """
        found: dict[Cycle, tuple[Product, ...]] = {}
        for product in self._products:
            bound = replace(product, within=self._bound(product.within))
            bound = replace(bound, units=self._units(bound))
            found[product.cycle] = (*found.get(product.cycle, ()), bound)
        found = {cycle: self._with_changes(own) for cycle, own in found.items()}
        if not found:
            raise PlanError(
                f"{self.series.id}: normals: no entry is made of {self.series.variable}; add one, "
                "or leave the variable out of variables"
            )
        return found

    def _with_changes(self, products: tuple[Product, ...]) -> tuple[Product, ...]:
        """Return products and their changes against the reference periods, which come last.

        Raises:
            PlanError: a change has the name of another product.
        """
        section = self.workflow.change
        if section is None:
            return products
        made = [
            change
            for product in products
            if product.statistic.quantity != "number"
            for change in self._changes(product, section.references)
        ]
        taken = [*OWN_NAMES, *(p.name(self.series.variable) for p in products)]
        doubled = [n for n in (p.name(self.series.variable) for p in made) if n in taken]
        if doubled:
            raise PlanError(
                f"{self.series.id}: normals: {doubled[0]} is the name of a change, and of "
                "something else; give that another name"
            )
        return (*products, *made)

    def _changes(self, product: Product, references: Sequence[Window]) -> Iterator[Product]:
        """Yield the difference from each reference period, and the ratio where there is one."""
        floor = self._floor(product)
        for reference in references:
            difference = Change(reference, None, len(references) > 1)
            yield replace(product, change=difference)
            if floor is not None:
                yield replace(product, change=replace(difference, floor=floor))

    def _floor(self, product: Product) -> tuple[Fraction, str] | None:
        """Return the least value of a reference that has a ratio; None where no ratio is made."""
        section, within = self.workflow.change, product.within
        own = within.result_units if within else self.header.units
        units = product.units.target or own
        if within and within.expression.kind in (Kind.DAYS, Kind.DAYS_IN_SPELLS):
            units = "day"  # a number of them
        for floor in section.floors if section else ():
            value = floor.in_units(units, water=self._is_water)
            if value is not None:
                return value, floor.text
        if section and section.floors and not _is_temperature(units):
            self._note(
                f"no ratio of {product.name(self.series.variable)} ({units}), as relative_floor "
                "has nothing of its units"
            )
        return None

    def _units(self, product: Product) -> Conversion:
        """Return how a product becomes what ``units`` asks for.

        Raises:
            PlanError: the units of the files cannot become these.
        """
        wanted, source = self.workflow.units.get(self.series.variable), self.header.units
        if wanted is None or product.statistic.quantity == "number":
            return UNCHANGED
        try:
            conversion(source, wanted, water=self._is_water)  # for a clear message
            within = product.within
            given = within.result_units if within else source
            target = wanted_units(given, source, wanted)
            found = conversion(given, target, water=self._is_water) if target else UNCHANGED
        except UnitsError as error:
            raise PlanError(
                f"{self.series.id}: units: {self.series.variable}: {wanted}: {error}"
            ) from None
        is_difference = product.statistic.quantity == "difference" or (
            within is not None and within.bound is not None and within.bound.is_difference
        )
        return found.of_differences if is_difference else found

    @property
    def _is_water(self) -> bool:
        return is_water(str(dict(self.header.attributes).get("standard_name", "")))

    def _bound(self, within: Within | None) -> Within | None:
        try:
            return within.bind(self.header.units, water=self._is_water) if within else None
        except ValueError as error:
            raise PlanError(f"{self.series.id}: normals: within: {error}") from None

    def _kept_header(self, products: Sequence[Product]) -> Header:
        """Return the header without scalar coordinates that an output cannot hold.

        Raises:
            PlanError: the variable itself has a name that each output needs for another one.
        """
        variable = self.series.variable
        self._check_area_names()
        if variable in OWN_NAMES:
            raise PlanError(
                f'{self.series.id}: "{variable}" is a variable that each normal has beside its '
                f"values; rename the one in the files (ncrename -v {variable},NEW FILE)"
            )
        taken = taken_names(products, variable) | (AREA_NAMES if self._has_areas else set())
        scalars = self.header.scalars
        kept = [s for s in scalars if s.name not in taken and _PLAIN_NAME.fullmatch(s.name)]
        if left := [s.name for s in scalars if s not in kept]:
            self._note(
                f"the coordinate {', '.join(left)} of the files is left out: normals have a "
                "variable of that name, or cannot have one"
            )
        for note in self.header.notes:
            self._note(note)
        return replace(self.header, scalars=tuple(kept))

    @property
    def _has_areas(self) -> bool:
        return any(region.areas is not None for region in self._selection().regions)

    def _check_area_names(self) -> None:
        """Refuse a variable or product of a name that areas need for themselves.

        Raises:
            PlanError: there is one.
        """
        names = [product.name(self.series.variable) for product in self._products]
        wrong = sorted(AREA_NAMES.intersection([self.series.variable, *names]))
        if self._has_areas and wrong:
            raise PlanError(
                f'{self.series.id}: "{wrong[0]}" is what normals of areas have beside their '
                "values; give the product another name (normals: name), or rename the variable in "
                f"the files (ncrename -v {wrong[0]},NEW FILE)"
            )

    def _selection(self) -> Selection:
        """Find the cells of the regions; chains of one grid share them."""
        grid = self.header.grid
        key = grid.identity
        if key not in self.selections:
            self.selections[key] = found = select(grid, self.places)
            of_shapes = (n for r in found.regions if r.areas is not None for n in r.areas.notes)
            self.notes.extend(n for n in of_shapes if n not in self.notes)
            for note in uncovered(found):
                self._note(note)
        return self.selections[key]

    def _spec(self) -> ChainSpec:
        flow, series = self.workflow, self.series
        by_cycle = self._by_frequency()
        spec = ChainSpec(
            series.id,
            series.model,
            series.member,
            series.grid,
            series.variable,
            self._kept_header([p for own in by_cycle.values() for p in own]),
            DayAxis(self.header.calendar, flow.leap_day),
            self._selection(),
            Periods(flow.historical, self.last_historical_year, flow.window),
            flow.years_needed,
            flow.output.count,
            flow.output.compression_level,
            flow.output.significant_digits,
            format=flow.output.format,
            products=by_cycle.pop(Cycle.days(), ()),
            missing_values=tuple(sorted(set(flow.input.missing_values))),
        )
        whole = DayAxis(self.header.calendar, "keep")  # months and years have their 29 February
        others = (
            replace(spec, axis=whole, cycle=cycle, products=own) for cycle, own in by_cycle.items()
        )
        return replace(spec, others=tuple(others))

    def _targets(self, files: Mapping[str, Sequence[InputFile]]) -> dict[str, tuple[int, ...]]:
        """Return the target years of each branch."""
        trunk, last = self.workflow.historical, self.last_historical_year
        history = [y for f in files[trunk] for y in f.years if y <= last]
        targets = {}
        for branch, own in files.items():
            years = [y for f in own for y in f.years if (y <= last) == (branch == trunk)]
            record = history if branch == trunk else history + years
            targets[branch] = self._targets_of(branch, record)
        if not any(targets.values()):
            record = sorted({y for own in files.values() for f in own for y in f.years})
            raise PlanError(
                f"window: {self.workflow.window}: no window of that many years lies within the "
                f"record of {self.series.id}, {run_lengths(record)}; shorten window, or name "
                "targets and set partial_windows: true"
            )
        return targets

    def _targets_of(self, branch: str, record: Collection[int]) -> tuple[int, ...]:
        flow, last = self.workflow, self.last_historical_year
        is_trunk = branch == flow.historical
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
                self._check_record(branch, mine, record)
                found |= mine
        return tuple(sorted(t for t in found if (t <= last) == is_trunk))

    def _kind(self, target_year: int) -> str:
        return Periods("", self.last_historical_year, self.workflow.window).kind(target_year)

    def _check_record(self, branch: str, targets: Collection[int], record: Collection[int]) -> None:
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
                    f"the record of {self.series.id} ({branch}), {first}-{last}; {cure}"
                    + (", or set partial_windows: true" if overlaps else "")
                )

    def _check_split_years(self, chain: Chain) -> None:
        """Check that no day that a window needs is in files of two experiments.

        Raises:
            PlanError: one is.
        """
        trunk, last = self.workflow.historical, self.last_historical_year
        for split in split_years(trunk, last, chain.files):
            if split.doubled is None or split.year not in self._years(chain, split.branch):
                continue
            one, other, (month, day) = split.doubled
            year, is_history = split.year, split.year <= last
            cure = "cut the days that are in both out of one file (cdo -seldate)"
            if other.is_whole(year):
                alone = f"last_historical_year: {year - 1 if is_history else year}"
                cure += f", or set {alone} to take all of {year} from the other one"
            raise PlanError(
                f"{self.series.id}: {one.path} and {other.path} both hold "
                f"{year:04}-{month:02}-{day:02}, by their names; expected each day in one file "
                f"only; {cure}"
            )

    def _check_references(self, chain: Chain) -> None:
        """Check that the reference periods have source years; note targets that come before.

        Raises:
            PlanError: a reference period ends after all targets, or has too few source years.
        """
        targets = {target for own in chain.targets.values() for target in own}
        for window in chain.spec.references:
            name = f"{window.first_year}-{window.last_year}"
            early = {target for target in targets if target < window.last_year}
            if early == targets:
                raise PlanError(
                    f"{self.series.id}: change: reference: {name} ends after the last target year "
                    f"{max(targets)}, so no change can be made; expected targets from "
                    f"{window.last_year} on, or an earlier period"
                )
            if early:
                self._note(
                    f"changes of {run_lengths(early)} against {name} are missing: these target "
                    "years come before the end of that period"
                )
        for branch in chain.targets:
            for at in _references(chain, branch):
                self._check_reference(chain, branch, at.year)

    def _check_reference(self, chain: Chain, branch: str, last_year: int) -> None:
        sources = chain.found.window(branch, Window.ending(last_year, self.workflow.window))
        there = [source.year for source in sources if source.files]
        if len(there) < self.workflow.years_needed:
            raise PlanError(
                f"{self.series.id}: change: reference: {sources[0].year}-{last_year} has "
                f"{quantity(len(there), 'source year')} ({branch}), fewer than min_years: "
                f"{self.workflow.years_needed}; choose a period of the record"
            )

    def _report(self, chain: Chain) -> None:
        """Note what the user should know about the windows, by the names of their files."""
        given = {
            branch: {year: chain.found.year(branch, year) for year in self._years(chain, branch)}
            for branch in chain.targets
        }
        # By identity: to hash the files of a year takes long where it has 365.
        sources = [source for years in given.values() for source in years.values()]
        self._report_files({(s.year, s.experiment, id(s.files)): s for s in sources}.values())
        self._report_versions(chain, given)
        self._report_thin(chain, given)

    def _years(self, chain: Chain, branch: str) -> set[int]:
        """Return the years of all windows of a branch, and of its reference periods."""
        length = self.workflow.window
        last = {*chain.targets[branch], *(at.year for at in _references(chain, branch))}
        return {y for t in last for y in Window.ending(t, length).years}

    def _report_files(self, sources: Collection[SourceYear]) -> None:
        """Note the years that are missing or incomplete."""
        for experiment in sorted({s.experiment for s in sources}):
            gaps = [s.year for s in sources if s.experiment == experiment and not s.files]
            if gaps:
                self._note(f"gap: no file of {experiment} for {run_lengths(gaps)}")
        parts: set[tuple[InputFile, ...]] = set()
        lacking: dict[frozenset[tuple[int, int]], list[int]] = defaultdict(list)
        for source in sources:
            days = days_lacking(source.files, source.year) if source.files else frozenset()
            if days and len(source.files) <= _NAMED:
                parts.add(source.files)
            elif days:
                lacking[days].append(source.year)
        for paths in sorted([f.path for f in files] for files in parts):
            whose = "its name" if len(paths) == 1 else "the names of its files"
            self._note(f"incomplete year, by {whose}: {', '.join(paths)}")
        for days, years in sorted(lacking.items(), key=lambda pair: min(pair[1])):
            each = "incomplete year" if len(set(years)) == 1 else "incomplete years"
            self._note(
                f"{each} {run_lengths(years)}, by the names of the files: no file for "
                f"{runs_of_days(days)} (month-day)"
            )

    def _report_versions(self, chain: Chain, given: _Given) -> None:
        """Note the normals that mix versions of files."""
        mixed: dict[tuple[tuple[int, ...], ...], list[int]] = defaultdict(list)
        for branch, years in given.items():
            own = {year: {f.version for f in source.files} for year, source in years.items()}
            if len(set().union(*own.values())) < 2:
                continue
            for target in chain.targets[branch]:
                window = Window.ending(target, self.workflow.window).years
                mixed[tuple(sorted(set().union(*(own[y] for y in window))))].append(target)
        for versions, targets in sorted(mixed.items()):
            if len(versions) > 1:
                names = ", ".join("v" + ".".join(map(str, v)) if v else "none" for v in versions)
                self._note(f"normals of {run_lengths(targets)} mix files of versions {names}")

    def _report_thin(self, chain: Chain, given: _Given) -> None:
        """Note the normals that will be missing.

        Raises:
            PlanError: all of them will be.
        """
        length, needed = self.workflow.window, self.workflow.years_needed
        thin = []
        for branch, years in given.items():
            gaps = [year for year, source in years.items() if not source.files]
            for target in chain.targets[branch]:
                lacking = sum(target - length < gap <= target for gap in gaps)
                if length - lacking < needed:
                    thin.append(target)
        if thin:
            self._note(
                f"normals of {run_lengths(thin)} will be missing: fewer than {needed} "
                "source years (min_years)"
            )
        if len(thin) == sum(map(len, chain.targets.values())):
            raise PlanError(
                f"{self.series.id}: every window has fewer than {needed} "
                "source years; lower min_years, or complete the archive"
            )

    def _note(self, text: str) -> None:
        self.notes.append(f"{self.series.id}: {text}")


def _is_temperature(units: str) -> bool:
    try:
        return is_temperature(units)
    except UnitsError:
        return False


def _references(chain: Chain, branch: str) -> tuple[CarryId, ...]:
    """Return the sums of the reference periods that some target of a branch is compared with."""
    return chain.references(branch, max(chain.targets[branch], default=0))


def _homes(inventory: Inventory) -> dict[str, str]:
    """Give chains that share a file the same home; the home's name is its first chain's id."""
    home = {series.id: series.id for series in inventory.series}

    def first(chain: str) -> str:
        while home[chain] != chain:
            home[chain] = home[home[chain]]
            chain = home[chain]
        return chain

    holder: dict[str, str] = {}
    for series in inventory.series:
        own = series.id
        for file in series.files:
            other = holder.setdefault(file.path, own)
            if other != own:
                keep, give = sorted((first(other), first(own)))
                home[give] = keep
    return {chain: first(chain) for chain in home}

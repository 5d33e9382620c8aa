"""What runs on a worker: read, window, write, checkpoint. Plain functions that know no Dask.

A task that Dask repeats after the loss of a worker must not repeat the whole chain. So within a
run only :func:`read` looks at the run's marks: where everything that needs its years is written
and saved in a checkpoint, it opens nothing and answers :class:`Superseded`. The other tasks obey
the markers that they are handed and never look at the disk.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.climatology.blocks import Block, join_blocks
from climdask.climatology.calendars import DayAxis, Window, edge_years, run_lengths
from climdask.climatology.carry import Carry, carry_of_steps
from climdask.climatology.changes import ReferenceNormals
from climdask.climatology.coverage import Counts, Coverage, MissingRule, needed_values
from climdask.climatology.cycles import DAY
from climdask.climatology.doubledoubles import DoubleDouble
from climdask.climatology.places import RegionCells
from climdask.climatology.products import Product
from climdask.climatology.rounding import rounded
from climdask.climatology.statistics import WindowStatistic, kept_by
from climdask.climatology.stepyears import StepYears, YearEnd, slide_steps
from climdask.errors import ClimdaskError, DataError, InconsistentFile, UnreadableFile
from climdask.execution.checkpoints import (
    load_checkpoint,
    load_reference,
    newest_marks,
    save_checkpoint,
    save_reference,
    set_mark,
)
from climdask.execution.gaps import gaps_of
from climdask.execution.records import record_done
from climdask.inputs.access import FileAccess, Reading, process_id
from climdask.inputs.inventory import InputFile
from climdask.inputs.netcdf import PassingError
from climdask.inputs.plausibility import check_values
from climdask.inputs.reading import YearInParts, read_years
from climdask.inputs.sources import source_of
from climdask.outputs.cf import NormalField
from climdask.outputs.folder import OutputFolder
from climdask.outputs.formats import FORMATS
from climdask.outputs.places import Places
from climdask.outputs.provenance import Provenance, Source, edge_runs
from climdask.plaintext import quantity
from climdask.planning.chains import BlockId, CarryId, Read, Step
from climdask.planning.plan import ChainSpec, NormalFile, OutputSeries, WriteJob

# Files of a source year that a normal names one by one.
_MOST_NAMED = 31


@dataclass(frozen=True)
class RunContext:
    """What every task of a run needs to know.

    Attributes:
        input_root: folder of the input files.
        on_bad_file: ``fail``, or ``skip`` to count a damaged file as a gap.
        retries: how often a read is tried again that failed for a passing reason.
    """

    run_id: str
    out: Path
    input_root: Path
    access: FileAccess
    on_bad_file: str
    retries: int

    @property
    def folder(self) -> OutputFolder:
        """The output folder."""
        return OutputFolder(self.out)

    def local(self, file: InputFile) -> Path:
        """Return where a file can be opened."""
        return source_of(self.input_root).local(file.path)


@dataclass(frozen=True)
class Superseded:
    """Instead of values: everything that needs them is written, and the sum is saved.

    Attributes:
        saved: (branch, year, path of the checkpoint) each.
    """

    saved: tuple[tuple[str, int, str], ...]

    def of(self, branch: str) -> tuple[int, str] | None:
        """Return year and path of the checkpoint of a branch."""
        return next(((year, path) for name, year, path in self.saved if name == branch), None)


@dataclass(frozen=True)
class Written:
    """What a write task did.

    Attributes:
        paths: files or stores, below the output root.
        n_bytes: of the normals together, as on disk.
        years: source years with any valid day; None if the normals were there already.
    """

    branch: str
    target_year: int
    paths: tuple[str, ...]
    n_bytes: int
    years: int | None


@dataclass(frozen=True)
class Skipped:
    """Instead of blocks: a bad file, under ``on_bad_file: skip``.

    Attributes:
        path: below the input root.
        years: those that were wanted of it.
    """

    path: str
    years: tuple[int, ...]


# Of a bundle of files, those that were skipped come after the block of the others.
Blocks = tuple[Block | Skipped, ...] | Skipped
Values = npt.NDArray[np.float32] | npt.NDArray[np.int16]
Handed = Carry | Superseded
References = Mapping[Window, ReferenceNormals]


def read(spec: ChainSpec, context: RunContext, job: Read, *_: object) -> Blocks | Superseded:
    """Open a file once and return a block for each of its years that is wanted.

    The files of a bundle are opened one after the other, for the block of their year.

    Returns:
        Blocks, float32 [day, place] each: cells, or areas made of them; :class:`Skipped` for a bad
        file, if that is allowed.

    Raises:
        DataError: the file is damaged, contradicts its name or the chain, or stays busy.
    """
    superseded = _superseded(spec, context, job)
    if superseded is not None:
        return superseded
    work = _Work.of(spec, context, job)
    for file in job.slice.files:
        _open(context, file, [work])
    if work.failure is not None:
        raise work.failure
    return work.answer()


def read_together(
    context: RunContext, jobs: Sequence[Read], *rest: Any
) -> tuple[Blocks | Superseded | ClimdaskError, ...]:
    """Do reads of several chains that are alike, in one opening of each file.

    Args:
        context: of the run.
        jobs: of each chain.
        rest: the specs of the chains, and then what only has to be done before.

    Returns:
        For each chain what :func:`read` returns, or the error that it raises.
    """
    specs: Sequence[ChainSpec] = rest[: len(jobs)]
    pairs = list(zip(specs, jobs, strict=True))
    marked = [_superseded(spec, context, job) for spec, job in pairs]
    works = [_Work.of(spec, context, job) for spec, job in pairs]
    due = [work for work, mark in zip(works, marked, strict=True) if mark is None]
    for file in jobs[0].slice.files if due else ():
        _open(context, file, due)
    answers: list[Blocks | Superseded | ClimdaskError] = []
    for work, mark in zip(works, marked, strict=True):
        try:
            answers.append(mark or work.failure or work.answer())
        except ClimdaskError as error:
            answers.append(error)
    return tuple(answers)


def pick(
    spec: ChainSpec,
    context: RunContext,
    place: int,
    answers: Sequence[Blocks | Superseded | ClimdaskError],
) -> Blocks | Superseded:
    """Return what :func:`read_together` read for one chain.

    Raises:
        DataError: it could not be read.
    """
    del spec, context
    answer = answers[place]
    if isinstance(answer, ClimdaskError):
        raise answer
    return answer


@dataclass
class _Work:
    """One read at work: what was read of its files so far.

    Attributes:
        parts: of a bundle, the year so far.
        blocks: of a single file.
        files: those that were read.
        failure: why it cannot go on.
    """

    spec: ChainSpec
    context: RunContext
    job: Read
    parts: YearInParts | None
    blocks: list[Block] = field(default_factory=list)
    files: list[InputFile] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    failure: ClimdaskError | None = None

    @classmethod
    def of(cls, spec: ChainSpec, context: RunContext, job: Read) -> _Work:
        parts = None
        if job.slice.bundled:
            (year,) = job.years
            parts = YearInParts.empty(spec.header, spec.read_axis, spec.selection, year)
        return cls(spec, context, job, parts)

    def take(self, file: InputFile, reading: Reading) -> None:
        """Read what is wanted of an open file."""
        spec, path = self.spec, self.context.local(file)
        how: dict[str, Any] = {
            "claim": file.claim,
            "decoded": reading.add,
            "slow": lambda reason: self.context.access.note("slow", path, reason=reason),
            "missing_values": spec.missing_values,
        }
        if self.parts is not None:
            self.parts.add(path, **how)
        else:
            self.blocks = read_years(
                path, spec.header, spec.read_axis, spec.selection, self.job.years, **how
            )

    def end(self, file: InputFile, error: Exception | None) -> None:
        """Take over how the reading of a file ended; it is not tried again."""
        if error is None:
            self.files.append(file)
        elif isinstance(error, PassingError | OSError | UnreadableFile):
            try:
                self.skipped.append(_skipped(self.context, file, self.job.years, error))
            except ClimdaskError as why:
                self.failure = why
        else:
            assert isinstance(error, ClimdaskError)
            self.failure = error

    def answer(self) -> Blocks:
        """Return the blocks, after a look at the values."""
        spec = self.spec
        if not self.files:
            return self.skipped[0] if self.parts is None else tuple(self.skipped)
        blocks = self.blocks if self.parts is None else [self.parts.block]
        paths = self.context.local(self.files[0]) if self.parts is None else self.parts.paths
        for block in blocks:
            check_values(paths, spec.header, spec.read_axis, spec.selection, block)
            for file in self.files:
                _note_incomplete(spec, self.context, file, block)
        return (*map(spec.selection.placed, blocks), *self.skipped)


def _open(context: RunContext, file: InputFile, works: Sequence[_Work]) -> None:
    """Open a file for some reads; again, for those that fail for a passing reason."""
    left = [work for work in works if work.failure is None]
    for attempt in range(context.retries + 1):
        errors = _try(context, file, left)
        again = []
        for work, error in zip(left, errors, strict=True):
            if isinstance(error, PassingError | OSError) and attempt < context.retries:
                again.append(work)
            else:
                work.end(file, error)
        if not again:
            return
        left = again
        time.sleep(random.uniform(0.5, 1.0) * 0.2 * 2**attempt)


def _try(
    context: RunContext, file: InputFile, works: Sequence[_Work]
) -> list[ClimdaskError | OSError | None]:
    """Open a file once for some reads; return what each of them failed for."""
    errors: list[ClimdaskError | OSError | None] = []
    try:
        with context.access.opening(context.local(file)) as reading:
            for work in works:
                try:
                    work.take(file, reading)
                    errors.append(None)
                except (ClimdaskError, OSError) as error:
                    errors.append(error)
    except (ClimdaskError, OSError) as error:  # of its lock or its trace
        return [error for _ in works]
    return errors


def _note_incomplete(spec: ChainSpec, context: RunContext, file: InputFile, block: Block) -> None:
    """Note days that a year lacks although a file should have them, by its name."""
    claimed = _claimed(spec.read_axis, file, block.year)
    lacking = int((claimed & ~block.days_any).sum())
    if lacking:
        reason = f"{_days(lacking)} of {block.year} {_have(lacking)} no value"
        context.access.note("incomplete", context.local(file), reason=reason)


def _days(number: int) -> str:
    return quantity(number, "day")


def _have(number: int) -> str:
    return "has" if number == 1 else "have"


def _claimed(axis: DayAxis, file: InputFile, year: int) -> npt.NDArray[np.bool_]:
    """Return bool [day]: the days of a year that a file should have, by its name."""
    exists = axis.exists_in(year)
    if file.is_whole(year):
        return exists
    return exists & [file.start <= (year, *day) <= file.end for day in axis.days]


def _superseded(spec: ChainSpec, context: RunContext, job: Read) -> Superseded | None:
    marks = newest_marks(context.folder, context.run_id, spec.id)
    if any(branch not in marks or marks[branch][0] < year for branch, year in job.last_uses):
        return None
    return Superseded(tuple((branch, *marks[branch]) for branch, _ in job.last_uses))


def _skipped(
    context: RunContext, file: InputFile, years: tuple[int, ...], error: Exception
) -> Skipped:
    """Count a bad file as a gap if the workflow says so, else fail."""
    path = context.local(file)
    if not isinstance(error, ClimdaskError):  # not the file's: of its lock or its trace
        raise UnreadableFile(f"{path}: cannot be read ({error})") from error
    if context.on_bad_file == "fail":
        raise error
    context.access.note("skip", path, reason=str(error))
    return Skipped(file.path, years)


def restore(spec: ChainSpec, __: RunContext, path: Path) -> Carry:
    """Load the sum that an earlier run saved."""
    return load_checkpoint(path, spec.states, len(spec.reductions))


def window(
    spec: ChainSpec,
    context: RunContext,
    step: Step,
    before: Handed | None,
    *parts: Blocks | Superseded,
) -> Handed:
    """Slide the window by a year: add the block that enters, drop the one that leaves.

    Args:
        spec: of the chain.
        context: of the run.
        step: which year.
        before: the sum so far, None for an empty one; never changed.
        parts: what the reads of the year that enters and the year that leaves answered.

    Raises:
        ClimdaskError: a marker says that a block is not needed, and the sum needs it.
        DataError: two files hold the same day, or a file that is in the sum cannot be read again.
    """
    marks = [m.of(step.branch) for m in (before, *parts) if isinstance(m, Superseded)]
    newest = max((m for m in marks if m is not None), default=None)
    if newest is not None and newest[0] > step.year:
        return Superseded(((step.branch, *newest),))
    if newest is not None and newest[0] == step.year:
        return load_checkpoint(Path(newest[1]), spec.states, len(spec.reductions))
    if marks or isinstance(before, Superseded):
        raise ClimdaskError(
            f"{spec.id}: {step.branch} {step.year}: a block was superseded by checkpoints {marks}, "
            "but the sum still needs it; this is a mistake in climdask, please report it"
        )
    with context.access.working("window", spec.id, step.branch, step.year):
        return _slid(spec, context, step, before or empty_carry(spec), parts)


def _slid(
    spec: ChainSpec,
    context: RunContext,
    step: Step,
    carry: Carry,
    parts: Sequence[Blocks | Superseded],
) -> Carry:
    """Add the block that enters the window, and drop the one that leaves."""
    each = [p for part in parts for p in (part if isinstance(part, tuple) else (part,))]
    blocks = [part for part in each if isinstance(part, Block)]
    missed = {(y, part.path) for part in each if isinstance(part, Skipped) for y in part.years}
    enters, leaves = (
        _block(spec, context, blocks, wanted) for wanted in (step.enters, step.leaves)
    )
    leaves = _leaves(spec, carry, leaves, step.leaves, missed)
    days = spec.days_of(enters)
    slid = carry.slide(enters=days, leaves=spec.days_of(leaves))
    within = range(step.year - spec.window + 1, step.year + 1)
    now = {(y, path) for y, path in missed if step.enters is not None and y == step.enters.year}
    skipped = tuple(sorted(s for s in {*carry.coverage.skipped, *now} if s[0] in within))
    valid_days = _valid_days(spec, carry.coverage, slid.years, days)
    coverage = replace(slid.coverage, skipped=skipped, valid_days=valid_days)
    steps = slide_steps(carry.steps, spec.reductions, enters, carry.year_end, within[0])
    year_end = YearEnd.of(enters, spec.days_before)
    return replace(slid, coverage=coverage, steps=steps, year_end=year_end)


def empty_carry(spec: ChainSpec) -> Carry:
    """Return the carry of no years."""
    n_days, n_places, regions = len(spec.axis), spec.selection.n_places, spec.selection.regions
    empty = Carry.empty(n_days, n_places, spec.states, len(regions))
    return replace(empty, steps=tuple(StepYears() for _ in spec.reductions))


def _valid_days(
    spec: ChainSpec, before: Coverage, years: Sequence[int], enters: Block | None
) -> npt.NDArray[np.bool_]:
    """Return bool [year, region, day] for the years that are covered now."""
    known = dict(zip(before.years, before.valid_days, strict=True))
    if enters is not None and enters.year in years:
        known[enters.year] = _valid_by_region(spec, enters)
    if not years:
        return before.valid_days[:0]
    return np.stack([known[year] for year in years])


def _valid_by_region(spec: ChainSpec, block: Block) -> npt.NDArray[np.bool_]:
    """Return bool [region, day]: whether any cell of the region is valid."""
    if not block.is_ragged:
        return np.stack([block.days_any for _ in spec.selection.regions])
    valid = ~np.isnan(block.values)
    return np.stack([valid[:, r.index.ravel()].any(axis=1) for r in spec.selection.regions])


def _leaves(
    spec: ChainSpec,
    carry: Carry,
    block: Block | None,
    wanted: BlockId | None,
    missed: Collection[tuple[int, str]],
) -> Block | None:
    """Return the block to drop: what entered the sum, or nothing if nothing did.

    Raises:
        UnreadableFile: the year's files cannot be read as they could be when it entered.
    """
    if wanted is None or wanted.year not in carry.years:
        return None  # a gap; or it had no valid day, or was skipped when it should have entered
    skipped = (carry.coverage.skipped, missed)
    then, now = ({p for y, p in pairs if y == wanted.year} for pairs in skipped)
    if block is None or then != now:
        raise UnreadableFile(
            f"{spec.id}: {wanted.year} leaves the window, but {', '.join(sorted(then ^ now))} "
            f"{'can' if then - now else 'cannot'} be read now, and when the year entered it "
            f"{'could not' if then - now else 'could'}; run again when the file is as it should be"
        )
    return block


def _block(
    spec: ChainSpec, context: RunContext, blocks: Sequence[Block], wanted: BlockId | None
) -> Block | None:
    parts = [b for b in blocks if wanted is not None and b.year == wanted.year]
    try:
        return join_blocks(parts) if parts else None
    except ValueError as error:
        raise InconsistentFile(
            f"{spec.id} below {context.input_root}: {error}; expected each day in one file; "
            "remove one of the files, or narrow input.pattern"
        ) from None


def reference(
    spec: ChainSpec, context: RunContext, at: CarryId, path: Path, carry: Handed
) -> ReferenceNormals:
    """Make the normals of a reference period, before the rounding, and save them.

    Raises:
        OutputError: the disk is full or cannot be written.
        DataError: files were skipped, and too few years are left.
    """
    if isinstance(carry, Superseded):  # everything up to the checkpoint is saved, this too
        return load_reference(path)
    with context.access.working("reference", spec.id, at.branch, at.year):
        window = Window.ending(at.year, spec.window)
        _check_years(spec, carry, f"reference period {window.first_year}-{window.last_year}")
        made = reference_normals(spec, window, carry)
        save_reference(path, made)
        return made


def reference_normals(spec: ChainSpec, window: Window, carry: Carry) -> ReferenceNormals:
    """Return the normals of a reference period, of all frequencies, before the rounding."""
    values: dict[str, DoubleDouble] = {}
    enough: dict[str, npt.NDArray[np.bool_]] = {}
    for own in spec.frequencies:
        carries = dict(zip(own.products, carries_of(spec, own, carry), strict=True))
        for product in own.compared:
            values[_reference_name(own, product)] = _unrounded(
                own, window, carries[product], product
            )
            valid = carries[product].coverage.valid_days.any(axis=2).sum(axis=0)
            enough[_reference_name(own, product)] = valid >= own.min_years
    return ReferenceNormals(values, enough, carry.coverage.skipped)


def _reference_name(spec: ChainSpec, product: Product) -> str:
    return f"{spec.frequency}--{product.name(spec.variable)}"


def saved_reference(spec: ChainSpec, context: RunContext, path: Path) -> ReferenceNormals:
    """Load the normals of a reference period that an earlier run saved."""
    del spec, context
    return load_reference(path)


def write(
    spec: ChainSpec,
    context: RunContext,
    job: WriteJob,
    carry: Handed,
    *references: ReferenceNormals,
) -> Written:
    """Write the normal of a target year: a file, or its part of a Zarr store, for each region.

    Args:
        spec: of the chain.
        context: of the run.
        job: what is to be written.
        carry: the sum of the window.
        references: the normals of those of ``spec.references`` that end by the target year.

    Raises:
        OutputError: the disk is full or cannot be written.
        DataError: files were skipped, and too few years are left.
    """
    target, paths = job.window.last_year, tuple(f.path for f in job.files)
    if isinstance(carry, Superseded):
        return Written(job.branch, target, paths, _bytes(spec, context, job), None)
    with context.access.working("write", spec.id, job.branch, target) as line:
        ended = [w for w in spec.references if w.last_year <= target]
        others = dict(zip(ended, references, strict=True))
        if gaps := _write_regions(spec, context, job, carry, others):
            line["gaps"] = gaps
        line["bytes"] = n_bytes = _bytes(spec, context, job)
    return Written(job.branch, target, paths, n_bytes, len(carry.years))


def _check_years(spec: ChainSpec, carry: Carry, what: str) -> None:
    """Check that bad files, which were skipped, leave enough years.

    Raises:
        DataError: they do not.
    """
    skipped = tuple(sorted({year for year, _ in carry.coverage.skipped}))
    if len(carry.years) < spec.min_years <= len({*carry.years, *skipped}):
        raise DataError(
            f"{spec.id}: {what}: without the bad files of {run_lengths(skipped)} only "
            f"{quantity(len(carry.years), 'source year is')} left, fewer than min_years: "
            f"{spec.min_years}"
        )


def _write_regions(
    spec: ChainSpec, context: RunContext, job: WriteJob, carry: Carry, references: References
) -> list[dict[str, Any]]:
    """Write the normal of each region; return what they lack everywhere."""
    _check_years(spec, carry, f"normal of {job.window.last_year}")
    gaps: list[dict[str, Any]] = []
    for own in spec.frequencies:
        files = [file for file in job.files if file.frequency == own.frequency]
        if files:
            carries = carries_of(spec, own, carry)
            gaps += _write_frequency(own, context, job, files, carries, references)
    return gaps


def carries_of(spec: ChainSpec, own: ChainSpec, carry: Carry) -> list[Carry]:
    """Return what each product of a frequency is made from: the days, or steps of a reduction."""
    if not any(product.within for product in own.products):
        return [carry] * len(own.products)
    regions = [region.index.ravel() for region in spec.selection.regions]
    within = [(product.within.on(own.axis), product) for product in own.products if product.within]
    made = {}
    for reduction, years in zip(spec.reductions, carry.steps, strict=True):
        statistics = [product.statistic for own_one, product in within if own_one == reduction]
        if statistics:
            states, n_steps = kept_by(statistics), len(own.steps)
            made[reduction] = carry_of_steps(years, n_steps, carry.shape[1], states, regions)
    skipped = carry.coverage.skipped
    found = [made[reduction] for reduction, _ in within]
    return [replace(c, coverage=replace(c.coverage, skipped=skipped)) for c in found]


def _write_frequency(
    spec: ChainSpec,
    context: RunContext,
    job: WriteJob,
    files: Sequence[NormalFile],
    carries: Sequence[Carry],
    references: References,
) -> list[dict[str, Any]]:
    """Write the normals of one frequency; the first product tells the years behind them."""
    made = _all_made(spec, job.window, carries, references)
    needed = _needed(spec, job.window, spec.products[0].statistic)
    bad = {bad for other in references.values() for bad in other.skipped}
    places = {region.place.name: n for n, region in enumerate(spec.selection.regions)}
    carry = carries[0]
    skipped = tuple(sorted({year for year, _ in {*carry.coverage.skipped, *bad}}))
    gaps: list[dict[str, Any]] = []
    for file in files:
        place = places[file.region]
        region, valid = spec.selection.regions[place], carry.coverage.valid_days[:, place]
        years = [year for year, days in zip(carry.years, valid, strict=True) if days.any()]
        enough = len(years) >= spec.min_years
        usual = spec.steps.edges(job.window)
        edges = edge_years(carry.years, valid, usual)
        made_from = replace(
            _provenance(job, file, carry, _sources(spec, job, years), bad),
            edges=tuple(edge_runs(edges, usual)),
        )
        fits = [enough and _has_reference(spec, p, place, references) for p in spec.products]
        own = [_cut(v, region, blank=not fit) for v, fit in zip(made, fits, strict=True)]
        field = NormalField(
            own[0],
            valid.sum(axis=0, dtype=np.int16),
            _count(carry, region) if spec.count else None,
            len(years),
            made_from.attributes,
            tuple(own[1:]),
            edges,
        )
        _put(spec, context, job, file, field, made_from, skipped)
        gaps += gaps_of(file.region, field.values, field.years_per_day, needed, spec.steps)
    return gaps


def _has_reference(spec: ChainSpec, product: Product, place: int, references: References) -> bool:
    """Tell whether a region has a reference that a product needs; so if it needs none."""
    if product.change is None or product.change.reference not in references:
        return product.change is None
    enough = references[product.change.reference].enough
    return bool(enough[_reference_name(spec, product.normal)][place])


def _needed(spec: ChainSpec, window: Window, statistic: WindowStatistic) -> Counts:
    """Return [day]: the values that a statistic needs on each day."""
    rule = MissingRule(spec.min_years, spec.window)
    if spec.frequency != DAY:
        return rule.needed(np.full(len(spec.steps), spec.window, dtype=np.int16))
    return needed_values(rule, spec.axis, window, statistic.pool_days)


def _all_made(
    spec: ChainSpec, window: Window, carries: Sequence[Carry], references: References
) -> list[Values]:
    """Return what is written of each product, [day, cell]: with fewer digits, if asked for."""
    made: list[Values] = []
    latest: tuple[Product, DoubleDouble] | None = None  # changes of one normal follow each other
    for product, carry in zip(spec.products, carries, strict=True):
        if product.change is None:
            made.append(_digits(spec, product, _made(spec, window, carry, product)))
            continue
        if product.change.reference not in references:  # the target comes before its end
            made.append(np.full(carry.shape, np.nan, dtype=np.float32))
            continue
        if latest is None or latest[0] != product.normal:
            latest = product.normal, _unrounded(spec, window, carry, product.normal)
        other = references[product.change.reference].values[_reference_name(spec, product.normal)]
        made.append(_digits(spec, product, product.change(latest[1], other)))
    return made


def _made(spec: ChainSpec, window: Window, carry: Carry, product: Product) -> Values:
    """Return a normal [day, cell]."""
    needed = _needed(spec, window, product.statistic)
    own = (product.statistic, product.units, product.smoothing)
    return carry.normal(needed, spec.min_years, *own)


def _unrounded(spec: ChainSpec, window: Window, carry: Carry, product: Product) -> DoubleDouble:
    """Return what a normal is before the rounding, [day, cell]."""
    needed = _needed(spec, window, product.statistic)
    own = (product.statistic, product.units, product.smoothing)
    return carry.unrounded(needed, spec.min_years, *own)


def _digits(spec: ChainSpec, product: Product, values: Values) -> Values:
    """Return values with the digits that the workflow asks for."""
    if spec.significant_digits is None or product.statistic.quantity == "number":
        return values
    return rounded(values.astype(np.float32, copy=False), spec.significant_digits)


def _cut(values: Values, region: RegionCells, *, blank: bool) -> Values:
    """Return a region's values, [day, lat, lon] or [day, area]; all missing where blanked."""
    own = values[:, region.index]
    return np.full_like(own, np.nan) if blank and own.dtype.kind == "f" else own


def _put(
    spec: ChainSpec,
    context: RunContext,
    job: WriteJob,
    file: NormalFile,
    field: NormalField,
    made_from: Provenance,
    skipped: tuple[int, ...],
) -> None:
    """Put a normal in its place, then record it."""
    series = OutputSeries(spec, spec.selection.region(file.region), job.branch)
    output_format = FORMATS[spec.format]
    objects = output_format.write(context.out, series, job.window, field)
    record_done(
        context.folder,
        file,
        skipped=skipped,
        process=process_id(),
        objects=objects,
        provenance=None if output_format.tells_itself else made_from,
    )


def _count(carry: Carry, region: RegionCells) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    full = np.broadcast_to(carry.coverage.count, carry.shape)
    return np.ascontiguousarray(full[:, region.index])


def _bytes(spec: ChainSpec, context: RunContext, job: WriteJob) -> int:
    places = Places(context.folder)
    each = [places.objects(spec, job.branch, job.window.last_year, f) for f in job.files]
    return sum(path.stat().st_size for objects in each for path in objects if path.exists())


def _sources(spec: ChainSpec, job: WriteJob, years: Sequence[int]) -> list[int]:
    """Return the years that a normal has days of: also the one that the first DJF reaches to."""
    first = job.window.first_year
    return [first - 1, *years] if spec.alone.reaches_back and first in years else list(years)


def names_of(files: Sequence[InputFile]) -> tuple[tuple[str, ...], str]:
    """Return what a normal tells of the files of a source year: paths, and versions.

    Where there are many, one for each day, the first and the last stand for all: attributes have
    to stay small.
    """
    versions = [".".join(map(str, f.version)) or "none" for f in files]
    if len(files) <= _MOST_NAMED:
        return tuple(f.path for f in files), "+".join(versions)
    first, last = files[0].path, files[-1].path
    return (f"{first} to {last} ({len(files)} files)",), "+".join(dict.fromkeys(versions))


def _provenance(
    job: WriteJob,
    file: NormalFile,
    carry: Carry,
    years: Collection[int],
    bad: Collection[tuple[int, str]],
) -> Provenance:
    """Name scenario, version and files of each source year that is in the normal.

    Files that were skipped are named, also ``bad`` ones of reference periods.
    """
    sources = []
    for source in job.sources:
        if source.year in years and source.files:
            files = [f for f in source.files if (source.year, f.path) not in carry.coverage.skipped]
            paths, version = names_of(files)
            sources.append(Source(source.year, source.experiment, version, paths))
    missed = sorted({*carry.coverage.skipped, *bad})
    skipped = tuple(dict.fromkeys(path for _, path in missed))
    return Provenance(tuple(sources), skipped, (file.input_hash, file.untimed_hash))


def tick(*_: object) -> None:
    """Do nothing: what waits for it waits for what it depends on."""


def checkpoint(
    spec: ChainSpec, context: RunContext, at: CarryId, path: Path, carry: Handed, *_: Written
) -> None:
    """Save the sum after a year, when everything up to that year is written.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    if isinstance(carry, Superseded):
        return
    # Also over one that an earlier run left: it may lack files that this one could read.
    save_checkpoint(path, carry)
    set_mark(context.folder, context.run_id, spec.id, at.branch, path, at.year)

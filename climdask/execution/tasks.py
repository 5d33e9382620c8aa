"""What runs on a worker: read, window, write, checkpoint. Plain functions that know no Dask.

A task that Dask repeats after the loss of a worker must not repeat the whole chain. So within a
run only :func:`read` looks at the run's marks: where everything that needs its years is written
and saved in a checkpoint, it opens nothing and answers :class:`Superseded`. The other tasks obey
the markers that they are handed and never look at the disk.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from climdask import zarrstore
from climdask.cfnormal import NormalField
from climdask.chains import BlockId, CarryId, Read, Step
from climdask.checkpoints import WindowSum, load_checkpoint, newest_marks, save_checkpoint, set_mark
from climdask.errors import ClimdaskError, DataError, InconsistentFile, UnreadableFile
from climdask.files import FileAccess, process_id
from climdask.netcdf import PassingError
from climdask.normalfile import write_normal
from climdask.normals import Block, MissingRule, RunningNormal, join_blocks, needed_values
from climdask.outputfolder import OutputFolder
from climdask.places import Places
from climdask.plan import ChainSpec, NormalFile, WriteJob
from climdask.precision import rounded
from climdask.provenance import Provenance, Source
from climdask.reading import read_years
from climdask.regions import RegionCells
from climdask.state import record_done
from climdask.years import run_lengths
from climdask.zarrlayout import Store


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


@dataclass(frozen=True)
class Superseded:
    """Instead of values: everything that needs them is written, and the sum is saved.

    Attributes:
        saved: (leg, year, path of the checkpoint) each.
    """

    saved: tuple[tuple[str, int, str], ...]

    def of(self, leg: str) -> tuple[int, str] | None:
        """Return year and path of the checkpoint of a leg."""
        return next(((year, path) for name, year, path in self.saved if name == leg), None)


@dataclass(frozen=True)
class Written:
    """What a write task did.

    Attributes:
        paths: files or stores, below the output root.
        n_bytes: of the normals together, as on disk.
        years: source years with any valid day; None if the normals were there already.
    """

    leg: str
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


Blocks = tuple[Block, ...] | Skipped
Carry = WindowSum | Superseded


def read(spec: ChainSpec, context: RunContext, job: Read, *_: object) -> Blocks | Superseded:
    """Open a file once and return a block for each of its years that is wanted.

    Returns:
        Blocks, float32 [day, cell] each; :class:`Skipped` for a bad file, if that is allowed.

    Raises:
        DataError: the file is damaged, contradicts its name or the chain, or stays busy.
    """
    superseded = _superseded(spec, context, job)
    if superseded is not None:
        return superseded
    path = context.input_root / job.slice.file.path
    years = [block.year for block in job.blocks]
    attempt = 0
    while True:
        try:
            with context.access.opening(path) as reading:
                blocks = read_years(
                    path, spec.header, spec.axis, spec.selection, years, decoded=reading.add,
                    slow=lambda reason: context.access.note("slow", path, reason=reason),
                )  # fmt: skip
            _note_incomplete(spec, context, job, blocks)
            return tuple(blocks)
        except (PassingError, OSError) as error:
            if attempt == context.retries:
                return _skipped(context, job, error)
            time.sleep(random.uniform(0.5, 1.0) * 0.2 * 2**attempt)
            attempt += 1
        except UnreadableFile as error:
            return _skipped(context, job, error)


def _note_incomplete(
    spec: ChainSpec, context: RunContext, job: Read, blocks: Sequence[Block]
) -> None:
    """Note days that a year lacks although its file should have the whole year."""
    for block in blocks:
        lacking = int((spec.axis.exists_in(block.year) & ~block.days_any).sum())
        if lacking and job.slice.file.is_whole(block.year):
            path = context.input_root / job.slice.file.path
            reason = f"{lacking} days of {block.year} have no value"
            context.access.note("incomplete", path, reason=reason)


def _superseded(spec: ChainSpec, context: RunContext, job: Read) -> Superseded | None:
    marks = newest_marks(context.folder, context.run_id, spec.id)
    if any(leg not in marks or marks[leg][0] < year for leg, year in job.last_uses):
        return None
    return Superseded(tuple((leg, *marks[leg]) for leg, _ in job.last_uses))


def _skipped(context: RunContext, job: Read, error: Exception) -> Skipped:
    """Count a bad file as a gap if the workflow says so, else fail."""
    path = context.input_root / job.slice.file.path
    if not isinstance(error, ClimdaskError):  # not the file's: of its lock or its trace
        raise UnreadableFile(f"{path}: cannot be read ({error})") from error
    if context.on_bad_file == "fail":
        raise error
    context.access.note("skip", path, reason=str(error))
    return Skipped(job.slice.file.path, tuple(block.year for block in job.blocks))


def restore(_: ChainSpec, __: RunContext, path: Path) -> WindowSum:
    """Load the sum that an earlier run saved."""
    return load_checkpoint(path)


def window(
    spec: ChainSpec,
    context: RunContext,
    step: Step,
    before: Carry | None,
    *parts: Blocks | Superseded,
) -> Carry:
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
    marks = [m.of(step.leg) for m in (before, *parts) if isinstance(m, Superseded)]
    newest = max((m for m in marks if m is not None), default=None)
    if newest is not None and newest[0] > step.year:
        return Superseded(((step.leg, *newest),))
    if newest is not None and newest[0] == step.year:
        return load_checkpoint(Path(newest[1]))
    if marks or isinstance(before, Superseded):
        raise ClimdaskError(
            f"{spec.id}: {step.leg} {step.year}: a block was superseded by checkpoints {marks}, "
            "but the sum still needs it; this is a mistake in climdask, please report it"
        )
    with context.access.working("window", spec.id, step.leg, step.year):
        return _slid(spec, context, step, before or empty_sum(spec), parts)


def _slid(
    spec: ChainSpec,
    context: RunContext,
    step: Step,
    carry: WindowSum,
    parts: Sequence[Blocks | Superseded],
) -> WindowSum:
    """Add the block that enters the window, and drop the one that leaves."""
    blocks = [block for part in parts if isinstance(part, tuple) for block in part]
    missed = {(y, part.path) for part in parts if isinstance(part, Skipped) for y in part.years}
    enters, leaves = (
        _block(spec, context, blocks, wanted) for wanted in (step.enters, step.leaves)
    )
    leaves = _leaves(spec, carry, leaves, step.leaves, missed)
    slid = carry.slide(enters=enters, leaves=leaves)
    within = range(step.year - spec.window + 1, step.year + 1)
    now = {(y, path) for y, path in missed if step.enters is not None and y == step.enters.year}
    skipped = tuple(sorted(s for s in {*carry.skipped, *now} if s[0] in within))
    return WindowSum.of(slid, skipped, _valid_days(spec, carry, slid, enters))


def empty_sum(spec: ChainSpec) -> WindowSum:
    """Return the sum over no years."""
    n_days, n_cells = len(spec.axis), spec.selection.cells.size
    nothing = np.zeros((0, len(spec.selection.regions), n_days), dtype=bool)
    return WindowSum.of(RunningNormal.empty(n_days, n_cells), (), nothing)


def _valid_days(
    spec: ChainSpec, carry: WindowSum, slid: RunningNormal, enters: Block | None
) -> npt.NDArray[np.bool_]:
    """Return bool [year, region, day] for the years of the new sum."""
    known = dict(zip(carry.years, carry.valid_days, strict=True))
    if enters is not None and enters.year in slid.years:
        known[enters.year] = _valid_by_region(spec, enters)
    if not slid.years:
        return carry.valid_days[:0]
    return np.stack([known[year] for year in slid.years])


def _valid_by_region(spec: ChainSpec, block: Block) -> npt.NDArray[np.bool_]:
    """Return bool [region, day]: whether any cell of the region is valid."""
    if not block.is_ragged:
        return np.stack([block.days_any for _ in spec.selection.regions])
    valid = ~np.isnan(block.values)
    return np.stack([valid[:, r.index.ravel()].any(axis=1) for r in spec.selection.regions])


def _leaves(
    spec: ChainSpec,
    carry: WindowSum,
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
    then, now = ({p for y, p in skipped if y == wanted.year} for skipped in (carry.skipped, missed))
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
        raise InconsistentFile(f"{spec.id} below {context.input_root}: {error}") from None


def write(spec: ChainSpec, context: RunContext, job: WriteJob, carry: Carry) -> Written:
    """Write the normal of a target year: a file, or its part of a Zarr store, for each region.

    Raises:
        OutputError: the disk is full or cannot be written.
        DataError: files were skipped, and too few years are left.
    """
    target, paths = job.window.last_year, tuple(f.path for f in job.files)
    if isinstance(carry, Superseded):
        return Written(job.leg, target, paths, _bytes(spec, context, job), None)
    with context.access.working("write", spec.id, job.leg, target) as told:
        _write_regions(spec, context, job, carry)
        told["bytes"] = n_bytes = _bytes(spec, context, job)
    return Written(job.leg, target, paths, n_bytes, len(carry.years))


def _write_regions(spec: ChainSpec, context: RunContext, job: WriteJob, carry: WindowSum) -> None:
    target = job.window.last_year
    skipped = tuple(sorted({year for year, _ in carry.skipped}))
    if len(carry.years) < spec.min_years <= len({*carry.years, *skipped}):
        raise DataError(
            f"{spec.id}: normal of {target}: without the bad files of {run_lengths(skipped)} only "
            f"{len(carry.years)} source years are left, fewer than min_years: {spec.min_years}"
        )
    needed = needed_values(MissingRule(spec.min_years, spec.window), spec.axis, job.window)
    mean = carry.normal(needed, spec.min_years)
    if spec.significant_digits:
        mean = rounded(mean, spec.significant_digits)
    places = {region.box.name: n for n, region in enumerate(spec.selection.regions)}
    for file in job.files:
        region = spec.selection.regions[places[file.region]]
        valid = carry.valid_days[:, places[file.region]]
        years = [year for year, days in zip(carry.years, valid, strict=True) if days.any()]
        enough = len(years) >= spec.min_years
        made_from = _provenance(job, file, carry, years)
        field = NormalField(
            mean[:, region.index] if enough else np.full_like(mean[:, region.index], np.nan),
            valid.sum(axis=0, dtype=np.int16),
            _count(carry, region) if spec.count else None,
            len(years),
            made_from.attributes,
        )
        _put(spec, context, job, file, field, made_from, skipped)


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
    region = spec.selection.region(file.region)
    if spec.format == "zarr":
        store = Store(spec, region, job.leg)
        objects = zarrstore.write_normal(context.out, store, job.window.last_year, field)
        told = made_from  # a store tells it when all is written
    else:
        objects, told = (context.out / file.path,), None
        write_normal(objects[0], spec, region, job.window, field)
    record_done(
        context.folder,
        file,
        skipped=skipped,
        process=process_id(),
        objects=objects,
        provenance=told,
    )


def _count(
    carry: WindowSum, region: RegionCells
) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    full = np.broadcast_to(carry.count, carry.terms[0].shape)
    return np.ascontiguousarray(full[:, region.index])


def _bytes(spec: ChainSpec, context: RunContext, job: WriteJob) -> int:
    places = Places(context.folder)
    each = [places.objects(spec, job.leg, job.window.last_year, f) for f in job.files]
    return sum(path.stat().st_size for objects in each for path in objects if path.exists())


def _provenance(
    job: WriteJob, file: NormalFile, carry: WindowSum, years: Collection[int]
) -> Provenance:
    """Name scenario, version and files of each source year that is in the normal."""
    sources = []
    for source in job.sources:
        if source.year in years:
            files = [f for f in source.files if (source.year, f.path) not in carry.skipped]
            version = "+".join(".".join(map(str, f.version)) or "none" for f in files)
            paths = tuple(f.path for f in files)
            sources.append(Source(source.year, source.experiment, version, paths))
    skipped = tuple(dict.fromkeys(path for _, path in carry.skipped))
    return Provenance(tuple(sources), skipped, (file.input_hash, file.untimed_hash))


def tick(*_: object) -> None:
    """Do nothing: what waits for it waits for what it depends on."""


def checkpoint(
    spec: ChainSpec, context: RunContext, at: CarryId, path: Path, carry: Carry, *_: Written
) -> None:
    """Save the sum after a year, when everything up to that year is written.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    if isinstance(carry, Superseded):
        return
    # Also over one that an earlier run left: it may lack files that this one could read.
    save_checkpoint(path, carry)
    set_mark(context.folder, context.run_id, spec.id, at.leg, path, at.year)

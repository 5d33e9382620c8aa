"""What an output folder holds of a plan: records of what is done, and what is still right.

A torn last line of a record is forgotten: its normal is made again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isal import isal_zlib

from climdask.execution.checkpoints import saved_checkpoints, saved_references
from climdask.inputs.access import append_line, read_lines
from climdask.outputs.folder import OutputFolder
from climdask.outputs.formats import FORMATS, Holder
from climdask.outputs.places import Places
from climdask.outputs.provenance import Provenance
from climdask.planning.plan import ChainSpec, Done, NormalFile, OutputSeries, Plan, WriteJob


def record_done(
    folder: OutputFolder,
    file: NormalFile,
    *,
    skipped: tuple[int, ...],
    process: str,
    objects: Sequence[Path] = (),
    provenance: Provenance | None = None,
) -> None:
    """Record that a normal is on disk: its hashes, size, time and checksum.

    Args:
        folder: the output folder.
        file: the normal.
        skipped: years of which bad files are not in it.
        process: that wrote it.
        objects: the files that hold it; the one of its path if left out.
        provenance: what it was made from, where it does not say that itself.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    objects = objects or [folder.root / file.path]
    line = {
        "path": file.key,
        "input_hash": file.input_hash,
        "untimed_hash": file.untimed_hash,
        **_look(objects),
        "crc32": _crc32(objects),
        "skipped": list(skipped),
        **(provenance.record if provenance else {}),
    }
    append_line(folder.state / "done" / f"{process}.jsonl", line)


def _look(objects: Iterable[Path]) -> dict[str, int]:
    """Return size and time of what holds a normal.

    Raises:
        OSError: some of it is not there.
    """
    found = [path.stat() for path in objects]
    return {
        "size": sum(status.st_size for status in found),
        "mtime_ns": max(status.st_mtime_ns for status in found),
    }


def _crc32(objects: Iterable[Path]) -> int:
    value = 0
    for path in objects:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                value = isal_zlib.crc32(piece, value)
    return value


# Of a record, what a store tells at the end and nobody needs before.
_PROVENANCE = ("sources", "skipped_files", "edges")


def read_records(
    folder: OutputFolder, *, provenance: bool = False
) -> dict[str, list[dict[str, Any]]]:
    """Read all records, by key; a key may have several, of several runs, the oldest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((folder.state / "done").glob("*.jsonl"), key=lambda p: p.lstat().st_mtime):
        for record in filter(_is_record, read_lines(path)[0]):
            if provenance and "sources" in record:  # many records name the same files
                record["sources"] = [
                    [*facts, [sys.intern(f) for f in files]] for *facts, files in record["sources"]
                ]
            elif not provenance:
                record = {k: v for k, v in record.items() if k not in _PROVENANCE}
            found.setdefault(record["path"], []).append(record)
    return found


_FIELDS: Mapping[str, type] = {
    "path": str, "input_hash": str, "untimed_hash": str, "size": int, "mtime_ns": int,
    "crc32": int, "skipped": list,
}  # fmt: skip


def _is_record(line: Mapping[str, Any]) -> bool:
    """Tell whether a line is a record; what is none is ignored, and its normal made again."""
    sources, edges = line.get("sources", []), line.get("edges", [])
    return (
        all(type(line.get(key)) is kind for key, kind in _FIELDS.items())
        and isinstance(sources, list)
        and all(_is_source(source) for source in sources)
        and isinstance(line.get("skipped_files", []), list)
        and isinstance(edges, list)
        and all(_is_run(run) for run in edges)
    )


def _is_source(source: object) -> bool:
    return (
        isinstance(source, list)
        and len(source) == 4
        and isinstance(source[-1], list)
        and all(isinstance(file, str) for file in source[-1])
    )


def _is_run(run: object) -> bool:
    return isinstance(run, list) and len(run) == 4 and all(map(_is_small, run))


def _is_small(number: object) -> bool:
    return type(number) is int and 0 <= number <= 9999


def matching_record(
    records: Sequence[dict[str, Any]], objects: Sequence[Path], *, verify: bool = False
) -> dict[str, Any] | None:
    """Return the newest record that says what the objects are; None if none does.

    The checksum is compared where the time differs, and under ``verify`` always.
    """
    try:
        now = _look(objects)
        same_size = [r for r in records if r["size"] == now["size"]]
        same_time = [r for r in same_size if r["mtime_ns"] == now["mtime_ns"]]
        if same_size and (verify or not same_time):  # copied, or restored from a backup
            crc32 = _crc32(objects)
            same_time = [r for r in same_size if r["crc32"] == crc32]
    except OSError:
        return None
    return same_time[-1] if same_time else None


@dataclass(frozen=True)
class Findings:
    """What an output folder holds of a plan.

    Attributes:
        done: what is still right.
        stale: normals made from other inputs or keys.
        damaged: normals that are not what was written.
        kept: of each Zarr store of the plan, by path, the target years that are what was written,
            planned or not.
    """

    done: Done
    stale: tuple[str, ...]
    damaged: tuple[str, ...]
    kept: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def take_stock(
    plan: Plan, folder: OutputFolder, *, inputs_unchanged: bool = False, verify: bool = False
) -> Findings:
    """Compare an output folder with a plan; nothing in it is changed.

    Args:
        plan: the whole plan, with nothing done.
        folder: the output folder.
        inputs_unchanged: accept input files whose modification times are new.
        verify: compare the checksums of all normals, also where size and time are the same.
    """
    strict = plan.workflow.run.on_bad_file == "fail"
    stock = _Stock(Places(folder), read_records(folder), strict, inputs_unchanged, verify)
    verdicts: dict[str, list[str]] = {"done": [], "stale": [], "damaged": []}
    for chain, job in plan.jobs:
        for file in job.files:
            verdict = stock.judge(chain.spec, job, file)
            if verdict:
                verdicts[verdict].append(file.key)
    checkpoints = frozenset(
        (chain.id, branch, year)
        for chain in plan.chains
        for branch, year in saved_checkpoints(folder, chain, strict=strict)
    )
    references = frozenset(
        (chain.id, branch, year)
        for chain in plan.chains
        for branch, year in saved_references(folder, chain, strict=strict)
    )
    return Findings(
        Done(frozenset(verdicts["done"]), checkpoints, references),
        tuple(verdicts["stale"]),
        tuple(verdicts["damaged"]),
        {
            str(series.path(years[0])): whole
            for chain in plan.chains
            for series, years in chain.series
            if (whole := stock.whole_years(series))
        },
    )


@dataclass(frozen=True)
class _Stock:
    """Compares what is there with records and a plan."""

    places: Places
    records: Mapping[str, list[dict[str, Any]]]
    strict: bool
    inputs_unchanged: bool
    verify: bool = False

    def judge(self, spec: ChainSpec, job: WriteJob, file: NormalFile) -> str:
        """Return ``done``, ``stale`` or ``damaged``, or nothing if there is no such normal."""
        objects = self.places.objects(spec, job.branch, job.window.last_year, file)
        if not objects or not all(path.exists() for path in objects):
            return ""
        mine = [r for r in self.records.get(file.key, []) if self._fits(r, file)]
        if not mine or not self.places.fits(spec, job.branch, file):
            return "stale"
        return "done" if matching_record(mine, objects, verify=self.verify) else "damaged"

    def _fits(self, record: Mapping[str, Any], file: NormalFile) -> bool:
        same = record["input_hash"] == file.input_hash
        if self.inputs_unchanged:
            same = same or record["untimed_hash"] == file.untimed_hash
        return same and not (self.strict and record["skipped"])

    def whole_years(self, series: OutputSeries) -> tuple[int, ...]:
        """Return the target years of a store that are what was written, whatever from."""
        holder = self.places.holder(series)
        if holder is None:
            return ()
        return tuple(
            year
            for year in holder.shared_years
            if matching_record(
                self.records.get(series.key(year), []),
                holder.objects(year),
                verify=self.verify,
            )
        )


def prepare_stores(plan: Plan, folder: OutputFolder, findings: Findings) -> list[str]:
    """Make the places of a plan's normals ready; nothing changes in those that are.

    Returns:
        The stores in which other normals were that had to go, below the output root.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    remade = []
    for chain in plan.all_chains:
        output_format = FORMATS[chain.spec.format]
        for series, years in chain.series:
            path = str(series.path(years[0]))
            if output_format.prepare(folder.root, series, years, findings.kept.get(path, ())):
                remade.append(path)
    return remade


def finish_stores(plan: Plan, folder: OutputFolder) -> None:
    """Tell in stores what their normals were made from, where normals do not tell it themselves.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    series = [s for c in plan.all_chains for s, _ in c.series]
    series = [s for s in series if not FORMATS[s.spec.format].tells_itself]
    records = read_records(folder, provenance=True) if series else {}
    for one in series:
        output_format = FORMATS[one.spec.format]
        holder = output_format.find(folder.root, one)
        if holder is not None:
            output_format.finish(folder.root, one, _made_from(one, holder, records))


def _made_from(
    series: OutputSeries, holder: Holder, records: Mapping[str, list[dict[str, Any]]]
) -> dict[int, Provenance]:
    found = {}
    for year in holder.shared_years:
        record = matching_record(records.get(series.key(year), []), holder.objects(year))
        if record is not None:
            found[year] = Provenance.of_record(record)
    return found

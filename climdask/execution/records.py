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

from climdask import zarrstore
from climdask.checkpoints import saved_checkpoints
from climdask.files import append_line, read_lines
from climdask.outputfolder import OutputFolder
from climdask.places import Places
from climdask.plan import ChainSpec, Done, NormalFile, Plan, WriteJob
from climdask.provenance import Provenance
from climdask.zarrlayout import Store, stores_of
from climdask.zarrstore import StoreOnDisk, find_store


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
_PROVENANCE = ("sources", "skipped_files")


def _records(folder: OutputFolder, *, provenance: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Read all records, by key; a key may have several, of several runs, the oldest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((folder.state / "done").glob("*.jsonl"), key=lambda p: p.stat().st_mtime):
        for record in read_lines(path)[0]:
            if provenance and "sources" in record:  # many records name the same files
                record["sources"] = [
                    [*facts, [sys.intern(f) for f in files]] for *facts, files in record["sources"]
                ]
            elif not provenance:
                record = {k: v for k, v in record.items() if k not in _PROVENANCE}
            found.setdefault(record["path"], []).append(record)
    return found


def _true(records: Sequence[dict[str, Any]], objects: Sequence[Path]) -> dict[str, Any] | None:
    """Return the newest record that says what the objects are; None if none does."""
    try:
        now = _look(objects)
        same_size = [r for r in records if r["size"] == now["size"]]
        same_time = [r for r in same_size if r["mtime_ns"] == now["mtime_ns"]]
        if same_size and not same_time:  # copied, or restored from a backup
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


def take_stock(plan: Plan, folder: OutputFolder, *, inputs_unchanged: bool = False) -> Findings:
    """Compare an output folder with a plan; nothing in it is changed.

    Args:
        plan: the whole plan, with nothing done.
        folder: the output folder.
        inputs_unchanged: accept input files whose modification times are new.
    """
    strict = plan.workflow.run.on_bad_file == "fail"
    stock = _Stock(Places(folder), _records(folder), strict, inputs_unchanged)
    verdicts: dict[str, list[str]] = {"done": [], "stale": [], "damaged": []}
    for chain, job in plan.jobs:
        for file in job.files:
            verdict = stock.judge(chain.spec, job, file)
            if verdict:
                verdicts[verdict].append(file.key)
    checkpoints = frozenset(
        (chain.id, leg, year)
        for chain in plan.chains
        for leg, year in saved_checkpoints(folder, chain, strict=strict)
    )
    return Findings(
        Done(frozenset(verdicts["done"]), checkpoints),
        tuple(verdicts["stale"]),
        tuple(verdicts["damaged"]),
        {str(s.path): stock.whole_years(s) for c in plan.chains for s, _ in stores_of(c)},
    )


@dataclass(frozen=True)
class _Stock:
    """Compares what is there with records and a plan."""

    places: Places
    records: Mapping[str, list[dict[str, Any]]]
    strict: bool
    inputs_unchanged: bool

    def judge(self, spec: ChainSpec, job: WriteJob, file: NormalFile) -> str:
        """Return ``done``, ``stale`` or ``damaged``, or nothing if there is no such normal."""
        objects = self.places.objects(spec, job.leg, job.window.last_year, file)
        if not objects or not all(path.exists() for path in objects):
            return ""
        mine = [r for r in self.records.get(file.key, []) if self._fits(r, file)]
        if not mine or not self.places.fits(spec, job.leg, file):
            return "stale"
        return "done" if _true(mine, objects) else "damaged"

    def _fits(self, record: Mapping[str, Any], file: NormalFile) -> bool:
        same = record["input_hash"] == file.input_hash
        if self.inputs_unchanged:
            same = same or record["untimed_hash"] == file.untimed_hash
        return same and not (self.strict and record["skipped"])

    def whole_years(self, store: Store) -> tuple[int, ...]:
        """Return the target years of a store that are what was written, whatever from."""
        there = self.places.store(store)
        if there is None:
            return ()
        return tuple(
            year
            for year in there.target_years
            if _true(self.records.get(store.key(year), []), there.objects(store, year))
        )


def prepare_stores(plan: Plan, folder: OutputFolder, findings: Findings) -> list[str]:
    """Make the Zarr stores of a plan ready; nothing changes in those that are.

    Returns:
        The stores in which other normals were that had to go, below the output root.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    remade = []
    for chain in plan.all_chains:
        for store, years in stores_of(chain):
            path = str(store.path)
            kept = findings.kept.get(path, ())
            if zarrstore.prepare(folder.root / path, store, years, kept):
                remade.append(path)
    return remade


def finish_stores(plan: Plan, folder: OutputFolder) -> None:
    """Tell in the Zarr stores of a plan what their normals were made from.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    stores = [store for chain in plan.all_chains for store, _ in stores_of(chain)]
    records = _records(folder, provenance=True) if stores else {}
    for store in stores:
        there = find_store(folder.root / store.path)
        if there is not None:
            zarrstore.finish(there, store, _made_from(store, there, records))


def _made_from(
    store: Store, there: StoreOnDisk, records: Mapping[str, list[dict[str, Any]]]
) -> dict[int, Provenance]:
    found = {}
    for year in there.target_years:
        record = _true(records.get(store.key(year), []), there.objects(store, year))
        if record is not None:
            found[year] = Provenance.of_record(record)
    return found

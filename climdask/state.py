"""What an output folder holds of a plan: records of what is done, and what is still right.

A torn last line of a record is forgotten: its normal is made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isal import isal_zlib

from climdask.checkpoints import saved_checkpoints
from climdask.files import append_line, read_lines
from climdask.outputfolder import OutputFolder
from climdask.plan import Done, NormalFile, Plan


def record_done(
    folder: OutputFolder, file: NormalFile, *, skipped: tuple[int, ...], process: str
) -> None:
    """Record that a normal is on disk: its hashes, size, time and checksum.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    path = folder.root / file.path
    status = path.stat()
    line = {
        "path": file.path,
        "input_hash": file.input_hash,
        "untimed_hash": file.untimed_hash,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "crc32": _crc32(path),
        "skipped": list(skipped),
    }
    append_line(folder.state / "done" / f"{process}.jsonl", line)


def _crc32(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            value = isal_zlib.crc32(piece, value)
    return value


def _records(folder: OutputFolder) -> dict[str, list[dict[str, Any]]]:
    """Read all records, by path; a path may have several, of several runs."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((folder.state / "done").glob("*.jsonl")):
        for record in read_lines(path)[0]:
            found.setdefault(record["path"], []).append(record)
    return found


@dataclass(frozen=True)
class Findings:
    """What an output folder holds of a plan.

    Attributes:
        done: what is still right.
        stale: normals made from other inputs or keys.
        damaged: normals that are not what was written.
    """

    done: Done
    stale: tuple[str, ...]
    damaged: tuple[str, ...]


def take_stock(plan: Plan, folder: OutputFolder, *, inputs_unchanged: bool = False) -> Findings:
    """Compare an output folder with a plan; nothing in it is changed.

    Args:
        plan: the whole plan, with nothing done.
        folder: the output folder.
        inputs_unchanged: accept input files whose modification times are new.
    """
    records = _records(folder)
    strict = plan.workflow.run.on_bad_file == "fail"
    verdicts: dict[str, list[str]] = {"done": [], "stale": [], "damaged": []}
    for _, job in plan.jobs:
        for file in job.files:
            verdict = _judge(folder, file, records.get(file.path, []), strict, inputs_unchanged)
            if verdict:
                verdicts[verdict].append(file.path)
    checkpoints = frozenset(
        (chain.id, leg, year)
        for chain in plan.chains
        for leg, year in saved_checkpoints(folder, chain, strict=strict)
    )
    return Findings(
        Done(frozenset(verdicts["done"]), checkpoints),
        tuple(verdicts["stale"]),
        tuple(verdicts["damaged"]),
    )


def _judge(
    folder: OutputFolder,
    file: NormalFile,
    records: list[dict[str, Any]],
    strict: bool,
    inputs_unchanged: bool,
) -> str:
    """Return ``done``, ``stale`` or ``damaged``, or nothing if there is no such file."""
    path = folder.root / file.path
    try:
        status = path.stat()
    except OSError:
        return ""
    mine = [
        r
        for r in records
        if r["input_hash"] == file.input_hash
        or (inputs_unchanged and r["untimed_hash"] == file.untimed_hash)
    ]
    mine = [r for r in mine if not (strict and r["skipped"])]
    if not mine:
        return "stale"
    same_size = [r for r in mine if r["size"] == status.st_size]
    if any(r["mtime_ns"] == status.st_mtime_ns for r in same_size):
        return "done"
    if same_size and _crc32(path) in {r["crc32"] for r in same_size}:
        return "done"  # copied, or restored from a backup
    return "damaged"

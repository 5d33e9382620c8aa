"""What is on disk besides the normals: records of what is done, checkpoints, the output's lock.

Everything is below ``<output>/.climdask`` and crash-only: a file appears whole or not at all, a
torn last line of a record is forgotten.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import numpy.typing as npt

from climdask.errors import DataError, OutputError, UserError
from climdask.files import append_line, read_lines
from climdask.normalfile import atomically, remove_temporaries
from climdask.normals import RunningNormal
from climdask.plan import Chain, Done, NormalFile, Plan


@dataclass(frozen=True)
class OutputFolder:
    """An output folder and the places in it."""

    root: Path

    @property
    def state(self) -> Path:
        """The folder of everything that is no normal."""
        return self.root / ".climdask"

    @property
    def manifest(self) -> Path:
        """The manifest of the latest run."""
        return self.state / "manifest.json"

    def run(self, run_id: str) -> Path:
        """Return the folder of one run."""
        return self.state / "runs" / run_id

    def trace(self, run_id: str) -> Path:
        """Return the folder of a run's traces of opened files."""
        return self.run(run_id) / "trace"

    def traces(self) -> list[Path]:
        """Return the trace folders of all runs, the oldest first."""
        folders = [p for p in (self.state / "runs").glob("*/trace") if p.is_dir()]
        return sorted(folders, key=lambda p: p.stat().st_mtime)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other runs out of this folder.

        Raises:
            OutputError: it cannot be written, or another run is at work in it.
        """
        made = [p for p in (self.state, *self.state.parents) if not p.exists()]
        lock = filelock.FileLock(self.state / "lock")
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
            (self.state / "holder").write_text(f"process {os.getpid()} on {socket.gethostname()}")
        except filelock.Timeout:
            raise OutputError(
                f"output.root: another run is at work in {self.root} ({self._holder()}); wait for "
                "it, stop it, or choose another folder with --out"
            ) from None
        except OSError as error:
            lock.release()
            raise OutputError(
                f"output.root: {self.root} cannot be written ({error.strerror}); choose another "
                "folder with --out"
            ) from None
        try:
            remove_temporaries(self.root)
            yield
        except UserError:
            self._forget(made)
            raise
        finally:
            remove_temporaries(self.root)  # of workers that were killed
            lock.release()

    def _forget(self, made: Sequence[Path]) -> None:
        """Leave nothing of a first run that could not begin; ``made`` are the folders it made."""
        if self.state not in made or (self.state / "manifest.json").exists():
            return
        shutil.rmtree(self.state, ignore_errors=True)
        for folder in made[1:]:
            with suppress(OSError):  # it holds something else
                folder.rmdir()

    def _holder(self) -> str:
        try:
            return (self.state / "holder").read_text()
        except OSError:
            return "unknown process"


# ---------------------------------------------------------------- records of what is done


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
            value = zlib.crc32(piece, value)
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
        for leg, year in _saved(folder, chain, strict=strict)
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


# ---------------------------------------------------------------- checkpoints


@dataclass(frozen=True, eq=False)
class WindowSum(RunningNormal):
    """The carry of a chain: a running sum, the bad files that are not in it, and what each has.

    Attributes:
        skipped: (year, path below the input root) each, of the window's years, in order.
        valid_days: bool [year, region, day], for each year in the sum: whether any cell of the
            region is valid. A region's normals so depend on the region alone, whatever else the
            workflow asks for.
    """

    skipped: tuple[tuple[int, str], ...] = ()
    valid_days: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 1, 0), bool))

    @classmethod
    def of(
        cls,
        sum_: RunningNormal,
        skipped: tuple[tuple[int, str], ...],
        valid_days: npt.NDArray[np.bool_],
    ) -> WindowSum:
        """Return a sum with what was skipped and what is valid."""
        return cls(sum_.terms, sum_.count, sum_.years_per_day, sum_.years, skipped, valid_days)


def slug(chain_id: str) -> str:
    """Return a chain's id as a folder name."""
    return chain_id.replace("/", "__")


def checkpoint_path(folder: OutputFolder, chain: Chain, leg: str, year: int) -> Path:
    """Return where the sum of a full window is saved; the name holds what decides the sum."""
    name = f"{leg}-{year}-{chain.carry_hash(leg, year)}.npz"
    return folder.state / "checkpoints" / slug(chain.id) / name


def save_checkpoint(path: Path, carry: WindowSum) -> None:
    """Save a sum; the file appears whole or not at all.

    Raises:
        OutputError: the disk is full or cannot be written.
    """

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(
                file,
                terms=np.stack(carry.terms),
                count=carry.count,
                years_per_day=carry.years_per_day,
                years=np.array(carry.years, dtype=np.int64),
                skipped=np.array(json.dumps(carry.skipped)),
                valid_days=carry.valid_days,
            )

    atomically(path, fill)


def load_checkpoint(path: Path) -> WindowSum:
    """Load a sum; the format's own checksums are verified.

    Raises:
        DataError: the file is gone or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return WindowSum(
                tuple(np.ascontiguousarray(t) for t in content["terms"]),
                content["count"],
                content["years_per_day"],
                tuple(int(y) for y in content["years"]),
                tuple((int(y), str(p)) for y, p in json.loads(str(content["skipped"]))),
                content["valid_days"],
            )
    except Exception as error:  # a damaged archive raises all sorts of things
        raise DataError(f"{path}: checkpoint cannot be read ({error}); delete it") from error


def _saved(folder: OutputFolder, chain: Chain, *, strict: bool) -> Iterator[tuple[str, int]]:
    """Yield leg and year of the chain's checkpoints that still fit and are whole.

    Under ``strict`` those that lack bad files, skipped by an earlier run, do not fit.
    """
    for path in sorted((folder.state / "checkpoints" / slug(chain.id)).glob("*.npz")):
        named = re.fullmatch(r"(.+)-(\d+)-\w+\.npz", path.name)
        leg, year = (named[1], int(named[2])) if named else ("", 0)
        if leg not in chain.targets or path != checkpoint_path(folder, chain, leg, year):
            continue
        skipped = _skipped(path)
        if skipped is not None and not (strict and skipped):
            yield leg, year


def _skipped(path: Path) -> list[Any] | None:
    """Return what a checkpoint lacks; None if it is damaged. Needs little memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return list(json.loads(str(content["skipped"]))) if whole else None
    except Exception:  # a damaged archive raises all sorts of things
        return None


def remove_checkpoints(folder: OutputFolder, chain_id: str) -> None:
    """Remove a chain's checkpoints; called when its normals are all there and no run is alive."""
    place = folder.state / "checkpoints" / slug(chain_id)
    for path in place.glob("*"):
        path.unlink(missing_ok=True)
    if place.is_dir():
        place.rmdir()


# Marks tell the tasks of one run which checkpoints the run itself has made.


def set_mark(
    folder: OutputFolder, run_id: str, chain_id: str, leg: str, saved: Path, year: int
) -> None:
    """Note that within this run everything up to ``year`` of a leg is written and saved."""
    place = folder.run(run_id) / "marks" / slug(chain_id)
    atomically(place / f"{leg}-{year}", lambda temporary: _write(temporary, str(saved)))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def newest_marks(folder: OutputFolder, run_id: str, chain_id: str) -> dict[str, tuple[int, str]]:
    """Return for each leg the newest mark of this run: year, and path of the checkpoint."""
    found: dict[str, tuple[int, str]] = {}
    place = folder.run(run_id) / "marks" / slug(chain_id)
    for path in place.glob("*-[0-9]*"):
        if path.name.startswith("."):
            continue
        leg, _, year = path.name.rpartition("-")
        if leg not in found or int(year) > found[leg][0]:
            found[leg] = (int(year), path.read_text(encoding="utf-8"))
    return found


# ---------------------------------------------------------------- manifest


def write_manifest(folder: OutputFolder, content: Mapping[str, Any]) -> None:
    """Write the manifest of a run.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    text = json.dumps(content, indent=1, default=str)
    atomically(folder.manifest, lambda temporary: _write(temporary, text))


def new_run_id() -> str:
    """Return a name that no other run has, and that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"

"""Checkpoints: the sums of chains on disk, and the marks that tell a run of its own.

Crash-only: a file appears whole or not at all.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.atomicfiles import atomically
from climdask.errors import DataError
from climdask.normals import RunningNormal
from climdask.outputfolder import OutputFolder, write_text
from climdask.plan import Chain


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


def saved_checkpoints(
    folder: OutputFolder, chain: Chain, *, strict: bool
) -> Iterator[tuple[str, int]]:
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
    atomically(place / f"{leg}-{year}", lambda temporary: write_text(temporary, str(saved)))


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

"""Checkpoints: the sums of chains on disk, and the marks that tell a run of its own.

Crash-only: a file appears whole or not at all.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.climatology.carry import Carry
from climdask.climatology.changes import ReferenceNormals
from climdask.climatology.coverage import Coverage
from climdask.climatology.doubledoubles import DoubleDouble
from climdask.climatology.statistics import STATES
from climdask.climatology.stepyears import StepYears, YearEnd
from climdask.errors import DataError
from climdask.outputs.atomicfiles import atomically
from climdask.outputs.folder import OutputFolder, write_text
from climdask.planning.chains import CarryId
from climdask.planning.plan import Chain

_PREFIX = "{}--"  # before the arrays of a state
_PLAIN = "sum"  # the state that version 0.1 had, without a prefix


def slug(chain_id: str) -> str:
    """Return a chain's id as a folder name."""
    return chain_id.replace("/", "__")


def checkpoint_path(folder: OutputFolder, chain: Chain, branch: str, year: int) -> Path:
    """Return where the sum of a full window is saved; the name holds what decides the sum."""
    name = f"{branch}-{year}-{chain.carry_hash(branch, year)}.npz"
    return folder.state / "checkpoints" / slug(chain.id) / name


def reference_path(folder: OutputFolder, chain: Chain, at: CarryId) -> Path:
    """Return where the normals of a reference period are saved."""
    name = f"{at.branch}-{at.year}-{chain.reference_hash(at.branch, at.year)}.reference.npz"
    return folder.state / "checkpoints" / slug(chain.id) / name


def save_reference(path: Path, made: ReferenceNormals) -> None:
    """Save the normals of a reference period; the file appears whole or not at all.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    content: dict[str, Any] = {
        "skipped": np.array(json.dumps(made.skipped)),
        "place": np.array(_place(path)),
        **{f"high--{name}": value.high for name, value in made.values.items()},
        **{f"low--{name}": value.low for name, value in made.values.items()},
        **{f"enough--{name}": regions for name, regions in made.enough.items()},
    }
    _save(path, content)


def load_reference(path: Path) -> ReferenceNormals:
    """Load what :func:`save_reference` saved, to the last bit.

    Raises:
        DataError: the file is gone, damaged, or of something else.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        _check_place(path, arrays)
        high, low, enough = (_prefixed(arrays, kind) for kind in ("high--", "low--", "enough--"))
        values = {name: DoubleDouble(high[name], low[name]) for name in high}
        skipped = tuple((int(y), str(p)) for y, p in json.loads(str(arrays["skipped"])))
        return ReferenceNormals(values, enough, skipped)
    except Exception as error:  # a damaged archive raises all sorts of things
        raise DataError(f"{path}: checkpoint cannot be read ({error}); delete it") from error


def _prefixed(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def saved_references(
    folder: OutputFolder, chain: Chain, *, strict: bool
) -> Iterator[tuple[str, int]]:
    """Yield branch and last year of the reference periods whose normals still fit and are whole.

    Under ``strict`` those that lack bad files, skipped by an earlier run, do not fit.
    """
    last = {branch: max(targets, default=0) for branch, targets in chain.targets.items()}
    for at in {at for branch, year in last.items() for at in chain.references(branch, year)}:
        path = reference_path(folder, chain, at)
        skipped = _skipped(path) if path.exists() else None
        if skipped is not None and not (strict and skipped):
            yield at.branch, at.year


def save_checkpoint(path: Path, carry: Carry) -> None:
    """Save a carry; the file appears whole or not at all.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    held = carry.coverage
    content: dict[str, Any] = {
        # Version 0.1 did not write this: the shape was that of the sum.
        **({} if _PLAIN in carry.states else {"shape": np.array(carry.shape)}),
        "count": held.count,
        "years": np.array(held.years, dtype=np.int64),
        "skipped": np.array(json.dumps(held.skipped)),
        "valid_days": held.valid_days,
        "place": np.array(_place(path)),
        **_arrays(carry),
        **_steps(carry),
    }
    _save(path, content)


def _save(path: Path, content: Mapping[str, Any]) -> None:
    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **content)

    atomically(path, fill)


def load_checkpoint(path: Path, states: Sequence[str] = (_PLAIN,), reductions: int = 0) -> Carry:
    """Load a carry with some states and reductions; the format's own checksums are verified.

    Raises:
        DataError: the file is gone, damaged, or the checkpoint of something else.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
            _check_place(path, arrays)
            coverage = Coverage(
                tuple(int(y) for y in arrays["years"]),
                arrays["count"],
                tuple((int(y), str(p)) for y, p in json.loads(str(arrays["skipped"]))),
                arrays["valid_days"],
            )
            shape = arrays["shape"] if "shape" in arrays else arrays["terms"].shape[1:]
            held = {name: STATES[name].load(_own(arrays, name)) for name in states}
            return Carry(
                (int(shape[0]), int(shape[1])), coverage, held, *_loaded_steps(arrays, reductions)
            )
    except Exception as error:  # a damaged archive raises all sorts of things
        raise DataError(f"{path}: checkpoint cannot be read ({error}); delete it") from error


def _place(path: Path) -> str:
    """Return what a checkpoint belongs to: chain, branch, year, and the hash of what decides it."""
    return f"{path.parent.name}/{path.name}"


def _check_place(path: Path, content: Mapping[str, npt.NDArray[Any]]) -> None:
    """Check that a checkpoint is the one that its name says.

    Version 0.1 did not write that down; what it left is believed.

    Raises:
        ValueError: it is another one, moved or copied here.
    """
    said = str(content["place"]) if "place" in content else _place(path)
    if said != _place(path):
        raise ValueError(f"it is the checkpoint {said}, moved or copied here")


def _arrays(carry: Carry) -> dict[str, npt.NDArray[Any]]:
    """Return the states of a carry; the sum has no prefix, as in version 0.1."""
    return {
        _PREFIX.format(name) * (name != _PLAIN) + key: array
        for name, state in carry.states.items()
        for key, array in STATES[name].save(state).items()
    }


def _own(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> Mapping[str, npt.NDArray[Any]]:
    prefix = "" if name == _PLAIN else _PREFIX.format(name)
    return {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)}


def _steps(carry: Carry) -> dict[str, npt.NDArray[Any]]:
    """Return the years as steps of each reduction, and the end of the latest year."""
    found = {
        _PREFIX.format(f"steps{number}") + key: array
        for number, one in enumerate(carry.steps)
        for key, array in one.save().items()
    }
    if carry.year_end is not None:
        found["year_end"] = np.array(carry.year_end.year)
        found["year_end_values"] = carry.year_end.values
    return found


def _loaded_steps(
    arrays: Mapping[str, npt.NDArray[Any]], reductions: int
) -> tuple[tuple[StepYears, ...], YearEnd | None]:
    """Return what :func:`_steps` saved."""
    steps = tuple(StepYears.load(_own(arrays, f"steps{n}")) for n in range(reductions))
    if "year_end" not in arrays:
        return steps, None
    return steps, YearEnd(int(arrays["year_end"]), arrays["year_end_values"])


def saved_checkpoints(
    folder: OutputFolder, chain: Chain, *, strict: bool
) -> Iterator[tuple[str, int]]:
    """Yield branch and year of the chain's checkpoints that still fit and are whole.

    Under ``strict`` those that lack bad files, skipped by an earlier run, do not fit.
    """
    for path in sorted((folder.state / "checkpoints" / slug(chain.id)).glob("*.npz")):
        named = re.fullmatch(r"(.+)-(\d+)-\w+\.npz", path.name)
        branch, year = (named[1], int(named[2])) if named else ("", 0)
        if branch not in chain.targets or path != checkpoint_path(folder, chain, branch, year):
            continue
        skipped = _skipped(path)
        if skipped is not None and not (strict and skipped):
            yield branch, year


def _skipped(path: Path) -> list[Any] | None:
    """Return what a checkpoint lacks; None if damaged or misplaced. Needs little memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            _check_place(path, content)
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
    folder: OutputFolder, run_id: str, chain_id: str, branch: str, saved: Path, year: int
) -> None:
    """Note that within this run everything up to ``year`` of a branch is written and saved."""
    place = folder.run(run_id) / "marks" / slug(chain_id)
    atomically(place / f"{branch}-{year}", lambda temporary: write_text(temporary, str(saved)))


def newest_marks(folder: OutputFolder, run_id: str, chain_id: str) -> dict[str, tuple[int, str]]:
    """Return for each branch the newest mark of this run: year, and path of the checkpoint."""
    found: dict[str, tuple[int, str]] = {}
    place = folder.run(run_id) / "marks" / slug(chain_id)
    for path in place.glob("*-[0-9]*"):
        if path.name.startswith("."):
            continue
        branch, _, year = path.name.rpartition("-")
        if branch not in found or int(year) > found[branch][0]:
            found[branch] = (int(year), path.read_text(encoding="utf-8"))
    return found

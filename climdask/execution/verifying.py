"""Whether the normals of an output folder are what was recorded; needs no plan and no inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from climdask.execution.records import matching_record, read_records
from climdask.outputs.folder import OutputFolder
from climdask.outputs.zarr import StoreOnDisk, find_store, gridded_arrays
from climdask.outputs.zarrlayout import BESIDE, object_key, ordered_names


@dataclass(frozen=True)
class CheckedOutputs:
    """What comparing normals with their checksums found.

    Attributes:
        whole: number of normals that are what was recorded.
        damaged: keys of those that are not: path below the output root, in a store with the year.
        missing: keys of those that are not there.
    """

    whole: int
    damaged: tuple[str, ...]
    missing: tuple[str, ...]


def check_outputs(folder: OutputFolder) -> CheckedOutputs:
    """Compare all recorded normals with their checksums."""
    whole, damaged, missing = 0, [], []
    for key, records in sorted(read_records(folder).items()):
        objects = _objects(folder.root, key)
        if not objects or not all(path.is_file() for path in objects):
            missing.append(key)
        elif matching_record(records, objects, verify=True) is None:
            damaged.append(key)
        else:
            whole += 1
    return CheckedOutputs(whole, tuple(damaged), tuple(missing))


def _objects(root: Path, key: str) -> tuple[Path, ...]:
    """Return the files of a normal; none where its store, or the year in it, is not there."""
    if ".." in Path(key).parts or Path(key).is_absolute():
        return ()
    store, _, year = key.rpartition("/")
    if not store.endswith(".zarr"):
        return (root / key,)
    there = find_store(root / store)
    return _of_store(there, int(year)) if there and year.isdecimal() else ()


def _of_store(there: StoreOnDisk, year: int) -> tuple[Path, ...]:
    """Return the objects of a target year, in the order in which they were recorded."""
    if year not in there.target_years:
        return ()
    arrays = there.root.get("consolidated_metadata", {}).get("metadata", {})
    variable = there.place.parent.parent.name
    n = there.target_years.index(year)
    products = ordered_names([n for n in gridded_arrays(there) if n not in BESIDE], variable)
    return tuple(
        there.place / name / object_key(n, len(arrays[name]["shape"]))
        for name in (*BESIDE, *products)
        if name in arrays
    )

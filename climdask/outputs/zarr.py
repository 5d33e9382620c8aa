"""The output as Zarr: one store for each variable, region and branch, one object a target year.

The driver makes a store before the tasks begin, with everything that hangs on no value of the
input (:func:`prepare`), and tells in it what it was made from when they have ended
(:func:`finish`). Between the two, each write task puts its own objects in place
(:func:`write_normal`). A store is consolidated all the time, so that it can always be opened.

Which object belongs to which target year is decided by the store's own axis and by nothing else.
Where an axis grows in front or in the middle, objects get new places in a new folder that takes
the place of the old one; records name target years, so they stay right.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

from climdask.climatology.calendars import Window, run_lengths
from climdask.errors import OutputError
from climdask.outputs.atomicfiles import atomically, folder_atomically
from climdask.outputs.cf import GRIDDED, CfVariable, NormalField, history
from climdask.outputs.provenance import Provenance, pack
from climdask.outputs.zarrbounds import BOUNDS_OBJECT, put_bounds
from climdask.outputs.zarrlayout import Store, object_key
from climdask.planning.plan import OutputSeries

if TYPE_CHECKING:
    import xarray as xr

ROOT = "zarr.json"
AXIS = "target_year/c/0"


@dataclass(frozen=True)
class StoreOnDisk:
    """A store that is there.

    Attributes:
        place: its folder.
        root: the content of its ``zarr.json``.
        target_years: its axis.
    """

    place: Path
    root: Mapping[str, Any]
    target_years: tuple[int, ...]

    @property
    def identity(self) -> str:
        """What :attr:`climdask.outputs.zarrlayout.Store.identity` was when it was made."""
        return str(self.root["attributes"].get("store_identity"))

    def objects(self, store: Store, target_year: int) -> tuple[Path, ...]:
        """Return where the objects of a target year are, or will be; the normal's comes last.

        Empty if the year is not on the axis.
        """
        if target_year not in self.target_years:
            return ()
        n = self.target_years.index(target_year)
        return tuple(
            self.place / name / object_key(n, n_dims) for name, n_dims in store.yearly_arrays
        )


def gridded_arrays(there: StoreOnDisk) -> dict[str, int]:
    """Return the arrays that have a value for each place and day, and how many dimensions each."""
    arrays = there.root.get("consolidated_metadata", {}).get("metadata", {})
    found = {name: tuple(about.get("dimension_names") or ()) for name, about in arrays.items()}
    return {
        name: len(dims)
        for name, dims in found.items()
        if dims[:1] == ("target_year",) and dims[2:] in [places[1:] for places in GRIDDED]
    }


def find_store(place: Path) -> StoreOnDisk | None:
    """Return the store in a folder; None if there is none, or its metadata cannot be read."""
    try:
        root = json.loads((place / ROOT).read_bytes())
        years = np.fromfile(place / AXIS, dtype="<i4")
        if not isinstance(root["attributes"], dict):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return StoreOnDisk(place, root, tuple(map(int, years)))


@dataclass(frozen=True)
class _Held:
    """A store on disk, in the place of a series."""

    store: Store
    there: StoreOnDisk

    @property
    def fits(self) -> bool:
        """Whether it was made for what the series is now."""
        return self.there.identity == self.store.identity

    @property
    def shared_years(self) -> tuple[int, ...]:
        """Its axis."""
        return self.there.target_years

    def objects(self, target_year: int) -> tuple[Path, ...]:
        """Return the objects of a target year; none if it is not on the axis."""
        return self.there.objects(self.store, target_year)


class ZarrFormat:
    """``output.format: zarr``; see :class:`climdask.outputs.formats.OutputFormat`."""

    tells_itself = False
    opener = "open_zarr"

    def find(self, root: Path, series: OutputSeries) -> _Held | None:
        """Return the store of a series."""
        store = Store.of(series)
        there = find_store(root / store.folder)
        return _Held(store, there) if there else None

    def prepare(
        self, root: Path, series: OutputSeries, target_years: Collection[int], kept: Collection[int]
    ) -> bool:
        """Make a store ready; see :func:`prepare`."""
        store = Store.of(series)
        return prepare(root / store.folder, store, target_years, kept)

    def write(
        self, root: Path, series: OutputSeries, window: Window, field: NormalField
    ) -> tuple[Path, ...]:
        """Write the objects of a target year; see :func:`write_normal`."""
        return write_normal(root, Store.of(series), window.last_year, field)

    def finish(self, root: Path, series: OutputSeries, normals: Mapping[int, Provenance]) -> None:
        """Tell in a store what its normals were made from; see :func:`finish`."""
        store = Store.of(series)
        there = find_store(root / store.folder)
        if there is not None:
            finish(there, store, normals)

    def target_years(self, path: Path, variable: str) -> tuple[int, ...]:
        """Return those years of the axis of which the object of the variable is there.

        Where the store has no mean, those of which all gridded objects are there.
        """
        there = find_store(path)
        if there is None:
            return ()
        found = gridded_arrays(there)
        if (path / variable).is_dir():
            found = {variable: found.get(variable, 4)}
        return tuple(
            year
            for n, year in enumerate(there.target_years)
            if found and all((path / a / object_key(n, dims)).exists() for a, dims in found.items())
        )

    def open_one(self, path: Path, target_year: int) -> xr.Dataset:
        """Open a target year of a store with dims (day, lat, lon)."""
        import xarray as xr

        from climdask.outputs.datasets import step_dimension

        store = xr.open_zarr(path, chunks=None, decode_times=False, consolidated=True)
        one: xr.Dataset = store.sel(target_year=target_year)
        name = step_dimension(one)
        steps = ("day", one[name].values, one[name].attrs)
        return one.rename({name: "day"}).assign_coords({name: steps})

    def open_all(self, target_years: Mapping[Path, Sequence[int]]) -> xr.Dataset:
        """Open stores as one lazy dataset with dims (target_year, step, lat, lon)."""
        from climdask.outputs.datasets import open_stores

        return open_stores(target_years)


# ---------------------------------------------------------------- before the tasks


def prepare(
    place: Path, store: Store, target_years: Collection[int], kept: Collection[int]
) -> bool:
    """Make a store ready for its target years; nothing changes if it is.

    Args:
        place: its folder.
        store: what it is to hold.
        target_years: those that are planned.
        kept: those that are there and are what was written; their objects stay.

    Returns:
        Whether other normals were there, made with other keys, that had to go.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    there = find_store(place)
    same = there is not None and there.identity == store.identity
    old = there if same else None
    axis = sorted({*target_years, *(kept if same else ())})
    content = _fixed_objects(store, axis)
    if old is None or not _holds(old, content):
        content[ROOT] = _merged(content[ROOT], history(_windows(store, axis), store.spec.products))
        # What was made before is worth waiting for the disk.
        folder_atomically(
            place, lambda new: _fill(new, store, axis, content, old, kept), durable=old is not None
        )
    return there is not None and not same


def _windows(store: Store, target_years: Iterable[int]) -> str:
    return f"{store.spec.window} years up to each target year of {run_lengths(target_years)}"


def _holds(old: StoreOnDisk, content: Mapping[str, bytes]) -> bool:
    """Tell whether a store has this content; what else it tells of itself does not matter."""
    wanted = json.loads(content[ROOT])
    written = {key: old.root["attributes"].get(key) for key in wanted["attributes"]}
    # The bounds are written at the end, as the provenance is.
    expected = {k: v for k, v in content.items() if k not in (ROOT, BOUNDS_OBJECT)}
    return (
        {**old.root, "attributes": written} == wanted
        and (old.place / BOUNDS_OBJECT).exists()
        and all(_bytes_of(old.place / key) == bytes_ for key, bytes_ in expected.items())
    )


def _bytes_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _fill(
    new: Path,
    store: Store,
    axis: Sequence[int],
    content: Mapping[str, bytes],
    old: StoreOnDisk | None,
    kept: Collection[int],
) -> None:
    """Write a store into an empty folder, and give it the objects that another one has."""
    for key, bytes_ in content.items():
        (new / key).parent.mkdir(parents=True, exist_ok=True)
        (new / key).write_bytes(bytes_)
    if old is None:
        return
    fresh = StoreOnDisk(new, {}, tuple(axis))
    for year in kept:
        pairs = zip(old.objects(store, year), fresh.objects(store, year), strict=True)
        for source, target in pairs:
            try:
                os.link(source, target)
            except OSError:  # not every filesystem has hard links
                shutil.copy2(source, target)


def _fixed_objects(store: Store, target_years: Sequence[int]) -> dict[str, bytes]:
    """Return everything in a store that hangs on no value of the input, by key; always the same."""
    memory: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(memory), zarr_format=3)
    for variable in store.fixed(target_years):
        group.create_array(variable.name, **_array(store, variable))[...] = variable.values
    for variable in store.without_values(len(target_years)):
        group.create_array(variable.name, **_array(store, variable))
    content = {key: bytes(value.to_bytes()) for key, value in memory.items()}
    arrays = {
        key.removesuffix(f"/{ROOT}"): json.loads(content[key])
        for key in sorted(content)
        if key.endswith(f"/{ROOT}")
    }
    root = json.loads(content[ROOT])
    root["attributes"] = _plain(store.attributes(target_years))
    # As zarr.consolidate_metadata writes it; that reads every array again, and warns each time.
    root["consolidated_metadata"] = {
        "kind": "inline", "must_understand": False, "metadata": arrays
    }  # fmt: skip
    content[ROOT] = _json(root)
    return content


def _array(store: Store, variable: CfVariable) -> dict[str, Any]:
    """Return an array as zarr wants it described; nothing is written into it yet."""
    storage = store.storage(variable)
    return {
        "shape": variable.values.shape,
        "dtype": "string" if variable.is_text else variable.values.dtype,
        "chunks": storage.chunks,
        "shards": storage.shards,
        "compressors": _compressor(store, variable) if storage.compressed else None,
        "fill_value": {"f": np.nan, "U": ""}.get(variable.values.dtype.kind, 0),
        "chunk_key_encoding": {
            "name": "default", "separator": "." if _has_years(variable) else "/"
        },
        "dimension_names": variable.dims,
        "attributes": _plain(variable.attributes),
        # An object must be there also where all its values are missing.
        "config": {"write_empty_chunks": True},
    }  # fmt: skip


def _has_years(variable: CfVariable) -> bool:
    return variable.dims[:1] == ("target_year",) and variable.name != "target_year"


def _compressor(store: Store, variable: CfVariable) -> BloscCodec:
    """Return the codec of chunks: bytes shuffled, then Zstandard.

    Levels of 1 to 9 are those of deflate in their cost: level n is Zstandard's 1, 3, 5, 7 or 9.
    """
    return BloscCodec(
        cname="zstd",
        clevel=(store.spec.compression_level + 1) // 2,
        shuffle="shuffle",
        typesize=variable.values.dtype.itemsize,
    )


# ---------------------------------------------------------------- a task


def write_normal(
    root: Path, store: Store, target_year: int, field: NormalField
) -> tuple[Path, ...]:
    """Write a target year into its store: small arrays first, the normal last.

    Each object appears whole or not at all.

    Args:
        root: the output root.
        store: made ready for the year before.
        target_year: last year of the window.
        field: the normal.

    Returns:
        The objects.

    Raises:
        OutputError: the disk is full or cannot be written, or the store is no longer the one
            that was made ready.
    """
    contents = [_encode(store, variable) for variable in store.yearly(field)]
    paths = _ready(root, store, target_year)
    for path, content in zip(paths, contents, strict=True):
        # If the host crashes and a small object is lost, the record tells; the shard is synced.
        atomically(path, partial(_put, content), durable=path == paths[-1])
    if _find_objects(root, store, target_year) != paths:
        # This task outlived its run, and another run has moved the objects meanwhile.
        for path in paths:
            path.unlink(missing_ok=True)
        raise OutputError(f"{root / store.folder}: another run has changed it; run again")
    return paths


def _find_objects(root: Path, store: Store, target_year: int) -> tuple[Path, ...]:
    there = find_store(root / store.folder)
    if there is None or there.identity != store.identity:
        return ()
    return there.objects(store, target_year)


def _ready(root: Path, store: Store, target_year: int) -> tuple[Path, ...]:
    paths = _find_objects(root, store, target_year)
    if not paths:
        raise OutputError(
            f"{root / store.folder}: is not, or no longer, a store for target year {target_year}; "
            "was it changed while the run was at work? Run again"
        )
    return paths


def _encode(store: Store, variable: CfVariable) -> bytes | memoryview:
    """Return the object of one target year, as zarr writes it."""
    if store.storage(variable).shards is None:  # small, and stored as it is
        return variable.values.astype(variable.values.dtype.newbyteorder("<")).tobytes()
    memory: dict[str, Any] = {}
    array = zarr.create_array(MemoryStore(memory), zarr_format=3, **_array(store, variable))
    array[...] = variable.values
    return memoryview(memory[object_key(0, len(variable.dims))].as_numpy_array())


def _put(content: bytes | memoryview, path: Path) -> None:
    path.write_bytes(content)


# ---------------------------------------------------------------- after the tasks


def finish(there: StoreOnDisk, store: Store, normals: Mapping[int, Provenance]) -> None:
    """Tell in a store what its normals were made from; remove it if nothing is in it.

    The climatology bounds are a part of that.

    Args:
        there: the store.
        store: what it holds.
        normals: by target year, of those that are what was written.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    if not any((there.place / store.spec.first_name).glob("c.*")):
        shutil.rmtree(there.place, ignore_errors=True)
        return
    put_bounds(there.place, store, there.target_years, normals)
    written = {"provenance": pack(normals)}
    if written.items() <= there.root["attributes"].items():
        return
    about = history(_windows(store, normals), store.spec.products)
    content = _merged(_json(there.root), written | about)
    atomically(there.place / ROOT, partial(_put, content))


def _merged(root: bytes, attributes: Mapping[str, Any]) -> bytes:
    content = json.loads(root)
    content["attributes"] |= attributes
    return _json(content)


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode()


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as JSON can hold them: no NumPy, no NaN."""
    found: dict[str, Any] = {}
    for key, value in attributes.items():
        plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        each = plain if isinstance(plain, list) else [plain]
        finite = all(not isinstance(v, float) or math.isfinite(v) for v in each)
        found[key] = plain if finite else str(plain)
    return found

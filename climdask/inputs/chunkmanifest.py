"""Chunks of a variable in an HDF5 file, read and decoded without the HDF5 library.

h5py says where the chunks are and which filters they went through. They are then read as plain
bytes and decoded by :mod:`climdask.inputs.chunkcodecs`, so threads that have different files work
at the same time, where the library would make them wait; and of each chunk only the cells in
demand are put together. :func:`locate` says what stands in the way where that cannot be done;
such files are read through netCDF4, which gives the same values.
"""

from __future__ import annotations

import os

os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")  # as in climdask.inputs.netcdf

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from climdask.inputs.chunkcodecs import DamagedChunkError, Pipeline

# Chunks that are many and small cost more here than in the library.
MANY, SMALL = 20_000, 4096


@dataclass(frozen=True)
class StoredChunk:
    """Where a chunk is: first byte and number of bytes in the file; filters that it skipped."""

    start: int
    size: int
    skipped: int


@dataclass(frozen=True)
class ChunkedVariable:
    """A variable in chunks, with axes (time, lat, lon) in any order, and any of length 1.

    Attributes:
        dtype: as stored.
        order: places of time, lat and lon among the axes.
        shape: of a chunk, in the variable's own order.
        chunks: by chunk number along each axis; those that were never written are not there.
        fill: the value of cells that were never written; None if such have none.
    """

    dtype: np.dtype[Any]
    order: tuple[int, int, int]
    shape: tuple[int, ...]
    pipeline: Pipeline
    chunks: Mapping[tuple[int, ...], StoredChunk]
    fill: Any

    @property
    def chunk(self) -> tuple[int, int, int]:
        """Time steps, latitudes and longitudes of a chunk."""
        t, y, x = (self.shape[place] for place in self.order)
        return t, y, x

    def number(self, t: int, y: int, x: int) -> tuple[int, ...]:
        """Return the key in ``chunks`` of a chunk, from its numbers along time, lat and lon."""
        key = [0] * len(self.shape)
        for place, number in zip(self.order, (t, y, x), strict=True):
            key[place] = number
        return tuple(key)


def locate(
    path: Path, variable: str, order: tuple[int, int, int], shape: tuple[int, ...]
) -> ChunkedVariable | str:
    """Find the chunks of a variable, or say why they cannot be read directly.

    Args:
        path: an HDF5 file; the caller holds the right to open it.
        variable: its name.
        order: places of time, lat and lon among its axes.
        shape: lengths of its axes.
    """
    try:
        with h5py.File(path, "r") as file:
            if file[variable].shape != shape:  # netCDF makes up the rest
                return "fewer values than its axes have places"
            return _locate(file, variable, order)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        return f"h5py: {error}"


def _locate(file: h5py.File, variable: str, order: tuple[int, int, int]) -> ChunkedVariable | str:
    dataset = file[variable]
    storage = dataset.id.get_create_plist()
    if file.id.get_create_plist().get_userblock():
        return "a user block"
    if dataset.chunks is None:
        return _contiguous(dataset, order)
    size = dataset.dtype.itemsize * int(np.prod(dataset.chunks))
    filters = tuple(storage.get_filter(n)[0] for n in range(storage.get_nfilters()))
    pipeline = Pipeline(filters, size, dataset.dtype.itemsize)
    n_chunks = dataset.id.get_num_chunks()
    if pipeline.obstacle:
        return pipeline.obstacle
    if n_chunks > MANY and size < SMALL:
        return f"more than {MANY:,} chunks of less than {SMALL:,} bytes"
    chunks: dict[tuple[int, ...], StoredChunk] = {}

    def note(found: Any) -> None:
        number = tuple(o // c for o, c in zip(found.chunk_offset, dataset.chunks, strict=True))
        chunks[number] = StoredChunk(found.byte_offset, found.size, found.filter_mask)

    dataset.id.chunk_iter(note)
    return ChunkedVariable(dataset.dtype, order, dataset.chunks, pipeline, chunks, _fill(dataset))


def _contiguous(dataset: Any, order: tuple[int, int, int]) -> ChunkedVariable | str:
    """Describe values in one piece, time step by time step, as if each were a chunk."""
    storage = dataset.id.get_create_plist()
    if storage.get_layout() != h5py.h5d.CONTIGUOUS or storage.get_external_count():
        return "neither in chunks nor in one piece"
    if any(dataset.shape[place] != 1 for place in range(order[0])):
        return "in one piece, with time not first"
    shape = tuple(1 if place == order[0] else n for place, n in enumerate(dataset.shape))
    size = dataset.dtype.itemsize * int(np.prod(shape))
    start = dataset.id.get_offset()  # None if nothing was ever written
    steps = range(dataset.shape[order[0]] if start is not None else 0)
    chunks = {
        tuple(t if place == order[0] else 0 for place in range(len(shape))): StoredChunk(
            start + t * size, size, 0
        )
        for t in steps
    }
    pipeline = Pipeline((), size, dataset.dtype.itemsize)
    return ChunkedVariable(dataset.dtype, order, shape, pipeline, chunks, _fill(dataset))


def _fill(dataset: Any) -> Any:
    """Return the value of cells that were never written; None if the library makes none up."""
    storage = dataset.id.get_create_plist()
    never = storage.get_fill_time() == h5py.h5d.FILL_TIME_NEVER
    undefined = storage.fill_value_defined() == h5py.h5d.FILL_VALUE_UNDEFINED
    return None if never or undefined else dataset.fillvalue


@dataclass(frozen=True)
class _Group:
    """The cells in demand that lie in one column of chunks.

    Attributes:
        y, x: chunk number along latitude and longitude.
        inside: intp [cell], flat places in the grid of the chunk.
        columns: where they go among all cells in demand: intp [cell], or a slice if consecutive.
        is_all: whether they are all cells of the chunk; they are in order.
    """

    y: int
    x: int
    inside: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp] | slice
    is_all: bool


def read_steps(
    path: Path,
    variable: ChunkedVariable,
    cells: npt.NDArray[np.int64],
    n_lon: int,
    demand: Sequence[range],
) -> Iterator[tuple[range, npt.NDArray[np.intp] | slice, npt.NDArray[Any]]]:
    """Yield stored values, chunk by chunk; no chunk is decoded twice.

    Args:
        path: the file; the caller holds the right to open it.
        variable: where its chunks are.
        cells: flat indices into the grid, sorted, each once.
        n_lon: longitudes of the grid.
        demand: time steps, in order.

    Yields:
        Time steps, also some between those in demand; which of ``cells``; values as stored
        [step, cell], not to be changed.

    Raises:
        DamagedChunkError: a chunk is not what was written.
        OSError: the file cannot be read.
    """
    length = variable.chunk[0]
    first, stop = demand[0].start, demand[-1].stop
    numbers = {t for d in demand for t in range(d.start // length, -(-d.stop // length))}
    groups = list(_groups(cells, n_lon, variable.chunk))
    with path.open("rb") as file:
        for t in sorted(numbers):
            part = range(max(first, t * length), min(stop, (t + 1) * length))
            wanted = slice(part.start - t * length, part.stop - t * length)
            for group in groups:
                stored = variable.chunks.get(variable.number(t, group.y, group.x))
                if stored is None:
                    yield part, group.columns, _never_written(variable, len(part), group)
                else:
                    yield part, group.columns, _pick(file, variable, stored, group, wanted)


def _groups(
    cells: npt.NDArray[np.int64], n_lon: int, chunk: tuple[int, int, int]
) -> Iterator[_Group]:
    rows, columns = np.divmod(cells, n_lon)
    y, x = rows // chunk[1], columns // chunk[2]
    inside = (rows % chunk[1]) * chunk[2] + columns % chunk[2]
    numbers = y * n_lon + x
    sort = np.argsort(numbers, kind="stable")
    for places in np.split(sort, np.flatnonzero(np.diff(numbers[sort])) + 1):
        own = inside[places].astype(np.intp)
        is_all = own.size == chunk[1] * chunk[2]
        first, last = int(places[0]), int(places[-1])
        together = last - first + 1 == places.size
        where = slice(first, last + 1) if together else places
        yield _Group(int(y[first]), int(x[first]), own, where, is_all)


def _never_written(variable: ChunkedVariable, n_steps: int, group: _Group) -> npt.NDArray[Any]:
    if variable.fill is None:
        raise DamagedChunkError("a chunk was never written, and no value is set for such")
    return np.full((n_steps, group.inside.size), variable.fill, variable.dtype)


def _pick(
    file: BinaryIO, variable: ChunkedVariable, stored: StoredChunk, group: _Group, steps: slice
) -> npt.NDArray[Any]:
    """Decode a chunk and return some steps of the cells in demand, [step, cell]."""
    data, is_shuffled = variable.pipeline.undo(_bytes_at(file, stored), stored.skipped)
    if not is_shuffled:
        return _cut(data.view(variable.dtype), variable, group, steps)
    # Put together byte by byte, and only what is in demand.
    planes = data.reshape(variable.dtype.itemsize, -1)
    parts = [_cut(plane, variable, group, steps) for plane in planes]
    out = np.empty((*parts[0].shape, len(parts)), dtype=np.uint8)
    for number, part in enumerate(parts):
        out[:, :, number] = part
    return out.view(variable.dtype)[:, :, 0]


def _cut(
    chunk: npt.NDArray[Any], variable: ChunkedVariable, group: _Group, steps: slice
) -> npt.NDArray[Any]:
    """Return [step, cell] of the flat values of a chunk, or of one byte of each."""
    rest = tuple(place for place in range(len(variable.shape)) if place not in variable.order)
    ordered = chunk.reshape(variable.shape).transpose(*rest, *variable.order)[(0,) * len(rest)]
    flat: npt.NDArray[Any] = ordered[steps].reshape(steps.stop - steps.start, -1)
    return flat if group.is_all else flat.take(group.inside, axis=1)


def _bytes_at(file: BinaryIO, stored: StoredChunk) -> bytes:
    file.seek(stored.start)
    data = file.read(stored.size)
    if len(data) < stored.size:
        raise DamagedChunkError(f"the file ends at byte {stored.start + len(data):,}")
    return data

"""The years of an input file as blocks: fast from HDF5 chunks, else through netCDF4.

Both ways give the same values to the last bit; the second is the reference, and reads everything
that the netCDF library can.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.decoding import Decoder
from climdask.hdf5chunks import ChunkedVariable, locate, read_steps
from climdask.headers import Header
from climdask.hyperslabs import Slab, choose_slabs
from climdask.netcdf import Days, Layout, agreed, errors_of, opened
from climdask.normals import Block
from climdask.regions import Selection
from climdask.years import DayAxis

# Bytes that are decoded at once while a year is read through netCDF4.
PIECE_BYTES = 64 << 20


def read_years(
    path: Path,
    expected: Header,
    axis: DayAxis,
    selection: Selection,
    years: Sequence[int],
    *,
    slow: Callable[[str], None] = lambda _: None,
    decoded: Callable[[int], None] = lambda _: None,
) -> list[Block]:
    """Read some years of a file. The caller holds the right to open it.

    Args:
        path: the file.
        expected: the header of the chain, which this file must agree with.
        axis: the days of a block.
        selection: the cells of a block.
        years: the years to read, in order; the file may hold more.
        slow: is told why the file is read through netCDF4, if it is.
        decoded: is told the bytes of values that were decoded, also those of no use.

    Returns:
        A block for each year, float32 [day, cell], NaN where missing. Values that are infinite,
        equal to a fill or missing value, or outside ``valid_range`` are missing (CF 2.5.1).

    Raises:
        UnreadableFile: the file is damaged or no NetCDF.
        InconsistentFile: it contradicts its name or the chain.
    """
    with opened(path) as dataset:
        layout, days = agreed(path, dataset, expected, years)
        located = _locate(path, dataset, expected.variable, layout)
        if isinstance(located, str):
            blocks = _read_blocks(dataset, expected, layout, days, axis, selection, years, decoded)
            slow(located)
            return blocks
        attributes = _attributes(dataset.variables[expected.variable])
    decoder = Decoder(located.dtype, attributes)
    rows = [_Rows.of(days, axis, year) for year in years]
    with errors_of(path):
        return _read_chunks(path, located, decoder, rows, len(axis), selection, expected, decoded)


def read_through_netcdf4(
    path: Path, expected: Header, axis: DayAxis, selection: Selection, years: Sequence[int]
) -> list[Block]:
    """Read as :func:`read_years` does, through the library alone: the reference."""
    with opened(path) as dataset:
        layout, days = agreed(path, dataset, expected, years)
        return _read_blocks(dataset, expected, layout, days, axis, selection, years, lambda _: None)


def _attributes(var: Any) -> dict[str, Any]:
    return {name: var.getncattr(name) for name in var.ncattrs()}


@dataclass(frozen=True)
class _Rows:
    """Where the time steps of a year go.

    Attributes:
        steps: of the file.
        rows: intp [step], the row of the block for each; below 0 for days that are left out.
    """

    year: int
    steps: range
    rows: npt.NDArray[np.intp]

    @classmethod
    def of(cls, days: Days, axis: DayAxis, year: int) -> _Rows:
        steps = np.flatnonzero(days.years == year)
        rows = axis.positions(days.months[steps], days.days[steps])
        return cls(year, range(int(steps[0]), int(steps[-1]) + 1), rows)

    def pick(self, part: range) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
        """Return which of some steps of the file are kept: bool [step], and their rows."""
        first, stop = max(part.start, self.steps.start), min(part.stop, self.steps.stop)
        kept = np.zeros(len(part), dtype=bool)
        rows = self.rows[max(0, first - self.steps.start) : max(0, stop - self.steps.start)]
        kept[first - part.start : first - part.start + rows.size] = rows >= 0
        return kept, rows[rows >= 0]


# ---------------------------------------------------------------- from chunks


def _locate(path: Path, dataset: Any, variable: str, layout: Layout) -> ChunkedVariable | str:
    """Find the chunks of a variable, or say why it is to be read through netCDF4."""
    if dataset.disk_format != "HDF5":
        return f"{dataset.disk_format} format"
    return locate(path, variable, layout.order, layout.shape)


def _read_chunks(
    path: Path,
    located: ChunkedVariable,
    decoder: Decoder,
    years: Sequence[_Rows],
    n_days: int,
    selection: Selection,
    expected: Header,
    decoded: Callable[[int], None],
) -> list[Block]:
    cells, n_lon = selection.cells, expected.grid.lon.size
    blocks = [_empty(rows, n_days, cells.size) for rows in years]
    demand = [rows.steps for rows in years]
    n_chunks = 0
    for part, columns, raw in read_steps(path, located, cells, n_lon, demand):
        values = decoder(raw)
        n_chunks += 1
        for year, block in zip(years, blocks, strict=True):
            kept, rows = year.pick(part)
            if rows.size:
                _put(block, rows, columns, values if kept.all() else values[kept])
    decoded(n_chunks * math.prod(located.shape) * located.dtype.itemsize)
    return [Block.of(rows.year, values) for rows, values in zip(years, blocks, strict=True)]


def _empty(year: _Rows, n_days: int, n_cells: int) -> npt.NDArray[np.float32]:
    """Return memory for a block, NaN only on the days that nothing is read for."""
    values = np.empty((n_days, n_cells), dtype=np.float32)
    values[np.setdiff1d(np.arange(n_days), year.rows)] = np.nan
    return values


def _put(
    block: npt.NDArray[np.float32],
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp] | slice,
    values: npt.NDArray[np.float32],
) -> None:
    if rows[-1] - rows[0] + 1 == rows.size:  # rows ascend, as time does
        block[int(rows[0]) : int(rows[-1]) + 1, columns] = values
    elif isinstance(columns, slice):
        block[rows, columns] = values
    else:
        block[rows[:, None], columns] = values


# ---------------------------------------------------------------- through netCDF4


def _read_blocks(
    dataset: Any,
    expected: Header,
    layout: Layout,
    days: Days,
    axis: DayAxis,
    selection: Selection,
    years: Sequence[int],
    decoded: Callable[[int], None],
) -> list[Block]:
    var = dataset.variables[expected.variable]
    chunk = _chunk(var, layout)
    slabs = choose_slabs(selection, expected.grid.lon.size, chunk[1:] if chunk else (1, 1))
    decoder = Decoder(var.dtype, _attributes(var))
    blocks = []
    for year in years:
        rows = _Rows.of(days, axis, year)
        values = np.full((len(axis), selection.cells.size), np.nan, dtype=np.float32)
        for part, slab, raw in _pieces(var, layout, slabs, rows.steps):
            kept, to = rows.pick(part)
            values[to[:, None], slab.places] = decoder(raw[kept])
            decoded(len(part) * slab.size * int(var.dtype.itemsize))
        blocks.append(Block.of(year, values))
    return blocks


def _pieces(
    var: Any, layout: Layout, slabs: Sequence[Slab], steps: range
) -> Iterator[tuple[range, Slab, npt.NDArray[Any]]]:
    """Yield time steps, a rectangle, and the stored values of its cells, [step, cell]."""
    for slab in slabs:
        length = _piece_length(var, layout, slab)
        for first in range(steps.start, steps.stop, length):
            part = range(first, min(first + length, steps.stop))
            index: list[Any] = [0] * var.ndim
            box = (slice(part.start, part.stop), slab.rows, slab.columns)
            for place, edges in zip(layout.order, box, strict=True):
                index[place] = edges
            raw = _in_order(np.ma.getdata(var[tuple(index)]), layout)
            yield part, slab, raw.reshape(len(part), -1)[:, slab.inside]


def _piece_length(var: Any, layout: Layout, slab: Slab) -> int:
    """Return the time steps to read at once: whole chunks, about :data:`PIECE_BYTES`."""
    length = max(1, PIECE_BYTES // max(1, slab.size * int(var.dtype.itemsize)))
    chunk = _chunk(var, layout)
    return max(chunk[0], length // chunk[0] * chunk[0]) if chunk else length


def _chunk(var: Any, layout: Layout) -> tuple[int, int, int] | None:
    """Return time steps, latitudes and longitudes of a chunk; None if there are no chunks."""
    chunking = var.chunking()
    if not isinstance(chunking, list | tuple):
        return None
    t, y, x = (int(chunking[place]) for place in layout.order)
    return t, y, x


def _in_order(raw: npt.NDArray[Any], layout: Layout) -> npt.NDArray[Any]:
    """Bring (time, lat, lon) into that order; the other dimensions are gone already."""
    return raw.transpose(np.argsort(np.argsort(layout.order)))

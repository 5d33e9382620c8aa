"""The fast reader: takes HDF5 chunks from the file itself, without the library's lock."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from climdask.inputs.chunkmanifest import ChunkedVariable, locate, read_steps
from climdask.inputs.readers import OpenVariable, Piece, Pieces


class ChunkReader:
    """Reads HDF5 chunks by their places in the file."""

    holds_library = False

    def prepare(self, variable: OpenVariable) -> Pieces | str:
        """Find the chunks of a variable, or say why it is to be read otherwise."""
        if variable.dataset.disk_format != "HDF5":
            return f"{variable.dataset.disk_format} format"
        layout = variable.layout
        located = locate(variable.path, variable.name, layout.order, layout.shape)
        if isinstance(located, str):
            return located
        cells, n_lon = variable.selection.cells, variable.n_lon
        return lambda demand: _pieces(variable.path, located, cells, n_lon, demand)


def _pieces(
    path: Path,
    located: ChunkedVariable,
    cells: npt.NDArray[np.int64],
    n_lon: int,
    demand: Sequence[range],
) -> Iterator[Piece]:
    n_bytes = math.prod(located.shape) * located.dtype.itemsize
    for steps, columns, stored in read_steps(path, located, cells, n_lon, demand):
        yield Piece(steps, columns, stored, n_bytes)

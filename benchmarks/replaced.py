"""The two architectures that climdask replaces, as a competent user writes them with xarray.

Both open a window's 30 files for each target year and region. They differ in what runs at the
same time: batches of target years, or variables.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import xarray as xr

from benchmarks.answers import normal_path
from benchmarks.job import Box, Job, Series

Targets = tuple[int, ...]


def pool(job: Job, targets: Targets, out: Path) -> None:
    """Do variables one after another, with a process for each of some batches of target years."""
    batches = [targets[i :: job.cores] for i in range(job.cores)]
    with ProcessPoolExecutor(job.cores) as executor:
        for series in job.series:
            tasks = [executor.submit(make_normals, job, series, b, out) for b in batches if b]
            for task in tasks:
                task.result()


def per_variable(job: Job, targets: Targets, out: Path) -> None:
    """Do each variable in a process, years in sequence; as many processes as cores."""
    with ProcessPoolExecutor(job.cores) as executor:
        tasks = [executor.submit(make_normals, job, s, targets, out) for s in job.series]
        for task in tasks:
            task.result()


def make_normals(job: Job, series: Series, targets: Targets, out: Path) -> None:
    """Make a series' normals one by one."""
    for target in targets:
        for box in job.boxes:
            years = [daily_means(job, series, year, box) for year in job.source_years(target)]
            normal = xr.concat(years, dim="year").mean("year")
            path = normal_path(out, series, box.name, target)
            normal.to_netcdf(path, encoding={series.variable: {"zlib": True, "complevel": 4}})


def daily_means(job: Job, series: Series, year: int, box: Box) -> xr.DataArray:
    """Open a file and return a region's days, without 29 February."""
    with xr.open_dataset(job.path(series, year)) as dataset:
        region = dataset[series.variable].sel(
            lat=slice(box.south, box.north), lon=slice(box.west, box.east)
        )
        region = region.load().convert_calendar("noleap")
        return region.groupby("time.dayofyear").mean()

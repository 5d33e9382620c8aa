"""xarray, dask and flox, as a competent user writes it: open all files once, group lazily."""

from __future__ import annotations

from pathlib import Path

import dask
import xarray as xr
from distributed import Client, LocalCluster

from benchmarks.answers import normal_path
from benchmarks.job import Job, Series

Targets = tuple[int, ...]


def run(job: Job, targets: Targets, out: Path) -> None:
    """Make the normals of one variable after another, each file read once.

    Workers have one thread each: netCDF4 reads one file at a time in a process.
    """
    with (
        LocalCluster(
            n_workers=job.cores, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster),
    ):
        for series in job.series:
            make_normals(job, series, targets, out)


def make_normals(job: Job, series: Series, targets: Targets, out: Path) -> None:
    """Cut all regions out of every file, keep the cuts in the workers' memory, average windows."""
    field = open_all(job, series)
    regions = {
        box.name: field.sel(lat=slice(box.south, box.north), lon=slice(box.west, box.east))
        for box in job.boxes
    }
    # Unoptimised, or each region's slice is fused with the reading: five decodings of each file.
    kept = dask.persist(regions, optimize_graph=False)[0]
    write = dask.delayed(write_normal)
    dask.compute([
        write(
            region.sel(time=slice(str(target - job.window + 1), str(target))),
            str(normal_path(out, series, name, target)),
        )
        for name, region in kept.items()
        for target in targets
    ])  # fmt: skip


def open_all(job: Job, series: Series) -> xr.DataArray:
    """Open a series' files as one lazy array, a chunk for each file, without 29 February."""
    dataset = xr.open_mfdataset(
        [str(job.path(series, year)) for year in job.years],
        combine="nested", concat_dim="time", chunks={"time": -1},
        data_vars="minimal", coords="minimal", compat="override", join="override",
    )  # fmt: skip
    return dataset[series.variable].convert_calendar("noleap")


def write_normal(window: xr.DataArray, path: str) -> None:
    """Average a window's days with flox, and write the normal."""
    normal = window.groupby("time.dayofyear").mean()
    normal.to_netcdf(path, encoding={normal.name: {"zlib": True, "complevel": 4}})

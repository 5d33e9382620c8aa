"""Reading only: the floors, and readers that can be compared. A reader is one function.

A reader takes a path and a variable and returns the whole variable, float32 [day, lat, lon], NaN
where missing. Add it to ``READERS``, and ``reader_arm(name, package)`` to ``arms.ARMS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np

from benchmarks.job import Job

Targets = tuple[int, ...]
CHUNK = 1 << 23  # bytes copied at a time


def floor(job: Job, targets: Targets, out: Path) -> dict[str, int]:
    """Read every file's variable once, one process for each core, nothing else."""
    del targets, out
    return {"values": _each_file(job, _size_read)}


def copy(job: Job, targets: Targets, out: Path) -> dict[str, int]:
    """Read every file's bytes."""
    del targets, out
    return {"bytes": _each_file(job, _bytes_read)}


def read_all(job: Job, targets: Targets, out: Path, reader: str) -> dict[str, int]:
    """Read every file's variable once with one of the readers."""
    del targets, out
    return {"values": _each_file(job, partial(_size_of, reader))}


def _each_file(job: Job, read: Callable[[tuple[Path, str]], int]) -> int:
    files = [(path, series.variable) for series, path in job.files]
    with Pool(job.cores) as pool:
        return sum(pool.imap_unordered(read, files))


def _size_read(file: tuple[Path, str]) -> int:
    import netCDF4

    path, variable = file
    with netCDF4.Dataset(path) as dataset:
        field = dataset[variable]
        field.set_auto_maskandscale(False)
        return int(field[...].size)


def _bytes_read(file: tuple[Path, str]) -> int:
    buffer, total = bytearray(CHUNK), 0
    with file[0].open("rb", buffering=0) as stream:
        while n := stream.readinto(buffer):
            total += n
    return total


def _size_of(reader: str, file: tuple[Path, str]) -> int:
    return READERS[reader](*file).size


def _netcdf4(path: Path, variable: str) -> np.ndarray:
    import netCDF4

    with netCDF4.Dataset(path) as dataset:
        field = dataset[variable]
        field.set_auto_maskandscale(False)
        return _masked(field[...], field.getncattr("_FillValue"))


def _h5py(path: Path, variable: str) -> np.ndarray:
    import h5py

    with h5py.File(path) as file:
        return _masked(file[variable][...], file[variable].attrs["_FillValue"])


def _hidefix(path: Path, variable: str) -> np.ndarray:
    import xarray as xr

    with xr.open_dataset(path, engine="hidefix", decode_times=False) as dataset:
        return np.asarray(dataset[variable].values)


def _pyfive(path: Path, variable: str) -> np.ndarray:
    import pyfive

    with pyfive.File(path) as file:
        return _masked(file[variable][...], file[variable].attrs["_FillValue"])


def _climdask(path: Path, variable: str) -> np.ndarray:
    from climdask.climatology.calendars import DayAxis
    from climdask.climatology.places import GLOBAL, select
    from climdask.inputs.netcdf import read_header
    from climdask.inputs.reading import read_years

    header, year = read_header(path, variable), int(path.stem[-4:])
    axis = DayAxis(header.calendar, "keep")
    (block,) = read_years(path, header, axis, select(header.grid, (GLOBAL,)), [year])
    values = block.values if block.days_any.all() else block.values[axis.exists_in(year)]
    return values.reshape(-1, *header.grid.shape)


def _masked(values: np.ndarray, fill: np.ndarray | float) -> np.ndarray:
    values[values == fill] = np.nan
    return values


READERS: Mapping[str, Callable[[Path, str], np.ndarray]] = {
    "netcdf4": _netcdf4,
    "h5py": _h5py,
    "hidefix": _hidefix,
    "pyfive": _pyfive,
    "climdask": _climdask,
}

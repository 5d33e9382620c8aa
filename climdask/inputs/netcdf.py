"""NetCDF: opening an input file, its header, and whether it agrees with its chain.

netCDF4 and HDF5 are not safe within a process: threads that have different files open crash it
(netcdf4-python#1405). Every call into the library is made under :data:`NETCDF_LOCK`, writes
included, and nothing lazy leaves a task.
"""

from __future__ import annotations

import os

# HDF5's own lock at open fails on many Lustre and NFS mounts; files.py has a lock of its own.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")

import errno
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cftime
import netCDF4
import numpy as np
import numpy.typing as npt

from climdask import netcdf3
from climdask.errors import InconsistentFile, UnreadableFile, did_you_mean
from climdask.headers import Attributes, Header, Scalar
from climdask.regions import Grid
from climdask.years import canonical_calendar

NETCDF_LOCK = threading.Lock()

# Attributes that describe storage or other files, and would be wrong on a normal.
_STORAGE = {
    "_FillValue", "missing_value", "scale_factor", "add_offset", "valid_min", "valid_max",
    "valid_range", "_Unsigned", "coordinates", "grid_mapping", "cell_measures", "bounds",
    "ancillary_variables", "associated_files", "history", "_ChunkSizes", "actual_range",
}  # fmt: skip
_PROVENANCE = (
    "institution", "source", "references", "license", "contact", "model_id", "source_id",
    "variant_label", "parent_experiment_id", "product", "doi", "resolution_id",
)  # fmt: skip
_HDF5 = b"\x89HDF"
_PASSING = {errno.EIO, errno.EAGAIN, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR, errno.EBUSY}


class PassingError(UnreadableFile):
    """A file that could not be read this time, and may be readable the next."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a file under the library's lock; its errors come out as errors of the file."""
    with NETCDF_LOCK, errors_of(path):
        _check_start(path)
        with netCDF4.Dataset(path, "r") as dataset:
            dataset.set_auto_maskandscale(False)
            yield dataset


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Turn what is raised while a file is read into errors that name the file."""
    try:
        yield
    except OSError as error:
        number = error.errno or 0  # below 0 the library's own
        kind = PassingError if number in _PASSING or number < 0 else UnreadableFile
        cure = "; damaged or truncated? Fetch it again" if number < 0 else ""
        raise kind(f"{path}: cannot be read ({error.strerror or error}){cure}") from error
    except RuntimeError as error:  # netCDF4's "NetCDF: HDF error", or a DamagedChunkError
        raise PassingError(f"{path}: damaged or truncated ({error}); fetch it again") from error


def _check_start(path: Path) -> None:
    """Refuse what is no NetCDF, and NetCDF-3 that is shorter than its header says."""
    with path.open("rb") as file:
        start = file.read(4)
        if not start:
            raise UnreadableFile(f"{path}: is empty (0 bytes); fetch it again")
        if start not in (_HDF5, *netcdf3.MAGIC):
            raise UnreadableFile(
                f"{path}: is no NetCDF file, it starts with {start!r}; fetch it again"
            )
        if start != _HDF5:
            file.seek(0)
            _check_length(path, file)


def _check_length(path: Path, file: BinaryIO) -> None:
    try:
        needed = netcdf3.needed_bytes(file)
    except netcdf3.DamagedHeaderError as error:
        raise UnreadableFile(f"{path}: damaged or truncated ({error}); fetch it again") from None
    there = path.stat().st_size
    if there < needed:
        raise UnreadableFile(
            f"{path}: truncated, {there:,} of {needed:,} bytes are there; fetch it again"
        )


# ---------------------------------------------------------------- headers


def read_header(path: Path, variable: str) -> Header:
    """Read what a file says about one variable. The caller holds the right to open the file.

    Raises:
        UnreadableFile: the file is damaged or no NetCDF.
        InconsistentFile: it lacks the variable, or a time, latitude or longitude axis.
    """
    with opened(path) as dataset:
        return _header(path, dataset, variable)


def _header(path: Path, dataset: Any, variable: str) -> Header:
    layout = _layout(path, dataset, variable)
    var, time = dataset.variables[variable], dataset.variables[layout.time]
    try:
        calendar = canonical_calendar(str(getattr(time, "calendar", "standard")))
    except ValueError as error:
        raise InconsistentFile(f"{path}: {error}") from None
    return Header(
        str(path),
        variable,
        str(getattr(var, "units", "")),
        calendar,
        str(var.dtype),
        _grid(dataset, layout),
        _attributes(var, without=_STORAGE),
        tuple(_scalars(dataset, var, layout)),
        tuple((k, getattr(dataset, k)) for k in _PROVENANCE if k in dataset.ncattrs()),
    )


@dataclass(frozen=True)
class Layout:
    """Names of the coordinate variables, and the places of their dimensions in the variable."""

    time: str
    lat: str
    lon: str
    order: tuple[int, int, int]
    shape: tuple[int, ...]


def _layout(path: Path, dataset: Any, variable: str) -> Layout:
    if variable not in dataset.variables:
        there = [n for n, v in dataset.variables.items() if len(v.dimensions) >= 3]
        raise InconsistentFile(
            f'{path}: its name says "{variable}", but it holds {", ".join(there) or "no field"}'
            f"{did_you_mean(variable, there)}"
        )
    var = dataset.variables[variable]
    if getattr(var.dtype, "kind", "") not in tuple("fiu"):
        raise InconsistentFile(f"{path}: {variable} holds {var.dtype}; expected numbers")
    found: dict[str, tuple[str, int]] = {}
    # Long dimensions first: one of length 1, such as reftime, is no rival of a longer time.
    for place in sorted(range(var.ndim), key=lambda p: var.shape[p] == 1):
        dim, length = var.dimensions[place], var.shape[place]
        kind = _kind(dataset.variables.get(dim), dim)
        if kind and kind not in found:
            found[kind] = (dim, place)
        elif length != 1:
            raise InconsistentFile(
                f"{path}: {variable} has a dimension {dim} of length {length}; expected time, "
                "latitude and longitude only, told by their CF units (cut one level out first)"
            )
    for kind in ("time", "lat", "lon"):
        if kind not in found:
            raise InconsistentFile(
                f"{path}: {variable}({', '.join(var.dimensions)}) has no {kind} axis; expected a "
                "rectilinear grid and a time coordinate with CF units"
            )
    (time, t), (lat, y), (lon, x) = (found[k] for k in ("time", "lat", "lon"))
    return Layout(time, lat, lon, (t, y, x), tuple(var.shape))


def _kind(coordinate: Any, dim: str) -> str:
    """Tell what a dimension is, by the units of its coordinate variable (CF 4.1, 4.2, 4.4)."""
    units = str(getattr(coordinate, "units", "")).lower()
    if coordinate is None or coordinate.ndim != 1:
        return ""
    if " since " in units:
        return "time"
    if re.fullmatch(r"degrees?_?(n|north)", units):
        return "lat"
    if re.fullmatch(r"degrees?_?(e|east)", units):
        return "lon"
    return {"latitude": "lat", "lat": "lat", "longitude": "lon", "lon": "lon"}.get(dim.lower(), "")


def _grid(dataset: Any, layout: Layout) -> Grid:
    def values(name: str) -> npt.NDArray[np.float64]:
        return np.asarray(dataset.variables[name][:], dtype=np.float64)

    def bounds(name: str) -> npt.NDArray[np.float64] | None:
        of = getattr(dataset.variables[name], "bounds", "")
        if of not in dataset.variables or dataset.variables[of].ndim != 2:
            return None
        return values(of)

    return Grid(values(layout.lat), values(layout.lon), bounds(layout.lat), bounds(layout.lon))


def _attributes(var: Any, *, without: set[str]) -> Attributes:
    return tuple((k, var.getncattr(k)) for k in var.ncattrs() if k not in without)


def _scalars(dataset: Any, var: Any, layout: Layout) -> Iterator[Scalar]:
    """Yield coordinates of one value: scalar ones, and levels that are dimensions of length 1."""
    levels = [d for d in var.dimensions if d not in (layout.time, layout.lat, layout.lon)]
    for name in dict.fromkeys((*levels, *str(getattr(var, "coordinates", "")).split())):
        coordinate = dataset.variables.get(name)
        if coordinate is None or coordinate.size != 1 or coordinate.dtype.kind not in tuple("fiu"):
            continue
        if " since " not in str(getattr(coordinate, "units", "")):  # differs from file to file
            value = float(np.asarray(coordinate[...]).item())
            yield Scalar(name, value, _attributes(coordinate, without=_STORAGE))


# ---------------------------------------------------------------- agreement


def check_file(path: Path, expected: Header, years: Sequence[int]) -> None:
    """Check all of a file but its values, as :func:`climdask.reading.read_years` does.

    Raises:
        UnreadableFile: the file is damaged or no NetCDF.
        InconsistentFile: it contradicts its name or the chain.
    """
    with opened(path) as dataset:
        agreed(path, dataset, expected, years)


def agreed(path: Path, dataset: Any, expected: Header, years: Sequence[int]) -> tuple[Layout, Days]:
    """Return what is needed to read some years of a file that agrees with its chain."""
    header = _header(path, dataset, expected.variable)
    different = expected.differences(header)
    if different:
        raise InconsistentFile(
            f"{path}: has {'; '.join(different)} as in {expected.path}; the files of a chain must "
            "be alike: fetch or convert it again"
        )
    layout = _layout(path, dataset, expected.variable)
    days = _days(path, dataset.variables[layout.time], header.calendar)
    for year in years:
        if not (days.years == year).any():
            found = f"{days.years.min()}-{days.years.max()}"
            raise InconsistentFile(
                f"{path}: its name says {year}, but its time axis has {found} only; rename it, or "
                "fetch it again"
            )
    return layout, days


@dataclass(frozen=True)
class Days:
    """Year, month and day of each time step; in order, no day twice."""

    years: npt.NDArray[np.int64]
    months: npt.NDArray[np.int64]
    days: npt.NDArray[np.int64]


def _days(path: Path, time: Any, calendar: str) -> Days:
    stamps = np.ma.getdata(time[:]).astype(np.float64)
    if stamps.size == 0:
        raise InconsistentFile(f"{path}: its time axis is empty")
    wrong = ~np.isfinite(stamps)
    wrong[1:] |= ~(np.diff(stamps) > 0)
    if wrong.any():
        step = int(wrong.argmax())
        raise InconsistentFile(
            f"{path}: its time axis is not in order at step {step + 1} "
            f"({stamps[step]:g} {time.units}); sort it (cdo -sorttimestamp)"
        )
    try:
        dates = cftime.num2date(stamps, time.units, calendar)
    except (ValueError, OverflowError) as error:
        raise InconsistentFile(f'{path}: time units "{time.units}": {error}') from None
    # Half a minute on: stamps in float32 may fall just short of midnight.
    half = np.timedelta64(30, "s").astype(object)
    parts = np.array([(d.year, d.month, d.day) for d in dates + half], dtype=np.int64)
    doubled = np.flatnonzero((np.diff(parts, axis=0) == 0).all(axis=1))
    if doubled.size:
        year, month, day = parts[doubled[0]]
        raise InconsistentFile(
            f"{path}: {year}-{month:02}-{day:02} is there twice; expected one step a day "
            "(cdo -daymean makes daily means)"
        )
    return Days(*parts.T)

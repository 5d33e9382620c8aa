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
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import netCDF4
import numpy as np

from climdask.errors import InconsistentFile, UnreadableFile
from climdask.inputs import netcdf3
from climdask.inputs.attributes import attribute, attributes_of
from climdask.inputs.coordinates import Layout, grid_of, layout_of, only_field, scalars_of
from climdask.inputs.decoding import Decoder
from climdask.inputs.headers import STORAGE, Header
from climdask.inputs.timeaxis import (
    Claim,
    Days,
    Stored,
    calendar_of,
    check_claim,
    days_of,
)

NETCDF_LOCK = threading.Lock()

_PROVENANCE = (
    "institution", "source", "references", "license", "contact", "model_id", "source_id",
    "variant_label", "parent_experiment_id", "product", "doi", "resolution_id",
)  # fmt: skip
_HDF5, _SIGNATURE = b"\x89HDF", b"\x89HDF\r\n\x1a\n"
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


@contextmanager
def filter_named(path: Path, obstacle: str) -> Iterator[None]:
    """Name the filter that neither climdask nor the netCDF library can undo."""
    try:
        yield
    except RuntimeError as error:
        if not obstacle.startswith("filter ") or "ilter" not in str(error):
            raise
        raise UnreadableFile(
            f"{path}: its values are compressed with {obstacle}, which the netCDF library here "
            "cannot read; the file is not damaged: write it anew with deflate "
            "(h5repack -f GZIP=1 OLD.nc NEW.nc, where the HDF5 tools have this filter)"
        ) from error


def _check_start(path: Path) -> None:
    """Refuse what is no NetCDF, and NetCDF-3 that is shorter than its header says."""
    with path.open("rb") as file:
        start = file.read(4)
        if not start:
            raise UnreadableFile(f"{path}: is empty (0 bytes); fetch it again")
        if start not in (_HDF5, *netcdf3.MAGIC) and not _has_user_block(path, file):
            raise UnreadableFile(
                f"{path}: is no NetCDF file, it starts with {start!r}; fetch it again"
            )
        if start in netcdf3.MAGIC:
            file.seek(0)
            _check_length(path, file)


def _has_user_block(path: Path, file: BinaryIO) -> bool:
    """Tell whether HDF5 begins behind a user block: at byte 512, or twice that, and so on."""
    place, size = 512, path.stat().st_size
    while place < size:
        file.seek(place)
        if file.read(len(_SIGNATURE)) == _SIGNATURE:
            return True
        place *= 2
    return False


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


def read_header(
    path: Path,
    variable: str,
    *,
    claim: Claim | None = None,
    name: str = "",
    is_alone: bool = False,
) -> Header:
    """Read what a file says about one variable. The caller holds the right to open the file.

    Args:
        path: the file.
        variable: as it is called outside of the files.
        claim: first and last date by the file's name, if the name says them.
        name: of the variable inside the file; empty if it is ``variable``.
        is_alone: take the only field of the file where it has none of that name.

    Raises:
        UnreadableFile: the file is damaged or no NetCDF.
        InconsistentFile: it lacks the variable, or a time, latitude or longitude axis; or its
            time axis is not daily, or contradicts the name.
    """
    with opened(path) as dataset:
        own = only_field(path, dataset, variable) if is_alone else name or variable
        header = _header(path, dataset, variable, own)
        if is_alone and own != variable:
            note = f"{variable} is {own} in the files, their only field"
            header = replace(header, notes=(*header.notes, note))
        _agreed(path, dataset, header, (), claim)
        return header


def _header(path: Path, dataset: Any, variable: str, name: str) -> Header:
    layout = layout_of(path, dataset, name)
    var, time = dataset.variables[name], dataset.variables[layout.time]
    stored = attributes_of(var)
    calendar = calendar_of(path, layout.time, attributes_of(time))
    Decoder(var.dtype, stored, where=f"{path}: {name}")  # attributes are reported before a read
    grid, notes = grid_of(path, dataset, layout)
    return Header(
        path=str(path),
        variable=variable,
        units=str(stored.get("units", "")),
        calendar=calendar,
        dtype=str(var.dtype),
        grid=grid,
        attributes=tuple((k, v) for k, v in stored.items() if k not in STORAGE),
        scalars=tuple(scalars_of(path, dataset, var, layout)),
        provenance=tuple((k, attribute(dataset, k)) for k in _PROVENANCE if k in dataset.ncattrs()),
        chunk_bytes=_chunk_bytes(var),
        notes=notes,
        name="" if name == variable else name,
    )


def _chunk_bytes(var: Any) -> int:
    chunking = var.chunking()
    if not isinstance(chunking, list | tuple):
        return 0
    return math.prod(int(n) for n in chunking) * int(var.dtype.itemsize)


def read_last_day(path: Path, expected: Header, claim: Claim) -> tuple[int, int, int]:
    """Return the last day of a file whose name says only where it begins.

    Raises:
        UnreadableFile: the file is damaged or no NetCDF.
        InconsistentFile: it contradicts its name or the chain.
    """
    with opened(path) as dataset:
        _, days = agreed(path, dataset, expected, (), claim)
        return int(days.years[-1]), int(days.months[-1]), int(days.days[-1])


# ---------------------------------------------------------------- agreement


def check_file(
    path: Path, expected: Header, years: Sequence[int], *, claim: Claim | None = None
) -> None:
    """Check all of a file but its values, as :func:`climdask.inputs.reading.read_years` does.

    Raises:
        UnreadableFile: the file is damaged or no NetCDF.
        InconsistentFile: it contradicts its name or the chain.
    """
    with opened(path) as dataset:
        agreed(path, dataset, expected, years, claim)


def agreed(
    path: Path, dataset: Any, expected: Header, years: Sequence[int], claim: Claim | None = None
) -> tuple[Layout, Days]:
    """Return what is needed to read some years of a file that agrees with its chain.

    ``claim`` is the first and the last date by the file's name, if the name says them.
    """
    header = _header(path, dataset, expected.variable, expected.stored_name)
    different = expected.differences(header)
    if different:
        raise InconsistentFile(
            f"{path}: has {'; '.join(different)} as in {expected.path}; the files of a chain must "
            "be alike: fetch or convert it again"
        )
    return _agreed(path, dataset, header, years, claim)


def _agreed(
    path: Path, dataset: Any, header: Header, years: Sequence[int], claim: Claim | None
) -> tuple[Layout, Days]:
    """Return what is needed to read some years of a file, given its own header."""
    layout = layout_of(path, dataset, header.stored_name)
    time, bounds = _stored_time(dataset, layout.time)
    days = days_of(path, time, header.calendar, bounds)
    first, last = int(days.years.min()), int(days.years.max())
    for year in years:  # a gap between them is a year without a value
        if not first <= year <= last:
            found = f"{first}-{last}"
            raise InconsistentFile(
                f"{path}: its name says {year}, but its time axis has {found} only; rename it, or "
                "fetch it again"
            )
    if claim is not None:
        days = check_claim(path, days, header.calendar, claim, time)
    return layout, days


def _stored_time(dataset: Any, name: str) -> tuple[Stored, Stored | None]:
    """Return the time axis, and its bounds if there are any."""
    time = _stored(dataset.variables[name], name)
    of = str(time.attributes.get("bounds", ""))
    return time, _stored(dataset.variables[of], of) if of in dataset.variables else None


def _stored(var: Any, name: str) -> Stored:
    return Stored(name, np.asarray(np.ma.getdata(var[...])), attributes_of(var))

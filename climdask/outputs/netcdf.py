"""The output as NetCDF: one CF NetCDF-4 file for each variable, region and target year."""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import h5py
import netCDF4
import numpy as np
import numpy.typing as npt

from climdask.climatology.calendars import Window
from climdask.climatology.places import RegionCells
from climdask.inputs.chunkcodecs import deflated, shuffled
from climdask.inputs.netcdf import NETCDF_LOCK
from climdask.outputs.atomicfiles import atomically
from climdask.outputs.cf import (
    CfVariable,
    NormalField,
    chain_attributes,
    field_variables,
    history,
    place_variables,
    time_variables,
    title,
)
from climdask.outputs.provenance import Provenance
from climdask.planning.plan import ChainSpec, OutputSeries

if TYPE_CHECKING:
    import xarray as xr

FILL = np.float32(1e20)  # the fill value of CMIP
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class _Files:
    """The files of a series: a normal each."""

    root: Path
    series: OutputSeries
    fits: bool = True
    shared_years: tuple[int, ...] = ()

    def objects(self, target_year: int) -> tuple[Path, ...]:
        """Return the file of a target year."""
        return (self.root / self.series.path(target_year),)


class NetcdfFormat:
    """``output.format: netcdf``; see :class:`climdask.outputs.formats.OutputFormat`."""

    tells_itself = True
    opener = "open_dataset"

    def find(self, root: Path, series: OutputSeries) -> _Files:
        """Return the files of a series, which may be there or not."""
        return _Files(root, series)

    def prepare(
        self, root: Path, series: OutputSeries, target_years: Collection[int], kept: Collection[int]
    ) -> bool:
        """Do nothing: a file appears when it is written."""
        del root, series, target_years, kept
        return False

    def write(
        self, root: Path, series: OutputSeries, window: Window, field: NormalField
    ) -> tuple[Path, ...]:
        """Write a file.

        Raises:
            OutputError: the disk is full or cannot be written.
        """
        path = root / series.path(window.last_year)
        write_normal(path, series.spec, series.region, window, field)
        return (path,)

    def finish(self, root: Path, series: OutputSeries, normals: Mapping[int, Provenance]) -> None:
        """Do nothing: a file tells itself what it was made from."""
        del root, series, normals

    def target_years(self, path: Path, variable: str) -> tuple[int, ...]:
        """Return the target year that a file's attributes name."""
        import xarray as xr

        del variable
        with xr.open_dataset(path, engine="netcdf4", decode_times=False) as dataset:
            return (int(dataset.attrs["target_year"]),)

    def open_one(self, path: Path, target_year: int) -> xr.Dataset:
        """Open a file with dims (day, lat, lon)."""
        import xarray as xr

        del target_year
        return xr.open_dataset(path, engine="netcdf4", decode_times=False).rename(time="day")

    def open_all(self, target_years: Mapping[Path, Sequence[int]]) -> xr.Dataset:
        """Open files as one lazy dataset with dims (target_year, step, lat, lon)."""
        from climdask.outputs.datasets import open_normals

        return open_normals(list(target_years), [year for (year,) in target_years.values()])


def write_normal(
    path: Path, spec: ChainSpec, region: RegionCells, window: Window, field: NormalField
) -> None:
    """Write a normal; the file appears whole or not at all.

    netCDF4 makes the header, and everything small; the chunks of what is gridded are
    compressed outside the library and its lock, and added as they are.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    variables = [
        *time_variables(spec, window, field.edges),
        *place_variables(spec, region),
        *field_variables(spec, field),
    ]
    attributes = _global_attributes(spec, region, window, field)

    def write(temporary: Path) -> None:
        image = io.BytesIO(_header(spec, region, variables, attributes))
        _add_chunks(image, [v for v in variables if v.is_gridded], spec.compression_level)
        temporary.write_bytes(image.getbuffer())

    atomically(path, write)


def _add_chunks(image: io.BytesIO, variables: Sequence[CfVariable], level: int) -> None:
    # Under the lock too: where h5py and netCDF4 share an HDF5 library, it may not be thread-safe.
    with NETCDF_LOCK:
        file = h5py.File(image, "r+")
    try:
        for variable in variables:
            for first, chunk in _chunks(variable, level):
                with NETCDF_LOCK:
                    file[variable.name].id.write_direct_chunk(first, chunk)
    finally:
        with NETCDF_LOCK:
            file.close()


def _header(
    spec: ChainSpec,
    region: RegionCells,
    variables: Sequence[CfVariable],
    attributes: Mapping[str, Any],
) -> bytes:
    """Return a NetCDF-4 file with everything in it but the gridded values."""
    variables = [_as_characters(v) if v.is_text else v for v in variables]
    sizes = {"time": len(spec.steps), "bnds": 2}
    sizes |= dict(zip(region.dims, region.index.shape, strict=True))
    sizes |= {d: n for v in variables for d, n in zip(v.dims, v.values.shape, strict=True)}
    # Not with `memory`: the library then keeps no order of creation, without which nothing, NCO's
    # ncatted included, can write to the file again. Not in the output folder: HDF5 cannot close a
    # file on a disk that is full.
    with NETCDF_LOCK, TemporaryDirectory(prefix="climdask-", dir=_in_memory()) as scratch:
        place = Path(scratch, "header.nc")
        dataset = netCDF4.Dataset(place, "w", format="NETCDF4_CLASSIC", diskless=True, persist=True)
        for name, size in sizes.items():
            dataset.createDimension(name, size)
        for variable in variables:
            _define(dataset, spec.compression_level, variable)
        dataset.setncatts(attributes)
        dataset.close()
        return place.read_bytes()


def _in_memory() -> str | None:
    """Return a folder in memory, if there is one; None for the usual one of temporary files."""
    folder = "/dev/shm"
    return folder if os.access(folder, os.W_OK) else None


def _define(dataset: Any, level: int, variable: CfVariable) -> None:
    attributes = {key: _classic(value) for key, value in variable.attributes.items()}
    storage: dict[str, Any] = {"fill_value": False}
    if variable.is_gridded:
        storage = {
            "zlib": level > 0,
            "complevel": level,
            "shuffle": level > 0,
            "chunksizes": (_chunk_days(variable.values), *variable.values.shape[1:]),
        }
        if variable.values.dtype.kind == "f":
            storage["fill_value"] = FILL
            attributes["missing_value"] = FILL
    made = dataset.createVariable(variable.name, variable.values.dtype, variable.dims, **storage)
    made.set_auto_maskandscale(False)
    made.set_auto_chartostring(False)
    made.setncatts(attributes)
    if not variable.is_gridded:
        made[...] = variable.values


def _as_characters(variable: CfVariable) -> CfVariable:
    """Return text as the classic model has it: bytes of UTF-8, along a dimension of their own."""
    encoded = np.char.encode(variable.values, "utf-8")
    length = max(1, encoded.dtype.itemsize)
    letters = np.ascontiguousarray(encoded.astype(f"S{length}")).view("S1")
    return replace(
        variable,
        dims=(*variable.dims, f"{variable.name}_length"),
        values=letters.reshape(*variable.values.shape, length),
        attributes={**variable.attributes, "_Encoding": "utf-8"},
    )


def _chunk_days(values: npt.NDArray[Any]) -> int:
    """Return how many days of the whole region make a chunk of about :data:`CHUNK_BYTES`."""
    return min(len(values), max(1, CHUNK_BYTES // int(values[0].nbytes)))


def _chunks(variable: CfVariable, level: int) -> Iterator[tuple[tuple[int, ...], bytes]]:
    """Yield the first place of each chunk, a day, and its bytes as HDF5 stores them."""
    values = variable.values
    days = _chunk_days(values)
    for first in range(0, values.shape[0], days):
        part = values[first : first + days]
        if values.dtype.kind == "f":
            part = np.where(np.isnan(part), FILL, part)
        # The last chunk may have days to spare; they are zeros.
        chunk = np.zeros((days, *values.shape[1:]), dtype=values.dtype)
        chunk[: len(part)] = part
        place = (first, *(0 for _ in values.shape[1:]))
        yield place, deflated(shuffled(chunk), level) if level else chunk.tobytes()


def _classic(value: Any) -> Any:
    """Return an attribute of the input as NetCDF's classic model can hold it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "iu" or numbers.dtype in (np.int8, np.int16, np.int32):
        return value
    small = numbers.astype(np.int32)
    return small if (small == numbers).all() else numbers.astype(np.float64)


def _global_attributes(
    spec: ChainSpec, region: RegionCells, window: Window, field: NormalField
) -> dict[str, Any]:
    years = f"{window.first_year}-{window.last_year}"
    attributes = chain_attributes(spec, region) | {
        # xarray reads this one too; in the variable's own, CDO warns at each command that it
        # cannot assign a coordinate along time.
        "coordinates": spec.steps.dimension,
        "title": title(spec, region, years),
        "target_year": np.int32(window.last_year),
        "window": np.int32(len(window)),
        **field.attributes,
        **history(years, spec.products),
    }
    return {key: _classic(value) for key, value in attributes.items()}

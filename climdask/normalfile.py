"""The output: one CF NetCDF-4 file for each variable, region and target year."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import numpy.typing as npt

from climdask.errors import OutputError
from climdask.netcdf import NETCDF_LOCK
from climdask.plan import ChainSpec
from climdask.regions import RegionCells
from climdask.version import __version__
from climdask.years import EPOCH, LEAP_CALENDARS, Window, climatology_time

FILL = np.float32(1e20)  # the fill value of CMIP
CHUNK_BYTES = 1 << 20

_TEMPERATURE_UNITS = {
    "k", "kelvin", "degk", "degc", "celsius", "degree_celsius", "degrees_celsius", "degree_c",
    "degf", "fahrenheit", "degree_fahrenheit",
}  # fmt: skip
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


@dataclass(frozen=True, eq=False)
class NormalField:
    """What one output file holds.

    Attributes:
        values: float32 [day, lat, lon], NaN where missing.
        years_per_day: int16 [day], source years with any valid cell on that day.
        count: int16 [day, lat, lon], values behind each mean, or None.
        attributes: global attributes that name the sources.
    """

    values: npt.NDArray[np.float32]
    years_per_day: npt.NDArray[np.int16]
    count: npt.NDArray[np.int16] | None
    number_of_years: int
    attributes: dict[str, Any]


def write_normal(
    path: Path, spec: ChainSpec, region: RegionCells, window: Window, field: NormalField
) -> None:
    """Write a normal; the file appears whole or not at all.

    Raises:
        OutputError: the disk is full or cannot be written.
    """

    def fill(temporary: Path) -> None:
        with NETCDF_LOCK, netCDF4.Dataset(temporary, "w", format="NETCDF4_CLASSIC") as dataset:
            _coordinates(dataset, spec, region, window)
            _field(dataset, spec, field)
            dataset.setncatts(_global_attributes(spec, region, window, field))

    atomically(path, fill)


def atomically(path: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write a temporary file, sync it, and rename it to ``path``.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    temporary = path.parent / f".{path.name[:80]}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # netCDF4 raises RuntimeError on a full disk
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            f"{path}: cannot be written ({reason}); is the disk full or read-only? "
            "Nothing half-written is left: free some space and run again"
        ) from error
    finally:
        with suppress(OSError):  # it is renamed, or was never made
            # HDF5 cannot close a file on a full disk, and an open file keeps its space.
            os.truncate(temporary, 0)
            temporary.unlink()


def remove_temporaries(root: Path) -> None:
    """Remove what processes that were killed left half-written below a folder."""
    for path in root.rglob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where folders can be synced."""
    if os.name == "posix":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _coordinates(dataset: Any, spec: ChainSpec, region: RegionCells, window: Window) -> None:
    time, bounds = climatology_time(spec.axis, window)
    # CF 4.4: asked for on the calendars of real time; every day has 86400 s here.
    no_leap_seconds = {"units_metadata": "leap_seconds: none"}
    for name, size in (
        ("time", time.size),
        ("bnds", 2),
        ("lat", region.lat.size),
        ("lon", region.lon.size),
    ):
        dataset.createDimension(name, size)
    _variable(
        dataset,
        "time",
        "f8",
        ("time",),
        time,
        standard_name="time",
        axis="T",
        long_name="day of the year, in the last year of the window",
        units=EPOCH,
        calendar=spec.axis.output_calendar,
        climatology="climatology_bnds",
        **(no_leap_seconds if spec.axis.output_calendar in LEAP_CALENDARS else {}),
    )
    # CF 7.4: climatology bounds share units and calendar with time, and need no attributes.
    _variable(dataset, "climatology_bnds", "f8", ("time", "bnds"), bounds)
    _variable(
        dataset,
        "dayofyear",
        "i4",
        ("time",),
        np.arange(1, time.size + 1),
        long_name="ordinal day of the year",
        units="1",
    )
    axes = (
        ("lat", "Y", "latitude", "degrees_north", region.lat, region.lat_bounds),
        ("lon", "X", "longitude", "degrees_east", region.lon, region.lon_bounds),
    )
    for name, axis, standard_name, units, values, edges in axes:
        more: dict[str, Any] = {} if edges is None else {"bounds": f"{name}_bnds"}
        _variable(
            dataset,
            name,
            "f8",
            (name,),
            values,
            standard_name=standard_name,
            long_name=standard_name,
            units=units,
            axis=axis,
            **more,
        )
        if edges is not None:
            _variable(dataset, f"{name}_bnds", "f8", (name, "bnds"), edges)
    for scalar in spec.header.scalars:
        about: dict[str, Any] = dict(scalar.attributes)
        _variable(dataset, scalar.name, "f8", (), scalar.value, **about)


def _field(dataset: Any, spec: ChainSpec, field: NormalField) -> None:
    header = spec.header
    attributes = dict(header.attributes)
    if "cell_methods" in attributes:
        attributes["input_cell_methods"] = attributes["cell_methods"]
    attributes["cell_methods"] = header.cell_methods
    if not {"standard_name", "long_name"} & attributes.keys():
        attributes["long_name"] = spec.variable  # CF 3: a field should say what it is
    if _is_temperature(attributes, header.units):
        attributes.setdefault("units_metadata", "temperature: on_scale")
    ancillary = ["years_per_day", "number_of_years"]
    if field.count is not None:
        ancillary.append("count")
    attributes["ancillary_variables"] = " ".join(ancillary)
    if header.scalars:
        attributes["coordinates"] = " ".join(s.name for s in header.scalars)
    dims = ("time", "lat", "lon")
    days = max(1, CHUNK_BYTES // (4 * field.values[0].size))
    storage = {
        "zlib": spec.deflate_level > 0,
        "complevel": spec.deflate_level,
        "shuffle": spec.deflate_level > 0,
        "chunksizes": (min(days, field.values.shape[0]), *field.values.shape[1:]),
    }
    values = np.where(np.isnan(field.values), FILL, field.values)
    _variable(
        dataset,
        spec.variable,
        "f4",
        dims,
        values,
        storage | {"fill_value": FILL},
        missing_value=FILL,
        **attributes,
    )
    if field.count is not None:
        _variable(
            dataset,
            "count",
            "i2",
            dims,
            field.count,
            storage,
            units="1",
            long_name="number of years with a valid value",
        )
    _variable(
        dataset,
        "years_per_day",
        "i2",
        ("time",),
        field.years_per_day,
        units="1",
        long_name="number of source years with any valid value on this day",
    )
    _variable(
        dataset,
        "number_of_years",
        "i2",
        (),
        field.number_of_years,
        units="1",
        long_name="number of source years with any valid value",
    )


def _is_temperature(attributes: dict[str, Any], units: str) -> bool:
    """Tell whether a field is a temperature, and no difference of temperatures."""
    name = f"{attributes.get('standard_name', '')} {attributes.get('long_name', '')}".lower()
    differs = re.search(r"difference|anomal|range|tendency|change", name)
    return units.lower() in _TEMPERATURE_UNITS and not differs


def _variable(
    dataset: Any,
    name: str,
    dtype: str,
    dims: tuple[str, ...],
    values: Any,
    storage: dict[str, Any] | None = None,
    /,  # the input's attributes may be called name or dataset too
    **attributes: Any,
) -> None:
    variable = dataset.createVariable(name, dtype, dims, **(storage or {"fill_value": False}))
    variable.set_auto_maskandscale(False)
    variable.setncatts({key: _classic(value) for key, value in attributes.items()})
    variable[...] = values


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
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    model = f"{spec.model} {spec.member}"
    return {
        "Conventions": "CF-1.11",
        # xarray reads this one too; in the variable's own, CDO warns at each command that it
        # cannot assign a coordinate along time.
        "coordinates": "dayofyear",
        "title": f"{len(window)}-year running normal of daily {spec.variable}, {model}, "
        f"{region.box.name}, {window.first_year}-{window.last_year}",
        **{key: _classic(value) for key, value in spec.header.provenance},
        **field.attributes,
        "model": spec.model,
        "member": spec.member,
        "grid": spec.grid,
        "region": str(region.box),
        "target_year": np.int32(window.last_year),
        "window": np.int32(len(window)),
        "min_years": np.int32(spec.min_years),
        "leap_day": spec.axis.leap_day,
        "software": f"climdask {__version__}",
        "date_created": now,
        "history": f"{now}: climdask {__version__}: mean of each day of the year over "
        f"{window.first_year}-{window.last_year}",
    }

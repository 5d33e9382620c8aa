"""The output as NetCDF: one CF NetCDF-4 file for each variable, region and target year."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from climdask.atomicfiles import atomically
from climdask.cfnormal import (
    CfVariable,
    NormalField,
    chain_attributes,
    field_variables,
    history,
    place_variables,
    time_variables,
    title,
)
from climdask.netcdf import NETCDF_LOCK
from climdask.plan import ChainSpec
from climdask.regions import RegionCells
from climdask.years import Window

FILL = np.float32(1e20)  # the fill value of CMIP
CHUNK_BYTES = 1 << 20


def write_normal(
    path: Path, spec: ChainSpec, region: RegionCells, window: Window, field: NormalField
) -> None:
    """Write a normal; the file appears whole or not at all.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    variables = [
        *time_variables(spec, window),
        *place_variables(spec, region),
        *field_variables(spec, field),
    ]
    sizes = {"time": len(spec.axis), "bnds": 2, "lat": region.lat.size, "lon": region.lon.size}

    def fill(temporary: Path) -> None:
        with NETCDF_LOCK, netCDF4.Dataset(temporary, "w", format="NETCDF4_CLASSIC") as dataset:
            for name, size in sizes.items():
                dataset.createDimension(name, size)
            for variable in variables:
                _write_variable(dataset, spec, variable)
            dataset.setncatts(_global_attributes(spec, region, window, field))

    atomically(path, fill)


def _write_variable(dataset: Any, spec: ChainSpec, variable: CfVariable) -> None:
    values, attributes = variable.values, dict(variable.attributes)
    storage: dict[str, Any] = {"fill_value": False}
    if variable.is_gridded:
        storage = _storage(spec, variable)
    if variable.is_gridded and values.dtype.kind == "f":
        values = np.where(np.isnan(values), FILL, values)
        storage["fill_value"] = FILL
        attributes["missing_value"] = FILL
    made = dataset.createVariable(variable.name, values.dtype, variable.dims, **storage)
    made.set_auto_maskandscale(False)
    made.setncatts({key: _classic(value) for key, value in attributes.items()})
    made[...] = values


def _storage(spec: ChainSpec, variable: CfVariable) -> dict[str, Any]:
    n_days, *grid = variable.values.shape
    days = max(1, CHUNK_BYTES // (4 * int(np.prod(grid))))
    return {
        "zlib": spec.compression_level > 0,
        "complevel": spec.compression_level,
        "shuffle": spec.compression_level > 0,
        "chunksizes": (min(days, n_days), *grid),
    }


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
        "coordinates": "dayofyear",
        "title": title(spec, region, years),
        "target_year": np.int32(window.last_year),
        "window": np.int32(len(window)),
        **field.attributes,
        **history(years),
    }
    return {key: _classic(value) for key, value in attributes.items()}

"""A normal as CF describes it: variables, dimensions and attributes, for any file format.

Pure: :mod:`climdask.outputs.netcdf` writes this as NetCDF, :mod:`climdask.outputs.zarr` as Zarr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.climatology import rounding
from climdask.climatology.calendars import (
    EPOCH,
    LEAP_CALENDARS,
    Window,
    climatology_bounds,
    climatology_time,
)
from climdask.climatology.places import RegionCells
from climdask.climatology.products import Product
from climdask.inputs.headers import is_temperature
from climdask.planning.plan import ChainSpec
from climdask.version import __version__


@dataclass(frozen=True, eq=False)
class NormalField:
    """The normal of one region and target year.

    Attributes:
        values: float32 [day, lat, lon], NaN where missing.
        years_per_day: int16 [day], source years with any valid cell on that day.
        count: int16 [day, lat, lon], values behind each mean, or None.
        attributes: those that name the sources.
        more: further products, by the name of their statistic; as ``values``.
        edges: int64 [day, 2], the first and the last source year with any valid cell on that day;
            None for those of the window's calendar.
    """

    values: npt.NDArray[np.float32]
    years_per_day: npt.NDArray[np.int16]
    count: npt.NDArray[np.int16] | None
    number_of_years: int
    attributes: dict[str, Any]
    more: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    edges: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class CfVariable:
    """One variable; the length of ``dims`` is ``values.ndim``."""

    name: str
    dims: tuple[str, ...]
    values: npt.NDArray[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_gridded(self) -> bool:
        """Whether there is a value for each cell and day."""
        return self.dims == ("time", "lat", "lon")


def time_variables(
    spec: ChainSpec, window: Window, edges: npt.NDArray[np.int64] | None = None
) -> list[CfVariable]:
    """Return time with its climatology bounds (CF 7.4), and the day of the year.

    Args:
        spec: of the chain.
        window: of the normal.
        edges: as :attr:`NormalField.edges`.
    """
    time, bounds = climatology_time(spec.axis, window)
    if edges is not None:
        bounds = climatology_bounds(spec.axis, edges)
    about = {
        "standard_name": "time",
        "axis": "T",
        "long_name": "day of the year, in the last year of the window",
        "units": EPOCH,
        "calendar": spec.axis.output_calendar,
        "climatology": "climatology_bnds",
    }
    if spec.axis.output_calendar in LEAP_CALENDARS:
        # CF 4.4: asked for on the calendars of real time; every day has 86400 s here.
        about["units_metadata"] = "leap_seconds: none"
    days = np.arange(1, time.size + 1, dtype=np.int32)
    return [
        CfVariable("time", ("time",), time, about),
        # Climatology bounds share units and calendar with time, and need no attributes.
        CfVariable("climatology_bnds", ("time", "bnds"), bounds),
        CfVariable(
            "dayofyear", ("time",), days, {"long_name": "ordinal day of the year", "units": "1"}
        ),
    ]


def place_variables(spec: ChainSpec, region: RegionCells) -> list[CfVariable]:
    """Return latitude and longitude, with bounds if the input has them, and scalar coordinates."""
    found = []
    axes = (
        ("lat", "Y", "latitude", "degrees_north", region.lat, region.lat_bounds),
        ("lon", "X", "longitude", "degrees_east", region.lon, region.lon_bounds),
    )
    for name, axis, standard_name, units, values, edges in axes:
        about = {
            "standard_name": standard_name,
            "long_name": standard_name,
            "units": units,
            "axis": axis,
        }
        if edges is not None:
            about["bounds"] = f"{name}_bnds"
        found.append(CfVariable(name, (name,), values, about))
        if edges is not None:
            found.append(CfVariable(f"{name}_bnds", (name, "bnds"), edges))
    for scalar in spec.header.scalars:
        value = np.array(scalar.value, dtype=np.float64)
        found.append(CfVariable(scalar.name, (), value, dict(scalar.attributes)))
    return found


def field_variables(spec: ChainSpec, field: NormalField) -> list[CfVariable]:
    """Return the normal itself, NaN where missing, and how many years and values are behind it."""
    ancillary = {
        "years_per_day": "number of source years with any valid value on this day",
        "number_of_years": "number of source years with any valid value",
    }
    dims = ("time", "lat", "lon")
    found = [
        CfVariable("years_per_day", ("time",), field.years_per_day),
        CfVariable("number_of_years", (), np.array(field.number_of_years, dtype=np.int16)),
    ]
    if field.count is not None:
        ancillary["count"] = "number of years with a valid value"
        found.insert(0, CfVariable("count", dims, field.count))
    about = _field_attributes(spec) | {"ancillary_variables": " ".join(ancillary)}
    more = [
        CfVariable(v.name, v.dims, v.values, {"units": "1", "long_name": ancillary[v.name]})
        for v in found
    ]
    if spec.significant_digits:
        about |= rounding.field_attributes(spec.significant_digits)
        nothing = np.array(0, dtype=np.int8)
        more.append(CfVariable(rounding.CONTAINER, (), nothing, rounding.container_attributes()))
    fields = [field.values, *(field.more[p.over_years] for p in spec.products[1:])]
    gridded = [
        CfVariable(p.name(spec.variable), dims, values, about | _of_product(spec, p))
        for p, values in zip(spec.products, fields, strict=True)
    ]
    return [*gridded, *more]


def _of_product(spec: ChainSpec, product: Product) -> dict[str, str]:
    return {"cell_methods": product.cell_methods(spec.header.cell_methods)}


def _field_attributes(spec: ChainSpec) -> dict[str, Any]:
    attributes = dict(spec.header.attributes)
    if "cell_methods" in attributes:
        attributes["input_cell_methods"] = attributes["cell_methods"]
    attributes["cell_methods"] = spec.header.cell_methods
    if not {"standard_name", "long_name"} & attributes.keys():
        attributes["long_name"] = spec.variable  # CF 3: a field should say what it is
    if is_temperature(attributes, spec.header.units):
        attributes.setdefault("units_metadata", "temperature: on_scale")
    if spec.header.scalars:
        attributes["coordinates"] = " ".join(s.name for s in spec.header.scalars)
    return attributes


def chain_attributes(spec: ChainSpec, region: RegionCells) -> dict[str, Any]:
    """Return the global attributes that all target years of a chain share."""
    return {
        "Conventions": "CF-1.11",
        **dict(spec.header.provenance),
        "model": spec.model,
        "member": spec.member,
        "grid": spec.grid,
        "region": str(region.place),
        "window": np.int32(spec.window),
        "min_years": np.int32(spec.min_years),
        "leap_day": spec.axis.leap_day,
        "software": f"climdask {__version__}",
    }


def title(spec: ChainSpec, region: RegionCells, years: str) -> str:
    """Return the title of a file or store; ``years`` says what is in it."""
    return (
        f"{spec.window}-year running normal of daily {spec.variable}, {spec.model} {spec.member}, "
        f"{region.place.name}, {years}"
    )


def history(what: str) -> dict[str, str]:
    """Return the attributes that say when and how a file or store was made."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    line = f"{now}: climdask {__version__}: mean of each day of the year over {what}"
    return {"date_created": now, "history": line}

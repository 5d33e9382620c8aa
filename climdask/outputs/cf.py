"""A normal as CF describes it: variables, dimensions and attributes, for any file format.

Pure: :mod:`climdask.outputs.netcdf` writes this as NetCDF, :mod:`climdask.outputs.zarr` as Zarr.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.climatology import cfwords, rounding
from climdask.climatology.areas import Areas
from climdask.climatology.calendars import (
    EPOCH,
    LEAP_CALENDARS,
    Window,
)
from climdask.climatology.changes import Change
from climdask.climatology.conversions import UNCHANGED
from climdask.climatology.cycles import DAY, MONTH, SEASON
from climdask.climatology.expressions import Kind
from climdask.climatology.places import RegionCells
from climdask.climatology.products import DAILY_MEAN, Product, Within
from climdask.inputs.headers import is_temperature
from climdask.planning.plan import ChainSpec
from climdask.version import __version__

# The dimensions of what has a value for each step and place.
GRIDDED = (("time", "lat", "lon"), ("time", "area"))


@dataclass(frozen=True, eq=False)
class NormalField:
    """The normal of one region and target year.

    Attributes:
        values: of the first product, [day, lat, lon] or [day, area]: float32, NaN where missing; a
            number of values is int16.
        years_per_day: int16 [day], source years with any valid cell on that day.
        count: int16, shaped as values; the number of values behind each mean, or None.
        attributes: those that name the sources.
        more: further products in their order; as ``values``.
        edges: int64 [day, 2], the first and the last source year with any valid cell on that day;
            None for those of the window's calendar.
    """

    values: npt.NDArray[Any]
    years_per_day: npt.NDArray[np.int16]
    count: npt.NDArray[np.int16] | None
    number_of_years: int
    attributes: dict[str, Any]
    more: tuple[npt.NDArray[Any], ...] = ()
    edges: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class CfVariable:
    """One variable; the length of ``dims`` is ``values.ndim``. Text is of NumPy's kind U."""

    name: str
    dims: tuple[str, ...]
    values: npt.NDArray[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_gridded(self) -> bool:
        """Whether there is a value for each place and day."""
        return self.dims in GRIDDED

    @property
    def is_text(self) -> bool:
        """Whether it holds text."""
        return bool(self.values.dtype.kind == "U")


def time_variables(
    spec: ChainSpec, window: Window, edges: npt.NDArray[np.int64] | None = None
) -> list[CfVariable]:
    """Return time with its climatology bounds (CF 7.4), and the day of the year.

    Args:
        spec: of the chain.
        window: of the normal.
        edges: as :attr:`NormalField.edges`.
    """
    time, bounds = spec.steps.climatology_time(window, edges)
    about = {
        "standard_name": "time",
        "axis": "T",
        "long_name": f"{_step(spec)} of the year, in the last year of the window",
        "units": EPOCH,
        "calendar": spec.axis.output_calendar,
        "climatology": "climatology_bnds",
    }
    if spec.axis.output_calendar in LEAP_CALENDARS:
        # CF 4.4: asked for on the calendars of real time; every day has 86400 s here.
        about["units_metadata"] = "leap_seconds: none"
    return [
        CfVariable("time", ("time",), time, about),
        # Climatology bounds share units and calendar with time, and need no attributes.
        CfVariable("climatology_bnds", ("time", "bnds"), bounds),
        _step_variable(spec),
    ]


def _step(spec: ChainSpec) -> str:
    return {DAY: "day", MONTH: "month", SEASON: "season"}.get(spec.frequency, "step")


def _step_variable(spec: ChainSpec) -> CfVariable:
    """Return the number of each step; what has no number of its own is named by flags (CF 3.5)."""
    steps = spec.steps
    if spec.frequency == DAY:
        numbers = np.arange(1, len(steps) + 1, dtype=np.int32)
        about: dict[str, Any] = {"long_name": "ordinal day of the year", "units": "1"}
    elif spec.frequency == MONTH:
        numbers = np.array([int(name) for name in steps.names], dtype=np.int32)
        about = {"long_name": "month of the year", "units": "1"}
    else:
        numbers = np.arange(1, len(steps) + 1, dtype=np.int32)
        about = {"long_name": f"{_step(spec)} of the year"}
        about |= {"flag_values": numbers, "flag_meanings": " ".join(steps.names)}
    return CfVariable(steps.dimension, ("time",), numbers, about)


def place_variables(spec: ChainSpec, region: RegionCells) -> list[CfVariable]:
    """Return latitude and longitude, with bounds if the input has them, and scalar coordinates.

    Areas have their ids and names, and the latitude and longitude of their middle.
    """
    found = _axes(region) if region.areas is None else _labels(region, region.areas)
    for scalar in spec.header.scalars:
        value = np.array(scalar.value, dtype=np.float64)
        found.append(CfVariable(scalar.name, (), value, dict(scalar.attributes)))
    return found


def _labels(region: RegionCells, areas: Areas) -> list[CfVariable]:
    """Return what names areas and says where they are."""
    middle = {"lat": ("latitude", "degrees_north"), "lon": ("longitude", "degrees_east")}
    texts = {
        "area_id": ("identifier of the area", areas.ids),
        "area_name": ("name of the area", areas.names),
    }
    return [
        *(
            CfVariable(name, ("area",), np.array(values, dtype=np.str_), {"long_name": what})
            for name, (what, values) in texts.items()
        ),
        *(
            CfVariable(
                name,
                ("area",),
                getattr(region, name),
                {
                    "standard_name": standard,
                    "long_name": f"{standard} of the middle of the area",
                    "units": units,
                },
            )
            for name, (standard, units) in middle.items()
        ),
    ]


# What a variable on areas names in its attribute coordinates.
AREA_COORDINATES = "area_id area_name lat lon"


def _axes(region: RegionCells) -> list[CfVariable]:
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
    return found


def field_variables(spec: ChainSpec, field: NormalField) -> list[CfVariable]:
    """Return the normal itself, NaN where missing, and how many years and values are behind it."""
    ancillary = {
        "years_per_day": "number of source years with any valid value on this day",
        "number_of_years": "number of source years with any valid value",
    }
    dims = next(dims for dims in GRIDDED if len(dims) == field.values.ndim)
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
    gridded = [
        CfVariable(p.name(spec.variable), dims, values, _placed(_of_product(spec, p, about), dims))
        for p, values in zip(spec.products, (field.values, *field.more), strict=True)
    ]
    return [*gridded, *_thresholds(spec), *more]


def _placed(about: dict[str, Any], dims: tuple[str, ...]) -> dict[str, Any]:
    """Return the attributes of a product at its places: areas are means, and have coordinates."""
    if "area" not in dims:
        return about
    methods = str(about.get("cell_methods", ""))
    if methods:
        about = about | {"cell_methods": f"area: mean {methods}"}
    return about | {"coordinates": f"{AREA_COORDINATES} {about.get('coordinates', '')}".strip()}


def _thresholds(spec: ChainSpec) -> list[CfVariable]:
    """Return a scalar coordinate for each threshold (CF 5.7)."""
    limits = (_threshold_of(spec, p.within) for p in spec.products if p.within)
    return list({v.name: v for v in limits if v is not None}.values())


def _of_product(spec: ChainSpec, product: Product, shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a product; those of the daily mean are the shared ones.

    Each percentile is a variable of its own, and says which it is by an attribute: so it has the
    same name and bytes whatever else is asked for, and CDO, which cannot assign a scalar coordinate
    that is no level, does not warn at each command.
    """
    about = dict(shared)
    if product.change:
        return _of_change(spec, product, product.change, _of_product(spec, product.normal, shared))
    if product == DAILY_MEAN:
        return about
    units = product.units.target
    if product.within:
        about = _of_steps(spec, product.within, about, units or product.within.result_units)
    elif units:
        about = _converted(units, about)
    if replace(product, units=UNCHANGED) == DAILY_MEAN:
        return about
    statistic = product.statistic
    about["long_name"] = f"{product.words} of {_what(about) or spec.variable}"
    about["cell_methods"] = _cell_methods(spec, product)
    if not about["cell_methods"]:
        del about["cell_methods"]
    if statistic.quantity == "number":
        return _of_number(about)
    if statistic.quantity == "difference" and "units_metadata" in about:
        about["units_metadata"] = "temperature: difference"  # CF 1.11, appendix E
    return about | _of_statistic(product)


def _of_change(
    spec: ChainSpec, product: Product, change: Change, normal: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the attributes of a change of a normal, which is no quantity with a standard name."""
    about = {k: v for k, v in normal.items() if k not in ("standard_name", "units_metadata")}
    about["long_name"] = f"{change.words} of {_what(normal) or product.name(spec.variable)}"
    about["reference_period"] = change.period
    if change.floor is not None:
        about["units"], about["relative_floor"] = "%", change.floor[1]
    elif "units_metadata" in normal:
        about["units_metadata"] = "temperature: difference"  # CF 1.11, appendix E
    return about


def _of_statistic(product: Product) -> dict[str, Any]:
    """Return the attributes that say what the cell methods of CF cannot."""
    about: dict[str, Any] = {}
    if product.smoothing:
        about["smoothing"] = product.smoothing.text
    if product.percentile:
        about["percentile"] = product.percentile
        about["percentile_definition"] = product.method
    if product.statistic.pool_days > 1:
        about["pool_days"] = np.int32(product.statistic.pool_days)
    return about


def _cell_methods(spec: ChainSpec, product: Product) -> str:
    """Return CF ``cell_methods``; "" where CF has no method for the statistic."""
    method = product.statistic.method
    if product.within is None or not method:
        return product.cell_methods(spec.header.cell_methods)
    daily = spec.header.cell_methods.removeprefix("time: ").partition(" ")[0]
    return cfwords.cell_methods(product.within.expression, daily, method)


def _of_steps(
    spec: ChainSpec, within: Within, shared: Mapping[str, Any], units: str
) -> dict[str, Any]:
    """Return the attributes of what is made of the days of steps, before any statistic."""
    assert within.bound is not None
    expression, bound = within.expression, within.bound
    source = str(shared.get("standard_name", ""))
    words = {
        "standard_name": cfwords.standard_name(expression, source, units) if source else None,
        "units_metadata": cfwords.units_metadata(units, difference=bound.is_difference),
    }
    about = {**{k: v for k, v in shared.items() if k not in words}, "units": units}
    about |= {key: word for key, word in words.items() if word}
    if expression.kind is not Kind.MEAN:
        about["long_name"] = f"{expression.text}, {_what(shared) or spec.variable}"
    about["missing_days"] = str(within.missing)
    if threshold := _threshold_name(within):
        about["coordinates"] = f"{about.get('coordinates', '')} {threshold}".strip()
    return about


def _converted(units: str, shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of days in other units, before any statistic."""
    about = {key: value for key, value in shared.items() if key != "standard_name"}
    name = cfwords.standard_name(None, str(shared.get("standard_name", "")), units)
    return {**about, "units": units} | ({"standard_name": name} if name else {})


def _threshold_name(within: Within) -> str:
    """Return the name of the scalar coordinate of a threshold; "" if there is none."""
    return f"threshold_{within.expression.name}" if within.expression.threshold else ""


def _threshold_of(spec: ChainSpec, within: Within) -> CfVariable | None:
    """Return the scalar coordinate that CF asks for where days are compared with a threshold."""
    source = str(dict(spec.header.attributes).get("standard_name", ""))
    found = cfwords.threshold_coordinate(within.expression, source)
    if found is None:
        return None
    about = {"long_name": "threshold", "units": found.units}
    if found.standard_name:
        about["standard_name"] = found.standard_name
    return CfVariable(_threshold_name(within), (), np.array(float(found.value)), about)


def _what(about: Mapping[str, Any]) -> str:
    return str(about.get("long_name") or about.get("standard_name") or "").strip()


def _of_number(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a number of values: those of the field that are not of its units."""
    kept = ("long_name", "coordinates", "ancillary_variables")
    return {
        **{key: about[key] for key in kept if key in about},
        "standard_name": "number_of_observations",
        "units": "1",
    }


def _field_attributes(spec: ChainSpec) -> dict[str, Any]:
    attributes = dict(spec.header.attributes)
    if "cell_methods" in attributes:
        attributes["input_cell_methods"] = attributes["cell_methods"]
    attributes["cell_methods"] = spec.header.cell_methods
    if spec.header.name:
        attributes["input_variable"] = spec.header.name
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


def history(what: str, products: Sequence[Product] = (DAILY_MEAN,)) -> dict[str, str]:
    """Return the attributes that say when and how a file or store was made.

    Args:
        what: the years.
        products: of the file or store.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    names = ", ".join(dict.fromkeys(product.over_years for product in products))
    line = f"{now}: climdask {__version__}: {names} of each day of the year over {what}"
    return {"date_created": now, "history": line}

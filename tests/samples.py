"""Small NetCDF archives for tests: never degenerate, and as odd as real ones if asked.

The grid is not square and its coordinates are distinct and unevenly placed around the globe, one
cell is never valid (land), others are missing here and there. Numbers depend on variable, year
and seed alone, so that a test can ask for what a file holds without reading it:

    archive = write_archive(tmp_path / "in", variables=["tas", "pr"], first=1980, last=2020)
    archive.path("tas", 1999)            # .../tas/historical/tas_day_ACCESS-CM2_..._1999.nc
    archive.values("tas", 1999)          # float32 [day, lat, lon], NaN where missing
    load(archive.workflow(tmp_path / "out", window=30, regions=["global"]))
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cftime
import netCDF4
import numpy as np

LAT = (-51.0, -9.5, 31.0, 70.25)
LON = (2.0, 73.5, 146.0, 216.25, 289.0)

# Boxes on that grid. WRAP crosses 0 E, EAST and WEST share the cells at 146 E.
EAST = {"name": "EAST", "lon": [60, 150], "lat": [-60, 40]}
WEST = {"name": "WEST", "lon": [140, 295], "lat": [20, 80]}
WRAP = {"name": "WRAP", "lon": [280, 80], "lat": [-20, 75]}

ATTRIBUTES: dict[str, dict[str, str]] = {
    "tas": {
        "standard_name": "air_temperature",
        "long_name": "Daily Near-Surface Air Temperature",
        "units": "K",
        "cell_methods": "area: mean time: maximum",  # as NEX-GDDP labels it, wrongly
    },
    "tasmax": {
        "standard_name": "air_temperature",
        "long_name": "Daily Maximum Near-Surface Air Temperature",
        "units": "K",
        "cell_methods": "area: mean time: maximum (interval: 15 minutes)",
    },
    "tasmin": {
        "standard_name": "air_temperature",
        "long_name": "Daily Minimum Near-Surface Air Temperature",
        "units": "K",
        "cell_methods": "area: mean time: minimum",
    },
    "pr": {
        "standard_name": "precipitation_flux",
        "long_name": "Precipitation (mean of the daily precipitation rate)",
        "units": "kg m-2 s-1",
        "cell_methods": "area: time: mean",
    },
}


@dataclass(frozen=True)
class Style:
    """How a file is written.

    Attributes:
        lat, lon: in the order of the file.
        dims: order of the variable's dimensions; ``one`` (or any other name) is a level of
            length 1.
        dtype: on disk, such as ``f4``, ``i2``, ``u1`` or ``>f4``.
        packing: ``(scale_factor, add_offset)``.
        unsigned: write unsigned numbers as signed ones with ``_Unsigned = "true"`` (NUG).
        fill: the ``_FillValue``; ``default`` for the library's own without an attribute.
        attributes: of the variable, over those of its name; None leaves one out.
        chunks: ``(day, lat, lon)``; None for contiguous.
        hour: of each stamp.
        epoch: time units.
        bounds: write lat_bnds and lon_bnds.
        height: write a scalar height coordinate.
        file_attributes: of the file.
    """

    lat: Sequence[float] = LAT
    lon: Sequence[float] = LON
    dims: tuple[str, ...] = ("time", "lat", "lon")
    dtype: str = "f4"
    packing: tuple[float, float] | None = None
    unsigned: bool = False
    fill: float | str | None = 1e20
    attributes: Mapping[str, Any] = field(default_factory=dict)
    chunks: tuple[int, int, int] | None = None
    deflate: bool = False
    format: str = "NETCDF4"
    hour: float = 12.0
    epoch: str = "days since 1850-01-01"
    time_dtype: str = "f8"
    bounds: bool = False
    height: bool = False
    file_attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Latitudes and longitudes."""
        return len(self.lat), len(self.lon)


PLAIN = Style()
# As NASA writes them: a chunk for each day, deflate and shuffle.
NEX = Style(deflate=True, chunks=(1, len(LAT), len(LON)))


def dates_of(first: int, last: int, calendar: str) -> list[tuple[int, int, int]]:
    """Return (year, month, day) of every day of some years, both included."""
    if calendar == "360_day":
        lengths = {year: [30] * 12 for year in range(first, last + 1)}
    else:
        leap = {
            y: calendar in ("all_leap", "366_day")
            or (calendar not in ("noleap", "365_day") and cftime.is_leap_year(y, calendar))
            for y in range(first, last + 1)
        }
        lengths = {
            y: [31, 29 if leap[y] else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
            for y in range(first, last + 1)
        }
    return [
        (year, month, day)
        for year, months in lengths.items()
        for month, n in enumerate(months, start=1)
        for day in range(1, n + 1)
    ]


def sample_values(
    variable: str,
    year: int,
    calendar: str = "standard",
    *,
    shape: tuple[int, int] = (len(LAT), len(LON)),
    seed: object = 0,
    missing: float = 0.02,
) -> np.ndarray:
    """Return float32 [day, lat, lon]: a seasonal cycle with noise, or wet and dry days.

    Cell (1, 2) is never valid; ``missing`` is the share of other values that are not.
    """
    n_days = len(dates_of(year, year, calendar))
    rng = np.random.default_rng(zlib.crc32(f"{variable} {year} {seed}".encode()))
    noise = rng.standard_normal((n_days, *shape))
    if variable == "pr":
        values = np.exp(3.0 * noise - 12.0)  # over ten orders of magnitude
        values[rng.random(values.shape) < 0.5] = 0.0
    else:
        day = np.arange(n_days)[:, None, None]
        lat = np.linspace(-1.0, 1.0, shape[0])[:, None]
        values = 285.0 + 12.0 * np.sin(day / 58.0) * lat + 3.0 * noise + 0.03 * (year - 2000)
    values[rng.random(values.shape) < missing] = np.nan
    if missing:
        values[:, 1 % shape[0], 2 % shape[1]] = np.nan
    return values.astype(np.float32)


def write_year(
    path: Path,
    variable: str = "tas",
    year: int = 2001,
    calendar: str = "standard",
    values: np.ndarray | None = None,
    *,
    seed: object = 0,
    missing: float = 0.02,
    style: Style = PLAIN,
    **changes: Any,
) -> np.ndarray:
    """Write one year; return what it holds, float32 [day, lat, lon] in the order of the file.

    ``changes`` are fields of :class:`Style`.
    """
    style = replace(style, **changes)
    if values is None:
        values = sample_values(
            variable, year, calendar, shape=style.shape, seed=seed, missing=missing
        )
    return write_file(path, variable, dates_of(year, year, calendar), calendar, values, style=style)


def write_years(
    path: Path,
    variable: str,
    first: int,
    last: int,
    calendar: str = "standard",
    *,
    seed: object = 0,
    missing: float = 0.02,
    style: Style = PLAIN,
    **changes: Any,
) -> np.ndarray:
    """Write several years into one file; return what it holds, [day, lat, lon]."""
    style = replace(style, **changes)
    parts = [
        sample_values(variable, y, calendar, shape=style.shape, seed=seed, missing=missing)
        for y in range(first, last + 1)
    ]
    dates = dates_of(first, last, calendar)
    return write_file(path, variable, dates, calendar, np.concatenate(parts), style=style)


def write_file(
    path: Path,
    variable: str,
    dates: Sequence[tuple[int, int, int]],
    calendar: str,
    values: np.ndarray,
    *,
    style: Style = PLAIN,
    **changes: Any,
) -> np.ndarray:
    """Write any days; return what the file holds after packing, float32 [day, lat, lon]."""
    style = replace(style, **changes)
    path.parent.mkdir(parents=True, exist_ok=True)
    with netCDF4.Dataset(path, "w", format=style.format) as dataset:
        dataset.setncatts(
            {"Conventions": "CF-1.7", "institution": "climdask tests", **style.file_attributes}
        )
        _write_axes(dataset, dates, calendar, style)
        return _write_field(dataset, variable, values, style)


def _write_axes(
    dataset: Any, dates: Sequence[tuple[int, int, int]], calendar: str, style: Style
) -> None:
    sizes = {"time": len(dates), "lat": len(style.lat), "lon": len(style.lon)}
    for dim in dict.fromkeys((*style.dims, "time", "lat", "lon")):
        dataset.createDimension(dim, sizes.get(dim, 1))
    time = dataset.createVariable("time", style.time_dtype, ("time",))
    time.setncatts(
        {"units": style.epoch, "calendar": calendar, "standard_name": "time", "axis": "T"}
    )
    if dates:
        start = cftime.datetime(*dates[0], calendar=calendar)
        per_day = {"days": 1.0, "hours": 24.0, "seconds": 86400.0}[style.epoch.split()[0]]
        ordinals = _ordinals(dates, calendar)
        stamps = ordinals - ordinals[0] + style.hour / 24.0
        time[:] = cftime.date2num(start, style.epoch, calendar) + stamps * per_day
    for name, axis, units, values in (
        ("lat", "Y", "degrees_north", style.lat),
        ("lon", "X", "degrees_east", style.lon),
    ):
        var = dataset.createVariable(name, "f8", (name,))
        standard = {"lat": "latitude", "lon": "longitude"}[name]
        var.setncatts({"units": units, "standard_name": standard, "axis": axis})
        var[:] = values
        if style.bounds:
            var.bounds = f"{name}_bnds"
            dataset.dimensions.get("bnds") or dataset.createDimension("bnds", 2)
            edges = dataset.createVariable(f"{name}_bnds", "f8", (name, "bnds"))
            edges[:] = np.stack([np.asarray(values) - 0.5, np.asarray(values) + 0.5], axis=1)
    if style.height:
        height = dataset.createVariable("height", "f8", ())
        height.setncatts(
            {
                "units": "m",
                "axis": "Z",
                "positive": "up",
                "long_name": "height",
                "standard_name": "height",
            }
        )
        height[...] = 2.0


def _ordinals(dates: Sequence[tuple[int, int, int]], calendar: str) -> np.ndarray:
    """Number days; whole years at once, because cftime takes its time over each."""
    first, last = dates[0][0], dates[-1][0]
    place = {date: i for i, date in enumerate(dates_of(first, last, calendar))}
    return np.array([place[date] for date in dates], dtype=np.float64)


def _write_field(dataset: Any, variable: str, values: np.ndarray, style: Style) -> np.ndarray:
    packed, stored_fill, held = _pack(values, style)
    more: dict[str, Any] = {}
    if style.chunks:
        named = dict(zip(("time", "lat", "lon"), style.chunks, strict=True))
        sizes = {d: dataset.dimensions[d].size for d in style.dims}
        more["chunksizes"] = [min(named.get(d, 1), sizes[d]) for d in style.dims]
    elif style.deflate:
        more["chunksizes"] = [dataset.dimensions[d].size for d in style.dims]
    if style.deflate:
        more |= {"compression": "zlib", "complevel": 1, "shuffle": True}
    dtype = np.dtype(style.dtype)
    var = dataset.createVariable(
        variable,
        dtype,
        style.dims,
        fill_value=stored_fill if style.fill != "default" else None,
        endian={">": "big", "<": "little"}.get(dtype.byteorder, "native"),
        **more,
    )
    var.set_auto_maskandscale(False)
    attributes: dict[str, Any] = {"units": "1", **ATTRIBUTES.get(variable, {})}
    if style.packing:
        attributes |= dict(zip(("scale_factor", "add_offset"), style.packing, strict=True))
    if style.unsigned:
        attributes["_Unsigned"] = "true"
    if style.height:
        attributes["coordinates"] = "height"
    attributes |= style.attributes
    var.setncatts({k: v for k, v in attributes.items() if v is not None})
    shape = [packed.shape[("time", "lat", "lon").index(d)] if d in _AXES else 1 for d in style.dims]
    order = [("time", "lat", "lon").index(d) for d in style.dims if d in _AXES]
    var[...] = packed.transpose(order).reshape(shape)
    return held


_AXES = ("time", "lat", "lon")


def _pack(values: np.ndarray, style: Style) -> tuple[np.ndarray, Any, np.ndarray]:
    """Return the stored values, the stored fill value, and what a reader should make of them."""
    dtype = np.dtype(style.dtype).newbyteorder("=")
    fill: Any = style.fill
    if fill == "default":
        fill = netCDF4.default_fillvals[dtype.str[1:]]
    stored_fill = None if fill is None else np.asarray(fill).astype(dtype)[()]
    scale, offset = style.packing or (1.0, 0.0)
    if dtype.kind == "f":
        packed = np.asarray(values, dtype=dtype).copy()
        if stored_fill is not None:
            packed[np.isnan(values)] = stored_fill
        return packed, stored_fill, np.asarray(values, dtype=np.float32)
    wide = np.rint((values.astype(np.float64) - offset) / scale)
    limits = np.iinfo(dtype.str.replace("i", "u") if style.unsigned else dtype)
    wide = np.clip(wide, limits.min + 2, limits.max - 2)  # the ends are for fill values
    held = (wide * scale + offset).astype(np.float32)
    whole = np.where(np.isnan(wide), 0, wide).astype(np.int64)
    packed = whole.astype(dtype)
    if stored_fill is None:
        assert not np.isnan(values).any(), "integers without a fill value cannot be missing"
    else:
        packed[np.isnan(wide)] = stored_fill
    return packed, stored_fill, held


@dataclass(frozen=True)
class Archive:
    """What :func:`write_archive` wrote: an archive of annual files, NEX-GDDP's names.

    Attributes:
        scenarios: years of each experiment, both included.
    """

    root: Path
    variables: tuple[str, ...]
    scenarios: Mapping[str, tuple[int, int]]
    model: str
    member: str
    grid: str
    calendar: str
    seed: object
    missing: float
    style: Style

    def experiment(self, year: int, scenario: str | None = None) -> str:
        """Return the experiment that a year belongs to; the first that has it if not said."""
        if scenario and self.scenarios[scenario][0] <= year <= self.scenarios[scenario][1]:
            return scenario
        return next(s for s, (a, b) in self.scenarios.items() if a <= year <= b)

    def path(self, variable: str, year: int, scenario: str | None = None) -> Path:
        """Return the file of a year."""
        experiment = self.experiment(year, scenario)
        name = f"{variable}_day_{self.model}_{experiment}_{self.member}_{self.grid}_{year}.nc"
        return self.root / variable / experiment / name

    def values(self, variable: str, year: int, scenario: str | None = None) -> np.ndarray:
        """Return what the file of a year was given, float32 [day, lat, lon]."""
        experiment = self.experiment(year, scenario)
        return sample_values(
            variable,
            year,
            self.calendar,
            shape=self.style.shape,
            seed=(self.model, experiment, self.seed),
            missing=self.missing,
        )

    def write(self, variable: str, year: int, scenario: str | None = None, **changes: Any) -> Path:
        """Write the file of a year, again if it is there; return its path."""
        path = self.path(variable, year, scenario)
        values = changes.pop("values", None)
        if values is None:
            values = self.values(variable, year, scenario)
        write_year(path, variable, year, self.calendar, values, style=self.style, **changes)
        return path

    def workflow(self, out: Path, **keys: Any) -> dict[str, Any]:
        """Return a workflow of everything that is here, as a mapping for ``config.load``."""
        first, *later = self.scenarios
        return {
            "input": {"root": str(self.root)},
            "variables": list(self.variables),
            "historical": first,
            "scenarios": later,
            "last_historical_year": self.scenarios[first][1],
            "regions": [EAST, WEST, WRAP],
            "output": {"root": str(out)},
            **keys,
        }


def write_archive(
    root: Path,
    *,
    variables: Sequence[str] = ("tas",),
    first: int = 1980,
    last: int = 2020,
    scenarios: Sequence[str] = ("ssp245",),
    last_historical_year: int = 2014,
    model: str = "ACCESS-CM2",
    member: str = "r1i1p1f1",
    grid: str = "gn",
    calendar: str = "standard",
    gaps: Sequence[int] = (),
    seed: object = 0,
    missing: float = 0.02,
    style: Style = PLAIN,
    **changes: Any,
) -> Archive:
    """Write annual files: ``first`` to ``last``, from ``last_historical_year`` on by scenario.

    Years in ``gaps`` are left out; ``changes`` are fields of :class:`Style`. Several archives
    (other models, variables, styles) may be written below one root.
    """
    years = {"historical": (first, min(last, last_historical_year))}
    if last > last_historical_year:
        start = max(first, last_historical_year + 1)
        years |= dict.fromkeys(scenarios, (start, last))
    style = replace(style, **changes)
    archive = Archive(
        root, tuple(variables), years, model, member, grid, calendar, seed, missing, style
    )
    for scenario, (a, b) in years.items():
        for year in range(a, b + 1):
            for variable in variables:
                if year not in gaps:
                    archive.write(variable, year, scenario)
    return archive

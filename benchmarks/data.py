"""The input data: made once for each size, reused if present, completed if half-made.

What a file holds depends on its variable, year and grid alone. As in NEX-GDDP-CMIP6 a chunk is one
day over the whole grid, deflate 5 with shuffle, float32, noon stamps, and cells without land are
missing. Fields are smooth in space with noise on top, so that they compress about as real ones.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.job import N_DAYS, VALUE_BYTES, Job, Series

STAMP = "benchmark-data.json"
VERSION = 1  # raise it whenever the values change
FILL = np.float32(1e20)
RATIO = 1.9  # to which the files compress
BLOCK = 32  # days made at a time

_ATTRIBUTES = {
    "pr": ("precipitation_flux", "kg m-2 s-1", "time: mean"),
    "tas": ("air_temperature", "K", "time: mean"),
    "tasmax": ("air_temperature", "K", "time: maximum"),
    "tasmin": ("air_temperature", "K", "time: minimum"),
}


def make_data(job: Job, report: Callable[[str], None] = lambda _: None) -> int:
    """Make the files that are not there yet, or not whole; return how many these were."""
    job.root.mkdir(parents=True, exist_ok=True)
    known = _known_sizes(job)
    missing = [
        (series, year)
        for series in job.series
        for year in job.years
        if known is None or not _is_whole(job, job.path(series, year), known)
    ]
    if not missing:
        return 0
    size = len(missing) * N_DAYS * job.rows * job.columns * VALUE_BYTES / RATIO / 1e6
    report(f"making {len(missing)} of {len(job.files)} files, about {size:.0f} MB, in {job.root}")
    _write_stamp(job, {})  # from here on, whatever has its final name is whole
    # Not forked: a child of a process with threads may wait for ever.
    with ProcessPoolExecutor(job.cores, mp_context=get_context("spawn")) as pool:
        list(pool.map(_make_file, *zip(*((job, s, y) for s, y in missing), strict=True)))
    _write_stamp(job, {_name(job, path): path.stat().st_size for _, path in job.files})
    return len(missing)


def _parameters(job: Job) -> dict[str, Any]:
    """Return what decides the values, so that files of other parameters are never taken."""
    return {"version": VERSION, "rows": job.rows, "columns": job.columns}


def _known_sizes(job: Job) -> dict[str, int] | None:
    """Return the sizes of the files when they were complete; None if nothing there is usable."""
    try:
        stamp = json.loads((job.root / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return dict(stamp["sizes"]) if stamp.get("parameters") == _parameters(job) else None


def _is_whole(job: Job, path: Path, known: dict[str, int]) -> bool:
    """Tell whether a file is there with the size it had, if that was noted."""
    return path.exists() and known.get(_name(job, path), path.stat().st_size) == path.stat().st_size


def _name(job: Job, path: Path) -> str:
    return path.relative_to(job.root).as_posix()


def _write_stamp(job: Job, sizes: dict[str, int]) -> None:
    content = {"parameters": _parameters(job), "sizes": sizes}
    temporary = job.root / f"{STAMP}.tmp"
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.replace(job.root / STAMP)


def _make_file(job: Job, series: Series, year: int) -> None:
    """Write one file under a temporary name, then give it its own."""
    import netCDF4

    path = job.path(series, year)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with netCDF4.Dataset(temporary, "w", format="NETCDF4_CLASSIC") as dataset:
        n_days = _write_axes(dataset, job, series, year)
        standard_name, units, cell_methods = _ATTRIBUTES[series.variable]
        field = dataset.createVariable(
            series.variable, "f4", ("time", "lat", "lon"), zlib=True, complevel=5, shuffle=True,
            chunksizes=(1, job.rows, job.columns), fill_value=FILL,
        )  # fmt: skip
        field.setncatts(
            {"standard_name": standard_name, "units": units, "cell_methods": cell_methods}
        )
        field.set_auto_mask(False)
        start = 0
        for block in day_blocks(job, series.variable, year, n_days):
            field[start : start + len(block)] = np.where(np.isnan(block), FILL, block)
            start += len(block)
    temporary.replace(path)


def _write_axes(dataset: Any, job: Job, series: Series, year: int) -> int:
    """Write the axes; return the number of days."""
    leap = series.calendar == "standard" and (date(year + 1, 1, 1) - date(year, 1, 1)).days == 366
    n_days = 366 if leap else 365
    for name, size in (("time", None), ("lat", job.rows), ("lon", job.columns)):
        dataset.createDimension(name, size)
    time = dataset.createVariable("time", "f8", ("time",))
    time.setncatts({"units": f"days since {year}-01-01", "calendar": series.calendar,
                    "standard_name": "time", "axis": "T"})  # fmt: skip
    time[:] = np.arange(n_days) + 0.5
    for name, axis, units, full, degrees in (
        ("lat", "Y", "degrees_north", "latitude", job.lat),
        ("lon", "X", "degrees_east", "longitude", job.lon),
    ):
        coordinate = dataset.createVariable(name, "f8", (name,))
        coordinate.setncatts({"units": units, "standard_name": full, "axis": axis})
        coordinate[:] = degrees
    return n_days


def day_blocks(job: Job, variable: str, year: int, n_days: int) -> Iterator[np.ndarray]:
    """Yield the days of a year, float32 [day, lat, lon], NaN where there is no land."""
    rng = np.random.default_rng([zlib.crc32(variable.encode()), year, job.rows, job.columns])
    sea = no_land(job)
    for start in range(0, n_days, BLOCK):
        day = np.arange(start, min(start + BLOCK, n_days))
        weather = _smooth_noise(rng, day.size, job)
        grain = rng.standard_normal(weather.shape, dtype=np.float32)
        values = (_rain if variable == "pr" else _warmth)(job, variable, year, day, weather, grain)
        values[:, sea] = np.nan
        yield values


def _warmth(
    job: Job, variable: str, year: int, day: np.ndarray, weather: np.ndarray, grain: np.ndarray
) -> np.ndarray:
    """Return temperatures in K: latitude, season and trend, weather, and a little grain."""
    lat = job.lat[:, None].astype(np.float32)
    season = np.cos(2 * np.pi * (day - 200) / 365).astype(np.float32)[:, None, None]
    offset = {"tasmax": 5.0, "tasmin": -5.0}.get(variable, 0.0) + 0.03 * (year - 1950)
    mean = np.float32(301.0 + offset) - np.float32(0.55) * np.abs(lat)
    return mean + np.float32(0.2) * lat * season + np.float32(4) * weather + np.float32(0.2) * grain


def _rain(
    job: Job, variable: str, year: int, day: np.ndarray, weather: np.ndarray, grain: np.ndarray
) -> np.ndarray:
    """Return rain in kg m-2 s-1: dry, a trace, or wet over some orders of magnitude."""
    del job, variable, year, day
    wetness = weather + np.float32(0.2) * grain
    amount = np.exp(np.float32(0.8) * wetness + np.float32(0.4) * grain) * np.float32(2.5 / 86400)
    rain: np.ndarray = np.where(wetness > 0.3, amount, np.float32(0))
    return np.where((wetness > 0.1) & (wetness <= 0.3), amount * np.float32(1e-7), rain)


def _smooth_noise(rng: np.random.Generator, n_days: int, job: Job) -> np.ndarray:
    """Return noise of unit size that changes over about 5 degrees, float32 [day, lat, lon]."""
    coarse = rng.standard_normal((n_days, 30, 72), dtype=np.float32)
    rows, columns = _between(30, job.rows), _between(72, job.columns)
    return np.asarray(rows @ coarse @ columns.T * np.float32(1.5))


def _between(n_coarse: int, n_fine: int) -> np.ndarray:
    """Return the matrix of linear interpolation from a coarse to a fine axis, float32."""
    place = np.linspace(0, n_coarse - 1.001, n_fine)
    left = place.astype(int)
    matrix = np.zeros((n_fine, n_coarse), dtype=np.float32)
    matrix[np.arange(n_fine), left] = 1 - (place - left)
    matrix[np.arange(n_fine), left + 1] = place - left
    return matrix


def no_land(job: Job) -> np.ndarray:
    """Return which cells are never valid, about a third of them; each region keeps some."""
    rng = np.random.default_rng(0)
    sea: np.ndarray = _smooth_noise(rng, 1, job)[0] > 0.45
    for box in job.boxes:
        rows, columns = job.cells(box)
        sea[rows[rows.size // 2], columns[columns.size // 2]] = False
    return sea

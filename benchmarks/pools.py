"""Percentiles of pools of days by others, on years in memory: xclim's and CDO's.

Each makes p10, p50 and p90 of five days over the years of one window, as climdask does for a target
year; climdask also slides the window by a year for that.
"""

from __future__ import annotations

import importlib.util
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from climdask.climatology.blocks import Block

POOL, LEVELS = 5, (10, 50, 90)


def xclim_seconds(years: Sequence[Block]) -> float:
    """Return the CPU seconds of xclim's ``percentile_doy``, all levels in one call."""
    from xclim.core.calendar import percentile_doy

    data = _as_array(years)
    began = time.process_time()
    percentile_doy(data, window=POOL, per=list(LEVELS), alpha=1.0, beta=1.0).load()
    return time.process_time() - began


def cdo_seconds(years: Sequence[Block]) -> float:
    """Return the CPU seconds of CDO's ``ydrunpctl``, a call for each level, reading included."""
    with tempfile.TemporaryDirectory() as folder:
        path, least, most, made = (Path(folder) / f"{n}.nc" for n in ("in", "min", "max", "out"))
        _as_array(years).to_dataset(name="x").to_netcdf(path)
        began = _children()
        for operator, out in (("ydrunmin", least), ("ydrunmax", most)):
            _cdo(f"{operator},{POOL}", path, out)
        for level in LEVELS:
            _cdo(f"ydrunpctl,{level},{POOL}", path, least, most, made)
        return _children() - began


OTHERS: dict[str, Callable[[Sequence[Block]], float]] = {
    "xclim percentile_doy": xclim_seconds,
    "CDO ydrunmin, ydrunmax, ydrunpctl": cdo_seconds,
}


def lacking(name: str) -> str:
    """Say why another's percentiles cannot be made here; nothing if they can."""
    if name.startswith("xclim") and importlib.util.find_spec("xclim") is None:
        return "the Python package xclim is not installed"
    return "cdo is not installed" if name.startswith("CDO") and not shutil.which("cdo") else ""


def _as_array(years: Sequence[Block]):  # type: ignore[no-untyped-def]
    """Return the years as an xarray.DataArray (time, lat, lon) of 365 days a year."""
    import xarray as xr

    values = np.concatenate([year.values for year in years])[:, None]
    time_axis = xr.date_range(
        f"{years[0].year}-01-01", periods=len(values), calendar="noleap", use_cftime=True
    )
    places = {"lat": [0.0], "lon": np.linspace(0, 1, values.shape[2])}
    return xr.DataArray(
        values, dims=("time", "lat", "lon"), coords={"time": time_axis, **places},
        attrs={"units": "K"},
    )  # fmt: skip


def _cdo(operator: str, *files: Path) -> None:
    done = subprocess.run(
        ["cdo", "-s", "-O", operator, *map(str, files)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"cdo {operator}: {done.stderr[-2000:]}")


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

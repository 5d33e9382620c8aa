"""Percentiles of pools of five days with xclim and CDO, for ``benchmarks.products``.

Each makes p10, p50 and p90 of one target, as its documentation shows: the files of the window are
opened or joined, the regions cut out of them. A process of its own each, so that CPU seconds can be
told apart: ``python -m benchmarks.pooled xclim JOB FOLDER``.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from statistics import median

from benchmarks.cdo import cdo, without_leap_day
from benchmarks.job import Job, Series
from benchmarks.measure import measure

PEERS = ("xclim percentile_doy", "CDO ydrunpctl")
LEVELS = (10, 50, 90)


def by_xclim(job: Job, series: Series, target: int, out: Path) -> None:
    """Make the percentiles of each region."""
    import xarray as xr
    from xclim.core.calendar import percentile_doy

    files = [str(job.path(series, year)) for year in job.source_years(target)]
    with xr.open_mfdataset(
        files, combine="nested", concat_dim="time", chunks={"time": -1},
        data_vars="minimal", coords="minimal", compat="override", join="override",
    ) as dataset:  # fmt: skip
        field = dataset[series.variable].convert_calendar("noleap")
        for box in job.boxes:
            cut = field.sel(lat=slice(box.south, box.north), lon=slice(box.west, box.east)).load()
            found = percentile_doy(cut, window=5, per=list(LEVELS), alpha=1.0, beta=1.0)
            found.to_netcdf(out / f"xclim-{box.name}.nc")


def by_cdo(job: Job, series: Series, target: int, out: Path) -> None:
    """Make the percentiles of each region."""
    files = [job.path(series, year) for year in job.source_years(target)]
    for box in job.boxes:
        cut = f"-sellonlatbox,{box.west},{box.east},{box.south},{box.north}"
        days, least, most = (out / f"{box.name}-{name}.nc" for name in ("days", "least", "most"))
        cdo("-f", "nc5", *without_leap_day(series), cut, "-mergetime", "[", *files, "]", days)
        cdo("-f", "nc5", "ydrunmin,5", days, least)
        cdo("-f", "nc5", "ydrunmax,5", days, most)
        for level in LEVELS:
            made = out / f"{box.name}-{level}.nc"
            cdo("-f", "nc4", "-z", "zip_4", f"ydrunpctl,{level},5", days, least, most, made)


def measure_peer(peer: str, job: Job, rounds: int, work: Path) -> float | str:
    """Return the CPU seconds of a peer, a median; or why it cannot run.

    Raises:
        RuntimeError: it failed.
    """
    tool = peer.split()[0]
    if tool == "CDO" and shutil.which("cdo") is None:
        return "cdo is not installed"
    if tool == "xclim" and importlib.util.find_spec("xclim") is None:
        return "the Python package xclim is not installed"
    (work / "job.json").write_text(job.to_json(), encoding="utf-8")
    took = []
    for number in range(rounds):
        out = work / f"{tool}-{number}"
        out.mkdir()
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.pooled", tool]
        done = measure([*command, str(work / "job.json"), str(out)], out / "log.txt")
        if done.code:
            raise RuntimeError((out / "log.txt").read_text(encoding="utf-8"))
        took.append(done.user + done.system)
        shutil.rmtree(out)
    return median(took)


def main() -> int:
    """Make the percentiles of the last target of the first variable."""
    tool, job_path, out = sys.argv[1:]
    job = Job.from_json(Path(job_path).read_text(encoding="utf-8"))
    make = by_xclim if tool == "xclim" else by_cdo
    make(job, job.series[0], job.targets[-1], Path(out))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Whether an arm's answers are right. Nothing here is timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import netCDF4
import numpy as np

from benchmarks.job import MEMBER, N_DAYS, VALUE_BYTES, Job, Series


@dataclass(frozen=True)
class Verdict:
    """What became of an arm's answers.

    Attributes:
        right: all compared values are within the tolerance.
        compared: normals, or files of a reader, that were compared.
        largest: the largest relative difference.
        text: what is wrong, and where.
    """

    right: bool
    compared: int
    largest: float = 0.0
    text: str = ""


class Normals(Protocol):
    """Where an arm's normals are."""

    def load(self, series: Series, region: str, target: int) -> np.ndarray:
        """Return a normal, [day, lat, lon], NaN where missing.

        Raises:
            LookupError: it is not there.
        """


@dataclass(frozen=True)
class PlainNormals:
    """Normals as the arms here write them: ``variable/region/target.nc``."""

    root: Path

    def load(self, series: Series, region: str, target: int) -> np.ndarray:
        """Return a normal."""
        return _load(normal_path(self.root, series, region, target), series.variable)


@dataclass(frozen=True)
class ClimdaskNormals:
    """Normals as climdask writes them."""

    root: Path

    def load(self, series: Series, region: str, target: int) -> np.ndarray:
        """Return a normal."""
        folder = self.root / series.model / MEMBER / series.variable / region
        found = list(folder.glob(f"*/*_{target}_*yr_normal.nc"))
        if len(found) != 1:
            raise LookupError(f"{len(found)} normals, not 1")
        return _load(found[0], series.variable)


@dataclass(frozen=True)
class ZarrNormals:
    """Normals in Zarr stores: one for each branch, with a dimension ``target_year``."""

    root: Path

    def load(self, series: Series, region: str, target: int) -> np.ndarray:
        """Return a normal."""
        import xarray as xr

        found = []
        for store in self._stores(series, region):
            with xr.open_zarr(store, decode_times=False) as dataset:
                if target in dataset["target_year"].values:
                    normal = dataset[series.variable].sel(target_year=target)
                    found.append(np.asarray(normal.values, dtype=np.float32))
        if len(found) != 1:
            raise LookupError(f"{len(found)} normals, not 1")
        return found[0]

    def _stores(self, series: Series, region: str) -> list[Path]:
        """Return the Zarr groups whose path names the series and the region."""
        names = {series.model, series.variable, region}
        groups = {p.parent for p in self.root.rglob("zarr.json") if (p.parent / "time").is_dir()}
        words = {g: set(g.relative_to(self.root).as_posix().replace("/", "_").split("_"))
                 for g in groups}  # fmt: skip
        return sorted(g for g in groups if names <= words[g])


def normal_path(root: Path, series: Series, region: str, target: int) -> Path:
    """Return where an arm writes a normal; its folder is made."""
    folder = root / series.variable / region
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{target}.nc"


def _load(path: Path, variable: str) -> np.ndarray:
    if not path.exists():
        raise LookupError("not written")
    with netCDF4.Dataset(path) as dataset:
        values = np.ma.filled(np.ma.asarray(dataset[variable][...], dtype=np.float32), np.nan)
        return np.asarray(values).reshape(values.shape[-3:])


def tolerance(job: Job) -> float:
    """Return the largest relative difference that rounding explains.

    An arm may add the years in float32, in any order, and divide: n - 1 additions and a division,
    each off by at most 2^-24 of a sum that only grows, since no value is negative. climdask's own
    normals are rounded once more.
    """
    return float((job.window + 1) * 2.0**-24)


def compare(job: Job, targets: Sequence[int], mine: Normals, reference: Normals) -> Verdict:
    """Compare all of an arm's normals with climdask's."""
    largest, n = 0.0, 0
    for series in job.series:
        for region in job.regions:
            for target in targets:
                where = f"{series.variable} {region} {target}"
                try:
                    found = mine.load(series, region, target)
                except (LookupError, OSError) as error:
                    return Verdict(False, n, largest, f"{where}: {error}")
                difference, text = apart(found, reference.load(series, region, target))
                largest, n = max(largest, difference), n + 1
                if text or difference > tolerance(job):
                    return Verdict(False, n, largest, f"{where}: {text or _off(difference)}")
    return Verdict(True, n, largest)


def compare_with_input(job: Job, mine: Normals) -> Verdict:
    """Compare climdask's normals of the last target year with a direct mean of the input.

    The mean is made in float64, so it and climdask's exact one differ by a float32 rounding.
    """
    largest, n, target = 0.0, 0, job.targets[-1]
    for series in job.series:
        direct = direct_means(job, series, target)
        for region, expected in direct.items():
            where = f"{series.variable} {region} {target}"
            try:
                found = mine.load(series, region, target)
            except (LookupError, OSError) as error:
                return Verdict(False, n, largest, f"{where}: {error}")
            difference, text = apart(found, expected)
            largest, n = max(largest, difference), n + 1
            if text or difference > 2.0**-23:
                return Verdict(False, n, largest, f"{where}: {text or _off(difference)}")
    return Verdict(True, n, largest)


def direct_means(job: Job, series: Series, target: int) -> dict[str, np.ndarray]:
    """Return the normals of a target year for each region, from the files, float64."""
    boxes = {box.name: np.ix_(np.arange(N_DAYS), *job.cells(box)) for box in job.boxes}
    sums = dict.fromkeys(boxes, np.float64(0))
    for year in job.source_years(target):
        values = read_year(job.path(series, year), series.variable)
        if len(values) > N_DAYS:
            values = np.delete(values, 31 + 28, axis=0)  # 29 February
        for name, index in boxes.items():
            sums[name] = sums[name] + values[index].astype(np.float64)
    return {name: np.asarray(total / job.window) for name, total in sums.items()}


@cache
def _fill(path: Path, variable: str) -> float:
    with netCDF4.Dataset(path) as dataset:
        return float(dataset[variable].getncattr("_FillValue"))


def read_year(path: Path, variable: str) -> np.ndarray:
    """Return a file's values through netCDF4, float32, NaN where missing."""
    with netCDF4.Dataset(path) as dataset:
        field = dataset[variable]
        field.set_auto_maskandscale(False)
        values = np.asarray(field[...])
    values[values == np.float32(_fill(path, variable))] = np.nan
    return values


def apart(found: np.ndarray, expected: np.ndarray) -> tuple[float, str]:
    """Return the largest relative difference, and what is wrong besides."""
    if found.shape != expected.shape:
        return np.inf, f"shape {found.shape}, not {expected.shape}"
    unlike = np.isnan(found) != np.isnan(expected)
    if unlike.any():
        return np.inf, f"{unlike.sum()} of {unlike.size} values are missing in one only"
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.abs(found.astype(np.float64) - expected)
        relative = np.where(away == 0, 0.0, away / np.abs(expected))
    return float(np.nanmax(relative, initial=0.0)), ""


def _off(difference: float) -> str:
    return f"off by {difference:.2g} of the value"


def compare_reading(job: Job, figures: Mapping[str, Any], reader: Sequence[str]) -> Verdict:
    """Compare the amount read with the files, and the first and last file of each series."""
    from benchmarks.readers import READERS

    files = job.files
    stored = sum(path.stat().st_size for _, path in files)
    if "values" in figures:
        expected = sum(n_values(job, path, series) for series, path in files)
        if figures["values"] != expected:
            return Verdict(False, 0, 0.0, f"{figures['values']} values, not {expected}")
    elif figures["bytes"] != stored:
        return Verdict(False, 0, 0.0, f"{figures['bytes']} bytes, not {stored}")
    if not reader:
        return Verdict(True, len(files))
    sample = [(s, job.path(s, y)) for s in job.series for y in (job.first_year, job.last_year)]
    for n, (series, path) in enumerate(sample):
        mine = np.asarray(READERS[reader[0]](path, series.variable))
        expected_values = read_year(path, series.variable)
        if mine.dtype != np.float32 or not np.array_equal(mine, expected_values, equal_nan=True):
            off, text = apart(mine, expected_values)
            return Verdict(False, n + 1, off, f"{path.name}: {text or mine.dtype} {off:.2g}")
    return Verdict(True, len(sample))


def n_values(job: Job, path: Path, series: Series) -> int:
    """Return how many values a file holds."""
    with netCDF4.Dataset(path) as dataset:
        return int(dataset[series.variable].shape[0]) * job.rows * job.columns


def decoded_bytes(job: Job) -> int:
    """Return the size of all input when decoded."""
    return VALUE_BYTES * sum(n_values(job, path, series) for series, path in job.files)

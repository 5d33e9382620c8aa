"""An arm for tests/test_benchmarks.py: a right answer but for one value."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np

from benchmarks import replaced
from benchmarks.answers import normal_path
from benchmarks.job import Job


def one_value_off(job: Job, targets: tuple[int, ...], out: Path) -> None:
    """Make the normals, and raise one value of the last one by a part in a hundred thousand."""
    for series in job.series:
        replaced.make_normals(job, series, targets, out)
    path = normal_path(out, job.series[-1], job.regions[-1], targets[-1])
    with netCDF4.Dataset(path, "a") as dataset:
        field = dataset[job.series[-1].variable]
        place = tuple(axis[0] for axis in np.nonzero(~np.ma.getmaskarray(field[:])))
        field[place] = field[place] * 1.00001

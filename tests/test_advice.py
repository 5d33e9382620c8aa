"""The advice of error messages, followed to the letter: the run then has the right normals."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from climdask.errors import ClimdaskError
from climdask.running.run import run
from climdask.settings.workflow import Workflow
from tests.samples import Archive, write_archive
from tests.tools import call
from tests.workflows import small

Fault = Callable[[netCDF4.Dataset], None]


def _calendar(dataset: netCDF4.Dataset) -> None:
    dataset["time"].calendar = "no_leap_year"


def _labelled_standard(dataset: netCDF4.Dataset) -> None:
    dataset["time"].calendar = "standard"


def _midnight_after(dataset: netCDF4.Dataset) -> None:
    dataset["time"][:] = np.floor(dataset["time"][:]) + 1


def _backwards(dataset: netCDF4.Dataset) -> None:
    for name in ("time", "tas"):
        dataset[name][:] = dataset[name][::-1]


def _units_of_latitude(dataset: netCDF4.Dataset) -> None:
    dataset["lat"].units = "degrees_east"


def _units_of_longitude(dataset: netCDF4.Dataset) -> None:
    dataset["lon"].units = "m"


FAULTS: list[Fault] = [
    _calendar, _labelled_standard, _midnight_after, _backwards, _units_of_latitude,
    _units_of_longitude,
]  # fmt: skip


def flow(tmp_path: Path, **changes: Any) -> Workflow:
    given = {"scenarios": [], "last_historical_year": 2014, "targets": "2013-2014", **changes}
    return small(tmp_path / "in", tmp_path / "out", **given)


def archive_with(tmp_path: Path, fault: Fault) -> Archive:
    archive = write_archive(
        tmp_path / "in", variables=["tas"], first=2008, last=2014, calendar="noleap"
    )
    for path in archive.root.rglob("*.nc"):
        with netCDF4.Dataset(path, "a") as dataset:
            dataset.set_auto_mask(False)
            fault(dataset)
    return archive


def complaint(workflow: Workflow) -> str:
    """Return what a run says of inputs that it cannot use."""
    try:
        result = run(workflow, serial=True)
    except ClimdaskError as error:
        return str(error)
    assert not result.ok
    return "\n".join(map(str, result.failures.values()))


def follow(said: str, archive: Archive) -> None:
    """Run the command that a message names on each file."""
    found = re.search(
        r"\b((?:ncatted|ncks|cdo) [^()]*?)(?: FILE| IN OUT)?(?:, if it is noleap)?\)", said
    )
    assert found, said
    words = shlex.split(found[1])
    for path in sorted(archive.root.rglob("*.nc")):
        made = path.with_suffix(".made")
        more = [path, made] if words[0] != "ncatted" else ["-O", path]
        before = ["-s", "-O"] if words[0] == "cdo" else ["-h"]
        done = call(words[0], *before, *words[1:], *more)
        assert done.returncode == 0, done.stderr
        if made.exists():
            made.replace(path)


def check(archive: Archive, workflow: Workflow) -> None:
    """Check the normal of 2014 against the values that the files were made of."""
    result = run(workflow, serial=True)
    assert result.ok, result.failures
    years = np.stack([archive.values("tas", year) for year in range(2010, 2015)]).astype(float)
    right = np.where(np.isfinite(years).sum(axis=0) >= 5, years.mean(axis=0), np.nan)
    made = result.open("tas", "global").sel(target_year=2014)["tas"].values
    there = np.isfinite(right)
    assert there.sum() > 100
    np.testing.assert_allclose(made[there], right[there], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_the_command_that_a_message_names_mends_the_files(fault: Fault, tmp_path: Path) -> None:
    archive = archive_with(tmp_path, fault)
    follow(complaint(flow(tmp_path)), archive)
    check(archive, flow(tmp_path))


@pytest.mark.slow
def test_the_key_that_a_message_names_makes_a_value_missing(tmp_path: Path) -> None:
    archive = write_archive(
        tmp_path / "in", variables=["tas"], first=2008, last=2014, calendar="noleap"
    )
    for path in archive.root.rglob("*.nc"):
        with netCDF4.Dataset(path, "a") as dataset:
            values = dataset["tas"][:]
            dataset["tas"][:] = np.ma.filled(values, -9999.0)
    said = complaint(flow(tmp_path))
    key = re.search(r"missing_values: \[(-?[\d.]+)\]", said)
    assert key, said
    root = {"root": str(tmp_path / "in"), "missing_values": [float(key[1])]}
    check(archive, flow(tmp_path, input=root))


@pytest.mark.slow
def test_a_damaged_checkpoint_can_be_deleted_as_the_message_says(tmp_path: Path) -> None:
    archive = write_archive(
        tmp_path / "in", variables=["tas"], first=2008, last=2014, calendar="noleap"
    )
    check(archive, flow(tmp_path))
    for saved in (tmp_path / "out").rglob("*.npz"):
        saved.write_bytes(b"damaged")
    for made in (tmp_path / "out").rglob("*_2014_*.nc"):
        made.unlink()
    check(archive, flow(tmp_path))


@pytest.mark.slow
def test_the_targets_that_a_message_names_can_be_made(tmp_path: Path) -> None:
    archive = write_archive(
        tmp_path / "in", variables=["tas"], first=2008, last=2014, calendar="noleap"
    )
    said = complaint(flow(tmp_path, targets="1990-2014"))
    found = re.search(r"choose targets from (\d+) to (\d+)", said)
    assert found, said
    check(archive, flow(tmp_path, targets=f"{found[1]}-{found[2]}"))

"""Names of variables in an output: what the files bring along never collides with them."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import pytest
import xarray as xr

from climdask.climatology.products import OWN_NAMES
from climdask.errors import PlanError
from climdask.running.run import plan, run
from tests.samples import write_archive
from tests.workflows import small

ODD = sorted(OWN_NAMES - {"time", "lat", "lon"})


def archive(root: Path) -> Path:
    """Write files whose field has scalar coordinates of all names that an output needs."""
    write_archive(root, variables=["tas"], first=2008, last=2012, calendar="noleap")
    for path in root.rglob("*.nc"):
        with netCDF4.Dataset(path, "a") as dataset:
            for name in (*ODD, "height"):
                dataset.createVariable(name, "f8", ())[...] = 2.0
            dataset["tas"].coordinates = " ".join((*ODD, "height", "lat", "lon"))
    return root


@pytest.mark.parametrize("kind", ["netcdf", "zarr"])
def test_scalar_coordinates_named_like_ours_are_left_out_and_told(
    tmp_path: Path, kind: str
) -> None:
    flow = small(
        archive(tmp_path / "in"), tmp_path / "out", window=3, min_years=2,
        targets="2011-2012", scenarios=[],
        output={"format": kind, "count": True},
    )  # fmt: skip
    told: list[str] = []
    result = run(flow, serial=True, report=told.append)
    assert result.ok, result.failures
    (note,) = [line for line in told if "left out" in line]
    assert all(name in note for name in ODD)
    assert "height" not in note
    open_ = xr.open_dataset if kind == "netcdf" else xr.open_zarr
    with open_(result.outputs[0]) as found:
        assert float(found["height"]) == 2.0
        assert {*found.variables} - {"tas", "height"} <= OWN_NAMES


def test_a_variable_named_like_one_of_ours_is_refused(tmp_path: Path) -> None:
    write_archive(tmp_path / "in", variables=["tas"], first=2008, last=2012, calendar="noleap")
    (tmp_path / "in/tas").rename(tmp_path / "in/count")
    for path in (tmp_path / "in").rglob("tas_*.nc"):
        with netCDF4.Dataset(path, "a") as dataset:
            dataset.renameVariable("tas", "count")
        path.rename(path.with_name(path.name.replace("tas_", "count_")))
    flow = small(tmp_path / "in", tmp_path / "out", variables=["count"], scenarios=[])
    with pytest.raises(PlanError, match=r'"count" is a variable that each normal has .*ncrename'):
        plan(flow)

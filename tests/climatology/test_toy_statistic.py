"""A statistic is one module: this one is the sum over the years, which no user asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import distributed
import netCDF4
import numpy as np
import pytest
import xarray as xr

from climdask.climatology import statistics
from climdask.climatology.conversions import Conversion
from climdask.climatology.coverage import Coverage
from climdask.climatology.doubledoubles import DoubleDouble
from climdask.climatology.exactsum import rounded_sum
from climdask.climatology.statistics import Quantity
from climdask.errors import ConfigError
from climdask.running.run import plan, run
from climdask.settings.workflow import Workflow
from tests.readback import contents
from tests.samples import Archive, write_archive
from tests.workflows import small

# ---------------------------------------------------------------- the statistic


class Total:
    keeps = ("sum",)
    method = "sum"
    quantity: Quantity = "value"
    pool_days = 1

    def result(
        self, states: Mapping[str, Any], coverage: Coverage, units: Conversion
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        return rounded_sum(states["sum"]).astype(np.float32)

    def unrounded(
        self, states: Mapping[str, Any], coverage: Coverage, units: Conversion
    ) -> DoubleDouble:
        return DoubleDouble.of_terms(states["sum"])


# ---------------------------------------------------------------- its use


@pytest.fixture
def _registered() -> Iterator[None]:
    statistics.register("total", Total())
    yield
    del statistics.STATISTICS["total"]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return write_archive(tmp_path / "in", first=2008, last=2018, calendar="noleap")


def flow(archive: Archive, out: Path, **changes: Any) -> Workflow:
    return small(archive.root, out, normals=["mean", "total"], **changes)


def total_of(archive: Archive, last_year: int) -> np.ndarray:
    years = np.stack([archive.values("tas", y) for y in range(last_year - 4, last_year + 1)])
    valid = ~np.isnan(years)
    found = np.full(years.shape[1:], np.nan, dtype=np.float32)
    for place in np.ndindex(found.shape):
        there = years[(slice(None), *place)][valid[(slice(None), *place)]]
        if there.size >= 5 * 25 / 30:
            found[place] = math.fsum(there.tolist())
    return found


@pytest.mark.usefixtures("_registered")
@pytest.mark.parametrize("output_format", ["netcdf", "zarr"])
@pytest.mark.slow
def test_a_new_statistic_stands_beside_the_mean(
    output_format: str, archive: Archive, tmp_path: Path
) -> None:
    output = {"root": str(tmp_path / "out"), "format": output_format}
    result = run(flow(archive, tmp_path / "out", output=output), serial=True)
    assert result.ok, result.failures
    with result.open("tas", "global") as dataset:
        one = dataset.sel(target_year=2014)
        np.testing.assert_array_equal(one["tas_total"].values, total_of(archive, 2014))
        assert one["tas_total"].attrs["cell_methods"] == (
            "time: mean within years time: sum over years"
        )
        assert one["tas"].attrs["cell_methods"] == "time: mean within years time: mean over years"
    alone = run(small(archive.root, tmp_path / "alone"), serial=True)
    with alone.open("tas", "global") as mean, result.open("tas", "global") as both:
        xr.testing.assert_equal(mean["tas"].drop_attrs().load(), both["tas"].drop_attrs().load())


@pytest.mark.slow
@pytest.mark.usefixtures("_registered")
def test_a_killed_run_goes_on_with_all_statistics(archive: Archive, tmp_path: Path) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    bad = archive.path("tas", 2017)
    good = bad.read_bytes()
    bad.write_bytes(good[: len(good) // 2])
    assert not run(flow(archive, out), serial=True).ok
    assert list(out.rglob("*.npz")), "it left checkpoints"
    bad.write_bytes(good)
    told: list[str] = []
    assert run(flow(archive, out), serial=True, report=told.append).ok
    assert any("1 branch starts from a checkpoint" in line for line in told)
    assert run(flow(archive, whole), serial=True).ok
    assert contents(out) == contents(whole)


@pytest.mark.slow
@pytest.mark.usefixtures("_registered")
def test_workers_of_dask_know_a_new_statistic(archive: Archive, tmp_path: Path) -> None:
    with distributed.Client(
        processes=False, dashboard_address="127.0.0.1:0", set_as_default=False
    ) as client:
        result = run(flow(archive, tmp_path / "out"), client=client)
    assert result.ok, result.failures
    with netCDF4.Dataset(result.outputs[0]) as dataset:
        assert {"tas", "tas_total"} <= set(dataset.variables)


@pytest.mark.usefixtures("_registered")
@pytest.mark.slow
def test_normals_that_lack_a_statistic_are_made_again(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(small(archive.root, out), serial=True)
    again = run(flow(archive, out), serial=True)
    assert again.plan.n_normals == first.plan.n_all


@pytest.mark.usefixtures("_registered")
def test_statistics_of_one_state_share_it(archive: Archive, tmp_path: Path) -> None:
    one, both = (
        plan(w).chains[0] for w in (small(archive.root, tmp_path), flow(archive, tmp_path))
    )
    assert both.spec.states == one.spec.states == ("sum",)
    assert both.memory.n_bytes - one.memory.n_bytes == 8 * one.spec.cell_days, "one more is written"
    assert both.carry_hash("ssp245", 2014) == one.carry_hash("ssp245", 2014)


@pytest.mark.parametrize(
    ("normals", "words"),
    [
        (["maen"], 'did you mean "mean"'),
        (["mean", "total"], '"total" is none of mean'),
        (["mean", "mean"], "named more than once"),
        ([], "normals"),
    ],
)
def test_a_statistic_that_is_not_there_is_refused(
    normals: list[str], words: str, archive: Archive, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        small(archive.root, tmp_path, normals=normals)

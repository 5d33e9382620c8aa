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
from climdask.climatology.coverage import Coverage
from climdask.climatology.exactsum import Doubles, accumulate, rounded_sum
from climdask.climatology.statistics import Signed
from climdask.errors import ConfigError
from climdask.running.run import run
from climdask.settings.workflow import Workflow
from tests.readback import contents
from tests.samples import Archive, write_archive
from tests.workflows import small

# ---------------------------------------------------------------- the statistic


class Total:
    bytes_per_value = 16
    method = "sum"

    def empty(self, n_days: int, n_cells: int) -> tuple[Doubles, ...]:
        return (np.zeros((n_days, n_cells)),)

    def slide(self, state: tuple[Doubles, ...], signed: Signed) -> tuple[Doubles, ...]:
        return accumulate(state, signed)

    def result(
        self, state: tuple[Doubles, ...], coverage: Coverage, days: slice
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        return rounded_sum([term[days] for term in state]).astype(np.float32)

    def save(self, state: tuple[Doubles, ...]) -> dict[str, np.ndarray]:
        return {"terms": np.stack(state)}

    def load(self, arrays: Mapping[str, np.ndarray]) -> tuple[Doubles, ...]:
        return tuple(np.ascontiguousarray(term) for term in arrays["terms"])

    def n_bytes(self, state: tuple[Doubles, ...]) -> int:
        return sum(term.nbytes for term in state)


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
def test_normals_that_lack_a_statistic_are_made_again(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(small(archive.root, out), serial=True)
    again = run(flow(archive, out), serial=True)
    assert again.plan.n_normals == first.plan.n_all


@pytest.mark.usefixtures("_registered")
def test_a_statistic_counts_in_the_memory_of_the_plan(archive: Archive, tmp_path: Path) -> None:
    from climdask.running.run import plan

    one = plan(small(archive.root, tmp_path)).chains[0].memory.n_bytes
    both = plan(flow(archive, tmp_path)).chains[0].memory.n_bytes
    assert both > one


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

"""The benchmarks of parts, memory, scaling and scheduler in small form: numbers, never a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import netCDF4
import numpy as np
import pytest

import climdask
from benchmarks import memory, parts, plans, scaling, scheduler
from benchmarks.climdaskrun import run_climdask, workflow_of
from benchmarks.data import make_data
from benchmarks.job import SERIES, Job, make_job
from climdask.errors import ConfigError


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job of 5 years, a window of 3, two variables."""
    root = tmp_path_factory.mktemp("data")
    made = make_job(root, scale=0.0006, targets=3, window=3, cores=2, series=SERIES[:2])
    make_data(made)
    return made


@pytest.mark.slow
def test_an_archive_of_names_is_planned_from_a_header_of_each_chain() -> None:
    found = plans.plan_names(chains=2, variables=2, scenarios=1)
    assert (found.chains, found.files, found.code) == (2, 2 * 151, 0)
    assert found.printed.count("chain    ") == 2
    assert "2 chains, 976 normals, 302 opens of 302 files" in found.printed


@pytest.mark.slow
def test_the_scheduler_passes_on_every_task_of_150_years_and_two_scenarios() -> None:
    found = scheduler.simulate(chains=2, years=150, workers=1)
    # By hand: 64 + 2 x 86 files and years; 35 + 2 x 86 targets; a tick for each other year;
    # checkpoints each ten years from 1980 on and at the end of history, but not at the very end.
    one = 236 + 236 + 207 + (236 - 207) + (5 + 2 * 8) + 1
    assert found["tasks"] == 2 * one == found["finished"]
    assert found["graph_bytes_per_chain"] > 10_000
    assert found["tasks_per_second"] * found["seconds"] == pytest.approx(found["tasks"])


@pytest.mark.slow
def test_parts_are_measured_on_the_real_work_and_add_up(job: Job, tmp_path: Path) -> None:
    found = parts.breakdown(job, 1, tmp_path)
    assert (found["files"], found["targets"]) == (10, 6)
    for p in found["parts"].values():
        pieces = sum(p[n] for n in ("header", "locate", "bytes", "inflate", "pick", "decode"))
        assert pieces == pytest.approx(p["read"])
    alone = sum(
        5 * (p["read"] + p["add"]) + 3 * (p["average"] + p["write"])
        for p in found["parts"].values()
    )
    assert found["alone_on_one_core"] == pytest.approx(alone)
    assert found["run_against_alone"] == pytest.approx(2 * found["run_own"] / alone)
    assert f"{found['run_against_alone']:.2f} x" in parts.table(found)
    written = sorted((tmp_path / "alone").rglob("*_normal.nc"))
    assert len(written) == 2 * len(job.regions)
    with netCDF4.Dataset(written[0]) as normal:
        assert np.isfinite(normal[written[0].name.partition("_")[0]][:].compressed()).all()


@pytest.mark.slow
def test_memory_is_that_of_the_worker_beside_what_the_plan_says(job: Job, tmp_path: Path) -> None:
    regions = list(job.regions)[:2]
    rows = memory.measure_memory(job, tmp_path, regions, 4 << 30, 2)
    assert [row.variable for row in rows] == ["pr", "tas"]
    plan = climdask.plan(workflow_of(job, tmp_path, regions=regions))
    for row in rows:
        assert row.cells == plan.chains[0].spec.selection.cells.size
        assert (row.keeps_ring, row.lookahead, row.opens) == (True, 3, 5)
        # A process that has imported Dask and the libraries, and chains that are next to nothing.
        assert 80 << 20 < row.peak < 500 << 20
        assert row.projected - (200 << 20) < 1 << 20
        assert f"{row.peak / row.projected:.2f}" in memory.table(rows)


@pytest.mark.slow
def test_scaling_runs_fewer_years_fewer_variables_and_other_workers(
    job: Job, tmp_path: Path
) -> None:
    rows = scaling.measure_scaling(job, 2, 1, tmp_path)
    assert {r["case"]: (r["files"], r["targets"]) for r in rows} == {
        "3 years": (6, 1),
        "5 years": (10, 3),
        "1 variable": (5, 3),
        "1 x 1 threads": (10, 3),
        "1 x 2 threads": (10, 3),
        "2 x 1 threads": (10, 3),
        "4 x 2 threads": (10, 3),
    }
    made = sorted(p.name for p in tmp_path.rglob("*_normal.nc") if "0-3-years" in str(p))
    assert len(made) == 2 * len(job.regions), "a target of each variable and region"
    assert "s per file" in scaling.table(rows)


@pytest.mark.slow
def test_a_run_that_fails_is_no_measurement(job: Job, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="window: -1"):
        run_climdask(job, tmp_path / "out", window=-1)
    with pytest.raises(ConfigError):
        climdask.plan(workflow_of(replace(job, window=-1), tmp_path))

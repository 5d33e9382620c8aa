"""One scenario over every executor; all must leave the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import distributed
import numpy as np
import pytest
import xarray as xr

import climdask
from climdask.execution.graph import build_chain
from climdask.execution.serial import _Walk
from climdask.execution.tasks import RunContext
from climdask.inputs.access import FileAccess
from climdask.inputs.audit import audit
from climdask.outputs.folder import OutputFolder
from climdask.planning.plan import Limits, Plan
from climdask.running.results import RunResult
from climdask.running.run import run
from climdask.settings.profiles import LocalProfile
from climdask.settings.workflow import Workflow
from tests.readback import contents, leftovers
from tests.samples import write_archive
from tests.workflows import EAST, small


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    write_archive(root, variables=("pr", "tas"), first=2006, last=2022, gaps=(2011,),
                  scenarios=("ssp245", "ssp585"), calendar="noleap")  # fmt: skip
    write_archive(root, variables=("tas",), first=2006, last=2022, model="MIROC6", seed=9,
                  scenarios=("ssp245", "ssp585"))  # fmt: skip
    return root


def workflow(archive: Path, out: Path) -> Workflow:
    return small(
        archive, out, variables=["pr", "tas"], scenarios=["ssp245", "ssp585"],
        regions=["global", EAST], leap_day="keep", min_years=4, output={"count": True},
    )  # fmt: skip


def planned(archive: Path, out: Path) -> tuple[Plan, RunContext]:
    """Return a plan and what its tasks need, to run them by other means than ``run``."""
    plan = climdask.plan(workflow(archive, out))
    access = FileAccess("x", out.parent / "locks", OutputFolder(out).trace("x"))
    access.prepare()
    return plan, RunContext("x", out, plan.inventory.root, access, "fail", 0)


def serial(flow: Workflow) -> RunResult:
    return run(flow, serial=True)


def own_client(flow: Workflow) -> RunResult:
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=4, processes=False, dashboard_address="127.0.0.1:0"
    )
    with cluster, distributed.Client(cluster) as client:
        return run(flow, client=client)


def local_processes(flow: Workflow) -> RunResult:
    return run(flow, cluster=LocalProfile(workers=2, threads=2, dashboard="off", memory="4GiB"))


@pytest.fixture(scope="module")
def reference(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("reference")
    result = serial(workflow(archive, out))
    assert result.ok
    return contents(out)


@pytest.mark.parametrize("execute", [serial, own_client, local_processes])
@pytest.mark.slow
def test_every_executor_leaves_the_same_bits_and_opens_each_file_once(
    execute: Callable[[Workflow], RunResult], archive: Path, out: Path, reference: dict[str, Any]
) -> None:
    result = execute(workflow(archive, out))
    assert result.ok, result.failures
    assert contents(out) == reference
    assert len(reference) == result.plan.n_all == len(result.outputs)
    assert result.audit.opens == result.audit.files == result.plan.opens
    assert (result.audit.most, result.audit.probes) == (1, 3)
    assert not leftovers(out)


@pytest.mark.slow
def test_the_graph_run_by_dasks_own_threads_leaves_the_same_bits(
    archive: Path, out: Path, reference: dict[str, Any]
) -> None:
    plan, context = planned(archive, out)
    for chain in plan.chains:
        graph = build_chain(plan, chain, context)
        dask.threaded.get(graph.tasks, graph.wanted)
    assert contents(out) == reference


@pytest.mark.slow
def test_without_memory_for_the_window_each_file_is_opened_twice_for_the_same_bits(
    archive: Path, out: Path, reference: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_worker = Limits(memory_per_worker=1_000_000, workers=1, threads=4)
    monkeypatch.setattr("climdask.running.run.client_limits", lambda _: small_worker)
    result = own_client(workflow(archive, out))
    assert result.ok, result.failures
    assert not any(chain.memory.keeps_ring for chain in result.plan.chains)
    assert result.audit.opens == result.plan.opens > result.audit.files
    assert result.audit.most == 2
    assert contents(out) == reference


@pytest.mark.slow
def test_two_models_and_two_configurations_at_once_on_one_scheduler_do_not_mix(
    archive: Path, tmp_path: Path
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    flows = [
        small(archive, tmp_path / name, variables=["tas"], window=window, min_years=4)
        for name, window in (("five", 5), ("seven", 7))
    ]
    for flow in flows:
        serial(flow.model_copy(update={"output": flow.output.model_copy(
            update={"root": flow.output.root.with_suffix(".serial")})}))  # fmt: skip
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0"
    )
    with cluster, distributed.Client(cluster) as client, ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda flow: run(flow, client=client), flows))
    for flow, result in zip(flows, results, strict=True):
        assert result.ok, result.failures
        assert contents(flow.output.root) == contents(flow.output.root.with_suffix(".serial"))
    assert audit(t for r in results for t in r.folder.traces()).holds


@pytest.mark.slow
def test_what_a_region_gets_does_not_depend_on_the_other_regions(tmp_path: Path) -> None:
    west = {"name": "west", "lon": [180, 360], "lat": [-90, 90]}
    archive = write_archive(tmp_path / "archive", first=2000, last=2008, scenarios=())
    lon = np.asarray(archive.style.lon) % 360
    for year in (2003, 2004):
        values = archive.values("tas", year)
        values[:, :, lon <= 180] = np.nan  # the east has no value in two years
        values[10:20] = np.nan
        archive.write("tas", year, values=values)
    found = {}
    for name, regions in {"both": [EAST, west], "east": [EAST], "west": [west]}.items():
        flow = small(archive.root, tmp_path / name, scenarios=[], regions=regions, min_years=4)
        assert serial(flow).ok
        found[name] = contents(tmp_path / name)
    assert found["both"] == found["east"] | found["west"]
    for region, years, days in (("east", 3, {3}), ("west", 5, {3, 5})):
        (path,) = (tmp_path / "both").rglob(f"*_{region}_historical_2005_*.nc")
        with xr.open_dataset(path, decode_times=False) as normal:
            assert int(normal["number_of_years"]) == years
            assert set(normal["years_per_day"].values.tolist()) == days
            assert bool(normal["tas"].isnull().all()) is (region == "east")
            assert len(normal.attrs["source_years"]) == years


@pytest.mark.slow
def test_the_reference_executor_keeps_no_more_blocks_than_a_window(
    archive: Path, out: Path
) -> None:
    plan, context = planned(archive, out)
    for chain in plan.chains:
        walk = _Walk(chain, context)
        # The last years of history stay until both branches have dropped them.
        assert max(len(walk.held) for _ in walk.events()) <= 5 + 5 + 1
        ends = [s for steps in chain.branches.steps.values() for s in steps[-5:]]
        assert len(walk.held) <= len(ends)

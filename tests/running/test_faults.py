"""What goes wrong on clusters: killed workers, flaky reads, other runs, deadly files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import distributed
import pytest
import yaml

from climdask.inputs.audit import audit
from climdask.outputs.folder import OutputFolder
from climdask.running.driver import Driver
from climdask.running.run import run
from tests.faults import FlakyReads, LoopReads, PoisonReads
from tests.readback import contents, leftovers
from tests.samples import write_archive
from tests.tools import wait_for
from tests.workflows import small

VARIABLES = ["pr", "tas", "tasmax"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    write_archive(root, variables=VARIABLES, first=2000, last=2024, calendar="noleap")
    return root


def flow(archive: Path, out: Path, **changes: Any) -> Any:
    keys = {"variables": VARIABLES, "run": {"checkpoint_every": 4, "retries": 8}} | changes
    return small(archive, out, **keys)


@pytest.fixture(scope="module")
def undisturbed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("undisturbed")
    assert run(flow(archive, out), serial=True).ok
    return contents(out)


def disturb(cluster: distributed.LocalCluster, client: distributed.Client, out: Path) -> None:
    """Kill a worker in mid-run, then add one."""
    wait_for(lambda: len(list(out.rglob("*normal.nc"))) > 3)
    victim = sorted(client.run(os.getpid).values())[0]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(list(out.rglob("*normal.nc"))) > 12)
    cluster.scale(3)


@pytest.mark.slow
def test_two_runs_with_a_killed_worker_a_new_one_and_flaky_reads_leave_the_same_bits(
    archive: Path, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    # The other run is a process of its own, with a cluster that knows nothing of this one.
    other_yaml = tmp_path / "other.yaml"
    other_yaml.write_text(yaml.safe_dump(flow(archive, two).model_dump(mode="json")))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0", memory_limit="4GiB"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.register_plugin(FlakyReads(share=0.05, seconds=0.1))
        other = subprocess.Popen(
            [sys.executable, "-m", "climdask.cli", "run", str(other_yaml)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        trouble = threading.Thread(target=disturb, args=(cluster, client, one))
        trouble.start()
        result = run(flow(archive, one), client=client)
        trouble.join()
        said, _ = other.communicate(timeout=120)
    assert result.ok, result.failures
    assert other.returncode == 0, said
    assert contents(one) == undisturbed
    assert contents(two) == undisturbed
    proof = audit(OutputFolder(one).traces() + OutputFolder(two).traces())
    assert proof.holds, proof.overlaps + proof.unproven
    assert proof.opens >= 2 * proof.files == 150
    assert proof.died >= 1 or result.audit.processes >= 3
    assert not leftovers(one) + leftovers(two)


@pytest.mark.slow
def test_losing_a_worker_costs_at_most_a_window_and_the_years_since_the_checkpoint(
    archive: Path, out: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", memory_limit="4GiB"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.register_plugin(FlakyReads(share=0.0, seconds=0.05))
        written = out / "ACCESS-CM2/r1i1p1f1/tas/global/ssp245"
        pids = [next(iter(client.run(os.getpid).values()))]

        def kill(driver: Driver) -> bool:
            """Kill the worker between the end of some tasks and the driver's hearing of it."""
            if pids and len(list(written.glob("*normal.nc"))) > 1:
                os.kill(pids.pop(), signal.SIGKILL)
                wait_for(lambda: any(future.status == "lost" for future in driver.futures))
            return True

        monkeypatch.setattr(Driver, "_go_on", kill)
        result = run(flow(archive, out, variables=["tas"]), client=client)
    assert result.ok, result.failures
    assert contents(out) == {k: v for k, v in undisturbed.items() if "/tas/" in k}
    # 25 years; a window of 5, a checkpoint every 4, and what was read ahead.
    extra = result.audit.opens - 25
    assert 1 <= extra <= 5 + 4 + 2 * result.plan.workflow.run.lookaheads[0]


@pytest.mark.slow
def test_a_file_that_kills_its_readers_fails_its_own_chain_only(archive: Path, out: Path) -> None:
    poison = "tas_day_ACCESS-CM2_historical_r1i1p1f1_gn_2006.nc"
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit="4GiB"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.register_plugin(PoisonReads(poison))
        result = run(flow(archive, out), client=client)
    assert list(result.failures) == ["ACCESS-CM2/r1i1p1f1/gn/tas"]
    assert poison in result.failures["ACCESS-CM2/r1i1p1f1/gn/tas"]
    assert "3 processes died" in result.failures["ACCESS-CM2/r1i1p1f1/gn/tas"]
    assert result.exit_code == 1
    assert result.audit.holds
    rows = {row.id.rpartition("/")[2]: row.state for row in result.rows}
    assert rows == {"pr": "done", "tas": "failed", "tasmax": "done"}


@pytest.mark.slow
def test_a_file_that_makes_the_library_loop_fails_its_own_chain_only(
    archive: Path, tmp_path: Path
) -> None:
    poison = next(archive.rglob("tas_day_*_2010.nc")).name
    keys = {"checkpoint_every": 4, "open_timeout": 1.0}
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit="4GiB"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.register_plugin(LoopReads(poison))
        result = run(
            flow(archive, tmp_path / "out", variables=["pr", "tas"], run=keys), client=client
        )
    assert list(result.failures) == ["ACCESS-CM2/r1i1p1f1/gn/tas"]
    said = result.failures["ACCESS-CM2/r1i1p1f1/gn/tas"]
    for words in (poison, "3 processes died", "raise run.open_timeout"):
        assert words in said
    assert result.exit_code == 1

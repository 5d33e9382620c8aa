"""Crash-only: killed at any moment, a run goes on where it was and leaves the same bits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from climdask.errors import OutputError
from climdask.outputs.folder import OutputFolder
from climdask.running.run import run
from tests.readback import contents, leftovers
from tests.samples import Archive, write_archive
from tests.workflows import small


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return write_archive(tmp_path / "archive", first=2000, last=2024, calendar="noleap")


def flow(archive: Archive, out: Path, **changes: Any) -> Any:
    return small(archive.root, out, **changes)


def kill_in_mid_run(workflow: Any, out: Path, folder: Path, *more: str) -> None:
    """Start a run as a user would, and kill all its processes at a random moment."""
    path = folder / "workflow.yaml"
    path.write_text(yaml.safe_dump(workflow.model_dump(mode="json")))
    process = subprocess.Popen(
        [sys.executable, "-m", "climdask.cli", "run", str(path), *more],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    wanted = random.randint(1, 18)
    while len(list(out.rglob("*normal.nc"))) < wanted:
        assert process.poll() is None, "ended before it was killed"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("executor", [["--serial"], []], ids=["serial", "cluster"])
@pytest.mark.slow
def test_a_killed_run_goes_on_and_leaves_the_same_bits(
    executor: list[str], archive: Archive, out: Path, tmp_path: Path
) -> None:
    assert run(flow(archive, tmp_path / "whole"), serial=True).ok
    kill_in_mid_run(flow(archive, out), out, tmp_path, *executor)
    there = len(list(out.rglob("*normal.nc")))
    result = run(flow(archive, out), serial=True)
    assert result.ok, result.failures
    assert contents(out) == contents(tmp_path / "whole")
    made = result.plan.n_normals
    # A window, the years since the checkpoint (or one that was not finished), and what is left.
    assert result.audit.opens <= 5 + 4 + made
    assert made < 21, f"nothing of the {there} normals was kept"
    assert result.audit.most == 1
    assert not leftovers(out)


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do_and_opens_only_a_probe(archive: Archive, out: Path) -> None:
    assert run(flow(archive, out), serial=True).ok
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*normal.nc")}
    again = run(flow(archive, out), serial=True)
    assert again.ok
    assert (again.plan.n_normals, again.audit.opens, again.audit.probes) == (0, 0, 1)
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*normal.nc")}


@pytest.mark.slow
def test_a_changed_input_makes_only_the_windows_that_hold_it_again(
    archive: Archive, out: Path
) -> None:
    assert run(flow(archive, out), serial=True).ok
    archive.write("tas", 2010, values=archive.values("tas", 2010) + 1)
    again = run(flow(archive, out), serial=True)
    assert again.ok
    assert again.plan.n_normals == 5  # the windows that end in 2010 to 2014
    assert sorted({f.window.last_year for _, f in again.plan.jobs}) == list(range(2010, 2015))


@pytest.mark.slow
def test_new_times_of_the_inputs_are_accepted_if_the_user_says_so(
    archive: Archive, out: Path
) -> None:
    assert run(flow(archive, out), serial=True).ok
    for path in archive.root.rglob("*.nc"):
        os.utime(path)
    assert run(flow(archive, out), serial=True, inputs_unchanged=True).plan.n_normals == 0
    assert run(flow(archive, out), serial=True).plan.n_normals == 21


@pytest.mark.slow
def test_damaged_and_lost_normals_are_made_again(
    archive: Archive, out: Path, tmp_path: Path
) -> None:
    assert run(flow(archive, out), serial=True).ok
    whole = contents(out)
    truncated, flipped, lost = random.sample(sorted(out.rglob("*normal.nc")), 3)
    truncated.write_bytes(truncated.read_bytes()[:-100])
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    lost.unlink()
    told: list[str] = []
    again = run(flow(archive, out), serial=True, report=told.append)
    assert again.ok
    assert again.plan.n_normals == 3
    assert contents(out) == whole
    assert any("2 damaged normals will be made again" in line for line in told)


@pytest.mark.slow
def test_another_region_leaves_the_normals_that_are_there(archive: Archive, out: Path) -> None:
    assert run(flow(archive, out), serial=True).ok
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*normal.nc")}
    box = {"name": "box", "lon": [0, 180], "lat": [-90, 90]}
    more = run(flow(archive, out, regions=["global", box]), serial=True)
    assert more.ok
    assert more.plan.n_normals == 21
    assert before == {p: p.stat().st_mtime_ns for p in before}


@pytest.mark.slow
def test_another_scenario_renames_nothing_and_reads_what_it_needs(
    tmp_path: Path, out: Path
) -> None:
    archive = write_archive(
        tmp_path / "archive", first=2000, last=2024, scenarios=("ssp245", "ssp585")
    )
    assert run(flow(archive, out), serial=True).ok
    before = set(out.rglob("*normal.nc"))
    more = run(flow(archive, out, scenarios=["ssp245", "ssp585"]), serial=True)
    assert more.ok
    assert before < set(out.rglob("*normal.nc"))
    assert more.plan.n_normals == 10
    assert more.audit.opens == 10 + 4  # the new scenario, and the end of history


@pytest.mark.slow
def test_checkpoints_go_when_all_is_done(archive: Archive, out: Path) -> None:
    assert run(flow(archive, out), serial=True).ok
    assert not list((OutputFolder(out).state / "checkpoints").rglob("*.npz"))


@pytest.mark.slow
def test_a_run_starts_from_the_newest_checkpoint(
    archive: Archive, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from climdask.execution import tasks

    real = tasks.write

    def stop(spec: Any, context: Any, job: Any, carry: Any) -> Any:
        if job.window.last_year == 2022:
            raise OutputError("stopped by the test")
        return real(spec, context, job, carry)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "write", stop)
        assert not run(flow(archive, out), serial=True).ok
    told: list[str] = []
    result = run(flow(archive, out), serial=True, report=told.append)
    assert result.ok
    steps = result.plan.chains[0].branches.steps["ssp245"]
    assert [s.year for s in steps] == [2021, 2022, 2023, 2024]
    assert steps[0].restores
    # 2021-2024 enter, 2016-2019 leave.
    assert result.audit.opens == result.plan.opens == 8
    assert any("1 branch starts from a checkpoint" in line for line in told)


@pytest.mark.slow
def test_two_runs_into_one_folder_the_second_is_refused(archive: Archive, out: Path) -> None:
    with (
        OutputFolder(out).claimed(),
        pytest.raises(OutputError, match=r"another run is at work in .*process \d+ on .*--out"),
    ):
        run(flow(archive, out), serial=True)
    assert run(flow(archive, out), serial=True).ok

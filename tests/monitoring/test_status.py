"""The status of a run: what it says of itself, and what others conclude when it is silent."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from climdask.cli import main
from climdask.clusters.ownjob import own_job
from climdask.errors import OutputError
from climdask.monitoring.heartbeat import Heartbeat
from climdask.monitoring.processes import Job, Process
from climdask.monitoring.progress import RunProgress
from climdask.monitoring.status import SILENCE, judge, latest_run, read_status, silence
from climdask.outputs.folder import OutputFolder
from climdask.running.run import run
from tests.progresses import row, run_of
from tests.samples import Archive, write_archive
from tests.statuses import RUN, elsewhere, gone, left
from tests.workflows import small


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return write_archive(tmp_path_factory.mktemp("in"), first=2001, last=2016, calendar="noleap")


@pytest.fixture
def folder(out: Path) -> OutputFolder:
    return OutputFolder(out)


def told(folder: OutputFolder, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    code = main(["status", str(folder.root), *more])
    return code, capsys.readouterr().out


# ---------------------------------------------------------------- alive, dead, over


def test_a_run_that_goes_on_is_told_with_its_counts(
    folder: OutputFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    left(
        folder, job=Job("slurm", "77", batch=True), scheduler="tls://n1:1", note="no free node",
        dashboard="http://127.0.0.1:9/status", jobs={"101": "running", "102": "pending"},
    )  # fmt: skip
    code, out = told(folder, capsys)
    assert code == 0
    lines = out.splitlines()
    here = f"process {os.getpid()} on {socket.gethostname()}"
    assert lines[0].startswith(f"run {RUN} is running: {here}, slurm job 77; last beat ")
    assert "cluster: slurm, scheduler tls://n1:1" in lines[1]
    (pr,) = (line.split() for line in lines if line.startswith(" pr "))
    assert pr[2:] == ["75/150", "ssp245", "2025", "46/121", "active", "1:00", "1:00"]
    assert "0/2 chains done, 78 files read, 46/242 target years written; elapsed 1:10" in out
    for words in ("jobs: 1 running (101), 1 pending (102)", "no free node", "127.0.0.1:9/status"):
        assert words in out


def test_a_run_whose_process_is_gone_is_dead_at_once(
    folder: OutputFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    left(folder, process=gone(), dashboard="http://127.0.0.1:9/status")
    code, out = told(folder, capsys)
    assert code == 1
    assert f"run {RUN} is dead: " in out
    assert "is gone; it was running. Run it again to go on from there" in out
    assert "75/150" in out, "its last words are worth something"
    assert "127.0.0.1:9" not in out, "nothing listens there any more"


def test_a_run_of_another_host_is_dead_when_it_has_been_silent_for_long(
    folder: OutputFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    left(folder, process=elsewhere(), silent=SILENCE - 30)
    assert told(folder, capsys)[0] == 0
    left(folder, process=elsewhere(), silent=SILENCE + 30)
    code, out = told(folder, capsys)
    assert code == 1
    assert f"dead: process 4242 on node7 has been silent for {SILENCE + 30:.0f} s" in out


def test_silence_is_measured_by_the_clock_of_the_filesystem(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    left(folder, silent=40.0)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # this host's clock is far off
    assert 39 < silence(folder.status(RUN)) < 60
    assert [p.name for p in folder.run(RUN).iterdir()] == ["status.json"], "no probe stays"


@pytest.mark.parametrize(("state", "code"), [("done", 0), ("failed", 1), ("interrupted", 1)])
def test_how_a_run_ended_is_told_whatever_became_of_its_process(
    state: str, code: int, folder: OutputFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    left(folder, process=gone(), state=state, message="of old age", silent=1e6)
    assert told(folder, capsys)[0] == code
    left(folder, process=elsewhere(), state=state, message="of old age", silent=1e6)
    found, out = told(folder, capsys)
    assert (found, out.splitlines()[0]) == (code, f"run {RUN}: {state} (of old age)")


@pytest.mark.parametrize("name", ["nothing", "an empty folder"])
def test_where_no_run_is_or_was_it_is_a_mistake(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "an empty folder").mkdir()
    assert main(["status", str(tmp_path / name)]) == 2
    assert "no run is or was here" in capsys.readouterr().err


def test_the_run_that_wrote_last_is_told(folder: OutputFolder) -> None:
    left(folder, run="20260202T000000-aaaaaaaa", silent=60)
    left(folder, run="20260101T000000-bbbbbbbb", silent=5)
    assert latest_run(folder) == "20260101T000000-bbbbbbbb"


def test_a_status_that_is_no_json_is_named(folder: OutputFolder) -> None:
    left(folder)
    folder.status(RUN).write_text("{")
    with pytest.raises(OutputError, match=r"status\.json: cannot be read"):
        read_status(folder, RUN)


def test_the_json_has_all_of_it_for_programs(
    folder: OutputFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    left(folder, process=gone(), jobs={"9": "running"})
    code, out = told(folder, capsys, "--json")
    content = json.loads(out)
    assert (code, content["state"], content["alive"], content["jobs"]) == (
        1, "dead", False, {"9": "running"}
    )  # fmt: skip
    first = content["chains"][0]
    assert (first["id"], first["years"], first["years_total"], first["state"], first["at"]) == (
        "ACCESS-CM2/r1i1p1f1/gn/pr", 75, 150, "active", ["ssp245", 2025]
    )  # fmt: skip
    assert first["elapsed"] == pytest.approx(60, abs=5)
    assert content["totals"]["writes"] == 46


def test_what_is_told_comes_back_as_it_was(folder: OutputFolder) -> None:
    before = left(folder, job=Job("slurm", "5", batch=False), jobs={"1": "pending"}, note="x")
    after = read_status(folder, RUN)
    for name in ("run", "state", "message", "process", "job", "cluster"):
        assert getattr(after, name) == getattr(before, name)
    assert list(after.progress.chains) == list(before.progress.chains)
    (was, is_) = (p.chains["ACCESS-CM2/r1i1p1f1/gn/pr"] for p in (before.progress, after.progress))
    assert is_.eta == pytest.approx(was.eta, abs=1)
    assert after.progress.jobs == {"1": "pending"}


# ---------------------------------------------------------------- processes and jobs


def test_a_process_is_told_from_another_with_its_number() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    import psutil

    own = Process.own()
    there = Process(own.host, own.place, child.pid, psutil.Process(child.pid).create_time())
    assert (own.is_alive, own.is_here, there.is_alive) == (True, True, True)
    assert not gone().is_alive
    assert not elsewhere().is_here
    assert there.terminate()
    child.wait(20)
    assert not there.is_alive
    assert not there.terminate()
    assert child.stdin is not None
    child.stdin.close()


@pytest.mark.parametrize(
    ("environ", "job"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "12", "ENVIRONMENT": "BATCH"}, Job("slurm", "12", True)),
        ({"SLURM_JOB_ID": "12"}, Job("slurm", "12", False)),  # of salloc
        ({"PBS_JOBID": "7.h", "PBS_ENVIRONMENT": "PBS_BATCH"}, Job("pbs", "7.h", True)),
        (
            {"PBS_JOBID": "7.h", "PBS_ENVIRONMENT": "PBS_INTERACTIVE"},
            Job("pbs", "7.h", False),
        ),
        ({"LSB_JOBID": "3"}, Job("lsf", "3", True)),
        ({"JOB_ID": "4", "ENVIRONMENT": "BATCH"}, Job("sge", "4", True)),
        ({"JOB_ID": "my-build"}, None),  # other programs have such a variable too
    ],
)
def test_the_batch_job_of_the_driver_is_known_from_the_environment(
    environ: dict[str, str], job: Job | None
) -> None:
    assert own_job(environ) == job


# ---------------------------------------------------------------- of real runs


@pytest.mark.slow
def test_a_run_tells_how_it_is_from_beginning_to_end(archive: Archive, out: Path) -> None:
    seen: list[dict[str, Any]] = []
    folder = OutputFolder(out)

    def look(line: str) -> None:
        seen.append(judge(folder, latest_run(folder)).content)

    result = run(small(archive.root, out), serial=True, report=look)
    assert result.ok
    assert (seen[0]["state"], seen[0]["alive"], seen[0]["cluster"]) == ("starting", True, "serial")
    verdict = judge(folder, result.run_id)
    assert (verdict.state, verdict.exit_code) == ("done", 0)
    progress = verdict.status.progress
    assert progress.counts["writes"] == progress.counts["writes_total"] == 12
    assert progress.work.files == result.audit.opens
    assert progress.work.written == sum(p.stat().st_size for p in out.rglob("*normal.nc"))


def test_a_run_that_fails_says_so_and_why(
    archive: Archive, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("the disk is on fire")

    monkeypatch.setattr("climdask.running.run.run_serially", broken)
    with pytest.raises(OSError, match="on fire"):
        run(small(archive.root, out), serial=True)
    folder = OutputFolder(out)
    status = read_status(folder, latest_run(folder))
    assert (status.state, status.message) == ("failed", "the disk is on fire")


def test_a_mistake_in_a_first_run_leaves_nothing(archive: Archive, out: Path) -> None:
    assert main(["run", str(out / "no.yaml")]) == 2
    with pytest.raises(Exception, match="window"):
        run(small(archive.root, out, window=60), serial=True)
    assert not out.exists()


def test_the_heart_beats_while_the_run_does_something_else(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("climdask.monitoring.heartbeat.BEAT", 0.02)
    chain = row("tas")
    with Heartbeat(folder, RUN, "local", lambda: None) as heart:
        assert read_status(folder, RUN).state == "starting"
        heart.begin(run_of(chain))
        assert read_status(folder, RUN).state == "running"
        for years in (3, 7):
            chain.years = years
            until = time.monotonic() + 30
            while read_status(folder, RUN).progress.counts["years"] != years:
                assert time.monotonic() < until
                time.sleep(0.01)
        heart.end("done")
        assert read_status(folder, RUN).state == "running", "it has not ended yet"
    assert read_status(folder, RUN).state == "done"


def test_a_full_disk_does_not_end_a_run_for_its_status(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr("climdask.monitoring.heartbeat.atomically", full)
    with Heartbeat(folder, RUN, "local", lambda: None) as heart:
        heart.begin(RunProgress({}))
        heart.end("done")


def test_a_request_to_stop_is_heard_once(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("climdask.monitoring.heartbeat.BEAT", 0.02)
    asked: list[float] = []
    heard = threading.Event()

    def stop() -> None:
        asked.append(time.monotonic())
        heard.set()

    def work() -> None:
        with Heartbeat(folder, RUN, "local", stop):
            folder.cancel_request(RUN).write_text("cancelled by anna on login2")
            assert heard.wait(30)
            until = time.monotonic() + 30
            while read_status(folder, RUN).state != "stopping" and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(0.2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    status = read_status(folder, RUN)
    assert (status.state, status.message) == ("interrupted", "cancelled by anna on login2")
    assert len(asked) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.slow
def test_a_signal_to_all_processes_of_a_run_interrupts_it_cleanly(
    name: str, archive: Archive, out: Path, tmp_path: Path
) -> None:
    flow = small(archive.root, out).model_dump(mode="json")
    (tmp_path / "workflow.yaml").write_text(json.dumps(flow))
    (tmp_path / "cluster.yaml").write_text("workers: 1\nthreads: 1\ndashboard: off\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "climdask.cli", "run", "--cluster", str(tmp_path / "cluster.yaml"),
         str(tmp_path / "workflow.yaml")],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while process.poll() is None and not list(out.rglob("*normal.nc")):
        time.sleep(0.01)
    os.killpg(process.pid, getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert err == "climdask: error: interrupted; run again to go on from here\n"
    assert process.returncode == 130
    folder = OutputFolder(out)
    assert judge(folder, latest_run(folder)).state == "interrupted"

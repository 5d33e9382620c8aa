"""Stopping a run from outside: asked, signalled, its jobs ended, and what it left removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

import climdask.running.cancelling
from climdask.cli import main
from climdask.errors import OutputError
from climdask.monitoring.heartbeat import Heartbeat
from climdask.monitoring.processes import Job, Process
from climdask.monitoring.status import SILENCE, judge, latest_run
from climdask.outputs.folder import OutputFolder
from climdask.running.cancelling import Cancelling
from tests.samples import write_archive
from tests.statuses import RUN, elsewhere, gone, left
from tests.workflows import small


@pytest.fixture
def folder(out: Path) -> OutputFolder:
    return OutputFolder(out)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for the batch system: its commands write down what they are told to end."""
    told = tmp_path / "told"
    (tmp_path / "bin").mkdir()
    for name in ("scancel", "qdel", "bkill"):
        script = tmp_path / "bin" / name
        script.write_text(f'#!/bin/sh\necho {name} "$@" >> {told}\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    told.touch()
    return told


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("climdask.monitoring.heartbeat.BEAT", 0.02)
    monkeypatch.setattr("climdask.running.cancelling.LOOK", 0.02)


def cancel(folder: OutputFolder, timeout: float = 30.0) -> tuple[int, list[str]]:
    lines: list[str] = []
    code = Cancelling(folder, latest_run(folder), timeout, lines.append).act()
    return code, lines


def credentials(folder: OutputFolder) -> Path:
    """Leave what a run that died leaves."""
    key = folder.tls(RUN) / "key.pem"
    key.parent.mkdir(parents=True)
    key.write_text("secret")
    return key


@contextmanager
def at_work(folder: OutputFolder, process: Process, job: Job | None = None) -> Iterator[None]:
    """Run in a thread, as if on another host, until somebody asks it to stop."""
    asked, ready = threading.Event(), threading.Event()

    def work() -> None:
        with suppress(KeyboardInterrupt), heart:
            heart.state = "running"
            heart.beat()
            ready.set()
            assert asked.wait(60)
            raise KeyboardInterrupt

    heart = Heartbeat(folder, RUN, "local", asked.set, process=process)
    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(30)
    try:
        yield
    finally:
        asked.set()
        thread.join()


def test_a_run_of_another_host_is_asked_through_the_folder_and_stops(folder: OutputFolder) -> None:
    with at_work(folder, elsewhere()):
        code, lines = cancel(folder)
    assert code == 0
    assert lines[0] == "asking process 4242 on node7 to stop"
    assert lines[-1].startswith(f"run {RUN}: interrupted (cancelled by ")
    assert judge(folder, RUN).state == "interrupted"


@pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")
@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.slow
def test_a_run_of_this_host_stops_also_if_it_does_not_look(
    deaf: bool, folder: OutputFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(climdask.running.cancelling, "ANSWERED", 0.5 if deaf else 60)
    archive = write_archive(tmp_path / "in", first=1985, last=2024, calendar="noleap")
    flow = small(archive.root, folder.root).model_dump(mode="json")
    (tmp_path / "workflow.yaml").write_text(json.dumps(flow))
    code = (
        "import sys, time\nfrom climdask import cli\nfrom climdask.execution import tasks\n"
        "from climdask.monitoring import heartbeat\n"
        f"heartbeat.BEAT = {1000 if deaf else 0.05}\n"
        "real = tasks.window\n"
        "tasks.window = lambda *args: (time.sleep(0.3), real(*args))[1]\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    order = ["run", "--serial", "--quiet", str(tmp_path / "workflow.yaml")]
    with (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *order], stdout=subprocess.DEVNULL, stderr=err
        )
    while not list(folder.root.rglob("*normal.nc")):
        assert process.poll() is None
        time.sleep(0.01)
    done, lines = cancel(folder, 60)
    assert process.wait(60) == 130, (tmp_path / "err").read_text()
    assert done == 0
    assert lines[-1].startswith(f"run {latest_run(folder)}: interrupted (cancelled by ")


def test_a_dead_run_loses_its_jobs_and_credentials_and_is_dead_no_more(
    folder: OutputFolder, commands: Path
) -> None:
    left(folder, process=gone(), job=Job("slurm", "7", batch=False),
         jobs={"101": "running", "102": "pending", "99": "completed"})  # fmt: skip
    key = credentials(folder)
    code, lines = cancel(folder)
    assert code == 0
    assert commands.read_text() == "scancel --quiet 101 102\n", "and not the user's allocation"
    assert not key.parent.exists()
    assert lines[-1] == f"run {RUN} was dead already; what it left is cleaned up"
    after = judge(folder, RUN)
    assert (after.state, after.status.progress.jobs) == ("interrupted", {})
    code, lines = cancel(folder)
    assert (code, lines[-1].split(":")[0]) == (0, "nothing is running")
    assert commands.read_text().count("\n") == 1, "no job is ended twice"


@pytest.mark.parametrize(("system", "command"), [("pbs", "qdel 5"), ("lsf", "bkill 5")])
@pytest.mark.slow
def test_a_driver_in_a_batch_job_that_does_not_answer_is_ended_with_its_job(
    system: str, command: str, folder: OutputFolder, commands: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(climdask.running.cancelling, "ANSWERED", 0.1)
    left(folder, process=elsewhere(), job=Job(system, "5", batch=True), cluster="local")
    code, lines = cancel(folder, timeout=0.2)
    assert commands.read_text() == f"{command}\n"
    assert code == 1, "it still seems to live"
    assert "does not answer" in lines[-1]
    left(folder, process=elsewhere(), job=Job(system, "5", batch=True), silent=SILENCE + 9)
    assert cancel(folder)[0] == 0


def test_jobs_that_cannot_be_ended_are_named_and_stay_recorded(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    left(folder, process=gone(), jobs={"101": "running"})
    code, lines = cancel(folder)
    assert code == 1
    assert "scancel --quiet 101" in lines
    assert any(line.startswith("scancel does not work here (") for line in lines)
    assert judge(folder, RUN).status.progress.jobs == {"101": "running"}


@pytest.mark.parametrize("state", ["done", "failed", "interrupted"])
def test_a_run_that_is_over_is_left_alone(
    state: str, folder: OutputFolder, commands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left(folder, state=state)
    assert main(["cancel", str(folder.root)]) == 0
    assert capsys.readouterr().out == f"nothing is running: run {RUN}: {state}\n"
    assert commands.read_text() == ""
    assert not folder.cancel_request(RUN).exists()


def test_where_no_run_was_there_is_nothing_to_cancel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cancel", str(tmp_path)]) == 2
    assert "no run is or was here" in capsys.readouterr().err


@pytest.mark.parametrize("job", ["--help", "-u root", "all", "4242 4243", "4242;reboot", "", "\n1"])
def test_what_is_no_id_of_a_job_is_never_given_to_the_batch_system(
    job: str, folder: OutputFolder, commands: Path
) -> None:
    left(folder, process=gone(), jobs={job: "running"})
    with pytest.raises(OutputError, match="ids of jobs"):
        cancel(folder)
    assert commands.read_text() == ""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may chown")
def test_the_status_of_another_user_is_not_obeyed(folder: OutputFolder, commands: Path) -> None:
    left(folder, process=gone(), jobs={"4242": "running"})
    os.chown(folder.status(RUN), 65534, -1)
    with pytest.raises(OutputError, match="belongs to another user, number 65534"):
        cancel(folder)
    assert commands.read_text() == ""


@pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")
def test_a_process_that_is_no_run_is_not_ended() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        named = replace(
            Process.own(), pid=other.pid, started=psutil.Process(other.pid).create_time()
        )
        assert named.is_alive
        assert not named.terminate()
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize(
    "edit",
    [
        lambda c: c.clear(),
        lambda c: c["process"].update(pid=-1),
        lambda c: c["process"].update(pid="1"),
        lambda c: c["process"].update(started=float("nan")),
        lambda c: c.update(process=[]),
        lambda c: c.update(jobs=["1"]),
        lambda c: c.update(chains={"a": 1}),
        lambda c: c.update(state="done-and-done"),
        lambda c: c.update(run="20260101T000000-ffffffff"),
        lambda c: c.update(work=None),
        lambda c: c.update(elapsed="long"),
    ],
)
def test_a_status_that_no_run_has_written_is_told_with_its_file(
    edit: Callable[[dict[str, Any]], object], folder: OutputFolder
) -> None:
    left(folder)
    path = folder.status(RUN)
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(OutputError, match=r"status\.json: cannot be read .*delete it"):
        judge(folder, RUN)


def test_a_folder_in_the_place_of_a_status_is_told(folder: OutputFolder) -> None:
    folder.status(RUN).mkdir(parents=True)
    with pytest.raises(OutputError, match=r"status\.json: cannot be read"):
        judge(folder, latest_run(folder))

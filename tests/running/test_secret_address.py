"""Where the dashboard's address is told: to the user alone, whatever the umask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from climdask.cli import commands, main
from climdask.clusters.slurmrunner import Meeting, Rank
from climdask.monitoring.status import read_status
from climdask.monitoring.terminal import ASK
from climdask.outputs.folder import OutputFolder
from climdask.running.submission import Submission
from climdask.running.submitview import await_start
from tests.samples import write_archive
from tests.statuses import RUN, left
from tests.workflows import small

SECRET = "http://127.0.0.1:9/5ec4e7/climdask"


@pytest.fixture
def folder(out: Path) -> OutputFolder:
    return OutputFolder(out)


@pytest.fixture
def _open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def open_files_with(text: str, *roots: Path) -> list[Path]:
    """Return the files with a text that others than their owner can read."""
    files = [p for root in roots for p in (root, *root.rglob("*")) if p.is_file()]
    return [p for p in files if text.encode() in p.read_bytes() and p.stat().st_mode & 0o077]


@pytest.mark.usefixtures("_open_umask")
def test_the_status_is_for_others_too_and_the_address_for_the_user_alone(
    folder: OutputFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    left(folder, dashboard=SECRET)
    assert folder.status(RUN).stat().st_mode & 0o004
    assert folder.address(RUN).stat().st_mode & 0o777 == 0o600
    assert open_files_with("5ec4e7", folder.root) == []
    assert main(["status", str(folder.root)]) == 0
    assert f"dashboard: {SECRET}" in capsys.readouterr().out
    assert main(["status", "--json", str(folder.root)]) == 0
    assert json.loads(capsys.readouterr().out)["dashboard"] == SECRET


def test_who_may_not_read_the_address_still_gets_the_status(
    folder: OutputFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    left(folder, dashboard=SECRET)
    folder.address(RUN).unlink()
    folder.address(RUN).mkdir()  # which nobody can read as a file, not even root
    assert main(["status", str(folder.root)]) == 0
    said = capsys.readouterr().out
    assert "is running" in said
    assert "dashboard" not in said


def test_a_new_address_replaces_the_old_one(folder: OutputFolder) -> None:
    left(folder, dashboard=SECRET)
    before = folder.address(RUN).stat()
    left(folder, dashboard=SECRET)
    assert folder.address(RUN).stat().st_ino == before.st_ino, "not written at every beat"
    left(folder, dashboard=f"{SECRET}/2")
    assert read_status(folder, RUN).progress.dashboard == f"{SECRET}/2"
    assert folder.address(RUN).stat().st_mode & 0o777 == 0o600


def test_an_address_in_the_status_of_version_0_1_is_understood(folder: OutputFolder) -> None:
    left(folder)
    content = json.loads(folder.status(RUN).read_text()) | {"dashboard": SECRET}
    folder.status(RUN).write_text(json.dumps(content))
    assert read_status(folder, RUN).progress.dashboard == SECRET


@pytest.mark.slow
@pytest.mark.usefixtures("_open_umask")
def test_what_ranks_tell_each_other_and_say_is_for_the_user_alone(
    folder: OutputFolder, tmp_path: Path
) -> None:
    meeting = Meeting.of(folder, Rank(1, 3, "7.0.0"))
    meeting.tell("scheduler", {"link": SECRET})
    assert meeting.wait_for("scheduler", 1.0) == {"link": SECRET}
    assert open_files_with("5ec4e7", folder.root) == []
    code = "import sys; from pathlib import Path; from climdask.clusters.slurmrunner import _log_to"
    path = tmp_path / "ranks/scheduler-1.log"
    subprocess.run(
        [sys.executable, "-c", f"{code}; _log_to(Path(sys.argv[1])); print('said')", path]
    )
    assert path.read_text() == "said\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_submit_confides_the_address_and_tells_all_else(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, confided = list[str](), list[str]()
    status = left(folder, dashboard=SECRET)
    monkeypatch.setattr(Submission, "jobs", ("7",))
    monkeypatch.setattr("climdask.running.submitview._run_of", lambda *_: status)
    assert await_start(folder, Submission(folder.root), 1.0, told.append, confided.append) == 0
    assert confided == [f"dashboard: {SECRET}"]
    assert told
    assert not any("5ec4e7" in line for line in told)


@pytest.mark.parametrize(("mode", "said"), [(0o600, SECRET), (0o644, ASK)])
def test_what_is_confided_is_printed_for_the_user_alone(
    mode: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, kept = tmp_path / "out", list[str]()
    monkeypatch.setattr(commands, "log", kept.append)
    with path.open("w") as stream:
        path.chmod(mode)
        monkeypatch.setattr(sys, "stdout", stream)
        commands._confide(f"dashboard: {SECRET}")
    assert path.read_text() == f"dashboard: {said}\n"
    assert SECRET not in "".join(kept)


@pytest.fixture
def command(tmp_path: Path, out: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    archive = write_archive(tmp_path / "in", first=2010, last=2018)
    flow = small(archive.root, out).model_dump(mode="json", exclude_unset=True)
    (tmp_path / "workflow.yaml").write_text(yaml.safe_dump(flow))

    def run(stdout: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
        words = ["run", "workflow.yaml", "--plain", "--log", "run.log"]
        with stdout.open("wb") as stream:
            return subprocess.run(
                [sys.executable, "-m", "climdask", *words],
                cwd=tmp_path, stdout=stream, stderr=subprocess.STDOUT, timeout=120, check=True,
                umask=0o022, env={**os.environ, **environment},
            )  # fmt: skip

    return run


@pytest.mark.slow
def test_a_batch_job_does_not_tell_it_through_a_pipe_either(tmp_path: Path, out: Path) -> None:
    archive = write_archive(tmp_path / "in", first=2010, last=2018)
    flow = small(archive.root, out).model_dump(mode="json", exclude_unset=True)
    (tmp_path / "workflow.yaml").write_text(yaml.safe_dump(flow))
    job = {"SLURM_JOB_ID": "7", "ENVIRONMENT": "BATCH"}
    said = {}
    for name, environment in (("shell", {}), ("job", job)):
        said[name] = subprocess.run(
            [sys.executable, "-m", "climdask", "run", "workflow.yaml", "--out", name],
            cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True,
            timeout=120, check=True,
        ).stdout  # fmt: skip
    assert "dashboard: http://127.0.0.1:" in said["shell"]
    assert "http://" not in said["job"]
    assert f"dashboard: {ASK}" in said["job"]


@pytest.mark.slow
def test_after_a_run_the_address_is_in_no_file_that_others_can_read(
    command: Callable[..., object], tmp_path: Path, out: Path
) -> None:
    said = tmp_path / "said"
    command(said)
    (address,) = (out / ".climdask/runs").glob("*/dashboard")
    secret = address.read_text().split("/")[3]
    assert len(secret) == 16
    assert open_files_with(secret, tmp_path) == []
    for text in (said.read_text(), (tmp_path / "run.log").read_text()):
        assert f"dashboard: {ASK}" in text
        assert "tas: done" in text

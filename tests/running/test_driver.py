"""On a cluster of the user's own: workers are checked, and an interrupted run leaves no trace."""

from __future__ import annotations

import _thread
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import distributed
import pytest
import yaml
from psutil import disk_partitions

import climdask.running.workercheck
from climdask.errors import ClusterError, UnreadableFile
from climdask.monitoring.progress import RunProgress
from climdask.running.driver import log_traceback
from climdask.running.run import run
from climdask.settings.profiles import LocalProfile
from tests.readback import contents, leftovers
from tests.samples import Archive, write_archive
from tests.workflows import small


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return write_archive(tmp_path_factory.mktemp("in"), first=1985, last=2024, calendar="noleap")


@pytest.fixture
def client() -> Iterator[distributed.Client]:
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit="1GiB", silence_logs=logging.CRITICAL,
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        yield client


@contextmanager
def interrupting(progress: RunProgress) -> Iterator[None]:
    """Instead of showing the progress, press Ctrl-C when the first normals are there."""

    def press() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and not any(r.writes for r in progress.chains.values()):
            time.sleep(0.01)
        _thread.interrupt_main()

    threading.Thread(target=press).start()
    yield


@pytest.mark.slow
def test_an_interrupted_run_leaves_the_users_cluster_as_it_was_and_can_go_on(
    archive: Archive, out: Path, tmp_path: Path, client: distributed.Client
) -> None:
    workers = set(client.scheduler_info()["workers"])
    with pytest.raises(KeyboardInterrupt):
        run(small(archive.root, out), client=client, view=interrupting)
    until = time.monotonic() + 20
    left = -1
    while left and time.monotonic() < until:
        left = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
        time.sleep(0.05)
    assert left == 0, "no task of it runs on"
    assert set(client.scheduler_info()["workers"]) == workers, "no worker was lost"
    there = len(list(out.rglob("*normal.nc")))
    assert 0 < there < 36
    result = run(small(archive.root, out), client=client)
    assert result.ok, result.failures
    assert result.plan.n_normals <= 36 - there + 1
    assert run(small(archive.root, tmp_path / "whole"), serial=True).ok
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.skipif(os.name != "posix", reason="process groups are of POSIX")
@pytest.mark.slow
def test_ctrl_c_in_a_terminal_reaches_all_processes_and_is_answered_in_a_line(
    archive: Archive, out: Path, tmp_path: Path
) -> None:
    flow = small(archive.root, out, run={"checkpoint_every": 5})
    (tmp_path / "workflow.yaml").write_text(yaml.safe_dump(flow.model_dump(mode="json")))
    (tmp_path / "cluster.yaml").write_text("workers: 1\nthreads: 1\ndashboard: off\n")
    command = [sys.executable, "-m", "climdask.cli", "run", "--quiet", "--cluster",
               str(tmp_path / "cluster.yaml"), str(tmp_path / "workflow.yaml")]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while process.poll() is None and not list(out.rglob("*normal.nc")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert err == "climdask: error: interrupted; run again to go on from here\n"
    assert process.returncode == 130
    assert leftovers(out) == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (("0.0.1", True, True, True), "climdask 0.0.1, and here .*; install the same"),
        ((climdask.__version__, False, True, True), "does not see .*in.*; use a filesystem"),
        ((climdask.__version__, True, False, True), "does not see .*out; use a filesystem"),
        ((climdask.__version__, True, True, False), "locks are not shared there: mount it with"),
    ],
)
@pytest.mark.slow
def test_workers_that_cannot_do_the_job_are_refused(
    facts: tuple[str, bool, bool, bool], words: str, archive: Archive, out: Path,
    client: distributed.Client, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(climdask.running.workercheck, "_facts", lambda *_: facts)
    with pytest.raises(ClusterError, match=f"workers tcp://.*, tcp://.*: .*{words}"):
        run(small(archive.root, out), client=client)


@pytest.mark.slow
def test_all_that_is_wrong_with_workers_is_told_at_once(
    archive: Archive, out: Path, client: distributed.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1, "final", 0))
    monkeypatch.setattr(distributed, "__version__", "2026.3.0")
    monkeypatch.setattr(
        climdask.running.workercheck, "_facts", lambda *_: (climdask.__version__, False, True, True)
    )
    with pytest.raises(ClusterError) as error:
        run(small(archive.root, out), client=client)
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    for words in ("and here 3.9; install the same", "and here 2026.3.0; inst", "does not see"):
        assert sum(words in line for line in lines) == 1


@pytest.mark.slow
def test_workers_without_this_climdask_are_refused(
    archive: Archive, out: Path, client: distributed.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'climdask'")

    monkeypatch.setattr(climdask.running.workercheck, "_facts", lacking)
    with pytest.raises(ClusterError, match=r"is lacking \(No module named 'climdask'\), and here"):
        run(small(archive.root, out), client=client)


@pytest.mark.slow
def test_a_scratch_in_memory_is_told(archive: Archive, out: Path, tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    if not any(p.mountpoint == str(shm) and p.fstype == "tmpfs" for p in disk_partitions(all=True)):
        pytest.skip("/dev/shm is no tmpfs here")
    told: list[str] = []
    with tempfile.TemporaryDirectory(dir=shm) as scratch:
        for folder in (scratch, str(tmp_path)):
            profile = LocalProfile(workers=1, scratch=Path(folder), dashboard="off")
            run(small(archive.root, out, targets=[2020]), cluster=profile, report=told.append)
            shutil.rmtree(out)
    (note,) = [line for line in told if "scratch" in line]
    assert note.startswith("note: worker tls://")
    assert f"scratch: {scratch}" in note
    assert "set scratch to a folder on a disk" in note


@pytest.mark.slow
def test_a_scheduler_that_cannot_hold_tokens_is_refused_and_nothing_stays_on_its_workers(
    archive: Archive, out: Path, client: distributed.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(scheduler: object) -> None:
        raise ClusterError("not this scheduler")

    monkeypatch.setattr("climdask.execution.tokens.check_scheduler", refuse)
    with pytest.raises(ClusterError, match="not this scheduler"):
        run(small(archive.root, out), client=client)
    for plugins, resources in client.run(left_on_worker).values():
        assert not [name for name in plugins if name.startswith("climdask")]
        assert not resources
    assert not list(out.rglob("*normal.nc"))


def left_on_worker(dask_worker: distributed.Worker) -> tuple[list[str], dict[str, float]]:
    return list(dask_worker.plugins), dict(dask_worker.state.total_resources)


class FailedFuture:
    """A task that failed on a worker, which sent its traceback."""

    status = "error"

    def exception(self) -> Exception:
        return UnreadableFile("tas_2003.nc: cannot be read")

    def traceback(self) -> TracebackType | None:
        try:
            raise self.exception()
        except UnreadableFile as error:
            return error.__traceback__


def test_the_traceback_of_a_failed_task_is_logged_for_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "climdask")
    log_traceback("m/r/g/tas", FailedFuture())
    assert "m/r/g/tas failed:" in caplog.text
    assert "Traceback" in caplog.text
    assert "in traceback" in caplog.text

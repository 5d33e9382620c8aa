"""Workers as jobs of a real Grid Engine, and what it says of jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import filelock
import pytest
import yaml

import climdask
from climdask.cli import main
from climdask.clusters.batchsystems.gridengine import qstat
from climdask.inputs.access import default_lock_dir, file_id
from climdask.monitoring.progress import RunProgress
from tests.readback import contents
from tests.samples import Archive, write_archive
from tests.sandbox import CLUSTER, Sandbox
from tests.tools import wait_for
from tests.workflows import small

FIRST, LAST = 2001, 2016


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    root = tmp_path_factory.mktemp("archive")
    return write_archive(root, variables=("pr", "tas"), first=FIRST, last=LAST)


@pytest.fixture(scope="module")
def expected(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run without Dask makes."""
    out = tmp_path_factory.mktemp("expected") / "out"
    climdask.run(small(archive.root, out, variables=["pr", "tas"]), serial=True)
    return contents(out)


def profile(**changes: object) -> dict[str, Any]:
    """Return the shipped profile, for jobs that are to find this checkout."""
    content = yaml.safe_load((CLUSTER / "sandbox-sge.yaml").read_text())
    return {**content, "prologue": [f"export PYTHONPATH={CLUSTER.parent}"], **changes}


def in_use(files: Iterable[Path]) -> ExitStack:
    """Hold the locks of input files, from whichever thread, until closed."""
    default_lock_dir().mkdir(parents=True, exist_ok=True)
    held = ExitStack()
    for path in files:
        lock = default_lock_dir() / f"{file_id(path)}.lock"
        held.enter_context(filelock.FileLock(lock, thread_local=False))
    return held


def test_a_deleted_job_is_replaced_and_the_output_is_that_of_a_run_without_dask(
    sge: Sandbox,
    archive: Archive,
    expected: dict[str, Any],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("climdask.clusters.jobwatch.LOST_AFTER", 1.0)
    year = FIRST + 8
    deleted: list[str] = []

    def delete(progress: RunProgress) -> None:
        chains = progress.chains.values()
        # The reads that wait may hold all threads before the last year that could be done.
        wait_for(lambda: all(chain.years > 1 for chain in chains))
        first = sge.queue()
        assert len(first) == 2
        deleted.append(min(first, key=int))
        sge.call("qdel", *deleted)
        wait_for(lambda: "r" in [state for job, state in sge.queue().items() if job not in first])

    @contextmanager
    def deleting(progress: RunProgress) -> Iterator[None]:
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(delete, progress)
            done.add_done_callback(lambda _: held.close())
            yield
            done.result()

    # No chain can end before the job is deleted: each waits for a file.
    held = in_use(archive.path(variable, year) for variable in archive.variables)
    said: list[str] = []
    flow = small(archive.root, out, variables=["pr", "tas"])
    result = climdask.run(flow, cluster=profile(), view=deleting, report=said.append)
    assert not result.failures
    assert contents(out) == expected
    assert result.audit.holds
    assert any(line.startswith(f"note: job {deleted[0]} lost, replaced by job ") for line in said)
    sge.wait_empty()
    logs = [log.read_text() for log in out.glob(".climdask/runs/*/jobs/climdask.o*")]
    assert len(logs) == 3
    # The queue's shell is csh, and the script is for bash.
    assert "not found" not in "".join(logs)


def test_a_queue_that_does_not_exist_is_told_in_its_words(
    sge: Sandbox, archive: Archive, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow, cluster = tmp_path / "workflow.yaml", tmp_path / "cluster.yaml"
    workflow.write_text(yaml.safe_dump(archive.workflow(out, window=5)))
    cluster.write_text(yaml.safe_dump(profile(partition="nosuch.q")))
    assert main(["run", str(workflow), "--cluster", str(cluster)]) == 2
    err = capsys.readouterr().err
    assert 'job requests unknown queue "nosuch.q"' in err
    assert "Traceback" not in err
    assert sge.queue() == {}


def test_it_says_which_jobs_wait_and_why(sge: Sandbox) -> None:
    def submit(*words: str) -> str:
        said = sge.call("qsub", "-terse", "-b", "y", "-o", "/dev/null", "-j", "y", *words)
        return said.strip()

    running, held = submit("sleep", "1000"), submit("-h", "sleep", "1000")
    broken = submit("-o", "/nonexistent/folder/", "sleep", "1000")
    short = submit("true")
    jobs = [running, held, broken, short]
    wait_for(lambda: sge.queue().get(running) == "r")
    wait_for(lambda: sge.queue().get(broken) == "Eqw")
    wait_for(lambda: short not in sge.queue())
    told = qstat([*jobs, "999999"])
    assert told is not None
    assert told.keys() == {running, held, broken}
    assert told[running] == ("RUNNING", "")
    assert told[held] == ("PENDING", "Job is in hold state")
    assert told[broken][0] == "PENDING"
    assert "/nonexistent/folder/" in told[broken][1]

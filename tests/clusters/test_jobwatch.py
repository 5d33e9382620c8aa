"""What becomes of jobs, decided without any batch system."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from pathlib import Path

import pytest

from climdask.clusters import jobwatch
from climdask.clusters.batchsystems.slurm import squeue
from climdask.clusters.jobwatch import ASK_INTERVAL, LOST_AFTER, MAX_LOSSES, JobWatch
from climdask.monitoring.progress import ChainProgress, RunProgress


class Queue:
    """A batch system that answers what the test says, and counts the questions."""

    def __init__(self) -> None:
        self.jobs: dict[str, tuple[str, str]] | None = {}
        self.asked: list[set[str]] = []

    def __call__(self, ids: Collection[str]) -> dict[str, tuple[str, str]] | None:
        self.asked.append(set(ids))
        return self.jobs


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def watch(queue: Queue, said: list[str], tmp_path: Path) -> JobWatch:
    made = JobWatch(RunProgress({}), said.append, queue, 30.0, tmp_path)
    for n in (1, 2, 10):
        made.submitted(f"climdask-{n}", str(100 + n), 0.0)
    return made


def names(jobs: Collection[jobwatch.WorkerJob]) -> list[str]:
    return [job.name for job in jobs]


ALL = ["climdask-1", "climdask-2", "climdask-10"]


def test_a_job_is_running_once_one_of_its_workers_came(watch: JobWatch) -> None:
    assert not watch.any_born
    assert watch.look(["climdask-10-1"], 1.0) == []
    assert watch.any_born
    assert watch.progress.jobs == {"101": "submitted", "102": "submitted", "110": "running"}


def test_a_job_without_workers_is_replaced_unless_its_nanny_brings_one_back(
    watch: JobWatch,
) -> None:
    watch.look(ALL, 1.0)
    assert watch.look(["climdask-1"], 2.0) == []
    assert watch.look(ALL[:2], 5.0) == [], "the worker of climdask-2 is back"
    assert watch.look(ALL[:2], 2.0 + LOST_AFTER - 0.1) == []
    assert names(watch.look(ALL[:2], 2.0 + LOST_AFTER)) == ["climdask-10"]
    assert set(watch.progress.jobs) == {"101", "102"}


def test_the_batch_system_is_asked_only_when_jobs_wait_and_once_a_minute(
    watch: JobWatch, queue: Queue
) -> None:
    queue.jobs = {"101": ("PENDING", "Resources"), "110": ("PENDING", "Resources")}
    for second in range(200):
        watch.look(["climdask-2"], float(second))
    assert queue.asked == [{"101", "110"}] * 3, "at 30, 90 and 150 s, and never for 102"
    for second in range(200, 400):
        watch.look(ALL, float(second))
    assert len(queue.asked) == 3


def test_jobs_that_wait_are_told_with_the_reason_and_once(
    watch: JobWatch, queue: Queue, said: list[str]
) -> None:
    queue.jobs = {
        "101": ("PENDING", "Resources"), "110": ("PENDING", "Resources"),
        "102": ("PENDING", "QOSMaxJobsPerUserLimit"),
    }  # fmt: skip
    for second in range(29):
        watch.look([], float(second))
    assert said == []
    for second in range(30, 200):
        watch.look([], float(second))
    text = (
        "in the queue: job 102 for 0:30: QOSMaxJobsPerUserLimit; jobs 101, 110 for 0:30: Resources"
    )
    assert said == [f"note: {text}"]
    assert watch.progress.note == text.replace("0:30", "2:30")
    assert watch.progress.jobs["101"] == "pending"
    watch.look(ALL, 201.0)
    assert watch.progress.note == ""


def test_a_batch_system_that_does_not_answer_or_is_not_asked_changes_nothing(
    watch: JobWatch, queue: Queue, said: list[str]
) -> None:
    queue.jobs = None
    assert watch.look([], 100.0) == []
    watch.ask = None
    assert watch.look([], 300.0) == []
    assert (said, watch.fatal, len(watch.jobs)) == ([], "", 3)


def test_a_job_that_fails_before_any_worker_came_ends_the_run_with_its_log(
    watch: JobWatch, queue: Queue, tmp_path: Path
) -> None:
    (tmp_path / "101.log").write_text("\n".join([*map(str, range(20)), "no such module: python"]))
    queue.jobs = {"101": ("FAILED", "NonZeroExitCode"), "102": ("RUNNING", "None")}
    queue.jobs["110"] = ("CONFIGURING", "None")
    assert names(watch.look([], 31.0)) == ["climdask-1"]
    assert watch.fatal.splitlines() == [
        "job 101 ended before its worker came (FAILED, NonZeroExitCode)",
        "the end of its log:", "16", "17", "18", "19", "no such module: python",
    ]  # fmt: skip


def test_a_job_that_fails_without_a_log_is_told_so(watch: JobWatch, queue: Queue) -> None:
    queue.jobs = {str(n): ("FAILED", "None") for n in (101, 102, 110)}
    watch.look([], 31.0)
    assert "it left no log in" in watch.fatal


@pytest.mark.parametrize("state", ["CANCELLED", "NODE_FAIL", "PREEMPTED", ""])
def test_a_job_that_ended_through_no_fault_of_its_own_is_replaced(
    watch: JobWatch, queue: Queue, said: list[str], state: str
) -> None:
    queue.jobs = {"102": ("RUNNING", "None"), "110": ("PENDING", "Priority")}
    queue.jobs |= {"101": (state, "None")} if state else {}
    assert names(watch.look([], 31.0)) == ["climdask-1"]
    assert watch.fatal == ""
    assert "job 101 ended before its worker came" in said[-1]


def test_a_job_that_fails_where_others_work_is_replaced(
    watch: JobWatch, queue: Queue, said: list[str]
) -> None:
    queue.jobs = {"101": ("FAILED", "NonZeroExitCode"), "110": ("PENDING", "Priority")}
    assert names(watch.look(["climdask-2"], 31.0)) == ["climdask-1"]
    assert watch.fatal == ""


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("OUT_OF_MEMORY", "note: job 101 had ended: OUT_OF_MEMORY; raise memory in the profile"),
        ("TIMEOUT", "note: job 101 had ended: TIMEOUT; raise walltime in the profile"),
        ("NODE_FAIL", "note: job 101 had ended: NODE_FAIL"),
    ],
)
def test_how_a_lost_job_ended_is_told_when_it_is_known(
    watch: JobWatch, queue: Queue, said: list[str], state: str, words: str
) -> None:
    queue.jobs = {"101": (state, "None")}
    watch.look(ALL, 0.0)
    watch.look(ALL[1:], 1.0)
    assert names(watch.look(ALL[1:], 1.0 + LOST_AFTER)) == ["climdask-1"]
    watch.look(ALL[1:], 2.0 + LOST_AFTER)
    assert queue.asked == [{"101"}]
    assert said[-1].startswith(words)
    watch.look(ALL[1:], 3.0 + LOST_AFTER + ASK_INTERVAL)
    assert len(queue.asked) == 1, "it is not asked again"


def test_jobs_that_are_lost_again_and_again_while_nothing_is_done_end_the_run(
    watch: JobWatch,
) -> None:
    row = watch.progress.chains["a"] = ChainProgress("a", 10, 10, 10)
    now = 0.0
    for number in range(2 * MAX_LOSSES):
        name = f"climdask-{100 + number}"
        watch.submitted(name, str(number), now)
        watch.look([*ALL, name], now)
        watch.look(ALL, now + 1)
        watch.look(ALL, now := now + 2 + LOST_AFTER)
        if number == MAX_LOSSES - 1:
            assert watch.fatal == ""
            row.years += 1
        if number == 2 * MAX_LOSSES - 2:
            assert watch.fatal == "", "one year was done in between"
    watch.submitted("x", "x", now)
    watch.look([*ALL, "x"], now)
    watch.look(ALL, now + 1)
    watch.look(ALL, now + 2 + LOST_AFTER)
    assert f"{MAX_LOSSES + 1} jobs were lost in a row, and nothing was done" in watch.fatal


# ---------------------------------------------------------------- squeue's words


@pytest.mark.parametrize(
    ("code", "out", "err", "expected"),
    [
        (0, "1|PENDING|Resources\n2|RUNNING|None\n", "",
         {"1": ("PENDING", "Resources"), "2": ("RUNNING", "None")}),
        (0, "", "", {}),
        (1, "", "slurm_load_jobs error: Invalid job id specified\n", {}),
        (1, "", "slurm_load_jobs error: Unable to contact slurm controller\n", None),
    ],
)  # fmt: skip
def test_squeue_is_understood(
    code: int, out: str, err: str, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []

    def answer(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        called.append(command)
        return subprocess.CompletedProcess(command, code, out, err)

    monkeypatch.setattr(subprocess, "run", answer)
    assert squeue(["1", "2"]) == expected
    assert called[0][-2:] == ["-j", "1,2"], "own jobs only"


def test_without_squeue_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert squeue(["1"]) is None

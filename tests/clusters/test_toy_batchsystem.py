"""A batch system is one module: this one starts its jobs on this machine, by two shell scripts."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import psutil
import pytest

from climdask.cli import main
from climdask.clusters.batchsystems import SYSTEMS, BatchSystem, register
from climdask.clusters.jobscript import job_script
from climdask.clusters.ownjob import own_job
from climdask.errors import ClusterError, ConfigError
from climdask.monitoring.processes import Job
from climdask.monitoring.progress import RunProgress
from climdask.running.run import run
from climdask.running.submission import check_submission
from climdask.settings.profiles import KINDS, BatchProfile, load_profile
from tests.readback import contents
from tests.samples import Archive, write_archive
from tests.workflows import small

# ---------------------------------------------------------------- the batch system

# Numbers its jobs from 1, and starts each at once; loses the first one if told so.
SUBMIT = """#!/bin/sh
if [ "$1" = --would-you ]; then grep -q '^#TOY --colour=red$' "$2" && exit 0
    echo "toysub: only red jobs today" >&2; exit 1; fi
id=1; until mkdir "$TOY/$id" 2>/dev/null; do id=$((id + 1)); done
cat "$1" > "$TOY/$id/script"
logs=$(sed -n 's/^#TOY --logs=//p' "$1")
echo "job $id is yours"
if mv "$TOY/lose" "$TOY/$id/ended" 2>/dev/null; then exit 0; fi
TOY_JOB=$id setsid sh -c 'bash "$0/script" > "$1" 2>&1; touch "$0/ended"' \\
    "$TOY/$id" "$logs/job-$id" > /dev/null 2>&1 < /dev/null &
echo $! > "$TOY/$id/group"
"""
CANCEL = """#!/bin/sh
for id; do
    [ -e "$TOY/$id/ended" ] || kill -TERM "-$(cat "$TOY/$id/group")" || exit 1
    touch "$TOY/$id/cancelled"
done
"""
STATES = """#!/bin/sh
for id; do [ -e "$TOY/$id/ended" ] || echo "$id"; done
"""


class ToyProfile(BatchProfile):
    """Workers are jobs of the toy."""

    kind: Literal["toy"]
    colour: str = "red"


def toy_job(jobqueue: ModuleType) -> Any:
    class ToyJob(jobqueue.core.Job):  # type: ignore[misc, name-defined]
        submit_command, cancel_command, config_name = "toysub", "toydel", "local"

        def __init__(self, *args: Any, lane: str | None, walltime: str, **keywords: Any) -> None:
            super().__init__(*args, shebang="#!/bin/bash", **keywords)
            lines = (f"--lane={lane}", f"--minutes={walltime}", *self.job_extra_directives)
            self.job_header = "\n".join(f"#TOY {line}" for line in lines)

    return ToyJob


def running(ids: Collection[str]) -> dict[str, tuple[str, str]]:
    alive = subprocess.run(["toystat", *ids], capture_output=True, text=True, check=True).stdout
    return dict.fromkeys(alive.split(), ("RUNNING", ""))


TOY = BatchSystem(
    title="Toy",
    profile=ToyProfile,
    job_class=toy_job,
    submit="toysub",
    cancel="toydel",
    dry_run=("toysub", "--would-you"),
    ask=running,
    directives=("--logs={logs}",),
    log="job-{id}",
    queue="lane",
    account="",
    walltime=lambda seconds: str(seconds // 60),
    more_options=lambda profile, options: {
        "job_extra_directives": [*options["job_extra_directives"], f"--colour={profile.colour}"]
    },
    job_variable="TOY_JOB",
    inside_variable="TOY_JOB",
)


# ---------------------------------------------------------------- its use


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The toy, registered and installed; the folder where it keeps its jobs."""
    programs, jobs = tmp_path / "bin", tmp_path / "toy"
    jobs.mkdir()
    programs.mkdir()
    for name, text in (("toysub", SUBMIT), ("toydel", CANCEL), ("toystat", STATES)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TOY", str(jobs))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # inherited by its jobs
    register(TOY)
    yield jobs
    del SYSTEMS["toy"], KINDS["toy"]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return write_archive(tmp_path / "in", first=2010, last=2018)


def profile(**keys: Any) -> dict[str, Any]:
    return {"kind": "toy", "cores": 1, "memory": "512MiB", "interface": "lo", **keys}


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def toy_profile(**keys: Any) -> BatchProfile:
    made = load_profile(profile(**keys))
    assert isinstance(made, ToyProfile)
    return made


@pytest.mark.slow
def test_a_new_batch_system_makes_the_numbers_of_the_reference_over_tls(
    toy: Path, archive: Archive, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(small(archive.root, tmp_path / "serial"), serial=True).ok
    told: list[str] = []
    seen: list[RunProgress] = []

    @contextmanager
    def view(progress: RunProgress) -> Iterator[None]:
        seen.append(progress)
        port = int(progress.dashboard.split(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as browser:
            browser.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answers.append(browser.makefile().read())
        yield

    answers: list[str] = []
    monkeypatch.setattr("climdask.clusters.jobqueue.private_folder", lambda _: tmp_path / "own")
    result = run(small(archive.root, out), cluster=profile(), report=told.append, view=view)
    assert result.ok, (result.failures, told)
    assert contents(out) == contents(tmp_path / "serial")
    assert seen[0].scheduler.startswith("tls://")
    assert " 404 " in answers[0].splitlines()[0], "who does not know the address finds nothing"
    assert seen[0].dashboard.split("/")[3] not in answers[0]
    assert (tmp_path / "own/dask-scratch-space").is_dir(), "of the scheduler"
    assert [path.name for path in toy.iterdir()] == ["1"]
    assert (toy / "1/cancelled").exists(), "no job is left"
    assert list(out.glob(".climdask/runs/*/jobs/job-1")), "its log is where the run looks for it"
    assert not list(out.rglob("tls"))
    assert "experimental" not in "\n".join(told)


@pytest.mark.slow
def test_a_lost_job_of_a_new_batch_system_is_replaced(
    toy: Path, archive: Archive, tmp_path: Path, out: Path
) -> None:
    assert run(small(archive.root, tmp_path / "serial"), serial=True).ok
    (toy / "lose").touch()
    told: list[str] = []
    result = run(small(archive.root, out), cluster=profile(pending_after=0.1), report=told.append)
    assert result.ok, (result.failures, told)
    assert contents(out) == contents(tmp_path / "serial")
    assert "note: job 1 lost, replaced by job 2" in told
    assert sorted(path.name for path in toy.iterdir()) == ["1", "2"]


def test_a_refusal_of_a_new_batch_system_is_told_in_its_words(toy: Path) -> None:
    check_submission(toy_profile())
    with pytest.raises(ClusterError, match=r"^toysub: only red jobs today$"):
        check_submission(toy_profile(colour="green"))


def test_a_script_of_a_new_batch_system_says_what_its_profile_says(toy: Path) -> None:
    made = toy_profile(partition="fast", walltime="02:00:30", directives=["--x=y"])
    header = [line for line in job_script(made).splitlines() if line.startswith("#TOY")]
    assert header == [
        "#TOY --lane=fast",
        "#TOY --minutes=120",
        "#TOY --logs=OUT_DIR/.climdask/runs/RUN/jobs",
        "#TOY --x=y",
        "#TOY --colour=red",
    ]


def test_the_own_job_of_a_new_batch_system_is_known(toy: Path) -> None:
    assert own_job({"TOY_JOB": "3"}) == Job("toy", "3", True)
    assert own_job({"TOY_JOB": "3 --all"}) is None


@pytest.mark.slow
def test_a_driver_is_submitted_to_a_new_batch_system_watched_and_cancelled(
    toy: Path, archive: Archive, out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workflow, cluster = tmp_path / "flow.yaml", tmp_path / "cluster.yaml"
    workflow.write_text(small(archive.root, out).model_dump_json())
    cluster.write_text("kind: toy\ncores: 1\nmemory: 512MiB\nprologue: [sleep 600]\n")
    order = ["submit", str(workflow), "--cluster", str(cluster)]
    assert main(order) == 0
    said = capfd.readouterr().out
    assert "submitted: job 1 of Toy" in said
    assert f"log:       {next(out.glob('.climdask/submissions/*'))}/job-1\n" in said
    assert main(order) == 2
    assert "job 1 for" in capfd.readouterr().err
    assert main(["status", str(out)]) == 0
    assert "job 1 was submitted (RUNNING)" in capfd.readouterr().out
    assert main(["cancel", str(out)]) == 0
    assert "toydel 1" in capfd.readouterr().out
    assert (toy / "1/cancelled").exists()
    until = time.monotonic() + 30
    while lives(int((toy / "1/group").read_text())):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_batch_system_that_nobody_registered_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'kind: "toy" is none of local, external, slurm'):
        load_profile(profile())

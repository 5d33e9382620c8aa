"""The driver as a job, and the ranks of one srun, on a real SLURM: cluster/sandbox.sh."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import distributed
import filelock
import pytest
import yaml

from climdask.cli import main
from climdask.clusters import driverscript
from climdask.clusters.credentials import credentials_in, temporary_credentials
from climdask.inputs.access import file_id
from climdask.monitoring.terminal import ASK
from climdask.outputs.folder import OutputFolder
from climdask.running import submitview
from climdask.running.run import plan, run
from climdask.running.submission import Submission, submissions
from climdask.running.submitview import described
from tests.readback import contents, leftovers
from tests.samples import Archive, write_archive
from tests.sandbox import Sandbox
from tests.tools import identity, wait_for
from tests.workflows import small

ROOT = Path(__file__).parents[2]
VARIABLES = ["pr", "tas"]
JOB = {"cores": 1, "memory": "400MiB", "jobs": 2, "interface": "lo", "walltime": "01:00:00"}
RUNNER = {"kind": "slurm-runner", **JOB}
SLURM = {"kind": "slurm", **JOB, "driver": {"memory": "600MiB", "walltime": "01:00:00"}}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    root = tmp_path_factory.mktemp("archive")
    return write_archive(root, variables=VARIABLES, first=2000, last=2020, calendar="noleap")


@pytest.fixture(scope="module")
def undisturbed(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("undisturbed")
    assert run(small(archive.root, out, variables=VARIABLES), serial=True).ok
    return contents(out)


@pytest.fixture(autouse=True)
def _user(slurm: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A user's shell on a login node, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # jobs get this environment
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def write(archive: Archive, profile: dict[str, Any], **keys: Any) -> list[str]:
    """Write workflow and profile; return the arguments that name them."""
    content = {
        "input": {"root": str(archive.root)},
        "variables": VARIABLES,
        "scenarios": ["ssp245"],
        "regions": ["global"],
        "window": 5,
        "output": {"root": "out"},
        "run": {"checkpoint_every": 4, "lock_dir": str(Path.cwd() / "locks")},
        **keys,
    }
    Path("workflow.yaml").write_text(yaml.safe_dump(content))
    Path("cluster.yaml").write_text(yaml.safe_dump(profile))
    return ["workflow.yaml", "--cluster", "cluster.yaml"]


def submitted() -> Submission:
    return submissions(OutputFolder(Path.cwd() / "out"))[-1]


def log_of(submission: Submission, job: int = -1) -> str:
    return (submission.folder / f"{submission.jobs[job]}.log").read_text()


def wait_for_the_end(slurm: Sandbox) -> None:
    wait_for(lambda: not slurm.queue())


def wait_for_normal(slurm: Sandbox, year: int) -> None:
    """Wait until a normal is there; runs are held up three years later, as far as reads go."""

    def is_there() -> list[Path]:
        found = list(Path("out").rglob(f"*_{year}_5yr_normal.nc"))
        assert found or slurm.queue(), log_of(submitted())
        return found

    wait_for(is_there)


def state_of(slurm: Sandbox, job: str) -> dict[str, str]:
    words = slurm.call("scontrol", "show", "job", job).split()
    return dict(word.split("=", 1) for word in words if "=" in word)


@contextmanager
def held(archive: Archive, year: int) -> Iterator[None]:
    """Hold runs up before a year: its files are locked, as by another run."""
    Path("locks").mkdir(exist_ok=True)
    locks = [filelock.FileLock(f"locks/{file_id(archive.path(v, year))}.lock") for v in VARIABLES]
    for lock in locks:
        lock.acquire()
    try:
        yield
    finally:
        for lock in locks:
            lock.release()


def processes(job: str) -> dict[int, dict[str, str]]:
    """Return the environments of all processes of a job, by their numbers."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            lines = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has just ended
            continue
        environ = dict(line.partition("=")[::2] for line in lines)
        if environ.get("SLURM_JOB_ID") == job:
            found[int(folder.name)] = environ
    return found


def rank(job: str, number: int) -> int:
    """Return the process of a rank: the Python that srun started."""
    [found] = [
        pid
        for pid, environ in processes(job).items()
        if environ.get("SLURM_PROCID") == str(number)
        and f"{sys.executable}\0-m\0climdask.cli" in Path(f"/proc/{pid}/cmdline").read_text()
        and not Path(f"/proc/{pid}/cmdline").read_text().startswith("srun")
    ]
    return found


# ---------------------------------------------------------------- submit


def test_a_submitted_driver_makes_what_was_submitted(
    slurm: Sandbox, archive: Archive, undisturbed: dict[str, Any],
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("ARCHIVE", str(archive.root))
    arguments = write(archive, SLURM, input={"root": "${ARCHIVE}"})
    assert main(["submit", *arguments, "--wait", "60"]) == 0
    said = capfd.readouterr().out
    Path("workflow.yaml").write_text("edited: later")
    Path("cluster.yaml").unlink()
    made = submitted()
    for words in (
        f"submitted: job {made.jobs[0]} of SLURM", f"{made.jobs[0]}.log",
        f"climdask status {Path.cwd()}/out", f"climdask cancel {Path.cwd()}/out",
        f"job {made.jobs[0]} is running: process", "dashboard: http://localhost:",
        "dashboard on your own machine: ssh -N -L",
    ):  # fmt: skip
        assert words in said
    wait_for_the_end(slurm)
    assert contents(Path("out")) == undisturbed, log_of(made)
    assert state_of(slurm, made.jobs[0])["ExitCode"] == "0:0"
    assert made.jobs == made.jobs[:1]


@pytest.mark.parametrize("profile", [SLURM, RUNNER], ids=["driver", "runner"])
def test_a_folder_of_any_name_works_and_the_logs_of_jobs_are_for_others_too(
    profile: dict[str, Any], slurm: Sandbox, archive: Archive, undisturbed: dict[str, Any],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    place = tmp_path / "100%j 50%% it's $(touch pwned)"
    place.mkdir()
    monkeypatch.chdir(place)
    before = os.umask(0o022)
    try:
        assert main(["submit", *write(archive, profile), "--log", "run.log"]) == 0
    finally:
        os.umask(before)
    wait_for_the_end(slurm)
    made = submitted()
    assert contents(Path("out")) == undisturbed, log_of(made)
    assert {p.name for p in place.iterdir()} >= {"out", "run.log"}
    assert "pwned" not in {p.name for p in place.rglob("*")}
    assert [p.name for p in tmp_path.iterdir() if p != place] == []
    # The log tells all but the address of the dashboard.
    (address,) = place.glob("out/.climdask/runs/*/dashboard")
    secret = address.read_text().split("/")[3].encode()
    assert f"dashboard: {ASK}" in log_of(made)
    files = [p for p in place.rglob("*") if p.is_file() and secret in p.read_bytes()]
    assert {p.stat().st_mode & 0o777 for p in files} == {0o600}
    # What was printed to be copied can be copied.
    capfd.readouterr()
    (watch,) = [
        line for line in described(made, plan("workflow.yaml")) if line.startswith("watch:")
    ]
    assert main(shlex.split(watch.partition(":")[2])[1:]) == 0
    assert "done" in capfd.readouterr().out


@pytest.mark.parametrize("profile", [SLURM, RUNNER], ids=["driver", "runner"])
def test_a_job_that_slurm_refuses_is_told_in_its_words(
    profile: dict[str, Any], archive: Archive, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = write(archive, {**profile, "partition": "nowhere"})
    assert main(["submit", *arguments]) == 2
    assert "invalid partition specified: nowhere" in capfd.readouterr().err
    assert not Path("out").exists()


def test_a_folder_whose_job_waits_is_not_submitted_again(
    slurm: Sandbox, archive: Archive, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = write(archive, {**RUNNER, "directives": ["--begin=now+1hour"]})
    assert main(["submit", *arguments]) == 0
    assert main(["submit", *arguments]) == 2
    assert f"job {submitted().jobs[0]} for" in capfd.readouterr().err
    assert len(submissions(OutputFolder(Path.cwd() / "out"))) == 1
    assert main(["status", "out"]) == 0
    assert f"job {submitted().jobs[0]} was submitted (PENDING, BeginTime)" in capfd.readouterr().out
    assert main(["cancel", "out"]) == 0
    assert slurm.queue().get(submitted().jobs[0]) in (None, "COMPLETING")
    assert main(["submit", *arguments]) == 0


def test_a_node_that_may_not_submit_is_pointed_to_the_runner(
    slurm: Sandbox, archive: Archive, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(submitview, "ASK", 1.0)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sbatch").write_text("#!/bin/sh\necho 'Access denied' >&2\nexit 1\n")
    (tmp_path / "bin/sbatch").chmod(0o755)
    prologue = [f"export PATH={tmp_path}/bin:$PATH"]
    assert main(["submit", *write(archive, {**SLURM, "prologue": prologue}), "--wait", "60"]) == 1
    said = capfd.readouterr().out
    assert "jobs cannot be submitted from this compute node" in said
    assert "Access denied" in said
    assert "slurm-runner" in said


@pytest.mark.parametrize("profile", [SLURM, RUNNER], ids=["driver", "runner"])
def test_a_job_follows_itself_so_often_and_no_more(
    profile: dict[str, Any], slurm: Sandbox, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stopped soon, as it would be after most of an hour.
    monkeypatch.setattr(driverscript, "saving_time", lambda walltime: walltime - 3)
    driver = {**profile.get("driver", {}), "resubmit": 1}
    with held(archive, 2010):
        assert main(["submit", *write(archive, {**profile, "driver": driver})]) == 0
        made = submitted()
        wait_for(lambda: len(made.jobs) == 2)
        wait_for_the_end(slurm)
    assert len(made.jobs) == 2
    assert f"stopped before the walltime: job {made.jobs[1]} goes on from here (1 of 1)" in (
        log_of(made, 0)
    )
    assert "the job has followed itself 1 times, as driver.resubmit allows" in log_of(made, 1)
    assert state_of(slurm, made.jobs[1])["JobState"] == "FAILED"


# ---------------------------------------------------------------- the runner


def test_whichever_rank_dies_the_allocation_ends_and_a_rerun_goes_on(
    slurm: Sandbox, archive: Archive, undisturbed: dict[str, Any]
) -> None:
    arguments = write(archive, RUNNER)
    for number, year in enumerate((2008, 2011, 2014)):  # driver, scheduler, worker
        with held(archive, year):
            assert main(["submit", *arguments]) == 0
            job = submitted().jobs[0]
            wait_for_normal(slurm, year - 3)
            os.kill(rank(job, number), signal.SIGKILL)
            wait_for_the_end(slurm)
        assert state_of(slurm, job)["JobState"] == "FAILED"
        assert not processes(job)
    assert main(["submit", *arguments]) == 0
    wait_for_the_end(slurm)
    assert "resuming: " in log_of(submitted())
    assert contents(Path("out")) == undisturbed
    assert leftovers(Path("out")) == []
    assert not list(Path("out").rglob("tls"))


def test_nobody_gets_in_and_nothing_secret_is_anywhere(
    slurm: Sandbox, archive: Archive, tmp_path: Path
) -> None:
    with held(archive, 2010):
        assert main(["submit", *write(archive, RUNNER)]) == 0
        job = submitted().jobs[0]
        wait_for_normal(slurm, 2007)
        [folder] = Path("out").rglob("tls")
        own = credentials_in(folder)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o600}

        [meeting] = Path("out/.climdask/ranks").glob("*/scheduler.json")
        address = yaml.safe_load(meeting.read_text())["address"]
        assert address.startswith("tls://")
        foreign = temporary_credentials(tmp_path / "foreign").security
        with pytest.raises((OSError, TimeoutError)):
            identity(address, foreign)
        with pytest.raises((OSError, TimeoutError)):
            identity(address.replace("tls://", "tcp://"), distributed.Security())
        assert identity(address, own.security)["type"] == "Scheduler"

        # Of the base64 of the key, a part of a line gives it away.
        secrets = [line[8:40] for line in own.key.read_text().splitlines()[1:-1]]
        alive = processes(job)
        assert len(alive) >= 6  # srun, four ranks, a worker below each of two
        told = [value for environ in alive.values() for value in environ.values()]
        told += [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in alive]
        told += [p.read_text(errors="replace") for p in Path("out").rglob("*")
                 if p.is_file() and folder not in p.parents]  # fmt: skip
        assert not [text for text in told for secret in secrets if secret in text]
        slurm.call("scancel", job)
        wait_for_the_end(slurm)
    assert "interrupted; run again to go on from here" in log_of(submitted())
    assert submitted().jobs == (job,)  # what is cancelled is not followed
    assert not list(Path("out").rglob("tls"))
    assert list(Path("out/.climdask/ranks").iterdir()) == []


def test_two_runs_in_one_allocation_do_not_meet(
    slurm: Sandbox, archive: Archive, undisturbed: dict[str, Any]
) -> None:
    arguments = " ".join(write(archive, RUNNER))
    ranks = f"srun --exact --kill-on-bad-exit=1 -n3 -c1 {sys.executable} -m climdask.cli run"
    Path("job.sh").write_text(
        f"#!/bin/bash\n#SBATCH -n6 --mem-per-cpu=500M\n"
        f"{ranks} {arguments} --out a & one=$!\n{ranks} {arguments} --out b & two=$!\n"
        "wait $one && wait $two\n"
    )
    job = slurm.call("sbatch", "--parsable", "-o", "log", "job.sh").strip()
    wait_for_the_end(slurm)
    assert state_of(slurm, job)["ExitCode"] == "0:0", Path("log").read_text()
    assert contents(Path("a")) == contents(Path("b")) == undisturbed

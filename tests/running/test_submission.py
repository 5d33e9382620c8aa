"""Submissions: frozen copies, job scripts, who may follow; and which rank is what."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from climdask.clusters.driverscript import driver_script, runner_script, saving_time
from climdask.clusters.slurmrunner import Meeting, Rank, this_rank
from climdask.clusters.tunnel import tunnel
from climdask.errors import ClusterError, ConfigError
from climdask.inputs.access import default_lock_dir
from climdask.outputs.folder import OutputFolder
from climdask.planning.plan import Limits
from climdask.running.signals import answer_signals, told_to_stop
from climdask.running.submission import (
    Submission,
    TimeIsUp,
    batch_profile,
    frozen_profile,
    frozen_workflow,
    stopping,
    submissions,
)
from climdask.settings.profiles import BatchProfile, SlurmRunnerProfile, load_profile
from climdask.settings.workflow import Workflow, load

SHIPPED = sorted((Path(__file__).parents[2] / "workflows").glob("*.yaml"))
LIMITS = Limits(1 << 30, 3, 2)
STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"}


def profile(kind: str, **keys: Any) -> BatchProfile:
    made = load_profile({"kind": kind, "cores": 4, "memory": "8GiB", **keys})
    assert isinstance(made, BatchProfile)
    return made


def script(made: BatchProfile) -> str:
    return driver_script(made, Path("/out/s/driver.sh"), LIMITS, ["run", "/my out/w.yaml"])


# ---------------------------------------------------------------- frozen copies


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_frozen_workflow_means_the_same_in_any_folder_and_environment(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NEX_GDDP_ROOT", "CANESM2_ROOT", "OISST_ROOT", "EC_EARTH_ROOT"):
        monkeypatch.setenv(name, "data")
    monkeypatch.chdir(tmp_path)
    flow = load(path)
    frozen = tmp_path / "frozen.yaml"
    frozen.write_text(yaml.safe_dump(frozen_workflow(flow), sort_keys=False))
    for name in ("NEX_GDDP_ROOT", "CANESM2_ROOT", "OISST_ROOT", "EC_EARTH_ROOT"):
        monkeypatch.delenv(name)
    monkeypatch.chdir("/")
    again = load(frozen)
    assert again.input.root == tmp_path / "data"
    assert again.output.root == tmp_path / flow.output.root
    assert again.run.lock_dir == default_lock_dir()
    assert bare(again) == bare(flow)


def bare(flow: Workflow) -> dict[str, Any]:
    """Return a workflow without its folders."""
    content = flow.model_dump()
    for section, key in (("input", "root"), ("output", "root"), ("run", "lock_dir")):
        del content[section][key]
    return content


def test_a_frozen_profile_keeps_what_was_said_with_whole_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"ca_file": "ca.pem", "cert": "me.pem", "key": "/etc/me.key"}
    made = profile("slurm", logs="logs", security=files, dashboard=False, scratch="$TMPDIR")
    path = tmp_path / "frozen.yaml"
    path.write_text(yaml.safe_dump(frozen_profile(made)))
    again = load_profile(path)
    expected = {"logs": tmp_path / "logs", "dashboard": "off", "scratch": "$TMPDIR"}
    assert {key: getattr(again, key) for key in expected} == expected
    assert isinstance(again, BatchProfile)
    assert again.security
    assert again.security.ca_file == tmp_path / "ca.pem"
    assert again.security.key == Path("/etc/me.key")


# ---------------------------------------------------------------- job scripts


def test_the_script_of_a_driver_asks_for_what_the_driver_needs() -> None:
    driver = {"walltime": "06:00:00", "memory": "3GiB", "directives": ["--qos=long"]}
    keys = {"partition": "day", "account": "me", "directives": ["--gres=x"], "driver": driver}
    text = script(profile("slurm", modules=["py"], prologue=["source env"], **keys))
    for line in (
        "#SBATCH -p day", "#SBATCH -A me", "#SBATCH -n 1", "#SBATCH --cpus-per-task=1",
        "#SBATCH --mem=3072M", "#SBATCH -t 06:00:00", "#SBATCH --qos=long",
        "#SBATCH --output=/out/s/%j.log", "module load py", "source env",
    ):  # fmt: skip
        assert line in text.splitlines()
    assert "--gres" not in text  # is the workers'
    last = text.splitlines()[-1]
    assert last.startswith("exec ")
    assert "-m climdask.cli run '/my out/w.yaml'" in last
    assert last.endswith("--stop-after $((21300 - SECONDS))")


def test_the_script_of_a_runner_asks_for_all_ranks_and_srun_comes_last() -> None:
    text = script(profile("slurm-runner", processes=2, walltime="00:10:00", directives=["--x"]))
    assert "#SBATCH --ntasks=5" in text  # driver, scheduler, three workers
    assert "#SBATCH --cpus-per-task=2" in text
    assert "#SBATCH --mem-per-cpu=2048M" in text
    assert "#SBATCH --x" in text
    for skipped in ("-n 1", "--mem="):
        assert skipped not in text
    last = text.splitlines()[-1]
    assert last.startswith("exec srun --kill-on-bad-exit=1 --ntasks=5 --cpus-per-task=2 ")
    assert last.endswith("--stop-after $((450 - SECONDS))")


def test_the_script_of_a_runner_can_be_shown_before_there_is_a_submission() -> None:
    made = profile("slurm-runner", jobs=2)
    assert isinstance(made, SlurmRunnerProfile)
    text = runner_script(made)
    assert "--ntasks=4" in text
    assert "OUT_DIR/.climdask/submissions/SUBMISSION" in text


@pytest.mark.parametrize("kind", ["slurm", "slurm-runner", "pbs", "lsf", "sge", "oar"])
def test_every_script_is_sound_shell(kind: str) -> None:
    text = script(profile(kind, prologue=["export A='b c'"]))
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--stop-after" in text


@pytest.mark.parametrize(("walltime", "saving"), [(86400, 300), (1200, 300), (600, 150), (60, 15)])
def test_short_jobs_stop_a_shorter_time_before_their_end(walltime: float, saving: float) -> None:
    assert saving_time(walltime) == saving


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "kind: local: submit needs a batch system"),
        ({"kind": "htcondor", "cores": 1, "memory": "1GiB"}, "no shell script"),
    ],
)
def test_what_cannot_be_submitted_is_told(content: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        batch_profile(load_profile(content), "cluster.yaml")


@pytest.mark.parametrize("keys", [{"driver": {"cores": 2}}, {"pending_after": 9}])
def test_keys_that_mean_nothing_in_a_runner_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(keys))):
        profile("slurm-runner", **keys)


# ---------------------------------------------------------------- following


@pytest.fixture
def submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submission:
    """One that was submitted once, to a batch system that takes all."""
    made = Submission(OutputFolder(tmp_path).submissions / "1")
    made.folder.mkdir(parents=True)
    made.script.touch()
    content = {"kind": "slurm", "cores": 1, "memory": "1GiB", "driver": {"resubmit": 2}}
    made.cluster.write_text(yaml.safe_dump(content))
    ids = iter(("11", "12", "13", "14"))
    monkeypatch.setattr("climdask.running.submission.submit_script", lambda *_: next(ids))
    made.submit()
    return made


def test_a_job_follows_itself_as_often_as_it_may(submission: Submission) -> None:
    assert submission.follow() == "job 12 goes on from here (1 of 2)"
    assert submission.follow() == "job 13 goes on from here (2 of 2)"
    assert "has followed itself 2 times" in submission.follow()
    assert submission.jobs == ("11", "12", "13")
    assert submissions(OutputFolder(submission.folder.parents[2])) == [submission]


def test_what_was_cancelled_is_not_followed(submission: Submission) -> None:
    submission.cancel()
    assert submission.follow() == "its submission was cancelled"
    assert submission.jobs == ("11",)


def test_a_next_job_that_is_refused_is_told(
    submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise ClusterError("no more jobs today")

    monkeypatch.setattr("climdask.running.submission.submit_script", refuse)
    assert "the next job is refused: no more jobs today; submit again" in submission.follow()


def work(how: Callable[[], object], seconds: float, submission: Submission) -> None:
    """Do some work that is stopped after a time."""
    with stopping(seconds, submission):
        how()


def fail_when_interrupted() -> None:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        raise OSError("in the middle of something") from None


@pytest.mark.parametrize("how", [lambda: time.sleep(60), fail_when_interrupted])
def test_a_run_that_is_stopped_before_the_walltime_is_followed(
    how: Callable[[], object], submission: Submission
) -> None:
    told_to_stop.clear()
    with pytest.raises(TimeIsUp, match="job 12 goes on"):
        work(how, 0.05, submission)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, None])
def test_a_run_that_ends_otherwise_is_not_followed(
    error: type[BaseException] | None, submission: Submission
) -> None:
    def end() -> None:
        if error:
            raise error

    with pytest.raises(error) if error else nullcontext():
        work(end, 3600, submission)
    assert submission.jobs == ("11",)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.slow
def test_who_is_told_to_stop_is_not_stopped_again(submission: Submission) -> None:
    def save_for_long() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            time.sleep(0.6)  # while the walltime comes near

    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)]
    answer_signals()
    try:
        with pytest.raises(KeyboardInterrupt) as raised:
            work(save_for_long, 0.3, submission)
        assert not isinstance(raised.value, TimeIsUp)
        assert submission.jobs == ("11",)
    finally:
        told_to_stop.clear()
        for number, handler in zip((signal.SIGTERM, signal.SIGHUP), before, strict=True):
            signal.signal(number, handler)


# ---------------------------------------------------------------- ranks


@pytest.mark.parametrize(("number", "role"), [(0, "driver"), (1, "scheduler"), (3, "worker")])
def test_a_rank_knows_what_it_is(number: int, role: str) -> None:
    rank = this_rank({**STEP, "SLURM_PROCID": str(number)})
    assert (rank.role, rank.workers, rank.step) == (role, 2, "7.0.0")


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "this process is none"),
        ({"SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}, "this process is none"),  # a batch script
        ({**STEP, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}, "started 2 tasks"),
    ],
)
def test_what_is_no_rank_or_one_of_too_few_is_told(environ: dict[str, str], words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        this_rank(environ)


def test_ranks_of_other_sruns_and_starts_do_not_meet(out: Path) -> None:
    folder = OutputFolder(out)
    meetings = {Meeting.of(folder, Rank(0, 3, step)) for step in ("7.0.0", "7.1.0", "7.0.1")}
    assert len(meetings) == 3
    first = Meeting.of(folder, Rank(0, 3, "7.0.0"))
    first.tell("driver", {"a": 1})
    assert Meeting.of(folder, Rank(2, 3, "7.0.0")).wait_for("driver", 1.0) == {"a": 1}
    with pytest.raises(ClusterError, match="the driver did not appear within 0"):
        Meeting.of(folder, Rank(2, 3, "7.1.0")).wait_for("driver", 0.01)
    first.end()
    assert not first.folder.exists()


# ---------------------------------------------------------------- the dashboard


@pytest.mark.parametrize(
    ("login", "host", "command"),
    [
        ("login1", "n7", "ssh -N -J login1 -L 8787:localhost:8787 n7"),
        ("login1", "login1", "ssh -N -L 8787:localhost:8787 login1"),
    ],
)
def test_the_way_to_the_dashboard_is_through_the_login_node(
    login: str, host: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_SUBMIT_HOST", "of-the-job-before")
    monkeypatch.setenv("CLIMDASK_LOGIN", login)
    assert tunnel("http://localhost:8787/a1b2/status", host) == command

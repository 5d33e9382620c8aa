"""What is particular to each batch system, and the registry of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from climdask.clusters.batchsystems import SYSTEMS, register, system_of
from climdask.clusters.batchsystems.slurm import SLURM
from climdask.clusters.driverscript import driver_script
from climdask.clusters.jobscript import inheritable, inside_job
from climdask.clusters.ownjob import own_job
from climdask.clusters.tunnel import login_host
from climdask.errors import ClusterError, ConfigError, OutputError
from climdask.monitoring.processes import Job
from climdask.outputs.folder import OutputFolder
from climdask.planning.plan import Limits
from climdask.running.run import run
from climdask.running.submission import Submission, check_node, submit
from climdask.running.submitview import described, waiting_line
from climdask.settings.profiles import (
    KINDS,
    BatchProfile,
    LocalProfile,
    load_profile,
)
from tests.samples import write_archive
from tests.workflows import small

BATCH_KINDS = ["slurm", "slurm-runner", "pbs", "lsf", "sge", "oar", "htcondor"]
EXPERIMENTAL = {"pbs", "lsf", "oar", "htcondor"}
SHIPPED = Path(__file__).parents[2] / "cluster"
INSIDE = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID", "OAR_JOB_ID", "_CONDOR_JOB_AD")
LOGIN = ("SLURM_SUBMIT_HOST", "PBS_O_HOST", "LSB_SUB_HOST", "SGE_O_HOST")


def profile(kind: str, **keys: Any) -> BatchProfile:
    made = load_profile({"kind": kind, "cores": 1, "memory": "512MiB", **keys})
    assert isinstance(made, BatchProfile)
    return made


# ---------------------------------------------------------------- the registry


def test_each_kind_of_batch_profile_belongs_to_one_batch_system() -> None:
    classes = {kind: c for kind, c in KINDS.items() if issubclass(c, BatchProfile)}
    assert {kind for system in SYSTEMS.values() for kind in system.kinds} == set(classes)
    for kind, made in classes.items():
        assert made in (system_of(kind).profile, system_of(kind).runner)
        assert len([system for system in SYSTEMS.values() if kind in system.kinds]) == 1


def test_a_runner_is_another_way_to_use_slurm() -> None:
    assert system_of("slurm-runner") is system_of("slurm") is SLURM
    assert SLURM.submits_workers(profile("slurm"))
    assert not SLURM.submits_workers(profile("slurm-runner"))
    assert "slurm-runner" not in SYSTEMS


def test_a_kind_of_no_batch_system_is_told() -> None:
    with pytest.raises(ConfigError, match=r'kind: "slrum" is no batch system; .*mean "slurm"\?$'):
        system_of("slrum")


def test_a_kind_has_one_batch_system_and_one_class_of_profiles() -> None:
    class ThisMachine(BatchProfile):
        kind: Literal["local"]

    before = dict(SYSTEMS), dict(KINDS)
    with pytest.raises(ValueError, match="kind: slurm: another batch system has this kind"):
        register(replace(SLURM, title="Other"))
    with pytest.raises(ValueError, match="kind: local: another class of profiles has this kind"):
        register(replace(SLURM, profile=ThisMachine, runner=None))
    register(SLURM)  # a second time changes nothing
    assert before == (SYSTEMS, KINDS)


def test_profiles_can_be_read_before_anything_of_clusters_is_imported() -> None:
    code = (
        "import sys\n"
        "from climdask.settings.profiles import load_profile\n"
        f"for kind in {BATCH_KINDS}:\n"
        "    load_profile({'kind': kind, 'cores': 1, 'memory': '1GiB'})\n"
        "assert not any(name.startswith('climdask.clusters') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=SHIPPED.parent, check=True, timeout=60)


# ---------------------------------------------------------------- jobs and their environment


@pytest.mark.parametrize(
    ("kind", "ids"),
    [
        ("slurm", ["4242", "4242_7"]),
        ("slurm-runner", ["4242"]),
        ("pbs", ["7", "7.server", "7[].server", "7[3].pbs-1.site.org"]),
        ("lsf", ["3", "3[12]"]),
        ("sge", ["4", "4.2"]),
        ("oar", ["5"]),
        ("htcondor", ["6", "6.0"]),
    ],
)
def test_ids_of_jobs_are_told_from_options_and_words(kind: str, ids: list[str]) -> None:
    system = system_of(kind)
    assert all(map(system.is_job_id, ids))
    odd = ["", "-u", "all", "-1", "4 5", "4,5", "4;ls", "4\n", "*", "٤", "--help", "0x4"]
    assert [text for text in odd if system.is_job_id(text)] == []


@pytest.mark.parametrize(
    ("environ", "job"),
    [
        ({"OAR_JOB_ID": "5"}, Job("oar", "5", True)),
        ({"LSB_JOBID": "3", "LSB_INTERACTIVE": "Y"}, Job("lsf", "3", False)),
        ({"JOB_ID": "4"}, Job("sge", "4", False)),
        ({"JOB_ID": "4-nightly", "ENVIRONMENT": "BATCH"}, None),
        # Some sites of SLURM set variables of PBS; other programs set JOB_ID.
        (
            {"JOB_ID": "9", "PBS_JOBID": "12", "SLURM_JOB_ID": "12", "ENVIRONMENT": "BATCH"},
            Job("slurm", "12", True),
        ),
        ({"JOB_ID": "9", "OAR_JOB_ID": "5"}, Job("oar", "5", True)),
    ],
)
def test_the_own_job_is_that_of_the_system_which_tells_it(
    environ: dict[str, str], job: Job | None
) -> None:
    assert own_job(environ) == job


@pytest.fixture
def _on_a_login_node(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*INSIDE, *LOGIN, "CLIMDASK_LOGIN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_on_a_login_node")
@pytest.mark.parametrize("name", INSIDE)
def test_the_inside_of_a_job_is_told_from_a_login_node(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not inside_job()
    monkeypatch.setenv(name, "1")
    assert inside_job()


@pytest.mark.usefixtures("_on_a_login_node")
@pytest.mark.parametrize("name", LOGIN)
def test_the_host_that_submitted_a_job_is_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "login3")
    assert login_host() == "login3"
    monkeypatch.setenv("CLIMDASK_LOGIN", "login1")
    assert login_host() == "login1", "the first of a row of jobs"


def test_only_what_describes_a_job_is_kept_from_the_next() -> None:
    inside = {"PBS_JOBID": "7", "PBS_O_HOST": "x", "SBATCH_ACCOUNT": "mine"}
    assert inheritable(inside) == inside


# ---------------------------------------------------------------- what they can do


@pytest.mark.parametrize(
    ("kind", "line"),
    [("slurm", "sbatch /o/x.sh"), ("slurm-runner", "sbatch /o/x.sh"), ("lsf", "bsub < /o/x.sh"),
     ("pbs", "qsub /o/x.sh"), ("sge", "qsub /o/x.sh"), ("oar", "oarsub /o/x.sh")],
)  # fmt: skip
def test_a_drivers_script_says_how_to_put_it_into_the_queue_again(kind: str, line: str) -> None:
    made = driver_script(profile(kind), Path("/o/x.sh"), Limits(1 << 30, 1, 1), ["run"])
    told = f"# Made by climdask submit; what stops before its end goes on with: {line}"
    assert told in made.splitlines()


@pytest.mark.parametrize(
    ("kind", "command"),
    [("slurm", "scancel --quiet 7 8"), ("slurm-runner", "scancel --quiet 7 8"),
     ("pbs", "qdel 7 8"), ("sge", "qdel 7 8"), ("lsf", "bkill 7 8"), ("oar", "oardel 7 8"),
     ("htcondor", "condor_rm 7 8")],
)  # fmt: skip
def test_jobs_are_ended_by_the_command_of_their_system(kind: str, command: str) -> None:
    assert system_of(kind).cancel_command(["7", "8"]) == command.split()


@pytest.mark.parametrize("kind", BATCH_KINDS)
def test_only_systems_that_were_never_tried_are_experimental(kind: str) -> None:
    system = system_of(kind)
    expected = (
        f"kind: {kind} is experimental: its job scripts are tested as text, not on a real "
        f"{system.title}"
    )
    assert system.caution == (expected if kind in EXPERIMENTAL else "")
    first = (SHIPPED / f"{kind}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# Experimental:") == (kind in EXPERIMENTAL)


@pytest.mark.parametrize(("kind", "n_told"), [("pbs", 1), ("sge", 0)])
def test_a_run_tells_once_that_its_batch_system_is_experimental(
    kind: str, n_told: int, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_archive(tmp_path / "in", first=2010, last=2015)
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    with pytest.raises(ClusterError, match="qsub is not found"):
        run(small(archive.root, out), cluster=profile(kind), report=said.append)
    assert said == [f"note: {system_of(kind).caution}"] * n_told


QSUB = """#!/bin/sh
echo 'Your job 42 ("climdask-driver") has been submitted'
"""
QSTAT = """#!/bin/sh
if [ $# = 0 ]; then echo "42 0.5 climdask-d me $STATE 11/26/2026 10:00:00 1"; exit; fi
echo "job_number: 42"; echo "scheduling info: no queue has room"
"""


@pytest.fixture
def _gridengine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that stand in for Grid Engine's, with one job, which waits."""
    for name, text in (("qsub", QSUB), ("qdel", QSUB), ("qstat", QSTAT)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("STATE", "qw")


@pytest.mark.usefixtures("_gridengine")
@pytest.mark.parametrize(("kind", "n_told"), [("pbs", 1), ("sge", 0)])
def test_a_submission_tells_once_that_its_batch_system_is_experimental(
    kind: str, n_told: int, tmp_path: Path, out: Path
) -> None:
    archive = write_archive(tmp_path / "in", first=2010, last=2015)
    lines = [*described(*submit(small(archive.root, out), profile(kind)))]
    assert lines.count(f"note: {system_of(kind).caution}") == n_told
    assert "experimental" not in "".join(lines[n_told:])


@pytest.mark.usefixtures("_gridengine")
def test_every_system_that_can_be_asked_refuses_a_second_job_for_a_folder(
    tmp_path: Path, out: Path
) -> None:
    archive = write_archive(tmp_path / "in", first=2010, last=2015)
    submission, _ = submit(small(archive.root, out), profile("sge"))
    assert waiting_line(submission).startswith(
        "job 42 was submitted (PENDING, no queue has room); script "
    )
    with pytest.raises(OutputError, match=r"job 42 for .* is in the queue already \(PENDING\)"):
        submit(small(archive.root, out), profile("sge"))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("slurm", "7.log"), ("slurm-runner", "7.log"), ("lsf", "7.log"), ("oar", "7.log"),
     ("pbs", ""), ("sge", "")],
)  # fmt: skip
def test_the_log_is_told_where_climdask_names_it_and_else_its_folder(
    kind: str, name: str, tmp_path: Path
) -> None:
    made = Submission(OutputFolder(tmp_path).submissions / "1")
    made.folder.mkdir(parents=True)
    made.cluster.write_text(yaml.safe_dump({"kind": kind, "cores": 1, "memory": "1GiB"}))
    (made.folder / "jobs").write_text("6\n7\n")
    assert made.latest_log == made.folder / name


REFUSING = """#!/bin/sh
[ "$1" = --test-only ] || exit 3
echo "sbatch: error: not from here" >&2; exit 1
"""


def test_a_node_that_may_not_submit_is_asked_only_where_jobs_will_be_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sbatch", "scancel", "qsub", "qdel"):
        (tmp_path / name).write_text(REFUSING)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for silent in (LocalProfile(), profile("slurm-runner"), profile("sge"), profile("pbs")):
        check_node(silent)
    cure = r"not from here\ncluster: use kind: slurm-runner \(cluster/slurm-runner.yaml\)"
    with pytest.raises(ClusterError, match=cure):
        check_node(profile("slurm"))

"""Workers as jobs of a real SLURM: cluster/sandbox.sh, two nodes on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import distributed
import pytest
import yaml

from climdask.clusters.credentials import credentials_in, temporary_credentials
from climdask.errors import ClusterError
from climdask.inputs.access import read_lines
from climdask.monitoring.progress import RunProgress
from climdask.outputs.folder import OutputFolder
from climdask.running.run import run
from climdask.settings.workflow import Workflow
from tests.readback import contents, leftovers
from tests.samples import write_archive
from tests.sandbox import Sandbox
from tests.tools import identity, wait_for
from tests.workflows import small

VARIABLES = ["pr", "tas"]
ROOT = Path(__file__).parents[2]

# Makes each reading slow, in the workers of jobs that ask for it.
SLOW = """
import os, sys
if os.environ.get("SLOW_READS") and "--multiprocessing-fork" in sys.orig_argv:
    import time
    from climdask.execution import tasks
    real = tasks.read_years
    def slow(*a, **k):
        time.sleep(float(os.environ["SLOW_READS"]))
        return real(*a, **k)
    tasks.read_years = slow
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    write_archive(root, variables=VARIABLES, first=2000, last=2019, calendar="noleap")
    return root


def flow(archive: Path, out: Path) -> Workflow:
    return small(archive, out, variables=VARIABLES, run={"checkpoint_every": 4})


@pytest.fixture(scope="module")
def undisturbed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("undisturbed")
    assert run(flow(archive, out), serial=True).ok
    return contents(out)


@pytest.fixture
def slow(tmp_path: Path) -> list[str]:
    """The prologue of jobs that read slowly."""
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow/sitecustomize.py").write_text(SLOW)
    return [f'export PYTHONPATH="{tmp_path}/slow:{ROOT}" SLOW_READS=0.2']


def profile(**keys: Any) -> dict[str, Any]:
    """Return a profile of small jobs for the sandbox."""
    small_jobs = {"kind": "slurm", "cores": 1, "memory": "512MiB", "jobs": 2, "interface": "lo"}
    return {**small_jobs, "prologue": [f'export PYTHONPATH="{ROOT}"'], "dashboard": "off", **keys}


def left(slurm: Sandbox) -> list[str]:
    """Return the jobs that are not over."""
    return [job for job, state in slurm.queue().items() if state != "COMPLETING"]


def normals(out: Path) -> int:
    return len(list(out.rglob("*normal.nc")))


def no_secrets(*roots: Path) -> None:
    """Look for keys in everything that a run leaves, and for folders of credentials."""
    for root in roots:
        assert not list(root.rglob("tls"))
        for path in root.rglob("*"):
            assert not path.is_file() or b"PRIVATE KEY" not in path.read_bytes(), path


# ---------------------------------------------------------------- a run


def test_a_run_from_a_login_node_has_the_bits_of_a_local_one(
    slurm: Sandbox, archive: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "my out"  # whose blank must be quoted in the script
    seen: list[RunProgress] = []
    strangers: list[str] = []
    scripts: list[str] = []
    secrets: list[str] = []

    @contextmanager
    def view(progress: RunProgress) -> Iterator[None]:
        wait_for(lambda: len(slurm.queue()) == 2)
        seen.append(RunProgress(dict(progress.chains), progress.dashboard, progress.scheduler))
        seen[0].jobs.update(progress.jobs)
        (tls,) = out.glob(".climdask/runs/*/tls")
        assert tls.stat().st_mode & 0o777 == 0o700
        secrets.append((tls / "key.pem").read_text())
        for job in progress.jobs:
            scripts.append(slurm.call("scontrol", "write", "batch_script", job, "-"))
            scripts.append(slurm.call("scontrol", "show", "job", job))
        plain = progress.scheduler.replace("tls://", "tcp://")
        with pytest.raises((OSError, TimeoutError)) as refused:
            identity(plain, distributed.Security())
        strangers.append(type(refused.value).__name__)
        security = credentials_in(tls).security
        with distributed.Client(progress.scheduler, security=security, set_as_default=False) as own:
            scripts.extend(own.run(lambda: str(dict(os.environ))).values())
            scripts.extend(own.run(lambda: Path("/proc/self/cmdline").read_text()).values())
            assert (
                own.run(
                    lambda: (
                        os.environ["OMP_NUM_THREADS"]
                        + os.environ["MALLOC_TRIM_THRESHOLD_"]
                        + os.environ["HDF5_USE_FILE_LOCKING"]
                    )
                ).popitem()[1]
                == "167108864FALSE"
            )
        yield

    told: list[str] = []
    result = run(flow(archive, out), cluster=profile(), view=view, report=told.append)
    assert result.ok, result.failures
    assert contents(out) == undisturbed
    assert result.audit.holds
    assert (result.audit.opens, result.audit.files) == (40, 40)
    assert left(slurm) == []
    assert any("the driver and the Dask scheduler run here" in line for line in told)
    assert set(seen[0].jobs.values()) <= {"submitted", "running"}
    assert len(seen[0].jobs) == 2
    assert seen[0].scheduler.startswith("tls://127.0.0.1:")
    assert seen[0].dashboard == ""
    assert strangers
    assert len(scripts) >= 6
    for text in scripts:
        assert "PRIVATE KEY" not in text
        assert secrets[0].splitlines()[1] not in text
    no_secrets(out)
    assert len(list(out.rglob("jobs/*.log"))) == 2
    # No data file is opened on a login node: the headers are read by a worker too.
    traces = OutputFolder(out).trace(result.run_id).iterdir()
    lines = [line for trace in traces for line in read_lines(trace)[0]]
    assert {"probe", "read"} <= {line.get("purpose") for line in lines}
    assert str(os.getpid()) not in {line["process"].split("-")[0] for line in lines}


# ---------------------------------------------------------------- what SLURM refuses


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"partition": "nowhere"}, "invalid partition specified: nowhere"),
        ({"partition": "short", "walltime": "02:00:00"}, "time limit"),
        ({"memory": "900GiB"}, "Requested node configuration is not available"),
        ({"cores": 500}, "More processors requested than permitted"),
        ({"directives": ["--licenses=none-such"]}, "Invalid license specification"),
    ],
)
def test_a_job_that_is_refused_is_told_in_slurms_words(
    slurm: Sandbox, archive: Path, out: Path, keys: dict[str, Any], words: str
) -> None:
    with pytest.raises(ClusterError) as error:
        run(flow(archive, out), cluster=profile(**keys))
    assert str(error.value).startswith("SLURM refuses the job\nsbatch: error: ")
    assert words in str(error.value)
    assert left(slurm) == []
    assert not out.exists(), "nothing is left"


def test_a_prologue_that_fails_is_told_with_the_end_of_its_log(
    slurm: Sandbox, archive: Path, out: Path
) -> None:
    keys = profile(prologue=["echo no such environment >&2", "exit 3"], pending_after=1)
    with pytest.raises(ClusterError, match=r"FAILED, NonZeroExitCode\)\n.*log:\nno such environ"):
        run(flow(archive, out), cluster=keys)
    assert left(slurm) == []


# ---------------------------------------------------------------- what is survived


def test_jobs_that_are_cancelled_are_replaced_and_the_bits_are_the_same(
    slurm: Sandbox, archive: Path, out: Path, undisturbed: dict[str, Any], slow: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("climdask.clusters.jobwatch.LOST_AFTER", 2.0)
    lost: list[str] = []

    def trouble() -> None:
        first = set(wait_for(lambda: normals(out) > 1 and running(slurm)))
        lost.append(min(first))
        slurm.call("scancel", lost[0])  # one
        wait_for(lambda: set(running(slurm)) - first)
        wait_for(lambda: normals(out) > 6)
        slurm.call("scancel", *slurm.queue())  # all that there are

    thread = threading.Thread(target=trouble)
    thread.start()
    told: list[str] = []
    result = run(flow(archive, out), cluster=profile(prologue=slow), report=told.append)
    thread.join()
    assert result.ok, result.failures
    assert contents(out) == undisturbed
    assert result.audit.holds
    assert result.audit.opens > 50
    assert len([line for line in told if "lost" in line]) >= 2, told
    assert any(f"job {lost[0]} lost, replaced by job" in line for line in told)
    assert leftovers(out) == []
    no_secrets(out)


def running(slurm: Sandbox) -> list[str]:
    return [job for job, state in slurm.queue().items() if state == "RUNNING"]


def start(archive: Path, out: Path, tmp_path: Path, slurm: Sandbox, **keys: Any) -> Any:
    """Start a run by the command line."""
    workflow, cluster = tmp_path / "workflow.yaml", tmp_path / "cluster.yaml"
    workflow.write_text(yaml.safe_dump(flow(archive, out).model_dump(mode="json")))
    cluster.write_text(yaml.safe_dump(profile(**keys)))
    return subprocess.Popen(
        [sys.executable, "-m", "climdask.cli", "run", str(workflow), "--cluster", str(cluster)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**slurm.env, "XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]},
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_interrupted_leaves_no_job(
    slurm: Sandbox, archive: Path, out: Path, tmp_path: Path, slow: list[str], number: int
) -> None:
    process = start(archive, out, tmp_path, slurm, prologue=slow)
    wait_for(lambda: len(running(slurm)) == 2 or process.poll() is not None)
    process.send_signal(number)
    time.sleep(0.03)
    process.send_signal(number)  # who is impatient is not answered by leftover jobs
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err == "climdask: error: interrupted; run again to go on from here\n"
    assert left(slurm) == []
    no_secrets(out)


def test_jobs_of_a_driver_that_was_killed_end_and_the_next_run_goes_on(
    slurm: Sandbox, archive: Path, out: Path, tmp_path: Path, slow: list[str],
    undisturbed: dict[str, Any],
) -> None:  # fmt: skip
    process = start(archive, out, tmp_path, slurm, prologue=slow)
    wait_for(lambda: normals(out) > 2 or process.poll() is not None)
    process.kill()
    process.communicate(timeout=60)
    wait_for(lambda: not slurm.queue())
    assert list(out.glob(".climdask/runs/*/tls")), "a killed driver cannot tidy up"
    there = normals(out)
    result = run(flow(archive, out), cluster=profile())
    assert result.ok
    assert result.plan.n_normals <= len(undisturbed) - there + 1
    assert contents(out) == undisturbed
    no_secrets(out)


def test_a_driver_inside_a_job_submits_its_workers_from_there(
    slurm: Sandbox, archive: Path, out: Path, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    workflow, cluster = tmp_path / "workflow.yaml", tmp_path / "cluster.yaml"
    workflow.write_text(yaml.safe_dump(flow(archive, out).model_dump(mode="json")))
    cluster.write_text(yaml.safe_dump(profile()))
    # What is set inside a job counts more for sbatch than what a script says.
    command = "export SBATCH_PARTITION=nowhere SBATCH_MEM_PER_CPU=64\n"
    command += f"cd {ROOT} && {sys.executable} -m climdask.cli run {workflow} --cluster {cluster}"
    env = {**slurm.env, "XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}
    subprocess.run(
        ["sbatch", "--mem-per-cpu=400", "-n1", f"--output={tmp_path}/log", "--wrap", command],
        env=env, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    wait_for(lambda: left(slurm) == [])
    said = (tmp_path / "log").read_text()
    assert "32 of 32 normals" in said
    assert "the driver and the Dask scheduler run here" not in said
    assert contents(out) == undisturbed


def test_jobs_that_wait_are_explained_and_the_sites_own_credentials_are_used_and_kept(
    slurm: Sandbox, archive: Path, out: Path, tmp_path: Path
) -> None:
    told: list[str] = []

    def report(line: str) -> None:
        told.append(line)
        if "in the queue" in line:
            slurm.call("scontrol", "update", f"jobid={left(slurm)[0]}", "starttime=now")

    site = temporary_credentials(tmp_path / "site")
    security = {"ca_file": str(site.ca_file), "cert": str(site.cert), "key": str(site.key)}
    keys = profile(jobs=1, directives=["--begin=now+1hour"], pending_after=1, security=security)
    assert run(flow(archive, out), cluster=keys, report=report).ok
    assert any(line.endswith(": BeginTime") and "in the queue: job" in line for line in told)
    assert site.key.exists()
    assert not list(out.rglob("tls"))

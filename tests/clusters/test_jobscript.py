"""Job scripts, as text: no batch system is needed."""

from __future__ import annotations

import builtins
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask
import pytest

from climdask.cli import main
from climdask.clusters import jobscript
from climdask.clusters.batchsystems import SYSTEMS
from climdask.clusters.jobscript import (
    OWN_SCRATCH,
    check_programs,
    import_jobqueue,
    inheritable,
    job_header,
    job_script,
    lifetime,
    setup_lines,
)
from climdask.errors import ClusterError, ConfigError
from climdask.settings.profiles import BatchProfile, load_profile

KINDS = ["slurm", "pbs", "lsf", "sge", "oar", "htcondor"]


def profile(kind: str, **keys: Any) -> BatchProfile:
    made = load_profile({"kind": kind, "cores": 4, "memory": "8GiB", **keys})
    assert isinstance(made, BatchProfile)
    return made


FULL = {
    "partition": "fast",
    "account": "abc",
    "walltime": "1-02:30:00",
    "processes": 2,
    "modules": ["gcc", "python/3.11"],
    "prologue": ["source venv/bin/activate"],
    "python": "/opt/my python/bin/python",
    "interface": "ib0",
    "worker_ports": "9000:9100",
    "nanny_ports": 9200,
    "scratch": "$TMPDIR/me",
}


# What each batch system calls queue, account, time, cores, memory, log, and not to start again.
@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        (
            "slurm",
            ["#SBATCH -p fast", "#SBATCH -A abc", "#SBATCH -t 26:30:00", "#SBATCH -n 1",
             "#SBATCH --cpus-per-task=4", "#SBATCH --mem=8192M", "#SBATCH --no-requeue",
             "#SBATCH --output=/out/jobs/%j.log", "#SBATCH --constraint=x", "#SBATCH -J climdask"],
        ),
        (
            "pbs",
            ["#PBS -q fast", "#PBS -A abc", "#PBS -l walltime=26:30:00",
             "#PBS -l select=1:ncpus=4:mem=8192MB", "#PBS -r n", "#PBS -j oe",
             "#PBS -o /out/jobs/", "#PBS --constraint=x"],
        ),
        (
            "lsf",
            ["#BSUB -q fast", '#BSUB -P "abc"', "#BSUB -W 26:30", "#BSUB -n 4",
             '#BSUB -R "span[hosts=1]"', "#BSUB -M 8589935", "#BSUB -rn",
             "#BSUB -o /out/jobs/%J.log", "#BSUB --constraint=x"],
        ),
        (
            "sge",
            ["#$ -q fast", "#$ -P abc", "#$ -l h_rt=26:30:00", "#$ -r no", "#$ -j y",
             "#$ -S /bin/bash", "#$ -o /out/jobs/", "#$ --constraint=x"],
        ),
        (
            "oar",
            ["#OAR -q fast", "#OAR --project abc", "#OAR -l /nodes=1/core=4,walltime=26:30:00",
             "#OAR -O /out/jobs/%jobid%.log", "#OAR -E /out/jobs/%jobid%.log",
             "#OAR --constraint=x"],
        ),
    ],
)  # fmt: skip
def test_a_header_says_what_the_profile_says(kind: str, lines: list[str]) -> None:
    made = profile(kind, directives=["--constraint=x"], **FULL)
    script = job_script(made, logs=Path("/out/jobs")).splitlines()
    assert set(lines) <= set(script)
    assert set(job_header(made, logs=Path("/out/jobs"), name="climdask").splitlines()) >= set(lines)


def test_a_submit_description_of_htcondor_says_what_the_profile_says() -> None:
    keys = {k: v for k, v in FULL.items() if k != "partition"}
    made = profile("htcondor", disk="10GiB", directives=['Requirements = (x == "y")'], **keys)
    script = job_script(made, logs=Path("/out/jobs"))
    for line in (
        "accounting_group = abc", "MY.DaskWorkerCores = 4", f"MY.DaskWorkerMemory = {8 << 30}",
        f"MY.DaskWorkerDisk = {10 << 30}", 'Requirements = (x == "y")',
        "Output = /out/jobs/$(ClusterId).log", "Executable = /bin/sh",
    ):  # fmt: skip
        assert line in script.splitlines()
    assert (
        "module load gcc python/3.11; source venv/bin/activate; export OMP_NUM_THREADS=1" in script
    )
    assert '--local-directory ""$TMPDIR/me""' in script


@pytest.mark.parametrize("kind", KINDS)
def test_the_worker_is_started_as_the_plan_counts_on_it(kind: str) -> None:
    keys = {k: v for k, v in FULL.items() if k != "partition"}
    script = job_script(profile(kind, **keys)).replace("''", "'").replace('""', '"')
    for words in (
        "-m distributed.cli.dask_worker tls://SCHEDULER:PORT --name climdask-0 --nthreads 2",
        f"--memory-limit {((8 << 30) - (96 << 20)) // 2}B --nworkers 2 --nanny",
        "--death-timeout 60",
        # 26.5 h: the last worker goes a twentieth before the end, the others up to a fifth more.
        "--lifetime 81090s --lifetime-stagger 9540s",
        "--worker-port 9000:9100 --nanny-port 9200",
        "--tls-key OUT_DIR/.climdask/runs/RUN/tls/key.pem",
        "--interface ib0 --protocol tls://",
        "--dashboard-address 127.0.0.1:0 --no-dashboard",
        "'/opt/my python/bin/python'",
    ):
        assert words in script, words
    assert not Path("OUT_DIR").exists(), "rendering makes no folder"


def test_modules_come_first_then_the_prologue_then_the_environment() -> None:
    first, modules, prologue, environment = setup_lines(profile("slurm", **FULL))
    assert (modules, prologue) == ("module load gcc python/3.11", "source venv/bin/activate")
    assert first.endswith("|| . /etc/profile")
    for variable in (
        "OMP_NUM_THREADS=1", "MKL_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "BLOSC_NTHREADS=1",
        "NUMEXPR_NUM_THREADS=1", "HDF5_USE_FILE_LOCKING=FALSE", "MALLOC_TRIM_THRESHOLD_=67108864",
        "MALLOC_MMAP_THRESHOLD_=8388608",
    ):  # fmt: skip
        assert variable in environment.split()
    assert len(setup_lines(profile("slurm"))) == 1, "without modules none are looked for"


def test_what_dask_is_told_in_the_environment_is_what_it_understands() -> None:
    told = {k: v for k, v in jobscript.ENVIRONMENT.items() if k.startswith("DASK_")}
    found = dask.config.collect_env(told)
    assert dask.config.get("distributed.worker.profile.interval", config=found) == "100ms"
    assert dask.config.get("distributed.admin.tick.interval", config=found) == "100ms"


def test_the_lines_before_python_are_shell_that_works() -> None:
    made = profile("slurm", prologue=['export WHO="a b"'])
    lines = "\n".join([*setup_lines(made), 'echo "$WHO $OMP_NUM_THREADS $HDF5_USE_FILE_LOCKING"'])
    done = subprocess.run(["bash", "-c", lines], capture_output=True, text=True, check=True)
    assert done.stdout == "a b 1 FALSE\n"


def test_names_with_blanks_are_quoted() -> None:
    script = job_script(profile("slurm"), logs=Path("/my out/jobs"))
    assert "#SBATCH '--output=/my out/jobs/%j.log'" in script
    command = next(line for line in script.splitlines() if "dask_worker" in line)
    words = shlex.split(command)
    assert words[words.index("--tls-key") + 1] == "/my out/tls/key.pem"
    script = job_script(profile("sge"), logs=Path("/my out/jobs"))
    assert {"#$ -S /bin/bash", "#$ -o '/my out/jobs/'"} <= set(script.splitlines())
    script = job_script(profile("htcondor"), logs=Path("/my out/jobs"))
    assert "Output = /my out/jobs/$(ClusterId).log" in script.splitlines()


@pytest.mark.parametrize("walltime", [60, 300, 600, 3600, 4 * 3600, 24 * 3600, 7 * 86400])
def test_every_worker_leaves_before_the_walltime_and_not_all_at_once(walltime: float) -> None:
    after, stagger = lifetime(walltime)
    assert 0.5 * walltime < after - stagger < after + stagger < walltime
    assert walltime - (after + stagger) >= min(60, walltime / 4)
    assert stagger >= walltime / 10


def test_what_a_job_was_given_is_not_handed_on_to_its_own_jobs() -> None:
    inside = {
        "SLURM_JOB_ID": "1", "SLURM_MEM_PER_CPU": "100", "SBATCH_PARTITION": "x",
        "SLURM_CONF": "/etc/slurm.conf", "PATH": "/bin", "SLURMY": "kept",
    }  # fmt: skip
    assert inheritable(inside) == {
        "SLURM_CONF": "/etc/slurm.conf",
        "PATH": "/bin",
        "SLURMY": "kept",
    }
    outside = {"SBATCH_ACCOUNT": "mine", "PATH": "/bin"}
    assert inheritable(outside) == outside, "what the user has set for sbatch counts"


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_without_scratch_gets_a_folder_that_is_its_own_and_goes_with_it(
    kind: str, tmp_path: Path
) -> None:
    assert "mktemp" in job_script(profile(kind))
    assert "mktemp" not in job_script(profile(kind, scratch="$TMPDIR"))
    with dask.config.set({"temporary-directory": "/fast"}):
        assert "mktemp" not in job_script(profile(kind)), "the user's settings have one"
    code = f'umask 0; {OWN_SCRATCH}; stat -c "%a %n" "$DASK_TEMPORARY_DIRECTORY"'
    said = subprocess.run(
        ["sh", "-c", code],
        env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said.startswith(f"700 {tmp_path}/")
    assert list(tmp_path.iterdir()) == []


def test_macros_of_htcondor_in_values_mean_themselves() -> None:
    made = profile("htcondor", python="/a$(X)/$ENV(HOME)/$$(Y)", prologue=["A=$(id -u)"])
    script = job_script(made)
    assert "/a$(DOLLAR)(X)/$(DOLLAR)ENV(HOME)/$(DOLLAR)$(DOLLAR)(Y)" in script
    assert "A=$(DOLLAR)(id -u)" in script
    assert "$(ClusterId).log" in script, "its own patterns stay"


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"directives": ["#SBATCH --x"]}, r'leave out the beginning of "#SBATCH --x"'),
        ({"worker_ports": "9100:9000"}, r"worker_ports: .*first and last in quotes"),
        ({"scheduler_ports": "all"}, r"scheduler_ports: .*expected a port"),
        ({"nanny_ports": "1:2:3"}, r"nanny_ports"),
        ({"walltime": "soon"}, r"walltime: .*hours:minutes:seconds"),
        ({"jobs": 0}, r"jobs"),
    ],
)
def test_a_wrong_value_is_named(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        profile("slurm", **keys)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"partition": "main"}, "HTCondor has none; say what a job needs in directives"),
        ({"directives": ["Requirements"]}, '"Requirements": expected "key = value"'),
    ],
)
def test_what_htcondor_cannot_do_is_told(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        job_script(profile("htcondor", **keys))


def test_too_little_memory_for_the_workers_is_told() -> None:
    with pytest.raises(ConfigError, match=r"memory: 1GiB is too little for 4 workers in a job"):
        job_script(profile("slurm", memory="1GiB", processes=4))


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_system_that_is_not_here_is_told(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=f"{SYSTEMS[kind].submit} is not found.*login node"):
        check_programs(profile(kind))


def test_dask_jobqueue_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name == "dask_jobqueue":
            raise ImportError(f"No module named '{name}'")
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ClusterError, match=r'pip install "climdask\[slurm\]"'):
        import_jobqueue()


IMPORTING = """
import os, signal, threading
from climdask.clusters.jobscript import import_jobqueue, jobqueue_defaults
before = signal.getsignal(signal.SIGINT)
thread = threading.Thread(target=import_jobqueue)
thread.start(); thread.join()
assert import_jobqueue().SLURMCluster
assert signal.getsignal(signal.SIGINT) is before, "Ctrl-C"
assert jobqueue_defaults()["jobqueue"]["slurm"]["queue"] is None
print(sorted(os.listdir(os.environ["DASK_CONFIG"])))
"""


@pytest.mark.slow
def test_importing_dask_jobqueue_leaves_ctrl_c_and_the_users_settings_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("jobqueue: {slurm: {queue: from-my-file}}\n")
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING], env={**os.environ, "DASK_CONFIG": str(tmp_path)},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("['mine.yaml']\n", "")


# ---------------------------------------------------------------- climdask cluster show


@pytest.mark.parametrize("kind", KINDS)
def test_a_shipped_profile_is_shown_without_its_batch_system(
    kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    path = Path(__file__).parents[2] / f"cluster/{kind}.yaml"
    assert main(["cluster", "show", str(path)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("#!")
    assert "dask_worker" in said.out
    assert said.err == ""
    assert not list(tmp_path.iterdir())


def test_a_profile_without_jobs_has_no_script_to_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "local.yaml"
    path.write_text("kind: local\n")
    assert main(["cluster", "show", str(path)]) == 2
    assert "its workers are no jobs of a batch system" in capsys.readouterr().err

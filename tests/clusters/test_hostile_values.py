"""Blanks, quotes and commands in profiles and paths: scripts take them as they are."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from climdask.cli import main
from climdask.clusters.batchsystems import SYSTEMS
from climdask.clusters.credentials import credentials_in
from climdask.clusters.driverscript import driver_script
from climdask.clusters.jobqueue import speaking
from climdask.clusters.jobscript import example_job, job_script
from climdask.clusters.tunnel import tunnel
from climdask.errors import ConfigError
from climdask.plaintext import command
from climdask.planning.plan import Limits
from climdask.settings.profiles import BatchProfile, load_profile

SHELL_KINDS = [kind for kind, system in SYSTEMS.items() if system.shell_script]
HOSTILE = """it's $(touch pwned) `touch pwned`; touch pwned "&" # *"""
HEADS = {"slurm": "#SBATCH ", "pbs": "#PBS ", "lsf": "#BSUB ", "sge": "#$ ", "oar": "#OAR "}
# Writes what it was called with, as JSON.
TOLD = (
    '#!/bin/sh\nexec "$REAL_PYTHON" -c \'import json, sys; print(json.dumps(sys.argv[1:]))\' "$@"\n'
)


def profile(kind: str, **keys: Any) -> BatchProfile:
    made = load_profile({"kind": kind, "cores": 1, "memory": "2GiB", **keys})
    assert isinstance(made, BatchProfile)
    return made


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a Python, of a name that is hostile, that tells its arguments."""
    place = tmp_path / HOSTILE.replace("/", "")
    place.mkdir()
    (place / "python").write_text(TOLD)
    (place / "python").chmod(0o755)
    monkeypatch.chdir(place)
    monkeypatch.setenv("REAL_PYTHON", os.path.realpath("/proc/self/exe"))
    return place


def called(script: str, here: Path) -> list[str]:
    """Run a script, and return what its Python was called with; nothing else has happened."""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in here.iterdir()] == ["python"], "a value was obeyed"
    words: list[str] = json.loads(done.stdout)
    return words


@pytest.mark.parametrize("kind", SHELL_KINDS)
def test_a_worker_is_called_with_the_values_as_they_are(
    kind: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/node")
    made = profile(
        kind, partition=HOSTILE, account=HOSTILE, interface=HOSTILE, python=str(here / "python"),
        scratch="$TMPDIR/it's; me",
    )  # fmt: skip
    keys = credentials_in(here / "tls")
    words = called(job_script(made, logs=Path("/logs"), credentials=keys), here)
    told = dict(pairwise(words))
    assert told["--interface"] == HOSTILE
    assert told["--tls-key"] == str(here / "tls/key.pem")
    assert told["--local-directory"] == "/node/it's; me"


@pytest.mark.parametrize("kind", SHELL_KINDS)
def test_directives_say_the_values_as_they_are(kind: str) -> None:
    made = profile(kind, partition=HOSTILE, account=HOSTILE)
    header = job_script(made, logs=Path("/my logs")).splitlines()
    lines = [line.removeprefix(HEADS[kind]) for line in header if line.startswith(HEADS[kind])]
    words = [word for line in lines for word in shlex.split(line)]
    assert words.count(HOSTILE) == 2
    assert any(word.removeprefix("--output=").startswith("/my logs/") for word in words)


# Other systems refuse such a folder.
@pytest.mark.parametrize("kind", ["slurm", "slurm-runner"])
def test_a_driver_is_called_with_the_paths_as_they_are(kind: str, here: Path) -> None:
    made = profile(kind, python=str(here / "python"))
    words = ["run", here / "workflow.yaml", "--log", here / "log"]
    script = driver_script(made, here / "driver.sh", Limits(1 << 30, 1, 1), words)
    launcher = 'srun() { while [ "${1#--}" != "$1" ]; do shift; done; "$@"; }\n'
    started = called(launcher + script.replace("exec srun", "srun"), here)
    assert started[:6] == ["-m", "climdask.cli", *map(str, words)]
    (comment,) = [line for line in script.splitlines() if "goes on with:" in line]
    again = shlex.split(comment.partition("goes on with: ")[2])
    assert again == ["sbatch", str(here / "driver.sh")]


def test_a_script_that_lsf_reads_through_a_shell_has_its_name_quoted() -> None:
    heard: list[Any] = []

    class Job:
        use_stdin = True

        @staticmethod
        async def _call(words: Any, **_: Any) -> str:
            heard.append(words)
            return ""

        async def _submit_job(self, name: str) -> str:
            return await self._call([f"bsub < {name} 2> /dev/null"], shell=True)

    asyncio.run(speaking(Job)()._submit_job("/my out/$(id)/driver.sh"))
    assert heard == [["bsub < '/my out/$(id)/driver.sh'"]]
    made = example_job(profile("lsf"), Path("/logs"))
    assert made.use_stdin, "as dask-jobqueue calls it"


# ---------------------------------------------------------------- patterns of log files


@pytest.mark.parametrize(
    ("kind", "folder", "line"),
    [
        ("slurm", "/o%ut/100%", "#SBATCH --output=/o%%ut/100%%/%j.log"),
        ("slurm", "/$HOME/a:b", "#SBATCH '--output=/$HOME/a:b/%j.log'"),
        ("pbs", "/50%", "#PBS -o /50%/"),
        ("sge", "/50%", "#$ -o /50%/"),
        ("lsf", "/$X", "#BSUB -o '/$X/%J.log'"),
        ("oar", "/$X", "#OAR -O '/$X/%jobid%.log'"),
        ("htcondor", "/a$(X)%", "Output = /a$(DOLLAR)(X)%/$(ClusterId).log"),
    ],
)
def test_a_folder_of_logs_means_itself(kind: str, folder: str, line: str) -> None:
    assert line in job_script(profile(kind), logs=Path(folder)).splitlines()


@pytest.mark.parametrize(
    ("kind", "folder", "sign"),
    [
        ("slurm", "/a\\b", "\\"),
        ("pbs", "/a$b", "$"), ("pbs", "/a:b", ":"), ("pbs", "/a^b", "^"), ("pbs", "/a,b", ","),
        ("sge", "/$JOB_ID", "$"), ("sge", "/a:b", ":"), ("sge", "/a,b", ","),
        ("lsf", "/a%Jb", "%"), ("oar", "/a%jobid%", "%"),
    ],
)  # fmt: skip
def test_a_folder_that_would_mean_something_else_is_refused(
    kind: str, folder: str, sign: str
) -> None:
    with pytest.raises(ConfigError) as error:
        job_script(profile(kind), logs=Path(folder))
    title = SYSTEMS[kind].title
    for words in (
        f'cluster: logs: {folder}: has "{sign}", which {title} does not take as it is',
        "expected a folder without it: change logs in the cluster profile, or output.root",
    ):
        assert words in str(error.value)


@pytest.mark.parametrize("kind", [*SYSTEMS])
def test_a_folder_whose_name_would_begin_a_new_line_is_refused(kind: str) -> None:
    with pytest.raises(
        ConfigError, match=r"cluster: logs: /a\\ntouch .*control character \\n.*output\.root"
    ):
        job_script(profile(kind), logs=Path("/a\ntouch pwned"))


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("sign", ["\n", "\r", "\x1b", "\x00", "\x9b", "\u2028"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("partition", "ma{}in"), ("account", "a{}"), ("interface", "{}lo"), ("python", "/b{}"),
        ("logs", "/l{}"), ("scratch", "/s{}"), ("modules", ["gcc", "py{}"]),
        ("directives", ["--x{}rm"]), ("driver", {"partition": "a{}"}),
        ("driver", {"directives": ["--x{}"]}),
        ("security", {"ca_file": "a{}", "cert": "b", "key": "c"}),
    ],
)  # fmt: skip
def test_a_control_character_in_a_profile_is_refused(key: str, value: Any, sign: str) -> None:
    hostile = json.loads(json.dumps(value).replace("{}", json.dumps(sign)[1:-1]))
    with pytest.raises(ConfigError) as error:
        profile("slurm", **{key: hostile})
    assert f"cluster: {key}" in str(error.value)
    assert "has the control character" in str(error.value)
    assert "remove that character" in str(error.value)
    assert sign not in str(error.value)


@pytest.mark.parametrize("kind", ["local", "external"])
def test_a_control_character_in_any_kind_of_profile_is_refused(kind: str) -> None:
    keys = {"local": {"scratch": "/a\nb"}, "external": {"address": "tcp://a\x1b:1"}}[kind]
    with pytest.raises(ConfigError, match="has the control character"):
        load_profile({"kind": kind, **keys})


def test_a_prologue_may_have_several_lines() -> None:
    made = profile("slurm", prologue=["if true; then\n\texport X=1\nfi"])
    assert "\texport X=1\n" in job_script(made)
    with pytest.raises(ConfigError, match="prologue"):
        profile("slurm", prologue=["echo \x1b[2J"])


@pytest.mark.parametrize(
    "scratch", ["$(id)", "`id`", 'a"; touch pwned; "', "a\\", "$", "a$", "${X:-$(id)}", "$((1))"]
)
def test_scratch_that_a_shell_would_obey_is_refused(scratch: str) -> None:
    with pytest.raises(ConfigError, match=r"scratch: .*shell of the job would obey.*\$TMPDIR/me"):
        profile("slurm", scratch=scratch)


@pytest.mark.parametrize(
    ("scratch", "expanded"),
    [("$TMPDIR/me", "/node/me"), ("$TMPDIR/a b'c;*", "/node/a b'c;*"), ("${NO:-/tmp}/x", "/tmp/x")],
)
def test_variables_in_scratch_are_expanded_on_the_node(scratch: str, expanded: str) -> None:
    script = job_script(profile("slurm", scratch=scratch))
    [given] = [line for line in script.splitlines() if "--local-directory" in line]
    value = given.partition("--local-directory ")[2].partition(" --lifetime")[0]
    done = subprocess.run(
        ["bash", "-c", f"printf %s {value}"],
        env={"TMPDIR": "/node"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == expanded


@pytest.mark.parametrize(
    "words",
    [
        ["run", "w\n.yaml"], ["run", "w.yaml", "--out", "a\x1b[2J"], ["status", "a\rb"],
        ["submit", "w.yaml", "--log", "a\nb"], ["plot", "a\x1b.nc"], ["audit", "a", "b\x07"],
    ],
)  # fmt: skip
def test_a_control_character_in_a_path_of_the_command_line_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "has the control character \\" in said
    assert not set(said) & set("\x1b\r\x07")


# ---------------------------------------------------------------- commands to copy


def test_a_command_that_is_printed_can_be_copied_whatever_is_in_it(tmp_path: Path) -> None:
    made = command("printf", "%s", HOSTILE)
    done = subprocess.run(["bash", "-c", made], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == HOSTILE
    assert not (tmp_path / "pwned").exists()
    assert command("climdask", "status", Path("/out")) == "climdask status /out"


def test_the_way_to_a_dashboard_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIMDASK_LOGIN", "login; rm -rf /")
    made = tunnel("http://localhost:8787/a1/status", "n7")
    assert shlex.split(made) == ["ssh", "-N", "-J", "login; rm -rf /", "-L",
                                 "8787:localhost:8787", "n7"]  # fmt: skip

"""Jobs of any batch system: programs that stand in for it, a few lines of shell each."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from climdask.clusters.jobqueue import free_port, prefix_of, refusal, secret_link
from climdask.errors import ClusterError, ConfigError
from climdask.monitoring.progress import RunProgress
from climdask.running.run import run
from tests.readback import contents
from tests.samples import write_archive
from tests.workflows import small

# Starts the script as a job, whose id is its process group; or refuses it.
SUBMIT = """#!/bin/sh
[ -z "$REFUSE" ] || { echo "$REFUSE" >&2; exit 1; }
script=${1:-/dev/stdin}; copy=$(mktemp -p "$JOBS"); cat "$script" > "$copy"
setsid bash "$copy" > "$copy.log" 2>&1 < /dev/null & id=$!
touch "$JOBS/$id.job"
echo "Job <$id> is submitted"
"""
CANCEL = """#!/bin/sh
for id; do kill -TERM "-$id" 2>/dev/null; touch "$JOBS/$id.cancelled"; done
"""


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for PBS and LSF; the folder where they keep their jobs."""
    programs, jobs = tmp_path / "bin", tmp_path / "jobs"
    jobs.mkdir()
    programs.mkdir()
    for name, text in (("qsub", SUBMIT), ("qdel", CANCEL), ("bsub", SUBMIT), ("bkill", CANCEL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("JOBS", str(jobs))
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)  # inherited by stand-ins only
    return jobs


def profile(kind: str, **keys: Any) -> dict[str, Any]:
    return {"kind": kind, "cores": 1, "memory": "512MiB", "interface": "lo", **keys}


@pytest.mark.skipif(not Path("/proc").exists(), reason="a loopback interface named lo")
@pytest.mark.parametrize("kind", ["pbs", "lsf"])
@pytest.mark.slow
def test_other_batch_systems_go_the_same_way(
    kind: str, system: Path, tmp_path: Path, out: Path
) -> None:
    archive = write_archive(tmp_path / "in", first=2010, last=2018)
    assert run(small(archive.root, tmp_path / "serial"), serial=True).ok
    told: list[str] = []
    seen: list[RunProgress] = []

    @contextmanager
    def view(progress: RunProgress) -> Iterator[None]:
        seen.append(progress)
        yield

    result = run(small(archive.root, out), cluster=profile(kind), report=told.append, view=view)
    assert result.ok, (result.failures, told)
    assert contents(out) == contents(tmp_path / "serial")
    assert "ssh -N -L" in seen[0].tunnel
    submitted = {path.stem for path in system.glob("*.job")}
    assert len(submitted) == 1
    assert {path.stem for path in system.glob("*.cancelled")} == submitted
    assert not list(out.rglob("tls"))


@pytest.mark.parametrize("kind", ["pbs", "lsf"])
def test_a_refusal_is_told_in_the_words_of_the_batch_system(
    kind: str, system: Path, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_archive(tmp_path / "in", first=2010, last=2015)
    monkeypatch.setenv("REFUSE", "Unknown queue: nowhere")
    with pytest.raises(ClusterError, match=r"(PBS|LSF) refuses the job\nUnknown queue: nowhere$"):
        run(small(archive.root, out), cluster=profile(kind))
    assert not list(system.glob("*.job"))
    assert not out.exists()


def test_an_interface_that_is_not_there_is_named(system: Path, tmp_path: Path, out: Path) -> None:
    archive = write_archive(tmp_path / "in", first=2010, last=2015)
    with pytest.raises(ClusterError, match=r"'ib7' is not a valid network interface.*lo"):
        run(small(archive.root, out), cluster=profile("pbs", interface="ib7"))
    with pytest.raises(ConfigError, match="too little"):
        run(small(archive.root, out), cluster=profile("pbs", memory="100MiB"))
    assert not out.exists()


def test_logs_that_cannot_be_written_are_named(system: Path, tmp_path: Path, out: Path) -> None:
    archive = write_archive(tmp_path / "in", first=2010, last=2015)
    (tmp_path / "file").touch()
    with pytest.raises(ClusterError, match=r"logs: .*file/logs cannot be made"):
        run(small(archive.root, out), cluster=profile("pbs", logs=str(tmp_path / "file/logs")))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            RuntimeError("Command exited\nstdout:\n\nstderr:\nsbatch: error: no\n\n"),
            "sbatch: error: no",
        ),
        (RuntimeError("Command exited\nstdout:\nsaid here\nstderr:\n\n"), "Command exited"),
        (ValueError("Could not parse job id"), "Could not parse job id"),
    ],
)
def test_words_of_a_refusal_are_found(error: Exception, words: str) -> None:
    assert refusal(error).startswith(words)


def test_a_free_port_of_a_range_is_taken() -> None:
    assert free_port(None) == 0
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(f"{port}:{port + 20}") in range(port + 1, port + 21)
        with pytest.raises(ClusterError, match=f"scheduler_ports: all of {port} are in use"):
            free_port(str(port))


def test_the_page_has_an_address_that_others_do_not_know() -> None:
    one, two = secret_link(), secret_link()
    assert one != two
    assert len(prefix_of(one) or "") == 16
    assert prefix_of("") is None

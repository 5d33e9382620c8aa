"""The sandboxes are a real SLURM and a real Grid Engine: jobs run, and end with them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.sandbox import SCRIPT, SGE_SCRIPT, Sandbox


def test_a_job_runs_on_every_node(slurm: Sandbox) -> None:
    said = slurm.call("srun", "-N2", "-n2", "--mem=64", "bash", "-c", "echo $SLURMD_NODENAME")
    assert sorted(said.split()) == sorted(slurm.nodes)


def test_a_partition_with_a_limit_refuses_more(slurm: Sandbox) -> None:
    command = ["sbatch", "--partition=short", "--time=20", "--wrap=true"]
    refused = subprocess.run(command, env=slurm.env, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "time limit" in refused.stderr.lower()


def test_no_job_is_left_by_the_test_before(slurm: Sandbox) -> None:
    assert slurm.queue() == {}
    slurm.call("sbatch", "--mem=64", "--output=/dev/null", "--wrap=sleep 1000")
    assert len(slurm.queue()) == 1
    slurm.cancel_all()


@pytest.mark.parametrize("script", [SCRIPT, SGE_SCRIPT])
def test_a_wrong_setting_is_told(script: Path) -> None:
    done = subprocess.run(
        ["bash", str(script), "up"], env={"SANDBOX_PORT": "any", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "SANDBOX_PORT must be a positive whole number, not 'any'" in done.stderr

"""Cluster profiles: what their YAML may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from climdask.errors import ConfigError
from climdask.settings.profiles import load_profile, seconds_of


@pytest.mark.parametrize(
    ("walltime", "seconds"),
    [("04:00:00", 14400), ("0:30", 1800), ("1-00:00:01", 86401), ("120:00:00", 432000)],
)
def test_walltimes_are_understood(walltime: str, seconds: int) -> None:
    assert seconds_of(walltime) == seconds


@pytest.mark.parametrize("walltime", ["", "4h", "00:00:00", "1:60:00", "0:0"])
def test_a_walltime_that_is_none_is_told(walltime: str) -> None:
    with pytest.raises(ConfigError, match="walltime"):
        load_profile({"kind": "slurm", "cores": 2, "memory": "4GiB", "walltime": walltime})


@pytest.mark.parametrize("kind", ["slurm", "slurm-runner", "pbs", "lsf", "sge", "oar", "htcondor"])
def test_a_batch_profile_needs_cores_and_memory(kind: str) -> None:
    assert load_profile({"kind": kind, "cores": 2, "memory": "4GiB"}).kind == kind
    with pytest.raises(ConfigError, match="memory"):
        load_profile({"kind": kind, "cores": 2})


def test_an_unknown_key_is_told_with_what_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "slurm.yaml"
    path.write_text("kind: slurm\ncores: 2\nmemory: 4GiB\npartitoin: main\n")
    with pytest.raises(ConfigError, match=r"partitoin.*partition"):
        load_profile(path)

"""Amounts of memory and disk in a profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from climdask.clusters.amounts import bytes_of
from climdask.clusters.driverscript import driver_script
from climdask.errors import ConfigError
from climdask.planning.plan import Limits
from climdask.settings.profiles import load_profile


@pytest.mark.parametrize(("amount", "expected"), [("16GiB", 16 << 30), ("3 GB", 3 * 10**9), (5, 5)])
def test_amounts_are_understood(amount: str | int, expected: int) -> None:
    assert bytes_of(amount) == expected


@pytest.mark.parametrize("amount", ["lots", "", "3 GB 2", "1e400GB"])
def test_what_is_no_amount_is_told_with_its_key(amount: str) -> None:
    with pytest.raises(ConfigError, match=f'disk: "{amount}" is no amount; expected such as "16G'):
        bytes_of(amount, "disk")


def test_the_memory_of_a_driver_is_named_as_such(tmp_path: Path) -> None:
    profile = load_profile(
        {"kind": "slurm", "cores": 1, "memory": "1GiB", "driver": {"memory": "lots"}}
    )
    with pytest.raises(ConfigError, match=r'driver\.memory: "lots" is no amount'):
        driver_script(profile, tmp_path / "driver.sh", Limits(1 << 30, 1, 1), ["run"])

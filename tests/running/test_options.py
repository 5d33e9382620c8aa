"""The options of a run: which go together, and who works."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from climdask.errors import ConfigError
from climdask.running.options import RunOptions

EXTERNAL = {"kind": "external", "address": "tls://10.0.0.1:8786"}


@pytest.mark.parametrize(
    ("given", "kind", "own"),
    [
        ({}, "local", "local"),
        ({"serial": True}, "serial", None),
        ({"client": SimpleNamespace()}, "client", None),
        ({"cluster": EXTERNAL}, "external", "external"),
        ({"cluster": EXTERNAL, "serial": True}, "serial", None),
    ],
)
def test_who_works_follows_from_the_options(
    given: dict[str, object], kind: str, own: str | None
) -> None:
    options = RunOptions(**given)  # type: ignore[arg-type]
    profile = options.own_cluster
    assert (options.kind, profile and profile.kind) == (kind, own)


def test_dasks_own_report_needs_dask() -> None:
    with pytest.raises(ConfigError, match="leave out --serial"):
        RunOptions(serial=True, performance_report=Path("dask.html"))


def test_a_wrong_profile_is_told_also_where_it_is_not_used() -> None:
    with pytest.raises(ConfigError, match="kind"):
        RunOptions(serial=True, cluster={"kind": "cloud"})

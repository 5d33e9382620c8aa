"""Settings of Dask and of the account that break a start elsewhere."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask
import pytest

from climdask.clusters.dasksettings import check_scratch, local_settings, safe_settings
from climdask.clusters.local import open_cluster, scheduler_settings
from climdask.clusters.starting import check_loopback
from climdask.errors import ClusterError, OutputError
from climdask.inputs.access import default_lock_dir
from climdask.monitoring.links import dashboard_link
from climdask.planning.plan import Limits
from climdask.settings.profiles import LocalProfile

HOSTILE: dict[str, Any] = {
    "scheduler.allowed-failures": 0,
    "scheduler.idle-timeout": "1ms",
    "scheduler.no-workers-timeout": "1ms",
    "scheduler.worker-ttl": "1ms",
    "scheduler.contact-address": "tcp://192.0.2.1:1",
    "scheduler.preload": ["no_such_module"],
    "worker.preload": ["no_such_module"],
    "worker.lifetime": {"duration": "1s", "stagger": "0s", "restart": False},
    "worker.memory.terminate": 0.0001,
    "worker.memory.pause": 0.0001,
    "worker.resources": {"GPU": 1},
    "worker.death-timeout": "1ms",
    "nanny.preload": ["no_such_module"],
    "comm.require-encryption": True,
    "comm.default-scheme": "tls",
    "comm.timeouts.connect": "1ms",
}


@pytest.mark.slow
def test_a_local_cluster_works_under_hostile_settings_all_at_once() -> None:
    given = {f"distributed.{key}": value for key, value in HOSTILE.items()}
    with (
        dask.config.set({**given, "scheduler-address": "tcp://192.0.2.1:1"}),
        open_cluster(LocalProfile(dashboard="off"), Limits(1 << 30, 1, 1)) as client,
    ):
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3


@pytest.mark.parametrize("key", sorted(HOSTILE))
def test_a_local_cluster_has_the_values_of_dask_itself(key: str) -> None:
    usual = dask.config.get(f"distributed.{key}", None)
    with dask.config.set({f"distributed.{key}": HOSTILE[key]}), dask.config.set(local_settings()):
        found = dask.config.get(f"distributed.{key}", None)
        assert found == usual
        assert found != HOSTILE[key]


def test_clusters_of_jobs_keep_certificates_and_addresses_of_the_user_but_no_deadly_limits() -> (
    None
):
    assert "distributed.scheduler.contact-address" not in scheduler_settings("auto")
    assert not any(key.startswith("distributed.comm") for key in safe_settings())
    assert scheduler_settings("auto")["distributed.scheduler.idle-timeout"] is None
    assert scheduler_settings("auto")["distributed.scheduler.allowed-failures"] == 3
    assert scheduler_settings("auto")["distributed.scheduler.work-stealing"] is False


@pytest.mark.parametrize("folder", ["/proc/nowhere", "~no-such-user/x"])
def test_a_temporary_directory_that_cannot_be_used_is_named_with_its_key(folder: str) -> None:
    with (
        dask.config.set({"temporary-directory": folder}),
        pytest.raises(ClusterError, match=f"temporary-directory: {folder} cannot be used"),
    ):
        check_scratch()


class _Client:
    def __init__(self, error: Exception | None) -> None:
        self.error = error

    @property
    def dashboard_link(self) -> str:
        if self.error:
            raise self.error
        return "http://127.0.0.1:8787/status"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("JUPYTERHUB_SERVICE_PREFIX"), "the variable JUPYTERHUB_SERVICE_PREFIX, which is"),
        (ValueError("Single '}' encountered"), "no template of an address (Single '}'"),
        (IndexError("out of range"), "no template of an address (out of range)"),
        (AttributeError("no attribute"), "no template of an address (no attribute)"),
    ],
)
def test_a_link_that_cannot_be_made_is_told_and_breaks_nothing(
    error: Exception, words: str
) -> None:
    link, problem = dashboard_link(_Client(error))  # type: ignore[arg-type]
    assert link == ""
    assert "distributed.dashboard.link: " in problem
    assert words in problem
    assert dashboard_link(_Client(None)) == ("http://127.0.0.1:8787/status", "")  # type: ignore[arg-type]


def test_a_machine_without_loopback_is_told_before_workers_try_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_loopback()

    def unreachable(*_: object, **__: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1 .*Network is unreachable.*--serial"):
        check_loopback()


def test_an_account_without_a_home_is_told_which_key_to_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def homeless(*_: object, **__: object) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_state_dir", homeless)
    with pytest.raises(OutputError, match=r"^run\.lock_dir: .*set run\.lock_dir, or .* HOME$"):
        default_lock_dir()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("distributed: [a: b\n  c", "is malformed"),
        ("hello", "is malformed"),
    ],
)
def test_settings_that_dask_cannot_read_are_one_message(
    text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "distributed.yaml").write_text(text)
    said = climdask(["schema"], DASK_CONFIG=str(tmp_path))
    assert said.returncode == 2
    assert words in said.stderr
    assert str(tmp_path) in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_nothing_to_a_command(closed: str) -> None:
    order = ["sh", "-c", f'exec "$0" -m climdask schema {closed}', sys.executable]
    said = subprocess.run(order, capture_output=True, text=True, check=False)
    assert said.returncode == 0
    assert said.stderr == ""
    if closed in ("<&-", "2>&-"):
        assert json.loads(said.stdout)


def climdask(arguments: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "climdask", *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, **variables},
    )  # fmt: skip

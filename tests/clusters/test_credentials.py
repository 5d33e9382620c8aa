"""Credentials of a run: private files, and nobody else gets in."""

from __future__ import annotations

from pathlib import Path

import distributed
import pytest

from climdask.clusters.credentials import (
    remove_credentials,
    site_credentials,
    temporary_credentials,
)
from climdask.errors import ClusterError
from climdask.settings.profiles import SecurityFiles
from tests.tools import identity


def test_temporary_credentials_are_private_and_removed(tmp_path: Path) -> None:
    folder = tmp_path / "run/tls"
    made = temporary_credentials(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o600}
    assert "PRIVATE KEY" in made.key.read_text()
    assert "PRIVATE KEY" not in repr(made.security)
    remove_credentials(folder)
    assert not folder.exists()


@pytest.mark.slow
def test_only_the_same_credentials_get_in(tmp_path: Path) -> None:
    own = temporary_credentials(tmp_path / "own").security
    foreign = temporary_credentials(tmp_path / "foreign").security
    with distributed.LocalCluster(
        n_workers=1, processes=False, security=own, dashboard_address="127.0.0.1:0"
    ) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tls://")
        with distributed.Client(address, security=own, set_as_default=False) as client:
            assert client.submit(sum, [1, 2]).result() == 3
        with pytest.raises((OSError, TimeoutError)):
            identity(address, foreign)
        with pytest.raises((OSError, TimeoutError)):
            identity(address.replace("tls://", "tcp://"), distributed.Security())


def test_a_key_of_the_site_must_be_private(tmp_path: Path) -> None:
    made = temporary_credentials(tmp_path / "tls")
    files = SecurityFiles(ca_file=made.ca_file, cert=made.cert, key=made.key)
    assert site_credentials(files) == made
    made.key.chmod(0o644)
    with pytest.raises(ClusterError, match="chmod 600"):
        site_credentials(files)
    made.cert.unlink()
    with pytest.raises(ClusterError, match=r"security\.ca_file"):
        site_credentials(files)

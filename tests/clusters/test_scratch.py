"""The folder for what does not fit in memory: nobody else can put code or data there."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import dask
import pytest

from climdask.clusters.local import open_cluster
from climdask.clusters.scratch import private_folder, temporary_folder
from climdask.errors import ClusterError
from climdask.planning.plan import Limits
from climdask.settings.profiles import LocalProfile

NOBODY = 65534


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder like /tmp."""
    made = tmp_path / "shared"
    made.mkdir()
    made.chmod(0o1777)
    return made


def test_a_folder_of_the_user_alone_is_made_and_used_again(shared: Path) -> None:
    before = os.umask(0)
    try:
        own = private_folder(shared)
        assert own.parent == shared
        assert own.stat().st_mode & 0o777 == 0o700
        assert private_folder(shared) == own
    finally:
        os.umask(before)


def test_what_another_user_or_a_link_has_put_there_is_refused(shared: Path) -> None:
    own = private_folder(shared)
    for mode in (0o720, 0o702, 0o777):
        own.chmod(mode)
        with pytest.raises(ClusterError, match=f"scratch: {own} .*others can write there.*TMPDIR"):
            private_folder(shared)
    own.rmdir()
    own.symlink_to("/etc")
    with pytest.raises(ClusterError, match="it is no folder"):
        private_folder(shared)
    own.unlink()
    own.write_text("")
    with pytest.raises(ClusterError, match="cannot be used"):
        private_folder(shared)


def test_a_folder_that_another_user_has_made_is_refused(shared: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(private_folder(shared), NOBODY, NOBODY)
    with pytest.raises(ClusterError, match="it belongs to another user, number 65534"):
        private_folder(shared)


def test_the_folder_lies_where_dask_or_the_system_says(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dask.config.set({"temporary-directory": str(shared / "a")}):
        assert temporary_folder() == shared / "a"
    with dask.config.set({"temporary-directory": None}):
        monkeypatch.setattr(tempfile, "tempdir", str(shared))
        assert temporary_folder() == shared


@pytest.mark.slow
def test_code_that_another_user_left_in_a_shared_folder_is_not_imported(shared: Path) -> None:
    planted = shared / "dask-scratch-space"
    planted.mkdir()
    planted.chmod(0o777)
    (planted / "planted_by_nobody.py").write_text("")
    with (
        dask.config.set({"temporary-directory": str(shared)}),
        open_cluster(LocalProfile(dashboard="off"), Limits(512 << 20, 1, 1)) as client,
    ):
        (scratch,) = client.run(lambda dask_worker: dask_worker.local_directory).values()
        (places,) = client.run(lambda: sys.path).values()
    assert Path(scratch).is_relative_to(private_folder(shared))
    assert not [p for p in (*sys.path, *places) if Path(p).is_relative_to(planted)]

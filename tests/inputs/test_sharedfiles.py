"""Files in shared folders: what somebody has planted there is refused and never changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from climdask.errors import OutputError
from climdask.inputs.access import FileAccess, LockCheck, file_id
from climdask.inputs.sharedfiles import file_lock, open_shared, read_regular
from climdask.outputs.folder import OutputFolder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links and modes are of POSIX")

SECRET = "private words"


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = tmp_path / "private"
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


def symlink(place: Path, private: Path) -> None:
    place.symlink_to(private)


def dangling(place: Path, private: Path) -> None:
    place.symlink_to(private.with_name("nowhere"))


def hard_link(place: Path, private: Path) -> None:
    place.hardlink_to(private)


def pipe(place: Path, private: Path) -> None:
    del private
    os.mkfifo(place)


def directory(place: Path, private: Path) -> None:
    del private
    place.mkdir()


PLANTED = [symlink, dangling, hard_link, pipe, directory]
Plant = Callable[[Path, Path], None]


def assert_untouched(private: Path) -> None:
    assert private.read_text() == SECRET
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert not private.with_name("nowhere").exists()


@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("kind", ["lock", "seq"])
def test_what_is_planted_in_the_lock_folder_is_refused_and_not_changed(
    plant: Plant, kind: str, private: Path, tmp_path: Path
) -> None:
    access = FileAccess("run-1", tmp_path / "locks", tmp_path / "trace", timeout=1)
    access.prepare()
    place = access.lock_dir / f"{file_id(private)}.{kind}"
    plant(place, private)
    with (
        pytest.raises(OutputError, match=rf"{place.name}: cannot be used .*delete it"),
        access.opening(private),
    ):
        pass
    assert_untouched(private)


@pytest.mark.parametrize("plant", PLANTED)
def test_the_check_of_locks_refuses_what_is_planted(
    plant: Plant, private: Path, tmp_path: Path
) -> None:
    check = LockCheck(tmp_path, "check.lock")
    plant(tmp_path / "check.lock", private)
    with pytest.raises(OutputError, match="cannot be used"):
        check.is_refused()
    assert_untouched(private)


@pytest.mark.parametrize("plant", PLANTED)
def test_a_planted_lock_of_an_output_is_refused(
    plant: Plant, private: Path, tmp_path: Path
) -> None:
    folder = OutputFolder(tmp_path / "out")
    folder.state.mkdir(parents=True)
    plant(folder.state / "lock", private)
    with pytest.raises(OutputError, match="cannot be used"), folder.claimed():
        pass
    assert_untouched(private)


@pytest.mark.parametrize("plant", [symlink, dangling, hard_link, pipe])
def test_a_planted_holder_is_replaced_and_its_target_not_changed(
    plant: Plant, private: Path, tmp_path: Path
) -> None:
    folder = OutputFolder(tmp_path / "out")
    folder.state.mkdir(parents=True)
    plant(folder.state / "holder", private)
    with folder.claimed():
        assert read_regular(folder.state / "holder").startswith(b"process ")
    assert_untouched(private)


def test_a_state_folder_that_everybody_can_write_is_refused_with_the_cure(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "out")
    folder.state.mkdir(parents=True)
    folder.state.chmod(0o777)
    with pytest.raises(OutputError, match=r"every user .* chmod o-w"), folder.claimed():
        pass
    folder.state.chmod(0o775)
    with folder.claimed():
        pass


def test_a_file_that_was_there_keeps_its_content_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text("kept")
    path.chmod(0o600)
    os.close(open_shared(path, os.O_RDWR | os.O_TRUNC))
    with file_lock(path):
        assert path.read_text() == "kept"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_lock_is_for_the_whole_group_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with file_lock(tmp_path / "new.lock"):
            assert stat.S_IMODE((tmp_path / "new.lock").stat().st_mode) == 0o660
    finally:
        os.umask(before)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may chown")
def test_the_file_of_a_stranger_is_refused_and_that_of_the_group_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.touch()
    os.chown(path, 65534, 65534)
    with pytest.raises(OutputError, match="belongs to another user, number 65534"):
        file_lock(path)
    os.chown(tmp_path, -1, 65534)  # now it is of the folder's group
    with file_lock(path):
        pass


def test_marks_of_a_dead_run_are_removed_and_those_of_open_files_stay(tmp_path: Path) -> None:
    old = FileAccess("run-1", tmp_path / "locks", tmp_path / "trace", timeout=1)
    old.prepare()
    dead = old.lock_dir / "0123.opened-run-1-0"
    dead.touch()
    path = tmp_path / "x.nc"
    path.touch()
    with old.opening(path):
        FileAccess("run-2", old.lock_dir, old.trace_dir, timeout=1).forget_dead()
        left = [p.name for p in old.lock_dir.glob("*.opened-*")]
    assert left == [f"{file_id(path)}.opened-run-1-0"]

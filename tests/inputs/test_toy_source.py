"""A source of one module: what it takes to read input files from another kind of place."""

from __future__ import annotations

import calendar
import os
import zipfile
from pathlib import Path

import pytest

from climdask.errors import ClimdaskError
from climdask.inputs.sources import Kind, absolute, forget, register
from climdask.running.run import run
from tests.readback import contents
from tests.samples import write_archive
from tests.workflows import small

CHANGED = calendar.timegm((2020, 1, 2, 3, 4, 6)) * 10**9


class ZipFolder:
    """The files of an archive, unpacked beside it when they are first needed."""

    def __init__(self, root: Path) -> None:
        self.root, self.archive = root, Path(str(root).removeprefix("zip:"))

    def _entries(self) -> dict[str, zipfile.ZipInfo]:
        with zipfile.ZipFile(self.archive) as archive:
            return {info.filename: info for info in archive.infolist()}

    def names(self, folder: str) -> list[str]:
        """Return what lies in a folder."""
        start = f"{folder}/" if folder else ""
        inside = [name[len(start) :] for name in self._entries() if name.startswith(start)]
        return sorted({name.split("/")[0] for name in inside if name})

    def kind(self, path: str) -> Kind:
        """Tell what lies at a path."""
        if not self.archive.is_file():
            return "nothing"
        entries = self._entries()
        if path in entries:
            return "file"
        is_folder = not path or any(name.startswith(f"{path}/") for name in entries)
        return "folder" if is_folder else "nothing"

    def size_and_time(self, path: str) -> tuple[int, int]:
        """Return the bytes and the time in the archive, which knows no time zone."""
        info = self._entries()[path]
        return info.file_size, calendar.timegm((*info.date_time, 0, 0, 0)) * 10**9

    def local(self, path: str) -> Path:
        """Return the unpacked file."""
        folder = self.archive.with_suffix(".unpacked")
        if not (folder / path).exists():
            with zipfile.ZipFile(self.archive) as archive:
                archive.extract(path, folder)
        return folder / path


@pytest.fixture
def zipped(tmp_path: Path):
    """Register the source and return the root of an archive; its files are gone."""
    write_archive(tmp_path / "in", variables=["tas"], first=2001, last=2008, calendar="standard")
    for path in (tmp_path / "in").rglob("*.nc"):
        os.utime(path, ns=(CHANGED, CHANGED))
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in sorted((tmp_path / "in").rglob("*.nc")):
            info = zipfile.ZipInfo(str(path.relative_to(tmp_path / "in")), (2020, 1, 2, 3, 4, 6))
            archive.writestr(info, path.read_bytes())
    register("zip", ZipFolder)
    yield Path(f"zip:{tmp_path / 'in.zip'}")
    forget("zip")


@pytest.mark.slow
def test_a_new_source_gives_the_same_normals(tmp_path: Path, zipped: Path) -> None:
    assert run(small(tmp_path / "in", tmp_path / "usual", scenarios=[]), serial=True).ok
    result = run(small(zipped, tmp_path / "new", scenarios=[]), serial=True)
    assert result.ok, result.failures
    assert result.audit.opens == 8
    assert contents(tmp_path / "new") == contents(tmp_path / "usual")
    again = run(small(zipped, tmp_path / "new", scenarios=[]), serial=True)
    assert again.audit.opens == 0, "sizes and times are the source's own"


@pytest.mark.usefixtures("zipped")
def test_a_source_that_is_not_there_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(ClimdaskError, match=r"zip:/none\.zip"):
        run(small(Path("zip:/none.zip"), tmp_path / "out", scenarios=[]), serial=True)


def test_only_folders_are_made_absolute(zipped: Path) -> None:
    assert absolute(zipped) == zipped
    assert absolute(Path("here")).is_absolute()

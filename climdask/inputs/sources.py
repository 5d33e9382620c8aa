"""The protocol of sources: where input files are, and how one gets at them.

A source is named by ``input.root``: a folder, or ``scheme:place`` for a scheme that is registered.
To add one, write a class as :class:`Source` says and :func:`register` what makes it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from climdask.errors import InventoryError

Kind = Literal["file", "folder", "other", "nothing"]


class Source(Protocol):
    """Where input files are; paths are relative to it, with forward slashes, "" for itself.

    It is made anew on each worker, from ``input.root``.

    Attributes:
        root: how ``input.root`` and messages call it.
    """

    root: Path

    def names(self, folder: str) -> list[str]:
        """Return what lies in a folder, in order of name.

        Raises:
            InventoryError: it cannot be listed.
        """

    def kind(self, path: str) -> Kind:
        """Tell what lies at a path; a link is what it leads to."""

    def size_and_time(self, path: str) -> tuple[int, int]:
        """Return bytes and the time of the last change (ns since 1970): a change alters them.

        Raises:
            OSError: the file is not there.
        """

    def local(self, path: str) -> Path:
        """Return where a file can be opened; always the same place, as locks go by it."""


# There is no such file, or it is a link that leads nowhere.
_NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP)


class LocalFolder:
    """A folder of this machine, or of a file system that all machines see."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._text = str(root)

    def names(self, folder: str) -> list[str]:
        """Return what lies in a folder, in order of name."""
        place = self.root / folder
        try:
            return sorted(os.listdir(place))  # noqa: PTH208 - names only, and fast
        except OSError as error:
            raise InventoryError(f"{place}: cannot be listed ({error.strerror})") from None

    def kind(self, path: str) -> Kind:
        """Tell what lies at a path."""
        try:
            mode = self._stat(path).st_mode
        except OSError as error:
            if error.errno not in _NOTHING:
                raise
            return "nothing"
        if stat.S_ISREG(mode):
            return "file"
        return "folder" if stat.S_ISDIR(mode) else "other"

    def size_and_time(self, path: str) -> tuple[int, int]:
        """Return bytes and the time of the last change (ns since 1970)."""
        status = self._stat(path)
        return status.st_size, status.st_mtime_ns

    def _stat(self, path: str) -> os.stat_result:
        place = f"{self._text}/{path}" if path else self._text
        return os.stat(place)  # noqa: PTH116 - for each file, and fast

    def local(self, path: str) -> Path:
        """Return where a file can be opened."""
        return self.root / path


_SCHEMES: dict[str, Callable[[Path], Source]] = {}


def register(scheme: str, make: Callable[[Path], Source]) -> None:
    """Add a source: roots that begin with ``scheme:`` are made by ``make``, given the root."""
    _SCHEMES[scheme] = make


def forget(scheme: str) -> None:
    """Take a source away again."""
    del _SCHEMES[scheme]


def source_of(root: Path) -> Source:
    """Return the source that ``input.root`` names; a folder, unless it begins with a scheme."""
    scheme, colon, _ = str(root).partition(":")
    return _SCHEMES.get(scheme, LocalFolder)(root) if colon else LocalFolder(root)


def absolute(root: Path) -> Path:
    """Return a root that is the same from every folder."""
    return root.absolute() if isinstance(source_of(root), LocalFolder) else root

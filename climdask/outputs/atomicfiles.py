"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from climdask.errors import OutputError

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_REPLACED = re.compile(r"\.(.+)\.[0-9a-f]{8}\.old")


def atomically(path: Path, fill: Callable[[Path], object], *, durable: bool = True) -> None:
    """Let ``fill`` write a temporary file, sync it, and rename it to ``path``.

    Args:
        path: the file.
        fill: writes the temporary file whose path it is given.
        durable: wait for the disk; False for what is checked, and made again if it is lost.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    temporary = path.parent / f".{path.name[:80]}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(temporary)
        if durable:
            _sync(temporary)
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # it is renamed, or was never made
            temporary.unlink()


def _cannot_write(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or error
    return OutputError(
        f"{path}: cannot be written ({reason}); is the disk full or read-only? "
        "Nothing half-written is left: free some space and run again"
    )


def folder_atomically(path: Path, fill: Callable[[Path], object], *, durable: bool = True) -> None:
    """Let ``fill`` make a temporary folder, sync it, and put it in the place of ``path``.

    A folder cannot be renamed over another one, so there is a moment when ``path`` is not there.
    Who is killed then leaves the old folder under a name that :func:`remove_temporaries` knows.

    Args:
        path: the folder.
        fill: fills the empty folder whose path it is given.
        durable: as for :func:`atomically`.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    tag = uuid.uuid4().hex[:8]
    temporary = path.parent / f".{path.name[:80]}.{tag}.tmp"
    replaced = path.parent / f".{path.name}.{tag}.old"
    try:
        temporary.mkdir(parents=True)
        fill(temporary)
        for place in (temporary, *temporary.rglob("*")) if durable else ():
            _sync(place)
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        _settle(replaced, path)


def remove_temporaries(root: Path) -> None:
    """Remove what processes that were killed left half-written below a folder."""
    for path in list(root.rglob(".*")):
        if _TEMPORARY.fullmatch(path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        elif found := _REPLACED.fullmatch(path.name):
            _settle(path, path.parent / found[1])


def _settle(replaced: Path, path: Path) -> None:
    """Remove a folder that was replaced, or put it back if nothing came into its place."""
    if path.exists():
        shutil.rmtree(replaced, ignore_errors=True)
    elif replaced.exists():
        replaced.rename(path)


def _sync(path: Path) -> None:
    """Make a file or folder durable."""
    if path.is_dir():
        _sync_folder(path)
    else:
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where folders can be synced."""
    if os.name == "posix":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

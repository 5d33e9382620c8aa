"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from climdask.errors import OutputError

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def atomically(path: Path, fill: Callable[[Path], object]) -> None:
    """Let ``fill`` write a temporary file, sync it, and rename it to ``path``.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    temporary = path.parent / f".{path.name[:80]}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"{path}: cannot be written ({reason}); is the disk full or read-only? "
            "Nothing half-written is left: free some space and run again"
        ) from error
    finally:
        with suppress(OSError):  # it is renamed, or was never made
            temporary.unlink()


def remove_temporaries(root: Path) -> None:
    """Remove what processes that were killed left half-written below a folder."""
    for path in root.rglob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where folders can be synced."""
    if os.name == "posix":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

"""The folder for what does not fit in memory, which must be the user's alone.

Dask unpickles what lies there, and puts it first among the places that Python imports from, in the
driver too; below a folder that all users share, such as /tmp, it takes what another one has made.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from tempfile import gettempdir

import dask

from climdask.errors import ClusterError


def temporary_folder() -> Path:
    """Return the folder for temporary files: of Dask's settings, or the system's."""
    return Path(dask.config.get("temporary-directory", None) or gettempdir()).expanduser()


def private_folder(shared: Path) -> Path:
    """Return a folder below another one in which nobody else can write; it is made, or checked.

    Raises:
        ClusterError: it cannot be made, or somebody else has made it or can write there.
    """
    if os.name != "posix":  # where temporary folders are the user's own
        return shared
    own = shared / f"climdask-{os.geteuid()}"
    try:
        own.mkdir(mode=0o700, exist_ok=True)
        found = own.lstat()
    except OSError as error:
        raise ClusterError(_refusal(own, error.strerror or str(error))) from None
    if not stat.S_ISDIR(found.st_mode):
        raise ClusterError(_refusal(own, "it is no folder"))
    if found.st_uid != os.geteuid():
        raise ClusterError(_refusal(own, f"it belongs to another user, number {found.st_uid}"))
    if found.st_mode & 0o022:
        raise ClusterError(_refusal(own, f"others can write there, its mode is {found.st_mode:o}"))
    return own


def _refusal(folder: Path, reason: str) -> str:
    return (
        f"cluster: scratch: {folder} cannot be used ({reason}); expected a folder of your own that "
        "nobody else can write, or none: remove it, or choose another place with scratch in the "
        "profile or with TMPDIR"
    )

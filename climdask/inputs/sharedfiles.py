"""Small files in folders that several users may write: opened so that nothing planted is touched.

A link, a second name of a file (hard link), a pipe or a stranger's file in the place of ours is
refused; a file that was there before is never made shorter, and its mode is never changed.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

import filelock

from climdask.errors import OutputError

# Links are not followed, and a pipe does not block; systems without these flags have neither.
GUARDED = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# What tells that something else is in the place of the file; nothing of it passes by waiting.
_REFUSED = (
    errno.ELOOP, errno.EINVAL, errno.EMLINK, errno.EPERM, errno.EACCES, errno.EISDIR, errno.ENXIO,
)  # fmt: skip
_TRIES = 5  # another process may remove the file between two looks


def open_shared(path: Path, flags: int, mode: int = 0o660) -> int:
    """Open a file, made if need be; return its descriptor.

    Args:
        path: the file.
        flags: of ``os.open``; with ``O_EXCL`` the file must be new.
        mode: of a new file, whatever the umask says.

    Raises:
        FileExistsError: it is there, and must be new.
        OSError: the disk or the network does not work.
        OutputError: it cannot be opened, or is not a regular file of the user or the group.
    """
    try:
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):
                return _opened(path, flags, mode)
            path.parent.stat()  # without the folder no file can be made
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _REFUSED:  # of the disk or the network; it may pass
            raise
        raise OutputError(_refusal(path, error)) from None
    raise OutputError(f"{path}: disappears again and again; does another program delete it?")


def _opened(path: Path, flags: int, mode: int) -> int:
    try:
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL | GUARDED, mode)
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        return _existing(path, flags)
    if hasattr(os, "fchmod"):
        os.fchmod(fd, mode)
    return fd


def _existing(path: Path, flags: int) -> int:
    fd = os.open(path, flags & ~(os.O_CREAT | os.O_TRUNC) | GUARDED)
    try:
        _check(os.fstat(fd), path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check(status: os.stat_result, path: Path) -> None:
    """Check an open file.

    Raises:
        OSError: it is not regular, has several names, or belongs to a stranger.
    """
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    if status.st_nlink > 1:
        raise OSError(errno.EMLINK, "it is a hard link to another file")
    if os.name != "posix":
        return
    groups = {os.getegid(), *os.getgroups(), path.parent.stat().st_gid}
    if status.st_uid not in (os.geteuid(), 0) and status.st_gid not in groups:
        raise OSError(errno.EPERM, f"it belongs to another user, number {status.st_uid}")


def _refusal(path: Path, error: OSError) -> str:
    reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
    return (
        f"{path}: cannot be used ({reason}); expected a regular file of your own or of the "
        "folder's group, or none; find out who made it, then delete it and run again"
    )


def file_lock(path: Path, *, timeout: float = -1, mode: int = 0o660) -> filelock.BaseFileLock:
    """Return the lock that a file stands for; the file is made, or checked.

    Raises:
        OutputError: it is not a regular file of the user or the group.
    """
    os.close(open_shared(path, os.O_RDWR, mode))
    return filelock.FileLock(path, timeout=timeout, mode=mode)


def read_regular(path: Path) -> bytes:
    """Read a file; never waits for a pipe, and follows no link.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    fd = os.open(path, os.O_RDONLY | GUARDED)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read()

"""Paths that a user gives, in YAML files and on the command line."""

from __future__ import annotations

from pathlib import Path

from climdask.plaintext import check_no_controls

_MOST, _MOST_OF_NAME = 4000, 255  # bytes, of a path and of a name in it


def check_path(path: Path) -> Path:
    """Return a path that can be used, as it was given.

    Raises:
        ValueError: it has a control character, names an account that is not there, or is too long;
            the message says so.
    """
    check_no_controls(str(path))
    try:
        whole = path.expanduser()
    except RuntimeError:
        account = path.parts[0]
        raise ValueError(
            f"has {account}, and this machine knows no home folder of it; write the path itself"
        ) from None
    longest = max((len(part.encode()) for part in whole.parts), default=0)
    if len(str(whole).encode()) > _MOST or longest > _MOST_OF_NAME:
        raise ValueError(
            f"has {len(str(whole).encode())} bytes, {longest} in one name; expected at most "
            f"{_MOST}, and {_MOST_OF_NAME} in a name"
        )
    return path

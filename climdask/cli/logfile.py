"""The file of ``--log``: everything that a run tells, as lines with date and time, appended."""

from __future__ import annotations

import logging
from pathlib import Path

from climdask.errors import OutputError
from climdask.plaintext import printable

_LOG = logging.getLogger("climdask.log")
_LOG.propagate = False  # it is this file's alone
_LOG.setLevel(logging.INFO)


class PlainFormatter(logging.Formatter):
    """Writes records without what a terminal obeys."""

    def format(self, record: logging.LogRecord) -> str:
        """Format as usual, then write out control characters."""
        return printable(super().format(record))


class _Forgiving(logging.FileHandler):
    """Loses lines rather than the run, where the disk is full."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - of logging
        del record


def start_log(path: Path) -> None:
    """Begin to append to a file.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        path.expanduser().absolute().parent.mkdir(parents=True, exist_ok=True)
        handler = _Forgiving(path.expanduser(), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"--log: {path} cannot be written ({error.strerror}); choose another file"
        ) from None
    handler.setFormatter(PlainFormatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    _LOG.addHandler(handler)


def log(line: str) -> None:
    """Append a line, if there is a log."""
    if _LOG.handlers:
        _LOG.info("%s", line)


def stop_log() -> None:
    """Close the log."""
    for handler in list(_LOG.handlers):
        _LOG.removeHandler(handler)
        handler.close()

"""The exceptions of climdask, and the exit codes that a batch script can use.

ClimdaskError                  exit 1
├── UserError                  exit 2   a mistake that the user can mend
│   ├── ConfigError                     a key or value of a YAML file
│   ├── RegionError                     a box without a cell, polygons that cannot be used
│   ├── InventoryError                  files that are missing, doubled or misnamed
│   ├── PlanError                       targets that the record cannot serve
│   ├── OutputError                     an output folder that cannot be used
│   ├── ClusterError                    a cluster that cannot be had or used
│   └── PlotError                       a picture that cannot be made of what was given
└── DataError                  exit 1   one file; fails its chain only
    ├── UnreadableFile                  damaged, truncated, not NetCDF
    ├── InconsistentFile                its contents contradict its name or another file
    ├── BusyFile                        held open by somebody else for too long
    └── PoisonFile                      its readers died, several times
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from climdask.plaintext import printable

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USER = 2
EXIT_INTERRUPTED = 130


class ClimdaskError(Exception):
    """Everything that climdask raises on purpose."""

    exit_code = EXIT_FAILED

    def __str__(self) -> str:
        """Return the message as plain text: parts of it may come from files."""
        return printable(super().__str__())


class UserError(ClimdaskError):
    """A mistake in what the user gave; nothing was written."""

    exit_code = EXIT_USER


class ConfigError(UserError):
    """A key or value of a workflow or cluster YAML."""


class RegionError(UserError):
    """A region that the grid cannot serve."""


class InventoryError(UserError):
    """Input files that are missing, doubled or misnamed."""


class PlanError(UserError):
    """Targets that the record of input years cannot serve."""


class OutputError(UserError):
    """An output folder that cannot be written, or is in use by another run."""


class ClusterError(UserError):
    """A cluster that cannot be started, reached or used."""


class PlotError(UserError):
    """A picture that cannot be made of what was given."""


class DataError(ClimdaskError):
    """A problem of one input file; it fails the chain that needs the file, and no other."""


class UnreadableFile(DataError):  # noqa: N818 - reads as what it is
    """A file that is damaged, truncated or not NetCDF."""


class InconsistentFile(DataError):  # noqa: N818
    """A file whose contents contradict its name or the other files of its chain."""


class BusyFile(DataError):  # noqa: N818
    """A file that another process kept open for longer than the lock timeout."""


class PoisonFile(DataError):  # noqa: N818
    """A file whose readers died so often that nobody opens it again in this run."""


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return ``'; did you mean "X"?'``, or an empty string if nothing is near ``word``."""
    near = difflib.get_close_matches(str(word), [str(a) for a in allowed], n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""

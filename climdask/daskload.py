"""Dask is imported here first: it reads the user's settings, and what is wrong in them."""

from __future__ import annotations

import os
from pathlib import Path

from climdask.errors import ConfigError


def load_dask() -> None:
    """Import Dask, which reads its settings from files and from variables ``DASK_…``.

    Raises:
        ConfigError: they cannot be read.
    """
    try:
        import dask  # noqa: F401 - all but its part for clusters
        import distributed  # noqa: F401 - reads its own part of the settings
    except (ImportError, KeyboardInterrupt):
        raise
    except Exception as error:  # of any kind: the settings go through YAML, Dask and tornado
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"Dask cannot read its settings: {reason}\n"
            f"expected YAML files such as distributed.yaml with keys and values, in "
            f"{_folders()}, and variables DASK_… with such values; mend or remove what is wrong"
        ) from error


def _folders() -> str:
    """Return where Dask looks for its files."""
    return os.environ.get("DASK_CONFIG") or str(Path("~/.config/dask"))

"""The user's own Dask settings, and what of them our clusters leave aside."""

from __future__ import annotations

import copy
import os
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import dask
import yaml

from climdask.errors import ClusterError

# What would end or change a cluster of ours, wherever it is; other settings may have their reason.
_FATAL = (
    "scheduler.allowed-failures",
    "scheduler.idle-timeout",
    "scheduler.no-workers-timeout",
    "scheduler.worker-ttl",
    "scheduler.worker-saturation",
    "scheduler.blocked-handlers",
    "scheduler.validate",
    "scheduler.active-memory-manager",
    "worker.blocked-handlers",
    "worker.daemon",
    "worker.lifetime",
    "worker.memory",
    "worker.multiprocessing-method",
    "worker.resources",
    "worker.validate",
    "worker.connections",
    "worker.transfer",
    "admin.pdb-on-err",
)

# On this machine alone nothing of these has a use; of the dashboard's a link to a proxy has.
_LOCAL = ("scheduler", "worker", "nanny", "comm", "client", "deploy", "admin")


@cache
def _shipped() -> dict[str, Any]:
    """Return what Dask itself says where the user says nothing."""
    text = files("distributed").joinpath("distributed.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)["distributed"]
    return content


def defaults(keys: tuple[str, ...]) -> dict[str, Any]:
    """Return Dask's own values of keys below ``distributed``, for ``dask.config.set``."""
    found: dict[str, Any] = {}
    for key in keys:
        value: Any = _shipped()
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None or key in _FATAL:
            found[f"distributed.{key}"] = copy.deepcopy(value)
    return found


def safe_settings() -> dict[str, Any]:
    """Return what every scheduler and worker of ours needs, whatever the user's settings say."""
    return defaults(_FATAL)


def local_settings() -> dict[str, Any]:
    """Return what a cluster on this machine needs: Dask's own settings.

    Those of a user are for other clusters: certificates, proxies, what is loaded into workers.
    ``death-timeout`` and an address of another scheduler are in no file of Dask's.
    """
    return {
        **defaults(_LOCAL),
        "distributed.worker.death-timeout": None,
        "scheduler-address": None,
    }


def check_scratch() -> None:
    """Check that Dask can write where its settings put temporary files.

    Raises:
        ClusterError: it cannot.
    """
    given = dask.config.get("temporary-directory", None)
    if given is None:
        return
    folder = Path(str(given))
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(None, "not writable")
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ClusterError(
            f"Dask's settings: temporary-directory: {folder} cannot be used ({reason}); "
            "expected a folder that can be written: change it in the YAML files of Dask or in "
            "DASK_TEMPORARY_DIRECTORY, or give cluster: scratch"
        ) from None

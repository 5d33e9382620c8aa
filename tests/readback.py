"""Comparing output folders, bit by bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

# What may differ between two runs of one workflow.
_DATED = {"history", "date_created"}


def contents(root: Path) -> dict[str, Any]:
    """Return everything in all normals below a folder but the dates, by path, as bytes."""
    return {
        str(path.relative_to(root)): _content(path) if path.is_file() else _store(path)
        for path in sorted([*root.rglob("*.nc"), *root.rglob("*.zarr")])
        if ".climdask" not in path.parts
    }


def _store(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    root = json.loads(found.pop("zarr.json"))
    root["attributes"] = {k: v for k, v in root["attributes"].items() if k not in _DATED}
    return {**found, "": root}


def _content(path: Path) -> dict[str, Any]:
    with netCDF4.Dataset(path) as dataset:
        dataset.set_auto_maskandscale(False)
        found: dict[str, Any] = {"": _attributes(dataset)}
        for name, variable in dataset.variables.items():
            values = np.asarray(variable[...])
            found[name] = (
                values.dtype.str, values.shape, values.tobytes(), _attributes(variable),
                variable.dimensions, variable.chunking(),
            )  # fmt: skip
        return found


def _attributes(holder: Any) -> dict[str, str]:
    return {k: repr(holder.getncattr(k)) for k in holder.ncattrs() if k not in _DATED}


def leftovers(root: Path) -> list[Path]:
    """Return temporary files and folders that were left behind."""
    return sorted([*root.rglob(".*.tmp"), *root.rglob(".*.old"), *root.rglob("*.tmp")])

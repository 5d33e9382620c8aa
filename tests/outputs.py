"""Comparing output folders, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

# What may differ between two runs of one workflow.
_DATED = {"history", "date_created"}


def contents(root: Path) -> dict[str, Any]:
    """Return everything in all normals below a folder but the dates, by path, as bytes."""
    return {
        str(path.relative_to(root)): _content(path)
        for path in sorted(root.rglob("*.nc"))
        if ".climdask" not in path.parts
    }


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
    """Return temporary files that were left behind."""
    return sorted(root.rglob("*.tmp"))

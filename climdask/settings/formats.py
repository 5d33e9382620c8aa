"""The names of the output formats, which a workflow may ask for."""

from __future__ import annotations

# What each format keeps; ``outputs.formats.register`` adds others.
FORMATS: dict[str, str] = {
    "netcdf": "a file for each target year",
    "zarr": "a store for each branch",
}

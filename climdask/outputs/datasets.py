"""Normals as lazy xarray datasets, whatever the format of the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from climdask.climatology.cycles import STEP_DIMENSIONS
from climdask.outputs.provenance import pack, unpack


def step_dimension(dataset: xr.Dataset) -> str:
    """Return what the steps of a normal are called: ``dayofyear``, ``month``, …"""
    return next(name for name in STEP_DIMENSIONS if name in dataset.variables)


def open_normals(paths: Sequence[Path], target_years: Sequence[int]) -> xr.Dataset:
    """Open normals as one lazy dataset with dims (target_year, step, lat, lon)."""

    def by_day(dataset: xr.Dataset) -> xr.Dataset:
        dataset = dataset.drop_vars("climatology_bnds", errors="ignore")
        dataset["time"].attrs.pop("climatology", None)
        dataset["time"].encoding.pop("climatology", None)
        return dataset.swap_dims(time=step_dimension(dataset))

    coordinate = xr.Variable(
        "target_year", list(target_years), {"long_name": "last year of the window"}
    )
    return xr.open_mfdataset(
        [str(p) for p in paths],
        combine="nested",
        concat_dim="target_year",
        preprocess=by_day,
        data_vars="all",
        coords=["time"],
        compat="override",
        combine_attrs="drop_conflicts",
        join="override",
        decode_times=xr.coders.CFDatetimeCoder(use_cftime=True),
    ).assign_coords(target_year=coordinate)


def open_stores(target_years: Mapping[Path, Sequence[int]]) -> xr.Dataset:
    """Open Zarr stores as one lazy dataset with dims (target_year, step, lat, lon).

    Args:
        target_years: those that are wanted of each store.
    """
    coder = xr.coders.CFDatetimeCoder(use_cftime=True)
    parts = [
        xr.open_zarr(path, chunks={}, decode_times=coder).sel(target_year=list(years))
        for path, years in target_years.items()
    ]
    joined: xr.Dataset = xr.concat(
        parts,
        "target_year",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        combine_attrs="drop_conflicts",
        join="override",
    )
    provenances = [unpack(part.attrs["provenance"]) for part in parts if "provenance" in part.attrs]
    return joined.assign_attrs(
        provenance=pack({y: p for one in provenances for y, p in one.items()})
    )

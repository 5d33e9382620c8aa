"""A Zarr store of normals as plain data: its arrays, its identity, and where a target year is.

Pure: :mod:`climdask.outputs.zarr` puts it on disk. A store holds the normals of a chain in a region
along one branch, with dimensions (target_year, dayofyear, lat, lon). One target year is one object
(a shard) of each array that has the dimension; so nothing that is written while the chain runs is
ever shared by two tasks.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from climdask.climatology.calendars import Window, run_lengths
from climdask.outputs.cf import (
    CfVariable,
    NormalField,
    chain_attributes,
    field_variables,
    place_variables,
    time_variables,
    title,
)
from climdask.outputs.provenance import Provenance, edges_of_runs
from climdask.planning.digests import digest_of
from climdask.planning.plan import OutputSeries

# Raised when the arrays of a store change between versions.
STORE_VERSION = 1
CHUNK_BYTES = 1 << 20
BOUNDS = "climatology_bnds"
# The arrays beside the products that have an object each year, in the order of writing.
BESIDE = ("number_of_years", "years_per_day", "count")


@dataclass(frozen=True)
class Storage:
    """How an array is cut and stored.

    Attributes:
        chunks: values that are compressed together.
        shards: values that are one object; None if that is the chunk.
        compressed: whether chunks are compressed at all.
    """

    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    compressed: bool


@dataclass(frozen=True, eq=False)
class Store(OutputSeries):
    """One store: the normals of a chain in a region along one branch."""

    @classmethod
    def of(cls, series: OutputSeries) -> Store:
        """Return the store of a series."""
        return cls(series.spec, series.region, series.branch)

    @property
    def folder(self) -> PurePosixPath:
        """Path below the output root; it is the same for every target year."""
        return self.path(0)

    @cached_property
    def identity(self) -> str:
        """A hash of all that the target years of one store must share, coordinates included.

        The level of compression is not in it: chunks say themselves how they are compressed.
        """
        spec, region = self.spec, self.region
        facts = [STORE_VERSION, spec.id, self.branch, spec.header.units, spec.axis.calendar]
        cells = [region.lat.tobytes().hex(), region.lon.tobytes().hex()]
        arrays = [[v.name, v.values.dtype.str, self.storage(v)] for v in self.yearly(self._nothing)]
        return digest_of(facts, spec.deciding_keys(region.place), cells, arrays)

    @property
    def _nothing(self) -> NormalField:
        """A field without values, which takes no memory."""
        shape = (len(self.spec.steps), *self.region.index.shape)
        none = np.broadcast_to(np.int16(0), shape)
        values = np.broadcast_to(np.float32(np.nan), shape)
        fields = [none if p.statistic.quantity == "number" else values for p in self.spec.products]
        count = none if self.spec.count else None
        of_steps = np.broadcast_to(np.int16(0), shape[:1])
        return NormalField(fields[0], of_steps, count, 0, {}, tuple(fields[1:]))

    @cached_property
    def yearly_arrays(self) -> tuple[tuple[str, int], ...]:
        """Name and number of dimensions of each array that has an object for each target year.

        In the order of writing: the normal itself comes last, so where it is, the others are.
        """
        return tuple((v.name, len(v.dims)) for v in self.yearly(self._nothing))

    def yearly(self, field: NormalField, n_targets: int = 1) -> list[CfVariable]:
        """Return the variables that have an object for each target year.

        Args:
            field: what all target years have, the only one as a rule.
            n_targets: length of the dimension target_year, which comes first.
        """
        found = []
        for variable in in_order(field_variables(self.spec, field), self.spec.variable):
            if _is_yearly(variable):
                values = np.broadcast_to(variable.values, (n_targets, *variable.values.shape))
                dims = ("target_year", *_by_step(variable, self.spec.steps.dimension))
                found.append(CfVariable(variable.name, dims, values, self._about(variable)))
        return found

    def _about(self, variable: CfVariable) -> dict[str, Any]:
        about = dict(variable.attributes)
        if variable.is_gridded:
            about["coordinates"] = f"time {about.get('coordinates', '')}".strip()
        return about

    def without_values(self, n_targets: int) -> list[CfVariable]:
        """Return the variables of :meth:`yearly` for a store of ``n_targets`` years."""
        return self.yearly(self._nothing, n_targets)

    def fixed(self, target_years: Sequence[int]) -> list[CfVariable]:
        """Return the variables that hang on no value of the input.

        The climatology bounds are those of the calendar; see :meth:`bounds`.
        """
        years = np.asarray(target_years, dtype=np.int32)
        about = {"long_name": "last year of the window", "units": "1"}
        windows = [Window.ending(year, self.spec.window) for year in target_years]
        each = [time_variables(self.spec, window) for window in windows]
        return [
            CfVariable("target_year", ("target_year",), years, about),
            *_by_target(each, self.spec.steps.dimension),
            *place_variables(self.spec, self.region),
            *(v for v in field_variables(self.spec, self._nothing) if not _is_yearly(v)),
        ]

    def bounds(self, target_years: Sequence[int], normals: Mapping[int, Provenance]) -> CfVariable:
        """Return the climatology bounds of what the normals were made from.

        Args:
            target_years: the axis.
            normals: by target year; one that is not there has the years of the calendar.
        """
        each = []
        for year in target_years:
            window = Window.ending(year, self.spec.window)
            runs = normals[year].edges if year in normals else ()
            edges = edges_of_runs(runs, self.spec.steps.edges(window))
            each.append(time_variables(self.spec, window, edges))
        found = _by_target(each, self.spec.steps.dimension)
        return next(v for v in found if v.name == BOUNDS)

    def attributes(self, target_years: Sequence[int]) -> dict[str, Any]:
        """Return the attributes of the store that do not tell how it was made."""
        spec, region = self.spec, self.region
        edges = {"lat_bnds": region.lat_bounds, "lon_bnds": region.lon_bounds}
        bounds = [name for name, values in edges.items() if values is not None]
        years = f"target years {run_lengths(target_years)}"
        return {
            **chain_attributes(spec, region),
            "scenario": self.branch,
            "title": title(spec, region, years),
            # xarray makes these coordinates, too, as it does when it writes a store itself.
            "coordinates": " ".join([BOUNDS, *bounds]),
            "store_identity": self.identity,
        }

    def storage(self, variable: CfVariable) -> Storage:
        """Return how a variable is cut and stored.

        What has target years has one object for each; the gridded are cut further, into chunks
        of about :data:`CHUNK_BYTES` of whole days, all alike (the last may reach beyond the year).
        The rest is one chunk; what is small is stored as it is, so that anything can read it.
        """
        shape = variable.values.shape
        compressed = self.spec.compression_level > 0
        if variable.dims[1:] == (self.spec.steps.dimension, *self.region.dims):
            n_days, *grid = shape[1:]
            most = max(1, CHUNK_BYTES // (4 * math.prod(grid)))
            n_chunks = -(-n_days // most)
            days = -(-n_days // n_chunks)
            return Storage((1, days, *grid), (1, days * n_chunks, *grid), compressed)
        if variable.name in ("years_per_day", "number_of_years"):
            return Storage((1, *shape[1:]), None, False)
        return Storage(shape, None, compressed and len(shape) > 1)


def in_order(variables: Sequence[CfVariable], variable: str) -> list[CfVariable]:
    """Return variables in the order of writing: what is beside the normal first, the mean last."""
    beside = [v for v in variables if not v.is_gridded or v.name in BESIDE]
    gridded = [v for v in variables if v.is_gridded and v.name not in BESIDE]
    names = ordered_names([v.name for v in gridded], variable)
    return beside[::-1] + sorted(gridded, key=lambda v: names.index(v.name))


def ordered_names(gridded: Collection[str], variable: str) -> list[str]:
    """Return the names of the products of a variable in the order of writing; the mean is last."""
    return sorted(gridded, key=lambda name: (name == variable, name))


def object_key(place: int, n_dims: int) -> str:
    """Return the name of the object of the target year at ``place`` of the axis."""
    return ".".join(["c", str(place), *["0"] * (n_dims - 1)])


def _is_yearly(variable: CfVariable) -> bool:
    return bool(variable.dims) or variable.name == "number_of_years"


def _by_step(variable: CfVariable, dimension: str) -> tuple[str, ...]:
    return tuple(dimension if dim == "time" else dim for dim in variable.dims)


def _by_target(each: Sequence[Sequence[CfVariable]], dimension: str) -> Iterator[CfVariable]:
    """Join the time variables of all target years; what numbers the steps is the same in each."""
    clock = {key: each[0][0].attributes[key] for key in ("units", "calendar")}
    for same in zip(*each, strict=True):
        name, dims = same[0].name, _by_step(same[0], dimension)
        if name == dimension:
            yield replace(same[0], dims=dims)
            continue
        # CF needs no attributes of bounds, but xarray reads these as times only with them.
        about = same[0].attributes or clock
        yield CfVariable(name, ("target_year", *dims), np.stack([v.values for v in same]), about)

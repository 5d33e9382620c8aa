"""The regions of a workflow as places: polygons are read, and their weights kept for the next time.

Weights depend on the grid and the polygons only, so they are kept in the user's cache folder, by a
hash of both. Nothing is lost with that folder: weights that are not there are made again.
"""

from __future__ import annotations

import zipfile
from contextlib import suppress
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path

import numpy as np
import platformdirs

from climdask.climatology.areas import Areas, AreaWeights
from climdask.climatology.grids import Grid
from climdask.climatology.places import AreaFootprint, Place
from climdask.errors import OutputError, RegionError
from climdask.inputs.shapes import Shapes, read_shapes
from climdask.outputs.atomicfiles import atomically
from climdask.settings.workflow import AreaSet, Workflow

_DTYPES = {"starts": np.int64, "cells": np.int64}  # the others are float64


@dataclass(frozen=True, eq=False)
class PolygonAreas:
    """A set of areas with its polygons; see :class:`climdask.climatology.places.Place`.

    Attributes:
        areas: what outputs need of it.
        shapes: the polygons.
        cache: folder for weights.
    """

    areas: Areas
    shapes: Shapes
    cache: Path

    @property
    def name(self) -> str:
        """Names the set in paths, messages and hashes."""
        return self.areas.name

    @property
    def facts(self) -> list[object]:
        """All that decides its cells, for hashes."""
        return self.areas.facts

    def on(self, grid: Grid) -> AreaFootprint:
        """Return the weights of the cells of a grid, from the cache if they are there.

        Raises:
            RegionError: no area lies in the grid, or the polygons or the grid have no weights.
        """
        return AreaFootprint(self.areas, self.weights(grid))

    def weights(self, grid: Grid) -> AreaWeights:
        """Return the weights of the cells of a grid, as :meth:`on` does."""
        kept = self.cache / f"{self._key(grid)}.npz"
        found = load_weights(kept, len(self.areas.ids))
        if found is None:
            from climdask.climatology.areaweights import area_weights  # it needs an extra

            try:
                found = area_weights(grid, list(self.shapes.geometries), self.areas.labels)
            except RegionError as error:
                raise RegionError(f"region {self.areas}: {error}") from None
            with suppress(OutputError):  # they are made again the next time
                save_weights(kept, found)
        if not found.cells.size:
            raise RegionError(
                f"region {self.areas}: none of its areas lies in the grid, which has {grid}; "
                "choose areas that do, or other files"
            )
        return found

    def _key(self, grid: Grid) -> str:
        import shapely

        from climdask.climatology.areaweights import WEIGHTS_VERSION

        facts = [WEIGHTS_VERSION, shapely.geos_version, self.shapes.digest, grid.identity]
        return sha256(repr(facts).encode()).hexdigest()[:32]


def places_of(workflow: Workflow, *, cache: Path | None = None) -> tuple[Place, ...]:
    """Return the regions of a workflow, in order; the polygons of areas are read.

    Args:
        workflow: what is wanted.
        cache: folder for weights; the user's if left out.

    Raises:
        RegionError: a file of polygons cannot be used.
    """
    cache = cache or default_cache()
    return tuple(
        _polygon_areas(asked, cache) if isinstance(asked, AreaSet) else asked
        for asked in workflow.places_asked
    )


def default_cache() -> Path:
    """Return the user's folder for weights."""
    return Path(platformdirs.user_cache_dir("climdask", appauthor=False)).absolute() / "weights"


def _polygon_areas(asked: AreaSet, cache: Path) -> PolygonAreas:
    try:
        shapes = read_shapes(asked.query)
    except RegionError as error:
        raise RegionError(f"regions: areas: {error}") from None
    areas = Areas(
        asked.region_name,
        shapes.ids,
        shapes.names,
        shapes.digest,
        asked.min_coverage,
        asked.areas.name,
        shapes.notes,
    )
    return PolygonAreas(areas, shapes, cache)


# ---------------------------------------------------------------- the cache


def save_weights(path: Path, weights: AreaWeights) -> None:
    """Keep weights in a file, which appears whole or not at all.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    arrays = {field.name: getattr(weights, field.name) for field in fields(AreaWeights)}

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)

    atomically(path, fill, durable=False)


def load_weights(path: Path, n_areas: int) -> AreaWeights | None:
    """Return the weights in a file; None if it is not there, or holds something else."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            weights = AreaWeights(**{f.name: content[f.name] for f in fields(AreaWeights)})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return weights if _are_sound(weights, n_areas) else None


def _are_sound(weights: AreaWeights, n_areas: int) -> bool:
    shapes = {"starts": (n_areas + 1,), "cells": weights.weights.shape, "weights": None}
    for field in fields(AreaWeights):
        values = getattr(weights, field.name)
        expected = shapes.get(field.name, (n_areas,)) or values.shape
        if values.dtype != _DTYPES.get(field.name, np.float64) or values.shape != expected:
            return False
    starts = weights.starts
    return bool(
        starts[0] == 0 and starts[-1] == weights.cells.size and (np.diff(starts) >= 0).all()
    )

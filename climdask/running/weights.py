"""The weights of a workflow's areas, for people: which cells each area has, and how much of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from climdask.climatology.areas import Areas, AreaWeights
from climdask.climatology.grids import RectilinearGrid
from climdask.errors import ConfigError
from climdask.inputs.shapes import Geometries
from climdask.plaintext import few, quantity
from climdask.planning.plan import Plan
from climdask.running.areas import PolygonAreas, places_of
from climdask.running.run import as_workflow, plan


@dataclass(frozen=True, eq=False)
class WeighedAreas:
    """A set of areas on one grid.

    Attributes:
        areas: the set.
        geometries: its polygons, degrees east and north.
        grid: whose cells are weighed.
        weights: the cells of each area.
        chains: ids of the chains that have this grid.
    """

    areas: Areas
    geometries: Geometries
    grid: RectilinearGrid
    weights: AreaWeights
    chains: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield a table: id, name, cells, area in km2, and the share of it in cells of the grid."""
        rows, columns = self.grid.shape
        yield f"{self.areas} on {rows} x {columns} cells: {few(self.chains)}"
        ids, names = ["id", *self.areas.ids], ["name", *self.areas.names]
        cells = ["cells", *map(str, self.weights.n_cells)]
        sizes = ["km2", *(f"{size:.1f}" for size in self.weights.sizes)]
        shares = ["covered", *(f"{share:.4f}" for share in self.weights.covered)]
        wide = [max(map(len, column)) for column in (ids, names, cells, sizes, shares)]
        for own in zip(ids, names, cells, sizes, shares, strict=True):
            left = "  ".join(text.ljust(w) for text, w in zip(own[:2], wide[:2], strict=True))
            right = "  ".join(text.rjust(w) for text, w in zip(own[2:], wide[2:], strict=True))
            yield f"{left}  {right}"
        lost = int((self.weights.n_cells == 0).sum())
        without = f", {lost} without a cell" if lost else ""
        yield (
            f"{quantity(len(self.areas.ids), 'area')}{without}, "
            f"{quantity(np.unique(self.weights.cells).size, 'cell')}, "
            f"{quantity(self.weights.cells.size, 'pair')}"
        )


def weigh(workflow: Any) -> list[WeighedAreas]:
    """Return the weights of each set of areas of a workflow on each grid of its files.

    Args:
        workflow: a workflow, a mapping, or the path of a YAML file.

    Raises:
        UserError: the workflow has no areas, or cannot be planned.
    """
    flow = as_workflow(workflow)
    sets = [place for place in places_of(flow) if isinstance(place, PolygonAreas)]
    if not sets:
        raise ConfigError(
            "regions: holds no areas; expected an entry such as {areas: counties.gpkg, id: GEOID}"
        )
    return [
        WeighedAreas(own.areas, own.shapes.geometries, grid, own.weights(grid), chains)
        for grid, chains in _grids(plan(flow))
        for own in sets
    ]


def _grids(made: Plan) -> list[tuple[RectilinearGrid, tuple[str, ...]]]:
    """Return each grid of a plan, and the chains that have it."""
    grids: dict[object, RectilinearGrid] = {}
    chains: dict[object, list[str]] = {}
    for chain in made.all_chains:
        grid = chain.spec.header.grid
        assert isinstance(grid, RectilinearGrid)  # areas are found on no other
        grids.setdefault(grid.identity, grid)
        chains.setdefault(grid.identity, []).append(chain.id)
    return [(grid, tuple(chains[key])) for key, grid in grids.items()]


def draw(weighed: WeighedAreas, path: Path) -> Path:
    """Draw areas and their cells as a picture (``.png``) or a page (``.html``).

    Raises:
        PlotError: the name ends otherwise, or what draws it is not installed.
    """
    from climdask.reporting.areamap import AreaMap, draw_map

    own = weighed.weights
    content = AreaMap.of(weighed.areas, weighed.geometries, weighed.grid, own)
    return draw_map(content, path)

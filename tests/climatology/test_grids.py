"""Grids, and a toy of each protocol: what it takes to add a grid or a place."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import pytest

from climdask.climatology.grids import Grid, RectilinearGrid
from climdask.climatology.places import Box, Footprint, Place, select
from climdask.errors import RegionError

GRID = RectilinearGrid(np.array([-10.0, 0.0, 10.0]), np.array([0.0, 90.0, 180.0, 270.0]))


def test_a_cell_is_told_by_its_coordinates() -> None:
    assert GRID.where(6) == "lat 0, lon 180"


def test_grids_share_an_identity_only_if_all_coordinates_are_alike() -> None:
    same = RectilinearGrid(GRID.lat.copy(), GRID.lon.copy())
    moved = RectilinearGrid(GRID.lat + 1e-9, GRID.lon)
    assert same.identity == GRID.identity != moved.identity
    assert moved.digest == GRID.digest
    assert moved.matches(GRID)


@dataclass(frozen=True)
class Row:
    """The cells of one parallel: a place that is no box."""

    name: str
    lat: float

    @property
    def facts(self) -> list[object]:
        """All that decides its cells."""
        return [self.name, self.lat]

    def on(self, grid: Grid) -> Footprint:
        """Find the row that is nearest."""
        assert isinstance(grid, RectilinearGrid)
        row = int(np.abs(grid.lat - self.lat).argmin())
        cells = row * grid.shape[1] + np.arange(grid.shape[1])
        return Footprint(cells[None, :], grid.lat[row : row + 1], grid.lon)


def test_a_new_place_shares_cells_with_boxes() -> None:
    places: list[Place] = [Row("equator", 1.0), Box("east", 0.0, 100.0, -20.0, 20.0)]
    chosen = select(GRID, places)
    assert [*chosen.cells] == [0, 1, 4, 5, 6, 7, 8, 9]
    assert [*chosen.cells[chosen.region("equator").index].ravel()] == [4, 5, 6, 7]
    assert [*chosen.cells[chosen.region("east").index].ravel()] == [0, 1, 4, 5, 8, 9]


class Points:
    """A grid of places in a row: a grid that is not rectilinear."""

    shape, digest = (1, 2), "two points"
    identity: Hashable = "two points"

    def matches(self, other: Grid) -> bool:
        """Tell whether it is this one."""
        return other is self

    def difference(self, other: Grid) -> str:
        """Say how they differ."""
        return f"{other}, not two points"

    def where(self, cell: int) -> str:
        """Name a point."""
        return f"point {cell + 1}"


def test_a_box_on_another_kind_of_grid_is_refused() -> None:
    points: Grid = Points()
    assert not GRID.matches(points)
    with pytest.raises(
        RegionError, match=r"region east .* need a grid of latitudes and longitudes"
    ):
        select(points, [Box("east", 0.0, 100.0, -20.0, 20.0)])

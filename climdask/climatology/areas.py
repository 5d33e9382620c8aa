"""Areas: places that are a weighted mean of the cells of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from climdask.climatology.grids import Floats

Cells = npt.NDArray[np.int64]
Values = npt.NDArray[np.float32]

# What rounding may take from a covered share.
ROUNDING = 1e-9
# Raised when means of areas change between versions: normals of earlier ones are then stale.
AREAS_VERSION = 1


@dataclass(frozen=True)
class Areas:
    """A set of areas that normals are made of; each is a weighted mean of cells.

    Attributes:
        name: names the set in paths, messages and hashes.
        ids, names: of the areas, in order; no two ids are alike.
        digest: of the polygons, with ids and names.
        min_coverage: the share of an area that must have values, 0 to 1; with less it is missing.
        source: where the polygons are from, for messages.
        notes: what is to be said of them.
    """

    name: str
    ids: tuple[str, ...] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    digest: str
    min_coverage: float
    source: str
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> list[str]:
        """Name and id of each area, for messages."""
        pairs = zip(self.names, self.ids, strict=True)
        return [name if name == own else f"{name} ({own})" for name, own in pairs]

    @property
    def facts(self) -> list[object]:
        """All that decides the cells and their weights, for hashes."""
        return ["areas", AREAS_VERSION, self.name, self.digest, self.min_coverage]

    def __str__(self) -> str:
        return f"{self.name} ({len(self.ids):,} areas of {self.source})"


@dataclass(frozen=True, eq=False)
class AreaWeights:
    """How much of each area lies in which cells; sparse, row by row (CSR).

    Attributes:
        starts: int64 [area + 1], where the pairs of each area begin; the last is their number.
        cells: int64 [pair], numbers of cells, ascending within an area.
        weights: float64 [pair], what cell and area have in common, km2.
        sizes: float64 [area], the whole area, also where there is no cell, km2.
        lat, lon: float64 [area], the middle of each area, degrees north and east (-180 to 180).
    """

    starts: Cells
    cells: Cells
    weights: Floats
    sizes: Floats
    lat: Floats
    lon: Floats

    @property
    def n_cells(self) -> npt.NDArray[np.int64]:
        """Cells of each area, int64 [area]."""
        return np.diff(self.starts)

    @property
    def covered(self) -> Floats:
        """The share of each area that lies in cells of the grid, float64 [area], 0 to 1."""
        owner = np.repeat(np.arange(self.sizes.size), self.n_cells)
        own = np.bincount(owner, weights=self.weights, minlength=self.sizes.size)
        # At most 1, but for rounding; nothing of an area without a surface.
        return own / np.where(own > 0.0, np.maximum(self.sizes, own), 1.0)

    @cached_property
    def digest(self) -> str:
        """A hash of all weights, to the last bit."""
        text = sha256()
        for values in (self.starts, self.cells, self.weights, self.sizes):
            text.update(values.tobytes())
        return text.hexdigest()[:24]


@dataclass(frozen=True, eq=False)
class AreaMeans:
    """What makes places of the cells that were read: some stay as they are, some give means.

    Attributes:
        kept: intp [cell], places among the cells that were read, of those that stay; they are the
            first places of a block.
        weights: of all areas, their cells numbered by their places among those that were read.
        least: float64 [area], the share of an area that must have values.
    """

    kept: npt.NDArray[np.intp]
    weights: AreaWeights
    least: Floats

    @cached_property
    def digest(self) -> str:
        """A hash of all that decides what becomes of the cells."""
        text = sha256(self.kept.tobytes() + self.least.tobytes())
        return f"{self.weights.digest}{text.hexdigest()[:24]}"

    @property
    def n_places(self) -> int:
        """Places of a block."""
        return self.kept.size + self.weights.sizes.size

    def cells_of(self, places: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Return the cells of areas, each once, among those that were read.

        Args:
            places: intp [area], of areas that follow each other.
        """
        first, last = places[0] - self.kept.size, places[-1] - self.kept.size
        own = self.weights.cells[self.weights.starts[first] : self.weights.starts[last + 1]]
        return np.unique(own).astype(np.intp)

    def reduced(self, values: Values) -> Values:
        """Return the places of a block.

        Args:
            values: float32 [day, cell], of the cells that were read; NaN where missing.

        Returns:
            float32 [day, place]. Missing cells leave the mean of an area, and it is missing where
            less than its least share has values. Means are summed in float64, cell by cell in the
            order of the grid, and rounded once.
        """
        from climdask.climatology.areakernels import area_means  # numba takes its time to load

        out = np.empty((len(values), self.n_places), dtype=np.float32)
        out[:, : self.kept.size] = values[:, self.kept]
        own, n = self.weights, self.kept.size
        needed = (self.least - ROUNDING) * own.sizes
        area_means(values, own.starts, own.cells, own.weights, needed, out[:, n:])
        return out


def compile_means() -> None:
    """Load the compiled loop, so that workers find its code on disk."""
    from climdask.climatology import areakernels

    del areakernels


def joined(parts: Sequence[AreaWeights]) -> AreaWeights:
    """Put the areas of several sets one after the other."""
    ends = np.cumsum([0, *(part.cells.size for part in parts)])
    starts = [part.starts[:-1] + end for part, end in zip(parts, ends[:-1], strict=True)]
    return AreaWeights(
        np.concatenate([*starts, ends[-1:]]).astype(np.int64),
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("cells", "weights", "sizes", "lat", "lon")
        ),
    )

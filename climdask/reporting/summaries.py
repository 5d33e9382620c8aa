"""The numbers behind pictures of normals: means over steps and regions, and how coarse they are.

Pure: arrays in, arrays out. A *step* is what a map shows: of daily normals the annual mean, then
each day or month; of others each step that they have.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32]
Days = Sequence[tuple[int, int]]

MIN_SHARE = 0.8  # of the days of a month or year, for a mean over it (WMO-No. 1203)
MISSING = 65535  # of packed numbers
FACTORS = range(1, 1000)
STRIDES = (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000, 10_000)


# ---------------------------------------------------------------- how coarse


@dataclass(frozen=True)
class Shape:
    """Size of one product of a set of normals.

    Attributes:
        targets: all target years.
        days: steps of a normal, as many as days if ``daily``.
        lat, lon: cells.
        changes: scenarios.
        daily: whether the steps are days, which may be shown as months.
    """

    targets: tuple[int, ...]
    days: int
    lat: int
    lon: int
    changes: int = 1
    daily: bool = True


@dataclass(frozen=True)
class Detail:
    """How much of the normals maps show.

    Attributes:
        daily: each day, or months, of daily normals.
        targets: target years at most, of a set; None for all.
        cells: of a map at most, None for all.
    """

    daily: bool
    targets: int | None
    cells: int | None

    def n_steps(self, days: int) -> int:
        """Return how many maps daily normals have: the annual mean, and each day or month."""
        return 1 + (days if self.daily else 12)

    def stride(self, targets: Sequence[int]) -> int:
        """Return the years between two target years that are shown."""
        if self.targets is None or len(targets) <= self.targets:
            return 1
        first = min(targets)
        for stride in STRIDES:
            if sum((t - first) % stride == 0 for t in targets) <= self.targets:
                return stride
        return STRIDES[-1]

    def factor(self, lat: int, lon: int) -> int:
        """Return how many cells of each axis become one."""
        if self.cells is None:
            return 1
        return next(f for f in FACTORS if -(-lat // f) * -(-lon // f) <= self.cells)

    def n_bytes(self, shape: Shape) -> int:
        """Return the bytes of the packed maps of a set, and of its curves."""
        f = self.factor(shape.lat, shape.lon)
        n_steps = self.n_steps(shape.days) if shape.daily else shape.days
        cells = -(-shape.lat // f) * -(-shape.lon // f)
        n_maps = n_steps * (len(shown_targets([shape.targets], self)) + shape.changes)
        curves = n_steps * len(shape.targets) + 3 * shape.days * shape.changes
        return 2 * cells * n_maps + 4 * curves


# From the finest to the coarsest: days go first, then target years, then cells.
DETAILS = (
    Detail(True, None, None),
    Detail(True, 31, None),
    Detail(True, 13, None),
    Detail(False, None, None),
    Detail(False, 31, None),
    Detail(False, 13, None),
    Detail(False, 13, 12_000),
    Detail(False, 13, 6_500),
    Detail(False, 13, 3_000),
    Detail(False, 7, 3_000),
    Detail(False, 7, 1_500),
    Detail(False, 4, 3_000),
    Detail(False, 4, 1_000),
    Detail(False, 2, 1_000),
    Detail(False, 2, 300),
    Detail(False, 2, 100),
)


def choose_detail(shapes: Sequence[Shape], budget: int) -> Detail:
    """Return the finest detail of which maps and curves of all sets fit in ``budget`` bytes.

    The coarsest one if none does.
    """
    for detail in DETAILS:
        if sum(map(detail.n_bytes, shapes)) <= budget:
            return detail
    return DETAILS[-1]


def choose_details(
    first: Sequence[Shape], others: Sequence[Shape], budget: int
) -> tuple[Detail, Detail]:
    """Return the details of daily means and of all other products, which fit in ``budget``.

    Daily means are in finer detail: the others get what these leave, and two fifths at least.
    """
    needed = sum(map(DETAILS[0].n_bytes, others))
    own = choose_detail(first, budget - min(needed, budget * 2 // 5))
    return own, choose_detail(others, budget - sum(map(own.n_bytes, first)))


def shown_targets(series: Sequence[Sequence[int]], detail: Detail) -> set[int]:
    """Return the target years that have maps: every so many, and the ends of each series."""
    every = [target for own in series for target in own]
    stride, first = detail.stride(sorted(set(every))), min(every, default=0)
    ends = {end for own in series if own for end in (min(own), max(own))}
    return ends | {t for t in every if (t - first) % stride == 0}


# ---------------------------------------------------------------- grids


def edges_of(centres: Floats, *, ends: tuple[float, float] = (-np.inf, np.inf)) -> Floats:
    """Return the edges between cells, one more than centres, ascending: halfway between them."""
    if centres.size == 1:
        inner = np.empty(0)
        first = last = 0.5
    else:
        inner = (centres[1:] + centres[:-1]) / 2
        first, last = inner[0] - centres[0], centres[-1] - inner[-1]
    found = np.concatenate([[centres[0] - first], inner, [centres[-1] + last]])
    return np.asarray(np.clip(found, *ends))


def area_weights(
    lat: Floats, lon: Floats, lat_bounds: Floats | None = None, lon_bounds: Floats | None = None
) -> Floats:
    """Return weights proportional to the cells' areas, float64 [lat, lon].

    From the bounds where there are any, else the cosine of latitude.
    """
    if lat_bounds is None:
        rows = np.cos(np.radians(lat))
    else:
        south, north = np.radians(np.clip(lat_bounds, -90, 90)).T
        rows = np.abs(np.sin(north) - np.sin(south))
    columns = np.ones(lon.size) if lon_bounds is None else np.abs(np.diff(lon_bounds)[:, 0])
    weights: Floats = rows[:, None] * columns[None, :]
    return weights


def raster(edges: Floats, most: int = 400) -> npt.NDArray[np.int32]:
    """Return which cell each pixel of an axis with evenly spaced pixels is in, int32 [pixel].

    One pixel a cell where the cells are evenly spaced.
    """
    widths = np.diff(edges)
    if np.ptp(widths) <= 0.02 * widths.max():
        return np.arange(widths.size, dtype=np.int32)
    n_pixels = int(min(most, max(widths.size, np.ceil(np.ptp(edges) / widths.min()))))
    centres = edges[0] + (np.arange(n_pixels) + 0.5) * np.ptp(edges) / n_pixels
    return np.asarray(np.searchsorted(edges, centres, side="right") - 1, dtype=np.int32)


def coarse(values: Floats, weights: Floats, factor: int) -> Floats:
    """Return area-weighted means of blocks of ``factor`` by ``factor`` cells that have a value.

    Args:
        values: [..., lat, lon], NaN where missing; blocks at the end may be smaller.
    """
    if factor == 1:
        return values
    share = np.where(np.isnan(values), 0.0, weights)
    total = _blocks(np.where(np.isnan(values), 0.0, values) * share, factor)
    weight = _blocks(share, factor)
    return _ratio(total, weight, weight > 0)


def _blocks(values: Floats, factor: int) -> Floats:
    for axis in (-2, -1):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], factor), axis=axis)
    return values


def coarse_edges(edges: Floats, factor: int) -> Floats:
    """Return the edges of blocks of ``factor`` cells."""
    return np.append(edges[:-1:factor], edges[-1])


# ---------------------------------------------------------------- means


def months_of(days: Days) -> list[slice]:
    """Return the days of each month that there is."""
    months = np.array([month for month, _ in days])
    starts = [0, *(np.flatnonzero(np.diff(months)) + 1), len(months)]
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(starts)]


def regional_mean(values: Floats, weights: Floats) -> Floats:
    """Return the area-weighted mean over the cells that have a value: [..., lat, lon] to [...]."""
    valid = ~np.isnan(values)
    total = np.einsum("...ij,ij->...", np.where(valid, values, 0.0), weights)
    weight = np.einsum("...ij,ij->...", valid.astype(np.float64), weights)
    return _ratio(total, weight, weight > 0)


def mean_over_days(total: Floats, count: npt.NDArray[np.integer], n_days: int) -> Floats:
    """Return means over days, NaN where fewer than :data:`MIN_SHARE` of them have a value."""
    enough = count >= np.ceil(MIN_SHARE * n_days)
    return _ratio(total, count, enough & (count > 0))


def _ratio(
    total: Floats, of: npt.NDArray[np.floating | np.integer], where: npt.NDArray[np.bool_]
) -> Floats:
    """Divide where there is something to divide by; NaN elsewhere."""
    return np.asarray(np.divide(total, of, out=np.full_like(total, np.nan), where=where))


@dataclass(frozen=True, eq=False)
class NormalSummary:
    """What is shown of one normal.

    Attributes:
        cycle: float64 [day], regional mean of each day.
        means: float64 [step], regional mean of each step.
        maps: float32 [step, lat, lon], coarse; None where no map is asked for.
        valid_share: of the cell-days, those that have a value.
    """

    cycle: Floats
    means: Floats
    maps: Values | None
    valid_share: float


def summarise(
    read: Callable[[slice], Values],
    days: Days,
    weights: Floats,
    *,
    daily: bool,
    factor: int | None,
) -> NormalSummary:
    """Read a normal month by month, each day once, and return what is shown of it.

    Args:
        read: returns some days, float32 [day, lat, lon], NaN where missing.
        days: (month, day) of each day.
        weights: of the cells, [lat, lon].
        daily: whether steps are days, or months.
        factor: cells of each axis that become one in maps; None for no maps.
    """
    cycle, steps, maps = np.full(len(days), np.nan), [], []
    total, count = np.zeros(weights.shape), np.zeros(weights.shape, dtype=np.int32)
    for month in months_of(days):
        values = read(month).astype(np.float64)
        valid = ~np.isnan(values)
        month_total, month_count = np.where(valid, values, 0.0).sum(axis=0), valid.sum(axis=0)
        total, count = total + month_total, count + month_count
        cycle[month] = regional_mean(values, weights)
        if not daily:
            values = mean_over_days(month_total, month_count, len(values))[None]
        steps.append(regional_mean(values, weights))
        if factor is not None:
            maps.append(coarse(values, weights, factor).astype(np.float32))
    year = mean_over_days(total, count, len(days))
    means = np.concatenate([[regional_mean(year, weights)], *steps])
    if factor is not None:
        maps.insert(0, coarse(year, weights, factor).astype(np.float32)[None])
    share = float(count.sum()) / (count.size * len(days))
    return NormalSummary(cycle, means, np.concatenate(maps) if maps else None, share)


def summarise_steps(
    read: Callable[[slice], Values], n_steps: int, weights: Floats, *, factor: int | None
) -> NormalSummary:
    """Read a normal step by step, and return what is shown of it: each step as it is.

    Args:
        read: as of :func:`summarise`.
        n_steps: of the normal.
        weights: of the cells, [lat, lon].
        factor: as of :func:`summarise`.
    """
    means, maps, n_valid = np.full(n_steps, np.nan), [], 0
    for n in range(n_steps):
        values = read(slice(n, n + 1)).astype(np.float64)
        n_valid += int((~np.isnan(values)).sum())
        means[n] = regional_mean(values, weights)[0]
        if factor is not None:
            maps.append(coarse(values, weights, factor).astype(np.float32))
    share = n_valid / (weights.size * n_steps)
    return NormalSummary(means.copy(), means, np.concatenate(maps) if maps else None, share)


# ---------------------------------------------------------------- packing


@dataclass(frozen=True, eq=False)
class Packed:
    """Numbers as uint16: ``value = offset + scale * packed``, :data:`MISSING` where missing."""

    packed: npt.NDArray[np.uint16]
    scale: float
    offset: float

    @property
    def values(self) -> Floats:
        """The numbers, to half of ``scale``."""
        found = self.offset + self.scale * self.packed
        return np.where(self.packed == MISSING, np.nan, found)


def pack(values: npt.NDArray[np.floating]) -> Packed:
    """Pack numbers with the finest scale that holds them all."""
    there = np.isfinite(values)
    low, high = (float(values[there].min()), float(values[there].max())) if there.any() else (0, 0)
    scale = (high - low) / (MISSING - 1) or 1.0
    whole = np.where(there, np.rint((np.where(there, values, low) - low) / scale), MISSING)
    return Packed(whole.astype(np.uint16), scale, low)


# ---------------------------------------------------------------- periods


def spans(kinds: Sequence[tuple[int, str]]) -> Iterator[tuple[str, int, int]]:
    """Yield (kind, first, last) of each run of target years of one kind."""
    start = 0
    for n in range(1, len(kinds) + 1):
        if n == len(kinds) or kinds[n][1] != kinds[start][1]:
            yield kinds[start][1], kinds[start][0], kinds[n - 1][0]
            start = n

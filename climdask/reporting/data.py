"""What a report shows of an output folder, as plain data; ``reporting.page`` draws it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.climatology.calendars import from_run_lengths, run_lengths
from climdask.climatology.cycles import DAY
from climdask.errors import DataError, OutputError
from climdask.inputs.audit import Audit, audit
from climdask.inputs.sharedfiles import read_regular
from climdask.outputs.catalogue import (
    NOT_DRAWN,
    Naming,
    Normal,
    NormalSet,
    OpenNormal,
    find_normals,
    holds_areas,
    opened,
)
from climdask.outputs.folder import OutputFolder
from climdask.plaintext import quantity
from climdask.reporting.coastlines import Line, coastlines
from climdask.reporting.display import Look, change_limit, look_of, map_limits
from climdask.reporting.products import fits, in_order, spread_of
from climdask.reporting.summaries import (
    Days,
    Detail,
    Floats,
    NormalSummary,
    Packed,
    Shape,
    area_weights,
    choose_details,
    coarse_edges,
    edges_of,
    pack,
    raster,
    shown_targets,
    summarise,
    summarise_steps,
)
from climdask.reporting.timelines import NOTHING, Timeline, timeline

# Bytes of all maps and curves before they become text, which takes a third more: with Bokeh's
# own 2 MB and the shores a report stays below 20 MB.
MAP_BYTES = 11_000_000
MOST_FIELDS = 400
AT_ONCE_BYTES = 1 << 26


@dataclass(frozen=True, eq=False)
class Change:
    """The change between the first and the last target year of a scenario, in shown units.

    Attributes:
        maps: [step, lat, lon].
        ends: the two target years.
        limits: ends of the colour map, for the annual mean and for the other steps.
    """

    maps: Packed
    ends: tuple[int, int]
    limits: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Band:
    """The spread around the annual cycle of one target year, in shown units.

    Attributes:
        name: what its ends are, for a legend.
        low, high: float32 [day], regional means.
    """

    name: str
    target_year: int
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Field:
    """What is shown of one product of a set of normals; numbers are in the units of ``look``.

    Attributes:
        product: its name in the files.
        normals: (branch, target year) of each that could be read.
        days: (month, day) of each step of a cycle; of longer steps that of their date.
        own_steps: names of the steps of a cycle.
        leap_day: place of the 29 February that only leap years have.
        daily: of daily normals, whether steps after the first, the annual mean, are days, or
            months; False for others, which have their own steps only.
        means: float32 [normal, step], regional means.
        missing: source years that each normal lacks.
        valid_share: of each normal's cell-days, those with a value.
        cycles: float32 [day] by (branch, target year): first, middle and last of each scenario.
        bands: by scenario, the spread around the last cycle, where there is one.
        shown: places in ``normals`` of those that have maps.
        maps: [shown, step, lat, lon].
        limits: ends of the colour map, for the annual mean and for the other steps.
        changes: by scenario, where there are two target years.
        lat_edges, lon_edges: of the cells of maps, degrees.
        factor: cells of each axis that became one.
        stride: years between target years with maps.
        coast: shores in the region.
        versions: source years by (scenario, version of the files).
        unreadable: normals that could not be read, with the reason.
    """

    set: NormalSet
    product: str
    look: Look
    normals: tuple[tuple[str, int], ...]
    days: Days
    own_steps: tuple[str, ...]
    leap_day: int | None
    daily: bool
    means: npt.NDArray[np.float32]
    missing: tuple[int, ...]
    valid_share: tuple[float, ...]
    cycles: Mapping[tuple[str, int], npt.NDArray[np.float32]]
    bands: Mapping[str, Band]
    shown: tuple[int, ...]
    maps: Packed
    limits: tuple[tuple[float, float], tuple[float, float]]
    changes: Mapping[str, Change]
    lat_edges: Floats
    lon_edges: Floats
    factor: int
    stride: int
    coast: Sequence[Line]
    versions: Mapping[tuple[str, str], tuple[int, ...]]
    unreadable: tuple[tuple[str, str], ...]

    @property
    def has_annual_mean(self) -> bool:
        """Whether the first step is the mean of all days."""
        return self.set.frequency == DAY

    @property
    def rasters(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Which row and column each pixel of a map shows."""
        return raster(self.lat_edges), raster(self.lon_edges)


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything that a report shows.

    Attributes:
        manifest: of the latest run.
        audit: what the traces of all runs prove.
        runs: how many have traces.
        timeline: of the latest run that read anything.
        timeline_run: its id; empty if there is none.
        absent: planned normals that are not there, as text by set.
        left_out: sets and products that the report does not show, and why.
    """

    root: Path
    manifest: Mapping[str, Any]
    audit: Audit
    runs: int
    timeline: Timeline
    timeline_run: str
    fields: tuple[Field, ...]
    absent: Mapping[str, str]
    left_out: Mapping[str, str]


def collect(
    root: Path, *, map_bytes: int = MAP_BYTES, tell: Callable[[str], None] = lambda _: None
) -> ReportData:
    """Read what a report shows; one normal is in memory at a time, a month of it.

    Args:
        root: output folder of a run.
        map_bytes: that all maps and curves may take together.
        tell: receives how far it is.

    Raises:
        OutputError: the folder is not the output of a run.
    """
    folder = OutputFolder(root)
    manifest = read_manifest(folder)
    sets = find_normals(root, _naming(manifest))
    there = [shown for one in sets for shown in _products(one)]
    there.sort(key=lambda shown: not shown.is_daily_mean)  # these first, the others as they were
    chosen, left = there[:MOST_FIELDS], there[MOST_FIELDS:]
    left_out = {shown.id: f"a report shows {MOST_FIELDS} at most" for shown in left}
    own = {shown.set.id: [s for s in chosen if s.set is shown.set] for shown in chosen}
    details = choose_details(
        [shown.shape for shown in chosen if shown.is_daily_mean],
        [shown.shape for shown in chosen if not shown.is_daily_mean],
        map_bytes,
    )
    fields: list[Field] = []
    for n, one in enumerate(sets, start=1):
        parts = [one.id, quantity(len(one.normals), "normal")]
        if len(own.get(one.id, ())) > 1:
            parts.append(quantity(len(own[one.id]), "product"))
        tell(f"{n} of {len(sets)}: {', '.join(parts)}")
        made = _fields(own[one.id], details) if one.id in own else []
        fields += made
        if not made and not any(shown.set is one for shown in left):
            left_out[one.id] = _why_left_out(one)
    traces = folder.traces()
    run, drawn = _latest_timeline(traces)
    return ReportData(
        root, manifest, audit(traces), len(traces), drawn, run, tuple(fields),
        dict(_absent(manifest, sets)), left_out,
    )  # fmt: skip


def read_manifest(folder: OutputFolder) -> dict[str, Any]:
    """Read the manifest of the latest run.

    Raises:
        OutputError: there is none, or it is damaged.
    """
    try:
        content = json.loads(read_regular(folder.manifest))
        _naming(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OutputError(
            f"{folder.root}: holds no manifest of a run that can be read "
            f"({folder.manifest.name}: {getattr(error, 'strerror', None) or error}); give the "
            "output folder of a run, output.root of its workflow"
        ) from None
    return dict(content)


def _naming(manifest: Mapping[str, Any]) -> Naming:
    flow = manifest["workflow"]
    planned = manifest.get("planned", {})
    last = {chain: int(p["last_historical_year"]) for chain, p in planned.items()}
    return Naming(str(flow["historical"]), int(flow["window"]), last)


def _absent(manifest: Mapping[str, Any], sets: Sequence[NormalSet]) -> Iterator[tuple[str, str]]:
    """Yield set and target years of planned normals that are not there."""
    there = {s.id: {(n.branch, n.target_year) for n in s.normals} for s in sets}
    for chain, plan in manifest.get("planned", {}).items():
        for region, frequency in product(plan["regions"], plan.get("frequencies", [DAY])):
            name = f"{chain}/{region}" + ("" if frequency == DAY else f"/{frequency}")
            lacking = {
                branch: run_lengths(
                    y for y in from_run_lengths(text) if (branch, y) not in there.get(name, set())
                )
                for branch, text in plan["target_years"].items()
            }
            text = "; ".join(f"{branch} {years}" for branch, years in lacking.items() if years)
            if text:
                yield name, text


def _latest_timeline(traces: Sequence[Path]) -> tuple[str, Timeline]:
    """Return the latest run that read, slid or wrote anything."""
    for trace in reversed(traces):
        found = timeline(trace)
        if found.spans:
            return trace.parent.name, found
    return "", NOTHING


@dataclass(frozen=True, eq=False)
class _Shown:
    """A product of a set of normals, and the size of its maps.

    Attributes:
        attributes: of all products of the set, by name.
    """

    set: NormalSet
    product: str
    shape: Shape
    attributes: Mapping[str, Mapping[str, object]]

    @property
    def id(self) -> str:
        """For messages."""
        return f"{self.set.id}, {self.product}"

    @property
    def is_daily_mean(self) -> bool:
        """Whether it is what a workflow makes if it says nothing else."""
        return self.set.frequency == DAY and self.product == self.set.variable


def _why_left_out(one: NormalSet) -> str:
    if any(holds_areas(normal) for normal in one.normals):
        return f"it holds areas, {NOT_DRAWN}"
    return "none of its normals can be read"


def _products(one: NormalSet) -> list[_Shown]:
    """Return the products of a set, from its first and its last normal that can be opened."""
    attributes: dict[str, Mapping[str, object]] = {}
    shape = None
    for normals in (one.normals, one.normals[::-1]):
        for normal in normals:
            try:
                with opened(normal) as file:
                    attributes |= {p: dict(file.of(p).attributes) for p in file.products}
                    shape = shape or _shape(one, file)
                    break
            except DataError:
                continue
    if shape is None:
        return []
    return [_Shown(one, p, shape, attributes) for p in in_order(attributes, one.variable)]


def _shape(one: NormalSet, file: OpenNormal) -> Shape:
    targets = tuple(n.target_year for n in one.normals)
    return Shape(
        targets, len(file.days), file.axis("lat").size, file.axis("lon").size,
        changes=len(one.branches), daily=one.frequency == DAY,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Facts:
    """What all normals of a set share."""

    days: Days
    steps: tuple[str, ...]
    leap_day: int | None
    look: Look
    lat: Floats
    lon: Floats
    weights: Floats


@dataclass(eq=False)
class _Reader:
    """Reads a product from the normals of a set one by one.

    Attributes:
        mapped: target years that have maps.
        good: what was read, in the order of reading.
    """

    shown: _Shown
    detail: Detail
    mapped: set[int]
    facts: _Facts | None = None
    good: dict[Normal, NormalSummary] = field(default_factory=dict)
    missing: dict[Normal, int] = field(default_factory=dict)
    sources: dict[tuple[int, str], str] = field(default_factory=dict)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    @property
    def factor(self) -> int:
        """Cells of each axis that become one."""
        return self.detail.factor(self.shown.shape.lat, self.shown.shape.lon)

    def read(self, normal: Normal, file: OpenNormal) -> None:
        """Summarise a normal, unless it lacks the product, or is on another grid."""
        try:
            file = file.of(self.shown.product)
            look = look_of(self.shown.product, file.attributes)
            lat, lon = file.axis("lat"), file.axis("lon")
            weights = area_weights(lat, lon, file.bounds("lat"), file.bounds("lon"))
            facts = self.facts or _Facts(
                file.days, file.steps, file.leap_day, look, lat, lon, weights
            )
            if (facts.weights.shape, facts.days) != (weights.shape, file.days):
                raise DataError("it has other cells or days than the ones before it")
            self.good[normal] = self._summary(normal, file, weights)
            self.facts, self.missing[normal] = facts, file.number_of_years
            self.sources |= file.sources
        except DataError as error:
            self.fail(normal, error)

    def _summary(self, normal: Normal, file: OpenNormal, weights: Floats) -> NormalSummary:
        factor = self.factor if normal.target_year in self.mapped else None
        read = _reader_of(file, look_of(self.shown.product, file.attributes))
        if not self.shown.shape.daily:
            return summarise_steps(read, len(file.days), weights, factor=factor)
        return summarise(read, file.days, weights, daily=self.detail.daily, factor=factor)

    def fail(self, normal: Normal, error: DataError) -> None:
        """Note that a normal cannot be shown."""
        self.unreadable.append((f"{normal.branch} {normal.target_year}", str(error)))


def _reader_of(file: OpenNormal, look: Look) -> Callable[[slice], npt.NDArray[np.float32]]:
    """Return what reads some days in shown units; small normals are read at once."""
    if file.n_bytes <= AT_ONCE_BYTES:
        whole = look.shown(file.values(slice(None))).astype(np.float32)
        return lambda days: whole[days]
    return lambda days: look.shown(file.values(days)).astype(np.float32)


def _fields(shown: Sequence[_Shown], details: tuple[Detail, Detail]) -> list[Field]:
    """Read the normals of a set, each once for all its products; those that can be read."""
    one = shown[0].set
    series = [[n.target_year for n in one.series(branch)] for branch in one.branches]
    readers = []
    for own in shown:
        detail = details[0] if own.is_daily_mean else details[1]
        readers.append(_Reader(own, detail, shown_targets(series, detail)))
    for normal in one.normals:
        try:
            with opened(normal) as file:
                for reader in readers:
                    reader.read(normal, file)
        except DataError as error:
            for reader in readers:
                reader.fail(normal, error)
    made = {r.shown.product: _field(r, r.facts) for r in readers if r.facts is not None}
    return [replace(f, bands=dict(_bands(f, made, shown[0].attributes))) for f in made.values()]


def _field(reader: _Reader, facts: _Facts) -> Field:
    """Put together what was read of a product."""
    one, good = reader.shown.set, reader.good
    series = {branch: one.series(branch) for branch in one.branches}
    places = [n for n, summary in enumerate(good.values()) if summary.maps is not None]
    maps = _stack([s.maps for s in good.values() if s.maps is not None], reader, facts)
    lat_edges = coarse_edges(edges_of(facts.lat, ends=(-90.0, 90.0)), reader.factor)
    lon_edges = coarse_edges(edges_of(facts.lon), reader.factor)
    wanted = [n for own in series.values() for n in _three([n for n in own if n in good])]
    is_daily = reader.shown.shape.daily
    return Field(
        set=one,
        product=reader.shown.product,
        look=facts.look,
        normals=tuple((n.branch, n.target_year) for n in good),
        days=facts.days,
        own_steps=facts.steps,
        leap_day=facts.leap_day,
        daily=is_daily and reader.detail.daily,
        means=np.array([s.means for s in good.values()], dtype=np.float32),
        missing=tuple(one.periods.window - reader.missing[n] for n in good),
        valid_share=tuple(s.valid_share for s in good.values()),
        cycles={(n.branch, n.target_year): good[n].cycle.astype(np.float32) for n in wanted},
        bands={},
        shown=tuple(places),
        maps=pack(maps),
        limits=_limits(maps, facts.look, is_daily=is_daily),
        changes=dict(_changes(series, good, is_daily=is_daily)),
        lat_edges=lat_edges,
        lon_edges=lon_edges,
        factor=reader.factor,
        stride=reader.detail.stride(sorted({n.target_year for n in one.normals})),
        coast=coastlines(lon_edges[0], lon_edges[-1], lat_edges[0], lat_edges[-1]),
        versions=_versions(reader.sources),
        unreadable=tuple(reader.unreadable),
    )


def _limits(
    maps: npt.NDArray[np.float32], look: Look, *, is_daily: bool
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the ends of the colour maps of the first step and of the others."""
    if is_daily:
        return map_limits(maps[:, 0], look), map_limits(maps[:, 1:], look)
    return (map_limits(maps, look),) * 2


def _bands(
    own: Field, fields: Mapping[str, Field], attributes: Mapping[str, Mapping[str, object]]
) -> Iterator[tuple[str, Band]]:
    """Yield the spread around the last cycle of each scenario."""
    spread = spread_of(own.product, attributes)
    if spread is None or not {spread.low, spread.high} <= fields.keys():
        return
    low, high = fields[spread.low], fields[spread.high]
    if not fits(spread, own.look, low.look, high.look):
        return
    for branch in own.set.branches:
        mine = [n for n in own.cycles if n[0] in (own.set.trunk, branch)]
        last = max(mine, key=lambda n: n[1], default=("", 0))
        if all(last in f.cycles for f in (own, low, high)):
            ends = (f.cycles[last].astype(np.float64) for f in (own, low, high))
            below, above = (end.astype(np.float32) for end in spread.band(*ends))
            yield branch, Band(spread.name, last[1], below, above)


def _stack(
    maps: Sequence[npt.NDArray[np.float32]], reader: _Reader, facts: _Facts
) -> npt.NDArray[np.float32]:
    """Stack maps; none where the normals that should have them cannot be read."""
    if maps:
        return np.stack(maps)
    lat, lon = (-(-axis.size // reader.factor) for axis in (facts.lat, facts.lon))
    return np.empty((0, 2, lat, lon), dtype=np.float32)


def _three(normals: Sequence[Normal]) -> list[Normal]:
    """Return the first, the middle and the last one."""
    if not normals:
        return []
    return list(dict.fromkeys((normals[0], normals[(len(normals) - 1) // 2], normals[-1])))


def _changes(
    series: Mapping[str, Sequence[Normal]], good: Mapping[Normal, NormalSummary], *, is_daily: bool
) -> Iterator[tuple[str, Change]]:
    for branch, own in series.items():
        known = [(n, maps) for n in own if n in good and (maps := good[n].maps) is not None]
        if len(known) > 1:
            (first, before), (last, after) = known[0], known[-1]
            change = after - before
            ends = first.target_year, last.target_year
            parts = (change[0], change[1:]) if is_daily else (change, change)
            found = change_limit(parts[0]), change_limit(parts[1])
            yield branch, Change(pack(change), ends, found)


def _versions(sources: Mapping[tuple[int, str], str]) -> dict[tuple[str, str], tuple[int, ...]]:
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for (year, scenario), version in sorted(sources.items()):
        found[scenario, version].append(year)
    return {key: tuple(years) for key, years in found.items()}

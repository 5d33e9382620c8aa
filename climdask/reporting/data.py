"""What a report shows of an output folder, as plain data; ``reporting.page`` draws it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
    Naming,
    Normal,
    NormalSet,
    OpenNormal,
    find_normals,
    lacks_mean,
    opened,
)
from climdask.outputs.folder import OutputFolder
from climdask.plaintext import quantity
from climdask.reporting.coastlines import Line, coastlines
from climdask.reporting.display import Look, change_limit, limits, look_of
from climdask.reporting.summaries import (
    Days,
    Detail,
    Floats,
    NormalSummary,
    Packed,
    Shape,
    area_weights,
    choose_detail,
    coarse_edges,
    edges_of,
    pack,
    raster,
    shown_targets,
    summarise,
)
from climdask.reporting.timelines import NOTHING, Timeline, timeline

# Bytes of all maps and curves before they become text, which takes a third more: with Bokeh's
# own 2 MB and the shores a report stays below 20 MB.
MAP_BYTES = 11_000_000
MOST_SETS = 400
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
class Field:
    """What is shown of a set of normals; numbers are in the units of ``look``.

    Attributes:
        normals: (branch, target year) of each that could be read.
        days: (month, day) of each day of a cycle.
        daily: whether steps after the first, the annual mean, are days, or months.
        means: float32 [normal, step], regional means.
        missing: source years that each normal lacks.
        valid_share: of each normal's cell-days, those with a value.
        cycles: float32 [day] by (branch, target year): first, middle and last of each scenario.
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
    look: Look
    normals: tuple[tuple[str, int], ...]
    days: Days
    daily: bool
    means: npt.NDArray[np.float32]
    missing: tuple[int, ...]
    valid_share: tuple[float, ...]
    cycles: Mapping[tuple[str, int], npt.NDArray[np.float32]]
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
        left_out: sets that the report does not show, and why.
    """

    root: Path
    manifest: Mapping[str, Any]
    audit: Audit
    runs: int
    timeline: Timeline
    timeline_run: str
    fields: tuple[Field, ...]
    detail: Detail
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
    found = find_normals(root, _naming(manifest))
    sets = tuple(one for one in found if one.frequency == DAY)
    shown = sets[:MOST_SETS]
    left_out = dict.fromkeys(
        (one.id for one in found if one.frequency != DAY),
        "a report shows daily normals only; open these with climdask.run(...).open or xarray",
    )
    if len(sets) > MOST_SETS:
        more = (one.id for one in sets[MOST_SETS:])
        left_out |= dict.fromkeys(more, f"a report shows {MOST_SETS} at most")
    shapes = {one.id: shape for one in shown if (shape := _shape(one)) is not None}
    detail = choose_detail(list(shapes.values()), map_bytes)
    fields = []
    for n, one in enumerate(shown, start=1):
        tell(f"{n} of {len(shown)}: {one.id}, {quantity(len(one.normals), 'normal')}")
        made = _field(one, detail, shapes[one.id]) if one.id in shapes else None
        if made is None:
            left_out[one.id] = _why_left_out(one)
        else:
            fields.append(made)
    traces = folder.traces()
    run, drawn = _latest_timeline(traces)
    return ReportData(
        root, manifest, audit(traces), len(traces), drawn, run, tuple(fields), detail,
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
        for region in plan["regions"]:
            name = f"{chain}/{region}"
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


def _why_left_out(one: NormalSet) -> str:
    if any(lacks_mean(normal, one.variable) for normal in one.normals):
        return "it has no mean, which a report shows; add mean to normals"
    return "none of its normals can be read"


def _shape(one: NormalSet) -> Shape | None:
    """Return the size of a set's maps from the first normal that can be opened."""
    for normal in one.normals:
        try:
            with opened(normal, one.variable) as file:
                targets = tuple(n.target_year for n in one.normals)
                size = file.axis("lat").size, file.axis("lon").size
                return Shape(targets, len(file.days), *size, changes=len(one.branches))
        except DataError:
            continue
    return None


@dataclass(frozen=True, eq=False)
class _Facts:
    """What all normals of a set share."""

    days: Days
    look: Look
    lat: Floats
    lon: Floats
    weights: Floats


@dataclass(eq=False)
class _Reader:
    """Reads the normals of a set one by one."""

    set: NormalSet
    detail: Detail
    factor: int
    facts: _Facts | None = None
    missing: dict[Normal, int] = field(default_factory=dict)
    sources: dict[tuple[int, str], str] = field(default_factory=dict)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def read(self, normal: Normal, *, maps: bool) -> NormalSummary | None:
        """Summarise a normal; None if it cannot be read, or is on another grid."""
        try:
            with opened(normal, self.set.variable) as file:
                look = look_of(self.set.variable, file.attributes)
                lat, lon = file.axis("lat"), file.axis("lon")
                weights = area_weights(lat, lon, file.bounds("lat"), file.bounds("lon"))
                facts = self.facts or _Facts(file.days, look, lat, lon, weights)
                if (facts.weights.shape, facts.days) != (weights.shape, file.days):
                    raise DataError("it has other cells or days than the ones before it")
                found = summarise(
                    _reader_of(file, look),
                    file.days,
                    weights,
                    daily=self.detail.daily,
                    factor=self.factor if maps else None,
                )
                self.facts, self.missing[normal] = facts, file.number_of_years
                self.sources |= file.sources
                return found
        except DataError as error:
            self.unreadable.append((f"{normal.branch} {normal.target_year}", str(error)))
            return None


def _reader_of(file: OpenNormal, look: Look) -> Callable[[slice], npt.NDArray[np.float32]]:
    """Return what reads some days in shown units; small normals are read at once."""
    if file.n_bytes <= AT_ONCE_BYTES:
        whole = look.shown(file.values(slice(None))).astype(np.float32)
        return lambda days: whole[days]
    return lambda days: look.shown(file.values(days)).astype(np.float32)


def _field(one: NormalSet, detail: Detail, shape: Shape) -> Field | None:
    """Read the normals of a set; None if none of them can be read."""
    series = {branch: one.series(branch) for branch in one.branches}
    mapped = shown_targets([[n.target_year for n in own] for own in series.values()], detail)
    reader = _Reader(one, detail, detail.factor(shape.lat, shape.lon))
    found = {n: reader.read(n, maps=n.target_year in mapped) for n in one.normals}
    good = {n: summary for n, summary in found.items() if summary is not None}
    facts = reader.facts
    if facts is None:
        return None
    places = [n for n, summary in enumerate(good.values()) if summary.maps is not None]
    maps = _stack([s.maps for s in good.values() if s.maps is not None], facts, reader.factor)
    lat_edges = coarse_edges(edges_of(facts.lat, ends=(-90.0, 90.0)), reader.factor)
    lon_edges = coarse_edges(edges_of(facts.lon), reader.factor)
    wanted = [n for own in series.values() for n in _three([n for n in own if n in good])]
    return Field(
        set=one,
        look=facts.look,
        normals=tuple((n.branch, n.target_year) for n in good),
        days=facts.days,
        daily=detail.daily,
        means=np.array([s.means for s in good.values()], dtype=np.float32),
        missing=tuple(one.periods.window - reader.missing[n] for n in good),
        valid_share=tuple(s.valid_share for s in good.values()),
        cycles={(n.branch, n.target_year): good[n].cycle.astype(np.float32) for n in wanted},
        shown=tuple(places),
        maps=pack(maps),
        limits=(
            limits(maps[:, 0], from_zero=facts.look.from_zero),
            limits(maps[:, 1:], from_zero=facts.look.from_zero),
        ),
        changes=dict(_changes(series, good)),
        lat_edges=lat_edges,
        lon_edges=lon_edges,
        factor=reader.factor,
        stride=detail.stride(sorted({n.target_year for n in one.normals})),
        coast=coastlines(lon_edges[0], lon_edges[-1], lat_edges[0], lat_edges[-1]),
        versions=_versions(reader.sources),
        unreadable=tuple(reader.unreadable),
    )


def _stack(
    maps: Sequence[npt.NDArray[np.float32]], facts: _Facts, factor: int
) -> npt.NDArray[np.float32]:
    """Stack maps; none where the normals that should have them cannot be read."""
    if maps:
        return np.stack(maps)
    lat, lon = (-(-axis.size // factor) for axis in (facts.lat, facts.lon))
    return np.empty((0, 2, lat, lon), dtype=np.float32)


def _three(normals: Sequence[Normal]) -> list[Normal]:
    """Return the first, the middle and the last one."""
    if not normals:
        return []
    return list(dict.fromkeys((normals[0], normals[(len(normals) - 1) // 2], normals[-1])))


def _changes(
    series: Mapping[str, Sequence[Normal]], good: Mapping[Normal, NormalSummary]
) -> Iterator[tuple[str, Change]]:
    for branch, own in series.items():
        known = [(n, maps) for n in own if n in good and (maps := good[n].maps) is not None]
        if len(known) > 1:
            (first, before), (last, after) = known[0], known[-1]
            change = after - before
            ends = first.target_year, last.target_year
            found = change_limit(change[0]), change_limit(change[1:])
            yield branch, Change(pack(change), ends, found)


def _versions(sources: Mapping[tuple[int, str], str]) -> dict[tuple[str, str], tuple[int, ...]]:
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for (year, scenario), version in sorted(sources.items()):
        found[scenario, version].append(year)
    return {key: tuple(years) for key, years in found.items()}

"""What normals were made from: of one normal, and of all normals of a store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.climatology.calendars import from_run_lengths, run_lengths
from climdask.errors import PlanError

Run = tuple[int, int, int, int]


@dataclass(frozen=True, order=True)
class Source:
    """One source year: its experiment, the version of its files, and the files."""

    year: int
    scenario: str
    version: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Provenance:
    """What one normal was made from.

    Attributes:
        sources: the years that are in it, in order.
        skipped_files: bad files that are not, below the input root.
        hashes: ``input_hash`` and ``untimed_input_hash``.
        edges: (first place, last place, first year, last year) for runs of days of the axis: the
            years that have values on these days; only where others than those of the calendar.
    """

    sources: tuple[Source, ...]
    skipped_files: tuple[str, ...]
    hashes: tuple[str, str]
    edges: tuple[Run, ...] = ()

    @property
    def attributes(self) -> dict[str, Any]:
        """The global attributes of a file that holds the normal alone."""
        found: dict[str, Any] = {
            "source_years": np.array([s.year for s in self.sources], dtype=np.int32),
            "source_scenarios": ", ".join(s.scenario for s in self.sources),
            "source_versions": ", ".join(s.version for s in self.sources),
            "source_files": ", ".join(dict.fromkeys(f for s in self.sources for f in s.files)),
        }
        if self.skipped_files:
            found["skipped_files"] = ", ".join(self.skipped_files)
        return found | dict(zip(("input_hash", "untimed_input_hash"), self.hashes, strict=True))

    @property
    def record(self) -> dict[str, Any]:
        """The sources as JSON, for a completion record; hashes are there anyway."""
        sources = [[s.year, s.scenario, s.version, list(s.files)] for s in self.sources]
        found: dict[str, Any] = {"sources": sources, "skipped_files": list(self.skipped_files)}
        return found | ({"edges": [list(run) for run in self.edges]} if self.edges else {})

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Provenance:
        """Read a completion record."""
        sources = tuple(Source(y, s, v, tuple(files)) for y, s, v, files in record["sources"])
        hashes = record["input_hash"], record["untimed_hash"]
        # Version 0.1 had the years of the calendar everywhere.
        edges = tuple((a, b, first, last) for a, b, first, last in record.get("edges", []))
        return cls(sources, tuple(record["skipped_files"]), hashes, edges)


def edge_runs(edges: npt.NDArray[np.int64], usual: npt.NDArray[np.int64]) -> Iterator[Run]:
    """Yield :attr:`Provenance.edges` of int64 [day, 2] where they are not the usual ones."""
    changes = np.flatnonzero(np.diff(edges, axis=0).any(axis=1)) + 1
    starts = [0, *changes.tolist()]
    for start, stop in zip(starts, [*starts[1:], len(edges)], strict=True):
        if (edges[start:stop] != usual[start:stop]).any():
            yield start, stop - 1, int(edges[start, 0]), int(edges[start, 1])


def edges_of_runs(runs: Iterable[Run], usual: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return what :func:`edge_runs` was given."""
    edges = usual.copy()
    for start, last, *years in runs:
        edges[start : last + 1] = years
    return edges


def pack(normals: Mapping[int, Provenance]) -> str:
    """Return what some target years were made from as JSON, each source named once."""
    table = sorted({source for normal in normals.values() for source in normal.sources})
    place = {source: n for n, source in enumerate(table)}
    targets = {
        str(year): {
            "sources": run_lengths(place[s] for s in normal.sources),
            "skipped_files": list(normal.skipped_files),
            "hashes": list(normal.hashes),
        }
        for year, normal in sorted(normals.items())
    }
    sources = [[s.year, s.scenario, s.version, list(s.files)] for s in table]
    return json.dumps({"sources": sources, "targets": targets})


def unpack(text: str) -> dict[int, Provenance]:
    """Return what :func:`pack` was given."""
    content = json.loads(text)
    table = [Source(y, s, v, tuple(files)) for y, s, v, files in content["sources"]]
    return {
        int(year): Provenance(
            tuple(table[n] for n in from_run_lengths(normal["sources"])),
            tuple(normal["skipped_files"]),
            (normal["hashes"][0], normal["hashes"][1]),
        )
        for year, normal in content["targets"].items()
    }


def provenance(dataset: Any, target_year: int) -> dict[str, Any]:
    """Return what a target year of a Zarr store was made from.

    Args:
        dataset: an :class:`xarray.Dataset` of a store, or anything else with its ``attrs``.
        target_year: last year of the window.

    Returns:
        The attributes of source that a NetCDF file of the normal has, ``source_years``,
        ``source_scenarios``, ``source_versions``, ``source_files``, ``skipped_files`` if there
        are any, ``input_hash`` and ``untimed_input_hash``.

    Raises:
        PlanError: the dataset says nothing of that year.
    """
    known = unpack(dataset.attrs.get("provenance") or pack({}))
    if target_year not in known:
        there = run_lengths(known) or "nothing; was it made by a run that ended?"
        raise PlanError(f"target year {target_year}: the dataset tells the sources of {there}")
    return known[target_year].attributes

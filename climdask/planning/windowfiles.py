"""The files of a chain: which give each year of a branch, and a hash of those of a window.

What is asked for again and again, for each window of each chain, is found once and kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from climdask.climatology.calendars import Window
from climdask.compact import Compact
from climdask.inputs.inventory import InputFile, in_time
from climdask.planning.digests import as_json, digest_of_json, joined
from climdask.planning.sourceyears import Sources, experiments, owner, year_sources


@dataclass(frozen=True, slots=True)
class SourceYear(Compact):
    """Where one year of a window comes from.

    Attributes:
        experiment: whose files give it; both, joined by +, for a year that is split.
        files: empty in a gap.
    """

    year: int
    experiment: str
    files: tuple[InputFile, ...]

    @property
    def is_split(self) -> bool:
        """Whether its files are of several experiments."""
        return len({f.scenario for f in self.files} - {""}) > 1


@dataclass(frozen=True, slots=True)
class _YearText(Compact):
    """What is hashed of the files of a year.

    Attributes:
        paths: of the files.
        timed, untimed: path, size and time of each, joined, as JSON; and without the times.
        split: JSON of year and paths, if the files are of several experiments; else empty.
        is_apart: the files have days of no other year.
    """

    paths: tuple[str, ...]
    timed: str
    untimed: str
    split: str
    is_apart: bool


@dataclass(frozen=True, eq=False)
class WindowFiles:
    """The files of a chain.

    Attributes:
        trunk: name of the historical experiment.
        last_historical_year: last year that belongs to it.
        files: the files that serve each branch, in order of time; the trunk's come first.
    """

    trunk: str
    last_historical_year: int
    files: Mapping[str, Sequence[InputFile]]
    _years: dict[tuple[str, int], SourceYear] = field(default_factory=dict, repr=False)
    _texts: dict[tuple[str, int], _YearText] = field(default_factory=dict, repr=False)

    @cached_property
    def sources(self) -> Sources:
        """The files of each (branch, year)."""
        return year_sources(self.trunk, self.last_historical_year, self.files)

    def year(self, branch: str, year: int) -> SourceYear:
        """Return where ``year`` comes from on the way of ``branch``."""
        found = self._years.get((branch, year))
        if found is None:
            last = self.last_historical_year
            whose = owner(self.sources, self.trunk, last, branch, year)
            files = self.sources.get((whose, year), ())
            own = self.trunk if year <= last else branch
            found = SourceYear(year, experiments(files, own), files)
            self._years[branch, year] = found
        return found

    def window(self, branch: str, window: Window) -> tuple[SourceYear, ...]:
        """Return where each year of a window comes from."""
        return tuple(self.year(branch, year) for year in window.years)

    def digests(self, branch: str, window: Window) -> tuple[str, str]:
        """Return two hashes of the files of a window, with and without modification times.

        Args:
            branch: on whose way.
            window: the years.
        """
        years = [self._text(branch, year) for year in window.years]
        # Which of two files that overlap gives a year hangs on where history ends.
        history = as_json(min(self.last_historical_year, window.last_year))
        splits = [year.split for year in years if year.split]
        if all(year.is_apart for year in years):
            about = (
                [year.timed for year in years if year.paths],
                [year.untimed for year in years if year.paths],
            )
        else:  # a file may be one of two years
            about = self._about({path for year in years for path in year.paths})
        timed, untimed = (digest_of_json(joined([history, joined(own), *splits])) for own in about)
        return timed, untimed

    def _text(self, branch: str, year: int) -> _YearText:
        """Return what is hashed of a year: found once, as it may have a file for each day."""
        found = self._texts.get((branch, year))
        if found is None:
            source = self.year(branch, year)
            paths = tuple(file.path for file in source.files)
            timed, untimed = map(", ".join, self._about(set(paths)))
            split = as_json([year, paths]) if len(paths) > 1 and source.is_split else ""
            is_apart = all(file.is_of_one_year for file in source.files)
            found = _YearText(paths, timed, untimed, split, is_apart)
            self._texts[branch, year] = found
        return found

    def _about(self, paths: Collection[str]) -> tuple[list[str], list[str]]:
        """Return path, size and time of files, in order of time, as JSON; and without the times."""
        ordered = sorted(paths, key=self._places.__getitem__)
        return [self._timed[p] for p in ordered], [self._untimed[p] for p in ordered]

    @cached_property
    def _ordered(self) -> list[InputFile]:
        return sorted({f.path: f for own in self.files.values() for f in own}.values(), key=in_time)

    @cached_property
    def _places(self) -> dict[str, int]:
        """The place of each file, by path, in order of time."""
        return {file.path: place for place, file in enumerate(self._ordered)}

    @cached_property
    def _timed(self) -> dict[str, str]:
        return {f.path: as_json([f.path, f.size, f.mtime_ns]) for f in self._ordered}

    @cached_property
    def _untimed(self) -> dict[str, str]:
        return {f.path: as_json([f.path, f.size, None]) for f in self._ordered}

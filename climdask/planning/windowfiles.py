"""The files of a chain: which give each year of a branch, and a hash of those of a window.

What is asked for again and again, for each window of each chain, is found once and kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        years = self.window(branch, window)
        found = {file.path for year in years for file in year.files}
        paths = sorted(found, key=self._places.__getitem__)
        # Which of two files that overlap gives a year hangs on where history ends.
        history = as_json(min(self.last_historical_year, window.last_year))
        split = [year for year in years if len(year.files) > 1 and year.is_split]
        splits = [as_json([year.year, [file.path for file in year.files]]) for year in split]
        timed, untimed = (
            digest_of_json(joined([history, joined(facts[path] for path in paths), *splits]))
            for facts in (self._timed, self._untimed)
        )
        return timed, untimed

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

"""Which files give each source year of a chain.

Years up to the last historical one come from the historical experiment, later ones from the
scenario. A year may be split between the two: HadGEM2's historical files end on 30 November 2005,
and December is in the files of each scenario. Such a year takes the days that the files of its own
experiment lack from those of the other one:

- on the way of a scenario from that scenario's own files, so that its normals do not depend on
  what other scenarios the workflow names;
- in the trunk, whose normals all scenarios share, from the first scenario of the workflow that has
  them.

A year of which the own experiment has no file at all is a gap, and is not filled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from climdask.inputs.inventory import InputFile
from climdask.inputs.namedates import EVERY_DAY

Sources = Mapping[tuple[str, int], tuple[InputFile, ...]]


@dataclass(frozen=True)
class SplitYear:
    """A year that takes days from two experiments.

    Attributes:
        branch: on whose way; the trunk for its own normals.
        own: the files of the experiment that the year belongs to.
        other: those of the other one that have the days that are left.
    """

    branch: str
    year: int
    own: tuple[InputFile, ...]
    other: tuple[InputFile, ...]

    @property
    def doubled(self) -> tuple[InputFile, InputFile, tuple[int, int]] | None:
        """A file of each experiment that by their names both have a (month, day); None if none.

        Two files of one experiment were compared when the inventory was taken.
        """
        year = self.year
        pairs = ((a, b, a.days(year) & b.days(year)) for a, b in product(self.own, self.other))
        return next(((a, b, min(both)) for a, b, both in pairs if both), None)


def year_sources(
    trunk: str, last_historical_year: int, files: Mapping[str, Sequence[InputFile]]
) -> Sources:
    """Map (branch, year) to the files that give the year; see :func:`owner`.

    A year up to the last historical one stands under the trunk; if it is split, under each
    scenario too, because each takes the rest of the year from its own files.

    Args:
        trunk: name of the historical experiment.
        last_historical_year: last year that belongs to it.
        files: the files that serve each branch, in order of time; scenarios in order of choice.
    """
    found = _own(trunk, last_historical_year, files)
    splits = split_years(trunk, last_historical_year, files)
    return found | {(s.branch, s.year): s.own + s.other for s in splits}


def split_years(
    trunk: str, last_historical_year: int, files: Mapping[str, Sequence[InputFile]]
) -> tuple[SplitYear, ...]:
    """Find the years of which one experiment has a part, and another one more.

    Args:
        trunk: name of the historical experiment.
        last_historical_year: last year that belongs to it.
        files: the files that serve each branch, in order of time; scenarios in order of choice.
    """
    found: list[SplitYear] = []
    scenarios = [branch for branch in files if branch != trunk]
    if not scenarios:  # one experiment alone shares no year
        return ()
    for (branch, year), own in sorted(_own(trunk, last_historical_year, files).items()):
        if not days_lacking(own, year):
            continue
        if branch != trunk:
            more = _with_the_rest(own, year, files.get(trunk, ()))
            found += [SplitYear(branch, year, own, more)] if more else []
            continue
        rests = {s: _with_the_rest(own, year, files[s]) for s in scenarios}
        first = next((rest for rest in rests.values() if rest), ())
        if first:
            found.append(SplitYear(trunk, year, own, first))
            found += [SplitYear(s, year, own, rest) for s, rest in rests.items()]
    return tuple(found)


def owner(sources: Sources, trunk: str, last_historical_year: int, branch: str, year: int) -> str:
    """Return whose files give ``year`` on the way of ``branch``: its own, or the trunk's."""
    is_shared = year <= last_historical_year and (branch, year) not in sources
    return trunk if is_shared else branch


def fork(sources: Sources, trunk: str, last_historical_year: int) -> int:
    """Return the last year of which trunk and scenarios have the same files."""
    apart = [y for branch, y in sources if branch != trunk and y <= last_historical_year]
    return min([last_historical_year, *(y - 1 for y in apart)])


def experiments(files: Iterable[InputFile], otherwise: str) -> str:
    """Name the experiments that files are of: ``historical``, or ``historical+rcp45``.

    Args:
        files: of one year, those of its own experiment first.
        otherwise: the experiment of a file whose name does not say it, and of a gap.
    """
    return "+".join(dict.fromkeys(f.scenario or otherwise for f in files)) or otherwise


def days_lacking(files: Iterable[InputFile], year: int) -> frozenset[tuple[int, int]]:
    """Return the days of ``year`` that none of the files has, by their names."""
    files = tuple(files)
    if any(f.is_whole(year) for f in files):  # as most are, and quickly decided
        return frozenset()
    return EVERY_DAY.difference(*(f.days(year) for f in files))


def _own(
    trunk: str, last_historical_year: int, files: Mapping[str, Sequence[InputFile]]
) -> dict[tuple[str, int], tuple[InputFile, ...]]:
    """Return what the files of the own experiment give; a year may need two of them."""
    found: dict[tuple[str, int], list[InputFile]] = defaultdict(list)
    for branch, own in files.items():
        for file in own:
            for year in file.years:
                if (year <= last_historical_year) == (branch == trunk):
                    found[branch, year].append(file)
    return {key: tuple(own) for key, own in found.items()}


def _with_the_rest(
    own: Sequence[InputFile], year: int, others: Iterable[InputFile]
) -> tuple[InputFile, ...]:
    """Return the files that have a day of ``year`` that the own ones lack."""
    lacking = days_lacking(own, year)
    return tuple(f for f in others if year in f.years and f not in own and f.days(year) & lacking)

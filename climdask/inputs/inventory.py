"""The inventory: which files there are, judged by their names alone.

A pattern such as ``{variable}/{scenario}/{variable}_day_{model}_{scenario}_{year}[_{version}].nc``
is walked folder by folder, so that a large archive is never listed whole. ``[...]`` is optional,
``*`` stands for anything within one folder name, ``{start}-{end}`` are dates of multi-year files,
``{year}{month}`` and ``{date}`` those of files of a month or a day, and a ``{start}`` alone lets a
file reach up to the next one.
A variable may have a pattern of its own; where a pattern has no ``{variable}``, each file that it
matches serves every variable that is looked for with it.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import islice, pairwise
from operator import attrgetter
from pathlib import Path

from climdask.climatology.calendars import run_lengths
from climdask.compact import Compact
from climdask.errors import InventoryError, did_you_mean
from climdask.inputs.namedates import (
    EVERY_DAY,
    EXPRESSIONS,
    NO_END,
    Date,
    claimed,
    day_before,
    days_between,
    lacking_partner,
    text_of_date,
)
from climdask.inputs.sources import Source, source_of
from climdask.plaintext import check_no_controls, one_line, quantity

FACETS = (
    "model", "scenario", "member", "grid", "variable", "year", "month", "day", "date", "start",
    "end", "version",
)  # fmt: skip

PATTERNS = {
    # NASA NEX-GDDP-CMIP6, as users often sort it, and as NASA does.
    "nex-gddp": "{variable}/{scenario}/"
    "{variable}_day_{model}_{scenario}_{member}_{grid}_{year}[_{version}].nc",
    "nex-gddp-cmip6": "{model}/{scenario}/{member}/{variable}/"
    "{variable}_day_{model}_{scenario}_{member}_{grid}_{year}[_{version}].nc",
    # ESGF names of multi-year files, in one folder.
    "cmip6": "{variable}_day_{model}_{scenario}_{member}_{grid}_{start}-{end}.nc",
    "cmip5": "{variable}_day_{model}_{scenario}_{member}_{start}-{end}.nc",
}

_PLACEHOLDER = re.compile(r"\{(\w*)\}")
# How many files that are left out a note names.
_NAMED = 3
_OPTIONAL = re.compile(r"\[[^]]*\]")
# Facets become folders of the output: no ".." among them, and nothing hidden.
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")


@dataclass(frozen=True, order=True, slots=True)
class InputFile(Compact):
    """One input file, as its name and its directory entry describe it.

    Attributes:
        start, end: first and last date by name, both included; (year, month, day).
        path: relative to the input root, with forward slashes.
        scenario: empty where the name has no scenario: such a file serves every one.
        version: (1, 1) for ``v1.1``; empty for none.
        size: bytes.
        mtime_ns: modification time, nanoseconds since 1970.
        is_open: its name says no end, so the next file's start, or the file itself, told it.
    """

    start: Date
    end: Date
    path: str
    scenario: str
    version: tuple[int, ...]
    size: int
    mtime_ns: int
    is_open: bool = field(default=False, compare=False, repr=False)

    @property
    def years(self) -> range:
        """The years that the name claims, in order."""
        return range(self.start[0], self.end[0] + 1)

    @property
    def claim(self) -> tuple[Date, Date] | None:
        """First and last date by the path; None if it is ``input.facets`` that says them."""
        said = all(f"{date[0]:04}" in self.path for date in (self.start, self.end))
        return (self.start, self.end) if said or self.is_open else None

    @property
    def is_of_one_year(self) -> bool:
        """Whether by its name the file has days of one year only."""
        return self.start[0] == self.end[0]

    def is_whole(self, year: int) -> bool:
        """Tell whether by its name the file has the whole of ``year``."""
        return self.start <= (year, 1, 1) and self.end >= (year, 12, 30)

    def days(self, year: int) -> frozenset[tuple[int, int]]:
        """Return the (month, day) that by its name the file has of ``year``."""
        if self.is_whole(year):
            return EVERY_DAY
        if self.start == self.end:  # as thousands of files may
            return frozenset([self.start[1:]] if self.start[0] == year else []) & EVERY_DAY
        return days_between(year, self.start, self.end)


# As files compare, and faster, for files of which no two have one path.
in_time = attrgetter("start", "end", "path")


@dataclass(frozen=True)
class Series:
    """All files of one variable of one model, member and grid.

    Attributes:
        name: what the variable is called inside the files; empty if as by its own name.
        is_alone: nothing says that name, and no other variable is looked for in these files, so
            the only field of a file may be it, whatever its name.
    """

    model: str
    member: str
    grid: str
    variable: str
    files: tuple[InputFile, ...]
    name: str = ""
    is_alone: bool = False

    @property
    def id(self) -> str:
        """``model/member/grid/variable``: the identity of the chain."""
        return "/".join((self.model, self.member, self.grid, self.variable))

    def of(self, scenario: str) -> tuple[InputFile, ...]:
        """Return the files that serve a scenario, in order of time."""
        return tuple(f for f in self.files if f.scenario in ("", scenario))

    @property
    def endless(self) -> tuple[InputFile, ...]:
        """The files of which nothing but the file itself tells where it ends."""
        return tuple(f for f in self.files if f.end == NO_END)

    def ending(self, ends: Mapping[str, Date]) -> Series:
        """Return the series with the ends of some files, given by path."""
        if not ends:
            return self
        files = (replace(f, end=ends.get(f.path, f.end)) for f in self.files)
        return replace(self, files=tuple(sorted(files, key=in_time)))


@dataclass(frozen=True)
class Inventory:
    """The files found for a run.

    Attributes:
        root: the folder that all paths are relative to.
        series: in order of id.
        notes: what was passed over, for the user to read.
    """

    root: Path
    series: tuple[Series, ...]
    notes: tuple[str, ...]

    @cached_property
    def source(self) -> Source:
        """Where the files are."""
        return source_of(self.root)

    @property
    def n_files(self) -> int:
        """How many files the series hold."""
        return sum(len(s.files) for s in self.series)


@dataclass(frozen=True)
class InFiles:
    """How one variable is found where the query's pattern alone does not tell.

    Attributes:
        name: what it is called inside the files; empty if as by its own name.
        pattern: a pattern of its own; empty for the query's.
    """

    name: str = ""
    pattern: str = ""


@dataclass(frozen=True)
class Query:
    """What to look for.

    Attributes:
        pattern: the name of one of :data:`PATTERNS`, or a pattern.
        wanted: for each facet the values to look for; a facet not named here may have any.
        fixed: values of facets that the names do not say.
        variables: of those wanted, the ones with a name or a pattern of their own.
        key: of the workflow, that gives the pattern.
    """

    root: Path
    pattern: str
    wanted: Mapping[str, Sequence[str]]
    fixed: Mapping[str, str]
    variables: Mapping[str, InFiles] = field(default_factory=dict)
    key: str = "input.pattern"

    @cached_property
    def source(self) -> Source:
        """Where the files are."""
        return source_of(self.root)

    @property
    def path_pattern(self) -> str:
        """The pattern written out."""
        return PATTERNS.get(self.pattern, self.pattern)

    @property
    def parts(self) -> Iterator[Query]:
        """What to look for with each pattern: the query's first, then those of variables."""
        own = {name: v.pattern for name, v in self.variables.items() if v.pattern}
        wanted = self.wanted.get("variable", ())
        if rest := [name for name in wanted if name not in own]:
            yield replace(self, wanted={**self.wanted, "variable": rest})
        elif not wanted:
            yield self
        for name, pattern in own.items():
            just = {**self.wanted, "variable": [name]}
            yield replace(self, pattern=pattern, wanted=just, key=f"variables.{name}.file")

    def check(self) -> None:
        """Check the patterns before anything is searched.

        Raises:
            InventoryError: one has an unknown facet, lacks one, or has a bracket without partner.
        """
        parts = tuple(self.parts)
        for part in parts:
            check_pattern(part.path_pattern, self.fixed, key=part.key)
        said = [_PLACEHOLDER.findall(_OPTIONAL.sub("", part.path_pattern)) for part in parts]
        for name in self.fixed:
            if all(_says(always, name) for always in said):
                raise InventoryError(
                    f'{parts[0].key} "{parts[0].path_pattern}": says the {name} itself, so '
                    f"input.facets.{name} has no effect; remove it"
                )


def _says(facets: Sequence[str], name: str) -> bool:
    """Tell whether facets of a pattern say one that ``input.facets`` may give."""
    return name in facets or (name in ("start", "end") and not {"year", "date"}.isdisjoint(facets))


def take_inventory(query: Query) -> Inventory:
    """Find the files below the root and sort them into series.

    Raises:
        InventoryError: the root cannot be read, nothing matches, something asked for is not
            there, or two files claim the same days with nothing to say which is newer.
    """
    root, source = query.root, query.source
    query.check()
    if source.kind("") != "folder":
        raise InventoryError(
            f"input.root: {root} is not a folder; set input.root, --input-root, or the "
            "environment variable that the workflow names"
        )
    notes: list[str] = []
    parts = tuple(query.parts)
    seen: dict[str, bool] = {}
    found = [list(_series_of(part, notes, seen)) for part in parts]
    series = sorted((s for own in found for s in own), key=lambda s: s.id)
    _check_wanted(query, series)
    for part, own in zip(parts, found, strict=True):
        if not own:
            raise InventoryError(_nothing(part))
    _check_shared(query, series)
    if strays := [path for path, fits in seen.items() if not fits]:
        more = f" and {len(strays) - _NAMED} more" if len(strays) > _NAMED else ""
        keys = " or ".join(dict.fromkeys(part.key for part in parts))
        notes.append(
            f"{quantity(len(strays), 'file')} of {len(seen):,} left out, as {keys} does not fit: "
            f"{', '.join(strays[:_NAMED])}{more}"
        )
    return Inventory(root, tuple(series), tuple(dict.fromkeys(notes)))


def _series_of(query: Query, notes: list[str], seen: dict[str, bool]) -> Iterator[Series]:
    """Find the series of one pattern, in order of id; for ``seen`` see :func:`_walk`."""
    groups: dict[tuple[str, ...], list[InputFile]] = defaultdict(list)
    for path, facets in _walk(query, seen):
        _check_facets(query, path, facets)
        key = tuple(facets.get(f, "") for f in ("model", "member", "grid", "variable"))
        groups[key].append(_input_file(query, path, facets))
    for (model, member, grid, said), files in sorted(groups.items()):
        kept = [
            f for fs in _by_scenario(files).values() for f in _newest(query, _closed(fs), notes)
        ]
        _check_each_day(query, kept)
        ordered = tuple(sorted(kept, key=in_time))
        for variable in [said] if said else query.wanted["variable"]:
            name = query.variables.get(variable, InFiles()).name
            alone = not said and not name and len(query.wanted["variable"]) == 1
            yield Series(model, member, grid, variable, ordered, name, alone)


def _check_each_day(query: Query, files: Sequence[InputFile]) -> None:
    """Refuse names of days that come but once a month: their files hold no single days.

    Raises:
        InventoryError: they do.
    """
    days = sorted(file.start for file in files if file.start == file.end)
    if len(days) < max(3, len(files)):
        return
    apart = (31 * (12 * (b[0] - a[0]) + b[1] - a[1]) + b[2] - a[2] for a, b in pairwise(days))
    if min(apart) >= 27:
        raise InventoryError(
            f"{query.root / files[0].path}: by its name it holds {text_of_date(days[0])} only, and "
            f"the next file {text_of_date(days[1])}; expected a file for each day; where each "
            f"holds the days up to the next one, write {{start}} for the date in {query.key}; "
            "means of months cannot be used"
        )


def _check_shared(query: Query, series: Sequence[Series]) -> None:
    """Check that it is clear what each variable is called in a file that several are looked for in.

    Raises:
        InventoryError: it is not.
    """
    holder: dict[str, Series] = {}
    keys = {name: part.key for part in query.parts for name in part.wanted.get("variable", ())}
    for one in series:
        for file in one.files:
            other = holder.setdefault(file.path, one)
            if other is not one and (one.is_alone or other.is_alone):
                vague = (one if one.is_alone else other).variable
                raise InventoryError(
                    f"{query.root / file.path}: fits both {keys[other.variable]} and "
                    f"{keys[one.variable]}, and nothing says what {vague} is called in it; narrow "
                    f"one of the patterns, or give the name (variables: {{{vague}: {{name: …}}}})"
                )


def _check_facets(query: Query, path: str, facets: Mapping[str, str]) -> None:
    needed = ("variable", "model", "member")
    for name in needed if "{variable}" in query.path_pattern else needed[1:]:
        if name not in facets:  # it is in brackets, and this name goes without
            cure = "" if name == "variable" else f', or add "{name}: …" to input.facets'
            raise InventoryError(
                f"{query.root / path}: its name does not say the {name}; narrow {query.key}{cure}"
            )
    for name in ("model", "scenario", "member", "grid"):
        if name in facets and not _names_folder(facets[name]):
            raise InventoryError(
                f'{query.root / path}: by its name the {name} is "{facets[name]}", which cannot '
                "name a folder of the output; expected letters, digits and .+- only: rename the "
                f"file, or narrow {query.key}"
            )


@lru_cache(maxsize=4096)  # of many files, few values
def _names_folder(facet: str) -> bool:
    return _FOLDER_NAME.fullmatch(facet) is not None


def check_pattern(pattern: str, fixed: Mapping[str, str], *, key: str = "input.pattern") -> None:
    """Check a pattern before anything is searched; ``fixed`` holds what it need not say.

    ``key`` of the workflow gives it.

    Raises:
        InventoryError: an unknown facet, a missing one, or a bracket without its partner.
    """
    where = f'{key} "{pattern}"'
    names = _PLACEHOLDER.findall(pattern)
    for name in names:
        if name not in FACETS:
            raise InventoryError(
                f'{where}: "{{{name}}}" is no facet{did_you_mean(name, FACETS)} '
                f"(known: {', '.join(FACETS)})"
            )
    if not names:
        near = did_you_mean(pattern, PATTERNS)
        raise InventoryError(
            f"{where}: has no {{facet}} and is none of {', '.join(PATTERNS)}{near}"
        )
    for name in ("model", "member"):
        if name not in names and name not in fixed:
            cure = f', or "{name}: …" to input.facets'
            raise InventoryError(f"{where}: does not say the {name}; add {{{name}}}{cure}")
    if partner := lacking_partner([*names, *fixed]):
        raise InventoryError(
            f"{where}: {{{partner[0]}}} is no date without {{{partner[1]}}}; add it"
        )
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise InventoryError(f"{where}: must stay below input.root; remove the leading / or the ..")
    if any(not _pairs_up(segment) for segment in pattern.split("/")):
        raise InventoryError(f"{where}: brackets do not pair up within one folder name")


def _pairs_up(segment: str) -> bool:
    brackets = re.sub(r"[^][]", "", segment)
    return brackets == "[]" * (len(brackets) // 2)


def _walk(
    query: Query, seen: dict[str, bool] | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the path and the facets of each match, in order of name.

    ``seen`` receives whether each file that lies where input files do fits the pattern.
    """
    source, segments = query.source, _segments(query.path_pattern)
    matchers = [_matcher(segment, query) for segment in segments]
    fits = _matcher(segments[-1], replace(query, wanted={}))
    suffix = Path(segments[-1]).suffix

    def below(
        folder: str, depth: int, facets: dict[str, str]
    ) -> Iterator[tuple[str, dict[str, str]]]:
        last = depth == len(segments) - 1
        for name in source.names(folder):
            path = f"{folder}/{name}" if folder else name
            match = matchers[depth].fullmatch(name)
            found = {k: v for k, v in match.groupdict().items() if v is not None} if match else {}
            # The folder may say one thing and the name another.
            agrees = match is not None and all(facets.get(k, v) == v for k, v in found.items())
            if last and seen is not None and name.endswith(suffix):
                seen[path] = seen.get(path, False) or agrees or (not match and _is(fits, name))
            if not agrees:
                continue
            _check_name(query, folder, name)
            if last:
                if source.kind(path) != "file":
                    raise InventoryError(f"{source.root / path}: {_no_file(query, path)}")
                yield path, _with_unsaid(query, {**facets, **found})
            elif source.kind(path) == "folder":
                yield from below(path, depth + 1, {**facets, **found})

    yield from below("", 0, {})


def _segments(pattern: str) -> list[str]:
    return [segment for segment in pattern.split("/") if segment not in ("", ".")]


def _is(matcher: re.Pattern[str], name: str) -> bool:
    return matcher.fullmatch(name) is not None


def _with_unsaid(query: Query, said: Mapping[str, str]) -> dict[str, str]:
    """Add the facets that a path does not say; no date to one that says another."""
    unsaid = {"grid": "gn", **query.fixed}  # CMIP5 has no grid label
    if not {"year", "date", "start"}.isdisjoint(said):
        unsaid = {facet: value for facet, value in unsaid.items() if facet not in ("start", "end")}
    return {**unsaid, **said}


def _check_name(query: Query, folder: str, name: str) -> None:
    """Check the name of what matches: it goes into messages, records and other names.

    Raises:
        InventoryError: the name has a control character, or is not UTF-8.
    """
    try:
        check_no_controls(name)
    except ValueError as error:
        raise InventoryError(
            f'{query.root / folder}: the name of an input, "{one_line(name)}", {error}, or narrow '
            f"{query.key}"
        ) from None


def _no_file(query: Query, path: str) -> str:
    """Say what is named like an input file and is none."""
    source, cure = query.source, f"narrow {query.key}"
    marks = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
    if any(source.kind(f"{path}/{name}") == "file" for name in marks):
        return (
            "is a Zarr store, which climdask cannot read as input yet; expected NetCDF files: "
            f"write it as NetCDF first (xarray.open_zarr(…).to_netcdf(…)), or {cure}"
        )
    whats = {"folder": "a folder", "nothing": "a link to a file that is not there"}
    what = whats.get(source.kind(path), "no regular file")
    return f"is {what}, but is named like an input file; remove or rename it, or {cure}"


def _matcher(segment: str, query: Query) -> re.Pattern[str]:
    """Compile one folder name of a pattern."""
    seen: set[str] = set()
    out = []
    for token in re.split(r"(\{\w*\}|[\[\]*])", segment):
        facet = token[1:-1] if token.startswith("{") else ""
        if facet in seen:
            out.append(f"(?P={facet})")
        elif facet:
            seen.add(facet)
            out.append(f"(?P<{facet}>{_facet_expression(facet, query)})")
        else:
            # As little as possible for a *, so that it leaves [optional parts] to their facets.
            out.append({"[": "(?:", "]": ")?", "*": "[^/]*?"}.get(token, re.escape(token)))
    return re.compile("".join(out))


def _facet_expression(facet: str, query: Query) -> str:
    if query.wanted.get(facet):
        return "|".join(sorted(map(re.escape, query.wanted[facet]), key=len, reverse=True))
    known = {**EXPRESSIONS, "version": r"v\d+(?:\.\d+)*"}
    return known.get(facet, r"[^/_]+")


def _input_file(query: Query, path: str, facets: Mapping[str, str]) -> InputFile:
    try:
        dates = claimed(facets)
    except ValueError as error:
        raise InventoryError(f"{query.root / path}: {error}") from None
    if dates is None:
        raise InventoryError(
            f"{query.root / path}: neither the name nor input.facets says which years it holds; "
            f"add {{year}} or {{start}}-{{end}} to {query.key}, or start and end to input.facets"
        )
    version = _version(facets.get("version", ""))
    about = query.source.size_and_time(path)
    is_open = dates[1] == NO_END
    return InputFile(*dates, path, facets.get("scenario", ""), version, *about, is_open)


@lru_cache
def _version(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text))


def _closed(files: Sequence[InputFile]) -> list[InputFile]:
    """Let files of one scenario whose names say no end reach up to the next one that starts."""
    starts = sorted({file.start for file in files})
    following = dict(pairwise(starts))
    return [
        replace(f, end=day_before(following[f.start])) if f.is_open and f.start in following else f
        for f in files
    ]


def _by_scenario(files: Sequence[InputFile]) -> dict[str, list[InputFile]]:
    out: dict[str, list[InputFile]] = defaultdict(list)
    for file in files:
        out[file.scenario].append(file)
    return out


def _newest(query: Query, files: Sequence[InputFile], notes: list[str]) -> list[InputFile]:
    """Keep the newest version of every day; report the older ones."""
    ordered = sorted(files, key=in_time)
    if all(file.end < later.start for file, later in pairwise(ordered)):
        return ordered
    root, cure = query.root, f"remove one, or narrow {query.key}"
    kept: list[InputFile] = []  # in order of time, as no two share a day
    by_path = sorted(files, key=lambda f: f.path)
    for file in sorted(by_path, key=lambda f: f.version, reverse=True):
        place = bisect_left(kept, file.start, key=lambda f: f.end)
        stop = bisect_right(kept, file.end, key=lambda f: f.start)
        rivals = sorted(kept[place:stop], key=lambda f: (f.version, f.path), reverse=True)
        newer = [k for k in rivals if k.version > file.version]
        if not rivals:
            kept.insert(place, file)
        elif newer == rivals and any(k.start <= file.start and file.end <= k.end for k in newer):
            notes.append(f"{file.path}: passed over, {Path(newer[0].path).name} is newer")
        elif newer == rivals:
            raise InventoryError(
                f"{root / rivals[0].path} is newer than {root / file.path}, but does not hold all "
                f"of its days; {cure}"
            )
        else:
            one, other = sorted([file.path, rivals[0].path])
            raise InventoryError(
                f"{root / one} and {root / other} hold the same days, and nothing "
                f"in their names says which is newer; {cure}"
            )
    return kept


def _check_wanted(query: Query, series: Sequence[Series]) -> None:
    """Raise if something that was asked for by name is in no file."""
    found = {
        "variable": {s.variable for s in series},
        "model": {s.model for s in series},
        "member": {s.member for s in series},
        "grid": {s.grid for s in series},
        "scenario": {f.scenario for s in series for f in s.files},
    }
    for facet, values in query.wanted.items():
        if facet == "scenario" and "" in found[facet]:
            continue  # the names have no scenario: every file serves every one
        missing = [value for value in values if value not in found[facet]]
        there = sorted(_there(query, facet)) if missing else []
        if there:  # otherwise more than this facet keeps the files out
            raise InventoryError(
                f'{facet} "{missing[0]}": no file of it below {query.root}; '
                f"found {', '.join(there)}{did_you_mean(missing[0], there)}"
            )


def _there(query: Query, facet: str) -> set[str]:
    """Return the values that the files do have, looking without the filter on that facet."""
    return {
        facets[facet]
        for part in query.parts
        for others in [{k: v for k, v in part.wanted.items() if k != facet}]
        for _, facets in _walk(replace(part, wanted=others))
        if facet in facets
    }


def _nothing(query: Query) -> str:
    """Say why nothing matched: what was looked for, and what is there."""
    seen = list(islice(_some_files(query.source, ""), 3))
    there = f"there is, for instance, {', '.join(seen)}" if seen else "the folder holds no .nc file"
    wanted = ", ".join(f"{k} {'|'.join(v)}" for k, v in query.wanted.items() if v)
    return (
        f'no file below {query.root} matches {query.key} "{query.path_pattern}" with {wanted}; '
        f"{there}; correct input.root, {query.key} or the lists of variables, scenarios and models"
    )


def _some_files(source: Source, folder: str) -> Iterator[str]:
    """Yield the NetCDF files of a folder and what is below it, those nearest to it first."""
    try:
        paths = [f"{folder}/{name}" if folder else name for name in source.names(folder)]
    except InventoryError:  # that no file matches is the error to tell
        return
    yield from (path for path in paths if path.endswith(".nc") and source.kind(path) == "file")
    for path in paths:
        if source.kind(path) == "folder":
            yield from _some_files(source, path)


def describe(series: Series) -> str:
    """Return the years of a series by scenario, as text."""
    parts = []
    for scenario, files in sorted(_by_scenario(series.files).items()):
        years = run_lengths(y for f in files for y in f.years)
        parts.append(f"{scenario or 'any scenario'} {years} ({quantity(len(files), 'file')})")
    return "; ".join(parts)

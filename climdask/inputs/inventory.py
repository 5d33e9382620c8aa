"""The inventory: which files there are, judged by their names alone.

A pattern such as ``{variable}/{scenario}/{variable}_day_{model}_{scenario}_{year}[_{version}].nc``
is walked folder by folder, so that a large archive is never listed whole. ``[...]`` is optional,
``*`` stands for anything within one folder name, ``{start}-{end}`` are dates of multi-year files.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice, pairwise
from operator import attrgetter
from pathlib import Path

from climdask.climatology.calendars import run_lengths
from climdask.compact import Compact
from climdask.errors import InventoryError, did_you_mean
from climdask.inputs.sources import Source, source_of
from climdask.plaintext import check_no_controls, one_line, quantity

FACETS = ("model", "scenario", "member", "grid", "variable", "year", "start", "end", "version")

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

Date = tuple[int, int, int]
_PLACEHOLDER = re.compile(r"\{(\w*)\}")
# The days that every calendar has: enough to tell from names what is in no file, or in two.
EVERY_DAY = frozenset((m, d) for m in range(1, 13) for d in range(1, 29 if m == 2 else 31))
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
    """

    start: Date
    end: Date
    path: str
    scenario: str
    version: tuple[int, ...]
    size: int
    mtime_ns: int

    @property
    def years(self) -> range:
        """The years that the name claims, in order."""
        return range(self.start[0], self.end[0] + 1)

    @property
    def claim(self) -> tuple[Date, Date] | None:
        """First and last date by the path; None if it is ``input.facets`` that says them."""
        said = all(f"{date[0]:04}" in self.path for date in (self.start, self.end))
        return (self.start, self.end) if said else None

    def is_whole(self, year: int) -> bool:
        """Tell whether by its name the file has the whole of ``year``."""
        return self.start <= (year, 1, 1) and self.end >= (year, 12, 30)

    def days(self, year: int) -> frozenset[tuple[int, int]]:
        """Return the (month, day) that by its name the file has of ``year``."""
        if self.is_whole(year):
            return EVERY_DAY
        return frozenset(d for d in EVERY_DAY if self.start <= (year, *d) <= self.end)


# As files compare, and faster, for files of which no two have one path.
in_time = attrgetter("start", "end", "path")


@dataclass(frozen=True)
class Series:
    """All files of one variable of one model, member and grid."""

    model: str
    member: str
    grid: str
    variable: str
    files: tuple[InputFile, ...]

    @property
    def id(self) -> str:
        """``model/member/grid/variable``: the identity of the chain."""
        return "/".join((self.model, self.member, self.grid, self.variable))

    def of(self, scenario: str) -> tuple[InputFile, ...]:
        """Return the files that serve a scenario, in order of time."""
        return tuple(f for f in self.files if f.scenario in ("", scenario))


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
class Query:
    """What to look for.

    Attributes:
        pattern: the name of one of :data:`PATTERNS`, or a pattern.
        wanted: for each facet the values to look for; a facet not named here may have any.
        fixed: values of facets that the names do not say.
    """

    root: Path
    pattern: str
    wanted: Mapping[str, Sequence[str]]
    fixed: Mapping[str, str]

    @cached_property
    def source(self) -> Source:
        """Where the files are."""
        return source_of(self.root)


def take_inventory(query: Query) -> Inventory:
    """Find the files below the root and sort them into series.

    Raises:
        InventoryError: the root cannot be read, nothing matches, something asked for is not
            there, or two files claim the same days with nothing to say which is newer.
    """
    root, pattern = query.root, PATTERNS.get(query.pattern, query.pattern)
    source = query.source
    check_pattern(pattern, query.fixed)
    if source.kind("") != "folder":
        raise InventoryError(
            f"input.root: {root} is not a folder; set input.root, --input-root, or the "
            "environment variable that the workflow names"
        )
    groups: dict[tuple[str, ...], list[InputFile]] = defaultdict(list)
    for path, facets in _walk(query):
        _check_facets(root, path, facets)
        key = tuple(facets[f] for f in ("model", "member", "grid", "variable"))
        groups[key].append(_input_file(source, path, facets))
    notes: list[str] = []
    series = []
    for (model, member, grid, variable), files in sorted(groups.items()):
        kept = [f for fs in _by_scenario(files).values() for f in _newest(root, fs, notes)]
        series.append(Series(model, member, grid, variable, tuple(sorted(kept, key=in_time))))
    _check_wanted(query, series)
    if not series:
        raise InventoryError(_nothing(query, pattern))
    return Inventory(root, tuple(series), tuple(notes))


def _check_facets(root: Path, path: str, facets: Mapping[str, str]) -> None:
    for name in ("variable", "model", "member"):
        if name not in facets:  # it is in brackets, and this name goes without
            cure = "" if name == "variable" else f', or add "{name}: …" to input.facets'
            raise InventoryError(
                f"{root / path}: its name does not say the {name}; narrow input.pattern{cure}"
            )
    for name in ("model", "scenario", "member", "grid"):
        if name in facets and not _names_folder(facets[name]):
            raise InventoryError(
                f'{root / path}: by its name the {name} is "{facets[name]}", which cannot name a '
                "folder of the output; expected letters, digits and .+- only: rename the file, or "
                "narrow input.pattern"
            )


@lru_cache(maxsize=4096)  # of many files, few values
def _names_folder(facet: str) -> bool:
    return _FOLDER_NAME.fullmatch(facet) is not None


def check_pattern(pattern: str, fixed: Mapping[str, str]) -> None:
    """Check a pattern before anything is searched; ``fixed`` holds what it need not say.

    Raises:
        InventoryError: an unknown facet, a missing one, or a bracket without its partner.
    """
    where = f'input.pattern "{pattern}"'
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
    for name in ("variable", "model", "member"):
        if name not in names and (name not in fixed or name == "variable"):
            cure = "" if name == "variable" else f', or "{name}: …" to input.facets'
            raise InventoryError(f"{where}: does not say the {name}; add {{{name}}}{cure}")
    always = _PLACEHOLDER.findall(re.sub(r"\[[^]]*\]", "", pattern))
    for name in fixed:
        if name in always or (name in ("start", "end") and "year" in always):
            raise InventoryError(
                f"{where}: says the {name} itself, so input.facets.{name} has no effect; remove it"
            )
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise InventoryError(f"{where}: must stay below input.root; remove the leading / or the ..")
    if any(not _pairs_up(segment) for segment in pattern.split("/")):
        raise InventoryError(f"{where}: brackets do not pair up within one folder name")


def _pairs_up(segment: str) -> bool:
    brackets = re.sub(r"[^][]", "", segment)
    return brackets == "[]" * (len(brackets) // 2)


def _walk(query: Query) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the path and the facets of each match, in order of name."""
    source, pattern = query.source, PATTERNS.get(query.pattern, query.pattern)
    segments = [segment for segment in pattern.split("/") if segment not in ("", ".")]
    matchers = [_matcher(segment, query) for segment in segments]
    unsaid = {"grid": "gn", **query.fixed}  # CMIP5 has no grid label

    def below(
        folder: str, depth: int, facets: dict[str, str]
    ) -> Iterator[tuple[str, dict[str, str]]]:
        last = depth == len(segments) - 1
        for name in source.names(folder):
            match = matchers[depth].fullmatch(name)
            if match is None:
                continue
            found = {k: v for k, v in match.groupdict().items() if v is not None}
            if any(facets.get(k, v) != v for k, v in found.items()):
                continue  # the folder says one thing and the name another
            _check_name(source.root, folder, name)
            path = f"{folder}/{name}" if folder else name
            if last:
                if source.kind(path) != "file":
                    raise InventoryError(f"{source.root / path}: {_no_file(source, path)}")
                yield path, {**unsaid, **facets, **found}
            elif source.kind(path) == "folder":
                yield from below(path, depth + 1, {**facets, **found})

    yield from below("", 0, {})


def _check_name(root: Path, folder: str, name: str) -> None:
    """Check the name of what matches: it goes into messages, records and other names.

    Raises:
        InventoryError: the name has a control character, or is not UTF-8.
    """
    try:
        check_no_controls(name)
    except ValueError as error:
        raise InventoryError(
            f'{root / folder}: the name of an input, "{one_line(name)}", {error}, '
            "or narrow input.pattern"
        ) from None


def _no_file(source: Source, path: str) -> str:
    """Say what is named like an input file and is none."""
    marks = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
    if any(source.kind(f"{path}/{name}") == "file" for name in marks):
        return (
            "is a Zarr store, which climdask cannot read as input yet; expected NetCDF files: "
            "write it as NetCDF first (xarray.open_zarr(…).to_netcdf(…)), or narrow input.pattern"
        )
    whats = {"folder": "a folder", "nothing": "a link to a file that is not there"}
    what = whats.get(source.kind(path), "no regular file")
    return (
        f"is {what}, but is named like an input file; remove or rename it, or narrow input.pattern"
    )


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
    known = {"year": r"\d{4}", "start": r"\d{4,8}", "end": r"\d{4,8}", "version": r"v\d+(?:\.\d+)*"}
    return known.get(facet, r"[^/_]+")


def _input_file(source: Source, path: str, facets: Mapping[str, str]) -> InputFile:
    root = source.root
    first = facets.get("year") or facets.get("start")
    last = facets.get("year") or facets.get("end")
    if first is None or last is None:
        raise InventoryError(
            f"{root / path}: neither the name nor input.facets says which years it holds; "
            "add {year} or {start}-{end} to input.pattern, or start and end to input.facets"
        )
    try:
        start, end = _date(first, is_end=False), _date(last, is_end=True)
    except ValueError as error:
        raise InventoryError(f"{root / path}: {error}; expected YYYY, YYYYMM or YYYYMMDD") from None
    if start > end:
        raise InventoryError(f"{root / path}: its name ends ({last}) before it starts ({first})")
    version = _version(facets.get("version", ""))
    size, mtime_ns = source.size_and_time(path)
    return InputFile(start, end, path, facets.get("scenario", ""), version, size, mtime_ns)


@lru_cache
def _version(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text))


@lru_cache(maxsize=4096)  # the files of all chains have the same dates
def _date(text: str, *, is_end: bool) -> Date:
    """Read YYYY, YYYYMM or YYYYMMDD; what is left out is the first or the last there is."""
    month = int(text[4:6] or (12 if is_end else 1))
    day = int(text[6:8] or (31 if is_end else 1))
    if len(text) not in (4, 6, 8) or not (1 <= month <= 12 and 1 <= day <= 31):
        raise ValueError(f'"{text}" in its name is no date')
    return int(text[:4]), month, day


def _by_scenario(files: Sequence[InputFile]) -> dict[str, list[InputFile]]:
    out: dict[str, list[InputFile]] = defaultdict(list)
    for file in files:
        out[file.scenario].append(file)
    return out


def _newest(root: Path, files: Sequence[InputFile], notes: list[str]) -> list[InputFile]:
    """Keep the newest version of every day; report the older ones."""
    ordered = sorted(files, key=in_time)
    if all(file.end < later.start for file, later in pairwise(ordered)):
        return ordered
    kept: list[InputFile] = []
    for file in sorted(files, key=lambda f: (f.version, f.path), reverse=True):
        rivals = [k for k in kept if k.start <= file.end and file.start <= k.end]
        newer = [k for k in rivals if k.version > file.version]
        if not rivals:
            kept.append(file)
        elif newer == rivals and any(k.start <= file.start and file.end <= k.end for k in newer):
            notes.append(f"{file.path}: passed over, {Path(newer[0].path).name} is newer")
        elif newer == rivals:
            raise InventoryError(
                f"{root / rivals[0].path} is newer than {root / file.path}, but does not hold all "
                "of its days; remove one, or narrow input.pattern"
            )
        else:
            raise InventoryError(
                f"{root / file.path} and {root / rivals[0].path} hold the same days, and nothing "
                "in their names says which is newer; remove one, or narrow input.pattern"
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
    others = {k: v for k, v in query.wanted.items() if k != facet}
    free = Query(query.root, query.pattern, others, query.fixed)
    return {facets[facet] for _, facets in _walk(free) if facet in facets}


def _nothing(query: Query, pattern: str) -> str:
    """Say why nothing matched: what was looked for, and what is there."""
    seen = list(islice(_some_files(query.source, ""), 3))
    there = f"there is, for instance, {', '.join(seen)}" if seen else "the folder holds no .nc file"
    wanted = ", ".join(f"{k} {'|'.join(v)}" for k, v in query.wanted.items() if v)
    return (
        f'no file below {query.root} matches input.pattern "{pattern}" with {wanted}; {there}; '
        "correct input.root, input.pattern or the lists of variables, scenarios and models"
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

"""What of a normal a picture shows: which product, which step, which cell."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from climdask.climatology.calendars import run_lengths
from climdask.climatology.cycles import DAY, MONTH, SEASON, WORDS, YEAR
from climdask.errors import DataError, PlotError
from climdask.outputs.catalogue import Normal, OpenNormal, describe, opened
from climdask.reporting.display import MONTH_NAMES, day_name
from climdask.reporting.products import in_order, step_names, word_of
from climdask.reporting.summaries import Floats, edges_of, mean_over_days, months_of

GIVE = "give a file *_normal.nc or a store *_normal.zarr of an output folder"
SEASONS = {"DJF": (12, 1, 2), "MAM": (3, 4, 5), "JJA": (6, 7, 8), "SON": (9, 10, 11)}


@dataclass(frozen=True)
class View:
    """What to show of a normal: the annual mean, or all steps of a year, if nothing is said.

    Attributes:
        day: ``MM-DD``, or the number of a day from 1.
        point: latitude and longitude of a place, for the annual cycle there.
        target_year: of a Zarr store.
        product: its name in the file; the mean, or the first one, if left out.
        each: the steps: ``day``, ``month``, ``season``, ``year`` or a user's word; those of the
            file if left out. Normals of other steps lie beside it.
        month: number of a month; of days their mean over it.
        season: ``DJF``, ``MAM``, ``JJA`` or ``SON``; of days their mean over it.
        annual: the annual mean, and nothing else.
    """

    day: str | None = None
    point: tuple[float, float] | None = None
    target_year: int | None = None
    product: str | None = None
    each: str | None = None
    month: int | None = None
    season: str | None = None
    annual: bool = False


@dataclass(frozen=True, eq=False)
class Map:
    """One map, in stored units.

    Attributes:
        name: what it is of, such as ``July``.
        values: float64 [lat, lon], NaN where missing.
    """

    name: str
    values: Floats


# ---------------------------------------------------------------- which product


def find_normal(path: Path, target_year: int | None) -> tuple[Normal, str]:
    """Return a normal and the name of its variable.

    Raises:
        PlotError: there is none, or its target year is not clear.
    """
    if not path.exists():
        raise PlotError(f"{path}: no such file; normals are in the output folder of a run")
    try:
        years, variable = describe(path)
    except DataError as error:
        raise PlotError(f"{error}; {GIVE}") from None
    there = run_lengths(years)
    if target_year is None and len(years) > 1:
        raise PlotError(f"{path}: holds target years {there}; say which with --target-year")
    wanted = years[0] if target_year is None else target_year
    if wanted not in years:
        raise PlotError(f"--target-year {wanted}: {path.name} holds {there}")
    return Normal("", wanted, path), variable


def find_product(path: Path, view: View) -> tuple[Normal, str]:
    """Return the normal that is asked for, beside the given one perhaps, and its product.

    Raises:
        PlotError: there is none; it says what there is.
    """
    normal, first = find_normal(path, view.target_year)
    if view.product is None and view.each is None:
        return normal, first
    own, others = _beside(normal)
    there = {own: path, **others}
    wanted = there if view.each is None else [WORDS.get(view.each, view.each)]
    if not set(wanted) <= set(there):
        words = ", ".join(map(word_of, there))
        raise PlotError(f"--each {view.each}: there are no such normals; there are: {words}")
    held = {f: _products(Normal("", normal.target_year, p)) for f, p in there.items()}
    for frequency in wanted:
        products = held[frequency]
        if view.product in products or (view.product is None and products):
            name = view.product or products[0]
            return Normal("", normal.target_year, there[frequency]), name
    listed = "; ".join(f"each {word_of(f)}: {', '.join(names)}" for f, names in held.items())
    raise PlotError(f"--product {view.product}: there is no such product; there are: {listed}")


def _beside(normal: Normal) -> tuple[str, Mapping[str, Path]]:
    """Return the frequency of a normal, and the same series at other frequencies, beside it."""
    path = normal.path
    with _readable(path), opened(normal) as file:
        frequency = file.frequency
        who = [str(file.dataset.attrs.get(key, "")) for key in ("model", "member")]
    start, between, rest = path.name.partition(f"_{'_'.join(who)}_")
    end = between + rest
    if not between or not start.endswith(f"_{frequency}"):
        return frequency, {}
    variable = start.removesuffix(f"_{frequency}")
    pattern = f"{glob.escape(variable)}_*{glob.escape(end)}"
    found = {p.name[len(variable) + 1 : -len(end)]: p for p in sorted(path.parent.glob(pattern))}
    found.pop(frequency, None)
    return frequency, dict(sorted(found.items(), key=lambda item: _place(item[0])))


def _place(frequency: str) -> int:
    known = (DAY, MONTH, SEASON, YEAR)
    return known.index(frequency) if frequency in known else len(known)


def _products(normal: Normal) -> tuple[str, ...]:
    """Return the products of a normal, the mean first; none if it lacks the target year."""
    with _readable(normal.path):
        years, first = describe(normal.path)
        if normal.target_year not in years:
            return ()
        with opened(normal) as file:
            return in_order({p: file.of(p).attributes for p in file.products}, first)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: DataError) -> PlotError:
    """Return what tells a user that a file cannot be shown."""
    return PlotError(f"{path}: is no normal of climdask that can be read ({error}); {GIVE}")


# ---------------------------------------------------------------- which steps


def maps_of(file: OpenNormal, view: View) -> list[Map]:
    """Return the maps that are asked for, one or more.

    Raises:
        PlotError: the normal has no such step; it says which it has.
    """
    if view.day is not None:
        return [_day(file, view.day)]
    if view.month is not None:
        return [_month(file, view.month)]
    if view.season is not None:
        return [_season(file, view.season)]
    if file.frequency == DAY:
        return [Map("annual mean", annual_mean(file))]
    if view.annual and file.frequency != YEAR:
        raise PlotError(
            f"--annual: {file.variable} is made of each {word_of(file.frequency)}; give --each day "
            "or --each year, or leave it out for all steps"
        )
    names = step_names(file.frequency, file.steps)
    return [Map(name, _step(file, n)) for n, name in enumerate(names)]


def _step(file: OpenNormal, n: int) -> Floats:
    return np.asarray(file.values(slice(n, n + 1))[0], dtype=np.float64)


def _day(file: OpenNormal, text: str) -> Map:
    if file.frequency != DAY:
        raise _lacks(file, f"--day {text}")
    n = find_day(file.days, text)
    return Map(day_name(*file.days[n]), _step(file, n))


def _month(file: OpenNormal, month: int) -> Map:
    text = f"{month:02}"
    if file.frequency == MONTH and text in file.steps:
        return Map(MONTH_NAMES[month - 1], _step(file, file.steps.index(text)))
    if file.frequency == DAY and 1 <= month <= 12:
        name = f"mean over the days of {MONTH_NAMES[month - 1]}"
        return Map(name, _mean_over_months(file, {month}))
    raise _lacks(file, f"--month {month}")


def _season(file: OpenNormal, text: str) -> Map:
    season = text.upper()
    if file.frequency == SEASON and season in file.steps:
        return Map(season, _step(file, file.steps.index(season)))
    if file.frequency == DAY and season in SEASONS:
        name = f"mean over the days of {season}"
        return Map(name, _mean_over_months(file, set(SEASONS[season])))
    raise _lacks(file, f"--season {text}")


def _mean_over_months(file: OpenNormal, wanted: set[int]) -> Floats:
    return mean_over(file, [m for m in months_of(file.days) if file.days[m.start][0] in wanted])


def _lacks(file: OpenNormal, option: str) -> PlotError:
    """Return what tells which steps a normal has."""
    if file.frequency == DAY:
        there = f"days, months 1 to 12, seasons {', '.join(SEASONS)}"
    elif file.frequency == MONTH:
        there = f"months {run_lengths(int(step) for step in file.steps)}"
    else:
        there = ", ".join(file.steps)
    return PlotError(
        f"{option}: {file.variable} has no such step; it has {there}. Normals of other steps are "
        "shown with --each day, month, season or year"
    )


def find_day(days: Sequence[tuple[int, int]], text: str) -> int:
    """Return the place of a day.

    Args:
        days: (month, day) of each.
        text: ``MM-DD``, or a number from 1.

    Raises:
        PlotError: the normal has no such day.
    """
    parts = text.split("-")
    if text.isdigit() and 1 <= int(text) <= len(days):
        return int(text) - 1
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        wanted = int(parts[0]), int(parts[1])
        if wanted in days:
            return list(days).index(wanted)
    why = ": it was made with leap_day: drop, or of a calendar without" if text == "02-29" else ""
    raise PlotError(
        f"--day {text}: the normal has no such day{why}; give MM-DD, such as 07-01, or a number "
        f"from 1 to {len(days)}"
    )


def find_cell(file: OpenNormal, point: tuple[float, float]) -> tuple[int, int]:
    """Return row and column of the cell that a place is in.

    Raises:
        PlotError: it is in none.
    """
    lat, lon = point
    rows, columns = edges_of(file.axis("lat"), ends=(-90, 90)), edges_of(file.axis("lon"))
    east = columns[0] + (lon - columns[0]) % 360
    if not (rows[0] <= lat <= rows[-1] and east <= columns[-1]):
        raise PlotError(
            f"--point {lat:g} {lon:g}: is not in the region, which is {rows[0]:g} to "
            f"{rows[-1]:g} N, {columns[0]:g} to {columns[-1]:g} E; give latitude, then longitude"
        )
    row = int(np.searchsorted(rows, lat, side="right")) - 1
    column = int(np.searchsorted(columns, east, side="right")) - 1
    return min(row, len(rows) - 2), min(column, len(columns) - 2)


def annual_mean(file: OpenNormal) -> Floats:
    """Return the mean over the days of the year, [lat, lon], reading a month at a time."""
    return mean_over(file, months_of(file.days))


def mean_over(file: OpenNormal, parts: Iterable[slice]) -> Floats:
    """Return the mean over the days of some parts of the year, [lat, lon], a part at a time."""
    shape = file.axis("lat").size, file.axis("lon").size
    total, count, n_days = np.zeros(shape), np.zeros(shape, dtype=np.int64), 0
    for part in parts:
        values = file.values(part).astype(np.float64)
        total += np.nansum(values, axis=0)
        count += (~np.isnan(values)).sum(axis=0)
        n_days += len(values)
    return mean_over_days(total, count, n_days)

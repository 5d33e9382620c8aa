"""A quick look at one normal: a map, or the annual cycle at a point, as a picture.

Matplotlib draws it, without a browser or a display (extra ``plot``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from climdask.climatology.calendars import run_lengths
from climdask.errors import DataError, PlotError
from climdask.outputs.atomicfiles import atomically
from climdask.outputs.catalogue import Normal, OpenNormal, describe, opened
from climdask.plaintext import printable
from climdask.reporting.coastlines import coastlines
from climdask.reporting.display import MISSING_COLOR, Look, day_name, limits, look_of
from climdask.reporting.summaries import edges_of, mean_over_days, months_of

_GIVE = "give a file *_normal.nc or a store *_normal.zarr of an output folder"

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class View:
    """What to show of a normal: the annual mean if nothing is said.

    Attributes:
        day: ``MM-DD``, or the number of a day from 1.
        point: latitude and longitude of a place, for the annual cycle there.
        target_year: of a Zarr store.
    """

    day: str | None = None
    point: tuple[float, float] | None = None
    target_year: int | None = None


def plot_normal(path: Path, output: Path | None = None, view: View | None = None) -> Path:
    """Draw a normal; the picture appears whole or not at all.

    Args:
        path: a NetCDF file or Zarr store of normals.
        output: the picture, PNG or another format by its suffix; a PNG of the normal's name in
            the working folder if left out.
        view: what to show; the annual mean if left out.

    Returns:
        The picture.

    Raises:
        UserError: there is no such file, day, place or target year; or Matplotlib is missing.
    """
    figure, view = _figure(), view or View()
    normal, variable = find_normal(path, view.target_year)
    target = f"_{normal.target_year}" if path.is_dir() else ""
    output = output or Path(f"{path.stem}{target}.png")
    formats = figure.canvas.get_supported_filetypes()
    if output.suffix[1:].lower() not in formats:
        raise PlotError(
            f"{output}: no picture can be written as {output.suffix or 'that'}; use .png"
        )
    try:
        with opened(normal, variable) as file:
            look = look_of(variable, file.attributes)
            if view.point:
                _draw_cycle(figure, file, look, view.point)
            else:
                _draw_map(figure, file, look, view.day)
            figure.axes[0].set_title(_title(path, normal, file, view), fontsize=10)
    except DataError as error:
        raise PlotError(
            f"{path}: is no normal of climdask that can be read ({error}); {_GIVE}"
        ) from None
    kind = output.suffix[1:].lower()
    save = partial(figure.savefig, format=kind, dpi=120, bbox_inches="tight")
    atomically(output, save, durable=False)
    return output


def _figure() -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise PlotError(
            "plot: Matplotlib is not installed; pip install 'climdask[plot]' (or matplotlib)"
        ) from None
    return Figure(figsize=(8, 5), layout="constrained")


# ---------------------------------------------------------------- what is there


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
        raise PlotError(f"{error}; {_GIVE}") from None
    there = run_lengths(years)
    if target_year is None and len(years) > 1:
        raise PlotError(f"{path}: holds target years {there}; say which with --target-year")
    wanted = years[0] if target_year is None else target_year
    if wanted not in years:
        raise PlotError(f"--target-year {wanted}: {path.name} holds {there}")
    return Normal("", wanted, path), variable


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


def annual_mean(file: OpenNormal) -> npt.NDArray[np.float64]:
    """Return the mean over the year, [lat, lon], reading a month at a time."""
    shape = file.axis("lat").size, file.axis("lon").size
    total, count = np.zeros(shape), np.zeros(shape, dtype=np.int64)
    for month in months_of(file.days):
        values = file.values(month).astype(np.float64)
        total += np.nansum(values, axis=0)
        count += (~np.isnan(values)).sum(axis=0)
    return mean_over_days(total, count, len(file.days))


# ---------------------------------------------------------------- drawing


def _draw_map(figure: Figure, file: OpenNormal, look: Look, day: str | None) -> None:
    if day is None:
        values = look.shown(annual_mean(file))
    else:
        n = find_day(file.days, day)
        values = look.shown(file.values(slice(n, n + 1))[0])
    lat, lon = edges_of(file.axis("lat"), ends=(-90, 90)), edges_of(file.axis("lon"))
    axes: Any = figure.add_subplot(facecolor=MISSING_COLOR)
    low, high = limits(values, from_zero=look.from_zero)
    drawn = axes.pcolormesh(
        lon, lat, np.ma.masked_invalid(values), cmap=look.palette.matplotlib, vmin=low, vmax=high
    )
    for line in coastlines(lon[0], lon[-1], lat[0], lat[-1]):
        axes.plot(line[:, 0], line[:, 1], color="#333333", linewidth=0.6)
    axes.set(
        xlim=(lon[0], lon[-1]), ylim=(lat[0], lat[-1]), xlabel="longitude (° E)",
        ylabel="latitude (° N)", aspect=1 / max(0.1, np.cos(np.radians((lat[0] + lat[-1]) / 2))),
    )  # fmt: skip
    figure.colorbar(drawn, ax=axes, label=_label(look), extend="both", shrink=0.9)


def _draw_cycle(figure: Figure, file: OpenNormal, look: Look, point: tuple[float, float]) -> None:
    row, column = find_cell(file, point)
    values = look.shown(file.cell(row, column))
    days = np.arange(1, len(file.days) + 1)
    axes: Any = figure.add_subplot()
    axes.plot(days, values, color="#1f77b4")
    months = months_of(file.days)
    names = [day_name(*file.days[m.start]).split()[1] for m in months]
    axes.set_xticks([m.start + 1 for m in months], names)
    axes.set(xlim=(1, len(days)), xlabel="day of the year", ylabel=_label(look))
    axes.grid(alpha=0.3)
    if np.isnan(values).all():
        axes.text(0.5, 0.5, "missing on every day", transform=axes.transAxes, ha="center")


def _label(look: Look) -> str:
    return _plain(f"{look.label}{look.note and f', {look.note}'}")


def _plain(text: str) -> str:
    """Keep Matplotlib from reading a formula between two dollar signs."""
    return printable(text).replace("$", r"\$")


def _title(path: Path, normal: Normal, file: OpenNormal, view: View) -> str:
    about = file.dataset.attrs
    window = int(about.get("window", 1))
    who = " ".join(str(about[key]) for key in ("model", "member", "region") if key in about)
    years = f"{normal.target_year - window + 1}-{normal.target_year}"
    if view.point:
        row, column = find_cell(file, view.point)
        lat, lon = file.axis("lat")[row], file.axis("lon")[column]
        what = f"annual cycle at {abs(lat):g}° {'S' if lat < 0 else 'N'}, {lon:g}° E"
    elif view.day:
        what = day_name(*file.days[find_day(file.days, view.day)])
    else:
        what = "annual mean"
    return _plain(f"{file.variable}, {who or path.name}\n{what}, {window}-year normal {years}")

"""A quick look at one normal: a map, or the annual cycle at a point, as a picture.

Matplotlib draws it, without a browser or a display (extra ``plot``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from climdask.climatology.cycles import DAY
from climdask.errors import DataError, PlotError
from climdask.outputs.atomicfiles import atomically
from climdask.outputs.catalogue import Normal, OpenNormal, opened
from climdask.plaintext import printable
from climdask.reporting.choices import Map, View, find_cell, find_product, maps_of, unreadable
from climdask.reporting.coastlines import coastlines
from climdask.reporting.display import MISSING_COLOR, Look, look_of, map_limits
from climdask.reporting.products import (
    axis_label,
    fits,
    spread_of,
    ticks,
    without_leap_day,
    word_of,
)
from climdask.reporting.summaries import Floats, edges_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_normal(path: Path, output: Path | None = None, view: View | None = None) -> Path:
    """Draw a normal; the picture appears whole or not at all.

    Args:
        path: a NetCDF file or Zarr store of normals.
        output: the picture, PNG or another format by its suffix; a PNG of the normal's name in
            the working folder if left out.
        view: what to show; the annual mean if left out, or all steps of a year that is not of days.

    Returns:
        The picture.

    Raises:
        UserError: there is no such file, product, step, place or target year; or Matplotlib is
            missing.
    """
    figure, view = _figure(), view or View()
    normal, product = find_product(path, view)
    output = output or Path(_name(normal.path, product, view, normal.target_year))
    formats = figure.canvas.get_supported_filetypes()
    if output.suffix[1:].lower() not in formats:
        raise PlotError(
            f"{output}: no picture can be written as {output.suffix or 'that'}; use .png"
        )
    try:
        with opened(normal, product) as file:
            _draw(figure, file, normal, view)
    except DataError as error:
        raise unreadable(normal.path, error) from None
    kind = output.suffix[1:].lower()
    save = partial(figure.savefig, format=kind, dpi=120, bbox_inches="tight")
    atomically(output, save, durable=False)
    return output


def _name(path: Path, product: str, view: View, target_year: int) -> str:
    """Return the name of a picture: that of the normal, and of the product if one is asked for."""
    target = f"_{target_year}" if path.is_dir() else ""
    asked = f"_{product.replace('/', '_')}" if view.product else ""
    return f"{path.stem}{target}{asked}.png"


def _figure() -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise PlotError(
            "plot: Matplotlib is not installed; pip install 'climdask[plot]' (or matplotlib)"
        ) from None
    return Figure(figsize=(8, 5), layout="constrained")


# ---------------------------------------------------------------- drawing


def _draw(figure: Figure, file: OpenNormal, normal: Normal, view: View) -> None:
    look = look_of(file.variable, file.attributes)
    if view.point:
        what = _draw_cycle(figure, file, look, view.point)
    else:
        maps = maps_of(file, view)
        _draw_maps(figure, file, look, maps)
        what = maps[0].name if len(maps) == 1 else f"each {word_of(file.frequency)}"
    title = _title(normal, file, what)
    if len(figure.axes) > 2:  # maps and their colour bar
        figure.suptitle(title, fontsize=10)
    else:
        figure.axes[0].set_title(title, fontsize=10)


def _draw_maps(figure: Figure, file: OpenNormal, look: Look, maps: Sequence[Map]) -> None:
    """Draw maps of one colour scale, side by side where there are more than one."""
    lat, lon = edges_of(file.axis("lat"), ends=(-90, 90)), edges_of(file.axis("lon"))
    shores = coastlines(lon[0], lon[-1], lat[0], lat[-1])
    shown = [look.shown(one.values) for one in maps]
    low, high = map_limits(np.stack(shown), look)
    rows = round(np.sqrt(len(maps)))
    columns = -(-len(maps) // rows)
    narrowing = max(0.1, np.cos(np.radians((lat[0] + lat[-1]) / 2)))
    if len(maps) > 1:
        ratio = (lon[-1] - lon[0]) * narrowing / (lat[-1] - lat[0])
        width = float(np.clip(2.4 * ratio, 1.6, 4.0)) + 0.5
        figure.set_size_inches(width * columns + 1.5, 2.9 * rows + 0.8)
    every: list[Any] = []
    for n, (one, values) in enumerate(zip(maps, shown, strict=True), start=1):
        axes: Any = figure.add_subplot(rows, columns, n, facecolor=MISSING_COLOR)
        every.append(axes)
        drawn = axes.pcolormesh(
            lon, lat, np.ma.masked_invalid(values), cmap=look.palette.matplotlib,
            vmin=low, vmax=high,
        )  # fmt: skip
        for line in shores:
            axes.plot(line[:, 0], line[:, 1], color="#333333", linewidth=0.6)
        axes.set(xlim=(lon[0], lon[-1]), ylim=(lat[0], lat[-1]), aspect=1 / narrowing)
        if len(maps) > 1:
            axes.set_title(_plain(one.name), fontsize=9)
        if n > len(maps) - columns:
            axes.set_xlabel("longitude (° E)")
        if n % columns == 1 or columns == 1:
            axes.set_ylabel("latitude (° N)")
    figure.colorbar(drawn, ax=every, label=_label(look), extend="both", shrink=0.9)


def _draw_cycle(figure: Figure, file: OpenNormal, look: Look, point: tuple[float, float]) -> str:
    """Draw the annual cycle at a place, with the spread around it, and return what it is."""
    row, column = find_cell(file, point)
    n_steps, is_daily = len(file.steps), file.frequency == DAY
    if n_steps == 1:
        raise PlotError(
            f"--point: {file.variable} has one step, {file.steps[0]}, and no annual cycle; leave "
            "--point out for a map"
        )
    values = look.shown(file.cell(row, column))
    places = without_leap_day(n_steps, file.leap_day)
    x = np.array(places) + 1
    axes: Any = figure.add_subplot()
    axes.plot(x, values[places], color="#1f77b4", marker="" if is_daily else "o")
    if band := _band(file, look, row, column):
        name, low, high = band
        axes.fill_between(x, low[places], high[places], color="#1f77b4", alpha=0.2, label=name,
                          linewidth=0)  # fmt: skip
        axes.legend(loc="best", fontsize=8)
    at = ticks(file.frequency, file.days, file.steps)
    axes.set_xticks(list(at), [_plain(name) for name in at.values()])
    note = "; the line leaves out 29 February, which only leap years have"
    below = axis_label(file.frequency) + (note if file.leap_day is not None else "")
    ends = (1, n_steps) if is_daily else (0.7, n_steps + 0.3)
    axes.set(xlim=ends, xlabel=below, ylabel=_label(look))
    axes.grid(alpha=0.3)
    if np.isnan(values).all():
        missing = f"missing on every {word_of(file.frequency)}"
        axes.text(0.5, 0.5, missing, transform=axes.transAxes, ha="center")
    lat, lon = file.axis("lat")[row], file.axis("lon")[column]
    return f"annual cycle at {abs(lat):g}° {'S' if lat < 0 else 'N'}, {lon:g}° E"


def _band(file: OpenNormal, look: Look, row: int, column: int) -> tuple[str, Floats, Floats] | None:
    """Return what the spread around a cycle is, and its ends, in shown units; None without one."""
    spread = spread_of(file.variable, {p: file.of(p).attributes for p in file.products})
    if spread is None:
        return None
    files = [file.of(product) for product in (spread.low, spread.high)]
    looks = [look_of(own.variable, own.attributes) for own in files]
    if not fits(spread, look, *looks):
        return None
    ends = (own.shown(f.cell(row, column)) for own, f in zip(looks, files, strict=True))
    return spread.name, *spread.band(look.shown(file.cell(row, column)), *ends)


def _label(look: Look) -> str:
    return _plain(f"{look.label}{look.note and f', {look.note}'}")


def _plain(text: str) -> str:
    """Keep Matplotlib from reading a formula between two dollar signs."""
    return printable(text).replace("$", r"\$")


def _title(normal: Normal, file: OpenNormal, what: str) -> str:
    about = file.dataset.attrs
    window = int(about.get("window", 1))
    who = " ".join(str(about[key]) for key in ("model", "member", "region") if key in about)
    years = f"{normal.target_year - window + 1}-{normal.target_year}"
    name = normal.path.name
    return _plain(f"{file.variable}, {who or name}\n{what}, {window}-year normal {years}")

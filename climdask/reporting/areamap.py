"""A map of areas and the cells that they are made of, as a picture or as a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.climatology.areas import Areas, AreaWeights
from climdask.climatology.celledges import Intervals, column_edges, row_edges
from climdask.climatology.grids import Floats, RectilinearGrid
from climdask.errors import PlotError
from climdask.outputs.atomicfiles import atomically
from climdask.plaintext import printable

# More cells make a page that browsers take long to open.
MOST_CELLS_OF_A_PAGE = 50_000
# Nothing smaller than this part of a map is drawn.
_FINEST = 1 / 2000
_LABEL = "share of the cell in areas"


@dataclass(frozen=True, eq=False)
class AreaMap:
    """What is drawn.

    Attributes:
        title: of the map.
        cells: float64 [cell, 4], west, south, east and north of each cell with a weight, degrees.
        shares: float64 [cell], how much of each cell lies in areas; more than 1 where they overlap.
        outlines: [point, 2] each, longitude and latitude, in the turn of the cells.
        owners: of each outline, the area.
        rows: of each area, what a page tells: id, name, cells, km2, covered share.
    """

    title: str
    cells: Floats
    shares: Floats
    outlines: Sequence[Floats]
    owners: Sequence[int]
    rows: Sequence[tuple[str, str, int, float, float]]

    @classmethod
    def of(
        cls,
        areas: Areas,
        geometries: npt.NDArray[np.object_],
        grid: RectilinearGrid,
        weights: AreaWeights,
    ) -> AreaMap:
        """Put together what is drawn of the weights of areas on a grid."""
        from climdask.climatology.areaweights import rectangle_areas  # it needs an extra

        rows, columns = row_edges(grid), column_edges(grid)
        numbers, place = np.unique(weights.cells, return_inverse=True)
        common = np.bincount(place, weights=weights.weights)
        row, column = np.divmod(numbers, grid.lon.size)
        south, north = _edges(rows, row, grid.lat.size)
        west, east = _edges(columns, column, grid.lon.size)
        turn = _turns_from_gap(west, east)
        cells = np.stack([west + turn, south, east + turn, north], axis=1)
        outlines, owners = _outlines(geometries, cells)
        facts = zip(
            map(printable, areas.ids), map(printable, areas.names), weights.n_cells.tolist(),
            weights.sizes.tolist(), weights.covered.tolist(), strict=True,
        )  # fmt: skip
        shares = common / rectangle_areas(south, north, east - west)
        return cls(printable(str(areas)), cells, shares, outlines, owners, tuple(facts))

    @property
    def frame(self) -> tuple[float, float, float, float]:
        """West, south, east and north of the map, degrees."""
        west, south = self.cells[:, :2].min(axis=0)
        east, north = self.cells[:, 2:].max(axis=0)
        return float(west), float(south), float(east), float(north)


def _edges(intervals: Intervals, numbers: npt.NDArray[np.intp], size: int) -> tuple[Floats, Floats]:
    place = np.zeros(size, dtype=np.intp)
    place[intervals.numbers] = np.arange(intervals.numbers.size)
    return intervals.low[place[numbers]], intervals.high[place[numbers]]


def _turns_from_gap(west: Floats, east: Floats) -> Floats:
    """Return the turns, in degrees, after which cells lie side by side east of their widest gap."""
    middle = (west + east) / 2 % 360.0
    ordered = np.unique(middle)
    gaps = np.diff(ordered, append=ordered[0] + 360.0)
    start = ordered[(int(gaps.argmax()) + 1) % ordered.size]
    start -= 360.0 * (start > 180.0)
    wanted = start + (middle - start) % 360.0
    return np.asarray(360.0 * np.round((wanted - (west + east) / 2) / 360.0))


def _outlines(geometries: npt.NDArray[np.object_], cells: Floats) -> tuple[list[Floats], list[int]]:
    """Return the shells of polygons where the cells are, thinned out, and whose they are."""
    import shapely

    (west, south), (east, north) = cells[:, :2].min(axis=0), cells[:, 2:].max(axis=0)
    finest = max(east - west, north - south) * _FINEST
    parts, owners = shapely.get_parts(geometries, return_index=True)
    shells = shapely.get_exterior_ring(shapely.simplify(parts, finest))
    outlines, found = [], []
    for shell, owner in zip(shells, owners, strict=True):
        if shell is None or shell.is_empty:
            continue
        line = shapely.get_coordinates(shell)
        for turn in (-360.0, 0.0, 360.0):
            lon = line[:, 0] + turn
            if lon.max() >= west and lon.min() <= east:
                outlines.append(np.column_stack([lon, line[:, 1]]))
                found.append(int(owner))
    return outlines, found


# ---------------------------------------------------------------- drawing


def draw_map(content: AreaMap, path: Path) -> Path:
    """Write a map to a file, whole or not at all, and return the file.

    Raises:
        PlotError: the name ends with neither ``.png`` nor ``.html``, there are too many cells for
            a page, or what draws it is not installed.
        OutputError: the disk is full or cannot be written.
    """
    kinds = {".png": _picture, ".html": _page}
    if path.suffix.lower() not in kinds:
        raise PlotError(f"--plot {path}: expected a name that ends with .png or .html")
    if path.suffix.lower() == ".html" and len(content.cells) > MOST_CELLS_OF_A_PAGE:
        raise PlotError(
            f"--plot {path}: {len(content.cells):,} cells are too many for a page, which has "
            f"{MOST_CELLS_OF_A_PAGE:,} at most; expected fewer areas, or a name with .png"
        )
    kinds[path.suffix.lower()](content, path)
    return path


def _picture(content: AreaMap, path: Path) -> None:
    try:
        from matplotlib.collections import LineCollection, PolyCollection
        from matplotlib.figure import Figure
    except ImportError:
        raise PlotError(
            "--plot: Matplotlib is not installed; pip install 'climdask[plot]' (or matplotlib), "
            "or give a name with .html"
        ) from None
    west, south, east, north = content.cells.T
    corners = np.stack(
        [np.stack(c, axis=1) for c in ((west, south), (east, south), (east, north), (west, north))],
        axis=1,
    )
    figure = Figure(figsize=(11, 7), dpi=150, layout="constrained")
    axes: Any = figure.add_subplot()
    cells = PolyCollection(list(corners), array=content.shares, cmap="YlGnBu", clim=(0, 1))
    drawn = axes.add_collection(cells)
    axes.add_collection(LineCollection(list(content.outlines), colors="#333333", linewidths=0.4))
    x0, y0, x1, y1 = content.frame
    axes.set(
        xlim=(x0, x1), ylim=(y0, y1), xlabel="longitude (° E)", ylabel="latitude (° N)",
        aspect=1 / max(0.1, math.cos(math.radians((y0 + y1) / 2))),
        title=content.title.replace("$", r"\$"),
    )  # fmt: skip
    figure.colorbar(drawn, ax=axes, label=_LABEL, shrink=0.8)
    atomically(path, lambda temporary: figure.savefig(temporary, format="png"))


def _page(content: AreaMap, path: Path) -> None:
    from bokeh.embed import file_html
    from bokeh.models import ColorBar, ColumnDataSource, HoverTool, LinearColorMapper
    from bokeh.palettes import YlGnBu9
    from bokeh.plotting import figure
    from bokeh.resources import INLINE

    x0, y0, x1, y1 = content.frame
    drawn = figure(
        title=content.title, sizing_mode="stretch_width", height=650, x_range=(x0, x1),
        y_range=(y0, y1), x_axis_label="longitude (° E)", y_axis_label="latitude (° N)",
        tools="pan,wheel_zoom,box_zoom,reset", active_scroll="wheel_zoom",
    )  # fmt: skip
    mapper = LinearColorMapper(palette=YlGnBu9[::-1], low=0.0, high=1.0)
    west, south, east, north = content.cells.T
    of_cells = {"left": west, "bottom": south, "right": east, "top": north, "share": content.shares}
    drawn.quad(
        left="left", bottom="bottom", right="right", top="top", line_color=None,
        source=ColumnDataSource(of_cells), fill_color={"field": "share", "transform": mapper},
    )  # fmt: skip
    own = [content.rows[owner] for owner in content.owners]
    names = ("id", "name", "cells", "km2", "covered")
    columns = dict(zip(names, map(list, zip(*own, strict=True)), strict=True)) if own else {}
    lines = {"xs": [o[:, 0] for o in content.outlines], "ys": [o[:, 1] for o in content.outlines]}
    patches = drawn.patches(
        "xs", "ys", source=ColumnDataSource({**lines, **columns}), fill_alpha=0.0,
        line_color="#333333", line_width=0.5, hover_fill_color="#d62728", hover_fill_alpha=0.3,
    )  # fmt: skip
    told = [("area", "@name (@id)"), ("cells", "@cells"), ("km²", "@km2{0,0.0}")]
    told.append(("covered", "@covered{0.0000}"))
    drawn.add_tools(HoverTool(renderers=[patches], tooltips=told))
    drawn.add_layout(ColorBar(color_mapper=mapper, title=_LABEL), "right")
    html = file_html(drawn, resources=INLINE, title=content.title)
    atomically(path, lambda temporary: temporary.write_text(html, encoding="utf-8"))

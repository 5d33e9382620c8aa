"""The figures of a report and their data, for Bokeh; ``templates/report.mjs`` fills them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.events import DocumentReady
from bokeh.layouts import column, row
from bokeh.models import (
    BasicTicker,
    BoxAnnotation,
    ColorBar,
    ColumnDataSource,
    CustomJS,
    Div,
    FixedTicker,
    HoverTool,
    Label,
    Legend,
    LegendItem,
    LinearColorMapper,
    RadioButtonGroup,
    Range1d,
    Select,
    Slider,
    Span,
)
from bokeh.palettes import all_palettes, interp_palette
from bokeh.plotting import figure

from climdask.climatology.cycles import DAY
from climdask.plaintext import printable
from climdask.reporting.data import Field
from climdask.reporting.display import (
    MISSING_COLOR,
    MONTH_NAMES,
    PERIOD_COLORS,
    Palette,
)
from climdask.reporting.products import (
    axis_label,
    label,
    step_names,
    ticks,
    without_leap_day,
    word_of,
)
from climdask.reporting.summaries import Packed, months_of, spans
from climdask.reporting.timelines import STAGES, Timeline

# Pixels of a map at most, and of curves; the page makes them narrower where it is narrow.
MAP_WIDTH, MAP_HEIGHT = 440, 400
CURVE_WIDTH, MEAN_HEIGHT = 480, 200
CYCLE_COLORS = ("#1f77b4", "#8c8c8c", "#d1495b")  # first, middle, last
STAGE_COLORS = {"read": "#4c78a8", "window": "#e6a23c", "write": "#54a24b"}
TOOLS = "pan,wheel_zoom,box_zoom,reset,save"


def colors(palette: Palette) -> list[str]:
    """Return 256 colours."""
    found = all_palettes[palette.brewer]
    chosen = list(found[max(found)])
    chosen = chosen if len(chosen) == 256 else list(interp_palette(chosen, 256))
    return chosen[::-1] if palette.backwards else chosen


# ---------------------------------------------------------------- data


def label_of(field: Field) -> str:
    """Return what the product of a field is called in a list."""
    return plain(label(field.product, field.set.variable, field.set.frequency))


def plain(text: str) -> str:
    """Return a text without what Bokeh takes for a formula, for which it loads MathJax."""
    return printable(text).replace("$$", "$ $").replace("\\(", "\\ (").replace("\\[", "\\ [")


def field_data(field: Field) -> dict[str, Any]:
    """Return a field as ``report.mjs`` wants it; arrays become binary text."""
    one, look = field.set, field.look
    rows, columns = field.rasters
    return {
        "product": label_of(field),
        "name": plain(field.product),
        "annual": field.has_annual_mean,
        "step_word": _step_word(field),
        "dataset": f"{one.model} / {one.member} / {one.grid}",
        "variable": one.variable,
        "region": one.region,
        "trunk": one.trunk,
        "scenarios": list(one.branches),
        "window": one.periods.window,
        "normals": [list(n) for n in field.normals],
        "steps": [*(["annual mean"] if field.has_annual_mean else []), *_step_names(field)],
        "cycle": _cycle_axis(field),
        "label": plain(look.label),
        "change_label": plain(look.change_label),
        "palette": _palette_name(look.palette),
        "change_palette": _palette_name(look.change_palette),
        "means": field.means.ravel(),
        "missing": list(field.missing),
        "valid_share": list(field.valid_share),
        "cycles": {branch: _cycles(field, branch) for branch in one.branches},
        "bands": _bands(field),
        "shown": list(field.shown),
        "maps": _packed(field.maps),
        "limits": [list(ends) for ends in field.limits],
        "changes": {
            branch: {**_packed(c.maps), "ends": list(c.ends), "limits": list(c.limits)}
            for branch, c in field.changes.items()
        },
        "lat_edges": field.lat_edges,
        "lon_edges": field.lon_edges,
        "rows": rows,
        "columns": columns,
        "size": map_size(field),
        "periods": {branch: _periods(field, branch) for branch in one.branches},
        "about": about(field),
    }


def _step_word(field: Field) -> str:
    if field.has_annual_mean:
        return "day" if field.daily else "month"
    return plain(word_of(field.set.frequency))


def _step_names(field: Field) -> list[str]:
    """Return the names of the steps that have maps, without the annual mean."""
    if field.daily or not field.has_annual_mean:
        return [plain(name) for name in step_names(field.set.frequency, field.own_steps)]
    return [MONTH_NAMES[field.days[month.start][0] - 1] for month in months_of(field.days)]


def _cycle_axis(field: Field) -> dict[str, Any]:
    """Return where the annual cycle is drawn, and what its places are called."""
    frequency, n_steps = field.set.frequency, len(field.own_steps)
    names = step_names(frequency, field.own_steps)
    places = without_leap_day(n_steps, field.leap_day)
    at = ticks(frequency, field.days, field.own_steps)
    return {
        "x": [n + 1 for n in places], "names": [plain(names[n]) for n in places],
        "ticks": list(at), "tick_names": [plain(name) for name in at.values()],
        "label": axis_label(frequency), "end": n_steps, "dots": frequency != DAY,
    }  # fmt: skip


def _palette_name(palette: Palette) -> str:
    return f"{palette.brewer}{' backwards' if palette.backwards else ''}"


def _packed(numbers: Packed) -> dict[str, Any]:
    return {
        "packed": numbers.packed.ravel(), "scale": numbers.scale, "offset": numbers.offset,
    }  # fmt: skip


def _cycles(field: Field, branch: str) -> list[dict[str, Any]]:
    """Return the annual cycles of a scenario, at most three, in order of target years."""
    own = sorted(
        (n for n in field.normals if n[0] in (field.set.trunk, branch)), key=lambda n: n[1]
    )
    wanted = dict.fromkeys([own[0], own[(len(own) - 1) // 2], own[-1]] if own else [])
    places = without_leap_day(len(field.own_steps), field.leap_day)
    return [
        {"target": target, "values": field.cycles[branch_, target][places]}
        for branch_, target in wanted
        if (branch_, target) in field.cycles
    ]


def _bands(field: Field) -> dict[str, Any]:
    """Return the spread around the last cycle of each scenario."""
    places = without_leap_day(len(field.own_steps), field.leap_day)
    return {
        branch: {
            "name": band.name, "target": band.target_year,
            "low": band.low[places], "high": band.high[places],
        }
        for branch, band in field.bands.items()
    }  # fmt: skip


def _periods(field: Field, branch: str) -> list[list[Any]]:
    """Return kind, first and last target year, and name of each period of a scenario."""
    periods = field.set.periods
    own = sorted(t for branch_, t in field.normals if branch_ in (field.set.trunk, branch))
    return [
        [kind, first, last, periods.name(last, branch)]
        for kind, first, last in spans([(t, periods.kind(t)) for t in own])
    ]


def map_size(field: Field) -> list[int]:
    """Return width and height of a map in pixels, true to scale in the middle of the region."""
    west, east = field.lon_edges[0], field.lon_edges[-1]
    south, north = field.lat_edges[0], field.lat_edges[-1]
    narrowing = max(0.1, np.cos(np.radians((south + north) / 2)))
    ratio = float((east - west) * narrowing / (north - south))
    width = min(MAP_WIDTH, MAP_HEIGHT * ratio)
    return [max(120, round(width)), max(120, round(width / ratio))]


def about(field: Field) -> str:
    """Say what the figures of a field show, and how coarse its maps are."""
    look = field.look
    said = [f"{look.name}: {look.long_name}, in {look.units}{look.note and f' ({look.note})'}."]
    if field.factor > 1:
        said.append(
            f"Each pixel of the maps is the area-weighted mean of {field.factor} x {field.factor} "
            "cells."
        )
    if field.leap_day is not None:
        said.append(
            "29 February is made of the leap years only, a quarter of the years; the line of the "
            "annual cycle leaves it out."
        )
    if field.has_annual_mean:
        if not field.daily:
            said.append("Maps and the regional mean show means over months instead of days.")
        if field.product != field.set.variable:
            said.append("The annual mean is the mean of this product over all days.")
    if field.bands:
        band = next(iter(field.bands.values()))
        said.append(
            f"The band around the last annual cycle is {band.name}; its ends are regional means, "
            "as the line is."
        )
    if field.stride > 1:
        said.append(f"Every {field.stride}th target year has maps, and the first and last.")
    needs = "; a mean over a month or year needs 80 % of its days"
    of_days = needs if field.has_annual_mean else ""
    said.append(
        "The regional mean is weighted with the cells' areas, over the cells that have a value"
        f"{of_days}. Target years are the last ones of their {field.set.periods.window} years."
    )
    return " ".join(said)


# ---------------------------------------------------------------- figures


def coasts_of(fields: Sequence[Field], data: Sequence[dict[str, Any]]) -> list[Any]:
    """Return all shores, each box's once, and tell each field which ones are its."""
    found: dict[tuple[float, ...], int] = {}
    coasts: list[Any] = []
    for field, content in zip(fields, data, strict=True):
        ends = (*field.lon_edges[[0, -1]], *field.lat_edges[[0, -1]])
        if ends not in found:
            found[ends] = len(coasts)
            lines = [line.astype(np.float32) for line in field.coast]
            coasts.append([[line[:, axis].copy() for line in lines] for axis in (0, 1)])
        content["coast"] = found[ends]
    return coasts


def palettes_of(fields: Sequence[Field]) -> dict[str, list[str]]:
    """Return the colours of each palette that is used, by its name."""
    looks = [field.look for field in fields]
    used = [p for look in looks for p in (look.palette, look.change_palette)]
    return {_palette_name(palette): colors(palette) for palette in used}


def document(fields: Sequence[Field], timeline: Timeline) -> Document:
    """Return the document with all figures, by name."""
    made = Document()
    if timeline.spans:
        made.add_root(timeline_figure(timeline))
    if not fields:
        return made
    data = [field_data(field) for field in fields]
    ui, controls, note = _controls()
    maps = {"normal": _map("normal"), "change": _map("change")}
    curves, plots = _curves()
    act = CustomJS(
        code=(files("climdask.reporting") / "templates" / "report.mjs").read_text(encoding="utf-8"),
        args={
            "fields": data,
            "coasts": coasts_of(fields, data),
            "palettes": palettes_of(fields),
            "ui": ui,
            "maps": maps,
            "curves": curves,
        },
        module=True,
    )
    for name, event in (
        ("dataset", "value"), ("variable", "value"), ("product", "value"), ("region", "value"),
        ("scenario", "value"),
        ("view", "active"), ("target", "value"), ("step", "value"),
    ):  # fmt: skip
        ui[name].js_on_change(event, act)
    made.js_on_event(DocumentReady, act)
    for root in (controls, note, *(m["plot"] for m in maps.values()), *plots):
        made.add_root(root)
    return made


def _controls() -> tuple[dict[str, Any], Any, Div]:
    def select(title: str) -> Select:
        return Select(title=title, value="", options=[""], width=200)

    def slider() -> Slider:
        return Slider(
            start=0, end=1, value=0, step=1, title="", show_value=False, margin=(0, 20),
            sizing_mode="stretch_width",
        )  # fmt: skip

    def label() -> Div:
        return Div(text="", render_as_text=True, margin=(6, 20, 0, 20))

    note = Div(text="", render_as_text=True, name="about", sizing_mode="stretch_width")
    ui: dict[str, Any] = {
        "dataset": select("Model / member / grid"),
        "variable": select("Variable"),
        "product": select("Product"),
        "region": select("Region"),
        "scenario": select("Scenario"),
        "view": RadioButtonGroup(labels=["Annual mean", "One day"], active=0, margin=(12, 10)),
        "target": slider(),
        "target_label": label(),
        "step": slider(),
        "step_label": label(),
        "about": note,
        "busy": False,
        "listens": False,
    }
    lists = _wrapped(*(ui[name] for name in _SELECTS))
    target = _flexible(ui["target_label"], ui["target"])
    step = ui["step_box"] = _flexible(ui["step_label"], ui["step"])
    all_ = column(lists, _wrapped(target, ui["view"], step), name="controls",
                  sizing_mode="stretch_width")  # fmt: skip
    return ui, all_, note


_SELECTS = ("dataset", "variable", "product", "region", "scenario")


def _wrapped(*parts: Any) -> Any:
    """Return a row that goes on below where it is too narrow."""
    return row(*parts, styles={"flex-wrap": "wrap"}, sizing_mode="stretch_width")


def _flexible(*parts: Any) -> Any:
    return column(*parts, sizing_mode="stretch_width", styles={"flex": "1 1 300px"}, max_width=480)


def _map(name: str) -> dict[str, Any]:
    """Return a map without data."""
    plot = figure(
        name=name, title=" ", frame_width=MAP_WIDTH, frame_height=300, tools=TOOLS,
        x_range=Range1d(0, 1), y_range=Range1d(0, 1), x_axis_label="longitude (° E)",
        y_axis_label="latitude (° N)", background_fill_color=MISSING_COLOR,
    )  # fmt: skip
    plot.grid.visible = False
    plot.toolbar.autohide = True
    source = ColumnDataSource(
        {"image": [np.zeros((1, 1), dtype=np.float32)], "x": [0], "y": [0], "dw": [1], "dh": [1]}
    )
    mapper = LinearColorMapper(palette="Greys256", low=0, high=1, nan_color=MISSING_COLOR)
    image = plot.image("image", x="x", y="y", dw="dw", dh="dh", source=source, color_mapper=mapper)
    bar = ColorBar(color_mapper=mapper, title=" ", width=12, padding=8, title_standoff=6)
    plot.add_layout(bar, "right")
    coast = ColumnDataSource({"xs": [], "ys": []})
    plot.multi_line("xs", "ys", source=coast, line_color="#333333", line_width=0.8)
    tips = [("value", "@image{0.000}"), ("lat, lon", "$y{0.00}, $x{0.00}")]
    plot.add_tools(HoverTool(renderers=[image], tooltips=tips))
    return {"plot": plot, "source": source, "mapper": mapper, "bar": bar, "coast": coast}


def _curves() -> tuple[dict[str, Any], list[Any]]:
    """Return the curves without data, and their figures."""
    cycle, mean, missing = _cycle_figure(), _mean_figure(), _missing_figure()
    bands = {}
    for kind, color in PERIOD_COLORS.items():
        box = BoxAnnotation(left=0, right=1, fill_color=color, fill_alpha=0.15, line_color=None)
        label = Label(
            x=0,
            y=MEAN_HEIGHT - 18,
            y_units="screen",
            text=kind,
            text_font_size="11px",
            text_color="#444444",
        )
        mean["plot"].add_layout(box)
        mean["plot"].add_layout(label)
        bands[kind] = {"box": box, "label": label}
    curves = {
        "cycle": cycle, "mean": mean, "missing": missing, "bands": bands, "width": CURVE_WIDTH,
    }  # fmt: skip
    return curves, [cycle["plot"], mean["plot"], missing["plot"]]


def _curve(name: str, height: int, **about: Any) -> Any:
    """Return an empty figure for curves; those below each other have their axes in line."""
    about = {"title": " ", "x_range": Range1d(0, 1), **about}
    plot = figure(
        name=name, frame_width=CURVE_WIDTH, frame_height=height, min_border_left=80,
        tools=TOOLS, **about,
    )  # fmt: skip
    plot.toolbar.autohide = True
    return plot


def _cycle_figure() -> dict[str, Any]:
    plot = _curve(
        "cycle", 310, title="Annual cycle of the regional mean", x_range=Range1d(1, 365),
        x_axis_label="day of the year",
    )  # fmt: skip
    band = plot.varea(
        "x", "low", "high", source=ColumnDataSource({"x": [], "low": [], "high": []}),
        fill_color=CYCLE_COLORS[-1], fill_alpha=0.18,
    )  # fmt: skip
    lines = [
        plot.line(
            "x", "y", line_color=color, line_width=2, line_dash=dash,
            source=ColumnDataSource({"x": [], "y": [], "day": [], "target": []}),
        )
        for color, dash in zip(CYCLE_COLORS, ("solid", "dashed", "solid"), strict=True)
    ]  # fmt: skip
    dots = [
        plot.scatter("x", "y", size=6, color=color, source=line.data_source)
        for color, line in zip(CYCLE_COLORS, lines, strict=True)
    ]
    legend = _legend("top_center", [LegendItem(label="", renderers=[line]) for line in lines])
    band_legend = _legend("bottom_center", [LegendItem(label="", renderers=[band])])
    plot.add_layout(legend)
    plot.add_layout(band_legend)
    plot.xaxis.ticker = FixedTicker(ticks=[1])
    tips = [("window to", "@target"), ("", "@day"), ("value", "@y{0.000}")]
    plot.add_tools(HoverTool(tooltips=tips, renderers=lines))
    return {
        "plot": plot, "lines": lines, "dots": dots, "legend": legend, "band": band,
        "band_legend": band_legend, "axis": plot.yaxis[0], "x_axis": plot.xaxis[0],
    }  # fmt: skip


def _legend(location: str, items: list[LegendItem]) -> Legend:
    return Legend(
        items=items, location=location, orientation="horizontal", background_fill_alpha=0.6,
        border_line_color=None, margin=2, padding=2,
    )  # fmt: skip


def _mean_figure() -> dict[str, Any]:
    plot = _curve("mean", MEAN_HEIGHT, x_axis_label="target year")
    source = ColumnDataSource({"x": [], "y": [], "period": []})
    line = plot.line("x", "y", source=source, line_color="#222222", line_width=1.5)
    dots = plot.scatter("x", "y", source=source, size=4, color="#222222")
    marker = Span(location=0, dimension="height", line_color="#d1495b", line_width=1.5)
    plot.add_layout(marker)
    tips = [("target year", "@x"), ("period", "@period"), ("mean", "@y{0.000}")]
    plot.add_tools(HoverTool(tooltips=tips, renderers=[dots]))
    del line
    return {"plot": plot, "source": source, "axis": plot.yaxis[0], "marker": marker}


def _missing_figure() -> dict[str, Any]:
    plot = _curve(
        "missing", 56, y_range=Range1d(0, 1), x_axis_label="target year", y_axis_label="years"
    )
    plot.yaxis.ticker = BasicTicker(min_interval=1, desired_num_ticks=3, num_minor_ticks=0)
    source = ColumnDataSource({"x": [], "top": [], "valid": []})
    bars = plot.vbar("x", top="top", width=0.9, source=source, color="#c8551b")
    tips = [
        ("target year", "@x"),
        ("years missing", "@top"),
        ("values that are there", "@valid{0.0} %"),
    ]
    plot.add_tools(HoverTool(tooltips=tips, renderers=[bars], mode="vline"))
    return {"plot": plot, "source": source}


def timeline_figure(timeline: Timeline) -> Any:
    """Return the run's timeline: a lane for each process, with a row for each stage."""
    lanes = {lane: n for n, lane in enumerate(reversed(timeline.lanes))}
    height = {"read": 0.66, "window": 0.36, "write": 0.06}
    plot = figure(
        name="timeline", title="What each process did", sizing_mode="stretch_width", tools=TOOLS,
        height=int(min(1200, 130 + 46 * len(lanes))), x_axis_label="seconds since the first read",
        y_range=Range1d(-0.1, len(lanes)), x_range=Range1d(0, max(timeline.seconds, 0.1) * 1.01),
    )  # fmt: skip
    items = []
    for stage in STAGES:
        own = [s for s in timeline.spans if s.stage == stage]
        bottoms = np.array([lanes[s.lane] + height[stage] for s in own])
        bars = plot.quad(
            left="left", right="right", bottom="bottom", top="top", line_color="line",
            fill_color=STAGE_COLORS[stage],
            source=ColumnDataSource({
                "left": [s.start for s in own], "right": [s.end for s in own],
                "bottom": bottoms, "top": bottoms + 0.26, "count": [s.count for s in own],
                "line": ["#000000" if s.died else STAGE_COLORS[stage] for s in own],
                "said": [_said(s.stage, s.count, died=s.died) for s in own],
            }),
        )  # fmt: skip
        items.append(LegendItem(label=f"{stage} ({_total(timeline.counts, stage)})",
                                renderers=[bars]))  # fmt: skip
        tips = [("", "@said"), ("from", "@left{0.00} s"), ("to", "@right{0.00} s")]
        plot.add_tools(HoverTool(tooltips=tips, renderers=[bars]))
    legend = Legend(
        items=items, orientation="horizontal", border_line_color=None, margin=0, padding=4
    )
    plot.add_layout(legend, "above")
    plot.toolbar.autohide = True
    plot.yaxis.ticker = FixedTicker(ticks=[n + 0.5 for n in lanes.values()])
    plot.yaxis.major_label_overrides = {n + 0.5: lane_name(lane) for lane, n in lanes.items()}
    plot.ygrid.visible = False
    return plot


def _said(stage: str, count: int, *, died: bool) -> str:
    return f"{stage}{f' of {count} tasks' if count > 1 else ''}{', died at it' if died else ''}"


def _total(counts: Mapping[tuple[str, str], int], stage: str) -> int:
    return sum(n for (_, own), n in counts.items() if own == stage)


def lane_name(lane: str) -> str:
    """Return host and process number of ``host-pid-unique``."""
    host, pid, _ = lane.rsplit("-", 2)
    return f"{host} {pid}"

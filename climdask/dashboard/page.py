"""The ``/climdask`` page as Bokeh draws it: one document for each browser that has it open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bokeh.layouts import column, row
from bokeh.models import (
    AdaptiveTicker,
    ColumnDataSource,
    Div,
    InlineStyleSheet,
    NumeralTickFormatter,
    TextInput,
)
from bokeh.plotting import figure
from distributed.dashboard.components.scheduler import BOKEH_THEME, env
from jinja2 import Environment, FileSystemLoader

from climdask.dashboard.rows import PAGE, Choice, Curve, counts_of
from climdask.plaintext import printable_in_html

if TYPE_CHECKING:
    from climdask.dashboard.plugin import Dashboard

OPEN_FILES = 20  # lines of open files, at most
FAILURES = 50  # messages, at most
BLUE, ORANGE = "#0072B2", "#E69F00"

_TEMPLATES = Path(__file__).parent / "templates"
_WORDS: Any = (
    Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=printable_in_html,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    .get_template("dashboard.html")
    .module
)
_STYLE = (_TEMPLATES / "dashboard.css").read_text(encoding="utf-8")


def page(dashboard: Dashboard, _: Any, extra: dict[str, Any], doc: Any) -> None:
    """Draw the page in a new document, and keep it up to date."""
    drawn = _Page(dashboard)
    drawn.update()
    doc.title = "Dask: climdask"
    doc.add_root(drawn.root)
    doc.template = env.get_template("simple.html")
    doc.template_variables.update(extra)
    doc.theme = BOKEH_THEME
    doc.add_periodic_callback(drawn.update, round(dashboard.interval * 1000))


class _Page:
    """The widgets of one browser's page."""

    def __init__(self, dashboard: Dashboard) -> None:
        self.dashboard, self.choice = dashboard, Choice()
        self.summary, self.chains, self.failures, self.open = (_div() for _ in range(4))
        # The buttons of the page set its value in the browser; Bokeh tells the scheduler.
        self.chosen = TextInput(name="choice", visible=False)
        self.chosen.on_change("value", self._chosen)
        self.drawn = Curve().rates()
        self.curves = ColumnDataSource(dict(self.drawn))
        self.root = self._layout()

    def _layout(self) -> Any:
        left = _side("3 1 660px", self.chains, self.failures)
        right = _side("2 1 380px", self._bytes(), self._files(), self.open)
        wrapping = {"flex-wrap": "wrap", "gap": "12px 24px"}
        body = row(left, right, sizing_mode="stretch_width", styles=wrapping)
        whole = column(self.summary, body, self.chosen, sizing_mode="stretch_width")
        whole.styles = {"padding": "8px 14px"}
        return whole

    def _bytes(self) -> Any:
        drawn = _figure("MB/s")
        drawn.line("at", "decoded", source=self.curves, color=BLUE, width=2, legend_label="decoded")
        drawn.line(
            "at", "written", source=self.curves, color=ORANGE, width=2, line_dash="dashed",
            legend_label="written",
        )  # fmt: skip
        return _with_legend(drawn)

    def _files(self) -> Any:
        drawn = _figure("files/s")
        drawn.line("at", "files", source=self.curves, color=BLUE, width=2, legend_label="read")
        return _with_legend(drawn)

    def _chosen(self, _: str, __: str, value: str) -> None:
        self.choice.take(value.rpartition("|")[0])
        self._update_chains()

    # ------------------------------------------------------------ numbers

    def update(self) -> None:
        """Bring everything up to date."""
        view = self.dashboard.view()
        _set(self.summary, _WORDS.summary(view.runs))
        more = max(0, len(view.failures) - FAILURES)
        _set(self.failures, _WORDS.failures(view.failures[:FAILURES], more))
        self._update_chains()
        _set(self.open, _WORDS.open_files(view.open_files[:OPEN_FILES], len(view.open_files)))
        if view.curves is not self.drawn:
            self.drawn, self.curves.data = view.curves, dict(view.curves)

    def _update_chains(self) -> None:
        found = self.dashboard.view().groups
        lines, total = self.choice.lines(found)
        pages, first = -(-total // PAGE), self.choice.page * PAGE
        _set(self.chains, _WORDS.chains(lines, first, total, pages, self.choice, counts_of(found)))


def _div() -> Any:
    style = InlineStyleSheet(css=_STYLE)
    return Div(stylesheets=[style], disable_math=True, sizing_mode="stretch_width")


def _side(flex: str, *parts: Any) -> Any:
    return column(*parts, sizing_mode="stretch_width", styles={"flex": flex, "min-width": "0"})


def _figure(unit: str) -> Any:
    drawn = figure(height=150, sizing_mode="stretch_width", tools="", toolbar_location=None)
    drawn.xaxis.axis_label, drawn.yaxis.axis_label = "since the start (h:min:s)", unit
    drawn.xaxis.formatter = NumeralTickFormatter(format="00:00:00")
    drawn.xaxis.ticker = AdaptiveTicker(base=60, mantissas=[1, 2, 5, 10, 15, 30], min_interval=1)
    drawn.yaxis.formatter = NumeralTickFormatter(format="0,0.[00]")
    drawn.yaxis.ticker.desired_num_ticks = 4
    drawn.y_range.start, drawn.x_range.start = 0, 0
    drawn.outline_line_color, drawn.grid.grid_line_color = None, "#eee"
    drawn.axis.minor_tick_line_color = None
    return drawn


def _with_legend(drawn: Any) -> Any:
    legend = drawn.legend[0]
    legend.update(orientation="horizontal", border_line_color=None, padding=0, margin=2)
    legend.update(background_fill_color=None, location="left")
    drawn.add_layout(legend, "above")
    return drawn


def _set(div: Any, text: Any) -> None:
    if div.text != text:
        div.text = str(text)

"""The report as a reader meets it: one file, no network, sliders that work."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import climdask
import climdask.reporting.data
import climdask.reporting.page
from climdask.cli import main
from climdask.errors import OutputError
from climdask.reporting.data import MAP_BYTES, Change, ReportData, collect
from climdask.reporting.display import look_of
from climdask.reporting.page import facts_of, to_html, write_report
from climdask.reporting.summaries import Packed, choose_detail, shown_targets
from climdask.running.results import RunResult
from tests.browser import Page, browser
from tests.reporting.test_summaries import FULL
from tests.samples import WRAP, Archive, write_archive
from tests.workflows import EAST, small

KELVIN = 273.15
FIRST, LAST_HISTORICAL, LAST, WINDOW = 2001, 2008, 2016, 5


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return write_archive(
        tmp_path_factory.mktemp("in"), variables=["tas", "pr"], first=FIRST, last=LAST,
        last_historical_year=LAST_HISTORICAL, scenarios=["ssp245", "ssp585"],
    )  # fmt: skip


def workflow(archive: Archive, out: Path, **changes: Any) -> Any:
    keys = {
        "variables": ["tas", "pr"], "scenarios": ["ssp245", "ssp585"], "regions": [EAST, WRAP],
        "last_historical_year": LAST_HISTORICAL, "window": WINDOW,
    }  # fmt: skip
    return small(archive.root, out, **{**keys, **changes})


@pytest.fixture(scope="module")
def result(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return climdask.run(workflow(archive, tmp_path_factory.mktemp("out")), serial=True)


@pytest.fixture(scope="module")
def html(result: RunResult) -> str:
    return climdask.report(result.folder.root).read_text(encoding="utf-8")


# ---------------------------------------------------------------- one file


@pytest.mark.slow
def test_the_page_loads_nothing_from_elsewhere(html: str) -> None:
    tags = Tags()
    tags.feed(html)
    assert {"script", "style", "table"} <= {tag for tag, _ in tags.found}
    for tag, names in tags.found:
        assert not {"src", "href", "srcset", "data", "action"} & names, tag
    assert "@import" not in "".join(re.findall(r"<style.*?</style>", html, flags=re.S))


class Tags(HTMLParser):
    """Collects tags with the names of their attributes; what is in scripts is no tag."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, set[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name for name, _ in attrs}))


@pytest.mark.slow
def test_the_page_tells_the_run_and_its_proof(html: str, result: RunResult) -> None:
    assert f"Audit of 1 run: {result.audit}" in html
    assert result.run_id in html
    assert "historical: no version (2001-2008)" in html
    assert "Nothing lacks" not in html
    assert "What is not here" not in html


@pytest.mark.slow
def test_it_can_be_written_anywhere_and_again(result: RunResult, tmp_path: Path) -> None:
    file = tmp_path / "pages" / "mine.html"
    assert climdask.report(str(result.folder.root), file) == file
    before = file.stat().st_size
    write_report(result.folder.root, file, map_bytes=1)
    assert file.stat().st_size < before
    assert [p.name for p in file.parent.iterdir()] == ["mine.html"]


# ---------------------------------------------------------------- what it says


@pytest.fixture(scope="module")
def data(result: RunResult) -> ReportData:
    return collect(result.folder.root, map_bytes=1)


def changed(data: ReportData, edit: Callable[[dict[str, Any]], object]) -> str:
    """Return the page of a run, without maps, whose manifest was changed."""
    manifest = json.loads(json.dumps(data.manifest))
    edit(manifest)
    return to_html(replace(data, manifest=manifest, fields=()))


@pytest.mark.slow
def test_whatever_messages_hold_is_text_and_no_code(data: ReportData) -> None:
    evil = "<script>alert('&')</script>"

    def edit(manifest: dict[str, Any]) -> None:
        manifest["notes"] = [evil]
        manifest["workflow"]["variables"] = [evil]
        manifest["chains"] = {evil: {"state": "failed", "seconds": 1.0, "files_read": 0,
                                     "target_years_written": 0, "repeated_tasks": 0,
                                     "failure": evil}}  # fmt: skip

    html = changed(data, edit)
    assert evil not in html
    assert html.count("&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;") >= 4


def test_control_characters_in_messages_and_attributes_are_written_out(data: ReportData) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["notes"] = ["units: \x1b]0;owned\x07 \u202ekpj"]

    html = changed(data, edit)
    assert "units: \\x1b]0;owned\\x07 \\u202ekpj" in html
    assert "\x1b" not in html
    look = look_of("tas", {"units": "K\x1b[31m", "long_name": "Air\x9b2J"})
    assert (look.units, look.long_name) == ("K\\x1b[31m", "Air\\x9b2J")


@pytest.mark.parametrize(("state", "said"), [
    ("running", "running, or killed before it could say so"), ("interrupted", "interrupted"),
    ("failed", "something failed"),
])  # fmt: skip
def test_a_run_that_did_not_end_well_says_so(state: str, said: str, data: ReportData) -> None:
    assert f'{state}">{said}<' in changed(data, lambda manifest: manifest.update(state=state))


@pytest.mark.slow
def test_failures_and_skipped_files_are_listed(archive: Archive, tmp_path: Path) -> None:
    broken = write_archive(
        tmp_path / "in", variables=["tas", "pr"], first=2001, last=2007, last_historical_year=2008
    )
    broken.path("tas", 2003).write_bytes(b"no file")
    keys = {"scenarios": [], "regions": ["global"], "min_years": 4}
    assert not climdask.run(workflow(broken, tmp_path / "a", **keys), serial=True).ok
    told = facts_of(collect(tmp_path / "a"))["lacking"]
    assert [what for what, _ in told] == [
        "chain ACCESS-CM2/r1i1p1f1/gn/tas failed", "not there: ACCESS-CM2/r1i1p1f1/gn/tas/global",
    ]  # fmt: skip
    assert "2003.nc" in told[0][1]
    assert told[1][1] == "historical 2005-2007"
    keys["run"] = {"on_bad_file": "skip"}
    assert climdask.run(workflow(broken, tmp_path / "b", **keys), serial=True).ok
    data = collect(tmp_path / "b")
    ((what, _),) = facts_of(data)["lacking"]
    assert what.startswith("skipped file")
    assert {f.set.variable: set(f.missing) for f in data.fields} == {"pr": {0}, "tas": {1}}


@pytest.mark.slow
def test_a_coarse_page_says_where_it_is_coarse(result: RunResult) -> None:
    said = facts_of(collect(result.folder.root, map_bytes=20_000))["coarsened"]
    assert "months instead of days" in said
    assert facts_of(collect(result.folder.root))["coarsened"] == ""


@pytest.mark.slow
def test_a_page_of_the_full_size_stays_below_20_mb(data: ReportData) -> None:
    """Four variables, five regions at 0.25 degree, 121 target years: maps of the size that
    is chosen for them, with noise in them, around what is shown of a small run."""
    detail, rng = choose_detail(FULL, MAP_BYTES), np.random.default_rng(1)
    assert not detail.daily

    def noise(*shape: int) -> Packed:
        return Packed(rng.integers(0, 65536, shape, dtype=np.uint16), 1e-3, 0.0)

    fields = []
    for shape in FULL:
        f, n_steps = detail.factor(shape.lat, shape.lon), detail.n_steps(shape.days)
        lat, lon = -(-shape.lat // f), -(-shape.lon // f)
        normals = tuple(("historical" if t <= 2014 else "ssp245", t) for t in shape.targets)
        shown = sorted(t - 1980 for t in shown_targets([shape.targets], detail))
        fields.append(replace(
            data.fields[0], normals=normals, daily=False, shown=tuple(shown), factor=f, stride=10,
            means=rng.random((121, n_steps), dtype=np.float32), missing=(0,) * 121,
            valid_share=(1.0,) * 121, maps=noise(len(shown), n_steps, lat, lon),
            cycles={n: rng.random(365, dtype=np.float32) for n in (normals[0], normals[-1])},
            changes={"ssp245": Change(noise(n_steps, lat, lon), (1980, 2100), (1.0, 1.0))},
            lat_edges=np.linspace(20, 50 + len(fields), lat + 1), coast=[rng.random((5000, 2))],
            lon_edges=np.linspace(200, 250, lon + 1),
        ))  # fmt: skip
    html = to_html(replace(data, fields=tuple(fields)))
    assert 10e6 < len(html) < 20e6
    assert "means of 3 x 3 cells in maps of" in html
    assert "maps of every 10th target year" in html


# ---------------------------------------------------------------- in a browser

STATE = """(() => {
  const all = [...Bokeh.documents[0].all_models];
  const named = (name) => all.find(m => m.name == name);
  const map = (name) => named(name).renderers[0];
  const titles = Object.fromEntries(["normal", "change", "mean", "missing"].map(
    n => [n, named(n).title.text]));
  const image = (name) => Array.from(map(name).data_source.data.image[0]);
  const selects = all.filter(m => m.type == "Select");
  return {titles, normal: image("normal"), change: image("change"),
          shape: map("normal").data_source.data.image[0].shape,
          mean: Array.from(named("mean").renderers[0].data_source.data.y),
          years: Array.from(named("mean").renderers[0].data_source.data.x),
          bands: all.filter(m => m.type == "Label" && m.visible).map(m => m.text),
          cycles: named("cycle").center.find(m => m.type == "Legend").items.map(i => i.label.value),
          bar: named("normal").right[0].title,
          selects: Object.fromEntries(selects.map(s => [s.title, s.options]))};
})()"""


@pytest.fixture(scope="module")
def page(html: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("chromium")
    (folder / "report.html").write_text(html, encoding="utf-8")
    with browser(folder / "profile") as opened:
        opened.call("Network.enable")
        opened.call("Network.emulateNetworkConditions", offline=True, latency=0,
                    downloadThroughput=0, uploadThroughput=0)  # fmt: skip
        opened.open((folder / "report.html").as_uri())
        opened.wait_for("typeof Bokeh != 'undefined' && Bokeh.documents.length == 1")
        opened.wait_for("[...Bokeh.documents[0].all_models].some(m => m.type == 'Select' && "
                        "m.value == 'WRAP')")  # fmt: skip
        yield opened


@pytest.fixture
def fresh(page: Page) -> Page:
    """The page with all selectors as they were at the start."""
    choose(page, "Variable", "tas")
    choose(page, "Region", "WRAP")
    choose(page, "Scenario", "ssp245")
    for n in (0, 1):
        slide(page, n, 0)
    page.evaluate(f"{find('RadioButtonGroup')}[0].active = 0")
    return page


def find(kind: str) -> str:
    return f"[...Bokeh.documents[0].all_models].filter(m => m.type == '{kind}')"


def choose(page: Page, title: str, value: str) -> None:
    page.evaluate(f"{find('Select')}.find(m => m.title == '{title}').value = '{value}'")


def slide(page: Page, slider: int, value: int) -> None:
    """Move the slider of target years (0) or of days (1)."""
    page.evaluate(f"{find('Slider')}[{slider}].value = {value}")


def numbers(values: list[Any]) -> np.ndarray:
    """Return what the browser has; NaN comes as None."""
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def expected(result: RunResult, scenario: str, target: int, **where: Any) -> np.ndarray:
    with result.open("tas", where.pop("region", "WRAP"), scenario=scenario) as dataset:
        found = dataset["tas"].sel(target_year=target, **where).astype("f8") - KELVIN
        return np.asarray(found.values)


@pytest.mark.slow
def test_the_page_opens_without_a_network_and_without_errors(page: Page) -> None:
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0
    assert page.errors == []
    assert page.evaluate("document.title").startswith("climdask report")


def test_the_map_shows_the_normal_that_the_sliders_ask_for(fresh: Page, result: RunResult) -> None:
    first = fresh.evaluate(STATE)
    assert first["titles"]["normal"] == "tas, WRAP: annual mean, 2001-2005"
    slide(fresh, 0, 11)
    slide(fresh, 1, 59)
    later = fresh.evaluate(STATE)
    assert later["titles"]["normal"] == "tas, WRAP: 1 Mar, 2012-2016"
    assert later["titles"]["mean"] == "Regional mean: 1 Mar"
    values = expected(result, "ssp245", 2016, dayofyear=60)
    rows, columns = later["shape"]
    # The grid is uneven, so cells are several pixels; the ends of the map are the ends cells.
    found = numbers(later["normal"]).reshape(rows, columns)
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert found[row, column] == pytest.approx(values[row, column], abs=0.01, nan_ok=True)
    assert set(np.round(found[~np.isnan(found)], 1)) == set(np.round(values[~np.isnan(values)], 1))


@pytest.mark.slow
def test_the_picture_itself_changes_with_the_slider(fresh: Page, tmp_path: Path) -> None:
    fresh.evaluate("document.querySelector('.controls').scrollIntoView()")
    pictures = []
    for value in (10, 200, 10):
        slide(fresh, 1, value)
        fresh.wait_for(f"{find('Slider')}[1].value == {value}")
        settled, last = b"", b"-"
        while settled != last:
            last, settled = settled, _shot(fresh, tmp_path)
        pictures.append(settled)
    assert pictures[0] != pictures[1]
    assert pictures[0] == pictures[2]


def _shot(page: Page, folder: Path) -> bytes:
    time.sleep(0.3)
    page.save(folder / "shot.png")
    return (folder / "shot.png").read_bytes()


def test_scenarios_share_history_and_change_the_rest(fresh: Page, result: RunResult) -> None:
    one = fresh.evaluate(STATE)
    choose(fresh, "Scenario", "ssp585")
    two = fresh.evaluate(STATE)
    assert one["years"] == two["years"] == list(range(2005, 2017))
    assert one["mean"][:4] == two["mean"][:4]
    assert one["mean"][4] != two["mean"][4]
    assert numbers(one["change"]).tolist() != numbers(two["change"]).tolist()
    assert one["bands"] == ["historical", "hybrid-ssp245", "ssp245"]
    assert two["bands"] == ["historical", "hybrid-ssp585", "ssp585"]


def test_variables_and_regions_bring_their_units_and_places(fresh: Page) -> None:
    before = fresh.evaluate(STATE)
    choose(fresh, "Variable", "pr")
    choose(fresh, "Region", "east")
    after = fresh.evaluate(STATE)
    assert before["bar"] == "tas (°C)"
    assert after["bar"] == "pr (mm/day)"
    assert after["titles"]["normal"].startswith("pr, east")
    assert after["selects"]["Region"] == ["WRAP", "east"]
    assert after["cycles"] == ["2001-2005", "2006-2010", "2012-2016"]
    assert (numbers(after["normal"]) >= 0).sum() > 0
    assert fresh.errors == []


# ---------------------------------------------------------------- the command line


def yaml_of(archive: Archive, folder: Path, **changes: Any) -> Path:
    content = {
        "input": {"root": str(archive.root)}, "variables": ["tas"], "scenarios": [],
        "last_historical_year": LAST_HISTORICAL, "regions": ["global"], "window": 5,
        "output": {"root": str(folder / "out")},
    }  # fmt: skip
    (folder / "w.yaml").write_text(yaml.safe_dump({**content, **changes}))
    return folder / "w.yaml"


@pytest.mark.slow
def test_run_writes_the_report_if_asked(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(yaml_of(archive, tmp_path)), "--serial", "--report"]) == 0
    assert f"report: {tmp_path / 'out/report.html'}" in capsys.readouterr().out
    assert (tmp_path / "out/report.html").stat().st_size > 1e6


@pytest.mark.slow
def test_a_report_that_fails_leaves_the_exit_code_of_the_run(
    archive: Archive,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(climdask.reporting.page, "atomically", fail)
    assert main(["run", str(yaml_of(archive, tmp_path)), "--serial", "--report"]) == 0
    said = capsys.readouterr()
    assert "climdask: warning: the report was not written: the disk is full" in said.err
    assert "4 of 4 normals" in said.out


@pytest.mark.slow
def test_the_command_says_where_the_page_is(
    result: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.html"
    assert main(["report", str(result.folder.root), "-o", str(file)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{file}\n"
    assert "4 of 4: ACCESS-CM2/r1i1p1f1/gn/tas/east, 20 normals" in said.err


def test_a_folder_without_a_run_is_a_users_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no manifest of a run" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_page_that_cannot_be_written_is_a_users_mistake(
    result: RunResult, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(result.folder.root, tmp_path / "file" / "r.html", map_bytes=1)


@pytest.mark.slow
def test_an_output_folder_without_normals_still_has_a_page(
    archive: Archive, tmp_path: Path
) -> None:
    climdask.run(workflow(archive, tmp_path, variables=["tas"], regions=["global"]), serial=True)
    for path in tmp_path.rglob("*.nc"):
        path.unlink()
    for trace in tmp_path.rglob("*.jsonl"):
        trace.unlink()
    html = climdask.report(tmp_path).read_text()
    assert "No normal is there (yet)." in html
    assert "No trace tells when files were read" in html
    manifest = json.loads((tmp_path / ".climdask/manifest.json").read_text())
    assert manifest["run"] in html

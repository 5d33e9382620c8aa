"""A report of all kinds of products, against the files as xarray reads them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import climdask
from climdask.reporting.data import Field, ReportData, collect
from climdask.reporting.figures import field_data
from climdask.reporting.page import facts_of, to_html
from climdask.running.results import RunResult
from tests.browser import Page, browser
from tests.samples import LAT, WRAP, Archive, write_archive
from tests.workflows import small

KELVIN = 273.15
FIRST, LAST, WINDOW = 2001, 2008, 5
NORMALS: list[Any] = [
    "mean",
    {"over_years": ["std", "p10", "p90"]},
    {"each": "month", "over_years": ["mean", "std"]},
    {"each": "month", "within": "sum", "variables": ["pr"]},
    {"each": "season"},
    {"each": "year", "within": "days above 290 K", "name": "hot_days", "variables": ["tas"],
     "missing_days": 0.5},
]  # fmt: skip
FORMATS = ["netcdf", "zarr"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return write_archive(
        tmp_path_factory.mktemp("in"), variables=["tas", "pr"], first=FIRST, last=LAST,
        last_historical_year=LAST, calendar="standard",
    )  # fmt: skip


def made(archive: Archive, out: Path, output_format: str = "netcdf", **changes: Any) -> RunResult:
    keys = {
        "variables": ["tas", "pr"], "scenarios": [], "regions": [WRAP], "window": WINDOW,
        "last_historical_year": LAST, "min_years": 1, "leap_day": "keep", "normals": NORMALS,
        "output": {"format": output_format},
    }  # fmt: skip
    result = climdask.run(small(archive.root, out, **{**keys, **changes}), serial=True)
    assert result.ok, result.failures
    return result


@pytest.fixture(scope="module")
def results(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunResult]:
    return {kind: made(archive, tmp_path_factory.mktemp(kind), kind) for kind in FORMATS}


@pytest.fixture(scope="module")
def reports(results: dict[str, RunResult]) -> dict[str, ReportData]:
    return {kind: collect(result.folder.root) for kind, result in results.items()}


@pytest.fixture(params=FORMATS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Find = Callable[[str, str], Field]


@pytest.fixture
def field(kind: str, reports: dict[str, ReportData]) -> Find:
    found = {(f.product, f.set.frequency): f for f in reports[kind].fields}
    return lambda product, frequency: found[product, frequency]


@pytest.fixture
def stored(kind: str, results: dict[str, RunResult]) -> Callable[[str, str, int], np.ndarray]:
    """Return what reads a product of a target year without any of climdask's code."""
    root = results[kind].folder.root

    def read(product: str, frequency: str, target: int) -> np.ndarray:
        variable = "pr" if product.startswith("pr") else "tas"
        if kind == "zarr":
            (path,) = root.rglob(f"{variable}_{frequency}_*.zarr")
            with xr.open_zarr(path, decode_times=False) as store:
                return store[product].sel(target_year=target).values
        (path,) = root.rglob(f"{variable}_{frequency}_*_{target}_{WINDOW}yr_normal.nc")
        with xr.open_dataset(path, decode_times=False) as file:
            return file[product].values

    return read


def regional(values: np.ndarray) -> np.ndarray:
    """Return means weighted with the cosine of latitude, over the cells that have a value."""
    weights = np.cos(np.radians([lat for lat in LAT if -20 <= lat <= 75]))[:, None]
    weights = np.where(np.isnan(values), 0.0, weights)
    total = weights.sum(axis=(-2, -1))
    return np.where(total > 0, np.nansum(values * weights, axis=(-2, -1)) / total, np.nan)


# ---------------------------------------------------------------- numbers


@pytest.mark.slow
def test_every_product_of_the_files_is_shown(kind: str, reports: dict[str, ReportData]) -> None:
    shown = {(f.product, f.set.frequency) for f in reports[kind].fields}
    daily = {(f"{v}{end}", "day") for v in ("tas", "pr") for end in ("", "_std", "_p10", "_p90")}
    monthly = {(f"{v}{end}", "mon") for v in ("tas", "pr") for end in ("", "_std")}
    assert shown == daily | monthly | {
        ("pr_sum", "mon"), ("tas", "seas"), ("pr", "seas"), ("hot_days", "yr"),
    }  # fmt: skip
    assert not reports[kind].left_out
    assert not reports[kind].absent


@pytest.mark.slow
@pytest.mark.parametrize(("product", "frequency", "offset", "factor"), [
    ("tas", "mon", -KELVIN, 1.0), ("tas_std", "mon", 0.0, 1.0), ("pr", "mon", 0.0, 86400.0),
    ("pr_sum", "mon", 0.0, 1.0), ("tas", "seas", -KELVIN, 1.0), ("hot_days", "yr", 0.0, 1.0),
])  # fmt: skip
def test_each_step_of_a_map_and_of_a_curve_is_what_the_file_holds(
    product: str, frequency: str, offset: float, factor: float, field: Find,
    stored: Callable[..., np.ndarray],
) -> None:  # fmt: skip
    own = field(product, frequency)
    assert [target for _, target in own.normals] == [2005, 2006, 2007, 2008]
    for n, (_, target) in enumerate(own.normals):
        values = stored(product, frequency, target) * factor + offset
        maps = own.maps.values[own.shown.index(n)]
        np.testing.assert_allclose(maps, values, atol=0.51 * own.maps.scale + 1e-4)
        np.testing.assert_allclose(own.means[n], regional(values), rtol=1e-5, atol=1e-4)
    last = regional(stored(product, frequency, LAST) * factor + offset)
    np.testing.assert_allclose(own.cycles["historical", LAST], last, rtol=1e-5, atol=1e-4)
    assert np.isfinite(last).all()


@pytest.mark.slow
def test_the_annual_mean_is_shown_of_days_only(field: Find) -> None:
    steps = {f: field_data(field("tas", f))["steps"] for f in ("day", "mon", "seas")}
    assert steps["day"][:3] == ["annual mean", "1 Jan", "2 Jan"]
    assert (steps["mon"][0], steps["mon"][-1], len(steps["mon"])) == ("January", "December", 12)
    assert steps["seas"] == ["DJF", "MAM", "JJA", "SON"]
    assert field_data(field("hot_days", "yr"))["steps"] == ["year"]


@pytest.mark.slow
def test_the_band_of_days_is_from_p10_to_p90(
    field: Find, stored: Callable[..., np.ndarray]
) -> None:
    band = field("tas", "day").bands["historical"]
    assert (band.name, band.target_year) == ("p10 to p90", LAST)
    for found, product in ((band.low, "tas_p10"), (band.high, "tas_p90")):
        expected = regional(stored(product, "day", LAST)) - KELVIN
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
def test_the_band_of_months_is_one_standard_deviation_either_way(
    field: Find, stored: Callable[..., np.ndarray]
) -> None:
    band = field("tas", "mon").bands["historical"]
    mean = regional(stored("tas", "mon", LAST)) - KELVIN
    std = regional(stored("tas_std", "mon", LAST))
    assert band.name == "mean ± std"
    np.testing.assert_allclose(band.low, mean - std, atol=1e-4)
    np.testing.assert_allclose(band.high, mean + std, atol=1e-4)
    assert not field("tas_std", "mon").bands
    assert not field("hot_days", "yr").bands


@pytest.mark.slow
def test_29_february_is_not_in_the_line_of_the_annual_cycle_and_the_page_says_so(
    field: Find, stored: Callable[..., np.ndarray]
) -> None:
    own = field("tas", "day")
    content = field_data(own)
    assert content["cycle"]["x"] == [*range(1, 60), *range(61, 367)]
    assert "29 Feb" not in content["cycle"]["names"]
    assert "29 Feb" in content["steps"], "its map is there"
    expected = np.delete(regional(stored("tas", "day", LAST)) - KELVIN, 59)
    (*_, last) = content["cycles"]["historical"]
    np.testing.assert_allclose(last["values"], expected, atol=1e-4)
    assert len(content["bands"]["historical"]["low"]) == 365
    assert "the line of the annual cycle leaves it out" in content["about"]
    assert "leaves it out" not in field_data(field("tas", "mon"))["about"]


@pytest.mark.slow
@pytest.mark.parametrize("calendar", ["noleap", "all_leap", "360_day"])
def test_where_each_year_has_the_same_days_the_line_has_all_of_them(
    calendar: str, tmp_path: Path
) -> None:
    archive = write_archive(
        tmp_path / "in", first=2001, last=2005, last_historical_year=2005, calendar=calendar
    )
    made(archive, tmp_path / "out", variables=["tas"], normals=["mean"], last_historical_year=2005)
    (own,) = collect(tmp_path / "out").fields
    assert field_data(own)["cycle"]["x"] == list(range(1, len(own.days) + 1))


@pytest.mark.slow
def test_both_formats_show_the_same(reports: dict[str, ReportData]) -> None:
    for files, stores in zip(*(reports[kind].fields for kind in FORMATS), strict=True):
        assert (files.product, files.own_steps, files.leap_day) == (
            stores.product, stores.own_steps, stores.leap_day,
        )  # fmt: skip
        np.testing.assert_array_equal(files.maps.packed, stores.maps.packed)
        np.testing.assert_array_equal(files.means, stores.means)


# ---------------------------------------------------------------- what is odd


@pytest.fixture
def copy(results: dict[str, RunResult], tmp_path: Path) -> Path:
    shutil.copytree(results["netcdf"].folder.root, tmp_path / "out")
    return tmp_path / "out"


def edit(path: Path, change: Callable[[xr.Dataset], xr.Dataset]) -> None:
    with xr.open_dataset(path, decode_cf=False) as file:
        changed = change(file.load())
    path.unlink()
    changed.to_netcdf(path)


@pytest.mark.slow
def test_a_product_that_one_file_lacks_is_named_and_the_others_shown(copy: Path) -> None:
    (path,) = copy.rglob("tas_day_*_2006_5yr_normal.nc")
    edit(path, lambda file: file.rename(tas_std="tas_other"))
    data = collect(copy)
    found = {f.product: f for f in data.fields if f.set.frequency == "day"}
    assert [t for _, t in found["tas_std"].normals] == [2005, 2007, 2008]
    assert [t for _, t in found["tas"].normals] == [2005, 2006, 2007, 2008]
    ((name, why),) = found["tas_std"].unreadable
    assert name == "historical 2006"
    assert why == "holds no tas_std; it holds tas, tas_other, tas_p10, tas_p90"


@pytest.mark.slow
def test_a_damaged_file_is_named_once_for_all_its_products(copy: Path) -> None:
    (path,) = copy.rglob("tas_day_*_2008_5yr_normal.nc")
    path.write_bytes(path.read_bytes()[:2000])
    told = [what for what, _ in facts_of(collect(copy))["lacking"]]
    assert told == ["not readable: ACCESS-CM2/r1i1p1f1/gn/tas/WRAP historical 2008"]


@pytest.mark.slow
def test_normals_of_a_frequency_that_are_not_there_are_named(copy: Path) -> None:
    for path in copy.rglob("tas_yr_*.nc"):
        path.unlink()
    assert collect(copy).absent == {
        "ACCESS-CM2/r1i1p1f1/gn/tas/WRAP/yr": "historical 2005-2008"
    }  # fmt: skip


@pytest.mark.slow
def test_a_further_variable_of_the_files_is_a_product_by_itself(copy: Path) -> None:
    def add(file: xr.Dataset) -> xr.Dataset:
        about = {"units": "K", "units_metadata": "temperature: difference", "_FillValue": 1e20}
        values = file["tas_std"].where(file["tas_std"] < 1e19, 1e20 + 3) - 3
        return file.assign(tas_change=values.astype("f4").assign_attrs(about))

    for path in copy.rglob("tas_mon_*.nc"):
        edit(path, add)
    data = collect(copy)
    (change,) = [f for f in data.fields if f.product == "tas_change"]
    (std,) = [f for f in data.fields if (f.product, f.set.frequency) == ("tas_std", "mon")]
    np.testing.assert_allclose(change.means, std.means - 3, atol=1e-5)
    assert change.limits[0][0] == -change.limits[0][1] < 0
    assert field_data(change)["palette"] == field_data(change)["change_palette"]


EVIL = "hot<img src=x onerror=alert(1)>$$x$$"


@pytest.mark.slow
def test_names_that_look_like_html_or_formulas_are_escaped(copy: Path) -> None:
    hostile_page(copy)


def hostile_page(copy: Path) -> str:
    """Return a page of normals with names, units and texts that look like HTML."""

    def rename(file: xr.Dataset) -> xr.Dataset:
        file["hot_days"].attrs |= {"long_name": EVIL, "units": EVIL}
        return file.rename(hot_days=EVIL)

    for path in copy.rglob("tas_yr_*.nc"):
        edit(path, rename)
    data = collect(copy)
    content = field_data(next(f for f in data.fields if f.product == EVIL))
    for key in ("name", "product", "label", "change_label"):
        assert "$$" not in content[key]
    html = to_html(replace(data, left_out={EVIL: EVIL}))
    assert "hot<img" not in html
    return html


@pytest.mark.slow
def test_no_more_products_are_shown_than_a_page_can_hold(
    results: dict[str, RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("climdask.reporting.data.MOST_FIELDS", 2)
    data = collect(results["netcdf"].folder.root)
    assert [(f.product, f.set.frequency) for f in data.fields] == [("pr", "day"), ("tas", "day")]
    assert len(data.left_out) == 14
    assert data.left_out["ACCESS-CM2/r1i1p1f1/gn/tas/WRAP/yr, hot_days"] == (
        "a report shows 2 at most"
    )


@pytest.mark.slow
def test_a_small_page_says_of_which_products_it_shows_months(
    results: dict[str, RunResult],
) -> None:
    root = results["netcdf"].folder.root
    said = facts_of(collect(root, map_bytes=250_000))["coarsened"]
    assert "months instead of days of pr_std, pr_p10, pr_p90, tas_std, tas_p10, tas_p90" in said


# ---------------------------------------------------------------- in a browser

STATE = """(() => {
  const all = [...Bokeh.documents[0].all_models];
  const named = (name) => all.find(m => m.name == name);
  const image = named("normal").renderers[0].data_source.data.image[0];
  const legends = named("cycle").center.filter(m => m.type == "Legend" && m.visible);
  return {image: Array.from(image), title: named("normal").title.text,
          bar: named("normal").right[0].title, cycle: named("cycle").visible,
          mean: Array.from(named("mean").renderers[0].data_source.data.y),
          legends: legends.map(l => l.items.map(i => i.label.value)),
          band: Array.from(named("cycle").renderers[0].data_source.data.low ?? []),
          step: all.filter(m => m.type == "Slider")[1].end,
          products: all.find(m => m.title == "Product").options};
})()"""


def choose(page: Page, title: str, value: str) -> None:
    """Choose an option of a list as a reader does: in the list itself."""
    script = """(() => {
      const titled = deep("label, .bk-input-group").find(e => e.innerText.startsWith(TITLE));
      const select = (titled.closest(".bk-input-group") ?? titled).querySelector("select");
      select.value = VALUE; select.dispatchEvent(new Event("change"));
    })()"""
    page.evaluate(script.replace("TITLE", json.dumps(title)).replace("VALUE", json.dumps(value)))


@pytest.fixture(scope="module")
def page(results: dict[str, RunResult], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("chromium")
    file = climdask.report(results["netcdf"].folder.root, folder / "report.html")
    with browser(folder / "profile") as opened:
        opened.open(file.as_uri())
        wait_until_drawn(opened)
        yield opened


def wait_until_drawn(page: Page) -> None:
    page.wait_for("typeof Bokeh != 'undefined' && Bokeh.documents.length == 1")
    page.wait_for("deep('select').some(e => e.value == 'WRAP')")


def same_numbers(shown: list[float | None], values: np.ndarray) -> bool:
    """Whether a map shows the values of cells, of which each may be several pixels."""
    pixels = np.array([v for v in shown if v is not None])
    cells = values[np.isfinite(values)]
    apart = np.abs(pixels[:, None] - cells[None, :])
    return bool(apart.min(axis=0).max() < 0.01 and apart.min(axis=1).max() < 0.01)


def shot(page: Page, folder: Path) -> bytes:
    """Return a picture of the page once it stays the same."""
    settled, last = b"", b"-"
    while settled != last:
        time.sleep(0.3)
        page.save(folder / "shot.png")
        last, settled = settled, (folder / "shot.png").read_bytes()
    return settled


@pytest.mark.browser
@pytest.mark.slow
def test_the_choice_of_a_product_changes_the_picture(
    page: Page, results: dict[str, RunResult], tmp_path: Path
) -> None:
    choose(page, "Variable", "tas")
    page.evaluate("document.querySelector('.controls').scrollIntoView()")
    before, first = page.evaluate(STATE), shot(page, tmp_path)
    assert before["products"] == [
        "day: mean", "day: std", "day: p10", "day: p90", "month: mean", "month: std",
        "season: mean", "year: hot_days",
    ]  # fmt: skip
    assert before["legends"] == [["2001-2005", "2002-2006", "2004-2008"], ["p10 to p90, 2004-2008"]]
    choose(page, "Product", "year: hot_days")
    after, second = page.evaluate(STATE), shot(page, tmp_path)
    assert first != second
    assert (before["bar"], after["bar"]) == ("tas (°C)", "hot_days (days)")
    assert after["title"] == "hot_days, WRAP: year, 2001-2005"
    assert (before["cycle"], after["cycle"]) == (True, False)
    with results["netcdf"].open("tas", "WRAP", each="year") as dataset:
        values = dataset["hot_days"].sel(target_year=2005).values[0]
        series = regional(dataset["hot_days"].values[:, 0])
    assert same_numbers(after["image"], values)
    np.testing.assert_allclose(after["mean"], series, rtol=1e-5)
    assert page.errors == []


@pytest.mark.browser
@pytest.mark.slow
def test_the_axis_of_a_cycle_fits_what_is_drawn_and_not_what_was(page: Page) -> None:
    choose(page, "Variable", "tas")
    choose(page, "Product", "day: mean")
    page.wait_for(f"({STATE}).band.length == 365", 20)
    choose(page, "Product", "month: std")
    page.wait_for(f"({STATE}).band.length == 0 && {FITS}", 20)


FITS = """(() => {
  const {y_range, renderers} = [...Bokeh.documents[0].all_models].find(m => m.name == "cycle");
  const shown = renderers.filter(r => r.visible && r.data_source.data.y);
  const highest = Math.max(...shown.flatMap(r => [...r.data_source.data.y]));
  return y_range.end < 1.2 * highest;
})()"""


@pytest.mark.browser
@pytest.mark.slow
def test_the_choice_of_a_month_shows_that_month(page: Page, results: dict[str, RunResult]) -> None:
    choose(page, "Variable", "tas")
    choose(page, "Product", "month: mean")
    sliders = "[...Bokeh.documents[0].all_models].filter(m => m.type == 'Slider')"
    page.evaluate(f"{sliders}[1].value = 6")
    state = page.evaluate(STATE)
    assert state["title"] == "tas, WRAP: July, 2001-2005"
    assert state["step"] == 11
    assert state["legends"][1] == ["mean ± std, 2004-2008"]
    assert len(state["band"]) == 12
    with results["netcdf"].open("tas", "WRAP", each="month") as dataset:
        july = dataset["tas"].sel(target_year=2005).values[6] - KELVIN
    assert same_numbers(state["image"], july)
    choose(page, "Variable", "pr")
    assert page.evaluate(STATE)["title"] == "pr, WRAP: July, 2001-2005", "the choice stays"
    assert page.errors == []


@pytest.mark.browser
@pytest.mark.slow
def test_names_that_look_like_html_make_no_elements(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(hostile_page(copy), encoding="utf-8")
    with browser(tmp_path / "profile") as page:
        page.open((tmp_path / "report.html").as_uri())
        wait_until_drawn(page)
        choose(page, "Variable", "tas")
        choose(page, "Product", "year: hot<img src=x onerror=alert(1)>$ $x$ $")
        page.wait_for(f"({STATE}).title.startsWith('hot<img')")
        assert page.evaluate("deep('img[src=x]').length") == 0
        assert page.evaluate("performance.getEntriesByType('resource').length") == 0
        assert page.errors == []


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_fits_into_a_narrow_window(page: Page) -> None:
    size = {"width": 600, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.call("Emulation.setDeviceMetricsOverride", **size)
    page.wait_for("document.documentElement.scrollWidth <= 600")
    right = "deep('canvas, select, .bk-Slider').map(e => e.getBoundingClientRect().right)"
    page.wait_for(f"Math.max(...{right}) <= 600")

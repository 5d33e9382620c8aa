"""Areas from a workflow to the normals: means of cells, and all that is made of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from climdask.climatology.areas import Areas
from climdask.climatology.grids import RectilinearGrid
from climdask.errors import ConfigError, PlanError, RegionError, UnreadableFile
from climdask.execution.records import take_stock
from climdask.outputs.catalogue import describe
from climdask.outputs.folder import OutputFolder
from climdask.planning.plan import Limits
from climdask.running.areas import PolygonAreas, load_weights, places_of, save_weights
from climdask.running.results import RunResult
from climdask.running.run import plan, run
from climdask.running.submission import frozen_workflow
from climdask.settings.workflow import load, schema
from tests.archives import REAL
from tests.samples import LAT, LON, WRAP, Archive, Style, write_archive
from tests.workflows import small

shapely = pytest.importorskip("shapely")
pytest.importorskip("pyogrio")
from climdask.climatology.areaweights import area_weights, rectangle_areas  # noqa: E402

GRID = RectilinearGrid(np.array(LAT), np.array(LON))
# Over the dateline; small, in the cell that is never valid; large; two in one cell; at a pole.
SHAPES = {
    "west": shapely.MultiPolygon(
        [shapely.box(150, -30, 180, 20), shapely.box(-180, -30, -160, 20)]
    ),
    "land": shapely.box(140, -10, 150, 0),
    "large": shapely.Polygon([(-100, -40), (60, -50), (80, 40), (0, 60), (-120, 30)]),
    "one": shapely.box(60, 0, 70, 9),
    "two": shapely.box(70, 0, 80, 9),
    "pole": shapely.box(-180, 60, 180, 90),
}
NAMES = {"west": "Wéstern Seas", "land": "", "one": "One, the first"}


def write_shapes(path: Path, shapes: Mapping[str, Any] = SHAPES) -> Path:
    features = [
        {
            "type": "Feature",
            "properties": {"code": code, "title": NAMES.get(code, code.upper())},
            "geometry": shapely.geometry.mapping(shape),
        }
        for code, shape in shapes.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def region(path: Path, **changes: Any) -> dict[str, Any]:
    return {"areas": str(path), "id": "code", "name": "title", "region": "seas", **changes}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    root = tmp_path_factory.mktemp("archive")
    return write_archive(root, variables=["tas"], first=2007, last=2014, calendar="noleap")


@pytest.fixture(scope="module")
def polygons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes") / "all_seas.geojson")


def make(archive: Archive, out: Path, regions: list[Any], **changes: Any) -> RunResult:
    given: dict[str, Any] = {"scenarios": [], "targets": "2013-2014", "last_historical_year": 2014}
    flow = small(archive.root, out, regions=regions, **{**given, **changes})
    return run(flow, serial=True)


def daily_means(archive: Archive, year: int, least: float = 0.5) -> npt.NDArray[np.float32]:
    """Return [day, area], cell by cell."""
    cells = archive.values("tas", year).reshape(365, -1).astype(float)
    weights = area_weights(GRID, list(SHAPES.values()), list(SHAPES))
    found = np.full((365, len(SHAPES)), np.nan)
    for area in range(len(SHAPES)):
        own = slice(weights.starts[area], weights.starts[area + 1])
        values, weight = cells[:, weights.cells[own]], weights.weights[own]
        valid = ~np.isnan(values)
        covered = valid @ weight
        with np.errstate(invalid="ignore"):
            mean = np.where(valid, values, 0) @ weight / covered
        found[:, area] = np.where(covered >= least * weights.sizes[area] * (1 - 1e-9), mean, np.nan)
    return found.astype(np.float32)


def brute_force(archive: Archive, target: int, least: float = 0.5) -> npt.NDArray[np.float64]:
    years = np.stack([daily_means(archive, y, least) for y in range(target - 4, target + 1)])
    enough = (~np.isnan(years)).sum(axis=0) >= 5
    with np.errstate(invalid="ignore"):
        return np.where(enough, np.nansum(years.astype(float), axis=0) / 5, np.nan)


def cf_findings(path: Path) -> list[str]:
    """Return what the compliance checker says of a file, warnings included."""
    runner = pytest.importorskip("compliance_checker.runner")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own affair
        suite = runner.CheckSuite()
        suite.load_all_available_checkers()
        dataset = suite.load_dataset(str(path))
        try:
            ((groups, errors),) = suite.run_all(dataset, ["cf:1.11"], None, []).values()
        finally:
            dataset.close()
    assert not errors
    return [said for group in groups for said in _messages(group)]


def _messages(result: Any) -> list[str]:
    below = [said for child in result.children or () for said in _messages(child)]
    value = result.value
    passed = value[0] == value[1] if isinstance(value, tuple) else bool(value)
    return below if passed else [*(result.msgs or ()), *below]


# ---------------------------------------------------------------- numbers


@pytest.mark.slow
@pytest.mark.parametrize("form", ["netcdf", "zarr"])
@pytest.mark.parametrize("least", [0.5, 0.95, 0.0])
def test_normals_of_areas_are_those_of_their_daily_means(
    archive: Archive, polygons: Path, out: Path, form: str, least: float
) -> None:
    result = make(
        archive, out, [region(polygons, min_coverage=least)], min_years=5, output={"format": form}
    )
    assert result.ok
    made = result.open("tas", "seas")
    assert made["tas"].dims == ("target_year", "dayofyear", "area")
    for target in (2013, 2014):
        own = made["tas"].sel(target_year=target).values
        expected = brute_force(archive, target, least)
        np.testing.assert_allclose(own, expected, rtol=2e-7)
        assert np.isnan(own[:, 1]).all()  # the cell that is never valid
        assert np.isfinite(own[:, 2]).mean() > (0.9 if least < 0.9 else 0.1)


@pytest.mark.slow
def test_areas_beside_boxes_change_no_bit_of_either(
    archive: Archive, polygons: Path, tmp_path: Path
) -> None:
    normals: list[Any] = ["mean", "std", "p90", {"each": "month", "over_years": ["mean", "max"]}]
    seas = region(polygons)
    given = {"both": [WRAP, seas, "global"], "boxes": [WRAP, "global"], "areas": [seas]}
    both, boxes, areas = (
        make(archive, tmp_path / name, regions, normals=normals) for name, regions in given.items()
    )
    for name, alone in (("WRAP", boxes), ("global", boxes), ("seas", areas)):
        for each in ("day", "month"):
            xr.testing.assert_equal(
                both.open("tas", name, each=each).load(), alone.open("tas", name, each=each).load()
            )
    assert both.audit.opens == boxes.audit.opens


@pytest.mark.slow
def test_all_that_is_made_of_the_days_is_made_of_the_areas_own_days(
    archive: Archive, polygons: Path, out: Path
) -> None:
    normals: list[Any] = [
        "count", "max",
        {"each": "year", "within": "days above 285 K", "name": "warm", "missing_days": 0.5},
    ]  # fmt: skip
    result = make(archive, out, [region(polygons)], normals=normals, targets=[2014])
    years = np.stack([daily_means(archive, year) for year in range(2010, 2015)])
    made = result.open("tas", "seas").sel(target_year=2014)
    assert (made["tas_count"].values == (~np.isnan(years)).sum(axis=0)).all()
    most = np.fmax.reduce(years, axis=0)
    some = np.isfinite(made["tas_max"].values)
    assert some[:, [0, 2, 3, 4, 5]].mean() > 0.7
    np.testing.assert_allclose(made["tas_max"].values[some], most[some], rtol=1.2e-7)
    warm = result.open("tas", "seas", each="year").sel(target_year=2014)["warm"].values[0]
    assert warm[2] == pytest.approx((years[:, :, 2] > 285).sum(axis=1).mean(), rel=0.05)


@pytest.mark.slow
def test_the_order_and_number_of_areas_change_no_bit(
    archive: Archive, polygons: Path, tmp_path: Path
) -> None:
    whole = make(archive, tmp_path / "whole", [region(polygons)], targets=[2014])
    turned = write_shapes(tmp_path / "turned.geojson", dict(reversed(SHAPES.items())))
    part = region(turned, where="code IN ('large', 'one', 'pole')")
    made = make(archive, tmp_path / "part", [part], targets=[2014])
    a, b = (r.open("tas", "seas").load().swap_dims(area="area_id") for r in (whole, made))
    assert b["area_id"].values.tolist() == ["pole", "one", "large"]
    for code in b["area_id"].values:
        assert a["tas"].sel(area_id=code).values.tobytes() == (
            b["tas"].sel(area_id=code).values.tobytes()
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "style", [Style(format="NETCDF3_CLASSIC"), Style(deflate=True, chunks=(100, 2, 2))]
)
def test_the_way_of_reading_and_the_chunks_of_a_file_change_no_bit(
    archive: Archive, polygons: Path, tmp_path: Path, style: Style
) -> None:
    other = write_archive(
        tmp_path / "in", variables=["tas"], first=2007, last=2014, calendar="noleap", style=style
    )
    regions = [WRAP, region(polygons)]
    a, b = (
        make(own, tmp_path / name, regions, targets=[2014])
        for own, name in ((archive, "a"), (other, "b"))
    )
    for name in ("WRAP", "seas"):
        xr.testing.assert_equal(a.open("tas", name).load(), b.open("tas", name).load())


# ---------------------------------------------------------------- the outputs


@pytest.mark.slow
@pytest.mark.parametrize("form", ["netcdf", "zarr"])
def test_an_output_names_its_areas_and_says_where_they_are(
    archive: Archive, polygons: Path, out: Path, form: str
) -> None:
    result = make(
        archive, out, [region(polygons)], output={"format": form, "count": True}, targets=[2014]
    )
    path = result.outputs[0]
    opened = xr.open_zarr(path) if form == "zarr" else xr.open_dataset(path)
    with opened as made:
        assert made["area_id"].values.tolist() == list(SHAPES)
        assert made["area_name"].values.tolist() == [
            "Wéstern Seas", "land", "LARGE", "One, the first", "TWO", "POLE",
        ]  # fmt: skip
        assert made["lon"].values[:2] == pytest.approx([175, 145], abs=0.1)
        assert made["lat"].values[3] == pytest.approx(4.5, abs=0.01)
        assert {"area_id", "area_name", "lat", "lon"} <= set(made["tas"].coords)
        assert made["tas"].attrs["cell_methods"].startswith("area: mean time: mean within")
        assert made["count"].dims[-1] == "area"
        assert made["count"].values.max() == 5
        assert made.attrs["region"] == "seas (6 areas of all_seas.geojson)"


@pytest.mark.slow
def test_an_output_is_cf(archive: Archive, polygons: Path, out: Path) -> None:
    normals = ["mean", "p90", {"each": "month"}]
    result = make(
        archive, out, [region(polygons)], targets=[2014], normals=normals, output={"count": True}
    )
    for path in result.outputs:
        for said in cf_findings(path):
            # CF recommends other dimensions before time, and tools read (time, cell). And CF has
            # "area: mean" first in cell_methods, which the checker's pattern does not know.
            assert "not in the recommended order" in said or 'The "time: method within' in said


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cdo") is None, reason="needs CDO")
def test_cdo_reads_an_output(archive: Archive, polygons: Path, out: Path) -> None:
    result = make(archive, out, [region(polygons)], targets=[2014])
    july = ["cdo", "-s", "outputf,%14.7g,6", "-timmean", "-selmon,7", "-selname,tas"]
    said = subprocess.run(
        [*july, str(result.outputs[0])], check=True, capture_output=True, text=True
    )
    made = result.open("tas", "seas")["tas"].sel(target_year=2014)
    months = made["time"].dt.month.values
    expected = np.nanmean(made.values[months == 7, 2:].astype(float), axis=0)
    found = np.array(said.stdout.split(), dtype=float)
    np.testing.assert_allclose(found[2:], expected, rtol=1e-5)


@pytest.mark.slow
def test_a_picture_of_areas_is_refused_and_a_report_leaves_them_out(
    archive: Archive, polygons: Path, out: Path
) -> None:
    from climdask.api import report

    result = make(archive, out, [region(polygons), WRAP], targets=[2014])
    seas = next(path for path in result.outputs if "seas" in path.name)
    with pytest.raises(UnreadableFile, match="holds areas, and only cells of a grid are drawn"):
        describe(seas)
    page = report(out).read_text(encoding="utf-8")
    assert "it holds areas, and only cells of a grid are drawn" in page


# ---------------------------------------------------------------- again


@pytest.mark.slow
@pytest.mark.parametrize("form", ["netcdf", "zarr"])
def test_a_rerun_makes_only_what_is_missing_and_what_has_other_polygons(
    archive: Archive, tmp_path: Path, out: Path, form: str
) -> None:
    path = write_shapes(tmp_path / "seas.geojson")
    changes: dict[str, Any] = {"output": {"format": form}}
    made = make(archive, out, [region(path), WRAP], **changes)
    assert made.plan.n_normals == 4
    assert make(archive, out, [region(path), WRAP], **changes).plan.n_normals == 0
    more = make(archive, out, [region(path), WRAP], **changes, targets="2012-2014")
    assert more.plan.n_normals == 2
    assert more.audit.opens < made.audit.opens
    write_shapes(path, {**SHAPES, "one": shapely.box(60, 0, 70, 8)})
    flow = small(
        archive.root, out, regions=[region(path), WRAP], scenarios=[], targets="2013-2014",
        last_historical_year=2014, **changes,
    )  # fmt: skip
    stock = take_stock(plan(flow), OutputFolder(out))
    assert len(stock.stale) == 2
    assert all("seas" in key for key in stock.stale)
    again = run(flow, serial=True)
    assert again.plan.n_normals == 2
    fresh = make(archive, tmp_path / "fresh", [region(path), WRAP], **changes)
    xr.testing.assert_equal(again.open("tas", "seas").load(), fresh.open("tas", "seas").load())


@pytest.mark.slow
def test_dask_and_one_process_give_the_same_bits(
    archive: Archive, polygons: Path, tmp_path: Path
) -> None:
    from distributed import LocalCluster

    regions = [region(polygons), WRAP]
    alone = make(archive, tmp_path / "alone", regions)
    flow = small(
        archive.root, tmp_path / "dask", regions=regions, scenarios=[], targets="2013-2014",
        last_historical_year=2014,
    )  # fmt: skip
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster, cluster.get_client() as client:  # fmt: skip
        made = run(flow, client=client)
    assert made.ok
    xr.testing.assert_equal(alone.open("tas", "seas").load(), made.open("tas", "seas").load())


# ---------------------------------------------------------------- the plan


def test_a_plan_tells_of_areas_and_which_can_never_have_a_value(
    archive: Archive, tmp_path: Path, out: Path
) -> None:
    lost = {**SHAPES, "gap": shapely.Polygon()}
    path = write_shapes(tmp_path / "seas.geojson", lost)
    flow = small(archive.root, out, regions=[region(path)], scenarios=[], last_historical_year=2014)
    made = plan(flow)
    (chosen,) = made.all_chains[0].spec.selection.regions
    assert isinstance(chosen.place, Areas)
    assert made.all_chains[0].spec.cell_days == 365 * 7
    assert (
        made.all_chains[0].spec.read_cell_days == 365 * made.all_chains[0].spec.selection.cells.size
    )
    text = str(made)
    assert "region   seas (7 areas of seas.geojson): missing where less than 0.5" in text
    assert "region seas: 1 of 7 areas has less than the share 0.5 (min_coverage) in cells" in text
    assert "GAP (gap)" in text


def test_cells_of_boxes_and_areas_are_read_together(
    archive: Archive, polygons: Path, out: Path
) -> None:
    flow = small(
        archive.root, out, regions=[WRAP, region(polygons)], scenarios=[], last_historical_year=2014
    )
    selection = plan(flow).all_chains[0].spec.selection
    box, areas = selection.regions
    assert sorted(box.index.ravel().tolist()) == list(range(box.index.size))
    assert areas.index.tolist() == [box.index.size + n for n in range(len(SHAPES))]
    assert sorted({*np.concatenate(selection.groups)}) == list(range(selection.cells.size))
    (alone,) = plan(flow.model_copy(update={"regions": flow.regions[:1]})).all_chains
    of_box = selection.cells[selection.groups[0]]
    assert sorted(of_box) == sorted(alone.spec.selection.cells)
    assert (of_box == alone.spec.selection.cells[alone.spec.selection.groups[0]]).all()


def test_cells_that_are_read_count_as_memory_and_bound_the_years_of_a_read(
    archive: Archive, tmp_path: Path, out: Path
) -> None:
    path = write_shapes(tmp_path / "seas.geojson", {"globe": shapely.box(-180, -90, 180, 90)})
    flow = small(archive.root, out, regions=[region(path)], scenarios=[], last_historical_year=2014)
    limits = Limits(memory_per_worker=10 * 365 * 20 * 4 * 3, threads=2)
    (chain,) = plan(flow, limits=limits).all_chains
    assert chain.spec.cell_days == 365
    assert chain.slice_years == 3
    unread = replace(chain.spec.selection, cells=np.arange(1))
    alone = replace(chain, spec=replace(chain.spec, selection=unread))
    assert chain.memory.n_bytes == alone.memory.n_bytes + 2 * 365 * 20 * 4


def test_other_weights_of_the_same_cells_make_another_selection(
    archive: Archive, polygons: Path, out: Path
) -> None:
    flow = small(
        archive.root, out, regions=[region(polygons)], scenarios=[], last_historical_year=2014
    )
    chosen = plan(flow).all_chains[0].spec.selection
    assert chosen.means is not None
    own = chosen.means.weights
    heavier = replace(chosen.means, weights=replace(own, weights=own.weights * 1.5))
    needier = replace(chosen.means, least=chosen.means.least + 0.1)
    changed = [replace(chosen, means=means) for means in (heavier, needier)]
    assert len({s.digest for s in (chosen, replace(chosen), *changed)}) == 3


def test_areas_far_from_the_grid_are_refused(archive: Archive, tmp_path: Path, out: Path) -> None:
    path = write_shapes(tmp_path / "seas.geojson", {"far": shapely.Polygon()})
    flow = small(archive.root, out, regions=[region(path)], scenarios=[], last_historical_year=2014)
    with pytest.raises(RegionError, match="none of its areas lies in the grid"):
        plan(flow)


def test_names_that_areas_need_are_refused_with_areas_only(
    archive: Archive, polygons: Path, out: Path
) -> None:
    normals = [{"over_years": "mean", "name": "area_id"}]
    for regions in ([WRAP], [WRAP, region(polygons)]):
        flow = small(
            archive.root, out, regions=regions, scenarios=[], last_historical_year=2014,
            normals=normals,
        )  # fmt: skip
        if regions == [WRAP]:
            assert not plan(flow).failures
        else:
            with pytest.raises(PlanError, match='"area_id" is what normals of areas have'):
                plan(flow)


def test_what_is_wrong_with_polygons_is_told_with_key_and_file(
    archive: Archive, tmp_path: Path, out: Path
) -> None:
    flow = small(archive.root, out, regions=[region(tmp_path / "no.geojson")], scenarios=[])
    with pytest.raises(RegionError, match=r"^regions: areas: .*no.geojson: no such file"):
        plan(flow)
    path = write_shapes(tmp_path / "a.geojson", {"wide": shapely.box(-200, 0, 200, 1)})
    flow = small(archive.root, out, regions=[region(path)], scenarios=[], last_historical_year=2014)
    with pytest.raises(RegionError, match=r"region seas .*: area WIDE \(wide\): is 400 degrees"):
        plan(flow)


# ---------------------------------------------------------------- keys


BASE: dict[str, Any] = {"input": {"root": "/in"}, "variables": ["tas"]}


def test_the_region_has_the_name_of_the_file_unless_another_is_given() -> None:
    one = {"areas": "shapes/us_counties_10m.geojson", "id": "GEOID"}
    flow = load({**BASE, "regions": [one, "AK"]})
    names = [asked.region_name for asked in flow.places_asked[:1]]
    assert names == ["us-counties-10m"]
    assert [box.name for box in flow.boxes] == ["AK"]
    named = load({**BASE, "regions": [{**one, "region": "counties"}]})
    assert named.places_asked[0].region_name == "counties"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": None}, r"regions\[0\].id"),
        ({"min_coverage": 2}, r"regions\[0\].min_coverage: 2.*less than or equal to 1"),
        ({"region": "a_b"}, r"regions\[0\].region"),
        ({"areas": "___.shp"}, "makes no name of a region; add region"),
        ({"wher": "x"}, r'unknown key "wher"; did you mean "where".*areas, id, name, where'),
    ],
)
def test_a_wrong_key_of_areas_is_told(changes: dict[str, Any], says: str) -> None:
    entry = {"areas": "a.shp", "id": "GEOID", **changes}
    with pytest.raises(ConfigError, match=says):
        load({**BASE, "regions": [entry]})


@pytest.mark.parametrize(
    "regions",
    [
        {"areas": "a.shp", "id": "GEOID"},
        ["AK", {"areas": "a.shp", "id": "GEOID", "where": "X > 1", "min_coverage": 0.2}, WRAP],
    ],
)
def test_the_schema_for_editors_takes_areas(regions: object) -> None:
    jsonschema.validate({**BASE, "regions": regions}, json.loads(schema()))
    load({**BASE, "regions": regions})


def test_the_schema_for_editors_refuses_unknown_keys_of_areas() -> None:
    wrong = {**BASE, "regions": [{"areas": "a.shp", "id": "GEOID", "colour": "red"}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, json.loads(schema()))


def test_a_submitted_workflow_finds_its_polygons_from_any_folder() -> None:
    flow = load({**BASE, "regions": ["AK", {"areas": "shapes/a.shp", "id": "GEOID"}]})
    frozen = frozen_workflow(flow)
    assert frozen["regions"][0] == "AK"
    assert frozen["regions"][1] == {"areas": str(Path("shapes/a.shp").absolute()), "id": "GEOID"}


def test_two_regions_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="AK is named more than once"):
        load({**BASE, "regions": ["AK", {"areas": "AK.gpkg", "id": "x"}]})


# ---------------------------------------------------------------- the cache


def test_weights_are_kept_and_found_again(archive: Archive, polygons: Path, tmp_path: Path) -> None:
    flow = small(archive.root, tmp_path / "out", regions=[region(polygons)])
    (place,) = places_of(flow, cache=tmp_path / "cache")
    made = place.on(GRID).weights
    (kept,) = (tmp_path / "cache").iterdir()
    found = load_weights(kept, len(SHAPES))
    assert found is not None
    assert found.digest == made.digest
    assert found.lat.tolist() == made.lat.tolist()
    kept.write_bytes(kept.read_bytes()[:-40])  # damaged: made again
    assert place.on(GRID).weights.digest == made.digest
    assert load_weights(kept, len(SHAPES)) is not None
    assert load_weights(kept, len(SHAPES) + 1) is None
    other = RectilinearGrid(GRID.lat + 0.5, GRID.lon)
    assert place.on(other).weights.digest != made.digest
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_weights_that_cannot_be_kept_are_made_each_time(
    archive: Archive, polygons: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file in the place of the folder")
    flow = small(archive.root, tmp_path / "out", regions=[region(polygons)])
    (place,) = places_of(flow, cache=tmp_path / "cache")
    assert place.on(GRID).weights.digest == place.on(GRID).weights.digest


def test_a_file_with_other_arrays_holds_no_weights(tmp_path: Path) -> None:
    weights = area_weights(GRID, list(SHAPES.values()), list(SHAPES))
    path = tmp_path / "w.npz"
    save_weights(path, weights)
    content = dict(np.load(path))
    late = np.maximum(content["starts"], 1)
    backwards = content["starts"][::-1]
    for name, wrong in (("starts", backwards), ("starts", late), ("cells", content["weights"])):
        np.savez(path, **{**content, name: wrong})
        assert load_weights(path, len(SHAPES)) is None


# ---------------------------------------------------------------- real polygons

COUNTIES = REAL.parent / "shapes/us_counties_10m.geojson"
# 0.25 degrees, from 20 to 75 N and round the globe.
QUARTER = RectilinearGrid(20.125 + 0.25 * np.arange(220), 0.125 + 0.25 * np.arange(1440))


def counties(where: str) -> PolygonAreas:
    if not COUNTIES.is_file():
        pytest.skip(f"{COUNTIES} is not there")
    entry = {"areas": str(COUNTIES), "id": "GEOID", "name": "NAME", "where": where}
    (place,) = places_of(load({**BASE, "regions": [entry]}))
    assert isinstance(place, PolygonAreas)
    return place


@pytest.mark.slow
def test_counties_share_their_cells_without_overlap() -> None:
    place = counties("GEOID < '57'")
    weights = place.weights(QUARTER)
    assert len(place.areas.ids) > 3100
    common = np.bincount(weights.cells, weights.weights)
    lat = QUARTER.lat[np.unique(weights.cells) // QUARTER.lon.size]
    own = rectangle_areas(lat - 0.125, lat + 0.125, np.full(lat.size, 0.25))
    # The file is thinned out county by county of one topology, and 40 rings of it were mended.
    share = common[np.unique(weights.cells)] / own
    assert np.quantile(share, 0.99) <= 1.0 + 1e-9
    assert (share <= 1.02).all()
    # The Census Bureau has 9.15 million km2 of land in 50 states; lakes and coasts are in counties.
    assert weights.sizes.sum() == pytest.approx(9.3e6, rel=0.02)


@pytest.mark.slow
def test_exactextract_gives_counties_the_same_means() -> None:
    exactextract = pytest.importorskip("exactextract")
    place = counties("GEOID LIKE '06%'")
    weights = place.weights(QUARTER)
    random = np.random.default_rng(5)
    field = 300 - 0.7 * QUARTER.lat[:, None] + random.normal(0, 3, (220, 1440))
    values = field.astype(np.float32).astype(float)
    flipped = np.roll(values[::-1], 720, axis=1)  # north first, from 180 W
    raster = exactextract.raster.NumPyRasterSource(flipped, -180, 20, 180, 75)
    features = [
        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)}
        for shape in place.shapes.geometries
    ]
    operation = ["mean(coverage_weight=area_spherical_m2)"]
    found = exactextract.exact_extract(raster, features, operation)
    theirs = np.array([next(iter(one["properties"].values())) for one in found])
    owner = np.repeat(np.arange(len(theirs)), weights.n_cells)
    mine = np.bincount(owner, weights.weights * values.ravel()[weights.cells]) / np.bincount(
        owner, weights.weights
    )
    # Theirs weighs the flat share of a cell by its area, which is off by up to 4e-4 of a share.
    np.testing.assert_allclose(mine, theirs, atol=5e-3)
    assert np.abs(mine - theirs).mean() < 5e-4

"""Polygons from files: what is read, what is mended, what is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from climdask.errors import RegionError
from climdask.inputs.shapes import ShapeQuery, Shapes, read_shapes
from climdask.plaintext import few

pyogrio = pytest.importorskip("pyogrio")
pyproj = pytest.importorskip("pyproj")
shapely = pytest.importorskip("shapely")

ONE, TWO = shapely.box(10, 50, 12, 51), shapely.box(12, 50, 13, 51)
ROWS: list[dict[str, Any]] = [
    {"code": "06001", "title": "One", "state": 6, "shape": ONE},
    {"code": "07002", "title": "Zwei ü", "state": 7, "shape": TWO},
    {"code": "06003", "title": "Three", "state": 6, "shape": shapely.box(5, 45, 6, 46)},
]


def geojson(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    features = [
        {
            "type": "Feature",
            "properties": {k: v for k, v in row.items() if k != "shape"},
            "geometry": row["shape"] and shapely.geometry.mapping(row["shape"]),
        }
        for row in rows
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def written(path: Path, crs: str | None = "EPSG:4326", layer: str | None = None) -> Path:
    moved = [row["shape"] for row in ROWS]
    if crs not in (None, "EPSG:4326"):
        way = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
        moved = [shapely.transform(s, lambda xy: np.stack(way.transform(*xy.T), 1)) for s in moved]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without crs it warns
        pyogrio.raw.write(
        path, shapely.to_wkb(np.array(moved, dtype=object)), layer=layer,
        field_data=[np.array([r[c] for r in ROWS], dtype=object) for c in ("code", "title")],
        fields=["code", "title"], crs=crs, geometry_type="Polygon", append=path.exists(),
    )  # fmt: skip
    return path


def read(path: Path, **changes: Any) -> Shapes:
    return read_shapes(ShapeQuery(path, **{"id": "code", "name": "title", **changes}))


def test_geojson_is_read_in_its_order(tmp_path: Path) -> None:
    made = read(geojson(tmp_path / "a.geojson"))
    assert made.ids == ("06001", "07002", "06003")
    assert made.names == ("One", "Zwei ü", "Three")
    assert [g.equals(r["shape"]) for g, r in zip(made.geometries, ROWS, strict=True)] == [True] * 3
    assert made.notes == ()


def test_without_a_column_of_names_the_id_is_the_name(tmp_path: Path) -> None:
    assert read(geojson(tmp_path / "a.geojson"), name="").names == ("06001", "07002", "06003")


def test_ids_may_be_numbers(tmp_path: Path) -> None:
    rows = [{**row, "code": n + 0.0} for n, row in enumerate(ROWS)]
    assert read(geojson(tmp_path / "a.json", rows)).ids == ("0", "1", "2")


@pytest.mark.parametrize("name", ["a.gpkg", "a.shp"])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4269", "EPSG:3035", "EPSG:3857"])
def test_other_formats_and_reference_systems_give_the_same_polygons(
    tmp_path: Path, name: str, crs: str
) -> None:
    made = read(written(tmp_path / name, crs))
    assert made.ids == ("06001", "07002", "06003")
    assert made.names[1] == "Zwei ü"
    for own, row in zip(made.geometries, ROWS, strict=True):
        assert own.symmetric_difference(row["shape"]).area < 0.02 * row["shape"].area
        corners = np.asarray(row["shape"].exterior.coords)
        away = shapely.distance(shapely.points(corners), own)
        assert away.max() < 1e-5
    assert made.notes == ()


def test_long_edges_of_a_projected_polygon_keep_their_course(tmp_path: Path) -> None:
    way = pyproj.Transformer.from_crs("EPSG:3035", "EPSG:4326", always_xy=True)
    made = read(written(tmp_path / "a.gpkg", "EPSG:3035"))
    # ONE is 140 km wide: half way along its projected edge the straight line in degrees is off.
    back = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3035", always_xy=True)
    x, y = (np.mean(v) for v in back.transform([10, 12], [51, 51]))
    middle = shapely.Point(*way.transform(x, y))
    assert middle.y > 51.004
    assert middle.distance(made.geometries[0]) < 1e-4


def test_a_file_without_a_reference_system_is_taken_as_degrees_and_that_is_told(
    tmp_path: Path,
) -> None:
    made = read(written(tmp_path / "a.gpkg", None))
    assert made.geometries[0].equals(ONE)
    assert "names no coordinate reference system" in made.notes[0]


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("state = 6", ("06001", "06003")),
        ("code LIKE '06%' AND title <> 'One'", ("06003",)),
        ("", ("06001", "07002", "06003")),
    ],
)
def test_where_is_a_condition_of_sql(tmp_path: Path, where: str, ids: tuple[str, ...]) -> None:
    assert read(geojson(tmp_path / "a.geojson"), where=where).ids == ids


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("code.startswith('06')", r"where: code.startswith\('06'\): .*it is code LIKE '06%'"),
        ("state == 6", "equal is = there"),
        ("province = 6", "province.*such as STATE = '06'"),
        ("__import__('os').system('touch x')", "no condition that can be used"),
        ("state = 99", "no area is left: where: state = 99: fits none"),
    ],
)
def test_a_condition_that_cannot_be_used_is_explained(
    tmp_path: Path, where: str, says: str
) -> None:
    with pytest.raises(RegionError, match=says):
        read(geojson(tmp_path / "a.geojson"), where=where)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": "cod"}, 'id: has no column "cod"; did you mean "code".*there are code, title'),
        ({"name": "NAME"}, 'name: has no column "NAME"'),
        ({"id": "state", "where": "state < 9"}, 'column "state" has 6 more than once'),
        ({"layer": "roads"}, 'layer: "roads" is none of a'),
    ],
)
def test_what_the_file_does_not_have_is_named(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(RegionError, match=says):
        read(geojson(tmp_path / "a.geojson"), **changes)


def test_an_empty_id_and_other_geometries_are_refused(tmp_path: Path) -> None:
    rows = [*ROWS[:1], {**ROWS[1], "code": None}]
    with pytest.raises(RegionError, match='"code" is empty in row 2'):
        read(geojson(tmp_path / "a.geojson", rows))
    rows = [*ROWS[:1], {**ROWS[1], "shape": shapely.Point(1, 2)}]
    with pytest.raises(RegionError, match="area 07002 is a Point; expected polygons"):
        read(geojson(tmp_path / "b.geojson", rows))


def test_of_several_layers_one_must_be_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.gpkg", layer="first")
    written(path, layer="second")
    with pytest.raises(RegionError, match="has layers first, second; say which"):
        read(path)
    assert read(path, layer="second").ids == ("06001", "07002", "06003")


def test_rings_that_cross_themselves_are_mended_and_told(tmp_path: Path) -> None:
    bow = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    collapsed = shapely.Polygon([(5, 5), (6, 6), (5, 5)])
    rows = [{**ROWS[0], "shape": bow}, {**ROWS[1], "shape": collapsed}, ROWS[2]]
    made = read(geojson(tmp_path / "a.geojson", rows))
    assert made.geometries[0].is_valid
    assert made.geometries[0].area == pytest.approx(2.0)
    assert made.geometries[1].is_empty
    assert "rings of One, Zwei ü cross themselves; mended" in made.notes[0]


def test_an_area_without_a_geometry_is_empty(tmp_path: Path) -> None:
    made = read(geojson(tmp_path / "a.geojson", [*ROWS[:1], {**ROWS[1], "shape": None}]))
    assert made.geometries[1].is_empty


@pytest.mark.parametrize("name", ["a.geojson", "a.gpkg", "a.shp"])
def test_a_file_that_is_none_is_refused_in_one_message(tmp_path: Path, name: str) -> None:
    with pytest.raises(RegionError, match=f"{name}: no such file"):
        read(tmp_path / name)
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(RegionError, match=f"{name}: cannot be read as polygons"):
        read(tmp_path / name)


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RegionError, match=r"a.vrt: expected a file of polygons that ends with"):
        read(tmp_path / "a.vrt")


def test_the_digest_is_of_polygons_ids_and_names(tmp_path: Path) -> None:
    first = read(geojson(tmp_path / "a.geojson")).digest
    assert read(geojson(tmp_path / "b.geojson")).digest == first
    moved = [{**ROWS[0], "shape": shapely.box(10, 50, 12, 51.001)}, *ROWS[1:]]
    renamed = [{**ROWS[0], "title": "First"}, *ROWS[1:]]
    found = {read(geojson(tmp_path / "c.geojson", rows)).digest for rows in (moved, renamed)}
    assert len({first, *found}) == 3


def test_without_the_extra_the_message_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = geojson(tmp_path / "a.geojson")
    monkeypatch.setitem(__import__("sys").modules, "pyogrio", None)
    with pytest.raises(RegionError, match=r"pip install 'climdask\[areas\]'"):
        read(path)


def test_a_message_names_few_areas() -> None:
    assert few(list("abcdefg")) == "a, b, c, d, e and 2 more"

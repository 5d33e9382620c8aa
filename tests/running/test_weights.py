"""``climdask weights``: a table, a picture and a page of the cells of areas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from climdask.cli import main
from climdask.errors import ConfigError, PlotError
from climdask.reporting import areamap
from climdask.reporting.areamap import AreaMap, draw_map
from climdask.running.weights import WeighedAreas, weigh
from tests.samples import Archive, write_archive

shapely = pytest.importorskip("shapely")
pytest.importorskip("pyogrio")

SHAPES = {
    "a": shapely.MultiPolygon([shapely.box(150, -30, 180, 20), shapely.box(-180, -30, -160, 20)]),
    "b<c>": shapely.box(60, 0, 80, 9),
    "none": shapely.Polygon(),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    root = tmp_path_factory.mktemp("archive")
    return write_archive(root, variables=["tas", "pr"], first=2010, last=2011, calendar="noleap")


@pytest.fixture
def workflow(archive: Archive, tmp_path: Path) -> Path:
    features = [
        {
            "type": "Feature",
            "properties": {"code": code, "title": code.upper()},
            "geometry": shapely.geometry.mapping(shape),
        }
        for code, shape in SHAPES.items()
    ]
    polygons = tmp_path / "seas.geojson"
    polygons.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    content: dict[str, Any] = {
        "input": {"root": str(archive.root)},
        "variables": ["tas", "pr"],
        "last_historical_year": 2014,
        "window": 2,
        "regions": [{"areas": str(polygons), "id": "code", "name": "title"}],
        "output": {"root": str(tmp_path / "out")},
    }
    path = tmp_path / "workflow.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_table_has_a_row_for_each_area(
    workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", str(workflow)]) == 0
    first, head, *rows, last = capsys.readouterr().out.splitlines()
    assert first.startswith("seas (3 areas of seas.geojson) on 4 x 5 cells: ACCESS-CM2")
    assert first.endswith("/pr, ACCESS-CM2/r1i1p1f1/gn/tas")  # both have this grid
    assert head.split() == ["id", "name", "cells", "km2", "covered"]
    assert [row.split()[:3] for row in rows] == [
        ["a", "A", "4"], ["b<c>", "B<C>", "1"], ["none", "NONE", "0"],
    ]  # fmt: skip
    assert [row.split()[-1] for row in rows] == ["1.0000", "1.0000", "0.0000"]
    assert last == "3 areas, 1 without a cell, 5 cells, 5 pairs"
    assert not (workflow.parent / "out").exists()


def test_a_workflow_without_areas_is_told(
    workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(workflow.read_text())
    with pytest.raises(ConfigError, match="regions: holds no areas; expected an entry"):
        weigh({**content, "regions": ["global"]})
    workflow.write_text(yaml.safe_dump({**content, "regions": [{"areas": "no.gpkg", "id": "x"}]}))
    assert main(["weights", str(workflow)]) == 2
    assert capsys.readouterr().err.startswith("climdask: error: regions: areas: ")


def map_of(weighed: WeighedAreas) -> AreaMap:
    return AreaMap.of(weighed.areas, weighed.geometries, weighed.grid, weighed.weights)


def test_a_map_has_cells_side_by_side_over_the_dateline(workflow: Path) -> None:
    (weighed,) = weigh(workflow)
    content = map_of(weighed)
    west, south, east, north = content.frame
    assert (west, east) == pytest.approx((37.75, 252.625))
    assert -90 <= south < north <= 90
    assert len(content.cells) == 5
    assert content.shares.max() <= 1.0
    common = np.bincount(np.unique(weighed.weights.cells, return_inverse=True)[1])
    assert common.tolist() == [1] * 5
    spans = [(line[:, 0].min(), line[:, 0].max()) for line in content.outlines]
    assert sorted(spans) == [(60, 80), (150, 180), (180, 200)]
    assert [content.rows[owner][0] for owner in content.owners] == ["a", "a", "b<c>"]


@pytest.mark.slow
def test_a_picture_and_a_page_are_drawn(
    workflow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, start in (("map.png", b"\x89PNG"), ("map.html", b"<!DOCTYPE html>")):
        assert main(["weights", str(workflow), "--plot", str(tmp_path / name)]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / name)
        assert (tmp_path / name).read_bytes().lstrip().startswith(start)
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert "B\\u003cC\\u003e" in page or "B&lt;C&gt;" in page
    assert "B<C>" not in page


def test_other_names_and_too_large_pages_are_refused(
    workflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (weighed,) = weigh(workflow)
    with pytest.raises(PlotError, match=r"map.pdf: expected a name that ends with .png or .html"):
        draw_map(map_of(weighed), tmp_path / "map.pdf")
    monkeypatch.setattr(areamap, "MOST_CELLS_OF_A_PAGE", 4)
    with pytest.raises(PlotError, match="5 cells are too many for a page, which has 4 at most"):
        draw_map(map_of(weighed), tmp_path / "map.html")

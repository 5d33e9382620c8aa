"""Pictures of one normal: what they show, and what is said where none can be made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import climdask
from climdask.cli import main
from climdask.errors import PlotError
from climdask.outputs.catalogue import opened
from climdask.reporting.choices import View, annual_mean, find_cell, find_day, find_normal
from climdask.reporting.display import look_of
from climdask.reporting.plot import _label, plot_normal
from climdask.running.results import RunResult
from tests.samples import WRAP, write_archive, write_year
from tests.workflows import small


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunResult]:
    archive = write_archive(
        tmp_path_factory.mktemp("in"), first=2001, last=2007, last_historical_year=2008
    )
    return {
        kind: climdask.run(
            small(archive.root, tmp_path_factory.mktemp(kind), scenarios=[], regions=[WRAP],
                  min_years=4, output={"format": kind}, leap_day="keep"), serial=True,
        )
        for kind in ("netcdf", "zarr")
    }  # fmt: skip


@pytest.fixture
def file(results: dict[str, RunResult]) -> Path:
    return results["netcdf"].outputs[-1]


@pytest.fixture
def store(results: dict[str, RunResult]) -> Path:
    return results["zarr"].outputs[0]


def colors(picture: Path) -> int:
    """Return how many colours a picture has; a white sheet has one."""
    with Image.open(picture) as image:
        assert min(image.size) > 300
        return len(image.convert("RGB").getcolors(1 << 20) or [])


@pytest.mark.parametrize(("kind", "view"), [
    ("netcdf", View()), ("netcdf", View(day="02-29")), ("netcdf", View(point=(31.0, 2.0))),
    ("zarr", View(day="1")), ("zarr", View(point=(31.0, -71.0))),
])  # fmt: skip
@pytest.mark.slow
def test_each_view_is_a_picture(
    view: View, kind: str, results: dict[str, RunResult], tmp_path: Path
) -> None:
    view = View(view.day, view.point, 2007 if kind == "zarr" else None)
    picture = plot_normal(results[kind].outputs[-1], tmp_path / "x.png", view)
    assert colors(picture) > 30
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.slow
def test_pictures_of_two_days_differ_and_of_one_day_do_not(file: Path, tmp_path: Path) -> None:
    def pixels(day: str) -> bytes:
        with Image.open(plot_normal(file, tmp_path / "x.png", View(day=day))) as image:
            return image.tobytes()

    assert pixels("07-01") == pixels("183")  # of a leap year
    assert pixels("07-01") != pixels("07-02")


def test_the_annual_mean_is_that_of_the_days(file: Path, store: Path) -> None:
    with xr.open_dataset(file, decode_times=False) as dataset:
        expected = dataset["tas"].astype("f8").mean("time").values
    for path in (file, store):
        normal, variable = find_normal(path, 2007)
        with opened(normal, variable) as found:
            np.testing.assert_allclose(annual_mean(found), expected, rtol=1e-12)


def test_a_place_is_in_the_cell_around_it_wherever_longitudes_begin(file: Path) -> None:
    normal, variable = find_normal(file, None)
    with opened(normal, variable) as found:
        lat, lon = found.axis("lat").tolist(), found.axis("lon").tolist()
        assert lon == [-71.0, 2.0, 73.5]
        assert find_cell(found, (31.0, 289.0)) == (lat.index(31.0), 0)
        assert find_cell(found, (31.0, -71.0)) == (lat.index(31.0), 0)
        assert find_cell(found, (60.0, 30.0)) == (lat.index(70.25), 1)
        with pytest.raises(PlotError, match="--point 31 200: is not in the region"):
            find_cell(found, (31.0, 200.0))


def test_days_are_found_by_month_and_day_or_number() -> None:
    days = [(1, 1), (1, 2), (2, 28), (3, 1)]
    assert [find_day(days, text) for text in ("01-02", "1-2", "2", "03-01")] == [1, 1, 1, 3]


@pytest.mark.parametrize("text", ["02-29", "0", "5", "13-01", "1.5", "x", "--1", "1-2-3"])
def test_a_day_that_the_normal_lacks_is_named_with_what_it_has(text: str) -> None:
    with pytest.raises(PlotError, match=rf"--day {text}: .*from 1 to 4"):
        find_day([(1, 1), (1, 2), (2, 28), (3, 1)], text)


@pytest.mark.slow
def test_the_command_names_the_picture_after_the_normal(
    file: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plot", str(file), "--point", "-9.5", "2"]) == 0
    assert main(["plot", str(store), "--target-year", "2006"]) == 0
    assert capsys.readouterr().out.split() == [f"{file.stem}.png", f"{store.stem}_2006.png"]
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".png", ".png"]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "said"), [
    (["nowhere.nc"], "no such file"),
    (["input.nc"], "is no normal that can be read"),
    (["torn.nc"], "is no normal that can be read"),
    (["."], "is no normal that can be read"),
    (["FILE", "--day", "02-30"], "--day 02-30: the normal has no such day"),
    (["FILE", "--point", "-70", "2"], "--point -70 2: is not in the region"),
    (["FILE", "--target-year", "1999"], "holds 2007"),
    (["STORE"], "holds target years 2005-2007; say which with --target-year"),
    (["STORE", "--target-year", "1999"], "holds 2005-2007"),
    (["FILE", "-o", "x.txt"], "use .png"),
    (["FILE", "-o", "input.nc/x.png"], "cannot be written"),
])  # fmt: skip
def test_a_mistake_is_told_with_what_was_expected(
    arguments: list[str], said: str, file: Path, store: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_year(tmp_path / "input.nc")
    (tmp_path / "torn.nc").write_bytes(file.read_bytes()[:3000])
    names = {"FILE": str(file), "STORE": str(store)}
    assert main(["plot", *(names.get(a, a) for a in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not list(tmp_path.rglob("*.png"))


def test_without_matplotlib_the_command_says_what_to_install(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["plot", str(file)]) == 2
    assert "pip install 'climdask[plot]'" in capsys.readouterr().err


def test_a_dollar_sign_in_units_is_no_formula_and_control_characters_are_written_out() -> None:
    look = look_of("tas", {"units": "$\\frac{\x1b$"})
    assert _label(look) == "tas (\\$\\frac{\\x1b\\$)"

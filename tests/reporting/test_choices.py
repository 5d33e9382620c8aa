"""What ``climdask plot`` shows of many products, against the files as xarray reads them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

import climdask
from climdask.cli import main
from climdask.errors import PlotError
from climdask.outputs.catalogue import opened
from climdask.reporting.choices import View, find_product, maps_of
from climdask.reporting.display import MONTH_NAMES
from climdask.reporting.plot import _draw, plot_normal
from tests.samples import WRAP, write_archive
from tests.workflows import small

pytestmark = pytest.mark.slow  # the fixture is two whole runs

NORMALS: list[Any] = [
    "mean",
    {"over_years": ["std", "min", "max"]},
    {"each": "month", "over_years": ["mean", "std"]},
    {"each": "season"},
    {"each": "year", "within": "days above 290 K", "name": "hot_days", "missing_days": 0.5},
    {"each": {"name": "warm_half", "from": "04-01", "to": "09-30"}},
]
FORMATS = ["netcdf", "zarr"]
PLACE = (31.0, 2.0)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    archive = write_archive(
        tmp_path_factory.mktemp("in"), variables=["tas", "pr"], first=2001, last=2006,
        last_historical_year=2006, missing=0.0,
    )  # fmt: skip
    found = {kind: tmp_path_factory.mktemp(kind) for kind in FORMATS}
    for kind, root in found.items():
        flow = small(
            archive.root, root, scenarios=[], regions=[WRAP], min_years=1, leap_day="keep",
            last_historical_year=2006, normals=NORMALS, output={"format": kind},
        )  # fmt: skip
        assert climdask.run(flow, serial=True).ok
    summer = small(archive.root, found["netcdf"], variables=["pr"], scenarios=[], regions=[WRAP],
                   last_historical_year=2006, normals=[{"each": [6, 7]}])  # fmt: skip
    assert climdask.run(summer, serial=True).ok
    return found


@pytest.fixture(params=FORMATS)
def root(request: pytest.FixtureRequest, roots: dict[str, Path]) -> Path:
    return roots[request.param]


def path_of(root: Path, frequency: str, variable: str = "tas") -> Path:
    return next(
        p for p in sorted(root.rglob(f"{variable}_{frequency}_*normal.*")) if "2005" not in p.name
    )


def stored(root: Path, frequency: str, product: str) -> np.ndarray:
    """Read a product of 2006 without any of climdask's code."""
    path = path_of(root, frequency)
    if path.is_dir():
        with xr.open_zarr(path, decode_times=False) as store:
            return store[product].sel(target_year=2006).values.astype("f8")
    with xr.open_dataset(path, decode_times=False) as file:
        return file[product].values.astype("f8")


def shown(root: Path, frequency: str = "day", **view: Any) -> tuple[str, dict[str, np.ndarray]]:
    """Return the product and the maps that a view of a normal shows."""
    asked = View(target_year=2006, **view)
    normal, product = find_product(path_of(root, frequency), asked)
    with opened(normal, product) as file:
        return product, {one.name: one.values for one in maps_of(file, asked)}


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(("view", "frequency", "product", "names"), [
    ({"each": "month", "month": 7}, "mon", "tas", {"July": 6}),
    ({"each": "month", "product": "tas_std", "month": 12}, "mon", "tas_std", {"December": 11}),
    ({"each": "season", "season": "djf"}, "seas", "tas", {"DJF": 0}),
    ({"product": "hot_days"}, "yr", "hot_days", {"year": 0}),
    ({"each": "warm_half"}, "warm_half", "tas", {"warm_half": 0}),
    ({"product": "tas_max", "day": "07-15"}, "day", "tas_max", {"15 Jul": 196}),
    ({"each": "month"}, "mon", "tas", dict(zip(MONTH_NAMES, range(12), strict=True))),
    ({"each": "season"}, "seas", "tas", {"DJF": 0, "MAM": 1, "JJA": 2, "SON": 3}),
])  # fmt: skip
def test_a_choice_shows_what_the_file_holds(
    view: dict[str, Any], frequency: str, product: str, names: dict[str, int], root: Path
) -> None:
    found, maps = shown(root, **view)
    values = stored(root, frequency, product)
    assert (found, list(maps)) == (product, list(names))
    for name, n in names.items():
        np.testing.assert_array_equal(maps[name], values[n])


@pytest.mark.parametrize(("view", "months"), [
    ({"month": 7}, [7]), ({"season": "DJF"}, [12, 1, 2]), ({"season": "JJA"}, [6, 7, 8]),
    ({}, range(1, 13)),
])  # fmt: skip
def test_of_days_a_month_or_a_season_is_the_mean_of_its_days(
    view: dict[str, Any], months: list[int], root: Path
) -> None:
    _, maps = shown(root, product="tas_std", **view)
    of_day = xr.date_range("2004-01-01", "2004-12-31").month
    values = stored(root, "day", "tas_std")[np.isin(of_day, list(months))]
    expected = np.nanmean(values, axis=0)  # a 29 February of one year has no standard deviation
    ((name, values),) = maps.items()
    assert name.startswith("mean over the days of" if view else "annual mean")
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def drawn(root: Path, frequency: str, **view: Any) -> Any:
    """Return the axes of a picture of 2006."""
    figure, asked = Figure(), View(target_year=2006, **view)
    normal, product = find_product(path_of(root, frequency), asked)
    with opened(normal, product) as file:
        _draw(figure, file, normal, asked)
    return figure.axes[0]


def test_the_line_of_days_leaves_out_29_february_and_says_so(root: Path) -> None:
    axes = drawn(root, "day", point=PLACE)
    x, y = axes.lines[0].get_data()
    assert x.tolist() == [*range(1, 60), *range(61, 367)]
    values = stored(root, "day", "tas")[:, 1, 1] - 273.15
    np.testing.assert_allclose(y, np.delete(values, 59), atol=1e-4)
    assert "leaves out 29 February" in axes.get_xlabel()
    assert axes.get_legend().get_texts()[0].get_text() == "mean ± std"


def test_months_at_a_place_are_12_points_with_their_spread(root: Path) -> None:
    axes = drawn(root, "mon", point=PLACE)
    x, y = axes.lines[0].get_data()
    assert x.tolist() == list(range(1, 13))
    np.testing.assert_allclose(y, stored(root, "mon", "tas")[:, 1, 1] - 273.15, atol=1e-4)
    spread = stored(root, "mon", "tas_std")[:, 1, 1]
    corners = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert corners.max() == pytest.approx((y + spread).max(), abs=1e-4)
    assert corners.min() == pytest.approx((y - spread).min(), abs=1e-4)
    assert [t.get_text() for t in axes.get_xticklabels()][:2] == ["Jan", "Feb"]
    assert "29 February" not in axes.get_xlabel()


def test_a_product_without_a_spread_has_no_band(root: Path) -> None:
    axes = drawn(root, "day", product="tas_max", point=PLACE)
    assert not axes.collections
    assert axes.get_legend() is None


# ---------------------------------------------------------------- pictures and mistakes


def test_all_months_are_one_picture_each_in_one_file(root: Path, tmp_path: Path) -> None:
    view = View(each="month", target_year=2006)
    with Image.open(plot_normal(path_of(root, "day"), tmp_path / "x.png", view)) as image:
        assert min(image.size) > 500
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


def test_a_picture_of_a_product_has_its_name(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = path_of(root, "day")
    assert main(["plot", str(path), "--product", "hot_days", "--target-year", "2006"]) == 0
    (made,) = tmp_path.iterdir()
    assert made.name.startswith("tas_yr_")
    assert made.name.endswith("_hot_days.png")


@pytest.mark.parametrize(("arguments", "said"), [
    (["--product", "nix"], "--product nix: there is no such product; there are: each day: tas, "
     "tas_std, tas_min, tas_max; each month: tas, tas_std; each season: tas; each year: hot_days; "
     "each warm_half: tas"),
    (["--product", "hot_days", "--each", "month"], "--product hot_days: there is no such product"),
    (["--each", "week"], "there are: day, month, season, year, warm_half"),
    (["--each", "month", "--day", "07-15"], "--day 07-15: tas has no such step; it has months 1-"),
    (["--each", "season", "--month", "7"], "--month 7: tas has no such step; it has DJF, MAM"),
    (["--month", "13"], "--month 13: tas has no such step; it has days, months 1 to 12"),
    (["--season", "XYZ"], "--season XYZ: tas has no such step; it has days, months 1 to 12"),
    (["--each", "season", "--season", "XYZ"], "it has DJF, MAM, JJA, SON"),
    (["--each", "month", "--annual"], "--annual: tas is made of each month; give --each day"),
    (["--each", "year", "--point", "31", "2"], "--point: hot_days has one step, year"),
])  # fmt: skip
def test_a_choice_that_does_not_exist_is_told_with_what_there_is(
    arguments: list[str], said: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["plot", str(path_of(root, "day")), "--target-year", "2006", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not list(tmp_path.iterdir())


def test_some_months_are_named_where_another_is_asked_for(roots: dict[str, Path]) -> None:
    (path,) = roots["netcdf"].rglob("pr_mon_*_2006_*.nc")
    with pytest.raises(PlotError, match="--month 1: pr has no such step; it has months 6-7"):
        plot_normal(path, view=View(month=1))


def test_a_file_that_lies_alone_has_its_own_products_only(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "renamed.nc"
    shutil.copy(path_of(roots["netcdf"], "mon"), path)
    view = View(product="tas_std", month=2)
    assert find_product(path, view)[1] == "tas_std"
    with pytest.raises(PlotError, match=r"there are: each month: tas, tas_std$"):
        find_product(path, View(product="hot_days"))

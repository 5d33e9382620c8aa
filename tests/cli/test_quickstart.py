"""The quickstart: sample data like a real archive's, a workflow to edit, and a first run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import yaml

import climdask
from climdask.cli import main
from climdask.cli import quickstart as module
from climdask.cli.quickstart import (
    LAT,
    LON,
    N_DAYS,
    look_at,
    make_sample,
    quickstart,
    sample_values,
)
from climdask.errors import OutputError
from climdask.inputs.inventory import PATTERNS
from climdask.settings.workflow import load
from tests.readback import leftovers

FIRST, LAST = 2010, 2018


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the sample data a few years long."""
    monkeypatch.setattr(module, "FIRST_YEAR", FIRST)
    monkeypatch.setattr(module, "LAST_YEAR", LAST)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def shorten(workflow: Path) -> None:
    """Edit the workflow as a user would: a window that fits the short sample."""
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    content |= {"window": 5, "min_years": 4, "targets": ["2014-2018"]}
    workflow.write_text(yaml.safe_dump(content), encoding="utf-8")


# ---------------------------------------------------------------- the sample


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_the_sample_has_the_layout_and_names_of_nex_gddp(tmp_path: Path) -> None:
    assert make_sample(tmp_path) == 2 * (LAST - FIRST + 1)
    flow = load(
        {
            "input": {"root": str(tmp_path), "pattern": "nex-gddp"},
            "variables": ["pr", "tas"],
            "scenarios": "ssp245",
            "regions": "CONUS",
            "window": 5,
        }
    )
    plan = climdask.plan(flow)
    assert [chain.id for chain in plan.all_chains] == [
        "SAMPLE-ESM/r1i1p1f1/gn/pr", "SAMPLE-ESM/r1i1p1f1/gn/tas"
    ]  # fmt: skip
    assert plan.files == plan.opens == 18
    assert not plan.notes
    assert leftovers(tmp_path) == []


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_files_that_are_there_are_kept_and_lost_ones_are_made_again(tmp_path: Path) -> None:
    make_sample(tmp_path)
    path = next(tmp_path.rglob("tas*2013.nc"))
    before, others = path.read_bytes(), {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nc")}
    del others[path]
    path.unlink()
    assert make_sample(tmp_path) == 1
    assert path.read_bytes() == before, "the same numbers each time"
    assert {p: p.stat().st_mtime_ns for p in others} == others


def test_a_sample_file_is_as_a_climate_model_would_write_it(tmp_path: Path) -> None:
    values = sample_values("tas", 2011, np.random.default_rng(0))
    module.write_sample(tmp_path / "tas.nc", "tas", 2011, values)
    with netCDF4.Dataset(tmp_path / "tas.nc") as dataset:
        field = dataset["tas"]
        assert field.shape == (N_DAYS, LAT.size, LON.size)
        assert field.chunking() == [1, LAT.size, LON.size]
        assert (field.units, field.standard_name) == ("K", "air_temperature")
        assert dataset["time"].calendar == "noleap"
        dates = netCDF4.num2date(dataset["time"][:], dataset["time"].units, "noleap")
        assert (str(dates[0]), str(dates[-1])) == ("2011-01-01 12:00:00", "2011-12-31 12:00:00")
        assert "not a climate model" in dataset.source
        np.testing.assert_array_equal(field[:].filled(np.nan), values)


def test_the_numbers_look_like_weather() -> None:
    tas = sample_values("tas", 1980, np.random.default_rng(1))
    later = sample_values("tas", 2060, np.random.default_rng(1))
    pr = sample_values("pr", 1980, np.random.default_rng(1))
    north = LAT > 40
    assert 220 < tas.min() < tas.max() < 330
    assert tas[195:205, north].mean() - tas[10:20, north].mean() > 10, "summer is warmer"
    assert 1.5 < (later - tas).mean() < 3.5, "it grows warmer"
    assert pr.min() == 0.0
    assert 0.3 < (pr == 0).mean() < 0.9, "dry days between showers"
    assert 0 < pr.mean() * 86400 < 20, "mm a day"


# ---------------------------------------------------------------- the whole


@pytest.mark.usefixtures("short")
@pytest.mark.slow
def test_quickstart_makes_runs_and_shows_where_to_look(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(module.__file__).with_name("quickstart.yaml").read_text(encoding="utf-8")
    edited = text.replace("window: 30", "window: 5").replace("min_years: 25", "min_years: 5")

    class Shipped:
        def joinpath(self, name: str) -> Shipped:
            assert name == "quickstart.yaml"
            return self

        def read_text(self, encoding: str) -> str:
            return edited

    monkeypatch.setattr(module, "files", lambda _: Shipped())
    assert main(["quickstart"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    folder = Path("climdask-quickstart")
    for word in (
        "sample data: 18 new files in climdask-quickstart/data",
        "dashboard: http://127.0.0.1:",
        "SAMPLE-ESM/r1i1p1f1/gn/tas: done, 9/9 years, 5/5 target years written",
        "xarray.open_dataset",
        "climdask run climdask-quickstart/workflow.yaml",
        "climdask audit",
        "30 of 30 normals are in",
        "no file was ever open twice at once",
    ):
        assert word in out
    (look,) = [line for line in out.splitlines() if line.startswith("Look at a normal:")]
    subprocess.run(
        look.split(":", 1)[1].replace("python ", f"{sys.executable} "), shell=True, check=True
    )
    assert "dayofyear" in capfd.readouterr().out
    # The workflow that it leaves can be run again.
    assert main(["run", str(folder / "workflow.yaml"), "--quiet"]) == 0
    assert "0 normals to make" in capfd.readouterr().out
    assert main(["audit", str(folder / "normals")]) == 0
    # So can the quickstart, which keeps what is there.
    (folder / "workflow.yaml").write_text(
        (folder / "workflow.yaml").read_text().replace("targets: all", "targets: 2018")
    )
    assert main(["quickstart"]) == 0
    assert "6 of 6 normals" in capfd.readouterr().out


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", ["a b", "x: y #z", 'it\'s "so"', "ünï"])
def test_the_workflow_fits_whatever_the_folder_is_called(
    name: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(module, "make_sample", lambda root: 0)
    monkeypatch.setattr(module, "run", lambda flow, **_: seen.append(flow) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        quickstart(Path(name), view=None, report=lambda _: None)
    assert seen[0].input.root == Path(name) / "data"
    assert seen[0].output.root == Path(name) / "normals"


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"file: cannot be written \(File exists\)"):
        quickstart(tmp_path / "file", view=None, report=lambda _: None)
    with pytest.raises(OutputError, match="cannot be written"):
        quickstart(tmp_path / "file/below", view=None, report=lambda _: None)


@pytest.mark.usefixtures("short")
@pytest.mark.slow
def test_an_edited_workflow_is_kept(here: Path) -> None:
    folder = here / "q"
    folder.mkdir()
    text = Path(module.__file__).with_name("quickstart.yaml").read_text(encoding="utf-8")
    (folder / "workflow.yaml").write_text(text.replace("@FOLDER@", "q"), encoding="utf-8")
    shorten(folder / "workflow.yaml")
    before = (folder / "workflow.yaml").read_bytes()
    make_sample(folder / "data")
    result = climdask.run(str(folder / "workflow.yaml"), serial=True)
    assert result.ok
    assert (folder / "workflow.yaml").read_bytes() == before
    assert len(result.outputs) == 2 * 3 * 5
    shutil.rmtree(folder)


def test_the_patterns_of_the_sample_and_of_the_archive_are_known() -> None:
    assert {"nex-gddp", "nex-gddp-cmip6"} <= set(PATTERNS)


@pytest.mark.parametrize("name", ["out", "it's", 'a"b', "$(touch pwned)", "`id`", "a b!c", "\\n"])
def test_the_command_that_shows_a_normal_can_be_copied_whatever_its_path_is(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    (tmp_path / "xarray.py").write_text("open_dataset = str\n")
    made = look_at("open_dataset", path).replace("python ", f"{sys.executable} ", 1)
    done = subprocess.run(
        ["bash", "-c", made],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{path}\n"
    assert [p.name for p in tmp_path.iterdir() if p.name != "__pycache__"] == ["xarray.py"]

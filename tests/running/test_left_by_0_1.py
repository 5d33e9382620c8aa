"""A run that version 0.1 left half done goes on: records, stores and checkpoints stay valid.

The fixture was made with version 0.1: years 1996 to 2003 of two variables, windows of three years,
the same in both formats. The file of ``tas`` for 2002 was truncated, so that chain failed and left
its checkpoints.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml

from climdask.running.run import run
from climdask.settings.workflow import Workflow, load
from tests.readback import contents

FIXTURE = Path(__file__).parents[1] / "fixtures" / "left-by-version-0.1.tar.xz"
BAD = "left/in/tas/historical/tas_day_ACCESS-CM2_historical_r1i1p1f1_gn_2002.nc"


@pytest.fixture
def _left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    shutil.copy("left/repaired.nc", BAD)
    os.utime(BAD, (1_000_000_001, 1_000_000_001))


def workflow(output_format: str, out: str | None = None) -> Workflow:
    content = yaml.safe_load(Path(f"left/{output_format}.yaml").read_text(encoding="utf-8"))
    content["output"]["root"] = out or content["output"]["root"]
    return load(content)


@pytest.mark.usefixtures("_left")
@pytest.mark.parametrize("output_format", ["netcdf", "zarr"])
@pytest.mark.slow
def test_a_run_that_version_0_1_left_goes_on_from_its_checkpoint(output_format: str) -> None:
    told: list[str] = []
    out = Path(f"left/out-{output_format}")
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*/pr_day_*") if p.is_file()}
    resumed = run(workflow(output_format), serial=True, report=told.append)
    assert resumed.ok
    assert "resuming: 10 of 12 normals are there already; 1 branch starts from a checkpoint" in told
    assert (resumed.audit.opens, resumed.plan.opens) == (6, 6), "3 years that enter, 3 that leave"
    assert {p: p.stat().st_mtime_ns for p in before} == before, "nothing is made again"
    assert run(workflow(output_format, "fresh"), serial=True).ok
    assert contents(out) == contents(Path("fresh"))

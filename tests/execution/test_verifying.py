"""Checksums of outputs that hold more than the mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from climdask.execution.verifying import check_outputs
from climdask.running.run import run
from climdask.settings.workflow import Workflow
from tests.readback import contents
from tests.samples import write_archive
from tests.workflows import small

NORMALS: list[Any] = [
    "mean", "std", "count", {"over_years": ["p90", "min"], "pool_days": 3},
    {"each": "month", "over_years": ["mean", "p10"]}, {"each": "season", "over_years": ["std"]},
]  # fmt: skip


def flow(tmp_path: Path, output_format: str) -> Workflow:
    output = {"root": str(tmp_path / "out"), "format": output_format, "count": True}
    return small(
        tmp_path / "in", tmp_path / "out", normals=NORMALS, scenarios=[], targets="2013-2014",
        last_historical_year=2014, output=output,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("output_format", ["netcdf", "zarr"])
def test_damage_of_any_product_is_found_and_made_again(tmp_path: Path, output_format: str) -> None:
    write_archive(tmp_path / "in", variables=["tas"], first=2007, last=2014, calendar="noleap")
    made = run(flow(tmp_path, output_format), serial=True)
    assert made.ok, made.failures
    checked = check_outputs(made.folder)
    assert (checked.whole, checked.damaged, checked.missing) == (6, (), ())
    before = contents(made.folder.root)
    held = [*(tmp_path / "out").rglob("tas_day*2014*.nc"), *(tmp_path / "out").rglob("tas_std/c.*")]
    damaged = sorted(held)[0]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert len(check_outputs(made.folder).damaged) == 1
    again = run(flow(tmp_path, output_format), serial=True, verify=True)
    assert again.plan.n_normals == 1
    assert contents(made.folder.root) == before

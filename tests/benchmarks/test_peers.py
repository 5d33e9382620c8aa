"""Statistics on real data are those of CDO, xclim and scipy, within what rounding explains."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from benchmarks.peers import ARCHIVES, Comparison, Difference, Made, comparisons, table
from tests.archives import REAL
from tests.tools import lacking

FOUND = Difference(unlike=0, largest=0.5, mean=0.1, scale=290.0, equal=1, compared=2)


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda archive: archive.name)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    if not REAL.is_dir():
        lacking(f"real data are not at {REAL}", "DATA")
    if shutil.which("cdo") is None:
        lacking("cdo is not installed")
    pytest.importorskip("xclim")
    return Made(request.param, REAL, tmp_path_factory.mktemp("peers"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_each_statistic_is_that_of_its_peers(made: Made) -> None:
    own = [one for one in comparisons() if one.archive == made.archive.name]
    found = {one.id: (one, one.difference(made)) for one in own}
    assert len(found) == len(own) >= 10
    assert [name for name, (one, off) in found.items() if not one.agrees(off)] == []
    assert all(off.compared for _, off in found.values())


def one_of(bound: float | None) -> Comparison:
    return dataclasses.replace(comparisons()[0], bound=bound)


@pytest.mark.parametrize(
    ("bound", "found", "agrees"),
    [
        (0.5, FOUND, True),
        (0.4, FOUND, False),
        (None, FOUND, True),
        (None, dataclasses.replace(FOUND, unlike=1), False),
        (1.0, dataclasses.replace(FOUND, largest=np.nan), False),
    ],
)
def test_a_peer_agrees_within_its_bound_and_with_the_same_missing_values(
    bound: float | None, found: Difference, agrees: bool
) -> None:
    assert one_of(bound).agrees(found) is agrees


def test_the_table_has_a_row_for_each_comparison() -> None:
    lines = table([(one_of(0.5), FOUND)]).splitlines()
    assert lines[2].split(" | ")[3:6] == ["0.5", "290", "50%"]
    assert lines[2].startswith("| mean | CanESM2 tasmax | CDO -ydaymean | ")

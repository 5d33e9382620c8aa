"""Names of normals: what is written is found again."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from climdask.planning.naming import NAMINGS, SeriesName

WHO = ("ACCESS-CM2", "r1i1p1f1", "gn")


@pytest.mark.parametrize("name", sorted(NAMINGS))
@pytest.mark.parametrize("frequency", ["day", "mon", "seas", "yr", "growing_season"])
@pytest.mark.parametrize("region", ["global", "West_Coast"])
@pytest.mark.parametrize(
    ("branch", "period"), [("historical", "historical"), ("ssp245", "hybrid-ssp245")]
)
def test_a_path_says_what_it_was_made_from(
    name: str, frequency: str, region: str, branch: str, period: str
) -> None:
    series = SeriesName(*WHO, "tas", region, branch, 30, frequency)
    path = NAMINGS[name].path(series, period, 2014)
    assert path.name.startswith(f"tas_{frequency}_ACCESS-CM2_")
    parsed = NAMINGS[name].parse(path, "historical")
    assert parsed is not None
    assert parsed[0] == series
    assert parsed[1] in (2014, None)
    assert NAMINGS[name].key(series, period, 2014) != NAMINGS[name].key(series, period, 2015)


@pytest.mark.parametrize("name", sorted(NAMINGS))
@pytest.mark.parametrize("path", ["a/b/c.txt", "M/r1/tas/global/tas.nc", "M/r1/tas/global/x.zarr"])
def test_what_is_no_normal_has_no_name(name: str, path: str) -> None:
    assert NAMINGS[name].parse(PurePosixPath(path), "historical") is None


def test_frequencies_of_one_variable_are_different_sets() -> None:
    daily, monthly = (
        SeriesName(*WHO, "tas", "global", "ssp245", 30, frequency) for frequency in ("day", "mon")
    )
    assert daily.set_of != monthly.set_of

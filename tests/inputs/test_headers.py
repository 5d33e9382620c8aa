"""Headers: cell_methods of a normal, and what keeps a file out of a chain."""

from dataclasses import replace

import numpy as np
import pytest

from climdask.climatology.grids import Grid, RectilinearGrid
from climdask.inputs.headers import Header, Scalar, climatological_cell_methods

GRID = RectilinearGrid(np.array([10.0, 20.0, 30.0]), np.array([0.0, 90.0, 180.0, 270.0]))
HEADER = Header("a/pr_1950.nc", "pr", "kg m-2 s-1", "standard", "float32", GRID)


@pytest.mark.parametrize(
    ("variable", "source", "method"),
    [
        ("pr", "", "mean"),  # absent
        ("pr", "time: mean", "mean"),
        ("sfcWind", "time: point", "point"),
        ("wsgsmax", "time: maximum", "maximum"),
        ("snd", "time:minimum", "minimum"),  # no space
        ("tasmax", "", "maximum"),  # known from the name
        ("tasmax", "time: mean", "maximum"),
        ("tasmin", "time: mean", "minimum"),
        ("tas", "time: maximum", "mean"),  # NEX-GDDP labels it so
        ("hurs", "time: maximum within days time: mean over days", "maximum"),
        ("prsn", "time: standard_deviation", "standard_deviation"),
        ("pr", "lat: lon: mean", "mean"),  # nothing about time
        ("pr", "lifetime: maximum", "mean"),  # another dimension whose name ends alike
        ("pr", "time: lat: lon: sum", "sum"),  # shared with other dimensions
    ],
)
def test_the_method_within_years_is_the_inputs_own_unless_absent_or_known_wrong(
    variable, source, method
):
    text = climatological_cell_methods(variable, source)
    assert text == f"time: {method} within years time: mean over years"


@pytest.mark.parametrize(
    ("variable", "source", "method"),
    [
        ("tasmax", "time: maximum (interval: 5 minutes)", "maximum"),
        ("pr", "time: sum (interval: 1 hour comment: sampled)", "sum"),
        ("tas", "area: mean time: maximum", "mean"),
        # CMIP6: one method for both
        ("pr", "area: time: mean", "mean"),
        ("pr", "time: area: sum", "sum"),
        ("mrsos", "area: mean where land time: point (interval: 1 day)", "point"),
        ("siconc", "area: mean where sea_ice over sea time: maximum", "maximum"),
    ],
)
def test_the_method_is_found_beside_intervals_and_area_parts(variable, source, method):
    text = climatological_cell_methods(variable, source)
    assert text == f"time: {method} within years time: mean over years"


def test_a_header_reads_cell_methods_from_its_attributes():
    assert HEADER.cell_methods == "time: mean within years time: mean over years"
    header = replace(HEADER, attributes=(("cell_methods", "area: sum time: sum"),))
    assert header.cell_methods == "time: sum within years time: mean over years"


def grid_with(lat=GRID.lat, lon=GRID.lon) -> Grid:
    return RectilinearGrid(np.asarray(lat, dtype=float), np.asarray(lon, dtype=float))


@pytest.mark.parametrize(
    "other",
    [
        replace(HEADER, path="b/pr_1951.nc"),
        replace(HEADER, dtype="int16"),  # packed in one year and not in the other
        replace(HEADER, calendar="proleptic_gregorian"),  # alike since 1582
        replace(HEADER, attributes=(("long_name", "rain"),), provenance=(("history", "x"),)),
        replace(HEADER, grid=grid_with(lat=GRID.lat + 4e-5)),  # float32 in one year
    ],
)
def test_files_that_belong_together_have_no_differences(other):
    assert HEADER.differences(other) == []
    assert other.differences(HEADER) == []


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(HEADER, units="mm day-1"), 'units "mm day-1", not "kg m-2 s-1"'),
        (replace(HEADER, calendar="noleap"), 'calendar "noleap", not "standard"'),
        (
            replace(HEADER, grid=grid_with(lat=[10, 20])),
            "a grid of 2 x 4 cells, lat 10 to 20, lon 0 to 270, "
            "not 3 x 4 cells, lat 10 to 30, lon 0 to 270",
        ),
        (
            replace(HEADER, grid=grid_with(lon=[-90, 0, 90, 180])),
            "a grid of 3 x 4 cells, lat 10 to 30, lon -90 to 180, "
            "not 3 x 4 cells, lat 10 to 30, lon 0 to 270 (lon 1 is -90, not 0)",
        ),
        (  # the same edges, so the coordinate is named
            replace(HEADER, grid=grid_with(lat=[10, 20.001, 30])),
            "a grid of 3 x 4 cells, lat 10 to 30, lon 0 to 270, "
            "not 3 x 4 cells, lat 10 to 30, lon 0 to 270 (lat 2 is 20.001, not 20)",
        ),
        (  # the other way round
            replace(HEADER, grid=grid_with(lat=[30, 20, 10])),
            "a grid of 3 x 4 cells, lat 10 to 30, lon 0 to 270, "
            "not 3 x 4 cells, lat 10 to 30, lon 0 to 270 (lat 1 is 30, not 10)",
        ),
    ],
)
def test_a_difference_says_what_is_there_and_what_was_expected(other, words):
    assert HEADER.differences(other) == [words]


def test_every_difference_is_named():
    other = replace(HEADER, units="K", calendar="360_day", grid=grid_with(lat=[1, 2, 3]))
    assert [d.split()[0] for d in HEADER.differences(other)] == ["units", "calendar", "a"]


@pytest.mark.parametrize(
    "other",
    [
        replace(HEADER, variable="prsn"),
        replace(HEADER, units="mm day-1"),
        replace(HEADER, calendar="noleap"),
        replace(HEADER, grid=grid_with(lat=[10, 20, 31])),
        replace(HEADER, attributes=(("cell_methods", "time: sum"),)),
        replace(HEADER, scalars=(Scalar("height", 2.0, ()),)),
        replace(HEADER, provenance=(("institution", "somebody"),)),
    ],
)
def test_the_digest_changes_with_everything_that_is_written(other):
    assert other.digest != HEADER.digest


def test_the_digest_does_not_change_with_the_path():
    assert replace(HEADER, path="elsewhere/pr_1950.nc").digest == HEADER.digest

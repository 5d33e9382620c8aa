"""Plans made from inventories and headers by hand: no file is touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from climdask.climatology.calendars import Window
from climdask.climatology.grids import RectilinearGrid
from climdask.errors import PlanError, RegionError, UnreadableFile
from climdask.inputs.headers import Header
from climdask.inputs.inventory import InputFile, Inventory, Series
from climdask.planning.digests import digest_of
from climdask.planning.plan import Chain, Done, Limits, Plan
from climdask.planning.survey import last_historical_year, survey
from climdask.settings.workflow import Workflow, load

GRID = RectilinearGrid(np.array([-30.0, 0.0, 30.0]), np.array([0.0, 90.0, 180.0, 270.0]))
EAST = {"name": "east", "lon": [0, 180], "lat": [-90, 90]}  # 9 cells
NORTH = {"name": "north", "lon": [0, 360], "lat": [0, 90]}  # 8 cells
POLE = {"name": "pole", "lon": [0, 360], "lat": [80, 90]}  # no cell


def file_of(
    scenario: str,
    first: int,
    last: int | None = None,
    *,
    variable: str = "pr",
    version: tuple[int, ...] = (),
    end: tuple[int, int] = (12, 31),
    size: int = 1000,
    mtime_ns: int = 7,
) -> InputFile:
    last = first if last is None else last
    path = f"{variable}/{scenario}/{variable}_{first}-{last}.nc"
    return InputFile((first, 1, 1), (last, *end), path, scenario, version, size, mtime_ns)


def annual(scenario: str, years: Iterable[int], **facts: Any) -> list[InputFile]:
    return [file_of(scenario, year, **facts) for year in years]


def series_of(files: Iterable[InputFile], variable: str = "pr", model: str = "M") -> Series:
    return Series(model, "r1i1p1f1", "gn", variable, tuple(sorted(files)))


HISTORY = annual("historical", range(1950, 2015))
NEX = series_of(HISTORY + annual("ssp245", range(2015, 2101)))
BOTH = replace(NEX, files=(*NEX.files, *annual("ssp585", range(2015, 2101))))


def flow(**changes: Any) -> Workflow:
    content: dict[str, Any] = {
        "input": {"root": "/archive"},
        "variables": ["pr"],
        "scenarios": ["ssp245"],
        "regions": [EAST],
    }
    return load(content | changes)


def header_of(series: Series, **changes: Any) -> Header:
    header = Header("a.nc", series.variable, "kg m-2 s-1", "standard", "float32", GRID)
    return replace(header, **changes)


def plan(
    *series: Series, limits: Limits | None = None, done: Done | None = None, **changes
) -> Plan:
    """Plan for these series, the NEX-like one if none is named."""
    found = series or (NEX,)
    inventory = Inventory(Path("/archive"), found, ())
    headers = {s.id: header_of(s) for s in found}
    whole = survey(flow(**changes), inventory, headers)
    return whole.pending(done or Done()).fitted(limits or Limits())


def only(one: Plan) -> Chain:
    (chain,) = one.chains
    return chain


def targets_of(one: Plan) -> Mapping[str, tuple[int, ...]]:
    return only(one).targets


def paths_of(one: Plan) -> list[str]:
    return [f.path for _, job in one.jobs for f in job.files]


def hashes_of(one: Plan, *, timed: bool = True) -> dict[str, str]:
    return {
        f.path: f.input_hash if timed else f.untimed_hash for _, job in one.jobs for f in job.files
    }


# --- targets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "historical", "ssp245"),
    [
        ("all", range(1979, 2015), range(2015, 2101)),
        (["all", 2050], range(1979, 2015), range(2015, 2101)),
        (2014, [2014], []),
        (2015, [], [2015]),
        ("2010-2020", range(2010, 2015), range(2015, 2021)),
        ([2050, "1990-1991", 1990], [1990, 1991], [2050]),  # in any order, doubles count once
        ("historical", range(1979, 2015), []),
        ("hybrid", [], range(2015, 2045)),
        ("scenario", [], range(2045, 2101)),
        (["hybrid", 2100, 1979], [1979], [*range(2015, 2045), 2100]),
    ],
)
def test_targets_may_be_years_ranges_or_periods(asked, historical, ssp245):
    targets = targets_of(plan(targets=asked))
    assert targets == {"historical": tuple(historical), "ssp245": tuple(ssp245)}


def test_the_nex_archive_from_1951_gives_121_normals_from_150_openings():
    one = plan(replace(NEX, files=NEX.files[1:]))
    assert (one.n_normals, one.n_all, one.opens, one.files) == (121, 121, 150, 150)
    assert (one.homes, one.at_once) == (1, 1)
    assert one.notes == ()


def test_each_scenario_has_targets_of_its_own_and_shares_history():
    one = plan(BOTH, scenarios=["ssp245", "ssp585"])
    assert {branch: len(ts) for branch, ts in targets_of(one).items()} == {
        "historical": 36,
        "ssp245": 86,
        "ssp585": 86,
    }
    assert (one.opens, one.files) == (65 + 2 * 86, 65 + 2 * 86)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"targets": 1978},
            r"targets: 1978: its window 1949-1978 leaves the record of M/r1i1p1f1/gn/pr "
            r"\(historical\), 1950-2014; choose targets from 1979 to 2014, or set "
            r"partial_windows: true",
        ),
        (
            {"targets": "2095-2110"},
            r"targets: 2101: its window 2072-2101 leaves .* \(ssp245\), 1950-2100; "
            r"choose targets from 1979 to 2100, or",
        ),
        ({"targets": 2200}, r"its window 2171-2200 leaves .* from 1979 to 2100$"),  # no overlap
        ({"targets": 2200, "partial_windows": True}, r"its window 2171-2200 leaves"),
        ({"targets": 2000, "window": 100}, r"its window 1901-2000 leaves .*; shorten window, or"),
        (
            {"targets": "hybrid", "window": 200},
            r"window: 200: no window of that many years lies within ",
        ),
        ({"window": 200}, r"within the record of M/r1i1p1f1/gn/pr, 1950-2100; shorten window,"),
        ({"scenarios": [], "targets": 2020}, r"2020 leaves .* \(historical\), 1950-2014;"),
    ],
)
def test_a_window_that_leaves_the_record_is_an_error_that_names_it(changes, words):
    with pytest.raises(PlanError, match=words):
        plan(**changes)


def test_partial_windows_begin_before_the_record_or_end_after_it():
    one = plan(targets=[1974, 2105], partial_windows=True)
    assert targets_of(one) == {"historical": (1974,), "ssp245": (2105,)}
    jobs = [job for _, job in one.jobs]
    assert [sum(bool(s.files) for s in job.sources) for job in jobs] == [25, 25]
    assert any("gap: no file of historical for 1945-1949" in note for note in one.notes)
    assert any("gap: no file of ssp245 for 2101-2105" in note for note in one.notes)


def test_all_means_whole_windows_also_where_partial_ones_are_allowed():
    assert targets_of(plan(partial_windows=True)) == targets_of(plan())


def test_a_scenario_without_files_is_noted_and_left_out():
    one = plan(scenarios=["ssp245", "ssp126"])
    assert set(targets_of(one)) == {"historical", "ssp245"}
    assert one.notes == ("M/r1i1p1f1/gn/pr: no files of ssp126, so no normals of it",)


def test_a_scenario_without_history_begins_with_its_own_record():
    # Files of it from before 2015 are not used, as the trunk serves those years.
    one = plan(series_of(annual("ssp245", range(2010, 2101))))
    assert targets_of(one) == {"historical": (), "ssp245": tuple(range(2044, 2101))}
    assert one.notes == ("M/r1i1p1f1/gn/pr: no files of historical, so no normals of it",)


def test_files_without_a_scenario_in_their_names_serve_all():
    one = plan(series_of(annual("", range(1950, 2101))))
    assert targets_of(one) == targets_of(plan())
    assert one.opens == 151


def test_history_that_goes_on_after_its_last_year_is_not_used_beyond_it():
    late = series_of([*NEX.files, *annual("historical", range(2015, 2021))])
    assert targets_of(plan(late)) == targets_of(plan())
    sources = only(plan(late)).job("ssp245", 2020).sources
    assert [s.experiment for s in sources[-7:]] == ["historical"] + ["ssp245"] * 6
    assert {f.scenario for s in sources[-6:] for f in s.files} == {"ssp245"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"scenarios": ["ssp245", "ssp585"]}, 2014),
        ({"scenarios": ["rcp85"]}, 2005),
        ({"scenarios": []}, 2014),  # the last file's year
        ({"scenarios": ["ssp245"], "last_historical_year": 2010}, 2010),  # said wins
        ({"scenarios": ["rcp85", "ssp245"], "last_historical_year": 2005}, 2005),
        ({"scenarios": [], "last_historical_year": 2000}, 2000),
    ],
)
def test_the_last_historical_year_is_said_or_told_by_the_scenarios(changes, expected):
    inventory = Inventory(Path("/archive"), (series_of(HISTORY), NEX), ())
    assert last_historical_year(flow(**changes), inventory) == expected


@pytest.mark.parametrize("scenarios", [["rcp85", "ssp245"], ["future"]])
def test_scenarios_that_do_not_tell_where_history_ends_ask_for_it(scenarios):
    inventory = Inventory(Path("/archive"), (NEX,), ())
    words = f"last_historical_year: not given, and scenarios {', '.join(scenarios)} do not tell"
    with pytest.raises(PlanError, match=words):
        last_historical_year(flow(scenarios=scenarios), inventory)


# --- what the user should know --------------------------------------------------------------------


def test_gaps_and_incomplete_years_are_noted_for_the_windows_that_have_them():
    files = [f for f in NEX.files if f.start[0] not in (1960, 2001, 2002, 2020)]
    files = [f for f in files if f.start[0] != 2100] + [file_of("ssp245", 2100, end=(11, 30))]
    one = plan(series_of(files))
    assert one.notes == (
        "M/r1i1p1f1/gn/pr: gap: no file of historical for 1960, 2001-2002",
        "M/r1i1p1f1/gn/pr: gap: no file of ssp245 for 2020",
        "M/r1i1p1f1/gn/pr: incomplete year, by its name: pr/ssp245/pr_2100-2100.nc",
    )
    assert plan(series_of(files), targets=2049).notes[0].endswith("of ssp245 for 2020")
    assert plan(series_of(files), targets=2099).notes == ()  # not of this window
    assert one.opens == 147


def test_a_year_that_two_files_share_is_not_incomplete():
    files = [
        InputFile((1950, 1, 1), (1999, 11, 30), "pr/a.nc", "historical", (), 1, 1),
        InputFile((1999, 12, 1), (2014, 12, 30), "pr/b.nc", "historical", (), 1, 1),  # 360_day
    ]
    one = plan(series_of(files), scenarios=[])
    assert one.notes == ()
    assert [len(s.files) for s in only(one).job("historical", 2000).sources[-3:]] == [1, 2, 1]


def piece(scenario: str, first: tuple[int, int], last: tuple[int, int]) -> InputFile:
    """A file from one month, (year, month), to another."""
    path = f"pr/{scenario}_{first[0]}{first[1]:02}-{last[0]}{last[1]:02}.nc"
    return InputFile((*first, 1), (*last, 30), path, scenario, (), 1, 1)


HADGEM2 = (
    piece("historical", (1949, 12), (1979, 11)),
    piece("historical", (1979, 12), (2005, 11)),
    piece("rcp45", (2005, 12), (2050, 11)),
    piece("rcp85", (2005, 12), (2050, 11)),
)


def test_a_year_that_two_experiments_share_is_not_incomplete():
    one = plan(series_of(HADGEM2), scenarios=["rcp45", "rcp85"], targets="1980-2040")
    assert one.notes == ()
    assert one.opens == one.files == 4
    jobs = {(job.branch, job.window.last_year): job.sources for _, job in one.jobs}
    for branch, target in (("historical", 2005), ("rcp45", 2006), ("rcp85", 2006)):
        of_2005 = next(s for s in jobs[branch, target] if s.year == 2005)
        scenario = "rcp45" if branch == "historical" else branch
        assert of_2005.experiment == f"historical+{scenario}"
        assert [f.path for f in of_2005.files] == [
            "pr/historical_197912-200511.nc", f"pr/{scenario}_200512-205011.nc"
        ]  # fmt: skip


def test_a_month_that_no_file_of_either_experiment_has_is_noted():
    files = [*HADGEM2[:2], piece("rcp45", (2006, 1), (2050, 12))]
    one = plan(series_of(files), scenarios=["rcp45"], targets=2010)
    assert one.notes == (
        "M/r1i1p1f1/gn/pr: incomplete year, by its name: pr/historical_197912-200511.nc",
    )
    files = [*HADGEM2[:1], piece("historical", (1979, 12), (2005, 10)), *HADGEM2[2:]]
    one = plan(series_of(files), scenarios=["rcp45"], targets=2010)
    assert one.notes == (
        "M/r1i1p1f1/gn/pr: incomplete year, by the names of its files: "
        "pr/historical_197912-200510.nc, pr/rcp45_200512-205011.nc",
    )


def test_a_day_in_files_of_two_experiments_is_an_error_only_where_the_year_is_needed():
    files = [*HADGEM2[:2], piece("rcp45", (2005, 11), (2050, 11))]
    words = (
        r"M/r1i1p1f1/gn/pr: pr/historical_197912-200511\.nc and pr/rcp45_200511-205011\.nc both "
        r"hold 2005-11-01, .*; expected each day in one file only; cut .* out of one file"
    )
    for targets in (2005, 2034, "all"):
        with pytest.raises(PlanError, match=words):
            plan(series_of(files), scenarios=["rcp45"], targets=targets)
    for targets in (2004, 2035):
        assert plan(series_of(files), scenarios=["rcp45"], targets=targets).n_normals == 1


@pytest.mark.parametrize(
    ("files", "cure"),
    [
        ([*HADGEM2[:2], piece("rcp45", (2005, 1), (2050, 12))], 2004),
        ([piece("historical", (1950, 1), (2006, 12)), piece("rcp45", (2006, 7), (2050, 12))], 2006),
    ],
)
def test_an_error_about_doubled_days_names_a_year_that_cures_it(files, cure):
    asked = {"scenarios": ["rcp45"], "targets": 2020}
    words = f"set last_historical_year: {cure} to take all of 200. from the other one"
    with pytest.raises(PlanError, match=words):
        plan(series_of(files), **asked)
    one = plan(series_of(files), **asked, last_historical_year=cure)
    assert one.notes == ()
    assert {s.experiment for s in only(one).job("rcp45", 2020).sources} == {"historical", "rcp45"}


def test_a_scenario_that_goes_back_into_whole_years_of_history_is_no_error():
    files = [*HISTORY, piece("ssp245", (2014, 6), (2050, 12))]
    one = plan(series_of(files), targets=2020)
    assert one.notes == ()
    assert only(one).job("ssp245", 2020).sources[-7].experiment == "historical"


def test_a_hash_tells_whose_month_of_a_split_year_is_in_a_normal():
    one, other = (
        hashes_of(plan(series_of(HADGEM2), scenarios=scenarios, targets="1995-2040"))
        for scenarios in (["rcp45", "rcp85"], ["rcp85", "rcp45"])
    )
    assert one.keys() == other.keys()
    # History's own December is that of the scenario that is named first.
    (path,) = (p for p in one if one[p] != other[p])
    assert "_2005_" in path
    alone = hashes_of(plan(series_of(HADGEM2[:2]), scenarios=[], targets="1995-2005"))
    assert {p for p in alone if alone[p] != one[p]} == {path}


def test_windows_with_too_few_years_are_noted():
    files = [f for f in NEX.files if not 1961 <= f.start[0] <= 1966]
    one = plan(series_of(files))
    assert targets_of(one) == targets_of(plan())
    # Six years are missing from the windows of 1979-1990; 1966 has left that of 1996.
    assert one.notes[1] == (
        "M/r1i1p1f1/gn/pr: normals of 1979-1990 will be missing: "
        "fewer than 25 source years (min_years)"
    )
    assert len(plan(series_of(files), min_years=24).notes) == 1


def test_it_is_an_error_if_every_window_has_too_few_years():
    files = [f for f in NEX.files if f.start[0] % 2]
    with pytest.raises(PlanError, match=r"pr: every window has fewer than 25 source years; lower"):
        plan(series_of(files), targets="hybrid")
    assert plan(series_of(files), targets="hybrid", min_years=15).n_normals == 30


def test_windows_that_mix_versions_are_noted():
    newer = [replace(f, version=(1, 1)) if f.start[0] in (1990, 1991) else f for f in HISTORY]
    one = plan(series_of(newer), scenarios=[])
    assert one.notes == ("M/r1i1p1f1/gn/pr: normals of 1990-2014 mix files of versions none, v1.1",)
    assert plan(series_of(newer), scenarios=[], targets=1989).notes == ()
    alike = [replace(f, version=(1, 1)) for f in HISTORY]
    assert plan(series_of(alike), scenarios=[]).notes == ()


def test_notes_of_the_inventory_come_first():
    inventory = Inventory(Path("/archive"), (series_of(HISTORY[1:30]), NEX), ("x: passed over",))
    headers = {s.id: header_of(s) for s in inventory.series}
    inventory = replace(inventory, series=(NEX,))
    assert survey(flow(), inventory, headers).notes == ("x: passed over",)


# --- memory --------------------------------------------------------------------------------------

DAYS = 365 * 9  # cell-days of the region east, without 29 February
RING = (30 * 4 + 2 * 18 + 3 * 4 + 8) * DAYS  # the window, 2 carries, 3 blocks ahead, a write
SMALL_RING = (30 * 4 + 2 * 18 + 1 * 4 + 8) * DAYS
NO_RING = (2 * 18 + 2 * 3 * 4 + 8) * DAYS
LEAST = (2 * 18 + 2 * 1 * 4 + 8) * DAYS


@pytest.mark.parametrize(
    ("changes", "limits", "keeps_ring", "projected"),
    [
        ({}, None, True, RING),
        ({}, Limits(memory_per_worker=2 * RING), True, RING),  # a half of it fits exactly
        ({}, Limits(memory_per_worker=2 * RING - 2), True, RING - 4 * DAYS),  # reads less ahead
        ({}, Limits(memory_per_worker=2 * SMALL_RING), True, SMALL_RING),
        ({}, Limits(memory_per_worker=2 * SMALL_RING - 2), False, NO_RING),
        ({"run": {"lookahead": 3}}, Limits(memory_per_worker=2 * RING - 2), False, NO_RING),
        ({}, Limits(memory_per_worker=2 * NO_RING - 2), False, NO_RING - 8 * DAYS),
        ({}, Limits(threads=2), True, RING + 18 * DAYS),  # two threads write, two carries wait
        ({"leap_day": "keep"}, None, True, RING // 365 * 366),
        ({"regions": [EAST, NORTH]}, None, True, RING // 9 * 11),  # 6 cells are shared
        ({"window": 10}, None, True, (10 * 4 + 2 * 18 + 3 * 4 + 8) * DAYS),
        ({"run": {"lookahead": 10}}, None, True, RING + 7 * 4 * DAYS),
        ({"run": {"cores_per_variable": 8}}, None, True, RING + 6 * 4 * DAYS),
        ({"scenarios": []}, None, True, RING),
        ({"scenarios": ["ssp245", "ssp585"]}, None, True, 2 * RING),  # a ring for each branch
        ({"scenarios": ["ssp245", "ssp585"]}, Limits(2 * RING), False, 2 * NO_RING),
        ({"run": {"lookahead": 10}}, Limits(threads=64), True, RING + (9 * 18 + 7 * 4) * DAYS),
    ],
)
def test_the_window_stays_in_memory_if_it_fits_in_half_of_a_worker(
    changes, limits, keeps_ring, projected
):
    one = plan(BOTH, limits=limits, **changes)
    chain = only(one)
    assert (chain.memory.keeps_ring, chain.memory.n_bytes) == (keeps_ring, projected)
    again = [b for r in chain.branches.reads for b in r.blocks if b.again]
    assert bool(again) is not keeps_ring


def test_a_chain_that_does_not_fit_even_without_its_ring_is_noted():
    enough = plan(limits=Limits(memory_per_worker=2 * LEAST))
    assert enough.notes == ()
    (note,) = plan(limits=Limits(memory_per_worker=2 * LEAST - 2)).notes
    assert note.startswith("M/r1i1p1f1/gn/pr: projected memory ")
    assert "more than half of a worker's" in note


def test_without_the_ring_the_leaving_years_are_opened_a_second_time():
    one = plan(replace(NEX, files=NEX.files[1:]), limits=Limits(memory_per_worker=RING))
    assert (one.opens, one.files) == (150 + 120, 150)


@pytest.mark.parametrize(
    ("limits", "at_once"),
    [
        (Limits(), 4),  # no limit: all
        (Limits(memory_per_worker=4 * RING), 2),
        (Limits(memory_per_worker=4 * RING, workers=3), 6),
        (Limits(memory_per_worker=1000), 1),  # one at least
    ],
)
def test_as_many_chains_run_at_once_as_memory_holds(limits, at_once):
    chains = [replace(NEX, model=f"M{i}") for i in range(4)]
    assert plan(*chains, limits=limits).at_once == at_once


def test_long_files_are_read_in_slices_of_a_tenth_of_a_workers_memory():
    one = plan(
        series_of([file_of("historical", 1850, 2000)]),
        scenarios=[],
        targets=2000,
        limits=Limits(memory_per_worker=10 * 7 * 4 * DAYS),
    )
    slices = [r.slice for r in only(one).branches.reads if not r.blocks[0].again]
    assert [(s.first_year, s.last_year) for s in slices] == [
        (1971, 1977),
        (1978, 1984),
        (1985, 1991),
        (1992, 1998),
        (1999, 2000),
    ]
    assert (one.opens, one.files) == (5, 1)


def test_output_bytes_count_float32_of_every_region_and_target():
    one = plan(regions=[EAST, NORTH], targets="2050-2059")
    assert one.output_bytes == 10 * (9 + 8) * 365 * 4
    assert one.n_normals == 20


# --- names and hashes ----------------------------------------------------------------------------


def test_outputs_are_named_by_what_they_are():
    assert paths_of(plan(targets=[2014, 2015, 2044, 2045])) == [
        "M/r1i1p1f1/pr/east/historical/pr_day_M_r1i1p1f1_gn_east_historical_2014_30yr_normal.nc",
        "M/r1i1p1f1/pr/east/hybrid-ssp245/"
        "pr_day_M_r1i1p1f1_gn_east_hybrid-ssp245_2015_30yr_normal.nc",
        "M/r1i1p1f1/pr/east/hybrid-ssp245/"
        "pr_day_M_r1i1p1f1_gn_east_hybrid-ssp245_2044_30yr_normal.nc",
        "M/r1i1p1f1/pr/east/ssp245/pr_day_M_r1i1p1f1_gn_east_ssp245_2045_30yr_normal.nc",
    ]


def test_names_and_hashes_do_not_depend_on_what_else_is_wanted():
    alone = hashes_of(plan(BOTH))
    for changes in ({"scenarios": ["ssp585", "ssp245"]}, {"regions": [NORTH, EAST, "global"]}):
        beside = hashes_of(plan(BOTH, **changes))
        assert len(beside) > len(alone)
        assert {path: beside[path] for path in alone} == alone
    assert len(set(alone.values())) == len(alone)


@pytest.mark.parametrize(
    "changes",
    [
        {"output": {"compression_level": 9}},
        {"output": {"root": "elsewhere"}},
        {"input": {"root": "/moved"}},
        {"run": {"lookahead": 7, "cores_per_variable": 3, "checkpoint_every": 2}},
        {"partial_windows": True},
        {"min_years": 25},  # the default
        {"last_historical_year": 2014},  # what the scenario's name says anyway
    ],
)
@pytest.mark.slow
def test_what_changes_no_number_changes_no_hash(changes):
    assert hashes_of(plan(**changes)) == hashes_of(plan())


@pytest.mark.parametrize(
    "changes",
    [
        {"leap_day": "keep"},
        {"min_years": 24},
        {"output": {"count": True}},
        {"regions": [{**EAST, "lat": [-90, 89.9999999]}]},
        {"regions": [{**EAST, "lon": [0, 179.99]}]},
    ],
)
def test_what_changes_the_numbers_changes_every_hash(changes):
    before, after = hashes_of(plan()), hashes_of(plan(**changes))
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())


@pytest.mark.parametrize(
    ("change", "touches_untimed"),
    [
        ({"size": 1001}, True),
        ({"mtime_ns": 8}, False),  # copied, perhaps: the same to the eye but for its time
        ({"path": "pr/historical/pr_1990-1990_v1.1.nc"}, True),
    ],
)
def test_a_changed_file_changes_the_hashes_of_the_windows_that_hold_it(change, touches_untimed):
    files = [replace(f, **change) if f.start[0] == 1990 else f for f in NEX.files]
    one, other = plan(), plan(series_of(files))
    changed = [f"_{year}_30yr" for year in range(1990, 2020)]
    for timed, touched in ((True, True), (False, touches_untimed)):
        before, after = hashes_of(one, timed=timed), hashes_of(other, timed=timed)
        for path, value in before.items():
            expected = touched and any(year in path for year in changed)
            assert (after[path] != value) is expected
    assert one.digest != other.digest


def test_a_hash_tells_which_of_two_overlapping_files_gives_a_year():
    files = [file_of("historical", 1950, 2014), file_of("ssp245", 2006, 2100)]
    early, late = (
        hashes_of(plan(series_of(files), targets=2030, last_historical_year=year))
        for year in (2010, 2014)
    )
    assert early.keys() == late.keys()  # both are hybrids
    assert early != late


def test_the_hash_of_a_saved_sum_is_of_its_window_and_the_cells():
    chain = only(plan(targets="1990-2020"))
    same = only(plan(targets=2000, min_years=20, output={"count": True, "compression_level": 0}))
    for branch, year in (("historical", 2000), ("ssp245", 2020)):
        assert chain.carry_hash(branch, year) == same.carry_hash(branch, year)
    assert chain.carry_hash("historical", 2000) != chain.carry_hash("historical", 2001)
    touched = [replace(f, mtime_ns=8) if f.start[0] == 1990 else f for f in NEX.files]
    for other, years in (
        (plan(regions=[EAST, NORTH]), []),  # more cells
        (plan(leap_day="keep"), []),
        (plan(window=29), []),
        (plan(series_of(touched)), [1989, 2020]),  # windows without 1990
    ):
        for year in (1989, 1990, 2014, 2019, 2020):
            branch = "historical" if year <= 2014 else "ssp245"
            alike = only(other).carry_hash(branch, year) == chain.carry_hash(branch, year)
            assert alike is (year in years)


def test_a_plan_is_equal_to_itself_made_again():
    one, other = plan(regions=[EAST, NORTH]), plan(regions=[EAST, NORTH])
    assert one is not other
    assert one == other
    assert hash(one) == hash(other)
    assert one.digest == other.digest
    assert paths_of(one) == paths_of(other)
    assert [c.branches for c in one.chains] == [c.branches for c in other.chains]
    assert one != "a plan"


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"targets": "1979-2099"},
        {"regions": [NORTH]},
        {"output": {"root": "elsewhere"}},
        {"limits": Limits(memory_per_worker=RING)},  # other openings
        {"done": Done(checkpoints=frozenset({("M/r1i1p1f1/gn/pr", "historical", 1978)}))},
        {"done": Done(normals=frozenset(paths_of(plan(targets=1990))))},
    ],
)
def test_plans_that_do_other_work_are_told_apart(changes):
    assert plan(**changes).digest != plan().digest
    assert plan(**changes) != plan()


def test_a_plan_is_told_apart_by_its_headers():
    inventory = Inventory(Path("/archive"), (NEX,), ())
    one, other = (
        survey(flow(), inventory, {NEX.id: header_of(NEX, units=units)})
        for units in ("kg m-2 s-1", "mm day-1")
    )
    assert one.digest != other.digest


# --- what is done --------------------------------------------------------------------------------


def test_what_is_done_is_not_planned_again():
    whole = plan(regions=[EAST, NORTH])
    done = [p for p in paths_of(whole) if int(p.split("_")[-3]) < 2050]
    one = plan(regions=[EAST, NORTH], done=Done(frozenset(done)))
    assert (one.n_all, one.n_normals) == (whole.n_all, whole.n_normals - len(done))
    assert paths_of(one) == [p for p in paths_of(whole) if p not in done]
    assert targets_of(one) == targets_of(whole)
    assert one.opens == 80  # 2021-2100
    assert one.output_bytes < whole.output_bytes


def test_only_the_region_that_is_missing_is_written():
    done = Done(frozenset(paths_of(plan())))
    one = plan(regions=[EAST, NORTH], done=done)
    assert {f.region for _, job in one.jobs for f in job.files} == {"north"}
    assert one.n_normals == 122


def test_a_chain_that_is_finished_is_listed_but_not_run():
    temperature = series_of(annual("historical", range(1950, 2015), variable="tas"), variable="tas")
    done = Done(frozenset(paths_of(plan())))
    one = plan(NEX, temperature, done=done)
    assert [c.id for c in one.chains] == ["M/r1i1p1f1/gn/tas"]
    assert [c.id for c in one.all_chains if c not in one.chains] == ["M/r1i1p1f1/gn/pr"]
    assert [c.id for c in one.all_chains] == ["M/r1i1p1f1/gn/pr", "M/r1i1p1f1/gn/tas"]
    assert (one.n_normals, one.n_all, one.at_once, one.homes) == (36, 122 + 36, 1, 1)


def test_nothing_is_left_when_all_is_done():
    one = plan(done=Done(frozenset(paths_of(plan()))))
    assert one.chains == ()
    assert (one.opens, one.n_normals, one.output_bytes, one.homes) == (0, 0, 0, 0)
    assert one.n_all == 122


def test_a_plan_goes_on_from_the_checkpoints_of_its_own_chain():
    done = Done(
        frozenset(p for p in paths_of(plan()) if int(p.split("_")[-3]) < 2051),
        frozenset(
            {
                ("M/r1i1p1f1/gn/pr", "ssp245", 2040),
                ("M/r1i1p1f1/gn/pr", "ssp245", 2045),
                ("M/r1i1p1f1/gn/pr", "ssp245", 2060),  # after the first that is missing
                ("M/r1i1p1f1/gn/tas", "ssp245", 2049),  # of another chain
            }
        ),
    )
    first = only(plan(done=done)).branches.steps["ssp245"][0]
    assert (first.year, first.restores, first.before.year) == (2046, True, 2045)


# --- chains and homes ----------------------------------------------------------------------------


def test_chains_that_share_a_file_share_a_home():
    def sharing(model: str, paths: Iterable[str]) -> Series:
        files = [replace(f, path=p) for f, p in zip(HISTORY, paths, strict=False)]
        return series_of([*HISTORY[len(files) :], *files], model=model)

    paths = [f"{c}.nc" for c in "abcdef"]
    one = sharing("M1", paths[:2])
    two = sharing("M2", paths[2:4])
    three = sharing("M3", ["x.nc", paths[1], paths[2]])  # joins the two, and comes last
    four = sharing("M4", ["y.nc"])
    chains = [
        replace(s, files=tuple(replace(f, path=f"{s.model}/{f.path}") if f in HISTORY else f
                               for f in s.files))
        for s in (one, two, three, four)
    ]  # fmt: skip
    made = plan(*chains, scenarios=[])
    homes = {c.spec.model: c.home for c in made.chains}
    assert homes == {
        "M1": "M1/r1i1p1f1/gn/pr",
        "M2": "M1/r1i1p1f1/gn/pr",
        "M3": "M1/r1i1p1f1/gn/pr",
        "M4": "M4/r1i1p1f1/gn/pr",
    }
    assert made.homes == 2


def test_variables_in_one_file_share_a_home_and_the_openings_of_the_file():
    shared = annual("historical", range(1950, 2015), variable="all")
    made = plan(series_of(shared, "pr"), series_of(shared, "tas"), scenarios=[])
    assert {c.home for c in made.chains} == {"M/r1i1p1f1/gn/pr"}
    assert (made.files, made.opens) == (65, 65)
    assert [len(group) for group in made.together] == [2]
    alone = made.fitted(Limits(memory_per_worker=1))  # with room for one chain at a time
    assert (alone.files, alone.opens, len(alone.together)) == (65, alone.opens, 2)
    assert alone.opens == sum(len(chain.branches.reads) for chain in alone.chains)


def test_chains_of_one_grid_share_its_cells_and_others_have_their_own():
    edges = np.array([[-45.0, -15], [-15, 15], [15, 45]])
    grids = [
        GRID,
        RectilinearGrid(GRID.lat.copy(), GRID.lon.copy()),
        RectilinearGrid(GRID.lat, GRID.lon + 1.0),
    ]
    grids.append(RectilinearGrid(GRID.lat, GRID.lon, lat_bounds=edges))
    chains = [replace(NEX, model=f"M{i}") for i in range(4)]
    headers = {s.id: header_of(s, grid=g) for s, g in zip(chains, grids, strict=True)}
    inventory = Inventory(Path("/archive"), tuple(chains), ())
    one, same, shifted, bounded = (
        c.spec.selection for c in survey(flow(), inventory, headers).chains
    )
    assert same is one
    assert shifted.regions[0].lon.tolist() == [1, 91]
    assert one.regions[0].lat_bounds is None
    assert bounded.regions[0].lat_bounds.tolist() == edges.tolist()


def test_a_chain_without_a_header_fails_alone():
    other = series_of(annual("historical", range(1950, 2015), variable="tas"), variable="tas")
    inventory = Inventory(Path("/archive"), (NEX, other), ())
    headers = {NEX.id: UnreadableFile("pr.nc: not a NetCDF file"), other.id: header_of(other)}
    made = survey(flow(), inventory, headers)
    assert [c.id for c in made.chains] == [other.id]
    assert made.failures == {NEX.id: "pr.nc: not a NetCDF file"}


def test_a_region_without_a_cell_is_an_error():
    with pytest.raises(RegionError, match="region pole"):
        plan(regions=[EAST, POLE])


def test_a_chain_knows_what_its_tasks_need():
    spec = only(
        plan(leap_day="keep", window=20, output={"count": True, "compression_level": 2})
    ).spec
    assert (spec.id, spec.window, spec.min_years) == ("M/r1i1p1f1/gn/pr", 20, 17)  # ceil(16.7)
    assert (spec.count, spec.compression_level) == (True, 2)
    assert (len(spec.axis), spec.cell_days) == (366, 366 * 9)


def test_a_job_says_where_each_year_comes_from():
    (job,) = (job for _, job in plan(targets=2016).jobs)
    assert (job.branch, job.window.first_year, job.window.last_year) == ("ssp245", 1987, 2016)
    assert [s.year for s in job.sources] == list(range(1987, 2017))
    assert [s.experiment for s in job.sources] == ["historical"] * 28 + ["ssp245"] * 2
    assert [f.path for f in job.sources[-1].files] == ["pr/ssp245/pr_2016-2016.nc"]
    assert plan().input_path(job.sources[-1].files[0]) == Path("/archive/pr/ssp245/pr_2016-2016.nc")


def test_years_of_a_bad_archive_stay_in_their_scenario():
    # Each branch has its own gaps; a year that one scenario lacks is not taken from another.
    files = [f for f in BOTH.files if (f.scenario, f.start[0]) != ("ssp245", 2030)]
    one = plan(series_of(files), scenarios=["ssp245", "ssp585"], targets=2040)
    there = {job.branch: {s.year: s.files for s in job.sources} for _, job in one.jobs}
    assert there["ssp245"][2030] == ()
    assert [f.scenario for f in there["ssp585"][2030]] == ["ssp585"]
    assert one.notes == ("M/r1i1p1f1/gn/pr: gap: no file of ssp245 for 2030",)


def test_a_model_whose_record_is_too_short_fails_alone():
    short = series_of(annual("historical", range(2000, 2015)), model="short")
    made = plan(short, NEX)
    assert [c.spec.model for c in made.chains] == ["M"]
    assert "2000-2014; shorten window" in made.failures["short/r1i1p1f1/gn/pr"]
    with pytest.raises(PlanError, match="shorten window"):
        plan(short)


# --- fast, and the same --------------------------------------------------------------------------


def plain_digest(chain: Chain, branch: str, window: Window, *, timed: bool) -> str:
    """The hash of the files of a window as version 0.1 made it, year by year."""
    given = {y: chain.found.year(branch, y).files for y in window.years}
    files = sorted({f for own in given.values() for f in own})
    history = min(chain.spec.periods.last_historical_year, window.last_year)
    about = [[f.path, f.size, f.mtime_ns if timed else None] for f in files]
    split = [
        [y, [f.path for f in own]]
        for y, own in given.items()
        if len({f.scenario for f in own} - {""}) > 1
    ]
    return digest_of(history, about, *split)


@pytest.mark.parametrize(
    "one",
    [
        plan(BOTH, scenarios=["ssp245", "ssp585"]),
        plan(series_of(HADGEM2), scenarios=["rcp45", "rcp85"], targets="1980-2040"),
        plan(series_of([f for f in NEX.files if f.start[0] % 7])),
    ],
    ids=["annual", "split", "gaps"],
)
def test_hashes_that_are_put_together_are_those_of_the_whole(one: Plan):
    for chain, job in one.jobs:
        timed, untimed = (
            plain_digest(chain, job.branch, job.window, timed=timed) for timed in (True, False)
        )
        assert chain.found.digests(job.branch, job.window) == (timed, untimed)
        (region,) = chain.spec.selection.regions
        keys = chain.spec.deciding_keys(region.place)
        (file,) = job.files
        assert file.input_hash == digest_of(*keys, timed)
        assert file.untimed_hash == digest_of(*keys, untimed)


def test_normals_are_counted_as_they_are_written():
    normals = [{"over_years": ["mean", "std"]}, {"each": "season"}]
    whole = plan(normals=normals, regions=[EAST, NORTH])
    keys = sorted(f.key for _, job in whole.jobs for f in job.files)
    for done in (frozenset(), frozenset(keys[::3]), frozenset(keys[5:]), frozenset(keys)):
        one = plan(normals=normals, regions=[EAST, NORTH], done=Done(done))
        assert one.n_normals == sum(len(job.files) for _, job in one.jobs) == 488 - len(done)
        sizes = {"day": 365 * (4 + 4), "seas": 4 * 4}
        cells = {"east": 9, "north": 8}
        assert one.output_bytes == sum(
            sizes[f.frequency] * cells[f.region] for _, job in one.jobs for f in job.files
        )


def test_chains_that_share_files_with_a_third_one_share_its_home():
    parts = [annual("historical", range(first, first + 40)) for first in (1950, 1980, 1975)]
    one, other, between = (
        series_of(files, model=model) for files, model in zip(parts, "CBA", strict=True)
    )
    apart = replace(NEX, model="D", variable="tas", files=tuple(annual("", range(1800, 1900))))
    chains = plan(between, other, one, apart, scenarios=[], variables=["pr", "tas"]).chains
    homes = {chain.spec.model: chain.home for chain in chains}
    assert {homes[model] for model in "ABC"} == {"A/r1i1p1f1/gn/pr"}
    assert homes["D"] == "D/r1i1p1f1/gn/tas"

"""The inventory: which files there are by their names, and what is wrong with them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from climdask.errors import InventoryError
from climdask.inputs.inventory import (
    PATTERNS,
    InFiles,
    InputFile,
    Inventory,
    Query,
    Series,
    check_pattern,
    describe,
    take_inventory,
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(path.name))


def take(
    root: Path, pattern: str = "nex-gddp", *, fixed: dict[str, str] | None = None, **wanted: Any
) -> Inventory:
    wanted = {"variable": ["tas"], **wanted}
    return take_inventory(Query(root, pattern, wanted, fixed or {}))


def told(root: Path, pattern: str = "nex-gddp", **more: Any) -> str:
    with pytest.raises(InventoryError) as caught:
        take(root, pattern, **more)
    return str(caught.value)


def nex(year: int, version: str = "", *, scenario: str = "historical", **facets: str) -> str:
    got = {"variable": "tas", "model": "MIROC6", "member": "r1i1p1f1", "grid": "gn"} | facets
    suffix = f"_{version}" if version else ""
    return (
        f"{got['variable']}/{scenario}/{got['variable']}_day_{got['model']}_{scenario}_"
        f"{got['member']}_{got['grid']}_{year}{suffix}.nc"
    )


def paths(files: Iterable[InputFile]) -> list[str]:
    return [f.path for f in files]


def only(inventory: Inventory) -> Series:
    (series,) = inventory.series
    return series


# ---------------------------------------------------------------- patterns


@pytest.mark.parametrize(
    ("pattern", "name", "chain", "scenario", "version"),
    [
        (
            "nex-gddp",
            "tas/ssp245/tas_day_MIROC6_ssp245_r1i1p1f1_gn_2015.nc",
            "MIROC6/r1i1p1f1/gn/tas",
            "ssp245",
            (),
        ),
        (
            "nex-gddp",
            "tas/ssp245/tas_day_MIROC6_ssp245_r1i1p1f1_gn_2015_v1.1.nc",
            "MIROC6/r1i1p1f1/gn/tas",
            "ssp245",
            (1, 1),
        ),
        (
            "nex-gddp-cmip6",
            "CMCC-ESM2/historical/r1i1p1f1/tas/tas_day_CMCC-ESM2_historical_r1i1p1f1_gn_2014_v2.0.nc",
            "CMCC-ESM2/r1i1p1f1/gn/tas",
            "historical",
            (2, 0),
        ),
        (
            "cmip6",
            "tas_day_NESM3_historical_r1i1p1f1_gr1_19800101-20141231.nc",
            "NESM3/r1i1p1f1/gr1/tas",
            "historical",
            (),
        ),
        (
            "cmip5",
            "tas_day_EC-EARTH_historical_r1i1p1_18500101-18591231.nc",
            "EC-EARTH/r1i1p1/gn/tas",
            "historical",
            (),
        ),
        # own patterns: any folders, wildcards, optional parts
        (
            "{model}/*/{variable}.{year}.{member}.nc",
            "M1/whatever_it-is/tas.1999.r1.nc",
            "M1/r1/gn/tas",
            "",
            (),
        ),
        (
            "*{variable}*[.{member}]_{model}_{year}[_final][_{version}].nc4",
            "daily-tas-0p25.r7_M1_1999_v3.nc4",
            "M1/r7/gn/tas",
            "",
            (3,),
        ),
        (
            "./data//{variable}_{model}_{member}_{year}.nc",
            "data/tas_M1_r1_1999.nc",
            "M1/r1/gn/tas",
            "",
            (),
        ),
    ],
)
def test_names_are_understood(
    tmp_path: Path, pattern: str, name: str, chain: str, scenario: str, version: tuple[int, ...]
) -> None:
    touch(tmp_path, name, "README.txt", "other/file.nc", f"{name}.part")
    inventory = take(tmp_path, pattern)
    series = only(inventory)
    assert series.id == chain
    (file,) = series.files
    assert (file.path, file.scenario, file.version) == (name, scenario, version)
    assert (inventory.root, inventory.n_files, inventory.notes) == (tmp_path, 1, ())


def test_facets_that_the_names_do_not_say_are_given(tmp_path: Path) -> None:
    touch(tmp_path, "tiny_tas.nc")
    fixed = {"model": "M1", "member": "r1", "start": "19500101", "end": "2100", "grid": "gr",
             "scenario": "rcp26"}  # fmt: skip
    (file,) = only(take(tmp_path, "tiny_{variable}.nc", fixed=fixed)).files
    assert (file.start, file.end) == ((1950, 1, 1), (2100, 12, 31))
    assert (len(file.years), file.scenario) == (151, "rcp26")
    assert only(take(tmp_path, "tiny_{variable}.nc", fixed=fixed)).id == "M1/r1/gr/tas"


def test_what_a_name_says_wins_over_what_is_given_for_names_that_do_not(tmp_path: Path) -> None:
    touch(tmp_path, "tas_M1_r1_gr2_1999.nc", "tas_M1_r1_2000.nc")
    pattern = "{variable}_{model}_{member}[_{grid}]_{year}.nc"
    found = take(tmp_path, pattern, fixed={"grid": "gr1"})
    assert [s.id for s in found.series] == ["M1/r1/gr1/tas", "M1/r1/gr2/tas"]


def test_a_name_without_a_scenario_serves_every_scenario(tmp_path: Path) -> None:
    touch(tmp_path, "tas_M1_r1_1999.nc")
    pattern = "{variable}_{model}_{member}_{year}.nc"
    series = only(take(tmp_path, pattern, scenario=["historical", "ssp245"]))
    assert series.of("historical") == series.of("ssp245") == series.files


def test_only_what_is_wanted_is_found(tmp_path: Path) -> None:
    names = [nex(y, scenario=s, model=m, variable=v, member=r)
             for y in (2014, 2015) for s in ("historical", "ssp245") for m in ("A", "AB")
             for v in ("tas", "tasmax") for r in ("r1i1p1f1", "r11i1p1f1")]  # fmt: skip
    touch(tmp_path, *names)
    everything = take(tmp_path, variable=["tas", "tasmax"])
    assert (len(everything.series), everything.n_files) == (8, 32)
    assert [s.id for s in everything.series] == sorted(s.id for s in everything.series)
    some = take(tmp_path, variable=["tas"], model=["A"], member=["r1i1p1f1"], scenario=["ssp245"])
    assert paths(only(some).files) == [
        nex(y, scenario="ssp245", model="A") for y in (2014, 2015)
    ]  # fmt: skip


def test_a_folder_and_a_name_must_agree(tmp_path: Path) -> None:
    stray = "tas/ssp245/tas_day_MIROC6_historical_r1i1p1f1_gn_2014.nc"
    other = "pr/historical/tas_day_MIROC6_historical_r1i1p1f1_gn_2013.nc"
    touch(tmp_path, nex(2014), stray, other)
    assert paths(only(take(tmp_path)).files) == [nex(2014)]


def test_size_and_time_of_a_file_are_recorded(tmp_path: Path) -> None:
    touch(tmp_path, nex(2014))
    os.utime(tmp_path / nex(2014), ns=(5, 1_234_567_890_123_456_789))
    (file,) = only(take(tmp_path)).files
    assert file.size == len(Path(nex(2014)).name)
    assert file.mtime_ns == 1_234_567_890_123_456_789


def test_links_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "store", "a.nc")
    (tmp_path / "in/tas/historical").mkdir(parents=True)
    (tmp_path / "in" / nex(2014)).symlink_to(tmp_path / "store" / "a.nc")
    (file,) = only(take(tmp_path / "in")).files
    assert (file.path, file.size) == (nex(2014), 4)


@pytest.mark.parametrize("name", list(PATTERNS))
def test_the_named_patterns_are_sound(name: str) -> None:
    check_pattern(PATTERNS[name], {})


@pytest.mark.parametrize(
    ("pattern", "fixed", "words"),
    [
        (
            "{variable}_{yaer}.nc",
            {},
            ['"{yaer}" is no facet', 'did you mean "year"?', "known: model"],
        ),
        ("nexgddp", {}, ["has no {facet}", 'did you mean "nex-gddp"?']),
        ("{}.nc", {}, ['"{}" is no facet']),
        (
            "{variable}_{member}_{year}.nc",
            {},
            ["does not say the model", '"model: …" to input.facets'],
        ),
        ("{variable}_{model}_{year}.nc", {}, ["does not say the member"]),
        ("/{variable}_{model}_{member}_{year}.nc", {}, ["must stay below input.root"]),
        ("../{variable}_{model}_{member}_{year}.nc", {}, ["must stay below input.root"]),
        ("{variable}/../{model}_{member}_{year}.nc", {}, ["must stay below input.root"]),
        ("{variable}[_{model}_{member}_{year}.nc", {}, ["brackets do not pair up"]),
        ("[{variable}/{model}]_{member}_{year}.nc", {}, ["brackets do not pair up"]),
        ("[{variable}[_{model}]]_{member}_{year}.nc", {}, ["brackets do not pair up"]),
        ("]{variable}[_{model}_{member}_{year}.nc", {}, ["brackets do not pair up"]),
        (
            "{variable}_{model}_{member}_{year}.nc",
            {"model": "X"},
            ["says the model itself", "remove it"],
        ),
        ("{variable}_{model}_{member}_{year}.nc", {"start": "1950"}, ["says the start itself"]),
    ],
)
def test_a_pattern_that_cannot_work_is_told(
    pattern: str, fixed: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(InventoryError) as caught:
        Query(Path("/x"), pattern, {"variable": ["tas"]}, fixed).check()
    for word in (f'input.pattern "{pattern}"', *words):
        assert word in str(caught.value)


# ---------------------------------------------------------------- versions and doubles


def test_the_newest_version_is_used_and_older_ones_are_reported(tmp_path: Path) -> None:
    touch(tmp_path, nex(1950), nex(1950, "v1.1"), nex(1950, "v1.9"), nex(1950, "v1.10"))
    touch(tmp_path, nex(1951), nex(1952, "v1.2"), nex(1952, "v2"))
    inventory = take(tmp_path)
    assert paths(only(inventory).files) == [nex(1950, "v1.10"), nex(1951), nex(1952, "v2")]
    newest, newest_2 = (Path(nex(y, v)).name for y, v in ((1950, "v1.10"), (1952, "v2")))
    assert sorted(inventory.notes) == [
        f"{nex(1950)}: passed over, {newest} is newer",
        f"{nex(1950, 'v1.1')}: passed over, {newest} is newer",
        f"{nex(1950, 'v1.9')}: passed over, {newest} is newer",
        f"{nex(1952, 'v1.2')}: passed over, {newest_2} is newer",
    ]


@given(
    st.lists(
        st.lists(st.integers(0, 12), min_size=1, max_size=3),
        min_size=1,
        max_size=5,
        unique_by=tuple,
    )
)
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
def test_versions_compare_as_numbers(
    tmp_path_factory: pytest.TempPathFactory, versions: list[list[int]]
) -> None:
    root = tmp_path_factory.getbasetemp() / "versions"
    shutil.rmtree(root, ignore_errors=True)
    names = {tuple(v): nex(1950, "v" + ".".join(map(str, v))) for v in versions}
    touch(root, nex(1950), *names.values())
    inventory = take(root)
    assert paths(only(inventory).files) == [names[max(names)]]
    assert len(inventory.notes) == len(names)


def test_two_files_of_one_version_for_the_same_year_are_an_error_that_names_both(
    tmp_path: Path,
) -> None:
    pattern = "{variable}*_{model}_{member}_{year}[_{version}].nc"
    one, two = "tas_M1_r1_1999_v1.0.nc", "tas-copy_M1_r1_1999_v1.0.nc"
    touch(tmp_path, one, two)
    text = told(tmp_path, pattern)
    for word in (str(tmp_path / one), str(tmp_path / two), "the same days", "remove one"):
        assert word in text


def test_one_year_of_two_scenarios_is_no_double(tmp_path: Path) -> None:
    touch(tmp_path, nex(2014), nex(2014, scenario="ssp245"))
    series = only(take(tmp_path))
    assert [len(series.of(s)) for s in ("historical", "ssp245", "ssp585")] == [1, 1, 0]


def cmip(start: str, end: str) -> str:
    return f"tas_day_M1_historical_r1_gn_{start}-{end}.nc"


def test_files_of_several_years_may_touch_and_share_a_year(tmp_path: Path) -> None:
    names = [cmip("18591201", "18691130"), cmip("18691201", "18791130"), cmip("188001", "188912")]
    touch(tmp_path, *names)
    series = only(take(tmp_path, "cmip6"))
    assert paths(series.files) == names
    first, second, third = series.files
    assert (first.years, second.years) == (range(1859, 1870), range(1869, 1880))
    assert not first.is_whole(1869)
    assert not second.is_whole(1869)
    assert first.is_whole(1860)
    assert third.is_whole(1889)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("19500101", "19591231"), ("19590101", "19691231")),  # overlap
        (("19500101", "19591231"), ("19591231", "19691231")),  # by a day
        (("1950", "1959"), ("19500101", "19591231")),  # the same
        (("1950", "1999"), ("196001", "196012")),  # within
    ],
)
def test_files_of_several_years_that_overlap_are_an_error_that_names_both(
    tmp_path: Path, one: tuple[str, str], two: tuple[str, str]
) -> None:
    touch(tmp_path, cmip(*one), cmip(*two))
    text = told(tmp_path, "cmip6")
    assert cmip(*one) in text
    assert cmip(*two) in text
    assert "the same days" in text


def test_a_newer_version_that_holds_more_replaces_an_older_one_and_one_that_holds_less_does_not(
    tmp_path: Path,
) -> None:
    pattern = "{variable}_{model}_{member}_{start}-{end}[_{version}].nc"
    touch(tmp_path, "tas_M1_r1_1950-1959_v1.nc", "tas_M1_r1_1950-1969_v2.nc")
    inventory = take(tmp_path, pattern)
    assert paths(only(inventory).files) == ["tas_M1_r1_1950-1969_v2.nc"]
    touch(tmp_path, "tas_M1_r1_1950-1955_v3.nc")
    text = told(tmp_path, pattern)
    assert re.search(r"1950-1955_v3\.nc is newer than .*1950-1969_v2\.nc, but does not hold", text)


# ---------------------------------------------------------------- dates


@pytest.mark.parametrize(
    ("start", "end", "dates"),
    [
        ("1950", "1959", ((1950, 1, 1), (1959, 12, 31))),
        ("195002", "195911", ((1950, 2, 1), (1959, 11, 31))),
        ("19500203", "19591130", ((1950, 2, 3), (1959, 11, 30))),
        ("1950", "19591130", ((1950, 1, 1), (1959, 11, 30))),
        ("20000230", "20000230", ((2000, 2, 30), (2000, 2, 30))),  # of 360 days
    ],
)
def test_dates_have_years_months_or_days(
    tmp_path: Path, start: str, end: str, dates: tuple[Any, Any]
) -> None:
    touch(tmp_path, cmip(start, end))
    (file,) = only(take(tmp_path, "cmip6")).files
    assert (file.start, file.end) == dates


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (
            "19501301",
            "1959",
            '"19501301" in its name is no date; expected YYYY, YYYYMM or YYYYMMDD',
        ),
        ("19500132", "1959", '"19500132"'),
        ("19500001", "1959", '"19500001"'),
        ("1950", "19595", '"19595"'),
        ("1950", "1959123", '"1959123"'),
        ("1960", "1950", "its name ends (1950) before it starts (1960)"),
    ],
)
def test_dates_that_are_none_are_told(tmp_path: Path, start: str, end: str, words: str) -> None:
    touch(tmp_path, cmip(start, end))
    text = told(tmp_path, "cmip6")
    assert words in text
    assert cmip(start, end) in text


@pytest.mark.parametrize(
    ("end", "whole"), [("20091130", False), ("20091230", True), ("20091231", True), ("2009", True)]
)
def test_a_year_is_whole_up_to_its_30th_december(tmp_path: Path, end: str, whole: bool) -> None:
    touch(tmp_path, cmip("2000", end))
    (file,) = only(take(tmp_path, "cmip6")).files
    assert file.is_whole(2009) is whole
    assert file.is_whole(2000)


def test_a_name_without_years_needs_them_in_facets(tmp_path: Path) -> None:
    touch(tmp_path, "tas_M1_r1.nc")
    text = told(tmp_path, "{variable}_{model}_{member}.nc")
    for word in ("tas_M1_r1.nc", "which years", "{start}-{end}", "input.facets"):
        assert word in text


# ---------------------------------------------------------------- nothing, or not what was meant


def test_a_root_that_is_no_folder_is_told_with_the_cure(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    for root in (tmp_path / "no", tmp_path / "file"):
        text = told(root)
        for word in ("input.root", str(root), "is not a folder", "--input-root"):
            assert word in text


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    text = told(tmp_path)
    for word in (str(tmp_path), "holds no .nc file", "variable tas", PATTERNS["nex-gddp"]):
        assert word in text


def test_where_no_name_matches_some_that_are_there_are_shown(tmp_path: Path) -> None:
    names = [f"daily/tas_{year}.nc" for year in range(2000, 2010)]
    touch(tmp_path, *names, "README.txt")
    text = told(tmp_path)
    assert (
        "there is, for instance, daily/tas_2000.nc, daily/tas_2001.nc, daily/tas_2002.nc;" in text
    )
    assert "correct input.root, input.pattern" in text


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"variable": ["tsa"]}, ['variable "tsa"', "found pr, tas", 'did you mean "tas"?']),
        ({"variable": ["tas", "prr"]}, ['variable "prr"', 'did you mean "pr"?']),
        (
            {"scenario": ["historical", "ssp254"]},
            ['scenario "ssp254"', "found historical, ssp245", 'did you mean "ssp245"?'],
        ),
        ({"scenario": ["ssp119"]}, ['scenario "ssp119"', "found historical, ssp245"]),
        ({"model": ["MIROC-6"]}, ['model "MIROC-6"', 'did you mean "MIROC6"?']),
        ({"model": ["MIROC6", "CESM"]}, ['model "CESM"', "found MIROC6"]),
        ({"member": ["r1i1p1"]}, ['member "r1i1p1"', 'did you mean "r1i1p1f1"?']),
        ({"grid": ["gr"]}, ['grid "gr"', "found gn"]),
    ],
)
def test_what_is_wanted_and_not_there_is_told_with_a_near_miss(
    tmp_path: Path, wanted: dict[str, list[str]], words: list[str]
) -> None:
    touch(tmp_path, nex(2014), nex(2015, scenario="ssp245"), nex(2014, variable="pr"))
    text = told(tmp_path, **wanted)
    for word in (*words, str(tmp_path)):
        assert word in text


def test_where_several_things_are_wrong_at_once_what_is_there_is_shown(tmp_path: Path) -> None:
    touch(tmp_path, nex(2014))
    text = told(tmp_path, variable=["tsa"], model=["MIROC"])
    assert f"there is, for instance, {nex(2014)}" in text
    assert "variable tsa, model MIROC" in text


def test_a_wanted_grid_that_names_cannot_say_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "tas_day_M1_historical_r1_19500101-19591231.nc")
    assert 'grid "gr": no file of it' in told(tmp_path, "cmip5", grid=["gr"])
    assert only(take(tmp_path, "cmip5", grid=["gr"], fixed={"grid": "gr"})).grid == "gr"


def test_a_folder_that_is_named_like_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / nex(2014)).mkdir(parents=True)
    assert "_2014.nc: is a folder, but is named like an input file" in told(tmp_path)


@pytest.mark.parametrize("name", ["zarr.json", ".zgroup"])
def test_a_zarr_store_that_is_named_like_a_file_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / nex(2014)).mkdir(parents=True)
    (tmp_path / nex(2014) / name).write_text("{}")
    text = told(tmp_path)
    assert "_2014.nc: is a Zarr store" in text
    assert "to_netcdf" in text


def test_advice_on_a_name_without_the_variable_is_not_refused_by_the_next_check(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "M1_r1_1999.nc")
    text = told(tmp_path, "[{variable}_]{model}_{member}_{year}.nc")
    assert "its name does not say the variable; narrow input.pattern" in text
    assert "input.facets" not in text


def test_a_link_to_nowhere_is_told(tmp_path: Path) -> None:
    touch(tmp_path, nex(2013))
    (tmp_path / nex(2014)).symlink_to(tmp_path / "gone.nc")
    assert "_2014.nc: is a link to a file that is not there" in told(tmp_path)


def test_a_file_that_is_named_like_a_folder_is_passed_by(tmp_path: Path) -> None:
    touch(tmp_path, nex(2014), "tas/ssp245")
    assert take(tmp_path).n_files == 1


def test_a_folder_that_cannot_be_listed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, nex(2014))
    real = os.listdir

    def listdir(folder: Path) -> list[str]:
        if Path(folder).name == "historical":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "listdir", listdir)
    assert "tas/historical: cannot be listed (Permission denied)" in told(tmp_path)


def test_an_optional_facet_that_a_name_lacks_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "tas_M1_1999.nc")
    text = told(tmp_path, "{variable}_{model}[_{member}]_{year}.nc")
    for word in ("tas_M1_1999.nc", "does not say the member", "input.facets"):
        assert word in text


@pytest.mark.parametrize("model", ["..", "-x", "a b", "ä"])
def test_a_facet_that_cannot_name_a_folder_is_told(tmp_path: Path, model: str) -> None:
    name = f"tas_{model}_r1_1999.nc"
    touch(tmp_path, name)
    text = told(tmp_path, "{variable}_{model}_{member}_{year}.nc")
    assert f'{name}: by its name the model is "{model}"' in text


# ---------------------------------------------------------------- large archives


def test_folders_of_other_models_and_variables_are_never_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name(model: str, scenario: str, variable: str) -> str:
        return (
            f"{model}/{scenario}/r1i1p1f1/{variable}/"
            f"{variable}_day_{model}_{scenario}_r1i1p1f1_gn_2014.nc"
        )

    touch(
        tmp_path,
        *(
            name(m, s, v)
            for m in ("A", "AB", "B")
            for s in ("historical", "ssp245", "ssp585")
            for v in ("tas", "tasmax")
        ),
    )
    listed: list[str] = []
    real = os.listdir

    def listdir(folder: Path) -> Sequence[str]:
        listed.append(Path(folder).relative_to(tmp_path).as_posix())
        return real(folder)

    monkeypatch.setattr(os, "listdir", listdir)
    wanted = {"model": ["A"], "scenario": ["historical", "ssp245"]}
    assert take(tmp_path, "nex-gddp-cmip6", **wanted).n_files == 2
    assert sorted(listed) == [
        ".",
        "A",
        "A/historical",
        "A/historical/r1i1p1f1",
        "A/historical/r1i1p1f1/tas",
        "A/ssp245",
        "A/ssp245/r1i1p1f1",
        "A/ssp245/r1i1p1f1/tas",
    ]


def test_a_series_is_described_by_its_years(tmp_path: Path) -> None:
    touch(tmp_path, *(nex(y) for y in (1950, 1951, 1953)), nex(2015, scenario="ssp245"))
    assert describe(only(take(tmp_path))) == (
        "historical 1950-1951, 1953 (3 files); ssp245 2015 (1 file)"
    )


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        (b"\x1b[2J", r"has the control character \x1b"),
        (b"\n", r"has the control character \n"),
        (b"\xff", r"has the byte that is not UTF-8, \udcff"),
        ("\u202e".encode(), r"has the control character \u202e"),
    ],
)
def test_a_name_that_no_message_can_show_is_refused_if_it_matches(
    sign: bytes, words: str, tmp_path: Path
) -> None:
    folder = tmp_path / "tas"
    folder.mkdir()
    (folder / "tas_2001.nc").touch()
    shown = os.fsdecode(sign)
    (folder / f"{shown}tas.txt").touch()
    pattern, facets = "{variable}/*_{year}.nc", {"model": "m", "member": "r", "scenario": "h"}
    query = Query(tmp_path, pattern, {"variable": ["tas"]}, facets)
    assert take_inventory(query).n_files == 1, "what does not match is not looked at"
    (folder / f"tas{shown}_2002.nc").touch()
    with pytest.raises(InventoryError) as error:
        take_inventory(query)
    assert words in str(error.value)
    assert f"{folder}: the name of an input" in str(error.value)
    assert "remove that character, or narrow input.pattern" in str(error.value)
    str(error.value).encode()
    assert not set(str(error.value)) & set("\x1b\n\u202e")


# ---------------------------------------------------------------- names without the variable

OBS = {"model": "OBS", "member": "r1"}


def with_own(root: Path, variables: dict[str, InFiles], pattern: str = "nex-gddp") -> Inventory:
    return take_inventory(Query(root, pattern, {"variable": list(variables)}, OBS, variables))


def test_a_file_whose_name_does_not_say_the_variable_serves_each_that_is_looked_for(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "era5_1990.nc", "era5_1991.nc")
    found = take(tmp_path, "era5_{year}.nc", fixed=OBS, variable=["tas", "pr"])
    assert [s.id for s in found.series] == ["OBS/r1/gn/pr", "OBS/r1/gn/tas"]
    assert {tuple(paths(s.files)) for s in found.series} == {("era5_1990.nc", "era5_1991.nc")}
    assert not any(s.is_alone or s.name for s in found.series)


def test_a_variable_that_is_looked_for_alone_may_have_any_name_inside(tmp_path: Path) -> None:
    touch(tmp_path, "era5_1990.nc")
    assert only(take(tmp_path, "era5_{year}.nc", fixed=OBS)).is_alone
    named = with_own(tmp_path, {"tas": InFiles("t2m")}, "era5_{year}.nc")
    assert (only(named).is_alone, only(named).name) == (False, "t2m")


def test_variables_may_have_patterns_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "rain/1990_p.nc", "t_1990.nc", "tas/x_1990.nc")
    own = {"pr": InFiles("precip", "rain/{year}_p.nc"), "tas": InFiles()}
    found = with_own(tmp_path, own, "{variable}/x_{year}.nc")
    assert [(s.variable, s.name, paths(s.files)) for s in found.series] == [
        ("pr", "precip", ["rain/1990_p.nc"]),
        ("tas", "", ["tas/x_1990.nc"]),
    ]


def test_a_pattern_of_a_variable_that_nothing_matches_is_told_by_its_key(tmp_path: Path) -> None:
    touch(tmp_path, "tas_1990.nc")
    own = {"pr": InFiles(pattern="pr_{year}.nc"), "tas": InFiles(pattern="tas_{year}.nc")}
    with pytest.raises(InventoryError) as error:
        with_own(tmp_path, own)
    for word in ('variables.pr.file "pr_{year}.nc" with variable pr', "for instance, tas_1990.nc"):
        assert word in str(error.value)


def test_a_file_that_fits_two_patterns_is_told_unless_the_names_inside_are_given(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "pr_tas_1990.nc")
    patterns = {"pr": "pr_*{year}.nc", "tas": "*tas_{year}.nc"}
    with pytest.raises(InventoryError) as error:
        with_own(tmp_path, {v: InFiles(pattern=p) for v, p in patterns.items()})
    for word in (
        "pr_tas_1990.nc: fits both variables.pr.file and variables.tas.file",
        "narrow one of the patterns",
        "variables: {tas: {name: …}}",
    ):
        assert word in str(error.value)
    named = with_own(tmp_path, {v: InFiles(v, p) for v, p in patterns.items()})
    assert len(named.series) == 2


def test_a_facet_that_some_patterns_say_and_others_do_not_may_be_given(tmp_path: Path) -> None:
    touch(tmp_path, "pr_M1_1990.nc", "tas_1990.nc")
    own = {"pr": InFiles(pattern="pr_{model}_{year}.nc"), "tas": InFiles(pattern="tas_{year}.nc")}
    found = with_own(tmp_path, own)
    assert [s.id for s in found.series] == ["M1/r1/gn/pr", "OBS/r1/gn/tas"]


# ---------------------------------------------------------------- one date for a file


@pytest.mark.parametrize(
    ("pattern", "name", "start", "end"),
    [
        ("t_{year}{month}.nc", "t_199002.nc", (1990, 2, 1), (1990, 2, 31)),
        ("{year}/{month}.nc", "1990/02.nc", (1990, 2, 1), (1990, 2, 31)),
        ("{year}/{month}/t{day}.nc", "1990/02/t03.nc", (1990, 2, 3), (1990, 2, 3)),
        ("*/t.{date}.nc", "199002/t.19900203.nc", (1990, 2, 3), (1990, 2, 3)),
        ("{year}/t_{date}_*.nc", "1990/t_1990-02-03_x.nc", (1990, 2, 3), (1990, 2, 3)),
    ],
)
def test_a_name_may_say_a_month_or_a_day(
    tmp_path: Path, pattern: str, name: str, start: object, end: object
) -> None:
    touch(tmp_path, name)
    (file,) = only(take(tmp_path, pattern, fixed=OBS)).files
    assert (file.start, file.end, file.is_of_one_year) == (start, end, True)
    assert file.claim == (start, end)


def test_a_file_whose_name_says_no_end_reaches_up_to_the_next_one(tmp_path: Path) -> None:
    touch(tmp_path, "t_1990.nc", "t_1995.nc", "t_20000301.nc")
    series = only(take(tmp_path, "t_{start}.nc", fixed=OBS))
    assert [(f.start, f.end) for f in series.files[:2]] == [
        ((1990, 1, 1), (1994, 12, 31)),
        ((1995, 1, 1), (2000, 2, 31)),
    ]
    assert paths(series.endless) == ["t_20000301.nc"]
    ended = series.ending({"t_20000301.nc": (2001, 5, 4)})
    assert not ended.endless
    assert ended.files[-1].claim == ((2000, 3, 1), (2001, 5, 4))


def test_a_path_that_says_two_years_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "1991/t_19900203.nc")
    text = told(tmp_path, "{year}/t_{date}.nc", fixed=OBS)
    assert "its path says the year 1991, but its name the date 1990-02-03" in text


def test_a_month_without_a_year_is_told(tmp_path: Path) -> None:
    assert "{month} is no date without {year}" in told(tmp_path, "t_{month}.nc", fixed=OBS)


def test_two_layouts_in_one_folder_are_told_where_they_hold_the_same_days(tmp_path: Path) -> None:
    touch(tmp_path, "t_1990.nc", "t_199002.nc")
    text = told(tmp_path, "t_{year}[{month}].nc", fixed=OBS)
    assert "t_1990.nc and" in text
    assert "t_199002.nc hold the same days, and nothing in their names says which" in text


def test_the_few_files_that_do_not_fit_are_named_and_left_out(tmp_path: Path) -> None:
    touch(tmp_path, *(f"t_{year}.nc" for year in range(1900, 2000)), "README.txt")
    touch(tmp_path, "t_1990_old.nc", "t_199002.nc", "t-1990.nc", "t_2o00.nc", "more/x.nc")
    inventory = take(tmp_path, "t_{year}.nc", fixed=OBS)
    assert inventory.n_files == 100
    assert inventory.notes == (
        "4 files of 104 left out, as input.pattern does not fit: t-1990.nc, t_199002.nc, "
        "t_1990_old.nc and 1 more",
    )


def test_files_of_what_is_not_wanted_are_no_files_that_do_not_fit(tmp_path: Path) -> None:
    touch(tmp_path, "tas_1990.nc", "pr_1990.nc", "rain_1990.nc")
    assert not take(tmp_path, "{variable}_{year}.nc", fixed=OBS).notes
    own = {"tas": InFiles(pattern="tas_{year}.nc"), "pr": InFiles(pattern="rain_{year}.nc")}
    (note,) = with_own(tmp_path, own).notes
    assert note.endswith("as variables.tas.file or variables.pr.file does not fit: pr_1990.nc")


def test_names_of_days_that_come_once_a_month_are_told_with_the_cure(tmp_path: Path) -> None:
    touch(tmp_path, *(f"t_1990{month:02}01.nc" for month in range(1, 13)))
    text = told(tmp_path, "t_{date}.nc", fixed=OBS)
    for word in (
        "t_19900101.nc: by its name it holds 1990-01-01 only, and the next file 1990-02-01",
        "write {start} for the date in input.pattern",
        "means of months cannot be used",
    ):
        assert word in text
    assert only(take(tmp_path, "t_{start}.nc", fixed=OBS)).files[0].end == (1990, 1, 31)


def test_days_with_gaps_of_a_month_between_them_are_days(tmp_path: Path) -> None:
    touch(tmp_path, "t_19900101.nc", "t_19900102.nc", "t_19900501.nc")
    assert take(tmp_path, "t_{date}.nc", fixed=OBS).n_files == 3

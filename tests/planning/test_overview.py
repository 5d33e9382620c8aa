"""Printed plans of many chains, and plans as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from climdask.errors import ClimdaskError, UnreadableFile
from climdask.inputs.headers import Header
from climdask.inputs.inventory import InputFile, Inventory, Series
from climdask.planning.content import content
from climdask.planning.plan import Limits, Plan
from climdask.planning.survey import survey
from tests.planning.test_plan import EAST, NORTH, annual, flow, header_of, series_of

SCENARIOS = ["ssp245", "ssp585"]
NEX = [
    *annual("historical", range(1950, 2015)),
    *(file for scenario in SCENARIOS for file in annual(scenario, range(2015, 2101))),
]


def series(variable: str, model: str, files: Iterable[InputFile] = NEX) -> Series:
    own = (replace(file, path=f"{model}/{variable}/{file.path}") for file in files)
    return series_of(own, variable, model)


def archive(models: int) -> list[Series]:
    return [series(v, f"M{n:02}") for n in range(models) for v in ("pr", "tas")]


def planned(
    found: list[Series],
    failing: Mapping[str, str] = {},
    units: Mapping[str, str] = {},
    **changes: Any,
) -> Plan:
    headers: dict[str, Header | ClimdaskError] = {s.id: header_of(s) for s in found}
    headers |= {name: header_of(found[0], units=unit) for name, unit in units.items()}
    headers |= {name: UnreadableFile(why) for name, why in failing.items()}
    given = {"variables": ["pr", "tas"], "scenarios": SCENARIOS, "regions": [EAST], **changes}
    inventory = Inventory(Path("/archive"), tuple(found), ())
    return survey(flow(**given), inventory, headers).fitted(Limits(1 << 30, 2, 2))


def starting(one: Plan, word: str) -> list[str]:
    return [line for line in str(one).splitlines() if line.startswith(word)]


def row(one: Plan, name: str) -> list[str]:
    (line,) = (line for line in str(one).splitlines() if line.split()[:1] == [name])
    return line.split()[1:]


@pytest.mark.slow
def test_thirty_chains_are_told_one_by_one_and_more_as_a_table():
    one = planned(archive(15))
    assert len(starting(one, "chain ")) == 30
    assert starting(one, "table") == []
    many = planned(archive(16))
    assert starting(many, "chain ") == []
    assert len(str(many).splitlines()) < len(str(one).splitlines()) / 4
    assert starting(many, "total") == [
        "total    32 chains, 6,656 normals, 7,584 opens of 7,584 files, "
        f"output at most {str(many).rpartition('at most ')[2]}"
    ]


@pytest.mark.slow
def test_the_table_has_a_row_for_each_model_and_the_target_years_of_each_variable():
    one = planned(archive(16))
    head = starting(one, "table")
    assert head == [
        "table    target years of historical + ssp245 + ssp585; memory of the largest chain"
    ]
    assert row(one, "model/member/grid") == ["pr", "tas", "files", "opens", "memory"]
    assert row(one, "M07/r1i1p1f1/gn")[:4] == ["36+86+86", "36+86+86", "474", "474"]
    lines = str(one).splitlines()
    first = lines.index(head[0]) + 1
    assert len({len(line) for line in lines[first : first + 17]}) == 1, "columns stand in line"


@pytest.mark.slow
def test_the_table_shows_what_is_not_there_and_what_failed():
    found = archive(16)
    found[6] = series("pr", "M03", [f for f in NEX if f.scenario != "ssp585"])
    del found[9]  # tas of M04
    name = "M05/r1i1p1f1/gn/pr"
    one = planned(found, {name: "a.nc: is empty"})
    assert row(one, "M03/r1i1p1f1/gn")[:2] == ["36+86+0", "36+86+86"]
    assert row(one, "M04/r1i1p1f1/gn")[:2] == ["36+86+86", "-"]
    assert row(one, "M05/r1i1p1f1/gn")[:2] == ["FAILED", "36+86+86"]
    assert starting(one, "FAILED") == [f"FAILED   {name}: a.nc: is empty"]
    both = planned(found, {name: "a", "M05/r1i1p1f1/gn/tas": "b"})
    assert row(both, "M05/r1i1p1f1/gn") == ["FAILED", "FAILED", "0", "0", "-"]
    assert len(starting(both, "FAILED")) == 2


@pytest.mark.slow
def test_each_note_of_many_chains_names_all_of_them():
    found = archive(16)
    with_gap = [f for f in NEX if f.start[0] != 1960]
    for place in (0, 3, 8):
        found[place] = series(found[place].variable, found[place].model, with_gap)
    found[5] = series("tas", "M02", [f for f in NEX if f.start[0] != 1970])
    assert starting(planned(found), "note ") == [
        "note     3 chains: gap: no file of historical for 1960: M00/r1i1p1f1/gn/pr, "
        "M01/r1i1p1f1/gn/tas, M04/r1i1p1f1/gn/pr",
        "note     M02/r1i1p1f1/gn/tas: gap: no file of historical for 1970",
    ]
    few = planned(found[:10])
    assert len(starting(few, "note ")) == 4, "a note for each chain, where all are shown"


def test_what_chains_have_in_common_is_told_once_and_who_differs_by_name():
    odd = "M03/r1i1p1f1/gn/tas"
    one = planned(archive(16), units={odd: "degC"}, targets="2000-2020")
    assert starting(one, "calendar") == ["calendar standard (32 chains)"]
    assert starting(one, "units") == [
        "units    pr: kg m-2 s-1 (16 chains)",
        "units    tas: kg m-2 s-1 (15 chains)",
        f"units    tas: degC (1 chain: {odd})",
    ]
    assert starting(one, "targets") == [
        "targets  historical 2000-2014 (32 chains)",
        "targets  ssp245 2015-2020 (32 chains)",
        "targets  ssp585 2015-2020 (32 chains)",
    ]


# --- JSON ----------------------------------------------------------------------------------------


def test_a_plan_as_json_says_what_the_plan_does():
    name = "M01/r1i1p1f1/gn/pr"
    normals = [{"over_years": ["mean", "std"]}, {"each": "month"}]
    one = planned(archive(2), {name: "a.nc: is empty"}, regions=[EAST, NORTH], normals=normals)
    said = json.loads(json.dumps(content(one)))
    assert said["failures"] == {name: "a.nc: is empty"}
    assert said["totals"] == {
        "chains": 3, "failed_chains": 1, "normals": one.n_normals, "opens": one.opens,
        "files": one.files, "output_bytes": one.output_bytes,
    }  # fmt: skip
    assert [chain["id"] for chain in said["chains"]] == [chain.id for chain in one.chains]
    first = said["chains"][0]
    assert first["targets"] == {
        "historical": [*range(1979, 2015)], **{s: [*range(2015, 2101)] for s in SCENARIOS},
    }  # fmt: skip
    assert first["inputs"]["ssp245"] == {
        "files": 86, "bytes": 86_000, "years": [*range(2015, 2101)],
    }  # fmt: skip
    assert first["products"] == {"day": ["pr", "pr_std"], "mon": ["pr"]}
    assert [region["name"] for region in first["regions"]] == ["east", "north"]
    assert first["memory"]["bytes"] == one.chains[0].memory.n_bytes
    for key in ("normals", "opens", "output_bytes"):
        assert sum(chain[key] for chain in said["chains"]) == said["totals"][key]
    assert said["cluster"]["workers"] == 2
    assert said["cluster"]["memory_per_worker"] == 1 << 30


@pytest.mark.slow
@pytest.mark.parametrize("models", [1, 16])
def test_notes_are_told_one_by_one_in_json(models: int):
    files = [f for f in NEX if f.start[0] != 1960]
    found = [series(v, f"M{n:02}", files) for n in range(models) for v in ("pr", "tas")]
    assert len(content(planned(found))["notes"]) == 2 * models

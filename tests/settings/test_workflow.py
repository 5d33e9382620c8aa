"""The workflow: what is accepted, and that every mistake is told with key, value and cure."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from climdask.climatology.places import DEFAULT_REGIONS, Box
from climdask.errors import ConfigError
from climdask.settings.workflow import Workflow, load, schema, span

BASE: dict[str, Any] = {
    "input": {"root": "/data"},
    "variables": ["tas", "pr"],
    "regions": ["CONUS"],
}
BOX = {"name": "box", "lon": [230, 260], "lat": [30, 50]}


def message(**changes: Any) -> str:
    content = {k: v for k, v in {**BASE, **changes}.items() if v is not ...}
    with pytest.raises(ConfigError) as caught:
        load(content)
    return str(caught.value)


# ---------------------------------------------------------------- what is accepted


def test_a_minimal_workflow_has_the_documented_defaults() -> None:
    flow = load(BASE)
    assert flow.input.pattern == "nex-gddp"
    assert (flow.window, flow.years_needed, flow.leap_day) == (30, 25, "drop")
    assert (flow.historical, flow.scenarios, flow.targets) == ("historical", [], ["all"])
    assert (flow.models, flow.members, flow.grids) == (None, None, None)
    assert flow.partial_windows is False
    assert (flow.output.root, flow.output.compression_level, flow.output.count) == (
        Path("normals"), 1, False,
    )  # fmt: skip
    assert (flow.run.cores_per_variable, flow.run.on_bad_file, flow.run.retries) == (1, "fail", 2)
    assert flow.boxes == (DEFAULT_REGIONS["CONUS"],)


@pytest.mark.parametrize(
    ("window", "min_years", "needed"),
    [(30, None, 25), (30, 30, 30), (10, None, 9), (1, None, 1), (31, None, 26), (5, 2, 2)],
)
def test_the_default_of_min_years_is_25_in_30_rounded_up(
    window: int, min_years: int | None, needed: int
) -> None:
    assert load({**BASE, "window": window, "min_years": min_years}).years_needed == needed


@pytest.mark.parametrize(
    ("run", "lookahead"),
    [
        ({}, 3),
        ({"cores_per_variable": 2}, 3),
        ({"cores_per_variable": 8}, 9),
        ({"lookahead": 1}, 1),
    ],
)
def test_reads_run_ahead_by_three_years_or_the_cores_and_one(
    run: dict[str, int], lookahead: int
) -> None:
    assert load({**BASE, "run": run}).run.lookaheads[0] == lookahead


def test_one_value_may_stand_for_a_list() -> None:
    flow = load(
        {
            **BASE,
            "variables": "tas",
            "scenarios": "ssp245",
            "models": "MIROC6",
            "members": "r1i1p1f1",
            "grids": "gn",
            "regions": BOX,
            "targets": 2010,
        }
    )
    assert (flow.variables, flow.scenarios, flow.targets) == (["tas"], ["ssp245"], [2010])
    assert (flow.models, flow.members, flow.grids) == (["MIROC6"], ["r1i1p1f1"], ["gn"])
    assert flow.boxes == (Box("box", 230.0, 260.0, 30.0, 50.0),)


def test_own_regions_stand_beside_the_shipped_ones_and_may_replace_them() -> None:
    own = {"name": "AK", "lon": [-170, -140], "lat": [55, 70]}
    flow = load({**BASE, "regions": ["CONUS", own, "global"]})
    assert [str(b) for b in flow.boxes] == [
        "CONUS (234 to 294 E, 24 to 50 N)",
        "AK (-170 to -140 E, 55 to 70 N)",
        "global (the whole grid)",
    ]


@pytest.mark.parametrize("lon", [[350, 10], [-10, 10], [170, -170], [0, 360], [5, 5]])
def test_a_box_may_wrap_and_may_be_given_in_either_convention(lon: list[float]) -> None:
    (box,) = load({**BASE, "regions": [{**BOX, "lon": lon}]}).boxes
    assert (box.west, box.east) == tuple(lon)


@pytest.mark.parametrize(
    "targets",
    [2010, "2010-2020", "all", "hybrid", [1980, "1990-1999", "scenario"], [" 2000 - 2010 "]],
)
def test_targets_are_years_ranges_and_periods(targets: Any) -> None:
    flow = load({**BASE, "targets": targets})
    assert flow.targets == (targets if isinstance(targets, list) else [targets])


def test_a_query_asks_for_what_is_named() -> None:
    flow = load({
        **BASE,
        "input": {"root": "/data", "pattern": "cmip5", "facets": {"grid": "gr"}},
        "scenarios": ["rcp26", "rcp85"],
        "members": "r1i1p1",
    })  # fmt: skip
    query = flow.query
    assert (query.root, query.pattern, query.fixed) == (Path("/data"), "cmip5", {"grid": "gr"})
    assert query.wanted == {
        "variable": ["tas", "pr"],
        "scenario": ["historical", "rcp26", "rcp85"],
        "member": ["r1i1p1"],
    }


def test_roots_given_beside_the_file_win(tmp_path: Path) -> None:
    path = tmp_path / "workflow.yaml"
    path.write_text(yaml.safe_dump({**BASE, "output": {"root": "a", "count": True}}))
    flow = load(path, input_root=tmp_path, output_root="b")
    assert (flow.input.root, flow.output.root, flow.output.count) == (tmp_path, Path("b"), True)
    same = load(path, input_root=None, output_root=None)
    assert (same.input.root, same.output.root) == (Path("/data"), Path("a"))
    del (content := dict(BASE))["input"]
    assert load(content, input_root="/x").input.root == Path("/x")
    assert "input" not in content, "what was given is left alone"


def test_a_root_given_beside_a_broken_section_is_told() -> None:
    with pytest.raises(ConfigError, match="output: expected keys and values"):
        load({**BASE, "output": "normals"}, output_root="b")


def test_an_override_needs_no_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIMDASK_NOPE", raising=False)
    content = {**BASE, "input": {"root": "${CLIMDASK_NOPE}/in"}}
    assert "input.root" in message(input=content["input"])
    assert load(content, input_root="/x").input.root == Path("/x")
    monkeypatch.setenv("CLIMDASK_NOPE", "/scratch")
    assert load(content).input.root == Path("/scratch/in")


def test_a_workflow_cannot_be_changed() -> None:
    flow = load(BASE)
    with pytest.raises(ValueError, match="frozen"):
        flow.window = 5


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # unknown keys at every level
        (
            {"variabels": ["x"]},
            ["variabels: unknown key", 'did you mean "variables"?', "known keys:"],
        ),
        (
            {"input": {"root": "/", "pattren": "x"}},
            ["input.pattren", '"pattern"?', "known keys of input"],
        ),
        ({"output": {"fromat": "netcdf"}}, ["output.fromat", 'did you mean "format"?']),
        ({"run": {"retires": 1}}, ["run.retires", 'did you mean "retries"?']),
        ({"regions": [{**BOX, "lonn": 1}]}, ["regions[0].lonn", 'did you mean "lon"?']),
        (
            {"input": {"root": "/", "facets": {"modle": "x"}}},
            ["input.facets.modle: 'modle'", '"model"?'],
        ),
        # missing keys
        ({"variables": ...}, ["variables: missing", "add it"]),
        ({"regions": ...}, ["regions: missing", "CONUS"]),
        ({"input": ...}, ["input: missing"]),
        ({"input": {}}, ["input.root: missing (Folder below which"]),
        ({"regions": ["CONUS", {"name": "x", "lon": [1, 2]}]}, ["regions[1].lat: missing"]),
        # sections that are none
        ({"run": None}, ["run: None: expected keys and values: cores_per_variable"]),
        ({"input": "/data"}, ["input: '/data': expected keys and values: root, pattern, facets"]),
        # regions
        (
            {"regions": ["CONSU"]},
            ['"CONSU" is none of CONUS, AK', 'did you mean "CONUS"?', "own box"],
        ),
        ({"regions": ["CONUS", "CONUS"]}, ["CONUS is named more than once"]),
        ({"regions": ["AK", {**BOX, "name": "AK"}]}, ["AK is named more than once"]),
        ({"regions": []}, ["regions: []", "at least 1"]),
        ({"regions": [5]}, ["regions[0]: 5"]),
        (
            {"regions": [{**BOX, "lat": [230, 260], "lon": [30, 50]}]},
            ["are lat and lon swapped?", "230"],
        ),
        ({"regions": [{**BOX, "lat": [50, 30]}]}, ["lat [50.0, 30.0] must be [south, north]"]),
        ({"regions": [{**BOX, "lat": [30, 91]}]}, ["within -90 to 90"]),
        ({"regions": [{**BOX, "lon": [-190, 10]}]}, ["lon [-190.0, 10.0]", "within -180 to 360"]),
        ({"regions": [{**BOX, "lon": [float("nan"), 10]}]}, ["lon [nan, 10.0]"]),
        ({"regions": [{**BOX, "lat": [float("nan"), 10]}]}, ["lat [nan, 10.0]"]),
        ({"regions": [{**BOX, "lon": [1, 2, 3]}]}, ["regions[0].lon: [1, 2, 3]", "at most 2"]),
        ({"regions": [{**BOX, "lon": ["west", 2]}]}, ["regions[0].lon[0]: 'west'", "number"]),
        ({"regions": [{**BOX, "name": "../up"}]}, ["regions[0].name: '../up'", "letters, digits"]),
        ({"regions": [{**BOX, "name": ".hidden"}]}, ["regions[0].name: '.hidden'"]),
        ({"regions": [{**BOX, "name": "a_b"}]}, ["regions[0].name: 'a_b'"]),
        ({"regions": [{**BOX, "name": "x" * 81}]}, ["regions[0].name", "at most 80"]),
        # names that would be folders
        ({"variables": ["../../etc"]}, ["variables[0]: '../../etc'", "letters, digits and _ only"]),
        ({"models": "a/b"}, ["models[0]: 'a/b'"]),
        ({"members": ["r1 i1"]}, ["members[0]: 'r1 i1'"]),
        ({"scenarios": ["..", "ssp245"]}, ["scenarios[0]: '..'"]),
        ({"historical": "hist/orical"}, ["historical: 'hist/orical'"]),
        ({"input": {"root": "/", "facets": {"model": "../x"}}}, ["input.facets.model: '../x'"]),
        ({"grids": ["gn\n"]}, ["grids[0]: 'gn\\n'"]),
        # lists
        ({"variables": []}, ["variables: []", "at least 1"]),
        ({"models": []}, ["models: []", "at least 1"]),
        ({"variables": ["tas", "pr", "tas"]}, ["variables", "tas is named more than once"]),
        ({"scenarios": ["ssp245", "ssp245"]}, ["ssp245 is named more than once"]),
        ({"scenarios": ["ssp245", "historical"]}, ['"historical" is the historical experiment']),
        ({"variables": {"tas": 1}}, ["variables.tas: 1: expected keys and values: name, file"]),
        ({"variables": {"tas": {"nam": "t2m"}}}, ["variables.tas.nam", 'did you mean "name"?']),
        ({"variables": {}}, ["variables", "at least 1"]),
        (
            {"variables": {"tas": {"file": "tas_{yer}.nc"}}},
            ['variables.tas.file "tas_{yer}.nc": "{yer}" is no facet', 'mean "year"?'],
        ),
        (
            {"variables": {"tas": {"file": "tas_{year}.nc"}}},
            ["variables.tas.file", "does not say the model", '"model: …" to input.facets'],
        ),
        # numbers
        ({"min_years": 31}, ["min_years: 31 is more than window: 30", "never has that many"]),
        ({"window": 10, "min_years": 11}, ["min_years: 11 is more than window: 10"]),
        ({"min_years": 0}, ["min_years: 0", "greater than or equal to 1"]),
        ({"window": 0}, ["window: 0"]),
        ({"window": "thirty"}, ["window: 'thirty'", "integer"]),
        ({"window": 30.5}, ["window: 30.5"]),
        ({"window": True}, ["window: True: YAML reads this as true or false"]),
        ({"last_historical_year": 20140}, ["last_historical_year: 20140", "9999"]),
        ({"run": {"cores_per_variable": 0}}, ["run.cores_per_variable: 0"]),
        ({"run": {"lock_timeout": 0}}, ["run.lock_timeout: 0", "greater than 0"]),
        ({"run": {"retries": -1}}, ["run.retries: -1"]),
        ({"output": {"compression_level": 10}}, ["output.compression_level: 10", "9"]),
        ({"output": {"count": "maybe"}}, ["output.count: 'maybe'", "boolean"]),
        # choices
        ({"leap_day": "dorp"}, ["leap_day: 'dorp'", "'drop' or 'keep'", 'did you mean "drop"?']),
        (
            {"output": {"format": "netcfd"}},
            ["output.format: 'netcfd'", "'netcdf'", 'mean "netcdf"?'],
        ),
        ({"run": {"on_bad_file": "skpi"}}, ["run.on_bad_file: 'skpi'", 'did you mean "skip"?']),
        # targets
        ({"targets": "hybird"}, ["targets", '"hybird"', 'did you mean "hybrid"?', "1980-2100"]),
        ({"targets": ["2020-1990"]}, ['"2020-1990" is neither a range of years']),
        ({"targets": ["1980-21000"]}, ['"1980-21000" is neither']),
        ({"targets": []}, ["targets: []", "at least 1"]),
        ({"targets": 1.5}, ["targets: 1.5", "no year"]),
        ({"targets": True}, ["targets: True"]),
        ({"targets": [None]}, ["targets", "None is no year"]),
        # what YAML makes of bare words
        ({"models": [False]}, ["models[0]: False", 'put it in quotes ("False")']),
        ({"members": [1]}, ["members[0]: 1", 'put it in quotes ("1")']),
        (
            {"input": {"root": "/", "facets": {"start": 1950}}},
            ["input.facets.start: 1950", '("1950")'],
        ),
        # patterns
        (
            {"input": {"root": "/", "pattern": "nex-gdpp"}},
            ['"nex-gdpp"', 'did you mean "nex-gddp"?'],
        ),
        ({"input": {"root": "/", "pattern": "{variable}_{yaer}.nc"}}, ['"{yaer}"', 'mean "year"?']),
        (
            {"input": {"root": "/", "pattern": "{variable}_{model}_{year}.nc"}},
            ["does not say the member", '"member: …" to input.facets'],
        ),
    ],
)
def test_a_mistake_is_told_with_key_and_value(changes: dict[str, Any], words: list[str]) -> None:
    told = message(**changes)
    for word in words:
        assert word in told
    assert told.startswith("workflow: ")
    assert "pydantic" not in told


def test_a_file_is_named_in_its_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**BASE, "windw": 1, "min_years": 0}))
    with pytest.raises(ConfigError) as caught:
        load(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}: ") for line in lines)


@pytest.mark.parametrize(
    ("text", "years"),
    [("1980-2100", range(1980, 2101)), ("5-5", range(5, 6)), (" 1-2 ", range(1, 3))],
)
def test_a_span_of_years_includes_both_ends(text: str, years: range) -> None:
    assert span(text) == years


# ---------------------------------------------------------------- the schema


SCHEMA = json.loads(schema())
ACCEPTS = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["title"] == "climdask workflow"
    described = [k for k, v in SCHEMA["properties"].items() if "description" not in v]
    assert set(described) <= {"input", "output", "run"}, "an editor shows descriptions"


name = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9.+-]{0,8}\Z")
variable = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_]{0,8}\Z")


def one_or_more(item: st.SearchStrategy[Any], least: int = 1) -> st.SearchStrategy[Any]:
    return item | st.lists(item, min_size=least, max_size=3, unique_by=str)


box = st.fixed_dictionaries({
    "name": name,
    "lon": st.lists(st.integers(-180, 360) | st.floats(-180, 360), min_size=2, max_size=2),
    "lat": st.lists(st.floats(-90, 90), min_size=2, max_size=2).map(sorted),
})  # fmt: skip
workflows = st.fixed_dictionaries(
    {
        "input": st.fixed_dictionaries(
            {"root": st.just("/data")},
            optional={
                "pattern": st.sampled_from(["cmip5", "{variable}/{model}_{member}_{year}.nc"]),
                "facets": st.dictionaries(st.sampled_from(["grid", "scenario"]), name),
            },
        ),
        "variables": one_or_more(variable),
        "regions": one_or_more(st.sampled_from(sorted(DEFAULT_REGIONS)) | box),
    },
    optional={
        "models": one_or_more(name) | st.none(),
        "members": one_or_more(name),
        "grids": one_or_more(name),
        "historical": name,
        "scenarios": one_or_more(name, least=0),
        "last_historical_year": st.integers(1, 9999) | st.none(),
        "window": st.integers(10, 40),
        "min_years": st.integers(1, 10) | st.none(),
        "leap_day": st.sampled_from(["drop", "keep"]),
        "partial_windows": st.booleans(),
        "targets": one_or_more(st.integers(1900, 2100) | st.sampled_from(["all", "1980-1990"])),
        "output": st.fixed_dictionaries(
            {}, optional={"root": st.just("out"), "count": st.booleans(),
                          "compression_level": st.integers(0, 9),
                          "format": st.sampled_from(["netcdf", "zarr"])},
        ),
        "run": st.fixed_dictionaries(
            {}, optional={"lookahead": st.integers(1, 9) | st.none(), "lock_dir": st.just("/locks"),
                          "lock_timeout": st.integers(1, 9), "on_bad_file": st.just("skip")},
        ),
    },
)  # fmt: skip


@given(workflows)
@settings(deadline=None, max_examples=200)
@pytest.mark.slow
def test_the_schema_accepts_what_load_accepts(content: dict[str, Any]) -> None:
    try:
        flow = load(content)
    except ConfigError as error:  # drawn names may be doubled
        assert re.search("more than once|historical experiment|has no effect", str(error))  # noqa: PT017
        return
    ACCEPTS.validate(content)
    ACCEPTS.validate(json.loads(flow.model_dump_json()))
    assert load(flow.model_dump(mode="json")) == flow


def test_the_schema_accepts_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIMDASK_A", "MIROC6")
    content = {**BASE, "models": ["${CLIMDASK_A}"], "input": {"root": "${CLIMDASK_A}/x"}}
    assert load(content).models == ["MIROC6"]
    ACCEPTS.validate(content)


@pytest.mark.parametrize(
    "changes",
    [
        {"variabels": ["x"]},
        {"input": {"root": "/", "pattren": "x"}},
        {"output": {"fromat": "netcdf"}},
        {"run": {"retires": 1}},
        {"regions": [{**BOX, "lonn": 1}]},
        {"input": {"root": "/", "facets": {"modle": "x"}}},
        {"regions": []},
        {"variables": []},
        {"variables": ["../x"]},
        {"models": "../x"},
        {"window": 0},
        {"window": True},
        {"leap_day": "dorp"},
        {"regions": [{**BOX, "lon": [1, 2, 3]}]},
        {"targets": []},
    ],
)
def test_the_schema_rejects_unknown_keys_and_wrong_values(changes: dict[str, Any]) -> None:
    assert not ACCEPTS.is_valid({**BASE, **changes})
    message(**changes)


def test_every_key_of_the_workflow_is_in_the_schema() -> None:
    assert set(SCHEMA["properties"]) == set(Workflow.model_fields)
    for section in ("input", "output", "run"):
        model = Workflow.model_fields[section].annotation
        found = SCHEMA["$defs"][model.__name__]["properties"]
        assert set(found) == set(model.model_fields)


def test_a_home_folder_in_the_input_root_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    content = {"input": {"root": "~/data"}, "variables": ["pr"], "regions": ["global"]}
    assert load(content).query.root == Path("/home/me/data")

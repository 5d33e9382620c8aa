"""The workflows that are shipped: each loads, and its comments explain its keys."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from climdask.inputs.inventory import PATTERNS
from climdask.settings.workflow import Workflow, load, schema

ROOT = Path(__file__).parents[2]
QUICKSTART = Path(str(files("climdask.cli").joinpath("quickstart.yaml")))
SHIPPED = [*sorted((ROOT / "workflows").glob("*.yaml")), QUICKSTART]

shipped = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8").replace("@FOLDER@", "folder")


def keys_of(content: Any, prefix: str = "") -> set[str]:
    """Return every key of a workflow, such as ``run.lookahead``; not those within lists."""
    if not isinstance(content, dict):
        return set()
    below = (keys_of(value, f"{prefix}{key}.") for key, value in content.items())
    return {prefix + key for key in content}.union(*below)


@pytest.fixture(autouse=True)
def _names_are_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in SHIPPED:
        for name in re.findall(r"\$\{(\w+)\}", re.sub("#.*", "", text_of(path))):
            monkeypatch.setenv(name, str(tmp_path))


def test_there_is_a_workflow_for_each_real_data_set() -> None:
    assert {"canesm2-cmip5", "ec-earth-cmip5", "nex-gddp-cmip6", "oisst-tasman"} <= {
        path.stem for path in SHIPPED
    }


@shipped
def test_a_shipped_workflow_loads(path: Path, tmp_path: Path) -> None:
    mine = tmp_path / "workflow.yaml"
    mine.write_text(text_of(path), encoding="utf-8")
    flow = load(mine)
    assert isinstance(flow, Workflow)
    if path != QUICKSTART:
        assert flow.input.root == tmp_path, "where the data lies comes from the environment"


@shipped
def test_a_shipped_workflow_fits_the_schema_for_editors(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(text_of(path)), json.loads(schema()))


@shipped
def test_a_shipped_workflow_names_no_folder_of_ours(path: Path) -> None:
    assert "../shared" not in text_of(path)
    assert str(ROOT) not in text_of(path)


@shipped
def test_a_shipped_workflow_says_at_its_top_what_it_is_for_and_how_it_is_run(path: Path) -> None:
    top = text_of(path).split("\n\n")[0]
    assert all(line.startswith("#") for line in top.splitlines())
    assert "climdask run" in top
    if path != QUICKSTART:
        assert "Data:" in top, "which public data set it is for"
        (name,) = set(re.findall(r"\$\{(\w+)\}", re.sub("#.*", "", text_of(path))))
        assert f"set {name}" in top


def test_the_nex_gddp_workflow_uses_and_explains_every_key() -> None:
    text = text_of(ROOT / "workflows/nex-gddp-cmip6.yaml")
    schema_ = json.loads(schema())
    known = set(schema_["properties"])
    for section in ("input", "output", "run"):
        name = schema_["properties"][section]["$ref"].rsplit("/", 1)[1]
        known |= {f"{section}.{key}" for key in schema_["$defs"][name]["properties"]}
    # These follow from the archive's own names, or are what nobody needs for it.
    elsewhere = {"grids", "historical", "last_historical_year", "input.facets"}
    used = keys_of(yaml.safe_load(text)) | {
        f"{section}.{key}"
        for section in ("input", "run", "output")
        for key in re.findall(r"^  # (\w+): \S+$", text, flags=re.M)
    }
    assert known - used <= elsewhere


@shipped
def test_a_comment_explains_each_key_of_a_shipped_workflow(path: Path) -> None:
    bare, above = set(), ""
    for line in text_of(path).splitlines():
        found = re.match(r" *(\w+):", line)
        if found and not above:
            bare.add(found[1])
        if not found:  # a comment serves the keys below it, up to an empty line
            above = line.strip() if line.strip()[:1] in ("#", "-") else ""
    assert bare <= {"input", "output", "run", "variables", "root", "format"}


@shipped
def test_the_patterns_that_comments_name_are_those_that_exist(path: Path) -> None:
    for name in re.findall(r"^\s*# ?(nex-gddp[\w-]*|cmip\d):", text_of(path), flags=re.M):
        assert name in PATTERNS
    flow = yaml.safe_load(text_of(path))
    pattern = flow["input"].get("pattern", "nex-gddp")
    assert pattern in PATTERNS or "{variable}" in pattern


def test_the_comments_quote_patterns_as_they_are() -> None:
    assert PATTERNS["nex-gddp"] in text_of(QUICKSTART)
    assert PATTERNS["cmip5"] in text_of(ROOT / "workflows/ec-earth-cmip5.yaml")

"""What documents say of files, modules, commands and keys is right."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from climdask.cli.arguments import command_line
from climdask.settings import profiles, workflow

ROOT = Path(__file__).parents[1]
GUIDES = [ROOT / f"{name}.md" for name in ("ARCHITECTURE", "CONTRIBUTING", "README")]
DOCUMENTS = sorted([*GUIDES, *ROOT.glob("docs/**/*.md")])
# Places of the source that stand in a document as `inputs/access.py`.
_MODULE = re.compile(r"`((?:climdask/)?[a-z]+/[a-z0-9_]+\.(?:py|html))`")
_LINK = re.compile(r"\]\((?!http|#)([^)#]+)")


def test_there_are_documents_and_they_name_modules() -> None:
    assert len(DOCUMENTS) >= 5
    assert sum(len(_MODULE.findall(d.read_text(encoding="utf-8"))) for d in DOCUMENTS) > 30


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.relative_to(ROOT).as_posix())
def test_each_module_and_link_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for name in _MODULE.findall(text):
        assert (ROOT / name).is_file() or (ROOT / "climdask" / name).is_file(), name
    for link in _LINK.findall(text):
        assert (document.parent / link.strip()).exists(), link


def test_each_decision_is_in_the_list_of_decisions() -> None:
    listed = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs/decisions").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in listed


def test_each_package_is_in_the_picture_of_the_packages() -> None:
    picture = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for package in (ROOT / "climdask").iterdir():
        if (package / "__init__.py").is_file():
            assert f"<b>{package.name}</b>" in picture


ALLOWED = {
    "ARCHITECTURE.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md",
    "benchmarks", "climdask", "cluster", "docs", "pyproject.toml", "tests", "workflows",
}  # fmt: skip


def test_the_top_level_holds_what_belongs_there_and_nothing_that_a_test_left() -> None:
    known = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, timeout=60
    )
    if known.returncode != 0:
        pytest.skip("not a git repository")
    top = {name.split(b"/")[0].decode() for name in known.stdout.split(b"\0") if name}
    assert {name for name in top if not name.startswith(".")} <= ALLOWED


# ---------------------------------------------------------------- what readers type


def blocks(document: Path, *languages: str) -> Iterator[str]:
    """Yield the blocks of code in some languages; "" for none."""
    text = document.read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language in languages:
            yield block


def commands(document: Path) -> Iterator[list[str]]:
    """Yield what stands behind ``climdask`` in each command of a document."""
    for block in blocks(document, "", "sh"):
        for part in re.split(r"\n|&&|[|>]", block):
            words = shlex.split(part.rstrip("& "), comments=True) if "climdask " in part else []
            if "climdask" in words:
                yield words[words.index("climdask") + 1 :]


COMMANDS = [(document, argv) for document in DOCUMENTS for argv in commands(document)]
YAML = [(document, block) for document in DOCUMENTS for block in blocks(document, "yaml")]


def name_of(value: object) -> str:
    return value.relative_to(ROOT).as_posix() if isinstance(value, Path) else ""


def test_the_blocks_of_documents_are_found() -> None:
    assert len(COMMANDS) > 40
    assert len(YAML) > 15


@pytest.mark.parametrize(("document", "argv"), COMMANDS, ids=name_of)
def test_each_command_of_a_document_is_understood(document: Path, argv: list[str]) -> None:
    command_line().parse_args(argv)  # SystemExit if not


@pytest.mark.parametrize(("document", "block"), YAML, ids=name_of)
def test_each_yaml_of_a_document_is_accepted(
    document: Path, block: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NEX_GDDP_ROOT", str(tmp_path))
    content = yaml.safe_load(block)
    if isinstance(content, list):  # entries of one key
        content = {"regions" if "lon" in content[0] else "normals": content}
    if "kind" in content:
        profiles.load_profile(content)
        return
    least: dict[str, Any] = {
        "input": {"root": str(tmp_path)},
        "variables": ["pr", "tas", "tasmax", "tasmin"],
        "regions": ["CONUS"],
    }
    workflow.load(content if "regions" in content and "input" in content else {**least, **content})


def test_the_readme_is_short_and_has_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    assert '\npip install . && climdask quickstart\npip install ".[test]" && pytest\n' in text


# ---------------------------------------------------------------- the reference made from code


@pytest.fixture(scope="module")
def keys() -> ModuleType:
    place = importlib.util.spec_from_file_location("docs_keys", ROOT / "docs/_extensions/keys.py")
    assert place is not None
    assert place.loader is not None
    module = sys.modules["docs_keys"] = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def test_the_reference_has_every_key_of_the_schema_once(keys: ModuleType) -> None:
    schema = json.loads(workflow.schema())
    groups = keys.groups_of(workflow.Workflow, schema, anchor="workflow")
    told = sorted(key.name for group in groups for key in group.keys)
    sections = [schema, *schema["$defs"].values()]
    assert told == sorted(name for part in sections for name in part.get("properties", ()))


@pytest.mark.parametrize("kind", profiles.KINDS)
def test_the_reference_has_every_key_of_a_cluster_profile(kind: str, keys: ModuleType) -> None:
    groups = keys.groups_of(profiles.KINDS[kind], anchor=kind)
    assert {k.name for k in groups[0].keys} == set(profiles.KINDS[kind].model_fields)
    assert all(group.keys for group in groups)


class Deepest(BaseModel):
    """At the bottom."""

    key: int | None = None


class Deep(BaseModel):
    """In between."""

    deepest: Deepest = Deepest()


class Outermost(BaseModel):
    """A file."""

    deep: list[Deep] = []


def test_the_reference_has_sections_of_sections(keys: ModuleType) -> None:
    groups = keys.groups_of(Outermost, anchor="file")
    assert [group.path for group in groups] == ["", "deep", "deep.deepest"]
    assert [group.description for group in groups] == ["A file.", "In between.", "At the bottom."]
    assert groups[1].keys[0].kind == "[keys and values](#file-deep.deepest)"


@pytest.mark.parametrize(
    ("path", "name", "kind", "default"),
    [
        ("", "window", "a whole number from 1 to 1000", "default `30`"),
        (
            "",
            "variables",
            "a list; each item is text; or keys, each with [keys and values](#workflow-variables)",
            "**needed**",
        ),
        ("variables", "name", "text", "may be left out"),
        ("", "leap_day", "one of `drop`, `keep`", "default `drop`"),
        ("", "input", "[keys and values](#workflow-input)", "**needed**"),
        ("input", "root", "a path", "**needed**"),
        ("run", "lock_dir", "a path", "may be left out"),
        ("run", "lock_timeout", "a number above 0", "default `600`"),
        ("regions", "lat", "a list of 2 numbers", "**needed**"),
        ("output", "count", "`true` or `false`", "default `false`"),
    ],
)
def test_the_reference_says_what_a_key_takes(
    path: str, name: str, kind: str, default: str, keys: ModuleType
) -> None:
    groups = keys.groups_of(workflow.Workflow, json.loads(workflow.schema()), anchor="workflow")
    (key,) = (k for group in groups if group.path == path for k in group.keys if k.name == name)
    assert (key.kind, key.default) == (kind, default)

"""YAML files that are odd, broken or hostile: an error that says what is wrong, and no more."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from climdask.errors import ConfigError
from climdask.settings.yamlfiles import MAX_BYTES, MAX_NODES, NAME, read_yaml, validate


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str | bytes], dict[str, Any]]:
    def read_text(content: str | bytes) -> dict[str, Any]:
        path = tmp_path / "workflow.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_yaml(path)

    return read_text


Reader = Callable[[str | bytes], dict[str, Any]]


def test_plain_yaml_is_read(read: Reader) -> None:
    text = "a: [1, 2.5]\nb:\n  c: yes it is\n  d: null\n# a comment\né: ü\n"
    assert read(text) == {"a": [1, 2.5], "b": {"c": "yes it is", "d": None}, "é": "ü"}


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(read: Reader) -> None:
    assert read(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n") == {"a": 1, "b": 2}


def test_an_alias_may_be_used_as_meant(read: Reader) -> None:
    text = "a: &box {lon: [1, 2]}\nb: *box\nc:\n  <<: *box\n  d: 3\n"
    box = {"lon": [1, 2]}
    assert read(text) == {"a": box, "b": box, "c": {**box, "d": 3}}


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGE_BOMB = "a: &a {k: 1}\n" + "".join(
    f"{new}: &{new}\n  <<: [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty; expected keys and values"),
        ("# nothing but a comment\n", "is empty"),
        ("- a\n- b\n", "is a list; expected keys and values"),
        ("just words", "is a str"),
        ("42", "is a int"),
        ("a: 1\n\tb: 2\n", "in line 2, column 1.*indent with spaces, not tabs"),
        ("a:\n\tb: 2\n", "in line 2.*indent with spaces, not tabs"),
        ("a: [1, 2\n", "no valid YAML in line 2"),
        ("a: 'open\n", "no valid YAML in line"),
        ("a: b: c\n", "no valid YAML in line 1, column 5"),
        ("a: %x\n", "no valid YAML in line 1"),
        ("a: 1\nb: 2\na: 3\n", 'key "a" in line 3 is there already, in line 1; remove one'),
        ("r:\n  - {x: 1, x: 2}\n", 'key "x" in line 2 is there already, in line 2'),
        ("r:\n  x: &q {k: 1}\n  y: {k: 1, <<: *q, <<: *q}\n", 'key "<<" in line 3'),
        ("a: 1\n---\nb: 2\n", "no valid YAML in line 2.*another document"),
        ("a: *nobody\n", "no valid YAML in line 1.*undefined alias"),
        ("a: &a [1, *a]\n", "an alias in line 1 holds itself"),
        ("a: &a\n  b:\n    c: *a\n", "an alias in line 1 holds itself"),
        (BOMB, f"its aliases unfold to more than {MAX_NODES:,} values"),
        (MERGE_BOMB, f"its aliases unfold to more than {MAX_NODES:,} values"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("a: " + "{b: " * 3000 + "1" + "}" * 3000, "nested too deeply"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "no valid YAML in line 1.*could not determine",
        ),
        ("? [1, 2]\n: 3\n", "the key in line 1 is no word"),
        ("a: 2000-13-01\n", "no valid YAML: month must be in 1..12"),
        ("a: " + "9" * 5000 + "\n", "no valid YAML"),
        ("a: !!bool x\n", "no valid YAML"),
        ("a: !!int ''\n", "no valid YAML"),
        ("a: !!timestamp x\n", "no valid YAML"),
        (b"\x89HDF\r\n\x1a\n\x00\x00", "is no text file; expected YAML in UTF-8"),
        (b"a: \xe9t\xe9\n", "is no text file"),  # Latin-1
        (b"CDF\x01\x00\x00\x00\x00", "no valid YAML: unacceptable character"),
        (b"x" * (10 << 20), f"larger than {MAX_BYTES:,} bytes; is it a workflow"),
    ],
)
def test_what_is_no_workflow_is_told(read: Reader, content: str | bytes, words: str) -> None:
    start = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        read(content)
    assert re.search(words, str(caught.value), re.DOTALL), str(caught.value)
    assert "workflow.yaml" in str(caught.value)
    assert time.monotonic() - start < 5


def test_a_file_that_is_not_there_or_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml: cannot be read \(No such file"):
        read_yaml(tmp_path / "no.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory"):
        read_yaml(tmp_path)


words = st.text(alphabet="abz09 :#-'\"é☃,[{&*", max_size=5)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.slow
@given(st.dictionaries(words, plain, min_size=1, max_size=4))
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
def test_whatever_yaml_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8", newline="")
    assert read_yaml(path) == content


@pytest.mark.slow
@given(st.text(alphabet="ab:-[]{}&*<>!'\"#|%@`\n\t ,?0.é\0", max_size=40) | st.binary(max_size=40))
@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
def test_rubbish_is_a_mapping_or_a_config_error_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "rubbish.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        assert isinstance(read_yaml(path), dict)
    except ConfigError as error:
        assert "rubbish.yaml" in str(error)  # noqa: PT017 - it may also be read


# ---------------------------------------------------------------- validate


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = Field(1, ge=1)
    kind: Literal["one", "other"] = "one"


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=NAME, description="What it is called.")
    inner: Inner = Field(default_factory=Inner)
    several: list[Inner] = Field(default_factory=list)


def errors(content: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate(Outer, content, "x.yaml")
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "x.yaml: name: missing (What it is called); add it"),
        (
            {"name": "a", "iner": 1},
            'x.yaml: iner: unknown key "iner"; did you mean "inner"? '
            "(known keys: name, inner, several)",
        ),
        (
            {"name": "a", "several": [{}, {"sice": 2}]},
            'x.yaml: several[1].sice: unknown key "sice"; did you mean "size"? '
            "(known keys of several[1]: size, kind)",
        ),
        (
            {"name": "a", "inner": {"kind": "ohter"}},
            "x.yaml: inner.kind: 'ohter': input should be 'one' or 'other'; "
            'did you mean "other"?',
        ),
        (
            {"name": "a", "inner": {"size": 0}},
            "x.yaml: inner.size: 0: input should be greater than or equal to 1",
        ),
        ({"name": "a", "inner": 5}, "x.yaml: inner: 5: expected keys and values: size, kind"),
        (
            {"name": "../a"},
            "x.yaml: name: '../a': String should match pattern of letters, digits and .+- only",
        ),
        (
            {"name": 5},
            'x.yaml: name: 5: input should be a valid string; put it in quotes ("5") if that '
            "is its name",
        ),
    ],
)
def test_a_mistake_is_told_with_key_value_and_what_is_allowed(
    content: dict[str, Any], message: str
) -> None:
    assert errors(content) == [message]


def test_all_mistakes_are_told_at_once() -> None:
    told = errors({"inner": {"size": 0, "x": 1}, "several": [{"kind": 1}]})
    assert [line.split(": ")[1] for line in told] == [
        "name", "inner.size", "inner.x", "several[0].kind",
    ]  # fmt: skip


def test_a_long_value_is_shortened() -> None:
    (line,) = errors({"name": "a" * 50 + "/" * 5000})
    assert len(line) < 300


def test_environment_variables_are_expanded_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIMDASK_A", "one")
    monkeypatch.setenv("CLIMDASK_N", "7")
    content = {"name": "x-${CLIMDASK_A}", "several": [{"size": "${CLIMDASK_N}"}]}
    found = validate(Outer, content, "x.yaml")
    assert (found.name, found.several[0].size) == ("x-one", 7)
    assert content["name"] == "x-${CLIMDASK_A}", "what was given is left alone"


def test_an_environment_variable_that_is_not_set_is_told_with_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CLIMDASK_NOPE", raising=False)
    (line,) = errors({"name": "a", "several": [{"kind": "a${CLIMDASK_NOPE}b"}]})
    assert line == (
        'x.yaml: several[0].kind: "a${CLIMDASK_NOPE}b": the environment variable CLIMDASK_NOPE is '
        "not set; set it (export CLIMDASK_NOPE=…) or write the path itself"
    )

"""Any value in any place of a workflow: it means something, or one message says what is wrong."""

from __future__ import annotations

import copy
import datetime
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climdask.errors import ClimdaskError, ConfigError
from climdask.plaintext import printable
from climdask.running.run import plan
from climdask.settings.workflow import load
from tests.samples import write_archive

WHOLE: dict[str, Any] = {
    "input": {"root": "IN", "pattern": "nex-gddp", "facets": {"end": "2006"}, "missing_values": []},
    "variables": ["tas"],
    "scenarios": [],
    "models": ["ACCESS-CM2"],
    "members": ["r1i1p1f1"],
    "regions": ["global", {"name": "b", "lon": [0, 180], "lat": [-90, 90]}],
    "window": 3,
    "targets": "2004-2006",
    "min_years": 2,
    "leap_day": "drop",
    "partial_windows": True,
    "last_historical_year": 2014,
    "normals": ["mean"],
    "output": {"root": "OUT", "format": "netcdf", "count": True, "compression_level": 4},
    "run": {"checkpoint_every": 4, "lock_dir": "LOCKS", "lock_timeout": 3, "open_timeout": 5},
}
ODD = [
    None, True, 0, -1, 2**63, -(2**80), 1e308, math.nan, math.inf, "", "\0", "a\x1b[31m", "\n",
    "~nobody-of-this-name/x", "x" * 5000, "\u202ex", "../..", "/", "$HOME", "${HOME}", [], {},
    [[]], [None], {"a": 1}, datetime.date(2001, 1, 1), b"x", {1: 2}, {None: None}, "2001-", "-",
    "1-2-3", "9999999999-2", "2000-1990", "all", "\ud800", "%s%n", "{", "{variable}", "[", "*",
]  # fmt: skip


def places(content: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (*before, key)
        if isinstance(value, dict | list):
            yield from places(value, (*before, key))


PLACES = list(places(WHOLE))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    write_archive(root, variables=["tas"], first=2001, last=2006, calendar="noleap")
    return root


@settings(max_examples=150, deadline=None)
@given(place=st.sampled_from(PLACES), value=st.one_of(st.sampled_from(ODD), st.text(max_size=6)))
def test_a_hostile_value_is_used_or_refused_in_plain_text(
    archive: Path, tmp_path_factory: pytest.TempPathFactory, place: tuple[Any, ...], value: Any
) -> None:
    content = copy.deepcopy(WHOLE)
    content["input"]["root"] = str(archive)
    content["output"]["root"] = str(archive / "out")
    content["run"]["lock_dir"] = str(tmp_path_factory.getbasetemp() / "locks")
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    said = "used"
    try:
        plan(load(content))
    except ClimdaskError as error:
        said = str(error)
    assert said
    assert said == printable(said)


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("input", "root", "~nobody-of-this-name/x", "input.root: .* knows no home folder of it"),
        ("output", "root", "x" * 300, "output.root: .* 300 in one name; expected at most"),
        ("run", "lock_dir", "a\0b", r"run.lock_dir: .* control character \\x00, after \"a\""),
        ("run", "lock_dir", "a\ud800", "run.lock_dir: .* no text in UTF-8"),
    ],
)
def test_a_path_that_cannot_be_is_named(section: str, key: str, value: str, words: str) -> None:
    content = copy.deepcopy(WHOLE)
    content[section][key] = value
    with pytest.raises(ConfigError, match=words):
        load(content)

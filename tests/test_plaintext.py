"""Text from outside as plain text: nothing in it that a terminal obeys, or that cannot be shown."""

from __future__ import annotations

import ast
import pickle
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

import climdask
from climdask.errors import ClimdaskError, ConfigError, UnreadableFile
from climdask.plaintext import check_no_controls, plainly, printable, printable_in_html, quantity

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m"


def obeyed(text: str) -> list[str]:
    """Return the characters that a terminal obeys, and those that it cannot show."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n"]


@given(st.text(st.characters()) | st.text("\x1b\x07\r\n\t\x9b\u202e\ud800a[", max_size=20))
def test_whatever_the_text_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    made = printable(text)
    assert not obeyed(made)
    assert not set(made) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2028\u2029\u200f")
    made.encode()  # halves of characters could not be printed
    assert printable(made) == made
    assert made.count("\n") == text.count("\n")


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert printable(text) is text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("a\rb", "a\\rb"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("abc\u202egpj.exe", "abc\\u202egpj.exe"),
        (b"tas_\xff.nc".decode("utf-8", "surrogateescape"), "tas_\\udcff.nc"),
        ("10 °C, Météo, 気温", "10 °C, Météo, 気温"),
    ],
)
def test_what_is_taken_out_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_html_stays_html_and_everything_else_becomes_plain_text() -> None:
    made = Markup("<b>\x1b</b>")
    assert printable_in_html(made) is made
    assert printable_in_html(Path("a\x1bb")) == "a\\x1bb"
    assert printable_in_html(3) == "3"


@pytest.mark.parametrize("text", ["main", "/my out/a'b", "$HOME/x", "気温", ""])
def test_a_name_without_control_characters_is_taken(text: str) -> None:
    check_no_controls(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\nrm -rf x", r'has the control character \\n, after "a"; remove that character'),
        ("main\x1b[2J", r'has the control character \\x1b, after "main"'),
        ("\x00", r"\\x00"),
        ("a\tb", r"\\t"),
        ("a\u2028b", r"\\u2028"),
        ("\r", r"\\r"),
        ("t_\udcff.nc", r'has the byte that is not UTF-8, \\udcff, after "t_"'),
    ],
)
def test_a_name_with_one_is_refused_and_the_character_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        check_no_controls(text)
    assert not obeyed(str(error.value))


def test_lines_of_shell_may_have_several_lines() -> None:
    check_no_controls("if true\nthen\n\techo\nfi", but="\n\t")
    with pytest.raises(ValueError, match=r"\\x1b"):
        check_no_controls("echo \x1b", but="\n\t")


def _prints(tree: ast.AST) -> list[ast.Call]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


def _is_plain(argument: ast.expr) -> bool:
    """Whether it is a constant, or the result of what makes text plain: JSON writes it out."""
    if isinstance(argument, ast.Call):
        return ast.unparse(argument.func) in ("printable", "json.dumps", "schema", "time.strftime")
    return isinstance(argument, ast.Constant)


@pytest.mark.slow
def test_everything_that_is_printed_is_made_plain_first() -> None:
    root = Path(climdask.__file__).parent
    found = [
        f"{path.relative_to(root)}:{call.lineno}: {ast.unparse(call)}"
        for path in sorted(root.rglob("*.py"))
        for call in _prints(ast.parse(path.read_text(encoding="utf-8")))
        if not all(map(_is_plain, call.args))
    ]
    assert found == []
    assert not [
        path
        for path in root.rglob("*.py")
        if "Console(" in path.read_text(encoding="utf-8").replace("SafeConsole(", "")
    ], "SafeConsole makes text plain in tables too"


@given(st.text(st.characters()))
def test_no_error_of_ours_says_what_a_terminal_obeys(text: str) -> None:
    for error in (
        ClimdaskError(text),
        UnreadableFile(text),
        pickle.loads(pickle.dumps(ConfigError(text))),
    ):
        assert str(error) == printable(text)


def test_lines_for_a_notebook_are_plain_text() -> None:
    told: list[str] = []
    plainly(told.append)("note: \x1b[2J")
    assert told == ["note: \\x1b[2J"]


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "file", "0 files"),
        (1, "file", "1 file"),
        (1200, "process", "1,200 processes"),
        (1, "file was", "1 file was"),
        (2, "file was", "2 files were"),
        (3, "source year is", "3 source years are"),
        (2, "branch starts", "2 branches start"),
    ],
)
def test_a_number_has_its_noun_and_verb(number: int, noun: str, text: str) -> None:
    assert quantity(number, noun) == text

"""Text that comes from outside, such as names and attributes of files, as plain text.

A terminal obeys control characters: they can overwrite what stands there, or rename its window.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from typing import TypeVar

# Control characters but for tab and line feed, which lines and tables need; what changes the
# direction of the text around it; ends of lines that not all programs know; halves of characters,
# which stand in names of files that are not UTF-8 and cannot be printed.
_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f"
_UNSEEN = "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_UNSAFE = re.compile(f"[{_CONTROLS}{_UNSEEN}]")
_REFUSED = re.compile(f"[\t\n{_CONTROLS}{_UNSEEN}]")

_FEW = 5  # names in a message
_VERBS = {" is": "are", " was": "were", " has": "have", " starts": "start"}

Text = TypeVar("Text", bound=str)


def printable(text: Text) -> Text:
    """Return a text in which what a terminal obeys is written out, such as ``\\x1b``.

    Tabs and line feeds stay. A text that is marked as HTML stays marked.
    """
    if not _UNSAFE.search(text):
        return text
    return type(text)(_UNSAFE.sub(lambda found: _written_out(found[0]), text))


def few(names: Sequence[str]) -> str:
    """Return some names as text, and how many more there are."""
    text = ", ".join(names[:_FEW])
    return text if len(names) <= _FEW else f"{text} and {len(names) - _FEW} more"


def plainly(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Return what tells a line as plain text, to who may print it as it is."""
    return lambda line: tell(printable(line))


def one_line(text: str) -> str:
    """Return a text as :func:`printable` does, with tabs and line feeds written out as well."""
    return _REFUSED.sub(lambda found: _written_out(found[0]), text)


def printable_in_html(value: object) -> object:
    """Return a value that goes into a page as plain text; what is HTML already stays as it is.

    For ``finalize`` of a template, which then escapes it.
    """
    return value if hasattr(value, "__html__") else printable(str(value))


def quantity(number: int, noun: str) -> str:
    """Return a number with its noun, and verb: ``1 file``, ``2 processes``, ``3 files were``."""
    if number == 1:
        return f"1 {noun}"
    name, _, verb = noun.rpartition(" ") if noun.endswith(tuple(_VERBS)) else (noun, "", "")
    many = f"{number:,} {name}{'es' if name.endswith(('s', 'ch')) else 's'}"
    return f"{many} {_VERBS[f' {verb}']}" if verb else many


def command(*words: object) -> str:
    """Return a command that the user can copy into a shell, whatever is in its words."""
    return shlex.join(map(str, words))


def check_no_controls(text: str, *, but: str = "") -> None:
    """Check a name or path that goes into scripts, commands and messages.

    Args:
        text: the name or path.
        but: characters that it may have all the same.

    Raises:
        ValueError: it has one, or is not UTF-8; the message says what and where.
    """
    for found in _REFUSED.finditer(text):
        if found[0] not in but:
            is_half = "\ud800" <= found[0] <= "\udfff"  # how Python shows a byte that is not UTF-8
            kind = "byte that is not UTF-8," if is_half else "control character"
            before = one_line(text[: found.start()])[-40:]
            raise ValueError(
                f'has the {kind} {_written_out(found[0])}, after "{before}"; remove that character'
            )


def _written_out(character: str) -> str:
    number = ord(character)
    known = {9: "\\t", 10: "\\n", 13: "\\r"}
    return known.get(number, f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")

"""Attributes of input files, as they are: text in any encoding, and numbers that may be odd."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.errors import InconsistentFile

# Text that says that there is no such value.
_NONE = {"", "none", "null", "n/a", "na", "missing", "undefined"}


def attributes_of(holder: Any) -> dict[str, Any]:
    """Return all attributes of an open variable or dataset."""
    return {name: attribute(holder, name) for name in holder.ncattrs()}


def attribute(holder: Any, name: str) -> Any:
    """Return one attribute; text that is not UTF-8 is read as Latin-1, as older tools wrote it."""
    value = holder.getncattr(name)
    if not isinstance(value, str) or "\ufffd" not in value:
        return value
    single = holder.getncattr(name, encoding="latin-1")
    try:
        return single.encode("latin-1").decode("utf-8")
    except (AttributeError, UnicodeError):
        return single


def text_of(attributes: Mapping[str, Any], name: str, default: str = "") -> str:
    """Return an attribute as text without blanks around it, whatever it holds."""
    return str(attributes.get(name, default)).strip("\0 \t\r\n")


def numbers(
    where: str, attributes: Mapping[str, Any], name: str, *, may_be_none: bool = False
) -> npt.NDArray[Any]:
    """Return the numbers of an attribute, [n]; numbers that are written as text are parsed.

    Args:
        where: file and variable, for messages.
        attributes: of the variable.
        name: the attribute; no numbers if there is none of that name.
        may_be_none: whether empty text, or text such as ``none``, is no numbers.

    Raises:
        InconsistentFile: the attribute is something else.
    """
    value = np.atleast_1d(np.asarray(attributes.get(name, ())))
    if value.dtype.kind in "fiu":
        return value.ravel()
    words = [str(v).strip("\0 \t\r\n") for v in value.ravel()]
    if name not in attributes or (may_be_none and all(w.lower() in _NONE for w in words)):
        return np.zeros(0)
    try:
        # The letters that ncdump and Fortran put behind a number may come along.
        parts = [p for w in words for p in re.split(r"[\s,;\[\]]+", w) if p]
        return np.array([float(re.sub(r"(?<=[\d.])[fFdDsSbBlL]$", "", p)) for p in parts])
    except ValueError:
        raise wrong(where, name, attributes[name], "numbers") from None


def one_number(where: str, attributes: Mapping[str, Any], name: str) -> Any:
    """Return the only number of an attribute, None if there is no such attribute.

    Raises:
        InconsistentFile: it has no number or several.
    """
    found = numbers(where, attributes, name)
    if name in attributes and found.size != 1:
        raise wrong(where, name, attributes[name], "one number")
    return found[0] if found.size else None


def wrong(where: str, name: str, value: Any, expected: str) -> InconsistentFile:
    """Return the error of an attribute that cannot be used."""
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    shown = repr(plain) if len(repr(plain)) <= 80 else repr(plain)[:77] + "..."
    return InconsistentFile(
        f"{where}: attribute {name} is {shown}; expected {expected}: correct the attribute "
        "(ncatted does it), or fetch the file again"
    )

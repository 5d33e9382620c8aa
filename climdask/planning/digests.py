"""Hashes of what a plan is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable


def digest_of(*content: object) -> str:
    """Return a hash of anything that JSON or ``str`` can express."""
    return digest_of_json(as_json(content))


def as_json(content: object) -> str:
    """Return the text that is hashed: JSON, or ``str`` of what JSON does not know."""
    return json.dumps(content, default=str)


def joined(parts: Iterable[str]) -> str:
    """Return :func:`as_json` of a list whose entries are JSON already."""
    return f"[{', '.join(parts)}]"


def digest_of_json(text: str) -> str:
    """Return the hash of content of which :func:`as_json` was made before."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]

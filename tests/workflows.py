"""Small workflows for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from climdask.settings.workflow import Workflow, load

EAST = {"name": "east", "lon": [0, 180], "lat": [-90, 90]}


def small(root: Path, out: Path, **changes: Any) -> Workflow:
    """Return a workflow over a sample archive; a window of 5 years unless changed."""
    content: dict[str, Any] = {
        "input": {"root": str(root)},
        "variables": ["tas"],
        "scenarios": ["ssp245"],
        "regions": ["global"],
        "window": 5,
        "output": {"root": str(out)},
        "run": {"checkpoint_every": 4},
    }
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(content.get(key), dict) else value
    return load(content)

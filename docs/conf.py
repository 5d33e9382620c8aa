"""Settings of the documentation: ``python -m sphinx -W -b html docs FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent / "_extensions"), str(ROOT)]

from climdask.version import __version__  # noqa: E402 - found by the path above

project = "climdask"
author = "The climdask developers"
copyright = "The climdask developers"
release = version = __version__

extensions = [
    "climdask_reference",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxcontrib.mermaid",
]
exclude_patterns = ["_build", "_extensions", "_static"]
myst_enable_extensions = ["attrs_inline", "deflist"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3
mermaid_fullscreen = False
mermaid_height = "auto"

autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autoclass_content = "class"
napoleon_numpy_docstring = False

highlight_language = "text"
html_theme = "furo"
html_title = f"climdask {release}"
html_static_path = ["_static"]
html_css_files = ["climdask.css"]
html_show_copyright = False
copybutton_exclude = ".linenos, .gp, .go"

# Pages that are documents at the top of the repository, where people look for them.
_FROM_TOP = {
    "development/architecture": "ARCHITECTURE.md",
    "development/contributing": "CONTRIBUTING.md",
    "development/changelog": "CHANGELOG.md",
    "development/benchmarks": "benchmarks/README.md",
}


def _take_from_top(app: Sphinx, name: str, source: list[str]) -> None:
    """Put a document of the top in place of its page, with links that are right from there."""
    if name not in _FROM_TOP:
        return
    file = ROOT / _FROM_TOP[name]
    app.env.note_dependency(str(file))
    text = file.read_text(encoding="utf-8").replace("](docs/", "](../")
    for page, other in _FROM_TOP.items():
        text = text.replace(f"]({other}", f"]({page.rpartition('/')[2]}.md")
    source[0] = text


def _list_decisions(app: Sphinx, name: str, source: list[str]) -> None:
    """Put the decisions below their list in the menu."""
    del app
    if name == "decisions/README":
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"


def _no_arguments(
    app: Sphinx, what: str, name: str, found: object, options: object, *signature: str | None
) -> tuple[str | None, ...] | None:
    """Show no arguments of a protocol: nobody calls it."""
    del app, name, options, signature
    return ("", None) if what == "class" and getattr(found, "_is_protocol", False) else None


def setup(app: Sphinx) -> None:
    """Connect what belongs to this site alone."""
    app.connect("source-read", _take_from_top)
    app.connect("source-read", _list_decisions)
    app.connect("autodoc-process-signature", _no_arguments)

"""What documents say of files and modules is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

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

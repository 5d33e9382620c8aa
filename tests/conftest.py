"""Fixtures that every test shares."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox import Sandbox, gridengine, sandbox

# Who uses one of these fixtures needs what the mark says, and takes its time.
_MARKS = {"_slurm": "batch", "_sge": "batch", "page": "browser", "_real_data": "real"}

# Fixtures that make a whole run, with a report.
_WHOLE_RUNS = {"run_in_both", "html", "data"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they need; what needs a batch system, a browser or a real run is slow.

    The tests of a file run in one process; a batch system has one machine, so its tests do too.
    """
    for item in items:
        for fixture, mark in _MARKS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
                item.add_marker("slow")
        if _WHOLE_RUNS & {*getattr(item, "fixturenames", ())}:
            item.add_marker("slow")
        group = "batch" if item.get_closest_marker("batch") else str(item.path.name)
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the file locks and weights of tests apart from the user's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stand still at 1000 s; the list holds the time."""
    at = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: at[0])
    return at


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(scope="session")
def _slurm() -> Iterator[Sandbox]:
    with sandbox() as started:
        yield started


@pytest.fixture
def slurm(_slurm: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A real SLURM of two nodes, found by this process too; no job outlives the test."""
    yield from _found(_slurm, monkeypatch)


@pytest.fixture(scope="session")
def _sge() -> Iterator[Sandbox]:
    with gridengine() as started:
        yield started


@pytest.fixture
def sge(_sge: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A real Grid Engine, found by this process too; no job outlives the test."""
    yield from _found(_sge, monkeypatch)


def _found(system: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    for name, value in system.found_by.items():
        monkeypatch.setenv(name, value)
    yield system
    system.cancel_all()

"""Fixtures that every test shares."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox import Sandbox, gridengine, sandbox


@pytest.fixture(autouse=True)
def _own_locks(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the file locks of tests apart from the user's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))


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

"""The start of a local cluster: killed workers, interrupts."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable

import pytest

from climdask.clusters.local import open_cluster
from climdask.clusters.starting import STARTS, reason, started
from climdask.planning.plan import Limits
from climdask.settings.profiles import LocalProfile
from tests.tools import wait_for


def failing(times: int) -> tuple[Callable[[], str], list[str]]:
    tries: list[str] = []

    def make() -> str:
        tries.append("try")
        if len(tries) <= times:
            raise RuntimeError("Nanny failed to start.")
        return "cluster"

    return make, tries


@pytest.mark.slow
def test_a_worker_that_is_killed_during_the_start_is_started_again() -> None:
    before = set(multiprocessing.active_children())

    def kill_first() -> None:
        wait_for(lambda: bool(set(multiprocessing.active_children()) - before))
        for child in set(multiprocessing.active_children()) - before:
            child.kill()

    killer = threading.Thread(target=kill_first)
    killer.start()
    with open_cluster(LocalProfile(dashboard="off"), Limits(1 << 30, 1, 1)) as client:
        killer.join()
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3


@pytest.mark.parametrize("failures", range(STARTS))
def test_a_start_that_fails_is_tried_again(failures: int) -> None:
    make, tries = failing(failures)
    assert started(make) == "cluster"
    assert len(tries) == failures + 1


def test_a_start_that_never_works_is_told_after_some_tries() -> None:
    make, tries = failing(100)
    with pytest.raises(RuntimeError, match="Nanny failed to start"):
        started(make)
    assert len(tries) == STARTS


def test_an_interrupt_is_no_reason_to_start_again() -> None:
    tries = []

    def make() -> None:
        tries.append("try")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        started(make)
    assert len(tries) == 1


def test_the_first_cause_of_a_start_that_fails_is_told() -> None:
    error = RuntimeError("Nanny failed to start.")
    assert reason(error) == "Nanny failed to start"
    error.__cause__ = OSError(30, "Read-only file system")
    words = "Nanny failed to start (OSError: [Errno 30] Read-only file system)"
    assert reason(error) == words

"""The page in the Dask dashboard, as a reader in a browser sees it while a run works."""

from __future__ import annotations

import logging
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import distributed
import pytest

import climdask.execution.tasks
from climdask.dashboard.plugin import Dashboard, open_page
from climdask.dashboard.rows import WatchedRun
from climdask.execution.events import Event, Work, packed
from climdask.execution.tokens import PLUGIN as TOKENS
from climdask.monitoring.progress import ChainProgress, RunProgress
from climdask.monitoring.watcher import topic
from climdask.running.results import RunResult
from climdask.running.run import run
from tests.browser import Page, browser
from tests.samples import write_archive
from tests.workflows import small

PREFIX = "some/where"
EVIL = "<img src=x onerror=this.id=1>"  # in names of folders, and so in the messages of failures
GATE = "2004"  # year of the file that a test holds open


def cluster(**more: Any) -> distributed.LocalCluster:
    """Start a cluster of threads, so that a test can stop a read in the middle."""
    return distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, silence_logs=logging.CRITICAL,
        protocol="tcp://", host="127.0.0.1", dashboard_address="127.0.0.1:0", **more,
    )  # fmt: skip


@pytest.fixture
def client() -> Iterator[distributed.Client]:
    with (
        cluster(scheduler_kwargs={"http_prefix": PREFIX}) as made,
        distributed.Client(made, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return two models of two variables; one file is damaged."""
    root = tmp_path / EVIL / "in"
    for model in ("ACCESS-CM2", "NorESM2-LM"):
        archive = write_archive(
            root, model=model, variables=("tas", "tasmax"), first=1995, last=2019,
            calendar="noleap",
        )  # fmt: skip
    damaged = archive.path("tasmax", 2009, "historical")
    damaged.write_bytes(damaged.read_bytes()[:3000])
    return root


def numbers(page: Page) -> dict[str, int]:
    """Return the counts at the top of the page: what is done, of each."""
    found = page.evaluate("Object.fromEntries(deep('dd').map(e => [e.dataset.count, e.innerText]))")
    kept = {"chains", "years", "reads", "writes", "failed"} & found.keys()
    return {name: int(found[name].split("/")[0].replace(",", "")) for name in kept}


def table(page: Page) -> list[list[str]]:
    """Return the lines of the table of chains."""
    found: list[list[str]] = page.evaluate(
        "deep('.chains tbody tr').map(tr => [...tr.cells].map(td => td.innerText))"
    )
    return found


def eventually(true: Callable[[], Any], what: str) -> Any:
    until = time.monotonic() + 60
    while not (value := true()):
        assert time.monotonic() < until, what
        time.sleep(0.1)
    return value


def at_work(client: distributed.Client, run_id: str) -> dict[str, int]:
    """Return the scheduler's own counts."""

    def count(dask_scheduler: Any) -> dict[str, int]:
        done = dask_scheduler.plugins[topic(run_id)].done
        names = {"years": "window", "reads": "read", "writes": "write"}
        return {
            name: sum(len(keys) for (_, of), keys in done.items() if of == stage)
            for name, stage in names.items()
        }

    found: dict[str, int] = client.run_on_scheduler(count)
    return found


@pytest.mark.slow
def test_the_page_shows_a_run_as_it_is(
    client: distributed.Client, page: Page, root: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    held, go, real = threading.Event(), threading.Event(), climdask.execution.tasks.read_years

    def gate(path: Path, *args: Any, **more: Any) -> Any:
        if path.name.startswith("tas_") and GATE in path.name and "ACCESS" in path.name:
            held.set()
            assert go.wait(120)
        return real(path, *args, **more)

    monkeypatch.setattr("climdask.execution.tasks.read_years", gate)
    link, problem = open_page(client)
    assert not problem
    page.open(link)
    page.wait_for("deep('p').some(e => e.innerText.includes('No run of climdask'))")

    results: list[RunResult] = []
    flow = small(root, tmp_path / "out", variables=["tas", "tasmax"])
    worker = threading.Thread(target=lambda: results.append(run(flow, client=client)))
    worker.start()
    try:
        assert held.wait(60)
        page.wait_for("deep('.failures li').length == 1")
        run_id = page.wait_for("deep('h2 small')[0].innerText").rpartition(" ")[2]
        eventually(  # what can be done without that file is done, and the page says so
            lambda: at_work(client, run_id).items() <= numbers(page).items(), "counts differ"
        )
        middle = numbers(page)
        assert 0 < middle["writes"] < 4 * 21
        assert [line[0] for line in table(page)] == [
            "▾ ACCESS-CM2", "tas", "tasmax", "▾ NorESM2-LM", "tas", "tasmax",
        ]  # fmt: skip
        tas = table(page)[1]
        assert "active" in tas[5]
        assert tas[7].startswith(("0 (", "1 (")), "its home worker"
        worker_name, file, _ = page.texts(".open td")
        assert (worker_name, GATE in file) == (tas[7][0], True)
        _has_message(page, "NorESM2-LM/r1i1p1f1/gn/tasmax", "2009")
        page.evaluate("deep('button').find(b => b.innerText == '▾ ACCESS-CM2').click()")
        page.wait_for("deep('.chains tbody tr').length == 4")
    except BaseException:
        go.set()
        worker.join(60)
        raise
    go.set()
    seen = [middle]
    while worker.is_alive():
        seen.append(numbers(page))
        time.sleep(0.05)
    worker.join()
    page.wait_for("deep('h2 small')[0].innerText.startsWith('ended')")
    _is_the_end(numbers(page), results[0])
    for before, after in zip(seen, [*seen[1:], numbers(page)], strict=True):
        assert all(before[name] <= after[name] for name in before), "counts never go back"
    assert page.evaluate("deep('.open tbody tr').length") == 0
    assert not page.errors
    assert not page.evaluate("deep('img').some(e => e.getAttribute('src') == 'x')")
    _is_first_in_the_menu(page, link)


def _has_message(page: Page, chain: str, why: str) -> None:
    """Check that a failure is told as it is, whatever is in its text."""
    (text,) = page.texts(".failures li")
    assert text.startswith(f"{chain}: ")
    assert why in text
    assert EVIL in text


def _is_the_end(shown: dict[str, int], result: RunResult) -> None:
    """Check that the page tells what the run itself tells."""
    rows = result.rows
    assert shown == {
        "chains": sum(row.state == "done" for row in rows),
        "failed": len(result.failures),
        "years": sum(row.years for row in rows),
        "reads": sum(row.reads for row in rows),
        "writes": sum(row.writes for row in rows),
    }
    assert (shown["chains"], shown["failed"]) == (3, 1)


def _is_first_in_the_menu(page: Page, link: str) -> None:
    for address in (link, link.replace("/climdask", "/status")):
        page.open(address)
        menu = page.wait_for(
            "[...document.querySelectorAll('.navbar li:not(#dask-logo) > a')].map(a => a.pathname)"
        )
        assert menu[:2] == [f"/{PREFIX}/climdask", f"/{PREFIX}/status"]


def test_two_runs_at_once_stand_side_by_side_and_the_last_stays_until_the_next() -> None:
    dashboard = Dashboard()
    dashboard.scheduler = SimpleNamespace(plugins={}, workers={})

    def start(name: str) -> None:
        row = ChainProgress("M/r1/gn/pr", 150, 160, 121)
        progress = RunProgress({row.id: row})
        dashboard.add_run(WatchedRun(name, f"/{name}", "client", {}, progress))

    def shown() -> list[tuple[str, str]]:
        dashboard.gather()
        return [(line.run_id, line.state) for line in dashboard.view().runs]

    start("one")
    start("two")
    assert shown() == [("one", "at work"), ("two", "at work")]
    window = Event("window", "M/r1/gn/pr", "historical", 1956, 7)
    dashboard.log_event(topic("two"), [packed(window), packed(Work(files=9))])
    fail = Event("fail", "M/r1/gn/pr", message="no disk")
    dashboard.log_event(topic("one"), [packed(fail)])
    assert [line.years for line in dashboard.view().runs] == ["0/150", "0/150"], "one view a while"
    dashboard.gather()
    assert [line.years for line in dashboard.view().runs] == ["0/150", "7/150"]
    assert dashboard.view().failures == [("M/r1/gn/pr", "no disk")]
    dashboard.end_run("one")
    assert shown() == [("one", "ended"), ("two", "at work")]
    start("three")
    assert shown() == [("two", "at work"), ("three", "at work")]
    dashboard.remove_client(None, "client")  # the driver was killed
    assert shown() == [("two", "stopped"), ("three", "stopped")]
    start("four")
    assert shown() == [("four", "at work")]


@pytest.mark.slow
def test_without_a_page_the_run_goes_on_and_says_so_once(root: Path, tmp_path: Path) -> None:
    told: list[str] = []
    flow = small(root, tmp_path / "out", models=["ACCESS-CM2"])
    with (
        cluster(scheduler_kwargs={"dashboard": False}) as made,
        distributed.Client(made, set_as_default=False) as client,
    ):
        assert run(flow, client=client, report=told.append).ok
    assert [line for line in told if "page" in line] == [
        "note: no page shows this run: the scheduler has no dashboard"
    ]


def test_a_scheduler_that_somebody_else_starts_gets_the_page_by_preload() -> None:
    def get(dask_scheduler: Any) -> int:
        return int(dask_scheduler.http_server.port)

    with (
        cluster(scheduler_kwargs={"preload": "climdask.dashboard"}) as made,
        distributed.Client(made, set_as_default=False) as client,
    ):
        port = client.run_on_scheduler(get)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/climdask", timeout=60) as answer:
            menu = re.findall(r'<li>\s*<a href="(\w+)">', answer.read().decode())
        assert menu[:2] == ["climdask", "status"]
        for _ in range(2):  # a run that comes adds nothing
            assert open_page(client) == (f"http://127.0.0.1:{port}/climdask", "")
        kinds = client.run_on_scheduler(
            lambda dask_scheduler: [type(p).__name__ for p in dask_scheduler.plugins.values()]
        )
        assert kinds.count("Dashboard") == 1
        assert TOKENS not in kinds
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/climdask2", timeout=60)

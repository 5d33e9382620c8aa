"""The ``/climdask`` page of the Dask dashboard: what it needs to know, gathered on the scheduler.

One plugin on a scheduler serves all runs there; the driver of a run puts it on and adds the run.
For a scheduler that somebody else starts: ``dask scheduler --preload climdask.dashboard``. It
gathers counts once a second, whoever looks; the page itself (:mod:`climdask.dashboard.page`) is
drawn only while a browser has it open.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from distributed import Client, SchedulerPlugin
from tornado.ioloop import IOLoop, PeriodicCallback

from climdask.dashboard.rows import Curve, Opening, RunLine, View, WatchedRun, groups
from climdask.execution.events import unpacked
from climdask.execution.tokens import PLUGIN as TOKENS
from climdask.monitoring.links import dashboard_link
from climdask.monitoring.watcher import topic

PLUGIN = "climdask-dashboard"
PATH = "climdask"  # of the page, below the dashboard's prefix
INTERVAL = 0.9  # seconds


class Dashboard(SchedulerPlugin):  # type: ignore[misc]
    """Gathers what the page shows. One on a scheduler, shared by all runs on it.

    Attributes:
        runs: those that work; those that have ended, until the next one comes.
        interval: seconds between two gatherings; a page is drawn as often.
        problem: why there is no page; empty if there is one.
    """

    name = PLUGIN
    idempotent = True

    def __init__(self, interval: float = INTERVAL) -> None:
        self.interval = interval
        self.runs: dict[str, WatchedRun] = {}
        self.problem = ""
        self._begin_curve()

    def _begin_curve(self) -> None:
        self.curve, self.began, self.before = Curve(), time.monotonic(), (0, 0, 0)
        self._view: View | None = None

    async def start(self, scheduler: Any) -> None:
        """Put the page in the scheduler's dashboard, and begin to gather."""
        self.scheduler = scheduler
        self.problem = _add_page(scheduler, self)
        if not self.problem:
            self.callback = PeriodicCallback(self.gather, self.interval * 1000)
            self.callback.start()

    async def close(self) -> None:
        """Stop gathering."""
        if not self.problem:
            self.callback.stop()

    def add_run(self, run: WatchedRun) -> None:
        """Show a run from now on; those that have ended go."""
        run.progress.began = time.monotonic()
        for row in run.progress.chains.values():
            row.started = row.finished = 0.0  # by a clock of another host
        ended = [old for old in self.runs.values() if old.has_ended]
        if len(ended) == len(self.runs):
            self._begin_curve()
        else:
            self.before = _plus(self.before, *ended)
        self.runs = {r.run_id: r for r in self.runs.values() if not r.has_ended} | {run.run_id: run}

    def end_run(self, run_id: str) -> None:
        """Note that a run has ended; it stays visible."""
        run = self.runs.get(run_id)
        if run is not None and not run.has_ended:
            watcher = self.scheduler.plugins.get(topic(run_id))
            if watcher is not None:
                for event in watcher.so_far():
                    run.progress.take(event)
            self.gather()
            run.progress.stop()

    def remove_client(self, scheduler: Any, client: str) -> None:  # noqa: ARG002 - Dask's signature
        """Note that the runs of a driver that has gone have ended."""
        for run in list(self.runs.values()):
            if run.client == client:
                self.end_run(run.run_id)

    def log_event(self, name: str, msg: Any) -> None:
        """Take over the events of a run, of its driver and of its watcher."""
        if run := self.runs.get(name.removeprefix(topic(""))):
            for content in msg:
                run.progress.take(unpacked(content))

    def gather(self) -> None:
        """Add to the curves, and let the next page look anew."""
        self._view = None
        if any(not run.has_ended for run in self.runs.values()):
            totals = _plus(self.before, *self.runs.values())
            self.curve.add(time.monotonic() - self.began, totals)

    # ------------------------------------------------------------ for the page

    def view(self) -> View:
        """Return what there is to see; made once for all pages, and only if one is open."""
        if self._view is None:
            runs = list(self.runs.values())
            self._view = View(
                [RunLine.of(run) for run in runs],
                [
                    group
                    for run in runs
                    for group in groups(run, self._holders(run), titled=len(runs) > 1)
                ],
                [failure for run in runs for failure in run.progress.failures.items()],
                self._open_files(),
                self.curve.rates(),
            )
        return self._view

    def _holders(self, run: WatchedRun) -> dict[str, str]:
        """Return the worker that holds the file tokens, by chain."""
        tokens = self.scheduler.plugins.get(TOKENS)
        if tokens is None or run.has_ended:
            return {}
        return {chain: self._holder(tokens.groups.get(home)) for chain, home in run.homes.items()}

    def _holder(self, group: Any) -> str:
        if group is None:
            return ""
        who = "nobody yet" if group.home is None else self._worker(group.home)
        return f"{who} ({len(group.tokens)})"

    def _worker(self, address: str) -> str:
        worker = self.scheduler.workers.get(address)
        return str(address if worker is None else worker.name)

    def _open_files(self) -> list[Opening]:
        """Return the input files that are open, in the order in which they were opened."""
        now = time.monotonic()
        watchers = (self.scheduler.plugins.get(topic(run_id)) for run_id in self.runs)
        found = sorted(
            (f for w in watchers if w is not None for f in w.files.open.values()),
            key=lambda f: f.since,
        )
        return [Opening(self._worker(f.worker), f.file, now - f.since) for f in found]


def _plus(totals: tuple[int, int, int], *runs: WatchedRun) -> tuple[int, int, int]:
    works = [run.progress.work for run in runs]
    return (
        totals[0] + sum(w.decoded for w in works),
        totals[1] + sum(w.written for w in works),
        totals[2] + sum(w.files for w in works),
    )


def _add_page(scheduler: Any, dashboard: Dashboard) -> str:
    """Put the page first in the menu of the scheduler's dashboard; return why that failed."""
    try:
        from distributed.dashboard.core import BokehApplication
        from distributed.dashboard.scheduler import template_variables

        from climdask.dashboard.page import page
    except ImportError as error:
        return f"the scheduler cannot draw pages ({error})"
    shown = _bokeh(scheduler)
    if shown is None:
        return "the scheduler has no dashboard"
    # One list of pages, shared by all: Dask keeps it for each scheduler.
    variables = template_variables(scheduler)
    if PATH not in variables["pages"]:
        variables["pages"].insert(0, PATH)
        made = BokehApplication(
            {f"/{PATH}": partial(page, dashboard)},
            scheduler,
            prefix=shown.prefix,
            template_variables=variables,
        )
        scheduler.http_application.add_application(made)
        made.initialize(IOLoop.current())
        made.start()
    return ""


def _bokeh(scheduler: Any) -> Any:
    """Return the application of a scheduler's dashboard, or None."""
    applications = scheduler.http_application.applications
    return next((a for a in applications if hasattr(a, "prefix")), None)


# ---------------------------------------------------------------- for the driver


def open_page(client: Client) -> tuple[str, str]:
    """Put the page on a client's scheduler; return its address, and why there is none."""
    try:
        client.register_plugin(Dashboard())
        problem, prefix = client.run_on_scheduler(_found)
    except Exception as error:  # whatever it is, the run can do without the page
        problem, prefix = f"{type(error).__name__}: {error}", ""
    # Dask's own link leaves the prefix out; one that a user has set may have it.
    link, no_link = dashboard_link(client)
    problem = problem or no_link
    link = link.removesuffix("/status").removesuffix(prefix)
    return (f"{link}{prefix}/{PATH}" if link and not problem else ""), problem


def _found(dask_scheduler: Any = None) -> tuple[str, str]:
    """Return why there is no page, and the prefix of its address."""
    plugin: Dashboard = dask_scheduler.plugins[PLUGIN]
    prefix = str(getattr(_bokeh(dask_scheduler), "prefix", ""))
    return plugin.problem, prefix.rstrip("/")


def show_run(run: WatchedRun, dask_scheduler: Any = None) -> None:
    """Show a run on the page; called on the scheduler."""
    plugin: Dashboard | None = dask_scheduler.plugins.get(PLUGIN)
    if plugin is not None and not plugin.problem:
        plugin.add_run(run)


def end_run(run_id: str, dask_scheduler: Any = None) -> None:
    """Note on the page that a run has ended; called on the scheduler."""
    if PLUGIN in dask_scheduler.plugins:
        dask_scheduler.plugins[PLUGIN].end_run(run_id)

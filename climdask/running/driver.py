"""A plan on a Dask cluster: plugins on, chains submitted and waited for, plugins off."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import distributed

from climdask.dashboard.plugin import end_run, show_run
from climdask.dashboard.rows import WatchedRun
from climdask.errors import ClimdaskError
from climdask.execution.events import Event, unpacked
from climdask.execution.graph import ChainGraph, build_together, token_name
from climdask.execution.tasks import RunContext
from climdask.execution.tokens import FileTokens, TokenHolder, add_tokens, remove_tokens
from climdask.monitoring.progress import RunProgress
from climdask.monitoring.watcher import (
    ChainWatcher,
    TraceTeller,
    remove_watcher,
    stop_watching,
    tell,
    topic,
)
from climdask.planning.plan import Chain, Plan

logger = logging.getLogger(__name__)

WAIT = 0.05  # seconds between two looks for what is done


@contextmanager
def plugins(
    client: distributed.Client, plan: Plan, context: RunContext, progress: RunProgress
) -> Iterator[None]:
    """Put the plugins of a run on scheduler and workers, and take them off again."""
    tokens = {t for chain in plan.chains for t in chain_tokens(plan, chain)}
    holder = TokenHolder(context.run_id, sorted(tokens))
    teller = TraceTeller(context.run_id)
    homes = {chain.id: chain.home for chain in plan.chains}
    watcher = ChainWatcher(context.run_id, homes)
    shown = WatchedRun(context.run_id, str(context.out), client.id, homes, progress)

    def take(message: tuple[float, Any]) -> None:
        for content in message[1]:
            progress.take(unpacked(content))

    with ExitStack() as undo:

        def at_the_end(act: Callable[..., object], *args: object) -> None:
            undo.callback(at_rest, act, *args)

        def at_rest(act: Callable[..., object], *args: object) -> None:
            if client.status == "running":
                with suppress(OSError, TimeoutError):  # the cluster is about to end as well
                    act(*args)

        # Workers first: a token that they do not know stops them.
        client.register_plugin(holder)
        at_the_end(client.unregister_worker_plugin, holder.name)
        client.register_plugin(FileTokens())
        at_the_end(client.run_on_scheduler, remove_tokens, context.run_id)
        client.register_plugin(watcher)
        at_the_end(client.run_on_scheduler, remove_watcher, context.run_id)
        client.register_plugin(teller)
        at_the_end(client.unregister_worker_plugin, teller.name)
        client.run_on_scheduler(show_run, shown)
        at_the_end(client.run_on_scheduler, end_run, context.run_id)
        client.subscribe_topic(topic(context.run_id), take)
        at_the_end(client.unsubscribe_topic, topic(context.run_id))
        yield
        for content in client.run_on_scheduler(stop_watching, context.run_id):
            progress.take(unpacked(content))


@contextmanager
def performance_reported(
    client: distributed.Client, path: Path | None, tell: Callable[[str], object]
) -> Iterator[None]:
    """Let Dask write its own report on what is done meanwhile; nothing where there is no path."""
    if path is None:
        yield
        return
    # Inline: to look at it needs no network.
    reporting = distributed.performance_report(filename=str(path), mode="inline")
    with client.as_current():
        reporting.__enter__()
        try:
            yield
        finally:
            if client.status == "running":
                try:
                    reporting.__exit__(None, None, None)
                except OSError as error:  # the normals are there all the same
                    tell(f"note: {path}: cannot be written ({error.strerror})")


def chain_tokens(plan: Plan, chain: Chain) -> set[str]:
    """Return the file tokens of a chain."""
    return {token_name(plan, read) for read in chain.branches.reads}


@dataclass
class Driver:
    """Submits chains, as many at a time as fit in memory, and waits for them.

    Attributes:
        left: how many wanted keys each submitted chain still waits for.
        futures: of all wanted keys, kept to the end: letting go of them makes the dashboard's
            totals shrink.
        check: is called while it waits; raises where the work cannot go on.
    """

    client: distributed.Client
    plan: Plan
    context: RunContext
    progress: RunProgress
    left: dict[str, int] = field(default_factory=dict)
    futures: list[distributed.Future] = field(default_factory=list)
    check: Callable[[], None] = lambda: None

    def drive(self) -> None:
        """Run all chains; a chain that fails does not stop the others."""
        try:
            self._drive()
        except BaseException:  # interrupted: the cluster may be the user's, and live on
            for future in self.futures:
                future.release()
            raise

    def _drive(self) -> None:
        waiting = deque(self.plan.together)
        done = distributed.as_completed(
            [], loop=self.client.loop, with_results=True, raise_errors=False
        )
        while waiting or self.left:
            while waiting and self._fits(waiting[0]):
                done.update(self._submit(waiting.popleft()))
            while self._go_on() and not done.has_ready():
                time.sleep(WAIT)
            future, _ = next(done)
            if future.status in ("lost", "pending"):  # its worker died since; it is done again
                done.add(future)
            else:
                self._ended(future)

    def _go_on(self) -> bool:
        """Return true, while there is hope.

        Raises:
            ClimdaskError: the cluster cannot do the work.
        """
        if self.client.status != "running":  # the client would try for long, but its tasks are gone
            raise ClimdaskError("the Dask scheduler has gone; run again to go on from here")
        self.check()
        return True

    def homes_left(self) -> int:
        """Return how many homes have work to do."""
        rows = self.progress.chains
        ended = ("done", "failed")
        return len({c.home for c in self.plan.chains if rows[c.id].state not in ended})

    def _fits(self, chains: Sequence[Chain]) -> bool:
        """Tell whether memory has room for more chains beside those that are at work."""
        return not self.left or len(self.left) + len(chains) <= self.plan.at_once

    def _submit(self, chains: Sequence[Chain]) -> list[distributed.Future]:
        graph = build_together(self.plan, chains, self.context)
        tokens = set(graph.tokens.values())
        self.client.run_on_scheduler(
            add_tokens, self.context.run_id, self.client.id, {graph.home: sorted(tokens)}
        )
        futures = submit_chain(self.client, graph)
        for chain in chains:
            self._note(Event("start", chain.id))
            self.left[chain.id] = sum(future.key[1] == chain.id for future in futures)
        self.futures += futures
        return futures

    def _ended(self, future: distributed.Future) -> None:
        chain_id = future.key[1]
        ended_badly = future.status in ("error", "cancelled")
        if ended_badly and chain_id not in self.progress.failures:
            self._note(Event("fail", chain_id, message=_message(future)))
            log_traceback(chain_id, future)
        self.left[chain_id] -= 1
        if self.left[chain_id] == 0:
            del self.left[chain_id]
            self._note(Event("finish", chain_id))
            homes = {chain.id: chain.home for chain in self.plan.chains}
            home = homes[chain_id]
            if all(homes[other] != home for other in self.left):
                self.client.run_on_scheduler(remove_tokens, self.context.run_id, home)

    def _note(self, event: Event) -> None:
        """Note what became of a chain, here and for all that show the run."""
        self.progress.take(event)
        tell(self.client, self.context.run_id, event)


def submit_chain(client: distributed.Client, graph: ChainGraph) -> list[distributed.Future]:
    """Submit the tasks of a chain with their annotations; return futures of the wanted keys."""
    with (
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GiB"}),
        # Dask's page of fine performance metrics then tells the variables apart.
        distributed.span("climdask", graph.chain_id.rpartition("/")[2]),
        dask.annotate(**graph.annotations),
    ):
        futures: list[distributed.Future] = client.get(graph.tasks, graph.wanted, sync=False)
    return futures


def log_traceback(chain_id: str, future: distributed.Future) -> None:
    """Log where a task failed, on its worker; ``--debug`` shows it."""
    if future.status == "error":
        error = future.exception()
        trace = future.traceback()
        logger.debug("%s failed:", chain_id, exc_info=(type(error), error, trace))


def _message(future: distributed.Future) -> str:
    """Say why a future failed, without a traceback."""
    if future.status != "error":
        return f"its tasks were {future.status}; was the cluster closed?"
    error = future.exception()
    if isinstance(error, ClimdaskError):
        return str(error)
    return f"{type(error).__name__}: {error}"

"""What the dashboard's page costs the scheduler: a run of many chains that is only told of.

``python -m benchmarks.dashboard --chains 300`` starts a scheduler without workers, on which the
plugins of a run are told of steps, openings and writes at a steady pace, as workers would tell.
It measures the share of a core that the scheduler's process takes: without the page's plugin, with
it, and with browsers that have the page open. The difference is the page's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import psutil
from distributed import Scheduler

from benchmarks.scheduler import plan_of
from climdask.dashboard.plugin import PATH, Dashboard
from climdask.dashboard.rows import WatchedRun
from climdask.execution.events import Event, packed
from climdask.execution.tokens import FileTokens
from climdask.monitoring.progress import RunProgress
from climdask.monitoring.watcher import ChainWatcher, topic, trace_topic
from climdask.planning.plan import Chain, Limits, Plan
from climdask.running.driver import chain_tokens

RUN = "simulated"
VARIABLES = ("pr", "tas", "tasmax", "tasmin")
YEARS_PER_SECOND = 100  # of all chains together; each opens a file and writes a target year
YEAR_BYTES, NORMAL_BYTES = 60 << 20, 4 << 20
TICK = 0.1  # seconds between two bursts of news
VIEWER = """
import sys
from bokeh.client import pull_session
session = pull_session(url=sys.argv[1])
session.document
print("up", flush=True)
session._loop_until_closed()
"""


def news(plan: Plan) -> Iterator[Chain]:
    """Yield chains for ever, those at work in turn; a tenth of all work at the same time."""
    at_once = max(1, len(plan.chains) // 10)
    for first in range(0, len(plan.chains), at_once):
        own = plan.chains[first : first + at_once]
        for _ in range(max(len(chain.branches.reads) for chain in own)):
            yield from own


class Simulated:
    """A run on a scheduler that hears of it as if workers did it."""

    def __init__(self, scheduler: Scheduler, plan: Plan) -> None:
        self.scheduler, self.plan = scheduler, plan
        self.watcher = ChainWatcher(RUN, {c.id: c.home for c in plan.chains})
        self.tokens = FileTokens(interval=1e6)  # or it would take homes from workers unknown
        self.steps = {
            c.id: [s for ss in c.branches.steps.values() for s in ss] for c in plan.chains
        }
        self.done = dict.fromkeys(self.steps, 0)
        self.chains, self.numbers = news(plan), count()

    async def start(self) -> None:
        """Put the plugins of a run on the scheduler, the page's apart."""
        await self.scheduler.register_scheduler_plugin(self.watcher, idempotent=False)
        await self.scheduler.register_scheduler_plugin(self.tokens, idempotent=True)
        homes = {c.home: chain_tokens(self.plan, c) for c in self.plan.chains}
        self.tokens.add_run(RUN, "driver", homes)
        for n, group in enumerate(self.tokens.groups.values()):
            group.home, group.unsettled = f"tcp://10.0.0.{n % 50}:4000", False

    async def show(self) -> Dashboard:
        """Put the page on the scheduler."""
        page = Dashboard()
        await self.scheduler.register_scheduler_plugin(page, idempotent=True)
        progress = RunProgress.of(self.plan)
        page.add_run(WatchedRun(RUN, "/simulated/out", "driver", self.watcher.homes, progress))
        return page

    def tell(self) -> None:
        """Tell of the work of a tick."""
        for _ in range(round(YEARS_PER_SECOND * TICK)):
            chain = next(self.chains)
            step = self.steps[chain.id][self.done[chain.id] % len(self.steps[chain.id])]
            self.done[chain.id] += 1
            if self.done[chain.id] == 1:
                self._note("start", chain)
            for stage in ("read", "window", *(["write"] if step.is_target else [])):
                key = (f"{chain.spec.variable}-{stage}", chain.id, step.branch, step.year, RUN)
                self.watcher.transition(key, "processing", "memory")
            self._files(chain, step.year)
            if self.done[chain.id] == len(self.steps[chain.id]):
                self._note("finish", chain)

    def _note(self, event: str, chain: Chain) -> None:
        self.scheduler.log_event(topic(RUN), [packed(Event(event, chain.id))])

    def _files(self, chain: Chain, year: int) -> None:
        n, name = (
            next(self.numbers),
            f"/data/{chain.spec.model}/{chain.spec.variable}_day_{year}.nc",
        )
        line = {"worker": f"tcp://10.0.0.{n % 50}:4000", "process": "p", "token": "t"}
        for event in (
            {"event": "open", "purpose": "read", "seq": n, "file": name},
            {"event": "close", "purpose": "read", "opened": n - 40, "bytes": YEAR_BYTES},
            {"event": "write", "bytes": NORMAL_BYTES},
        ):
            self.scheduler.log_event(trace_topic(RUN), line | event)


async def measure(chains: int, seconds: float, viewers: Sequence[int]) -> dict[str, float]:
    """Return the share of a core that the scheduler takes, by what there is to do."""
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(Path(folder), chains, 1951, 2100, Limits(None, 2, 1), VARIABLES)
    found: dict[str, float] = {"chains": chains}
    async with Scheduler(dashboard_address="127.0.0.1:0", port=0) as scheduler:
        run = Simulated(scheduler, plan)
        await run.start()
        telling = asyncio.create_task(_tell(run))
        found["without the page"] = await _share(seconds)
        await run.show()
        url = f"http://127.0.0.1:{scheduler.http_server.port}/{PATH}"
        for n in viewers:
            async with _Viewers(url, n):
                found[f"page, {n} browsers"] = await _share(seconds)
        found["memory, MiB"] = psutil.Process().memory_info().rss / 2**20
        telling.cancel()
    return found


class _Viewers:
    """Processes that have the page open, as browsers do."""

    def __init__(self, url: str, n: int) -> None:
        self.url, self.n = url, n

    async def __aenter__(self) -> None:
        self.processes = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", VIEWER, self.url, stdout=asyncio.subprocess.PIPE
            )
            for _ in range(self.n)
        ]
        for process in self.processes:
            assert process.stdout is not None
            assert await process.stdout.readline(), "no page to see"

    async def __aexit__(self, *_: Any) -> None:
        for process in self.processes:
            process.kill()
            await process.wait()


async def _tell(run: Simulated) -> None:
    while True:
        run.tell()
        await asyncio.sleep(TICK)


async def _share(seconds: float) -> float:
    await asyncio.sleep(3)  # let it settle
    cpu, wall = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    return (time.process_time() - cpu) / (time.monotonic() - wall)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the simulation and print what it took."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dashboard", description="What the page costs the scheduler."
    )
    parser.add_argument("--chains", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement")
    parser.add_argument("--browsers", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    given = parser.parse_args(argv)
    found = asyncio.run(measure(given.chains, given.seconds, given.browsers))
    for name, value in found.items():
        print(f"{name:26} {value:,.4f}".rstrip("0").rstrip("."))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

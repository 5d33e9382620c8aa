"""File tokens: one owner for each token, cluster-wide, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import dask
import distributed
import pytest
from dask._task_spec import Task
from distributed.utils_test import gen_cluster, inc

import climdask.execution.tokens as tokens_module
from climdask.errors import ClusterError
from climdask.execution.tokens import PLUGIN, FileTokens, TokenHolder, add_tokens, check_scheduler

pytestmark = pytest.mark.filterwarnings("ignore")  # distributed's test cluster warns by itself

GROUPS = {
    "pr": [f"file:pr{n}" for n in range(8)],
    "tas": [f"file:tas{n}" for n in range(8)],
    "tasmax": [f"file:tasmax{n}" for n in range(8)],
}
TOKENS = [t for group in GROUPS.values() for t in group]
# Names of tests in gen_cluster's workers are by address; two workers of two threads each.
TWO = [("127.0.0.1", 2)] * 2


async def install(
    client: Any, scheduler: Any, run_id: str = "run", groups: Any = GROUPS
) -> FileTokens:
    held = [t for group in groups.values() for t in group]
    await client.register_plugin(TokenHolder(run_id, held))
    await client.register_plugin(FileTokens(fence=0.2, interval=0.05))
    add_tokens(run_id, client.id, groups, dask_scheduler=scheduler)
    plugin: FileTokens = scheduler.plugins[PLUGIN]
    return plugin


def visible(scheduler: Any) -> Counter[str]:
    """Return on how many workers the scheduler sees each token."""
    return Counter(
        {
            t: sum(scheduler.resources.get(t, {}).values())
            for t in TOKENS
            if t in scheduler.resources
        }
    )


async def until(happens: Any, seconds: float = 5.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if happens():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen")


def submit(client: Any, names: list[str], seconds: float = 0.05) -> list[Any]:
    """Submit tasks that each need a token, twice each."""
    graph = {
        ("pr-read", name, n): Task(("pr-read", name, n), slow, seconds)
        for name in names
        for n in (0, 1)
    }
    with dask.annotate(resources=NeedsToken()):
        futures: list[Any] = client.get(graph, list(graph), sync=False)
    return futures


class NeedsToken:
    def __call__(self, key: Any) -> dict[str, int]:
        return {key[1]: 1}


def slow(seconds: float) -> str:
    import time

    time.sleep(seconds)
    return str(distributed.get_worker().address)


@gen_cluster(client=True, nthreads=TWO)
async def test_each_token_is_visible_on_one_worker_and_a_group_shares_its_home(
    c: Any, s: Any, a: Any, b: Any
) -> None:
    plugin = await install(c, s)
    assert set(visible(s).values()) == {1}
    homes = {name: {plugin.owner[t] for t in group} for name, group in GROUPS.items()}
    assert all(len(own) == 1 for own in homes.values())
    assert {address for own in homes.values() for address in own} == {a.address, b.address}


@gen_cluster(client=True, nthreads=TWO)
@pytest.mark.slow
async def test_tasks_run_where_their_token_is_and_the_scheduler_holds_the_restriction(
    c: Any, s: Any, a: Any, b: Any
) -> None:
    plugin = await install(c, s)
    futures = submit(c, TOKENS)
    await until(lambda: all(f.key in s.tasks for f in futures))
    assert all(s.tasks[f.key].resource_restrictions == {f.key[1]: 1} for f in futures)
    ran = {f.key[1]: await f for f in futures}
    assert ran == {t: plugin.owner[t] for t in TOKENS}


@pytest.mark.slow
@gen_cluster(client=True, nthreads=TWO)
async def test_tasks_wait_without_tokens_and_wake_when_they_are_granted(
    c: Any, s: Any, a: Any, b: Any
) -> None:
    await c.register_plugin(TokenHolder("run", TOKENS))
    await c.register_plugin(FileTokens(fence=0.2, interval=0.05))
    futures = submit(c, GROUPS["pr"])
    await until(lambda: len(s.unrunnable) == len(futures))
    add_tokens("run", c.id, GROUPS, dask_scheduler=s)
    await c.gather(futures)


@gen_cluster(client=True, nthreads=[("127.0.0.1", 2)])
@pytest.mark.slow
async def test_a_worker_that_joins_gets_a_group_but_no_token_in_use(c: Any, s: Any, a: Any) -> None:
    plugin = await install(c, s)
    futures = submit(c, GROUPS["pr"], seconds=0.2)
    await until(lambda: len(s.workers[a.address].processing) > 0)
    async with distributed.Worker(s.address, nthreads=2) as newcomer:
        await until(lambda: any(g.home == newcomer.address for g in plugin.groups.values()))
        await until(lambda: not any(g.unsettled for g in plugin.groups.values()), seconds=20)
        assert set(visible(s).values()) == {1}
        assert {plugin.owner[t] for t in TOKENS} == {a.address, newcomer.address}
        await c.gather(futures)


@gen_cluster(client=True, nthreads=TWO)
async def test_a_token_stays_where_a_task_needs_it_until_that_has_ended(
    c: Any, s: Any, a: Any, b: Any
) -> None:
    plugin = await install(c, s)
    group, begun, go_on = plugin.groups["pr"], distributed.Event("begun"), distributed.Event("go")
    old = group.home
    (new,) = {a.address, b.address} - {old}
    # The second task was sent to the worker as well, and waits there for the same token.
    with dask.annotate(resources=NeedsToken()):
        graph = {("pr-read", "file:pr0", n): Task(("pr-read", "file:pr0", n), wait) for n in (0, 1)}
        futures = c.get(graph, list(graph), sync=False)
    await begun.wait(timeout=5)
    await until(lambda: len(s.workers[old].processing) == 2)
    group.home, group.unsettled = new, True
    for _ in range(3):
        plugin.tick()
        assert plugin.owner["file:pr0"] == old
        assert {plugin.owner[t] for t in GROUPS["pr"] if t != "file:pr0"} == {new}
        assert set(visible(s).values()) == {1}
        assert plugin.waiting_for("pr") == "file tokens are still in use elsewhere"
    await go_on.set()
    assert await c.gather(futures) == [old, old]
    await until(lambda: plugin.owner["file:pr0"] == new)
    assert plugin.waiting_for("pr") == ""


def wait() -> str:
    distributed.Event("begun").set()
    assert distributed.Event("go").wait(timeout=30)
    return str(distributed.get_worker().address)


@gen_cluster(client=True, nthreads=TWO)
async def test_tokens_of_a_lost_worker_are_fenced_and_then_granted_again(
    c: Any, s: Any, a: Any, b: Any
) -> None:
    plugin = await install(c, s)
    lost = [t for t in TOKENS if plugin.owner[t] == a.address]
    name = next(n for n, group in plugin.groups.items() if group.home == a.address)
    await a.close()
    assert not any(t in plugin.owner for t in lost)
    plugin.tick()
    assert not any(t in plugin.owner for t in lost), "granted within the fence"
    assert "fenced" in plugin.waiting_for(name)
    await until(lambda: all(plugin.owner.get(t) == b.address for t in TOKENS))
    assert set(visible(s).values()) == {1}
    assert plugin.waiting_for(name) == ""


@gen_cluster(client=True, nthreads=TWO)
async def test_a_paused_home_keeps_its_tokens_unless_it_is_stuck(
    c: Any, s: Any, a: Any, b: Any
) -> None:
    plugin = await install(c, s)
    mine = [t for t in TOKENS if plugin.owner[t] == a.address]
    a.status = distributed.core.Status.paused
    await until(lambda: s.workers[a.address].status.name == "paused")
    plugin.tick()
    assert all(plugin.owner[t] == a.address for t in mine)
    name = next(n for n, group in plugin.groups.items() if group.home == a.address)
    assert plugin.waiting_for(name) == "its worker pauses: its memory is nearly full"
    plugin.paused[a.address] = (plugin.paused[a.address][0] - 1000, plugin.paused[a.address][1])
    plugin.tick()
    assert all(plugin.owner[t] == b.address for t in mine)


@gen_cluster(client=True, nthreads=TWO)
async def test_runs_share_tokens_and_the_last_one_takes_them_away(
    c: Any, s: Any, a: Any, b: Any
) -> None:
    plugin = await install(c, s)
    await install(c, s, "other", {"pr": GROUPS["pr"]})
    assert plugin is s.plugins[PLUGIN]
    plugin.remove_run("run")
    assert set(plugin.groups) == {"pr"}
    assert {t for t, n in visible(s).items() if n} == set(GROUPS["pr"])
    await c.unregister_worker_plugin("climdask-tokens-run")
    assert set(GROUPS["pr"]) == set(a.state.total_resources)
    plugin.remove_run("other")
    await c.unregister_worker_plugin("climdask-tokens-other")
    assert not plugin.groups
    assert not plugin.owner
    assert not a.state.total_resources
    assert not any(visible(s).values())


@gen_cluster(client=True, nthreads=TWO)
async def test_tokens_of_a_driver_that_has_gone_are_given_back(
    c: Any, s: Any, a: Any, b: Any
) -> None:
    plugin = await install(c, s)
    plugin.remove_client(s, c.id)
    assert not plugin.groups
    assert not any(visible(s).values())


@pytest.mark.slow
@gen_cluster(client=True, nthreads=TWO)
async def test_workers_serialize_tasks_of_one_token_by_themselves_too(
    c: Any, s: Any, a: Any, b: Any
) -> None:
    await install(c, s)
    worker = {w.address: w for w in (a, b)}[s.plugins[PLUGIN].owner["file:pr0"]]
    futures = submit(c, ["file:pr0"], seconds=0.2)
    await until(lambda: worker.state.executing_count == 1)
    assert worker.state.available_resources["file:pr0"] == 0
    await asyncio.sleep(0.05)
    assert worker.state.executing_count == 1
    await c.gather(futures)


@gen_cluster(client=True)
async def test_one_poisoned_worker_after_another_does_not_end_healthy_tasks(
    c: Any, s: Any, a: Any, b: Any
) -> None:
    await install(c, s)
    assert s.allowed_failures >= tokens_module.ALLOWED_FAILURES
    assert await c.submit(inc, 1) == 2


def test_an_untested_version_or_a_changed_scheduler_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ClusterError, match="lacks resources, workers"):
        check_scheduler(object())
    monkeypatch.setattr(distributed, "__version__", "2031.1.0")
    with pytest.raises(ClusterError, match=r"distributed 2031\.1\.0; climdask is tested with"):
        check_scheduler(object())

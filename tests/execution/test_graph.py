"""The graph builder: keys, tokens, priorities, and what waits for what."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from dask.core import flatten
from dask.utils import key_split

import climdask
from climdask.execution.graph import ChainGraph, build_chain, stage_of
from climdask.execution.tasks import RunContext
from climdask.inputs.access import FileAccess
from climdask.planning.plan import Limits, Plan
from tests.samples import write_archive
from tests.workflows import small


def context_of(plan: Plan, out: Path, run_id: str = "run1") -> RunContext:
    access = FileAccess("trace", out / "locks", out / "trace")
    access.prepare()
    return RunContext(run_id, out, plan.inventory.root, access, "fail", 0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    for model in ("ACCESS-CM2", "MIROC6"):
        write_archive(root, first=2000, last=2025, scenarios=("ssp245", "ssp585"), model=model,
                      seed=model)  # fmt: skip
    return root


@pytest.fixture
def plan(archive: Path, out: Path) -> Plan:
    return climdask.plan(small(archive, out, scenarios=["ssp245", "ssp585"]))


def graphs_of(plan: Plan, out: Path, run_id: str = "run1") -> list[ChainGraph]:
    return [build_chain(plan, chain, context_of(plan, out, run_id)) for chain in plan.chains]


def test_two_models_and_two_runs_share_no_key(plan: Plan, out: Path) -> None:
    one, two = graphs_of(plan, out)
    again = graphs_of(plan, out, "run2")[0]
    assert not set(one.tasks) & set(two.tasks)
    assert not set(one.tasks) & set(again.tasks)


def test_every_task_that_opens_a_file_has_its_token_and_windows_have_none(
    plan: Plan, out: Path
) -> None:
    (graph, _), chain = graphs_of(plan, out), plan.chains[0]
    resources, _ = graph.annotations["resources"], graph.annotations["priority"]
    reads = [key for key in graph.tasks if stage_of(key) == "read"]
    assert len(reads) == len(chain.branches.reads) == 15 + 2 * 11
    assert len({tuple(resources(key)) for key in reads}) == len(reads)
    for key in graph.tasks:
        wanted = stage_of(key) in ("read", "chain", "restore")
        assert (sum(resources(key).values()) == 1) is wanted


def test_groups_are_what_the_dashboard_shows(plan: Plan, out: Path) -> None:
    groups = {key_split(key) for graph in graphs_of(plan, out) for key in graph.tasks}
    assert groups == {
        f"tas-{s}" for s in ("chain", "read", "window", "write", "tick", "checkpoint")
    }


def test_a_read_waits_for_the_end_of_the_step_lookahead_steps_before_its_first_use(
    plan: Plan, out: Path
) -> None:
    graph = graphs_of(plan, out)[0]
    lookahead = plan.workflow.run.lookaheads[0]
    for key in graph.tasks:
        if stage_of(key) == "read":
            needed = graph.tasks[key].dependencies
            ends = [k for k in needed if stage_of(k) in ("tick", "write")]
            year = key[3]
            if year - lookahead < 2000:
                assert not ends
            else:
                assert [k[3] for k in ends] == [year - lookahead]
                branch = key[2].split("/")[0]
                assert ends[0][2] == (branch if year - lookahead > 2014 else "historical")


def test_without_the_ring_no_task_but_one_window_keeps_a_block(archive: Path, out: Path) -> None:
    plan = climdask.plan(small(archive, out), limits=Limits(memory_per_worker=1))
    graph, branches = graphs_of(plan, out)[0], plan.chains[0].branches
    assert sum(any(block.again for block in read.blocks) for read in branches.reads) > 5
    users: dict[object, list[str]] = defaultdict(list)
    for key, task in graph.tasks.items():
        for needed in task.dependencies:
            users[needed].append(stage_of(key))
    for key in graph.tasks:
        if stage_of(key) == "read":
            assert users[key] == ["window"]


def test_a_step_ends_with_its_write_or_with_a_tick(plan: Plan, out: Path) -> None:
    keys = graphs_of(plan, out)[0].tasks
    steps = sorted(k[2:4] for k in keys if stage_of(k) == "window")
    ends = [k for k in keys if stage_of(k) in ("tick", "write")]
    assert sorted(k[2:4] for k in ends) == steps
    assert {stage_of(k) for k in ends} == {"tick", "write"}


def test_windows_form_one_sequential_chain_for_each_branch(plan: Plan, out: Path) -> None:
    graph = graphs_of(plan, out)[0]
    windows = [k for k in graph.tasks if stage_of(k) == "window"]
    before = {
        k: [d for d in graph.tasks[k].dependencies if stage_of(d) == "window"] for k in windows
    }
    assert [k for k in windows if not before[k]] == [graph.tasks.keys() and windows[0]]
    for key, others in before.items():
        assert len(others) <= 1
        for other in others:
            assert other[3] == key[3] - 1
            assert other[2] == (
                key[2] if other[3] > 2014 or key[2] == "historical" else "historical"
            )


def test_a_checkpoint_waits_for_every_write_before_it(plan: Plan, out: Path) -> None:
    graph = graphs_of(plan, out)[0]
    for key in [k for k in graph.tasks if stage_of(k) == "checkpoint"]:
        seen: set[object] = set()
        left = [key]
        while left:
            for other in graph.tasks[left.pop()].dependencies:
                if other not in seen:
                    seen.add(other)
                    left.append(other)
        written = {k[3] for k in seen if stage_of(k) == "write" and k[2] == key[2]}
        own = {k[3] for k in graph.tasks if stage_of(k) == "write" and k[2] == key[2]}
        assert written == {y for y in own if y <= key[3]}


def test_priorities_put_writes_before_windows_before_reads_and_early_years_first(
    plan: Plan, out: Path
) -> None:
    graph = graphs_of(plan, out)[0]
    priority = graph.annotations["priority"]
    by_stage = {
        s: [priority(k) for k in graph.tasks if stage_of(k) == s]
        for s in ("write", "window", "read")
    }
    assert min(by_stage["write"]) > max(by_stage["window"])
    assert min(by_stage["window"]) > max(by_stage["read"])
    reads = sorted((k for k in graph.tasks if stage_of(k) == "read"), key=lambda k: k[3])
    assert [priority(k) for k in reads] == sorted((priority(k) for k in reads), reverse=True)


def test_every_dependency_is_in_the_graph_and_every_task_is_wanted(plan: Plan, out: Path) -> None:
    for graph in graphs_of(plan, out):
        needed = set(flatten([list(t.dependencies) for t in graph.tasks.values()]))
        assert needed <= set(graph.tasks)
        last_ticks = {k for k in graph.tasks if stage_of(k) == "tick"} - needed
        assert set(graph.tasks) - needed - set(graph.wanted) == last_ticks

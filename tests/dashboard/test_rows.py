"""The lines of the dashboard's page: hundreds of chains stay readable, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from climdask.dashboard.rows import (
    PAGE,
    POINTS,
    Choice,
    Curve,
    Line,
    RunLine,
    WatchedRun,
    amount,
    counts_of,
    groups,
)
from climdask.execution.events import Work
from climdask.monitoring.progress import ChainProgress, RunProgress

VARIABLES = ("pr", "tas", "tasmax", "tasmin")


def run_of(models: int, states: Mapping[str, str] | None = None) -> WatchedRun:
    """Return a run of four chains a model; all wait but those of which states are given."""
    rows = {}
    for model in range(models):
        for variable in VARIABLES:
            name = f"M{model:02}/r1/gn/{variable}"
            rows[name] = ChainProgress(
                name, 150, 160, 121, state=(states or {}).get(name, "waiting")
            )
    return WatchedRun("run-1", "/out", "client", {}, RunProgress(rows))


def pages(choice: Choice, run: WatchedRun) -> list[list[Line]]:
    """Turn all pages."""
    found = list(groups(run, {}, titled=False))
    _, total = choice.lines(found)
    made = []
    for page in range(-(-total // PAGE)):
        choice.take(f"page {page}")
        made.append(choice.lines(found)[0])
    assert sum(map(len, made)) == total
    return made


def test_of_300_chains_each_is_on_one_page_and_no_page_is_long() -> None:
    run = run_of(75)
    folded = pages(Choice(), run)
    assert [line.name for page in folded for line in page] == [f"▸ M{n:02}" for n in range(75)]
    assert {line.status for page in folded for line in page} == {"4 waiting"}
    choice = Choice()
    choice.take("unfold")
    unfolded = pages(choice, run)
    assert max(map(len, folded + unfolded)) == PAGE
    lines = [line for page in unfolded for line in page]
    assert [line.name for line in lines if line.is_child] == list(VARIABLES) * 75
    assert [line.name for line in lines if line.key] == [f"▾ M{n:02}" for n in range(75)]


def test_a_group_is_folded_and_unfolded_alone() -> None:
    run, choice = run_of(75), Choice()
    choice.take("toggle run-1/M01")
    assert [line.name for line in pages(choice, run)[0][:7]] == [
        "▸ M00",
        "▾ M01",
        *VARIABLES,
        "▸ M02",
    ]
    choice.take("toggle run-1/M01")
    assert [line.name for line in pages(choice, run)[0][:3]] == ["▸ M00", "▸ M01", "▸ M02"]
    few = run_of(2)
    assert [line.is_child for line in pages(Choice(), few)[0]] == [False, *[True] * 4] * 2


def test_the_chains_of_one_state_are_found_among_hundreds() -> None:
    run = run_of(75, {"M07/r1/gn/tas": "failed", "M50/r1/gn/pr": "failed", "M50/r1/gn/tas": "done"})
    choice = Choice()
    choice.take("show failed")
    choice.take("unfold")
    lines = pages(choice, run)[0]
    assert [(line.name, line.status) for line in lines] == [
        ("▾ M07", "1 failed, 3 waiting"), ("tas", "✗ failed"),
        ("▾ M50", "1 failed, 2 waiting, 1 done"), ("pr", "✗ failed"),
    ]  # fmt: skip
    counts = counts_of(groups(run, {}, titled=False))
    assert counts == {"all": 300, "active": 0, "failed": 2, "waiting": 297, "done": 1}


@pytest.mark.parametrize(
    "said",
    ["", "show", "show everything", "page", "page -1", "page x", "sing", "toggle", "page 99"],
)
def test_what_no_button_says_changes_nothing(said: str) -> None:
    run, choice = run_of(75), Choice()
    before = choice.lines(list(groups(run, {}, titled=False)))
    choice.take(said)
    after = choice.lines(list(groups(run, {}, titled=False)))
    assert choice.shown == "all"
    if said == "page 99":  # as when a page is gone because its chains are done
        assert choice.page == 2
    else:
        assert after == before


def test_a_line_tells_years_target_state_time_left_and_home() -> None:
    row = ChainProgress("M/r1/gn/pr", 150, 160, 121, years=30, writes=1, at=("ssp245", 2016))
    row.state, row.started, row.waits = "active", time.monotonic() - 60, "no worker yet"
    other = ChainProgress("M/r1/gn/tas", 150, 160, 121)
    run = WatchedRun("run-1", "/out", "client", {}, RunProgress({r.id: r for r in (row, other)}))
    group, line, _ = pages_of(run, {row.id: "worker-3 (160)"})
    assert (line.years, line.normals, line.target) == ("30/150", "1/121", "ssp245 2016")
    assert (line.status, line.eta) == ("▶ active (no worker yet)", "4:00")
    assert (line.home, line.percent) == ("worker-3 (160)", 20.0)
    assert (group.years, group.percent, group.eta) == ("30/300", 10.0, "9:00")


def pages_of(run: WatchedRun, homes: Mapping[str, str]) -> list[Line]:
    return Choice().lines(list(groups(run, homes, titled=False)))[0]


def test_a_model_of_one_chain_is_one_line_and_several_runs_are_told_apart() -> None:
    row = ChainProgress("M/r1/gn/pr", 150, 160, 121)
    run = WatchedRun("run-1", "/out", "client", {}, RunProgress({row.id: row}))
    assert [line.name for line in pages_of(run, {})] == ["M pr"]
    found = list(groups(run, {}, titled=True))
    assert [line.name for line in Choice().lines(found)[0]] == ["/out: M pr"]


def test_a_run_tells_its_totals() -> None:
    run = run_of(2, {"M00/r1/gn/pr": "failed", "M00/r1/gn/tas": "done"})
    run.progress.work = Work(decoded=1_234_000_000, written=5_600_000)
    run.progress.chains["M01/r1/gn/pr"].reads = 1_030
    run.progress.chains["M01/r1/gn/tas"].writes = 3
    line = RunLine.of(run)
    assert (line.chains, line.failed, line.state) == ("1/8", "1", "at work")
    assert (line.years, line.reads, line.writes) == ("0/1,200", "1,030/1,280", "3/968")
    assert (line.decoded, line.written, line.eta) == ("1.23 GB", "5.6 MB", "?")
    run.progress.stop()
    assert (RunLine.of(run).state, RunLine.of(run).eta) == ("stopped", "")
    for row in run.progress.chains.values():
        row.state = "done"
    assert RunLine.of(run).state == "ended"
    assert amount(2.5e12) == "2,500.00 GB"


def test_a_curve_stays_small_and_loses_no_work() -> None:
    curve = Curve()
    seconds = 4 * 3600
    for second in range(seconds):  # a file a second, and in the last hour two
        files = second + max(0, second - 3 * 3600)
        curve.add(second, (60_000_000 * files, 0, files))
        assert len(curve.points) <= POINTS
    assert len(curve.points) > POINTS / 4
    rates = curve.rates()
    assert set(rates["files"].round()) == {1, 2}
    assert rates["decoded"][0] == pytest.approx(60.0)
    gaps = [q[0] - p[0] for p, q in zip(curve.points, curve.points[1:], strict=False)]
    total = sum(rate * gap for rate, gap in zip(rates["files"], gaps, strict=True))
    assert total == pytest.approx(curve.points[-1][3] - curve.points[0][3])
    assert curve.points[-1][0] > seconds - 2 * curve.step, "the newest is there"


def test_a_curve_of_one_point_has_no_rate_and_a_new_point_makes_new_rates() -> None:
    curve = Curve()
    assert curve.rates()["files"].size == 0
    curve.add(1.0, (0, 0, 0))
    assert {name: column.size for name, column in curve.rates().items()} == {
        "at": 0, "decoded": 0, "written": 0, "files": 0
    }  # fmt: skip
    curve.add(3.0, (8_000_000, 2_000_000, 4))
    found = curve.rates()
    assert [found[name].tolist() for name in found] == [[2.0], [4.0], [1.0], [2.0]]
    assert curve.rates() is found, "nothing is sent to browsers again"


def test_on_the_page_messages_of_files_are_plain_text_and_no_code() -> None:
    from climdask.dashboard.page import _WORDS

    said = str(_WORDS.failures([("M/tas", "units: \x1b[2J<script>\u202e")], 0))
    assert "units: \\x1b[2J&lt;script&gt;\\u202e" in said
    assert str(_WORDS.open_files([], 0)).startswith("<h3>0 input files")

"""What a run shows: plain lines for logs, the table on a terminal, the summary."""

from __future__ import annotations

import io
import re
import time
from dataclasses import dataclass

import pytest
from rich.console import Console

import climdask.monitoring.terminal
from climdask.execution.events import Event
from climdask.monitoring.progress import ChainProgress, RunProgress
from climdask.monitoring.terminal import plain_line, shown, summary
from tests.progresses import row, run_of

DASHBOARD = "http://127.0.0.1:8787/status"
WHY = "/data/tas_1999.nc: is empty (0 bytes); fetch it again"


# ---------------------------------------------------------------- plain lines


def test_a_plain_line_says_what_where_and_how_long(now: list[float]) -> None:
    chain = row(state="active", started=937.0, years=50, writes=20, at=("ssp245", 2020))
    assert re.fullmatch(
        r"ACCESS-CM2/r1i1p1f1/gn/tas: active, 50/150 years, 20/121 target years "
        r"written, at ssp245 2020, elapsed 1:03, ETA 2:06",
        plain_line(chain),
    )
    assert "at start," in plain_line(row())
    assert plain_line(row(state="failed", message=WHY)).endswith(f": {WHY}")
    waiting = plain_line(row(started=1.0, waits="no worker yet"))
    assert ": waiting (no worker yet), " in waiting


def test_without_a_terminal_a_chain_that_moved_is_told_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(climdask.monitoring.terminal, "PLAIN_INTERVAL", 0.01)
    stream = io.StringIO()
    still, moving = row("pr", state="active"), row("tas", state="active")
    progress = run_of(still, moving, dashboard=DASHBOARD)
    with shown(progress, stream=stream):
        for years in (10, 20):
            moving.years = years
            until = time.monotonic() + 10
            while f"{years}/150 years" not in stream.getvalue() and time.monotonic() < until:
                time.sleep(0.005)
        progress.take(Event("fail", moving.id, message=WHY))
    lines = stream.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines), "each has its time"
    assert lines[0].endswith(f" dashboard: {DASHBOARD}")
    assert sum("gn/pr: active, 0/150" in line for line in lines) == 1, "it did not move"
    assert [line for line in lines if "gn/tas: active, 10/150 years" in line]
    assert lines[-2].endswith(WHY), "the end is told at once"
    assert " 0/2 chains done, 0 files read, 0/242 target years written, 1 failed" in lines[-1]
    assert not any("\x1b" in line for line in lines)


def test_quiet_shows_nothing_at_all() -> None:
    stream = io.StringIO()
    with shown(run_of(row(state="active"), dashboard=DASHBOARD), quiet=True, stream=stream):
        pass
    assert stream.getvalue() == ""


def test_of_many_chains_only_what_changed_its_state_and_the_totals_are_told() -> None:
    rows = [row(f"v{n:02}", state="active") for n in range(40)]
    progress = run_of(*rows)
    lines = climdask.monitoring.terminal._Lines(progress)
    assert len(lines.new()) == 41, "each has begun, and the totals"
    for moving in rows:
        moving.years = 10
    progress.take(Event("finish", rows[3].id))
    told = lines.new()
    assert [line.split(":")[0] for line in told[:-1]] == [rows[3].id]
    assert told[-1].startswith("1/40 chains done")
    assert lines.new() == [], "nothing moved"


def test_jobs_and_why_they_wait_are_told_when_they_change() -> None:
    progress = run_of(row())
    lines = climdask.monitoring.terminal._Lines(progress)
    progress.jobs, progress.note = {"7": "pending"}, "job 7 waits: Priority"
    assert lines.new() == ["jobs: 1 pending (7)", "note: job 7 waits: Priority"]
    assert lines.new() == []
    progress.jobs, progress.note = {"7": "running"}, ""
    assert lines.new() == ["jobs: 1 running (7)"]


def test_plain_lines_come_the_more_rarely_the_longer_a_run_takes() -> None:
    waits = [climdask.monitoring.terminal.pause(hours * 3600) for hours in (0, 0.05, 1, 10)]
    assert waits == [5.0, 5.0, 60.0, 300.0]


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_dumb_terminal_gets_lines(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    stream = Terminal()
    with shown(run_of(row(state="active")), stream=stream):
        pass
    assert "gn/tas: active, 0/150 years" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_lines_are_shown_on_a_terminal_if_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with shown(run_of(row(state="active")), plain=True, stream=stream):
        pass
    assert re.match(r"\d\d:\d\d:\d\d ACCESS-CM2/r1i1p1f1/gn/tas: active", stream.getvalue())
    assert "\x1b" not in stream.getvalue()


def test_a_log_is_told_everything_also_if_nothing_is_shown() -> None:
    stream, lines = io.StringIO(), []
    chain = row(state="active")
    with shown(run_of(chain), quiet=True, log=lines.append, stream=stream):
        chain.years = 150
    assert stream.getvalue() == ""
    assert [line.split(", ")[1] for line in lines] == ["0/150 years", "150/150 years"]


# ---------------------------------------------------------------- the table on a terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass
class Screen:
    """The last picture on a fake terminal."""

    text: str

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.text.splitlines()]

    def cells(self, name: str) -> list[str]:
        """Return the row of a chain, without its bar."""
        rows = (re.sub("[━╺╸]", " ", line).split() for line in self.lines)
        return next(row for row in rows if row[:1] == [name])


def draw(
    progress: RunProgress, monkeypatch: pytest.MonkeyPatch, *, width: int = 80, height: int = 24
) -> Screen:
    """Show progress on a terminal as ``climdask run`` does, and return what it shows at last."""
    for name, value in (("COLUMNS", width), ("LINES", height), ("TERM", "xterm")):
        monkeypatch.setenv(name, str(value))
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    stream = Terminal()
    with shown(progress, stream=stream):
        pass
    frames = re.split(r"\x1b\[\?25[lh]|\x1b\[1A\x1b\[2K|\x1b\[2K", stream.getvalue())
    clean = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", frame) for frame in frames]
    return Screen([frame for frame in clean if frame.strip()][-1])


def four() -> list[ChainProgress]:
    """Return a chain in each state."""
    return [
        row("pr", state="done", years=150, reads=150, writes=121, started=10.0, finished=3733.0),
        row("tas", state="active", years=100, reads=103, writes=71, started=400.0,
            at=("ssp245", 2050)),
        row("tasmax", state="failed", message=WHY, started=400.0, finished=430.0),
        row("tasmin"),
    ]  # fmt: skip


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_a_row_for_each_chain_shows_every_count_in_full(
    width: int, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = draw(run_of(*four(), dashboard=DASHBOARD), monkeypatch, width=width)
    assert screen.lines[0].split() == [
        "chain", "years", "target", "normals", "state", "elapsed", "ETA"
    ]  # fmt: skip
    assert screen.cells("pr") == ["pr", "150/150", "121/121", "done", "1:02:03", "0:00"]
    assert screen.cells("tas") == [
        "tas", "100/150", "ssp245", "2050", "71/121", "active", "10:00", "5:00"
    ]  # fmt: skip
    assert screen.cells("tasmin")[-2:] == ["0:00", "?"]
    assert "1/4 chains done, 253 files read, 192/484 target years written, 1 failed" in screen.text
    assert f"dashboard: {DASHBOARD}" in screen.text
    assert "…" not in screen.text
    assert all(len(line) <= width for line in screen.lines)


def test_the_bar_grows_with_the_years(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    bars = []
    for years in (0, 50, 100, 150):
        progress = run_of(row("tas", state="active", years=years), row("pr"))
        file = io.StringIO()
        table = climdask.monitoring.terminal.table(progress, 120, 24)
        Console(file=file, width=120, color_system=None, force_terminal=True).print(table)
        bars.append(next(x for x in file.getvalue().splitlines() if " tas " in x).count("━"))
    assert bars == sorted(set(bars))
    assert bars[-1] == climdask.monitoring.terminal.BAR


def test_without_colours_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TERM", "xterm-256color"), ("NO_COLOR", "1"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)
    stream = Terminal()
    with shown(run_of(*four()), stream=stream):
        pass
    codes = {c for found in re.findall(r"\x1b\[([0-9;]*)m", stream.getvalue())
             for c in found.split(";")}  # fmt: skip
    assert codes <= {"0", "1", "2", ""}, "bold and dim are no colours"


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (60, ["chain", "years", "target", "normals", "state", "ETA"]),
        (40, ["chain", "years", "state", "ETA"]),
        (30, ["chain", "years", "state"]),
        (20, ["chain", "years"]),
    ],
)
def test_on_a_narrow_terminal_the_least_important_columns_go_and_none_is_cut(
    width: int, titles: list[str], now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = draw(run_of(*four()), monkeypatch, width=width)
    assert screen.lines[0].split() == titles
    assert screen.cells("tas")[1] == "100/150"
    assert "state" not in titles or "active" in screen.cells("tas")
    assert "…" not in "".join(screen.lines[:5])
    assert all(len(line) <= width for line in screen.lines)


def test_why_a_chain_waits_is_shown_where_there_is_room(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = row("tas", started=10.0, waits="fenced after the loss of a worker")
    wide = draw(run_of(chain), monkeypatch, width=120)
    assert "waiting (fenced after the loss of a worker)" in wide.text
    narrow = draw(run_of(chain), monkeypatch, width=60)
    assert "waiting" in narrow.text
    assert "fenced" not in narrow.text


def test_names_leave_out_what_all_chains_have_in_common(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = draw(run_of(row("tas"), row("tas", model="NorESM2-LM")), monkeypatch)
    assert screen.cells("NorESM2-LM/r1i1p1f1/gn/tas")
    assert draw(run_of(row("tas")), monkeypatch).cells("tas")


def test_of_more_chains_than_rows_those_in_work_are_shown_and_the_others_counted(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(f"done{i}", state="done") for i in range(20)]
    rows += [row(f"waits{i}") for i in range(20)]
    rows += [row("bad", state="failed", message=WHY), row("works", state="active")]
    screen = draw(run_of(*rows), monkeypatch, width=100, height=16)
    assert len(screen.lines) <= 16
    assert screen.cells("works")
    assert screen.cells("bad")
    assert "waits7" in screen.text
    assert "waits8" not in screen.text
    assert "done0" not in screen.text
    assert "(32 chains not shown)" in screen.text
    assert "20/42 chains done" in screen.text


def test_failures_are_shown_at_once_with_their_reason(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = draw(run_of(*four()), monkeypatch, width=120)
    assert f"ACCESS-CM2/r1i1p1f1/gn/tasmax: {WHY}" in screen.text


def test_names_and_reasons_with_brackets_are_shown_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    why = "/data/[red]x/[/]y.nc: is empty"
    screen = draw(run_of(row("tas", state="failed", message=why)), monkeypatch, width=120)
    assert why in screen.text
    file = io.StringIO()
    Console(file=file, width=200).print(summary([row("tas", state="failed", message=why)]))
    assert why in file.getvalue()


def test_a_run_with_nothing_to_do_shows_an_empty_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "0/0 chains done" in draw(run_of(), monkeypatch).text


# ---------------------------------------------------------------- the summary


def test_the_summary_says_what_was_done_and_what_failed_and_why(now: list[float]) -> None:
    file = io.StringIO()
    Console(file=file, width=200).print(summary(four()))
    text = [line.split() for line in file.getvalue().splitlines()]
    assert text[1] == ["ACCESS-CM2/r1i1p1f1/gn/pr", "done", "150/150", "121/121", "1:02:03"]
    assert text[3][:5] == ["ACCESS-CM2/r1i1p1f1/gn/tasmax", "failed", "0/150", "0/121", "0:30"]
    assert " ".join(text[3][5:]) == WHY

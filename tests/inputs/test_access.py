"""Opening input files: one opener at a time, anywhere; and an audit that proves it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import filelock
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climdask.errors import BusyFile, OutputError, PoisonFile
from climdask.inputs import access as access_module
from climdask.inputs.access import (
    MAX_DEATHS,
    FileAccess,
    LockCheck,
    default_lock_dir,
    file_id,
    process_id,
    read_lines,
)
from climdask.inputs.audit import Audit, audit


@pytest.fixture
def access(tmp_path: Path) -> FileAccess:
    access = FileAccess("run-1", tmp_path / "locks", tmp_path / "trace", timeout=30.0)
    access.prepare()
    return access


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tas_2000.nc"
    path.write_text("data")
    return path


def events(access: FileAccess) -> list[dict[str, Any]]:
    return [e for p in sorted(access.trace_dir.glob("*.jsonl")) for e in read_lines(p)[0]]


def locked(access: FileAccess, path: Path) -> bool:
    """Tell whether somebody holds the lock of a file."""
    try:
        with filelock.FileLock(access.lock_dir / f"{file_id(path)}.lock", timeout=0):
            return False
    except filelock.Timeout:
        return True


# ---------------------------------------------------------------- one at a time


def test_the_lock_is_held_while_the_file_is_open_and_not_longer(
    access: FileAccess, path: Path
) -> None:
    with access.opening(path):
        assert locked(access, path)
    assert not locked(access, path)
    with pytest.raises(ZeroDivisionError), access.opening(path):
        raise ZeroDivisionError
    assert not locked(access, path)
    assert not list(access.lock_dir.glob("*.opened-*"))


def count_inside(access: FileAccess, path: Path, counter: Path, n: int) -> None:
    """Open a file many times; whoever is inside is alone, or a number gets lost."""
    for _ in range(n):
        with access.opening(path):
            value = int(counter.read_text())
            time.sleep(0.001)
            counter.write_text(str(value + 1))


def test_threads_exclude_each_other(access: FileAccess, path: Path, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: count_inside(access, path, counter, 10), range(4)))
    assert counter.read_text() == "40"
    found = audit([access.trace_dir])
    assert found.holds
    assert (found.opens, found.files, found.most, found.processes) == (40, 1, 40, 1)


COUNT = """
import sys, time
from pathlib import Path
from climdask.inputs.access import FileAccess
locks, trace, path, counter, n = sys.argv[1:]
access = FileAccess("run-1", Path(locks), Path(trace), timeout=30.0)
for _ in range(int(n)):
    with access.opening(Path(path)):
        value = int(Path(counter).read_text())
        time.sleep(0.001)
        Path(counter).write_text(str(value + 1))
"""


def test_processes_exclude_each_other(access: FileAccess, path: Path, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    words = [access.lock_dir, access.trace_dir, path, counter, 10]
    workers = [subprocess.Popen([sys.executable, "-c", COUNT, *map(str, words)]) for _ in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    assert counter.read_text() == "30"
    found = audit([access.trace_dir])
    assert found.holds
    assert (found.opens, found.processes, found.died) == (30, 3, 0)
    assert sorted(e["seq"] for e in events(access)) == list(range(1, 61))


def test_two_files_may_be_open_at_once(access: FileAccess, path: Path) -> None:
    other = path.with_name("other.nc")
    other.write_text("data")
    with access.opening(path), access.opening(other):
        pass
    assert audit([access.trace_dir]).files == 2


def test_names_of_one_file_share_its_lock(access: FileAccess, path: Path) -> None:
    link, loop = path.with_name("link.nc"), path.parent / "sub" / ".." / path.name
    link.symlink_to(path)
    (path.parent / "sub").mkdir()
    assert file_id(path) == file_id(link) == file_id(loop) == file_id(str(path))
    assert file_id(path) != file_id(path.with_name("other.nc"))
    with (
        access.opening(path),
        pytest.raises(BusyFile),
        replace(access, timeout=0.0).opening(link),
    ):
        pass


def test_a_busy_file_is_waited_for_and_then_told(access: FileAccess, path: Path) -> None:
    waiting = replace(access, timeout=0.3)
    with access.opening(path):
        start = time.monotonic()
        with pytest.raises(BusyFile) as caught, waiting.opening(path):
            pass
        assert 0.25 < time.monotonic() - start < 5
    for word in (str(path), "still open elsewhere after 0.3 s", "run.lock_timeout"):
        assert word in str(caught.value)
    with waiting.opening(path):
        pass


def test_a_file_is_had_as_soon_as_it_is_free(access: FileAccess, path: Path) -> None:
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with access.opening(path):
            inside.set()
            done.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(10)
    threading.Timer(0.1, done.set).start()
    with access.opening(path):
        assert done.is_set()
    holder.join()


# ---------------------------------------------------------------- traces and numbers


def test_whoever_listens_to_a_run_is_told_of_its_traces(access: FileAccess, path: Path) -> None:
    told: list[Any] = []
    access_module.listeners[access.run_id] = told.append
    try:
        with access.opening(path) as reading:
            reading.add(30)
            reading.add(12)
        with replace(access, run_id="another").opening(path):
            pass
    finally:
        del access_module.listeners[access.run_id]
    assert [(e["event"], e.get("bytes")) for e in told] == [("open", None), ("close", 42)]
    assert told == events(access)[:2]


def test_each_opening_is_traced_with_growing_numbers(access: FileAccess, path: Path) -> None:
    with access.opening(path):
        pass
    with access.opening(path, purpose="probe"):
        pass
    access.note("skip", path, reason="damaged")
    one, two, three, four, note = events(access)
    assert [e["event"] for e in (one, two, three, four)] == ["open", "close"] * 2
    assert [e["seq"] for e in (one, two, three, four)] == [1, 2, 3, 4]
    assert (two["opened"], four["opened"]) == (1, 3)
    assert [e["purpose"] for e in (one, two, three, four)] == ["read", "read", "probe", "probe"]
    for event in (one, two, three, four):
        assert (event["token"], event["file"], event["run"]) == (file_id(path), str(path), "run-1")
        assert event["process"] == process_id()
        assert event["locks"] == one["locks"] != ""
    assert one["mono"] <= two["mono"] <= three["mono"]
    assert (note["event"], note["reason"]) == ("skip", "damaged")


def test_numbers_go_on_in_the_next_run_and_after_a_torn_number(
    access: FileAccess, path: Path
) -> None:
    for run_id in ("run-1", "run-2"):
        with replace(access, run_id=run_id).opening(path):
            pass
    assert [e["seq"] for e in events(access)] == [1, 2, 3, 4]
    (number,) = access.lock_dir.glob("*.seq")
    number.write_bytes(b"\0" * 20)  # what some filesystems leave of a file when the host crashes
    with access.opening(path):
        pass
    assert [e["seq"] for e in events(access)][4:] == [1, 2]


def test_a_process_has_one_name_for_all_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "_process_names", {})
    barrier = threading.Barrier(8)

    def name(_: int) -> str:
        barrier.wait(10)
        return process_id()

    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(name, range(8)))
    assert names == {process_id()}
    assert process_id().startswith(f"{os.getpid()}-")


def test_a_forked_process_has_a_name_of_its_own() -> None:
    read, write = os.pipe()
    mine = process_id()
    child = os.fork()
    if child == 0:
        os.write(write, process_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read().partition("-")[0] == str(child) != mine.partition("-")[0]


def test_lock_files_can_be_used_by_a_group_whatever_the_umask(
    access: FileAccess, path: Path
) -> None:
    before = os.umask(0o077)
    try:
        with access.opening(path):
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in access.lock_dir.iterdir()}
    finally:
        os.umask(before)
    assert {name.partition(".")[2] for name in modes} == {"lock", "seq", "opened-run-1-0", ""}
    assert set(modes.values()) == {0o660}


def test_folders_that_cannot_be_made_are_told_by_their_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    bad, good = tmp_path / "file" / "sub", tmp_path / "good"
    with pytest.raises(OutputError, match=r"run\.lock_dir: .*cannot be written"):
        FileAccess("run-1", bad, good).prepare()
    with pytest.raises(OutputError, match=r"output\.root: .*cannot be written"):
        FileAccess("run-1", good, bad).prepare()


def test_a_trace_that_cannot_be_written_is_told_and_kills_nobody(
    access: FileAccess, path: Path
) -> None:
    broken = replace(access, trace_dir=path / "no folder")
    for _ in range(MAX_DEATHS + 1):
        with pytest.raises(OutputError, match="cannot be written"), broken.opening(path):
            raise AssertionError("not reached: what is not traced is not opened")
    with access.opening(path):
        pass


def test_the_default_lock_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere/state")
    assert default_lock_dir() == Path("/somewhere/state/climdask/locks")


# ---------------------------------------------------------------- files that kill


DIE = """
import os, signal, sys
from pathlib import Path
from climdask.inputs.access import FileAccess
run_id, locks, trace, path = sys.argv[1:]
with FileAccess(run_id, Path(locks), Path(trace)).opening(Path(path)):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def die_with_it_open(access: FileAccess, path: Path) -> None:
    words = [access.run_id, str(access.lock_dir), str(access.trace_dir), str(path)]
    done = subprocess.run([sys.executable, "-c", DIE, *words], timeout=60)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_file_that_killed_three_readers_is_opened_no_more_in_this_run(
    access: FileAccess, path: Path
) -> None:
    assert MAX_DEATHS == 3
    for deaths in range(3):
        with access.opening(path):  # in between it may well be read
            pass
        die_with_it_open(access, path)
        assert not locked(access, path), "the kernel frees the lock of a dead process"
        assert len(list(access.lock_dir.glob("*.opened-run-1-*"))) == deaths + 1
    with pytest.raises(PoisonFile) as caught, access.opening(path):
        pass
    for word in (str(path), "3 processes died", "ncdump -h"):
        assert word in str(caught.value)
    assert not locked(access, path)
    other = path.with_name("other.nc")
    for free in (access.opening(other), replace(access, run_id="run-2").opening(path)):
        with free:
            pass
    found = audit([access.trace_dir])
    assert found.holds
    assert (found.opens, found.died, found.processes) == (8, 3, 4)


# ---------------------------------------------------------------- the audit


@dataclass
class Traces:
    """Write traces by hand."""

    folder: Path

    def add(self, event: str, process: str, seq: int, mono: float, **more: Any) -> None:
        line = {
            "event": event, "file": "/in/a.nc", "token": "a", "seq": seq, "locks": "space-1",
            "purpose": "read", "run": "run-1", "host": "h", "boot": "boot-1", "process": process,
            "mono": mono, "wall": mono, **more,
        }  # fmt: skip
        with (self.folder / f"{process}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def opening(
        self,
        process: str,
        seq: int,
        start: float,
        end: float,
        close: int | None = None,
        **more: Any,
    ) -> None:
        self.add("open", process, seq, start, **more)
        self.add("close", process, close or seq + 1, end, opened=seq, **more)

    def audit(self) -> Audit:
        return audit([self.folder])


@pytest.fixture
def traces(tmp_path: Path) -> Traces:
    return Traces(tmp_path)


def verdict(found: Audit) -> str:
    assert found.holds == (not found.overlaps and not found.unproven)
    return "overlap" if found.overlaps else "unproven" if found.unproven else "fine"


def test_openings_that_follow_each_other_are_fine(traces: Traces) -> None:
    traces.opening("p", 1, 10, 20)
    traces.opening("q", 3, 21, 30)
    traces.opening("p", 1, 12, 19, token="b", file="/in/b.nc")
    found = traces.audit()
    assert verdict(found) == "fine"
    assert (found.opens, found.files, found.most, found.processes) == (3, 2, 2, 2)
    assert str(found) == (
        "3 opens of 2 files by 2 processes, at most 2 of one file; 0 probes; 0 overlaps, "
        "0 unproven: no file was ever open twice at once"
    )


def test_openings_that_overlap_are_told_with_file_and_processes(traces: Traces) -> None:
    traces.opening("p", 1, 10, 20, close=3)
    traces.opening("q", 2, 15, 30, close=4)
    found = traces.audit()
    assert len(found.overlaps) == 1
    for word in ("/in/a.nc: overlap", "h p (number 1)", "h q (number 2)"):
        assert word in found.overlaps[0]
    assert "NOT PROVEN" in str(found)


ELSEWHERE = {"boot": "boot-2", "host": "g"}
OTHER_LOCKS = {"locks": "space-0"}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # (process, number, start, end, close number), more: the numbers decide between hosts,
        # whatever their clocks say
        (("p", 1, 10, 20, 2), ("q", 3, 5, 6, 4, ELSEWHERE), "fine"),
        (("p", 1, 10, 20, 3), ("q", 2, 500, 600, 4, ELSEWHERE), "overlap"),
        # on one host the clock tells an overlap that the numbers hide
        (("p", 1, 10, 20, 2), ("q", 3, 15, 30, 4), "overlap"),
        # ... also where the numbers are the wrong way round
        (("p", 3, 10, 20, 4), ("q", 1, 15, 30, 2), "overlap"),
        # a lock that did not exclude: both raised the same number
        (("p", 1, 10, 20, 2), ("q", 1, 30, 40, 2), "unproven"),
        (("p", 1, 10, 20, 2), ("q", 2, 30, 40, 3, ELSEWHERE), "unproven"),
        (("p", 1, 10, 20, 2), ("q", 1, 15, 40, 2), "overlap"),
        # two lock folders: the clock of one host, or nothing
        (("p", 1, 10, 20, 2), ("q", 1, 30, 40, 2, OTHER_LOCKS), "fine"),
        (("p", 1, 30, 40, 2), ("q", 1, 10, 20, 2, OTHER_LOCKS), "fine"),
        (("p", 1, 10, 20, 2), ("q", 1, 15, 40, 2, OTHER_LOCKS), "overlap"),
        (("p", 1, 10, 20, 2), ("q", 1, 30, 40, 2, ELSEWHERE | OTHER_LOCKS), "unproven"),
    ],
)
def test_two_openings_are_judged(
    traces: Traces, first: tuple[Any, ...], second: tuple[Any, ...], expected: str
) -> None:
    for process, seq, start, end, close, *more in (first, second):
        traces.opening(process, seq, start, end, close, **dict(*more))
    assert verdict(traces.audit()) == expected


def test_runs_of_two_lock_folders_on_two_hosts_are_no_overlap(traces: Traces) -> None:
    """In the order of folder and number, the second would seem to come first."""
    traces.opening("p", 1, 10, 20)
    traces.opening("q", 3, 1, 2, **ELSEWHERE)
    traces.opening("r", 1, 40, 50, **OTHER_LOCKS)
    found = traces.audit()
    assert found.overlaps == ()
    assert len(found.unproven) == 1


def test_an_opening_without_a_close_ended_with_its_process(traces: Traces) -> None:
    traces.add("open", "p", 1, 10)
    traces.opening("q", 2, 20, 30)
    found = traces.audit()
    assert verdict(found) == "fine"
    assert found.died == 1
    assert str(found).endswith("(1 closed by the death of their process)")


def test_an_opening_without_a_close_of_a_process_that_lived_on_overlaps(traces: Traces) -> None:
    traces.add("open", "p", 1, 10)
    traces.opening("q", 2, 20, 30)
    traces.opening("p", 1, 25, 26, token="b", file="/in/b.nc")
    assert verdict(traces.audit()) == "overlap"


def test_both_without_a_close_overlap_if_the_first_lived_on(traces: Traces) -> None:
    traces.add("open", "p", 1, 10)
    traces.add("open", "q", 2, 20)
    assert verdict(traces.audit()) == "fine"
    traces.add("skip", "p", 0, 21, reason="alive")
    assert verdict(traces.audit()) == "overlap"


@pytest.mark.parametrize(("lives_on", "expected"), [(False, "fine"), (True, "unproven")])
def test_whether_a_process_of_another_host_lived_on_is_not_known(
    traces: Traces, lives_on: bool, expected: str
) -> None:
    traces.add("open", "p", 1, 10)
    traces.opening("q", 2, 20, 30, **ELSEWHERE)
    if lives_on:
        traces.opening("p", 1, 11, 12, token="b", file="/in/b.nc")
    assert verdict(traces.audit()) == expected


@pytest.mark.parametrize("more", [OTHER_LOCKS, OTHER_LOCKS | ELSEWHERE])
def test_when_a_process_died_is_not_known_in_another_lock_folder(
    traces: Traces, more: dict[str, str]
) -> None:
    traces.add("open", "p", 1, 10)
    traces.opening("q", 1, 20, 30, **more)
    assert verdict(traces.audit()) == "unproven"


def test_probes_are_counted_apart_but_must_not_overlap_either(traces: Traces) -> None:
    traces.opening("p", 1, 10, 20, purpose="probe")
    traces.opening("p", 3, 21, 30)
    found = traces.audit()
    assert (found.opens, found.probes, found.most) == (1, 1, 1)
    assert verdict(found) == "fine"
    traces.opening("q", 5, 25, 40, purpose="probe")
    assert verdict(traces.audit()) == "overlap"


def test_torn_lines_are_counted_and_forgotten(traces: Traces) -> None:
    traces.opening("p", 1, 10, 20)
    path = traces.folder / "p.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:50])
    assert (traces.audit().torn, traces.audit().opens) == (1, 1)
    # a full disk tears a line, and later ones follow it
    traces.opening("p", 3, 30, 40)
    found = traces.audit()
    assert (found.torn, found.opens, found.died, verdict(found)) == (1, 2, 0, "fine")


def test_a_torn_close_is_a_death(traces: Traces) -> None:
    traces.opening("p", 1, 10, 20)
    traces.opening("q", 3, 30, 40)
    path = traces.folder / "q.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    found = traces.audit()
    assert (found.torn, found.opens, found.died, verdict(found)) == (1, 2, 1, "fine")


def test_notes_of_skipped_and_incomplete_files_are_told_once(traces: Traces) -> None:
    for process in ("p", "q"):
        traces.add("skip", process, 0, 1, reason="damaged")
        traces.add("incomplete", process, 0, 1, reason="3 days")
    found = traces.audit()
    assert found.skipped == (("/in/a.nc", "damaged"),)
    assert found.incomplete == (("/in/a.nc", "3 days"),)
    assert found.opens == 0


def test_no_traces_prove_nothing_wrong(tmp_path: Path) -> None:
    assert audit([tmp_path / "nowhere"]) == Audit()
    assert audit([]).holds


# A history of one file as it happened, on one true time line.


@dataclass(frozen=True)
class Held:
    """One opening: by a process, from ``start`` to ``end``; ``dies`` takes its process along."""

    process: int
    start: int
    end: int
    dies: bool


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Held], dict[int, tuple[int, int]]]:
    """Draw openings by a few processes, and host and lock folder of each process."""
    n_processes = draw(st.integers(1, 4))
    places = {p: (draw(st.integers(0, 2)), draw(st.integers(0, 1))) for p in range(n_processes)}
    if draw(st.booleans()):
        places = {p: (host, 0) for p, (host, _) in places.items()}
    orderly = draw(st.booleans())
    held: list[Held] = []
    gone: dict[int, int] = {}
    times = draw(st.lists(st.integers(0, 400), min_size=2, max_size=12, unique=True))
    if orderly:
        times.sort()
    for start, end in zip(times[::2], times[1::2], strict=False):
        start, end = min(start, end), max(start, end)
        held.append(Held(draw(st.integers(0, n_processes - 1)), start, end, draw(st.booleans())))
    # A process that dies has no later life, so what it would have done later did not happen.
    for one in sorted(held, key=lambda h: h.end):
        if one.dies:
            gone[one.process] = min(gone.get(one.process, 10**6), one.end)
    kept = [
        replace(h, dies=h.end == gone.get(h.process)) for h in held
        if h.end <= gone.get(h.process, 10**6)
    ]  # fmt: skip
    return kept, places


def write_history(
    folder: Path, held: list[Held], places: dict[int, tuple[int, int]], skew: list[float]
) -> None:
    """Trace a history as it would have been: numbers in true order, clocks by host."""
    traces = Traces(folder)
    moments = sorted(
        (t, kind, i)
        for i, h in enumerate(held)
        for t, kind in ((h.start, "open"), (h.end, "close"))
        if kind == "open" or not h.dies
    )
    numbers: dict[int, int] = {}
    opened: dict[int, int] = {}
    for t, kind, i in moments:
        process = held[i].process
        host, space = places[process]
        numbers[space] = numbers.get(space, 0) + 1
        more: dict[str, Any] = {
            "boot": f"boot-{host}",
            "host": f"host-{host}",
            "locks": f"space-{space}",
        }
        if kind == "open":
            opened[i] = numbers[space]
        else:
            more["opened"] = opened[i]
        traces.add(kind, f"p{process}", numbers[space], t + skew[host], **more)


@pytest.mark.slow
@given(histories(), st.lists(st.sampled_from([0.0, 1000.0, 300.5]), min_size=3, max_size=3))
@settings(max_examples=300, deadline=None)
def test_the_audit_finds_every_overlap_and_makes_none_up(
    tmp_path_factory: pytest.TempPathFactory,
    history: tuple[list[Held], dict[int, tuple[int, int]]],
    skew: list[float],
) -> None:
    held, places = history
    folder = tmp_path_factory.getbasetemp() / "histories"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    write_history(folder, held, places, skew)
    found = audit([folder])
    assert found.opens == len(held)
    assert found.died == sum(h.dies for h in held)
    # Taken for granted: the kernel frees the lock of a dead process, and not before.
    together = [
        (one, two)
        for one, two in itertools.combinations(sorted(held, key=lambda h: h.start), 2)
        if two.start < one.end
    ]
    told = [
        (one, two)
        for one, two in together
        if not (one.dies and places[one.process][1] == places[two.process][1])
    ]
    if found.holds:
        assert not told
    if found.overlaps:
        assert together
    closed = not any(h.dies for h in held)
    hosts, spaces = ({places[h.process][i] for h in held} for i in (0, 1))
    if closed and (len(hosts) <= 1 or len(spaces) <= 1):
        # one clock, or the numbers of one folder, order everything
        assert found.holds == (not together)
        assert not found.unproven


# ---------------------------------------------------------------- are locks shared?


ASK = """
import sys
from pathlib import Path
from climdask.inputs.access import LockCheck
print(LockCheck(Path(sys.argv[1]), sys.argv[2]).is_refused())
"""


def ask_elsewhere(check: LockCheck) -> bool:
    words = [sys.executable, "-c", ASK, str(check.lock_dir), check.name]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout == "True\n"


def test_a_lock_that_is_held_here_is_refused_elsewhere(tmp_path: Path) -> None:
    check = LockCheck(tmp_path)
    with check.held():
        assert ask_elsewhere(check)
    assert not list(check.lock_dir.iterdir())
    assert not ask_elsewhere(check)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
OPENED = {
    "event": "open", "file": "a.nc", "token": "t", "locks": "l", "seq": 1, "purpose": "read",
    "host": "h", "boot": "b", "process": "1-a", "mono": 1.0, "wall": 1.0, "run": "r",
}  # fmt: skip
CLOSED = {**OPENED, "event": "close", "seq": 2, "opened": 1, "mono": 2.0}


@given(line=st.sampled_from([OPENED, CLOSED]), key=st.sampled_from([*CLOSED]), value=JSON)
@settings(deadline=None, max_examples=100)
def test_an_event_with_a_wrong_value_stops_no_audit(
    tmp_path_factory: pytest.TempPathFactory, line: dict[str, Any], key: str, value: Any
) -> None:
    place = tmp_path_factory.getbasetemp() / "hostile-traces"
    place.mkdir(exist_ok=True)
    lines = [OPENED, CLOSED, {**line, key: value}]
    (place / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert audit([place]).opens >= 1


@given(content=st.binary(max_size=60))
@settings(deadline=None, max_examples=50)
def test_a_trace_of_any_bytes_stops_no_audit(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    place = tmp_path_factory.getbasetemp() / "hostile-bytes"
    (place / "folder.jsonl").mkdir(exist_ok=True, parents=True)
    (place / "a.jsonl").write_bytes(content)
    assert audit([place]).torn >= 1

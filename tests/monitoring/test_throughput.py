"""Throughput: what is open now, bytes, and rates over the last seconds."""

from __future__ import annotations

from typing import Any

import pytest

import climdask.monitoring.throughput
from climdask.monitoring.throughput import SPAN, Throughput


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stand still at 1000 s; the list holds the time."""
    at = [1000.0]
    monkeypatch.setattr(climdask.monitoring.throughput.time, "monotonic", lambda: at[0])
    return at


def opened(name: str, seq: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "event": "open", "purpose": "read", "file": f"/in/{name}", "token": name,
        "process": "7-a", "seq": seq, "bytes": 0, **more,
    }  # fmt: skip


def closed(name: str, seq: int = 1, n_bytes: int = 0, **more: Any) -> dict[str, Any]:
    return {**opened(name, seq + 1), "event": "close", "opened": seq, "bytes": n_bytes, **more}


def test_a_file_is_open_from_its_open_to_its_close(now: list[float]) -> None:
    work = Throughput()
    work.note(opened("a"), "tcp://one")
    now[0] = 1004.0
    work.note(opened("b"), "tcp://two")
    assert [(f.file, f.worker, f.since) for f in work.open.values()] == [
        ("/in/a", "tcp://one", 1000.0), ("/in/b", "tcp://two", 1004.0)
    ]  # fmt: skip
    work.note(closed("a", n_bytes=500), "tcp://one")
    assert [f.file for f in work.open.values()] == ["/in/b"]
    assert (work.files, work.decoded, work.written) == (1, 500, 0)


def test_the_same_file_in_another_process_is_another_opening() -> None:
    work = Throughput()
    work.note(opened("a", 1))
    work.note(opened("a", 3, process="8-b"))  # the first one died
    work.note(closed("a", 3, process="8-b"))
    assert [key[0] for key in work.open] == ["7-a"]


def test_probes_do_not_count_and_normals_do() -> None:
    work = Throughput()
    work.note(opened("a", purpose="probe"))
    work.note(closed("a", purpose="probe", n_bytes=7))
    work.note({"event": "write", "file": "/out/x.nc", "bytes": 12, "process": "7-a"})
    assert (len(work.open), work.files, work.decoded, work.written) == (0, 0, 0, 12)


def test_what_a_lost_worker_had_open_is_no_longer_open() -> None:
    work = Throughput()
    work.note(opened("a"), "tcp://one")
    work.note(opened("b"), "tcp://two")
    work.lose("tcp://one")
    assert [f.file for f in work.open.values()] == ["/in/b"]


def test_rates_are_of_the_last_seconds_and_fall_to_nothing(now: list[float]) -> None:
    work = Throughput()
    assert (work.sample().files_rate, work.sample().decoded_rate) == (0.0, 0.0)
    for second in range(1, 41):  # 10 files and 2 normals a second
        now[0] = 1000.0 + second
        for n in range(10):
            work.note(closed(f"{second}-{n}", n_bytes=3_000_000))
        work.note({"event": "write", "bytes": 500_000})
        told = work.sample()
    assert (told.files, told.decoded, told.written) == (400, 1_200_000_000, 20_000_000)
    assert told.files_rate == pytest.approx(10.0)
    assert told.decoded_rate == pytest.approx(30e6)
    assert told.written_rate == pytest.approx(0.5e6)
    assert str(told) == "0 files open, 10.0 files/s, 30.0 MB/s decoded, 0.5 MB/s written"
    now[0] += SPAN / 2
    assert 0 < work.sample().decoded_rate < 30e6
    now[0] += SPAN + 1
    assert work.sample().decoded_rate == 0.0

"""The timeline of a run: spans from traces, joined where there are too many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from climdask.inputs.access import FileAccess
from climdask.inputs.audit import audit
from climdask.reporting.timelines import NOTHING, Span, joined, timeline


def event(kind: str, wall: float, **content: Any) -> dict[str, Any]:
    return {"event": kind, "process": "p", "mono": wall, "wall": wall, **content}


def opening(wall: float, seq: int, purpose: str = "read") -> dict[str, Any]:
    return event("open", wall, token="t", seq=seq, purpose=purpose)


def write(folder: Path, name: str, *events: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, events)))


def test_each_process_has_a_lane_with_what_it_did(tmp_path: Path) -> None:
    write(
        tmp_path, "b-2-x", opening(110.0, 3), event("close", 111.0, token="t", opened=3),
        opening(109.0, 1, "probe"), event("write", 112.0, seconds=0.5),
    )  # fmt: skip
    write(tmp_path, "a-1-y", event("window", 111.5, seconds=0.25), opening(113.0, 5))
    found = timeline(tmp_path)
    assert found.lanes == ("b-2-x", "a-1-y")
    assert found.spans == (
        Span("a-1-y", "read", 3.0, 3.0, died=True),
        Span("a-1-y", "window", 1.5, 1.75),
        Span("b-2-x", "read", 0.0, 1.0),
        Span("b-2-x", "write", 2.0, 2.5),
    )
    assert found.counts["b-2-x", "read"] == 1
    assert found.busy == {"read": 1.0, "window": 0.25, "write": 0.5}
    assert found.seconds == 3.0


def test_a_run_without_traces_has_no_timeline(tmp_path: Path) -> None:
    assert timeline(tmp_path / "nowhere") == NOTHING


def test_spans_are_joined_across_small_gaps_of_one_lane_and_stage() -> None:
    spans = [
        Span("a", "read", 0.0, 1.0), Span("a", "read", 1.05, 2.0), Span("a", "read", 2.2, 3.0),
        Span("a", "write", 2.2, 3.0), Span("b", "write", 3.0, 4.0, died=True),
        Span("b", "write", 4.0, 5.0),
    ]  # fmt: skip
    assert joined(spans, 0.1) == [Span("a", "read", 0.0, 2.0, 2), *spans[2:]]


def test_a_large_run_is_drawn_with_few_spans_and_counted_in_full(tmp_path: Path) -> None:
    lines = [event("window", n + 0.1, seconds=0.5) for n in range(5000)]
    write(tmp_path, "a-1-y", *lines, event("read", 0.0))
    found = timeline(tmp_path, most=100)
    assert 1 <= len(found.spans) <= 100
    assert sum(span.count for span in found.spans) == 5000
    assert found.counts == {("a-1-y", "window"): 5000}
    assert found.joined > 0


def test_what_is_traced_of_windows_and_writes_is_short_and_no_matter_of_the_audit(
    tmp_path: Path,
) -> None:
    access = FileAccess("run", tmp_path / "locks", tmp_path / "trace")
    access.prepare()
    file = tmp_path / "in.nc"
    with access.opening(file):
        pass
    before = audit([access.trace_dir])
    size = sum(p.stat().st_size for p in access.trace_dir.glob("*"))
    with access.working("write", "ACCESS-CM2/r1i1p1f1/gn/tas", "ssp245", 2050):
        pass
    write(access.trace_dir, "b-2-x", {**event("window", 1.0, seconds=1.0), "process": "q"})
    assert audit([access.trace_dir]) == before
    (access.trace_dir / "b-2-x.jsonl").unlink()
    # 300 chains of 150 years, a window and a write each: below 20 MB, of all workers together.
    assert sum(p.stat().st_size for p in access.trace_dir.glob("*")) - size < 220
    (span,) = [s for s in timeline(access.trace_dir).spans if s.stage == "write"]
    assert 0 <= span.end - span.start < 60

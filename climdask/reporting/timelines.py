"""When the processes of a run read, slid windows and wrote: from its traces, for a picture.

Times are of each host's own wall clock, for display only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from climdask.inputs.access import read_lines
from climdask.inputs.audit import has_right_types

STAGES = ("read", "window", "write")
MOST_SPANS = 30_000


@dataclass(frozen=True, order=True)
class Span:
    """What a process did for some time; seconds since the run's first event.

    Attributes:
        lane: host and process.
        stage: one of :data:`STAGES`.
        count: how many tasks are in it.
        died: whether the process died at it.
    """

    lane: str
    stage: str
    start: float
    end: float
    count: int = 1
    died: bool = False


@dataclass(frozen=True)
class Timeline:
    """A run's spans by lane, stage and time.

    Attributes:
        lanes: host and process, in order of their first event.
        counts: tasks by (lane, stage).
        busy: seconds of each stage, of all threads together.
        joined: spans of one stage that are nearer than this many seconds are shown as one.
    """

    lanes: tuple[str, ...]
    spans: tuple[Span, ...]
    counts: Mapping[tuple[str, str], int]
    busy: Mapping[str, float]
    seconds: float
    joined: float


NOTHING = Timeline((), (), {}, {}, 0.0, 0.0)


def timeline(trace_dir: Path, most: int = MOST_SPANS) -> Timeline:
    """Read the traces of a run; empty if there are none."""
    spans: list[Span] = []
    for path in sorted(trace_dir.glob("*.jsonl")):
        spans += _spans(path.stem, filter(_can_be_drawn, read_lines(path)[0]))
    if not spans:
        return NOTHING
    zero = min(span.start for span in spans)
    spans = sorted(
        Span(s.lane, s.stage, s.start - zero, s.end - zero, s.count, s.died) for s in spans
    )
    counts: dict[tuple[str, str], int] = defaultdict(int)
    busy = dict.fromkeys(STAGES, 0.0)
    for span in spans:
        counts[span.lane, span.stage] += 1
        busy[span.stage] += span.end - span.start
    seconds = max(span.end for span in spans)
    shown, gap = spans, 0.0
    while len(shown) > most:
        gap = gap * 2 or seconds / 10_000
        shown = joined(spans, gap)
    lanes = dict.fromkeys(s.lane for s in sorted(shown, key=lambda s: s.start))
    return Timeline(tuple(lanes), tuple(shown), dict(counts), busy, seconds, gap)


def joined(spans: Sequence[Span], gap: float) -> list[Span]:
    """Join spans of one lane and stage that overlap or are less than ``gap`` apart.

    Args:
        spans: in order.
        gap: in seconds.
    """
    found: list[Span] = []
    for span in spans:
        last = found[-1] if found else None
        if (
            last
            and not (last.died or span.died)
            and (last.lane, last.stage) == (span.lane, span.stage)
            and span.start - last.end < gap
        ):
            end, count = max(last.end, span.end), last.count + span.count
            found[-1] = Span(last.lane, last.stage, last.start, end, count)
        else:
            found.append(span)
    return found


_NEEDED = {
    "open": ("purpose", "token", "seq"), "close": ("token", "opened"),
    "window": ("seconds",), "write": ("seconds",),
}  # fmt: skip


def _can_be_drawn(event: Mapping[str, Any]) -> bool:
    return has_right_types(event) and all(
        k in event for k in _NEEDED.get(event.get("event", ""), ())
    )


def _spans(lane: str, events: Iterable[Mapping[str, Any]]) -> list[Span]:
    """Return what one process did; an opening without a close ends with its last event."""
    found, open_files, last = [], {}, 0.0
    for event in events:
        kind, wall = event.get("event"), float(event.get("wall", 0.0))
        last = max(last, wall + float(event.get("seconds", 0.0)))
        if kind == "open" and event["purpose"] == "read":
            open_files[event["token"], event["seq"]] = wall
        elif kind == "close" and (event["token"], event["opened"]) in open_files:
            began = open_files.pop((event["token"], event["opened"]))
            found.append(Span(lane, "read", began, max(began, wall)))
        elif kind in ("window", "write"):
            found.append(Span(lane, kind, wall, wall + float(event["seconds"])))
    found += [Span(lane, "read", began, last, died=True) for began in open_files.values()]
    return found

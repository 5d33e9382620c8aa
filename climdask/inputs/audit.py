"""The audit: what the traces of opened files prove.

Openings of a file are ordered by the sequence numbers that files.py keeps beside its lock, and
within one boot of one host by the monotonic clock; the clocks of different hosts are not trusted.
Where nothing orders two openings the audit says "unproven", never "fine".
"""

from __future__ import annotations

import itertools
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from climdask.inputs.access import read_lines
from climdask.plaintext import quantity


@dataclass(frozen=True)
class Opening:
    """One opening of one file, from open to close; ``closed`` is None if its process died."""

    opened: Mapping[str, Any]
    closed: Mapping[str, Any] | None


@dataclass(frozen=True)
class Audit:
    """What the traces prove.

    Attributes:
        opens: openings to read; ``probes`` are those that looked at a header only.
        files: different files that were opened to read.
        most: openings of the file that was opened most often, to read.
        overlaps: openings of one file that overlap: file and what overlapped.
        unproven: openings that nothing orders.
        died: openings that ended with their process.
        torn: unfinished lines of traces.
        skipped: files left out under ``on_bad_file: skip``, with the reason.
        incomplete: files whose year lacks days, with how many.
        slow: files that were read through the netCDF library, and why.
        lacking: the writes of normals that lack days in their whole region.
    """

    opens: int = 0
    probes: int = 0
    files: int = 0
    most: int = 0
    processes: int = 0
    overlaps: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()
    died: int = 0
    torn: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    incomplete: tuple[tuple[str, str], ...] = ()
    slow: tuple[tuple[str, str], ...] = ()
    lacking: tuple[Mapping[str, Any], ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the traces prove that no file was ever open twice at once."""
        return not self.overlaps and not self.unproven

    def __str__(self) -> str:
        verdict = "no file was ever open twice at once" if self.holds else "NOT PROVEN"
        text = (
            f"{quantity(self.opens, 'open')} of {quantity(self.files, 'file')} by "
            f"{quantity(self.processes, 'process')}, at most {self.most} of one file; "
            f"{quantity(self.probes, 'probe')}; {quantity(len(self.overlaps), 'overlap')}, "
            f"{len(self.unproven)} unproven: {verdict}"
        )
        return text + (f" ({self.died} closed by the death of their process)" if self.died else "")


def audit(trace_dirs: Iterable[Path]) -> Audit:
    """Read traces, of several runs if need be, and check that no two openings overlap."""
    events: list[dict[str, Any]] = []
    torn = 0
    for path in sorted({p for folder in trace_dirs for p in folder.glob("*.jsonl")}):
        found, more = read_lines(path)
        whole = [event for event in found if is_event(event)]
        events, torn = events + whole, torn + more + len(found) - len(whole)
    openings = _pair(events)
    overlaps: list[str] = []
    unproven: list[str] = []
    last_seen = _last_seen(events)
    for own in openings.values():
        for earlier, later in _to_compare(own):
            verdict = _compare(earlier, later, last_seen)
            if verdict:
                (overlaps if verdict == "overlap" else unproven).append(
                    _tell(earlier, later, verdict)
                )
    reads = [[o for o in own if o.opened["purpose"] == "read"] for own in openings.values()]
    return Audit(
        opens=sum(map(len, reads)),
        probes=sum(map(len, openings.values())) - sum(map(len, reads)),
        files=sum(map(bool, reads)),
        most=max(map(len, reads), default=0),
        processes=len({o.opened["process"] for own in openings.values() for o in own}),
        overlaps=tuple(overlaps),
        unproven=tuple(unproven),
        died=sum(o.closed is None for own in openings.values() for o in own),
        torn=torn,
        skipped=_notes(events, "skip"),
        incomplete=_notes(events, "incomplete"),
        slow=_notes(events, "slow"),
        lacking=tuple(e for e in events if e["event"] == "write" and e.get("gaps")),
    )


_NUMBERS = ("mono", "wall", "seconds")
_WHOLE_NUMBERS = ("seq", "opened", "year")
_TEXTS = (
    "event", "process", "file", "token", "locks", "host", "boot", "purpose", "reason", "chain",
    "branch", "run",
)  # fmt: skip
# What an event must tell, by its kind.
_NEEDED = {
    "open": ("file", "token", "locks", "seq", "host", "boot", "purpose", "wall"),
    "close": ("file", "token", "locks", "seq", "host", "boot", "opened", "wall"),
    "window": ("seconds", "wall"),
    "write": ("seconds", "wall"),
    "skip": ("file", "reason"),
    "incomplete": ("file", "reason"),
    "slow": ("file", "reason"),
}


def is_event(line: Mapping[str, Any]) -> bool:
    """Tell whether a line of a trace is an event; what is none counts as torn."""
    kind = line.get("event")
    needed = ("process", "mono", *_NEEDED.get(kind, ())) if isinstance(kind, str) else ("event",)
    return all(name in line for name in needed) and has_right_types(line)


def has_right_types(line: Mapping[str, Any]) -> bool:
    """Tell whether what a line of a trace tells is text where text is due, and numbers alike."""
    return (
        all(isinstance(line.get(name, ""), str) for name in _TEXTS)
        and all(type(line.get(name, 0)) is int for name in _WHOLE_NUMBERS)
        and _are_gaps(line.get("gaps", []))
        and all(
            type(n := line.get(name, 0)) in (int, float) and abs(n) < sys.float_info.max
            for name in _NUMBERS
        )
    )


_GAP = {"region": str, "n_days": int, "of": int, "first": list, "years": int, "needed": int}


def _are_gaps(found: Any) -> bool:
    """Tell whether this is what a write tells of days that a normal lacks."""
    return isinstance(found, list) and all(
        isinstance(gap, dict)
        and gap.keys() - {"step"} == _GAP.keys()
        and isinstance(gap.get("step", ""), str)
        and all(type(gap[key]) is kind for key, kind in _GAP.items())
        and len(gap["first"]) == 2
        and all(type(n) is int for n in gap["first"])
        and 1 <= gap["first"][0] <= 12
        for gap in found
    )


def _notes(events: Sequence[Mapping[str, Any]], kind: str) -> tuple[tuple[str, str], ...]:
    """Return file and reason of the notes of a kind, each once."""
    return tuple(dict.fromkeys((e["file"], e["reason"]) for e in events if e["event"] == kind))


def _pair(events: Sequence[Mapping[str, Any]]) -> dict[str, list[Opening]]:
    """Pair opens with closes, by file, in order of lock folder and sequence number."""
    key = ("token", "locks", "process")
    closes = {(*(e[k] for k in key), e["opened"]): e for e in events if e["event"] == "close"}
    by_file: dict[str, list[Opening]] = defaultdict(list)
    for event in events:
        if event["event"] == "open":
            closed = closes.get((*(event[k] for k in key), event["seq"]))
            by_file[event["token"]].append(Opening(event, closed))
    for own in by_file.values():
        own.sort(key=lambda o: (o.opened["locks"], o.opened["seq"], o.opened["mono"]))
    return by_file


def _to_compare(own: Sequence[Opening]) -> Iterator[tuple[Opening, Opening]]:
    """Yield the openings of one file that must not overlap, the earlier one first.

    Within a lock folder each with the next one by number: if all of those follow each other, all
    do. Between lock folders nothing but a clock orders them, so each with every other.
    """
    for (_, one), (_, two) in itertools.combinations_with_replacement(
        [(k, list(g)) for k, g in itertools.groupby(own, key=lambda o: o.opened["locks"])], 2
    ):
        if one is two:
            yield from itertools.pairwise(one)
        else:
            for pair in itertools.product(one, two):
                earlier, later = sorted(pair, key=lambda o: float(o.opened["mono"]))
                yield earlier, later


def _last_seen(events: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return when (monotonic) each process wrote its last line."""
    seen: dict[str, float] = {}
    for event in events:
        seen[event["process"]] = max(seen.get(event["process"], 0.0), event["mono"])
    return seen


def _compare(earlier: Opening, later: Opening, last_seen: Mapping[str, float]) -> str:
    """Return ``overlap`` or ``unproven``, or nothing if ``earlier`` ended before ``later``.

    1. On one boot of one host the monotonic clock tells overlaps, whatever the locks say. An
       opening without a close ended with its process, so at the earliest when the process wrote
       its last line.
    2. Between lock folders only that clock can tell that two do not overlap, and only if the
       earlier one was closed: when a process died is not known.
    3. Within a lock folder the later opener had the lock, so a dead one had ended; one that was
       seen alive, on another host, may not have.
    4. Otherwise the sequence numbers decide; they prove something only if no two are alike.
    """
    pair = earlier, later
    one, two = (o.opened for o in pair)
    same_clock = one["boot"] == two["boot"]
    comparable = one["locks"] == two["locks"]
    ends = [o.closed["mono"] if o.closed else last_seen[o.opened["process"]] for o in pair]
    if same_clock and one["mono"] < ends[1] and two["mono"] < ends[0]:
        return "overlap"
    if not comparable:
        return "" if same_clock and earlier.closed else "unproven"
    if earlier.closed is None:
        alive_after = not same_clock and last_seen[one["process"]] > one["mono"]
        return "unproven" if alive_after or one["seq"] == two["seq"] else ""
    if one["seq"] == two["seq"] or earlier.closed["seq"] == two["seq"]:
        return "unproven"
    return "" if earlier.closed["seq"] < two["seq"] else "overlap"


def _tell(earlier: Opening, later: Opening, verdict: str) -> str:
    one, two = earlier.opened, later.opened
    return (
        f"{one['file']}: {verdict}: opened by {one['host']} {one['process']} "
        f"(number {one['seq']}) and by {two['host']} {two['process']} (number {two['seq']})"
    )

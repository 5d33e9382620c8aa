"""Throughput: files open now, bytes decoded and written, and how fast; from lines of the traces."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from climdask.execution.events import Work

SPAN = 15.0  # seconds that a rate looks back
SAMPLES = 3600  # that are kept, for a curve over time

TOLD = ("open", "close", "write")  # the events that count, of those in a trace


@dataclass(frozen=True)
class OpenFile:
    """An input file that is open.

    Attributes:
        worker: address of the worker that has it open; empty without Dask.
        since: when it was opened, monotonic seconds of who counts.
    """

    file: str
    worker: str
    since: float


@dataclass
class Throughput:
    """Counts what the lines of traces tell.

    Attributes:
        open: files that are open now; the key is theirs alone.
        history: ``(monotonic seconds, files, decoded, written)``, counts since the start.
    """

    files: int = 0
    decoded: int = 0
    written: int = 0
    open: dict[tuple[str, str, int], OpenFile] = field(default_factory=dict)
    history: deque[tuple[float, int, int, int]] = field(
        default_factory=lambda: deque(maxlen=SAMPLES)
    )

    def note(self, line: Mapping[str, Any], worker: str = "") -> None:
        """Count a line of a trace, that a worker wrote."""
        if line["event"] == "write":
            self.written += line["bytes"]
        elif line.get("purpose") == "read" and line["event"] == "open":
            key = (line["process"], line["token"], line["seq"])
            self.open[key] = OpenFile(line["file"], worker, time.monotonic())
        elif line.get("purpose") == "read" and line["event"] == "close":
            self.open.pop((line["process"], line["token"], line["opened"]), None)
            self.files += 1
            self.decoded += line["bytes"]

    def lose(self, worker: str) -> None:
        """Forget the files that a worker had open which has gone."""
        self.open = {key: file for key, file in self.open.items() if file.worker != worker}

    def sample(self) -> Work:
        """Return the counts, and the rates since the samples before; to be called regularly."""
        now = time.monotonic()
        counts = (self.files, self.decoded, self.written)
        past = next((s for s in self.history if now - s[0] <= SPAN), (now, *counts))
        self.history.append((now, *counts))
        seconds = now - past[0]
        since = [n - m for n, m in zip(counts, past[1:], strict=True)]
        return Work(len(self.open), *counts, *(n / seconds if seconds else 0.0 for n in since))

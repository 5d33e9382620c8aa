"""What happens in a run, as one stream of events: executors tell, whatever shows the run takes.

An event carries the count so far, not that there is one more: one that is lost or comes twice
changes no count. Between processes events travel as plain dicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

STAGES = ("read", "window", "write")
KINDS = ("start", *STAGES, "wait", "fail", "finish")


@dataclass(frozen=True)
class Event:
    """Something that happened to a chain.

    Attributes:
        kind: ``start``: its tasks were submitted; ``read``, ``window``, ``write``: such a task is
            done; ``wait``: its reads wait, or no longer; ``fail`` and ``finish``: how it ended.
        branch, year: of the task.
        count: tasks of this kind that the chain has done so far.
        repeated: tasks of any kind that were done again after the loss of a worker.
        message: why it waits or failed.
    """

    kind: str
    chain: str
    branch: str = ""
    year: int = 0
    count: int = 0
    repeated: int = 0
    message: str = ""


@dataclass(frozen=True)
class Work:
    """What the run has done with files so far, and how fast it goes now.

    Attributes:
        open: input files that are open now.
        files: readings of input files that have ended.
        decoded: bytes of values that were decoded from them.
        written: bytes of normals, as on disk.
        files_rate, decoded_rate, written_rate: per second, over the last seconds.
    """

    open: int = 0
    files: int = 0
    decoded: int = 0
    written: int = 0
    files_rate: float = 0.0
    decoded_rate: float = 0.0
    written_rate: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.open} {'file' if self.open == 1 else 'files'} open, "
            f"{self.files_rate:.1f} files/s, {self.decoded_rate / 1e6:.1f} MB/s decoded, "
            f"{self.written_rate / 1e6:.1f} MB/s written"
        )

    def on_average(self, seconds: float) -> str:
        """Return the counts, and the rates over all the seconds that a run took."""
        per = 1e6 * max(seconds, 1e-9)
        return (
            f"{self.decoded / 1e6:.1f} MB decoded ({self.decoded / per:.1f} MB/s), "
            f"{self.written / 1e6:.1f} MB written ({self.written / per:.1f} MB/s)"
        )


def packed(event: Event | Work) -> dict[str, Any]:
    """Return an event as a dict that other processes understand."""
    return asdict(event)


def unpacked(content: Mapping[str, Any]) -> Event | Work:
    """Return the event that :func:`packed` made."""
    return Event(**content) if "kind" in content else Work(**content)

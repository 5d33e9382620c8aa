"""Where a run shows what it tells: who else can read that, and what must not get there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from climdask.plaintext import printable


def is_private(stream: IO[str], *, in_job: bool = False) -> bool:
    """Whether what is written to a stream is for the user alone.

    A file is private by its mode. What goes into a pipe is taken to be for who made it.

    Args:
        stream: where it is written.
        in_job: whether the stream is that of a batch job, whose log is for others too.
    """
    try:
        number = stream.fileno()
        if os.isatty(number):
            return True
        mode = os.fstat(number).st_mode
    except (AttributeError, OSError, ValueError):  # in memory, or closed
        return True
    return not in_job and not (stat.S_ISREG(mode) and mode & 0o077)


class SafeConsole(Console):
    """A console of rich's on which text from outside is plain text, in tables and lines."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as rich does; what is text then has nothing that a terminal obeys."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)

"""The command line: commands and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from climdask.cli.process import begin_process, end_process
from climdask.running.signals import answer_signals

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; signals are answered before anything else is imported.

    Args:
        argv: the arguments; without them it is the command of this process, which ends next.

    Returns:
        0 if all was done, 1 if something failed, 2 for a user's mistake, 130 if interrupted.
    """
    code = 130  # of an interrupt that comes when nothing else can tell of it
    try:
        answer_signals()
        if argv is None:
            begin_process()
        from climdask.cli.entry import enter

        code = enter(argv)
    except KeyboardInterrupt:
        print("climdask: error: interrupted; run again to go on from here", file=sys.stderr)
    if argv is None:
        end_process(code)
    return code

"""What ``climdask status`` shows: the table of the run itself, and whether it lives."""

from __future__ import annotations

import sys
import time

from rich.console import Group
from rich.live import Live
from rich.text import Text

from climdask.monitoring.status import BEAT, Verdict, judge
from climdask.monitoring.streams import SafeConsole
from climdask.monitoring.terminal import table
from climdask.outputs.folder import OutputFolder

EVERYTHING = 100_000  # lines: nothing is left out


def show_status(folder: OutputFolder, run_id: str, *, watch: bool = False) -> Verdict:
    """Print the status of a run; with ``watch``, show it until the run is over.

    Raises:
        OutputError: the status cannot be read.
    """
    # In a log no line is cut or folded, so that it can be searched.
    console = SafeConsole(highlight=False, width=None if sys.stdout.isatty() else 10_000)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while (verdict := judge(folder, run_id)).is_alive and watch:
            live.update(_picture(verdict, console.width, console.height), refresh=True)
            time.sleep(BEAT)
    console.print(_picture(verdict, console.width, EVERYTHING))
    return verdict


def _picture(verdict: Verdict, width: int, height: int) -> Group:
    status = verdict.status
    shown = [Text(verdict.headline, "bold red" if verdict.exit_code else "bold")]
    if verdict.is_alive:
        scheduler = f", scheduler {status.progress.scheduler}" if status.progress.scheduler else ""
        shown.append(Text(f"cluster: {status.cluster}{scheduler}"))
    return Group(*shown, table(status.progress, width, height - len(shown)))

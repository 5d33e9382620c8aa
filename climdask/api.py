"""What ``import climdask`` offers: load, plan, run, report and provenance."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from climdask.outputs.provenance import provenance
from climdask.running.run import plan, run
from climdask.settings.workflow import load

__all__ = ["load", "plan", "provenance", "report", "run"]


def report(
    out: str | os.PathLike[str],
    file: str | os.PathLike[str] | None = None,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write what an output folder holds as one HTML file that needs no network.

    Args:
        out: output folder of a run, done or not.
        file: the HTML file; ``report.html`` in the output folder if left out.
        tell: receives, line by line, how far it is.

    Returns:
        The file.

    Raises:
        UserError: the folder is not the output of a run, or the file cannot be written.
    """
    from climdask.reporting.page import write_report  # Bokeh takes its time to import

    return write_report(Path(out), None if file is None else Path(file), tell=tell)

"""Progress of runs that never were, for tests of what is shown."""

from __future__ import annotations

from typing import Any

from climdask.monitoring.progress import ChainProgress, RunProgress


def row(variable: str = "tas", *, model: str = "ACCESS-CM2", **changes: Any) -> ChainProgress:
    made = ChainProgress(f"{model}/r1i1p1f1/gn/{variable}", 150, 150, 121)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def run_of(*rows: ChainProgress, dashboard: str = "") -> RunProgress:
    return RunProgress({r.id: r for r in rows}, dashboard)

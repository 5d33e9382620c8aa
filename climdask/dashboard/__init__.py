"""The page of climdask in the Dask dashboard.

``dask scheduler --preload climdask.dashboard`` adds the page to a scheduler.
"""

from __future__ import annotations

from typing import Any


async def dask_setup(scheduler: Any) -> None:
    """Add the page to a scheduler: what ``--preload`` calls."""
    from climdask.dashboard.plugin import Dashboard

    await scheduler.register_scheduler_plugin(Dashboard(), idempotent=True)

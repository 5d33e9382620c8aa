"""Rolling 30-year daily climate normals from daily climate-model output, with Dask.

import climdask

workflow = climdask.load("workflow.yaml")
print(climdask.plan(workflow))
result = climdask.run(workflow)  # or client=… with a Dask client of your own
result.open("pr", "CONUS")       # a lazy xarray.Dataset

Each name is imported when it is first used, so that ``import climdask`` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from climdask.version import __version__

if TYPE_CHECKING:
    from climdask.api import load, plan, provenance, report, run
    from climdask.errors import ClimdaskError, DataError, UserError
    from climdask.planning.plan import Plan
    from climdask.running.results import RunResult
    from climdask.settings.workflow import Workflow

__all__ = [
    "ClimdaskError",
    "DataError",
    "Plan",
    "RunResult",
    "UserError",
    "Workflow",
    "__version__",
    "load",
    "plan",
    "provenance",
    "report",
    "run",
]

_HOME = {
    "ClimdaskError": "climdask.errors",
    "DataError": "climdask.errors",
    "Plan": "climdask.planning.plan",
    "RunResult": "climdask.running.results",
    "UserError": "climdask.errors",
    "Workflow": "climdask.settings.workflow",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'climdask' has no attribute {name!r}")
    if name not in _HOME:
        from climdask.daskload import load_dask

        load_dask()
    found = getattr(import_module(_HOME.get(name, "climdask.api")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)

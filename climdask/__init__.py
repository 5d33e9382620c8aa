"""Rolling 30-year daily climate normals from daily climate-model output, with Dask.

import climdask

workflow = climdask.load("workflow.yaml")
print(climdask.plan(workflow))
result = climdask.run(workflow)  # or client=… with a Dask client of your own
result.open("pr", "CONUS")       # a lazy xarray.Dataset
"""

from climdask.api import plan, report, run
from climdask.config import Workflow, load
from climdask.errors import ClimdaskError, DataError, UserError
from climdask.plan import Plan
from climdask.provenance import provenance
from climdask.results import RunResult
from climdask.version import __version__

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

"""Which batch job this process is in."""

from __future__ import annotations

import os
from collections.abc import Mapping

from climdask.clusters.batchsystems import SYSTEMS
from climdask.monitoring.processes import Job


def own_job(environ: Mapping[str, str] = os.environ) -> Job | None:
    """Return the batch job that this process is in."""
    for kind, system in SYSTEMS.items():
        job = environ.get(system.job_variable, "")
        if system.is_job_id(job):
            return Job(kind, job, system.is_batch(environ))
    return None

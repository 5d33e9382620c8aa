"""OAR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from climdask.clusters.batchsystems.base import BatchSystem, without
from climdask.settings.profiles import BatchProfile, OarProfile


def _memory(profile: BatchProfile, options: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for no memory: which property of a node holds a core's memory is the site's affair."""
    del profile, options
    return {"memory_per_core_property_name": "not_applicable"}


OAR = BatchSystem(
    title="OAR",
    profile=OarProfile,
    experimental=True,
    job_class=lambda jobqueue: jobqueue.OARCluster.job_cls,
    submit="oarsub",
    cancel="oardel",
    directives=("-O {logs}/%jobid%.log", "-E {logs}/%jobid%.log"),
    literal=without("%"),
    log="{id}.log",
    more_options=_memory,
    job_variable="OAR_JOB_ID",
    inside_variable="OAR_JOB_ID",
)

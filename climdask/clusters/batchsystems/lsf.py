"""LSF."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from climdask.clusters.batchsystems.base import BatchSystem, without
from climdask.settings.profiles import BatchProfile, LsfProfile


def _hours_and_minutes(seconds: int) -> str:
    return f"{seconds // 3600}:{math.ceil(seconds % 3600 / 60):02}"


def _project(profile: BatchProfile, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the project as it stands between double quotes, which dask-jobqueue puts there."""
    del options
    project = profile.account
    return {} if project is None else {"project": re.sub(r'(["\\])', r"\\\1", project)}


LSF = BatchSystem(
    title="LSF",
    profile=LsfProfile,
    experimental=True,
    job_class=lambda jobqueue: jobqueue.LSFCluster.job_cls,
    submit="bsub",
    cancel="bkill",
    job_id=r"[0-9]+(\[[0-9]+\])?",
    directives=("-o {logs}/%J.log", "-rn"),
    literal=without("%"),
    log="{id}.log",
    walltime=_hours_and_minutes,
    more_options=_project,
    script_on_stdin=True,
    job_variable="LSB_JOBID",
    inside_variable="LSB_JOBID",
    interactive_sign=("LSB_INTERACTIVE", "Y"),
    submit_host="LSB_SUB_HOST",
)

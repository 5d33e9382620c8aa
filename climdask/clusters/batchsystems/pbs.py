"""PBS: PBS Professional, OpenPBS, Torque."""

from __future__ import annotations

from climdask.clusters.batchsystems.base import BatchSystem, without
from climdask.settings.profiles import PbsProfile

PBS = BatchSystem(
    title="PBS",
    profile=PbsProfile,
    experimental=True,
    job_class=lambda jobqueue: jobqueue.PBSCluster.job_cls,
    submit="qsub",
    cancel="qdel",
    job_id=r"[0-9]+(\[[0-9]*\])?(\.[0-9A-Za-z_.-]+)?",  # 42.server, of an array 42[7].server
    directives=("-j oe", "-o {logs}/", "-r n"),
    literal=without("$^:,"),  # variables, an index, a host, a list
    account="account",
    job_variable="PBS_JOBID",
    inside_variable="PBS_JOBID",
    interactive_sign=("PBS_ENVIRONMENT", "PBS_INTERACTIVE"),
    submit_host="PBS_O_HOST",
)

"""Batch systems: a module for each, which says all that is particular to it.

Another one needs such a module, whose value is handed to :func:`register`, and a class of
profiles; ``tests/clusters/test_toy_batchsystem.py`` has a complete one.
"""

from climdask.clusters.batchsystems.base import SYSTEMS, Ask, BatchSystem, register, system_of
from climdask.clusters.batchsystems.gridengine import GRID_ENGINE
from climdask.clusters.batchsystems.htcondor import HTCONDOR
from climdask.clusters.batchsystems.lsf import LSF
from climdask.clusters.batchsystems.oar import OAR
from climdask.clusters.batchsystems.pbs import PBS
from climdask.clusters.batchsystems.slurm import SLURM

__all__ = ["SYSTEMS", "Ask", "BatchSystem", "register", "system_of"]

# SLURM is first, as some of its sites set PBS's variables as well; Grid Engine's JOB_ID is last,
# as other programs have such a variable too.
for _system in (SLURM, PBS, LSF, OAR, HTCONDOR, GRID_ENGINE):
    register(_system)

"""How a run is done: who works, what of the outputs counts as done, what is reported on the way.

What is made is said by the workflow. Each option has its home here: the Python interface, the
command line and the jobs of ``submit`` take theirs from one list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import distributed

from climdask.errors import ConfigError
from climdask.monitoring.progress import RunProgress
from climdask.settings.profiles import Profile, load_profile

View = Callable[[RunProgress], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of a run.

    Attributes:
        client: a Dask client of the user's own (local, SLURM, Dask Gateway); else ``cluster``.
        cluster: a cluster profile, or the path of its YAML file; this machine if left out.
        serial: run in this process, without Dask: the reference executor.
        inputs_unchanged: accept input files whose modification times are new.
        verify: compare the checksums of all normals that are there; damaged ones are made again.
        performance_report: HTML file for Dask's own report on the run; none if left out.
        view: shows the progress; nothing is shown if left out.
        report: receives, line by line, what is found before the work begins.

    Raises:
        ConfigError: options that exclude each other, or a profile that cannot be read.
    """

    client: distributed.Client | None = None
    cluster: Profile | str | Path | Mapping[str, Any] | None = None
    serial: bool = False
    inputs_unchanged: bool = False
    verify: bool = False
    performance_report: Path | None = None
    view: View | None = None
    report: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        if self.serial and self.performance_report is not None:
            raise ConfigError("--performance-report: it is Dask's own; leave out --serial")
        _ = self.profile  # what is wrong in it is reported first, also where it is not used

    @cached_property
    def profile(self) -> Profile:
        """The cluster profile.

        Raises:
            ConfigError: it cannot be read, or a key or value is wrong.
        """
        return load_profile(self.cluster)

    @property
    def own_cluster(self) -> Profile | None:
        """The profile of the cluster that the run opens; None if it opens none."""
        return None if self.serial or self.client is not None else self.profile

    @property
    def kind(self) -> str:
        """Where the work is done: the kind of the profile, ``serial``, or ``client``."""
        if self.serial:
            return "serial"
        return "client" if self.client is not None else self.profile.kind

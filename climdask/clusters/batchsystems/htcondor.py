"""HTCondor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from climdask.clusters.amounts import bytes_of
from climdask.clusters.batchsystems.base import BatchSystem
from climdask.errors import ConfigError
from climdask.settings.profiles import HTCondorProfile


def _literal(text: str) -> str:
    """Write ``$`` where it would begin a macro, such as ``$(X)`` or ``$ENV(X)``, as that for it."""
    return re.sub(r"\$(?=\$|\w*\()", "$(DOLLAR)", text)


def _job_class(jobqueue: ModuleType) -> Any:
    """Return a job whose command, a line of the submit description, reaches the shell as it is."""

    class Job(jobqueue.HTCondorCluster.job_cls):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, **keywords)
            command = self._command_template  # type: ignore[has-type]
            self._command_template = _literal(command)

    return Job


def _description(profile: HTCondorProfile, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a submit description needs: the disk, and lines as pairs.

    Raises:
        ConfigError: a key says what HTCondor cannot do.
    """
    if profile.partition is not None:
        raise ConfigError(
            f"cluster: partition: {profile.partition}: HTCondor has none; say what a job needs in "
            'directives, such as "Requirements = …"'
        )
    account = [f"accounting_group = {_literal(profile.account)}"] if profile.account else []
    pairs = [line.partition("=") for line in (*account, *options["job_extra_directives"])]
    lacking = [key for key, equals, _ in pairs if not equals]
    if lacking:
        raise ConfigError(f'cluster: directives: "{lacking[0]}": expected "key = value"')
    extra = {key.strip(): value.strip() for key, _, value in pairs}
    return {"disk": bytes_of(profile.disk, "disk"), "job_extra_directives": extra}


HTCONDOR = BatchSystem(
    title="HTCondor",
    profile=HTCondorProfile,
    experimental=True,
    job_class=_job_class,
    submit="condor_submit",
    cancel="condor_rm",
    job_id=r"[0-9]+(\.[0-9]+)?",
    directives=(
        "Output = {logs}/$(ClusterId).log",
        "Error = {logs}/$(ClusterId).err",
        "Log = {logs}/$(ClusterId).events",
        "Stream_Output = True",
        "Stream_Error = True",
    ),
    literal=_literal,
    queue="",
    account="",
    walltime=None,
    more_options=_description,
    shell_script=False,
    inside_variable="_CONDOR_JOB_AD",
)

"""Cluster profiles: what the YAML of ``--cluster`` may say, for each kind of cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from climdask.errors import ConfigError, did_you_mean
from climdask.plaintext import check_no_controls
from climdask.settings.paths import check_path
from climdask.settings.yamlfiles import read_yaml, validate

# In double quotes a shell obeys these; of dollar signs only those of variables may stay.
_NOT_IN_SCRATCH = re.compile(r"""["`\\]|\$(?!\w|\{\w+(:-[\w./-]*)?\})""")
_WALLTIME = re.compile(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d)(?::([0-5]\d))?")


def _as_dashboard(value: object) -> object:
    """Understand ``off``, which YAML reads as false, and keep other words out."""
    if value is False:
        return "off"
    if value in ("auto", "off") or (type(value) is int and 0 < value < 65536):
        return value
    raise ValueError("expected auto, off, or the number of a port, 1 to 65535")


def seconds_of(walltime: str) -> int:
    """Return the seconds of a walltime ``hours:minutes:seconds`` or ``days-hours:minutes:seconds``.

    Raises:
        ValueError: it is none.
    """
    found = _WALLTIME.fullmatch(walltime)
    if found is None:
        raise ValueError('expected hours:minutes:seconds in quotes, such as "04:00:00"')
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _as_walltime(value: str) -> str:
    if not seconds_of(value):
        raise ValueError("expected more than no time")
    return value


def _as_ports(value: object) -> object:
    """Understand a port, or a first and a last one."""
    text = str(value)
    ports = [int(port) for port in text.split(":") if port.isdigit()]
    if len(ports) != text.count(":") + 1 or not 0 < ports[0] <= ports[-1] < 65536 or len(ports) > 2:
        raise ValueError('expected a port, or first and last in quotes, such as "9000:9100"')
    return text


def _as_directives(lines: tuple[str, ...]) -> tuple[str, ...]:
    for line in lines:
        if line.startswith("#"):
            raise ValueError(f'leave out the beginning of "{line}", as in "--constraint=fast"')
    return lines


def _as_scratch(folder: str) -> str:
    """Keep what a shell would obey out of a path whose variables it expands."""
    found = _NOT_IN_SCRATCH.search(folder)
    if found:
        raise ValueError(
            f"has {found[0]}, which the shell of the job would obey; expected a path, perhaps with "
            "variables, such as $TMPDIR/me"
        )
    return folder


UserPath = Annotated[Path, AfterValidator(check_path)]
Ports = Annotated[str, BeforeValidator(_as_ports)]
Directives = Annotated[tuple[str, ...], AfterValidator(_as_directives)]
Scratch = Annotated[str, AfterValidator(_as_scratch)]
Walltime = Annotated[str, AfterValidator(_as_walltime)]
Dashboard = Annotated[int | Literal["auto", "off"], BeforeValidator(_as_dashboard)]


class _Profile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*")
    @classmethod
    def _no_controls(cls, value: object, info: ValidationInfo) -> object:
        """Refuse control characters: texts go into scripts, commands and messages."""
        lines = "\n\t" if info.field_name == "prologue" else ""  # which is shell
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str | Path):
                check_no_controls(str(text), but=lines)
        return value


class LocalProfile(_Profile):
    """Worker processes on this machine."""

    kind: Literal["local"] = "local"
    cores: int | None = Field(None, ge=1, description="Cores to use; all by default.")
    memory: str | int | None = Field(None, description='Memory to use, such as "16GiB".')
    workers: int | None = Field(None, ge=1, description="Worker processes.")
    threads: int | None = Field(None, ge=1, description="Threads of each worker.")
    scratch: UserPath | None = Field(None, description="Folder for what does not fit in memory.")
    dashboard: Dashboard = Field("auto", description="Port on this machine.")


class SecurityFiles(_Profile):
    """Credentials of the site, or of a cluster that somebody else runs."""

    ca_file: UserPath = Field(description="Certificate of the authority, PEM.")
    cert: UserPath = Field(description="Certificate of scheduler, workers and client, PEM.")
    key: UserPath = Field(description="Its private key, PEM; readable for you alone.")


class ExternalProfile(_Profile):
    """A cluster that somebody else runs."""

    kind: Literal["external"]
    address: str | None = Field(None, description="Such as tcp://10.0.0.1:8786.")
    scheduler_file: UserPath | None = Field(None, description="Written by dask scheduler.")
    timeout: float = Field(30.0, gt=0, description="Seconds to wait for the scheduler.")
    security: SecurityFiles | None = Field(None, description="Credentials for a tls:// address.")

    @model_validator(mode="after")
    def _one_of_two(self) -> ExternalProfile:
        if (self.address is None) == (self.scheduler_file is None):
            raise ValueError("give either address or scheduler_file")
        return self


class DriverJob(_Profile):
    """The batch job that ``climdask submit`` puts the driver into."""

    partition: str | None = Field(None, description="As of the workers by default.")
    walltime: Walltime = Field("24:00:00", description="Of one job; it follows itself.")
    cores: int = Field(1, ge=1, description="Of the driver and the Dask scheduler in it.")
    memory: str | int = Field("4GiB", description="Of the driver and the Dask scheduler in it.")
    resubmit: int = Field(5, ge=0, description="Times that the job may follow itself.")
    directives: Directives = Field((), description="Further lines of the job's header.")


class BatchProfile(_Profile):
    """What is common to all batch systems: workers are jobs, and one job has one worker or more."""

    kind: str
    partition: str | None = Field(None, description="Partition or queue; the site's default.")
    account: str | None = Field(None, description="Account or project to charge.")
    walltime: Walltime = Field("04:00:00", description="Of a worker's job.")
    cores: int = Field(ge=1, description="Of a job.")
    memory: str | int = Field(description='Of a job, such as "32GiB".')
    processes: int = Field(1, ge=1, description="Workers in a job, which share its cores.")
    jobs: int = Field(1, ge=1, description="Jobs at most; never more than are of use.")
    modules: tuple[str, ...] = Field((), description="Modules to load, first of all.")
    prologue: tuple[str, ...] = Field((), description="Shell lines before Python starts.")
    python: str | None = Field(None, description="Python of the jobs; this one by default.")
    directives: Directives = Field((), description="Further lines of the jobs' header.")
    interface: str | None = Field(None, description="Network interface, such as ib0.")
    scheduler_ports: Ports | None = Field(None, description='Such as "8786:8796"; any by default.')
    worker_ports: Ports | None = Field(None, description='Such as "9000:9100"; any by default.')
    nanny_ports: Ports | None = Field(None, description='Such as "9200:9300"; any by default.')
    logs: UserPath | None = Field(
        None, description="Folder of the jobs' logs; the run's by default."
    )
    scratch: Scratch | None = Field(None, description="Expanded on the node, such as $TMPDIR.")
    dashboard: Dashboard = Field("auto", description="Port on the scheduler's host.")
    security: SecurityFiles | None = Field(None, description="The site's own credentials.")
    pending_after: float = Field(60.0, gt=0, description="Seconds until it tells why jobs wait.")
    driver: DriverJob = Field(DriverJob(), description="The job of climdask submit.")


class SlurmProfile(BatchProfile):
    """Workers are jobs of SLURM."""

    kind: Literal["slurm"]


class SlurmRunnerProfile(BatchProfile):
    """One allocation of SLURM, in which scheduler, driver and workers are ranks of one srun."""

    kind: Literal["slurm-runner"]

    @model_validator(mode="after")
    def _all_is_one_allocation(self) -> SlurmRunnerProfile:
        if useless := sorted(self.driver.model_fields_set - {"resubmit"}):
            raise ValueError(
                f"driver.{useless[0]}: a runner's driver has no job of its own; say it of the "
                "allocation, outside of driver"
            )
        if "pending_after" in self.model_fields_set:
            raise ValueError("pending_after: no jobs of a runner's workers wait; leave it out")
        return self


class PbsProfile(BatchProfile):
    """Workers are jobs of PBS."""

    kind: Literal["pbs"]


class LsfProfile(BatchProfile):
    """Workers are jobs of LSF."""

    kind: Literal["lsf"]


class SgeProfile(BatchProfile):
    """Workers are jobs of Grid Engine."""

    kind: Literal["sge"]


class OarProfile(BatchProfile):
    """Workers are jobs of OAR."""

    kind: Literal["oar"]


class HTCondorProfile(BatchProfile):
    """Workers are jobs of HTCondor."""

    kind: Literal["htcondor"]
    disk: str | int = Field("4GiB", description="Of a job, which HTCondor wants to know.")


Profile = LocalProfile | ExternalProfile | BatchProfile
# By kind; clusters.batchsystems.register adds others.
KINDS: dict[str, type[Profile]] = {
    "local": LocalProfile,
    "external": ExternalProfile,
    "slurm": SlurmProfile,
    "slurm-runner": SlurmRunnerProfile,
    "pbs": PbsProfile,
    "lsf": LsfProfile,
    "sge": SgeProfile,
    "oar": OarProfile,
    "htcondor": HTCondorProfile,
}


def kind_of(profile: type[BatchProfile]) -> str:
    """Return what profiles of a class have as ``kind``, which must be a literal."""
    (kind,) = get_args(profile.model_fields["kind"].annotation)
    return str(kind)


def register_profile(profile: type[BatchProfile]) -> None:
    """Let profiles have the ``kind`` of a class.

    Raises:
        ValueError: another class has this kind.
    """
    kind = kind_of(profile)
    if KINDS.setdefault(kind, profile) is not profile:
        raise ValueError(f"kind: {kind}: another class of profiles has this kind; choose another")


def load_profile(source: Profile | str | Path | Mapping[str, Any] | None) -> Profile:
    """Read a cluster profile; the local one if there is none.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong.
    """
    if isinstance(source, _Profile):
        return source
    if source is None:
        return LocalProfile()
    if isinstance(source, Mapping):
        content, name = dict(source), "cluster"
    else:
        content, name = read_yaml(Path(source)), str(source)
    kind = str(content.get("kind", "local"))
    if kind not in KINDS:
        raise ConfigError(
            f'{name}: kind: "{kind}" is none of {", ".join(KINDS)}{did_you_mean(kind, KINDS)}'
        )
    return validate(KINDS[kind], content, name)

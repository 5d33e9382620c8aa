"""What climdask must know of a batch system, and the registry of all that it knows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from climdask.errors import ConfigError, did_you_mean
from climdask.settings.profiles import BatchProfile, kind_of, register_profile

# State and reason of jobs by id; None if the batch system does not answer. States are given in
# SLURM's words, whatever the system: jobwatch has them.
Ask = Callable[[Collection[str]], Mapping[str, tuple[str, str]] | None]


def clock(seconds: int) -> str:
    """Return a walltime as most batch systems write it; hours may be more than 24."""
    return f"{seconds // 3600:02}:{seconds % 3600 // 60:02}:{seconds % 60:02}"


def no_more_options(profile: BatchProfile, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return no further options of a job."""
    del profile, options
    return {}


def as_it_is(path: str) -> str:
    """Return a path for a system that gives no character of it a meaning."""
    return path


def without(signs: str) -> Callable[[str], str]:
    """Return what writes paths for a system that gives signs a meaning, and cannot be kept from it.

    What is returned raises ValueError if a path has one of them.
    """

    def write(path: str) -> str:
        if found := [sign for sign in signs if sign in path]:
            raise ValueError(found[0])
        return path

    return write


@dataclass(frozen=True, kw_only=True)
class BatchSystem:
    """All that is particular to one batch system.

    Attributes:
        title: its name, for the user.
        profile: class of its profiles, whose ``kind`` is that of the system.
        runner: class of the profiles of its other launch mode, in which driver, scheduler and
            workers are the ranks of one job, and nothing is submitted from within; None if it
            has only the usual one, in which a job holds workers.
        experimental: whether it was never tried on a real system.

        job_class: takes the module dask_jobqueue, and returns the job class that writes the
            scripts and submits them.
        submit, cancel: its programs; ``cancel`` is followed by ids of jobs.
        cancel_options: make ``cancel`` accept jobs that have ended.
        dry_run: followed by a script, asks whether its job would be taken; empty if there is no
            such command.
        ask: asks for states of jobs; None if that is not known here.
        job_id: how ids of its jobs look, as a regular expression.

        directives: lines of every job's header, with ``{logs}`` for the folder of logs: one log
            for a job, named by its id, and a job that fails is not started again by itself.
        literal: writes a path into a directive so that it means itself, where the system would
            put something else for some of its characters; raises ValueError with the character if
            there is no way to do so.
        log: name of a job's log, with ``{id}``; empty if the system chooses the name.
        queue, account: dask-jobqueue's keywords for them; empty if it has none.
        walltime: writes a walltime that is given in seconds; None if the system has none.
        more_options: takes the profile and the keywords of dask-jobqueue's job class so far, and
            returns further ones, or others.
        shell_script: whether a job is a shell script with directives as comments; else it is a
            submit description, whose lines are ``key = value``.
        script_on_stdin: whether ``submit`` reads the script from its standard input.

        job_variable: environment variable with the id of the own job; empty if there is none.
        inside_variable: one that is set in any of its jobs.
        batch_sign: variable and value that every job with a script has; empty if there is none.
        interactive_sign: variable and value that a job has in which a person works.
        submit_host: variable with the host that the job was submitted from; empty if none.
        kept_back: beginnings of variables that describe the own job, and must not reach a new one.
        handed_on: variables that begin like that, and are handed on all the same.
    """

    title: str
    profile: type[BatchProfile]
    runner: type[BatchProfile] | None = None
    experimental: bool = False

    job_class: Callable[[ModuleType], Any]
    submit: str
    cancel: str
    cancel_options: tuple[str, ...] = ()
    dry_run: tuple[str, ...] = ()
    ask: Ask | None = None
    job_id: str = "[0-9]+"

    directives: tuple[str, ...] = ()
    literal: Callable[[str], str] = as_it_is
    log: str = ""
    queue: str = "queue"
    account: str = "project"
    walltime: Callable[[int], str] | None = clock
    more_options: Callable[[Any, Mapping[str, Any]], Mapping[str, Any]] = no_more_options
    shell_script: bool = True
    script_on_stdin: bool = False

    job_variable: str = ""
    inside_variable: str = ""
    batch_sign: tuple[str, str] | None = None
    interactive_sign: tuple[str, str] | None = None
    submit_host: str = ""
    kept_back: tuple[str, ...] = ()
    handed_on: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """What names it in profiles and in the status of a run."""
        return kind_of(self.profile)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of profiles that lead to it: its own, and its runner's."""
        return (self.kind, kind_of(self.runner)) if self.runner else (self.kind,)

    @property
    def caution(self) -> str:
        """What to tell who uses it; empty if it was tried on a real system."""
        if not self.experimental:
            return ""
        return (
            f"kind: {self.kind} is experimental: its job scripts are tested as text, not on a real "
            f"{self.title}"
        )

    def submits_workers(self, profile: BatchProfile) -> bool:
        """Whether a profile's workers are jobs of their own; a runner's are not."""
        return profile.kind == self.kind

    def cancel_command(self, ids: Collection[str]) -> list[str]:
        """Return the command that ends jobs, whether or not they have ended."""
        return [self.cancel, *self.cancel_options, *ids]

    def submit_line(self, script: object) -> str:
        """Return the shell line that puts a script into the queue."""
        return f"{self.submit}{' <' if self.script_on_stdin else ''} {shlex.quote(str(script))}"

    def is_job_id(self, text: str) -> bool:
        """Whether this can be the id of a job, and nothing else that ``cancel`` would obey."""
        return re.fullmatch(self.job_id, text) is not None

    def is_batch(self, environ: Mapping[str, str]) -> bool:
        """Whether a job with this environment runs a script; else a person works in it."""
        if self.batch_sign:
            name, value = self.batch_sign
            return environ.get(name) == value
        if self.interactive_sign:
            name, value = self.interactive_sign
            return environ.get(name) != value
        return True


# By kind; in this order a job is looked for in the environment.
SYSTEMS: dict[str, BatchSystem] = {}


def register(system: BatchSystem) -> None:
    """Let climdask know a batch system, and profiles name its kinds.

    Raises:
        ValueError: another system has one of its kinds.
    """
    for kind in system.kinds:
        if any(kind in other.kinds and other != system for other in SYSTEMS.values()):
            raise ValueError(f"kind: {kind}: another batch system has this kind; choose another")
    for profile in (system.profile, system.runner):
        if profile is not None:
            register_profile(profile)
    SYSTEMS[system.kind] = system


def system_of(kind: str) -> BatchSystem:
    """Return the batch system of a kind of profile.

    Raises:
        ConfigError: no batch system has it.
    """
    for system in SYSTEMS.values():
        if kind in system.kinds:
            return system
    kinds = [kind for system in SYSTEMS.values() for kind in system.kinds]
    raise ConfigError(
        f'cluster: kind: "{kind}" is no batch system; expected one of {", ".join(kinds)}'
        f"{did_you_mean(kind, kinds)}"
    )

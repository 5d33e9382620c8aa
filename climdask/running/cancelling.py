"""Stopping a run from outside: ask it; if it does not answer, end its jobs; then tidy up."""

from __future__ import annotations

import getpass
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from climdask.clusters.batchsystems import system_of
from climdask.clusters.credentials import remove_credentials
from climdask.errors import EXIT_DONE, EXIT_FAILED, ConfigError, OutputError
from climdask.monitoring.heartbeat import write_status
from climdask.monitoring.processes import is_job_id
from climdask.monitoring.status import BEAT, Verdict, closed, judge
from climdask.outputs.atomicfiles import atomically
from climdask.outputs.folder import OutputFolder, write_text

ANSWERED = 4 * BEAT  # seconds in which a run hears that it is to stop
LOOK = 0.5  # seconds between two looks whether it is over
COMMAND_TIMEOUT = 60.0  # seconds for the batch system to answer

# States of jobs that need no more ending, in the words of any of them.
_OVER = ("completed", "cancelled", "failed", "timeout", "out_of_memory", "node_fail", "done")


@dataclass(frozen=True)
class Cancelling:
    """A run that is being stopped.

    Attributes:
        timeout: seconds to wait for it.
        tell: takes a line on each thing that is done.
    """

    folder: OutputFolder
    run_id: str
    timeout: float
    tell: Callable[[str], None]

    def act(self) -> int:
        """Stop the run, and return an exit code: 0 if nothing of it runs on.

        Raises:
            OutputError: its status cannot be read, or the request not be written.
        """
        self._check_owner()
        before = judge(self.folder, self.run_id)
        after = self._stop(before) if before.is_alive else before
        if after.is_alive:
            self.tell(
                f"{after.status.process} still does not answer after {self.timeout:g} s; end it "
                "yourself, then cancel again"
            )
            return EXIT_FAILED
        all_gone = self._clean(after, self._request() if before.is_alive else "its driver died")
        if before.is_alive:
            self.tell(judge(self.folder, self.run_id).headline)
        elif before.state == "dead":
            self.tell(f"run {self.run_id} was dead already; what it left is cleaned up")
        else:
            self.tell(f"nothing is running: {before.headline}")
        return EXIT_DONE if all_gone else EXIT_FAILED

    def _check_owner(self) -> None:
        """Check that the status, which names jobs and processes to end, is this user's.

        Raises:
            OutputError: somebody else has written it, or it cannot be looked at.
        """
        path = self.folder.status(self.run_id)
        try:
            owner = path.lstat().st_uid
        except OSError as error:
            raise OutputError(f"{path}: cannot be read ({error.strerror})") from None
        if hasattr(os, "geteuid") and owner != os.geteuid():
            raise OutputError(
                f"{path}: belongs to another user, number {owner}, so the jobs and processes that "
                "it names are not ended; ask that user to cancel the run"
            )

    def _stop(self, verdict: Verdict) -> Verdict:
        """Ask the run to stop, and wait.

        1. The request is a file that the driver sees at its next beat, wherever it runs.
        2. One that has not answered after some beats gets a signal, if it is on this host.
        3. If nothing helps, the batch job that the driver is in is ended.
        """
        status = verdict.status
        path = self.folder.cancel_request(self.run_id)
        atomically(path, lambda temporary: write_text(temporary, self._request()), durable=False)
        self.tell(f"asking {status.process} to stop")
        verdict = self._wait(ANSWERED, until="stopping")
        if verdict.is_alive and verdict.state != "stopping" and status.process.is_here:
            status.process.terminate()
        verdict = self._wait(self.timeout)
        if verdict.is_alive and status.job and status.job.batch:
            self.tell("it does not answer")
            self._end_jobs(status.job.system, [status.job.id])
            verdict = self._wait(self.timeout)
        return verdict

    def _request(self) -> str:
        return f"cancelled by {_user()} on {socket.gethostname()}"

    def _wait(self, seconds: float, until: str = "") -> Verdict:
        """Wait until the run is over, or in a certain state."""
        end = time.monotonic() + seconds
        verdict = judge(self.folder, self.run_id)
        while verdict.is_alive and verdict.state != until and time.monotonic() < end:
            time.sleep(LOOK)
            verdict = judge(self.folder, self.run_id)
        return verdict

    def _clean(self, verdict: Verdict, why: str) -> bool:
        """End what a run left that is over: jobs and credentials; tell whether all are gone."""
        status = verdict.status
        left = [job for job, state in status.progress.jobs.items() if state.lower() not in _OVER]
        gone = self._end_jobs(status.cluster, left)
        if verdict.state == "dead" and status.job and status.job.batch:
            self._end_jobs(status.job.system, [status.job.id])
        remove_credentials(self.folder.tls(self.run_id))
        if gone and (left or verdict.state == "dead"):
            write_status(self.folder, closed(status, status.message or why))
        return gone

    def _end_jobs(self, system: str, jobs: list[str]) -> bool:
        """End jobs by the command of their batch system; tell whether it took them all."""
        if not jobs:
            return True
        if odd := [job for job in jobs if not is_job_id(job)]:
            self.tell(f"{odd[0]!r} is no id of a job, such as 4242; no job is ended")
            return False
        try:
            command = system_of(system).cancel_command(jobs)
        except ConfigError:
            self.tell(f"jobs {', '.join(jobs)} are of no batch system that climdask knows")
            return False
        self.tell(shlex.join(command))
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            self.tell(f"{command[0]} does not work here ({error}); end these jobs where it does")
            return False
        if words := (done.stdout + done.stderr).strip():
            self.tell(words)
        return done.returncode == 0


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may give the user no name
        return "somebody"

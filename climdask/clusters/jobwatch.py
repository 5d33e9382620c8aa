"""What becomes of a run's jobs: which have workers, which are lost, and why others wait.

Dask's own ``adapt`` replaces only jobs whose worker had come and that have a single one; a job
that ends in the queue, or before its worker comes, would be waited for without end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from climdask.clusters.batchsystems import Ask
from climdask.monitoring.progress import RunProgress, clock
from climdask.plaintext import quantity

LOST_AFTER = 10.0  # seconds without a worker; its nanny restarts one that died
ASK_INTERVAL = 60.0  # seconds between two questions to the batch system
MAX_LOSSES = 20  # of jobs in a row, in which nothing was done
LOG_LINES = 5  # of a log's end, in a message

# States of a job of SLURM that has ended through no fault of its own.
_BLAMELESS = {"CANCELLED", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE", ""}
_WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
ALIVE = _WAITING | {"RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STAGE_OUT", "STOPPED",
                     "RESIZING", "SIGNALING"}  # fmt: skip
_CURES = {
    "OUT_OF_MEMORY": "; raise memory in the profile if that goes on",
    "TIMEOUT": "; raise walltime in the profile if that goes on",
}


@dataclass
class WorkerJob:
    """A job of workers.

    Attributes:
        name: of its Dask worker, or of its workers with a number after it.
        id: of the batch system.
        submitted: on the monotonic clock, in seconds.
        started: whether a worker of it ever came.
        missing: since when it has had no worker.
    """

    name: str
    id: str
    submitted: float
    started: bool = False
    missing: float | None = None

    def has(self, worker: str) -> bool:
        """Whether a worker of this name is one of the job's."""
        return worker == self.name or worker.startswith(f"{self.name}-")


@dataclass
class JobWatch:
    """Follows the jobs of a run, and tells the user what is worth knowing.

    Attributes:
        progress: whose ``jobs`` and ``note`` are kept here.
        report: receives lines for the user.
        ask: the batch system's answer about jobs; None if it is not asked.
        pending_after: seconds in the queue until the user is reported why.
        logs: folder of the jobs' logs.
        jobs: those that are wanted, by name.
        lost: those whose end is not explained yet, by id.
        refused: the batch system's words for jobs that it did not take, by name.
        cancelled: ids of the jobs that were cancelled at the end.
        losses: jobs lost in a row in which nothing was done.
        fatal: why no job can be of use; empty while all is well.
    """

    progress: RunProgress
    report: Callable[[str], None]
    ask: Ask | None
    pending_after: float
    logs: Path
    jobs: dict[str, WorkerJob] = field(default_factory=dict)
    lost: dict[str, WorkerJob] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    losses: int = 0
    fatal: str = ""
    asked: float = float("-inf")
    done: int = -1
    reported: str = ""

    def submitted(self, name: str, job_id: str, now: float) -> None:
        """Note a job that was submitted."""
        self.jobs[name] = WorkerJob(name, job_id, now)
        self.progress.jobs[job_id] = "submitted"

    @property
    def any_born(self) -> bool:
        """Whether a worker is there."""
        return any(job.started and job.missing is None for job in self.jobs.values())

    def look(self, workers: Collection[str], now: float) -> list[WorkerJob]:
        """Take over which workers are there; return the jobs to replace."""
        for job in list(self.jobs.values()):
            if any(job.has(worker) for worker in workers):
                job.started, job.missing = True, None
                self.progress.jobs[job.id] = "running"
            elif job.started and job.missing is None:
                job.missing = now
        ended = self._question(now)
        gone = [
            job
            for job in self.jobs.values()
            if job in ended or (job.missing is not None and now - job.missing >= LOST_AFTER)
        ]
        for job in gone:
            del self.jobs[job.name]
            self.progress.jobs.pop(job.id, None)
            if job not in ended:
                self.lost[job.id] = job
        self._count(len(gone))
        return gone

    def _count(self, losses: int) -> None:
        done = sum(row.years + row.reads + row.writes for row in self.progress.chains.values())
        if done > self.done:
            self.done, self.losses = done, 0
        self.losses += losses
        if self.losses > MAX_LOSSES:
            self.fatal = (
                f"{quantity(self.losses, 'job was')} lost in a row, and nothing was done "
                f"meanwhile; see their logs in {self.logs}"
            )

    # ------------------------------------------------------------ what the batch system says

    def over(self, ids: Collection[str]) -> bool:
        """Whether the batch system says that some jobs have ended or are about to."""
        answer = self.ask(ids) if self.ask else None
        left = ALIVE - {"COMPLETING"}
        return answer is not None and not any(state in left for state, _ in answer.values())

    def _question(self, now: float) -> list[WorkerJob]:
        """Ask about jobs that have no worker, if it is time; return those that have ended."""
        waiting = [job for job in self.jobs.values() if not job.started]
        if not waiting:
            self.progress.note = self.reported = ""
        late = [job for job in waiting if now - job.submitted >= self.pending_after]
        if self.ask is None or now - self.asked < ASK_INTERVAL or not (late or self.lost):
            return []
        self.asked = now
        answer = self.ask([job.id for job in waiting] + list(self.lost))
        if answer is None:
            return []
        for job in waiting:
            state, _ = answer.get(job.id, ("", ""))
            if state in ALIVE:
                self.progress.jobs[job.id] = state.lower()
        self._explain(answer)
        self._tell_why(late, answer, now)
        ended = [job for job in waiting if answer.get(job.id, ("", ""))[0] not in ALIVE]
        for job in ended:
            self._unborn(job, *answer.get(job.id, ("", "")))
        return ended

    def _explain(self, answer: Mapping[str, tuple[str, str]]) -> None:
        """Tell how lost jobs had ended, once it is known."""
        for job_id in list(self.lost):
            state, _ = answer.get(job_id, ("", ""))
            if state in ALIVE:  # it is being cancelled
                continue
            del self.lost[job_id]
            if state and state != "CANCELLED":
                self.report(f"note: job {job_id} had ended: {state}{_CURES.get(state, '')}")

    def _tell_why(
        self, waiting: Collection[WorkerJob], answer: Mapping[str, tuple[str, str]], now: float
    ) -> None:
        reasons: dict[str, list[WorkerJob]] = defaultdict(list)
        for job in waiting:
            state, reason = answer.get(job.id, ("", ""))
            if state in _WAITING:
                reasons[reason].append(job)
        parts = [
            f"{named(jobs)} for {clock(now - min(job.submitted for job in jobs))}: {reason}"
            for reason, jobs in sorted(reasons.items())
        ]
        self.progress.note = "in the queue: " + "; ".join(parts) if parts else ""
        what = str({reason: [job.id for job in jobs] for reason, jobs in reasons.items()})
        if parts and what != self.reported:
            self.reported = what
            self.report(f"note: {self.progress.note}")

    def _unborn(self, job: WorkerJob, state: str, reason: str) -> None:
        """Judge a job that ended before its worker came."""
        said = f"job {job.id} ended before its worker came"
        if state:
            said += f" ({state}, {reason})" if reason not in ("", "None") else f" ({state})"
        if state in _BLAMELESS or any(other.started for other in self.jobs.values()):
            self.report(f"note: {said}; see its log in {self.logs}")
            return
        self.fatal = f"{said}\n{log_end(self.logs, job.id)}"


def named(jobs: Collection[WorkerJob]) -> str:
    """Return ids of jobs, as text."""
    ids = [job.id for job in jobs]
    some = ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
    return f"{'job' if len(ids) == 1 else 'jobs'} {some}"


def log_end(logs: Path, job_id: str) -> str:
    """Return the last lines of a job's log, or say that there is none."""
    for path in sorted(logs.glob(f"*{job_id}*")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        if lines:
            return "\n".join(["the end of its log:", *lines[-LOG_LINES:]])
    return f"it left no log in {logs}; do the nodes see that folder?"

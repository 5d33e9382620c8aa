"""What is said of submitted jobs: by ``submit``, and by ``status`` and ``cancel`` before a run."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

from climdask.clusters.batchsystems import system_of
from climdask.clusters.jobwatch import ALIVE, log_end
from climdask.errors import EXIT_DONE, EXIT_FAILED, OutputError
from climdask.monitoring.status import RunStatus, latest_run, read_status
from climdask.monitoring.terminal import TUNNEL
from climdask.outputs.folder import OutputFolder
from climdask.plaintext import command, quantity
from climdask.planning.plan import Plan
from climdask.running.cancelling import COMMAND_TIMEOUT
from climdask.running.submission import Submission, submissions
from climdask.settings.profiles import SlurmRunnerProfile

LOOK = 2.0  # seconds between two looks at a run's status
ASK = 15.0  # seconds between two questions to the batch system, while the user sits and waits

Tell = Callable[[str], object]


def described(submission: Submission, made: Plan) -> Iterator[str]:
    """Tell of a submission, line by line."""
    profile, out = submission.profile, made.workflow.output.root.expanduser().absolute()
    system = system_of(profile.kind)
    if system.caution:
        yield f"note: {system.caution}"
    yield (
        f"submitted: job {submission.jobs[-1]} of {system.title}, "
        f"{quantity(made.n_normals, 'normal')} in {quantity(len(made.chains), 'chain')}"
    )
    workers, threads = made.limits.workers, made.limits.threads
    if isinstance(profile, SlurmRunnerProfile):
        yield (
            f"it holds driver, scheduler and {quantity(workers, 'worker')}, as "
            f"{workers + 2} tasks of "
            f"{threads} {'core' if threads == 1 else 'cores'}"
        )
    yield f"log:       {submission.latest_log}"
    yield f"script:    {submission.script}"
    yield f"watch:     {command('climdask', 'status', out)}"
    if profile.dashboard != "off":
        yield "dashboard: climdask status tells you its address, and the ssh line to it"
    yield f"stop:      {command('climdask', 'cancel', out)}"


def await_start(
    folder: OutputFolder, submission: Submission, seconds: float, tell: Tell, confide: Tell
) -> int:
    """Wait until the run has begun, and tell where it is.

    Args:
        folder, submission: the run's.
        seconds: to wait at most.
        tell: receives lines for the user.
        confide: receives a line that others must not read.

    Returns:
        1 if the job has failed, else 0.
    """
    job = submission.jobs[-1]
    end, asked, state = time.monotonic() + seconds, float("-inf"), ("", "")
    while (status := _run_of(folder, job)) is None or not _is_reachable(status):
        now = time.monotonic()
        if now - asked >= ASK or now >= end:
            asked, state = now, state_of(submission, job)
        if state[0] and state[0] not in ALIVE:
            tell(f"job {job} has ended: {state[0]}\n{log_end(submission.folder, job)}")
            return EXIT_DONE if state[0] == "COMPLETED" else EXIT_FAILED
        if now >= end:
            tell(f"job {job} has not begun to work yet{_why(state)}")
            return EXIT_DONE
        time.sleep(min(LOOK, end - now))
    tell(f"job {job} is {status.state}: {status.process}")
    if status.progress.dashboard:
        confide(f"dashboard: {status.progress.dashboard}")
    if status.progress.tunnel:
        tell(f"{TUNNEL}: {status.progress.tunnel}")
    return EXIT_DONE


def _is_reachable(status: RunStatus) -> bool:
    """Whether a run has said where its dashboard is, or works or has ended without one."""
    return bool(status.progress.dashboard) or status.state not in ("starting", "stopping")


def waiting(folder: OutputFolder) -> Submission | None:
    """Return the submission whose latest job has not begun to work, as far as is known."""
    made = submissions(folder)[-1:]
    for submission in made:
        if submission.jobs and _run_of(folder, submission.jobs[-1]) is None:
            state, _ = state_of(submission, submission.jobs[-1])
            if not state or state in ALIVE:
                return submission
    return None


def waiting_line(submission: Submission) -> str:
    """Tell of a job that waits."""
    job = submission.jobs[-1]
    return f"job {job} was submitted{_why(state_of(submission, job))}; script {submission.script}"


def take_back(submission: Submission, tell: Tell) -> bool:
    """Take a job that waits out of the queue; tell whether the batch system did it."""
    submission.cancel()
    words = system_of(submission.profile.kind).cancel_command(submission.jobs[-1:])
    tell(command(*words))
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        tell(f"{words[0]} does not work here ({error}); call it where it does")
        return False
    if said := (done.stdout + done.stderr).strip():
        tell(said)
    return done.returncode == 0


def state_of(submission: Submission, job: str) -> tuple[str, str]:
    """Return state and reason of a job, in SLURM's words; empty where nobody knows."""
    ask = system_of(submission.profile.kind).ask
    found = ask([job]) if ask else None
    return (found or {}).get(job, ("", ""))


def _why(state: tuple[str, str]) -> str:
    words = [word for word in state if word not in ("", "None")]
    return f" ({', '.join(words)})" if words else ""


def _run_of(folder: OutputFolder, job: str) -> RunStatus | None:
    """Return the status of the latest run, if it is a job's."""
    try:
        status = read_status(folder, latest_run(folder))
    except OutputError:
        return None
    return status if status.job and status.job.id == job else None

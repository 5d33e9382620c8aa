"""The heartbeat of a run: writes its status every few seconds, and hears when it is to stop."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType

from climdask.errors import OutputError
from climdask.monitoring.processes import Job, Process
from climdask.monitoring.progress import RunProgress
from climdask.monitoring.status import BEAT, RunStatus, read_address
from climdask.outputs.atomicfiles import atomically
from climdask.outputs.folder import OutputFolder, write_private, write_text


def write_status(folder: OutputFolder, status: RunStatus) -> None:
    """Write the status of a run for others to read, and where its dashboard is for its user.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    address = status.progress.dashboard
    if address != read_address(folder, status.run):
        fill = partial(write_private, text=address)
        atomically(folder.address(status.run), fill, durable=False)
    fill = partial(write_text, text=json.dumps({**status.content, "dashboard": ""}))
    # Not durable: it is written again at once, and waiting for the disk costs more than it.
    atomically(folder.status(status.run), fill, durable=False)


@dataclass
class Heartbeat:
    """Tells others how a run is, from its beginning to its end.

    Attributes:
        cluster: kind of the cluster.
        job: the batch job that this process is in.
        progress: of the run; empty until it is planned.
        state: ``starting``, ``running``, perhaps ``stopping``, then how it ended.
        stop: interrupts the run; called once, when somebody asks for it.
    """

    folder: OutputFolder
    run_id: str
    cluster: str
    stop: Callable[[], None]
    progress: RunProgress = field(default_factory=lambda: RunProgress({}))
    state: str = "starting"
    message: str = ""
    process: Process = field(default_factory=Process.own)
    job: Job | None = None

    def begin(self, progress: RunProgress) -> None:
        """Note that the work has begun."""
        progress.began = self.progress.began
        self.progress, self.state = progress, "running"
        self.beat()

    def end(self, state: str) -> None:
        """Note how the run ended."""
        self.state = state

    def beat(self) -> None:
        """Write the status; a disk that is full is reported by what needs it more."""
        own = (self.run_id, self.state, self.message, self.process, self.job, self.cluster)
        with suppress(OutputError):
            write_status(self.folder, RunStatus(*own, self.progress))

    def __enter__(self) -> Heartbeat:
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._loop, daemon=True, name="climdask-heartbeat")
        self.beat()
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ended.set()
        self.thread.join()
        self.progress.stop()
        if isinstance(error, KeyboardInterrupt) or (error is not None and self._request()):
            self.state, self.message = "interrupted", self._request() or "asked to stop"
        elif error is not None:
            self.state, self.message = "failed", str(error) or type(error).__name__
        self.beat()

    def _loop(self) -> None:
        while not self.ended.wait(BEAT):
            if self.state != "stopping" and self._request():
                self.state = "stopping"
                self.stop()
            self.beat()

    def _request(self) -> str:
        """Return who asks the run to stop; nothing if nobody does."""
        with suppress(OSError):
            return self.folder.cancel_request(self.run_id).read_text(encoding="utf-8")
        return ""


def interrupting_this_thread() -> Callable[[], None]:
    """Return what interrupts this thread as SIGTERM or Ctrl-C does; only the main thread hears."""
    own = threading.current_thread()
    handled = [n for n in (signal.SIGTERM, signal.SIGINT) if callable(signal.getsignal(n))]
    if own is not threading.main_thread() or own.ident is None or not handled:
        return lambda: None
    return partial(signal.pthread_kill, own.ident, handled[0])

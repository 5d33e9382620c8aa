"""The output folder: its lock, the places in it, and its manifest.

Everything but the normals is below ``<output>/.climdask``.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from climdask.errors import OutputError, UserError
from climdask.inputs.sharedfiles import file_lock, read_regular
from climdask.outputs.atomicfiles import atomically, remove_temporaries
from climdask.plaintext import command
from climdask.settings.workflow import Workflow


@dataclass(frozen=True)
class OutputFolder:
    """An output folder and the places in it."""

    root: Path

    @classmethod
    def of(cls, workflow: Workflow) -> OutputFolder:
        """Return the output folder of a workflow."""
        return cls(workflow.output.root.expanduser().absolute())

    @property
    def state(self) -> Path:
        """The folder of everything that is no normal."""
        return self.root / ".climdask"

    @property
    def manifest(self) -> Path:
        """The manifest of the latest run."""
        return self.state / "manifest.json"

    def run(self, run_id: str) -> Path:
        """Return the folder of one run."""
        return self.state / "runs" / run_id

    def trace(self, run_id: str) -> Path:
        """Return the folder of a run's traces of opened files."""
        return self.run(run_id) / "trace"

    def tls(self, run_id: str) -> Path:
        """Return the folder of a run's temporary credentials."""
        return self.run(run_id) / "tls"

    def status(self, run_id: str) -> Path:
        """Return the file in which a run tells how it is."""
        return self.run(run_id) / "status.json"

    def address(self, run_id: str) -> Path:
        """Return the file in which a run tells its user alone where its dashboard is."""
        return self.run(run_id) / "dashboard"

    def statuses(self) -> list[Path]:
        """Return the status files of all runs."""
        return list((self.state / "runs").glob("*/status.json"))

    def cancel_request(self, run_id: str) -> Path:
        """Return the file whose presence asks a run to stop; it says who asks."""
        return self.run(run_id) / "cancel"

    @property
    def submissions(self) -> Path:
        """The folder of what was put into the queue of a batch system."""
        return self.state / "submissions"

    def traces(self) -> list[Path]:
        """Return the trace folders of all runs, the oldest first."""
        folders = [p for p in (self.state / "runs").glob("*/trace") if p.is_dir()]
        return sorted(folders, key=lambda p: p.stat().st_mtime)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other runs out of this folder.

        Raises:
            OutputError: it cannot be written, or another run is at work in it.
        """
        made = [p for p in (self.state, *self.state.parents) if not p.exists()]
        lock: filelock.BaseFileLock | None = None
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.state.mkdir(mode=0o775, exist_ok=True)
            self._check_private()
            lock = file_lock(self.state / "lock", mode=0o664)
            lock.acquire(timeout=0)
            self._name_holder()
        except filelock.Timeout:
            raise OutputError(
                f"output.root: another run is at work in {self.root} ({self._holder()}); wait for "
                "it, stop it, or choose another folder with --out"
            ) from None
        except OutputError:
            if lock is not None:
                lock.release()
            raise
        except OSError as error:
            raise OutputError(
                f"output.root: {self.root} cannot be written ({error.strerror}); choose another "
                "folder with --out"
            ) from None
        try:
            remove_temporaries(self.root)
            yield
        except UserError:
            self._forget(made)
            raise
        finally:
            remove_temporaries(self.root)  # of workers that were killed
            lock.release()

    def _check_private(self) -> None:
        """Check that nobody else can put files into the folder of the run's own files.

        Raises:
            OutputError: everybody can write there.
            OSError: it cannot be looked at.
        """
        if os.name == "posix" and self.state.stat().st_mode & stat.S_IWOTH:
            raise OutputError(
                f"{self.state}: every user of this machine can write into this folder, so what is "
                "in it cannot be trusted; delete files that are not yours, then run: "
                f"{command('chmod', 'o-w', self.state)}"
            )

    def _name_holder(self) -> None:
        """Say who is at work; renamed into place, so that a planted link is not followed.

        Raises:
            OutputError: it cannot be written.
        """
        text = f"process {os.getpid()} on {socket.gethostname()}"
        atomically(
            self.state / "holder", lambda temporary: write_text(temporary, text), durable=False
        )

    def _forget(self, made: Sequence[Path]) -> None:
        """Leave nothing of a first run that could not begin; ``made`` are the folders it made."""
        if self.state not in made or (self.state / "manifest.json").exists():
            return
        shutil.rmtree(self.state, ignore_errors=True)
        for folder in made[1:]:
            with suppress(OSError):  # it holds something else
                folder.rmdir()

    def _holder(self) -> str:
        try:
            return read_regular(self.state / "holder").decode()
        except (OSError, UnicodeDecodeError):
            return "unknown process"


def write_manifest(folder: OutputFolder, content: Mapping[str, Any]) -> None:
    """Write the manifest of a run.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    text = json.dumps(content, indent=1, default=str)
    atomically(folder.manifest, lambda temporary: write_text(temporary, text))


def new_run_id() -> str:
    """Return a name that no other run has, and that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


def write_text(path: Path, text: str) -> None:
    """Write a text file; for use with :func:`~climdask.outputs.atomicfiles.atomically`."""
    path.write_text(text, encoding="utf-8")


def write_private(path: Path, text: str) -> None:
    """Write a new text file that its owner alone can read, whatever the umask."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text.encode())

"""The output folder: its lock, the places in it, and its manifest.

Everything but the normals is below ``<output>/.climdask``.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from climdask.atomicfiles import atomically, remove_temporaries
from climdask.config import Workflow
from climdask.errors import OutputError, UserError


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
        lock = filelock.FileLock(self.state / "lock")
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
            (self.state / "holder").write_text(f"process {os.getpid()} on {socket.gethostname()}")
        except filelock.Timeout:
            raise OutputError(
                f"output.root: another run is at work in {self.root} ({self._holder()}); wait for "
                "it, stop it, or choose another folder with --out"
            ) from None
        except OSError as error:
            lock.release()
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
            return (self.state / "holder").read_text()
        except OSError:
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
    """Write a text file; for use with :func:`~climdask.atomicfiles.atomically`."""
    path.write_text(text, encoding="utf-8")

"""Processes that a command has started end before it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.samples import write_archive
from tests.workflows import small

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="process groups are of POSIX"),
]


def left_by(*order: str | Path) -> tuple[int, bool]:
    """Run a command as leader of a group; return its exit code, and whether any are left."""
    process = subprocess.Popen(order, start_new_session=True, stdout=subprocess.DEVNULL)
    code = process.wait(timeout=120)
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return code, False
    os.killpg(process.pid, 9)
    return code, True


def script(folder: Path, text: str) -> Path:
    """A program that ends as a command does; ``worker`` starts one that SIGTERM cannot end."""
    path = folder / "program.py"
    start = """
        import multiprocessing, signal, threading, time
        from climdask.cli import process

        def deaf():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)

        def worker():
            made = multiprocessing.get_context("spawn").Process(target=deaf)
            made.start()

        if __name__ == "__main__":
            process.begin_process()
    """
    path.write_text(textwrap.dedent(start) + textwrap.indent(textwrap.dedent(text), "    "))
    return path


def test_a_run_leaves_no_process_in_its_group(tmp_path: Path) -> None:
    write_archive(tmp_path / "in", variables=["tas"], first=2008, last=2017, calendar="noleap")
    flow = small(tmp_path / "in", tmp_path / "out").model_dump(mode="json", exclude_unset=True)
    (tmp_path / "w.yaml").write_text(yaml.safe_dump(flow))
    (tmp_path / "c.yaml").write_text("workers: 2\nthreads: 1\ndashboard: off\n")
    order = [sys.executable, "-m", "climdask", "run", tmp_path / "w.yaml", "--quiet"]
    order += ["--cluster", tmp_path / "c.yaml"]
    assert left_by(*order) == (0, False)


def test_a_worker_that_is_started_while_the_command_ends_does_not_outlive_it(
    tmp_path: Path,
) -> None:
    program = script(
        tmp_path,
        """
        process._PATIENCE = 3
        worker()
        threading.Timer(0.5, worker).start()  # as what watches over workers does
        threading.excepthook = lambda _: None
        process.end_process(7)
        raise SystemExit(7)
        """,
    )
    assert left_by(sys.executable, program) == (7, False)


def test_an_end_that_takes_too_long_is_cut_short_and_leaves_no_process(tmp_path: Path) -> None:
    program = script(
        tmp_path,
        """
        process._PATIENCE = 0.5
        worker()
        threading.Thread(target=time.sleep, args=[100]).start()  # Python's exit waits for it
        process.end_process(7)
        """,
    )
    assert left_by(sys.executable, program) == (7, False)

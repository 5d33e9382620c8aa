"""A signal at any moment of a run: it ends, says so in a line, and leaves no process."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from climdask.running.run import run
from tests.readback import contents
from tests.samples import write_archive
from tests.workflows import small

SIGNALS = (signal.SIGTERM, signal.SIGINT)
EARLY = 0.15  # seconds in which Python itself may still be starting, where no code of ours runs


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    write_archive(root, variables=["tas"], first=2008, last=2022, calendar="noleap")
    return root


def group_of(number: int) -> list[psutil.Process]:
    """Return the living processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == number and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue
    return found


def command(archive: Path, folder: Path) -> list[str]:
    given = small(archive, folder / "out").model_dump(mode="json", exclude_unset=True)
    (folder / "w.yaml").write_text(yaml.safe_dump(given))
    return [sys.executable, "-m", "climdask", "run", str(folder / "w.yaml"), "--quiet"]


def interrupted(order: list[str], number: signal.Signals, after: float) -> tuple[int, str]:
    """Send a signal to a whole session as a terminal or batch system does."""
    process = subprocess.Popen(
        order, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    time.sleep(after)
    os.killpg(process.pid, number)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        left = group_of(process.pid)
        for one in left:
            one.kill()
    assert left == []
    return process.returncode, err


def check(archive: Path, folder: Path, number: signal.Signals, after: float) -> None:
    code, err = interrupted(command(archive, folder), number, after)
    if after > EARLY or code not in (-number, 130, 1):
        assert code in (0, 130), (code, err)
        assert "Traceback" not in err
        assert err.count("\n") <= 1
    if code == 0:  # it was done before the signal came; the next one has something to do again
        shutil.rmtree(folder / "out")


def moments(count: int) -> list[tuple[signal.Signals, float]]:
    chance = random.Random(count)
    return [(SIGNALS[n % 2], round(chance.uniform(0.001, 4.0), 3)) for n in range(count)]


def check_all(archive: Path, folder: Path, chosen: list[tuple[signal.Signals, float]]) -> None:
    for number, after in chosen:
        check(archive, folder, number, after)
    assert subprocess.run(command(archive, folder), check=False).returncode == 0
    assert run(small(archive, folder / "undisturbed"), serial=True).ok
    assert contents(folder / "out") == contents(folder / "undisturbed")


@pytest.mark.slow
def test_a_signal_at_six_moments_ends_a_run_and_a_rerun_has_the_same_bits(
    archive: Path, tmp_path: Path
) -> None:
    times = (0.08, 0.3, 0.9, 1.4, 1.9, 2.5)
    check_all(archive, tmp_path, [(SIGNALS[n % 2], t) for n, t in enumerate(times)])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_signal_at_fifty_random_moments_ends_a_run_and_a_rerun_has_the_same_bits(
    archive: Path, tmp_path: Path
) -> None:
    check_all(archive, tmp_path, moments(50))


@pytest.mark.slow
def test_a_run_that_ends_well_leaves_no_process_in_its_group(archive: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(command(archive, tmp_path), start_new_session=True)
    assert process.wait(timeout=120) == 0
    assert group_of(process.pid) == []

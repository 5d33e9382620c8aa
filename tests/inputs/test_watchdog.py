"""A file that its library never comes back from: the process ends, and says which file it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from climdask.inputs.access import Reading
from climdask.inputs.watchdog import bounded
from tests.samples import write_archive
from tests.workflows import small

# A loop in C that never lets go of Python's lock: a pattern that fails in exponential time.
LOOP = "import re; re.match(r'(a+)+b', 'a' * 60)"


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.slow
def test_a_loop_in_c_that_holds_pythons_lock_ends_and_the_file_is_named() -> None:
    said = python(
        "from pathlib import Path\nfrom climdask.inputs.watchdog import bounded\n"
        f"with bounded(Path('bad.nc'), 0.2):\n    {LOOP}"
    )
    assert said.returncode == 1
    assert said.stderr.startswith("climdask: error: bad.nc: it was open for 0.2 s and no values")
    assert "run.open_timeout" in said.stderr
    assert said.stderr.count("\n") == 1


@pytest.mark.slow
def test_of_several_files_the_one_that_is_overdue_is_named() -> None:
    said = python(
        "from pathlib import Path\nfrom climdask.inputs.watchdog import bounded\n"
        "with bounded(Path('slow.nc'), 60), bounded(Path('bad.nc'), 0.2):\n"
        f"    with bounded(Path('good.nc'), 0.1): pass\n    {LOOP}"
    )
    assert said.returncode == 1
    assert "bad.nc" in said.stderr


def test_values_that_come_give_a_file_its_time_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    with bounded(Path("slow.nc"), 60) as alive:
        assert alive is not None
    reading = Reading(alive=lambda: told.append("alive"))
    reading.add(3)
    reading.add(4)
    assert (reading.decoded, told) == (7, ["alive", "alive"])


@pytest.mark.slow
@pytest.mark.parametrize("order", [["plan"], ["plan", "--check"], ["run", "--serial"]])
def test_a_file_that_makes_the_library_loop_ends_a_command_in_a_message(
    order: list[str], tmp_path: Path
) -> None:
    write_archive(tmp_path / "in", variables=["tas"], first=2010, last=2019, calendar="noleap")
    flow = small(tmp_path / "in", tmp_path / "out", run={"open_timeout": 0.3})
    (tmp_path / "w.yaml").write_text(
        yaml.safe_dump(flow.model_dump(mode="json", exclude_unset=True))
    )
    place = "netcdf.check_file" if "--check" in order else "netcdf.read_header"
    module = f"climdask.inputs.probing.{place.partition('.')[2]}"
    command, *flags = order
    said = python(
        "import sys\nfrom unittest.mock import patch\nfrom climdask.cli import main\n"
        f"def loop(*_, **__): {LOOP}\n"
        f"with patch({module!r}, loop):\n"
        f"    sys.exit(main([{command!r}, {str(tmp_path / 'w.yaml')!r}, *{flags!r}]))"
    )
    assert said.returncode == 1
    assert ".nc: it was open for 0.3 s and no values came" in said.stderr
    assert "Traceback" not in said.stderr

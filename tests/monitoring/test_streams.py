"""Where a run shows what it tells: who can read it, and what is plain text there."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from climdask.monitoring.streams import SafeConsole, is_private
from climdask.monitoring.terminal import ASK, shown
from tests.progresses import row, run_of

SECRET = "http://127.0.0.1:8787/5ec4e7/climdask"


@pytest.mark.parametrize(
    ("mode", "private"), [(0o600, True), (0o400, True), (0o644, False), (0o640, False)]
)
def test_a_file_is_private_if_its_owner_alone_can_read_it(
    mode: int, private: bool, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    with path.open("w") as file:
        path.chmod(mode)
        assert is_private(file) is private
        assert not is_private(file, in_job=True), "a batch system may copy it"


def test_a_pipe_is_private_but_not_in_a_batch_job() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        assert is_private(pipe)
        assert not is_private(pipe, in_job=True)
    os.close(reading)


def test_a_terminal_and_what_is_in_memory_are_private() -> None:
    main, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stream:
        assert is_private(stream, in_job=True)
    os.close(main)
    assert is_private(io.StringIO())


@pytest.mark.parametrize(("mode", "told"), [(0o600, SECRET), (0o644, ASK)])
def test_the_dashboard_address_goes_only_where_nobody_else_reads(
    mode: int, told: str, tmp_path: Path
) -> None:
    path, kept = tmp_path / "out", list[str]()
    with path.open("w") as stream:
        path.chmod(mode)
        with shown(run_of(row(), dashboard=SECRET), stream=stream, log=kept.append):
            pass
    assert path.read_text().splitlines()[0].endswith(f" dashboard: {told}")
    assert kept == [f"dashboard: {ASK}"], "others may read a log, or get it by e-mail"


def test_the_log_of_a_batch_job_does_not_tell_it() -> None:
    reading, writing = os.pipe()
    with (
        os.fdopen(writing, "w") as pipe,
        shown(run_of(row(), dashboard=SECRET), stream=pipe, in_job=True),
    ):
        pass
    with os.fdopen(reading) as log:
        said = log.read()
    assert SECRET not in said
    assert ASK in said


def test_a_run_without_a_dashboard_tells_of_none() -> None:
    kept: list[str] = []
    with shown(run_of(row()), quiet=True, log=kept.append):
        pass
    assert kept == []


@given(st.text(st.characters()) | st.text("\x1b\x07\r\n\t\x9b\u202e\ud800a[", max_size=20))
def test_on_a_console_text_is_plain_in_lines_and_in_tables(text: str) -> None:
    stream = io.StringIO()
    console = SafeConsole(file=stream, width=60, color_system=None)
    table = Table("chain")
    table.add_row(Text(text))
    console.print(table)
    console.print(text, markup=False)
    console.print(Text(text, "bold red"))
    said = stream.getvalue()
    assert not set(said) & {chr(n) for n in (*range(9), *range(11, 32), *range(127, 160), 0x202E)}
    said.encode()


def test_a_console_still_has_its_own_colours() -> None:
    stream = io.StringIO()
    console = SafeConsole(file=stream, force_terminal=True, color_system="standard")
    console.print(Text("a\x1b[32mb", "red"))
    assert stream.getvalue() == "\x1b[31ma\\x1b[32mb\x1b[0m\n"


def test_a_message_of_a_file_is_plain_in_lines_and_logs() -> None:
    stream, kept = io.StringIO(), list[str]()
    chain = row(state="failed", message="units: \x1b]0;owned\x07")
    with shown(run_of(chain), stream=stream, log=kept.append):
        pass
    assert "units: \\x1b]0;owned\\x07" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()

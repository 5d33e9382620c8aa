"""Programs and data that a machine may lack, such as CDO; waiting."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import distributed
import pytest


def lacking(what: str, kind: str = "TOOLS") -> NoReturn:
    """Skip a test, or fail it where everything of this kind, TOOLS or DATA, must be there."""
    if os.environ.get(f"CLIMDASK_REQUIRE_{kind}") == "1":
        pytest.fail(f"{what}, and CLIMDASK_REQUIRE_{kind} is 1")
    pytest.skip(what)


def call(tool: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Call a program that stands in the path or beside Python."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    program = shutil.which(tool, path=beside) or lacking(f"{tool} is not installed")
    return subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def cdo(*arguments: object) -> str:
    """Call CDO; return what it prints."""
    done = call("cdo", "-s", "--no_history", "-O", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_for(happens: Callable[[], Any], seconds: float = 90.0) -> Any:
    """Wait until something happens; return what says so."""
    until = time.monotonic() + seconds
    while not (found := happens()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.1)
    return found


def identity(address: str, security: distributed.Security) -> dict[str, Any]:
    """Ask a scheduler what it is; a Client that is refused may hang as it is collected."""

    async def ask() -> dict[str, Any]:
        arguments = security.get_connection_args("client")
        async with distributed.rpc(address, timeout=3, connection_args=arguments) as scheduler:
            return await scheduler.identity()

    return asyncio.run(asyncio.wait_for(ask(), 10))

"""The start of a local cluster: it can be interrupted at any moment and leaves no process."""

from __future__ import annotations

import multiprocessing
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import resource_tracker
from typing import Any

from climdask.errors import ClusterError

STARTS = 3  # of a cluster whose workers die while they start
_PATIENCE = 10.0  # seconds that an interrupted start may go on, before its workers are killed


def started(make: Callable[[], Any]) -> Any:
    """Make a cluster, again if a worker dies meanwhile, as by the system that is out of memory.

    Raises:
        RuntimeError: it does not start, :data:`STARTS` times.
        KeyboardInterrupt: once what was started has been closed or killed.
    """
    for left in reversed(range(STARTS)):
        try:
            return _started_once(make)
        except RuntimeError:
            if not left:
                raise
    raise AssertionError("unreachable")


def _started_once(make: Callable[[], Any]) -> Any:
    """Make a cluster in a thread, so that an interrupt never meets it half made.

    Raises:
        KeyboardInterrupt: once what was started has been closed or killed.
    """
    before = set(multiprocessing.active_children())
    found: list[Any] = []
    failed: list[BaseException] = []

    def start() -> None:
        _block_signals()
        try:
            found.append(make())
        except BaseException as error:  # raised again by who waits
            failed.append(error)

    thread = threading.Thread(target=start, daemon=True, name="climdask-start")
    try:
        thread.start()
        while thread.is_alive():
            thread.join(0.05)
        if failed:
            raise failed[0]
    except BaseException:
        thread.join(_PATIENCE)
        for cluster in found:
            with suppress(OSError, RuntimeError, TimeoutError):  # its workers are killed next
                cluster.close(timeout=_PATIENCE)
        kill_children(before)
        raise
    return found[0]


def _block_signals() -> None:
    """Keep signals from processes that this thread, or one that it starts, will start.

    A worker that hears of Ctrl-C before it knows what to do prints where it was. The main thread
    still gets the signals. The tracker of multiprocessing comes first, as its start unblocks them;
    what it removes after an interrupt is no news, so it is started without warnings.
    """
    if hasattr(signal, "pthread_sigmask"):
        sys.warnoptions.append("ignore")
        try:
            resource_tracker.ensure_running()
        finally:
            sys.warnoptions.remove("ignore")
        endings = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        signal.pthread_sigmask(signal.SIG_BLOCK, endings)


def reason(error: BaseException) -> str:
    """Return why a cluster does not start: what Dask says, and the first cause of it."""
    first = error
    while (before := first.__cause__ or first.__context__) is not None:
        first = before
    said = [str(error).rstrip("."), f"{type(first).__name__}: {first}"]
    return said[0] if first is error else " ".join(f"{said[0]} ({said[1]})".split())


def kill_children(but: set[Any]) -> None:
    """Kill worker processes: until the cluster is up they may ignore every other signal."""
    children = set(multiprocessing.active_children()) - but
    for child in children:
        child.kill()
    for child in children:
        child.join(5)


def check_loopback() -> None:
    """Check that processes of this machine can reach each other.

    Raises:
        ClusterError: they cannot; workers would try for ever.
    """
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
    except OSError as error:
        raise ClusterError(
            f"cluster: kind: local: processes cannot connect to 127.0.0.1 on this machine "
            f"({error.strerror or error}); expected a network interface lo that is up, with this "
            "address: ask who looks after the machine, or run with --serial"
        ) from None

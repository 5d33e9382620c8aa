"""The process of a command: its first steps, and an end that leaves nobody behind."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from contextlib import suppress

_STREAMS = ("stdin", "stdout", "stderr")
_PATIENCE = 10.0  # seconds that the exit of Python may take
EXIT_INTERRUPTED = 130


def begin_process() -> None:
    """Give a process its standard streams, and see to it that its children end before it.

    A stream that is closed, as by ``>&-``, is opened to nowhere: else the next file that is
    opened takes its number, and gets what a library prints.
    """
    for number, name in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    # What is registered first is called last: after multiprocessing has tidied up.
    atexit.register(_end_children)


def end_process(code: int) -> None:
    """Let nothing keep the process from ending, once its command has ended.

    1. More signals change nothing: Python would print where they came.
    2. Workers that were interrupted while they started may ignore SIGTERM; multiprocessing waits
       for its children for ever, so they are killed first. What watches over them would start
       others in their place, so no more can be started.
    3. An interrupted command leaves threads that nobody waits for; it ends without Python's exit,
       and what still fails in them is not reported.
    4. Where Python's exit takes too long, it is cut short, with all children ended as well.
    """
    _ignore_signals()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader has gone
            stream.flush()
    if code == EXIT_INTERRUPTED:
        sys.unraisablehook = lambda _: None
        threading.excepthook = lambda _: None
        _end_children()
        os._exit(code)
    _start_no_more()
    _kill_children(but=_tracker())
    for seconds, leave in ((_PATIENCE, _leave), (2 * _PATIENCE, os._exit)):
        late = threading.Timer(seconds, leave, [code])
        late.daemon = True
        late.start()


def _leave(code: int) -> None:
    """End without Python's exit, and leave no process behind."""
    _end_children()
    os._exit(code)


def _ignore_signals() -> None:
    """Ignore what ends a process; Python's exit leaves that as it is, unlike a handler."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            try:
                signal.signal(getattr(signal, name), signal.SIG_IGN)
            except KeyboardInterrupt:  # one that had come just before
                signal.signal(getattr(signal, name), signal.SIG_IGN)


def _end_children() -> None:
    """End all processes that this one has started, and wait until they have gone."""
    _start_no_more()
    _kill_children(but=_tracker())
    if _tracker() is not None:
        from multiprocessing import util
        from multiprocessing.resource_tracker import _resource_tracker

        with suppress(OSError, AttributeError):  # private, so it may be named otherwise one day
            util._run_finalizers(0)  # type: ignore[attr-defined]  # semaphores are removed
            _resource_tracker._stop()  # type: ignore[attr-defined]


def _start_no_more() -> None:
    """Refuse new workers: a thread that nobody waits for may still be starting some."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:

        def refuse(*_: object) -> int:
            raise OSError("this process is ending")

        util.spawnv_passfds = refuse  # type: ignore[attr-defined]


def _tracker() -> int | None:
    """Return the process in which multiprocessing keeps a list of what must be removed."""
    tracking = sys.modules.get("multiprocessing.resource_tracker")
    return getattr(getattr(tracking, "_resource_tracker", None), "_pid", None)


def _kill_children(but: int | None) -> None:
    """Kill the processes that this one has started, and theirs."""
    if "multiprocessing" not in sys.modules and "subprocess" not in sys.modules:
        return  # nobody can have started any
    import psutil

    children = [c for c in psutil.Process().children(recursive=True) if c.pid != but]
    for child in children:
        with suppress(psutil.Error):
            child.kill()
    psutil.wait_procs(children, timeout=5)

"""What tells a run to stop, from outside: SIGTERM, Ctrl-C, the end of the terminal."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from types import FrameType

# Set once a signal has come: what fails from then on was interrupted.
told_to_stop = threading.Event()
_MOMENT = 0.02  # seconds


def answer_signals() -> None:
    """Let signals that end a process interrupt the work instead, so that it can clean up.

    1. SIGTERM, of ``kill`` and batch systems; SIGHUP, of a terminal or ssh session that ends.
       What is ignored already stays so, as under nohup.
    2. While it cleans up, more of them change nothing: batch systems send several.
    3. Ctrl-C does the same, and again for who cannot wait.
    4. An interrupt that comes while Python frees an object is lost there; it is raised again.
    """
    told_to_stop.clear()
    terminals = [stream.fileno() for stream in (sys.stdout, sys.stderr) if _is_terminal(stream)]

    def interrupt(number: int, frame: FrameType | None) -> None:
        del frame
        told_to_stop.set()
        for own in _ENDING:
            if signal.getsignal(own) is interrupt:
                signal.signal(own, _already_stopping)
        if number not in (signal.SIGTERM, signal.SIGINT):
            _leave(terminals)
        raise KeyboardInterrupt

    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = _raise_again


def _raise_again(lost: sys.UnraisableHookArgs) -> None:
    """Raise an interrupt again that no code could catch; tell other errors as Python does.

    It is raised a moment later by another thread: in here it would be lost too.
    """
    if issubclass(lost.exc_type, KeyboardInterrupt):
        again = threading.Timer(_MOMENT, _thread.interrupt_main, [signal.SIGINT])
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(lost)


_ENDING = [signal.SIGTERM] + ([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])


def _already_stopping(number: int, frame: FrameType | None) -> None:
    """Go on cleaning up."""


def _is_terminal(stream: object) -> bool:
    try:
        return bool(stream.isatty() and stream.fileno() >= 0)  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False


def _leave(terminals: list[int]) -> None:
    """Write to nowhere from now on, not to a terminal that has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in terminals:
        os.dup2(nowhere, number)
    os.close(nowhere)

"""Where the command line is entered: reads it, runs the command, and tells what went wrong.

What a command needs is imported after its arguments were read, so that help takes no time.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence

from climdask.cli.arguments import parse
from climdask.cli.logfile import PlainFormatter, log, start_log, stop_log
from climdask.daskload import load_dask
from climdask.errors import EXIT_FAILED, EXIT_INTERRUPTED, ClimdaskError
from climdask.plaintext import printable
from climdask.running.signals import told_to_stop

_LOGGER = logging.getLogger("climdask")
_INTERRUPTED = Exception("interrupted; run again to go on from here")


def enter(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 if all was done, 1 if something failed, 2 for a user's mistake, 130 if interrupted.
    """
    arguments = parse(argv)
    shown = _show_tracebacks() if arguments.debug else None
    try:
        if arguments.log:
            start_log(arguments.log)
        load_dask()
        if argv is None:
            _silence()
        from climdask.cli.commands import COMMANDS  # with all that commands need

        code: int = COMMANDS[arguments.command](arguments)
    except ClimdaskError as error:
        if told_to_stop.is_set():  # which made it fail
            return report_error(_INTERRUPTED, EXIT_INTERRUPTED, debug=arguments.debug, cause=error)
        return report_error(error, error.exit_code, debug=arguments.debug)
    except KeyboardInterrupt as error:
        return report_error(
            error if error.args else _INTERRUPTED, EXIT_INTERRUPTED, debug=arguments.debug
        )
    except BrokenPipeError:  # the reader has seen enough, as in: climdask plan … | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:  # the last resort: no traceback unless asked for
        if told_to_stop.is_set():  # in the middle of something that made an error of it
            return report_error(_INTERRUPTED, EXIT_INTERRUPTED, debug=arguments.debug, cause=error)
        message = f"{type(error).__name__}: {error} (a mistake in climdask; --debug shows where)"
        return report_error(Exception(message), EXIT_FAILED, debug=arguments.debug, cause=error)
    finally:
        stop_log()
        if shown:
            _LOGGER.removeHandler(shown)
            _LOGGER.setLevel(logging.NOTSET)
    return code


def _show_tracebacks() -> logging.Handler:
    """Show on stderr where chains fail, also those that failed on a worker."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter())
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.DEBUG)
    return handler


def _silence() -> None:
    """Let Dask say nothing by itself: the command tells what fails, and Dask goes on about
    connections even after the end. Some loggers below, as tornado.application, have own levels."""
    roots = ("distributed", "tornado", "asyncio", "bokeh")
    below = [n for n in logging.root.manager.loggerDict if n.partition(".")[0] in roots]
    for name in {*roots, *below}:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def report_error(
    error: BaseException, code: int, *, debug: bool, cause: BaseException | None = None
) -> int:
    """Tell an error on stderr and in the log, with its traceback only for ``--debug``.

    Returns:
        ``code``.
    """
    if debug:
        print(printable("".join(traceback.format_exception(cause or error))), file=sys.stderr)
    for line in printable(str(error)).splitlines():
        print(printable(f"climdask: error: {line}"), file=sys.stderr)
        log(f"error: {line}")
    return code

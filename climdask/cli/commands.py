"""The command line: a thin layer over the Python interface."""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from climdask.api import plan, report, run
from climdask.arguments import parse
from climdask.audit import audit
from climdask.cancelling import Cancelling
from climdask.config import Workflow, load, schema
from climdask.driverscript import runner_script
from climdask.errors import EXIT_DONE, EXIT_FAILED, EXIT_USER, ClimdaskError, ConfigError
from climdask.jobscript import job_script
from climdask.logfile import log, start_log, stop_log
from climdask.outputfolder import OutputFolder
from climdask.profiles import BatchProfile, SlurmRunnerProfile, load_profile
from climdask.progress import clock
from climdask.quickstart import quickstart
from climdask.results import RunResult
from climdask.runstatus import judge, latest_run
from climdask.signals import answer_signals, told_to_stop
from climdask.slurmrunner import Rank, serve, this_rank
from climdask.statusview import show_status
from climdask.submission import Submission, batch_profile, check_node, stopping, submit
from climdask.submitview import await_start, take_back, told, waiting, waiting_line
from climdask.terminal import shown, summary

EXIT_INTERRUPTED = 130
_INTERRUPTED = Exception("interrupted; run again to go on from here")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 if all was done, 1 if something failed, 2 for a user's mistake, 130 if interrupted.
    """
    arguments = parse(argv)
    answer_signals()
    try:
        if arguments.log:
            start_log(arguments.log)
        code: int = COMMANDS[arguments.command](arguments)
    except ClimdaskError as error:
        return _report(error, error.exit_code, debug=arguments.debug)
    except KeyboardInterrupt as error:
        return _report(
            error if error.args else _INTERRUPTED, EXIT_INTERRUPTED, debug=arguments.debug
        )
    except BrokenPipeError:  # the reader has seen enough, as in: climdask plan … | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:  # the last resort: no traceback unless asked for
        if told_to_stop.is_set():  # in the middle of something that made an error of it
            return _report(_INTERRUPTED, EXIT_INTERRUPTED, debug=arguments.debug, cause=error)
        message = f"{type(error).__name__}: {error} (a mistake in climdask; --debug shows where)"
        return _report(Exception(message), EXIT_FAILED, debug=arguments.debug, cause=error)
    finally:
        stop_log()
    return code


def _report(
    error: BaseException, code: int, *, debug: bool, cause: BaseException | None = None
) -> int:
    if debug:
        traceback.print_exception(cause or error)
    for line in str(error).splitlines():
        print(f"climdask: error: {line}", file=sys.stderr)
        log(f"error: {line}")
    return code


def _load(arguments: Namespace) -> Workflow:
    return load(arguments.workflow, input_root=arguments.input_root, output_root=arguments.out)


def _quickstart(arguments: Namespace) -> int:
    return _end(quickstart(arguments.folder, view=shown, report=_print))


def _plan(arguments: Namespace) -> int:
    workflow = _load(arguments)
    try:
        made = plan(workflow, cluster=arguments.cluster, check=arguments.check)
    except ConfigError:
        raise
    except ClimdaskError as error:  # the plan cannot run
        return _report(error, EXIT_FAILED, debug=arguments.debug)
    print(made)
    return EXIT_FAILED if made.failures else EXIT_DONE


def _run(arguments: Namespace) -> int:
    profile = load_profile(arguments.cluster)
    if isinstance(profile, SlurmRunnerProfile) and (rank := this_rank()).role != "driver":
        return _serve(arguments, profile, rank)
    workflow = _load(arguments)
    submission = Submission(arguments.submission) if arguments.submission else None
    if submission:
        check_node(profile)
    with stopping(arguments.stop_after, submission):
        result = run(
            workflow,
            cluster=profile,
            serial=arguments.serial,
            inputs_unchanged=arguments.inputs_unchanged,
            view=partial(shown, quiet=arguments.quiet, plain=arguments.plain, log=log),
            report=_print,
            performance_report=arguments.performance_report,
        )
    code = _end(result)
    if arguments.report:
        _report_at_the_end(result.folder.root)
    return code


def _report_at_the_end(out: Path) -> None:
    """Write the report of a run; if that fails, the run's own exit code stands."""
    try:
        _print(f"report: {report(out)}")
    except Exception as error:  # whatever it is, the normals are there
        what = error if isinstance(error, ClimdaskError) else f"{type(error).__name__}: {error}"
        print(
            f"climdask: warning: the report was not written: {what}\n"
            f"climdask: warning: the normals are not touched by that; try: climdask report {out}",
            file=sys.stderr,
        )


def _report_page(arguments: Namespace) -> int:
    print(report(arguments.out, arguments.output, tell=lambda line: print(line, file=sys.stderr)))
    return EXIT_DONE


def _serve(arguments: Namespace, profile: SlurmRunnerProfile, rank: Rank) -> int:
    try:
        folder = OutputFolder.of(_load(arguments))
    except ConfigError:  # which the driver tells
        return EXIT_USER
    return serve(profile, folder, rank)


def _submit(arguments: Namespace) -> int:
    profile = batch_profile(load_profile(arguments.cluster), str(arguments.cluster or "--cluster"))
    options = [
        f"--{flag.replace('_', '-')}"
        for flag in ("inputs_unchanged", "report")
        if getattr(arguments, flag)
    ]
    for key in ("log", "performance_report"):
        if path := getattr(arguments, key):
            options += [f"--{key.replace('_', '-')}", str(path.expanduser().absolute())]
    workflow = _load(arguments)
    submission, made = submit(workflow, profile, options)
    for note in (*made.notes, *made.failures.values()):
        _print(f"note: {note}")
    for line in told(submission, made):
        _print(line)
    if arguments.wait is None:
        return EXIT_DONE
    return await_start(OutputFolder.of(workflow), submission, arguments.wait, _print)


def _status(arguments: Namespace) -> int:
    folder = _output(arguments)
    if (submitted := waiting(folder)) and not arguments.json:
        _print(waiting_line(submitted))
        if not folder.statuses():
            return EXIT_DONE
    run_id = latest_run(folder)
    if arguments.json:
        verdict = judge(folder, run_id)
        print(json.dumps(verdict.content, indent=1))
    else:
        verdict = show_status(folder, run_id, watch=arguments.watch)
    return verdict.exit_code


def _cancel(arguments: Namespace) -> int:
    folder = _output(arguments)
    if (submitted := waiting(folder)) and not take_back(submitted, _print):
        return EXIT_FAILED
    if submitted and not folder.statuses():
        return EXIT_DONE
    return Cancelling(folder, latest_run(folder), arguments.timeout, _print).act()


def _output(arguments: Namespace) -> OutputFolder:
    return OutputFolder(arguments.out.expanduser().absolute())


def _plot(arguments: Namespace) -> int:
    from climdask.plot import View, plot_normal  # it needs an extra

    point = tuple(arguments.point) if arguments.point else None
    view = View(arguments.day, point, arguments.target_year)
    print(plot_normal(arguments.file, arguments.output, view))
    return EXIT_DONE


def _print(line: str) -> None:
    print(line, flush=True)
    log(line)


def _end(result: RunResult) -> int:
    # In a log no line is cut or folded, so that paths can be searched for and copied.
    width = None if sys.stdout.isatty() else 10_000
    _tell_end(result, Console(highlight=False, width=width))
    kept = Console(highlight=False, width=10_000, file=io.StringIO(), color_system=None)
    with kept.capture() as told:
        _tell_end(result, kept)
    for line in told.get().splitlines():
        log(line.rstrip())
    return result.exit_code


def _tell_end(result: RunResult, console: Console) -> None:
    if result.rows:
        console.print(summary(result.rows))
    for kind, found in (("skipped", result.audit.skipped), ("note", result.audit.incomplete)):
        for file, reason in found[:20]:
            where = "" if file in reason else f"{file}: "
            console.print(f"{kind}: {where}{reason}", markup=False, soft_wrap=True)
        if len(found) > 20:
            console.print(f"{kind}: and {len(found) - 20} more files, see the manifest")
    for reason, files in _by_reason(result.audit.slow).items():
        console.print(
            f"note: {len(files)} files were read through the netCDF library, which is slower: "
            f"{reason} ({files[0]})", markup=False, soft_wrap=True,
        )  # fmt: skip
    for name in result.failures.keys() - {row.id for row in result.rows}:
        console.print(f"failed: {name}: {result.failures[name]}", markup=False, soft_wrap=True)
    made = f"{result.n_normals} of {result.plan.n_all} normals are in {result.folder.root}"
    if result.plan.failures:
        made += f", and {len(result.plan.failures)} chains could not be planned"
    console.print(f"{made}; {clock(result.seconds)} elapsed", markup=False, soft_wrap=True)
    console.print(f"audit: {result.audit}", markup=False, soft_wrap=True)


def _by_reason(notes: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Group notes of files by what they say."""
    found: dict[str, list[str]] = {}
    for file, reason in notes:
        found.setdefault(reason, []).append(file)
    return found


def _audit(arguments: Namespace) -> int:
    traces: list[Path] = []
    for out in arguments.out:
        own = OutputFolder(out).traces()
        if not own:
            print(
                f"climdask: error: {out}: holds no traces; is it the output folder of a run?",
                file=sys.stderr,
            )
            return EXIT_USER
        traces += own[-1:] if arguments.last else own
    found = audit(traces)
    print(f"{len(traces)} {'run' if len(traces) == 1 else 'runs'}: {found}")
    for line in (*found.overlaps, *found.unproven):
        print(line)
    return EXIT_DONE if found.holds else EXIT_FAILED


def _cluster(arguments: Namespace) -> int:
    profile = load_profile(arguments.profile)
    if not isinstance(profile, BatchProfile):
        raise ConfigError(
            f"{arguments.profile}: kind: {profile.kind}: its workers are no jobs of a batch system"
        )
    made = runner_script(profile) if isinstance(profile, SlurmRunnerProfile) else None
    print(made or job_script(profile), end="")
    return EXIT_DONE


def _schema(arguments: Namespace) -> int:
    del arguments
    print(schema())
    return EXIT_DONE


COMMANDS = {
    "quickstart": _quickstart,
    "plan": _plan,
    "run": _run,
    "submit": _submit,
    "status": _status,
    "cancel": _cancel,
    "report": _report_page,
    "plot": _plot,
    "audit": _audit,
    "cluster": _cluster,
    "schema": _schema,
}


if __name__ == "__main__":
    sys.exit(main())

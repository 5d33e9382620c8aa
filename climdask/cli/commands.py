"""The command line: a thin layer over the Python interface."""

from __future__ import annotations

import io
import json
import re
import sys
from argparse import Namespace
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from climdask.api import plan, report, run
from climdask.cli.arguments import passed_on
from climdask.cli.logfile import log
from climdask.cli.quickstart import quickstart
from climdask.clusters.driverscript import runner_script
from climdask.clusters.jobscript import job_script
from climdask.clusters.ownjob import own_job
from climdask.clusters.slurmrunner import Rank, serve, this_rank
from climdask.errors import EXIT_DONE, EXIT_FAILED, EXIT_USER, ClimdaskError, ConfigError
from climdask.execution.verifying import check_outputs
from climdask.inputs.audit import audit
from climdask.monitoring.progress import clock
from climdask.monitoring.status import judge, latest_run
from climdask.monitoring.statusview import show_status
from climdask.monitoring.streams import SafeConsole, is_private
from climdask.monitoring.terminal import ASK, shown, summary
from climdask.outputs.folder import OutputFolder
from climdask.plaintext import command, printable, quantity
from climdask.planning.content import content
from climdask.planning.overview import notes_of
from climdask.running.cancelling import Cancelling
from climdask.running.results import RunResult
from climdask.running.submission import Submission, batch_profile, check_node, stopping, submit
from climdask.running.submitview import await_start, described, take_back, waiting, waiting_line
from climdask.settings.profiles import BatchProfile, SlurmRunnerProfile, load_profile
from climdask.settings.workflow import Workflow, load, schema


def _load(arguments: Namespace) -> Workflow:
    return load(arguments.workflow, input_root=arguments.input_root, output_root=arguments.out)


def _quickstart(arguments: Namespace) -> int:
    return _end(quickstart(arguments.folder, view=partial(shown, in_job=_in_job()), report=_print))


def _plan(arguments: Namespace) -> int:
    workflow = _load(arguments)
    made = plan(workflow, cluster=arguments.cluster, check=arguments.check)
    if arguments.json:
        print(json.dumps(content(made)))
    else:
        print(printable(str(made)))
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
            verify=arguments.verify,
            view=partial(
                shown, quiet=arguments.quiet, plain=arguments.plain, log=log, in_job=_in_job()
            ),
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
        again = command("climdask", "report", out)
        warning = (
            f"climdask: warning: the report was not written: {what}\n"
            f"climdask: warning: the normals are not touched by that; try: {again}"
        )
        print(printable(warning), file=sys.stderr)


def _report_page(arguments: Namespace) -> int:

    def tell(line: str) -> None:
        print(printable(line), file=sys.stderr)

    print(printable(str(report(arguments.out, arguments.output, tell=tell))))
    return EXIT_DONE


def _serve(arguments: Namespace, profile: SlurmRunnerProfile, rank: Rank) -> int:
    try:
        folder = OutputFolder.of(_load(arguments))
    except ConfigError:  # which the driver tells
        return EXIT_USER
    return serve(profile, folder, rank)


def _submit(arguments: Namespace) -> int:
    profile = batch_profile(load_profile(arguments.cluster), str(arguments.cluster or "--cluster"))
    workflow = _load(arguments)
    submission, made = submit(workflow, profile, passed_on(arguments))
    for note in (*notes_of(made), *made.failures.values()):
        _print(f"note: {note}")
    for line in described(submission, made):
        _print(line)
    if arguments.wait is None:
        return EXIT_DONE
    return await_start(OutputFolder.of(workflow), submission, arguments.wait, _print, _confide)


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
    from climdask.reporting.choices import View
    from climdask.reporting.plot import plot_normal  # it needs an extra

    view = View(
        day=arguments.day,
        point=tuple(arguments.point) if arguments.point else None,
        target_year=arguments.target_year,
        product=arguments.product,
        each=arguments.each,
        month=arguments.month,
        season=arguments.season,
        annual=arguments.annual,
    )
    print(printable(str(plot_normal(arguments.file, arguments.output, view))))
    return EXIT_DONE


def _weights(arguments: Namespace) -> int:
    from climdask.running.weights import draw, weigh  # it needs an extra

    found = weigh(load(arguments.workflow, input_root=arguments.input_root))
    for own in found:
        for line in own.lines():
            print(printable(line))
    paths = _numbered(arguments.plot, len(found)) if arguments.plot else []
    for own, path in zip(found, paths, strict=False):
        print(printable(str(draw(own, path))))
    return EXIT_DONE


def _numbered(path: Path, number: int) -> list[Path]:
    """Return a path for each of several files: ``map.png``, ``map-2.png``, and so on."""
    more = (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in range(2, number + 1))
    return [path, *more]


def _in_job() -> bool:
    """Whether others may read what this command prints: the log of a batch job."""
    job = own_job()
    return job is not None and job.batch


def _print(line: str) -> None:
    print(printable(line), flush=True)
    log(line)


def _confide(line: str) -> None:
    """Print a line that others must not read, if it does not go into a file that they can read."""
    if is_private(sys.stdout, in_job=_in_job()):
        print(printable(line), flush=True)
    else:
        _print(f"dashboard: {ASK}")


def _end(result: RunResult) -> int:
    # In a log no line is cut or folded, so that paths can be searched for and copied.
    width = None if sys.stdout.isatty() else 10_000
    _tell_end(result, SafeConsole(highlight=False, width=width))
    kept = SafeConsole(highlight=False, width=10_000, file=io.StringIO(), color_system=None)
    with kept.capture() as captured:
        _tell_end(result, kept)
    for line in captured.get().splitlines():
        log(line.rstrip())
    return result.exit_code


def _tell_end(result: RunResult, console: SafeConsole) -> None:
    if result.rows:
        console.print(summary(result.rows))
    for file, reason in result.audit.skipped[:20]:
        where = "" if file in reason else f"{file}: "
        console.print(f"skipped: {where}{reason}", markup=False, soft_wrap=True)
    if len(result.audit.skipped) > 20:
        console.print(f"skipped: and {len(result.audit.skipped) - 20} more, see the manifest")
    for line in (*_incomplete(result.audit.incomplete), *result.gaps):
        console.print(f"note: {line}", markup=False, soft_wrap=True)
    for reason, files in _by_reason(result.audit.slow).items():
        console.print(
            f"note: {quantity(len(files), 'file was')} read through the netCDF library, which is "
            f"slower: {reason} ({files[0]})", markup=False, soft_wrap=True,
        )  # fmt: skip
    for name in result.failures.keys() - {row.id for row in result.rows}:
        console.print(f"failed: {name}: {result.failures[name]}", markup=False, soft_wrap=True)
    normals = quantity(result.plan.n_all, "normal is")
    made = f"{result.n_normals} of {normals} in {result.folder.root}"
    if result.plan.failures:
        made += f", and {quantity(len(result.plan.failures), 'chain')} could not be planned"
    console.print(f"{made}; {clock(result.seconds)} elapsed", markup=False, soft_wrap=True)
    console.print(f"audit: {result.audit}", markup=False, soft_wrap=True)


def _incomplete(notes: Iterable[tuple[str, str]]) -> list[str]:
    """Return a line for the files that lack days, of all that lack as many; each file once."""
    found: dict[str, dict[str, str]] = {}
    for file, reason in notes:
        found.setdefault(re.sub(r" of \d{4} ", " of the year ", reason), {}).setdefault(
            file, reason
        )
    lines = []
    for what, files in found.items():
        file, reason = next(iter(files.items()))
        alone = f"{file}: {reason}"
        lines.append(alone if len(files) == 1 else f"{len(files)} files: {what}, such as {alone}")
    return lines


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
            message = f"climdask: error: {out}: holds no traces; is it the output folder of a run?"
            print(printable(message), file=sys.stderr)
            return EXIT_USER
        traces += own[-1:] if arguments.last else own
    found = audit(traces)
    print(printable(f"{len(traces)} {'run' if len(traces) == 1 else 'runs'}: {found}"))
    for line in (*found.overlaps, *found.unproven):
        print(printable(line))
    whole = [_outputs_are_whole(OutputFolder(out)) for out in arguments.out if arguments.outputs]
    return EXIT_DONE if found.holds and all(whole) else EXIT_FAILED


def _outputs_are_whole(folder: OutputFolder) -> bool:
    """Compare the normals of a folder with their checksums, and tell what is wrong."""
    checked = check_outputs(folder)
    for kind, keys in (("damaged", checked.damaged), ("missing", checked.missing)):
        for key in keys:
            print(printable(f"{kind}: {folder.root / key}"))
    counts = (
        f"{folder.root}: {quantity(checked.whole, 'normal is')} as recorded, "
        f"{len(checked.damaged)} damaged, {len(checked.missing)} missing"
    )
    print(printable(counts))
    if checked.damaged or checked.missing:
        print("make them again: climdask run WORKFLOW.yaml --verify")
    return not checked.damaged and not checked.missing


def _cluster(arguments: Namespace) -> int:
    profile = load_profile(arguments.profile)
    if not isinstance(profile, BatchProfile):
        raise ConfigError(
            f"{arguments.profile}: kind: {profile.kind}: its workers are no jobs of a batch system"
        )
    made = runner_script(profile) if isinstance(profile, SlurmRunnerProfile) else None
    print(printable(made or job_script(profile)), end="")
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
    "weights": _weights,
    "audit": _audit,
    "cluster": _cluster,
    "schema": _schema,
}

"""The arguments of the command line: each command with its own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from climdask.plaintext import one_line
from climdask.settings.paths import check_path
from climdask.version import __version__

Parser = argparse.ArgumentParser


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; ``command`` names the command.

    Raises:
        SystemExit: a mistake in it (2), or help was asked for (0).
    """
    return command_line().parse_args(argv, argparse.Namespace(debug=False, log=None))


def command_line() -> Parser:
    """Return what reads the command line: all commands with their arguments."""
    common = Parser(add_help=False)
    common.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,  # or the command's default would undo: climdask --debug run
        help="show where an error comes from",
    )
    parser = Parser(
        prog="climdask", parents=[common],
        description="Rolling 30-year daily climate normals from daily climate-model output.",
        epilog="Exit codes: 0 all done, 1 something failed, 2 a mistake in what was given, "
        "130 interrupted.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"climdask {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, (text, describe) in _COMMANDS.items():
        describe(commands.add_parser(name, help=text, description=text, parents=[common]))
    return parser


def _path(text: str) -> Path:
    """Read a path, which also goes into scripts, commands and messages."""
    try:
        return check_path(Path(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'the path "{one_line(text)}" {error}') from None


def _workflow(sub: Parser) -> None:
    sub.add_argument("workflow", type=_path, metavar="WORKFLOW.yaml")
    sub.add_argument("--cluster", type=_path, metavar="CLUSTER.yaml", help="default: this machine")
    sub.add_argument("--out", type=_path, metavar="DIR", help="instead of output.root")
    sub.add_argument("--input-root", type=_path, metavar="DIR", help="instead of input.root")


def _output_folder(sub: Parser) -> None:
    sub.add_argument("out", type=_path, metavar="OUT_DIR", help="output folder of a run")


def _quickstart(sub: Parser) -> None:
    sub.add_argument(
        "folder",
        nargs="?",
        type=_path,
        default=Path("climdask-quickstart"),
        help="folder to make (default: %(default)s)",
    )


def _plan(sub: Parser) -> None:
    _workflow(sub)
    sub.add_argument("--check", action="store_true", help="open the header of every file")
    sub.add_argument("--json", action="store_true", help="print the plan as JSON, for programs")


def _work(sub: Parser) -> None:
    """Add what run and submit have in common."""
    _workflow(sub)
    _options(sub)


def _options(sub: Parser) -> list[argparse.Action]:
    """Add the options of a run that a submitted one has too."""
    return [
        sub.add_argument(
            "--inputs-unchanged",
            action="store_true",
            help="accept input files with new times, after an archive was restored",
        ),
        sub.add_argument(
            "--verify",
            action="store_true",
            help="compare the checksums of all normals that are there; make damaged ones again",
        ),
        sub.add_argument("--report", action="store_true", help="write report.html when it is done"),
        sub.add_argument(
            "--log",
            type=_path,
            metavar="FILE",
            help="append all that is printed, with date and time",
        ),
        sub.add_argument(
            "--performance-report", type=_path, metavar="FILE.html", help="keep Dask's own report"
        ),
    ]


def passed_on(arguments: argparse.Namespace) -> list[str]:
    """Return the options of a submission as those of the run in its job, with absolute paths."""
    given: list[str] = []
    for action in _options(Parser(add_help=False)):
        value = getattr(arguments, action.dest)
        if isinstance(value, Path):
            given += [action.option_strings[0], str(value.expanduser().absolute())]
        elif value:
            given.append(action.option_strings[0])
    return given


def _run(sub: Parser) -> None:
    _work(sub)
    sub.add_argument("--serial", action="store_true", help="in this process, without Dask")
    sub.add_argument("--quiet", action="store_true", help="show no progress")
    sub.add_argument("--plain", action="store_true", help="show lines, also on a terminal")
    sub.add_argument(
        "--stop-after",
        type=float,
        metavar="SECONDS",
        help="stop as if interrupted, such as before a walltime",
    )
    # How a job of submit says what it belongs to.
    sub.add_argument("--submission", type=_path, metavar="DIR", help=argparse.SUPPRESS)


def _submit(sub: Parser) -> None:
    _work(sub)
    sub.add_argument(
        "--wait",
        type=float,
        metavar="SECONDS",
        help="wait until it runs, at most so long, and say where its dashboard is",
    )


def _status(sub: Parser) -> None:
    _output_folder(sub)
    sub.add_argument("--json", action="store_true", help="all of it, for programs")
    sub.add_argument("--watch", action="store_true", help="until the run is over")


def _cancel(sub: Parser) -> None:
    _output_folder(sub)
    sub.add_argument(
        "--timeout", type=float, default=120.0, metavar="SECONDS",
        help="how long to wait until it is over (default: %(default)s)",
    )  # fmt: skip


def _report(sub: Parser) -> None:
    _output_folder(sub)
    sub.add_argument(
        "-o", "--output", type=_path, metavar="FILE.html", help="default: OUT_DIR/report.html"
    )


def _plot(sub: Parser) -> None:
    sub.add_argument("file", type=_path, metavar="FILE", help="a NetCDF file or Zarr store")
    what = sub.add_mutually_exclusive_group()
    what.add_argument("--annual", action="store_true", help="map of the annual mean (default)")
    what.add_argument("--day", metavar="MM-DD|N", help="map of one day")
    what.add_argument("--month", type=int, metavar="N", help="map of one month, 1 to 12")
    what.add_argument("--season", metavar="DJF", help="map of one season: DJF, MAM, JJA or SON")
    what.add_argument(
        "--point", nargs=2, type=float, metavar=("LAT", "LON"), help="annual cycle at a place"
    )
    sub.add_argument("--product", metavar="NAME", help="as in the file: tas_p90; default: the mean")
    sub.add_argument(
        "--each",
        metavar="STEP",
        help="the normals of each day, month, season or year (default: FILE's own); more than one "
        "step is shown as one map each",
    )
    sub.add_argument("--target-year", type=int, metavar="Y", help="of a Zarr store")
    sub.add_argument("-o", "--output", type=_path, metavar="PNG", help="default: FILE's name, here")


def _weights(sub: Parser) -> None:
    sub.add_argument("workflow", type=_path, metavar="WORKFLOW.yaml")
    sub.add_argument("--input-root", type=_path, metavar="DIR", help="instead of input.root")
    sub.add_argument(
        "--plot", type=_path, metavar="FILE.png", help="draw areas and cells, also as FILE.html"
    )


def _audit(sub: Parser) -> None:
    sub.add_argument("out", nargs="+", type=_path, metavar="OUT_DIR", help="output folder of a run")
    sub.add_argument("--last", action="store_true", help="the latest run only")
    sub.add_argument(
        "--outputs",
        action="store_true",
        help="also compare all normals with the checksums that were recorded",
    )


def _cluster(sub: Parser) -> None:
    sub.add_argument("action", choices=["show"], help="print the script of a worker's job")
    sub.add_argument("profile", type=_path, metavar="CLUSTER.yaml")


def _nothing(sub: Parser) -> None:
    del sub


_COMMANDS = {
    "quickstart": ("make a small data set, run it, and show where to look", _quickstart),
    "plan": ("show what a run would do", _plan),
    "run": ("make the normals; what is there already is kept", _run),
    "submit": ("run as a job of a batch system: the driver, too", _submit),
    "status": ("tell how a run is, or what became of it, from any host", _status),
    "cancel": ("stop a run and its jobs, from any host", _cancel),
    "report": ("write what a run made as one HTML file, with maps", _report),
    "plot": ("draw one normal as a picture (PNG): a quick look", _plot),
    "weights": ("show the cells of each area, and how much of it they cover", _weights),
    "audit": ("prove from the traces that no file was open twice at once", _audit),
    "cluster": ("show what a cluster profile asks of the batch system", _cluster),
    "schema": ("print the JSON schema of the workflow YAML, for editors", _nothing),
}

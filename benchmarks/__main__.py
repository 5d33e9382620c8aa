"""The command line: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dask.system import CPU_COUNT

from benchmarks.arms import ARMS, wanted
from benchmarks.data import make_data
from benchmarks.job import FULL_TARGETS, SERIES, Job, make_job
from benchmarks.report import as_json, describe, environment, table
from benchmarks.session import Session

QUICK_SERIES = (SERIES[0], SERIES[2])  # one of each calendar


def main(argv: Sequence[str] | None = None) -> int:
    """Make the data, run the arms, print the table.

    Returns:
        0 if all answers were right, 1 if one was not, 2 for a mistake in the arguments.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.list:
        print("\n".join(f"{arm.name:24}{arm.about}" for arm in ARMS.values()))
        return 0
    try:
        arms = wanted(arguments.arms.split(",") if arguments.arms else None)
    except ValueError as error:
        parser.error(str(error))
    job, rounds, heavy_rounds = _size(arguments)
    if not job.regions:
        parser.error(f"--scale {arguments.scale}: no region holds a cell of so coarse a grid")
    made = make_data(job, _say)
    _say(f"{made} files made, {len(job.files) - made} reused")
    facts = environment(job)
    session = Session(job, arms, rounds, heavy_rounds, _say, arguments.keep)
    session.go()
    print(f"\n{describe(job, facts)}\n\n{table(session)}")
    if arguments.json:
        content = json.dumps(as_json(session, facts), indent=1)
        arguments.json.write_text(content + "\n", encoding="utf-8")
    return session.exit_code


def _size(arguments: argparse.Namespace) -> tuple[Job, int, int]:
    """Return the job, the rounds, and the rounds in which heavy arms take part."""
    quick: bool = arguments.quick
    job = make_job(
        arguments.data.absolute(),
        scale=arguments.scale or (0.012 if quick else 0.04),
        targets=arguments.targets or (3 if quick else 31),
        window=arguments.window,
        cores=CPU_COUNT,
        series=QUICK_SERIES if quick else SERIES,
    )
    rounds: int = arguments.rounds or (2 if quick else 3)
    return job, rounds, arguments.heavy_rounds or (1 if quick else rounds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="climdask, the usual ways and the floors, on the same data, cores and regions.",
        epilog="Exit codes: 0 all answers right, 1 some are not (VOID), 2 wrong arguments.",
    )  # fmt: skip
    add = parser.add_argument
    add("--quick", action="store_true", help="two variables, three targets: some minutes")
    add("--scale", type=_positive, help="cells against 600 x 1440 (default: 0.04; quick: 0.012)")
    add("--targets", type=int, choices=range(1, FULL_TARGETS + 1), metavar="N",
        help=f"target years, {FULL_TARGETS} is the real job (default: 31; quick: 3)")  # fmt: skip
    add("--window", type=_count, default=30, help="years in a window (default: %(default)s)")
    add("--rounds", type=_count, help="rounds (default: 3; quick: 2, heavy arms in one)")
    add("--heavy-rounds", type=_count, help="rounds with heavy arms (default: all; quick: 1)")
    add("--arms", metavar="A,B", help="only these, and climdask-netcdf")
    add("--data", type=Path, default=Path("benchmark-data"), metavar="DIR",
        help="where data are made and reused (default: %(default)s)")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="write all figures")
    add("--keep", type=Path, metavar="DIR", help="keep what the arms write, in a new folder")
    add("--list", action="store_true", help="list the arms")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 at least")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 4:
        raise argparse.ArgumentTypeError("must be above 0, and 4 at most")
    return value


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

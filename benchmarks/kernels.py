"""What the arithmetic costs: each state, statistic and reduction alone, on years in memory.

``python -m benchmarks.kernels`` times in one thread what a window does when one year enters and
another leaves, what a target year makes of it, and what a year becomes within the year: CPU
milliseconds, and nanoseconds for each day and cell. ``--against`` adds percentiles of pools of days
by xclim's ``percentile_doy`` and CDO's ``ydrunpctl``, of fewer cells.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.arguments import write_figures
from benchmarks.data import day_blocks, no_land
from benchmarks.job import FULL_COLUMNS, FULL_ROWS, N_DAYS, make_job
from benchmarks.pools import LEVELS, OTHERS, POOL, lacking
from climdask.climatology.blocks import Block
from climdask.climatology.calendars import DayAxis
from climdask.climatology.carry import Carry, carry_of_steps
from climdask.climatology.reductions import YearReduction
from climdask.climatology.statistics import STATES, statistic_of
from climdask.climatology.stepyears import StepYears
from climdask.settings.normals import NormalEntry

WINDOW, ROUNDS = 30, 3
UNITS = {"pr": "kg m-2 s-1"}  # kelvin otherwise
WITHIN = {
    "pr": (("month", "mean"), ("month", "sum"), ("season", "mean"), ("year", "max of 5-day sum"),
           ("year", "days above 1 mm/day"), ("year", "longest spell below 1 mm/day")),
    "tasmax": (("month", "mean"), ("month", "std"), ("season", "mean"), ("year", "max"),
               ("year", "days above 20 degC"), ("year", "growing degree days above 10 degC"),
               ("year", "longest spell above 20 degC")),
}  # fmt: skip
LEFT_OUT = 0.6  # share of the cells without land, at most; about a third of a fine grid


@dataclass(frozen=True)
class Timed:
    """What a piece of work took.

    Attributes:
        name: of the work.
        seconds: CPU seconds of this process, median of the rounds.
        cell_days: days and cells of a year.
    """

    name: str
    seconds: float
    cell_days: int

    @property
    def nanoseconds(self) -> float:
        """Nanoseconds for each day and cell."""
        return 1e9 * self.seconds / self.cell_days


def years_of(variable: str, n_years: int, n_cells: int) -> list[Block]:
    """Return years of the benchmark's data, of the first cells with land.

    Each is float32 [365, ``n_cells``], without missing values.
    """
    scale = max(n_cells, 1000) / (FULL_ROWS * FULL_COLUMNS * (1 - LEFT_OUT))
    job = make_job(Path(), scale=scale, targets=1, cores=1)
    land = np.flatnonzero(~no_land(job).reshape(-1))[:n_cells]
    found = []
    for year in range(1950, 1950 + n_years):
        parts = [b.reshape(len(b), -1)[:, land] for b in day_blocks(job, variable, year, N_DAYS)]
        found.append(Block.of(year, np.ascontiguousarray(np.concatenate(parts))))
    return found


def works(variable: str, years: Sequence[Block]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what is timed, by name; the last of the years enters as the first one leaves."""
    yield from _sums(years)
    yield from _sorted(years)
    yield from _within(variable, years)


def _filled(years: Sequence[Block], states: Sequence[str]) -> Carry:
    n_days, n_cells = years[0].values.shape
    carry = Carry.empty(n_days, n_cells, states)
    for year in years[:-1]:
        carry = carry.add(year)
    return carry


def _slide(carry: Carry, years: Sequence[Block], state: str) -> Callable[[], object]:
    signed = [(years[-1], 1.0), (years[0], -1.0)]
    return lambda: STATES[state].slide(carry.states[state], signed)


def _result(carry: Carry, name: str, pool_days: int = 1) -> Callable[[], object]:
    statistic, needed = statistic_of(name, pool_days), np.ones(carry.shape[0], dtype=np.int16)
    return lambda: carry.normal(needed, 1, statistic)


def _sums(years: Sequence[Block]) -> Iterator[tuple[str, Callable[[], object]]]:
    carry = _filled(years, ("sum", "squares"))
    terms = {name: len(state) for name, state in carry.states.items()}
    yield f"slide: sum, {terms['sum']} terms", _slide(carry, years, "sum")
    yield f"slide: sum of squares, {terms['squares']} terms", _slide(carry, years, "squares")
    for name in ("mean", "std"):
        yield f"target: {name}", _result(carry, name)


def _sorted(years: Sequence[Block]) -> Iterator[tuple[str, Callable[[], object]]]:
    carry = _filled(years, ("sorted",))
    yield "slide: sorted years", _slide(carry, years, "sorted")
    for name in ("min", "median", "p90"):
        yield f"target: {name}", _result(carry, name)
    for level in LEVELS:
        yield f"target: p{level} of {POOL} days", _result(carry, f"p{level}", POOL)


def _within(variable: str, years: Sequence[Block]) -> Iterator[tuple[str, Callable[[], object]]]:
    axis = DayAxis("noleap", "keep")
    for each, within in WITHIN[variable]:
        yield f"year: {within}, each {each}", _reduced(variable, each, within, axis, years[0])
    month = _reduction(variable, "month", "mean", axis)
    steps = StepYears(tuple(month(year) for year in years[:-1]))
    cells = np.arange(years[0].values.shape[1])
    for states in (("sum",), ("sum", "squares"), ("sum", "squares", "sorted")):
        yield f"target: months, {' and '.join(states)}", _steps(steps, cells, states)


def _steps(steps: StepYears, cells: np.ndarray, states: Sequence[str]) -> Callable[[], object]:
    n_steps = len(steps.blocks[0].values)
    return lambda: carry_of_steps(steps, n_steps, len(cells), states, [cells])


def _reduction(variable: str, each: str, within: str, axis: DayAxis) -> YearReduction:
    (product,) = NormalEntry(each=each, within=within).products
    assert product.within is not None
    return product.within.bind(UNITS.get(variable, "K"), water=variable == "pr").on(axis)


def _reduced(
    variable: str, each: str, within: str, axis: DayAxis, year: Block
) -> Callable[[], object]:
    reduction = _reduction(variable, each, within, axis)
    return lambda: reduction(year)


def timed(name: str, work: Callable[[], object], cell_days: int, rounds: int) -> Timed:
    """Return what a piece of work takes; the first call, which may load a loop, is left out."""
    work()
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return Timed(name, median(taken), cell_days)


def pooled_seconds(years: Sequence[Block], rounds: int) -> float:
    """Return what climdask takes for p10, p50 and p90 of pools: sliding, then each of them."""
    carry = _filled(years, ("sorted",))
    parts = [_slide(carry, years, "sorted")]
    parts += [_result(carry, f"p{level}", POOL) for level in LEVELS]
    return sum(timed("", part, 1, rounds).seconds for part in parts)


def against(years: Sequence[Block], rounds: int) -> str:
    """Return a table of what others take for percentiles of pools, of the same years."""
    own, size = pooled_seconds(years, rounds), years[0].values.size
    lines = [f"| {', '.join(f'p{n}' for n in LEVELS)} of {POOL} days | ns a day and cell | x |"]
    lines += ["|---|---|---|", f"| climdask: slide, all three | {1e9 * own / size:.0f} | 1.0 |"]
    for name, seconds in OTHERS.items():
        if why := lacking(name):
            lines.append(f"| {name} | skipped: {why} | |")
            continue
        took = median(seconds(years[1:]) for _ in range(rounds))
        lines.append(f"| {name} | {1e9 * took / size:.0f} | {took / own:.1f} |")
    return "\n".join(lines)


def table(variable: str, found: Sequence[Timed]) -> str:
    """Return what was timed as a table."""
    lines = [f"| {variable} | CPU ms | ns a day and cell |", "|---|---|---|"]
    lines += [f"| {t.name} | {1000 * t.seconds:.1f} | {t.nanoseconds:.1f} |" for t in found]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Make years in memory, time, print."""
    given = _parser().parse_args(argv)
    figures: dict[str, list[Timed]] = {}
    for variable in given.variables:
        years = years_of(variable, given.window + 1, given.cells)
        size = years[0].values.size
        figures[variable] = []
        for name, work in works(variable, years):
            if given.only in name:
                figures[variable].append(timed(name, work, size, given.rounds))
        print(table(variable, figures[variable]))
        if given.against:
            print(against(years_of(variable, given.window + 1, given.against), given.rounds))
    write_figures(given.json, {name: [vars(t) for t in own] for name, own in figures.items()})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels", description="What the arithmetic costs, in one thread."
    )
    add = parser.add_argument
    add("--cells", type=int, default=60_000, help="of a year; 31 years of 60,000 take 8 GB")
    add("--window", type=int, default=WINDOW, help="years")
    add("--rounds", type=int, default=ROUNDS)
    add("--variables", nargs="+", choices=list(WITHIN), default=list(WITHIN))
    add("--only", default="", metavar="TEXT", help="what has this in its name")
    add("--against", type=int, metavar="CELLS", help="measure xclim and CDO too, of so many cells")
    add("--json", type=Path, help="write the figures to a file")
    return parser


if __name__ == "__main__":
    sys.exit(main())

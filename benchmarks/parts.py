"""Where each second goes: the parts of the work measured alone, and a whole run beside them.

``python -m benchmarks.parts --scale 0.1`` measures on one core, with one file of each variable:
reading (and what it consists of), adding, averaging, writing. The sum over all files and targets,
divided by the cores, is what a run would take that did nothing else; a run is measured beside it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import netCDF4
import numpy as np

import climdask
from benchmarks.arguments import job_of, parser_of, write_figures
from benchmarks.climdaskrun import run_climdask, workflow_of
from benchmarks.job import Job
from climdask.climatology.blocks import Block
from climdask.climatology.carry import Carry
from climdask.climatology.coverage import MissingRule, needed_values
from climdask.execution.records import record_done
from climdask.inputs.chunkmanifest import StoredChunk, locate, read_steps
from climdask.inputs.netcdf import check_file
from climdask.inputs.reading import read_years
from climdask.outputs.cf import NormalField
from climdask.outputs.folder import OutputFolder
from climdask.outputs.netcdf import write_normal
from climdask.planning.plan import Chain, WriteJob

ROUNDS = 5
Parts = dict[str, float]


def parts_of(chain: Chain, root: Path, out: Path, rounds: int = ROUNDS) -> Parts:
    """Measure the parts of one chain's work; seconds for each file or target, one thread.

    Those of reading are for the chain's first file: ``header`` (netCDF4 opens it and compares it
    with its chain), ``locate`` (h5py), ``bytes``, ``inflate``, ``pick`` (the cells of the regions,
    unshuffled), ``decode`` (missing values, into a block). ``read`` is all of it.
    """
    spec = chain.spec
    first = chain.branches.reads[0]
    path, year = root / first.slice.file.path, first.slice.first_year
    cells, n_lon = spec.selection.cells, spec.header.grid.shape[1]
    with netCDF4.Dataset(path) as dataset:
        shape = dataset[spec.variable].shape
    located = locate(path, spec.variable, (0, 1, 2), shape)
    assert not isinstance(located, str), located
    demand = [range(len(located.chunks))]  # a chunk holds a day of the whole grid
    stored = list(_stored_bytes(path, located.chunks.values()))

    def whole() -> Block:
        (block,) = read_years(path, spec.header, spec.axis, spec.selection, [year])
        return block

    found = {
        "header": _time(lambda: check_file(path, spec.header, [year]), rounds),
        "locate": _time(lambda: locate(path, spec.variable, (0, 1, 2), shape), rounds),
        "bytes": _time(lambda: _drop(_stored_bytes(path, located.chunks.values())), rounds),
        "inflate": _time(lambda: _drop(located.pipeline.undo(s, 0) for s in stored), rounds),
        "steps": _time(lambda: _drop(read_steps(path, located, cells, n_lon, demand)), rounds),
        "read": _time(whole, rounds),
    }
    found["pick"] = found["steps"] - found["bytes"] - found["inflate"]
    found["decode"] = found["read"] - found["steps"] - found["header"] - found["locate"]
    del found["steps"]
    return found | _sums(chain, whole(), out, rounds)


def _stored_bytes(path: Path, chunks: Iterable[StoredChunk]) -> Iterator[bytes]:
    with path.open("rb") as file:
        for chunk in chunks:
            file.seek(chunk.start)
            yield file.read(chunk.size)


def _drop(results: Iterable[object]) -> None:
    """Go through results without keeping any, as a read does with its buffers."""
    for _ in results:
        pass


def _sums(chain: Chain, block: Block, out: Path, rounds: int) -> Parts:
    """Measure adding a year, averaging, and writing a target year."""
    spec = chain.spec
    later = Block.of(block.year + 1, block.values[:, ::-1].copy())
    carry = Carry.empty(*block.values.shape).add(block)
    branch, targets = next((branch, years) for branch, years in chain.targets.items() if years)
    job = chain.job(branch, targets[0])
    needed = needed_values(MissingRule(1, spec.window), spec.axis, job.window)
    mean = carry.normal(needed, 1)
    return {
        "add": _time(lambda: carry.slide(enters=later, leaves=block), rounds),
        "average": _time(lambda: carry.normal(needed, 1), rounds),
        "write": _time(lambda: _write(chain, job, mean, out), rounds),
    }


def _write(chain: Chain, job: WriteJob, mean: np.ndarray, out: Path) -> None:
    spec = chain.spec
    for region, file in zip(spec.selection.regions, job.files, strict=True):
        days = np.ones(len(spec.axis), dtype=np.int16)
        field = NormalField(mean[:, region.index], days, None, spec.window, {})
        write_normal(out / file.path, spec, region, job.window, field)
        record_done(OutputFolder(out), file, skipped=(), process="1")


def _time(work: Callable[[], object], rounds: int) -> float:
    """Return the median of some runs in seconds."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return median(taken)


def total(parts: Mapping[str, Parts], files: int, targets: int) -> float:
    """Return the seconds of one core for all files and targets of each series."""
    return sum(
        files * (p["read"] + p["add"]) + targets * (p["average"] + p["write"])
        for p in parts.values()
    )


def breakdown(job: Job, rounds: int, out: Path) -> dict[str, Any]:
    """Measure the parts of each series, and some runs of all of them."""
    plan = climdask.plan(workflow_of(job, out))
    parts = {c.id: parts_of(c, job.root, out / "alone", rounds) for c in plan.chains}
    runs = [run_climdask(job, out / f"run-{number}") for number in range(rounds)]
    own = median(run.own for run in runs)
    alone = total(parts, len(job.years), len(job.targets))
    return {
        "parts": parts,
        "files": len(job.files),
        "targets": len(job.targets) * len(job.series),
        "cores": job.cores,
        "alone_on_one_core": alone,
        "run_wall": median(run.wall for run in runs),
        "run_own": own,
        "run_against_alone": own / (alone / job.cores),
    }


def table(found: Mapping[str, Any]) -> str:
    """Return the parts as a table, and the run against their sum."""
    names = list(next(iter(found["parts"].values())))
    lines = [f"{'milliseconds':34}" + "".join(f"{n:>9}" for n in names)]
    for chain, parts in found["parts"].items():
        lines.append(f"{chain:34}" + "".join(f"{1000 * parts[n]:9.1f}" for n in names))
    lines.append(
        f"{found['files']} files and {found['targets']} target years: "
        f"{found['alone_on_one_core']:.1f} s on one core; run on {found['cores']} cores: "
        f"{found['run_own']:.1f} s ({found['run_wall']:.1f} s with starting and planning): "
        f"{found['run_against_alone']:.2f} x the sum / cores"
    )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the data, measure, print."""
    parser = parser_of("parts", "Where each second goes.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(argv)
    job = job_of(given)
    with tempfile.TemporaryDirectory() as folder:
        found = breakdown(job, given.rounds, Path(folder))
    print(table(found))
    write_figures(given.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

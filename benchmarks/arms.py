"""The arms: what is run, what it needs, where its answers are. To add one, add it to ``ARMS``."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks import answers
from benchmarks.answers import Normals, Verdict
from benchmarks.job import LAST_HISTORICAL_YEAR, SCENARIO, Job

PROGRAMS = ("cdo",)
REFERENCE = "climdask-netcdf"


@dataclass(frozen=True)
class Arm:
    """One way to do the job: a function that a process of its own calls.

    Attributes:
        name: for the table and ``--arms``.
        about: one line for ``--list``.
        function: ``module:function``, called with (job, targets, out, *arguments); may return a
            mapping of figures.
        arguments: further ones of the function.
        needs: programs and modules without which the arm is skipped.
        heavy: takes so long that it makes one target for each core only.
    """

    name: str
    about: str
    function: str
    arguments: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    heavy: bool = False

    def targets(self, job: Job) -> tuple[int, ...]:
        """Return the target years that the arm makes."""
        return job.targets[-job.cores :] if self.heavy else job.targets

    def lacking(self, job: Job) -> str:
        """Say why the arm cannot run here; nothing if it can."""
        del job
        for need in self.needs:
            if need in PROGRAMS and shutil.which(need) is None:
                return f"{need} is not installed"
            if need not in PROGRAMS and importlib.util.find_spec(need) is None:
                return f"the Python package {need} is not installed"
        return ""

    def command(self, job: Job, out: Path) -> list[str]:
        """Return the command that does the job; what it needs is written into ``out``."""
        call = {"function": self.function, "arguments": self.arguments,
                "targets": self.targets(job), "job": job.to_json()}  # fmt: skip
        (out / "call.json").write_text(json.dumps(call), encoding="utf-8")
        return [sys.executable, "-m", "benchmarks.worker", str(out)]

    def figures(self, out: Path) -> dict[str, Any]:
        """Return what the arm says of itself, ``seconds`` (without starting Python) and more."""
        content: dict[str, Any] = json.loads((out / "figures.json").read_text(encoding="utf-8"))
        return content

    def check(self, job: Job, out: Path, reference: Normals) -> Verdict:
        """Compare the answers with climdask's."""
        return answers.compare(job, self.targets(job), answers.PlainNormals(out), reference)


@dataclass(frozen=True)
class ClimdaskArm(Arm):
    """``climdask run``, as a user calls it."""

    format: str = "netcdf"

    def workflow(self, job: Job, out: Path) -> dict[str, Any]:
        """Return the workflow, the content of its YAML file."""
        return {
            "input": {"root": str(job.root), "pattern": "nex-gddp"},
            "variables": [s.variable for s in job.series],
            "scenarios": [SCENARIO],
            "last_historical_year": LAST_HISTORICAL_YEAR,
            "regions": list(job.regions),
            "window": job.window,
            "targets": [f"{job.targets[0]}-{job.targets[-1]}"],
            "output": {"root": str(out / "normals"), "format": self.format},
            "run": {"lock_dir": str(out / "locks")},
        }

    def lacking(self, job: Job) -> str:
        """Say that this climdask does not know the format, if so."""
        from climdask.errors import ConfigError
        from climdask.settings.workflow import load

        try:
            load(self.workflow(job, Path.cwd()))
        except ConfigError as error:
            return f"climdask refuses the workflow: {' '.join(str(error).split())}"
        return ""

    def command(self, job: Job, out: Path) -> list[str]:
        """Write the workflow; return the call of climdask."""
        path = out / "workflow.yaml"
        path.write_text(yaml.safe_dump(self.workflow(job, out)), encoding="utf-8")
        return [sys.executable, "-m", "climdask.cli", "run", str(path), "--quiet"]

    def figures(self, out: Path) -> dict[str, Any]:
        """Return the run's own seconds and the openings that its audit counted."""
        (path,) = (out / "normals" / ".climdask").rglob("manifest.json")
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"seconds": content["seconds"], "opens": content["audit"]["opens"]}

    def normals(self, out: Path) -> Normals:
        """Return what the arm wrote."""
        kind = answers.ZarrNormals if self.format == "zarr" else answers.ClimdaskNormals
        return kind(out / "normals")

    def check(self, job: Job, out: Path, reference: Normals) -> Verdict:
        """Compare with the input itself if this is the reference, otherwise with the reference."""
        if self.name == REFERENCE:
            return answers.compare_with_input(job, self.normals(out))
        return answers.compare(job, self.targets(job), self.normals(out), reference)


@dataclass(frozen=True)
class ReadingArm(Arm):
    """Reads every file once and writes nothing."""

    def check(self, job: Job, out: Path, reference: Normals) -> Verdict:
        """Compare the amount read, and what a reader hands over with netCDF4's."""
        del reference
        return answers.compare_reading(job, self.figures(out), self.arguments)


def reader_arm(name: str, package: str) -> Arm:
    """Return the arm of a reader in ``readers.READERS``."""
    return ReadingArm(
        f"read-{name}",
        f"{package} reads every file once: float32, NaN where missing",
        "benchmarks.readers:read_all",
        (name,),
        (package,),
    )


ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (
        ClimdaskArm(REFERENCE, "climdask run, NetCDF output", ""),
        ClimdaskArm("climdask-zarr", "climdask run, Zarr output", "", format="zarr"),
        Arm(
            "replaced-pool",
            "variable by variable, a process pool over batches of target years; xarray opens 30 "
            "files for each target and region",
            "benchmarks.replaced:pool", needs=("flox",), heavy=True,
        ),
        Arm(
            "replaced-per-variable",
            "a process for each variable, years in sequence; the same normals in the same way",
            "benchmarks.replaced:per_variable", needs=("flox",), heavy=True,
        ),
        Arm(
            "cdo-plain",
            "a CDO command for each target and region: ydaymean over 30 files, sellonlatbox",
            "benchmarks.cdo:plain", needs=("cdo",), heavy=True,
        ),
        Arm(
            "cdo-best",
            "CDO cuts all regions' cells out of each file once, then ensmean of 30 cuts",
            "benchmarks.cdo:best", needs=("cdo",),
        ),
        Arm(
            "flox",
            "xarray, dask and flox: open_mfdataset, each file read once for all",
            "benchmarks.floxed:run", needs=("flox",),
        ),
        ReadingArm("read-floor", "netCDF4 reads every file's variable once, nothing else",
                   "benchmarks.readers:floor"),
        ReadingArm("copy-floor", "the same bytes, read and dropped", "benchmarks.readers:copy"),
        reader_arm("netcdf4", "netCDF4"),
        reader_arm("h5py", "h5py"),
        reader_arm("hidefix", "hidefix"),
        reader_arm("pyfive", "pyfive"),
        reader_arm("climdask", "climdask"),
    )
}  # fmt: skip


def wanted(names: Sequence[str] | None) -> list[Arm]:
    """Return the arms of some names, all if None, climdask always among them.

    Raises:
        ValueError: a name is unknown.
    """
    chosen = list(ARMS) if names is None else [REFERENCE, *names]
    unknown = [name for name in chosen if name not in ARMS]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such arm; there are {', '.join(ARMS)}")
    return [ARMS[name] for name in dict.fromkeys(chosen)]

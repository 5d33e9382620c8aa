"""What planning costs: ``climdask plan`` of an archive that is nothing but names.

``python -m benchmarks.plans --chains 10,100,1000`` makes archives named as NEX-GDDP-CMIP6's: a
small NetCDF file for the first year of each chain, whose header a plan reads, and empty files for
all other years. Each is planned by the command, in a process of its own.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import netCDF4
import numpy as np
import yaml

from benchmarks.arguments import write_figures
from benchmarks.measure import measure
from climdask import plan

HISTORICAL = range(1950, 2015)
SCENARIO = range(2015, 2101)
UNITS = {"pr": "kg m-2 s-1", "tas": "K", "tasmax": "K", "tasmin": "K"}
SCENARIOS = ("ssp126", "ssp245", "ssp370", "ssp585")
MEMBER, GRID = "r1i1p1f1", "gn"


@dataclass(frozen=True)
class Planned:
    """What a plan took.

    Attributes:
        chains, files: of the archive.
        wall, cpu: seconds of the command, from its start to its end.
        peak_bytes: largest resident size.
        code: that it exited with.
        printed: by it.
    """

    chains: int
    files: int
    wall: float
    cpu: float
    peak_bytes: int
    code: int
    printed: str


def make_names(root: Path, models: int, variables: int, scenarios: int) -> int:
    """Make an archive of names; return how many files it has."""
    wanted, made = SCENARIOS[:scenarios], 0
    for variable in list(UNITS)[:variables]:
        header = root / f"{variable}.header"
        _write_header(header, variable)
        for model in range(models):
            for scenario in ("historical", *wanted):
                folder = root / f"M{model:03}" / scenario / MEMBER / variable
                folder.mkdir(parents=True)
                start = f"{variable}_day_M{model:03}_{scenario}_{MEMBER}_{GRID}"
                years = HISTORICAL if scenario == "historical" else SCENARIO
                made += len(years)
                for year in years:
                    path = f"{folder}/{start}_{year}.nc"
                    if year == HISTORICAL[0]:
                        os.link(header, path)
                    else:
                        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    return made


def _write_header(path: Path, variable: str) -> None:
    """Write the file of the first year, one day of it with a value, on a grid of 1 degree."""
    lat, lon, days = np.arange(-89.5, 90.0), np.arange(0.5, 360.0), np.arange(365)
    with netCDF4.Dataset(path, "w", format="NETCDF4_CLASSIC") as dataset:
        for name, values, units in (
            ("time", days + 0.5, f"days since {HISTORICAL[0]}-01-01"),
            ("lat", lat, "degrees_north"),
            ("lon", lon, "degrees_east"),
        ):
            dataset.createDimension(name, values.size)
            coordinate = dataset.createVariable(name, "f8", (name,))
            coordinate.units = units
            coordinate[:] = values
        dataset["time"].calendar = "noleap"
        field = dataset.createVariable(
            variable, "f4", ("time", "lat", "lon"), zlib=True, chunksizes=(1, lat.size, lon.size)
        )
        field.units = UNITS[variable]


def workflow_of(root: Path, variables: int, scenarios: int) -> Path:
    """Write the workflow of an archive; return its path."""
    path = root / "workflow.yaml"
    content = {
        "input": {"root": str(root), "pattern": "nex-gddp-cmip6"},
        "variables": list(UNITS)[:variables],
        "scenarios": list(SCENARIOS[:scenarios]),
        "regions": ["CONUS", "AK", "HI", "PRVI"],
        "output": {"root": str(root / "out")},
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def plan_names(chains: int, variables: int, scenarios: int, *, profile: bool = False) -> Planned:
    """Make an archive of so many chains, and plan it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = make_names(root, -(-chains // variables), variables, scenarios)
        workflow = workflow_of(root, variables, scenarios)
        if profile:
            _profile(workflow)
        log = root / "plan.txt"
        took = measure([sys.executable, "-m", "climdask", "plan", str(workflow)], log)
        printed = log.read_text(encoding="utf-8")
        n_chains = -(-chains // variables) * variables
        cpu = took.user + took.system
        return Planned(n_chains, files, took.wall, cpu, took.peak_bytes, took.code, printed)


def _profile(workflow: Path) -> None:
    """Print where a plan spends its time, without what it prints itself."""
    with cProfile.Profile() as profile:
        str(plan(workflow))
    pstats.Stats(profile, stream=sys.stderr).sort_stats("cumulative").print_stats(50)


def main(argv: Sequence[str] | None = None) -> int:
    """Plan archives of names, and print what it took."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plans", description="Planning an archive of names."
    )
    parser.add_argument("--chains", default="10,100,1000", help="how many, such as 10,100,1000")
    parser.add_argument("--variables", type=int, default=4, choices=range(1, 5))
    parser.add_argument("--scenarios", type=int, default=1, choices=range(1, 5))
    parser.add_argument("--profile", action="store_true", help="show where the time goes (stderr)")
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    given = parser.parse_args(argv)
    found = []
    print(f"{'chains':>7}{'files':>9}{'wall s':>9}{'CPU s':>9}{'ms a chain':>12}{'peak MB':>9}")
    for chains in map(int, given.chains.split(",")):
        took = plan_names(chains, given.variables, given.scenarios, profile=given.profile)
        if took.code:
            print(took.printed, file=sys.stderr)
            return took.code
        found.append({k: v for k, v in asdict(took).items() if k != "printed"})
        print(
            f"{took.chains:7}{took.files:9}{took.wall:9.2f}{took.cpu:9.2f}"
            f"{1000 * took.cpu / took.chains:12.1f}{took.peak_bytes / 1e6:9.0f}",
            flush=True,
        )
    write_figures(given.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

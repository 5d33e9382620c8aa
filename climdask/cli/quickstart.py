"""The quickstart: a small realistic data set, a workflow for it, and a first run.

Two variables, a historical experiment and a scenario, on a coarse grid over North America: a
seasonal cycle with a trend, and showers with dry days between them. The layout and the names are
those of NEX-GDDP-CMIP6, so the same workflow serves the real archive.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import netCDF4
import numpy as np
import numpy.typing as npt

from climdask.errors import OutputError
from climdask.outputs.formats import FORMATS
from climdask.plaintext import command
from climdask.running.options import View
from climdask.running.results import RunResult
from climdask.running.run import run
from climdask.settings.workflow import load

MODEL, MEMBER, GRID = "SAMPLE-ESM", "r1i1p1f1", "gn"
FIRST_YEAR, LAST_HISTORICAL_YEAR, LAST_YEAR = 1971, 2014, 2060
LAT = np.arange(17.5, 72.6, 2.5)
LON = np.arange(171.25, 300.0, 2.5)
N_DAYS = 365  # noleap, as many models


def quickstart(folder: Path, *, view: View | None, report: Callable[[str], None]) -> RunResult:
    """Make the sample data and the workflow in ``folder``, unless they are there, and run it.

    Raises:
        OutputError: the folder cannot be made.
    """
    data, workflow = folder / "data", folder / "workflow.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = make_sample(data)
        if not workflow.exists():
            text = files("climdask.cli").joinpath("quickstart.yaml").read_text(encoding="utf-8")
            quoted = json.dumps(folder.as_posix(), ensure_ascii=False)[1:-1]  # "…" in YAML too
            workflow.write_text(text.replace("@FOLDER@", quoted), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from None
    report(f"sample data: {made} new files in {data}")
    report(f"workflow: {workflow}")
    result = run(load(workflow), view=view, report=report)
    report("")
    if result.outputs:
        opener = FORMATS[result.plan.workflow.output.format].opener
        report(f"Look at a normal:   {look_at(opener, result.outputs[0])}")
        report(f"Look at all:        {command('climdask', 'report', result.folder.root)}")
    report(f"Change and repeat:  {command('climdask', 'run', workflow)}")
    report(f"Prove file access:  {command('climdask', 'audit', result.folder.root)}")
    return result


def look_at(opener: str, path: Path) -> str:
    """Return the command that prints a normal; where it can be, as people write it."""
    show = f"import xarray; print(xarray.{opener}({str(path)!r}))"
    if set(show).isdisjoint('"$`\\!'):  # nothing that a shell would obey in double quotes
        return f'python -c "{show}"'
    return command("python", "-c", show)


def make_sample(root: Path) -> int:
    """Write the files that are not there yet, and return how many these were."""
    made = 0
    for number, variable in enumerate(("pr", "tas")):
        for year in range(FIRST_YEAR, LAST_YEAR + 1):
            scenario = "historical" if year <= LAST_HISTORICAL_YEAR else "ssp245"
            name = f"{variable}_day_{MODEL}_{scenario}_{MEMBER}_{GRID}_{year}.nc"
            path = root / variable / scenario / name
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                random = np.random.default_rng([number, year])
                write_sample(path, variable, year, sample_values(variable, year, random))
                made += 1
    return made


def sample_values(variable: str, year: int, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return values, float32 [day, lat, lon]: ``tas`` in K or ``pr`` in kg m-2 s-1."""
    day = np.arange(N_DAYS)[:, None, None]
    lat, lon = LAT[None, :, None], LON[None, None, :]
    shape = (N_DAYS, LAT.size, LON.size)
    season = np.cos(2 * np.pi * (day - 200) / N_DAYS)
    warming = 0.03 * (year - FIRST_YEAR)
    if variable == "tas":
        mean = 300.0 - 0.6 * np.abs(lat) + (4 + 0.2 * lat) * season + 2 * np.sin(np.radians(lon))
        return np.asarray(mean + warming + random.normal(0, 2.5, shape), dtype=np.float32)
    wet = random.random(shape) < 0.35 + 0.1 * season * np.sin(np.radians(2 * lon))
    amount = random.gamma(0.7, 8.0 * (1 + 0.01 * warming), shape) / 86400.0
    return np.where(wet, amount, 0.0).astype(np.float32)


_ATTRIBUTES = {
    "pr": ("precipitation_flux", "Precipitation", "kg m-2 s-1"),
    "tas": ("air_temperature", "Daily Near-Surface Air Temperature", "K"),
}


def write_sample(path: Path, variable: str, year: int, values: npt.NDArray[np.float32]) -> None:
    """Write one year as NEX-GDDP-CMIP6 does: noon stamps, a chunk for each day, deflate."""
    temporary = path.with_suffix(".tmp")
    standard_name, long_name, units = _ATTRIBUTES[variable]
    with netCDF4.Dataset(temporary, "w", format="NETCDF4_CLASSIC") as dataset:
        dataset.setncatts({
            "Conventions": "CF-1.7", "institution": "climdask quickstart",
            "source": "made-up data for trying climdask; not a climate model",
        })  # fmt: skip
        for name, size in (("time", None), ("lat", LAT.size), ("lon", LON.size)):
            dataset.createDimension(name, size)
        time = dataset.createVariable("time", "f8", ("time",))
        time.setncatts({"units": "days since 1950-01-01", "calendar": "noleap",
                        "standard_name": "time", "axis": "T"})  # fmt: skip
        time[:] = (year - 1950) * N_DAYS + np.arange(N_DAYS) + 0.5
        for name, axis, units_of, degrees in (
            ("lat", "Y", "degrees_north", LAT),
            ("lon", "X", "degrees_east", LON),
        ):
            coordinate = dataset.createVariable(name, "f8", (name,))
            full = "latitude" if name == "lat" else "longitude"
            coordinate.setncatts({"units": units_of, "standard_name": full, "axis": axis})
            coordinate[:] = degrees
        field = dataset.createVariable(
            variable, "f4", ("time", "lat", "lon"), zlib=True, complevel=1, shuffle=True,
            chunksizes=(1, LAT.size, LON.size), fill_value=np.float32(1e20),
        )  # fmt: skip
        field.setncatts({"standard_name": standard_name, "long_name": long_name, "units": units,
                         "cell_methods": "time: mean"})  # fmt: skip
        field[:] = values
    temporary.replace(path)

"""The face: public names, and what is imported before they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import climdask

HEAVY = ("bokeh", "dask", "distributed", "h5py", "netCDF4", "numpy", "pydantic", "xarray", "zarr")


def said(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def loaded_after(*lines: str) -> set[str]:
    told = "print(*sorted(m.partition('.')[0] for m in sys.modules))"
    return set(said("\n".join(["import sys", *lines, told])).splitlines()[-1].split())


def test_importing_climdask_loads_nothing_heavy() -> None:
    assert not loaded_after("import climdask").intersection(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    helped = "try: main(['--help'])"
    loaded = loaded_after("from climdask.cli import main", helped, "except SystemExit: pass")
    assert "argparse" in loaded
    assert not loaded.intersection(HEAVY)


def test_importing_a_part_of_the_arithmetic_loads_neither_dask_nor_files() -> None:
    heavy = {"dask", "distributed", "h5py", "netCDF4", "xarray", "zarr"}
    assert not loaded_after("import climdask.climatology.exactsum").intersection(heavy)


def test_dir_lists_the_public_names_only_and_each_is_there() -> None:
    assert dir(climdask) == sorted(climdask.__all__)
    for name in climdask.__all__:
        assert getattr(climdask, name) is not None, name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(climdask, "rechunk")


@pytest.mark.slow
def test_a_package_never_hides_a_public_function() -> None:
    code = "import climdask.planning.plan, climdask.running.run, climdask.outputs.provenance as p;"
    code += "print(*[callable(getattr(climdask, n)) for n in climdask.__all__ if n[0].islower()])"
    assert set(said(code).split()) == {"True"}


def test_the_module_runs_as_the_command_does() -> None:
    for name in ("climdask", "climdask.cli"):
        done = subprocess.run(
            [sys.executable, "-m", name, "--version"],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert done.stdout == f"climdask {climdask.__version__}\n"

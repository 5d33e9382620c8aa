"""A format of the output is one module: this one keeps each normal as a NumPy archive."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import distributed
import numpy as np
import pytest
import xarray as xr

from climdask.climatology.calendars import Window
from climdask.errors import ConfigError
from climdask.outputs import formats
from climdask.outputs.atomicfiles import atomically
from climdask.outputs.catalogue import Naming, find_normals, opened
from climdask.outputs.cf import NormalField, field_variables, place_variables, time_variables
from climdask.outputs.provenance import Provenance
from climdask.planning.naming import NAMINGS, FileForEachTarget
from climdask.planning.plan import OutputSeries
from climdask.running.run import run
from climdask.settings.formats import FORMATS as NAMES
from climdask.settings.workflow import Workflow
from tests.samples import Archive, write_archive
from tests.workflows import small

# ---------------------------------------------------------------- the format


@dataclass(frozen=True)
class Archives:
    root: Path
    series: OutputSeries
    fits: bool = True
    shared_years: tuple[int, ...] = ()

    def objects(self, target_year: int) -> tuple[Path, ...]:
        return (self.root / self.series.path(target_year),)


class NumpyFormat:
    tells_itself = True
    opener = "open_dataset"

    def find(self, root: Path, series: OutputSeries) -> Archives:
        return Archives(root, series)

    def prepare(
        self, root: Path, series: OutputSeries, target_years: Collection[int], kept: Collection[int]
    ) -> bool:
        return False

    def write(
        self, root: Path, series: OutputSeries, window: Window, field: NormalField
    ) -> tuple[Path, ...]:
        spec = series.spec
        variables = [
            *time_variables(spec, window, field.edges),
            *place_variables(spec, series.region),
            *field_variables(spec, field),
        ]
        content = {v.name: v.values for v in variables}
        units = next(v for v in variables if v.name == "time").attributes

        def fill(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, target_year=window.last_year, of=spec.variable, **units, **content)

        path = root / series.path(window.last_year)
        atomically(path, fill)
        return (path,)

    def finish(self, root: Path, series: OutputSeries, normals: Mapping[int, Provenance]) -> None:
        return None

    def target_years(self, path: Path, variable: str) -> tuple[int, ...]:
        return (int(np.load(path)["target_year"]),)

    def open_one(self, path: Path, target_year: int) -> xr.Dataset:
        with np.load(path) as content:
            name = str(content["of"])
            clock = {key: str(content[key]) for key in ("units", "calendar")}
            field = (("day", "lat", "lon"), content[name], {"ancillary_variables": ""})
            return xr.Dataset(
                {name: field, "number_of_years": ((), content["number_of_years"])},
                {"day": ("day", content["time"], clock), "lat": content["lat"]}
                | {"lon": content["lon"]},
                {"target_year": int(content["target_year"])},
            )

    def open_all(self, target_years: Mapping[Path, Sequence[int]]) -> xr.Dataset:
        parts = [self.open_one(path, years[0]) for path, years in target_years.items()]
        axis = xr.Variable("target_year", [years[0] for years in target_years.values()])
        joined = xr.concat([p.drop_vars("day").drop_attrs() for p in parts], axis)
        return joined.rename(day="dayofyear")


# ---------------------------------------------------------------- its use


@pytest.fixture
def _registered() -> Iterator[None]:
    formats.register("numpy", "an archive each", NumpyFormat(), FileForEachTarget(".npz"))
    yield
    for registry in (formats.FORMATS, NAMINGS, NAMES):
        del registry["numpy"]  # type: ignore[attr-defined]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return write_archive(tmp_path / "in", first=2010, last=2018, calendar="noleap")


def flow(archive: Archive, out: Path, output_format: str) -> Workflow:
    return small(archive.root, out, output={"root": str(out), "format": output_format})


@pytest.mark.usefixtures("_registered")
@pytest.mark.slow
def test_a_new_format_is_written_resumed_found_and_opened(archive: Archive, tmp_path: Path) -> None:
    toy, known = tmp_path / "toy", tmp_path / "known"
    result = run(flow(archive, toy, "numpy"), serial=True)
    assert result.ok, result.failures
    assert {path.suffix for path in result.outputs} == {".npz"}
    expected = run(flow(archive, known, "netcdf"), serial=True)
    region = result.plan.chains[0].spec.selection.regions[0].place.name
    variable = result.plan.chains[0].spec.variable
    mine, theirs = (r.open(variable, region)[variable].values for r in (result, expected))
    np.testing.assert_array_equal(mine, theirs)
    assert run(flow(archive, toy, "numpy"), serial=True).plan.n_normals == 0, "all is done"
    result.outputs[0].write_bytes(b"damaged")
    assert run(flow(archive, toy, "numpy"), serial=True).plan.n_normals == 1


@pytest.mark.slow
@pytest.mark.usefixtures("_registered")
def test_a_report_finds_the_normals_of_a_new_format(archive: Archive, tmp_path: Path) -> None:
    result = run(flow(archive, tmp_path / "toy", "numpy"), serial=True)
    spec = result.plan.chains[0].spec
    naming = Naming("historical", spec.window, {spec.id: spec.periods.last_historical_year})
    (first, *_) = find_normals(tmp_path / "toy", naming)
    assert first.chain == spec.id
    with opened(first.normals[0], spec.variable) as normal:
        assert normal.days[0] == (1, 1)
        assert np.isfinite(normal.values(0)).any()


@pytest.mark.slow
@pytest.mark.usefixtures("_registered")
def test_tasks_of_dask_write_a_new_format_too(archive: Archive, tmp_path: Path) -> None:
    with distributed.Client(
        processes=False, dashboard_address="127.0.0.1:0", set_as_default=False
    ) as client:
        result = run(flow(archive, tmp_path / "toy", "numpy"), client=client)
    assert result.ok, result.failures
    assert result.n_normals == result.plan.n_all


def test_a_format_that_nobody_registered_is_refused(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"output.format: 'numpy': input should be 'netcdf'"):
        flow(archive, tmp_path, "numpy")

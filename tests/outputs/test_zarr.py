"""The output as Zarr: what a store holds, and that nothing which happens to it makes it wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cftime
import netCDF4
import numpy as np
import pytest
import xarray as xr
import yaml
import zarr

import climdask
from climdask.cli import quickstart
from climdask.climatology.places import Box
from climdask.errors import OutputError, PlanError
from climdask.outputs import zarr as zarrstore
from climdask.outputs import zarrlayout
from climdask.outputs.cf import NormalField
from climdask.outputs.zarr import find_store
from climdask.outputs.zarrlayout import Store, object_key
from climdask.running.results import RunResult
from climdask.running.run import run
from climdask.settings.profiles import LocalProfile
from tests.readback import contents, leftovers
from tests.samples import LAT, LON, WRAP, Archive, write_archive
from tests.tools import call
from tests.workflows import small

FIRST, HISTORY, LAST = 2000, 2006, 2011
WINDOW = 3
TRUNK = list(range(FIRST + WINDOW - 1, HISTORY + 1))
BRANCH = list(range(HISTORY + 1, LAST + 1))
SCENARIOS = ["ssp245", "ssp585"]
CHUNK_BYTES = 4 * len(LAT) * len(LON) * 50  # for the tests of both formats
MODEL = "ACCESS-CM2/r1i1p1f1"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return write_archive(
        tmp_path_factory.mktemp("in"), variables=["tas", "pr"], first=FIRST, last=LAST,
        last_historical_year=HISTORY, scenarios=SCENARIOS, calendar="noleap", bounds=True,
        height=True, gaps=(2008,),
    )  # fmt: skip


def flow(archive: Archive, out: Path, **changes: Any) -> Any:
    content: dict[str, Any] = {
        "scenarios": SCENARIOS[: len(archive.scenarios) - 1],
        "window": WINDOW,
        "min_years": 2,
        "last_historical_year": HISTORY,
        "run": {"checkpoint_every": 2},
    }
    output = {"format": "zarr"} | changes.pop("output", {})
    return small(archive.root, out, **{**content, **changes, "output": output})


def make(archive: Archive, out: Path, **changes: Any) -> RunResult:
    result = run(flow(archive, out, **changes), serial=True)
    assert result.ok, result.failures
    return result


def store_of(
    out: Path, branch: str = "ssp245", variable: str = "tas", region: str = "global"
) -> Path:
    name = f"{variable}_day_ACCESS-CM2_r1i1p1f1_gn_{region}_{branch}_{WINDOW}yr_normal.zarr"
    return out / MODEL / variable / region / name


def objects(store: Path, name: str = "tas") -> list[Path]:
    return sorted((store / name).glob("c.*"), key=lambda p: int(p.name.split(".")[1]))


def times(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if ".climdask" not in p.parts}


def opened(store: Path) -> xr.Dataset:
    """Open a store as a user would, who has turned warnings into errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return xr.open_zarr(store).load()


# ---------------------------------------------------------------- the same as NetCDF


@dataclass(frozen=True)
class Both:
    """One workflow in both formats, each in its folder."""

    zarr: RunResult
    netcdf: RunResult


CASES: dict[str, dict[str, Any]] = {
    "noleap": {"regions": ["global", WRAP], "output": {"count": True}},
    "standard-keep": {"leap_day": "keep", "regions": [WRAP]},
    "standard-drop": {"output": {"significant_digits": 3, "count": True}},
    "360_day": {"output": {"compression_level": 0}},
}


@pytest.fixture(scope="module", params=CASES)
def run_in_both(
    request: pytest.FixtureRequest, archive: Archive, tmp_path_factory: pytest.TempPathFactory
) -> Both:
    keys = {**CASES[request.param]}
    output = keys.pop("output", {})
    root = tmp_path_factory.mktemp(request.param)
    if request.param != "noleap":
        calendar = request.param.split("-")[0]
        archive = write_archive(
            root / "in", first=FIRST, last=LAST, last_historical_year=HISTORY, calendar=calendar
        )
    with pytest.MonkeyPatch.context() as patch:
        # Some eight chunks a year, which the days do not fill, as in a real region.
        patch.setattr(zarrlayout, "CHUNK_BYTES", CHUNK_BYTES)
        zarr_ = make(archive, root / "zarr", output=output, **keys)
    return Both(zarr_, make(archive, root / "nc", output={**output, "format": "netcdf"}, **keys))


@pytest.fixture
def both(run_in_both: Both, monkeypatch: pytest.MonkeyPatch) -> Both:
    monkeypatch.setattr(zarrlayout, "CHUNK_BYTES", CHUNK_BYTES)
    return run_in_both


def pairs(both: Both) -> Iterator[tuple[xr.Dataset, netCDF4.Dataset]]:
    """Yield each target year of each store, undecoded, with the file of the same normal."""
    for chain in both.netcdf.plan.all_chains:
        for branch, years in chain.targets.items():
            for n, region in enumerate(chain.spec.selection.regions):
                store = store_of(
                    both.zarr.folder.root, branch, chain.spec.variable, region.place.name
                )
                with xr.open_zarr(store, decode_cf=False, chunks=None) as whole:
                    for year in years:
                        file = chain.normals(branch, year)[n]
                        with netCDF4.Dataset(both.netcdf.folder.root / file.path) as normal:
                            normal.set_auto_maskandscale(False)
                            yield whole.sel(target_year=year), normal


@pytest.mark.slow
def test_a_store_holds_the_values_and_attributes_of_the_files(both: Both) -> None:
    n = 0
    for mine, theirs in pairs(both):
        n += 1
        assert {*mine.variables} - {*theirs.variables} == {"target_year"}
        assert {*theirs.variables} <= {*mine.variables}
        for name, variable in theirs.variables.items():
            values = np.asarray(variable[...])
            if "_FillValue" in variable.ncattrs():
                values = np.where(values == variable.getncattr("_FillValue"), np.nan, values)
                assert variable.dtype == np.float32
            found = mine[name].values
            assert (found.dtype, found.shape) == (variable.dtype, values.shape), name
            np.testing.assert_array_equal(found, values)
            about = {k: variable.getncattr(k) for k in variable.ncattrs()}
            assert {k: mine[name].attrs[k] for k in about.keys() & mine[name].attrs.keys()} == {
                k: v for k, v in about.items() if k in mine[name].attrs and k != "coordinates"
            } | {k: mine[name].attrs[k] for k in ("coordinates",) if k in about}
            assert about.keys() - mine[name].attrs.keys() <= {"_FillValue", "missing_value"}
        of_one = {
            "source_years", "source_scenarios", "source_versions", "source_files", "input_hash",
            "untimed_input_hash", "target_year", "title", "history", "date_created", "coordinates",
        }  # fmt: skip
        shared = set(theirs.ncattrs()) - of_one
        assert {k: mine.attrs[k] for k in shared} == {k: theirs.getncattr(k) for k in shared}
    assert n == both.zarr.plan.n_all == both.zarr.n_normals


@pytest.mark.slow
def test_a_store_tells_the_sources_of_each_target_year_as_the_files_do(both: Both) -> None:
    for mine, theirs in pairs(both):
        told = climdask.provenance(mine, int(mine["target_year"]))
        for key, value in told.items():
            assert np.array_equal(value, theirs.getncattr(key)), key
        wanted = ("source_", "untimed", "input")
        assert set(told) == {k for k in theirs.ncattrs() if k.startswith(wanted)}


def test_one_target_year_is_one_object_and_nothing_else_is_there(both: Both) -> None:
    for store in both.zarr.outputs:
        found = find_store(store)
        assert found is not None
        n = len(found.target_years)
        with xr.open_zarr(store) as dataset:
            names = {v for v in dataset.data_vars if "target_year" in dataset[v].dims}
            n_dims = {name: dataset[name].ndim for name in names}
        assert {"years_per_day", "number_of_years"} < names
        for name in names:
            there = {p.name for p in (store / str(name)).iterdir()}
            assert there == {"zarr.json", *(object_key(i, n_dims[name]) for i in range(n))}
    assert not leftovers(both.zarr.folder.root)


@pytest.mark.slow
def test_a_store_opens_without_arguments_or_warnings_and_knows_its_coordinates(
    both: Both,
) -> None:
    for store in both.zarr.outputs:
        dataset = opened(store)
        variable = store.name.split("_")[0]
        assert dataset[variable].dims == ("target_year", "dayofyear", "lat", "lon")
        assert {"time", "lat", "lon", "dayofyear", "target_year"} <= set(dataset[variable].coords)
        assert dataset["time"].dims == ("target_year", "dayofyear")
        spec = both.zarr.plan.all_chains[0].spec
        first = dataset["time"].values[:, 0]
        if spec.axis.output_calendar in ("noleap", "360_day"):
            assert isinstance(first[0], cftime.datetime)
            assert [t.year for t in first] == dataset["target_year"].values.tolist()
        else:
            assert first.dtype.kind == "M"
        bounds = dataset["climatology_bnds"]
        assert type(bounds.values[0, 0, 0]) is type(dataset["time"].values[0, 0])
        assert "climatology_bnds" in dataset.coords
        assert (bounds[..., 0] < bounds[..., 1]).all()


def test_the_metadata_are_consolidated_and_those_of_the_arrays(both: Both) -> None:
    for store in both.zarr.outputs:
        whole = json.loads((store / "zarr.json").read_text())["consolidated_metadata"]
        assert whole["kind"] == "inline"
        own = {p.parent.name: json.loads(p.read_text()) for p in store.glob("*/zarr.json")}
        assert whole["metadata"] == own
        group = zarr.open_consolidated(store, mode="r")
        assert set(group.array_keys()) == set(own)


def test_zarr_itself_writes_the_same_objects(both: Both, tmp_path: Path) -> None:
    store = both.zarr.outputs[-1]
    variable = store.name.split("_")[0]
    shutil.copytree(store, tmp_path / "copy")
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(tmp_path / "copy", mode="r+")
        for name in (variable, "years_per_day", "number_of_years"):
            before = {p.name: p.read_bytes() for p in objects(store, name)}
            values = group[name][...]
            for path in objects(tmp_path / "copy", name):
                path.unlink()
            group[name][...] = values
            after = {p.name: p.read_bytes() for p in objects(tmp_path / "copy", name)}
            assert after == before


@pytest.mark.slow
@pytest.mark.parametrize("run_in_both", ["noleap"], indirect=True)
def test_what_xarray_makes_of_a_store_satisfies_the_cf_checker(both: Both, tmp_path: Path) -> None:
    dataset = opened(both.zarr.outputs[-1])
    for name in dataset.coords:  # xarray gives every float a fill value; CF forbids coordinates to
        dataset[name].encoding["_FillValue"] = None
    dataset.to_netcdf(tmp_path / "store.nc")
    said = call("compliance-checker", "--test=cf:1.11", tmp_path / "store.nc").stdout
    assert "All tests passed!" in said, said


@pytest.mark.slow
def test_a_result_opens_both_branches_as_one_dataset(both: Both) -> None:
    variable, scenario = "tas", "ssp245"
    region = both.zarr.plan.workflow.boxes[-1].name
    with (
        both.zarr.open(variable, region, scenario=scenario) as mine,
        both.netcdf.open(variable, region, scenario=scenario) as theirs,
    ):
        assert mine[variable].dims == theirs[variable].dims
        assert mine["target_year"].values.tolist() == TRUNK + BRANCH
        assert mine[variable].chunks is not None, "lazy"
        assert mine[variable].chunks[0] == (1,) * len(TRUNK + BRANCH)
        for name in (variable, "time", "years_per_day", "number_of_years"):
            xr.testing.assert_equal(mine[name].variable, theirs[name].variable)
        for year in (TRUNK[0], BRANCH[-1]):
            assert len(climdask.provenance(mine, year)["source_years"]) >= 2
        with pytest.raises(PlanError, match="target year 1999: the dataset tells the sources of"):
            climdask.provenance(mine, 1999)


def test_the_values_behind_each_mean_are_there_only_if_asked_for(both: Both) -> None:
    for store in both.zarr.outputs:
        assert (store / "count").exists() is both.zarr.plan.workflow.output.count


def test_chunks_are_days_of_the_whole_region_and_compressed_as_asked(both: Both) -> None:
    level = both.zarr.plan.workflow.output.compression_level
    for store in both.zarr.outputs:
        about = json.loads((store / store.name.split("_")[0] / "zarr.json").read_text())
        (sharding,) = about["codecs"]
        days, *grid = about["shape"][1:]
        _, chunk_days, *chunk_grid = sharding["configuration"]["chunk_shape"]
        assert (chunk_grid, grid) == (grid, chunk_grid)
        assert 1 < chunk_days < days
        assert chunk_days * 4 * grid[0] * grid[1] <= CHUNK_BYTES
        padded = about["chunk_grid"]["configuration"]["chunk_shape"][1]
        assert padded % chunk_days == 0
        assert padded - chunk_days < days <= padded
        codecs = [codec["name"] for codec in sharding["configuration"]["codecs"]]
        assert codecs == (["bytes", "blosc"] if level else ["bytes"])


# ---------------------------------------------------------------- once


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(scope="module")
def finished(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the stores of one variable once; tests that change them take a copy."""
    out = tmp_path_factory.mktemp("finished")
    make(archive, out)
    return out


@pytest.fixture
def site(finished: Path, out: Path) -> Path:
    shutil.copytree(finished, out)
    return out


def test_an_attribute_of_the_input_is_kept_as_json_can_hold_it() -> None:
    plain = zarrstore._plain(
        {"a": np.float32(0.5), "b": np.array([1, 2]), "c": float("nan"), "d": "x", "e": np.nan}
    )
    assert plain == {"a": 0.5, "b": [1, 2], "c": "nan", "d": "x", "e": "nan"}
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


@pytest.mark.slow
def test_a_normal_that_is_missing_everywhere_is_there_and_done(archive: Archive, out: Path) -> None:
    result = make(archive, out, min_years=3)  # 2008 is a gap
    with xr.open_zarr(store_of(out)) as dataset:
        missing = dataset["tas"].isnull().all(["dayofyear", "lat", "lon"]).values.tolist()
    assert missing == [False, True, True, True, False]
    assert result.n_normals == result.plan.n_all
    again = make(archive, out, min_years=3)
    assert again.plan.n_normals == 0


@pytest.mark.slow
def test_all_processes_of_a_cluster_leave_the_same_bits(archive: Archive, tmp_path: Path) -> None:
    keys = {"variables": ["tas", "pr"], "regions": ["global", WRAP]}
    make(archive, tmp_path / "serial", **keys)
    profile = LocalProfile(workers=2, threads=2, dashboard="off", memory="4GiB")
    result = run(flow(archive, tmp_path / "cluster", **keys), cluster=profile)
    assert result.ok, result.failures
    assert contents(tmp_path / "cluster") == contents(tmp_path / "serial")
    assert {row.writes for row in result.rows} == {len(TRUNK) + 2 * len(BRANCH)}
    assert not leftovers(tmp_path)


@pytest.mark.slow
def test_the_command_line_counts_normals_and_not_stores(archive: Archive, out: Path) -> None:
    path = out.parent / "workflow.yaml"
    path.write_text(yaml.safe_dump(flow(archive, out).model_dump(mode="json")))
    said = subprocess.run(
        [sys.executable, "-W", "error", "-m", "climdask.cli", "run", str(path), "--serial"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "15 of 15 normals are in" in said.stdout + said.stderr


@pytest.mark.slow
def test_the_quickstart_tells_how_a_store_is_opened(
    archive: Archive, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quickstart, "make_sample", lambda _: 0)
    content = yaml.safe_dump(flow(archive, site).model_dump(mode="json"))
    (tmp_path / "workflow.yaml").write_text(content)
    told: list[str] = []
    assert quickstart.quickstart(tmp_path, view=None, report=told.append).ok
    (line,) = (line for line in told if "Look at a normal" in line)
    assert f"xarray.open_zarr('{store_of(site, 'historical')}')" in line


# ---------------------------------------------------------------- again


def test_a_second_run_has_nothing_to_do_and_touches_nothing(archive: Archive, site: Path) -> None:
    before = times(site)
    again = make(archive, site)
    assert (again.plan.n_normals, again.audit.opens, again.n_normals) == (0, 0, 15)
    assert times(site) == before


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def cut_unseen(path: Path) -> None:
    """Cut a file as a crash of the host may, which leaves its time as it was."""
    status = path.stat()
    cut(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "damage"),
    [("tas", flip), ("tas", cut), ("tas", Path.unlink), ("years_per_day", flip),
     ("years_per_day", Path.unlink), ("number_of_years", cut_unseen)],
)  # fmt: skip
def test_a_damaged_or_lost_object_is_made_again(
    name: str, damage: Callable[[Path], Any], archive: Archive, site: Path, finished: Path
) -> None:
    damage(objects(store_of(site), name)[2])
    again = make(archive, site)
    assert [f.key for _, job in again.plan.jobs for f in job.files] == [
        f"{store_of(site).relative_to(site).as_posix()}/{BRANCH[2]}"
    ]
    assert contents(site) == contents(finished)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, Path.unlink])
@pytest.mark.parametrize(
    "name", ["time/c.0.0", "lat/c/0", "target_year/c/0", "tas/zarr.json", "zarr.json"]
)
def test_damaged_metadata_and_coordinates_are_made_again(
    name: str, damage: Callable[[Path], Any], archive: Archive, site: Path, finished: Path
) -> None:
    damage(store_of(site) / name)
    again = make(archive, site)
    assert again.plan.n_normals <= len(BRANCH)
    if name not in ("target_year/c/0", "zarr.json"):
        assert again.plan.n_normals == 0, "the normals themselves are right"
    assert contents(site) == contents(finished)


def test_a_normal_without_a_record_is_made_again(
    archive: Archive, site: Path, finished: Path
) -> None:
    for path in (site / ".climdask/done").iterdir():
        lines = path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if not json.loads(line)["path"].endswith(f"/{BRANCH[1]}")]
        path.write_text("".join(kept))
    again = make(archive, site)
    assert {job.window.last_year for _, job in again.plan.jobs} == {BRANCH[1]}
    assert contents(site) == contents(finished)


@pytest.mark.slow
def test_a_changed_input_makes_only_its_windows_again_and_new_times_may_be_accepted(
    archive: Archive, site: Path, tmp_path: Path
) -> None:
    shutil.copytree(archive.root, tmp_path / "in")
    own = replace(archive, root=tmp_path / "in")
    assert make(own, site).plan.n_normals == 0, "copied with their times"
    own.write("tas", 2010, "ssp245", values=own.values("tas", 2010, "ssp245") + 1)
    again = make(own, site)
    assert sorted({job.window.last_year for _, job in again.plan.jobs}) == [2010, 2011]
    assert {job.branch for _, job in again.plan.jobs} == {"ssp245"}
    make(own, tmp_path / "fresh")
    assert contents(site) == contents(tmp_path / "fresh")
    for path in own.root.rglob("*.nc"):
        os.utime(path)
    accepted = run(flow(own, site), serial=True, inputs_unchanged=True)
    assert accepted.plan.n_normals == 0


# ---------------------------------------------------------------- another axis


@pytest.mark.parametrize(
    "steps",
    [[[2009], [2010, 2011]], [[2010, 2011], [2007]], [[2007, 2011], [2009]], [[2008], [2009]]],
    ids=["later", "earlier", "between", "others"],
)
@pytest.mark.slow
def test_more_targets_move_what_is_there_and_make_only_what_is_not(
    steps: list[list[int]], archive: Archive, out: Path, tmp_path: Path
) -> None:
    make(archive, out, targets=steps[0])
    store = store_of(out)
    inodes = {p.stat().st_ino for p in objects(store)}
    again = make(archive, out, targets=steps[1])
    assert sorted({job.window.last_year for _, job in again.plan.jobs}) == steps[1]
    assert inodes < {p.stat().st_ino for p in objects(store)}, "not written again"
    make(archive, tmp_path / "fresh", targets=sorted([*steps[0], *steps[1]]))
    assert contents(out) == contents(tmp_path / "fresh")
    # And both are right together.
    assert make(archive, out, targets=sorted([*steps[0], *steps[1]])).plan.n_normals == 0
    assert not leftovers(out)


def test_fewer_targets_take_nothing_away(archive: Archive, site: Path, finished: Path) -> None:
    before = times(site)
    assert make(archive, site, targets=[2009]).plan.n_normals == 0
    assert times(site) == before
    assert contents(site) == contents(finished)


@pytest.mark.slow
def test_where_there_are_no_hard_links_objects_are_copied(
    archive: Archive, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError

    make(archive, out, targets=[2009, 2011])
    monkeypatch.setattr(os, "link", refuse)
    assert make(archive, out, targets=[2008, 2010, 2011]).plan.n_normals == 2 * 2
    monkeypatch.undo()
    make(archive, tmp_path / "fresh", targets=[2008, 2009, 2010, 2011])
    assert contents(out) == contents(tmp_path / "fresh")


@pytest.mark.slow
def test_a_normal_that_was_never_finished_is_not_on_a_new_axis(archive: Archive, out: Path) -> None:
    make(archive, out, targets=[2007, 2009])
    shutil.rmtree(out / ".climdask/done")
    make(archive, out, targets=[2008])
    found = find_store(store_of(out))
    assert found is not None
    assert found.target_years == (2008,)
    assert len(objects(store_of(out))) == 1


SWAP = """
import os, signal, sys
from pathlib import Path
from climdask.outputs.atomicfiles import folder_atomically
place, moment = Path(sys.argv[1]), int(sys.argv[2])
real, calls = Path.rename, []
def rename(self, target):
    if len(calls) == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    calls.append(self)
    return real(self, target)
Path.rename = rename
import shutil
remove = shutil.rmtree
def rmtree(path, **kw):
    if len(calls) == moment and len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return remove(path, **kw)
shutil.rmtree = rmtree
folder_atomically(place, lambda new: (new / "year").write_text("new"))
"""


@pytest.mark.parametrize(("moment", "left"), [(0, "old"), (1, "old"), (2, "new"), (3, "new")])
def test_killed_while_a_store_is_swapped_there_is_the_old_or_the_new_one(
    moment: int, left: str, tmp_path: Path
) -> None:
    from climdask.outputs.atomicfiles import remove_temporaries

    place = tmp_path / "store.zarr"
    place.mkdir()
    (place / "year").write_text("old")
    mine = tmp_path / ".store.zarr.old"
    mine.mkdir()
    died = subprocess.run([sys.executable, "-c", SWAP, str(place), str(moment)], check=False)
    assert died.returncode == (-signal.SIGKILL if moment < 3 else 0)
    assert bool(leftovers(tmp_path)[1:]) is (moment < 3)
    remove_temporaries(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".store.zarr.old", "store.zarr"]
    assert (place / "year").read_text() == left


def test_a_run_after_such_a_death_has_lost_nothing(
    archive: Archive, site: Path, finished: Path
) -> None:
    store = store_of(site)
    store.rename(store.with_name(f".{store.name}.0123abcd.old"))
    shutil.copytree(store_of(finished), store.with_name(f".{store.name[:80]}.0123abcd.tmp"))
    assert make(archive, site).plan.n_normals == 0
    assert contents(site) == contents(finished)
    assert not leftovers(site)


# ---------------------------------------------------------------- other keys


def notes_of(archive: Archive, out: Path, **changes: Any) -> tuple[RunResult, list[str]]:
    told: list[str] = []
    result = run(flow(archive, out, **changes), serial=True, report=told.append)
    assert result.ok, result.failures
    return result, [line for line in told if "made anew" in line]


@pytest.mark.slow
def test_another_box_of_the_same_name_makes_its_store_anew_and_leaves_the_others(
    archive: Archive, out: Path, tmp_path: Path
) -> None:
    box = {"name": "box", "lon": [0, 180], "lat": [-90, 90]}
    make(archive, out, regions=["global", box])
    before = times(store_of(out))
    larger = {**box, "lon": [0, 220]}
    again, notes = notes_of(archive, out, regions=["global", larger])
    assert {f.region for _, job in again.plan.jobs for f in job.files} == {"box"}
    assert times(store_of(out)) == before
    assert len(notes) == 3
    assert "_box_historical_3yr_normal.zarr was made with other keys" in notes[0]
    make(archive, tmp_path / "fresh", regions=["global", larger])
    assert contents(out) == contents(tmp_path / "fresh")


@pytest.mark.parametrize(
    "keys",
    [{"min_years": 3}, {"leap_day": "keep"}, {"output": {"count": True}},
     {"output": {"significant_digits": 3}}, {"output": {"compression_level": 0}}],
    ids=lambda keys: next(iter(keys.get("output", keys))),
)  # fmt: skip
@pytest.mark.slow
def test_other_keys_make_stores_anew(
    keys: dict[str, Any], archive: Archive, site: Path, tmp_path: Path
) -> None:
    again, notes = notes_of(archive, site, **keys)
    assert again.plan.n_normals == again.plan.n_all
    assert len(notes) == 3
    make(archive, tmp_path / "fresh", **keys)
    assert contents(site) == contents(tmp_path / "fresh")
    assert make(archive, site, **keys).plan.n_normals == 0


@pytest.mark.slow
def test_another_level_of_compression_serves_what_is_made_from_then_on(
    archive: Archive, out: Path, tmp_path: Path
) -> None:
    make(archive, out, targets=[2009], output={"compression_level": 9})
    before = objects(store_of(out))[0].read_bytes()
    again, notes = notes_of(archive, out, targets=[2008, 2009], output={"compression_level": 1})
    assert not notes
    assert {job.window.last_year for _, job in again.plan.jobs} == {2008}
    assert objects(store_of(out))[1].read_bytes() == before
    make(archive, tmp_path / "fresh", targets=[2008, 2009], output={"compression_level": 1})
    xr.testing.assert_equal(opened(store_of(out)), opened(store_of(tmp_path / "fresh")))


@pytest.mark.slow
def test_both_formats_live_in_one_folder(archive: Archive, site: Path, tmp_path: Path) -> None:
    stores = times(site)
    made = make(archive, site, output={"format": "netcdf"})
    assert made.plan.n_normals == made.n_normals == 15
    assert {p: t for p, t in times(site).items() if p in stores and p.is_file()} == {
        p: t for p, t in stores.items() if p.is_file()
    }
    everything = {p: t for p, t in times(site).items() if p.is_file()}
    for name in ("zarr", "netcdf"):
        again = make(archive, site, output={"format": name})
        assert (again.plan.n_normals, again.n_normals) == (0, 15)
    assert {p: t for p, t in times(site).items() if p.is_file()} == everything
    make(archive, tmp_path / "nc", output={"format": "netcdf"})
    assert {k: v for k, v in contents(site).items() if k.endswith(".nc")} == contents(
        tmp_path / "nc"
    )


@pytest.mark.slow
def test_a_record_of_one_format_is_none_of_the_other(archive: Archive, out: Path) -> None:
    make(archive, out, output={"format": "netcdf"})
    assert make(archive, out).plan.n_normals == 15


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.slow
def test_a_run_that_failed_in_part_leaves_stores_that_open(
    archive: Archive, tmp_path: Path, out: Path
) -> None:
    shutil.copytree(archive.root, tmp_path / "in")
    own = replace(archive, root=tmp_path / "in")
    own.path("tas", 2009, "ssp245").write_bytes(b"no NetCDF")
    own.path("pr", 2001).write_bytes(b"no NetCDF")
    result = run(flow(own, out, variables=["tas", "pr"]), serial=True)
    assert {name.rpartition("/")[2] for name in result.failures} == {"tas", "pr"}
    assert result.exit_code == 1
    # A store without any normal tells nothing, and is gone.
    assert result.outputs == [store_of(out, "historical"), store_of(out, "ssp245")]
    assert {p.name for p in out.rglob("*.zarr")} == {p.name for p in result.outputs}
    assert result.n_normals == len(TRUNK) + 2
    dataset = opened(store_of(out))
    there = dataset["tas"].notnull().any(["dayofyear", "lat", "lon"]).values.tolist()
    assert there == [True, True, False, False, False]
    assert dataset["number_of_years"].values.tolist() == [3, 2, 0, 0, 0]
    assert dataset["target_year"].values.tolist() == BRANCH
    with result.open("tas", "global", scenario="ssp245") as made:
        assert made["target_year"].values.tolist() == [*TRUNK, *BRANCH[:2]]
    with pytest.raises(PlanError, match="tells the sources of 2007-2008"):
        climdask.provenance(dataset, 2009)
    with pytest.raises(PlanError, match="no normals of global are there"):
        result.open("pr", "global", scenario="ssp245")


@pytest.mark.parametrize("executor", [["--serial"], []], ids=["serial", "cluster"])
@pytest.mark.slow
def test_a_killed_run_goes_on_and_leaves_the_same_bits(
    executor: list[str], archive: Archive, out: Path, tmp_path: Path, finished: Path
) -> None:
    path = tmp_path / "workflow.yaml"
    path.write_text(yaml.safe_dump(flow(archive, out).model_dump(mode="json")))
    process = subprocess.Popen(
        [sys.executable, "-m", "climdask.cli", "run", str(path), *executor],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while len(list(out.glob("*/*/tas/*/*.zarr/tas/c.*"))) < 6:
        assert process.poll() is None, "ended before it was killed"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for store in out.rglob("*.zarr"):
        opened(store)  # though nobody has finished it
    result = make(archive, out)
    assert 0 < result.plan.n_normals < 15
    assert contents(out) == contents(finished)
    assert not leftovers(out)


def test_what_killed_writers_left_inside_a_store_goes(
    archive: Archive, site: Path, finished: Path
) -> None:
    (store_of(site) / "tas/.c.1.0.0.0.0123abcd.tmp").write_bytes(b"half")
    (store_of(site).parent / ".x.zarr.0123abcd.tmp").mkdir()
    make(archive, site)
    assert not leftovers(site)
    assert contents(site) == contents(finished)


@pytest.fixture
def one(archive: Archive, site: Path) -> tuple[Store, NormalField]:
    """Return a store of the site, and a field for it."""
    spec = climdask.plan(flow(archive, site)).chains[0].spec
    (region,) = spec.selection.regions
    shape = (len(spec.axis), *region.index.shape)
    values = np.full(shape, 1.0, dtype=np.float32)
    return Store(spec, region, "ssp245"), NormalField(
        values, np.full(shape[0], 3, dtype=np.int16), None, 3, {}
    )


@pytest.mark.slow
def test_a_task_that_outlives_its_run_harms_no_other_target_year(
    archive: Archive, site: Path, one: tuple[Store, NormalField], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, field = one
    real, calls = zarrstore.atomically, []

    def moved(path: Path, fill: Any, **more: Any) -> None:
        if not calls:  # the next run moves 2008 to the place where 2007 was
            zarrstore.prepare(site / store.folder, store, [2008], [2008])
        calls.append(path)
        real(path, fill, **more)

    monkeypatch.setattr(zarrstore, "atomically", moved)
    with pytest.raises(OutputError, match=r"another run has changed it; run again"):
        zarrstore.write_normal(site, store, 2007, field)
    monkeypatch.undo()
    assert not objects(site / store.folder), "rather missing than wrong"
    assert {job.window.last_year for _, job in make(archive, site).plan.jobs} == {*BRANCH} - {
        2007
    } | {2007}


def test_a_target_year_that_a_store_was_not_made_ready_for_is_refused(
    site: Path, one: tuple[Store, NormalField]
) -> None:
    store, field = one
    for wrong, year in (
        (store, 2020),
        (replace(store, branch="ssp999"), 2007),
        (replace(store, spec=replace(store.spec, min_years=1)), 2007),
    ):
        with pytest.raises(OutputError, match=f"not, or no longer, a store for target year {year}"):
            zarrstore.write_normal(site, wrong, year, field)


@pytest.mark.slow
def test_the_normal_itself_is_written_last_and_recorded_after_that(
    archive: Archive, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real = zarrstore.atomically

    def write(path: Path, fill: Any, **more: Any) -> None:
        real(path, fill, **more)
        if path.name != "zarr.json":
            order.append(path.parent.name)
            records = [p.read_text() for p in (out / ".climdask/done").glob("*.jsonl")]
            assert len("".join(records).splitlines()) == (len(order) - 1) // 4

    monkeypatch.setattr(zarrstore, "atomically", write)
    make(archive, out, targets=[2009, 2010], output={"count": True})
    assert order == ["number_of_years", "years_per_day", "count", "tas"] * 4


def test_what_nobody_has_a_record_of_is_not_thrown_away_when_it_cannot_be_made_again(
    archive: Archive, tmp_path: Path, site: Path
) -> None:
    shutil.rmtree(site / ".climdask")
    shutil.copytree(archive.root, tmp_path / "in")
    own = replace(archive, root=tmp_path / "in")
    own.path("tas", 2000).write_bytes(b"no NetCDF")
    before = {p: p.read_bytes() for p in objects(store_of(site))}
    assert not run(flow(own, site), serial=True).ok
    assert {p: p.read_bytes() for p in objects(store_of(site))} == before


def test_an_output_that_cannot_be_made_is_told_before_the_work_begins(
    archive: Archive, out: Path
) -> None:
    place = out / MODEL / "tas"
    place.parent.mkdir(parents=True)
    place.write_text("a file where a folder should be")
    with pytest.raises(OutputError, match=r"normal\.zarr: cannot be written \(Not a directory\)"):
        run(flow(archive, out), serial=True)


@pytest.mark.slow
def test_a_store_that_cannot_be_finished_fails_the_run_and_is_told(
    archive: Archive, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OutputError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(zarrstore, "finish", refuse)
        result = run(flow(archive, out), serial=True)
    assert (dict(result.failures), result.exit_code) == ({"stores": "the disk is full"}, 1)
    assert result.n_normals == 15
    with (
        result.open("tas", "global", scenario="ssp245") as dataset,
        pytest.raises(PlanError, match="tells the sources of nothing"),
    ):
        climdask.provenance(dataset, 2007)
    again = make(archive, out)
    assert again.plan.n_normals == 0
    with again.open("tas", "global", scenario="ssp245") as dataset:
        assert climdask.provenance(dataset, 2007)["source_years"].tolist() == [2005, 2006, 2007]


@pytest.mark.slow
def test_a_bad_file_that_is_skipped_is_told_with_the_sources(
    archive: Archive, tmp_path: Path, out: Path
) -> None:
    shutil.copytree(archive.root, tmp_path / "in")
    own = replace(archive, root=tmp_path / "in")
    own.path("tas", 2003).write_bytes(b"no NetCDF")
    skip = {"on_bad_file": "skip", "checkpoint_every": 2}
    result = make(own, out, run=skip)
    with result.open("tas", "global", scenario="ssp245") as dataset:
        told = climdask.provenance(dataset, 2004)
    assert told["skipped_files"] == own.path("tas", 2003).relative_to(own.root).as_posix()
    assert told["source_years"].tolist() == [2002, 2004]
    assert make(own, out, run=skip).plan.n_normals == 0


# ---------------------------------------------------------------- layout


def test_a_large_region_is_cut_into_chunks_of_about_a_mebibyte(
    one: tuple[Store, NormalField],
) -> None:
    store, _ = one
    index = np.zeros((105, 241), dtype=np.intp)
    large = replace(store, region=replace(store.region, index=index))
    (field,) = (v for v in large.without_values(7) if v.name == "tas")
    storage = large.storage(field)
    assert storage.chunks == (1, 10, 105, 241)
    assert storage.shards == (1, 370, 105, 241)
    whole_globe = replace(store, region=replace(store.region, index=np.zeros((600, 1440), np.intp)))
    (field,) = (v for v in whole_globe.without_values(7) if v.name == "tas")
    assert whole_globe.storage(field).chunks == (1, 1, 600, 1440)


def test_stores_that_may_not_share_target_years_have_other_identities(
    one: tuple[Store, NormalField],
) -> None:
    store, _ = one
    spec, region = store.spec, store.region
    others = [
        replace(store, branch="historical"),
        replace(store, region=replace(region, lat=region.lat + 0.001)),
        replace(store, region=replace(region, lon=region.lon + 0.001)),
        replace(store, region=replace(region, place=Box("global", 0, 360, -90, 90))),
        replace(store, spec=replace(spec, min_years=1)),
        replace(store, spec=replace(spec, count=True)),
        replace(store, spec=replace(spec, significant_digits=2)),
        replace(store, spec=replace(spec, compression_level=0)),
        replace(store, spec=replace(spec, header=replace(spec.header, units="degC"))),
        replace(store, spec=replace(spec, axis=replace(spec.axis, calendar="standard"))),
        replace(store, spec=replace(spec, axis=replace(spec.axis, leap_day="keep"))),
        replace(store, spec=replace(spec, periods=replace(spec.periods, window=4))),
    ]
    identities = {s.identity for s in (store, *others)}
    assert len(identities) == len(others) + 1
    same = replace(store, spec=replace(spec, compression_level=9))
    assert same.identity == store.identity

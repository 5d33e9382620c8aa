"""The benchmarks in small form: the numbers they print, never a time."""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from benchmarks import answers, arms, data
from benchmarks.__main__ import main
from benchmarks.arms import ARMS, Arm, ClimdaskArm, ReadingArm
from benchmarks.job import FULL_TARGETS, SERIES, Job, make_job
from benchmarks.report import table
from benchmarks.session import Session
from tests.tools import lacking

pytestmark = pytest.mark.slow

WINDOW, N_TARGETS, SCALE = 3, 3, 0.0006
NORMALS = (
    "climdask-zarr", "replaced-pool", "replaced-per-variable", "cdo-plain", "cdo-best", "flox",
)  # fmt: skip
CLIMDASK = ("climdask-netcdf", "climdask-zarr")
READING = (
    "read-floor", "copy-floor", "read-netcdf4", "read-h5py", "read-hidefix", "read-pyfive",
    "read-climdask",
)  # fmt: skip
# What is wrong on purpose, and an arm that cannot run anywhere.
INJECTED = (
    Arm("wrong", "", "wrong_arm:one_value_off"),
    Arm("broken", "", "wrong_arm:no_such_function"),
    ReadingArm("absent", "", "", needs=("no_such_package",)),
)


@dataclass(frozen=True)
class Done:
    """A run of the command, with all that it left."""

    code: int
    out: str
    content: dict[str, Any]
    folder: Path
    job: Job

    def row(self, arm: str) -> list[str]:
        """Return an arm's cells in the table."""
        (line,) = (text for text in self.out.splitlines() if text.startswith(f"| {arm} "))
        return [cell.strip() for cell in line.strip("|").split("|")]


def small_job(root: Path, **changes: Any) -> Job:
    keys = {"scale": SCALE, "targets": N_TARGETS, "window": WINDOW, "cores": 2}
    return make_job(root, **{**keys, "series": (SERIES[0], SERIES[2]), **changes})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Run everything once."""
    root = tmp_path_factory.mktemp("benchmarks")
    found = root / "found.json"
    with pytest.MonkeyPatch.context() as patch, (root / "out").open("w+") as out:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        patch.setattr("sys.stdout", out)
        patch.setattr(arms, "ARMS", {**ARMS, **{arm.name: arm for arm in INJECTED}})
        patch.setattr("benchmarks.__main__.CPU_COUNT", 2)
        code = main([
            "--quick", f"--scale={SCALE}", f"--targets={N_TARGETS}", f"--window={WINDOW}",
            "--rounds=1", f"--data={root / 'data'}", f"--json={found}", f"--keep={root / 'kept'}",
        ])  # fmt: skip
        out.seek(0)
        text = out.read()
    content = json.loads(found.read_text())
    return Done(code, text, content, root / "kept" / "round-1", small_job(root / "data"))


@pytest.fixture(scope="module")
def expected(done: Done) -> dict[tuple[str, str, int], np.ndarray]:
    """The normals by variable, region and target, from what the data were made of."""
    return {
        (series.variable, box.name, target): normal(done.job, series.variable, box, target)
        for series in done.job.series
        for box in done.job.boxes
        for target in done.job.targets
    }


def normal(job: Job, variable: str, box: Any, target: int) -> np.ndarray:
    lat = (job.lat >= box.south) & (job.lat <= box.north)
    lon = (job.lon >= box.west) & (job.lon <= box.east)
    years = []
    for year in range(target - WINDOW + 1, target + 1):
        leap = variable.startswith("tasm") and year % 4 == 0
        days = np.concatenate(list(data.day_blocks(job, variable, year, 366 if leap else 365)))
        if leap:
            days = np.concatenate([days[:59], days[60:]])
        years.append(days[:, lat][:, :, lon])
    stacked = np.stack(years, axis=-1).astype(np.float64)
    sums = [math.fsum(cell) for cell in stacked.reshape(-1, WINDOW)]
    return np.reshape(sums, stacked.shape[:-1]) / WINDOW


def needs(arm: str, done: Done) -> None:
    """Skip where an arm lacks something; fail where everything must be there."""
    if arm in done.content["skipped"]:
        lacking(f"{arm}: {done.content['skipped'][arm]}")


@pytest.mark.slow
def test_the_data_have_both_calendars_both_scenarios_and_two_regions_at_least(done: Done) -> None:
    assert {s["calendar"] for s in done.content["job"]["series"]} == {"noleap", "standard"}
    assert done.content["job"]["years"] == [2012, 2016]
    assert done.content["job"]["targets"] == [2014, 2015, 2016]
    assert {"CONUS", "AK"} <= set(done.content["job"]["regions"])


@pytest.mark.parametrize("arm", [a for a in NORMALS if a not in CLIMDASK])
def test_every_arms_normals_equal_a_direct_mean(arm: str, done: Done, expected: Any) -> None:
    needs(arm, done)
    targets = ARMS[arm].targets(done.job)
    found = answers.PlainNormals(done.folder / arm)
    for (variable, region, target), mean in expected.items():
        if target in targets:
            series = next(s for s in done.job.series if s.variable == variable)
            mine = found.load(series, region, target)
            assert np.isnan(mean).any() or region != "CONUS"  # the sea is there
            np.testing.assert_allclose(mine, mean, rtol=(WINDOW + 2) * 2.0**-24, atol=0)
    n_files = len(list((done.folder / arm).glob("*/*/*.nc")))
    assert n_files == len(targets) * len(done.job.series) * len(done.job.regions)


@pytest.mark.parametrize("arm", CLIMDASK)
def test_climdasks_normals_equal_a_direct_mean(arm: str, done: Done, expected: Any) -> None:
    own = ARMS[arm]
    assert isinstance(own, ClimdaskArm)
    found = own.normals(done.folder / arm)
    for (variable, region, target), mean in expected.items():
        series = next(s for s in done.job.series if s.variable == variable)
        mine = found.load(series, region, target)
        np.testing.assert_array_equal(mine, mean.astype(np.float32))


@pytest.mark.parametrize("arm", [*NORMALS, *READING, "climdask-netcdf"])
def test_every_arm_is_right_and_says_how_much_was_compared(arm: str, done: Done) -> None:
    needs(arm, done)
    n = len(done.job.series) * len(done.job.regions)
    compared = {
        "climdask-netcdf": n,  # of the last target, against the input
        "read-floor": 10, "copy-floor": 10,
    }.get(arm, n * len(ARMS[arm].targets(done.job)) if arm in NORMALS else 4)  # fmt: skip
    assert done.row(arm)[-1].startswith(f"right: {compared} compared")
    assert done.row(arm)[1] == ("2 of 3" if ARMS[arm].heavy else "3 of 3")
    assert done.content["arms"][arm]["targets"] == len(ARMS[arm].targets(done.job))
    assert done.content["arms"][arm]["targets_of"] == 3


def test_zarr_is_right_or_says_why_it_did_not_run(done: Done) -> None:
    answer = done.row("climdask-zarr")[-1]
    assert answer.startswith(("right: ", "skipped: climdask refuses the workflow: "))


def test_one_value_a_hundred_thousandth_off_is_void(done: Done) -> None:
    verdict = next(r for r in done.content["runs"] if r["arm"] == "wrong")["verdict"]
    assert not verdict["right"]
    assert verdict["largest"] == pytest.approx(1e-5, rel=0.02)
    text = f"tasmax {done.job.regions[-1]} 2016: off by {verdict['largest']:.2g} of the value"
    assert done.row("wrong")[-1] == f"VOID: {text}"


def test_an_arm_that_fails_is_void_and_the_others_are_reported(done: Done) -> None:
    assert done.row("broken")[-1].startswith("VOID: exit code 1: ")
    assert "no_such_function" in done.row("broken")[-1]


def test_wrong_answers_make_the_exit_code(done: Done) -> None:
    assert done.code == done.content["exit_code"] == 1


def test_an_arm_that_lacks_something_is_skipped_and_says_why(done: Done) -> None:
    why = "the Python package no_such_package is not installed"
    assert done.row("absent")[-1] == f"skipped: {why}"
    assert done.content["skipped"]["absent"] == why
    assert "absent" not in done.content["arms"]


def test_cdo_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    assert ARMS["cdo-best"].lacking(small_job(tmp_path)) == "cdo is not installed"


def test_per_target_and_ratio_follow_from_the_wall_times(done: Done) -> None:
    walls = {run["arm"]: run["measured"]["wall"] for run in done.content["runs"]}
    for name, arm in done.content["arms"].items():
        assert arm["wall"] == arm["wall_min"] == arm["wall_max"] == walls[name]
        assert arm["per_target"] == pytest.approx(walls[name] / arm["targets"])
        own = walls["climdask-netcdf"] / 3
        assert arm["ratio"] == pytest.approx(walls[name] / arm["targets"] / own)
        assert done.row(name)[4] == f"{arm['per_target']:.3f}"
        assert done.row(name)[5] == f"{arm['ratio']:.2f}"


def test_the_json_says_what_figures_depend_on(done: Done) -> None:
    environment = done.content["environment"]
    files = [path for _, path in done.job.files]
    n_days = 5 * 365 + 5 * 365 + 2  # 2012 and 2016 in the standard calendar
    n_cells = done.job.rows * done.job.columns
    assert environment["data"]["files"] == len(files) == 10
    assert environment["data"]["stored_bytes"] == sum(path.stat().st_size for path in files)
    assert environment["data"]["decoded_bytes"] == n_days * n_cells * 4
    assert environment["packages"]["netCDF4"] == netCDF4.__version__
    assert environment["cores"] == 2
    assert environment["cpu"]
    figures = {run["arm"]: run["figures"] for run in done.content["runs"]}
    assert figures["climdask-netcdf"]["opens"] == 10
    assert figures["read-floor"]["values"] == n_days * n_cells
    assert figures["copy-floor"]["bytes"] == environment["data"]["stored_bytes"]
    assert os.uname().nodename not in json.dumps(done.content).split('"')
    assert str(done.folder) not in json.dumps(done.content["environment"])


# --- rounds


def test_rounds_begin_elsewhere_and_heavy_arms_take_part_in_some(tmp_path: Path) -> None:
    chosen = arms.wanted(["replaced-pool", "read-floor", "copy-floor"])
    session = Session(small_job(tmp_path), chosen, rounds=3, heavy_rounds=1)
    orders = [[arm.name for arm in session.order(number)] for number in range(3)]
    assert orders[0] == ["climdask-netcdf", "replaced-pool", "read-floor", "copy-floor"]
    assert orders[1] == ["read-floor", "copy-floor", "climdask-netcdf"]
    assert orders[2] == ["copy-floor", "climdask-netcdf", "read-floor"]


def test_ratios_are_paired_by_round(tmp_path: Path) -> None:
    job = small_job(tmp_path)
    session = Session(job, arms.wanted(["read-floor"]), rounds=3, heavy_rounds=3)
    for number, (own, other) in enumerate([(1.0, 3.0), (10.0, 40.0), (2.0, 10.0)]):
        session.runs += [made_up("climdask-netcdf", number, own, job)]
        session.runs += [made_up("read-floor", number, other, job)]
    row = table(session).splitlines()[-1].split("|")
    assert row[4].strip() == "10.00 (3.00-40.00)"
    assert row[6].strip() == "4.00"  # of 3, 4, 5; the ratio of the medians would be 5
    assert session.exit_code == 0


def made_up(arm: str, number: int, wall: float, job: Job) -> Any:
    from benchmarks.measure import Measured
    from benchmarks.session import Run

    measured = Measured(wall, 1.0, 1.0, 1, 0)
    return Run(arm, number, job.targets, measured, {}, 0, answers.Verdict(True, 1))


# --- answers


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda v: v[:-1], "shape"),
        (lambda v: np.where(v == v.flat[0], np.nan, v), "1 of 24 values are missing in one only"),
        (lambda v: v * (1 + 1e-5), ""),
    ],
)
def test_what_differs_is_found(change: Any, text: str) -> None:
    values = np.arange(1.0, 25.0).reshape(2, 3, 4)
    values[0, 0, 1] = np.nan
    difference, found = answers.apart(change(values), values)
    assert text in found
    assert difference > 9e-6


def test_a_value_that_should_be_zero_must_be_zero() -> None:
    assert answers.apart(np.array([0.0, 1.0]), np.array([0.0, 1.0])) == (0.0, "")
    assert answers.apart(np.array([1e-20, 1.0]), np.array([0.0, 1.0])) == (math.inf, "")


@pytest.mark.parametrize("order", [1, -1])
def test_the_tolerance_covers_a_mean_in_float32_and_little_more(order: int, tmp_path: Path) -> None:
    job = small_job(tmp_path, window=30)
    rng = np.random.default_rng(1)
    values = np.exp(rng.normal(0, 4, (30, 10_000))).astype(np.float32)
    total = np.zeros(10_000, dtype=np.float32)
    for year in values[::order]:
        total += year
    exact = np.array([math.fsum(column) for column in values.T]) / 30
    difference, _ = answers.apart(total / np.float32(30), exact.astype(np.float32))
    assert 2.0**-24 < difference <= answers.tolerance(job) < 2e-6


def test_a_normal_that_was_not_written_is_void(tmp_path: Path) -> None:
    job = small_job(tmp_path)
    empty = answers.PlainNormals(tmp_path)
    verdict = answers.compare(job, job.targets, empty, empty)
    assert (verdict.right, verdict.text) == (False, f"pr {job.regions[0]} 2014: not written")
    verdict = answers.compare_reading(job, {"bytes": 1}, ()) if data.make_data(job) else None
    assert verdict is not None
    assert verdict.text.startswith("1 bytes, not ")


def test_a_reader_with_other_values_is_void(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    def off(path: Path, variable: str) -> np.ndarray:
        values = answers.read_year(path, variable)
        values[-1, -1] += 1
        return values

    monkeypatch.setattr("benchmarks.readers.READERS", {"netcdf4": off})
    figures = next(r["figures"] for r in done.content["runs"] if r["arm"] == "read-netcdf4")
    assert not answers.compare_reading(done.job, figures, ("netcdf4",)).right
    verdict = answers.compare_reading(done.job, {"values": 7}, ())
    assert verdict.text.startswith("7 values, not ")


# --- data


def test_the_real_job_is_121_targets_from_150_years(tmp_path: Path) -> None:
    job = make_job(tmp_path, scale=1.0, targets=FULL_TARGETS, cores=2)
    assert (job.first_year, job.last_year, job.rows, job.columns) == (1951, 2100, 600, 1440)
    assert (job.targets[0], job.targets[-1], len(job.targets)) == (1980, 2100, 121)
    assert job.regions == ("CONUS", "AK", "HI", "PRVI", "GU")
    assert len(job.files) == 4 * 150
    assert job.path(SERIES[0], 1980).relative_to(job.root).as_posix() == (
        "pr/historical/pr_day_EVEN-ESM_historical_r1i1p1f1_gn_1980.nc"
    )
    assert Job.from_json(job.to_json()) == job


@pytest.fixture
def tiny(tmp_path: Path) -> Job:
    """One file for each of two years."""
    return small_job(tmp_path, targets=1, window=2, series=[SERIES[2]], cores=1)


def test_files_are_as_nasas(tmp_path: Path) -> None:
    job = small_job(tmp_path, scale=0.004, targets=1, window=1, series=[SERIES[0]], cores=1)
    job = replace(job, first_year=2015, last_year=2015)
    data.make_data(job)
    path = job.path(SERIES[0], 2015)
    with netCDF4.Dataset(path) as dataset:
        field = dataset["pr"]
        assert field.chunking() == [1, job.rows, job.columns]
        assert field.filters()["zlib"]
        assert (field.filters()["complevel"], field.filters()["shuffle"]) == (5, True)
        values = field[:]
        assert (field.dtype, values.shape[0], dataset["time"].calendar) == ("f4", 365, "noleap")
    assert 1.5 < values.nbytes / path.stat().st_size < 2.5
    assert 0.2 < np.ma.getmaskarray(values).mean() < 0.5
    assert 0.2 < (values == 0).mean() < 0.8
    assert values.min() == 0.0
    assert 0 < values[values > 0].min() < 1e-10 < 1e-5 < values.max() < 0.1


def test_data_are_reused(tiny: Job) -> None:
    assert data.make_data(tiny) == 2
    before = stamps(tiny)
    assert data.make_data(tiny) == 0
    assert stamps(tiny) == before


def test_half_made_data_are_completed(tiny: Job, tmp_path: Path) -> None:
    data.make_data(tiny)
    whole = {path: path.read_bytes() for _, path in tiny.files}
    first, second = whole
    # Killed while it made the second file: the stamp knows no sizes yet.
    (tiny.root / data.STAMP).write_text(json.dumps({"parameters": stamp(tiny), "sizes": {}}))
    shutil.move(second, second.with_suffix(".tmp"))
    kept = first.stat().st_mtime_ns
    assert data.make_data(tiny) == 1
    assert first.stat().st_mtime_ns == kept
    with netCDF4.Dataset(second) as dataset:
        assert dataset["tasmax"].shape[0] == 365
    assert not list(tiny.root.rglob("*.tmp"))


@pytest.mark.parametrize("harm", ["truncated", "other parameters", "no stamp"])
@pytest.mark.slow
def test_what_cannot_be_trusted_is_made_again(harm: str, tiny: Job) -> None:
    data.make_data(tiny)
    path = tiny.path(SERIES[2], tiny.last_year)
    if harm == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif harm == "other parameters":
        content = {"parameters": {**stamp(tiny), "version": 0}, "sizes": {}}
        (tiny.root / data.STAMP).write_text(json.dumps(content))
    else:
        (tiny.root / data.STAMP).unlink()
    assert data.make_data(tiny) == (1 if harm == "truncated" else 2)
    assert answers.n_values(tiny, path, SERIES[2]) == 365 * tiny.rows * tiny.columns


def stamp(job: Job) -> Any:
    return json.loads((job.root / data.STAMP).read_text())["parameters"]


def stamps(job: Job) -> list[int]:
    return [path.stat().st_mtime_ns for _, path in job.files]


# --- the command


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--arms=cdo-bst"], "cdo-bst: no such arm; there are climdask-netcdf, "),
        (["--scale=0"], "must be above 0"),
        (["--scale=1e-9"], "no region holds a cell"),
        (["--rounds=0"], "must be 1 at least"),
    ],
)
def test_mistakes_end_with_2_and_a_reason(
    arguments: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, f"--data={tmp_path}"])
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_the_list_names_every_arm(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(ARMS)

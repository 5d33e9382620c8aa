"""The command line, as a user meets it: what goes well, and every kind of bad input."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import filelock
import netCDF4
import numpy as np
import pytest
import yaml

import climdask.cli.commands
from climdask.cli import main
from climdask.cli.logfile import log, start_log, stop_log
from climdask.inputs.access import file_id
from climdask.outputs.folder import OutputFolder
from tests.readback import leftovers
from tests.samples import NEX, Archive, dates_of, write_archive, write_file, write_year

Edit = Callable[[dict[str, Any]], object]
Damage = Callable[[Path, Archive], object]

# Of an undisturbed run: target years 2005-2010 of two variables in one region.
PER_VARIABLE = 6
BAD_YEAR = 2003


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line.removeprefix("climdask: error: ") for line in self.err.splitlines()]


@dataclass(frozen=True)
class Desk:
    """A user's working folder: an archive ``in``, a workflow, an output ``out``."""

    folder: Path
    archive: Archive
    capture: pytest.CaptureFixture[str]

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def yaml(self) -> Path:
        return self.folder / "workflow.yaml"

    @property
    def normals(self) -> list[str]:
        return sorted(path.name for path in self.out.rglob("*normal.nc"))

    def write(self, edit: Edit = lambda _: None, **changes: Any) -> None:
        """Write the workflow, changed."""
        content = {
            "input": {"root": str(self.archive.root)},
            "variables": ["pr", "tas"],
            "scenarios": ["ssp245"],
            "last_historical_year": 2008,
            "regions": ["global"],
            "window": 5,
            "min_years": 5,
            "output": {"root": str(self.out)},
            **changes,
        }
        edit(content)
        self.yaml.write_text(yaml.safe_dump(content), encoding="utf-8")

    def __call__(self, *arguments: object) -> Said:
        """Run a command; whatever it answers, it shows no traceback and leaves nothing half."""
        code = main([str(a) for a in arguments])
        out, err = self.capture.readouterr()
        if "--debug" not in arguments:
            assert "Traceback" not in out + err
            assert "a mistake in climdask" not in err
        assert leftovers(self.folder) == []
        return Said(code, out, err)

    def plan(self, *more: str) -> Said:
        return self("plan", self.yaml, *more)

    def run(self, *more: str) -> Said:
        return self("run", self.yaml, "--serial", "--quiet", *more)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    root = tmp_path_factory.mktemp("template")
    return write_archive(
        root, variables=["tas", "pr"], first=2001, last=2010, last_historical_year=2008
    )


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def desk(template: Archive, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Desk:
    shutil.copytree(template.root, tmp_path / "in")
    made = Desk(tmp_path, replace(template, root=tmp_path / "in"), capfd)
    made.write()
    return made


def assert_refused(said: Said, code: int, *words: str) -> None:
    """One line, with everything that a user needs to know."""
    assert said.code == code
    assert said.out == ""
    assert len(said.errors) == 1, said.err
    for word in words:
        assert word in said.errors[0]


# ---------------------------------------------------------------- what goes well


def test_plan_says_what_would_be_done_and_writes_nothing(desk: Desk) -> None:
    said = desk.plan()
    assert said.code == 0
    assert "ACCESS-CM2/r1i1p1f1/gn/tas" in said.out
    assert "hybrid-ssp245: target years 2009-2010 (2)" in said.out
    assert "2 chains, 12 normals, 20 opens of 20 files" in said.out
    assert not desk.out.exists()


def test_plan_prints_json_and_nothing_else_if_asked_to(desk: Desk) -> None:
    said = desk.plan("--json")
    assert said.code == 0
    plan = json.loads(said.out)
    assert plan["totals"]["normals"] == 12
    assert [chain["variable"] for chain in plan["chains"]] == ["pr", "tas"]
    assert plan["chains"][0]["targets"]["ssp245"] == [2009, 2010]
    assert not desk.out.exists()
    for path in desk.archive.root.rglob("tas_*"):
        path.write_bytes(b"")
    said = desk.plan("--json")
    assert said.code == 1
    assert list(json.loads(said.out)["failures"]) == ["ACCESS-CM2/r1i1p1f1/gn/tas"]


@pytest.mark.slow
def test_run_makes_the_normals_and_says_where_they_are(desk: Desk) -> None:
    said = desk.run()
    assert said.code == 0, said.out
    assert said.err == ""
    assert len(desk.normals) == 2 * PER_VARIABLE
    assert f"12 of 12 normals are in {desk.out}" in said.out
    assert "audit: 20 opens of 20 files" in said.out


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do(desk: Desk) -> None:
    desk.run()
    said = desk.run()
    assert said.code == 0
    assert "0 normals to make in 0 chains" in said.out
    assert "12 of 12 normals" in said.out


@pytest.mark.slow
def test_progress_is_told_line_by_line_unless_it_is_to_be_quiet(desk: Desk) -> None:
    said = desk("run", desk.yaml, "--serial")
    assert "gn/tas: done, 10/10 years, 6/6 target years written" in said.out
    assert "10/10 years" not in desk("run", desk.yaml, "--serial", "--quiet").out


@pytest.mark.slow
def test_options_win_over_the_keys_of_the_workflow(desk: Desk) -> None:
    desk.write(lambda w: w["input"].update(root="nowhere"))
    elsewhere = desk.folder / "elsewhere"
    said = desk.run("--input-root", str(desk.archive.root), "--out", str(elsewhere))
    assert said.code == 0
    assert len(list(elsewhere.rglob("*normal.nc"))) == 12
    assert not desk.out.exists()


@pytest.mark.slow
def test_audit_counts_the_opens_of_all_runs_or_of_the_last(desk: Desk) -> None:
    desk.run()
    next(desk.out.rglob("*tas*2010*normal.nc")).unlink()
    desk.run()
    said = desk("audit", desk.out)
    assert said.code == 0
    assert said.out.startswith("2 runs: 25 opens of 20 files")
    assert "no file was ever open twice at once" in said.out
    assert desk("audit", "--last", desk.out).out.startswith("1 run: 5 opens of 5 files")


@pytest.mark.slow
def test_audit_fails_where_a_file_was_open_twice_at_once(desk: Desk) -> None:
    desk.run()
    trace = next(p for p in desk.out.rglob("*.jsonl") if p.parent.name == "trace")
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    opened = next(line for line in lines if line["event"] == "open")
    closed = next(line for line in lines if line.get("opened") == opened["seq"])
    other = opened | {"process": "7-other", "seq": opened["seq"] + 1}
    other["mono"] = (opened["mono"] + closed["mono"]) / 2
    (trace.parent / "other.jsonl").write_text(json.dumps(other) + "\n")
    said = desk("audit", desk.out)
    assert said.code == 1
    assert "NOT PROVEN" in said.out
    assert f"{opened['file']}: overlap: opened by" in said.out


@pytest.mark.slow
def test_audit_reads_on_after_a_line_that_a_full_disk_cut_short(desk: Desk) -> None:
    desk.run()
    whole = desk("audit", desk.out).out
    for trace in desk.out.rglob("trace/*.jsonl"):
        first, _, rest = trace.read_bytes().partition(b"\n")
        trace.write_bytes(first + b"\n" + b'{"event": "note", "fi' + rest + b'{"event": "op')
    said = desk("audit", desk.out)
    assert (said.code, said.out) == (0, whole)


@pytest.mark.slow
def test_a_record_that_a_full_disk_cut_short_costs_one_normal(desk: Desk) -> None:
    desk.run()
    record = next(p for p in desk.out.rglob("*.jsonl") if p.parent.name == "done")
    first, _, rest = record.read_bytes().partition(b"\n")
    record.write_bytes(first[:40] + rest)
    said = desk.run()
    assert said.code == 0
    assert "1 normal to make" in said.out


def test_schema_is_json_for_editors(desk: Desk) -> None:
    said = desk("schema")
    assert said.code == 0
    assert set(json.loads(said.out)["required"]) == {"input", "variables", "regions"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--version"], 0), (["--help"], 0), ([], 2), (["rum"], 2), (["run"], 2), (["audit"], 2)],
)
def test_what_the_parser_answers(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == code
    assert "climdask" in "".join(capsys.readouterr())


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_no_mistake() -> None:
    command = [sys.executable, "-m", "climdask.cli", "schema"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert err == b""


# ---------------------------------------------------------------- wrong keys


def box(name: str, lon: list[float], lat: list[float]) -> Edit:
    return lambda w: w.update(regions=[{"name": name, "lon": lon, "lat": lat}])


def given(**keys: Any) -> Edit:
    return lambda w: w.update(keys)


# What the user writes, and what must be said.
WRONG_KEYS: dict[str, tuple[Edit, list[str]]] = {
    "a pattern that matches nothing": (
        lambda w: w["input"].update(pattern="cmip6"),
        [
            "input.pattern",
            "{start}-{end}",
            "there is, for instance, pr/historical/pr_day",
            "correct",
        ],
    ),
    "a pattern that leaves the input": (
        lambda w: w["input"].update(pattern="../{variable}_{model}_{member}_{year}.nc"),
        ["input", "../{variable}", "must stay below input.root"],
    ),
    "a box between cell centres, west to east": (
        box("thin", [60, 70], [0, 40]),
        ["region thin (60 to 70 E", "holds no cell", "nearest", "73.5", "widen the box"],
    ),
    "a box between cell centres, south to north": (
        box("thin", [60, 170], [0, 10]),
        ["region thin", "holds no cell", "-9.5", "widen the box"],
    ),
    "a box outside the grid": (
        box("arctic", [60, 170], [75, 80]),
        ["region arctic", "latitudes go from -51 to 70.25", "widen the box"],
    ),
    "latitudes and longitudes swapped": (
        box("swapped", [20, 50], [100, 160]),
        ["regions[0]", "[100.0, 160.0]", "[south, north]", "are lat and lon swapped?"],
    ),
    "north before south": (
        box("x", [60, 150], [40, -60]),
        ["regions[0]", "[40.0, -60.0]", "must be [south, north]"],
    ),
    "a longitude beyond the globe": (
        box("x", [60, 400], [-60, 40]),
        ["regions[0]", "400", "[west, east] within -180 to 360"],
    ),
    "a region that nobody knows": (
        given(regions=["CONSU"]),
        ["regions", "CONSU", 'did you mean "CONUS"?'],
    ),
    "a window longer than the record": (
        given(window=20),
        ["window: 20", "ACCESS-CM2/r1i1p1f1/gn/pr", "2001-2010", "shorten window"],
    ),
    "a window of no years": (given(window=0), ["window: 0", "greater than or equal to 1"]),
    "a target year whose window begins before the record": (
        given(targets=[2003]),
        ["targets: 2003", "1999-2003", "2001-2008", "choose targets from 2005", "partial_windows"],
    ),
    "a target year whose window ends after the record": (
        given(targets=["2009-2012"]),
        ["targets: 2011", "2007-2011", "choose targets from 2005 to 2010"],
    ),
    "a target year long after the record": (
        given(targets=[2090]),
        ["targets: 2090", "2086-2090", "choose targets from 2005 to 2010"],
    ),
    "a period that nobody knows": (
        given(targets="hybird"),
        ["targets", "hybird", 'did you mean "hybrid"?'],
    ),
    "a scenario without files": (
        given(scenarios=["ssp245", "ssp585"]),
        ['scenario "ssp585"', "no file", "found historical, ssp245"],
    ),
    "a misspelled scenario": (
        given(scenarios="ssp254"),
        ['scenario "ssp254"', "found historical, ssp245", 'did you mean "ssp245"?'],
    ),
    "a misspelled variable": (
        given(variables=["pr", "tass"]),
        ['variable "tass"', "found pr, tas", 'did you mean "tas"?'],
    ),
    "a scenario that says nothing of where history ends": (
        lambda w: (w.pop("last_historical_year"), w.update(scenarios=["ssp245", "rcp26"])),
        ['scenario "rcp26"', "no file"],
    ),
    "more years than the window has": (given(min_years=9), ["min_years: 9", "window: 5"]),
    "an unknown key": (given(windo=5), ["windo", 'did you mean "window"?', "known keys"]),
    "an unknown key in a section": (
        given(run={"look_ahead": 3}),
        ["run.look_ahead", 'did you mean "lookahead"?', "known keys of run"],
    ),
    "a key that is missing": (lambda w: w.pop("variables"), ["variables", "missing", "add it"]),
    "an environment variable that is not set": (
        lambda w: w["input"].update(root="${CLIMDASK_NOT_SET}"),
        ["${CLIMDASK_NOT_SET}", "is not set", "export CLIMDASK_NOT_SET="],
    ),
    "locks in the output": (
        lambda w: w.update(run={"lock_dir": w["output"]["root"] + "/locks"}),
        ["run.lock_dir", "out/locks", "lies in output.root", "choose a folder of its own"],
    ),
    "locks below a file": (
        lambda w: w.update(run={"lock_dir": w["input"]["root"] + "/../workflow.yaml/locks"}),
        ["run.lock_dir", "workflow.yaml/locks", "cannot be written"],
    ),
    "a region that leaves the output": (
        box("..", [60, 150], [-60, 40]),
        ["regions[0].name", "'..'", "letters, digits and .+- only"],
    ),
    "a region that is a path": (
        box("/tmp/x", [60, 150], [-60, 40]),
        ["regions[0].name", "'/tmp/x'"],
    ),
    "a scenario that leaves the output": (
        given(scenarios=["../../ssp245"]),
        ["scenarios[0]", "'../../ssp245'", "letters, digits and .+- only"],
    ),
    "a historical experiment that leaves the output": (
        given(historical=".."),
        ["historical", "'..'", "letters, digits and .+- only"],
    ),
    "a variable that leaves the output": (
        given(variables=["../tas"]),
        ["variables[0]", "'../tas'"],
    ),
    "a model that leaves the output": (
        given(models=["../x"]),
        ["models[0]", "'../x'", "letters, digits and .+- only"],
    ),
    "a facet that leaves the output": (
        lambda w: w["input"].update(facets={"model": ".."}),
        ["input.facets.model", "'..'", "letters, digits and .+- only"],
    ),
}


@pytest.mark.parametrize(("edit", "words"), WRONG_KEYS.values(), ids=list(WRONG_KEYS))
def test_a_wrong_key_is_named_with_its_value_and_the_cure_and_nothing_is_written(
    edit: Edit, words: list[str], desk: Desk
) -> None:
    desk.write(edit)
    assert_refused(desk.plan(), 2, *words)
    assert_refused(desk.run(), 2, *words)
    assert not desk.out.exists()


def test_several_mistakes_are_told_at_once_a_line_each(desk: Desk) -> None:
    desk.write(given(window="many", leap_day="both"))
    said = desk.plan()
    assert said.code == 2
    assert [line.split(": ")[1] for line in said.errors] == ["window", "leap_day"]


# ---------------------------------------------------------------- wrong archives


def rename_model(desk: Desk, name: str) -> None:
    for path in list(desk.archive.root.rglob("*.nc")):
        path.rename(path.with_name(path.name.replace("ACCESS-CM2", name)))


def in_place_of_a_file(make: Callable[[Path], object]) -> Callable[[Desk], object]:
    def change(desk: Desk) -> None:
        path = desk.archive.path("tas", BAD_YEAR)
        path.unlink()
        make(path)

    return change


def empty(desk: Desk) -> None:
    shutil.rmtree(desk.archive.root)
    desk.archive.root.mkdir()


NAME = f"tas_day_ACCESS-CM2_historical_r1i1p1f1_gn_{BAD_YEAR}.nc"
WRONG_ARCHIVES: dict[str, tuple[Callable[[Desk], object], list[str]]] = {
    "an empty folder": (empty, ["no file below", "input.pattern", "the folder holds no .nc file"]),
    "no folder": (
        lambda desk: shutil.rmtree(desk.archive.root),
        ["input.root", "is not a folder", "--input-root"],
    ),
    "a folder named like a file": (
        in_place_of_a_file(Path.mkdir),
        [NAME, "is a folder", "remove or rename it"],
    ),
    "a link to nothing": (
        in_place_of_a_file(lambda path: path.symlink_to("nowhere")),
        [NAME, "is a link to a file that is not there", "remove or rename it"],
    ),
    "a pipe named like a file": (
        in_place_of_a_file(lambda path: os.mkfifo(path)),
        [NAME, "is no regular file", "remove or rename it"],
    ),
    "a facet in a file's name that leaves the output": (
        lambda desk: rename_model(desk, ".."),
        ["_.._historical", 'the model is ".."', "letters, digits and .+- only", "rename the file"],
    ),
    "a facet in a file's name that hides in the output": (
        lambda desk: rename_model(desk, ".climdask"),
        ['the model is ".climdask"', "rename the file"],
    ),
}


@pytest.mark.parametrize(("change", "words"), WRONG_ARCHIVES.values(), ids=list(WRONG_ARCHIVES))
def test_a_wrong_archive_is_refused_and_nothing_is_written(
    change: Callable[[Desk], object], words: list[str], desk: Desk
) -> None:
    change(desk)
    assert_refused(desk.plan(), 2, *words)
    assert_refused(desk.run(), 2, *words)
    assert not desk.out.exists()


# ---------------------------------------------------------------- bad files


def cut(path: Path, archive: Archive) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def flip(path: Path, *, at: float) -> None:
    content = bytearray(path.read_bytes())
    start = int(len(content) * at)
    content[start : start + 64] = bytes(b ^ 0xFF for b in content[start : start + 64])
    path.write_bytes(content)


def flip_packed(path: Path, archive: Archive) -> None:
    replace(archive, style=NEX).write("tas", BAD_YEAR)
    flip(path, at=0.5)


def without_time(path: Path, archive: Archive) -> None:
    with netCDF4.Dataset(path, "w") as dataset:
        for name, units, values in (
            ("lat", "degrees_north", archive.style.lat),
            ("lon", "degrees_east", archive.style.lon),
        ):
            dataset.createDimension(name, len(values))
            axis = dataset.createVariable(name, "f8", (name,))
            axis.units, axis[:] = units, values
        dataset.createVariable("tas", "f4", ("lat", "lon"))[:] = 280.0


def with_stamps(change: Callable[[np.ndarray], None]) -> Damage:
    def damage(path: Path, archive: Archive) -> None:
        with netCDF4.Dataset(path, "a") as dataset:
            stamps = np.array(dataset["time"][:])
            change(stamps)
            dataset["time"][:] = stamps

    return damage


def swap(stamps: np.ndarray) -> None:
    stamps[[10, 11]] = stamps[[11, 10]]


def double(stamps: np.ndarray) -> None:
    stamps[11] = stamps[10]


def double_at_another_hour(stamps: np.ndarray) -> None:
    stamps[11] = stamps[10] + 0.25


def written(**changes: Any) -> Damage:
    return lambda path, archive: archive.write("tas", BAD_YEAR, **changes)


FIRST = "gn_2001.nc"
# What is done to a file, whether plan --check sees it, and what must be said of the file.
BAD_FILES: dict[str, tuple[Damage, bool, list[str]]] = {
    "of no bytes": (
        lambda p, a: p.write_bytes(b""),
        True,
        ["is empty (0 bytes)", "fetch it again"],
    ),
    "truncated": (cut, True, ["truncated", "Fetch it again"]),
    "of text": (
        lambda p, a: p.write_text("<html>404</html>"),
        True,
        ["is no NetCDF file", "b'<htm'", "fetch it again"],
    ),
    "with flipped bits in its header": (
        lambda p, a: flip(p, at=0.001),
        True,
        ["damaged or truncated", "Fetch it again"],
    ),
    "with flipped bits in its values": (flip_packed, False, ["damaged", "fetch it again"]),
    "with another variable": (
        lambda p, a: write_year(p, "tasmax", BAD_YEAR),
        True,
        ['its name says "tas", but it holds tasmax'],
    ),
    "without a time axis": (without_time, True, ["tas(lat, lon) has no time axis", "expected"]),
    "with days in disorder": (with_stamps(swap), True, ["not in order at step 12", "sort it"]),
    "with a day twice": (with_stamps(double), True, ["not in order at step 12", "sort it"]),
    "with a day at two hours": (
        with_stamps(double_at_another_hour),
        True,
        ["2003-01-11 is there twice", "expected one step a day"],
    ),
    "of another year": (
        lambda p, a: write_year(p, "tas", 1999),
        True,
        ["its name says 2003, but its time axis has 1999-1999 only", "rename it"],
    ),
    "on another grid": (
        written(lat=(-51.0, -9.5, 31.0, 70.5)),
        True,
        ["a grid of 4 x 5 cells", "not 4 x 5 cells", "lat 4 is 70.5, not 70.25", FIRST],
    ),
    "in other units": (
        written(attributes={"units": "degC"}),
        True,
        ['units "degC", not "K"', FIRST, "convert it"],
    ),
    "of another calendar": (
        lambda p, a: write_year(p, "tas", BAD_YEAR, "360_day"),
        True,
        ['calendar "360_day", not "standard"', FIRST],
    ),
}


@pytest.mark.parametrize(("damage", "is_seen", "words"), BAD_FILES.values(), ids=list(BAD_FILES))
@pytest.mark.slow
def test_a_bad_file_fails_its_own_chain_only_and_is_named(
    damage: Damage, is_seen: bool, words: list[str], desk: Desk
) -> None:
    path = desk.archive.path("tas", BAD_YEAR)
    damage(path, desk.archive)
    assert desk.plan().code == 0, "it opens one file of each chain only"
    checked = desk.plan("--check")
    assert checked.code == int(is_seen)
    said = desk.run()
    assert said.code == 1
    assert said.err == ""
    assert len(desk.normals) == PER_VARIABLE
    assert all(name.startswith("pr_") for name in desk.normals)
    assert "12 normals to make" in said.out
    assert "6 of 12 normals are in" in said.out
    told = [line for line in said.out.splitlines() if str(path) in line]
    assert len(told) == 1, "once, in one piece"
    for word in words:
        assert word in told[0]
        assert word in checked.out or not is_seen
    assert desk("audit", desk.out).code == 0


@pytest.mark.slow
def test_a_mended_file_lets_the_next_run_finish(desk: Desk) -> None:
    desk.archive.path("tas", BAD_YEAR).write_bytes(b"")
    desk.run()
    desk.archive.write("tas", BAD_YEAR)
    said = desk.run()
    assert said.code == 0
    assert "6 normals to make in 1 chain" in said.out
    assert len(desk.normals) == 2 * PER_VARIABLE


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut, flip_packed, lambda p, a: p.write_bytes(b"")])
def test_a_damaged_file_is_skipped_if_the_missing_rule_allows_it(
    damage: Damage, desk: Desk
) -> None:
    damage(desk.archive.path("tas", BAD_YEAR), desk.archive)
    desk.write(given(min_years=4, run={"on_bad_file": "skip", "retries": 0}))
    said = desk.run()
    assert said.code == 0
    assert len(desk.normals) == 2 * PER_VARIABLE
    skipped = [line for line in said.out.splitlines() if line.startswith("skipped: ")]
    assert len(skipped) == 1
    assert skipped[0].count(NAME) == 1
    with netCDF4.Dataset(next(desk.out.rglob("tas*2005_5yr*"))) as dataset:
        assert int(dataset["number_of_years"][...]) == 4


@pytest.mark.slow
def test_a_damaged_file_fails_its_chain_if_too_few_years_are_left(desk: Desk) -> None:
    cut(desk.archive.path("tas", BAD_YEAR), desk.archive)
    desk.write(given(min_years=5, run={"on_bad_file": "skip", "retries": 0}))
    said = desk.run()
    assert said.code == 1
    assert "only 4 source years are left, fewer than min_years: 5" in said.out
    assert len(desk.normals) == PER_VARIABLE


@pytest.mark.slow
def test_files_that_contradict_the_chain_are_never_skipped(desk: Desk) -> None:
    desk.archive.write("tas", BAD_YEAR, attributes={"units": "degC"})
    desk.write(given(min_years=4, run={"on_bad_file": "skip"}))
    said = desk.run()
    assert said.code == 1
    assert 'units "degC", not "K"' in said.out


@pytest.mark.slow
def test_bad_files_at_the_start_do_not_keep_the_rest_from_being_planned(desk: Desk) -> None:
    for year in range(2001, 2005):
        desk.archive.path("tas", year).write_bytes(b"")
    desk.write(given(min_years=1, run={"on_bad_file": "skip"}))
    said = desk.run()
    assert said.code == 0
    assert said.out.count("skipped: ") == 4
    assert len(desk.normals) == 2 * PER_VARIABLE


@pytest.mark.slow
def test_a_chain_without_any_good_file_fails_and_the_first_is_named(desk: Desk) -> None:
    for year in range(2001, 2011):
        desk.archive.path("tas", year).write_bytes(b"")
    planned = desk.plan()
    assert planned.code == 1
    assert f"FAILED   ACCESS-CM2/r1i1p1f1/gn/tas: {desk.archive.path('tas', 2001)}" in planned.out
    said = desk.run()
    assert said.code == 1
    assert "6 of 6 normals are in" in said.out
    assert "1 chain could not be planned" in said.out


def test_the_check_names_a_few_of_many_bad_files(desk: Desk) -> None:
    for year in range(2002, 2011):
        desk.archive.write("tas", year, attributes={"units": "degC"})
    said = desk.plan("--check")
    assert said.code == 1
    assert said.out.count('units "degC"') == 3
    assert "and 6 more files" in said.out


@pytest.mark.slow
def test_days_that_a_year_lacks_are_told_though_the_run_goes_well(desk: Desk) -> None:
    path, dates = desk.archive.path("tas", BAD_YEAR), dates_of(BAD_YEAR, BAD_YEAR, "standard")
    write_file(path, "tas", dates[:300], "standard", np.full((300, 4, 5), 280.0, np.float32))
    said = desk.run()
    assert said.code == 0
    assert f"note: {path}: 65 days of 2003 have no value" in said.out


@pytest.mark.slow
def test_days_and_normals_that_the_rule_leaves_out_are_told_with_the_rule(desk: Desk) -> None:
    for year in (2003, 2004):  # as Daymet's 31 December, in more years than may be missing
        dates = dates_of(year, year, "standard")[:-1]
        write_file(
            desk.archive.path("tas", year), "tas", dates, "standard",
            np.full((len(dates), 4, 5), 280.0, np.float32),
        )  # fmt: skip
    said = desk.run()
    assert said.code == 0
    lines = [line for line in said.out.splitlines() if line.startswith("note: ")]
    first = desk.archive.path("tas", 2003)
    assert f"note: 2 files: 1 day of the year has no value, such as {first}: 1 day of 2003" in [
        line.split(" has no value;")[0].removesuffix(" has no value") for line in lines
    ]
    gaps = [line for line in lines if "31 December is missing in" in line]
    assert gaps
    assert all(" years have values there; min_years asks for 5" in line for line in gaps)
    (manifest,) = desk.out.rglob("manifest.json")
    told = json.loads(manifest.read_text())["audit"]["lacking"]
    assert [f"note: {line}" for line in told] == gaps


@pytest.mark.slow
def test_files_that_are_read_through_netcdf4_are_told_once_for_each_reason(desk: Desk) -> None:
    for year in (2002, 2004):
        desk.archive.write("tas", year, format="NETCDF3_CLASSIC")
    desk.archive.write("pr", 2005, dims=("lat", "time", "lon"))
    said = desk.run()
    assert said.code == 0
    old, odd = desk.archive.path("tas", 2002), desk.archive.path("pr", 2005)
    notes = [line for line in said.out.splitlines() if "netCDF library" in line]
    through = "read through the netCDF library, which is slower"
    assert sorted(notes) == [
        f"note: 1 file was {through}: in one piece, with time not first ({odd})",
        f"note: 2 files were {through}: NETCDF3 format ({old})",
    ]
    (manifest,) = desk.out.rglob("manifest.json")
    slow = json.loads(manifest.read_text())["audit"]["read_through_netcdf4"]
    assert sorted(slow) == [
        [str(odd), "in one piece, with time not first"],
        [str(old), "NETCDF3 format"],
        [str(desk.archive.path("tas", 2004)), "NETCDF3 format"],
    ]


@pytest.mark.slow
def test_a_run_that_reads_chunks_says_nothing_of_the_netcdf_library(desk: Desk) -> None:
    said = desk.run()
    assert said.code == 0
    assert "netCDF library" not in said.out


@pytest.mark.slow
def test_a_file_that_stays_busy_fails_its_chain(desk: Desk) -> None:
    desk.write(given(run={"lock_timeout": 0.2, "lock_dir": str(desk.folder / "locks")}))
    (desk.folder / "locks").mkdir()
    busy = desk.archive.path("tas", BAD_YEAR)
    with filelock.FileLock(desk.folder / "locks" / f"{file_id(busy)}.lock"):
        said = desk.run()
    assert said.code == 1
    assert f"{busy}: still open elsewhere after 0.2 s" in said.out
    assert "raise run.lock_timeout" in said.out
    assert len(desk.normals) == PER_VARIABLE


@pytest.mark.slow
def test_paths_with_brackets_are_told_as_they_are(desk: Desk) -> None:
    odd = desk.folder / "in [red] :warning: [x]"
    desk.archive.root.rename(odd)
    desk.write(lambda w: w["input"].update(root=str(odd)))
    (odd / desk.archive.path("tas", BAD_YEAR).relative_to(desk.archive.root)).write_bytes(b"")
    said = desk.run()
    assert said.code == 1
    assert f"{odd}/tas/historical/{NAME}: is empty" in said.out


# ---------------------------------------------------------------- outputs that cannot be written


def test_a_file_in_the_way_of_the_output_is_named(desk: Desk) -> None:
    desk.out.write_text("mine")
    assert_refused(desk.run(), 2, "output.root", str(desk.out), "cannot be written", "--out")
    assert desk.out.read_text() == "mine"


def test_a_file_above_the_output_is_named(desk: Desk) -> None:
    desk.write(lambda w: w["output"].update(root=str(desk.yaml / "below")))
    assert_refused(desk.run(), 2, "output.root", "workflow.yaml/below", "cannot be written")


@pytest.mark.slow
def test_a_file_in_the_way_of_one_variable_fails_that_variable_only(desk: Desk) -> None:
    in_the_way = desk.out / "ACCESS-CM2/r1i1p1f1/pr/global"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("mine")
    said = desk.run()
    assert said.code == 1
    assert f"{in_the_way}/historical/pr_day" in said.out
    assert "cannot be written" in said.out
    assert len(desk.normals) == PER_VARIABLE
    assert in_the_way.read_text() == "mine"


def test_a_folder_that_was_there_before_a_refused_run_stays(desk: Desk) -> None:
    desk.out.mkdir()
    desk.write(given(window=20))
    assert desk.run().code == 2
    assert list(desk.out.iterdir()) == []


@pytest.mark.slow
def test_a_refused_run_keeps_what_earlier_runs_left(desk: Desk) -> None:
    desk.run()
    before = sorted(desk.out.rglob("*"))
    desk.write(given(window=20))
    assert desk.run().code == 2
    assert set(before) <= set(desk.out.rglob("*"))
    desk.write()
    assert "0 normals to make" in desk.run().out


@pytest.mark.slow
def test_of_two_runs_into_one_output_the_second_is_refused(desk: Desk) -> None:
    with OutputFolder(desk.out).claimed():
        said = desk.run()
        assert_refused(said, 2, "output.root", "another run is at work", str(desk.out), "--out")
        assert str(os.getpid()) in said.err
    assert desk.run().code == 0


@pytest.fixture
def mounted(desk: Desk) -> Iterator[Callable[..., None]]:
    """Mount a small file system at the output; tests that need one are skipped elsewhere."""

    def mount(options: str) -> None:
        desk.out.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(desk.out)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("file systems cannot be mounted here")

    yield mount
    if desk.out.is_mount():
        subprocess.run(["umount", "-l", str(desk.out)], check=True)


def test_a_read_only_output_is_refused(desk: Desk, mounted: Callable[..., None]) -> None:
    mounted("size=1m,ro")
    assert_refused(desk.run(), 2, "output.root", str(desk.out), "Read-only file system", "--out")


@pytest.mark.parametrize(
    ("size", "policy"), [("4k", "fail"), ("16k", "skip"), ("48k", "skip"), ("150k", "fail")]
)
@pytest.mark.slow
def test_a_full_disk_is_told_and_leaves_nothing_half_and_room_lets_the_run_go_on(
    size: str, policy: str, desk: Desk, mounted: Callable[..., None]
) -> None:
    desk.write(given(min_years=1, run={"on_bad_file": policy}))
    mounted(f"size={size}")
    said = desk.run()
    assert said.code in (1, 2)
    assert "cannot be written" in said.out + said.err
    assert "skipped" not in said.out, "a full disk is no bad input"
    whole = desk.normals
    for path in desk.out.rglob("*normal.nc"):
        with netCDF4.Dataset(path) as dataset:
            assert dataset["time"].size == 365
    subprocess.run(["mount", "-o", "remount,size=50m", str(desk.out)], check=True)
    assert desk("audit", desk.out).code in (0, 2)
    said = desk.run()
    assert said.code == 0
    assert f"{12 - len(whole)} normals to make" in said.out
    assert len(desk.normals) == 12


# ---------------------------------------------------------------- YAML that is none

ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
WRONG_YAML: dict[str, tuple[str | bytes, list[str]]] = {
    "a list": ("- a\n- b\n", ["is a list", "expected keys and values"]),
    "a word": ("hello\n", ["expected keys and values"]),
    "nothing": ("", ["is empty", "expected keys and values"]),
    "tabs": ("input:\n\troot: x\n", ["line 2, column 1", "indent with spaces, not tabs"]),
    "a key twice": (
        "input: {root: x}\nvariables: [tas]\nvariables: [pr]\n",
        ['key "variables" in line 3', "in line 2", "remove one"],
    ),
    "a key twice, below": ("input: {root: x, root: y}\n", ['key "root"', "remove one"]),
    "an open bracket": ("input: {root: x\nvariables: [tas]\n", ["no valid YAML in line 2"]),
    "no text": (bytes(range(128, 256)), ["is no text file", "UTF-8"]),
    "a character that YAML forbids": (b"a: \x00", ["no valid YAML", "position 3"]),
    "a small bomb of aliases": (ALIASES, ["its aliases unfold to more than 50,000 values"]),
    "an alias that holds itself": ("a: &a [*a]\n", ["an alias in line 1 holds itself"]),
    "a large bomb": (
        "a: &a [" + "x," * 5_000_000 + "x]\nb: [*a, *a]\n",
        ["larger than 1,000,000 bytes", "is it a workflow?"],
    ),
    "too many levels": ("[" * 1000 + "]" * 1000, ["nested too deeply"]),
    "a key that is a list": ("? [a]\n: 2\n", ["the key in line 1 is no word"]),
    "code": ("a: !!python/object/apply:os.getcwd []\n", ["no valid YAML in line 1", "os.getcwd"]),
    "an alias of nothing": ("a: *b\n", ["no valid YAML in line 1", "'b'"]),
    "two documents": ("a: 1\n---\nb: 1\n", ["no valid YAML in line 2"]),
}


@pytest.mark.slow
@pytest.mark.parametrize(("text", "words"), WRONG_YAML.values(), ids=list(WRONG_YAML))
def test_a_workflow_that_is_no_yaml_is_refused(
    text: str | bytes, words: list[str], desk: Desk
) -> None:
    desk.yaml.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert_refused(desk.plan(), 2, str(desk.yaml), *words)
    assert_refused(desk.run(), 2, str(desk.yaml), *words)
    assert not desk.out.exists()


@pytest.mark.parametrize(("name", "why"), [("none.yaml", "No such file"), ("in", "Is a directory")])
def test_a_workflow_that_cannot_be_read_is_named(name: str, why: str, desk: Desk) -> None:
    assert_refused(desk("plan", desk.folder / name), 2, name, "cannot be read", why)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("kind: slurmy", 2, ["kind", '"slurmy"', "local, external"]),
        ("coers: 4", 2, ["coers", 'did you mean "cores"?']),
        ("kind: external\nscheduler_file: none.json", 2, ["scheduler_file: none.json", "cannot"]),
        ("kind: external\naddress: tcp://127.0.0.1:9\ntimeout: 0.5", 2, ["tcp://127.0.0.1:9"]),
    ],
)
@pytest.mark.slow
def test_a_cluster_that_cannot_be_used_is_refused_and_nothing_is_written(
    text: str, code: int, words: list[str], desk: Desk
) -> None:
    profile = desk.folder / "cluster.yaml"
    profile.write_text(text)
    assert_refused(desk.plan("--cluster", str(profile)), code, *words)
    assert_refused(desk("run", desk.yaml, "--cluster", profile), 2, *words)
    assert not desk.out.exists()


@pytest.mark.parametrize("folder", ["in", "none"])
def test_audit_of_a_folder_without_traces_is_a_mistake(folder: str, desk: Desk) -> None:
    said = desk("audit", desk.folder / folder)
    assert_refused(said, 2, folder, "holds no traces", "is it the output folder of a run?")


# ---------------------------------------------------------------- the last resorts


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_where_an_error_comes_from(place: str, desk: Desk) -> None:
    desk.write(given(window=20))
    order = ["--debug", "plan", desk.yaml] if place == "before" else ["plan", desk.yaml, "--debug"]
    said = desk(*order)
    assert said.code == 2
    assert "Traceback" in said.err
    assert "PlanError" in said.err
    assert said.err.splitlines()[-1].startswith("climdask: error: window: 20")


def test_a_mistake_of_climdask_itself_is_told_in_a_line(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(climdask.cli.commands, "run", broken)
    assert main(["run", str(desk.yaml)]) == 1
    err = desk.capture.readouterr().err
    assert err == "climdask: error: KeyError: 'oops' (a mistake in climdask; --debug shows where)\n"


def test_a_run_that_is_told_to_stop_says_that_it_can_go_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(climdask.cli.commands, "run", stopped)
    assert_refused(desk.run(), 130, "interrupted; run again to go on from here")


@pytest.mark.slow
def test_what_breaks_because_of_a_signal_was_interrupted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise SystemError("returned a result with an exception set") from None

    monkeypatch.setattr(climdask.cli.commands, "run", stopped)
    assert_refused(desk.run(), 130, "interrupted; run again to go on from here")
    monkeypatch.undo()
    assert desk.run().code == 0, "that was long ago"


@pytest.mark.slow
def test_a_log_gets_all_that_is_told_with_date_and_time(desk: Desk) -> None:
    log = desk.folder / "logs" / "run.log"
    assert desk.run("--log", str(log)).code == 0  # which is quiet
    first = log.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in first)
    for words in ("12 normals to make in 2 chains", "gn/tas: done, 10/10 years", "done, 20 files",
                  "12 of 12 normals are in", "audit: 20 opens of 20 files"):  # fmt: skip
        assert any(words in line for line in first), words
    desk.write(given(window=50))
    assert desk.run("--log", str(log)).code != 0
    second = log.read_text().splitlines()
    assert second[: len(first)] == first, "appended"
    assert " error: window: 50" in second[-1]


def test_a_hostile_message_is_plain_text_on_the_terminal_in_the_log_and_in_a_notebook(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(todo: object, stock: object, report: Callable[[str], None]) -> None:
        report("note: units \x1b]0;owned\x07")
        raise RuntimeError("\x1b[2J\r")

    monkeypatch.setattr("climdask.running.run._tell", tell)
    log = desk.folder / "run.log"
    code = main(["run", str(desk.yaml), "--serial", "--quiet", "--log", str(log), "--debug"])
    out, err = desk.capture.readouterr()
    assert code == 1
    assert "note: units \\x1b]0;owned\\x07" in out
    assert "Traceback" in err
    for text in (out, err, log.read_text()):
        assert not set(text) & set("\x1b\x07\r")
    assert "error: RuntimeError: \\x1b[2J\\r" in log.read_text()
    told: list[str] = []
    with pytest.raises(RuntimeError):
        climdask.run(desk.yaml, serial=True, report=told.append)
    assert told == ["note: units \\x1b]0;owned\\x07"]


def test_a_message_of_a_chain_is_plain_text_in_the_log(tmp_path: Path) -> None:
    start_log(tmp_path / "run.log")
    try:
        log("tas: failed: units \x1b[2J")
    finally:
        stop_log()
    assert (tmp_path / "run.log").read_text().endswith(" tas: failed: units \\x1b[2J\n")


def test_a_log_that_cannot_be_written_is_refused_before_the_work(desk: Desk) -> None:
    said = desk.run("--log", str(desk.folder))
    assert_refused(said, 2, f"--log: {desk.folder} cannot be written", "choose another file")
    assert not desk.out.exists()


@pytest.mark.slow
def test_dasks_own_report_is_kept(desk: Desk) -> None:
    profile = desk.folder / "cluster.yaml"
    profile.write_text("workers: 1\nthreads: 1\ndashboard: off\n")
    page = desk.folder / "dask.html"
    more = ["--cluster", profile, "--performance-report"]
    assert desk("run", desk.yaml, "--quiet", *more, page).code == 0
    text = page.read_text(encoding="utf-8")
    for words in ("Task Stream", "pr-read", "tas-window"):
        assert words in text
    shutil.rmtree(desk.out)
    said = desk("run", desk.yaml, "--quiet", *more, desk.folder)
    assert said.code == 0, "the normals are there all the same"
    assert f"note: {desk.folder}: cannot be written (Is a directory)" in said.out
    said = desk.run("--performance-report", str(page))
    assert_refused(said, 2, "--performance-report", "Dask", "leave out --serial")


@pytest.mark.slow
def test_a_run_that_is_interrupted_says_so_in_its_manifest_and_can_go_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("climdask.execution.tasks.checkpoint", interrupt)
        desk.write(given(run={"checkpoint_every": 3}))
        said = desk.run()
    assert (said.code, said.errors) == (130, ["interrupted; run again to go on from here"])
    assert json.loads((desk.out / ".climdask/manifest.json").read_text())["state"] == "interrupted"
    assert desk.run().code == 0
    assert len(desk.normals) == 12


# ---------------------------------------------------------------- on a local cluster


@pytest.mark.slow
def test_on_a_cluster_a_bad_file_fails_its_chain_and_workers_print_no_traceback(
    desk: Desk,
) -> None:
    bad = desk.archive.path("tas", BAD_YEAR)
    cut(bad, desk.archive)
    profile = desk.folder / "cluster.yaml"
    profile.write_text("workers: 2\nthreads: 1\ndashboard: off\n")
    said = desk("run", desk.yaml, "--cluster", profile)
    assert said.code == 1
    assert said.err == ""
    assert "dashboard" not in said.out
    assert f"{bad}: cannot be read" in said.out
    assert len(desk.normals) == PER_VARIABLE
    assert desk("audit", desk.out).code == 0


@pytest.mark.slow
def test_damage_that_leaves_size_and_time_is_listed_and_mended(desk: Desk) -> None:
    desk.write()
    assert desk.run().code == 0
    path = next(desk.out.rglob("*_2007_5yr_normal.nc"))
    before, right = path.stat(), path.read_bytes()
    path.write_bytes(right[:-100] + bytes([right[-100] ^ 1]) + right[-99:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert desk("audit", desk.out).code == 0
    said = desk("audit", "--outputs", desk.out)
    assert said.code == 1
    assert f"damaged: {path}" in said.out
    said = desk.run("--verify")
    assert (said.code, "1 damaged normal will be made again" in said.out) == (0, True)
    assert desk("audit", "--outputs", desk.out).code == 0


def test_debug_shows_where_a_chain_failed(desk: Desk) -> None:
    desk.write(variables=["tas"], run={"retries": 0})
    path = desk.archive.path("tas", BAD_YEAR)
    path.write_bytes(path.read_bytes()[:2000])
    said = desk.run("--debug")
    assert said.code == 1
    assert "Traceback" in said.err
    assert "in read" in said.err

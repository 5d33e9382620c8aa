"""What is on disk besides the normals: what is done, checkpoints, marks, the folder's lock."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from climdask.climatology.carry import Carry
from climdask.climatology.coverage import Coverage
from climdask.errors import DataError, OutputError
from climdask.execution.checkpoints import (
    checkpoint_path,
    load_checkpoint,
    newest_marks,
    remove_checkpoints,
    save_checkpoint,
    set_mark,
    slug,
)
from climdask.execution.records import (
    Findings,
    finish_stores,
    prepare_stores,
    read_records,
    record_done,
    take_stock,
)
from climdask.execution.serial import run_serially
from climdask.execution.verifying import CheckedOutputs, check_outputs
from climdask.outputs.folder import OutputFolder, new_run_id, write_manifest
from climdask.planning.plan import Done, Plan
from climdask.settings.workflow import load
from tests.plans import context_of, plan_of
from tests.samples import EAST, WEST, WRAP, Archive, write_archive

TARGETS = range(2003, 2008)


@dataclass(frozen=True)
class Site:
    """An archive, and the folder of its normals."""

    archive: Archive
    out: Path
    keys: dict[str, Any]

    @property
    def folder(self) -> OutputFolder:
        return OutputFolder(self.out)

    def plan(self, *, done: Done | None = None, **keys: Any) -> Plan:
        flow = load(self.archive.workflow(self.out, **{**self.keys, **keys}))
        return plan_of(flow, done=done)

    def run(self, **keys: Any) -> None:
        plan = self.plan(**keys)
        failed: list[str] = []
        context = context_of(plan.workflow, self.out.parent / "locks")
        run_serially(plan, context, lambda event: failed.append(event.message))
        assert not any(failed)

    def run_with_stores(self) -> None:
        plan = self.plan()
        prepare_stores(plan, self.folder, self.stock())
        self.run()
        finish_stores(plan, self.folder)

    def stock(
        self, *, inputs_unchanged: bool = False, verify: bool = False, **keys: Any
    ) -> Findings:
        plan = self.plan(**keys)
        return take_stock(plan, self.folder, inputs_unchanged=inputs_unchanged, verify=verify)

    def normal(self, target: int, region: str = "EAST") -> Path:
        (path,) = self.out.glob(f"*/*/tas/{region}/*/*_{target}_4yr_normal.nc")
        return path

    def path_of(self, target: int, region: str = "EAST") -> str:
        return self.normal(target, region).relative_to(self.out).as_posix()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Make all normals of a small archive once."""
    base = tmp_path_factory.mktemp("state")
    archive = write_archive(base / "in", first=2000, last=2007, calendar="noleap")
    site = Site(
        archive, base / "out", {"window": 4, "min_years": 3, "run": {"checkpoint_every": 2}}
    )
    site.run()
    return site


@pytest.fixture
def site(finished: Site, tmp_path: Path) -> Site:
    """Copy everything, with all modification times, into a place where it may be damaged."""
    shutil.copytree(finished.archive.root, tmp_path / "in", dirs_exist_ok=True)
    shutil.copytree(finished.out, tmp_path / "out", dirs_exist_ok=True)
    return Site(replace(finished.archive, root=tmp_path / "in"), tmp_path / "out", finished.keys)


def flip(path: Path, place: int = -100) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


# ---------------------------------------------------------------- what is done


def test_a_finished_folder_is_done_and_nothing_else(site: Site) -> None:
    found = site.stock()
    assert len(found.done.normals) == len(TARGETS) * 3
    assert all((site.out / path).is_file() for path in found.done.normals)
    assert (found.stale, found.damaged) == ((), ())


def test_what_is_done_is_planned_no_more(site: Site) -> None:
    plan = site.plan(done=site.stock().done)
    assert (plan.n_normals, plan.opens, len(plan.chains)) == (0, 0, 0)


def damaged_unseen(path: Path) -> None:
    """Change a byte, and leave size and time as they were."""
    before = path.stat()
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_damage_that_leaves_size_and_time_is_found_when_it_is_looked_for(site: Site) -> None:
    damaged_unseen(site.normal(2005))
    assert site.stock().damaged == ()
    found = take_stock(site.plan(), site.folder, verify=True)
    assert found.damaged == (site.path_of(2005),)
    assert site.path_of(2005) not in found.done.normals
    assert len(found.done.normals) == len(TARGETS) * 3 - 1


def test_outputs_are_checked_without_the_inputs(site: Site) -> None:
    shutil.rmtree(site.archive.root)
    assert check_outputs(site.folder) == CheckedOutputs(len(TARGETS) * 3, (), ())
    lost, hurt = site.path_of(2004), site.path_of(2005)
    site.normal(2004).unlink()
    damaged_unseen(site.normal(2005))
    assert check_outputs(site.folder) == CheckedOutputs(len(TARGETS) * 3 - 2, (hurt,), (lost,))


@pytest.mark.slow
def test_objects_of_stores_are_checked_alike(finished: Site, tmp_path: Path) -> None:
    out = tmp_path / "zarr"
    keys = {**finished.keys, "output": {"root": str(out), "format": "zarr", "count": True}}
    site = Site(finished.archive, out, keys)
    site.run_with_stores()
    total = len(TARGETS) * 3
    assert check_outputs(site.folder) == CheckedOutputs(total, (), ())
    (store,) = out.glob("*/*/tas/EAST/*.zarr")
    damaged_unseen(next(iter((store / "count").glob("c.1.*"))))
    key = f"{store.relative_to(out).as_posix()}/2004"
    assert check_outputs(site.folder) == CheckedOutputs(total - 1, (key,), ())
    assert take_stock(site.plan(), site.folder, verify=True).damaged == (key,)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@pytest.mark.slow
@given(
    key=st.sampled_from(
        ["path", "input_hash", "untimed_hash", "size", "mtime_ns", "crc32", "skipped", "sources"]
    ),
    value=JSON,
)
@settings(deadline=None, max_examples=100)
def test_a_record_with_a_wrong_value_is_ignored_or_a_record(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    folder = OutputFolder(tmp_path_factory.getbasetemp() / "hostile")
    place = folder.state / "done" / "a.jsonl"
    place.parent.mkdir(parents=True, exist_ok=True)
    whole = {"path": "a.nc", "input_hash": "x", "untimed_hash": "y", "size": 1, "mtime_ns": 2,
             "crc32": 3, "skipped": []}  # fmt: skip
    lines = [{}, {**whole, key: value}, whole]
    place.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert whole in read_records(folder)["a.nc"]
    check_outputs(folder)


def test_a_folder_or_a_pipe_among_the_records_is_ignored(site: Site) -> None:
    (site.folder.state / "done" / "folder.jsonl").mkdir()
    os.mkfifo(site.folder.state / "done" / "pipe.jsonl")
    assert len(site.stock().done.normals) == len(TARGETS) * 3


def test_an_empty_folder_has_nothing_done(site: Site) -> None:
    shutil.rmtree(site.out)
    assert site.stock() == Findings(Done(), (), ())
    assert not site.out.exists(), "taking stock changes nothing"


def test_a_normal_that_is_gone_is_to_be_made_and_no_more_is_said(site: Site) -> None:
    path = site.path_of(2005)
    (site.out / path).unlink()
    found = site.stock()
    assert path not in found.done.normals
    assert len(found.done.normals) == len(TARGETS) * 3 - 1
    assert (found.stale, found.damaged) == ((), ())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip, truncate, lambda p: p.write_bytes(b"")])
def test_a_normal_that_is_not_what_was_written_is_damaged(
    site: Site, damage: Callable[[Path], Any]
) -> None:
    path = site.path_of(2005, "WRAP")
    damage(site.out / path)
    found = site.stock()
    assert found.damaged == (path,)
    assert path not in found.done.normals


def test_a_normal_that_was_touched_or_copied_is_still_done(site: Site) -> None:
    os.utime(site.normal(2005))
    copy = site.normal(2006).with_suffix(".copy")
    shutil.copyfile(site.normal(2006), copy)
    copy.replace(site.normal(2006))
    assert len(site.stock().done.normals) == len(TARGETS) * 3


def test_a_new_input_makes_the_windows_that_hold_it_stale(site: Site) -> None:
    site.archive.write("tas", 2001, attributes={"comment": "a new version"})
    found = site.stock()
    windows = {t for t in TARGETS if t - 3 <= 2001 <= t}
    assert {path.rsplit("_", 3)[1] for path in found.stale} == {str(t) for t in windows}
    assert len(found.stale) == len(windows) * 3
    assert len(found.done.normals) == (len(TARGETS) - len(windows)) * 3


def test_new_times_of_the_inputs_are_accepted_only_if_the_user_says_so(site: Site) -> None:
    for path in site.archive.root.rglob("*.nc"):
        os.utime(path, (1, 1))
    assert len(site.stock().stale) == len(TARGETS) * 3
    found = site.stock(inputs_unchanged=True)
    assert len(found.done.normals) == len(TARGETS) * 3
    path = site.archive.path("tas", 2007)
    path.write_bytes(path.read_bytes() + b"\0")
    found = site.stock(inputs_unchanged=True)
    assert len(found.stale) == 3, "another size is no mere change of time"


@pytest.mark.parametrize("keys", [{"min_years": 4}, {"leap_day": "keep"}])
def test_other_keys_make_normals_stale(site: Site, keys: dict[str, Any]) -> None:
    assert len(site.stock(**keys).stale) == len(TARGETS) * 3


def test_keys_that_change_no_number_leave_normals_done(site: Site) -> None:
    found = site.stock(
        run={"checkpoint_every": 5, "retries": 0}, regions=["global", WRAP, EAST, WEST]
    )
    assert len(found.done.normals) == len(TARGETS) * 3


def test_a_normal_without_a_record_is_stale(site: Site) -> None:
    shutil.rmtree(site.folder.state / "done")
    assert len(site.stock().stale) == len(TARGETS) * 3


def test_a_normal_that_lacks_bad_files_is_done_only_where_they_may_be_skipped(site: Site) -> None:
    plan = site.plan()
    (job,) = (job for _, job in plan.jobs if job.window.last_year == 2005)
    shutil.rmtree(site.folder.state / "done")
    for file in job.files:
        record_done(site.folder, file, skipped=(2004,), process="p")
    paths = {file.path for file in job.files}
    assert paths <= set(site.stock().stale)
    skipping = {"run": {"on_bad_file": "skip"}}
    assert site.stock(**skipping).done.normals == paths


def test_of_several_records_of_a_file_one_that_fits_is_enough(site: Site) -> None:
    plan = site.plan()
    (job,) = (job for _, job in plan.jobs if job.window.last_year == 2005)
    for process, file in (("a", replace(job.files[0], input_hash="x")), ("z", job.files[0])):
        record_done(site.folder, file, skipped=(), process=process)
    assert job.files[0].path in site.stock().done.normals


def test_a_torn_record_is_forgotten(site: Site) -> None:
    (path,) = (site.folder.state / "done").glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    found = site.stock()
    assert (len(found.done.normals), len(found.stale)) == (len(lines) - 1, 1)


# ---------------------------------------------------------------- checkpoints


def sums() -> st.SearchStrategy[Carry]:
    odd = st.sampled_from([0.0, -0.0, 1e-300, 5e-324, 1e300, 0.1, -273.15, 2.0**60 + 256])
    numbers = odd | st.floats(allow_nan=False, allow_infinity=False, width=64)

    @st.composite
    def make(draw: st.DrawFn) -> Carry:
        n_days, n_cells = draw(st.integers(1, 4)), draw(st.integers(1, 5))
        terms = draw(
            st.lists(
                arrays(np.float64, (n_days, n_cells), elements=numbers), min_size=1, max_size=3
            )
        )
        width = draw(st.sampled_from([1, n_cells]))
        counts = st.integers(0, 1000)
        years = tuple(sorted(draw(st.sets(st.integers(1850, 2300), max_size=5))))
        pairs = st.sets(st.tuples(st.integers(1850, 2300), st.text(max_size=5)), max_size=2)
        count = draw(arrays(np.int16, (n_days, width), elements=counts))
        coverage = Coverage(years, count, tuple(sorted(draw(pairs))))
        return Carry((n_days, n_cells), coverage, {"sum": tuple(terms)})

    return make()


def assert_same(one: Carry, other: Carry) -> None:
    assert len(one.states["sum"]) == len(other.states["sum"])
    for mine, theirs in zip(one.states["sum"], other.states["sum"], strict=True):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        assert mine.tobytes() == theirs.tobytes()
        assert mine.flags.c_contiguous
    for name in ("count", "valid_days"):
        mine, theirs = getattr(one.coverage, name), getattr(other.coverage, name)
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        assert mine.tobytes() == theirs.tobytes()
    assert (one.shape, one.years) == (other.shape, other.years)
    assert one.coverage.skipped == other.coverage.skipped


@given(sums())
@settings(deadline=None, max_examples=50, suppress_health_check=list(HealthCheck))
@pytest.mark.slow
def test_a_checkpoint_gives_the_sum_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, carry: Carry
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip" / "c.npz"
    save_checkpoint(path, carry)
    assert_same(load_checkpoint(path), carry)
    assert [p.name for p in path.parent.iterdir()] == ["c.npz"]


SAMPLE = Carry(
    (3, 4),
    Coverage((2000, 2001, 2002, 2003), np.full((3, 1), 4, np.int16), ((2004, "tas/bad.nc"),)),
    {"sum": (np.arange(12.0).reshape(3, 4), np.full((3, 4), 1e-20))},
)


@given(place=st.floats(0, 0.999999), bit=st.integers(0, 7), cut=st.booleans())
@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@pytest.mark.slow
def test_a_damaged_checkpoint_is_told_and_never_gives_another_sum(
    tmp_path_factory: pytest.TempPathFactory, place: float, bit: int, cut: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged" / "c.npz"
    save_checkpoint(path, SAMPLE)
    content = bytearray(path.read_bytes())
    at = int(place * len(content))
    if cut:
        del content[at:]
    else:
        content[at] ^= 1 << bit
    path.write_bytes(content)
    try:
        loaded = load_checkpoint(path)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017 - it may also load
        assert "delete it" in str(error)  # noqa: PT017
    else:
        assert_same(loaded, SAMPLE)


def test_a_checkpoint_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"c\.npz: checkpoint cannot be read"):
        load_checkpoint(tmp_path / "c.npz")


def test_a_checkpoint_is_found_again_as_long_as_its_inputs_are_the_same(site: Site) -> None:
    chain_id = "ACCESS-CM2/r1i1p1f1/gn/tas"
    assert site.stock().done.checkpoints == {
        (chain_id, "historical", 2004), (chain_id, "historical", 2006),
    }  # fmt: skip
    site.archive.write("tas", 2002, attributes={"comment": "new"})
    assert site.stock().done.checkpoints == {(chain_id, "historical", 2006)}


def test_a_checkpoint_in_the_place_of_another_is_never_used(site: Site) -> None:
    (chain,) = site.plan().chains
    early, late = (checkpoint_path(site.folder, chain, "historical", y) for y in (2004, 2006))
    shutil.copy(early, late)
    assert {year for *_, year in site.stock().done.checkpoints} == {2004}
    with pytest.raises(DataError, match=r"is the checkpoint \S+historical-2004.*, moved"):
        load_checkpoint(late)


def test_damage_that_leaves_size_and_time_as_they_were_is_found_to_verify(site: Site) -> None:
    path = site.normal(2005)
    before = path.stat()
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert site.stock().damaged == (), "sizes and times are all that is compared"
    assert site.stock(verify=True).damaged == (site.path_of(2005),)


def test_what_is_whole_is_done_to_verify(site: Site) -> None:
    assert site.stock(verify=True) == site.stock()


@pytest.mark.parametrize(
    ("keys", "n_found"),
    [
        ({"min_years": 4}, 2),  # decides normals, not sums
        ({"output": {"count": True}}, 2),
        ({"regions": ["global"]}, 0),  # other cells
        ({"window": 3}, 0),
        ({"leap_day": "keep"}, 0),
    ],
)
def test_a_checkpoint_fits_where_nothing_that_decides_the_sum_differs(
    site: Site, keys: dict[str, Any], n_found: int
) -> None:
    if "output" in keys:
        keys = {"output": {"root": str(site.out), **keys["output"]}}
    assert len(site.stock(**keys).done.checkpoints) == n_found


def test_damaged_and_foreign_checkpoints_are_ignored(site: Site) -> None:
    (chain,) = site.plan().chains
    first, second = (
        checkpoint_path(site.folder, chain, "historical", year) for year in (2004, 2006)
    )
    flip(first, len(first.read_bytes()) // 2)
    for name in ("foreign.npz", "a-b.npz", "historical-x-y.npz", "ssp999-2004-abc.npz"):
        (first.parent / name).write_bytes(b"PK")
    second.with_name(f".{second.name}.0123abcd.tmp").write_bytes(b"half")
    assert {year for *_, year in site.stock().done.checkpoints} == {2006}
    truncate(second)
    assert site.stock().done.checkpoints == frozenset()


def test_a_checkpoint_of_an_older_layout_is_ignored(site: Site) -> None:
    (chain,) = site.plan().chains
    path = checkpoint_path(site.folder, chain, "historical", 2004)
    with np.load(path) as content:
        old = {k: content[k] for k in content.files if k != "skipped"}
    np.savez(path, **old)
    assert {year for *_, year in site.stock().done.checkpoints} == {2006}


def test_a_checkpoint_that_lacks_bad_files_fits_only_where_they_may_be_skipped(site: Site) -> None:
    (chain,) = site.plan().chains
    path = checkpoint_path(site.folder, chain, "historical", 2006)
    carry = load_checkpoint(path)
    save_checkpoint(
        path, replace(carry, coverage=replace(carry.coverage, skipped=((2005, "tas/x.nc"),)))
    )
    assert {year for *_, year in site.stock().done.checkpoints} == {2004}
    skipping = {"run": {"checkpoint_every": 2, "on_bad_file": "skip"}}
    assert {year for *_, year in site.stock(**skipping).done.checkpoints} == {2004, 2006}


@pytest.mark.parametrize("part", ["chain", "branch", "year", "hash"])
def test_a_checkpoint_in_the_place_of_another_one_is_told(tmp_path: Path, part: str) -> None:
    words = {"chain": "m__r__g__tasmin", "branch": "historical", "year": "2014", "hash": "abc"}
    place = tmp_path / words["chain"] / "historical-2014-abc.npz"
    save_checkpoint(place, SAMPLE)
    words[part] = {"chain": "m__r__g__pr", "branch": "ssp245", "year": "2013", "hash": "def"}[part]
    other = tmp_path / words["chain"] / f"{words['branch']}-{words['year']}-{words['hash']}.npz"
    other.parent.mkdir(exist_ok=True)
    shutil.copy(place, other)
    with pytest.raises(DataError, match=r"is the checkpoint m__r__g__tasmin/historical-2014-abc"):
        load_checkpoint(other)
    assert_same(load_checkpoint(place), SAMPLE)


def test_a_checkpoint_in_the_place_of_another_one_is_not_gone_on_from(site: Site) -> None:
    (chain,) = site.plan().chains
    first, second = (
        checkpoint_path(site.folder, chain, "historical", year) for year in (2004, 2006)
    )
    shutil.copy(first, second)
    assert {year for *_, year in site.stock().done.checkpoints} == {2004}


def test_a_checkpoint_of_version_0_1_says_not_what_it_is_of_and_is_believed(
    site: Site,
) -> None:
    (chain,) = site.plan().chains
    path = checkpoint_path(site.folder, chain, "historical", 2004)
    with np.load(path) as content:
        old = {k: content[k] for k in content.files if k != "place"}
    np.savez(path, **old)
    assert {year for *_, year in site.stock().done.checkpoints} == {2004, 2006}


def test_checkpoints_of_a_chain_are_removed_with_their_folder(site: Site) -> None:
    chain_id = site.plan().chains[0].id
    place = site.folder.state / "checkpoints" / slug(chain_id)
    assert list(place.iterdir())
    remove_checkpoints(site.folder, chain_id)
    assert not place.exists()
    remove_checkpoints(site.folder, chain_id)  # again: nothing happens


# ---------------------------------------------------------------- marks


def test_the_newest_mark_of_each_branch_counts(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    earlier = [("historical", year) for year in (2000, 1998, 999, 1950, 2003, 1001, 1999, 2002)]
    for branch, year in (*earlier, ("historical", 2004), ("ssp2-45", 2030), ("ssp245", 7)):
        set_mark(folder, "run-1", "m/r/g/tas", branch, Path(f"/saved/{branch}-{year}.npz"), year)
    assert newest_marks(folder, "run-1", "m/r/g/tas") == {
        "historical": (2004, "/saved/historical-2004.npz"),
        "ssp2-45": (2030, "/saved/ssp2-45-2030.npz"),
        "ssp245": (7, "/saved/ssp245-7.npz"),
    }
    assert newest_marks(folder, "run-2", "m/r/g/tas") == {}
    assert newest_marks(folder, "run-1", "m/r/g/pr") == {}


def test_a_half_written_mark_is_none(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    set_mark(folder, "run-1", "m/r/g/tas", "historical", Path("a"), 2004)
    place = folder.run("run-1") / "marks" / slug("m/r/g/tas")
    (place / ".historical-2014.0123abcd.tmp").write_text("")
    assert newest_marks(folder, "run-1", "m/r/g/tas") == {"historical": (2004, "a")}


# ---------------------------------------------------------------- the folder's lock


HOLD = """
import sys, time
from pathlib import Path
from climdask.outputs.folder import OutputFolder
with OutputFolder(Path(sys.argv[1])).claimed():
    print("mine", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "mine\n"
        yield process
        process.kill()
        process.wait()


def test_a_second_run_is_refused_until_the_first_is_dead(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    folder = OutputFolder(tmp_path / "out")
    with pytest.raises(OutputError) as caught, folder.claimed():
        pass
    for word in ("output.root", str(folder.root), f"process {holder.pid}", "wait for it", "--out"):
        assert word in str(caught.value)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with folder.claimed():
        assert (folder.state / "holder").read_text().startswith(f"process {os.getpid()} on ")


def _claim(root: Path, queue: Any) -> None:
    with OutputFolder(root).claimed():
        queue.put("claimed")


@pytest.mark.slow
def test_a_claim_ends_with_its_block_also_after_an_error(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "out")
    with pytest.raises(ZeroDivisionError), folder.claimed():
        raise ZeroDivisionError
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.SimpleQueue()
    process = spawn.Process(target=_claim, args=(folder.root, queue))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert queue.get() == "claimed"
    queue.close()
    process.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    folder = OutputFolder(tmp_path / "file")
    with (
        pytest.raises(OutputError, match=r"output\.root: .*file cannot be written"),
        folder.claimed(),
    ):
        pass


# ---------------------------------------------------------------- the rest


def test_the_manifest_is_whole_json_and_names_paths_as_text(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    write_manifest(folder, {"root": Path("a/b"), "n": 1})
    assert json.loads(folder.manifest.read_text()) == {"root": "a/b", "n": 1}


def test_trace_folders_are_listed_from_the_oldest(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    assert folder.traces() == []
    for i, run_id in enumerate(["b", "a", "c"]):
        folder.trace(run_id).mkdir(parents=True)
        os.utime(folder.trace(run_id), (i + 1, i + 1))
    (folder.run("empty")).mkdir()
    assert folder.traces() == [folder.trace(r) for r in ("b", "a", "c")]


def test_no_two_runs_have_one_name() -> None:
    assert len({new_run_id() for _ in range(100)}) == 100

"""What runs on a worker: markers instead of work that is done, retries, files that are skipped."""

from __future__ import annotations

import errno
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import filelock
import netCDF4
import numpy as np
import pytest

from climdask.climatology.blocks import Block
from climdask.climatology.calendars import DayAxis
from climdask.errors import BusyFile, ClimdaskError, DataError, InconsistentFile, UnreadableFile
from climdask.execution import tasks
from climdask.execution.checkpoints import checkpoint_path, newest_marks, set_mark
from climdask.execution.tasks import RunContext, Skipped, Superseded, Written
from climdask.inputs import chunkmanifest
from climdask.inputs.access import file_id
from climdask.inputs.audit import audit
from climdask.inputs.netcdf import PassingError
from climdask.planning.chains import CarryId, Read, Step
from climdask.planning.plan import Chain, Limits, Plan
from climdask.settings.workflow import load
from tests.plans import context_of, plan_of
from tests.samples import Archive, write_archive

BRANCHES = ("ssp245", "ssp585")


@pytest.fixture(scope="module")
def shared_archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return write_archive(
        tmp_path_factory.mktemp("archive"),
        first=2000,
        last=2012,
        last_historical_year=2007,
        scenarios=BRANCHES,
        calendar="standard",
    )


@dataclass(frozen=True)
class Bench:
    """A plan and all that its tasks need, to run them by hand."""

    archive: Archive
    plan: Plan
    context: RunContext

    @property
    def chain(self) -> Chain:
        (chain,) = self.plan.chains
        return chain

    def reading(self, branch: str, year: int, *, again: bool = False) -> Read:
        """Return the reading that a year's block comes from."""
        (found,) = (
            r
            for r in self.chain.branches.reads
            for b in r.blocks
            if (b.branch, b.year, b.again) == (branch, year, again)
        )
        return found

    def read(self, branch: str, year: int, *, again: bool = False) -> Any:
        return tasks.read(self.chain.spec, self.context, self.reading(branch, year, again=again))

    def step(self, branch: str, year: int) -> Step:
        (found,) = (s for s in self.chain.branches.steps[branch] if s.year == year)
        return found

    def window(self, branch: str, year: int, before: Any, *parts: Any) -> Any:
        return tasks.window(self.chain.spec, self.context, self.step(branch, year), before, *parts)

    def answers(self, step: Step) -> list[Any]:
        """Read what a step needs."""
        wanted = [b for b in (step.enters, step.leaves) if b is not None]
        return [self.read(b.branch, b.year, again=b.again) for b in wanted]

    def walk(self, branch: str, last_year: int, carry: Any = None) -> Any:
        """Walk from an empty sum, or from ``carry``, up to a year."""
        done = max(carry.years) if carry is not None else 0
        for step in self.chain.branches.way(branch):
            if done < step.year <= last_year:
                carry = tasks.window(
                    self.chain.spec, self.context, step, carry, *self.answers(step)
                )
        return carry

    def mark(self, branch: str, year: int, path: Path | str = "somewhere") -> None:
        set_mark(self.context.folder, self.context.run_id, self.chain.id, branch, Path(path), year)

    @property
    def traces(self) -> list[dict[str, Any]]:
        paths = self.context.access.trace_dir.glob("*.jsonl")
        return [json.loads(line) for p in paths for line in p.read_text().splitlines()]


def bench_of(archive: Archive, tmp_path: Path, **keys: Any) -> Bench:
    limits = keys.pop("limits", None)
    keys = {"window": 4, "regions": ["global"], "run": {"checkpoint_every": 2}, **keys}
    flow = load(archive.workflow(tmp_path / "out", **keys))
    return Bench(archive, plan_of(flow, limits=limits), context_of(flow, tmp_path / "locks"))


@pytest.fixture
def bench(shared_archive: Archive, tmp_path: Path) -> Bench:
    return bench_of(shared_archive, tmp_path)


@pytest.fixture
def fragile(tmp_path: Path) -> Archive:
    """Write an archive whose files may be damaged."""
    return write_archive(tmp_path / "in", first=2000, last=2007, calendar="noleap")


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Do not sleep between retries, but tell for how long it would have been."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def raising(monkeypatch: pytest.MonkeyPatch, errors: Sequence[Exception]) -> list[Path]:
    """Let the next reads fail; return the paths that are asked for."""
    real, left, asked = tasks.read_years, list(errors), []

    def read_years(path: Path, *args: Any, **more: Any) -> Any:
        asked.append(path)
        if left:
            raise left.pop(0)
        return real(path, *args, **more)

    monkeypatch.setattr(tasks, "read_years", read_years)
    return asked


# ---------------------------------------------------------------- read


def test_a_read_gives_a_block_for_each_year_and_opens_once(bench: Bench) -> None:
    (block,) = bench.read("historical", 2003)
    assert block.year == 2003
    held = bench.archive.values("tas", 2003)
    np.testing.assert_array_equal(block.values, held.reshape(365, -1))
    events = [(e["event"], Path(e["file"]).name) for e in bench.traces]
    name = bench.archive.path("tas", 2003).name
    assert events == [("open", name), ("close", name)]
    assert not list(bench.context.access.lock_dir.glob("*.opened-*"))


@pytest.mark.parametrize("format", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_a_read_tells_the_bytes_that_it_decoded(
    format: str, fragile: Archive, tmp_path: Path
) -> None:
    bench = bench_of(fragile, tmp_path)
    fragile.write("tas", 2003, format=format)
    bench.read("historical", 2003)
    (close,) = [e for e in bench.traces if e["event"] == "close"]
    assert close["bytes"] == fragile.values("tas", 2003).nbytes


def test_a_read_whose_years_are_written_and_saved_opens_nothing(bench: Bench) -> None:
    # 2006 enters on the trunk, and leaves on both branches in 2010
    assert bench.reading("historical", 2006).last_uses == (
        ("historical", 2006), ("ssp245", 2010), ("ssp585", 2010),
    )  # fmt: skip
    bench.mark("historical", 2007, "a")
    bench.mark("ssp245", 2010, "b")
    bench.mark("ssp585", 2012, "c")
    answer = bench.read("historical", 2006)
    assert answer == Superseded(
        (("historical", 2007, "a"), ("ssp245", 2010, "b"), ("ssp585", 2012, "c"))
    )
    assert answer.of("ssp585") == (2012, "c")
    assert answer.of("ssp370") is None
    assert bench.traces == []


@pytest.mark.parametrize(
    "marks",
    [
        {},
        {"historical": 2007, "ssp245": 2010},  # a branch has none
        {"historical": 2007, "ssp245": 2010, "ssp585": 2008},  # a branch is not that far
        {"historical": 2005, "ssp245": 2010, "ssp585": 2010},
    ],
)
def test_a_read_that_some_branch_still_needs_is_made(bench: Bench, marks: dict[str, int]) -> None:
    for branch, year in marks.items():
        bench.mark(branch, year)
    (block,) = bench.read("historical", 2006)
    assert block.year == 2006


def test_marks_of_another_run_supersede_nothing(bench: Bench) -> None:
    other = replace(bench, context=replace(bench.context, run_id="run-2"))
    for branch in ("historical", *BRANCHES):
        other.mark(branch, 2012)
    assert isinstance(other.read("historical", 2006), Superseded)
    assert isinstance(bench.read("historical", 2006), tuple)


def test_a_passing_error_is_tried_again_with_growing_pauses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, naps: list[float]
) -> None:
    asked = raising(monkeypatch, [PassingError("stale"), OSError(5, "Input/output error")])
    (block,) = bench.read("historical", 2003)
    assert block.year == 2003
    assert len(asked) == 3
    assert 0.1 <= naps[0] <= 0.2 <= naps[1] <= 0.4
    assert [e["event"] for e in bench.traces] == ["open", "close"] * 3


def test_an_error_that_does_not_pass_is_told_after_the_last_retry(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = raising(monkeypatch, [PassingError(f"stale {i}") for i in range(9)])
    with pytest.raises(PassingError, match="stale 2"):
        bench.read("historical", 2003)
    assert len(asked) == 3  # retries: 2


def test_a_file_that_is_damaged_for_good_is_tried_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = raising(monkeypatch, [UnreadableFile("no NetCDF")])
    with pytest.raises(UnreadableFile, match="no NetCDF"):
        bench.read("historical", 2003)
    assert len(asked) == 1


def test_a_truncated_file_fails_or_is_a_gap_as_the_workflow_says(
    fragile: Archive, tmp_path: Path
) -> None:
    bench = bench_of(fragile, tmp_path)
    path = fragile.path("tas", 2003)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UnreadableFile, match=r"_2003\.nc"):
        bench.read("historical", 2003)
    bench = replace(bench, context=replace(bench.context, on_bad_file="skip"))
    answer = bench.read("historical", 2003)
    assert answer == Skipped(path.relative_to(fragile.root).as_posix(), (2003,))
    ((told, reason),) = audit([bench.context.access.trace_dir]).skipped
    assert told == str(path)
    assert "cannot be read" in reason


def test_a_file_that_contradicts_its_name_is_never_skipped(
    fragile: Archive, tmp_path: Path
) -> None:
    bench = bench_of(fragile, tmp_path, run={"on_bad_file": "skip"})
    fragile.write("tas", 2003, attributes={"units": "degC"})
    with pytest.raises(InconsistentFile, match='units "degC", not "K"'):
        bench.read("historical", 2003)


def test_a_lock_folder_that_fails_is_no_reason_to_skip_a_file(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = replace(bench.context, on_bad_file="skip")
    for path in context.access.lock_dir.iterdir():
        path.unlink()
    context.access.lock_dir.rmdir()
    context.access.lock_dir.write_text("no folder")
    with pytest.raises(UnreadableFile, match=r"cannot be read .*locks"):
        tasks.read(bench.chain.spec, context, bench.reading("historical", 2003))


def test_a_busy_file_is_told_and_not_skipped(bench: Bench, naps: list[float]) -> None:
    access = replace(bench.context.access, timeout=0.0)
    context = replace(bench.context, access=access, on_bad_file="skip")
    path = bench.archive.path("tas", 2003)
    with (
        filelock.FileLock(access.lock_dir / f"{file_id(path)}.lock"),
        pytest.raises(BusyFile, match=r"_2003\.nc: still open elsewhere"),
    ):
        tasks.read(bench.chain.spec, context, bench.reading("historical", 2003))


def test_a_year_that_lacks_days_is_noted(fragile: Archive, tmp_path: Path) -> None:
    bench = bench_of(fragile, tmp_path)
    values = fragile.values("tas", 2003)
    values[[5, 100]] = np.nan
    fragile.write("tas", 2003, values=values)
    bench.read("historical", 2002)
    bench.read("historical", 2003)
    ((path, reason),) = audit([bench.context.access.trace_dir]).incomplete
    assert path == str(fragile.path("tas", 2003))
    assert reason == "2 days of 2003 have no value"


def test_a_file_that_is_read_through_netcdf4_is_noted_with_the_reason(
    fragile: Archive, tmp_path: Path
) -> None:
    bench = bench_of(fragile, tmp_path)
    fragile.write("tas", 2003, format="NETCDF3_CLASSIC")
    for year in (2002, 2003):
        (block,) = bench.read("historical", year)
        np.testing.assert_array_equal(block.values, fragile.values("tas", year).reshape(365, -1))
    path = str(fragile.path("tas", 2003))
    (note,) = [e for e in bench.traces if e["event"] == "slow"]
    assert (note["file"], note["reason"]) == (path, "NETCDF3 format")
    assert audit([bench.context.access.trace_dir]).slow == ((path, "NETCDF3 format"),)


def test_a_file_that_cannot_be_read_at_all_is_not_called_slow(
    fragile: Archive, tmp_path: Path
) -> None:
    path = fragile.write("tas", 2003, format="NETCDF3_CLASSIC")
    path.write_bytes(path.read_bytes()[:-100])
    bench = bench_of(fragile, tmp_path, run={"on_bad_file": "skip"})
    assert isinstance(bench.read("historical", 2003), Skipped)
    assert audit([bench.context.access.trace_dir]).slow == ()


def test_a_disk_that_fails_while_chunks_are_read_is_a_gap_if_the_workflow_says_so(
    fragile: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, naps: list[float]
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(chunkmanifest, "_bytes_at", fail)
    bench = bench_of(fragile, tmp_path, run={"on_bad_file": "skip", "retries": 2})
    answer = bench.read("historical", 2003)
    assert isinstance(answer, Skipped)
    assert len(naps) == 2
    ((path, reason),) = audit([bench.context.access.trace_dir]).skipped
    assert reason == f"{path}: cannot be read (Input/output error)"


# ---------------------------------------------------------------- window


def exact_mean(archive: Archive, years: Sequence[int], scenario: str | None = None) -> np.ndarray:
    """Return the mean of years by ``math.fsum``, rounded once; leap days dropped."""
    axis = DayAxis("standard", "drop")
    stack = []
    for year in years:
        values = archive.values("tas", year, scenario)
        if len(values) > len(axis):
            values = np.delete(values, 59, axis=0)
        stack.append(values.astype(np.float64))
    stack = np.stack(stack)
    count = (~np.isnan(stack)).sum(axis=0)
    flat = np.nan_to_num(stack.reshape(len(years), -1))
    total = np.array([math.fsum(column) for column in flat.T]).reshape(count.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (total / count).astype(np.float32)
    mean[count < math.ceil(25 / 30 * len(years))] = np.nan
    return mean


@pytest.mark.slow
def test_walking_the_window_gives_exactly_the_mean_of_its_years(bench: Bench) -> None:
    carry = bench.walk("ssp585", 2009)
    assert carry.years == (2006, 2007, 2008, 2009)
    needed = np.full(365, 4, dtype=np.int16)
    got = carry.normal(needed, 4).reshape(365, 4, 5)
    np.testing.assert_array_equal(got, exact_mean(bench.archive, carry.years, "ssp585"))


def test_a_sum_is_never_changed_once_it_is_made(bench: Bench) -> None:
    carry = bench.walk("historical", 2005)
    before = [t.copy() for t in carry.states["sum"]], carry.coverage.count.copy(), carry.years
    bench.walk("historical", 2007, carry)
    for old, new in zip(before[0], carry.states["sum"], strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(before[1], carry.coverage.count)
    assert before[2] == carry.years


def marker(branch: str, year: int, path: Path | str = "nowhere") -> Superseded:
    return Superseded(((branch, year, str(path)),))


def test_a_marker_beyond_the_year_is_passed_along(bench: Bench) -> None:
    later, latest = marker("historical", 2006), marker("historical", 2007, "there")
    carry = bench.walk("historical", 2004)
    block = bench.read("historical", 2005)
    # 1. the sum before is superseded, and so are the blocks
    assert bench.window("historical", 2005, later, later, later) == later
    # 2. the sum is live, because it was kept, and the entering block is superseded
    assert bench.window("historical", 2005, carry, later, block) == later
    # 3. a block is live, because it was kept, and the sum is superseded
    assert bench.window("historical", 2005, later, block, block) == later
    # 4. of several the newest counts
    assert bench.window("historical", 2005, later, latest, block) == latest
    # 5. nothing before, at the start of a stretch
    assert bench.window("historical", 2000, None, later) == later


def test_a_marker_at_the_year_makes_the_window_load_the_sum(bench: Bench) -> None:
    kept = bench.walk("historical", 2004)
    carry = bench.walk("historical", 2005, kept)
    path = save(bench, "historical", 2005, carry)
    here = marker("historical", 2005, path)
    loaded = bench.window("historical", 2005, here, here, here)
    assert loaded.years == carry.years
    for one, other in zip(loaded.states["sum"], carry.states["sum"], strict=True):
        np.testing.assert_array_equal(one, other)
    opened = len(bench.traces)
    # ... also where the sum before is live, because it was kept
    assert bench.window("historical", 2005, kept, here, here).years == carry.years
    assert len(bench.traces) == opened, "loading opens no input"


@pytest.mark.parametrize(
    "make",
    [
        lambda b: (marker("historical", 2004), ()),  # a sum that ends before the year
        lambda b: (b.walk("historical", 2004), (marker("historical", 2004),)),
        lambda b: (b.walk("historical", 2004), (marker("ssp245", 2010),)),  # of another branch
        lambda b: (marker("ssp245", 2010), b.answers(b.step("historical", 2005))),
    ],
)
def test_a_marker_that_a_live_sum_disagrees_with_raises(bench: Bench, make: Any) -> None:
    before, parts = make(bench)
    with pytest.raises(ClimdaskError, match=r"2005.*the sum still needs it.*please report"):
        bench.window("historical", 2005, before, *parts)


def test_the_branch_of_a_marker_is_that_of_the_step(bench: Bench) -> None:
    both = Superseded((("ssp245", 2012, "a"), ("ssp585", 2010, "b")))
    carry = bench.walk("historical", 2007)
    assert bench.window("ssp245", 2008, carry, both, both) == marker("ssp245", 2012, "a")
    assert bench.window("ssp585", 2008, carry, both, both) == marker("ssp585", 2010, "b")


def test_two_files_that_hold_the_same_day_are_told(bench: Bench) -> None:
    blocks = bench.read("historical", 2000)
    with pytest.raises(InconsistentFile, match=r"ACCESS-CM2.*day 1 of 2000 is in two files"):
        bench.window("historical", 2000, None, blocks, blocks)


def test_two_files_that_share_a_year_are_joined(bench: Bench) -> None:
    (block,) = bench.read("historical", 2000)
    first, second = block.values.copy(), block.values.copy()
    first[100:], second[:100] = np.nan, np.nan
    parts = [(Block.of(2000, first),), (Block.of(2000, second),)]
    joined = bench.window("historical", 2000, None, *parts)
    whole = bench.window("historical", 2000, None, (block,))
    np.testing.assert_array_equal(joined.states["sum"][0], whole.states["sum"][0])
    np.testing.assert_array_equal(
        *(np.broadcast_to(c.coverage.count, c.states["sum"][0].shape) for c in (joined, whole))
    )


def test_a_year_without_any_valid_value_enters_and_leaves_without_a_trace(bench: Bench) -> None:
    empty = (Block.of(2000, np.full((365, 20), np.nan, np.float32)),)
    carry = bench.window("historical", 2000, None, empty)
    assert carry.years == ()
    assert carry.coverage.skipped == ()
    for year in (2001, 2002, 2003):
        carry = bench.window("historical", year, carry, bench.read("historical", year))
    carry = bench.window("historical", 2004, carry, bench.read("historical", 2004), empty)
    assert carry.years == (2001, 2002, 2003, 2004)


def skipped(bench: Bench, year: int) -> Skipped:
    path = bench.archive.path("tas", year).relative_to(bench.archive.root).as_posix()
    return Skipped(path, (year,))


def test_a_skipped_year_is_remembered_until_it_leaves_the_window(bench: Bench) -> None:
    bad = skipped(bench, 2001)
    carry = bench.window("historical", 2000, None, bench.read("historical", 2000))
    carry = bench.window("historical", 2001, carry, bad)
    assert (carry.years, carry.coverage.skipped) == ((2000,), ((2001, bad.path),))
    for year in (2002, 2003, 2004):
        carry = bench.window(
            "historical", year, carry, *bench.answers(bench.step("historical", year))
        )
    assert (carry.years, carry.coverage.skipped) == ((2002, 2003, 2004), ((2001, bad.path),))
    carry = bench.window("historical", 2005, carry, bench.read("historical", 2005), bad)
    assert (carry.years, carry.coverage.skipped) == ((2002, 2003, 2004, 2005), ())


def test_a_year_that_entered_and_cannot_be_read_as_it_leaves_fails_the_chain(
    bench: Bench,
) -> None:
    """Kept in the sum, it would be in every later normal."""
    carry = bench.walk("historical", 2003)
    enters = bench.read("historical", 2004)
    with pytest.raises(UnreadableFile, match=r"2000 leaves the window, but tas/.*cannot be read"):
        bench.window("historical", 2004, carry, enters, skipped(bench, 2000))


def test_a_year_that_was_skipped_may_be_readable_as_it_leaves(bench: Bench) -> None:
    carry = bench.window("historical", 2000, None, skipped(bench, 2000))
    for year in (2001, 2002, 2003):
        carry = bench.window("historical", year, carry, bench.read("historical", year))
    carry = bench.window("historical", 2004, carry, *bench.answers(bench.step("historical", 2004)))
    assert carry.years == (2001, 2002, 2003, 2004)


def test_half_a_year_that_was_skipped_must_be_skipped_as_it_leaves(bench: Bench) -> None:
    (block,) = bench.read("historical", 2000)
    half = block.values.copy()
    half[:40] = np.nan
    half = (Block.of(2000, half),)
    other = Skipped("tas/other.nc", (2000,))
    carry = bench.window("historical", 2000, None, half, other)
    assert (carry.years, carry.coverage.skipped) == ((2000,), ((2000, "tas/other.nc"),))
    for year in (2001, 2002, 2003):
        carry = bench.window("historical", year, carry, bench.read("historical", year))
    enters = bench.read("historical", 2004)
    after = bench.window("historical", 2004, carry, enters, half, other)
    assert (after.years, after.coverage.skipped) == ((2001, 2002, 2003, 2004), ())
    with pytest.raises(UnreadableFile, match=r"tas/other\.nc can be read now"):
        bench.window("historical", 2004, carry, enters, (block,))


def test_without_a_ring_a_file_that_breaks_after_it_was_read_fails_the_chain(
    fragile: Archive, tmp_path: Path
) -> None:
    bench = bench_of(
        fragile, tmp_path, run={"on_bad_file": "skip"}, limits=Limits(memory_per_worker=1)
    )
    assert bench.chain.memory.keeps_ring is False
    carry = bench.walk("historical", 2003)
    path = fragile.path("tas", 2000)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UnreadableFile, match="2000 leaves the window"):
        bench.walk("historical", 2004, carry)


# ---------------------------------------------------------------- write


@pytest.mark.slow
def test_a_normal_is_the_exact_mean_of_its_window(bench: Bench) -> None:
    carry = bench.walk("ssp245", 2009)
    job = bench.chain.job("ssp245", 2009)
    written = tasks.write(bench.chain.spec, bench.context, job, carry)
    path = bench.context.out / job.files[0].path
    assert written == Written("ssp245", 2009, (job.files[0].path,), path.stat().st_size, 4)
    (told,) = [e for e in bench.traces if e["event"] == "write"]
    assert (told["branch"], told["year"], told["bytes"]) == ("ssp245", 2009, path.stat().st_size)
    with netCDF4.Dataset(path) as dataset:
        got = dataset["tas"][:].filled(np.nan)
        assert dataset.source_years.tolist() == [2006, 2007, 2008, 2009]
        assert dataset.source_scenarios == "historical, historical, ssp245, ssp245"
        assert dataset.source_versions == "none, none, none, none"
        assert dataset.source_files.split(", ")[0] == (
            bench.archive.path("tas", 2006).relative_to(bench.archive.root).as_posix()
        )
        assert dataset.input_hash == job.files[0].input_hash
        assert "skipped_files" not in dataset.ncattrs()
    np.testing.assert_array_equal(
        got, exact_mean(bench.archive, [2006, 2007, 2008, 2009], "ssp245")
    )


def test_each_region_has_its_own_cells_and_counts(shared_archive: Archive, tmp_path: Path) -> None:
    box = {"name": "box", "lon": [60, 150], "lat": [-20, 40]}
    bench = bench_of(shared_archive, tmp_path, regions=["global", box], output={"count": True,
                     "root": str(tmp_path / "out")})  # fmt: skip
    job = bench.chain.job("historical", 2003)
    tasks.write(bench.chain.spec, bench.context, job, bench.walk("historical", 2003))
    with (
        netCDF4.Dataset(bench.context.out / job.files[0].path) as whole,
        netCDF4.Dataset(bench.context.out / job.files[1].path) as part,
    ):
        for name in ("tas", "count"):
            np.testing.assert_array_equal(
                part[name][:].filled(-1), whole[name][:, 1:3, 1:3].filled(-1)
            )
        assert part["count"][:].max() == 4
        assert part["count"][:].min() == 0


def test_a_superseded_write_touches_nothing_and_tells_what_is_there(bench: Bench) -> None:
    job = bench.chain.job("historical", 2004)
    done = marker("historical", 2006)
    path = job.files[0].path
    write = lambda: tasks.write(bench.chain.spec, bench.context, job, done)  # noqa: E731
    assert write() == Written("historical", 2004, (path,), 0, None)
    tasks.write(bench.chain.spec, bench.context, job, bench.walk("historical", 2004))
    status = (bench.context.out / path).stat()
    assert write() == Written("historical", 2004, (path,), status.st_size, None)
    assert (bench.context.out / path).stat().st_mtime_ns == status.st_mtime_ns


def records(bench: Bench) -> list[dict[str, Any]]:
    paths = (bench.context.folder.state / "done").glob("*.jsonl")
    return [json.loads(line) for p in paths for line in p.read_text().splitlines()]


def walk_skipping(bench: Bench, years: Sequence[int], last_year: int) -> Any:
    carry = None
    for step in bench.chain.branches.way("historical"):
        if step.year <= last_year:
            parts = [
                skipped(bench, b.year) if b.year in years else bench.read(b.branch, b.year)
                for b in (step.enters, step.leaves)
                if b is not None
            ]
            carry = tasks.window(bench.chain.spec, bench.context, step, carry, *parts)
    return carry


def test_skipped_files_are_recorded_and_named_in_the_normal(
    shared_archive: Archive, tmp_path: Path
) -> None:
    bench = bench_of(shared_archive, tmp_path, min_years=3)
    job = bench.chain.job("historical", 2004)
    written = tasks.write(bench.chain.spec, bench.context, job, walk_skipping(bench, [2002], 2004))
    assert written.years == 3
    assert [r["skipped"] for r in records(bench)] == [[2002]]
    with netCDF4.Dataset(bench.context.out / job.files[0].path) as dataset:
        assert dataset.source_years.tolist() == [2001, 2003, 2004]
        assert dataset.skipped_files == skipped(bench, 2002).path
        assert skipped(bench, 2002).path not in dataset.source_files


def test_too_few_years_without_the_bad_files_fail_the_normal(
    shared_archive: Archive, tmp_path: Path
) -> None:
    bench = bench_of(shared_archive, tmp_path, min_years=3)
    job = bench.chain.job("historical", 2004)
    carry = walk_skipping(bench, [2002, 2003], 2004)
    with pytest.raises(DataError) as caught:
        tasks.write(bench.chain.spec, bench.context, job, carry)
    for word in ("normal of 2004", "2002-2003", "only 2 source years", "min_years: 3"):
        assert word in str(caught.value)
    assert not list(bench.context.out.rglob("*.nc"))


def test_a_window_with_too_few_valid_years_is_missing_and_nobody_is_blamed(
    bench: Bench,
) -> None:
    """A land-only data set in an ocean region: no file is bad, and nothing is skipped."""
    carry = None
    empty = np.full((365, 20), np.nan, np.float32)
    for year in range(2000, 2004):
        carry = bench.window("historical", year, carry, (Block.of(year, empty),))
    job = bench.chain.job("historical", 2003)
    written = tasks.write(bench.chain.spec, bench.context, job, carry)
    assert written.years == 0
    assert [r["skipped"] for r in records(bench)] == [[]]
    with netCDF4.Dataset(bench.context.out / job.files[0].path) as dataset:
        assert np.ma.getmaskarray(dataset["tas"][:]).all()
        assert dataset["number_of_years"][...] == 0


# ---------------------------------------------------------------- checkpoint


def save(bench: Bench, branch: str, year: int, carry: Any) -> Path:
    path = checkpoint_path(bench.context.folder, bench.chain, branch, year)
    tasks.checkpoint(bench.chain.spec, bench.context, CarryId(branch, year), path, carry)
    return path


def marks(bench: Bench) -> dict[str, tuple[int, str]]:
    return newest_marks(bench.context.folder, bench.context.run_id, bench.chain.id)


def test_a_checkpoint_is_saved_marked_and_restored(bench: Bench) -> None:
    carry = bench.walk("historical", 2004)
    path = save(bench, "historical", 2004, carry)
    assert marks(bench) == {"historical": (2004, str(path))}
    again = tasks.restore(bench.chain.spec, bench.context, path)
    assert (again.years, again.coverage.skipped) == (carry.years, carry.coverage.skipped)
    np.testing.assert_array_equal(np.stack(again.states["sum"]), np.stack(carry.states["sum"]))


def test_a_superseded_checkpoint_is_neither_saved_nor_marked(bench: Bench) -> None:
    path = save(bench, "historical", 2004, marker("historical", 2006))
    assert not path.exists()
    assert marks(bench) == {}


def test_a_checkpoint_replaces_one_that_lacks_a_file(bench: Bench) -> None:
    earlier = replace(bench, context=replace(bench.context, run_id="run-0"))
    save(earlier, "historical", 2004, walk_skipping(bench, [2002], 2004))
    path = save(bench, "historical", 2004, bench.walk("historical", 2004))
    again = tasks.restore(bench.chain.spec, bench.context, path)
    assert (again.years, again.coverage.skipped) == ((2001, 2002, 2003, 2004), ())


def test_a_chain_that_is_run_again_after_a_checkpoint_opens_what_is_left_and_no_more(
    bench: Bench,
) -> None:
    """What Dask does when a worker dies: repeat every task of the chain."""
    carry = bench.walk("historical", 2004)
    path = save(bench, "historical", 2004, carry)
    opened = len(bench.traces)
    again = bench.walk("historical", 2003)
    assert again == marker("historical", 2004, path)
    assert isinstance(again, Superseded)
    # 2001 to 2003 leave the trunk's windows of 2005 to 2007, so they are read again; 2000 is not
    files = {Path(e["file"]).name for e in bench.traces[opened:]}
    assert files == {bench.archive.path("tas", y).name for y in (2001, 2002, 2003)}

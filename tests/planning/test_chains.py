"""Chains, verified by a replay with plain sets that shares no code with what it verifies."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from climdask.inputs.inventory import InputFile
from climdask.planning.chains import BlockId, Branches, CarryId, Demand, Read, Step, lay_out
from climdask.planning.sourceyears import year_sources

Files = Mapping[str, Sequence[InputFile]]

FIRST, LAST_HISTORICAL, END = 2000, 2012, 2026


def file_of(scenario: str, first: int, last: int | None = None, *, months=(1, 12)) -> InputFile:
    """A file of whole years, or from a month of the first to a month of the last."""
    last = first if last is None else last
    start, end = (first, months[0], 1), (last, months[1], 30 if months[1] == 11 else 31)
    return InputFile(start, end, f"{scenario}/{start}-{end}.nc", scenario, (), 1, 1)


def annual(scenario: str, years: Sequence[int]) -> list[InputFile]:
    return [file_of(scenario, year) for year in years]


# --- the verifier --------------------------------------------------------------------------------


def months(file: InputFile, year: int) -> set[int]:
    """The months of ``year`` that a file has; files begin and end with whole months here."""
    return {m for m in range(1, 13) if file.start <= (year, m, 1) and (year, m, 28) <= file.end}


def holders(demand: Demand, files: Files, branch: str, year: int) -> set[InputFile]:
    """The files that give ``year`` on the way of ``branch``."""
    historical = year <= demand.last_historical_year
    own = {f for f in files.get(demand.trunk if historical else branch, ()) if months(f, year)}
    lacking = {*range(1, 13)}.difference(*(months(f, year) for f in own))
    if not own:
        return set()  # a gap is not filled
    if not historical:
        others = [demand.trunk]
    else:
        others = [s for s in files if s != demand.trunk] if branch == demand.trunk else [branch]
    rests = ({f for f in files.get(other, ()) if months(f, year) & lacking} for other in others)
    return own | next(filter(None, rests), set())


def fork_of(demand: Demand, files: Files) -> int:
    """The last year that all scenarios share with history: the next is split, or is theirs."""
    last = demand.last_historical_year
    own = {y: {f for f in files[demand.trunk] if months(f, y)} for y in range(FIRST - 1, last + 1)}
    split = (y for y, fs in own.items() if holders(demand, files, demand.trunk, y) != fs)
    return min([last, *(y - 1 for y in split)])


def window_of(demand: Demand, files: Files, branch: str, last: int) -> set[int]:
    """The years of a window that have files."""
    years = range(last - demand.window + 1, last + 1)
    return {y for y in years if holders(demand, files, branch, y)}


class Replay:
    """Walks through a chain with sets of years in place of sums, and objects where it is wrong."""

    def __init__(self, demand: Demand, files: Files, branches: Branches) -> None:
        self.demand, self.files, self.branches = demand, files, branches
        self.fork = fork_of(demand, files)
        self.sums: dict[CarryId, set[int]] = {}
        self.starts: dict[CarryId, int] = {}
        self.restored: list[CarryId] = []
        assert next(iter(branches.steps)) == branches.trunk == demand.trunk
        assert set(branches.steps) == set(demand.targets) | {demand.trunk}
        for branch, steps in branches.steps.items():
            years = [step.year for step in steps]
            assert years == sorted(set(years))  # each year once
            first, last = self.fork + 1, demand.last_historical_year
            assert all(y <= last if branch == demand.trunk else y >= first for y in years)
            for step in steps:
                assert step.branch == branch
                self.take(step)
            hits = [step.year for step in steps if step.is_target]
            assert hits == sorted(demand.targets.get(branch, ()))
            compared = [step.year for step in steps if step.is_reference]
            assert compared == sorted(demand.references.get(branch, ()))
        for read in branches.reads:
            self.check_read(read)
        self.check_reads_together()

    def take(self, step: Step) -> None:
        demand, files = self.demand, self.files
        held = self.sum_before(step)
        assert held <= set(range(step.year - demand.window, step.year))
        if step.enters is None:
            assert not holders(demand, files, step.branch, step.year)
        else:
            self.check_block(step, step.enters)
            assert step.enters.year == step.year
            assert not step.enters.again
            assert step.year not in held  # never added twice
            held.add(step.year)
        if step.leaves is not None:
            self.check_block(step, step.leaves)
            assert step.leaves.again is not demand.keep_ring
            assert step.leaves.year in held  # only what was added is dropped
            held.remove(step.leaves.year)
        window = window_of(demand, files, step.branch, step.year)
        assert held <= window  # what left the window has left the sum
        start = self.starts[CarryId(step.branch, step.year)] = self.start_of(step)
        is_due = step.is_target or step.is_reference
        if is_due and demand.reaches_back:  # each year of the window follows another
            assert start <= step.year - demand.window
        if is_due or step.has_checkpoint:
            assert held == window
        self.sums[CarryId(step.branch, step.year)] = held

    def start_of(self, step: Step) -> int:
        """Return the year in which the steps began that lead to this one."""
        if step.restores:
            return step.year - 10**6  # what was saved had all that it needs
        return step.year if step.before is None else self.starts[step.before]

    def sum_before(self, step: Step) -> set[int]:
        demand = self.demand
        if step.before is None:
            assert not step.restores
            return set()
        if step.restores:
            branch, year = step.before.branch, step.before.year
            assert branch in (step.branch, demand.trunk)
            assert year == step.year - 1
            assert year in demand.checkpoints.get(branch, ())
            self.restored.append(step.before)
            return window_of(demand, self.files, branch, year)
        assert step.before.branch in (step.branch, demand.trunk)
        assert step.before.year == step.year - 1
        return set(self.sums[step.before])

    def check_block(self, step: Step, block: BlockId) -> None:
        is_shared = block.year <= self.fork or step.branch == self.demand.trunk
        if is_shared or block.year > self.demand.last_historical_year:
            assert block.branch == (self.demand.trunk if is_shared else step.branch)
        given = holders(self.demand, self.files, step.branch, block.year)
        assert holders(self.demand, self.files, block.branch, block.year) == given
        assert holders(self.demand, self.files, block.branch, block.year)

    def uses(self, blocks: Sequence[BlockId]) -> list[tuple[str, int, int, str]]:
        """(branch of the way, place on it, year, branch of the step) for each use of a block."""
        return [
            (branch, place, step.year, step.branch)
            for branch in self.branches.steps
            for place, step in enumerate(self.branches.way(branch))
            if step.enters in blocks or step.leaves in blocks
        ]

    def check_read(self, read: Read) -> None:
        years = [block.year for block in read.blocks]
        piece = read.slice
        assert years == sorted(years)
        assert list(read.years) == sorted({*years})
        assert (years[0], years[-1]) == (piece.first_year, piece.last_year)
        assert len(read.years) <= self.demand.slice_years
        assert all({*years} <= {*file.years} for file in piece.files)
        if piece.bundled:
            assert len({*years}) == 1
            assert {(f.scenario, f.start[0], f.end[0]) for f in piece.files} == {
                (piece.file.scenario, years[0], years[0])
            }
            assert list(piece.files) == sorted({*piece.files})
        assert len({*read.blocks}) == len(read.blocks)
        assert len({b.again for b in read.blocks}) == 1
        uses = self.uses(read.blocks)
        branch, place = read.first_use
        assert any((branch, place) == use[:2] for use in uses)
        assert place == min(use[1] for use in uses)  # not later than any use
        last_uses: dict[str, int] = {}
        for _, _, year, own in uses:
            last_uses[own] = max(last_uses.get(own, year), year)
        assert dict(read.last_uses) == last_uses
        assert len(read.last_uses) == len(last_uses)

    def check_reads_together(self) -> None:
        places = [read.first_use[1] for read in self.branches.reads]
        assert places == sorted(places)
        given_by = defaultdict(list)
        latest: dict[str, int] = {}
        tokens: dict[InputFile, InputFile] = {}
        years: dict[tuple[str, bool], list[int]] = defaultdict(list)
        for i, read in enumerate(self.branches.reads):
            for block in read.blocks:
                given_by[block] += read.slice.files
            # Slices wait for each other; a second reading does not keep the first one in memory.
            assert read.after == latest.get((read.slice.file.path, read.blocks[0].again))
            latest[read.slice.file.path, read.blocks[0].again] = i
            for file in read.slice.files:
                years[file.path, read.blocks[0].again] += read.years
                token = tokens.setdefault(file, read.slice.token_file)
                assert token == read.slice.token_file  # so no two tasks have it open at once
                assert token.scenario == file.scenario
        for own in years.values():  # all branches are served by the same openings
            assert len({*own}) == len(own)
        openings = Counter(
            (f.path, r.blocks[0].again) for r in self.branches.reads for f in r.slice.files
        )
        for key, n in openings.items():
            assert n == -(-len(years[key]) // self.demand.slice_years)
        steps = [step for own in self.branches.steps.values() for step in own]
        used = {block for step in steps for block in (step.enters, step.leaves)} - {None}
        assert set(given_by) == used  # nothing is missing, nothing is read in vain
        for block, files in given_by.items():
            expected = holders(self.demand, self.files, block.branch, block.year)
            assert sorted(files) == sorted(expected)


# --- any demand ----------------------------------------------------------------------------------


@st.composite
def archives(draw, scenario: str, first: int, last: int) -> list[InputFile]:
    """Files of a year, of parts of one, of several, or from December to November, with gaps."""
    kind = draw(st.sampled_from(["annual", "parts", "long", "December"]))
    if kind == "parts":
        gaps = draw(st.sets(st.integers(0, 4 * (last - first) + 3), max_size=9))
        parts = ((y, (m, m + 2)) for y in range(first, last + 1) for m in (1, 4, 7, 10))
        return [
            file_of(scenario, year, months=months)
            for n, (year, months) in enumerate(parts)
            if n not in gaps
        ]
    if kind == "annual":
        gaps = draw(st.sets(st.integers(first, last), max_size=5))
        return annual(scenario, [y for y in range(first, last + 1) if y not in gaps])
    cuts = sorted(draw(st.sets(st.integers(first, last - 1), max_size=6)))
    pairs = list(zip([first, *(c + 1 for c in cuts)], [*cuts, last], strict=True))
    gaps = draw(st.sets(st.integers(0, len(pairs) - 1), max_size=2))
    pairs = [pair for i, pair in enumerate(pairs) if i not in gaps]
    if kind == "December":  # of the year before, so that the years in between need two files
        return [file_of(scenario, a - 1, b, months=(12, 11)) for a, b in pairs]
    return [file_of(scenario, a, b) for a, b in pairs]


@st.composite
def problems(draw) -> tuple[Demand, dict[str, list[InputFile]]]:
    """A demand and the files to serve it."""
    branches = draw(st.sampled_from([[], ["ssp245"], ["ssp245", "ssp585"]]))
    # History may go on beyond its last year, and scenarios begin before theirs.
    files = {"historical": draw(archives("historical", FIRST, LAST_HISTORICAL + 2))}
    files |= {branch: draw(archives(branch, LAST_HISTORICAL - 1, END)) for branch in branches}
    if draw(st.booleans()):  # or a month ends the one and begins the others
        year, month = draw(st.sampled_from([LAST_HISTORICAL, LAST_HISTORICAL + 1])), 11
        files["historical"] = [
            *draw(archives("historical", FIRST, year - 2)),
            file_of("historical", year - 1, year, months=(1, month)),
        ]
        files |= {
            branch: [
                file_of(branch, year, year + 2, months=(month + 1, 12)),
                *draw(archives(branch, year + 3, END)),
            ][draw(st.integers(0, 1)) :]
            for branch in branches
        }
    years = {"historical": (FIRST, LAST_HISTORICAL)}
    years |= dict.fromkeys(branches, (LAST_HISTORICAL + 1, END))
    some = {branch: st.sets(st.integers(*span)) for branch, span in years.items()}
    all_of = {branch: st.just(set(range(a, b + 1))) for branch, (a, b) in years.items()}
    targets = {branch: draw(some[branch] | all_of[branch]) for branch in years}
    demand = Demand(
        window=draw(st.integers(2, 6)),
        trunk="historical",
        last_historical_year=LAST_HISTORICAL,
        targets=targets,
        checkpoints={
            branch: draw(st.sets(st.integers(*span), max_size=4)) for branch, span in years.items()
        },
        checkpoint_every=draw(st.integers(1, 5)),
        keep_ring=draw(st.booleans()),
        slice_years=draw(st.sampled_from([1, 2, 3, 100])),
        reaches_back=draw(st.booleans()),
        references={
            branch: draw(st.sets(st.integers(*span), max_size=2)) for branch, span in years.items()
        },
    )
    return demand, files


@settings(max_examples=400, deadline=None)
@given(problems())
@pytest.mark.slow
def test_every_chain_does_what_is_demanded(problem):
    demand, files = problem
    branches = lay_out(demand, files)
    replay = Replay(demand, files, branches)
    assert branches.n_targets == sum(map(len, demand.targets.values()))
    event(f"restores {bool(replay.restored)}")
    starts = [s for own in branches.steps.values() for s in own if s.before is None or s.restores]
    event(f"stretches {min(len(starts), 4)}")


@settings(max_examples=200, deadline=None)
@given(problems())
@pytest.mark.slow
def test_without_checkpoints_nothing_outside_the_windows_is_touched(problem):
    demand, files = problem
    demand = replace(demand, checkpoints={})
    branches = lay_out(demand, files)
    fork = fork_of(demand, files)
    wanted = {
        (branch if year > fork else "historical", year)
        for branch in demand.targets
        for target in demand.due(branch)
        for year in range(target - demand.window + 1 - demand.reaches_back, target + 1)
    }
    assert {(branch, s.year) for branch, own in branches.steps.items() for s in own} == wanted
    read = {(b.branch, b.year) for read in branches.reads for b in read.blocks}
    assert {
        (branch, year) for branch, year in read if year <= fork or year > LAST_HISTORICAL
    } <= wanted
    assert {year for _, year in read} <= {year for _, year in wanted}


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(problems())
def test_annual_files_are_opened_once_and_twice_at_most_without_a_ring(problem):
    demand, files = problem
    opens = defaultdict(int)
    for read in lay_out(demand, files).reads:
        opens[read.slice.file] += 1
        if demand.keep_ring:
            assert not any(block.again for block in read.blocks)
    for file, n in opens.items():
        if len(file.years) == 1:
            assert n <= (1 if demand.keep_ring else 2)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(problems())
def test_a_layout_is_decided_by_its_demand(problem):
    demand, files = problem
    assert lay_out(demand, files) == lay_out(demand, files)


@settings(max_examples=100, deadline=None)
@given(problems())
@pytest.mark.slow
def test_what_a_chain_saves_a_later_one_may_restore(problem):
    demand, files = problem
    saved = defaultdict(set)
    for branch, own in lay_out(demand, files).steps.items():
        saved[branch] |= {step.year for step in own if step.has_checkpoint}
    later = {branch: {t for t in ts if t % 3} for branch, ts in demand.targets.items()}
    demand = replace(demand, targets=later, checkpoints=saved)
    Replay(demand, files, lay_out(demand, files))


# --- the archive that it is made for --------------------------------------------------------------

NEX = {
    "historical": annual("historical", range(1950, 2015)),
    "ssp245": annual("ssp245", range(2015, 2101)),
    "ssp585": annual("ssp585", range(2015, 2101)),
}


def nex_demand(*scenarios: str, **changes) -> Demand:
    targets = {"historical": range(1980, 2015)} | {s: range(2015, 2101) for s in scenarios}
    return replace(Demand(30, "historical", 2014, targets), **changes)


def files_for(demand: Demand) -> dict[str, list[InputFile]]:
    return {branch: NEX[branch] for branch in demand.targets}


@pytest.mark.parametrize(
    ("demand", "targets", "opens"),
    [
        (nex_demand("ssp245"), 121, 150),  # 1951-2100, each once
        (nex_demand(), 35, 64),  # history alone
        (nex_demand("ssp245", "ssp585"), 207, 150 + 86),  # history is shared
        (nex_demand("ssp245", keep_ring=False), 121, 150 + 120),  # 1951-2070 leave
        (nex_demand("ssp245", "ssp585", keep_ring=False), 207, 236 + 64 + 2 * 56),
        (nex_demand("ssp245", targets={"historical": [], "ssp245": [2100]}), 1, 30),
        (nex_demand("ssp245", targets={"historical": [1980], "ssp245": [2100]}), 2, 60),
        (nex_demand("ssp245", targets={"historical": [], "ssp245": [2015]}), 1, 30),
        (nex_demand("ssp245", targets={"historical": [], "ssp245": []}), 0, 0),
    ],
)
@pytest.mark.slow
def test_the_nex_archive_needs_this_many_openings(demand, targets, opens):
    files = files_for(demand)
    branches = lay_out(demand, files)
    Replay(demand, files, branches)
    assert (branches.n_targets, len(branches.reads)) == (targets, opens)


def test_scenarios_fork_from_the_end_of_the_trunk():
    demand = nex_demand("ssp245", "ssp585")
    branches = lay_out(demand, files_for(demand))
    for branch in ("ssp245", "ssp585"):
        first = branches.steps[branch][0]
        assert first.before == CarryId("historical", 2014)
        assert not first.restores
        assert first.leaves == BlockId("historical", 1985)
        assert branches.way(branch) == branches.steps["historical"] + branches.steps[branch]
    assert branches.way("historical") == branches.steps["historical"]
    shared = next(r for r in branches.reads if r.blocks == (BlockId("historical", 2010),))
    assert shared.first_use == ("historical", 2010 - 1951)
    assert dict(shared.last_uses) == {"historical": 2010, "ssp245": 2040, "ssp585": 2040}


@pytest.mark.slow
def test_scenarios_that_need_no_history_do_not_wait_for_it():
    demand = nex_demand("ssp245", targets={"historical": [1990], "ssp245": [2044, 2060]})
    branches = lay_out(demand, files_for(demand))
    Replay(demand, files_for(demand), branches)
    assert branches.steps["historical"][-1].year == 1990
    assert branches.steps["ssp245"][0].before is None


def test_checkpoints_are_due_every_so_many_years_of_a_full_window_and_where_branches_fork():
    demand = nex_demand("ssp245", checkpoint_every=20)
    branches = lay_out(demand, files_for(demand))
    due = {
        branch: [s.year for s in own if s.has_checkpoint] for branch, own in branches.steps.items()
    }
    # 1960 would not be a full window; 2014 is where the scenarios fork; after 2100 none is needed.
    assert due == {"historical": [1980, 2000, 2014], "ssp245": [2020, 2040, 2060, 2080]}


@pytest.mark.slow
def test_a_chain_that_was_interrupted_goes_on_from_its_last_checkpoint():
    targets = {"historical": [], "ssp245": range(2034, 2101)}
    saved = {"historical": [2000, 2014], "ssp245": [2020, 2030]}
    demand = nex_demand("ssp245", targets=targets, checkpoints=saved)
    branches = lay_out(demand, files_for(demand))
    Replay(demand, files_for(demand), branches)
    assert branches.steps["historical"] == ()
    first = branches.steps["ssp245"][0]
    assert (first.year, first.before, first.restores) == (2031, CarryId("ssp245", 2030), True)
    assert first.leaves == BlockId("historical", 2001)  # read only as it leaves


def test_a_checkpoint_at_the_fork_leaves_nothing_to_do_in_the_trunk():
    targets = {"historical": [], "ssp245": [2015, 2016], "ssp585": [2017]}
    demand = nex_demand(
        "ssp245", "ssp585", targets=targets, checkpoints={"historical": [2010, 2014]}
    )
    branches = lay_out(demand, files_for(demand))
    Replay(demand, files_for(demand), branches)
    assert branches.steps["historical"] == ()
    for branch in ("ssp245", "ssp585"):
        assert branches.steps[branch][0].before == CarryId("historical", 2014)
        assert branches.steps[branch][0].restores


def test_a_checkpoint_after_the_first_target_is_of_no_use():
    demand = nex_demand(targets={"historical": [1990, 2010]}, checkpoints={"historical": [1990]})
    branches = lay_out(demand, {"historical": NEX["historical"]})
    assert branches.steps["historical"][0].before is None
    assert branches.steps["historical"][0].year == 1961


def test_a_long_file_is_read_in_slices_that_wait_for_each_other():
    files = {"historical": [file_of("historical", 1850, 2000)]}
    demand = Demand(30, "historical", 2000, {"historical": [1985]}, slice_years=8)
    branches = lay_out(demand, files)
    Replay(demand, files, branches)
    years = [(r.slice.first_year, r.slice.last_year) for r in branches.reads]
    assert years == [(1956, 1963), (1964, 1971), (1972, 1979), (1980, 1985)]
    assert [r.after for r in branches.reads] == [None, 0, 1, 2]
    assert [r.first_use[1] for r in branches.reads] == [0, 8, 16, 24]


def test_a_year_from_december_to_november_needs_two_files():
    files = {
        "historical": [
            file_of("historical", 1959, 1969, months=(12, 11)),
            file_of("historical", 1969, 1979, months=(12, 11)),
        ]
    }
    demand = Demand(5, "historical", 2005, {"historical": [1971]}, slice_years=10)
    branches = lay_out(demand, files)
    Replay(demand, files, branches)
    years = [(r.slice.first_year, r.slice.last_year) for r in branches.reads]
    assert years == [(1967, 1969), (1969, 1971)]
    sources = year_sources(demand.trunk, demand.last_historical_year, files)
    assert sources["historical", 1969] == tuple(files["historical"])
    assert len(sources["historical", 1968]) == 1


def test_history_gives_no_year_after_its_last_and_a_scenario_none_before():
    files = {
        "historical": [file_of("historical", 2010, 2020)],
        "ssp245": [file_of("ssp245", 2006, 2025)],
    }
    demand = Demand(5, "historical", 2014, {"historical": [], "ssp245": [2016]})
    sources = year_sources(demand.trunk, demand.last_historical_year, files)
    assert {y for branch, y in sources if branch == "historical"} == set(range(2010, 2015))
    assert {y for branch, y in sources if branch == "ssp245"} == set(range(2015, 2026))


def test_a_gap_neither_enters_nor_leaves():
    files = {"historical": annual("historical", [2000, 2001, 2003, 2004, 2005])}
    demand = Demand(3, "historical", 2014, {"historical": [2002, 2003, 2004, 2005]})
    steps = {s.year: s for s in lay_out(demand, files).steps["historical"]}
    assert steps[2002].enters is None
    assert steps[2002].is_target
    assert steps[2005].leaves is None
    assert steps[2004].leaves == BlockId("historical", 2001)


@pytest.mark.slow
def test_a_reference_period_far_before_the_targets_is_read_once_and_the_years_between_are_not():
    targets = {"historical": (), "ssp245": [2100]}
    demand = nex_demand(targets=targets, references={"historical": [2010]})
    branches = lay_out(demand, files_for(demand))
    Replay(demand, files_for(demand), branches)
    read = sorted(block.year for r in branches.reads for block in r.blocks)
    assert read == [*range(1981, 2011), *range(2071, 2101)]


def parts(scenario: str, year: int, *first_months: int) -> list[InputFile]:
    """Files of three months each."""
    return [file_of(scenario, year, months=(month, month + 2)) for month in first_months]


def test_files_that_are_bundled_in_two_ways_have_one_token():
    year = LAST_HISTORICAL + 1
    later = range(year + 1, END + 1)
    files = {
        "historical": [
            *annual("historical", range(FIRST, year)),
            *parts("historical", year, 1, 4),
        ],
        "ssp245": [*parts("ssp245", year, 7, 10), *annual("ssp245", later)],
        "ssp585": [*parts("ssp585", year, 1, 7, 10), *annual("ssp585", later)],
    }
    demand = Demand(
        window=3,
        trunk="historical",
        last_historical_year=LAST_HISTORICAL,
        targets={"historical": (), "ssp245": range(year, END), "ssp585": (year,)},
        checkpoints={},
        keep_ring=False,
    )
    branches = lay_out(demand, files)
    Replay(demand, files, branches)
    spring = [read for read in branches.reads if files["historical"][-1] in read.slice.files]
    # Read alone as the year enters both branches, and with the months before as it leaves one.
    assert {len(read.slice.files) for read in spring} == {1, 2}
    assert {read.slice.token_file for read in spring} == {files["historical"][-2]}

"""The graph builder: a chain becomes keyed Dask tasks, with file tokens and priorities.

Keys are identities: ``(group, chain id, branch, year, run id)``. The group, such as ``pr-read``, is
what the dashboard shows; it begins with the variable because Dask's key_split stops at words with
digits. With less than all five in the key, a second model's ``pr`` would silently get the first
model's data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dask._task_spec import DataNode, Task, TaskRef

from climdask.execution import tasks
from climdask.execution.checkpoints import checkpoint_path, reference_path
from climdask.execution.tasks import RunContext
from climdask.inputs.access import file_id
from climdask.planning.chains import BlockId, CarryId, Read, Step
from climdask.planning.plan import Chain, Plan

Key = tuple[str, str, str, int, str]

# Which tasks go first: what frees memory before what fills it. Within a stage, early years first.
_ORDER = {
    "write": 4, "tick": 4, "reference": 4, "checkpoint": 3, "window": 3, "restore": 2, "chain": 2,
    "read": 1, "open": 1,
}  # fmt: skip
_MOST_YEARS = 100_000


@dataclass
class ChainGraph:
    """The tasks of one chain, or of several that share files.

    Attributes:
        tasks: by key.
        wanted: keys whose results the run waits for: writes and checkpoints.
        tokens: file token by key, of the tasks that open a file or must run at home.
        places: how far along the chain each key is, in years; for priorities.
        home: group of chains that must share a worker.
        chain_id: of the first chain.
    """

    chain_id: str
    home: str
    tasks: dict[Key, Any] = field(default_factory=dict)
    wanted: list[Key] = field(default_factory=list)
    tokens: dict[Key, str] = field(default_factory=dict)
    places: dict[Key, int] = field(default_factory=dict)

    @property
    def annotations(self) -> dict[str, Any]:
        """What to annotate the tasks with: Dask calls these with a key, on the scheduler."""
        return {"resources": Resources(self.tokens), "priority": Priorities(self.places)}


@dataclass(frozen=True)
class Resources:
    """The file token that a key needs, as Dask resources; an empty mapping for none."""

    tokens: Mapping[Key, str]

    def __call__(self, key: Key) -> dict[str, int]:
        """Return the resources of a key."""
        token = self.tokens.get(key)
        return {token: 1} if token else {}


@dataclass(frozen=True)
class Priorities:
    """The priority of a key; a larger one runs first."""

    places: Mapping[Key, int]

    def __call__(self, key: Key) -> int:
        """Return the priority of a key."""
        return _ORDER[stage_of(key)] * _MOST_YEARS - self.places.get(key, 0)


def stage_of(key: Any) -> str:
    """Return the stage that a key's group names, such as ``read`` of ``pr-read``."""
    return str(key[0]).rpartition("-")[2]


def _last_stage(step: Step) -> str:
    """Return the stage that ends a step; its result is small, so that reads may depend on it."""
    return "write" if step.is_target else "tick"


def token_name(plan: Plan, read: Read) -> str:
    """Return the resource that stands for the right to have a file open, or those of a bundle."""
    return f"file:{file_id(plan.input_path(read.slice.token_file))}"


def build_chain(plan: Plan, chain: Chain, context: RunContext) -> ChainGraph:
    """Build the tasks of one chain.

    Each read waits for the end of the step ``lookahead`` steps before its first use (its write, or
    a tick where nothing is written), so that the reads run ahead of the chain, but not far.
    """
    return build_together(plan, [chain], context)


def build_together(plan: Plan, chains: Sequence[Chain], context: RunContext) -> ChainGraph:
    """Build the tasks of chains that share files; reads that are alike share their openings.

    Where they do, an ``open`` task reads for all of them, and the ``read`` of each chain picks its
    own from that, so that blocks live as long as their own chain needs them.
    """
    counts = Counter(read.shared_key for chain in chains for read in chain.branches.reads)
    shared = {key: _Opening() for key, n in counts.items() if n > 1}
    whole = ChainGraph(chains[0].id, chains[0].home)
    builders = [_Builder(plan, chain, context, whole, shared) for chain in chains]
    for builder in builders:
        builder.build()
    for opening in shared.values():
        opening.builders[0].add_opening(opening)
    return whole


@dataclass
class _Opening:
    """Reads of several chains that one task does.

    Attributes:
        builders, reads, places: of each chain.
        waits: keys that have to be done before.
    """

    builders: list[_Builder] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    waits: list[Key] = field(default_factory=list)
    key: Key | None = None


@dataclass(frozen=True)
class _Builder:
    plan: Plan
    chain: Chain
    context: RunContext
    graph: ChainGraph
    shared: Mapping[object, _Opening]

    def build(self) -> None:
        self._at_home(self._add("chain", "", 0, DataNode, self.chain.spec, place=0))
        readings = self._reads()
        trunk = self.chain.branches.trunk
        offset = len(self.chain.branches.steps[trunk])
        for branch, steps in self.chain.branches.steps.items():
            unsaved: list[Key] = []
            for place, step in enumerate(steps, start=0 if branch == trunk else offset):
                self._step(step, readings, place, unsaved)

    def key(self, stage: str, branch: str, year: int) -> Key:
        group = f"{self.chain.spec.variable}-{stage}"
        return (group, self.chain.id, branch, year, self.context.run_id)

    def _add(self, stage: str, branch: str, year: int, task: Any, *args: Any, place: int) -> Key:
        key = self.key(stage, branch, year)
        self.graph.places[key] = place
        if task is DataNode:
            self.graph.tasks[key] = DataNode(key, *args)
        else:
            common = (TaskRef(self.key("chain", "", 0)), self.context)
            made = Task(key, task, *common, *args)
            # Keys are identities; hashing all arguments took most of the time of a submission.
            made._token = str(key)
            self.graph.tasks[key] = made
        return key

    def _at_home(self, key: Key) -> None:
        """Bind a key to the chain's home by the token of its first file.

        Dask holds back tasks without dependencies, or nearly so, while all workers are busy; those
        with restrictions it does not. Without this a chain would start only as another one ends.
        """
        self.graph.tokens[key] = token_name(self.plan, self.chain.branches.reads[0])

    def _reads(self) -> Mapping[BlockId, list[Key]]:
        """Add the reads; return the keys that each block comes from."""
        readings: dict[BlockId, list[Key]] = {}
        keys: list[Key] = []
        for index, read in enumerate(self.chain.branches.reads):
            branch, place = read.first_use
            waits = [] if read.after is None else [keys[read.after]]
            early = place - self.chain.memory.lookahead
            if early >= 0:
                step = self.chain.branches.way(branch)[early]
                waits.append(self.key(_last_stage(step), step.branch, step.year))
            # The index tells apart the reads of one year: two files, or a second opening.
            at = (f"{branch}/{index}", read.slice.first_year)
            if opening := self.shared.get(read.shared_key):
                key = self._pick(opening, read, at, waits, place)
            else:
                key = self._add("read", *at, tasks.read, read, *map(TaskRef, waits), place=place)
                self.graph.tokens[key] = token_name(self.plan, read)
            keys.append(key)
            for block in read.blocks:
                readings.setdefault(block, []).append(key)
        return readings

    def _pick(
        self, opening: _Opening, read: Read, at: tuple[str, int], waits: list[Key], place: int
    ) -> Key:
        """Add a read that picks its own from an opening which several chains share."""
        opening.key = opening.key or self.key("open", *at)
        number = len(opening.builders)
        opening.builders.append(self)
        opening.reads.append(read)
        opening.places.append(place)
        opening.waits += waits
        return self._add("read", *at, tasks.pick, number, TaskRef(opening.key), place=place)

    def add_opening(self, opening: _Opening) -> None:
        """Add the task that reads for several chains."""
        assert opening.key is not None
        specs = [builder.key("chain", "", 0) for builder in opening.builders]
        refs = map(TaskRef, [*specs, *dict.fromkeys(opening.waits)])
        made = Task(opening.key, tasks.read_together, self.context, tuple(opening.reads), *refs)
        made._token = str(opening.key)
        self.graph.tasks[opening.key] = made
        self.graph.places[opening.key] = min(opening.places)
        self.graph.tokens[opening.key] = token_name(self.plan, opening.reads[0])

    def _step(
        self, step: Step, readings: Mapping[BlockId, list[Key]], place: int, unsaved: list[Key]
    ) -> None:
        at = (step.branch, step.year)
        blocks = [b for b in (step.enters, step.leaves) if b is not None]
        parts = dict.fromkeys(k for b in blocks for k in readings[b])
        before = self._before(step, place)
        window = self._add(
            "window", *at, tasks.window, step, before, *map(TaskRef, parts), place=place
        )
        if step.is_reference:
            path = reference_path(self.context.folder, self.chain, CarryId(*at))
            key = self._add(
                "reference", *at, tasks.reference, CarryId(*at), path, TaskRef(window), place=place
            )
            self.graph.wanted.append(key)
            unsaved.append(key)
        if step.is_target:
            job = self.chain.job(*at)
            others = [TaskRef(key) for key in self._references(*at)]
            write = self._add("write", *at, tasks.write, job, TaskRef(window), *others, place=place)
            self.graph.wanted.append(write)
            unsaved.append(write)
        else:
            self._add("tick", *at, tasks.tick, TaskRef(window), place=place)
        if step.has_checkpoint:
            path = checkpoint_path(self.context.folder, self.chain, *at)
            key = self._add(
                "checkpoint", *at, tasks.checkpoint, CarryId(*at), path, TaskRef(window),
                *map(TaskRef, unsaved), place=place,
            )  # fmt: skip
            self.graph.wanted.append(key)
            # The next checkpoint follows this one, and so all writes before it.
            unsaved[:] = [key]

    def _references(self, branch: str, target_year: int) -> list[Key]:
        """Return the keys of the reference normals of a target; saved ones are loaded."""
        keys = []
        for at in self.chain.references(branch, target_year):
            key = self.key("reference", at.branch, at.year)
            is_saved = (self.chain.id, at.branch, at.year) in self.chain.done.references
            if is_saved and key not in self.graph.tasks:
                path = reference_path(self.context.folder, self.chain, at)
                where = ("reference", at.branch, at.year)
                self._at_home(self._add(*where, tasks.saved_reference, path, place=0))
            keys.append(key)
        return keys

    def _before(self, step: Step, place: int) -> Any:
        if step.before is None:
            return None
        at = (step.before.branch, step.before.year)
        if not step.restores:
            return TaskRef(self.key("window", *at))
        if self.key("restore", *at) not in self.graph.tasks:
            path = checkpoint_path(self.context.folder, self.chain, *at)
            self._at_home(self._add("restore", *at, tasks.restore, path, place=place))
        return TaskRef(self.key("restore", *at))

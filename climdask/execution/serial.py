"""The reference executor: the whole plan in one process, one task after the other, without Dask.

It walks the steps itself instead of running the graph, so that comparing the two tests the graph
builder too.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from climdask.climatology.changes import ReferenceNormals
from climdask.errors import ClimdaskError
from climdask.execution import tasks
from climdask.execution.checkpoints import checkpoint_path, reference_path
from climdask.execution.events import Event
from climdask.execution.tasks import Blocks, Handed, RunContext, Superseded, Written
from climdask.planning.chains import BlockId, CarryId, Read, Step
from climdask.planning.plan import Chain, ChainSpec, Plan

logger = logging.getLogger(__name__)


def run_serially(
    plan: Plan, context: RunContext, on_event: Callable[[Event], None] = lambda _: None
) -> None:
    """Run every chain of a plan; a chain that fails does not stop the others."""
    for group in plan.together:
        _run_group(group, context, on_event)


def _run_group(
    chains: Sequence[Chain], context: RunContext, on_event: Callable[[Event], None]
) -> None:
    """Run chains that share files: side by side, an event of each in turn."""
    reads = _Reads.of(chains, context)
    walks = {chain.id: _Walk(chain, context, reads).events() for chain in chains}
    for chain in chains:
        on_event(Event("start", chain.id))
    while walks:
        for chain_id, events in list(walks.items()):
            try:
                on_event(next(events))
            except StopIteration:
                on_event(Event("finish", chain_id))
                del walks[chain_id]
            except ClimdaskError as error:
                logger.debug("%s failed:", chain_id, exc_info=error)  # --debug shows it
                on_event(Event("fail", chain_id, message=str(error)))
                reads.forget(chain_id)
                del walks[chain_id]


@dataclass
class _Reads:
    """The reads of chains that share files; those that are alike are done in one opening.

    Attributes:
        alike: the chains and reads by what is alike.
        kept: what was read for chains that have not asked for it yet.
    """

    context: RunContext
    alike: dict[object, list[tuple[ChainSpec, Read]]]
    kept: dict[tuple[str, object], Blocks | Superseded | ClimdaskError] = field(
        default_factory=dict
    )

    @classmethod
    def of(cls, chains: Sequence[Chain], context: RunContext) -> _Reads:
        alike: dict[object, list[tuple[ChainSpec, Read]]] = {}
        for chain in chains:
            for read in chain.branches.reads:
                alike.setdefault(read.shared_key, []).append((chain.spec, read))
        return cls(context, alike)

    def read(self, spec: ChainSpec, job: Read) -> Blocks | Superseded:
        """Return what a read of a chain gives; others of the same files are done with it."""
        key = job.shared_key
        pairs = self.alike[key]
        if (spec.id, key) not in self.kept:
            if len(pairs) == 1:
                return tasks.read(spec, self.context, job)
            jobs = [own for _, own in pairs]
            answers = tasks.read_together(self.context, jobs, *(other for other, _ in pairs))
            ids = [other.id for other, _ in pairs]
            self.kept |= {(name, key): a for name, a in zip(ids, answers, strict=True)}
        return tasks.pick(spec, self.context, 0, [self.kept.pop((spec.id, key))])

    def forget(self, chain_id: str) -> None:
        """Read nothing more for a chain that failed."""
        self.kept = {k: v for k, v in self.kept.items() if k[0] != chain_id}
        for key, pairs in self.alike.items():
            self.alike[key] = [pair for pair in pairs if pair[0].id != chain_id]


@dataclass
class _Walk:
    """One chain on its way: blocks that are needed again, and the sums that branches lean on."""

    chain: Chain
    context: RunContext
    reads: _Reads | None = None
    done: Counter[str] = field(default_factory=Counter)
    held: dict[int, Blocks | Superseded] = field(default_factory=dict)
    carries: dict[CarryId, Handed] = field(default_factory=dict)
    references: dict[CarryId, ReferenceNormals] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reads = self.reads or _Reads.of([self.chain], self.context)
        self.readings: dict[BlockId, list[int]] = {}
        for index, read in enumerate(self.chain.branches.reads):
            for block in read.blocks:
                self.readings.setdefault(block, []).append(index)
        self.uses = Counter(i for step in self._steps() for i in self._needs(step))

    def _steps(self) -> Iterator[Step]:
        for steps in self.chain.branches.steps.values():
            yield from steps

    def _needs(self, step: Step) -> list[int]:
        blocks = [b for b in (step.enters, step.leaves) if b is not None]
        return list(dict.fromkeys(i for b in blocks for i in self.readings[b]))

    def events(self) -> Iterator[Event]:
        spec, context, reads = self.chain.spec, self.context, self.reads
        assert reads is not None
        for step in self._steps():
            for index in self._needs(step):
                if index not in self.held:
                    job = self.chain.branches.reads[index]
                    self.held[index] = reads.read(spec, job)
                    yield self._event("read", step.branch, job.slice.first_year)
            parts = [self.held[i] for i in self._needs(step)]
            carry = tasks.window(spec, context, step, self._before(step), *parts)
            yield self._event("window", step.branch, step.year)
            self._refer(step, carry)
            if self._write(step, carry):
                yield self._event("write", step.branch, step.year)
            self._save(step, carry)
            self._forget(step, carry)

    def _event(self, stage: str, branch: str, year: int) -> Event:
        self.done[stage] += 1
        return Event(stage, self.chain.id, branch, year, self.done[stage])

    def _before(self, step: Step) -> Handed | None:
        if step.before is None:
            return None
        if step.restores:
            path = checkpoint_path(
                self.context.folder, self.chain, step.before.branch, step.before.year
            )
            return tasks.restore(self.chain.spec, self.context, path)
        return self.carries[step.before]

    def _refer(self, step: Step, carry: Handed) -> None:
        """Make the normals of a reference period that ends here."""
        if step.is_reference:
            at = CarryId(step.branch, step.year)
            path = reference_path(self.context.folder, self.chain, at)
            made = tasks.reference(self.chain.spec, self.context, at, path, carry)
            self.references[at] = made

    def _reference(self, at: CarryId) -> ReferenceNormals:
        """Return the normals of a reference period; what an earlier run saved is loaded."""
        if at not in self.references:
            path = reference_path(self.context.folder, self.chain, at)
            self.references[at] = tasks.saved_reference(self.chain.spec, self.context, path)
        return self.references[at]

    def _write(self, step: Step, carry: Handed) -> Written | None:
        if not step.is_target:
            return None
        job = self.chain.job(step.branch, step.year)
        references = self.chain.references(step.branch, step.year)
        others = [self._reference(at) for at in references]
        return tasks.write(self.chain.spec, self.context, job, carry, *others)

    def _save(self, step: Step, carry: Handed) -> None:
        if step.has_checkpoint:
            at = CarryId(step.branch, step.year)
            path = checkpoint_path(self.context.folder, self.chain, at.branch, at.year)
            tasks.checkpoint(self.chain.spec, self.context, at, path, carry)

    def _forget(self, step: Step, carry: Handed) -> None:
        """Drop the blocks that are never needed again, and the sums that no step starts from."""
        for index in self._needs(step):
            self.uses[index] -= 1
            if not self.uses[index]:
                del self.held[index]
        firsts = [s for steps in self.chain.branches.steps.values() for s in steps[:1]]
        forks = {s.before for s in firsts if s.before and s.before.branch != s.branch}
        self.carries = {k: v for k, v in self.carries.items() if k in forks}
        self.carries[CarryId(step.branch, step.year)] = carry

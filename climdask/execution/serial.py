"""The reference executor: the whole plan in one process, one task after the other, without Dask.

It walks the steps itself instead of running the graph, so that comparing the two tests the graph
builder too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from climdask import tasks
from climdask.chains import BlockId, CarryId, Step
from climdask.checkpoints import checkpoint_path
from climdask.errors import ClimdaskError
from climdask.plan import Chain, Plan
from climdask.tasks import Blocks, Carry, RunContext, Superseded, Written


@dataclass(frozen=True)
class Event:
    """Something that happened to a chain.

    Attributes:
        stage: ``read``, ``window``, ``write`` or ``failed``.
        result: of a write.
        message: of a failure.
    """

    chain: str
    stage: str
    leg: str
    year: int
    result: Written | None = None
    message: str = ""


def run_serially(
    plan: Plan, context: RunContext, on_event: Callable[[Event], None] = lambda _: None
) -> None:
    """Run every chain of a plan; a chain that fails does not stop the others."""
    for chain in plan.chains:
        walk = _Walk(chain, context)
        step: Step | None = None
        try:
            for event in walk.events():
                on_event(event)
        except ClimdaskError as error:
            step = walk.current
            leg, year = (step.leg, step.year) if step else ("", 0)
            on_event(Event(chain.id, "failed", leg, year, message=str(error)))


@dataclass
class _Walk:
    """One chain on its way: the blocks that are needed again, and the sums that legs lean on."""

    chain: Chain
    context: RunContext
    current: Step | None = None
    held: dict[int, Blocks | Superseded] = field(default_factory=dict)
    carries: dict[CarryId, Carry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.readings: dict[BlockId, list[int]] = {}
        for index, read in enumerate(self.chain.legs.reads):
            for block in read.blocks:
                self.readings.setdefault(block, []).append(index)
        self.uses = Counter(i for step in self._steps() for i in self._needs(step))

    def _steps(self) -> Iterator[Step]:
        for steps in self.chain.legs.steps.values():
            yield from steps

    def _needs(self, step: Step) -> list[int]:
        blocks = [b for b in (step.enters, step.leaves) if b is not None]
        return list(dict.fromkeys(i for b in blocks for i in self.readings[b]))

    def events(self) -> Iterator[Event]:
        spec, context = self.chain.spec, self.context
        for step in self._steps():
            self.current = step
            for index in self._needs(step):
                if index not in self.held:
                    job = self.chain.legs.reads[index]
                    self.held[index] = tasks.read(spec, context, job)
                    yield Event(self.chain.id, "read", step.leg, job.slice.first_year)
            parts = [self.held[i] for i in self._needs(step)]
            carry = tasks.window(spec, context, step, self._before(step), *parts)
            yield Event(self.chain.id, "window", step.leg, step.year)
            written = self._write(step, carry)
            if written is not None:
                yield Event(self.chain.id, "write", step.leg, step.year, result=written)
            self._save(step, carry)
            self._forget(step, carry)

    def _before(self, step: Step) -> Carry | None:
        if step.before is None:
            return None
        if step.restores:
            path = checkpoint_path(
                self.context.folder, self.chain, step.before.leg, step.before.year
            )
            return tasks.restore(self.chain.spec, self.context, path)
        return self.carries[step.before]

    def _write(self, step: Step, carry: Carry) -> Written | None:
        if not step.is_target:
            return None
        job = self.chain.job(step.leg, step.year)
        return tasks.write(self.chain.spec, self.context, job, carry)

    def _save(self, step: Step, carry: Carry) -> None:
        if step.has_checkpoint:
            at = CarryId(step.leg, step.year)
            path = checkpoint_path(self.context.folder, self.chain, at.leg, at.year)
            tasks.checkpoint(self.chain.spec, self.context, at, path, carry)

    def _forget(self, step: Step, carry: Carry) -> None:
        """Drop the blocks that are never needed again, and the sums that no step starts from."""
        for index in self._needs(step):
            self.uses[index] -= 1
            if not self.uses[index]:
                del self.held[index]
        trunk_end = self.chain.legs.steps[self.chain.legs.trunk][-1:]
        ends = {CarryId(s.leg, s.year) for s in trunk_end}
        self.carries = {k: v for k, v in self.carries.items() if k in ends}
        self.carries[CarryId(step.leg, step.year)] = carry

"""A session: every arm on the same data, in alternation, for some rounds, and then checked."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.answers import Normals, Verdict
from benchmarks.arms import REFERENCE, Arm, ClimdaskArm
from benchmarks.job import Job
from benchmarks.measure import Measured, measure
from benchmarks.readers import copy

Report = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """One run of one arm.

    Attributes:
        round: from 0.
        targets: target years that it made, or for which it read.
        figures: what the arm says of itself: ``seconds`` without the start of Python, and more.
        written: bytes of what it leaves behind.
    """

    arm: str
    round: int
    targets: tuple[int, ...]
    measured: Measured
    figures: dict[str, Any]
    written: int
    verdict: Verdict

    @property
    def per_target(self) -> float:
        """Wall seconds for each of its target years."""
        return self.measured.wall / len(self.targets)


@dataclass
class Session:
    """All runs of some arms.

    Attributes:
        rounds: how often each arm runs; heavy_rounds: how often a heavy one does.
        keep: folder in which all that the arms leave behind stays; None to remove it.
        skipped: why an arm did not run, by name.
        runs: in the order of their execution within each round.
    """

    job: Job
    arms: Sequence[Arm]
    rounds: int
    heavy_rounds: int
    report: Report = lambda _: None
    keep: Path | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 if every arm that ran was right."""
        return 0 if self.runs and all(run.verdict.right for run in self.runs) else 1

    def go(self) -> None:
        """Run everything; the input is read once before, so that what fits is in memory."""
        self.skipped = {a.name: why for a in self.arms if (why := a.lacking(self.job))}
        copy(self.job, (), Path())
        for number in range(self.rounds):
            with self._folder(number) as folder:
                self.runs += self._round(number, folder)

    def order(self, number: int) -> list[Arm]:
        """Return the arms of a round; each begins a third further on."""
        able = [
            arm for arm in self.arms
            if arm.name not in self.skipped and (not arm.heavy or number < self.heavy_rounds)
        ]  # fmt: skip
        first = number * -(-len(able) // 3) % len(able)
        return able[first:] + able[:first]

    @contextmanager
    def _folder(self, number: int) -> Iterator[Path]:
        """Make the folder of a round, on the disk that holds the data unless it is kept."""
        if self.keep:
            folder = self.keep.absolute() / f"round-{number + 1}"
            folder.mkdir(parents=True)
            yield folder
        else:
            with tempfile.TemporaryDirectory(prefix="run-", dir=self.job.root.parent) as name:
                yield Path(name)

    def _round(self, number: int, folder: Path) -> Iterator[Run]:
        """Run the arms one after another; then, untimed, compare what they made."""
        arms = self.order(number)
        measured = {}
        for arm in arms:
            (folder / arm.name).mkdir()
            command = arm.command(self.job, folder / arm.name)
            measured[arm.name] = measure(command, folder / f"{arm.name}.log")
            self.report(f"round {number + 1}: {arm.name}: {measured[arm.name].wall:.2f} s")
        reference = self._reference(folder)
        for arm in arms:
            yield self._checked(arm, number, folder, measured[arm.name], reference)

    def _reference(self, folder: Path) -> Normals:
        arm = next(arm for arm in self.arms if arm.name == REFERENCE)
        assert isinstance(arm, ClimdaskArm)
        return arm.normals(folder / REFERENCE)

    def _checked(
        self, arm: Arm, number: int, folder: Path, measured: Measured, reference: Normals
    ) -> Run:
        out, targets = folder / arm.name, arm.targets(self.job)
        if measured.code:
            log = (folder / f"{arm.name}.log").read_text(encoding="utf-8", errors="replace")
            last = " / ".join(log.strip().splitlines()[-3:])
            verdict = Verdict(False, 0, 0.0, f"exit code {measured.code}: {last[-500:]}")
            return Run(arm.name, number, targets, measured, {}, 0, verdict)
        try:
            figures, verdict = arm.figures(out), arm.check(self.job, out, reference)
        except Exception as error:  # whatever an arm left behind, the others are to be reported
            figures, verdict = {}, Verdict(False, 0, 0.0, f"{type(error).__name__}: {error}")
        if not verdict.right:
            self.report(f"VOID: {arm.name}: {verdict.text}")
        written = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
        return Run(arm.name, number, targets, measured, figures, written, verdict)

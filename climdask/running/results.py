"""What a run leaves behind: outputs, failures, the audit, and the normals as xarray datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from climdask.climatology.cycles import WORDS
from climdask.errors import EXIT_DONE, EXIT_FAILED, PlanError, did_you_mean
from climdask.execution.gaps import summarize
from climdask.inputs.audit import Audit, audit
from climdask.outputs.folder import OutputFolder
from climdask.outputs.formats import FORMATS
from climdask.outputs.places import Places
from climdask.planning.plan import Chain, Plan

if TYPE_CHECKING:
    import xarray as xr

    from climdask.monitoring.progress import ChainProgress


@dataclass(frozen=True)
class RunResult:
    """The end of a run.

    Attributes:
        plan: what was to do.
        folder: where the normals are.
        run_id: names the run's traces.
        rows: counts, state and message of each chain.
        failures: message by chain, and by "manifest" or "stores" if these could not be written.
        seconds: that the run took.
    """

    plan: Plan
    folder: OutputFolder
    run_id: str
    rows: tuple[ChainProgress, ...]
    failures: Mapping[str, str]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every chain ended well and no file was open twice at once."""
        return not self.failures and self.audit.holds

    @property
    def exit_code(self) -> int:
        """0 if all is done, 1 if something failed."""
        return EXIT_DONE if self.ok else EXIT_FAILED

    @cached_property
    def audit(self) -> Audit:
        """What the traces of this run prove."""
        return audit([self.folder.trace(self.run_id)])

    @property
    def gaps(self) -> list[str]:
        """What whole regions lack in the normals of this run, and by which rule."""
        return summarize(self.audit.lacking, self.plan.workflow.years_needed)

    @property
    def outputs(self) -> list[Path]:
        """The files or stores that are there, of this run and of earlier ones, in order."""
        return list(dict.fromkeys(self._normals))

    @property
    def n_normals(self) -> int:
        """How many of the plan's normals are there."""
        return len(self._normals)

    @property
    def _normals(self) -> list[Path]:
        """The file or store of each normal that is there."""
        places = Places(self.folder)
        return [
            self.folder.root / file.path
            for chain in self.plan.all_chains
            for branch, years in chain.targets.items()
            for year in years
            for file in chain.normals(branch, year)
            if places.are_there(chain.spec, branch, year, file)
        ]

    def open(
        self,
        variable: str,
        region: str,
        *,
        scenario: str | None = None,
        model: str | None = None,
        member: str | None = None,
        each: str = "day",
    ) -> xr.Dataset:
        """Open the normals of a variable and region as one lazy dataset.

        Args:
            variable, region: as in the workflow.
            scenario: which branch to follow after the historical experiment; may be left out if
                there is one only, as may ``model`` and ``member``.
            each: ``day``, ``month``, ``season``, ``year``, or the name of days of your own.

        Returns:
            A dataset with dims (target_year, step, lat, lon), where step is ``dayofyear``,
            ``month``, ``season`` or ``step``: the products float32, ``time(target_year, step)``,
            ``years_per_day`` and ``number_of_years``.

        Raises:
            PlanError: no normals of that name, or more than one series fits.
        """
        chain = _one_chain(self.plan.all_chains, variable, model, member)
        branch = _one_branch(chain, scenario)
        places = Places(self.folder)
        names = [r.place.name for r in chain.spec.selection.regions]
        if region not in names:
            raise PlanError(f'region "{region}" is none of {names}{did_you_mean(region, names)}')
        frequency = _frequency(chain, each)
        branches = dict.fromkeys((chain.branches.trunk, branch))
        found = [
            (self.folder.root / file.path, year)
            for own in branches
            for year in chain.targets.get(own, ())
            for file in chain.normals(own, year)
            if (file.region, file.frequency) == (region, frequency)
            and places.are_there(chain.spec, own, year, file)
        ]
        if not found:
            raise PlanError(f"{chain.id}: no normals of {region} are there; did the run fail?")
        by_path: dict[Path, list[int]] = {}
        for path, year in found:
            by_path.setdefault(path, []).append(year)
        return FORMATS[chain.spec.format].open_all(by_path)


def _one_chain(
    chains: Sequence[Chain], variable: str, model: str | None, member: str | None
) -> Chain:
    fitting = [
        c
        for c in chains
        if c.spec.variable == variable
        and model in (None, c.spec.model)
        and member in (None, c.spec.member)
    ]
    if len(fitting) != 1:
        ids = [c.id for c in fitting or chains]
        near = did_you_mean(variable, {c.spec.variable for c in chains})
        raise PlanError(
            f'{len(fitting)} chains fit variable "{variable}", model {model}, '
            f"member {member}{near}; there are {', '.join(ids)}"
        )
    return fitting[0]


def _frequency(chain: Chain, each: str) -> str:
    """Return the frequency that a word of a workflow names."""
    found = [spec.frequency for spec in chain.spec.frequencies]
    frequency = WORDS.get(each, each)
    if frequency not in found:
        words = [next((w for w, f in WORDS.items() if f == own), own) for own in found]
        raise PlanError(
            f"each: {each} is none of this run; choose one of {', '.join(words)}"
            f"{did_you_mean(each, words)}"
        )
    return frequency


def _one_branch(chain: Chain, scenario: str | None) -> str:
    branches = [branch for branch in chain.targets if branch != chain.branches.trunk]
    if scenario is None and len(branches) < 2:
        return branches[0] if branches else chain.branches.trunk
    if scenario not in branches:
        said = "not given" if scenario is None else f'"{scenario}" is none of this run'
        near = did_you_mean(scenario or "", branches)
        raise PlanError(f"scenario: {said}; choose one of {', '.join(branches)}{near}")
    return str(scenario)

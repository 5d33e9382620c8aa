"""Where the normals of an output folder are, whatever their format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from climdask.outputs.folder import OutputFolder
from climdask.outputs.formats import FORMATS, Holder
from climdask.planning.plan import ChainSpec, NormalFile, OutputSeries


@dataclass(frozen=True)
class Places:
    """Where the normals of an output folder are; the place of each series is looked at once."""

    folder: OutputFolder
    _holders: dict[tuple[str, str, str, str], Holder | None] = field(default_factory=dict)

    def objects(
        self, spec: ChainSpec, branch: str, target_year: int, file: NormalFile
    ) -> tuple[Path, ...]:
        """Return the files that hold a normal, or would; none if there is no place for it."""
        holder = self._of(spec, branch, file)
        return holder.objects(target_year) if holder else ()

    def fits(self, spec: ChainSpec, branch: str, file: NormalFile) -> bool:
        """Tell whether what is there could be a normal of this chain: stores must be alike."""
        holder = self._of(spec, branch, file)
        return holder is not None and holder.fits

    def are_there(self, spec: ChainSpec, branch: str, target_year: int, file: NormalFile) -> bool:
        """Tell whether a normal is there."""
        objects = self.objects(spec, branch, target_year, file)
        return bool(objects) and objects[-1].exists() and self.fits(spec, branch, file)

    def holder(self, series: OutputSeries) -> Holder | None:
        """Return what is in the place of a series."""
        spec = series.spec
        key = (spec.id, spec.frequency, series.region.place.name, series.branch)
        if key not in self._holders:
            found = FORMATS[spec.format].find(self.folder.root, series)
            self._holders[key] = found
        return self._holders[key]

    def _of(self, spec: ChainSpec, branch: str, file: NormalFile) -> Holder | None:
        own = spec.at(file.frequency)
        return self.holder(OutputSeries(own, spec.selection.region(file.region), branch))

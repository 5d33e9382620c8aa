"""How normals are named: made, and read back.

A format keeps a file for each target year, in a folder for each period, or a store for each branch.
Names do not depend on what else a workflow asks for. Both directions stand here side by side, so
that what is written is found again; :data:`NAMINGS` has one for each format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

_END = re.compile(r"_(?:(?P<target>\d+)_)?(?P<window>\d+)yr_normal$")


@dataclass(frozen=True)
class SeriesName:
    """What the normals of one variable in one region along one branch have in common.

    Attributes:
        branch: the historical experiment, or a scenario.
        window: years in the window.
        frequency: of the steps of the year, as in CMIP: ``day``, ``mon``; ``seas``, or a user's.
    """

    model: str
    member: str
    grid: str
    variable: str
    region: str
    branch: str
    window: int
    frequency: str = "day"

    @property
    def set_of(self) -> tuple[str, str, str, str, str, str]:
        """What all branches share: model, member, grid, variable, region, frequency."""
        return (self.model, self.member, self.grid, self.variable, self.region, self.frequency)


class Naming(Protocol):
    """The names of one format."""

    @property
    def suffix(self) -> str:
        """The end of every name, such as ``.nc``; no other format has it."""

    @property
    def glob(self) -> str:
        """A pattern that finds every normal below the output root, and nothing hidden."""

    def path(self, series: SeriesName, period: str, target_year: int) -> PurePosixPath:
        """Return the path of what holds a normal, below the output root."""

    def key(self, series: SeriesName, period: str, target_year: int) -> str:
        """Return what completion records call a normal; no two normals have one key."""

    def parse(self, path: PurePosixPath, historical: str) -> tuple[SeriesName, int | None] | None:
        """Return what a path below the output root says: the series, and the target year.

        Args:
            path: as :meth:`path` made it.
            historical: name of the historical experiment, which names the first period.

        Returns:
            None if it is no normal of this format; no target year where one path holds several.
        """


@dataclass(frozen=True)
class FileForEachTarget:
    """``model/member/variable/region/period/…_period_target_30yr_normal.nc``."""

    suffix: str

    @property
    def glob(self) -> str:
        """Six names deep."""
        return f"[!.]*/*/*/*/*/*{self.suffix}"

    def path(self, series: SeriesName, period: str, target_year: int) -> PurePosixPath:
        """Return the path of a file, below the output root."""
        return PurePosixPath(self.key(series, period, target_year))

    def key(self, series: SeriesName, period: str, target_year: int) -> str:
        """Return the path: a file holds one normal."""
        name = f"{_start(series)}_{period}_{target_year}_{series.window}yr_normal{self.suffix}"
        return f"{_folder(series)}/{period}/{name}"

    def parse(self, path: PurePosixPath, historical: str) -> tuple[SeriesName, int | None] | None:
        """Return the series and the target year of a file."""
        found = _end(path, self.suffix)
        if len(path.parts) != 6 or found is None or found["target"] is None:
            return None
        *folders, period, name = path.parts
        branch = period if period == historical else period.removeprefix("hybrid-")
        series = _series(folders, name, f"_{period}_", branch, int(found["window"]))
        return series, int(found["target"])


@dataclass(frozen=True)
class StoreForEachBranch:
    """``model/member/variable/region/…_branch_30yr_normal.zarr``, which holds all target years."""

    suffix: str

    @property
    def glob(self) -> str:
        """Five names deep."""
        return f"[!.]*/*/*/*/*{self.suffix}"

    def path(self, series: SeriesName, period: str, target_year: int) -> PurePosixPath:
        """Return the path of a store, below the output root."""
        del period, target_year
        return PurePosixPath(self._path(series))

    def key(self, series: SeriesName, period: str, target_year: int) -> str:
        """Return the path and the target year."""
        del period
        return f"{self._path(series)}/{target_year}"

    def _path(self, series: SeriesName) -> str:
        name = f"{_start(series)}_{series.branch}_{series.window}yr_normal{self.suffix}"
        return f"{_folder(series)}/{name}"

    def parse(self, path: PurePosixPath, historical: str) -> tuple[SeriesName, int | None] | None:
        """Return the series of a store."""
        del historical
        found = _end(path, self.suffix)
        if len(path.parts) != 5 or found is None:
            return None
        *folders, name = path.parts
        branch = name.removesuffix(self.suffix)[: found.start()].partition(f"_{folders[3]}_")[2]
        return _series(folders, name, f"_{branch}_", branch, int(found["window"])), None


def _folder(series: SeriesName) -> str:
    return f"{series.model}/{series.member}/{series.variable}/{series.region}"


def _start(series: SeriesName) -> str:
    who = f"{series.variable}_{series.frequency}_{series.model}_{series.member}_{series.grid}"
    return f"{who}_{series.region}"


def _end(path: PurePosixPath, suffix: str) -> re.Match[str] | None:
    return _END.search(path.name.removesuffix(suffix)) if path.name.endswith(suffix) else None


def _series(
    folders: list[str], name: str, after_region: str, branch: str, window: int
) -> SeriesName:
    """Put a series together; grid and frequency stand only in the name."""
    model, member, variable, region = folders
    rest = name.removeprefix(f"{variable}_") if name.startswith(f"{variable}_") else ""
    frequency, _, rest = rest.partition(f"_{model}_{member}_")
    grid = rest.partition(f"_{region}{after_region}")[0] or "?"
    return SeriesName(model, member, grid, variable, region, branch, window, frequency or "day")


NAMINGS: dict[str, Naming] = {
    "netcdf": FileForEachTarget(".nc"),
    "zarr": StoreForEachBranch(".zarr"),
}

"""The formats of the output: what each must be able to do, and which there are.

A new format is one module with an :class:`OutputFormat`, and a call of :func:`register`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from climdask.climatology.calendars import Window
from climdask.outputs.cf import NormalField
from climdask.outputs.netcdf import NetcdfFormat
from climdask.outputs.provenance import Provenance
from climdask.outputs.zarr import ZarrFormat
from climdask.planning.naming import NAMINGS, Naming
from climdask.planning.plan import OutputSeries
from climdask.settings.formats import FORMATS as NAMES

if TYPE_CHECKING:  # who only writes needs no xarray, which takes a third of a second to import
    import xarray as xr


class Holder(Protocol):
    """What is on disk in the place of a series."""

    @property
    def fits(self) -> bool:
        """Whether it can hold the normals of the series as planned."""

    @property
    def shared_years(self) -> tuple[int, ...]:
        """Target years that lie in one store with others; none where each has its own file."""

    def objects(self, target_year: int) -> tuple[Path, ...]:
        """Return the files that hold a normal, or would, the last one written last.

        Empty where there is no place for this target year.
        """


class OutputFormat(Protocol):
    """One format of the output.

    Attributes:
        tells_itself: whether a normal says what it was made from as soon as it is written; where
            not, the records keep that until :meth:`finish`.
        opener: the function of xarray that opens what :meth:`write` wrote.
    """

    tells_itself: bool
    opener: str

    def find(self, root: Path, series: OutputSeries) -> Holder | None:
        """Return what is in the place of a series below the output root."""

    def prepare(
        self, root: Path, series: OutputSeries, target_years: Collection[int], kept: Collection[int]
    ) -> bool:
        """Make the place of a series ready before the tasks begin; nothing changes if it is.

        Args:
            root: the output root.
            series: the normals that it is to hold.
            target_years: those that are planned.
            kept: those that are there and are what was written; they stay.

        Returns:
            Whether normals of other keys were there and had to go.

        Raises:
            OutputError: the disk is full or cannot be written.
        """

    def write(
        self, root: Path, series: OutputSeries, window: Window, field: NormalField
    ) -> tuple[Path, ...]:
        """Write one normal, whole or not at all, and return the files that hold it.

        Raises:
            OutputError: the disk is full or cannot be written.
        """

    def finish(self, root: Path, series: OutputSeries, normals: Mapping[int, Provenance]) -> None:
        """Tell what the normals of a series were made from; called when all tasks have ended.

        Raises:
            OutputError: the disk is full or cannot be written.
        """

    def target_years(self, path: Path, variable: str) -> tuple[int, ...]:
        """Return the target years that a file or store holds a normal of."""

    def open_one(self, path: Path, target_year: int) -> xr.Dataset:
        """Open a normal, times not decoded, with dims (day, lat, lon)."""

    def open_all(self, target_years: Mapping[Path, Sequence[int]]) -> xr.Dataset:
        """Open normals as one lazy dataset with dims (target_year, step, lat, lon).

        Args:
            target_years: those that are wanted of each file or store, in order.
        """


FORMATS: dict[str, OutputFormat] = {"netcdf": NetcdfFormat(), "zarr": ZarrFormat()}


def register(name: str, description: str, output_format: OutputFormat, naming: Naming) -> None:
    """Add a format, which a workflow then names in ``output.format``.

    Args:
        name: what the workflow says.
        description: a few words for the schema.
        output_format: writes and finds normals.
        naming: names them; its suffix is no other format's.
    """
    FORMATS[name], NAMINGS[name], NAMES[name] = output_format, naming, description


def format_of(path: Path) -> OutputFormat | None:
    """Return the format of a file or store, by its suffix."""
    names = (name for name, naming in NAMINGS.items() if path.name.endswith(naming.suffix))
    return next((FORMATS[name] for name in names), None)

"""The protocol of readers, and the readers there are, the fastest first.

A reader gets at the stored values of one variable of a file; what they mean, and where they go, is
the business of :mod:`climdask.inputs.reading`. To add one, write a class as :class:`Reader` says
and :func:`register` it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from climdask.climatology.places import Selection
from climdask.inputs.coordinates import Layout


@dataclass(frozen=True)
class OpenVariable:
    """A variable of a file that is open in the netCDF library, under its lock.

    Attributes:
        dataset: the open :class:`netCDF4.Dataset`.
        name: of the variable.
        layout: places of time, latitude and longitude among its dimensions.
        selection: the cells that are wanted.
        n_lon: longitudes of the grid.
    """

    path: Path
    dataset: Any
    name: str
    layout: Layout
    selection: Selection
    n_lon: int


@dataclass(frozen=True)
class Piece:
    """Stored values of some time steps and cells.

    Attributes:
        steps: time steps of the file.
        cells: which of ``Selection.cells``.
        stored: as in the file, [step, cell]; not to be changed.
        n_bytes: of values that were decoded for it, also those of no use.
    """

    steps: range
    cells: npt.NDArray[np.intp] | slice
    stored: npt.NDArray[Any]
    n_bytes: int


# Given time steps in order, yields what they hold, perhaps with steps between them.
Pieces = Callable[[Sequence[range]], Iterator[Piece]]


class Reader(Protocol):
    """One way to read stored values; all give the same ones to the last bit.

    Attributes:
        holds_library: whether it reads through the open dataset, under the library's lock; others
            read when the dataset is closed, several files at a time.
    """

    holds_library: bool

    def prepare(self, variable: OpenVariable) -> Pieces | str:
        """Return what reads the variable, or why this reader cannot.

        What is returned raises OSError or RuntimeError if the file is damaged.
        """


_READERS: list[Reader] = []


def register(reader: Reader, *, first: bool = False) -> None:
    """Add a reader: the last that is asked, or the first."""
    _READERS.insert(0 if first else len(_READERS), reader)


def unregister(reader: Reader) -> None:
    """Take a reader away."""
    _READERS.remove(reader)


def readers() -> tuple[Reader, ...]:
    """Return the readers, in the order in which they are asked."""
    return tuple(_READERS)

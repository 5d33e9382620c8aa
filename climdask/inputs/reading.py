"""The years of an input file as blocks, by the fastest reader that can.

All readers give the same values to the last bit; the one through netCDF4 is the reference, and
reads everything that the netCDF library can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from climdask.climatology.blocks import Block
from climdask.climatology.calendars import DayAxis
from climdask.climatology.places import Selection
from climdask.errors import InconsistentFile
from climdask.inputs.attributes import attributes_of
from climdask.inputs.chunkreader import ChunkReader
from climdask.inputs.decoding import Decoder
from climdask.inputs.headers import Header
from climdask.inputs.libraryreader import LibraryReader
from climdask.inputs.netcdf import agreed, errors_of, filter_named, opened
from climdask.inputs.readers import OpenVariable, Piece, Pieces, Reader, readers, register
from climdask.inputs.timeaxis import Claim, Days

# Bytes after which a read tells that it goes on.
_TOLD_BYTES = 64 << 20

LIBRARY = LibraryReader()
register(ChunkReader())
register(LIBRARY)


def read_years(
    path: Path,
    expected: Header,
    axis: DayAxis,
    selection: Selection,
    years: Sequence[int],
    *,
    claim: Claim | None = None,
    slow: Callable[[str], None] = lambda _: None,
    decoded: Callable[[int], None] = lambda _: None,
    missing_values: Sequence[float] = (),
) -> list[Block]:
    """Read some years of a file. The caller holds the right to open it.

    Args:
        path: the file.
        expected: the header of the chain, which this file must agree with.
        axis: the days of a block.
        selection: the cells of a block.
        years: the years to read, in order; the file may hold more, and may lack some inside.
        claim: first and last date by the file's name, if the name says them.
        slow: receives why the file is read through netCDF4, if it is.
        decoded: receives the bytes of values that were decoded, also those of no use.
        missing_values: values that mean missing although the file does not say so.

    Returns:
        A block for each year, float32 [day, cell], NaN where missing. Values that are infinite,
        equal to a fill or missing value, or outside ``valid_range`` are missing (CF 2.5.1).

    Raises:
        UnreadableFile: the file is damaged or no NetCDF.
        InconsistentFile: it contradicts its name or the chain.
    """
    return _read(
        path,
        expected,
        selection,
        years,
        lambda days: ([_Rows.of(days, axis, year) for year in years], len(axis)),
        claim=claim,
        slow=slow,
        decoded=decoded,
        missing_values=missing_values,
    )


@dataclass(frozen=True)
class YearInParts:
    """One year that lies in several files, read one after the other.

    Attributes:
        values: float32 [day, cell], NaN where nothing was read yet.
        paths: of the file that each day came from.
    """

    expected: Header
    axis: DayAxis
    selection: Selection
    year: int
    values: npt.NDArray[np.float32]
    paths: dict[int, Path]

    @classmethod
    def empty(cls, expected: Header, axis: DayAxis, selection: Selection, year: int) -> YearInParts:
        """Return the year before anything is read."""
        values = np.full((len(axis), selection.cells.size), np.nan, dtype=np.float32)
        return cls(expected, axis, selection, year, values, {})

    def add(
        self,
        path: Path,
        *,
        claim: Claim | None = None,
        slow: Callable[[str], None] = lambda _: None,
        decoded: Callable[[int], None] = lambda _: None,
        missing_values: Sequence[float] = (),
    ) -> None:
        """Read the days of a file; nothing is added if that fails. As :func:`read_years`.

        Raises:
            UnreadableFile: the file is damaged or no NetCDF.
            InconsistentFile: it contradicts its name or the chain, or has a day of another file.
        """
        places: list[int] = []

        def rows_of(days: Days) -> tuple[list[_Rows], int]:
            whole = _Rows.of(days, self.axis, self.year)
            kept = whole.rows >= 0
            places[:] = whole.rows[kept].tolist()
            compact = np.where(kept, np.cumsum(kept) - 1, -1)
            return [_Rows(self.year, whole.steps, compact)], len(places)

        (part,) = _read(
            path, self.expected, self.selection, [self.year], rows_of, claim=claim, slow=slow,
            decoded=decoded, missing_values=missing_values,
        )  # fmt: skip
        if doubled := [place for place in places if self.paths.get(place, path) != path]:
            month, day = self.axis.days[doubled[0]]
            raise InconsistentFile(
                f"{path}: {self.year}-{month:02}-{day:02} is in {self.paths[doubled[0]]}, too; "
                "expected each day in one file; remove one of the files, or narrow input.pattern"
            )
        self.values[places] = part.values
        self.paths.update(dict.fromkeys(places, path))

    @property
    def block(self) -> Block:
        """What was read so far."""
        return Block.of(self.year, self.values)


def _read(
    path: Path,
    expected: Header,
    selection: Selection,
    years: Sequence[int],
    rows_of: Callable[[Days], tuple[list[_Rows], int]],
    *,
    claim: Claim | None,
    slow: Callable[[str], None],
    decoded: Callable[[int], None],
    missing_values: Sequence[float],
) -> list[Block]:
    """Read some years of a file; ``rows_of`` tells where their days go, of how many."""
    where = f"{path}: {expected.stored_name}"
    with opened(path) as dataset:
        layout, days = agreed(path, dataset, expected, years, claim)
        attributes = attributes_of(dataset.variables[expected.stored_name])
        dtype = dataset.variables[expected.stored_name].dtype
        decoder = Decoder(dtype, attributes, where=where, missing_values=missing_values)
        rows, n_days = rows_of(days)
        found = OpenVariable(
            path, dataset, expected.stored_name, layout, selection, expected.grid.shape[1]
        )
        reader, pieces, obstacles = _choose(found)
        if reader.holds_library:
            with filter_named(path, " ".join(obstacles)):
                blocks = _blocks(pieces, decoder, rows, n_days, selection, decoded)
    if not reader.holds_library:
        with errors_of(path):
            blocks = _blocks(pieces, decoder, rows, n_days, selection, decoded)
    for obstacle in obstacles:
        slow(obstacle)
    return blocks


def _choose(variable: OpenVariable) -> tuple[Reader, Pieces, list[str]]:
    """Return the first reader that can read a variable, and why those before it cannot."""
    obstacles: list[str] = []
    for reader in readers():
        pieces = reader.prepare(variable)
        if not isinstance(pieces, str):
            return reader, pieces, obstacles
        obstacles.append(pieces)
    raise AssertionError("the last reader reads everything")


def read_through_netcdf4(
    path: Path, expected: Header, axis: DayAxis, selection: Selection, years: Sequence[int]
) -> list[Block]:
    """Read as :func:`read_years` does, through the library alone: the reference."""
    with opened(path) as dataset:
        layout, days = agreed(path, dataset, expected, years)
        var = dataset.variables[expected.stored_name]
        decoder = Decoder(var.dtype, attributes_of(var), where=f"{path}: {expected.stored_name}")
        rows = [_Rows.of(days, axis, year) for year in years]
        found = OpenVariable(
            path, dataset, expected.stored_name, layout, selection, expected.grid.shape[1]
        )
        pieces = LIBRARY.prepare(found)
        assert not isinstance(pieces, str)
        return _blocks(pieces, decoder, rows, len(axis), selection, lambda _: None)


@dataclass(frozen=True)
class _Rows:
    """Where the time steps of a year go.

    Attributes:
        steps: of the file.
        rows: intp [step], the row of the block for each; below 0 for days that are left out.
    """

    year: int
    steps: range
    rows: npt.NDArray[np.intp]

    @classmethod
    def of(cls, days: Days, axis: DayAxis, year: int) -> _Rows:
        steps = np.flatnonzero(days.years == year)
        rows = axis.positions(days.months[steps], days.days[steps])
        span = range(int(steps[0]), int(steps[-1]) + 1) if steps.size else range(0)
        return cls(year, span, rows)

    def pick(self, part: range) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
        """Return which of some steps of the file are kept: bool [step], and their rows."""
        first, stop = max(part.start, self.steps.start), min(part.stop, self.steps.stop)
        kept = np.zeros(len(part), dtype=bool)
        rows = self.rows[max(0, first - self.steps.start) : max(0, stop - self.steps.start)]
        kept[first - part.start : first - part.start + rows.size] = rows >= 0
        return kept, rows[rows >= 0]


def _blocks(
    pieces: Pieces,
    decoder: Decoder,
    years: Sequence[_Rows],
    n_days: int,
    selection: Selection,
    decoded: Callable[[int], None],
) -> list[Block]:
    """Decode what a reader yields into a block for each year."""
    blocks = [_empty(rows, n_days, selection.cells.size) for rows in years]
    demand = [rows.steps for rows in years if rows.steps]
    n_bytes = 0
    found: Iterable[Piece] = pieces(demand) if demand else ()
    for piece in found:
        values = decoder(piece.stored)
        n_bytes += piece.n_bytes
        if n_bytes >= _TOLD_BYTES:
            decoded(n_bytes)
            n_bytes = 0
        for year, block in zip(years, blocks, strict=True):
            kept, rows = year.pick(piece.steps)
            if rows.size:
                _put(block, rows, piece.cells, values if kept.all() else values[kept])
    decoded(n_bytes)
    return [Block.of(rows.year, values) for rows, values in zip(years, blocks, strict=True)]


def _empty(year: _Rows, n_days: int, n_cells: int) -> npt.NDArray[np.float32]:
    """Return memory for a block, NaN only on the days that nothing is read for."""
    values = np.empty((n_days, n_cells), dtype=np.float32)
    values[np.setdiff1d(np.arange(n_days), year.rows)] = np.nan
    return values


def _put(
    block: npt.NDArray[np.float32],
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp] | slice,
    values: npt.NDArray[np.float32],
) -> None:
    if rows[-1] - rows[0] + 1 == rows.size:  # rows ascend, as time does
        block[int(rows[0]) : int(rows[-1]) + 1, columns] = values
    elif isinstance(columns, slice):
        block[rows, columns] = values
    else:
        block[rows[:, None], columns] = values

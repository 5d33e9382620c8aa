"""A reader of one module: what it takes to add another way to read values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from climdask.inputs.readers import OpenVariable, Piece, Pieces, readers, register, unregister
from climdask.running.run import run
from tests.readback import contents
from tests.samples import write_archive
from tests.workflows import small


class WholeYears:
    """Reads all of a variable at once through h5py, if it is small."""

    holds_library = False

    def __init__(self, most: int) -> None:
        self.most, self.read = most, list[Path]()

    def prepare(self, variable: OpenVariable) -> Pieces | str:
        """Return what reads the variable."""
        if np.prod(variable.layout.shape) > self.most:
            return "it is large"
        if variable.layout.order != (0, 1, 2):
            return "its dimensions have another order"

        def pieces(demand: Sequence[range]) -> Iterator[Piece]:
            self.read.append(variable.path)
            with h5py.File(variable.path) as file:
                values = file[variable.name][()]
            cells = values.reshape(len(values), -1)[:, variable.selection.cells]
            yield Piece(range(len(values)), slice(None), cells, values.nbytes)

        return pieces


@pytest.mark.slow
@pytest.mark.parametrize(("most", "is_used"), [(10**6, True), (10, False)])
def test_a_new_reader_gives_the_same_normals(tmp_path: Path, most: int, is_used: bool) -> None:
    write_archive(tmp_path / "in", variables=["tas"], first=2001, last=2008, calendar="standard")
    assert run(small(tmp_path / "in", tmp_path / "usual", scenarios=[]), serial=True).ok
    reader = WholeYears(most)
    register(reader, first=True)
    try:
        result = run(small(tmp_path / "in", tmp_path / "new", scenarios=[]), serial=True)
    finally:
        unregister(reader)
    assert result.ok, result.failures
    assert reader not in readers()
    assert len(reader.read) == (8 if is_used else 0)
    assert {reason for _, reason in result.audit.slow} == (set() if is_used else {"it is large"})
    assert contents(tmp_path / "new") == contents(tmp_path / "usual")

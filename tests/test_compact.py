"""Small objects of a plan, pickled."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, dataclass, fields

import pytest

from climdask.compact import Compact
from climdask.inputs.inventory import InputFile
from climdask.planning.chains import BlockId, FileSlice, Read


@dataclass(frozen=True, order=True, slots=True)
class Pair(Compact):
    one: int
    other: str = "x"


def test_a_compact_object_comes_back_as_it_was():
    file = InputFile((1950, 1, 1), (1950, 12, 31), "a/b.nc", "historical", (1, 1), 5, 7)
    blocks = (BlockId("historical", 1950), BlockId("historical", 1950, again=True))
    read = Read(FileSlice(file, 1950, 1950), blocks, ("historical", 0), (("ssp245", 1979),), None)
    for one in (Pair(1), Pair(2, "y"), file, read):
        back = pickle.loads(pickle.dumps(one))
        assert (back, type(back), repr(back)) == (one, type(one), repr(one))


def test_a_pickle_holds_values_and_no_names_of_fields():
    one = InputFile((1950, 1, 1), (1950, 12, 31), "b.nc", "historical", (), 5, 7)
    said = pickle.dumps(one)
    assert not [field.name for field in fields(one) if field.name.encode() in said]


def test_objects_that_are_shared_stay_shared():
    shared = BlockId("ssp245", 2050)
    one, other = pickle.loads(pickle.dumps([shared, shared]))
    assert one is other


def test_a_compact_object_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Pair(1).one = 2  # type: ignore[misc]

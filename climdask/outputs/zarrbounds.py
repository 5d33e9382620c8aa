"""The climatology bounds of a Zarr store: all target years in one object.

A store is made ready with the years of the calendar. Which years have each day is known when the
tasks have ended, from the records; then the object is written again, if that says anything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from climdask.errors import OutputError
from climdask.outputs.atomicfiles import atomically
from climdask.outputs.provenance import Provenance
from climdask.outputs.zarrlayout import BOUNDS, Store, object_key

OBJECT = object_key(0, 3)
BOUNDS_OBJECT = f"{BOUNDS}/{OBJECT}"
_ARRAY = "zarr.json"


def put_bounds(
    place: Path, store: Store, target_years: Sequence[int], normals: Mapping[int, Provenance]
) -> None:
    """Put the bounds of what the normals were made from in place; nothing changes if they are.

    Args:
        place: the folder of the store, which is whole.
        store: what it holds.
        target_years: its axis.
        normals: by target year; one that is not there has the years of the calendar.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    path, about = place / BOUNDS_OBJECT, place / BOUNDS / _ARRAY
    try:
        content = _encoded(about.read_bytes(), store, target_years, normals)
        is_right = path.exists() and path.read_bytes() == content
    except OSError as error:
        raise OutputError(
            f"{about.parent}: cannot be read ({error.strerror}); expected the arrays of a store "
            "that this run made ready; was it changed while the run was at work? Run again"
        ) from None
    if not is_right:
        atomically(path, lambda temporary: temporary.write_bytes(content))


def _encoded(
    metadata: bytes, store: Store, target_years: Sequence[int], normals: Mapping[int, Provenance]
) -> bytes:
    """Return the object as the metadata of the array say that it is stored."""
    memory: dict[str, Any] = {_ARRAY: default_buffer_prototype().buffer.from_bytes(metadata)}
    array = zarr.open_array(MemoryStore(memory), mode="r+")
    array[...] = store.bounds(target_years, normals).values
    return bytes(memory[OBJECT].to_bytes())

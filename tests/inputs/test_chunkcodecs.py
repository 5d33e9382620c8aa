"""The filters of HDF5 chunks: what we write others read, and what they write we read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numcodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climdask.inputs.chunkcodecs import (
    BLOSC,
    DEFLATE,
    FLETCHER32,
    SHUFFLE,
    ZSTD,
    DamagedChunkError,
    Pipeline,
    deflated,
    shuffled,
)

DTYPES = ["i1", "i2", "f4", "f8"]
VALUES = np.random.default_rng(0).normal(280.0, 9.0, (30, 4, 5))


@pytest.mark.parametrize("level", range(1, 10))
@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
def test_any_zlib_inflates_what_is_deflated_here(level: int, size: int) -> None:
    rng = np.random.default_rng(level)
    for data in (np.arange(size) % 7, rng.integers(0, 256, size)):
        stored = data.astype(np.uint8)
        packed = deflated(stored, level)
        assert isinstance(packed, bytes)
        assert zlib.decompress(packed) == stored.tobytes()


def test_a_higher_level_packs_tighter() -> None:
    data = shuffled(np.round(VALUES, 1).astype("f4").repeat(20, axis=0))
    one, two, three, four, nine = (len(deflated(data, level)) for level in (1, 2, 3, 4, 9))
    assert one > two > three > four >= nine


def stored_by_h5py(path: Path, values: np.ndarray, **filters: Any) -> tuple[int, bytes]:
    """Return the mask and the bytes of an array that h5py stores as one chunk."""
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", data=values, chunks=values.shape, **filters)
        mask, data = made.id.read_direct_chunk((0,) * values.ndim)
        return int(mask), bytes(data)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_are_shuffled_as_hdf5_does(tmp_path: Path, dtype: str) -> None:
    values = VALUES.astype(dtype)
    _, stored = stored_by_h5py(tmp_path / "x.h5", values, shuffle=True)
    assert shuffled(values).tobytes() == stored
    assert shuffled(values[::2, 1:3]).tobytes() == shuffled(values[::2, 1:3].copy()).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("how", "filters"),
    [
        ({}, ()),
        ({"compression": 6}, (DEFLATE,)),
        ({"shuffle": True}, (SHUFFLE,)),
        ({"fletcher32": True}, (FLETCHER32,)),
        ({"fletcher32": True, "shuffle": True}, None),
        ({"compression": 1, "shuffle": True, "fletcher32": True}, None),
    ],
)
def test_what_hdf5_did_is_undone(
    tmp_path: Path, dtype: str, how: dict[str, Any], filters: tuple[int, ...] | None
) -> None:
    values = VALUES.astype(dtype)
    mask, stored = stored_by_h5py(tmp_path / "x.h5", values, **how)
    with h5py.File(tmp_path / "x.h5") as file:
        plist = file["x"].id.get_create_plist()
        found = tuple(plist.get_filter(n)[0] for n in range(plist.get_nfilters()))
    assert filters is None or found == filters
    data, is_shuffled = Pipeline(found, values.nbytes, values.itemsize).undo(stored, mask)
    assert is_shuffled == (found[:1] == (SHUFFLE,))
    assert data.tobytes() == (shuffled(values).tobytes() if is_shuffled else values.tobytes())


def packed(code: int, data: bytes, itemsize: int) -> bytes:
    if code == DEFLATE:
        return zlib.compress(data, 1)
    codec: Any = {
        FLETCHER32: numcodecs.Fletcher32(), BLOSC: numcodecs.Blosc("zstd"), ZSTD: numcodecs.Zstd(1)
    }.get(code)  # fmt: skip
    if codec:
        return bytes(codec.encode(data))
    whole = len(data) // itemsize * itemsize
    return b"".join(data[i:whole:itemsize] for i in range(itemsize)) + data[whole:]


@given(
    st.lists(st.sampled_from([DEFLATE, SHUFFLE, FLETCHER32, BLOSC, ZSTD]), max_size=5),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 500),
    st.integers(0, 31),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_filters_in_any_order_are_undone_but_those_that_a_chunk_skipped(
    filters: list[int], itemsize: int, length: int, skipped: int, random: Any
) -> None:
    data = random.randbytes(length * itemsize)  # what cannot be compressed grows
    stored = data
    applied = [code for n, code in enumerate(filters) if not skipped >> n & 1]
    for code in applied:
        stored = packed(code, stored, itemsize)
    got, is_shuffled = Pipeline(tuple(filters), len(data), itemsize).undo(stored, skipped)
    assert got.dtype == np.uint8
    assert is_shuffled == (applied[:1] == [SHUFFLE])
    assert got.tobytes() == (packed(SHUFFLE, data, itemsize) if is_shuffled else data)


def test_a_large_chunk_may_have_grown_before_it_was_deflated() -> None:
    data = np.random.default_rng(0).bytes(3_000_000)
    stored = zlib.compress(zlib.compress(data))
    assert len(zlib.compress(data)) > len(data) + 500
    got, _ = Pipeline((DEFLATE, DEFLATE), len(data), 4).undo(stored, 0)
    assert got.tobytes() == data


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ((), ""),
        ((SHUFFLE, DEFLATE, FLETCHER32, ZSTD, BLOSC, SHUFFLE), ""),
        ((4,), "filter szip"),
        ((SHUFFLE, 32000), "filter lzf"),
        ((6, DEFLATE), "filter scaleoffset"),
        ((32008, 307), "filter bitshuffle, bzip2"),
        ((SHUFFLE, 32099), "filter number 32099"),
    ],
)
def test_filters_that_cannot_be_undone_are_named(filters: tuple[int, ...], words: str) -> None:
    assert Pipeline(filters, 80, 4).obstacle == words


def frame(**header: int) -> bytes:
    """Return a blosc frame with a header that lies."""
    own = bytearray(numcodecs.Blosc("lz4").encode(np.arange(1000, dtype="f4").tobytes()))
    for place, number in ((4, header.get("n_bytes")), (12, header.get("packed"))):
        if number is not None:
            own[place : place + 4] = struct.pack("<I", number)
    return bytes(own)


@pytest.mark.parametrize(
    ("code", "stored"),
    [
        (DEFLATE, b""),
        (DEFLATE, zlib.compress(bytes(4000))[:-1]),  # the checksum is cut
        (DEFLATE, zlib.compress(bytes(4001))),
        (DEFLATE, zlib.compress(bytes(3999))),
        (DEFLATE, zlib.compress(bytes(400_000))),
        (FLETCHER32, b""),
        (FLETCHER32, b"abc"),
        (FLETCHER32, bytes(4003)),
        (ZSTD, b""),
        (ZSTD, bytes(50)),
        (ZSTD, b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 7 + b"\x3f" + bytes(40)),  # of 2**62 bytes
        (BLOSC, b""),
        (BLOSC, frame()[:15]),
        # The library reads on beyond the end of these, and may crash.
        (BLOSC, frame()[:-1]),
        (BLOSC, frame()[:40]),
        (BLOSC, frame(packed=2**31)),
        (BLOSC, frame(n_bytes=2**32 - 1)),
        (BLOSC, frame(n_bytes=2**31 - 1)),
        (BLOSC, frame(n_bytes=5)),
    ],
)
def test_damage_is_told_whatever_the_codec_makes_of_it(code: int, stored: bytes) -> None:
    with pytest.raises(DamagedChunkError, match=r"a chunk (cannot be decoded \(|has \d+ bytes)"):
        Pipeline((code,), 4000, 4).undo(stored, 0)

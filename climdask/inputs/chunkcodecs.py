"""The filters of HDF5 chunks, outside the HDF5 library and its lock.

Deflate is undone by libdeflate and done by ISA-L, the fastest of each that we measured
(``benchmarks/README.md``); the other filters are those of numcodecs. They release the GIL.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import deflate as libdeflate
import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from numcodecs import Blosc, Fletcher32, Zstd

DEFLATE, SHUFFLE, FLETCHER32, BLOSC, ZSTD = 1, 2, 3, 32001, 32015
KNOWN = {DEFLATE, SHUFFLE, FLETCHER32, BLOSC, ZSTD}
_NAMES = {
    4: "szip", 5: "nbit", 6: "scaleoffset", 307: "bzip2", 32000: "lzf", 32004: "lz4",
    32008: "bitshuffle", 32013: "zfp", 32026: "blosc2",
}  # fmt: skip

# ISA-L has the levels 1 to 3; above them libdeflate packs tighter than zlib does, and faster.
_ISAL_LEVELS = 3


class DamagedChunkError(RuntimeError):
    """A chunk that cannot be what was written."""


@dataclass(frozen=True)
class Pipeline:
    """The filters of a variable.

    Attributes:
        filters: HDF5 filter numbers, in the order in which they were applied.
        size: bytes of a chunk before any filter.
        itemsize: bytes of a value.
    """

    filters: tuple[int, ...]
    size: int
    itemsize: int

    @property
    def obstacle(self) -> str:
        """Say which filter cannot be undone here; empty if all can."""
        unknown = [_NAMES.get(f, f"number {f}") for f in self.filters if f not in KNOWN]
        return f"filter {', '.join(unknown)}" if unknown else ""

    def undo(self, stored: bytes, skipped: int) -> tuple[npt.NDArray[np.uint8], bool]:
        """Undo all filters but a shuffle that was first, best undone on the cells in demand.

        Args:
            stored: the chunk as it is in the file.
            skipped: bit n is set if the chunk was stored without filter n.

        Returns:
            uint8 [size], and whether the bytes are still shuffled.

        Raises:
            DamagedChunkError: a checksum or the size is wrong.
        """
        applied = [f for n, f in enumerate(self.filters) if not skipped >> n & 1]
        is_shuffled = applied[:1] == [SHUFFLE]
        data: Any = stored
        for code in reversed(applied[1:] if is_shuffled else applied):
            try:
                data = self._undo_one(code, data)
            except Exception as error:  # damage makes codecs raise anything, MemoryError too
                raise DamagedChunkError(f"a chunk cannot be decoded ({error})") from None
        if len(data) != self.size:
            raise DamagedChunkError(f"a chunk has {len(data)} bytes, not {self.size}")
        return np.frombuffer(data, dtype=np.uint8), is_shuffled

    def _undo_one(self, code: int, data: Any) -> Any:
        if code == DEFLATE:
            # Filters before it may have made the chunk a little longer.
            return libdeflate.zlib_decompress(data, self.size + self.size // 100 + 1024)
        if code == FLETCHER32:
            return Fletcher32().decode(data)
        if code == SHUFFLE:
            return _unshuffled(data, self.itemsize)
        if code == BLOSC:
            return _unblosced(data)
        return Zstd().decode(data)


def _unblosced(data: Any) -> Any:
    """Undo blosc, which would read beyond the end of what is shorter than its header says."""
    _, packed = struct.unpack_from("<I4xI", data, 4)
    if packed > len(data):
        raise ValueError(f"{len(data)} of {packed} bytes")
    return Blosc().decode(data)


def _unshuffled(data: Any, itemsize: int) -> npt.NDArray[np.uint8]:
    """Undo HDF5's shuffle; bytes beyond the last whole value, as of a checksum, are in place."""
    stored = np.frombuffer(data, dtype=np.uint8)
    whole = stored.size - stored.size % itemsize
    planes = stored[:whole].reshape(itemsize, -1)
    return np.concatenate([planes.T.reshape(-1), stored[whole:]])


def shuffled(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return the bytes of an array, first bytes first: HDF5's shuffle, uint8 [itemsize, size]."""
    planes = values.reshape(-1).view(np.uint8).reshape(-1, values.itemsize).T
    return np.ascontiguousarray(planes)


def deflated(data: npt.NDArray[np.uint8], level: int) -> bytes:
    """Compress for HDF5's deflate filter (a zlib stream), level 1 to 9."""
    if level <= _ISAL_LEVELS:
        return isal_zlib.compress(data, level)
    return bytes(libdeflate.zlib_compress(data, level))

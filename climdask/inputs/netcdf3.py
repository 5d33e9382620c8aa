"""How long a NetCDF-3 file must be, by its header.

The NetCDF library reads what a truncated NetCDF-3 file lacks as zeros, without a word; so the
length is checked before anything is read. (NetCDF-4 files notice by themselves.) The format is in
the appendix "The NetCDF Classic Format Specification" of the NetCDF User's Guide.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import BinaryIO

MAGIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
_STREAMING = {4: 0xFFFF_FFFF, 8: 0xFFFF_FFFF_FFFF_FFFF}


class DamagedHeaderError(ValueError):
    """The header itself ends too early, or is damaged."""


def needed_bytes(file: BinaryIO) -> int:
    """Return how many bytes a classic file has at least, reading its header from the start.

    Raises:
        DamagedHeaderError: the header is not whole.
    """
    try:
        return _Header(file).needed_bytes()
    except (struct.error, KeyError, IndexError, MemoryError, OverflowError) as error:
        raise DamagedHeaderError(str(error)) from None


@dataclass(frozen=True)
class _Variable:
    """``shape`` is without the record dimension."""

    shape: tuple[int, ...]
    is_record: bool
    item_bytes: int
    begin: int

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.item_bytes


class _Header:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        version = file.read(4)[3]
        self._count = 8 if version == 5 else 4
        self._offset = 4 if version == 1 else 8

    def needed_bytes(self) -> int:
        records = self._number(self._count)
        lengths = [self._dimension() for _ in range(self._list())]
        self._attributes()
        variables = [self._variable(lengths) for _ in range(self._list())]
        fixed = [v.begin + v.bytes for v in variables if not v.is_record]
        moving = [v for v in variables if v.is_record]
        if records in (0, _STREAMING[self._count]):
            moving = []
        # Records are padded to four bytes, except where there is only one record variable.
        record = sum(_padded(v.bytes) for v in moving) if len(moving) > 1 else 0
        record = record or sum(v.bytes for v in moving)
        return max(
            [self._file.tell(), *fixed]
            + [v.begin + (records - 1) * record + v.bytes for v in moving]
        )

    def _number(self, size: int) -> int:
        (value,) = struct.unpack(">I" if size == 4 else ">Q", self._file.read(size))
        return int(value)

    def _list(self) -> int:
        self._number(4)  # the list's tag, zero where the list is empty
        return self._number(self._count)

    def _skip(self, size: int) -> None:
        if len(self._file.read(_padded(size))) < _padded(size):
            raise DamagedHeaderError("the header ends too early")

    def _dimension(self) -> int:
        self._skip(self._number(self._count))
        return self._number(self._count)

    def _attributes(self) -> None:
        for _ in range(self._list()):
            self._skip(self._number(self._count))
            item = _TYPE_BYTES[self._number(4)]
            self._skip(item * self._number(self._count))

    def _variable(self, lengths: list[int]) -> _Variable:
        self._skip(self._number(self._count))
        places = [self._number(self._count) for _ in range(self._number(self._count))]
        shape = [lengths[place] for place in places]
        self._attributes()
        item = _TYPE_BYTES[self._number(4)]
        self._number(self._count)  # vsize, which is wrong for large variables
        is_record = shape[:1] == [0]
        return _Variable(tuple(shape[is_record:]), is_record, item, self._number(self._offset))


def _padded(size: int) -> int:
    return -(-size // 4) * 4

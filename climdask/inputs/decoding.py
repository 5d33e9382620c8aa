"""Stored values to float32: fill values, valid ranges and packing, as CF says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import netCDF4
import numpy as np
import numpy.typing as npt

from climdask.inputs.attributes import numbers, one_number, wrong


class Decoder:
    """Turns stored values of one variable into float32, NaN where missing (CF 2.5.1 and 8.1)."""

    def __init__(
        self,
        dtype: np.dtype[Any],
        attributes: Mapping[str, Any],
        *,
        where: str = "the variable",
        missing_values: Sequence[float] = (),
    ) -> None:
        """Prepare for values of a numeric dtype, from the attributes of their variable.

        Args:
            dtype: as stored.
            attributes: of the variable.
            where: file and variable, for messages.
            missing_values: more values that mean missing, after unpacking.

        Raises:
            InconsistentFile: an attribute that decides the values cannot be used.
        """
        self.meant = _meant(dtype, attributes, where)
        found = _missing_values(dtype, attributes, self.meant, where)
        self.missing = tuple({value.tobytes(): value for value in found}.values())
        self.is_packed = "scale_factor" in attributes or "add_offset" in attributes
        self.scale = _packing(where, attributes, "scale_factor", 1.0)
        self.offset = float(_packing(where, attributes, "add_offset", 0.0))
        self.range = _valid_range(attributes, where)
        with np.errstate(over="ignore"):
            self.named = np.array(missing_values, dtype=np.float32)

    def __call__(self, raw: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return a new float32 array of the shape of ``raw``, which stays as it is."""
        stored = raw.view(self.meant)
        unpacked = stored * self.scale + self.offset if self.is_packed else stored
        with np.errstate(over="ignore"):
            out = unpacked.astype(np.float32)
        missing = ~np.isfinite(out)
        for value in self.missing:
            missing |= raw == value
        for named in self.named:
            missing |= out == named
        for bound, beyond in zip(self.range, (np.less, np.greater), strict=True):
            if bound is not None:
                # A real bound of packed integers is one of the unpacked values (NUG, appendix A).
                is_real = bound.dtype.kind == "f" and stored.dtype.kind != "f"
                values = out if self.is_packed and is_real else stored
                missing |= beyond(values, _as_stored(bound, values.dtype))
        np.copyto(out, np.float32(np.nan), where=missing)
        return out


def unpacked(
    stored: npt.NDArray[Any], attributes: Mapping[str, Any], where: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return values of a coordinate as float64, and where they are missing; shapes as stored.

    Args:
        stored: numbers as in the file.
        attributes: of the variable: packing and fill values.
        where: file and variable, for messages.

    Raises:
        InconsistentFile: an attribute that decides the values cannot be used.
    """
    meant = _meant(stored.dtype, attributes, where)
    values = stored.view(meant).astype(np.float64)
    missing = ~np.isfinite(values)
    for fill in _missing_values(stored.dtype, attributes, meant, where):
        missing |= stored == fill
    scale = _packing(where, attributes, "scale_factor", 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        values = values * scale + _packing(where, attributes, "add_offset", 0.0)
    return values, missing | ~np.isfinite(values)


def _meant(dtype: np.dtype[Any], attributes: Mapping[str, Any], where: str) -> np.dtype[Any]:
    """Return the dtype that stored values are meant to have, by ``_Unsigned`` (NUG)."""
    if "_Unsigned" not in attributes or dtype.kind not in "iu":
        return dtype
    said = str(attributes["_Unsigned"]).strip("\0 ").lower()
    if said not in ("true", "false"):
        raise wrong(where, "_Unsigned", attributes["_Unsigned"], '"true" or "false"')
    return np.dtype(dtype.str.replace(dtype.kind, "u" if said == "true" else "i"))


def _packing(where: str, attributes: Mapping[str, Any], name: str, default: float) -> np.float64:
    """Return ``scale_factor`` or ``add_offset``."""
    found = one_number(where, attributes, name)
    if found is None:
        return np.float64(default)
    if not np.isfinite(found) or (name == "scale_factor" and found == 0):
        expected = "a finite number" + (" other than 0" if name == "scale_factor" else "")
        raise wrong(where, name, attributes[name], expected)
    return np.float64(found)


def _missing_values(
    dtype: np.dtype[Any], attributes: Mapping[str, Any], meant: np.dtype[Any], where: str
) -> Iterator[Any]:
    """Yield the values that mean missing; the library's default fill where none is named."""
    named = [
        numbers(where, attributes, k, may_be_none=True) for k in ("_FillValue", "missing_value")
    ]
    if "_FillValue" not in attributes and dtype.itemsize > 1:
        named.append(np.atleast_1d(netCDF4.default_fillvals.get(dtype.str[1:], ())))
    for value in (v for n in named for v in n):
        with np.errstate(over="ignore", invalid="ignore"):
            stored = value.astype(dtype)
        # 1e20 for 16-bit integers is none of them: cast, it would be some valid number.
        if dtype.kind == "f" or value in (stored, stored.view(meant)):
            yield stored
        if dtype.itemsize == 8 and value.dtype == np.float32:
            yield np.float64(str(value)).astype(dtype)  # 1e20 was meant, and is stored in float64


def _valid_range(attributes: Mapping[str, Any], where: str) -> tuple[Any, Any]:
    """Return the least and the greatest valid value, None where there is no bound."""
    found = [one_number(where, attributes, k) for k in ("valid_min", "valid_max")]
    if "valid_range" in attributes:
        both = numbers(where, attributes, "valid_range")
        if both.size != 2:
            raise wrong(where, "valid_range", attributes["valid_range"], "two numbers")
        found = list(both)
    low, high = (None if v is None or np.isnan(v) else np.asarray(v) for v in found)
    return low, high


def _as_stored(bound: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Give a bound the type of the values, where that does not change what it means."""
    if dtype.kind == "f":  # 350.1 in float64 for values in float32
        with np.errstate(over="ignore"):
            return bound.astype(dtype)
    if dtype.kind == "u" and bound.dtype.kind == "i" and bound.dtype.itemsize == dtype.itemsize:
        return bound.view(dtype.newbyteorder("="))
    return bound

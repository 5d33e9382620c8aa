"""Stored values to float32: fill values, valid ranges and packing, as CF says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import netCDF4
import numpy as np
import numpy.typing as npt


class Decoder:
    """Turns stored values of one variable into float32, NaN where missing (CF 2.5.1 and 8.1)."""

    def __init__(self, dtype: np.dtype[Any], attributes: Mapping[str, Any]) -> None:
        """Prepare for values of a numeric dtype, from the attributes of their variable."""
        self.is_unsigned = (
            str(attributes.get("_Unsigned", "")).lower() == "true" and dtype.kind == "i"
        )
        found = _missing_values(dtype, attributes, unsigned=self.is_unsigned)
        self.missing = tuple({value.tobytes(): value for value in found}.values())
        self.is_packed = "scale_factor" in attributes or "add_offset" in attributes
        self.scale = np.float64(attributes.get("scale_factor", 1.0))
        self.offset = float(attributes.get("add_offset", 0.0))
        self.range = _valid_range(attributes)

    def __call__(self, raw: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return a new float32 array of the shape of ``raw``, which stays as it is."""
        stored = raw.view(raw.dtype.str.replace("i", "u")) if self.is_unsigned else raw
        unpacked = stored * self.scale + self.offset if self.is_packed else stored
        with np.errstate(over="ignore"):
            out = unpacked.astype(np.float32)
        missing = ~np.isfinite(out)
        for value in self.missing:
            missing |= raw == value
        for bound, beyond in zip(self.range, (np.less, np.greater), strict=True):
            if bound is not None:
                # A real bound of packed integers is one of the unpacked values (NUG, appendix A).
                is_real = bound.dtype.kind == "f" and stored.dtype.kind != "f"
                values = out if self.is_packed and is_real else stored
                missing |= beyond(values, _as_stored(bound, values.dtype))
        np.copyto(out, np.float32(np.nan), where=missing)
        return out


def _missing_values(
    dtype: np.dtype[Any], attributes: Mapping[str, Any], *, unsigned: bool
) -> Iterator[Any]:
    """Yield the values that mean missing; the library's default fill where none is named."""
    named = [attributes[k] for k in ("_FillValue", "missing_value") if k in attributes]
    if "_FillValue" not in attributes and dtype.itemsize > 1:
        named.append(netCDF4.default_fillvals.get(dtype.str[1:], ()))
    for value in (v for n in named for v in np.atleast_1d(n) if v.dtype.kind in "fiu"):
        with np.errstate(over="ignore", invalid="ignore"):
            stored = value.astype(dtype)
            as_unsigned = stored.astype(dtype.str.replace("i", "u")) if unsigned else stored
        # 1e20 for 16-bit integers is none of them: cast, it would be some valid number.
        if dtype.kind == "f" or value in (stored, as_unsigned):
            yield stored


def _valid_range(attributes: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the least and the greatest valid value, None where there is no bound."""
    found = [attributes.get("valid_min"), attributes.get("valid_max")]
    if np.size(attributes.get("valid_range", ())) == 2:
        found = list(attributes["valid_range"])
    numbers = [None if v is None else np.asarray(v) for v in found]
    low, high = (v if v is not None and v.dtype.kind in "fiu" else None for v in numbers)
    return low, high


def _as_stored(bound: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Give a bound the type of the values, where that does not change what it means."""
    if dtype.kind == "f":  # 350.1 in float64 for values in float32
        with np.errstate(over="ignore"):
            return bound.astype(dtype)
    if dtype.kind == "u" and bound.dtype.kind == "i" and bound.dtype.itemsize == dtype.itemsize:
        return bound.view(dtype.newbyteorder("="))
    return bound

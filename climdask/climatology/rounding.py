"""Fewer digits: values rounded so that they compress well (CF 1.13, section 8.4).

The method is BitRound (Zender 2016; Kouznetsov 2021, doi:10.5194/gmd-14-377-2021): round to the
nearest value whose mantissa ends in zeros. The values stay plain float32, so every reader reads
them; how many bits are left is written beside them as the netCDF library and CF say.
"""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import Any

import numcodecs
import numpy as np
import numpy.typing as npt

from climdask.version import __version__

# 24 bits of a float32 are 7 digits, and nothing to round.
MOST_DIGITS = 6

# The variable that says how values were rounded.
CONTAINER = "quantization_info"


def bits_for(digits: int) -> int:
    """Return the bits of mantissa that keep so many significant decimal digits of every value."""
    return math.ceil(digits * math.log2(10))


def rounded(values: npt.NDArray[np.float32], digits: int) -> npt.NDArray[np.float32]:
    """Return values with a relative error of at most ``0.5 * 10**-digits``.

    NaN stays NaN, and what would become infinite stays as it is. Below the least
    normal number, 1.2e-38, the error is at most what it may be of that one.

    Args:
        values: float32, any shape.
        digits: significant decimal digits to keep, 1 to 6.
    """
    bits: Any = numcodecs.BitRound(bits_for(digits)).encode(np.ascontiguousarray(values))
    out = np.asarray(bits).view(np.float32).reshape(values.shape)
    # Of some NaN the rounding makes a number.
    np.copyto(out, values, where=np.isnan(values) | ~np.isfinite(out))
    return out


def field_attributes(digits: int) -> dict[str, Any]:
    """Return the attributes of a variable that was rounded: netCDF's and CF's."""
    bits = np.int32(bits_for(digits))
    return {
        "_QuantizeBitRoundNumberOfSignificantBits": bits,
        "quantization": CONTAINER,
        "quantization_nsb": bits,
    }


def container_attributes() -> dict[str, str]:
    """Return the attributes of the variable that says how the rounding was done."""
    return {
        "algorithm": "bitround",
        "implementation": f"climdask version {__version__} (numcodecs {version('numcodecs')})",
    }

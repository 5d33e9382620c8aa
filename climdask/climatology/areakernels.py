"""The loop over areas, compiled by numba; imported only by who needs it.

Compiled and kept on disk as :mod:`climdask.climatology.compiling` says. Sums are made in the
order of the cells and without the liberties of fast mathematics, so every machine gives the same
bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from climdask.climatology.compiling import array_type, compiled

_ANY_VALUES = array_type(types.float32, 2, "A")
_OUT = array_type(types.float32, 2, "A", readonly=False)
_INTEGERS, _NUMBERS = array_type(types.int64, 1), array_type(types.float64, 1)


@compiled(types.void, _ANY_VALUES, _INTEGERS, _INTEGERS, _NUMBERS, _NUMBERS, _OUT)
def area_means(
    values: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    cells: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
    needed: npt.NDArray[np.float64],
    out: npt.NDArray[np.float32],
) -> None:
    """Put the weighted mean of each area into ``out``, [day, area]; NaN where it is missing.

    Args:
        values: [day, cell], NaN where missing.
        starts, cells, weights: as in :class:`climdask.climatology.areas.AreaWeights`.
        needed: [area], weight that must have values; more than none in any case.
        out: receives the means.
    """
    for day in range(values.shape[0]):
        for area in range(starts.size - 1):
            total = 0.0
            weight = 0.0
            for pair in range(starts[area], starts[area + 1]):
                value = values[day, cells[pair]]
                if value == value:  # not NaN
                    total += weights[pair] * np.float64(value)
                    weight += weights[pair]
            if weight > 0.0 and weight >= needed[area]:
                out[day, area] = np.float32(total / weight)
            else:
                out[day, area] = np.float32(np.nan)

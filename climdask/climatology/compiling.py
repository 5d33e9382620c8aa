"""How loops are compiled by numba.

Imported only by who needs it, as numba takes half a second to load. Functions are compiled for one
set of types when their module is imported, so within a process once, whatever the number of tasks
and threads. The machine code is kept on disk: beside the module; where that cannot be written, as
in an install for all users, in the user's own cache folder (or ``NUMBA_CACHE_DIR``), which the
processes of a machine share, and those of a cluster where they share the home folder. Where no
folder can be written at all, each process compiles once, for some seconds, and works the same. A
run imports what it needs before its workers begin, so as a rule they find the code.

``error_model="numpy"`` is division as numpy has it. No fast mathematics: each operation rounds as
it does in numpy, so a kernel gives the bits of its twin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba import types


def array_type(dtype: Any, dims: int, layout: str = "C", *, readonly: bool = True) -> Any:
    """Return numba's type of an array; layout "A" is any, such as a part of a larger array."""
    return types.Array(dtype, dims, layout, readonly=readonly)


def compiled(*signature: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile for one signature, and keep the code on disk where a folder can be written."""

    def made_of(function: Callable[..., Any]) -> Callable[..., Any]:
        own = signature[0](*signature[1:])
        try:
            made = numba.njit(own, nogil=True, cache=True, error_model="numpy")(function)
        except (RuntimeError, OSError):  # numba found no folder, or could not write there
            made = numba.njit(own, nogil=True, error_model="numpy")(function)
        return made  # type: ignore[no-any-return]

    return made_of


# A function that compiled ones call.
part = numba.njit(nogil=True, error_model="numpy", inline="never")

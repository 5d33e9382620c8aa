"""Exact sums: a list of float64 terms whose sum has no rounding error.

Method. A sliding mean by add-and-drop keeps the rounding errors of every year that ever passed
through it, so a plain float64 sum is not good enough: in real precipitation a cell-day's values
span more than 2^29, and sums drift, turn negative or do not return to zero. Here the sum is kept
without any error, as a short list of float64 terms (Shewchuk 1997, "Adaptive precision
floating-point arithmetic", grow-expansion; each step is Knuth's TwoSum): a term is added only
where an addition was inexact, so temperatures need one and precipitation two. The order of
additions, a restart from a checkpoint or a window filled from scratch therefore cannot change
the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.climatology.blocks import Block

Doubles = npt.NDArray[np.float64]

# Elements that are worked on at once: temporaries of 128 KiB stay in a core's cache.
PIECE = 1 << 14
# From so many values on, a year of a grid, the compiled loop is worth loading.
KERNEL_FROM = 1 << 20
# Terms that it takes; sums of more, which real data do not have, are left to numpy.
MOST_TERMS = 4


def accumulate(
    terms: Sequence[Doubles], signed: Sequence[tuple[Block, float]], power: int = 1
) -> tuple[Doubles, ...]:
    """Return the terms with the signed blocks added, without any rounding error.

    Args:
        terms: float64 [day, cell] each.
        signed: blocks with +1 where they enter, -1 where they leave.
        power: 1, or 2 to add the squares: that of a float32 has 48 bits, so it is exact in float64.
    """
    if terms[0].size >= KERNEL_FROM and len(terms) <= MOST_TERMS and 0 < len(signed) <= 2:
        from climdask.climatology import sumkernels

        found = by_kernel(terms, signed, power, sumkernels.accumulate)
        if found is not None:
            return found
    return by_numpy(terms, signed, power)


def by_kernel(
    terms: Sequence[Doubles], signed: Sequence[tuple[Block, float]], power: int, kernel: Any
) -> tuple[Doubles, ...] | None:
    """Do what :func:`by_numpy` does, compiled, with up to :data:`MOST_TERMS` terms.

    Args:
        terms: float64 [day, cell] each.
        signed: one block or two.
        power: 1 or 2.
        kernel: :func:`climdask.climatology.sumkernels.accumulate`.

    Returns:
        The terms; None if there would be more.
    """
    shape, size = terms[0].shape, terms[0].size
    none, no_values = np.empty(0), np.empty(0, dtype=np.float32)
    old = [*(np.ascontiguousarray(t).reshape(-1) for t in terms), none, none, none][:MOST_TERMS]
    blocks = [(np.ascontiguousarray(b.values).reshape(-1), sign) for b, sign in signed]
    (first, first_sign), (second, second_sign) = [*blocks, (no_values, 1.0)][:2]
    out, begin = [np.empty(size)], 0
    while True:
        into = [*out, none, none, none][:MOST_TERMS]
        begin = kernel(
            *old, len(terms), first, first_sign, second, second_sign, power, begin, *into, len(out)
        )
        if begin == size:
            return tuple(t.reshape(shape) for t in out)
        if len(out) == MOST_TERMS:
            return None
        out.append(np.zeros(size))


def by_numpy(
    terms: Sequence[Doubles], signed: Sequence[tuple[Block, float]], power: int
) -> tuple[Doubles, ...]:
    """Return the terms with the signed blocks added, as :func:`accumulate` does."""
    shape = terms[0].shape
    out = [np.empty(terms[0].size)]
    old = [t.reshape(-1) for t in terms]
    values = [(block.values.reshape(-1), sign, not block.days_all.all()) for block, sign in signed]
    for start in range(0, terms[0].size, PIECE):
        piece = slice(start, start + PIECE)
        parts = [t[piece] for t in old]
        for flat, sign, has_missing in values:
            x = flat[piece].astype(np.float64)
            if has_missing:
                np.nan_to_num(x, copy=False, nan=0.0)
            if power == 2:
                np.square(x, out=x)
            if sign < 0:
                np.negative(x, out=x)
            parts = _grow(parts, x)
        for place, part in enumerate([parts[0], *(p for p in parts[1:] if p.any())]):
            if place == len(out):
                out.append(np.zeros(terms[0].size))
            out[place][piece] = part
    return tuple(t.reshape(shape) for t in out)


def rounded_sum(terms: Sequence[Doubles]) -> Doubles:
    """Return the sum of the terms, rounded once."""
    if len(terms) == 1:
        return terms[0]
    total = terms[0] + terms[1]
    if len(terms) > 2:
        flat = [t.reshape(-1) for t in terms]
        tail = np.flatnonzero(np.logical_or.reduce([t != 0 for t in flat[2:]]))
        columns = zip(*(t[tail].tolist() for t in flat), strict=True)
        total.reshape(-1)[tail] = np.fromiter(map(math.fsum, columns), float, tail.size)
    return total


def two_sum(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    """Return ``s, e`` with ``s = fl(a + b)`` and ``a + b = s + e`` exactly (Knuth 1969)."""
    s = a + b
    b_rounded = s - a
    e = a - (s - b_rounded)
    b_rounded -= b
    e -= b_rounded
    return s, e


def _grow(parts: list[Doubles], x: Doubles) -> list[Doubles]:
    """Add ``x`` to an expansion: what one term cannot take goes on to the next."""
    grown = []
    for part in parts:
        s, x = two_sum(part, x)
        grown.append(s)
        if not x.any():
            return grown + parts[len(grown) :]
    return [*grown, x]

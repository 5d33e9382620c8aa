"""Loops of exact sums, compiled; plain numpy twins are in ``exactsum`` and ``spread``.

See :mod:`climdask.climatology.compiling` for how and when they are compiled.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from climdask.climatology.compiling import array_type, compiled, part
from climdask.climatology.exactsum import MOST_TERMS, PIECE
from climdask.climatology.spread import ERROR, LEAST, ROOT_ERROR

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_F1, _D1 = array_type(types.float32, 1), array_type(types.float64, 1)
_D1_OUT = array_type(types.float64, 1, readonly=False)


@part
def _take(values: Floats, start: int, n: int, sign: float, power: int, into: Doubles) -> None:
    """Write signed values, or their squares, in float64; 0 for a missing one."""
    for i in range(n):
        stored = np.float64(values[np.uint64(start + i)])
        v = float(stored) if stored == stored else 0.0
        v = v * v if power == 2 else v
        into[i] = -v if sign < 0.0 else v


@part
def _add(term: Doubles, x: Doubles, n: int) -> bool:
    """Add x to a term; x becomes what the term could not take. Return whether there is such."""
    rest = np.int64(0)
    for i in range(n):
        a, b = term[i], x[i]
        s = a + b
        rounded = s - a
        e = (a - (s - rounded)) - (rounded - b)
        term[i], x[i] = s, e
        rest |= np.int64(e != 0.0)
    return bool(rest != 0)


@part
def _any(values: Doubles, n: int) -> bool:
    found = np.int64(0)
    for i in range(n):
        found |= np.int64(values[i] != 0.0)
    return bool(found != 0)


@part
def _grown(terms: Doubles, n_terms: int, x: Doubles, n: int) -> int:
    """Add x to an expansion; return the number of its terms."""
    for t in range(n_terms):
        if not _add(terms[t], x, n):
            return n_terms
    terms[n_terms, :n] = x[:n]
    return n_terms + 1


@compiled(
    types.int64, _D1, _D1, _D1, _D1, types.int64, _F1, types.float64, _F1, types.float64,
    types.int64, types.int64, _D1_OUT, _D1_OUT, _D1_OUT, _D1_OUT, types.int64,
)  # fmt: skip
def accumulate(
    t0: Doubles, t1: Doubles, t2: Doubles, t3: Doubles, n_terms: int,
    first: Floats, first_sign: float, second: Floats, second_sign: float, power: int,
    begin: int, o0: Doubles, o1: Doubles, o2: Doubles, o3: Doubles, n_out: int,
) -> int:  # fmt: skip
    """Write the terms of an exact sum with one or two blocks added.

    Args:
        t0, t1, t2, t3: float64 [value], the terms before; those from ``n_terms`` on are empty.
        n_terms: of them.
        first: float32 [value], NaN where missing.
        first_sign: 1 to add, -1 to drop.
        second: as ``first``; empty if there is none.
        second_sign: as ``first_sign``.
        power: 1, or 2 for squares.
        begin: the value to begin with, a multiple of ``exactsum.PIECE``.
        o0, o1, o2, o3: float64 [value], filled; those from ``n_out`` on are empty.
        n_out: of them.

    Returns:
        The value to begin with when there is one more array to fill, or the number of values.
    """
    size = t0.size
    terms, x = np.zeros((MOST_TERMS + 2, PIECE)), np.empty(PIECE)
    for start in range(begin, size, PIECE):
        n = min(PIECE, size - start)
        end = start + n
        terms[0, :n] = t0[start:end]
        if n_terms > 1:
            terms[1, :n] = t1[start:end]
        if n_terms > 2:
            terms[2, :n] = t2[start:end]
        if n_terms > 3:
            terms[3, :n] = t3[start:end]
        _take(first, start, n, first_sign, power, x)
        found = _grown(terms, n_terms, x, n)
        if second.size:
            _take(second, start, n, second_sign, power, x)
            found = _grown(terms, found, x, n)
        place = 0
        for t in range(found):
            if t and not _any(terms[t], n):
                continue
            if place == n_out:
                return start
            out = o0 if place == 0 else o1 if place == 1 else o2 if place == 2 else o3
            out[start:end] = terms[t, :n]
            place += 1
    return size


@compiled(
    types.boolean, array_type(types.float32, 2), types.int64, types.int64, types.int64,
    _D1_OUT, _D1_OUT,
)  # fmt: skip
def sum_days(values: Floats, first: int, n: int, power: int, high: Doubles, low: Doubles) -> bool:
    """Write the exact sums over the days of some cells, as two float64 each.

    Args:
        values: float32 [day, cell], NaN where missing.
        first: of the cells.
        n: cells.
        power: 1, or 2 for squares.
        high: float64 [cell], filled for these cells with the rounded sum.
        low: float64 [cell], filled with what it lacks.

    Returns:
        Whether two float64 were enough; else the sums are not exact.
    """
    terms, x = np.zeros((2, n)), np.empty(n)
    lost = False
    for day in range(len(values)):
        _take(values[day], first, n, 1.0, power, x)
        if _add(terms[0], x, n):
            lost |= _add(terms[1], x, n)
    for i in range(n):
        a, b = terms[0, i], terms[1, i]
        s = a + b
        rounded = s - a
        high[first + i] = s
        low[first + i] = (a - (s - rounded)) - (rounded - b)
    return not lost


@part
def _in_two(a: float, b: float, c: float, n_terms: int) -> tuple[float, float, float]:
    """Return up to three terms as two float64, and a bound on what these lack."""
    if n_terms == 1:
        return a, 0.0, 0.0
    s = a + b
    rounded = s - a
    e = (a - (s - rounded)) - (rounded - b)
    if n_terms == 2:
        return s, e, 0.0
    high = s + c
    rounded = high - s
    low = e + ((s - (high - rounded)) - (rounded - c))
    lacks = abs(low) * 2.0**-52
    s = high + low
    rounded = s - high
    return s, (high - (s - rounded)) - (rounded - low), lacks


@part
def _product(a: float, b: float) -> tuple[float, float]:
    """Return the rounded product, and its error (Dekker 1971)."""
    scaled = a * (2.0**27 + 1)
    a_high = scaled - (scaled - a)
    a_low = a - a_high
    scaled = b * (2.0**27 + 1)
    b_high = scaled - (scaled - b)
    b_low = b - b_high
    p = a * b
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


@compiled(
    types.void, _D1, _D1, _D1, types.int64, _D1, _D1, _D1, types.int64,
    array_type(types.int16, 1), types.float64, types.boolean,
    array_type(types.float32, 1, readonly=False), array_type(types.boolean, 1, readonly=False),
)  # fmt: skip
def spread(
    s0: Doubles, s1: Doubles, s2: Doubles, n_sums: int, q0: Doubles, q1: Doubles, q2: Doubles,
    n_squares: int, count: npt.NDArray[np.int16], factor: float, has_factor: bool,
    found: Floats, unsure: npt.NDArray[np.bool_],
) -> None:  # fmt: skip
    """Write standard deviations, and which may be rounded to a neighbour of the right one.

    Args:
        s0, s1, s2: float64 [value], terms of the sum; those from ``n_sums`` on are empty.
        n_sums: of them.
        q0, q1, q2: float64 [value], terms of the sum of squares.
        n_squares: of them.
        count: of the values.
        factor: of other units.
        has_factor: whether there is one.
        found: float32 [value], filled.
        unsure: bool [value], filled.
    """
    for i in range(found.size):
        n = np.float64(max(count[i], 2))
        s, s_low, s_error = _in_two(
            s0[i], s1[i] if n_sums > 1 else 0.0, s2[i] if n_sums > 2 else 0.0, n_sums
        )
        q, q_low, q_error = _in_two(
            q0[i], q1[i] if n_squares > 1 else 0.0, q2[i] if n_squares > 2 else 0.0, n_squares
        )
        square, square_low = _product(s, s)
        total, total_low = _product(n, q)
        high = total - square
        rounded = high - total
        low = (total - (high - rounded)) - (rounded + square)
        low += (total_low - square_low) + (n * q_low - 2.0 * s * s_low)
        scaled = high + low
        error = ERROR * total + n * q_error + 2.0 * abs(s) * s_error + s_error * s_error
        is_zero = scaled <= LEAST * total and error <= LEAST * total
        scaled = 0.0 if is_zero else scaled
        slack = error / scaled + ROOT_ERROR if scaled > 2.0 * error else np.inf
        slack = 0.0 if is_zero else slack
        root = np.sqrt(max(scaled, 0.0) / (n * (n - 1.0)))
        if has_factor:
            root, slack = root * factor, slack + ROOT_ERROR
        found[i] = np.float32(root)
        unsure[i] = np.float32(root * (1.0 - slack)) != np.float32(root * (1.0 + slack))

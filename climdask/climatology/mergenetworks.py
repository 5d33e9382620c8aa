"""Networks that merge sorted lists: which two values to compare, whatever the values are.

A network is a list of comparisons of places: the smaller value goes to the first place, the larger
one to the second. As it does not depend on the values, a compiled loop makes each comparison for
many cells at once. Batcher's odd-even merge (Batcher 1968, "Sorting networks and their
applications") of two lists of 30 needs 149 of them. What the wanted ranks do not need is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Places = Sequence[int]
Comparisons = list[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Merging:
    """How the lists of a pool of days become one, as far as some ranks of it need it.

    The pool without its last day is taken in pairs of days. Each pair is merged once, and serves
    several pools.

    Attributes:
        pair: int32 [comparison, 2], of the 2 n places of a pair: its first list, then its second.
        pair_order: int32 [2 n], the place of each rank of a pair after that.
        joined: int32 [comparison, 2], of the places of all pairs, each in order.
        order: int32 [rank], the place of each rank of all pairs together after that.
        ranks: the first and one after the last rank that are right.
    """

    pair: npt.NDArray[np.int32]
    pair_order: npt.NDArray[np.int32]
    joined: npt.NDArray[np.int32]
    order: npt.NDArray[np.int32]
    ranks: tuple[int, int]


@lru_cache(maxsize=256)
def merging(n_years: int, n_pairs: int, first: int, end: int) -> Merging:
    """Return how pairs of days are merged.

    Args:
        n_years: values of a list.
        n_pairs: pairs of days.
        first: rank among the values of all pairs, from 0: the first one that is needed.
        end: one after the last one.
    """
    size = 2 * n_years
    pair, pair_order = merge(range(n_years), range(n_years, size))
    joined: Comparisons = []
    order: Places = range(size)
    for number in range(1, n_pairs):
        more, order = merge(order, range(size * number, size * (number + 1)))
        joined += more
    joined, needed = pruned(joined, order[first:end])
    pair, _ = pruned(pair, [pair_order[place % size] for place in needed])
    return Merging(
        _pairs(pair), np.array(pair_order, np.int32), _pairs(joined), np.array(order, np.int32),
        (first, end),
    )  # fmt: skip


def _pairs(comparisons: Comparisons) -> npt.NDArray[np.int32]:
    return np.array(comparisons, dtype=np.int32).reshape(-1, 2)


def merge(one: Places, other: Places) -> tuple[Comparisons, list[int]]:
    """Return Batcher's odd-even merge of two sorted lists.

    Args:
        one: the places where the values of the first list are, in their order.
        other: those of the second.

    Returns:
        The comparisons, and the places of the merged values in their order.
    """
    if not one or not other:
        return [], [*one, *other]
    if len(one) == len(other) == 1:
        return [(one[0], other[0])], [one[0], other[0]]
    even, order = merge(one[::2], other[::2])
    odd, between = merge(one[1::2], other[1::2])
    comparisons, merged, later = even + odd, [order[0]], order[1:]
    comparisons += zip(later, between, strict=False)
    for place in range(max(len(later), len(between))):
        merged += later[place : place + 1] + between[place : place + 1]
    return comparisons, merged


def pruned(comparisons: Comparisons, wanted: Collection[int]) -> tuple[Comparisons, set[int]]:
    """Return the comparisons that some places need, and the places that these need before."""
    needed, kept = set(wanted), []
    for pair in reversed(comparisons):
        if not needed.isdisjoint(pair):
            kept.append(pair)
            needed.update(pair)
    return kept[::-1], needed

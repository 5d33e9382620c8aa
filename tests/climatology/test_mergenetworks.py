"""Merging networks against sorting, and against the principle of zeros and ones."""

import itertools

import numpy as np
import pytest

from climdask.climatology.mergenetworks import merge, merging


def run(comparisons, values: list[float]) -> list[float]:
    """Make the comparisons of a network."""
    made = list(values)
    for one, other in comparisons:
        if made[other] < made[one]:
            made[one], made[other] = made[other], made[one]
    return made


@pytest.mark.parametrize(("n", "m"), list(itertools.product(range(9), repeat=2)))
def test_two_sorted_lists_of_zeros_and_ones_become_one(n: int, m: int) -> None:
    # Knuth: a network that sorts all of these sorts everything.
    comparisons, order = merge(range(n), range(n, n + m))
    for a, b in itertools.product(range(n + 1), range(m + 1)):
        values = run(comparisons, [0] * (n - a) + [1] * a + [0] * (m - b) + [1] * b)
        assert [values[place] for place in order] == sorted(values)


def test_two_lists_of_thirty_take_149_comparisons() -> None:
    assert len(merge(range(30), range(30, 60))[0]) == 149


@pytest.mark.parametrize("n_pairs", [1, 2, 3, 4])
@pytest.mark.parametrize("ranks", [(0, 3), (5, 9), (0, 10)])
def test_the_wanted_ranks_are_right(n_pairs: int, ranks: tuple[int, int]) -> None:
    made = merging(5, n_pairs, *ranks)
    rng = np.random.default_rng(3)
    for _ in range(50):
        lists = np.sort(rng.integers(0, 9, (2 * n_pairs, 5)), axis=1)
        pairs = []
        for own in lists.reshape(n_pairs, 10):
            values = run(made.pair.tolist(), own.tolist())
            pairs += [values[place] for place in made.pair_order]
        joined = run(made.joined.tolist(), pairs)
        got = [joined[made.order[rank]] for rank in range(*ranks)]
        assert got == np.sort(lists.ravel())[slice(*ranks)].tolist()


def test_what_is_not_needed_is_left_out() -> None:
    assert len(merging(30, 2, 0, 16).joined) < len(merging(30, 2, 0, 120).joined) / 2

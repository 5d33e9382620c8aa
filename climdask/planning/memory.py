"""How much of a worker's memory a chain needs, and what of it to keep.

Pure. Bytes are counted for each cell-day, a cell on a day of the year:

- 4 for each block, float32: those of the window, where it is kept (the ring), and those read ahead;
- 18 for each carry: two float64 terms, which precipitation needs, and a count;
- 8 for the normal that is being written.

Writes go before windows, so there is a carry for each thread that writes, and the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCK_BYTES, CARRY_BYTES, WRITE_BYTES = 4, 18, 8
# The share of a worker's memory that chains may have.
MEMORY_SHARE = 0.5
# What a worker's process takes before it does anything: Python, Dask and the libraries.
PROCESS_BYTES = 200 << 20


@dataclass(frozen=True)
class ChainMemory:
    """What a chain keeps in memory.

    Attributes:
        keeps_ring: whether the window's blocks stay; else the leaving year is read again.
        lookahead: years that reads run ahead of the chain.
        n_bytes: projected, the process itself not counted.
    """

    keeps_ring: bool
    lookahead: int
    n_bytes: int


def fit(
    cell_days: int, *, window: int, legs: int, threads: int, lookaheads: range, limit: int | None
) -> ChainMemory:
    """Choose the most that fits: the ring first, then how far to read ahead.

    Args:
        cell_days: cells times days of the year.
        window: years.
        legs: scenarios, each with a window of its own.
        threads: of a worker.
        lookaheads: the years that reads may run ahead, best first.
        limit: bytes of a worker; None for no limit.

    Returns:
        The first that fits in half of ``limit``, or the smallest.
    """

    def needs(keeps_ring: bool, ahead: int) -> ChainMemory:
        blocks = window + ahead if keeps_ring else 2 * ahead
        carries = min(ahead, threads) + 1
        each = blocks * BLOCK_BYTES + carries * CARRY_BYTES + WRITE_BYTES
        return ChainMemory(keeps_ring, ahead, legs * cell_days * each)

    options = [needs(ring, ahead) for ring in (True, False) for ahead in lookaheads]
    fitting = (o for o in options if limit is None or o.n_bytes <= MEMORY_SHARE * limit)
    return next(fitting, min(options, key=lambda o: o.n_bytes))

"""How much of a worker's memory a chain needs, and what of it to keep.

Pure. Bytes are counted for each cell-day, a cell on a day of the year:

- 4 for each block, float32: those of the window, where it is kept (the ring), and those read ahead;
- for each carry 2 for the count, and what the statistics keep together: 16 for the sum (two float64
  terms, which precipitation needs), 24 for the sum of squares, and for order statistics 4 for each
  year of the window, sorted;
- 8 for each normal that is being written, and 24 where one is smoothed or compared with a reference
  period: before the rounding it has two float64, and what is made of it has another;
- 16 for each normal of each reference period, two float64.

A chunk on disk that is larger than a block is undone as a whole by each thread that reads; what it
takes beyond the block is counted, six times: as stored, undone, cut, unpacked, rounded and masked.
Where blocks become areas, the cells that a thread reads are counted once beside them.

Writes go before windows, so there is a carry for each thread that writes, and the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCK_BYTES, COUNT_BYTES, WRITE_BYTES = 4, 2, 8
UNROUNDED_BYTES, REFERENCE_BYTES = 24, 16
CHUNK_COPIES = 6
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
        sorted_bytes: those of them that are years sorted for order statistics.
    """

    keeps_ring: bool
    lookahead: int
    n_bytes: int
    sorted_bytes: int = 0


def fit(
    cell_days: int,
    *,
    window: int,
    branches: int,
    threads: int,
    lookaheads: range,
    limit: int | None,
    products: int = 1,
    state_bytes: int = 16,
    sorted_bytes: int = 0,
    unrounded_bytes: int = 0,
    reference_bytes: int = 0,
    chunk_bytes: int = 0,
    read_cell_days: int = 0,
) -> ChainMemory:
    """Choose the most that fits: the ring first, then how far to read ahead.

    Args:
        cell_days: cells times days of the year.
        window: years.
        branches: scenarios, each with a window of its own.
        threads: of a worker.
        lookaheads: the years that reads may run ahead, best first.
        limit: bytes of a worker; None for no limit.
        products: what is made of the variable, written one region after another.
        state_bytes: that a carry keeps of the values for each cell-day.
        sorted_bytes: those of them that are sorted years.
        unrounded_bytes: of a product that something is made of before the rounding, for each
            cell-day.
        reference_bytes: of the normals of the reference periods, for each cell-day.
        chunk_bytes: of one chunk of the input, undone.
        read_cell_days: cells times days of the year that are read, where areas are made of them.

    Returns:
        The first that fits in half of ``limit``, or the smallest.
    """

    read_bytes = max(cell_days, read_cell_days) * BLOCK_BYTES
    beyond = max(0, chunk_bytes - read_bytes)

    def needs(keeps_ring: bool, ahead: int) -> ChainMemory:
        blocks = window + ahead if keeps_ring else 2 * ahead
        carries = min(ahead, threads) + 1
        carry = COUNT_BYTES + state_bytes
        each = blocks * BLOCK_BYTES + carries * carry + products * WRITE_BYTES
        each += unrounded_bytes + reference_bytes
        reading = read_bytes * (read_cell_days not in (0, cell_days))
        buffers = min(ahead, threads) * (CHUNK_COPIES * beyond + reading)
        return ChainMemory(
            keeps_ring,
            ahead,
            branches * cell_days * each + buffers,
            branches * cell_days * carries * sorted_bytes,
        )

    options = [needs(ring, ahead) for ring in (True, False) for ahead in lookaheads]
    fitting = (o for o in options if limit is None or o.n_bytes <= MEMORY_SHARE * limit)
    return next(fitting, min(options, key=lambda o: o.n_bytes))

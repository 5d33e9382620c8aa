"""Words about a chain that the short and the long form of a printed plan share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from climdask.climatology.products import DAILY_MEAN, Product
from climdask.plaintext import quantity

if TYPE_CHECKING:
    from climdask.planning.plan import Chain, ChainSpec


def makes(spec: ChainSpec) -> str:
    """Return the products of each frequency, ``mon: tas, tas_std``; "" for the daily mean alone."""
    if spec.products == (DAILY_MEAN,) and not spec.others:
        return ""
    return "; ".join(f"{own.frequency}: {', '.join(_products(own))}" for own in spec.frequencies)


def _products(spec: ChainSpec) -> Iterator[str]:
    """Yield the products of a frequency by name; changes are counted only."""
    changes = [product for product in spec.products if product.change]
    yield from (_product(spec, product) for product in spec.products if not product.change)
    if changes:
        yield quantity(len(changes), "change")


def _product(spec: ChainSpec, product: Product) -> str:
    name = product.name(spec.variable)
    if not product.smoothing:
        return name
    return f"{name} ({product.smoothing.text})"


def openings(chain: Chain) -> str:
    """Say why files are opened as often as they are."""
    why = ["the window stays in memory"]
    if not chain.memory.keeps_ring:
        why = ["the window does not fit in memory, so each year is read again when it leaves"]
    parts = Counter((r.slice.file.path, r.blocks[0].again) for r in chain.branches.reads)
    if any(n > 1 for n in parts.values()):
        most = quantity(chain.slice_years, "year")
        why.append(f"a longer file is opened once for every {most}, a tenth of the memory")
    if any(read.slice.bundled for read in chain.branches.reads):
        why.append("the files of a year are read one after the other, by one task")
    return "; ".join(why)


def size(n_bytes: float) -> str:
    """Return bytes as text, such as ``2.3 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"

"""Products: what is made of a variable, and how it is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from climdask.climatology.statistics import MEAN, STATISTICS

# What each output has beside its products, in any format.
OWN_NAMES = frozenset({
    "time", "lat", "lon", "bnds", "lat_bnds", "lon_bnds", "climatology_bnds", "dayofyear",
    "target_year", "years_per_day", "number_of_years", "count", "quantization_info",
})  # fmt: skip


@dataclass(frozen=True)
class Product:
    """One statistic over the years, of daily values of each cell.

    Attributes:
        over_years: name of the statistic; one of ``statistics.STATISTICS``.
    """

    over_years: str = MEAN

    def name(self, variable: str) -> str:
        """Return the name of the variable in the output: ``tas``, ``tas_std``."""
        return variable if self.over_years == MEAN else f"{variable}_{self.over_years}"

    def cell_methods(self, of_mean: str) -> str:
        """Return CF ``cell_methods`` (CF 1.11, section 7.4), from those of the daily mean."""
        method = STATISTICS[self.over_years].method
        return of_mean.removesuffix("mean over years") + f"{method} over years"


DAILY_MEAN = Product()


def taken_names(products: Sequence[Product], variable: str) -> frozenset[str]:
    """Return the names of variables and dimensions that an output has by itself."""
    return OWN_NAMES | {product.name(variable) for product in products}

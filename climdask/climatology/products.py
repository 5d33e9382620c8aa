"""Products: what is made of a variable, and how it is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from climdask.climatology.calendars import DayAxis
from climdask.climatology.changes import Change
from climdask.climatology.conversions import UNCHANGED, Conversion
from climdask.climatology.cycles import STEP_DIMENSIONS, Cycle
from climdask.climatology.expressions import Bound, Expression, Kind
from climdask.climatology.missingdays import MissingDays
from climdask.climatology.orderstatistics import LINEAR, percentile_level
from climdask.climatology.reductions import YearReduction
from climdask.climatology.smoothing import Harmonics, Windowed
from climdask.climatology.statistics import MEAN, STATISTICS, WindowStatistic, statistic_of

# What each output has beside its products, in any format.
OWN_NAMES = frozenset({
    "time", "lat", "lon", "bnds", "lat_bnds", "lon_bnds", "climatology_bnds", *STEP_DIMENSIONS,
    "target_year", "years_per_day", "number_of_years", "count", "quantization_info",
})  # fmt: skip


# And where its places are areas.
AREA_NAMES = frozenset({"area", "area_id", "area_name"})


@dataclass(frozen=True)
class Within:
    """What is made of the days of each step of a year.

    Attributes:
        cycle: the steps.
        expression: what is made.
        missing: when a step has too few days.
        bound: the expression for values of the variable's units, once these are known.
    """

    cycle: Cycle
    expression: Expression
    missing: MissingDays
    bound: Bound | None = None

    def bind(self, units: str, *, water: bool) -> Within:
        """Return this for values of some units.

        Raises:
            ExpressionError: units that the expression cannot be made of.
        """
        return replace(self, bound=self.expression.bind(units, water=water))

    @property
    def result_units(self) -> str:
        """The units of the result, before any conversion."""
        assert self.bound is not None
        return self.bound.units

    def on(self, axis: DayAxis) -> YearReduction:
        """Return the reduction of the days of an axis; units must be known."""
        assert self.bound is not None
        return YearReduction(self.bound.reduction, self.cycle.on(axis), self.missing)

    @property
    def facts(self) -> list[object]:
        """What decides its numbers, for hashes."""
        return [self.expression.text, str(self.missing)]


@dataclass(frozen=True)
class Product:
    """One statistic over the years, of daily values of each cell or of what is made of them.

    Attributes:
        over_years: name of the statistic: one of ``statistics.STATISTICS``, or a percentile such as
            ``p90``.
        pool_days: days around each one that are taken together, odd; 1 for the day alone.
        method: of percentiles; one of ``orderstatistics.METHODS``.
        stem: what stands in place of the variable's name; "" for that name itself.
        within: what is made of the days of a year before; None for the days themselves.
        units: that the result is converted to.
        smoothing: of the days, made before the rounding; None for none.
        change: against the normal of a reference period; None for the normal itself.
    """

    over_years: str = MEAN
    pool_days: int = 1
    method: str = LINEAR
    stem: str = ""
    within: Within | None = None
    units: Conversion = UNCHANGED
    smoothing: Harmonics | Windowed | None = None
    change: Change | None = None

    @property
    def cycle(self) -> Cycle:
        """The steps of a year that it has."""
        return self.within.cycle if self.within else Cycle.days()

    @cached_property
    def statistic(self) -> WindowStatistic:
        """The statistic itself."""
        return statistic_of(self.over_years, self.pool_days, self.method)

    def name(self, variable: str) -> str:
        """Return the name of the variable in the output.

        ``tas``, ``tas_std``, ``tas_p99_5``, ``tas_smoothed``, ``tas_std_change``.
        """
        stem = self.stem or variable
        if self.within and not self.stem and self.within.expression.kind is not Kind.MEAN:
            stem = f"{variable}_{self.within.expression.name}"
        what = "" if self.over_years == MEAN else f"_{self.over_years.replace('.', '_')}"
        smoothed = "_smoothed" if self.smoothing and not self.stem else ""
        return f"{stem}{what}{smoothed}{self.change.suffix if self.change else ''}"

    @property
    def normal(self) -> Product:
        """The normal itself, where this is a change of it."""
        return replace(self, change=None) if self.change else self

    @property
    def percentile(self) -> float | None:
        """The percentile, in percent; None for other statistics."""
        level = percentile_level(self.over_years)
        return float(level * 100) if level else None

    def cell_methods(self, of_mean: str) -> str:
        """Return CF ``cell_methods`` (CF 1.11, section 7.4), from those of the daily mean.

        CF has a method for the median, and none for other percentiles (appendix E): these get none.
        """
        method = self.statistic.method
        return of_mean.removesuffix("mean over years") + f"{method} over years" if method else ""

    @property
    def words(self) -> str:
        """What it is in words, such as ``percentile 90 over the years and 5 days``."""
        if self.percentile:
            what = f"percentile {self.percentile:.9g}"
        else:
            what = _WORDS.get(self.over_years, self.over_years)
        pool = f" and {self.pool_days} days" if self.pool_days > 1 else ""
        return f"{'smoothed ' * (self.smoothing is not None)}{what} over the years{pool}"

    @property
    def order(self) -> tuple[int, float, int, str, str, str, str]:
        """The place among other products: the mean first, percentiles last, from low to high."""
        names = list(STATISTICS)
        place = names.index(self.over_years) if self.over_years in names else len(names)
        within = self.within.expression.text if self.within else ""
        smoothing = self.smoothing.text if self.smoothing else ""
        own = (self.pool_days, self.method, self.stem, within, smoothing)
        return (place, self.percentile or 0.0, *own)

    @property
    def facts(self) -> list[object]:
        """What decides its numbers and its name, for hashes."""
        own = self.within.facts if self.within else []
        if not self.units.is_identity:
            own = [*own, "units", self.units.target]
        if self.smoothing:
            own = [*own, "smooth", self.smoothing.text]
        if self.change:
            own = [*own, *self.change.facts]
        return [self.over_years, self.pool_days, self.method, self.stem, *own]


DAILY_MEAN = Product()
_WORDS = {
    "std": "standard deviation", "min": "minimum", "max": "maximum", "count": "number of values",
}  # fmt: skip


def taken_names(products: Sequence[Product], variable: str) -> frozenset[str]:
    """Return the names of variables and dimensions that an output has by itself."""
    return OWN_NAMES | {product.name(variable) for product in products}

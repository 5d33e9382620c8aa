"""Changes of normals against a reference period: differences, and ratios in percent.

Both are made of what the two normals are before the rounding, and rounded once to float32. The
normals of means are double-doubles then (:mod:`climdask.climatology.doubledoubles`), so the
difference of two near means is right to the last digit; other statistics are right to float64.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from climdask.climatology.calendars import Window
from climdask.climatology.conversions import UnitsError, conversion, is_temperature
from climdask.climatology.doubledoubles import DoubleDouble

# Values that are worked on at once, so that temporaries stay in a core's cache.
PIECE = 1 << 14


@dataclass(frozen=True)
class Floor:
    """The least value of a reference that a ratio is made of, as the workflow says it.

    Attributes:
        text: such as ``0.1 mm/day``.
        value: above 0.
    """

    text: str
    value: Fraction
    units: str

    @classmethod
    def of(cls, text: str) -> Floor:
        """Read a number with its units.

        Raises:
            ValueError: it is none; or it is a temperature, of which no ratio is made.
        """
        found = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s+(\S.*?)\s*", text)
        if not found or not Fraction(found[1]):
            raise ValueError(
                f'"{text}" is no number above 0 with units; expected such as 0.1 mm/day'
            )
        if is_temperature(found[2]):
            raise ValueError(
                f'"{text}" is a temperature, of which no ratio is made; expected the units of a '
                "rate, an amount or a number of days, such as 0.1 mm/day"
            )
        return cls(text.strip(), Fraction(found[1]), found[2])

    def in_units(self, units: str, *, water: bool = False) -> Fraction | None:
        """Return the floor in some units; None where these measure something else.

        Args:
            units: of a normal.
            water: whether it is water, whose mass for each area is a depth too.
        """
        try:
            if is_temperature(units):
                return None
            change = conversion(self.units, units, water=water, difference=True)
        except UnitsError:
            return None
        return change.exactly(self.value)


@dataclass(frozen=True)
class Change:
    """A change of a normal against that of a reference period.

    Attributes:
        reference: the years of the reference period.
        floor: where the ratio is made, in percent: the least absolute value of the reference that
            has one, and how the workflow says it; None for the difference.
        is_one_of_several: whether the name tells the period.
    """

    reference: Window
    floor: tuple[Fraction, str] | None = None
    is_one_of_several: bool = False

    @property
    def period(self) -> str:
        """The reference period in words, such as ``1981-2010``."""
        return f"{self.reference.first_year}-{self.reference.last_year}"

    @property
    def suffix(self) -> str:
        """What the name of the normal gets, such as ``_change_percent_1981_2010``."""
        period = f"_{self.period.replace('-', '_')}" * self.is_one_of_several
        return f"_change{'_percent' * (self.floor is not None)}{period}"

    @property
    def words(self) -> str:
        """What is made, such as ``change from 1981-2010``."""
        return f"{'relative ' * (self.floor is not None)}change from {self.period}"

    @property
    def facts(self) -> list[object]:
        """What decides its numbers and its name, for hashes."""
        return ["change", self.period, str(self.floor), self.is_one_of_several]

    def __call__(self, normal: DoubleDouble, reference: DoubleDouble) -> npt.NDArray[np.float32]:
        """Return the change, float32 [day, cell], NaN where one of them is missing.

        A ratio is missing, too, where the reference is below the floor.

        Args:
            normal, reference: [day, cell], NaN where missing, before the rounding.
        """
        n_days, n_cells = normal.high.shape
        out = np.empty((n_days, n_cells), dtype=np.float32)
        step = max(1, PIECE // max(1, n_cells))
        for first in range(0, n_days, step):
            days = slice(first, first + step)
            own, other = (DoubleDouble(n.high[days], n.low[days]) for n in (normal, reference))
            made = own - other if self.floor is None else _percent(own, other, self.floor[0])
            out[days] = made.high.astype(np.float32) + np.float32(0)  # no -0
        return out


def _percent(normal: DoubleDouble, reference: DoubleDouble, floor: Fraction) -> DoubleDouble:
    """Return 100 (normal - reference) / reference; NaN where that is below the floor."""
    size = DoubleDouble(np.abs(reference.high), np.copysign(1.0, reference.high) * reference.low)
    is_small = ~((size - DoubleDouble.of_fraction(floor)).high >= 0)
    divisor = DoubleDouble(
        np.where(is_small, 1.0, reference.high), np.where(is_small, 0.0, reference.low)
    )
    ratio = (normal - reference) / divisor * DoubleDouble.of(100.0)
    return DoubleDouble(np.where(is_small, np.nan, ratio.high), ratio.low)


@dataclass(frozen=True, eq=False)
class ReferenceNormals:
    """The normals of a reference period, before the rounding: what changes are made against.

    Attributes:
        values: [day, cell] by name of the normal, with its frequency before it.
        enough: bool by frequency, [region]: whether a region has enough years.
        skipped: (year, path below the input root) of bad files that are not in it, in order.
    """

    values: Mapping[str, DoubleDouble]
    enough: Mapping[str, npt.NDArray[np.bool_]]
    skipped: tuple[tuple[int, str], ...] = ()

    def __sizeof__(self) -> int:
        return sum(value.high.nbytes + value.low.nbytes for value in self.values.values())

"""When a month, a season or a year is missing, because days of it are.

Three rules: all days must be there; a share of them; or what the WMO asks for. WMO-No. 1203
(2017) has a month missing if 11 days or more are, or 5 or more in a row; a sum or a count
needs every day. Longer steps are made of months there, none of which may be missing: so here, the
days that a step has of each month are judged one month after the other (as xclim's ``MissingWMO``).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]

WMO_MOST_MISSING = 10
WMO_MOST_IN_A_ROW = 4


class MissingDays(Protocol):
    """A rule for the days of one step."""

    def is_missing(self, lacks: Bools, months: npt.NDArray[np.int16], *, total: bool) -> Bools:
        """Return bool [cell]: which cells have too few days.

        Args:
            lacks: bool [day, cell], the missing ones among the days that the year has.
            months: int16 [day], another number for each month.
            total: whether a missing day makes the value too small.
        """


@dataclass(frozen=True)
class Share:
    """So large a share of the days must be there.

    Attributes:
        share: above 0, at most 1; exactly what was written: 0.9 is 9/10.
    """

    share: Fraction

    def __str__(self) -> str:
        return "all" if self.share == 1 else str(float(self.share))

    def is_missing(self, lacks: Bools, months: npt.NDArray[np.int16], *, total: bool) -> Bools:
        """Return bool [cell]; ``months`` and ``total`` do not matter."""
        del months, total
        most = int((1 - self.share) * len(lacks))
        return np.asarray(lacks.sum(axis=0) > most)


@dataclass(frozen=True)
class Wmo:
    """The rule of WMO-No. 1203, for each month of the step."""

    def __str__(self) -> str:
        return "wmo"

    def is_missing(self, lacks: Bools, months: npt.NDArray[np.int16], *, total: bool) -> Bools:
        """Return bool [cell]."""
        if total or not lacks.any():
            return np.asarray(lacks.any(axis=0))
        found = np.zeros(lacks.shape[1], dtype=bool)
        for month in np.unique(months):
            days = lacks[months == month]
            found |= days.sum(axis=0) > WMO_MOST_MISSING
            row = WMO_MOST_IN_A_ROW + 1
            for first in range(len(days) - row + 1):
                found |= days[first : first + row].all(axis=0)
        return found


ALL = Share(Fraction(1))
WMO = Wmo()


def missing_rule(text: str | float) -> MissingDays:
    """Return the rule that a workflow asks for: ``wmo``, ``all``, or a share such as 0.9.

    Raises:
        ValueError: it is none of these.
    """
    if text in ("wmo", "all"):
        return WMO if text == "wmo" else ALL
    try:
        share = Fraction(str(text))
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if isinstance(text, bool) or not 0 < share <= 1:
        raise ValueError(
            f'"{text}" is no rule for missing days; expected wmo, all, or a share above 0 and at '
            "most 1, such as 0.9"
        )
    return Share(share)

"""The real archives beside the checkout, and what their shipped workflows make of them.

Their README.txt says where they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

REAL = Path(__file__).parents[2] / "shared/data/real"


@dataclass(frozen=True)
class Archive:
    """A real archive, and what its shipped workflow makes of it.

    Attributes:
        folder: below the folder of real data.
        series: model/member/grid.
        years: of the record.
        file: path below the folder of the file that has a variable and year.
        period: name in the paths of normals, by target year.
    """

    workflow: str
    folder: str
    series: str
    variables: tuple[str, ...]
    regions: tuple[str, ...]
    years: range
    targets: range
    leap_day: str
    file: Callable[[str, int], str]
    period: Callable[[int], str]

    def sources(self, variable: str, years: Sequence[int]) -> list[Path]:
        """Return the files that hold some years, in order, each once."""
        names = dict.fromkeys(self.file(variable, year) for year in years)
        return [REAL / self.folder / name for name in names]

    def normal(self, variable: str, region: str, target: int) -> str:
        """Return the path of a normal below the output folder."""
        model, member, grid = self.series.split("/")
        period = self.period(target)
        return (
            f"{model}/{member}/{variable}/{region}/{period}/{variable}_day_{model}_{member}_"
            f"{grid}_{region}_{period}_{target}_30yr_normal.nc"
        )

    @property
    def days(self) -> list[tuple[int, int]]:
        """Months and days of a normal."""
        days = [date(2000, 1, 1) + timedelta(n) for n in range(366)]
        return [(d.month, d.day) for d in days if self.leap_day == "keep" or d != date(2000, 2, 29)]


def _canesm2_file(variable: str, year: int) -> str:
    scenario = "historical" if year <= 2005 else "rcp26"
    return f"{scenario}/{variable}/{variable}_day_CanESM2_{scenario}_r1i1p1_gn_{year}.nc"


def _canesm2_period(target: int) -> str:
    return "historical" if target <= 2005 else "hybrid-rcp26" if target <= 2035 else "rcp26"


def _ec_earth_file(variable: str, year: int) -> str:
    first = year // 10 * 10
    last = "20091130" if first == 2000 else f"{first + 9}1231"
    return f"{variable}_day_EC-EARTH_historical_r1i1p1_{first}0101-{last}.nc"


CANESM2 = Archive(
    "canesm2-cmip5.yaml",
    "canesm2_cmip5/annual",
    "CanESM2/r1i1p1/gn",
    ("pr", "tasmax", "tasmin"),
    ("global",),
    range(1950, 2101),
    range(1979, 2101),
    "drop",
    _canesm2_file,
    _canesm2_period,
)
OISST = Archive(
    "oisst-tasman.yaml",
    "oisst_tasman/annual",
    "OISST-V2/r1/gn",
    ("sst",),
    ("global", "tasmania"),
    range(1982, 2017),
    range(2011, 2017),
    "keep",
    lambda variable, year: f"{variable}_day_OISST-V2_obs_r1_gn_{year}.nc",
    lambda target: "obs",
)
EC_EARTH = Archive(
    "ec-earth-cmip5.yaml",
    "ec-earth_cmip5",
    "EC-EARTH/r1i1p1/gn",
    ("tas",),
    ("global",),
    range(1850, 2010),
    range(1880, 2010),
    "drop",
    _ec_earth_file,
    lambda target: "historical",
)
ARCHIVES = (CANESM2, OISST, EC_EARTH)

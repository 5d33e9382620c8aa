"""Statistics of climdask beside those of CDO, xclim and scipy, on real data.

``python -m benchmarks.peers FOLDER`` makes normals of the real archives below a folder, makes the
same with each peer in double precision, and prints the largest differences. docs/statistics.md has
the table, and why some differ.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

import climdask
from benchmarks.arguments import write_figures
from benchmarks.cdo import cdo

CFTIME = xr.coders.CFDatetimeCoder(use_cftime=True)
Doubles = npt.NDArray[np.float64]

TEMPERATURE: list[Any] = [
    "mean", "std", {"over_years": ["min", "max", "median"]},
    {"over_years": ["p10", "p90"], "pool_days": 5},
    {"over_years": "p90", "pool_days": 5, "method": "median_unbiased", "name": "eight"},
    {"each": "month", "over_years": ["mean", "std"]},
    {"each": "season", "over_years": ["mean", "std"]},
    {"each": "year"},
]  # fmt: skip
WARM = {"each": "year", "within": "days above 18 degC", "variables": ["tasmax"], "name": "warm"}
FROST = {"each": "year", "within": "days below 5 degC", "variables": ["tasmin"], "name": "cold"}
DEGREES = {
    "each": "year", "within": "growing degree days above 10 degC", "variables": ["tasmax"],
    "name": "degrees",
}  # fmt: skip
SPELL = {
    "each": "year", "within": "longest spell above 12 degC", "variables": ["tasmax"],
    "name": "spell",
}  # fmt: skip
RAIN = {"each": "year", "within": "sum", "variables": ["pr"], "name": "rain"}
HEAVY = {"each": "year", "within": "max of 5-day sum", "variables": ["pr"], "name": "rx5day"}


@dataclass(frozen=True)
class Archive:
    """A real archive: where its files are, and the window that is compared.

    Attributes:
        pattern: names of the files, as a workflow has them.
        files: the names for glob, by variable and year.
        target: last year of the window of 30 years; the year before its first is there too.
    """

    name: str
    folder: str
    pattern: str
    variables: tuple[str, ...]
    target: int
    leap_day: str
    glob: str
    more: tuple[tuple[str, Any], ...] = ()
    normals: tuple[Any, ...] = ()

    def workflow(self, root: Path, out: Path) -> dict[str, Any]:
        """Return the workflow that makes the normals."""
        return {
            "input": {"root": str(root / self.folder), "pattern": self.pattern},
            "variables": list(self.variables),
            "regions": ["global"],
            "targets": [self.target],
            "leap_day": self.leap_day,
            "normals": [*TEMPERATURE, *self.normals],
            "output": {"root": str(out)},
            **dict(self.more),
        }


ARCHIVES = (
    Archive(
        "CanESM2", "canesm2_cmip5/annual",
        "{scenario}/{variable}/{variable}_day_{model}_{scenario}_{member}_{grid}_{year}.nc",
        ("pr", "tasmax", "tasmin"), 2010, "drop", "*/{variable}/{variable}_*.nc",
        (("scenarios", ["rcp26"]), ("last_historical_year", 2005)),
        (WARM, FROST, DEGREES, SPELL, RAIN, HEAVY),
    ),
    Archive(
        "OISST", "oisst_tasman/annual",
        "{variable}_day_{model}_{scenario}_{member}_{grid}_{year}.nc",
        ("sst",), 2012, "keep", "{variable}_*.nc", (("historical", "obs"),),
    ),
    Archive(
        "EC-EARTH", "ec-earth_cmip5", "cmip5", ("tas",), 2000, "drop", "{variable}_*.nc",
    ),
)  # fmt: skip


class Made:
    """What climdask made of an archive, and the daily values for peers."""

    def __init__(self, archive: Archive, root: Path, work: Path) -> None:
        self.archive, self.work = archive, work
        self.root = root / archive.folder
        result = climdask.run(archive.workflow(root, work / f"out-{archive.name}"), serial=True)
        if not result.ok:
            raise RuntimeError(f"{archive.name}: {result.failures}")
        self.result = result
        self._merged: dict[str, Path] = {}

    def ours(self, variable: str, name: str, each: str = "day") -> Doubles:
        """Return a product, float64 [step, lat, lon], south and west first."""
        with self.result.open(variable, "global", each=each) as dataset:
            found = dataset[name].isel(target_year=0).sortby(["lat", "lon"]).load()
        return np.asarray(found.values, dtype=np.float64)

    def merged(self, variable: str) -> Path:
        """Return one file with the window's days, and those of the year before."""
        if variable not in self._merged:
            path = self.work / f"{self.archive.name}-{variable}.nc"
            files = sorted(self.root.glob(self.archive.glob.format(variable=variable)))
            years = f"{self.archive.target - 30}/{self.archive.target}"
            cdo(
                "-b", "F64", f"-selyear,{years}", f"-selname,{variable}", "-mergetime", *files, path
            )
            self._merged[variable] = path
        return self._merged[variable]

    def daily(self, variable: str, *, before: bool = False) -> xr.DataArray:
        """Return the days of the window, float64, with the year before if it is asked for."""
        first = self.archive.target - (30 if before else 29)
        with xr.open_dataset(self.merged(variable), decode_times=CFTIME) as dataset:
            found = dataset[variable].squeeze(drop=True).transpose("time", "lat", "lon")
            found = found.sortby(["lat", "lon"]).sel(time=found.time.dt.year >= first).load()
        return found.astype(np.float64)

    def cdo(self, variable: str, *operators: str, before: bool = False) -> Doubles:
        """Return what CDO makes of the days of the window, float64 [step, lat, lon]."""
        first = self.archive.target - (30 if before else 29)
        chain = [*operators, f"-selyear,{first}/{self.archive.target}"]
        out = self.work / "cdo.nc"
        cdo("-b", "F64", *chain, self.merged(variable), out)
        return self.read(out)

    def read(self, path: Path) -> Doubles:
        """Return the one field of a file, float64 [step, lat, lon]."""
        with xr.open_dataset(path, decode_times=False, decode_timedelta=False) as dataset:
            names = [n for n, v in dataset.data_vars.items() if {"lat", "lon"} <= set(v.dims)]
            found = dataset[names[0]]
            found = found.squeeze(set(found.dims) - {"time", "lat", "lon"}, drop=True)
            found = found.sortby(["lat", "lon"]).transpose("time", "lat", "lon").load()
        return np.asarray(found.values, dtype=np.float64)

    @cached_property
    def no_leap(self) -> tuple[str, ...]:
        """The operator that leaves 29 February out, where the normals do."""
        return ("-del29feb",) if self.archive.leap_day == "drop" else ()


@dataclass(frozen=True)
class Comparison:
    """A product and what a peer makes instead.

    Attributes:
        statistic: in words.
        archive: its name.
        peer: the call, in words.
        theirs: makes the peer's values, float64 [step, lat, lon].
        bound: the largest difference that is right, in units of the product; None where a peer
            defines it otherwise, and the difference is only told.
        why: of the difference.
        inside: leave out the days whose pools of five end elsewhere for the peer: at both ends of
            the year, and around 29 February.
    """

    statistic: str
    archive: str
    variable: str
    product: str
    each: str
    peer: str
    theirs: Callable[[Made], Doubles]
    bound: float | None
    why: str = ""
    inside: bool = False

    @property
    def id(self) -> str:
        """A name for it."""
        return f"{self.archive}-{self.product}-{self.each}-{self.peer.split(' ')[0]}"

    def difference(self, made: Made) -> Difference:
        """Compare."""
        ours = made.ours(self.variable, self.product, self.each)
        theirs = self.theirs(made)
        if ours.shape != theirs.shape:
            raise RuntimeError(f"{self.id}: {ours.shape} and {theirs.shape}")
        if self.inside:
            leap = range(57, 62) if len(ours) == 366 else ()
            ends = (0, 1, *leap, len(ours) - 2, len(ours) - 1)
            ours, theirs = (np.delete(values, ends, axis=0) for values in (ours, theirs))
        unlike = int((np.isnan(ours) != np.isnan(theirs)).sum())
        off = np.abs(ours - theirs)
        scale = np.abs(ours)
        return Difference(
            unlike, float(np.nanmax(off)), float(np.nanmean(off)), float(np.nanmax(scale)),
            int((off == 0).sum()), int(np.isfinite(off).sum()),
        )  # fmt: skip

    def agrees(self, found: Difference) -> bool:
        """Tell whether a difference is no more than what is right."""
        return not found.unlike and (self.bound is None or found.largest <= self.bound)


@dataclass(frozen=True)
class Difference:
    """What a comparison found.

    Attributes:
        unlike: values that are missing on one side only.
        largest, mean: absolute differences.
        scale: the largest value.
        equal, compared: numbers of values.
    """

    unlike: int
    largest: float
    mean: float
    scale: float
    equal: int
    compared: int


ROUNDED = "rounded once to float32 here"
TWICE = "each year's value, and the normal, are rounded to float32 here"
ULP_512 = 2.0**-16  # half a unit in the last place of a float32 below 512


def _cdo(
    statistic: str, archive: str, variable: str, product: str, each: str, operators: Sequence[str],
    bound: float | None, why: str = ROUNDED, *, before: bool = False, drop: bool = False,
) -> Comparison:  # fmt: skip
    """Return a comparison with operators of CDO, the last of which acts first."""

    def theirs(made: Made) -> Doubles:
        return made.cdo(variable, *operators, *(made.no_leap if drop else ()), before=before)

    words = f"CDO {' '.join(operators)}"
    return Comparison(
        statistic, archive, variable, product, each, words, theirs, bound, why
    )  # fmt: skip


def _of_days(archive: str, variable: str) -> Iterator[Comparison]:
    """Yield the statistics of each day of the year that CDO has."""
    operators = {
        "": ("mean", "-ydaymean", ULP_512, ROUNDED),
        "_std": ("standard deviation", "-ydaystd1", 2e-6, "CDO rounds at each step"),
        "_min": ("minimum", "-ydaymin", 0.0, ""),
        "_max": ("maximum", "-ydaymax", 0.0, ""),
    }
    for suffix, (words, operator, bound, why) in operators.items():
        name = f"{variable}{suffix}"
        yield _cdo(words, archive, variable, name, "day", [operator], bound, why, drop=True)


def _of_steps(archive: str, variable: str) -> Iterator[Comparison]:
    """Yield means and standard deviations of months, seasons and years."""
    for each, operator in (("month", "mon"), ("season", "seas")):
        names = {
            "": ("mean", f"-y{operator}mean"),
            "_std": ("standard deviation", f"-y{operator}std1"),
        }
        for suffix, (words, over) in names.items():
            bound = 2 * ULP_512 if not suffix else 1e-5
            operators = [over, f"-{operator}mean"]
            if each == "season":
                # From the December before the window to its last November.
                target = _target(archive)
                operators.append(f"-seldate,{target - 30}-12-01,{target}-11-30")
            yield _cdo(
                f"{words} of {each}s", archive, variable, f"{variable}{suffix}", each, operators,
                bound, TWICE, before=each == "season",
            )  # fmt: skip
    yield _cdo(
        "mean of years",
        archive,
        variable,
        variable,
        "year",
        ["-timmean", "-yearmean"],
        2 * ULP_512,
        TWICE,
    )


def _target(archive: str) -> int:
    return next(a.target for a in ARCHIVES if a.name == archive)


def _histogram(made: Made) -> Doubles:
    """Return CDO's percentile of pools of five days."""
    out, days = made.work / "pctl.nc", made.merged("sst")
    years = f"-selyear,{made.archive.target - 29}/{made.archive.target}"
    least, most = made.work / "least.nc", made.work / "most.nc"
    cdo("-b", "F64", "-ydrunmin,5", years, days, least)
    cdo("-b", "F64", "-ydrunmax,5", years, days, most)
    cdo("-b", "F64", "-ydrunpctl,90,5", years, days, least, most, out)
    return made.read(out)


def _percentile_doy(
    variable: str, percent: float, alpha: float, beta: float
) -> Callable[[Made], Doubles]:
    def theirs(made: Made) -> Doubles:
        from xclim.core.calendar import percentile_doy

        days = made.daily(variable)
        if made.archive.leap_day == "drop":
            days = days.convert_calendar("noleap")
        days = days.assign_attrs(units="K")
        found = percentile_doy(days, window=5, per=percent, alpha=alpha, beta=beta)
        return np.asarray(found.squeeze("percentiles").transpose("dayofyear", "lat", "lon").values)

    return theirs


def _indicator(variable: str, index: str, options: dict[str, Any]) -> Callable[[Made], Doubles]:
    """Return the mean over the years of a yearly index of xclim."""

    def theirs(made: Made) -> Doubles:
        from xclim import indices

        units = {"pr": "kg m-2 s-1", "sst": "degC"}.get(variable, "K")
        days = made.daily(variable).assign_attrs(units=units)
        yearly = getattr(indices, index)(days, freq="YS", **options)
        found = yearly.astype(np.float64).mean("time").transpose("lat", "lon")
        return np.asarray(found.values)[None]

    return theirs


def _quantiles(variable: str, share: float) -> Callable[[Made], Doubles]:
    """Return scipy's quantiles of the days around each one, type 8, circular over the year."""

    def theirs(made: Made) -> Doubles:
        from scipy.stats.mstats import mquantiles

        days = made.daily(variable).convert_calendar("noleap")
        years = days.values.reshape(30, 365, -1)
        pools = np.stack([np.roll(years, -shift, axis=1) for shift in range(-2, 3)])
        found = [
            [
                mquantiles(pools[:, :, day, cell], [share], 1 / 3, 1 / 3)[0]
                for cell in range(pools.shape[3])
            ]
            for day in range(365)
        ]
        return np.asarray(found, dtype=np.float64).reshape(365, *days.shape[1:])

    return theirs


ENDS = "xclim's first and last two pools end with the window, and are left out"


def _xclim() -> Iterator[Comparison]:
    """Yield what xclim has."""
    for variable, archive in (("tasmax", "CanESM2"), ("tas", "EC-EARTH")):
        for name, percent, alpha in ((f"{variable}_p10", 10, 1.0), (f"{variable}_p90", 90, 1.0),
                                     ("eight_p90", 90, 1 / 3)):  # fmt: skip
            kind = "linear" if alpha == 1.0 else "median_unbiased"
            yield Comparison(
                f"percentile {percent} of 5 days, {kind}", archive, variable, name, "day",
                f"xclim percentile_doy(window=5, per={percent}, alpha=beta={alpha:.3g})",
                _percentile_doy(variable, percent, alpha, alpha), ULP_512, f"{ROUNDED}; {ENDS}",
                inside=True,
            )  # fmt: skip

    rows = (
        ("days above 18 degC", "warm", "tx_days_above", "18 degC", 2e-6, ROUNDED),
        ("degree days above 10 degC", "degrees", "growing_degree_days", "10 degC", 1e-3, TWICE),
        ("longest spell above 12 degC", "spell", "maximum_consecutive_tx_days", "12 degC", 1e-5,
         ROUNDED),
        ("days below 5 degC", "cold", "tn_days_below", "5 degC", 2e-6, ROUNDED),
    )  # fmt: skip
    for words, name, index, threshold, bound, why in rows:
        variable = "tasmin" if name == "cold" else "tasmax"
        yield Comparison(
            words, "CanESM2", variable, name, "year", f"xclim {index}",
            _indicator(variable, index, {"thresh": threshold}), bound, why,
        )  # fmt: skip
    index = "max_n_day_precipitation_amount"
    yield Comparison(
        "largest sum of 5 days", "CanESM2", "pr", "rx5day", "year", f"xclim {index}",
        _indicator("pr", index, {"window": 5}), None,
        f"{TWICE}; a window may begin in the year before here, and not in xclim",
    )  # fmt: skip


def comparisons() -> list[Comparison]:
    """Return every comparison, in the order of the table."""
    found: list[Comparison] = []
    for archive, variable in (("CanESM2", "tasmax"), ("OISST", "sst"), ("EC-EARTH", "tas")):
        found += [*_of_days(archive, variable), *_of_steps(archive, variable)]
    found += [
        Comparison(
            "percentile 90 of 5 days, linear", "OISST", "sst", "sst_p90", "day",
            "CDO ydrunpctl,90,5", _histogram, 0.1,
            "CDO gives the edge of one of 101 classes between the least and the greatest value; "
            "its pools at the ends of the year and of 29 February are others, and are left out",
            inside=True,
        ),
        _cdo("yearly sum of a rate", "CanESM2", "pr", "rain", "year",
             ["-timmean", "-yearsum", "-mulc,86400"], 1e-3,
             TWICE),
        _cdo("days above 18 degC", "CanESM2", "tasmax", "warm", "year",
             ["-timmean", "-eca_su,18,freq=year"], 2e-6),
        _cdo("days below 5 degC", "CanESM2", "tasmin", "cold", "year",
             ["-timmean", "-yearsum", "-ltc,278.15"], 2e-6),
        *_xclim(),
        Comparison(
            "percentile 90 of 5 days, median_unbiased", "CanESM2", "tasmax", "eight_p90", "day",
            "scipy mquantiles(alphap=betap=1/3)", _quantiles("tasmax", 0.9), ULP_512, ROUNDED,
        ),
    ]  # fmt: skip
    return found


def table(pairs: Sequence[tuple[Comparison, Difference]]) -> str:
    """Return comparisons as a table in Markdown."""
    head = ["statistic", "data", "peer", "largest difference", "of values up to", "equal", "why"]
    rows = [head, ["---"] * len(head)]
    for one, found in pairs:
        rows.append([
            one.statistic, f"{one.archive} {one.variable}", one.peer,
            f"{found.largest:.2g}", f"{found.scale:.3g}", f"{found.equal / found.compared:.0%}",
            one.why if found.largest else "",
        ])  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("folder", type=Path, help="with the real archives")
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    given = parser.parse_args(arguments)
    pairs: list[tuple[Comparison, Difference]] = []
    with tempfile.TemporaryDirectory() as work:
        for archive in ARCHIVES:
            made = Made(archive, given.folder.absolute(), Path(work))
            own = [one for one in comparisons() if one.archive == archive.name]
            pairs += [(one, one.difference(made)) for one in own]
    print(table(pairs))
    wrong = [
        one.id for one, d in pairs if d.unlike or (one.bound is not None and d.largest > one.bound)
    ]
    write_figures(given.json, {one.id: vars(found) for one, found in pairs})
    if wrong:
        print(f"\nbeyond what rounding explains: {', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""The normals of an output folder, found by their names, and opened alike in either format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import cftime
import numpy as np
import numpy.typing as npt
import xarray as xr

from climdask.climatology.calendars import LEAP_CALENDARS, Periods
from climdask.climatology.cycles import DAY, MONTH, SEASON, STEP_DIMENSIONS, YEAR
from climdask.errors import DataError, UnreadableFile
from climdask.outputs.formats import FORMATS, format_of
from climdask.outputs.provenance import unpack
from climdask.planning.naming import NAMINGS

Floats = npt.NDArray[np.float64]

NOT_DRAWN = "and only cells of a grid are drawn; open it with xarray"


@dataclass(frozen=True, order=True)
class Normal:
    """One normal that is there: a file, or a target year of a store.

    Attributes:
        branch: the historical experiment, or a scenario.
        target_year: last year of the window.
        path: of the file or store.
    """

    branch: str
    target_year: int
    path: Path


@dataclass(frozen=True)
class NormalSet:
    """All normals of one variable and frequency in one region, of one model, member and grid.

    Attributes:
        periods: name the period of a target year.
        normals: those that are there, by branch and target year.
    """

    model: str
    member: str
    grid: str
    variable: str
    region: str
    frequency: str
    periods: Periods
    normals: tuple[Normal, ...]

    @property
    def id(self) -> str:
        """``model/member/grid/variable/region``, and the frequency unless it is ``day``."""
        own = "" if self.frequency == "day" else f"/{self.frequency}"
        return f"{self.chain}/{self.region}{own}"

    @property
    def chain(self) -> str:
        """``model/member/grid/variable``."""
        return f"{self.model}/{self.member}/{self.grid}/{self.variable}"

    @property
    def trunk(self) -> str:
        """The historical experiment."""
        return self.periods.historical

    @property
    def branches(self) -> tuple[str, ...]:
        """The scenarios; the historical experiment where there is none."""
        found = dict.fromkeys(n.branch for n in self.normals if n.branch != self.trunk)
        return tuple(found) or (self.trunk,)

    def series(self, branch: str) -> tuple[Normal, ...]:
        """Return the normals of a scenario in order, those of the historical experiment first."""
        own = [n for n in self.normals if n.branch in (self.trunk, branch)]
        return tuple(sorted(own, key=lambda n: n.target_year))


@dataclass(frozen=True)
class Naming:
    """How the normals of a workflow are named.

    Attributes:
        historical: name of the historical experiment.
        window: years in the window.
        last_historical_year: by chain.
    """

    historical: str
    window: int
    last_historical_year: Mapping[str, int]


def find_normals(root: Path, naming: Naming) -> tuple[NormalSet, ...]:
    """Find the normals below an output folder; those of other window lengths are left out.

    A target year of a store is there if the object of the variable is.
    """
    sets: dict[tuple[str, str, str, str, str, str], list[Normal]] = {}
    for name, naming_ in NAMINGS.items():
        for path in sorted(root.glob(naming_.glob)):
            below = PurePosixPath(path.relative_to(root).as_posix())
            parsed = naming_.parse(below, naming.historical)
            if parsed is None or parsed[0].window != naming.window:
                continue
            series, year = parsed
            held = FORMATS[name].target_years(path, series.variable) if year is None else (year,)
            sets.setdefault(series.set_of, []).extend(Normal(series.branch, y, path) for y in held)
    return tuple(
        NormalSet(*key, _periods(naming, "/".join(key[:4]), normals), tuple(sorted(normals)))
        for key, normals in sorted(sets.items())
        if normals
    )


def _periods(naming: Naming, chain: str, normals: list[Normal]) -> Periods:
    """Return the periods of a chain; from its normals where the manifest does not tell them."""
    own = [n.target_year for n in normals if n.branch == naming.historical]
    first = min(n.target_year for n in normals)
    last = naming.last_historical_year.get(chain, max(own, default=first - 1))
    return Periods(naming.historical, last, naming.window)


@dataclass(frozen=True, eq=False)
class OpenNormal:
    """A normal that is open; nothing is read before it is asked for.

    Attributes:
        variable: name of the product that is read.
        dataset: with dims (day, lat, lon); ``day`` has the steps, also where these are longer.
        days: (month, day) of the date of each step.
        number_of_years: source years with any valid value.
        sources: versions of the files, by (year, scenario).
        frequency: of the steps: ``day``, ``mon``, ``seas``, ``yr``, or a user's.
        steps: name of each step, as in :class:`climdask.climatology.cycles.Cycle`: ``07-15`` for a
            day, ``07`` for a month, ``DJF``, ``year``.
        leap_day: place of the 29 February that only leap years have; None without one.
    """

    variable: str
    dataset: xr.Dataset
    days: tuple[tuple[int, int], ...]
    number_of_years: int
    sources: Mapping[tuple[int, str], str]
    frequency: str = DAY
    steps: tuple[str, ...] = ()
    leap_day: int | None = None

    @property
    def products(self) -> tuple[str, ...]:
        """The names of all products."""
        return _products(self.dataset)

    def of(self, product: str) -> OpenNormal:
        """Return the same for another product.

        Raises:
            UnreadableFile: there is no such product.
        """
        if product not in self.products:
            raise UnreadableFile(f"holds no {product}; it holds {', '.join(self.products)}")
        return replace(self, variable=product)

    @property
    def attributes(self) -> Mapping[str, object]:
        """The attributes of the variable."""
        return self.dataset[self.variable].attrs

    @property
    def n_bytes(self) -> int:
        """Bytes of all values."""
        return int(self.dataset[self.variable].size) * 4

    def axis(self, name: str) -> Floats:
        """Return ``lat`` or ``lon`` in degrees, float64."""
        return np.asarray(self.dataset[name].values, dtype=np.float64)

    def bounds(self, name: str) -> Floats | None:
        """Return ``lat_bnds`` or ``lon_bnds``, float64 [cell, 2], or None."""
        there = f"{name}_bnds" in self.dataset
        return np.asarray(self.dataset[f"{name}_bnds"].values, dtype=np.float64) if there else None

    def values(self, days: slice | int) -> npt.NDArray[np.float32]:
        """Read some days, float32 [day, lat, lon], NaN where missing.

        Raises:
            UnreadableFile: they cannot be read.
        """
        try:
            return np.asarray(self.dataset[self.variable][days].values, dtype=np.float32)
        except (OSError, RuntimeError, ValueError) as error:
            raise UnreadableFile(f"{self.variable}: cannot be read ({error})") from error

    def cell(self, row: int, column: int) -> npt.NDArray[np.float32]:
        """Read all days of a cell, float32 [day].

        Raises:
            UnreadableFile: they cannot be read.
        """
        try:
            return np.asarray(self.dataset[self.variable][:, row, column].values, dtype=np.float32)
        except (OSError, RuntimeError, ValueError) as error:
            raise UnreadableFile(f"{self.variable}: cannot be read ({error})") from error


def products_of(dataset: xr.Dataset) -> tuple[str, ...]:
    """Return the names of the variables with numbers for each step and cell of a normal.

    Those that only tell about others are none (``ancillary_variables`` names them).
    """
    gridded = {
        str(name): str(variable.attrs.get("ancillary_variables", ""))
        for name, variable in dataset.data_vars.items()
        if variable.ndim > 2
        and variable.dims[-2:] == ("lat", "lon")
        and np.issubdtype(variable.dtype, np.number)
    }
    ancillary = {name for names in gridded.values() for name in names.split()}
    return tuple(name for name in gridded if name not in ancillary)


def describe(path: Path) -> tuple[tuple[int, ...], str]:
    """Return the target years of a file or store, and the name of its first product.

    Raises:
        UnreadableFile: it cannot be opened, or is no normal.
    """
    found = format_of(path) or FORMATS["zarr" if path.is_dir() else "netcdf"]
    try:
        dataset = getattr(xr, found.opener)(path, chunks=None, decode_times=False)
        many = dataset["target_year"].values if "target_year" in dataset.coords else ()
        years = tuple(map(int, many)) or (int(dataset.attrs["target_year"]),)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise UnreadableFile(f"{path}: is no normal that can be read ({error})") from error
    with dataset:
        names = [n for n in products_of(dataset) if "ancillary_variables" in dataset[n].attrs]
    # The mean has the variable's own name, and that begins the name of the file.
    names.sort(key=lambda name: not path.name.startswith(f"{name}_"))
    if names:
        return years, names[0]
    if "area" in dataset.dims:
        raise UnreadableFile(f"{path}: holds areas, {NOT_DRAWN}")
    raise UnreadableFile(f"{path}: holds no normal")


def holds_areas(normal: Normal) -> bool:
    """Tell whether a normal can be opened, and has areas and not cells of a grid."""
    try:
        with _open(normal) as dataset:
            return "area" in dataset.dims
    except (OSError, RuntimeError, ValueError, KeyError):
        return False


@contextmanager
def opened(normal: Normal, variable: str = "") -> Iterator[OpenNormal]:
    """Open a normal of either format.

    Args:
        normal: which one.
        variable: name of a product; the first one if left out.

    Raises:
        UnreadableFile: it is damaged, or no normal.
    """
    try:
        dataset = _open(normal)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise UnreadableFile(f"{normal.path}: cannot be opened ({error})") from error
    with dataset:
        try:
            made = _describe(normal, variable, dataset)
        except DataError:
            raise
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise UnreadableFile(
                f"{normal.path}: is no normal{variable and f' of {variable}'} that climdask wrote "
                f"({error!r})"
            ) from error
        yield made


def _open(normal: Normal) -> xr.Dataset:
    found = format_of(normal.path)
    if found is None:
        raise ValueError("its name ends as that of no format")
    return found.open_one(normal.path, normal.target_year)


def _describe(normal: Normal, variable: str, dataset: xr.Dataset) -> OpenNormal:
    products = _products(dataset)
    if not products and "area" in dataset.dims:
        raise UnreadableFile(f"{normal.path}: holds areas, {NOT_DRAWN}")
    if not products:
        raise ValueError("no variable with values for each step and cell")
    variable = variable or products[0]
    if variable not in products:
        raise UnreadableFile(f"{normal.path}: holds no {variable}; it holds {', '.join(products)}")
    time = dataset["day"] if "calendar" in dataset["day"].attrs else dataset["time"]
    calendar = str(time.attrs["calendar"])
    dates = cftime.num2date(time.values, time.attrs["units"], calendar)
    days = tuple((int(date.month), int(date.day)) for date in dates)
    frequency, steps = _steps(dataset, days)
    is_leap_day = frequency == DAY and calendar in LEAP_CALENDARS and (2, 29) in days
    return OpenNormal(
        variable, dataset, days,
        number_of_years=int(dataset["number_of_years"].values),
        sources=_sources(normal, dataset),
        frequency=frequency,
        steps=steps,
        leap_day=days.index((2, 29)) if is_leap_day else None,
    )  # fmt: skip


def _products(dataset: xr.Dataset) -> tuple[str, ...]:
    """Return the products of one normal."""
    return tuple(n for n in products_of(dataset) if dataset[n].dims == ("day", "lat", "lon"))


def _steps(dataset: xr.Dataset, days: tuple[tuple[int, int], ...]) -> tuple[str, tuple[str, ...]]:
    """Return the frequency of the steps and their names, from what numbers them."""
    of_days, of_months, of_seasons, _ = STEP_DIMENSIONS
    name = next((n for n in STEP_DIMENSIONS if n in dataset.variables), of_days)
    if name == of_days:
        return DAY, tuple(f"{month:02}-{day:02}" for month, day in days)
    numbers = dataset[name]
    if name == of_months:
        return MONTH, tuple(f"{int(month):02}" for month in numbers.values)
    steps = tuple(str(numbers.attrs["flag_meanings"]).split())
    if len(steps) != len(days):
        raise ValueError(f"{len(days)} steps with the names {', '.join(steps)}")
    own = YEAR if steps == ("year",) else "_".join(steps)
    return SEASON if name == of_seasons else own, steps


def _sources(normal: Normal, dataset: xr.Dataset) -> dict[tuple[int, str], str]:
    about = dict(dataset.attrs)
    if "provenance" in about:
        known = unpack(about["provenance"])
        about = known[normal.target_year].attributes if normal.target_year in known else {}
    years = np.atleast_1d(about.get("source_years", []))
    scenarios = str(about.get("source_scenarios", "")).split(", ")
    versions = str(about.get("source_versions", "")).split(", ")
    return {
        (int(year), scenario): version
        for year, scenario, version in zip(years, scenarios, versions, strict=False)
    }

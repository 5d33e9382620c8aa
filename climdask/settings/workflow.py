"""The workflow YAML: read, checked, and turned into a :class:`Workflow`.

Every mistake is a :class:`ConfigError` that names the key, the value and what is allowed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from climdask.climatology.places import DEFAULT_REGIONS, Box
from climdask.climatology.products import Product
from climdask.climatology.rounding import MOST_DIGITS
from climdask.climatology.statistics import MEAN, STATISTICS
from climdask.errors import ConfigError, InventoryError, did_you_mean
from climdask.inputs.inventory import PATTERNS, InFiles, Query
from climdask.inputs.shapes import ShapeQuery
from climdask.settings.change import ChangeSection, check_change
from climdask.settings.formats import FORMATS
from climdask.settings.normals import Entry, check_names, check_units, products_of
from climdask.settings.paths import check_path
from climdask.settings.sections import Section, as_list, refuse_doubles
from climdask.settings.yamlfiles import NAME, VARIABLE, read_yaml, validate

Facet = Annotated[str, Field(pattern=NAME, max_length=80)]
Variable = Annotated[str, Field(pattern=VARIABLE, max_length=80)]
Period = Literal["historical", "hybrid", "scenario"]


def _as_years(value: object) -> object:
    """Accept one year, range or period, or a list of them; keep fractions and the like out."""
    values = value if isinstance(value, list) else [value]
    for item in values:
        if isinstance(item, bool) or not isinstance(item, int | str):
            raise ValueError(f"{item!r} is no year, range of years or name of a period")
    return values


def _as_number(value: object) -> object:
    """Accept ``1e20``, which YAML reads as text; keep ``yes`` out, which it reads as true."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is no number")
    return value


UserPath = Annotated[Path, AfterValidator(check_path)]
Column = Annotated[str, Field(min_length=1, max_length=255)]


class Input(Section):
    """Where the files are, and what their names mean."""

    root: UserPath = Field(
        description="Folder below which the input files are; ${NAME} is expanded."
    )
    pattern: str = Field(
        "nex-gddp",
        description=f"One of {', '.join(PATTERNS)}, or a path below root with {{facets}}, "
        "[optional parts] and *.",
    )
    facets: dict[Literal["model", "scenario", "member", "grid", "start", "end"], Facet] = Field(
        default_factory=dict, description="Values that the names do not say."
    )
    missing_values: list[
        Annotated[float, BeforeValidator(_as_number), Field(allow_inf_nan=False)]
    ] = Field(
        default_factory=list,
        description="Values that mean missing although the files do not say so, after unpacking.",
    )

    @property
    def fixed(self) -> dict[str, str]:
        """The values that the names do not say."""
        return {str(facet): value for facet, value in self.facets.items()}


class InputVariable(Section):
    """How a variable is found in the files, where its name and input.pattern do not tell."""

    name: str = Field(
        "", max_length=200, description="What it is called inside the files; by default the same."
    )
    file: str = Field(
        "", description="A pattern of its own, as input.pattern is; by default that one."
    )


class Region(Section):
    """A box, inclusive on cell centres."""

    name: Facet
    lon: tuple[float, float] = Field(description="Western and eastern edge, degrees east.")
    lat: tuple[float, float] = Field(description="Southern and northern edge, degrees north.")

    @model_validator(mode="after")
    def _edges_are_degrees(self) -> Region:
        south, north = self.lat
        if not -90 <= south <= north <= 90:
            swapped = max(map(abs, self.lat)) > 90 >= max(map(abs, self.lon))
            raise ValueError(
                f"lat {list(self.lat)} must be [south, north] within -90 to 90"
                + ("; are lat and lon swapped?" if swapped else "")
            )
        if not all(-180 <= edge <= 360 for edge in self.lon):
            raise ValueError(f"lon {list(self.lon)} must be [west, east] within -180 to 360")
        return self

    @property
    def box(self) -> Box:
        """The region for the arithmetic."""
        return Box(self.name, *self.lon, *self.lat)


class AreaSet(Section):
    """Areas of a file of polygons; each is a weighted mean of the cells that it touches."""

    areas: UserPath = Field(description="A GeoJSON file, GeoPackage or Shapefile of polygons.")
    id: Column = Field(description="Column that tells the areas apart.")
    name: Column | None = Field(None, description="Column of names; the ids if left out.")
    where: str | None = Field(
        None,
        min_length=1,
        max_length=10_000,
        description="Which areas, as a condition of SQL, such as GEOID LIKE '06%'.",
    )
    layer: str | None = Field(None, min_length=1, description="Layer of a file with several.")
    region: Facet | None = Field(
        None, description="Name of the region in paths; that of the file if left out."
    )
    min_coverage: float = Field(
        0.5, ge=0, le=1, description="Share of an area that must have values on a day."
    )

    @model_validator(mode="after")
    def _has_a_name(self) -> AreaSet:
        if self.region is None and not re.fullmatch(NAME, self.region_name):
            raise ValueError(f"region: {self.areas.name} makes no name of a region; add region")
        return self

    @property
    def region_name(self) -> str:
        """The name of the region; made of the file's, where ``_`` becomes ``-``."""
        stem = re.sub(r"[^A-Za-z0-9.+-]+", "-", self.areas.stem).strip("-.+")
        return self.region or stem[:80]

    @property
    def query(self) -> ShapeQuery:
        """What to read of the file."""
        path = self.areas.expanduser().absolute()
        return ShapeQuery(path, self.id, self.name or "", self.where or "", self.layer or "")


def _kind_of_region(value: object) -> str:
    """Return the kind of a region, as pydantic names it in the place of an error."""
    if isinstance(value, AreaSet) or (isinstance(value, Mapping) and "areas" in value):
        return "AreaSet"
    return "Region" if isinstance(value, Region | Mapping) else "str"


RegionEntry = Annotated[
    Annotated[Region, Tag("Region")]
    | Annotated[AreaSet, Tag("AreaSet")]
    | Annotated[str, Tag("str")],
    Discriminator(_kind_of_region),
]


def _known_format(name: str) -> str:
    if name not in FORMATS:
        expected = " or ".join(f"'{known}'" for known in FORMATS)
        raise ValueError(f"input should be {expected}{did_you_mean(name, FORMATS)}")
    return name


class Output(Section):
    """Where the normals go."""

    root: UserPath = Field(Path("normals"), description="Folder for the normals.")
    format: Annotated[str, AfterValidator(_known_format)] = Field(
        "netcdf",
        description=". ".join(f"{name}: {what}" for name, what in FORMATS.items()) + ".",
        json_schema_extra={"enum": list(FORMATS)},
    )
    compression_level: int = Field(
        1, ge=0, le=9, description="0 for none; 1 is fast, 9 is slow and a little smaller."
    )
    significant_digits: int | None = Field(
        None,
        ge=1,
        le=MOST_DIGITS,
        description="Digits to round the normals to; all if left out.",
    )
    count: bool = Field(False, description="Also write the number of values behind each mean.")


class Execution(Section):
    """How the work is done; nothing here changes a number."""

    cores_per_variable: int = Field(1, ge=1, le=256, description="Threads of a home worker.")
    lookahead: int | None = Field(
        None, ge=1, le=100, description="Years that reads may run ahead of the chain."
    )
    checkpoint_every: int = Field(10, ge=1, le=1000, description="Years between checkpoints.")
    on_bad_file: Literal["fail", "skip"] = Field(
        "fail", description="skip: a damaged file counts as a gap, under min_years."
    )
    retries: int = Field(2, ge=0, le=20, description="How often a failed read is tried again.")
    lock_dir: UserPath | None = Field(
        None, description="Folder for file locks, on a filesystem that all workers share."
    )
    lock_timeout: float = Field(
        600.0, gt=0, description="Seconds to wait for a file that another run has open."
    )
    open_timeout: float = Field(
        600.0, gt=0, le=10**6,
        description="Seconds that a file may be open while no values come; then its reader ends.",
    )  # fmt: skip

    @property
    def lookaheads(self) -> range:
        """Years that reads may run ahead of the chain, best first; one only if it is given."""
        if self.lookahead is not None:
            return range(self.lookahead, self.lookahead - 1, -1)
        return range(max(3, self.cores_per_variable + 1), 0, -1)


class Workflow(Section):
    """One workflow: what to read, which normals to make, where to write them."""

    input: Input
    models: Annotated[list[Facet] | None, BeforeValidator(as_list)] = Field(
        None, min_length=1, description="Models; all that are found if left out."
    )
    members: Annotated[list[Facet] | None, BeforeValidator(as_list)] = Field(
        None, min_length=1, description="Ensemble members; all that are found if left out."
    )
    grids: Annotated[list[Facet] | None, BeforeValidator(as_list)] = Field(
        None, min_length=1, description="Grid labels; all that are found if left out."
    )
    variables: Annotated[
        Annotated[list[Variable], Field(min_length=1), Tag("list")]
        | Annotated[dict[Variable, InputVariable | None], Field(min_length=1), Tag("dict")],
        Discriminator(lambda value: "dict" if isinstance(value, dict) else "list"),
        BeforeValidator(lambda value: value if isinstance(value, dict) else as_list(value)),
    ] = Field(
        description="Variables: a list of names as in the files, or keys with name (inside the "
        "files) and file (a pattern of its own)."
    )
    units: dict[Variable, str] = Field(
        default_factory=dict,
        description="Units of the normals by variable, such as {pr: mm/day, tas: degC}; those of "
        "the files where left out.",
    )
    historical: Facet = Field("historical", description="Name of the historical experiment.")
    scenarios: Annotated[list[Facet], BeforeValidator(as_list)] = Field(
        default_factory=list, description="Scenarios that follow the historical experiment."
    )
    last_historical_year: int | None = Field(
        None,
        ge=1,
        le=9999,
        description="2014 in CMIP6, 2005 in CMIP5; by default from the scenarios' names "
        "(ssp… or rcp…), or the last historical file where there is no scenario.",
    )
    regions: Annotated[list[RegionEntry], BeforeValidator(as_list)] = Field(
        min_length=1,
        description=f"Names ({', '.join(DEFAULT_REGIONS)}), boxes with name, lon and lat, or files "
        "of polygons with areas and id.",
    )
    window: int = Field(30, ge=1, le=1000, description="Years in the window.")
    targets: Annotated[list[int | str], BeforeValidator(_as_years)] = Field(
        default_factory=lambda: list[int | str](["all"]),
        min_length=1,
        description="all; or years, ranges such as 1980-2100, and the periods "
        "historical, hybrid, scenario.",
    )
    normals: Annotated[list[Entry], BeforeValidator(as_list)] = Field(
        default_factory=lambda: list[Entry]([MEAN]),
        min_length=1,
        description=f"What is made: statistics over the years ({', '.join(STATISTICS)}, "
        "percentiles such as p90), or entries with over_years, pool_days, method, smooth and name. "
        "daily mean if left out.",
    )
    change: ChangeSection | None = Field(
        None, description="Changes of all normals against reference periods; none if left out."
    )
    leap_day: Literal["drop", "keep"] = Field("drop", description="What happens to 29 February.")
    min_years: int | None = Field(
        None, ge=1, description="Source years that a normal needs; 25 of 30 by default."
    )
    partial_windows: bool = Field(
        False, description="Allow windows that begin before or end after the record."
    )
    output: Output = Field(default_factory=Output)
    run: Execution = Field(default_factory=Execution)

    @field_validator("variables", "scenarios", "models", "members", "grids")
    @classmethod
    def _no_doubles(cls, values: Any) -> Any:
        refuse_doubles(list(values or []))
        return values

    @field_validator("regions")
    @classmethod
    def _regions_are_known(
        cls, values: list[Region | AreaSet | str]
    ) -> list[Region | AreaSet | str]:
        for value in values:
            if isinstance(value, str) and value not in DEFAULT_REGIONS:
                raise ValueError(
                    f'"{value}" is none of {", ".join(DEFAULT_REGIONS)}'
                    f"{did_you_mean(value, DEFAULT_REGIONS)}; an own box needs name, lon and lat"
                )
        refuse_doubles([_region_name(value) for value in values])
        return values

    @field_validator("targets")
    @classmethod
    def _targets_are_years(cls, values: list[str | int]) -> list[str | int]:
        for value in values:
            if isinstance(value, str) and value not in (*get_args(Period), "all"):
                span(value)
        return values

    @model_validator(mode="after")
    def _parts_fit(self) -> Workflow:
        if self.min_years is not None and self.min_years > self.window:
            raise ValueError(
                f"min_years: {self.min_years} is more than window: {self.window}; "
                "a window never has that many years"
            )
        try:
            self.query.check()
        except InventoryError as error:
            raise ValueError(str(error)) from None
        check_names(self.normals, self.variable_names)
        for name, units in self.units.items():
            check_units(name, units, self.variable_names)
        every = [p for variable in self.variable_names for p in self.products_of(variable)]
        if self.window == 1 and any(p.over_years == "std" for p in every):
            raise ValueError(
                "normals: std is of two years at least; expected a longer window than window: 1"
            )
        if self.change:
            check_change(self.change, self.window)
        if self.historical in self.scenarios:
            raise ValueError(f'scenarios: "{self.historical}" is the historical experiment')
        return self

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The boxes among the regions, in order."""
        return tuple(r for r in self.places_asked if isinstance(r, Box))

    @property
    def places_asked(self) -> tuple[Box | AreaSet, ...]:
        """The regions, in order; the polygons of areas are not read yet."""
        each = (DEFAULT_REGIONS[r] if isinstance(r, str) else r for r in self.regions)
        return tuple(r.box if isinstance(r, Region) else r for r in each)

    @property
    def variable_names(self) -> list[str]:
        """The variables, in order."""
        return list(self.variables)

    def products_of(self, variable: str) -> tuple[Product, ...]:
        """Return what is made of a variable, in the order of the output: the mean is the first."""
        return products_of(self.normals, variable)

    @property
    def years_needed(self) -> int:
        """``min_years``, or its default: 25 of 30, and the same share of other windows."""
        return self.min_years if self.min_years is not None else -(-25 * self.window // 30)

    @property
    def query(self) -> Query:
        """What to look for in the input root."""
        wanted = {
            "variable": self.variable_names,
            "scenario": [self.historical, *self.scenarios],
            "model": self.models,
            "member": self.members,
            "grid": self.grids,
        }
        given = {facet: values for facet, values in wanted.items() if values}
        own = self.variables if isinstance(self.variables, dict) else {}
        return Query(
            self.input.root.expanduser(),
            self.input.pattern,
            given,
            self.input.fixed,
            {name: InFiles(keys.name, keys.file) for name, keys in own.items() if keys},
        )


def _region_name(value: Region | AreaSet | str) -> str:
    if isinstance(value, str):
        return value
    return value.name if isinstance(value, Region) else value.region_name


def span(text: str) -> range:
    """Read ``1980-2100`` as a range of years, both ends included.

    Raises:
        ValueError: the text is no such range.
    """
    found = re.fullmatch(r"\s*(\d{1,4})\s*-\s*(\d{1,4})\s*", text)
    if not found or int(found[1]) > int(found[2]):
        periods = (*get_args(Period), "all")
        raise ValueError(
            f'"{text}" is neither a range of years such as 1980-2100 nor one of '
            f"{', '.join(periods)}{did_you_mean(text, periods)}"
        )
    return range(int(found[1]), int(found[2]) + 1)


def load(source: str | os.PathLike[str] | Mapping[str, Any], **overrides: Any) -> Workflow:
    """Read a workflow from a YAML file or a mapping.

    Args:
        source: path of a YAML file, or the same content as a mapping.
        overrides: ``input_root`` and ``output_root``, which win over the file.

    Relative paths in a file are relative to the working folder, as on a command line.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong.
    """
    if isinstance(source, Mapping):
        content, name = dict(source), "workflow"
    else:
        content, name = read_yaml(Path(source)), str(source)
    for key, value in overrides.items():
        section, _, entry = key.partition("_")
        if value is not None:
            if not isinstance(content.get(section, {}), dict):
                raise ConfigError(f"{name}: {section}: expected keys and values")
            content[section] = {**content.get(section, {}), entry: value}
    return validate(Workflow, content, name)


def schema() -> str:
    """Return the JSON schema of the workflow YAML, for editors."""
    content = _with_variables(Workflow.model_json_schema())
    either = content["properties"]["variables"]
    either["anyOf"] = either.pop("oneOf")
    many = content["$defs"]["NormalEntry"]["properties"]["over_years"]
    changes = content["$defs"]["ChangeSection"]["properties"].values()
    for entry in (*content["properties"].values(), many, *changes):
        # One value may stand for a list of one, as as_list has it.
        own = {k: entry[k] for k in ("type", "items", "minItems") if k in entry}
        options = entry.get("anyOf", [own])
        items = [option["items"] for option in options if option.get("type") == "array"]
        if items:
            entry["anyOf"] = [*options, *items]
            for key in own:
                del entry[key]
    content["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    content["title"] = "climdask workflow"
    return json.dumps(content, indent=2)


def _with_variables(schema: Any) -> Any:
    """Let ``${NAME}`` stand in every name, too."""
    if isinstance(schema, list):
        return [_with_variables(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: _with_variables(part) for key, part in schema.items()}
    if isinstance(out.get("pattern"), str):
        out["pattern"] += r"|\$\{\w+\}"
    return out

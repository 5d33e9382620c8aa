"""Changes against reference periods: the key ``change``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from climdask.climatology.calendars import Window
from climdask.climatology.changes import Floor
from climdask.settings.sections import Section, as_list, refuse_doubles

_PERIOD = r"^\s*\d{1,4}\s*-\s*\d{1,4}\s*$"


def period(text: str) -> Window:
    """Read ``1981-2010`` as a window of years.

    Raises:
        ValueError: the text is no such period.
    """
    found = re.fullmatch(r"\s*(\d{1,4})\s*-\s*(\d{1,4})\s*", text)
    if not found or int(found[1]) > int(found[2]):
        raise ValueError(f'"{text}" is no period of years; expected such as 1981-2010')
    return Window(int(found[1]), int(found[2]))


def _check_period(text: str) -> str:
    period(text)
    return text


def _check_floor(text: str) -> str:
    Floor.of(text)
    return text


Period = Annotated[
    str, AfterValidator(_check_period), Field(json_schema_extra={"pattern": _PERIOD})
]
Quantity = Annotated[str, AfterValidator(_check_floor)]


class ChangeSection(Section):
    """Changes of all normals against reference periods."""

    reference: Annotated[list[Period], BeforeValidator(as_list)] = Field(
        min_length=1,
        description="Reference periods such as 1981-2010, as long as window.",
    )
    relative_floor: Annotated[list[Quantity], BeforeValidator(as_list)] = Field(
        default_factory=list,
        description="The least values of the reference that a ratio in percent is made of, with "
        "units, such as 0.1 mm/day; there is no ratio of normals whose units none of them fits, "
        "and none of temperatures.",
    )

    @property
    def references(self) -> tuple[Window, ...]:
        """The reference periods, in order of years."""
        return tuple(sorted(map(period, self.reference), key=lambda window: window.last_year))

    @property
    def floors(self) -> tuple[Floor, ...]:
        """The least values, as they were written."""
        return tuple(map(Floor.of, self.relative_floor))


def check_change(change: ChangeSection, window: int) -> None:
    """Check that the reference periods are windows of the workflow.

    Raises:
        ValueError: one is of another length, or named twice.
    """
    for one in change.references:
        if len(one) != window:
            last = one.first_year + window - 1
            raise ValueError(
                f"change: reference: {one.first_year}-{one.last_year} has {len(one)} years, and "
                f"window: {window}; expected a period of the same length, such as "
                f"{one.first_year}-{last}"
            )
    refuse_doubles([f"change: reference: {w.first_year}-{w.last_year}" for w in change.references])

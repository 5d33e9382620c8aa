"""What all sections of the workflow share."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """A part of the workflow: keys that are not known are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: object, info: ValidationInfo) -> object:
        """Refuse ``window: yes``, which YAML reads as true and Python as 1."""
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError("YAML reads this as true or false; put a name in quotes")
        return value


def as_list(value: object) -> object:
    """Accept one value for a list of one."""
    return value if isinstance(value, list | type(None)) else [value]


def refuse_doubles(names: Sequence[str]) -> None:
    """Refuse a list with a name twice.

    Raises:
        ValueError: it names them.
    """
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"{', '.join(doubled)} is named more than once")

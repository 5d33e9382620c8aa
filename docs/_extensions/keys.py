"""What a pydantic model says of its keys, as text: made from the model, so it cannot age."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined


@dataclass(frozen=True)
class Key:
    """A key of a YAML file.

    Attributes:
        name: as it stands in the file, without the sections around it.
        kind: what its values are.
        default: as in the file; "" where the key is needed.
        description: a sentence or more.
    """

    name: str
    kind: str
    default: str
    description: str


@dataclass(frozen=True)
class Group:
    """The keys of one section of a YAML file.

    Attributes:
        path: the keys that lead to it, joined by dots; "" for the file itself.
        description: of the section.
    """

    path: str
    description: str
    keys: tuple[Key, ...]


def groups_of(model: type[BaseModel], schema: Mapping[str, Any] | None = None) -> list[Group]:
    """Return the keys of a model, and of each section in it, in the order of the file.

    Args:
        model: of the whole file.
        schema: its JSON schema, where that says more than pydantic's own.
    """
    whole = schema or model.model_json_schema()
    sections = {own.__name__: own for own in _sections(model)}
    todo, seen, groups = [("", model, whole)], {model}, []
    while todo:
        path, own, part = todo.pop(0)
        keys = []
        for name, field in own.model_fields.items():
            entry = part["properties"][name]
            keys.append(Key(name, kind_of(entry), _default(field), _sentence(entry, field)))
            for inner in _references(entry):
                if inner in sections and sections[inner] not in seen:
                    seen.add(sections[inner])
                    below = f"{path}.{name}".lstrip(".")
                    todo.append((below, sections[inner], whole["$defs"][inner]))
        groups.append(Group(path, str(part.get("description", "")), tuple(keys)))
    return groups


def _sections(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield the models that a model's keys hold, at any depth."""
    todo: list[Any] = [field.annotation for field in model.model_fields.values()]
    while todo:
        found = todo.pop()
        if isinstance(found, type) and issubclass(found, BaseModel):
            yield found
            todo += [field.annotation for field in found.model_fields.values()]
        else:
            todo += getattr(found, "__args__", ())


def _references(entry: object) -> Iterator[str]:
    """Yield the names of the definitions that a part of a schema points to."""
    if isinstance(entry, Mapping):
        for key, value in entry.items():
            if key == "$ref":
                yield str(value).rpartition("/")[2]
            else:
                yield from _references(value)
    elif isinstance(entry, list):
        for value in entry:
            yield from _references(value)


def kind_of(entry: Mapping[str, Any]) -> str:
    """Return in words what a part of a JSON schema allows."""
    if "anyOf" in entry or "oneOf" in entry:
        options = entry.get("anyOf", entry.get("oneOf", []))
        words = [kind_of(option) for option in options if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(words))
    if "$ref" in entry:
        return "keys and values, see below"
    values = [value for value in entry.get("enum", []) if value is not None]
    if values:
        return "one of " + ", ".join(f"`{as_yaml(value)}`" for value in values)
    if "const" in entry:
        return f"`{as_yaml(entry['const'])}`"
    return _KINDS.get(str(entry.get("type")), _anything)(entry)


def _anything(entry: Mapping[str, Any]) -> str:
    del entry
    return "a value"


def _text(entry: Mapping[str, Any]) -> str:
    return "a path" if entry.get("format") == "path" else "text"


def _number(entry: Mapping[str, Any]) -> str:
    word = "a whole number" if entry["type"] == "integer" else "a number"
    least, most = entry.get("minimum"), entry.get("maximum")
    if "exclusiveMinimum" in entry:
        word += f" above {as_yaml(entry['exclusiveMinimum'])}"
        return word + (f", {as_yaml(most)} at most" if most is not None else "")
    if least is not None and most is not None:
        return f"{word} from {as_yaml(least)} to {as_yaml(most)}"
    return word + (f", {as_yaml(least)} or more" if least is not None else "")


def _list(entry: Mapping[str, Any]) -> str:
    if "prefixItems" in entry:
        return f"a list of {len(entry['prefixItems'])} numbers"
    inner = kind_of(entry["items"]) if entry.get("items") else "values"
    # "a list of a path" reads badly: each item is what the words after the article say.
    return "a list, each item " + inner


def _mapping(entry: Mapping[str, Any]) -> str:
    if "additionalProperties" not in entry or not isinstance(entry["additionalProperties"], dict):
        return "keys and values"
    names = entry.get("propertyNames", {}).get("enum", [])
    of = " from " + ", ".join(f"`{name}`" for name in names) if names else ""
    return f"keys{of}, each with {kind_of(entry['additionalProperties'])}"


_KINDS = {
    "string": _text,
    "integer": _number,
    "number": _number,
    "array": _list,
    "object": _mapping,
    "boolean": lambda entry: "`true` or `false`" if entry else "",
}


def _default(field: FieldInfo) -> str:
    """Return the default as YAML has it, "" where there is none."""
    value = field.get_default(call_default_factory=True) if not field.is_required() else None
    if field.is_required() or value is PydanticUndefined:
        return ""
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return "its own defaults"
    return f"`{as_yaml(value)}`"


def as_yaml(value: object) -> str:
    """Return a value as one line of YAML."""
    if isinstance(value, str | Path):
        return str(value)
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, float) and value == int(value):
        value = int(value)
    return json.dumps(value).replace('"', "")


def _sentence(entry: Mapping[str, Any], field: FieldInfo) -> str:
    return str(entry.get("description") or field.description or "")

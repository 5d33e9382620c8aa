"""What a pydantic model says of its keys, as text: made from the model, so it cannot age."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
        default: what happens where it is left out.
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
        title: the path, and where several sections have it, the first key of this one.
        description: of the section.
    """

    path: str
    title: str
    description: str
    keys: tuple[Key, ...]

    @property
    def slug(self) -> str:
        """The title as part of a link."""
        return slug_of(self.title)


def slug_of(title: str) -> str:
    """Return a title as part of a link."""
    return title.replace(" ", "-")


def groups_of(
    model: type[BaseModel], schema: Mapping[str, Any] | None = None, *, anchor: str = ""
) -> list[Group]:
    """Return the keys of a model, and of each section in it, in the order of the file.

    Args:
        model: of the whole file.
        schema: its JSON schema, where that says more than pydantic's own.
        anchor: what the links to sections begin with.
    """
    whole = schema or model.model_json_schema()
    places = _places(model, whole)
    titles = _titles(places)
    links = {
        own.__name__: f"{anchor}-{slug_of(titles[own])}" for own, path in places.items() if path
    }
    groups = []
    for own, path in places.items():
        part = whole["$defs"][own.__name__] if path else whole
        keys = tuple(
            Key(name, kind_of(entry, links), _default(field), _sentence(entry, field))
            for name, field in own.model_fields.items()
            for entry in [part["properties"][name]]
        )
        groups.append(Group(path, titles[own], str(part.get("description", "")), keys))
    return groups


def _titles(places: Mapping[type[BaseModel], str]) -> dict[type[BaseModel], str]:
    """Return a title for each section, each another."""
    often = Counter(places.values())
    return {
        own: path if often[path] == 1 else f"{path} with {next(iter(own.model_fields))}"
        for own, path in places.items()
    }


def _places(model: type[BaseModel], schema: Mapping[str, Any]) -> dict[type[BaseModel], str]:
    """Return where each section stands: the keys that lead to it, joined by dots."""
    sections = {own.__name__: own for own in _sections(model)}
    places, todo = {model: ""}, [(model, schema)]
    while todo:
        own, part = todo.pop(0)
        for name in own.model_fields:
            for found in _references(part["properties"][name]):
                section = sections.get(found)
                if section is not None and section not in places:
                    places[section] = f"{places[own]}.{name}".lstrip(".")
                    todo.append((section, schema["$defs"][found]))
    return places


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


def kind_of(entry: Mapping[str, Any], links: Mapping[str, str]) -> str:
    """Return in words what a part of a JSON schema allows.

    Args:
        entry: the part.
        links: anchors of the sections, by the names of their definitions.
    """
    values = [value for value in entry.get("enum", []) if value is not None]
    if values:
        return "one of " + ", ".join(f"`{as_yaml(value)}`" for value in values)
    if "anyOf" in entry or "oneOf" in entry:
        return _choice(entry.get("anyOf", entry.get("oneOf", [])), links)
    if "$ref" in entry:
        name = str(entry["$ref"]).rpartition("/")[2]
        return f"[keys and values](#{links[name]})" if name in links else "keys and values"
    if "const" in entry:
        return f"`{as_yaml(entry['const'])}`"
    return _KINDS.get(str(entry.get("type")), _anything)(entry, links)


def _choice(options: Sequence[Mapping[str, Any]], links: Mapping[str, str]) -> str:
    """Return the options in words; one item that stands for a list of one is not said again."""
    lists = [kind_of(own["items"], links) for own in options if own.get("items")]
    words = [kind_of(own, links) for own in options if own.get("type") != "null"]
    known = {word for items in lists for word in (items, *items.split(" or "))}
    kept = list(dict.fromkeys(word for word in words if word not in known))
    return ("; or " if any(";" in word for word in kept[:-1]) else " or ").join(kept)


def _anything(entry: Mapping[str, Any], links: Mapping[str, str]) -> str:
    del entry, links
    return "a value"


def _text(entry: Mapping[str, Any], links: Mapping[str, str]) -> str:
    del links
    return "a path" if entry.get("format") == "path" else "text"


def _number(entry: Mapping[str, Any], links: Mapping[str, str]) -> str:
    del links
    word = "a whole number" if entry["type"] == "integer" else "a number"
    least, most = entry.get("minimum"), entry.get("maximum")
    if "exclusiveMinimum" in entry:
        word += f" above {as_yaml(entry['exclusiveMinimum'])}"
        return word + (f", {as_yaml(most)} at most" if most is not None else "")
    if least is not None and most is not None:
        return f"{word} from {as_yaml(least)} to {as_yaml(most)}"
    return word + (f", {as_yaml(least)} or more" if least is not None else "")


def _truth(entry: Mapping[str, Any], links: Mapping[str, str]) -> str:
    del entry, links
    return "`true` or `false`"


def _list(entry: Mapping[str, Any], links: Mapping[str, str]) -> str:
    if "prefixItems" in entry:
        return f"a list of {len(entry['prefixItems'])} numbers"
    inner = kind_of(entry["items"], links) if entry.get("items") else "a value"
    return f"a list; each item is {inner}"


def _mapping(entry: Mapping[str, Any], links: Mapping[str, str]) -> str:
    names = entry.get("propertyNames", {}).get("enum", [])
    keys = "keys from " + ", ".join(f"`{name}`" for name in names) if names else "keys"
    values = [entry.get("additionalProperties"), *entry.get("patternProperties", {}).values()]
    kinds = [kind_of(value, links) for value in values if isinstance(value, Mapping)]
    return f"{keys}, each with {' or '.join(kinds)}" if kinds else f"{keys} and values"


_KINDS = {
    "string": _text,
    "integer": _number,
    "number": _number,
    "array": _list,
    "object": _mapping,
    "boolean": _truth,
}


def _default(field: FieldInfo) -> str:
    """Return what happens where a key is left out."""
    if field.is_required():
        return "**needed**"
    value = field.get_default(call_default_factory=True)
    if value in (None, PydanticUndefined, "", [], {}, ()) or isinstance(value, BaseModel):
        return "may be left out"
    return f"default `{as_yaml(value)}`"


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

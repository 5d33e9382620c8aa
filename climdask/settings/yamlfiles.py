"""YAML files read with care, and mistakes in them explained: key, value, what is allowed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from climdask.errors import ConfigError, did_you_mean

MAX_BYTES = 1_000_000  # of a YAML file
MAX_NODES = 50_000  # of a YAML file with its aliases written out
NAME = r"^[A-Za-z0-9][A-Za-z0-9.+-]*$"  # facets and regions are names of folders
VARIABLE = r"^[A-Za-z][A-Za-z0-9_]*$"
_MEANINGS = {
    NAME: "of letters, digits and .+- only",
    VARIABLE: "of letters, digits and _ only",
}

# What pydantic adds to a place: the names of models and kinds that a value may be.
_NO_KEY = re.compile(
    r"\[key\]$"
    r"|(Region|AreaSet|NormalEntry|str|int|list|dict|literal|constrained|function|nullable)\b"
)

Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], content: Mapping[str, Any], name: str) -> Model:
    """Check a mapping against a pydantic model.

    Raises:
        ConfigError: one line for each mistake, with key, value and what is allowed.
    """
    try:
        return model.model_validate(_expand(content, name, ()))
    except ValidationError as error:
        lines = dict.fromkeys(_explain(model, e) for e in _likely(error.errors()))
        raise ConfigError("\n".join(f"{name}: {line}" for line in lines)) from None


def _likely(errors: list[Any]) -> list[Any]:
    """Where a value may be a section or a name, and a section was meant, forget the name."""
    keys = [_key(tuple(e["loc"])) for e in errors if e["type"] != "string_type"]
    return [
        e
        for e in errors
        if e["type"] != "string_type" or not any(k.startswith(_key(tuple(e["loc"]))) for k in keys)
    ]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that must be a mapping without doubled keys.

    Raises:
        ConfigError: the file is missing, too large, no YAML, or no mapping.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_BYTES:,} bytes; is it a workflow?")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is no text file; expected YAML in UTF-8") from None
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        _check_tree(root, path)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        line = text.split("\n")[mark.line : mark.line + 1] if mark else []
        tab = any("\t" in part for part in line)
        hint = "; indent with spaces, not tabs" if tab else ""
        raise ConfigError(f"{path}: no valid YAML{where}: {error.problem}{hint}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from None
    # What PyYAML lets through: a date such as 2000-13-01, a number of 5000 digits, !!bool x.
    except (ValueError, LookupError, AttributeError) as error:
        raise ConfigError(f"{path}: no valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply; a workflow has three levels") from None
    if not isinstance(content, dict):
        kind = "empty" if content is None else f"a {type(content).__name__}"
        raise ConfigError(
            f'{path}: is {kind}; expected keys and values ("input:", "variables:", …)'
        )
    return content


def _check_tree(root: yaml.Node | None, path: Path) -> None:
    """Refuse doubled keys, and aliases that would unfold without end."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node), 0)
        if known is None:
            raise ConfigError(f"{path}: an alias in line {node.start_mark.line + 1} holds itself")
        if known:
            return known
        sizes[id(node)] = None
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            _check_doubled(node, path)
            children = [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = list(node.value)
        total = 1 + sum(map(size, children))
        if total > MAX_NODES:
            raise ConfigError(f"{path}: its aliases unfold to more than {MAX_NODES:,} values")
        sizes[id(node)] = total
        return total

    if root is not None:
        size(root)


def _check_doubled(node: yaml.MappingNode, path: Path) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{path}: the key in line {line} is no word; expected key: value")
        if key.value in seen:
            raise ConfigError(
                f'{path}: key "{key.value}" in line {line} is there already, '
                f"in line {seen[key.value]}; remove one"
            )
        seen[key.value] = line


def _expand(value: Any, name: str, loc: tuple[Any, ...]) -> Any:
    """Replace ``${NAME}`` in all strings by environment variables."""
    if isinstance(value, Mapping):
        return {k: _expand(v, name, (*loc, k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_expand(v, name, (*loc, i)) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ConfigError(f"{name}: {_key(loc)}: {value}: is no text in UTF-8; write it anew")

    def lookup(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            raise ConfigError(
                f'{name}: {_key(loc)}: "{value}": the environment variable {match[1]} is not set; '
                f"set it (export {match[1]}=…) or write the path itself"
            )
        return found

    return re.sub(r"\$\{(\w+)\}", lookup, value)


def _explain(model: type[BaseModel], error: Any) -> str:
    """Turn a pydantic error into ``key: value: what was expected``."""
    loc = tuple(error["loc"])
    key = _key(loc)
    if error["type"] == "extra_forbidden":
        section = _section(model, loc[:-1])
        allowed = list(section.model_fields) if section else []
        where = f" of {_key(loc[:-1])}" if loc[:-1] else ""
        return (
            f'{key}: unknown key "{loc[-1]}"{did_you_mean(str(loc[-1]), allowed)}'
            f"{' (known keys' + where + ': ' + ', '.join(allowed) + ')' if allowed else ''}"
        )
    if error["type"] == "missing":
        section = _section(model, loc[:-1])
        field = section.model_fields.get(str(loc[-1])) if section else None
        about = f" ({field.description.rstrip('.')})" if field and field.description else ""
        return f"{key}: missing{about}; add it"
    message = error["msg"].removeprefix("Value error, ").replace(" after validation", "")
    for pattern, meaning in _MEANINGS.items():
        message = message.replace(f"'{pattern}'", meaning)
    section = _section(model, loc)
    if error["type"] == "model_type" and section:
        message = f"expected keys and values: {', '.join(section.model_fields)}"
    message = message[:1].lower() + message[1:] if message[:5] == "Input" else message
    value = error["input"]
    shown = "" if isinstance(value, BaseModel | dict) else f"{value!r:.120}: "
    near = ""
    if error["type"] == "string_type" and isinstance(value, int | float):
        near = f'; put it in quotes ("{value}") if that is its name'
    if error["type"] in {"literal_error", "enum"} and isinstance(value, str):
        near = did_you_mean(value, re.findall(r"'([^']+)'", error["ctx"]["expected"]))
    return f"{key}: {shown}{message}{near}" if key else message


def _key(loc: tuple[str | int, ...]) -> str:
    """Write ``('regions', 2, 'Region', 'lat')`` as ``regions[2].lat``."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not _NO_KEY.match(part):
            text += f".{part}" if text else part
    return text


def _section(model: type[BaseModel], loc: tuple[str | int, ...]) -> type[BaseModel] | None:
    """Find the model that a location lies in."""
    section: type[BaseModel] | None = model
    models: dict[str, type[BaseModel]] = {}
    for part in loc:
        section = models.get(str(part), section)  # where a value may be one of several
        if section is None or isinstance(part, int) or part not in section.model_fields:
            continue
        found = list(_models_in(section.model_fields[part].annotation))
        section, models = (found[0] if found else None), {m.__name__: m for m in found}
    return section


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, list, tuple, dict, Annotated):
        for part in get_args(annotation):
            yield from _models_in(part)

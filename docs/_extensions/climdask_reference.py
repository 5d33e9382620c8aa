"""Directives that write the reference from the code: keys of YAML, command line, public names."""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from docutils import nodes
from docutils.statemachine import StringList
from keys import Group, Key, groups_of
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import climdask
from climdask.cli.arguments import command_line
from climdask.settings import profiles, workflow

_ESCAPED = re.compile(r"([*_<>\[\]\\|])")


def plain(text: str) -> str:
    """Return text that means itself in Markdown; what stands in backticks stays code."""
    parts = text.split("`")
    return "`".join(_ESCAPED.sub(r"\\\1", p) if n % 2 == 0 else p for n, p in enumerate(parts))


class Generated(SphinxDirective):
    """A directive whose content is Markdown that is made from the code."""

    has_content = False

    def text(self) -> str:
        """Return the Markdown."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Return the parsed Markdown."""
        lines = StringList(self.text().splitlines(), source=self.get_source_info()[0])
        node = nodes.container()
        self.state.nested_parse(lines, self.content_offset, node, match_titles=True)
        return node.children


def _key(key: Key, path: str) -> Iterator[str]:
    """Yield the lines of a definition: the key, what it takes, what it means."""
    name = f"{path}.{key.name}".lstrip(".")
    yield f"`{name}`"
    yield f": {key.kind[:1].upper()}{key.kind[1:]}; {key.default}."
    if key.description:
        yield ""
        yield f"  {plain(key.description)}"
    yield ""


def _sections(groups: Iterable[Group], anchor: str) -> Iterator[str]:
    """Yield the lines of the sections of a file."""
    for group in groups:
        if group.path:
            yield f"({anchor}-{group.slug})="
        yield f"## `{group.title}`" if group.path else "## At the top"
        yield ""
        if group.description and group.path:
            yield plain(group.description)
            yield ""
        for key in group.keys:
            yield from _key(key, group.path)


class WorkflowKeys(Generated):
    """Every key of the workflow."""

    def text(self) -> str:
        """Return the keys, section by section."""
        groups = groups_of(workflow.Workflow, json.loads(workflow.schema()), anchor="workflow")
        return "\n".join(_sections(groups, "workflow"))


class ClusterKeys(Generated):
    """Every key of the cluster profiles; what batch systems share stands there once."""

    def text(self) -> str:
        """Return the keys, kind by kind, and then those of all batch systems."""
        lines: list[str] = []
        shared = groups_of(profiles.BatchProfile, anchor="batch")
        known = {(group.path, key.name) for group in shared for key in group.keys} | {("", "kind")}
        for kind, profile in profiles.KINDS.items():
            lines += [f"## `kind: {kind}`", "", plain(inspect.getdoc(profile) or ""), ""]
            groups = groups_of(profile, anchor=kind)
            if issubclass(profile, profiles.BatchProfile):
                lines += ["It has [the keys of all batch systems](#batch-systems).", ""]
                groups = [_without(group, known) for group in groups]
            lines += _subsections(groups, kind)
        lines += ["(batch-systems)=", "## All batch systems", ""]
        lines += _subsections([_without(group, {("", "kind")}) for group in shared], "batch")
        return "\n".join(lines)


def _without(group: Group, known: Collection[tuple[str, str]]) -> Group:
    """Return a section without the keys that are told elsewhere."""
    keys = tuple(key for key in group.keys if (group.path, key.name) not in known)
    return replace(group, keys=keys)


def _subsections(groups: Iterable[Group], anchor: str) -> Iterator[str]:
    """Yield the lines of the sections of a profile, those without keys left out."""
    for group in groups:
        if group.path and group.keys:
            yield from (f"({anchor}-{group.slug})=", f"### `{group.title}`", "")
            yield from (plain(group.description), "")
        for key in group.keys:
            yield from _key(key, group.path)


class CommandLine(Generated):
    """Every command with its arguments."""

    def text(self) -> str:
        """Return the commands in the order of ``climdask --help``."""
        parser = command_line()
        (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        lines: list[str] = []
        for name, command in commands.choices.items():
            usage = command.format_usage().removeprefix("usage: ").strip()
            lines += [f"## `climdask {name}`", "", plain(_capital(command.description or "")), ""]
            lines += ["```text", re.sub(r"\n +", "\n    ", usage), "```", ""]
            for action in command._actions:
                if action.help is not argparse.SUPPRESS and action.dest not in ("help", "debug"):
                    lines += _argument(action, command)
        return "\n".join(lines)


def _argument(action: argparse.Action, command: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the lines of a definition: an argument and its help."""
    value = action.metavar or (action.choices and "|".join(map(str, action.choices))) or action.dest
    shown = " ".join(value) if isinstance(value, tuple) else str(value)
    takes = f" {shown}" if action.nargs != 0 else ""
    yield "`" + (", ".join(f"{o}{takes}" for o in action.option_strings) or shown) + "`"
    told = command._get_formatter()._expand_help(action) if action.help else _CAPTION[action.dest]
    yield f": {plain(_capital(told))}"
    yield ""


# Positional arguments whose name says it all to those who read --help.
_CAPTION = {"workflow": "The workflow.", "profile": "The cluster profile."}


def _capital(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", ")")) else text + "."


class PublicNames(Generated):
    """Every name of ``climdask.__all__``, documented from its docstring."""

    def text(self) -> str:
        """Return autodoc's directives: functions first, then classes and exceptions."""
        found = {name: getattr(climdask, name) for name in climdask.__all__}
        functions = [n for n, value in found.items() if inspect.isfunction(value)]
        classes = [n for n, value in found.items() if inspect.isclass(value)]
        errors = [n for n in classes if issubclass(found[n], Exception)]
        parts = [
            ("Functions", [_auto("function", n) for n in functions]),
            ("Classes", [_auto("class", n, "members") for n in classes if n not in errors]),
            ("Exceptions", [_auto("exception", n) for n in errors]),
        ]
        return "\n\n".join(f"## {title}\n\n" + "\n\n".join(texts) for title, texts in parts)


def _auto(what: str, name: str, *options: str) -> str:
    told = "".join(f"\n   :{option}:" for option in options)
    return f"```{{eval-rst}}\n.. auto{what}:: climdask.{name}{told}\n```"


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives."""
    app.add_directive("workflow-keys", WorkflowKeys)
    app.add_directive("cluster-keys", ClusterKeys)
    app.add_directive("command-line", CommandLine)
    app.add_directive("public-names", PublicNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

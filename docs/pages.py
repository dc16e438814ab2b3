"""The reference pages that are written from the code: tables, the catalog, flags, findings, commands, Python."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click

import skydb
from skydb.checks.findings import findings_page
from skydb.schema.declaration import shipped
from skydb.schema.render import flags_page, tables_page
from skydb.schema.tables import TABLES
from skydb.store.catalog_tables import catalog_page
from skydb.tools.cli import cli


def write_reference(folder: Path) -> None:
    """Write the reference pages; those whose text is the same stay untouched, so that a second build is quick."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "tables": tables_page({**TABLES, **shipped()}), "catalog": catalog_page(), "flags": flags_page(),
        "commands": commands_page(), "python": python_page(), "findings": findings_page(),
    }  # fmt: skip
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def commands_page() -> str:
    """Help of every command, as the command line prints it."""
    context = click.Context(cli, info_name="skydb")
    lines = ["# Commands", "", "```text", cli.get_help(context), "```", ""]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if command is not None:
            own = click.Context(command, info_name=name, parent=context)
            lines += [f"## skydb {name}", "", "```text", command.get_help(own), "```", ""]
            for word, part in getattr(command, "commands", {}).items():
                help_text = part.get_help(click.Context(part, info_name=word, parent=own))
                lines += [f"### skydb {name} DB {word}", "", "```text", help_text, "```", ""]
    return "\n".join(lines)


def python_page() -> str:
    """The verbs, and the classes that they return."""
    verbs = [(verb, skydb.VERBS[verb]) for verb in skydb.VERBS if verb in dir(skydb)]
    lines = ["# Python", "", "Every verb is an attribute of the package: `skydb.create`, and so on.", ""]
    for verb, module in verbs:
        lines += [f"## skydb.{verb}", "", *_directive("autofunction", f"{module}.{verb}")]
    for name, path in _returned_classes(verbs):
        lines += [f"## {name}", "", *_directive("autoclass", path, "   :members:")]
    return "\n".join(lines)


def _returned_classes(verbs: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield each class of skydb that a verb returns once: name and full name."""
    returned = {}
    for verb, module in verbs:
        name = str(getattr(skydb, verb).__annotations__.get("return"))
        answer = getattr(import_module(module), name, None)
        if isinstance(answer, type) and answer.__module__.startswith("skydb."):
            returned[name] = f"{answer.__module__}.{name}"
    yield from returned.items()


def _directive(kind: str, target: str, *options: str) -> list[str]:
    return ["```{eval-rst}", f".. {kind}:: {target}", *options, "```", ""]

"""What the commands that answer questions share: options for format and file, and how an answer is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from .output import cluster_option, emit, json_option

if TYPE_CHECKING:
    from skydb.query.connection import Connection
    from skydb.query.results import Result

FORMATS = ("table", "csv", "json", "parquet", "fits", "votable", "ecsv")

Function = Callable[..., Any]

columns_option = click.option(
    "--columns", metavar="NAME,…",
    help="Columns to list, '*' for all; by default the standard ones. `skydb sql DB \"DESCRIBE objects\"` lists them.",
    callback=lambda _, __, value: None if value is None else [name.strip() for name in value.split(",")],
)  # fmt: skip
"""Gives a command the argument `columns`: a list of names, or None."""


def answer_options(function: Function) -> Function:
    """Give a command the arguments `at`, `cluster`, `form`, `out` and `as_json`."""
    function = click.option("--at", metavar="SNAPSHOT|TAG", help="Ask this snapshot; by default the newest.")(function)
    function = click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True,
                            help="How to write the answer.")(function)  # fmt: skip
    function = click.option("--out", type=click.Path(), metavar="FILE", help="Write to FILE; by default on stdout.")(
        function
    )
    return json_option(cluster_option(function))


def asking(db: str, at: str | None, cluster: str | None = None) -> Connection:
    """Open a snapshot for one command."""
    from skydb.query.connection import connect

    return connect(db, at=at, cluster=cluster)


def show(result: Result, *, form: str, out: str | None, as_json: bool) -> None:
    """Write an answer as asked.

    Raises
    ------
    click.UsageError
        `--json` together with another format or a file.
    """
    from skydb.query.results import write

    if as_json and (out is not None or form not in ("table", "json")):
        raise click.UsageError("--json writes one object on stdout: leave out --format and --out")
    if as_json:
        emit(result.arrow(), as_json=True)
    else:
        write(result, form, out)

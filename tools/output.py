"""What a command prints: one JSON object or plain text on stdout, progress on stderr."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from skydb.parallel.executor import Progress

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
"""Gives a command the argument `as_json`."""

workers_option: Decorator = click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Worker processes; by default one per core."
)
"""Gives a command the argument `workers`: a number, or None."""

cluster_option: Decorator = click.option(
    "--cluster", metavar="ADDRESS",
    help="Run on the workers of the Dask scheduler at this address (docs/how-to/run-on-a-cluster.md).",
)  # fmt: skip
"""Gives a command the argument `cluster`: an address, or None."""


def emit(result: object, *, as_json: bool = False) -> None:
    """Print the result of a command on stdout.

    Parameters
    ----------
    result
        A mapping, a dataclass, an Arrow table, or a list of mappings. As JSON a table or list is `{"rows": […]}`;
        NaN and infinities are null.
    as_json
        Print one JSON object instead of text.
    """
    plain = plain_value(result)
    if as_json:
        click.echo(json.dumps({"rows": plain} if isinstance(plain, list) else plain, allow_nan=False))
    else:
        click.echo(_on_screen(text_of(plain), plain))


def _on_screen(text: str, plain: Any) -> str:
    """Return the text of a plain value, a table folded to the width of the terminal where stdout is one."""
    width = shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or not isinstance(plain, list) or max(map(len, text.splitlines()), default=0) <= width:
        return text
    import pyarrow as pa

    from skydb.query.text_tables import fitted_lines

    columns = {name: [row[name] for row in plain] for name in plain[0]}
    as_read = {name: v if all(map(_is_number, v)) else list(map(_cell, v)) for name, v in columns.items()}
    return "\n".join(fitted_lines(pa.table(as_read), {}, width))


def plain_value(value: Any) -> Any:
    """Return a value as JSON knows it: dict, list, str, int, float, bool, None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain_value(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_value(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    for method in ("to_pylist", "tolist", "isoformat"):  # Arrow, NumPy, dates
        if hasattr(value, method):
            return plain_value(getattr(value, method)())
    return str(value)


def text_of(value: Any) -> str:
    """Write a plain value for people: a mapping as lines, a list of mappings as a table with aligned columns."""
    if isinstance(value, dict):
        width = max(map(len, value), default=0)
        return "\n".join(f"{key:<{width}}  {_cell(item)}".rstrip() for key, item in value.items())
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        return text_table(value)
    return _cell(value)


def text_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys as text with aligned columns, numbers to the right, and a head."""
    if not rows:
        return "(no rows)"
    names = list(rows[0])
    cells = [[_cell(row[name]) for name in names] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(names)]
    right = [all(_is_number(row[name]) for row in rows) for name in names]
    lines = [names, ["-" * width for width in widths], *cells]
    return "\n".join(_line(line, widths, right) for line in lines)


@contextmanager
def progress(label: str) -> Iterator[Progress | None]:
    """Yield a function (done, total) that draws a bar with rate and remaining time, if stderr is a terminal.

    Where it is not, None is yielded: whoever takes a progress function takes None.
    """
    with steps() as show:
        yield (lambda done, total: show(label, done, total)) if show else None


@contextmanager
def steps() -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield a function (step, done, total) that draws a bar for every step, if stderr is a terminal; else None."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    from .bars import drawn

    with drawn(Console(stderr=True)) as bars:
        yield bars.show


def _cell(value: Any) -> str:
    """One value as text; NULL is empty, a float has the digits that a position needs."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_cell(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return str(value)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    aligned = (f"{c:>{w}}" if r else f"{c:<{w}}" for c, w, r in zip(cells, widths, right, strict=True))
    return "  ".join(aligned).rstrip()

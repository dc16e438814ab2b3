"""Answers as text to look at: whole and one row a line for a pipe, fitted to the width of a terminal for people."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain
from typing import Any

import pyarrow as pa

from .astropy_tables import as_text

GAP = "  "
NO_ROWS = "(no rows)"
"""What stands below the head of an answer without rows."""

NARROW = 24
"""Width down to which text is folded before columns are left out."""

FEW_ROWS = 5
"""Rows at most that are turned, one column a line, where they are too wide."""

SHORT_DIGITS = {64: 12, 32: 7, 16: 4}
"""Digits of a float that people are shown, by its bits."""

HTML_TEXT = 80
"""Characters of a cell that a notebook shows at most."""


@dataclass(frozen=True)
class TextColumn:
    """One column of text: `head` are its name and, if any of the table has one, its unit."""

    head: tuple[str, ...]
    cells: tuple[str, ...]
    right: bool

    @property
    def width(self) -> int:
        """Width that shows all of it."""
        return max(map(len, (*self.head, *self.cells)))

    @property
    def least(self) -> int:
        """Width that it can be folded to: numbers not at all."""
        return self.width if self.right else max(min(self.width, NARROW), *map(len, self.head))

    def lines(self, row: int, width: int) -> list[str]:
        """Return one cell, folded to a width."""
        return folded(self.cells[row], width)


def text_columns(rows: pa.Table, units: Mapping[str, str], *, short: bool) -> list[TextColumn]:
    """Return the columns of a table as text: NULL is empty, control characters are escaped.

    `short` gives floats the digits that a position needs (1e-9 degrees) instead of all.
    """
    named = [f"({units[name]})" if name in units else "" for name in rows.column_names]
    heads = zip(rows.column_names, *([named] if any(named) else []), strict=True)
    return [
        TextColumn(tuple(map(_plain, head)), tuple(_cells(c, short=short)), _is_number(c.type))
        for head, c in zip(heads, rows.columns, strict=True)
    ]


def piped_lines(tables: Iterable[pa.Table], units: Mapping[str, str], schema: pa.Schema) -> Iterator[str]:
    """Yield all rows, one a line, none folded, or a line that says that there are none.

    The first of the tables sets the widths of the columns.
    """
    tables = iter(tables)
    first = text_columns(next(tables, pa.Table.from_batches([], schema)), units, short=False)
    widths = [c.width for c in first]
    yield from _head(first, widths)
    empty = True
    for columns in chain([first], (text_columns(rows, units, short=False) for rows in tables)):
        for cells in zip(*(c.cells for c in columns), strict=True):
            empty = False
            yield _line(cells, columns, widths)
    if empty:
        yield NO_ROWS


def fitted_lines(rows: pa.Table, units: Mapping[str, str], width: int) -> Iterator[str]:
    """Yield rows that fit into a width.

    Long texts are folded. Where that does not suffice, few rows are turned, so that every column has a line of its
    own; of many rows columns are left out and named: those without a value, then the last ones.
    """
    columns = text_columns(rows, units, short=True)
    if _fitting(columns, width) is None and rows.num_rows <= FEW_ROWS:
        yield from _turned(columns, rows.num_rows, width)
        return
    shown = columns if _fitting(columns, width) else [c for c in columns if any(c.cells)] or columns
    while len(shown) > 1 and _fitting(shown, width) is None:
        shown = shown[:-1]
    widths = _fitting(shown, width) or [width]
    yield from _head(shown, widths)
    yield from _body(shown, widths)
    if len(shown) < len(columns):
        yield from textwrap.wrap(_left_out(columns, shown), width, break_on_hyphens=False)


def _left_out(columns: Sequence[TextColumn], shown: Sequence[TextColumn]) -> str:
    """Return a note that names the columns that are not shown."""
    rest = [c for c in columns if c not in shown]
    parts = {"not shown": [c.head[0] for c in rest if any(c.cells)],
             "empty": [c.head[0] for c in rest if not any(c.cells)]}  # fmt: skip
    said = "; ".join(f"{why}: {', '.join(names)}" for why, names in parts.items() if names)
    return f"… columns {said}. Ask for fewer columns, or for {FEW_ROWS} rows or less, to see them all."


def html_table(rows: pa.Table, units: Mapping[str, str]) -> str:
    """Return rows as a table of a notebook; long texts are cut."""
    names = "".join(
        f"<th>{escape(name)}{f'<br><small>{escape(units[name])}</small>' if name in units else ''}</th>"
        for name in rows.column_names
    )
    columns = text_columns(rows, {}, short=True)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align: {"right" if c.right else "left"}">{escape(_cut(c.cells[i]))}</td>'
                         for c in columns) + "</tr>"
        for i in range(rows.num_rows)
    )  # fmt: skip
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def folded(text: str, width: int) -> list[str]:
    """Break a text into lines of a width at most, between words where it has some."""
    if len(text) <= width:
        return [text]
    return textwrap.wrap(text, max(width, 1), break_on_hyphens=False) or [""]


def row_dicts(rows: pa.Table | pa.RecordBatch) -> Iterator[dict[str, object]]:
    """Yield the rows as dicts."""
    for values in zip(*(c.to_pylist() for c in rows.columns), strict=True):
        yield dict(zip(rows.schema.names, values, strict=True))


def _fitting(columns: Sequence[TextColumn], width: int) -> list[int] | None:
    """Return widths that fit, the widest texts folded first; None if there are none."""
    room = width - len(GAP) * (len(columns) - 1)
    if sum(c.least for c in columns) > room:
        return None
    widths = [c.width for c in columns]
    while sum(widths) > room:
        widest = max((i for i, c in enumerate(columns) if widths[i] > c.least), key=widths.__getitem__)
        widths[widest] -= 1
    return widths


def _head(columns: Sequence[TextColumn], widths: Sequence[int]) -> Iterator[str]:
    for level in range(len(columns[0].head) if columns else 0):
        yield _line([c.head[level] for c in columns], columns, widths)
    yield GAP.join("─" * w for w in widths)


def _body(columns: Sequence[TextColumn], widths: Sequence[int]) -> Iterator[str]:
    wide = any(c.width > w for c, w in zip(columns, widths, strict=True) if not c.right)
    for cells in zip(*(c.cells for c in columns), strict=True):
        if not wide:
            yield _line(cells, columns, widths)
            continue
        parts = [folded(cell, w) for cell, w in zip(cells, widths, strict=True)]
        for level in range(max(map(len, parts))):
            yield _line([p[level] if level < len(p) else "" for p in parts], columns, widths)


def _turned(columns: Sequence[TextColumn], rows: int, width: int) -> Iterator[str]:
    """Yield one line per column: name, unit, its values; as many rows side by side as fit, then the next ones below."""
    heads = [max(len(c.head[i]) for c in columns) for i in range(len(columns[0].head))]
    room = width - sum(heads) - len(GAP) * len(heads)
    widths = [max(len(c.cells[row]) for c in columns) for row in range(rows)]
    start = 0
    while start < rows:
        stop = start + 1
        while stop < rows and sum(widths[start : stop + 1]) + len(GAP) * (stop - start) <= room:
            stop += 1
        yield from _turned_rows(columns, heads, range(start, stop), [min(w, max(room, 1)) for w in widths[start:stop]])
        start = stop


def _turned_rows(
    columns: Sequence[TextColumn], heads: Sequence[int], rows: range, widths: Sequence[int]
) -> Iterator[str]:
    yield GAP.join(["─" * w for w in (*heads, *widths)])
    for column in columns:
        parts = [folded(column.cells[row], w) for row, w in zip(rows, widths, strict=True)]
        for level in range(max(map(len, parts))):
            names = [f"{h if level == 0 else '':<{w}}" for h, w in zip(column.head, heads, strict=True)]
            values = [f"{p[level] if level < len(p) else '':<{w}}" for p, w in zip(parts, widths, strict=True)]
            yield GAP.join([*names, *values]).rstrip()


def _line(cells: Iterable[str], columns: Sequence[TextColumn], widths: Sequence[int]) -> str:
    aligned = (f"{x:>{w}}" if c.right else f"{x:<{w}}" for x, c, w in zip(cells, columns, widths, strict=True))
    return GAP.join(aligned).rstrip()


def _cells(values: pa.ChunkedArray[Any], *, short: bool) -> Iterator[str]:
    if short and pa.types.is_floating(values.type):
        digits = SHORT_DIGITS[values.type.bit_width]
        return ("" if v is None else f"{v:.{digits}g}" for v in values.to_pylist())
    return ("" if v is None else _plain(v) for v in as_text(values).to_pylist())


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _plain(text: str) -> str:
    """Escape what would break a line or command a terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda match: repr(match[0])[1:-1], text)


def _cut(text: str) -> str:
    return text if len(text) <= HTML_TEXT else f"{text[: HTML_TEXT - 1]}…"

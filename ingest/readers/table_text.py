"""Delimited text, read line by line and parsed by Arrow in blocks; every field stays text until its column is known."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv

from skydb.errors import DataError

from .mapping_rules import FileRule
from .table_blocks import Block, TableFile, found_columns
from .whole_compression import expanded

_FIELD = "\x1f"
"""Stands between the fields of whitespace-separated rows; no catalog has it in a field."""
_LONGEST_ROW = 1000
"""Lines that one quoted field may span: beyond that the quote was never closed."""
BLOCK_BYTES = 32 << 20
"""Text of a block: rows of surveys are up to 3 kB wide, and each byte is held three times while it is parsed."""


@dataclass(frozen=True)
class Line:
    """One row of the file as text, and the number of its first line, from 1."""

    number: int
    content: bytes


def open_text(path: Path, rule: FileRule, columns: tuple[str, ...], rows: int) -> TableFile:
    """Open a delimited text file."""
    lines = _rows_of(path, rule)
    if rule.names:
        names = list(rule.names)
        if rule.header == "first":
            next(lines, None)
    else:
        names = _header(path, rule, lines)
    found = found_columns(path, columns, names, optional=rule.optional)
    wanted = {name: names.index(actual) for name, actual in found.items()}
    return TableFile({}, _blocks(path, rule, lines, n_fields=len(names), wanted=wanted, rows=rows))


def lines_of(path: Path, rule: FileRule) -> Iterator[Line]:
    """Yield the lines of a text file, compressed or not, without their ends; `skip_lines` of them are passed over."""
    with expanded(path) as stream:
        for number, content in enumerate(islice(stream, rule.skip_lines, None), rule.skip_lines + 1):
            yield Line(number, content.strip(b"\r\n"))


def _rows_of(path: Path, rule: FileRule) -> Iterator[Line]:
    """Yield the rows: lines that are neither blank nor comments, joined where a quoted field spans several."""
    mark, quote = rule.comment.encode(), rule.quote.encode()
    lines = lines_of(path, rule)
    spans = bool(quote) and rule.delimiter != "whitespace"
    for line in lines:
        start = line.content.lstrip()
        if not start or (mark and start.startswith(mark)):
            continue
        yield _joined(path, line, lines, quote) if spans and line.content.count(quote) % 2 else line


def _joined(path: Path, first: Line, lines: Iterator[Line], quote: bytes) -> Line:
    parts = [first.content]
    for line in islice(lines, _LONGEST_ROW):
        parts.append(line.content)
        if line.content.count(quote) % 2:
            return Line(first.number, b"\n".join(parts))
    todo = 'close it, or set quote = "" in [file] where the character is part of the data'
    raise DataError(f"a quote opened on line {first.number} is not closed", str(path), todo)


def _header(path: Path, rule: FileRule, rows: Iterator[Line]) -> list[str]:
    if rule.header == "commented":
        mark = rule.comment.encode()
        comments = (c.content.strip() for c in lines_of(path, rule) if mark and c.content.lstrip().startswith(mark))
        first = next((c.removeprefix(mark) for c in comments if c.removeprefix(mark).strip()), None)
        line = Line(1, first) if first is not None else None
    else:
        line = next(rows, None)
    if line is None:
        raise DataError("no line names the columns", str(path), "leave the file out, or list file.names in the mapping")
    return [name.strip() for name in _fields(line.content, rule)]


def _fields(content: bytes, rule: FileRule) -> list[str]:
    table, bad = _parse([Line(1, content)], rule, None)
    return [] if bad else [str(table.column(i)[0].as_py()) for i in range(table.num_columns)]


def _blocks(
    path: Path, rule: FileRule, lines: Iterator[Line], *, n_fields: int, wanted: dict[str, int], rows: int
) -> Iterator[Block]:
    first = 0
    while chunk := _next_rows(lines, rows):
        table, bad = _parse(chunk, rule, n_fields, set(wanted.values()))
        if bad and (rule.bad_rows == "error" or len(bad) == len(chunk)):
            row, n_found = next(iter(bad.items()))
            todo = 'mend the line, correct [file] of the mapping, or set bad_rows = "reject"'
            raise DataError(f"line {chunk[row].number} has {n_found} fields, not {n_fields}", str(path), todo)
        kept = np.setdiff1d(np.arange(len(chunk)), list(bad))
        number = np.array([line.number for line in chunk])
        refused = {"wrong_field_count": len(bad)} if bad else {}
        found = pa.table({name: table.column(f"f{place}") for name, place in wanted.items()})
        yield Block(found, first + kept, len(chunk), number[kept], refused)
        first += len(chunk)


def _next_rows(lines: Iterator[Line], most: int) -> list[Line]:
    """Return the next rows, at most so many, and no more once they hold `BLOCK_BYTES` of text."""
    taken: list[Line] = []
    room = BLOCK_BYTES
    for line in islice(lines, most):
        taken.append(line)
        room -= len(line.content)
        if room < 0:
            break
    return taken


def _parse(
    lines: list[Line], rule: FileRule, n_fields: int | None, wanted: set[int] | None = None
) -> tuple[pa.Table, dict[int, int]]:
    """Return the rows as text columns f0, f1 …, and the number of fields of each row that has too many or too few.

    `wanted` are the places of the columns to return; None: all.
    """
    bad: dict[int, int] = {}

    def refuse(row: pv.InvalidRow) -> str:
        bad[row.number - 1] = row.actual_columns
        return "skip"

    spaced = rule.delimiter == "whitespace"
    content = [_split(line.content, rule.quote.encode()) if spaced else line.content for line in lines]
    content = content if _is_utf8(b"\n".join(content)) else [_as_utf8(row) for row in content]
    delimiter = _FIELD if spaced else "\t" if rule.delimiter == "tab" else rule.delimiter
    if n_fields is None:
        n_fields = _count(content[0], delimiter, rule)
    names = [f"f{i}" for i in range(n_fields)]
    longest = max(map(len, content))
    table = pv.read_csv(
        io.BytesIO(b"\n".join(content) + b"\n"),
        read_options=pv.ReadOptions(column_names=names, use_threads=False, block_size=max(1 << 20, 2 * longest)),
        parse_options=pv.ParseOptions(
            delimiter=delimiter, quote_char=False if spaced else rule.quote or False, invalid_row_handler=refuse,
            newlines_in_values=any(b"\n" in c for c in content), ignore_empty_lines=False,
        ),
        convert_options=pv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False,
            include_columns=names if wanted is None else [f"f{i}" for i in sorted(wanted)],
        ),
    )  # fmt: skip
    return table, bad


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _as_utf8(content: bytes) -> bytes:
    """Return a row as UTF-8; old catalogs are written in Latin-1."""
    return content if _is_utf8(content) else content.decode("latin-1").encode()


def _split(content: bytes, quote: bytes) -> bytes:
    """Join the fields of a whitespace-separated row by `_FIELD`; quoted fields keep their blanks."""
    if not quote or quote not in content:
        return _FIELD.encode().join(content.split())
    parts = content.split(quote)
    fields: list[bytes] = []
    for i, part in enumerate(parts):
        fields.extend([part] if i % 2 else part.split())
    return _FIELD.encode().join(fields)


def _count(content: bytes, delimiter: str, rule: FileRule) -> int:
    """Return how many fields a row has: delimiters outside quotes, plus one."""
    outside = b"".join(content.split(rule.quote.encode())[::2]) if rule.quote else content
    return outside.count(delimiter.encode()) + 1

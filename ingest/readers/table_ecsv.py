"""ECSV: streamed as delimited text where its columns are plain numbers and text, else read whole by astropy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from .mapping_rules import FileRule
from .table_arrays import open_ascii
from .table_blocks import TableFile, found_columns, units_of
from .table_text import lines_of, open_text

_NUMBERS = ("int", "uint", "float")


@dataclass(frozen=True)
class _Header:
    """What the comment lines say: the delimiter, and of every column type, whether it holds arrays, and unit."""

    delimiter: str
    types: dict[str, str]
    units: dict[str, str]


def open_ecsv(path: Path, rule: FileRule, columns: tuple[str, ...], rows: int) -> TableFile:
    """Open an ECSV file. Its own nulls are empty fields; `nulls` of the mapping adds others, as text."""
    header = _header(path)
    found = found_columns(path, columns, header.types, optional=rule.optional)
    if not _is_plain(header, list(found.values())):
        return open_ascii(path, replace(rule, format="ascii.ecsv"), columns, rows)
    delimiter = "," if header.delimiter == "," else "whitespace"
    plain = FileRule("text", delimiter=delimiter, nulls=rule.nulls, bad_rows=rule.bad_rows)
    return TableFile(units_of(header.units, found), open_text(path, plain, tuple(found), rows).blocks)


def _is_plain(header: _Header, wanted: list[str]) -> bool:
    """Say whether delimited text is all there is to the file, as far as the wanted columns go.

    Text in a file with blanks between the fields may hold quotes, which only astropy undoes.
    """
    kinds = header.types if header.delimiter == " " else {name: header.types[name] for name in wanted}
    words = ("string",) if header.delimiter == "," else ()
    return all(kind.startswith(_NUMBERS) or kind in words for kind in kinds.values())


def _header(path: Path) -> _Header:
    from astropy.table.meta import get_header_from_yaml

    given: dict[str, Any] = get_header_from_yaml(list(_comments(path)))
    columns = given["datatype"]
    types = {c["name"]: f"array {c['subtype']}" if "subtype" in c else str(c["datatype"]) for c in columns}
    units = {c["name"]: str(c["unit"]) for c in columns if c.get("unit") is not None}
    return _Header(str(given.get("delimiter", " ")), types, units)


def _comments(path: Path) -> Iterator[str]:
    """Yield the YAML lines of the header."""
    lines = takewhile(lambda line: line.content.startswith(b"#"), lines_of(path, FileRule("text")))
    for line in lines:
        text = line.content.decode()
        if not text.startswith("# %ECSV"):
            yield text.removeprefix("#").removeprefix(" ")

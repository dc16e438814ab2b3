"""Write answers as a table, CSV, JSON, Parquet, FITS, VOTable or ECSV, with units and UCDs where the format has them.

CSV, JSON, Parquet and the table stream; FITS, VOTable and ECSV hold all rows in memory.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from skydb.errors import UsageError, did_you_mean

from .astropy_tables import as_text
from .text_tables import NO_ROWS, fitted_lines, piped_lines

if TYPE_CHECKING:
    from .results import Result

SHOWN_ROWS = 1000
"""Rows that the format `table` shows on a terminal at most."""


def write(result: Result, format: str, path: str | os.PathLike[str] | None = None, *, overwrite: bool = True) -> None:
    """Write an answer to a file or to stdout.

    A file appears whole or not at all: it is written under another name beside it, then renamed.

    Parameters
    ----------
    result : answer
    format : name
        table, csv, json, parquet, fits, votable or ecsv.
    path : file
        None or "-": stdout.
    overwrite : flag
        Whether a file of that name is replaced, as the shell's > does.

    Raises
    ------
    UsageError
        An unknown format; a file that cannot be written, or exists and must not be replaced; a binary format and a
        terminal; rows that the format cannot hold.
    """
    if format not in FORMATS:
        raise UsageError(f"no format named {format!r}", "output", did_you_mean(format, FORMATS))
    if path is None or os.fspath(path) == "-":
        if format in _BINARY and sys.stdout.isatty():
            raise UsageError(f"{format} is no text for a terminal", "output", "name a file, or send stdout into one")
        sys.stdout.flush()
        FORMATS[format](result, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    with _replacing(Path(path), overwrite) as sink:
        FORMATS[format](result, sink)


@contextmanager
def _replacing(path: Path, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a file beside `path` that takes its place when all went well; of a device or a pipe, itself."""
    if path.exists() and (path.is_dir() or not overwrite):
        raise UsageError(f"{path} exists", "output", "name another file")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and not path.is_file():  # a device, a pipe
            with path.open("wb") as sink:
                yield sink
            return
        with part.open("wb") as sink:
            yield sink
        part.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}", "output", "name another file") from error
    finally:
        part.unlink(missing_ok=True)


def _write_csv(result: Result, sink: BinaryIO) -> None:
    """Write comma-separated values: a line of names, nothing for NULL, quotes where needed."""
    reader = result.reader()
    sink.write(_csv_lines([reader.schema.names]))
    if len(reader.schema) == 1:
        # A lone NULL has to be quoted: an empty line would be no row.
        for batch in reader:
            sink.write(_csv_lines([[v] for v in as_text(pa.chunked_array([batch.column(0)])).to_pylist()]))
        return
    schema = pa.schema([(f.name, f.type if _is_plain(f.type) else pa.string()) for f in reader.schema])
    options = pa.csv.WriteOptions(include_header=False, quoting_style="needed")
    with pa.csv.CSVWriter(sink, schema, write_options=options) as writer:
        for batch in reader:
            rows = pa.Table.from_batches([batch])
            columns = [c if _is_plain(c.type) else as_text(c) for c in rows.columns]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _csv_lines(rows: Sequence[Sequence[str | None]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _is_plain(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (
            pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_string,
            pa.types.is_null,
        )
    )  # fmt: skip


def _write_json(result: Result, sink: BinaryIO) -> None:
    """Write an array of one object per row; NULL, NaN and infinities are null."""
    sink.write(b"[")
    separator = "\n"
    for batch in result.batches():
        columns = [_json_values(column) for column in batch.columns]
        for row in zip(*columns, strict=True):
            line = json.dumps(dict(zip(batch.schema.names, row, strict=True)), default=str, ensure_ascii=False)
            sink.write(f"{separator}{line}".encode())
            separator = ",\n"
    sink.write(b"\n]\n")


def _json_values(values: pa.Array[Any]) -> list[Any]:
    """Return values as JSON has them; float32 with as few digits as tell it apart."""
    kind = values.type
    if pa.types.is_float32(kind):
        return [None if v is None or not math.isfinite(v) else float(str(np.float32(v))) for v in values.to_pylist()]
    if pa.types.is_decimal(kind):
        return [None if v is None else int(v) if kind.scale == 0 else float(v) for v in values.to_pylist()]
    return [_finite(v) for v in values.to_pylist()]


def _finite(value: Any) -> Any:
    """Return a value without NaN and infinities, inside lists and structs too."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return value.hex() if isinstance(value, bytes) else value


def _write_parquet(result: Result, sink: BinaryIO) -> None:
    """Write Parquet; unit, UCD and description are metadata of the fields."""
    reader = result.reader()
    with pa.parquet.ParquetWriter(sink, reader.schema, compression="zstd", write_page_checksum=True) as writer:
        for batch in reader:
            writer.write_batch(batch)


def _write_table(result: Result, sink: BinaryIO) -> None:
    """Write a table to look at: on a terminal what fits its width, at most `SHOWN_ROWS` rows; all of it elsewhere."""
    if sink is not getattr(sys.stdout, "buffer", None) or not sys.stdout.isatty():
        reader = result.reader()
        tables = (pa.Table.from_batches([batch], reader.schema) for batch in reader)
        for line in piped_lines(tables, result.units, reader.schema):
            sink.write(f"{line}\n".encode())
        return
    rows, whole = result.first(SHOWN_ROWS)
    for line in fitted_lines(rows, result.units, shutil.get_terminal_size().columns):
        sink.write(f"{line}\n".encode())
    if not rows.num_rows:
        sink.write(f"{NO_ROWS}\n".encode())
    if not whole:
        sink.write(f"… more than {SHOWN_ROWS} rows: a pipe, --out or another --format has them all\n".encode())


def _write_fits(result: Result, sink: BinaryIO) -> None:
    from .vo_files import write_fits

    write_fits(result.table(), sink)


def _write_votable(result: Result, sink: BinaryIO) -> None:
    from .vo_files import write_votable

    write_votable(result.table(), sink)


def _write_ecsv(result: Result, sink: BinaryIO) -> None:
    text = io.StringIO()
    result.table().write(text, format="ascii.ecsv")
    sink.write(text.getvalue().encode())


FORMATS: dict[str, Callable[[Result, BinaryIO], None]] = {
    "table": _write_table,
    "csv": _write_csv,
    "json": _write_json,
    "parquet": _write_parquet,
    "fits": _write_fits,
    "votable": _write_votable,
    "ecsv": _write_ecsv,
}
"""How each format is written."""

_BINARY = {"parquet", "fits"}

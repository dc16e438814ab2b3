"""Tables in files, opened by format and read in blocks of Arrow rows: Parquet, FITS, text, Avro, and astropy's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from skydb.errors import DataError, SkydbError

from .mapping_rules import FileRule
from .table_arrays import open_ascii, open_ecsv, open_fits, open_votable
from .table_avro import open_avro
from .table_blocks import Block, TableFile, bare, check_columns
from .table_text import open_text

Open = Callable[[Path, FileRule, tuple[str, ...], int], TableFile]


def open_table(path: Path, rule: FileRule, columns: Iterable[str], *, rows: int) -> TableFile:
    """Open a table and check that it has the columns; its blocks hold `rows` rows at most.

    Raises
    ------
    DataError
        The file is absent, empty, damaged or of another format, or lacks a column.
    """
    openers: dict[str, Open] = {
        "parquet": _open_parquet, "fits": open_fits, "text": open_text, "ecsv": open_ecsv, "votable": open_votable,
        "avro": open_avro,
    }  # fmt: skip
    wanted = tuple(dict.fromkeys(bare(name) for name in columns))
    if path.is_file() and path.stat().st_size == 0:
        raise DataError("the file is empty", str(path), "leave it out, or fetch it again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy warns of every oddity of a foreign file; what matters is checked
        table = _guarded(path, rule, lambda: openers.get(rule.format, open_ascii)(path, rule, wanted, rows))
    return TableFile(table.units, _guarded_blocks(path, rule, table.blocks))


def _guarded(path: Path, rule: FileRule, action: Callable[[], Any]) -> Any:
    """Turn whatever a damaged file raises into a DataError: astropy alone raises five kinds of exceptions."""
    try:
        return action()
    except SkydbError:
        raise
    except FileNotFoundError:
        raise DataError("no such file", str(path), "check the name") from None
    except Exception as error:
        what = f"cannot be read as {rule.format}: {type(error).__name__}: {error}"
        raise DataError(what, str(path), "check the file, and [file] of the mapping") from error


def _guarded_blocks(path: Path, rule: FileRule, blocks: Iterator[Block]) -> Iterator[Block]:
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as above: columns are converted only now
            block = _guarded(path, rule, lambda: next(blocks, None))
        if block is None:
            return
        yield block


def _open_parquet(path: Path, rule: FileRule, columns: tuple[str, ...], rows: int) -> TableFile:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, buffer_size=1 << 20)  # a buffer, or all of a row group's column chunks come at once
    schema = file.schema_arrow
    check_columns(path, columns, schema.names)
    units = {f.name: (f.metadata or {}).get(b"unit", b"").decode() for f in schema}
    return TableFile({n: unit for n, unit in units.items() if unit}, _parquet_blocks(file, columns, rows))


def _parquet_blocks(file: Any, columns: tuple[str, ...], rows: int) -> Iterator[Block]:
    first = 0
    with closing(file):
        for batch in file.iter_batches(batch_size=rows, columns=list(columns)):
            n = batch.num_rows
            yield Block(pa.Table.from_batches([batch]), np.arange(first, first + n), n)
            first += n

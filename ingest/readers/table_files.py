"""Tables in files, opened by format and read in blocks of Arrow rows: Parquet, FITS, text, Avro, and astropy's.

A folder that is a HATS catalog is one table: its leaf files, one after another.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from skydb.errors import DataError, SkydbError, disk_error

from .hats_folder import leaf_files
from .mapping_rules import FileRule
from .table_arrays import open_ascii, open_fits, open_votable
from .table_avro import open_avro
from .table_blocks import Block, TableFile, bare, found_columns, units_of
from .table_ecsv import open_ecsv
from .table_formats import format_of
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
    if path.is_dir():
        return _open_leaves(leaf_files(path), rule, wanted, rows=rows)
    if path.is_file() and path.stat().st_size == 0:
        raise DataError("the file is empty", str(path), "leave it out, or fetch it again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy warns of every oddity of a foreign file; what matters is checked
        if rule.format == "any":
            rule = replace(rule, format=_guarded(path, rule, lambda: format_of(path)))
        table = _guarded(path, rule, lambda: openers.get(rule.format, open_ascii)(path, rule, wanted, rows))
    return TableFile(table.units, _guarded_blocks(path, rule, table.blocks))


def _open_leaves(leaves: Sequence[Path], rule: FileRule, columns: tuple[str, ...], *, rows: int) -> TableFile:
    """Open the leaf files of a catalog as one table; they are written together, so that the units are those of all."""
    first = open_table(leaves[0], rule, columns, rows=rows)
    return TableFile(first.units, _blocks_of_leaves(first, leaves[1:], rule, columns, rows=rows))


def _blocks_of_leaves(
    first: TableFile, leaves: Sequence[Path], rule: FileRule, columns: tuple[str, ...], *, rows: int
) -> Iterator[Block]:
    n_before = 0
    for table in chain([first], (open_table(leaf, rule, columns, rows=rows) for leaf in leaves)):
        n_here = 0
        for block in table.blocks:
            yield replace(block, number=block.number + n_before)
            n_here += block.n_in
        n_before += n_here


def _guarded(path: Path, rule: FileRule, action: Callable[[], Any]) -> Any:
    """Turn whatever a damaged file raises into a DataError: astropy alone raises five kinds of exceptions.

    What a disk refuses is raised as the error of skydb that it is.
    """
    try:
        return action()
    except SkydbError:
        raise
    except FileNotFoundError as error:
        raise DataError("no such file", str(path), "check the name") from error
    except Exception as error:
        refused = disk_error(error, path) if isinstance(error, OSError) else None
        what = f"cannot be read as {rule.format}: {type(error).__name__}: {error}"
        raise refused or DataError(what, str(path), "check the file, and [file] of the mapping") from error


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
    found = found_columns(path, columns, schema.names, optional=rule.optional)
    units = {f.name: (f.metadata or {}).get(b"unit", b"").decode() for f in schema}
    given = {name: unit for name, unit in units.items() if unit}
    return TableFile(units_of(given, found), _parquet_blocks(file, found, rows))


def _parquet_blocks(file: Any, found: Mapping[str, str], rows: int) -> Iterator[Block]:
    first = 0
    with closing(file):
        for batch in file.iter_batches(batch_size=rows, columns=list(dict.fromkeys(found.values()))):
            n = batch.num_rows
            table = pa.table({name: batch.column(actual) for name, actual in found.items()})
            yield Block(table, np.arange(first, first + n), n)
            first += n

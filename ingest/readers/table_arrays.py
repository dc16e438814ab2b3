"""Tables that astropy reads: FITS in slices of a memory map, VOTable and ASCII formats whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile, gettempdir
from typing import Any

import numpy as np
import pyarrow as pa

from skydb.errors import DataError, clear_disk_errors, did_you_mean

from .fits_tables import write_expanded
from .mapping_rules import BesideRule, FileRule
from .table_blocks import Block, TableFile, found_columns, units_of
from .whole_compression import plain_copy


@dataclass(frozen=True)
class _FitsColumn:
    """One column of one HDU: where its values are, and the integer that means NULL."""

    data: Any
    name: str
    null: int | None

    def slice(self, first: int, last: int) -> pa.Array:
        values = np.asarray(self.data[first:last].field(self.name))
        return arrow_of(values, None if self.null is None else values == self.null)


def open_fits(path: Path, rule: FileRule, columns: tuple[str, ...], rows: int) -> TableFile:
    """Open a FITS table, with the tables beside it."""
    hdus = open_hdus(path)
    try:
        units, readers, n_rows = _fits_columns(path, hdus, rule, columns)
    except BaseException:
        hdus.close()
        raise
    return TableFile(units, _fits_blocks(hdus, readers, n_rows, rows))


def open_hdus(path: Path) -> Any:
    """Return the HDUs of a FITS file as astropy has them; what is compressed is expanded into a temporary file.

    That is tables, and whole files: astropy expands these in memory, and says nothing where one is damaged.
    """
    from astropy.io import fits

    with plain_copy(path) as whole, ExitStack() as held:
        hdus = held.enter_context(closing(fits.open(whole, memmap=True, mode="readonly")))
        if not any(hdu.header.get("ZTABLE") for hdu in hdus):
            held.pop_all()
            return hdus
        with NamedTemporaryFile(suffix=".fits") as plain:
            with clear_disk_errors(gettempdir()):
                write_expanded(whole, plain.file)
                plain.flush()
            return fits.open(plain.name, memmap=True, mode="readonly", lazy_load_hdus=False)


def _fits_columns(
    path: Path, hdus: Any, rule: FileRule, columns: tuple[str, ...]
) -> tuple[dict[str, str], dict[str, _FitsColumn], int]:
    """Return units of the columns asked for, those columns, and the number of rows."""
    main = _table_hdu(path, hdus, rule.table)
    tables = {"": main, **{f"{b.table}.": _table_hdu(path, hdus, b.table) for b in rule.beside}}
    found = {prefix + c.name: (hdu, c) for prefix, hdu in tables.items() for c in hdu.columns}
    names = [prefix + c.name for prefix, hdu in tables.items() for c in hdu.columns]
    for rule_beside in rule.beside:
        _check_beside(path, main, tables[f"{rule_beside.table}."], rule_beside)
    called = found_columns(path, columns, names, optional=rule.optional)
    units = {name: c.unit for name, (_, c) in found.items() if c.unit}
    wanted = {name: found[actual] for name, actual in called.items()}
    readers = {name: _FitsColumn(hdu.data, c.name, _null_of(c)) for name, (hdu, c) in wanted.items()}
    return units_of(units, called), readers, int(main.header["NAXIS2"])


def _fits_blocks(hdus: Any, columns: dict[str, _FitsColumn], n_rows: int, rows: int) -> Iterator[Block]:
    with closing(hdus):
        for first in range(0, n_rows, rows):
            last = min(first + rows, n_rows)
            table = pa.table({name: column.slice(first, last) for name, column in columns.items()})
            yield Block(table, np.arange(first, last), last - first)


def _table_hdu(path: Path, hdus: Any, wanted: str | int | None) -> Any:
    from astropy.io import fits

    tables = {i: hdu for i, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)}
    names = [hdus[i].name or str(i) for i in tables]
    for i, hdu in tables.items():
        if wanted is None or wanted == i or (isinstance(wanted, str) and hdu.name.upper() == wanted.upper()):
            _check_hdu(path, hdu)
            return hdu
    if not tables:
        raise DataError("the file holds no table", str(path), "give a FITS file with a table extension")
    raise DataError(f"no table in HDU {wanted!r}", str(path), f"{did_you_mean(str(wanted), names)} (in file.table)")


def _check_hdu(path: Path, hdu: Any) -> None:
    where = f"{path}[{hdu.name or 'table'}]"
    information = hdu.fileinfo()
    needed = information["datLoc"] + int(hdu.header["NAXIS1"]) * int(hdu.header["NAXIS2"])
    size = information["file"].size
    if size < needed:
        raise DataError(f"the file ends after {size} of {needed} bytes", where, "fetch it again")


def _check_beside(path: Path, main: Any, beside: Any, rule: BesideRule) -> None:
    where = f"{path}[{rule.table}]"
    if main.header["NAXIS2"] != beside.header["NAXIS2"]:
        what = f"{beside.header['NAXIS2']} rows, not {main.header['NAXIS2']}"
        raise DataError(what, where, "the rows do not go together: correct file.beside of the mapping")
    for mine, theirs in rule.match.items():
        found_columns(path, [mine], main.columns.names)
        found_columns(path, [theirs], beside.columns.names)
        if not np.array_equal(main.data.field(mine), beside.data.field(theirs)):
            raise DataError(f"{theirs} differs from {mine}", where, "the rows do not go together: correct file.beside")


def _null_of(column: Any) -> int | None:
    """Return TNULL, where the integers are stored as they are: of scaled ones astropy shows other values."""
    plain = column.bzero in (None, "", 0) and column.bscale in (None, "", 1)
    return int(column.null) if plain and column.null not in (None, "") else None


def open_votable(path: Path, rule: FileRule, columns: tuple[str, ...], rows: int) -> TableFile:
    """Open a VOTable: the table of an ID, a name or a number, or the first."""
    from astropy.io import votable

    with plain_copy(path) as plain:
        document = votable.parse(str(plain), verify="ignore")
    for resource in document.resources:
        for info in resource.infos:
            if info.name == "QUERY_STATUS" and info.value == "ERROR":
                raise DataError(f"the service answered with an error: {info.content}", str(path), "ask again")
    tables = list(document.iter_tables())
    if not tables:
        raise DataError("the document holds no table", str(path), "fetch it again; it may hold an error message")
    chosen = [t for i, t in enumerate(tables) if rule.table in (None, i, t.ID, t.name)]
    if not chosen:
        names = [str(t.ID or t.name or i) for i, t in enumerate(tables)]
        advice = did_you_mean(str(rule.table), names)
        raise DataError(f"no table {rule.table!r}", str(path), f"{advice} (in file.table)")
    found = found_columns(path, columns, [f.name or f.ID for f in chosen[0].fields], optional=rule.optional)
    return _whole(path, chosen[0].to_table(use_names_over_ids=True), tuple(found), rows)


def open_ascii(path: Path, rule: FileRule, columns: tuple[str, ...], rows: int) -> TableFile:
    """Open a file of one of astropy's ASCII formats (`ascii.cds`, `ascii.ipac`, `ascii.ecsv` …)."""
    from astropy.table import Table

    with plain_copy(path) as plain:
        table = Table.read(plain, format=rule.format)
    return _whole(path, table, tuple(found_columns(path, columns, table.colnames, optional=rule.optional)), rows)


def _whole(path: Path, table: Any, columns: tuple[str, ...], rows: int) -> TableFile:
    found = found_columns(path, columns, table.colnames)
    units = {name: str(table[name].unit) for name in table.colnames if getattr(table[name], "unit", None)}
    arrays = {name: _array_of(path, table, actual) for name, actual in found.items()}
    return TableFile(units_of(units, found), _array_blocks(arrays, len(table), rows))


def _array_of(path: Path, table: Any, name: str) -> pa.Array:
    column = table[name]
    if not hasattr(column, "dtype"):
        raise DataError(f"column {name!r} holds {type(column).__name__} objects", str(path), "store plain columns")
    mask = np.ma.getmaskarray(column) if np.ma.isMaskedArray(column) else None
    values = getattr(column, "value", column)
    return arrow_of(np.asarray(getattr(values, "unmasked", values)), mask)


def _array_blocks(arrays: dict[str, pa.Array], n_rows: int, rows: int) -> Iterator[Block]:
    for first in range(0, n_rows, rows):
        last = min(first + rows, n_rows)
        table = pa.table({name: array.slice(first, last - first) for name, array in arrays.items()})
        yield Block(table, np.arange(first, last), last - first)


def arrow_of(values: np.ndarray, mask: np.ndarray | None) -> pa.Array:
    """Return an array of any dtype that a table column may have as Arrow; arrays of arrays become lists.

    Parameters
    ----------
    values : (N,) or (N, k)
    mask : (N,) or (N, k)
        True where a value is missing; None: nowhere.
    """
    if values.ndim > 1:
        flat = values.reshape(len(values), -1)
        parts = arrow_of(flat.ravel(), None if mask is None else mask.reshape(flat.shape).ravel())
        return pa.ListArray.from_arrays(pa.array(np.arange(len(values) + 1) * flat.shape[1], pa.int32()), parts)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind == "U":
        return pa.array(np.char.rstrip(values, "\0 ").tolist(), pa.string(), mask=mask)
    if values.dtype.kind == "O":
        return pa.array([None if m else _plain(v) for v, m in zip(values, _no(mask, len(values)), strict=True)])
    return pa.array(values.astype(values.dtype.newbyteorder("=")), mask=mask)


def _no(mask: np.ndarray | None, count: int) -> np.ndarray:
    return np.zeros(count, dtype=bool) if mask is None else mask


def _plain(value: Any) -> Any:
    """Return an element of an object column as Arrow takes it: text, a list, or None."""
    if isinstance(value, np.ma.MaskedArray):
        return [None if m else v for v, m in zip(value.tolist(None), np.ma.getmaskarray(value), strict=True)]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

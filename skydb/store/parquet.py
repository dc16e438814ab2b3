"""Parquet files of the store: encodings, checksums, identifying metadata, row-aligned pairs.

Encodings, measured on simulated PS1_V4 rows: byte-stream-split with zstd for noisy floats, dictionaries where
values repeat from row to row of an image, delta for sorted keys (docs/decisions/parquet-layout.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skydb.errors import DataError
from skydb.schema.evolve import stored_names, version_of
from skydb.schema.model import Table
from skydb.schema.tables import TABLES
from skydb.sky.partition import in_ranges

from .arrays import numbers_of, row_numbers
from .cells import LOCAL
from .checksums import footer_of, footers_of, seal
from .files import DataFile, StoredFile, Tail, digest_of, write_durably
from .layout import data_path, new_name
from .mending import how_to_mend
from .row_groups import RowGroups, fetch_ahead

ROW_GROUP_ROWS = {"measurements": 16_384, "measurements_cal": 32_768}
DEFAULT_ROW_GROUP_ROWS = 65_536

REPEATED = frozenset({
    "image_id", "code", "mjd", "exptime", "band", "source", "mcal", "posangle", "pltscale", "psf_theta",
    "file_psf_mag_err", "ap_radius", "photflags", "photflags2", "n_frames", "padding", "link_flags", "db_flags",
    "psf_major", "psf_minor", "psf_core", "psf_fwhm_major", "psf_fwhm_minor", "founder_image_id",
    "n_measurements", "n_used", "n_used_flux", "n_position", "flags", "assoc_epoch", "psf_ndof", "psf_npix",
})  # fmt: skip
"""Columns whose values repeat, so that a dictionary pays."""

SORTED_KEYS = frozenset({"object_id"})


def encodings_of(table: Table) -> dict[str, str]:
    """Return the Parquet encoding of every column that does not take a dictionary."""
    chosen = {}
    for column in table:
        if column.name in SORTED_KEYS and column.type == "int64":
            chosen[column.name] = "DELTA_BINARY_PACKED"
        elif column.name not in REPEATED and column.type in ("float32", "float64", "int64", "int32"):
            chosen[column.name] = "BYTE_STREAM_SPLIT"
    return chosen


def _dictionary_columns(table: Table) -> list[str]:
    plain = encodings_of(table)
    return [c.name for c in table if c.name not in plain and not c.type.startswith("list")]


def write_file(path: Path, rows: pa.Table, table: Table, *, metadata: dict[str, str] | None = None) -> Tail:
    """Write one Parquet file durably, with checksums, page index and identifying metadata, and return its tail.

    `metadata` may name an earlier version of the table than the present one.
    """
    notes = {**(rows.schema.metadata or {}), "skydb.table": table.name, "skydb.schema_version": str(table.version)}
    rows = rows.replace_schema_metadata({**notes, **(metadata or {})})

    def write(temporary: Path) -> Tail:
        pq.write_table(
            rows,
            temporary,
            row_group_size=ROW_GROUP_ROWS.get(table.name, DEFAULT_ROW_GROUP_ROWS),
            compression="zstd",
            compression_level=1,
            use_dictionary=_dictionary_columns(table),
            column_encoding=encodings_of(table),
            write_page_index=True,
            write_page_checksum=True,
            write_statistics=True,
        )
        return seal(temporary)

    return write_durably(path, write)


def store_rows(
    root: Path, database: str, rows: pa.Table, table: str, *, cell: tuple[int, int] | None = None,
    base: str | None = None, host: str = LOCAL, name: str | None = None, declared: Table | None = None,
) -> DataFile:  # fmt: skip
    """Write rows as a new immutable file under a storage root and return its description.

    It is of the earliest version of the table that has all the columns which the rows fill.

    The rows must be sorted as the table declares. `base` names the raw file beside which the rows lie, `name`
    the new file; None: by a fresh name. `declared` is the table; None: skydb's own of that name.
    """
    declared = declared or TABLES[table]
    rows = declared.conform(rows)
    version = version_of(rows, declared)
    rows = rows.select(stored_names(declared, version, declared.names))
    name = name or new_name()
    norder, npix = cell if cell else (None, None)
    relative = data_path(table, cell, name)
    identity = {"skydb.database": database, "skydb.cell": f"{norder}/{npix}" if cell else "", "skydb.base": base or "",
                "skydb.schema_version": str(version)}  # fmt: skip
    tail = write_file(root / relative, rows, declared, metadata=identity)
    low, high = _key_bounds(rows, declared)
    return DataFile(
        name, table, norder, npix, host, relative, rows.num_rows, (root / relative).stat().st_size,
        digest_of(root / relative), tail.start, tail.crc, base, low, high, version,
    )  # fmt: skip


def _key_bounds(rows: pa.Table, table: Table) -> tuple[int | None, int | None]:
    if not rows.num_rows:
        return None, None
    first, last = rows.column(table.sort[0])[0].as_py(), rows.column(table.sort[0])[-1].as_py()
    if first is None or last is None:
        return None, None
    return int(first), int(last)


def sort_rows(rows: pa.Table, table: str, tables: Mapping[str, Table] = TABLES) -> pa.Table:
    """Return the rows in the order that the table declares."""
    return rows.sort_by([(name, "ascending") for name in tables[table].sort])


def row_groups_of(metadata: pq.FileMetaData, ranges: np.ndarray) -> list[int]:
    """Return the row groups whose statistics of the first column admit a key in sorted half-open ranges (K, 2)."""
    groups = []
    for number in range(metadata.num_row_groups):
        statistics = metadata.row_group(number).column(0).statistics
        if statistics is None or not statistics.has_min_max or may_hold(ranges, statistics.min, statistics.max):
            groups.append(number)
    return groups


def may_hold(ranges: np.ndarray, low: int, high: int) -> bool:
    """Say whether a key between two bounds, both included, lies in one of sorted half-open ranges (K, 2)."""
    after = int(np.searchsorted(ranges[:, 1], low, side="right"))
    return after < len(ranges) and bool(ranges[after, 0] <= high)


def read_file(stored: StoredFile, columns: Sequence[str] | None = None) -> pa.Table:
    """Read some columns of one file, whole.

    Raises
    ------
    DataError, BusyError
        The file is missing or damaged, or its server does not answer; and so it is with every copy.
    """
    with RowGroups(footer_of(stored)) as file:
        return file.read_all(columns)


def read_selected(files: Sequence[StoredFile], columns: Sequence[str], ranges: np.ndarray) -> Iterator[pa.Table]:
    """Yield some columns of the rows of files whose object_id lies in sorted half-open ranges (K, 2).

    Object ids are read first, and nothing else of a row group where none of them lies in a range. What lies on servers
    is fetched in two rounds: tails, then columns.
    """
    with ExitStack() as opened:
        todo = []
        for footer in footers_of(files):
            file = opened.enter_context(RowGroups(footer))
            todo.append((file, row_groups_of(file.metadata, ranges)))
        fetch_ahead((file, groups, ["object_id", *columns]) for file, groups in todo)
        for file, groups in todo:
            for group, hit in _hits(file, groups, ranges):
                rows = file.read(group, columns)
                yield rows if hit.size == rows.num_rows else rows.take(row_numbers(hit))


def _hits(file: RowGroups, groups: Iterable[int], ranges: np.ndarray | None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the row groups that hold objects in some ranges, None: any, and the numbers of their rows there."""
    for group in groups:
        if ranges is None:
            rows = np.arange(file.metadata.row_group(group).num_rows)
        else:
            rows = np.flatnonzero(in_ranges(numbers_of(file.read(group, ["object_id"]).column("object_id")), ranges))
        if rows.size:
            yield group, rows


def read_pair(
    raw: StoredFile, cal: StoredFile, columns: Sequence[str], *, ranges: np.ndarray | None = None
) -> Iterator[pa.Table]:
    """Yield some columns of measurements from a raw file and the calibrated file beside it, row by row.

    A column that both have is read from the calibrated file. With sorted half-open `ranges` (K, 2) of object ids, only
    their rows. This is the only place where the two files are joined: by position, row group for row group of whole
    rows, never below a filter.
    """
    calibrated, raw_names = split_columns(columns)
    cal_footer, raw_footer = footers_of([cal, raw])
    with RowGroups(cal_footer) as cal_file, RowGroups(raw_footer) as raw_file:
        if cal_file.metadata.num_rows != raw_file.metadata.num_rows:
            where = cal.place.where
            raise DataError("the calibrated file does not match its raw file", where, how_to_mend(Path(str(cal.place))))
        starts = _group_starts(cal_file)
        groups = range(len(starts) - 1) if ranges is None else row_groups_of(cal_file.metadata, ranges)
        fetch_ahead([(cal_file, groups, ["object_id", *calibrated])])
        hits = list(_hits(cal_file, groups, ranges))
        if raw_names and hits:
            numbers = np.concatenate([rows + starts[group] for group, rows in hits])
            fetch_ahead([(raw_file, np.unique(_groups_of(raw_file, numbers)).tolist(), raw_names)])
        for group, rows in hits:
            left = cal_file.read(group, calibrated or ["object_id"])
            right = _take_rows(raw_file, raw_names, rows + starts[group])
            yield _zip(left if len(rows) == len(left) else left.take(row_numbers(rows)), right, columns)


def _group_starts(file: RowGroups) -> np.ndarray:
    return np.cumsum([0] + [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)])


def _groups_of(file: RowGroups, numbers: np.ndarray) -> np.ndarray:
    """Return the row groups of rows by their number in the file."""
    return np.searchsorted(_group_starts(file), numbers, side="right") - 1


def _take_rows(file: RowGroups, columns: Sequence[str], numbers: np.ndarray) -> pa.Table:
    """Read rows by their number in the file (sorted), decoding only the row groups that hold them."""
    if not columns:
        return pa.table({})
    starts, group_of = _group_starts(file), _groups_of(file, numbers)
    parts = []
    for group in np.unique(group_of).tolist():
        inside = numbers[group_of == group] - starts[group]
        rows = file.read(group, columns)
        parts.append(rows if len(inside) == rows.num_rows else rows.take(row_numbers(inside)))
    return pa.concat_tables(parts)


def split_columns(columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return which of the columns the calibrated file has, and which only the raw one has."""
    cal = TABLES["measurements_cal"]
    return [c for c in columns if c in cal], [c for c in columns if c not in cal]


def _zip(left: pa.Table, right: pa.Table, columns: Sequence[str]) -> pa.Table:
    sides = {name: side for side in (left, right) for name in side.column_names}
    schema = pa.schema([sides[name].schema.field(name) for name in columns])
    return pa.Table.from_arrays([sides[name][name] for name in columns], schema=schema)

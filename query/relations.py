"""What a parsed query reads: for every use of a table its cells, files and columns, and SQL that gives its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import pyarrow as pa

from skydb.schema.tables import TABLES
from skydb.store.files import DataFile
from skydb.store.history import catalog_table
from skydb.store.parquet import split_columns
from skydb.store.snapshot import Snapshot

from .atlas import Atlas, CellPart, common_parts
from .gathering import GatheredRows, Gathering, expected_bytes
from .names import codes_of, with_names_sql
from .parse import ParsedQuery, TableReference
from .row_filters import RowFilter
from .sources import CellRows, CellStream, FileStream
from .stored_sql import are_readable, read_parquet
from .views import STORED, views_of


@dataclass(frozen=True)
class Scan:
    """One use of a table, planned.

    Attributes
    ----------
    relation, table
        Its names in the text for DuckDB and for users.
    columns
        The columns to give, in the order that users see.
    parts
        The cells to read; None for tables without cells.
    stored
        The stored tables to read; two are read side by side.
    files
        Their files.
    conditions
        SQL that holds for every row that can matter, for workers to decide beside the files.
    """

    relation: str
    table: str
    columns: tuple[str, ...]
    parts: tuple[CellPart, ...] | None
    stored: tuple[str, ...]
    files: tuple[DataFile, ...]
    conditions: tuple[str, ...] = ()

    @property
    def read_as(self) -> str:
        """The name by which a snapshot reads the rows: of two sides of a pair, that of both."""
        return self.table if len(self.stored) > 1 else self.stored[0]

    @property
    def rows(self) -> int:
        """How many rows its files have."""
        return sum(file.rows for file in self.files if file.table == self.stored[0])

    @property
    def stale_cells(self) -> int:
        """How many of its cells wait for a refresh of what is asked."""
        derived = self.table in ("objects", "object_bands")
        return sum(p.cell.stale for p in self.parts or ()) if derived else 0


def plan(atlas: Atlas, query: ParsedQuery) -> list[Scan]:
    """Return what each use of a table in a query has to read."""
    parts = [_own_parts(atlas, reference) for reference in query.references]
    for _ in query.references:  # what limits one table reaches, step by step, all that are joined to it on object_id
        parts = [_following(own, [parts[i] for i in r.follows]) for own, r in zip(parts, query.references, strict=True)]
    return [_scan(atlas, r, own) for r, own in zip(query.references, parts, strict=True)]


def _own_parts(atlas: Atlas, reference: TableReference) -> list[CellPart] | None:
    """Return the cells that hold what a reference's own region and ids admit; None for a table without cells."""
    declared = atlas.snapshot.table(reference.table)
    if declared.kind != "sky":
        return None
    positions_bounded = declared.keyed_by is None  # what a user's own table calls ra may lie anywhere
    parts = atlas.parts_of_region(reference.region if positions_bounded else None)
    if reference.object_ids is None:
        return parts
    ids = np.array(reference.object_ids, dtype=np.int64).reshape(-1, 2)
    return common_parts(parts, atlas.parts_of_ranges(ids))


def _following(
    parts: list[CellPart] | None, followed: Sequence[list[CellPart] | None]
) -> list[CellPart] | None:
    """Return the parts that are left when rows must share their object with rows of other references."""
    for others in followed:
        parts = parts if parts is None or others is None else common_parts(parts, others)
    return parts


def _scan(atlas: Atlas, reference: TableReference, parts: list[CellPart] | None) -> Scan:
    table = reference.table
    columns = reference.columns or atlas.snapshot.table(table).names[:1]
    stored = _stored_tables(table, views_of(atlas.snapshot).stored_columns(table, columns))
    files = [file for name in stored for file in _files(atlas, name, parts)]
    fixed = None if parts is None else tuple(parts)
    return Scan(reference.relation, table, tuple(columns), fixed, stored, tuple(files), reference.conditions)


def _stored_tables(table: str, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the stored tables that hold some columns: both sides of a pair only where one does not have them all."""
    if table == "measurements":
        return STORED[table] if split_columns(columns)[1] else STORED[table][:1]
    if table == "images":
        return STORED[table] if any(c not in TABLES["images"] for c in columns) else STORED[table][:1]
    return (table,)


def _files(atlas: Atlas, table: str, parts: list[CellPart] | None) -> list[DataFile]:
    if parts is not None:
        return [file for files in atlas.files(table, parts) for file in files]
    return atlas.snapshot.files(table) if atlas.snapshot.table(table).kind == "global" else []


@dataclass(frozen=True)
class Relation:
    """SQL that gives the rows of a scan, and the Arrow streams that it reads by name."""

    sql: str
    streams: dict[str, pa.Table | CellStream | FileStream | GatheredRows]


def relation_of(snapshot: Snapshot, scan: Scan, workers: Gathering | None = None) -> Relation:
    """Return how DuckDB gets the rows of a scan.

    Whole cells are read by DuckDB itself; of other cells, of raw and calibrated files side by side, and of files on
    servers, the rows come as an Arrow stream. Measured: of a cone of 1' to 3° on 12 million rows, that takes as long as
    DuckDB on the same files, or less. DuckDB checks no checksums, so the columns that it will read are checked here.

    With workers, it is they who read all cells, and leave out what the conditions exclude: no file of a cell is opened
    here.

    Raises
    ------
    DataError
        A file that DuckDB is to read is missing or damaged.
    """
    views = views_of(snapshot)
    columns = views.stored_columns(scan.table, scan.columns)
    if scan.parts is None:
        base = _global(snapshot, scan, columns)
    elif workers is None:
        base = _cells(snapshot, scan, scan.parts, columns)
    else:
        base = _streamed(scan, columns, _gathered(snapshot, scan, scan.parts, columns, workers))
    return Relation(with_names_sql(base.sql, scan.columns, views.looked_up(scan.table, scan.columns)), base.streams)


def _cells(snapshot: Snapshot, scan: Scan, parts: Sequence[CellPart], columns: list[str]) -> Relation:
    paired = len(scan.stored) > 1
    whole = {p.cell.key for p in parts if not paired and p.ranges is None}
    files = [f for f in scan.files if (f.norder, f.npix) in whole]
    readable = are_readable(snapshot, files, columns)
    whole -= {(f.norder, f.npix) for f, is_readable in zip(files, readable, strict=True) if not is_readable}
    streamed = [p for p in parts if p.cell.key not in whole]
    files = [f for f in files if (f.norder, f.npix) in whole]
    if files and not streamed:
        return Relation(read_parquet(snapshot, files, columns), {})
    rows = CellRows(snapshot, scan.read_as, tuple(columns))
    stream = _streamed(scan, columns, CellStream(rows, tuple(streamed)))
    pieces = [read_parquet(snapshot, files, columns)] if files else []
    return Relation(" UNION ALL ".join([*pieces, stream.sql]), stream.streams)


def _streamed(scan: Scan, columns: Sequence[str], stream: CellStream | GatheredRows) -> Relation:
    name = f"_rows_{scan.relation}"
    return Relation(_select(columns, f'"{name}"'), {name: stream})


def _gathered(
    snapshot: Snapshot, scan: Scan, parts: tuple[CellPart, ...], columns: Sequence[str], workers: Gathering
) -> GatheredRows:
    rows = CellRows(snapshot, scan.read_as, tuple(columns), row_filter=_row_filter(snapshot, scan))
    whole = not scan.conditions and all(part.ranges is None for part in parts)
    least = expected_bytes(rows.schema, scan.rows) if whole else 0
    return GatheredRows(CellStream(rows, parts, workers), workers, least=least)


def _row_filter(snapshot: Snapshot, scan: Scan) -> RowFilter | None:
    """Return what decides the conditions of a scan; None where there are none."""
    if not scan.conditions:
        return None
    looked_up = views_of(snapshot).looked_up(scan.table, scan.columns)
    names = [name for name in looked_up if any(f'"{name}"' in condition for condition in scan.conditions)]
    return RowFilter(scan.conditions, tuple(names), codes_of(snapshot) if names else None)


def _global(snapshot: Snapshot, scan: Scan, columns: list[str]) -> Relation:
    """Return the rows of a table without cells: of Parquet files, or of the catalog."""
    if snapshot.table(scan.table).kind == "catalog":
        name = f"_rows_{scan.relation}"
        return Relation(_select(columns, f'"{name}"'), {name: catalog_table(snapshot, scan.table).select(columns)})
    if len(scan.stored) == 1:
        return _of_files(snapshot, scan, scan.stored[0], columns)
    return _side_by_side(snapshot, scan, columns)


def _side_by_side(snapshot: Snapshot, scan: Scan, columns: list[str]) -> Relation:
    """Return images with their photometric solutions; one that has none yet has NULLs."""
    first, second = scan.stored
    own = [c for c in columns if c in TABLES[first]]
    images = _of_files(snapshot, scan, first, list(dict.fromkeys(["image_id", *own])))
    solved = _of_files(snapshot, scan, second, ["image_id", *(c for c in columns if c not in own)])
    shown = ", ".join(f'{"i" if c in own else "s"}."{c}"' for c in columns)
    joined = f"SELECT {shown} FROM ({images.sql}) AS i LEFT JOIN ({solved.sql}) AS s ON i.image_id = s.image_id"
    return Relation(joined, images.streams | solved.streams)


def _of_files(snapshot: Snapshot, scan: Scan, table: str, columns: list[str]) -> Relation:
    """Return the rows of a table without cells; those of files on servers as a stream."""
    files = [f for f in scan.files if f.table == table]
    readable = are_readable(snapshot, files, columns)
    here = list(compress(files, readable))
    if here and all(readable):
        return Relation(read_parquet(snapshot, files, columns), {})
    away = [f for f, is_readable in zip(files, readable, strict=True) if not is_readable]
    name = f"_rows_{scan.relation}_{table}"
    pieces = [read_parquet(snapshot, here, columns)] if here else []
    pieces.append(_select(columns, f'"{name}"'))
    return Relation(" UNION ALL ".join(pieces), {name: FileStream(snapshot, table, tuple(columns), tuple(away))})


def _select(columns: Sequence[str], source: str) -> str:
    quoted = ", ".join(f'"{c}"' for c in columns)
    return f"SELECT {quoted} FROM {source}"

"""The analysts' door: one snapshot, asked by SQL, by position, by object."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from skydb import database
from skydb.database import Database
from skydb.errors import UsageError, did_you_mean
from skydb.schema.model import Column
from skydb.sky.regions import Cone, Region
from skydb.store.arrays import numbers_of
from skydb.store.snapshot import Snapshot

from .atlas import Atlas, CellPart, whole_numbers
from .failures import clear_errors, require_whole
from .names import codes_of, looked_up, stored_columns, with_names
from .results import Result
from .sources import CellStream
from .user_tables import arrow_of, require_free_name
from .views import visible_columns

if TYPE_CHECKING:
    from .parse import ParsedQuery
    from .relations import Scan
    from .session import Session

STANDARD = {
    "objects": tuple(c.name for c in visible_columns("objects")),
    "measurements": (
        "object_id", "mjd", "photcode", "band", "mag", "mag_err", "flux", "flux_err", "ap_mag", "kron_mag", "ra", "dec",
        "airmass", "exptime", "mcal", "mflat", "image_id", "det_id", "db_flags",
    ),
}  # fmt: skip
"""Standard columns of cones and light curves; those of measurements all lie in the calibrated file."""

ALL = "*"


class StaleWarning(UserWarning):
    """Rows that a query read wait for `skydb refresh`."""


def connect(
    db: Database | str | PathLike[str], *, at: int | str | None = None, memory_limit: str | None = None,
    threads: int | None = None,
) -> Connection:  # fmt: skip
    """Open a snapshot of a database for questions.

    Parameters
    ----------
    db
        The database, or its path.
    at
        Number or tag of the snapshot; None: the newest. The connection sees this one, whatever is committed later.
    memory_limit
        What DuckDB may use at most, such as "2GB"; it spills to disk beyond.
    threads
        Threads of DuckDB; None: one per core.

    Raises
    ------
    UsageError
        No such database, snapshot or tag.
    """
    opened = db if isinstance(db, Database) else database.open(db)
    return Connection(opened.snapshot(at), memory_limit=memory_limit, threads=threads)


class Connection:
    """Questions to one snapshot; close it when done, or use it in a `with` block."""

    def __init__(self, snapshot: Snapshot, *, memory_limit: str | None = None, threads: int | None = None) -> None:
        self.snapshot = snapshot
        self._memory_limit, self._threads = memory_limit, threads
        self._tables: dict[str, pa.Table] = {}
        self._session: Session | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self._closed else ""
        return f"<skydb connection to {self.snapshot.root}, snapshot {self.snapshot.id}{state}>"

    def close(self) -> None:
        """Close the connection; results that were not fetched are lost."""
        self._closed = True
        if self._session is not None:
            self._session.close()
            self._session = None

    def register(self, name: str, table: object) -> None:
        """Make an Arrow, pandas or astropy table known to SQL under a name, in the place of one of that name before.

        Raises
        ------
        UsageError
            The name is that of a skydb table, or no plain identifier; `table` is no table.
        """
        require_free_name(name)
        self._tables[name.lower()] = arrow_of(table)

    def sql(self, query: str) -> Result:
        """Answer one SELECT in DuckDB's dialect over the tables of the snapshot.

        Tables and columns are those of the tables reference, or DVO's names; `in_cone`, `in_box`, `in_polygon` and
        `separation` work on degrees. Conditions on position and object_id decide which cells are read.

        Raises
        ------
        UsageError
            Not one SELECT, an unknown table, column or function, or rows that fail while they are computed.
        DataError
            A stored file is missing or damaged.
        """
        from .relations import relation_of

        parsed, scans = self._plan(query)
        self._warn(sum(scan.stale_cells for scan in scans))
        check = partial(require_whole, self.snapshot, [file for scan in scans for file in scan.files])
        relations = {scan.relation: relation_of(self.snapshot, scan) for scan in scans}
        with clear_errors(check):
            rows = self._opened().answer(parsed.sql, relations, self._tables)
        return Result(rows, dict(parsed.declared), check=check)

    def explain(self, query: str) -> Result:
        """Say, without running it, what a query would read: for every use of a table its cells, files, bytes, rows.

        `rows` are those of the files; within a cell that is not read whole, fewer are.

        Raises
        ------
        UsageError
            As for `sql`.
        """
        _, scans = self._plan(query)
        return Result(pa.Table.from_pylist([_explained(scan) for scan in scans], schema=_EXPLAINED))

    def cone(
        self, ra: float, dec: float, radius: float, *, table: str = "objects", columns: Sequence[str] | None = None
    ) -> Result:
        """Return the objects, or measurements, within `radius` (deg) of a position (deg), complete.

        Parameters
        ----------
        table
            "objects" or "measurements".
        columns
            Their names, "*" for all; None: the standard ones, which of measurements leave out the raw values.

        Raises
        ------
        UsageError
            A position not on the sky, a radius not from 0 to 180, another table, or an unknown column.
        """
        return self.within(Cone(ra, dec, radius), table=table, columns=columns)

    def within(self, region: Region, *, table: str = "objects", columns: Sequence[str] | None = None) -> Result:
        """Return the objects, or measurements, inside a region of `skydb.sky.regions`; see `cone`."""
        if table not in STANDARD:
            raise UsageError(f"no positions in table {table!r}", None, f"use {' or '.join(STANDARD)}")
        names = _named(table, columns)
        parts = self._atlas.parts_of_region(region)
        self._warn(sum(part.cell.stale for part in parts) if table == "objects" else 0)
        return self._answer(table, names, self._read(table, [*names, "ra", "dec"], parts, region))

    def lightcurve(self, object_id: int | Iterable[int], *, columns: Sequence[str] | None = None) -> Result:
        """Return the measurements of one object, or of several, by object and time.

        Parameters
        ----------
        columns
            Their names, "*" for all; None: the standard ones, which leave out the raw values.

        Raises
        ------
        UsageError
            An object that does not exist, or an unknown column.
        """
        ids = whole_numbers(_listed(object_id) if isinstance(object_id, Iterable) else [object_id])
        names = _named("measurements", columns)
        parts = self._atlas.parts_of_objects(ids)
        rows = self._read("measurements", [*names, *_TIME_ORDER], parts)
        rows = rows.sort_by([(name, "ascending") for name in _TIME_ORDER])
        unknown = np.setdiff1d(ids, numbers_of(rows.column("object_id")))
        if len(unknown):
            which = ", ".join(map(str, unknown[:3].tolist())) + (", …" if len(unknown) > 3 else "")
            raise UsageError(f"no object has the id {which}", str(self.snapshot.root), "see the table objects")
        return self._answer("measurements", names, rows)

    @cached_property
    def _atlas(self) -> Atlas:
        return Atlas(self.snapshot)

    @cached_property
    def _codes(self) -> pa.Table:
        return codes_of(self.snapshot)

    def _opened(self) -> Session:
        """Return DuckDB behind this connection, which is loaded when it is first needed."""
        from .session import Session

        if self._session is None:
            self._session = Session(self.snapshot, memory_limit=self._memory_limit, threads=self._threads)
        return self._session

    def _plan(self, query: str) -> tuple[ParsedQuery, list[Scan]]:
        from .parse import parse
        from .relations import plan

        self._require_open()
        parsed = parse(query, extra=tuple(self._tables))
        return parsed, plan(self._atlas, parsed)

    def _read(
        self, table: str, columns: Sequence[str], parts: Sequence[CellPart], region: Region | None = None
    ) -> pa.Table:
        """Read the stored columns that give some columns."""
        self._require_open()
        return CellStream(self.snapshot, table, tuple(stored_columns(table, columns)), tuple(parts), region).read()

    def _answer(self, table: str, names: list[str], rows: pa.Table) -> Result:
        codes = self._codes if looked_up(table, names) else None
        return Result(with_names(rows, codes, names), _declared(table, names))

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("the connection is closed", str(self.snapshot.root), "open another with skydb.connect")

    def _warn(self, stale_cells: int) -> None:
        if stale_cells:
            text = f"{stale_cells} cells wait for `skydb refresh`: means are older than measurements"
            warnings.warn(text, StaleWarning, stacklevel=3)


_TIME_ORDER = ("object_id", "mjd", "image_id", "det_id")

_EXPLAINED = pa.schema([
    ("table", pa.string()), ("relation", pa.string()), ("reads", pa.string()), ("columns", pa.string()),
    ("cells", pa.int64()), ("files", pa.int64()), ("hosts", pa.string()), ("bytes", pa.int64()), ("rows", pa.int64()),
])  # fmt: skip


def _explained(scan: Scan) -> dict[str, object]:
    return {
        "table": scan.table, "relation": scan.relation, "reads": ", ".join(scan.stored),
        "columns": ", ".join(scan.columns), "cells": None if scan.parts is None else len(scan.parts),
        "files": len(scan.files), "hosts": ", ".join(sorted({f.host for f in scan.files})),
        "bytes": sum(f.bytes for f in scan.files), "rows": sum(f.rows for f in scan.files if f.table == scan.stored[0]),
    }  # fmt: skip


def _named(table: str, columns: Sequence[str] | None) -> list[str]:
    """Return the names of columns: the standard ones, all, or those given.

    Raises
    ------
    UsageError
        An unknown one.
    """
    if columns is None:
        return list(STANDARD[table])
    known = [c.name for c in visible_columns(table)]
    names = known if list(columns) == [ALL] else [columns] if isinstance(columns, str) else list(dict.fromkeys(columns))
    for name in names:
        if name not in known:
            raise UsageError(f"no column named {name!r}", f"table {table}", did_you_mean(name, known))
    return list(names)


def _listed(ids: Iterable[int]) -> Sequence[int]:
    """Return ids as NumPy takes them: a column of a table, an array or a list as it is."""
    return ids if hasattr(ids, "__array__") or isinstance(ids, Sequence) else list(ids)  # type: ignore[return-value]  # an array


def _declared(table: str, names: Sequence[str]) -> dict[str, Column]:
    return {c.name: c.column for c in visible_columns(table) if c.name in names}

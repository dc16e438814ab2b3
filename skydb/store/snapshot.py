"""A snapshot: what a reader sees, unchanged for as long as it looks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import pyarrow as pa

from skydb.errors import DataError, UsageError, in_ranges
from skydb.schema.declaration import table_of
from skydb.schema.model import Table
from skydb.schema.tables import TABLES

from .catalog import alive, reading
from .catalog_copies import FetchedCopy, renewed
from .cells import Cell, Cells
from .checksums import footers_of
from .files import DataFile, StoredFile
from .hosts import Storage, storage_of
from .leases import Lease
from .mending import RESTORE
from .parquet import may_hold, read_file, read_pair, read_selected, split_columns
from .roots import Place, is_url, root_named

FileLists = dict[tuple[str, Cell | None], list[DataFile]]
"""The live files of tables, each of one cell or (None) of all."""

FILE_COLUMNS = (
    "name, table_name, norder, npix, host, path, rows, bytes, digest, tail_start, tail_crc, base, min_key, max_key,"
    " schema_version, backup"
)

_FOR_TASKS = ("declared", "host_roots", "storage")
"""What tasks ask about the database as a whole, beside the files of its global tables."""

_GLOBAL = tuple(name for name, table in TABLES.items() if table.kind == "global")


@dataclass(frozen=True)
class Snapshot:
    """One committed state of a database: its cells, its files, and how to read them.

    It is small and pickles: workers receive it and read the same state. As long as it is there, so is its `lease`;
    a copy in another process has none, and relies on the one from which it came.

    `root` is where its catalog lies: the database's folder, or the published copy of a tag. `home` is the database's
    own folder or URL, where data lie that are on no other host.
    """

    root: Path
    database_id: str
    id: int
    calibration_id: int
    lease: Lease | FetchedCopy | None = field(default=None, repr=False, compare=False)
    home: str = ""
    _files: FileLists = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "home", self.home or str(self.root))

    def __getstate__(self) -> dict[str, Any]:
        """Travel light: of what was looked up, the files of cells stay behind."""
        kept = ("root", "database_id", "id", "calibration_id", "home", *(n for n in _FOR_TASKS if n in vars(self)))
        files = {(name, cell): found for (name, cell), found in self._files.items() if name in _GLOBAL}
        return {**{name: getattr(self, name) for name in kept}, "lease": None, "_files": files}

    def look_up_for_tasks(self) -> None:
        """Look up what every task asks about the database, so that it travels along."""
        for name in _FOR_TASKS:
            getattr(self, name)
        self.files(_GLOBAL[0])

    @property
    def known_files(self) -> FileLists:
        """The lists of files that were looked up."""
        return self._files

    def learn(self, files: FileLists) -> None:
        """Take lists of files as if they had been looked up."""
        self._files.update(files)

    @cached_property
    def storage(self) -> Storage:
        """The hosts as they were when first asked for on behalf of the snapshot."""
        return storage_of(self.root)

    @cached_property
    def _cells(self) -> Cells:
        with reading(self.root) as connection:
            return Cells.of(connection.execute(
                f"SELECT norder, npix, host, drift_arcsec, stale FROM cells WHERE {alive(self.id)}"
            ))  # fmt: skip

    def cells(self, ranges: np.ndarray | None = None) -> Cells:
        """Return the cells, in sky order; with (K, 2) sorted pixel ranges, those that overlap one."""
        return self._cells if ranges is None else self._cells.overlapping(ranges)

    @cached_property
    def declared(self) -> dict[str, Table]:
        """The tables that the database has besides skydb's own, by name."""
        with reading(self.root) as connection:
            rows = connection.execute(f"SELECT name, text FROM declarations WHERE {alive(self.id)} ORDER BY name")
            return {name: table_of(name, text) for name, text in rows}

    def declaring(self, tables: Mapping[str, Table]) -> Snapshot:
        """Return the snapshot as one that has further tables, of which nothing is stored yet."""
        more = replace(self)
        vars(more)["declared"] = {**self.declared, **tables}
        return more

    @cached_property
    def tables(self) -> Mapping[str, Table]:
        """All tables, by name."""
        return {**TABLES, **self.declared} if self.declared else TABLES

    @cached_property
    def sky_tables(self) -> tuple[str, ...]:
        """The names of the tables that are kept in cells."""
        return tuple(name for name, table in self.tables.items() if table.kind == "sky")

    def table(self, name: str) -> Table:
        """Return a table, which must be there; one of skydb's own without asking the catalog."""
        return TABLES[name] if name in TABLES else self.tables[name]

    def files(self, table: str, cell: Cell | None = None) -> list[DataFile]:
        """Return the live files of a table, of one cell or of all; the order is stable.

        Those of all global tables are looked up together: they are few, and who needs one needs others.
        """
        if (table, cell) not in self._files:
            together = _GLOBAL if table in _GLOBAL else (table,)
            self._files.update({(name, cell): [] for name in together})
            for file in self._look_up(together, cell):
                self._files[file.table, cell].append(file)
        return self._files[table, cell]

    def files_of_cells(self, table: str, cells: Sequence[Cell]) -> list[list[DataFile]]:
        """Return the live files of a sky table in each of some cells, asking the catalog once for all."""
        wanted = [c for c in dict.fromkeys(cells) if (table, c) not in self._files]
        if wanted:
            found: dict[tuple[int | None, int | None], list[DataFile]] = {c.key: [] for c in wanted}
            for file in self._look_up_cells(table, wanted):
                found[file.norder, file.npix].append(file)
            self._files.update({(table, c): found[c.key] for c in wanted})
        return [self._files[table, c] for c in cells]

    def _look_up_cells(self, table: str, cells: Sequence[Cell]) -> list[DataFile]:
        query = (
            f"SELECT {FILE_COLUMNS} FROM (SELECT value FROM json_each(?)) AS wanted CROSS JOIN files"
            " ON norder = json_extract(wanted.value, '$[0]') AND npix = json_extract(wanted.value, '$[1]')"
            f" WHERE table_name = ? AND {alive(self.id)} ORDER BY norder, npix, begin_snapshot, name"
        )
        with reading(self.root) as connection:
            return [DataFile(*row) for row in connection.execute(query, (json.dumps([c.key for c in cells]), table))]

    def _look_up(self, tables: Sequence[str], cell: Cell | None) -> list[DataFile]:
        where = f"table_name IN ({', '.join('?' * len(tables))}) AND {alive(self.id)}"
        if cell is not None:
            where = f"norder = {cell.norder} AND npix = {cell.npix} AND {where}"
        with reading(self.root) as connection:
            query = f"SELECT {FILE_COLUMNS} FROM files WHERE {where} ORDER BY norder, npix, begin_snapshot, name"
            return [DataFile(*row) for row in connection.execute(query, tables)]

    @cached_property
    def host_roots(self) -> dict[str, str]:
        """The storage root of every host: a folder, or a URL."""
        return {name: root_named(host.root, self.home) for name, host in self.storage.hosts.items()}

    @cached_property
    def is_far(self) -> bool:
        """Whether some of its files may lie on servers: footers of several are fetched in one round, and kept."""
        return any(is_url(root) for root in self.host_roots.values())

    def path_of(self, file: DataFile) -> Path:
        """Return where a file lies in a folder of this machine."""
        return self.stored(file).path

    def stored(self, file: DataFile) -> StoredFile:
        """Return a file with the places where it lies, to read it."""
        places = _places(self.host_roots, file.host, file.backup, file.path)
        again = partial(_places_now, self.root, self.home, file.name)
        declared = TABLES.get(file.table) or self.tables.get(file.table)  # None: of a table taken away since
        return file.at(*places, find_again=again, table=declared)

    def read_global(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read some columns of a global table (images, images_cal, exposures, photcodes), in its declared order."""
        declared = self.table(table)
        names = list(columns) if columns is not None else list(declared.names)
        wanted = list(dict.fromkeys([*names, *declared.sort]))
        parts = [read_file(self.stored(f), wanted).replace_schema_metadata() for f in self.files(table)]
        if not parts:
            return pa.Table.from_batches([], declared.select(names)).replace_schema_metadata()
        return pa.concat_tables(parts).sort_by([(name, "ascending") for name in declared.sort]).select(names)

    def read_cell(
        self, table: str, cell: Cell, columns: Sequence[str] | None = None, *, ranges: np.ndarray | None = None
    ) -> pa.Table:
        """Read a sky table's rows of one cell; with `ranges`, only those of the objects in them.

        `ranges` are sorted half-open ranges (K, 2) of object ids. `measurements` gives columns of the raw and the
        calibrated table side by side. The rows of each file are in the declared order; files follow one another.
        """
        names = list(columns) if columns is not None else self._visible_names(table)
        parts = list(self.cell_parts(table, cell, names, ranges=ranges))
        return pa.concat_tables(parts) if parts else self.empty_rows(table, names)

    def cell_parts(
        self, table: str, cell: Cell, columns: Sequence[str], *, ranges: np.ndarray | None = None
    ) -> Iterator[pa.Table]:
        """Yield what `read_cell` reads, part by part: never more than a file at a time."""
        parts = (
            self._measurement_parts(cell, columns, ranges) if table == "measurements"
            else self._plain_parts(table, cell, columns, ranges)
        )  # fmt: skip
        for part in parts:
            yield part.replace_schema_metadata()

    def _plain_parts(
        self, table: str, cell: Cell, columns: Sequence[str], ranges: np.ndarray | None
    ) -> Iterator[pa.Table]:
        files = self.files(table, cell)
        if ranges is not None:
            yield from read_selected([self.stored(f) for f in files if _may_hold(f, ranges)], columns, ranges)
            return
        stored = [self.stored(f) for f in files]
        if self.is_far:
            footers_of(stored)
        for each in stored:
            yield read_file(each, columns)

    def _measurement_parts(self, cell: Cell, columns: Sequence[str], ranges: np.ndarray | None) -> Iterator[pa.Table]:
        _, raw_names = split_columns(columns)
        if not raw_names:
            yield from self._plain_parts("measurements_cal", cell, columns, ranges)
            return
        pairs = [pair for pair in self.measurement_pairs(cell) if ranges is None or _may_hold(pair[1], ranges)]
        stored = [(self.stored(raw), self.stored(cal)) for raw, cal in pairs]
        if self.is_far:
            footers_of([file for pair in stored for file in pair])
        for raw, cal in stored:
            yield from read_pair(raw, cal, columns, ranges=ranges)

    def measurement_pairs(self, cell: Cell) -> list[tuple[DataFile, DataFile]]:
        """Return the (raw, calibrated) file pairs of a cell.

        Raises
        ------
        DataError
            A calibrated file whose raw file is not there.
        """
        raws = {f.name: f for f in self.files("measurements", cell)}
        cals = self.files("measurements_cal", cell)
        lost = [c for c in cals if c.base not in raws]
        if lost:
            raise DataError(f"no raw file {lost[0].base} for {lost[0].path}", f"cell {cell}", RESTORE)
        return [(raws[c.base or ""], c) for c in cals]

    def _visible_names(self, table: str) -> list[str]:
        """Return the stored columns that a table shows; measurements: calibrated ones first, then those only raw."""
        if table != "measurements":
            return list(self.table(table).names)
        cal = TABLES["measurements_cal"].names
        return [*cal, *(n for n in TABLES["measurements"].names if n not in cal)]

    def empty_rows(self, table: str, columns: Sequence[str]) -> pa.Table:
        """Return a table of no rows with some columns of a stored table."""
        second = self.table(table)
        first = TABLES["measurements_cal"] if table == "measurements" else second
        fields = [(first[n] if n in first else second[n]).arrow for n in columns]
        return pa.Table.from_batches([], pa.schema(fields)).replace_schema_metadata()


def _places(roots: Mapping[str, str], host: str, backup: str | None, path: str) -> tuple[Place, ...]:
    """Return where the copies of a file lie, the one to read first first.

    Raises
    ------
    DataError
        No known host has one.
    """
    known = [name for name in (host, backup) if name is not None and name in roots]
    if not known:
        raise DataError(f"host {host!r} is not known", f"file {path}", "see `skydb hosts`")
    return tuple(Place(name, roots[name], path) for name in known)


def _places_now(root: Path, home: str, name: str) -> tuple[Place, ...]:
    """Return where a file lies by now; nowhere if it was given up."""
    copy = renewed(home, root.stem) if is_url(home) else None
    with reading(copy.path if copy else root) as connection:
        row = connection.execute("SELECT host, backup, path FROM files WHERE name = ? LIMIT 1", (name,)).fetchone()
        roots = connection.execute("SELECT name, root FROM hosts WHERE end_snapshot IS NULL")
        return _places({host: root_named(text, home) for host, text in roots}, *row) if row else ()


def _may_hold(file: DataFile, ranges: np.ndarray) -> bool:
    return file.min_key is None or file.max_key is None or may_hold(ranges, file.min_key, file.max_key)


LARGEST_SQL_INTEGER = 2**63 - 1

_LIVE_TAGS = "FROM tags WHERE end_snapshot IS NULL"


def names_tag(at: int | str | None) -> TypeGuard[str]:
    """Say whether a snapshot is asked for by a tag, not by its number or as the newest."""
    return isinstance(at, str) and not (at.isascii() and at.isdigit())


def snapshot_number(root: Path, at: int | str | None) -> tuple[int, int]:
    """Return (snapshot, calibration) for a number, a tag or None (the newest).

    Raises
    ------
    UsageError
        There is no such snapshot or tag, or it was given up.
    """
    with reading(root) as connection:
        if names_tag(at):
            row = connection.execute(f"SELECT snapshot {_LIVE_TAGS} AND tag = ?", (at,)).fetchone()
            if row is None:
                known = ", ".join(t for (t,) in connection.execute(f"SELECT tag {_LIVE_TAGS} ORDER BY tag")) or "none"
                raise UsageError(f"no tag named {at!r}", str(root), f"tags: {known}")
            at = row[0]
        query = "SELECT snapshot, calibration_id, expired_by FROM snapshots"
        if at is None:
            row = connection.execute(f"{query} ORDER BY snapshot DESC LIMIT 1").fetchone()
        else:
            row = connection.execute(f"{query} WHERE snapshot = ?", (min(int(at), LARGEST_SQL_INTEGER),)).fetchone()
        if row is None:
            raise UsageError(f"no snapshot {at}", str(root), "see `skydb snapshots`")
        if row[2] is not None:
            kept = connection.execute("SELECT snapshot FROM snapshots WHERE expired_by IS NULL ORDER BY snapshot")
            todo = f"tag what is to be kept; there are still {in_ranges([n for (n,) in kept])}"
            raise UsageError(f"snapshot {row[0]} was given up by snapshot {row[2]} (`skydb gc`)", str(root), todo)
        return int(row[0]), int(row[1])

"""What differs between two snapshots: rows by table and cell, ingested files, images; from the catalog alone.

Rows are counted by the files that hold them. In a cell (of two partitions: in the coarser cell) the files that both
snapshots see say nothing; of the rest, rows that are as many before and after were *rewritten*, as by `compact` or
`refresh`, and the cell gained or lost the others. So a cell that lost 10 rows and gained 30 counts as 20 gained; what
files and images came and went says the rest.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import groupby

import numpy as np

from .catalog import reading
from .cells import Cell
from .snapshot import Snapshot

Key = tuple[str, int | None, int | None]
"""Table, order and pixel; both None for a global table."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What changed in a cell or a table, by rows and by files.

    `added` and `removed` are how many rows more or fewer there are, `rewritten` those that lie in other files, and
    `recalibrated` (of `measurements_cal`) those that lie in another file beside the same raw file.
    """

    added: int = 0
    removed: int = 0
    rewritten: int = 0
    recalibrated: int = 0
    files_added: int = 0
    files_removed: int = 0
    bytes_added: int = 0
    bytes_removed: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.added + other.added, self.removed + other.removed, self.rewritten + other.rewritten,
            self.recalibrated + other.recalibrated, self.files_added + other.files_added,
            self.files_removed + other.files_removed, self.bytes_added + other.bytes_added,
            self.bytes_removed + other.bytes_removed,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TableDifference:
    """What changed in a table as a whole."""

    table: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class CellDifference:
    """What changed in one cell of a table; in that of the coarser partition, where a cell was split in between."""

    table: str
    norder: int
    npix: int
    counts: Counts


@dataclass(frozen=True)
class IngestedFile:
    """A file that was ingested, as the ingest log has it."""

    file: str
    digest: str
    n_images: int
    n_in: int
    n_measurements: int


@dataclass(frozen=True)
class SolvedCalibration:
    """A calibration, and the snapshot that it came with."""

    calibration_id: int
    snapshot: int
    kind: str
    bands: str


@dataclass(frozen=True)
class State:
    """One of two snapshots that are compared."""

    snapshot: int
    time: str
    calibration_id: int
    n_cells: int


@dataclass(frozen=True)
class Difference:
    """What is in the snapshot `after` and was not in `before`, and the other way round; either may be the older.

    `commits` counts the commits between the two by their kinds; `calibrations` are those that came with one of them,
    `tags` the names of the two snapshots and of those between. `cells` lists sky tables only.
    """

    before: State
    after: State
    tables: tuple[TableDifference, ...]
    cells: tuple[CellDifference, ...]
    files_came: tuple[IngestedFile, ...]
    files_went: tuple[IngestedFile, ...]
    images_came: tuple[int, ...]
    images_went: tuple[int, ...]
    calibrations: tuple[SolvedCalibration, ...]
    commits: dict[str, int]
    tags: dict[str, int]


def difference(before: Snapshot, after: Snapshot) -> Difference:
    """Return what differs between two snapshots of a database."""
    with reading(before.root) as connection:
        asked = _Asked(connection, before.id, after.id)
        counts = _counts(asked.files(after.id, before.id), asked.files(before.id, after.id))
        return Difference(
            before=asked.state(before.id), after=asked.state(after.id), tables=tuple(_by_table(counts)),
            cells=tuple(_by_cell(counts)), commits=asked.commits(), tags=asked.tags(),
            calibrations=asked.calibrations(),
            files_came=asked.ingested(after.id, before.id), files_went=asked.ingested(before.id, after.id),
            images_came=asked.images(after.id, before.id), images_went=asked.images(before.id, after.id),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Rows:
    """What one snapshot alone has of a table in a cell; `same_base`: calibrated rows whose raw file both have."""

    rows: int = 0
    bytes: int = 0
    files: int = 0
    same_base: int = 0

    def __add__(self, other: _Rows) -> _Rows:
        return _Rows(
            self.rows + other.rows, self.bytes + other.bytes, self.files + other.files,
            self.same_base + other.same_base,
        )  # fmt: skip


class _Asked:
    """The catalog, asked what one of two snapshots has and the other has not."""

    def __init__(self, connection: sqlite3.Connection, first: int, second: int) -> None:
        self._connection = connection
        self._older, self._newer = sorted((first, second))

    def _only(self, table: str, key: str, has: int) -> str:
        """Return the condition of rows that one of the snapshots sees, and of whose key the other sees none.

        Their lives begin or end between the two: what only the newer has began since, what only the older has ended.
        """
        old, new = self._older, self._newer
        alone = (
            f"begin_snapshot > {old} AND begin_snapshot <= {new} AND (end_snapshot IS NULL OR end_snapshot > {new})"
            if has == new else f"end_snapshot > {old} AND end_snapshot <= {new} AND +begin_snapshot <= {old}"
        )  # fmt: skip
        other = old if has == new else new
        life = f"SELECT 1 FROM {table} AS life WHERE life.{key} = {table}.{key} AND life.begin_snapshot <= {other}"
        live, ended = f"{life} AND life.end_snapshot IS NULL", f"{life} AND life.end_snapshot > {other}"
        return f"{alone} AND NOT EXISTS ({live}) AND NOT EXISTS ({ended})"  # each has an index

    def files(self, has: int, lacks: int) -> dict[Key, _Rows]:
        """Return what the files hold that one snapshot sees and the other does not, by table and cell."""
        if has == lacks:
            return {}
        base = f"EXISTS (SELECT 1 FROM files AS raw WHERE raw.name = files.base AND {_sees('raw', lacks)})"
        found = self._connection.execute(
            f"SELECT table_name, norder, npix, SUM(rows), SUM(bytes), COUNT(*),"
            f" SUM(CASE WHEN base IS NOT NULL AND {base} THEN rows ELSE 0 END)"
            f" FROM files WHERE {self._only('files', 'name', has)} GROUP BY table_name, norder, npix"
        )
        return {(table, norder, npix): _Rows(*numbers) for table, norder, npix, *numbers in found}

    def ingested(self, has: int, lacks: int) -> tuple[IngestedFile, ...]:
        """Return the ingested files that one snapshot has and the other has not."""
        columns = "file, digest, n_images, n_in, n_measurements"
        return tuple(IngestedFile(*row) for row in self._rows(columns, "ingest_log", "digest", has, lacks, "file"))

    def images(self, has: int, lacks: int) -> tuple[int, ...]:
        """Return the images that one snapshot has and the other has not."""
        found = self._rows("image_id", "image_index", "image_id", has, lacks, "image_id")
        return tuple(image for (image,) in found)

    def _rows(self, columns: str, table: str, key: str, has: int, lacks: int, order: str) -> sqlite3.Cursor | list:  # type: ignore[type-arg]  # rows of any columns
        if has == lacks:
            return []
        return self._connection.execute(
            f"SELECT {columns} FROM {table} WHERE {self._only(table, key, has)} ORDER BY {order}"
        )

    def state(self, number: int) -> State:
        """Return one of the two snapshots."""
        (time, calibration) = self._connection.execute(
            "SELECT time, calibration_id FROM snapshots WHERE snapshot = ?", (number,)
        ).fetchone()
        (cells,) = self._connection.execute(f"SELECT COUNT(*) FROM cells WHERE {_sees('cells', number)}").fetchone()
        return State(number, time, calibration, cells)

    def calibrations(self) -> tuple[SolvedCalibration, ...]:
        """Return the calibrations that came after the older one."""
        found = self._connection.execute(
            "SELECT calibration_id, begin_snapshot, kind, bands FROM calibrations"
            " WHERE begin_snapshot > ? AND begin_snapshot <= ? ORDER BY calibration_id",
            (self._older, self._newer),
        )
        return tuple(SolvedCalibration(*row) for row in found)

    def commits(self) -> dict[str, int]:
        """Return how many commits of each kind lie between."""
        query = "SELECT kind, COUNT(*) FROM snapshots WHERE snapshot > ? AND snapshot <= ? GROUP BY kind ORDER BY kind"
        return dict(self._connection.execute(query, (self._older, self._newer)))

    def tags(self) -> dict[str, int]:
        """Return the tags that name the two snapshots, or one between them."""
        query = "SELECT tag, snapshot FROM tags WHERE end_snapshot IS NULL AND snapshot BETWEEN ? AND ? ORDER BY 2, 1"
        return dict(self._connection.execute(query, (self._older, self._newer)))


def _sees(rows: str, at: int) -> str:
    return f"{rows}.begin_snapshot <= {at} AND ({rows}.end_snapshot IS NULL OR {rows}.end_snapshot > {at})"


def _counts(came: dict[Key, _Rows], went: dict[Key, _Rows]) -> dict[Key, Counts]:
    """Return what changed by table and cell, in the order of tables and of the sky."""
    keys = {(norder, npix) for _, norder, npix in (*came, *went) if norder is not None and npix is not None}
    coarser = common_ancestors(keys)
    sides = [_gathered(side, coarser) for side in (came, went)]
    every = sorted({*sides[0], *sides[1]}, key=_place)
    return {key: _compared(*(side.get(key, _Rows()) for side in sides)) for key in every}


def _gathered(side: dict[Key, _Rows], coarser: dict[tuple[int, int], tuple[int, int]]) -> dict[Key, _Rows]:
    """Return the rows of one side by table and common cell."""
    gathered: dict[Key, _Rows] = {}
    for (table, norder, npix), rows in side.items():
        cell = (None, None) if norder is None or npix is None else coarser[norder, npix]
        before = gathered.get((table, *cell))
        gathered[(table, *cell)] = rows if before is None else before + rows
    return gathered


def _place(key: Key) -> tuple[str, int, int]:
    table, norder, npix = key
    return (table, -1, -1) if norder is None or npix is None else (table, Cell(norder, npix).lo, norder)


def _compared(came: _Rows, went: _Rows) -> Counts:
    recalibrated = min(came.same_base, went.same_base)
    more = came.rows - went.rows
    return Counts(
        added=max(more, 0), removed=max(-more, 0), rewritten=min(came.rows, went.rows) - recalibrated,
        recalibrated=recalibrated, files_added=came.files, files_removed=went.files,
        bytes_added=came.bytes, bytes_removed=went.bytes,
    )  # fmt: skip


def common_ancestors(cells: Iterable[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, int]]:
    """Return for each of some cells (order, pixel), of two partitions, the coarsest of them that it lies in.

    >>> common_ancestors([(1, 5), (0, 1), (0, 3)])
    {(0, 1): (0, 1), (1, 5): (0, 1), (0, 3): (0, 3)}
    """
    listed = sorted(cells, key=lambda c: (Cell(*c).lo, c[0]))
    ends = np.array([Cell(*c).hi for c in listed], dtype=np.int64)
    starts = np.array([Cell(*c).lo for c in listed], dtype=np.int64)
    so_far = np.maximum.accumulate(ends) if listed else ends
    first = np.concatenate([[True], starts[1:] >= so_far[:-1]])[: len(listed)]
    leaders = np.flatnonzero(first)[np.cumsum(first) - 1]
    return {cell: listed[leader] for cell, leader in zip(listed, leaders.tolist(), strict=True)}


def _by_cell(counts: dict[Key, Counts]) -> Iterable[CellDifference]:
    for (table, norder, npix), its in counts.items():
        if norder is not None and npix is not None:
            yield CellDifference(table, norder, npix, its)


def _by_table(counts: dict[Key, Counts]) -> Iterable[TableDifference]:
    for table, entries in groupby(counts.items(), key=lambda entry: entry[0][0]):
        yield TableDifference(table, reduce(Counts.__add__, (c for _, c in entries)))

"""What differs between two snapshots: rows by table and cell, ingested files, images; from the catalog alone.

Rows are counted by the files that hold them. In a cell (of two partitions: in the coarser cell) the files that both
snapshots see say nothing; of the rest, rows that are as many before and after were *rewritten*, as by `compact` or
`refresh`, and the cell gained or lost the others. So a cell that lost 10 rows and gained 30 counts as 20 gained; what
files and images came and went says the rest.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .catalog import reading
from .cells import OBJECT_ORDER
from .snapshot import Snapshot

GLOBAL = -1
"""Stands for order and pixel of what belongs to no cell."""


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
    `tags` the names of the two snapshots and of those between. `counted` has the counts of `cells` as arrays.
    """

    before: State
    after: State
    tables: tuple[TableDifference, ...]
    files_came: tuple[IngestedFile, ...]
    files_went: tuple[IngestedFile, ...]
    images_came: tuple[int, ...]
    images_went: tuple[int, ...]
    calibrations: tuple[SolvedCalibration, ...]
    commits: dict[str, int]
    tags: dict[str, int]
    counted: CellCounts = field(repr=False, compare=False)

    @cached_property
    def cells(self) -> tuple[CellDifference, ...]:
        """What changed cell by cell, of the sky tables."""
        return tuple(self.counted.cells())


def difference(before: Snapshot, after: Snapshot) -> Difference:
    """Return what differs between two snapshots of a database."""
    with reading(before.root) as connection:
        asked = _Asked(connection, before.id, after.id)
        counted = _counted(asked.files(after.id, before.id), asked.files(before.id, after.id))
        return Difference(
            before=asked.state(before.id), after=asked.state(after.id), tables=tuple(counted.tables()),
            commits=asked.commits(), tags=asked.tags(),
            calibrations=asked.calibrations(),
            files_came=asked.ingested(after.id, before.id), files_went=asked.ingested(before.id, after.id),
            images_came=asked.images(after.id, before.id), images_went=asked.images(before.id, after.id),
            counted=counted,
        )  # fmt: skip


@dataclass(frozen=True)
class _Alone:
    """What one snapshot alone has, by table and cell: rows, bytes, files, and calibrated rows whose raw file both have.

    `norder` and `npix` are (N,), GLOBAL for global tables, `numbers` is (N, 4).
    """

    table: tuple[str, ...]
    norder: NDArray[np.int64]
    npix: NDArray[np.int64]
    numbers: NDArray[np.int64]


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
        if table == "files":  # its name is indexed, live or not
            return f"{alone} AND NOT EXISTS ({life} AND (life.end_snapshot IS NULL OR life.end_snapshot > {other}))"
        live, ended = f"{life} AND life.end_snapshot IS NULL", f"{life} AND life.end_snapshot > {other}"
        return f"{alone} AND NOT EXISTS ({live}) AND NOT EXISTS ({ended})"  # each has an index

    def files(self, has: int, lacks: int) -> _Alone:
        """Return what the files hold that one snapshot sees and the other does not, by table and cell."""
        base = f"EXISTS (SELECT 1 FROM files AS raw WHERE raw.name = files.base AND {_sees('raw', lacks)})"
        found = () if has == lacks else self._connection.execute(
            f"SELECT table_name, COALESCE(norder, {GLOBAL}), COALESCE(npix, {GLOBAL}), SUM(rows), SUM(bytes), COUNT(*),"
            f" SUM(CASE WHEN base IS NOT NULL AND {base} THEN rows ELSE 0 END)"
            f" FROM files WHERE {self._only('files', 'name', has)} GROUP BY table_name, norder, npix"
        ).fetchall()  # fmt: skip
        numbers = np.array([row[1:] for row in found], dtype=np.int64).reshape(-1, 6)
        return _Alone(tuple(row[0] for row in found), numbers[:, 0], numbers[:, 1], numbers[:, 2:])

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


@dataclass(frozen=True)
class CellCounts:
    """What changed by table and cell, in the order of tables and of the sky.

    `names` are those of tables, `table` (K,) says which is which, `norder` and `npix` (K,) are GLOBAL for global ones;
    the columns of `counts` (K, 8) are the fields of `Counts`.
    """

    names: tuple[str, ...]
    table: NDArray[np.int64]
    norder: NDArray[np.int64]
    npix: NDArray[np.int64]
    counts: NDArray[np.int64]

    def tables(self) -> list[TableDifference]:
        """Return what changed in each table that changed."""
        sums = np.zeros((len(self.names), self.counts.shape[1]), dtype=np.int64)
        np.add.at(sums, self.table, self.counts)
        return [TableDifference(name, Counts(*row)) for name, row in zip(self.names, sums.tolist(), strict=True)]

    def cells(self) -> list[CellDifference]:
        """Return what changed in each cell that changed."""
        sky = self.norder != GLOBAL
        columns = (self.table[sky].tolist(), self.norder[sky].tolist(), self.npix[sky].tolist())
        return [
            CellDifference(self.names[table], norder, npix, Counts(*row))
            for table, norder, npix, row in zip(*columns, self.counts[sky].tolist(), strict=True)
        ]


def _counted(came: _Alone, went: _Alone) -> CellCounts:
    """Set what came against what went, table by table and cell by cell."""
    names = tuple(sorted({*came.table, *went.table}))
    number = {name: i for i, name in enumerate(names)}
    table = np.array([number[name] for name in (*came.table, *went.table)], dtype=np.int64)
    cells = np.concatenate([came.norder, went.norder]), np.concatenate([came.npix, went.npix])
    norder, npix = common_ancestors(*cells)
    order = np.lexsort((_first_pixels(norder, npix), table))
    table, norder, npix = table[order], norder[order], npix[order]
    is_new = np.ones(len(table), dtype=bool)
    is_new[1:] = (np.diff(table) != 0) | (np.diff(norder) != 0) | (np.diff(npix) != 0)
    starts = np.flatnonzero(is_new)
    sides = [np.concatenate([came.numbers, 0 * went.numbers]), np.concatenate([0 * came.numbers, went.numbers])]
    first, second = (np.add.reduceat(side[order], starts) if len(starts) else side for side in sides)
    return CellCounts(names, table[starts], norder[starts], npix[starts], _compared(first, second))


def _compared(came: NDArray[np.int64], went: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the columns of `Counts` for what came to cells and went from them, as `_Alone.numbers` has it."""
    (new, new_bytes, new_files, new_same), (old, old_bytes, old_files, old_same) = came.T, went.T
    recalibrated = np.minimum(new_same, old_same)
    return np.stack([
        np.maximum(new - old, 0), np.maximum(old - new, 0), np.minimum(new, old) - recalibrated, recalibrated,
        new_files, old_files, new_bytes, old_bytes,
    ], axis=1)  # fmt: skip


def _first_pixels(norder: NDArray[np.int64], npix: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first order-29 pixel of every cell; GLOBAL stays what it is."""
    return np.where(norder == GLOBAL, GLOBAL, npix << 2 * (OBJECT_ORDER - norder))


def common_ancestors(
    norder: NDArray[np.int64], npix: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each cell (order, pixel) of two partitions the coarsest of all cells that it lies in.

    >>> [found.tolist() for found in common_ancestors(np.array([1, 0, 0]), np.array([5, 1, 3]))]
    [[0, 0, 0], [1, 1, 3]]
    """
    first = _first_pixels(norder, npix)
    last = np.where(norder == GLOBAL, GLOBAL, first + (1 << 2 * (OBJECT_ORDER - norder)) - 1)
    order = np.lexsort((norder, first))
    so_far = np.maximum.accumulate(last[order])
    leads = np.ones(len(order), dtype=bool)
    leads[1:] = first[order][1:] > so_far[:-1]
    leader = order[np.flatnonzero(leads)[np.cumsum(leads) - 1]] if len(order) else order
    found = np.empty_like(order)
    found[order] = leader
    return norder[found], npix[found]

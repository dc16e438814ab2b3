"""Going back: a new snapshot whose rows are those of an earlier one.

Nothing is read or written but the catalog: files of the earlier snapshot begin another life, those that came since end.
Tags and hosts stay as they are, and files where they are. What was gone back from can be gone back to.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .catalog import reading
from .cells import LOCAL, Cell
from .changes import ROLLBACK, WHOLE_SKY, Changes, Declaration, ImageKey
from .files import DataFile
from .history import LOG_COLUMNS, log_entry
from .snapshot import FILE_COLUMNS, Snapshot


@dataclass(frozen=True)
class _Differing:
    """Rows of one of the catalog's tables that return, and the keys of those that end."""

    rows: tuple[tuple[Any, ...], ...]
    leaving: tuple[Any, ...]


def rollback_changes(now: Snapshot, to: Snapshot) -> Changes | None:
    """Return what makes the database what it was at an earlier snapshot; None where nothing differs."""
    with reading(now.root) as connection:

        def differing(table: str, key: str, columns: str) -> _Differing:
            return _differing(connection, table, (key, columns), (to.id, now.id))

        files = differing("files", "name", FILE_COLUMNS)
        log = differing("ingest_log", "digest", LOG_COLUMNS)
        images = differing("image_index", "image_id", "image_id, image_key, exposure_id, digest")
        declarations = differing("declarations", "name", "name, text")
        cells = differing("cells", "norder || '/' || npix", "norder, npix, drift_arcsec, stale")
    found = (files, log, images, declarations, cells)
    if to.calibration_id == now.calibration_id and not any(d.rows or d.leaving for d in found):
        return None
    back = _placed(cells.rows, now, to)
    ending = {tuple(map(int, key.split("/"))) for key in cells.leaving} - {c.key for c in back}
    return Changes(
        ROLLBACK, f"rollback {now.root} {to.id}", now.id,
        adds=tuple(DataFile(*row) for row in files.rows), replaces=files.leaving,
        cells=back, ends_cells=tuple((norder, npix) for norder, npix in sorted(ending)),
        log=tuple(map(log_entry, log.rows)), ends_log=log.leaving,
        images=tuple(ImageKey(*row) for row in images.rows), ends_images=images.leaving,
        declarations=tuple(Declaration(*row) for row in declarations.rows), ends_declarations=declarations.leaving,
        calibration_id=to.calibration_id, writes=WHOLE_SKY,
    )  # fmt: skip


def _differing(
    connection: sqlite3.Connection, table: str, columns: tuple[str, str], between: tuple[int, int]
) -> _Differing:
    """Return what differs in one table; a row that ended and came back as it was does not."""
    to, now = between
    chosen = f"SELECT {columns[0]}, {columns[1]} FROM {table} WHERE"
    past = connection.execute(f"{chosen} +begin_snapshot <= {to} AND end_snapshot > {to} AND end_snapshot <= {now}")
    rows = {key: row for key, *row in past}
    present = connection.execute(
        f"{chosen} begin_snapshot > {to} AND begin_snapshot <= {now} AND (end_snapshot IS NULL OR end_snapshot > {now})"
    )
    new = {key: row for key, *row in present}
    return _Differing(
        tuple(tuple(row) for key, row in rows.items() if new.get(key) != row),
        tuple(key for key, row in new.items() if rows.get(key) != row),
    )


def _placed(rows: Sequence[Sequence[Any]], now: Snapshot, to: Snapshot) -> tuple[Cell, ...]:
    """Return cells that come back, on the hosts that keep their part of the sky now."""
    present = now.cells()
    starts = [c.lo for c in present]
    hosts_then = {c.key: c.host for c in to.cells()}

    def host_of(cell: Cell) -> str:
        after = bisect_right(starts, cell.lo)
        for near in present[max(after - 1, 0) : after + 1]:
            if near.lo < cell.hi and cell.lo < near.hi:
                return near.host
        host = hosts_then[cell.key]
        return host if host in now.host_roots else LOCAL

    cells = [Cell(norder, npix, drift_arcsec=drift, stale=bool(stale)) for norder, npix, drift, stale in rows]
    return tuple(Cell(*c.key, host_of(c), c.drift_arcsec, c.stale) for c in cells)

"""Compaction: fold a cell's deltas into one file per table, split a cell over its limit, fold small global files.

None changes an answer: the rows are the same, only their files and cells are others. A cell splits into its four
children, those that are still over the limit, of measurements or of bytes, into theirs, down to `DEEPEST_ORDER`. Of a
global table only files that are small beside those folded with them are folded, so that a row is written a few times
in all, not at every folding.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa

from skydb.parallel.executor import Executor, Progress
from skydb.schema.tables import TABLES

from .carried import map_cells
from .cells import Cell
from .changes import NOWHERE, Changes
from .crashpoints import reached
from .files import DataFile
from .notes import drop_uncommitted
from .parquet import read_file, sort_rows
from .retries import until_committed
from .scratch import Scratch, scratch
from .snapshot import Snapshot
from .stretches import Stretch, cells_in, stretches

DEEPEST_ORDER = 14
DELTAS_ALLOWED = 8
"""Files of one table in a cell above which it is worth folding them."""
GLOBAL_FILES_ALLOWED = 8
"""Small files of one global table above which some are folded: every commit brings one."""
GLOBAL_FILE_ROWS = 1_000_000
"""Rows of a folded global file at most, held in memory at once; one of more than half is folded no more."""

ROW_BYTES = 1024
"""Bytes that measurements and declared tables of a cell may take, in memory, for each measurement that it may hold.

A measurement takes 410: only large declared tables split cells by bytes. What is derived has at most a row for each.
"""


@dataclass(frozen=True)
class Compacted:
    """What compacting one cell made: the cells that take its place, their files, and the files that end."""

    cell: Cell
    cells: tuple[Cell, ...]
    adds: tuple[DataFile, ...]
    replaces: tuple[str, ...]


def cells_to_compact(
    snapshot: Snapshot, cell_rows: int, *, deltas_allowed: int = DELTAS_ALLOWED, among: Sequence[Cell] | None = None
) -> list[Cell]:
    """Return the cells, of all or `among` some, that hold too many rows or too many files."""
    rows: defaultdict[tuple[int | None, int | None], Counter[str]] = defaultdict(Counter)
    many: set[tuple[int | None, int | None]] = set()
    for name in ("measurements", *snapshot.declared):
        files = Counter[tuple[int | None, int | None]]()
        found = snapshot.files(name) if among is None else chain(*snapshot.files_of_cells(name, among))
        for file in found:
            rows[file.norder, file.npix][name] += file.rows
            files[file.norder, file.npix] += 1
        many |= {key for key, count in files.items() if count > deltas_allowed}
    return [
        c for c in (snapshot.cells() if among is None else among)
        if c.key in many or (c.norder < DEEPEST_ORDER and _too_much(rows[c.key], snapshot, cell_rows))
    ]  # fmt: skip


def _too_much(rows: Mapping[str, int], snapshot: Snapshot, cell_rows: int) -> bool:
    """Say whether a cell has too many measurements, or too many bytes of them and of declared tables."""
    counted = {name: rows.get(name, 0) for name in ("measurements", *snapshot.declared)}
    counted["measurements_cal"] = counted["measurements"]
    size = sum(count * snapshot.table(name).row_bytes for name, count in counted.items())
    return counted["measurements"] > cell_rows or size > cell_rows * ROW_BYTES


def compact_cell(cell: Cell, *, snapshot: Snapshot, place: Scratch, cell_rows: int) -> Compacted:
    """Write one cell's tables anew, folded, in the cells that it becomes."""
    tables = {
        name: rows for name in snapshot.sky_tables if name != "measurements_cal"
        if (rows := _whole_table(snapshot, name, cell)).num_rows
    }  # fmt: skip
    ids = {name: rows.column("object_id").to_numpy() for name, rows in tables.items()}
    cells = _split(cell, ids, partial(_too_much, snapshot=snapshot, cell_rows=cell_rows))
    adds = [file for child in cells for file in _write_cell(snapshot, place, child, tables)]
    old = [f.name for name in snapshot.sky_tables for f in snapshot.files(name, cell)]
    return Compacted(cell, tuple(cells), tuple(adds), tuple(old))


def _whole_table(snapshot: Snapshot, name: str, cell: Cell) -> pa.Table:
    """Return every row of a cell's table, sorted; for measurements, raw columns with the calibrated ones prefixed."""
    if name != "measurements":
        parts = [read_file(snapshot.stored(f)).replace_schema_metadata() for f in snapshot.files(name, cell)]
        return sort_rows(pa.concat_tables(parts), name, snapshot.tables) if parts else snapshot.table(name).empty()
    parts = []
    for raw_file, cal_file in snapshot.measurement_pairs(cell):
        raw = read_file(snapshot.stored(raw_file)).replace_schema_metadata()
        cal = read_file(snapshot.stored(cal_file)).replace_schema_metadata()
        parts.append(pa.table([*raw.columns, *cal.columns], names=[*raw.column_names, *map(_beside, cal.column_names)]))
    return sort_rows(pa.concat_tables(parts), name) if parts else TABLES[name].empty()


def _beside(name: str) -> str:
    return f"cal.{name}"


def _split(cell: Cell, ids: Mapping[str, np.ndarray], too_much: Callable[[Mapping[str, int]], bool]) -> list[Cell]:
    """Return the cells that a cell becomes; `ids` are the object ids of its tables' rows, in order."""
    if cell.norder >= DEEPEST_ORDER or not too_much({name: len(its) for name, its in ids.items()}):
        return [cell]
    children = [Cell(cell.norder + 1, 4 * cell.npix + i, cell.host, cell.drift_arcsec, cell.stale) for i in range(4)]
    edges = [child.lo for child in children] + [children[-1].hi]
    bounds = {name: np.searchsorted(its, edges) for name, its in ids.items()}
    parts = [{name: its[bounds[name][i] : bounds[name][i + 1]] for name, its in ids.items()} for i in range(4)]
    return [final for child, part in zip(children, parts, strict=True) for final in _split(child, part, too_much)]


def _write_cell(snapshot: Snapshot, place: Scratch, cell: Cell, tables: dict[str, pa.Table]) -> Iterator[DataFile]:
    store = partial(place.store, snapshot, cell=cell)
    for name, rows in tables.items():
        first, last = np.searchsorted(rows.column("object_id").to_numpy(), [cell.lo, cell.hi])
        part = rows.slice(first, last - first)
        if part.num_rows and name == "measurements":
            raw = store(part.select(list(TABLES["measurements"].names)), "measurements")
            cal_names = list(TABLES["measurements_cal"].names)
            cal = part.select([_beside(n) for n in cal_names]).rename_columns(cal_names)
            yield raw
            yield store(cal, "measurements_cal", base=raw.name)
        elif part.num_rows:
            yield store(part, name)


def files_to_fold(files: Sequence[DataFile]) -> list[DataFile]:
    """Return which files of a global table to fold into one; none where there are few.

    They are the smallest, as long as each has at most twice the rows of all smaller ones: what is left grows by a
    factor from file to file, so that there are never many.
    """
    small = sorted((f for f in files if f.rows <= GLOBAL_FILE_ROWS // 2), key=lambda f: (f.rows, f.name))
    if len(small) <= GLOBAL_FILES_ALLOWED:
        return []
    chosen: list[DataFile] = []
    rows = 0
    for file in small:
        if len(chosen) > 1 and (file.rows > 2 * rows or rows + file.rows > GLOBAL_FILE_ROWS):
            break
        chosen.append(file)
        rows += file.rows
    return chosen


def _fold_globals(snapshot: Snapshot, place: Scratch) -> Iterator[tuple[DataFile, tuple[str, ...]]]:
    """Write files of global tables anew, folded; yields each with the names of those that it takes the place of."""
    for name, table in TABLES.items():
        files = files_to_fold(snapshot.files(name)) if table.kind == "global" else []
        if files:
            parts = [read_file(snapshot.stored(f)).replace_schema_metadata() for f in files]
            yield place.store(snapshot, sort_rows(pa.concat_tables(parts), name), name), tuple(f.name for f in files)


def compact(
    snapshot_now: Callable[[], Snapshot],
    commit: Callable[[Changes], int],
    cells: Sequence[Cell] | None,
    *,
    cell_rows: int,
    executor: Executor,
    progress: Progress | None = None,
) -> int | None:
    """Compact some cells (None: those that need it) and the global tables, in one commit for each stretch of sky.

    Returns the last one's snapshot, None if nothing was to do.

    Raises
    ------
    CommitConflict
        Other writers changed the cells again and again.
    """  # fmt: skip
    first, last = snapshot_now(), None
    wanted = None if cells is None else {c.key for c in cells}
    chosen = cells_to_compact(first, cell_rows) if cells is None else cells
    with scratch(first.root) as place:

        def attempt(stretch: Stretch, show: Progress | None) -> int | None:
            snapshot = snapshot_now()
            there = cells_in(snapshot, stretch)
            todo = (
                cells_to_compact(snapshot, cell_rows, among=there) if wanted is None
                else [c for c in there if c.key in wanted]
            )
            folded = list(_fold_globals(snapshot, place))
            if not todo and not folded:
                return None
            task = partial(compact_cell, snapshot=snapshot, place=place, cell_rows=cell_rows)
            done = list(map_cells(executor, task, snapshot, todo, progress=show))
            reached("compact.written")
            return commit(_changes(snapshot, done, folded))

        for stretch, show in (*stretches(chosen, progress),) or ((NOWHERE, None),):
            made = until_committed(
                first.root, partial(attempt, stretch, show),
                after_conflict=partial(drop_uncommitted, first.root, place.path),
            )  # fmt: skip
            last = made or last
    return last


def _changes(
    snapshot: Snapshot, done: Sequence[Compacted], folded: Sequence[tuple[DataFile, tuple[str, ...]]]
) -> Changes:
    touched = np.array(sorted((d.cell.lo, d.cell.hi) for d in done), dtype=np.int64).reshape(-1, 2)
    return Changes(
        "compact", "compact", snapshot.id,
        adds=(*(f for d in done for f in d.adds), *(file for file, _ in folded)),
        replaces=(*(n for d in done for n in d.replaces), *(n for _, names in folded for n in names)),
        cells=tuple(c for d in done for c in d.cells),
        ends_cells=tuple(d.cell.key for d in done),
        reads=touched if len(touched) else NOWHERE, writes=touched if len(touched) else NOWHERE,
    )  # fmt: skip

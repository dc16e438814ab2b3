"""Mend what `fsck` found, in one commit: what follows from other things is made anew, what is lost is given up.

Second copies first; then the global tables, the cells, and the counts of what is left; then manifests and tags. Files
that are given up are moved to `quarantine/` when the commit is done.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from skydb.calibration.apply import ImageTerms
from skydb.calibration.columns import int_column
from skydb.calibration.derive import ImageSources
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.calibration.rewriting import RewrittenCell, sky_of
from skydb.database import Database
from skydb.kernels.distinct import counted, is_among
from skydb.parallel.executor import Executor
from skydb.schema.tables import TABLES
from skydb.store.carried import map_cells
from skydb.store.catalog import alive, reading
from skydb.store.cells import Cell
from skydb.store.changes import WHOLE_SKY, Changes
from skydb.store.files import DataFile
from skydb.store.hosts import storage_of
from skydb.store.motion import raised_bound
from skydb.store.parquet import sort_rows
from skydb.store.retries import until_committed
from skydb.store.scratch import Scratch, scratch
from skydb.store.snapshot import FILE_COLUMNS, Snapshot
from skydb.store.tags import publish_tag
from skydb.store.transfer import copy_whole
from skydb.store.turns import only_mover

from .findings import KINDS, Finding
from .images import Images, indexed_images
from .keys import Ints
from .ledger import Ledger, LostRows
from .links import ALIASES
from .manifests import rewrite_manifests
from .mend_aliases import MendedAliases, NamedCell, mend_aliases
from .mend_cells import CellPlan, MendedCell, MendTask, mend_cell
from .mend_globals import GlobalPlan, MendedGlobals, mend_globals
from .quarantine import give_up
from .report import Loss, Mended
from .stored import fault_of

UNREADABLE = frozenset({"file-missing", "file-damaged", "file-foreign", "file-schema", "null-required"})
UNTIDY = frozenset({"file-bounds", "file-unsorted", "id-outside"})
RECALIBRATED = frozenset({"pair-misaligned", "calibrated-differ"})
GLOBAL_KINDS = {
    "image-unindexed": ("images",), "solution-missing": ("images_cal",), "exposure-missing": ("exposures",),
    "photcode-missing": ("photcodes",),
}  # fmt: skip
"""Which global table each finding has put in order."""
SEEDLESS = UNREADABLE | {"seed-missing"}
"""After which older files are looked at for seeds."""
GLOBAL_TABLES = frozenset(name for name, table in TABLES.items() if table.kind == "global")
COPIED = frozenset({"file-missing", "file-damaged", "old-file-damaged", "backup-damaged"})


def repaired(
    db: Database, findings: Sequence[Finding], executor: Executor
) -> tuple[tuple[Mended, ...], tuple[Loss, ...]]:
    """Mend what can be mended of some findings on the newest snapshot; say what was done, and what is lost.

    Raises
    ------
    CommitConflict
        Other writers came first again and again.
    UsageError
        Another catalog of the database keeps a host.
    """
    todo = [f for f in findings if KINDS[f.kind].repair or f.kind == "old-file-damaged"]
    if todo:
        storage_of(db.root).require_kept()
    copied = _copied_again(db, [f for f in todo if f.kind in COPIED])
    whole = {m.file for m in copied}
    moved = _moved_away(db, [f.file for f in todo if f.kind == "old-file-damaged" and f.file not in whole])
    left = [f for f in todo if f.file not in whole and f.kind not in {"old-file-damaged", "backup-damaged"}]
    rows, lost = _committed(db, left, executor) if any(f.table or f.cell for f in left) else ((), ())
    return (*copied, *moved, *rows, *_published(db, left)), lost


def _copied_again(db: Database, findings: Iterable[Finding]) -> list[Mended]:
    """Replace damaged copies of files by whole ones, where there is one on another host."""
    done, snapshot = [], db.snapshot()
    paths = {f.file for f in findings if f.file}
    with only_mover(db.root), scratch(db.root) as place:
        for file in _files_named(db, paths):
            faults = {copy.place: fault_of(copy, file.digest) for copy in snapshot.stored(file).each_copy()}
            whole = [copy for copy, fault in faults.items() if fault is None]
            for copy in (copy for copy, fault in faults.items() if whole and fault is not None):
                copy_whole(whole, copy, file.digest, spare=place.path / f"{file.name}.spare")
                what = f"copied again from host {whole[0].host} to host {copy.host}"
                done.append(Mended(what, file.table, _cell_text(file), file.path))
    return done


def _files_named(db: Database, paths: Iterable[str | None]) -> list[DataFile]:
    """Return the files of some paths, of any snapshot."""
    found = []
    with reading(db.root) as connection:
        for path in paths:
            row = connection.execute(f"SELECT {FILE_COLUMNS} FROM files WHERE path = ? LIMIT 1", (path,)).fetchone()
            if row:
                found.append(DataFile(*row))
    return found


def _moved_away(db: Database, paths: Iterable[str | None]) -> list[Mended]:
    """Move damaged files to quarantine that an earlier repair ended, and was killed before it moved them."""
    query = "SELECT 1 FROM files JOIN snapshots ON snapshot = end_snapshot WHERE path = ? AND kind = 'repair'"
    with reading(db.root) as connection:
        files = _files_named(db, [path for path in paths if connection.execute(query, (path,)).fetchone()])
    done, snapshot = [], db.snapshot()
    for file in files:
        kept = give_up(db.root, file, snapshot.stored(file).places)
        done.append(Mended(f"given up, now {kept or 'not found'}", file.table, _cell_text(file), file.path))
    return done


def _cell_text(file: DataFile) -> str | None:
    return None if file.norder is None else f"{file.norder}/{file.npix}"


def _published(db: Database, findings: Iterable[Finding]) -> list[Mended]:
    """Write manifests and copies of tags that are missing or damaged."""
    done = []
    for path in (db.root / f.file for f in findings if f.kind == "tag-unpublished" and f.file):
        path.unlink(missing_ok=True)
        publish_tag(db.root, path.stem)
        done.append(Mended("published again", file=str(path.relative_to(db.root))))
    lost = [f.file for f in findings if f.kind == "manifest-missing" and f.file]
    with tempfile.TemporaryDirectory(prefix="skydb-fsck-") as folder:
        if lost and rewrite_manifests(db.root, [int(Path(file).stem) for file in lost], Path(folder)):
            done += [Mended("written from the catalog", file=file) for file in lost]
    return done


def _committed(
    db: Database, findings: Sequence[Finding], executor: Executor
) -> tuple[tuple[Mended, ...], tuple[Loss, ...]]:
    """Mend rows, in one commit, and move what was given up out of the way; again where another writer comes first."""
    job, changes, number = until_committed(db.root, lambda: _attempt(db, findings, executor))
    kept = {
        file.name: give_up(db.root, file, job.snapshot.stored(file).places)
        for file in job.files if file.name in job.unreadable and file.name in changes.replaces
    }  # fmt: skip
    return job.mended(number), job.losses(kept)


def _attempt(db: Database, findings: Sequence[Finding], executor: Executor) -> tuple[_Repair, Changes, int]:
    """Mend rows on top of the newest snapshot.

    What was found in an earlier one still tells where to look: files do not change, and what is made anew of a cell is
    made of all that it holds now.
    """
    with scratch(db.root) as place:
        job = _Repair(db, db.snapshot(), place, executor, findings)
        changes = job.changes()
        does = changes.adds or changes.replaces or changes.cells or changes.log or changes.settings
        return job, changes, db.commit(changes) if does else job.snapshot.id


class _Repair:
    """One repair of rows under way: what it found to do, what it did, what is lost."""

    def __init__(
        self, db: Database, snapshot: Snapshot, place: Scratch, executor: Executor, findings: Sequence[Finding]
    ) -> None:
        self.db, self.snapshot, self.place, self.executor, self.findings = db, snapshot, place, executor, findings
        self.files = _files_named(db, {f.file for f in findings if f.file})
        by_path = {f.path: f.name for f in self.files}
        self.unreadable = frozenset(by_path[f.file] for f in findings if f.kind in UNREADABLE and f.file in by_path)
        self.untidy = frozenset(
            by_path[f.file] for f in findings if f.kind in UNTIDY and f.file in by_path
        ) - self.unreadable  # fmt: skip
        self.cells: list[MendedCell] = []
        self.globals = MendedGlobals()
        self.older_seeds: list[DataFile] = []
        self.aliases: list[MendedAliases] = []
        self.ledger = Ledger(snapshot, {})

    def changes(self) -> Changes:
        """Write what is to be, and return the commit that makes it so."""
        with reading(self.db.root) as connection:
            known = indexed_images(connection, self.snapshot.id)
            index = connection.execute(f"SELECT image_id, digest FROM image_index WHERE {self._alive}")
            self.ledger = Ledger(self.snapshot, dict(index))
            self.globals = self._globals(connection, known)
            if any(f.table == "object_seeds" and f.kind in SEEDLESS for f in self.findings):
                self.older_seeds = self._older(connection, "object_seeds")
        images = known[~is_among(known, self.globals.dropped)]
        self.cells = self._cells(images)
        counts = self._counts(images)
        if self.some_lost:
            images, counts = self._without_empty(images, counts)
        self._count_images(images, counts)
        log = self.ledger.entries(images, counts)
        self.aliases = self._aliases()
        tables = [self.place.store(self.snapshot, rows, name) for name, rows in self.globals.rows.items()]
        written = [*(made.written for made in self.cells), *(made.written for made in self.aliases)]
        adds = [*tables, *(f for w in written for f in w.adds)]
        ends = [f.name for name in self.globals.rows for f in self.snapshot.files(name)]
        ends += [name for w in written for name in w.replaces]
        log += self.ledger.row_entries({name: self._rows_now(name, adds, ends) for name in self.snapshot.declared})
        both = {f.name for f in adds} & set(ends)  # stored for a cell, and again without old ids
        cells = tuple(made.written.cell for made in self.cells)
        settings, ends_settings = raised_bound(self.db.root, (made.motion for made in self.cells))
        return Changes(
            "repair", "fsck --repair", self.snapshot.id, adds=tuple(f for f in adds if f.name not in both),
            replaces=tuple(name for name in ends if name not in both), cells=cells,
            log=tuple(log), ends_log=tuple(entry.digest for entry in log),
            ends_images=tuple(self.globals.dropped.tolist()), reads=WHOLE_SKY,
            writes=sky_of([w.cell for w in written]), uses_calibration=True,
            replaces_globals=tuple(self.globals.rows), settings=settings, ends_settings=ends_settings,
        )  # fmt: skip

    @property
    def some_lost(self) -> bool:
        """Whether rows are lost now, or were before without being counted as such."""
        return any(made.lost for made in self.cells) or any(f.table == "ingest_log" for f in self.findings)

    @property
    def _alive(self) -> str:
        return alive(self.snapshot.id)

    def _globals(self, connection: sqlite3.Connection, known: Ints) -> MendedGlobals:
        tables = {f.table for f in self.findings if f.kind in UNREADABLE | UNTIDY | {"image-twice"} and f.table}
        tables |= {name for f in self.findings for name in GLOBAL_KINDS.get(f.kind, ())}
        query = f"SELECT image_id, image_key, exposure_id FROM image_index WHERE {self._alive}"
        keys = {i: (key, e) for i, key, e in connection.execute(query)} if "images" in tables else {}
        plan = GlobalPlan(self.unreadable, frozenset(tables & GLOBAL_TABLES), known, keys)
        return mend_globals(self.snapshot, plan, partial(self._older, connection), self.executor)

    def _older(self, connection: sqlite3.Connection, table: str) -> list[DataFile]:
        query = (
            f"SELECT {FILE_COLUMNS} FROM files WHERE table_name = ? AND end_snapshot IS NOT NULL"
            " ORDER BY begin_snapshot DESC"
        )
        files = (DataFile(*row) for row in connection.execute(query, (table,)))
        return [file for file in files if file.name not in self.unreadable]

    def _cells(self, images: Ints) -> list[MendedCell]:
        """Mend the cells that have findings; all where images are given up, or solutions were made anew."""
        anew = "images_cal" in self.globals.rows
        everywhere = anew or bool(len(self.globals.dropped))
        plans = [self._plan(cell, found, anew=anew) for cell, found in self._found() if everywhere or found]
        if not plans:
            return []
        task = partial(mend_cell, task=self._task(images))
        return list(map_cells(self.executor, task, self.snapshot, plans))

    def _plan(self, cell: Cell, found: Iterable[Finding], *, anew: bool) -> CellPlan:
        kinds_of: dict[str, frozenset[str]] = {}
        for finding in (f for f in found if f.table):
            kinds_of[str(finding.table)] = kinds_of.get(str(finding.table), frozenset()) | {finding.kind}
        anew = anew or any(f.kind in RECALIBRATED for f in found)
        seedless = kinds_of.get("object_seeds", frozenset()) & SEEDLESS
        older = tuple(f for f in self.older_seeds if _overlap(cell, _cell_of(f))) if seedless else ()
        return CellPlan(cell, self.unreadable, self.untidy, recalibrate=anew, kinds_of=kinds_of, older=older)

    def _found(self) -> Iterator[tuple[Cell, list[Finding]]]:
        """Yield every cell with what was found in it, or in one that was split since or joined to it."""
        named: dict[str, list[Finding]] = {}
        for finding in (f for f in self.findings if f.cell):
            named.setdefault(str(finding.cell), []).append(finding)
        cells = self.snapshot.cells()
        gone = [(_cell_named(name), named[name]) for name in named.keys() - set(map(str, cells))]
        for cell in cells:
            near = [found for other, found in gone if _overlap(cell, other)]
            yield cell, [*named.get(str(cell), []), *(f for found in near for f in found)]

    def _task(self, ids: Ints) -> MendTask:
        """Put what the tasks need of images where they map it."""
        rows = self._table("images")
        order = np.argsort(int_column(rows, "image_id"))
        rows = rows.take(pa.array(order))
        paths = [self.place.path / f"repair-{name}.arrow" for name in ("images", "terms", "sources")]
        whole = np.zeros(rows.num_rows, dtype=bool)
        Images(int_column(rows, "image_id"), int_column(rows, "code"), whole).save(paths[0])
        terms = ImageTerms.of(rows, self._table("images_cal"))
        terms.save(paths[1])
        ImageSources(terms.image_id, terms.source).save(paths[2])
        photcodes = PhotcodeTerms.from_table(self._table("photcodes"))
        return MendTask(self.snapshot, self.place, paths[0], paths[1], paths[2], photcodes)

    def _table(self, name: str) -> pa.Table:
        """Return a global table as it is to be."""
        return self.globals.rows[name] if name in self.globals.rows else self.snapshot.read_global(name)

    def _counts(self, images: Ints) -> Ints:
        """Count the measurements of each image as they are to be."""
        counts = np.zeros(len(images), dtype=np.int64)
        done = {made.written.cell.key for made in self.cells}
        left = [cell for cell in self.snapshot.cells() if cell.key not in done]
        parts = [(made.image_id, made.count) for made in self.cells]
        task = partial(count_cell, snapshot=self.snapshot)
        for ids, count in [*parts, *map_cells(self.executor, task, self.snapshot, left)]:
            there = is_among(ids, images)
            counts[np.searchsorted(images, ids[there])] += count[there]
        return counts

    def _without_empty(self, images: Ints, counts: Ints) -> tuple[Ints, Ints]:
        """Give up images all of whose measurements are lost, so that ingesting their files again brings them back."""
        rows = self._table("images_cal")
        had = int_column(rows, "image_id")[int_column(rows, "n_measurements") > 0]
        empty = (counts == 0) & is_among(images, np.sort(had))
        if empty.any():
            self.globals.dropped = np.sort(np.concatenate([self.globals.dropped, images[empty]]))
            for name in ("images", "images_cal"):
                rows = self._table(name)
                stays = ~is_among(int_column(rows, "image_id"), images[empty])
                self.globals.put(name, rows.filter(pa.array(stays)), f"{int(empty.sum())} images given up")
        return images[~empty], counts[~empty]

    def _count_images(self, images: Ints, counts: Ints) -> None:
        """Have `images_cal` count what is there."""
        rows = self._table("images_cal")
        ids = int_column(rows, "image_id")
        right = counts[np.searchsorted(images, ids)]
        if not np.array_equal(int_column(rows, "n_measurements", missing=-1), right):
            at = rows.column_names.index("n_measurements")
            rows = rows.set_column(at, "n_measurements", pa.array(right.astype(np.int32)))
            done = self.globals.done.get("images_cal", "")
            self.globals.rows["images_cal"] = sort_rows(rows, "images_cal")
            self.globals.done["images_cal"] = f"{done}; counted anew" if done else "measurements counted anew"

    def _rows_now(self, table: str, adds: Sequence[DataFile], ends: Sequence[str]) -> int:
        """Return how many rows a table is to have."""
        ended = set(ends)
        return sum(f.rows for f in (*self.snapshot.files(table), *adds) if f.table == table and f.name not in ended)

    def _aliases(self) -> list[MendedAliases]:
        """Give up old ids of objects that are gone, where some are known to be, or seeds are lost now."""
        lost = {rows.table for made in self.cells for rows in made.lost}
        if "object_seeds" not in lost and not any(f.kind == "alias-broken" for f in self.findings):
            return []
        cells = self.snapshot.cells()
        made = {m.written.cell.key: m.written for m in self.cells}
        files = zip(*(self._files_now(table, cells, made) for table in ("object_seeds", ALIASES)), strict=True)
        named = [NamedCell(cell, *own) for cell, own in zip(cells, files, strict=True)]
        return mend_aliases(self.snapshot, self.place, named, self.executor)

    def _files_now(
        self, table: str, cells: Sequence[Cell], made: Mapping[tuple[int, int], RewrittenCell]
    ) -> Iterator[tuple[DataFile, ...]]:
        """Yield the files that each cell has of a table when what was made is in the place of what it replaces."""
        for cell, files in zip(cells, self.snapshot.files_of_cells(table, cells), strict=True):
            written = made.get(cell.key)
            ended = set(written.replaces) if written else set()
            new = [f for f in written.adds if f.table == table] if written else []
            yield (*(f for f in files if f.name not in ended), *new)

    def mended(self, number: int) -> tuple[Mended, ...]:
        """Say what was done."""
        tables = [Mended(done, table=name, snapshot=number) for name, done in self.globals.done.items()]
        cells = [
            Mended("; ".join(made.done) or "bounds and counts set", cell=str(made.written.cell), snapshot=number)
            for made in self.cells
        ]
        named = [
            Mended("gave up old ids", ALIASES, str(made.written.cell), snapshot=number) for made in self.aliases
        ]
        return (*tables, *cells, *named)

    def losses(self, kept: Mapping[str, str | None]) -> tuple[Loss, ...]:
        """Say what is lost, where its damaged file lies now, and what to ingest again."""
        lost = [*self.globals.lost, *(rows for made in self.cells for rows in made.lost)]
        lost += [made.lost for made in self.aliases]
        if len(self.globals.dropped):
            file = next((f.name for f in self.files if f.table == "images" and f.name in kept), None)
            dropped = tuple(self.globals.dropped.tolist())
            lost.append(LostRows("images", len(dropped), file=file, images=dropped))
        return self.ledger.losses(lost, kept)


def _cell_named(name: str) -> Cell:
    norder, npix = map(int, name.split("/"))
    return Cell(norder, npix)


def _cell_of(file: DataFile) -> Cell:
    return _cell_named(str(_cell_text(file)))


def _overlap(one: Cell, other: Cell) -> bool:
    return one.lo < other.hi and other.lo < one.hi


def count_cell(cell: Cell, *, snapshot: Snapshot) -> tuple[Ints, Ints]:
    """Count the measurements of a sound cell by image."""
    rows = snapshot.read_cell("measurements", cell, ["image_id"])
    return counted(int_column(rows, "image_id"))

"""A small database, and the ways to damage it: each makes one kind of finding."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.calibration.kept_apply import KeptApply, Solved
from skydb.database import Database
from skydb.declared import declare_table
from skydb.deletion import delete
from skydb.ingest.addstar import addstar
from skydb.schema.model import Table
from skydb.schema.tables import TABLES
from skydb.store.cells import Cell
from skydb.store.changes import Calibration, Changes, LogEntry
from skydb.store.files import DataFile, digest_of
from skydb.store.history import catalog_table
from skydb.store.layout import CATALOG, WORK, data_path, manifest_path, new_name, tag_path
from skydb.store.parquet import read_file, sort_rows, store_rows, write_file
from skydb.store.scratch import scratch
from skydb.store.tags import set_tag
from tests.ingest.skies import SURVEY_CODES, new_database, write_night, write_survey
from tests.ingest.tables import REFERENCE, mapping_of
from tests.store.test_aliases import add_aliases

Damage = Callable[[Database], object]


def small_database(folder: Path) -> Database:
    """One field seen four times in two bands, and a reference survey over it; tagged halfway.

    It lies where four of HEALPix' base pixels meet, so that each exposure is in four cells.
    """
    db = new_database(folder / "d.sky")
    night = write_night(folder / "night", exposures=4, stars=40, ra=45.0, dec=0.0)
    addstar(db, night[:2], workers=1)
    set_tag(db.root, "halfway")
    addstar(db, night[2:], workers=1)
    rng = np.random.default_rng(1)
    stars = [(i, float(a % 360), float(d)) for i, (a, d) in enumerate(rng.normal((45.0, 0.0), 0.03, (30, 2)))]
    mapping = mapping_of(folder, REFERENCE + SURVEY_CODES)
    addstar(db, [write_survey(folder / "survey.csv", stars)], mapping=mapping, workers=1)
    return db


def flip(path: Path, *, byte: int = 200, bit: int = 3) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[byte % len(content)] ^= 1 << bit
    path.write_bytes(content)


def file_of(db: Database, table: str, number: int = 0) -> DataFile:
    """One of the live files of a table, the fullest first."""
    return sorted(db.snapshot().files(table), key=lambda f: -f.rows)[number]


def path_of(db: Database, file: DataFile) -> Path:
    return db.root / file.path


def rows_of(db: Database, file: DataFile) -> pa.Table:
    """All rows of a file."""
    return read_file(db.snapshot().stored(file)).replace_schema_metadata()


def with_value(rows: pa.Table, column: str, row: int, value: object) -> pa.Table:
    """The rows with one value changed."""
    values = rows[column].to_pylist()
    values[row] = value
    return rows.set_column(rows.column_names.index(column), column, pa.array(values, rows[column].type))


def replace_file(
    db: Database, file: DataFile, rows: pa.Table, *, database: str | None = None, base: str | None = None,
    catalog: dict[str, object] | None = None,
) -> DataFile:  # fmt: skip
    """Commit a file in the place of another, as it is given; `catalog` is what the catalog says otherwise."""
    cell = None if file.norder is None or file.npix is None else (file.norder, file.npix)
    new = store_rows(db.root, database or db.id, rows, file.table, cell=cell, base=base or file.base)
    new = replace(new, **(catalog or {}))  # type: ignore[arg-type]  # of any field
    db.commit(Changes("test", "test", db.snapshot().id, adds=(new,), replaces=(file.name,)))
    return new


def replace_pair(db: Database, change: Callable[[pa.Table], pa.Table], raw: DataFile | None = None) -> None:
    """Change the rows of a raw file and of the calibrated one beside it in the same way."""
    raw = raw or file_of(db, "measurements")
    (cal,) = [f for f in db.snapshot().files("measurements_cal") if f.base == raw.name]
    cal_rows = change(rows_of(db, cal))
    made = replace_file(db, raw, change(rows_of(db, raw)))
    replace_file(db, cal, cal_rows, base=made.name)


def execute(db: Database, statement: str) -> None:
    """Change the catalog behind everybody's back."""
    with closing(sqlite3.connect(db.root / CATALOG)) as connection:
        connection.execute(statement)
        connection.commit()


def garbage(db: Database) -> None:
    (db.root / CATALOG).write_bytes(b"nonsense" * 1000)


def inner_cell(db: Database) -> None:
    cell = db.snapshot().cells()[0]
    execute(db, f"INSERT INTO cells VALUES ({cell.norder + 1}, {4 * cell.npix}, 'local', 1.0, 0, 1, NULL)")


def older_catalog(db: Database) -> None:
    """The catalog comes back from a copy that lacks the last commits."""
    before = db.root / "before"
    with closing(sqlite3.connect(db.root / CATALOG)) as source, closing(sqlite3.connect(before)) as copy:
        source.backup(copy)
    replace_file(db, file_of(db, "objects"), rows_of(db, file_of(db, "objects")))
    for ending in ("-wal", "-shm"):
        (db.root / f"{CATALOG}{ending}").unlink(missing_ok=True)
    before.replace(db.root / CATALOG)


def damaged_tag(db: Database) -> None:
    path = tag_path(db.root, "halfway")
    path.write_bytes(path.read_bytes()[:5000])


def rewritten(table: str, change: Callable[[pa.Table], pa.Table], *, database: str | None = None) -> Damage:
    """A damage: the rows of the fullest file of a table are changed."""
    return lambda db: replace_file(
        db, file_of(db, table), change(rows_of(db, file_of(db, table))), database=database
    )


def twice(table: str) -> Damage:
    """A damage: the first row of the fullest file of a table is there twice."""
    return rewritten(table, lambda rows: sort_rows(pa.concat_tables([rows, rows.slice(0, 1)]), table))


def backwards(rows: pa.Table) -> pa.Table:
    return rows.take(list(range(len(rows)))[::-1])


def of_no_object(rows: pa.Table) -> pa.Table:
    return sort_rows(with_value(rows, "object_id", 0, rows["object_id"][0].as_py() + 1), "object_bands")


def written_as(db: Database, file: DataFile, rows: pa.Table, declared: Table) -> None:
    """Commit a file in the place of another, of rows that are not as its table is declared."""
    name, (norder, npix) = new_name(), (int(file.norder or 0), int(file.npix or 0))
    path = data_path(file.table, (norder, npix), name)
    notes = {"skydb.database": db.id, "skydb.cell": f"{norder}/{npix}", "skydb.base": "",
             "skydb.schema_version": str(file.schema_version)}  # fmt: skip
    tail = write_file(db.root / path, rows, declared, metadata=notes)
    new = replace(
        file, name=name, path=path, bytes=(db.root / path).stat().st_size, digest=digest_of(db.root / path),
        tail_start=tail.start, tail_crc=tail.crc,
    )  # fmt: skip
    db.commit(Changes("test", "test", db.snapshot().id, adds=(new,), replaces=(file.name,)))


def without_column(db: Database) -> None:
    file, declared = file_of(db, "objects"), TABLES["objects"]
    rows = rows_of(db, file).drop_columns(["flags"])
    written_as(db, file, rows, replace(declared, columns=declared.columns[:-1]))


def null_founder(db: Database) -> None:
    file, declared = file_of(db, "object_seeds"), TABLES["object_seeds"]
    loose = replace(declared, columns=tuple(replace(c, required=False) for c in declared.columns))
    rows = rows_of(db, file).cast(loose.arrow.remove_metadata())
    written_as(db, file, with_value(rows, "founder_det_id", 0, None), loose)


def foreign_row(db: Database) -> None:
    """A file of seeds has a row of another cell."""
    file, other = file_of(db, "object_seeds"), file_of(db, "object_seeds", 1)
    rows = pa.concat_tables([rows_of(db, file), rows_of(db, other).slice(0, 1)])
    replace_file(db, file, sort_rows(rows, "object_seeds"))


def end_file(table: str) -> Damage:
    """A damage: a commit ends a file and brings nothing in its place."""
    return lambda db: db.commit(
        Changes("test", "test", db.snapshot().id, replaces=(file_of(db, table).name,))
    )


def plain_rows(db: Database, file: DataFile) -> list[tuple[int, int, int]]:
    """Place, image and number of the measurements of a file that founded no object."""
    seeds = [r for f in db.snapshot().files("object_seeds") for r in rows_of(db, f).to_pylist()]
    founders = {(r["founder_image_id"], r["founder_det_id"]) for r in seeds}
    rows = rows_of(db, file)
    pairs = zip(rows["image_id"].to_pylist(), rows["det_id"].to_pylist(), strict=True)
    return [(i, *pair) for i, pair in enumerate(pairs) if pair not in founders]


def unknown_image(db: Database) -> None:
    place = plain_rows(db, file_of(db, "measurements"))[0][0]
    replace_pair(db, lambda rows: sort_rows(with_value(rows, "image_id", place, 12345), "measurements"))


def same_detection(db: Database) -> None:
    """A measurement gets the detection number of another one of its image, in another cell."""
    files = db.snapshot().files("measurements")
    numbers = {(file.npix, r["image_id"]): r["det_id"] for file in files for r in rows_of(db, file).to_pylist()}
    file, place, number = next(
        (file, place, number) for file in files for place, image, _ in plain_rows(db, file)
        for (cell, its_image), number in numbers.items() if its_image == image and cell != file.npix
    )
    replace_pair(db, lambda r: sort_rows(with_value(r, "det_id", place, number), "measurements"), file)


def logged_otherwise(db: Database, **change: int) -> None:
    """The ingest log counts one file in another way."""
    columns = [n for n in TABLES["ingest_log"].names if n != "snapshot"]
    row = {n: v for n, v in catalog_table(db.snapshot(), "ingest_log").to_pylist()[0].items() if n in columns}
    entry = replace(LogEntry(**{**row, "reasons": {}}), **change)  # type: ignore[arg-type]  # counts
    db.commit(Changes("test", "test", db.snapshot().id, log=(entry,), ends_log=(entry.digest,)))


def revived(db: Database) -> None:
    """A reference survey is deleted, and an object that only it had lives."""
    log = catalog_table(db.snapshot(), "ingest_log").to_pylist()
    delete(db, files=[entry["file"] for entry in log if entry["file"].endswith(".csv")], workers=1)
    files = db.snapshot().files("object_seeds")
    file, row = next((f, i) for f in files for i, gone in enumerate(rows_of(db, f)["retired"].to_pylist()) if gone)
    replace_file(db, file, with_value(rows_of(db, file), "retired", row, False))


def narrow_cell(db: Database) -> None:
    file = file_of(db, "measurements")
    cell = next(c for c in db.snapshot().cells() if c.key == (file.norder, file.npix))
    db.commit(Changes("test", "test", db.snapshot().id, cells=(Cell(*cell.key, cell.host, 1e-4, stale=False),)))


def waiting_cell(db: Database) -> None:
    cell = db.snapshot().cells()[0]
    db.commit(
        Changes("test", "test", db.snapshot().id, cells=(replace(cell, stale=True),))
    )


def stray(db: Database) -> None:
    (db.root / "data" / "objects" / f"{new_name()}.parquet").write_bytes(b"x")


def unfinished_job(db: Database) -> None:
    """An apply that was killed as soon as it had said what it is."""
    folder = db.root / WORK / new_name()
    folder.mkdir()
    calibration = Calibration("relcal", ("g",), 1, 1, 1.0, {})
    KeptApply(folder).describe(Solved(calibration, "relcal", 1, pa.table({"image_id": [1]})), db.snapshot().id, 3)


def abandoned_folder(db: Database) -> None:
    (db.root / "work" / new_name()).mkdir()


def flip_older(db: Database) -> None:
    """Damage a file that only the tag needs."""
    live = {f.name for f in db.snapshot().files("objects")}
    flip(path_of(db, next(f for f in db.snapshot("halfway").files("objects") if f.name not in live)))


def with_table(keyed_by: str, change: Callable[[pa.Table], pa.Table] = lambda rows: rows) -> Damage:
    """A damage: a table of the user's own with a row for each object, or measurement, of a cell, changed."""

    def damage(db: Database) -> None:
        path = db.root.with_name("notes.toml")
        path.write_text(NOTES.format(keyed_by=keyed_by))
        declare_table(db, path)
        snapshot, source = db.snapshot(), file_of(db, "measurements")
        cell = next(c for c in snapshot.cells() if c.key == (source.norder, source.npix))
        names = ["object_id", "image_id", "det_id"] if keyed_by == "measurement" else ["object_id"]
        keys = snapshot.read_cell("measurements", cell, names).group_by(names).aggregate([]).select(names)
        rows = change(keys.append_column("note", pa.array(["seen"] * len(keys))))
        with scratch(db.root) as place:
            rows = sort_rows(rows, "notes", snapshot.tables)
            file = place.store(snapshot, rows, "notes", cell=cell)
            entry = LogEntry("notes.txt", "notes", 0, "notes:parquet", 0, len(keys), len(keys), 0, 0, 0, 0, {})
            db.commit(Changes("test", "test", snapshot.id, adds=(file,), log=(entry,)))

    return damage


NOTES = """
name = "notes"
meaning = "what was noted"
keyed_by = "{keyed_by}"
[[columns]]
name = "note"
type = "string"
meaning = "in words"
"""


def aliased(db: Database) -> tuple[int, int]:
    """Give two objects old ids, one in its own cell and one in another; return an object and an id of another cell."""
    here, there = (rows_of(db, file_of(db, "object_seeds", n))["object_id"].to_pylist() for n in (0, 1))
    add_aliases(db, {here[0] + 1: here[0], here[1] + 1: there[0]})
    return here[0], there[0]


def twice_aliased(db: Database) -> None:
    aliased(db)
    aliased(db)


def broken_alias(db: Database, *, elsewhere: bool) -> None:
    """An old id stands for an object that is not there, where it would be in its own cell, or elsewhere."""
    here, there = aliased(db)
    add_aliases(db, {here + 3: (there if elsewhere else here) + 2})


DAMAGES: dict[str, list[Damage]] = {
    "catalog-unreadable": [
        garbage, lambda db: (db.root / CATALOG).unlink(), lambda db: os.truncate(db.root / CATALOG, 9000),
    ],
    "cells-overlap": [inner_cell],
    "life-impossible": [
        lambda db: execute(db, "UPDATE files SET end_snapshot = begin_snapshot WHERE rowid = 1"),
        lambda db: execute(db, "UPDATE image_index SET begin_snapshot = 99"),
    ],
    "file-without-cell": [
        lambda db: execute(db, "DELETE FROM cells WHERE (norder, npix) IN (SELECT norder, npix FROM files WHERE name ="
                               f" '{file_of(db, 'objects').name}')"),
    ],
    "name-impossible": [
        lambda db: execute(db, f"UPDATE files SET host = 'x' WHERE name = '{file_of(db, 'images').name}'"),
        lambda db: execute(db, f"UPDATE files SET path = 'data/x' WHERE name = '{file_of(db, 'images').name}'"),
    ],
    "manifest-missing": [lambda db: manifest_path(db.root, 2).unlink(), lambda db: flip(manifest_path(db.root, 1))],
    "manifest-differs": [lambda db: execute(db, "UPDATE snapshots SET command = 'x' WHERE snapshot = 2")],
    "manifest-ahead": [older_catalog],
    "tag-unpublished": [damaged_tag],
    "file-missing": [lambda db: path_of(db, file_of(db, "objects")).unlink()],
    "file-damaged": [
        lambda db: flip(path_of(db, file_of(db, "objects"))),
        lambda db: flip(path_of(db, file_of(db, "measurements"))),
        lambda db: flip(path_of(db, file_of(db, "measurements_cal")), byte=-300),
        lambda db: flip(path_of(db, file_of(db, "images")), byte=0),
        lambda db: os.truncate(path_of(db, file_of(db, "object_seeds")), 500),
    ],
    "old-file-damaged": [flip_older],
    "file-foreign": [rewritten("objects", lambda rows: rows, database="of another one")],
    "file-schema": [without_column],
    "file-bounds": [
        lambda db: replace_file(db, file_of(db, "objects"), rows_of(db, file_of(db, "objects")), catalog={"rows": 3}),
        lambda db: replace_file(db, file_of(db, "images"), rows_of(db, file_of(db, "images")), catalog={"min_key": 7}),
    ],
    "file-unsorted": [rewritten("objects", backwards), rewritten("images", backwards)],
    "null-required": [null_founder],
    "id-outside": [foreign_row],
    "image-twice": [twice("images"), twice("exposures"), twice("photcodes")],
    "image-unindexed": [
        rewritten("images", lambda rows: rows.slice(1)),
        rewritten("images", lambda rows: with_value(rows, "image_key", 0, "chip|||x|")),
    ],
    "solution-missing": [rewritten("images_cal", lambda rows: rows.slice(1)), twice("images_cal")],
    "exposure-missing": [rewritten("exposures", lambda rows: rows.slice(1))],
    "photcode-missing": [rewritten("photcodes", lambda rows: rows.filter(pc.not_equal(rows["code"], 102)))],
    "pair-broken": [end_file("measurements_cal")],
    "pair-misaligned": [
        rewritten("measurements_cal", lambda rows: with_value(rows, "det_id", 0, 987654)),
        rewritten("measurements_cal", lambda rows: rows.slice(1)),
    ],
    "object-twice": [twice("object_seeds"), twice("objects"), twice("object_bands")],
    "seed-missing": [
        rewritten("object_seeds", lambda rows: rows.slice(1)),
        rewritten("object_seeds", lambda rows: with_value(rows, "retired", 0, True)),
    ],
    "founder-missing": [rewritten("object_seeds", lambda rows: with_value(rows, "founder_det_id", 0, 987654))],
    "object-empty": [revived],
    "objects-differ": [
        rewritten("objects", lambda rows: with_value(rows, "n_measurements", 0, 99)),
        rewritten("objects", lambda rows: rows.slice(1)),
        rewritten("object_bands", of_no_object),
    ],
    "image-missing": [unknown_image],
    "drift-exceeded": [narrow_cell],
    "motion-exceeded": [
        rewritten("object_seeds", lambda r: with_value(with_value(r, "assoc_pm_ra", 0, 9.0), "assoc_pm_dec", 0, 0.5)),
    ],
    "measurement-twice": [same_detection],
    "log-differs": [
        lambda db: logged_otherwise(db, n_in=7), lambda db: logged_otherwise(db, n_deleted_measurements=1),
        with_table("object", lambda rows: rows.slice(5)),
    ],
    "images-differ": [
        lambda db: logged_otherwise(db, n_images=3), lambda db: logged_otherwise(db, n_deleted_images=1),
    ],
    "row-unlinked": [
        with_table("object", lambda rows: with_value(rows, "object_id", 0, rows["object_id"][0].as_py() + 1)),
        with_table("measurement", lambda rows: with_value(rows, "det_id", 0, 987654)),
    ],
    "row-twice": [
        with_table("object", lambda rows: pa.concat_tables([rows, rows.slice(0, 1)])),
        twice_aliased,
    ],
    "alias-broken": [
        lambda db: broken_alias(db, elsewhere=False), lambda db: broken_alias(db, elsewhere=True),
        lambda db: add_aliases(db, {aliased(db)[0] + 3: 7}),
    ],
    "image-count": [rewritten("images_cal", lambda rows: with_value(rows, "n_measurements", 0, 99))],
    "calibrated-differ": [
        rewritten("measurements_cal", lambda rows: with_value(rows, "mag", 0, 12.5)),
        rewritten("measurements_cal", lambda rows: with_value(rows, "db_flags", 0, 1 << 31)),
    ],
    "derived-differ": [
        rewritten("object_bands", lambda rows: with_value(rows, "mag", 0, 12.5)),
        rewritten("objects", lambda rows: with_value(rows, "flags", 0, 1 << 30)),
    ],
    "orphan": [stray],
    "left-behind": [abandoned_folder],
    "unfinished": [unfinished_job],
    "removal-waiting": [lambda db: execute(db, "INSERT INTO removals VALUES ('x', 'local', 'data/x', 1)")],
    "refresh-waiting": [waiting_cell],
}  # fmt: skip
"""Damages that make exactly one kind of finding, by its name."""


def hold(folder: Path) -> int:
    """Hold a folder as a running job does; returns the handle to close."""
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle

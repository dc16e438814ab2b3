"""The tables of the catalog, declared once: SQL and the manual's page follow.

Tables, columns and what they mean are part of the format (docs/reference/format.md); indexes are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from skydb.schema.tables import TABLES


def _as_shown(table: str, *declared: str) -> tuple[tuple[str, str], ...]:
    """Return columns that queries show as well, with the meanings declared there."""
    return tuple((column, TABLES[table][column.split()[0]].meaning) for column in declared)


_LIFE = (
    ("begin_snapshot INTEGER NOT NULL", "the snapshot that brought the row"),
    ("end_snapshot INTEGER", "the snapshot that ended it; NULL: none so far"),
)


_FOLLOWING = frozenset({"begin_snapshot", "end_snapshot", "moved_snapshot", "expired_by"})
"""Columns whose values follow from which commits there were."""


@dataclass(frozen=True)
class CatalogTable:
    """One table of the catalog: its columns as SQL declares them, each with what it means (a constraint: nothing).

    `key` are the columns that tell its live rows apart, where rows have a life.
    """

    name: str
    meaning: str
    columns: tuple[tuple[str, str], ...]
    options: str = ""
    key: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(declared.split()[0] for declared, meaning in self.columns if meaning)

    @property
    def brought(self) -> tuple[str, ...]:
        """The columns that a commit brings with a row; the others follow from commits."""
        return tuple(name for name in self.names if name not in _FOLLOWING)

    @property
    def sql(self) -> str:
        """The statement that creates it."""
        return f"CREATE TABLE {self.name} ({', '.join(declared for declared, _ in self.columns)}){self.options}"


CATALOG_TABLES = (
    CatalogTable("meta", "what the database is", (
        ("key TEXT PRIMARY KEY", "`database_id` (32 hexadecimal digits), "
                                 "`format`, `cell_rows` (a cell of more rows splits), "
                                 "`difference` (there for one of difference images)"),
        ("value TEXT NOT NULL", "its value, as text"),
    ), " WITHOUT ROWID"),
    CatalogTable("snapshots", "the commits, one after another; 0 is the empty database", (
        *_as_shown(
            "snapshots", "snapshot INTEGER PRIMARY KEY", "parent INTEGER", "time TEXT NOT NULL", "kind TEXT NOT NULL",
            "command TEXT NOT NULL", "version TEXT NOT NULL", "calibration_id INTEGER NOT NULL",
        ),
        ("writes BLOB NOT NULL", "the sky that it changed: half-open ranges of order-29 pixels, as pairs of"
                                 " little-endian int64, compressed by zlib"),
        ("expired_by INTEGER", "the commit that gave it up, so that its files may be gone; NULL: none"),
    )),
    CatalogTable("tags", "names of snapshots", (
        ("tag TEXT NOT NULL", "the name"),
        ("snapshot INTEGER NOT NULL", "what it names"),
        *_LIFE,
    ), key=("tag",)),
    CatalogTable("hosts", "where files lie", (
        ("name TEXT NOT NULL", "the host; `local` is always there"),
        ("root TEXT NOT NULL", "folder or URL to which `files.path` is relative; empty: the database's own folder"),
        ("worker TEXT", "the Dask worker that reads it as local; NULL: none"),
        ("state TEXT NOT NULL", "`active`; `draining`: nothing new is placed there; `lost`: given up"),
        *_LIFE,
    ), key=("name",)),
    CatalogTable("settings", "what holds for the whole database; what is not there has its default", (
        ("key TEXT NOT NULL", "`copies`: how many of each file, 1 or 2 (1); `placement`: which host a new cell goes"
                              " to, as JSON (by bytes); `motion`: bounds of the motions in `object_seeds`, as JSON:"
                              " arcsec per year, first and last epoch (nothing moves)"),
        ("value TEXT NOT NULL", "its value, as text"),
        *_LIFE,
    ), key=("key",)),
    CatalogTable("cells", "the pixels into which the sky tables are cut", (
        *_as_shown("cells", "norder INTEGER NOT NULL", "npix INTEGER NOT NULL"),
        ("host TEXT NOT NULL", "the host that new files of the cell go to"),
        *_as_shown("cells", "drift_arcsec REAL NOT NULL"),
        ("stale INTEGER NOT NULL", "1: `objects` and `object_bands` wait for `skydb refresh`; else 0"),
        *_LIFE,
    ), key=("norder", "npix")),
    CatalogTable("files", "the Parquet files; one that a rollback brought back has several lives", (
        ("name TEXT NOT NULL", "32 hexadecimal digits, never used for another file"),
        ("table_name TEXT NOT NULL", "the table whose rows it holds"),
        ("norder INTEGER", "order of its cell; NULL: a global table's"),
        ("npix INTEGER", "number of its cell; NULL: a global table's"),
        ("host TEXT NOT NULL", "the host on which it lies now, whichever snapshot is read"),
        ("path TEXT NOT NULL", "where it lies there, relative to the host's root"),
        ("rows INTEGER NOT NULL", "its rows"),
        ("bytes INTEGER NOT NULL", "its size"),
        ("digest TEXT NOT NULL", "BLAKE2b of its bytes: 128 bits, hexadecimal"),
        ("tail_start INTEGER NOT NULL", "first byte of its tail"),
        ("tail_crc INTEGER NOT NULL", "CRC32 of its tail"),
        ("base TEXT", "of `measurements_cal`: name of the raw file beside which it lies, row by row; else NULL"),
        ("min_key INTEGER", "first value of the first sort column, fraction dropped; NULL: no rows, or no number"),
        ("max_key INTEGER", "the same of the last value"),
        ("schema_version INTEGER NOT NULL", "version of the declared tables by which it was written"),
        ("backup TEXT", "the host that has a second copy of it, at the same path; NULL: none"),
        ("moved_snapshot INTEGER", "the commit that last changed `host` or `backup`; NULL: none"),
        *_LIFE,
        ("PRIMARY KEY (name, begin_snapshot)", ""),
    ), key=("name",)),
    CatalogTable("ingest_log", TABLES["ingest_log"].meaning, (
        *_as_shown(
            "ingest_log", "file TEXT NOT NULL", "digest TEXT NOT NULL", "bytes INTEGER NOT NULL",
            "format TEXT NOT NULL", "n_images INTEGER NOT NULL", "n_in INTEGER NOT NULL", "n_matched INTEGER NOT NULL",
            "n_new INTEGER NOT NULL", "n_rejected INTEGER NOT NULL", "n_measurements INTEGER NOT NULL",
            "n_nulled INTEGER NOT NULL", "reasons TEXT NOT NULL", "n_deleted INTEGER NOT NULL",
            "n_deleted_measurements INTEGER NOT NULL", "n_deleted_images INTEGER NOT NULL",
        ),
        *_LIFE,
    ), key=("digest",)),
    CatalogTable("image_index", "which images came, to refuse them a second time", (
        ("image_id INTEGER NOT NULL", "as in `images`"),
        ("image_key TEXT NOT NULL", "what `image_id` is the hash of"),
        ("exposure_id INTEGER NOT NULL", "as in `exposures`"),
        ("digest TEXT NOT NULL", "of the ingested file that brought it"),
        *_LIFE,
    ), key=("image_id",)),
    CatalogTable("calibrations", TABLES["calibrations"].meaning, (
        *_as_shown(
            "calibrations", "calibration_id INTEGER PRIMARY KEY", "kind TEXT NOT NULL", "bands TEXT NOT NULL",
            "n_images INTEGER NOT NULL", "n_measurements INTEGER NOT NULL", "chi2 REAL", "report TEXT NOT NULL",
        ),
        _LIFE[0],
    )),
    CatalogTable("declarations", "tables of the user's own", (
        ("name TEXT NOT NULL", "the table"),
        ("text TEXT NOT NULL", "its declaration, as JSON"),
        *_LIFE,
    ), key=("name",)),
    CatalogTable("removals", "copies of files that the catalog needs no more, until they are removed", (
        ("name TEXT NOT NULL", "the file"),
        ("host TEXT NOT NULL", "the host on which the copy lies"),
        ("path TEXT NOT NULL", "where it lies there, relative to the host's root"),
        ("since_snapshot INTEGER NOT NULL", "the commit since which it is not needed"),
        ("PRIMARY KEY (name, host)", ""),
    ), " WITHOUT ROWID"),
)  # fmt: skip

LIVING = tuple(table for table in CATALOG_TABLES if table.key)
"""The tables whose rows have a life."""

_INDEXES = """
CREATE UNIQUE INDEX live_cells ON cells (norder, npix) WHERE end_snapshot IS NULL;
CREATE INDEX cells_by_begin ON cells (begin_snapshot);
CREATE INDEX cells_by_end ON cells (end_snapshot) WHERE end_snapshot IS NOT NULL;
CREATE INDEX live_files ON files (table_name, norder, npix) WHERE end_snapshot IS NULL;
CREATE INDEX ended_files ON files (table_name, norder, npix, end_snapshot) WHERE end_snapshot IS NOT NULL;
CREATE INDEX files_by_begin ON files (begin_snapshot);
CREATE INDEX files_by_end ON files (end_snapshot) WHERE end_snapshot IS NOT NULL;
CREATE UNIQUE INDEX live_digests ON ingest_log (digest) WHERE end_snapshot IS NULL;
CREATE INDEX ended_digests ON ingest_log (digest) WHERE end_snapshot IS NOT NULL;
CREATE INDEX log_by_begin ON ingest_log (begin_snapshot);
CREATE INDEX log_by_end ON ingest_log (end_snapshot) WHERE end_snapshot IS NOT NULL;
CREATE UNIQUE INDEX live_images ON image_index (image_id) WHERE end_snapshot IS NULL;
CREATE INDEX ended_images ON image_index (image_id) WHERE end_snapshot IS NOT NULL;
CREATE INDEX images_of_snapshot ON image_index (begin_snapshot);
CREATE INDEX images_by_end ON image_index (end_snapshot) WHERE end_snapshot IS NOT NULL;
CREATE UNIQUE INDEX live_tags ON tags (tag) WHERE end_snapshot IS NULL;
CREATE UNIQUE INDEX live_hosts ON hosts (name) WHERE end_snapshot IS NULL;
CREATE UNIQUE INDEX live_settings ON settings (key) WHERE end_snapshot IS NULL;
CREATE UNIQUE INDEX live_declarations ON declarations (name) WHERE end_snapshot IS NULL;
CREATE INDEX kept_snapshots ON snapshots (snapshot) WHERE expired_by IS NULL;
CREATE INDEX moved_files ON files (moved_snapshot) WHERE moved_snapshot IS NOT NULL;
"""
"""Files lie in the order in which they came, and live and ended ones have an index each: against one B-tree by name and
one index for both, replacing the files of 10,000 of 100,000 cells takes half the time, a catalog a sixth less space."""


def catalog_sql() -> str:
    """Return the statements that make an empty catalog."""
    return ";\n".join(table.sql for table in CATALOG_TABLES) + ";" + _INDEXES


def catalog_page() -> str:
    """Return the page of the manual about the catalog's tables."""
    return "\n".join(["# Tables of the catalog", "", *_page_lines()])


def _page_lines() -> Iterator[str]:
    yield "What `catalog.sqlite` holds. How to read it: [the format](../format.md)."
    for table in CATALOG_TABLES:
        yield from ("", f"## {table.name}", "", f"{table.meaning[0].upper()}{table.meaning[1:]}.", "")
        yield from ("| column | type | meaning |", "|---|---|---|")
        for declared, meaning in (column for column in table.columns if column[1]):
            name, kind = declared.split()[:2]
            yield f"| `{name}` | {kind} | {meaning} |"
    yield ""

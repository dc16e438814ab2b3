"""The photcode table of a database: import and replace."""

from __future__ import annotations

from os import PathLike, fspath

from skydb.database import Database
from skydb.errors import CommitConflict
from skydb.schema.photcodes import Photcodes, read_photcodes_text
from skydb.store.commit import Changes
from skydb.store.parquet import store_rows

ATTEMPTS = 10


def stored_photcodes(db: Database) -> Photcodes:
    """Return the photcodes of a database's newest snapshot."""
    return Photcodes.from_arrow(db.snapshot().read_global("photcodes"))


def import_photcodes(db: Database, path: str | PathLike[str]) -> int:
    """Add the photcodes of a DVO text file to a database and return how many are new.

    Raises
    ------
    DataError
        The file is not a photcode table, or contradicts what the database has.
    """
    given = read_photcodes_text(fspath(path))
    for attempt in range(ATTEMPTS):
        snapshot = db.snapshot()
        known = Photcodes.from_arrow(snapshot.read_global("photcodes"))
        merged = known.merge(given)
        if merged == known:
            return 0
        file = store_rows(db.root, db.id, merged.to_arrow(), "photcodes")
        old = tuple(f.name for f in snapshot.files("photcodes"))
        changes = Changes(
            "photcodes", f"photcodes --import {fspath(path)}", snapshot.id, adds=(file,), replaces=old,
            replaces_globals=("photcodes",),
        )  # fmt: skip
        try:
            db.commit(changes)
        except CommitConflict:
            if attempt == ATTEMPTS - 1:
                raise
            continue
        return len(merged) - len(known)
    raise AssertionError("unreachable")

"""The photcode table of a database: what it holds, and how it grows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike, fspath

from skydb.database import Database
from skydb.errors import UsageError, did_you_mean
from skydb.schema.photcodes import Photcode, Photcodes, read_photcodes_text
from skydb.store.changes import Changes
from skydb.store.command_line import one_line
from skydb.store.parquet import sort_rows
from skydb.store.retries import until_committed
from skydb.store.scratch import Scratch, scratch


def stored_photcodes(db: Database) -> Photcodes:
    """Return the photcodes of a database's newest snapshot."""
    return Photcodes.from_arrow(db.snapshot().read_global("photcodes"))


def import_photcodes(
    db: Database, path: str | PathLike[str], read: Callable[[str], Photcodes] = read_photcodes_text
) -> int:  # fmt: skip
    """Add the photcodes of a file, by default of DVO's text, to a database and return how many are new.

    Raises
    ------
    UsageError
        There is no such file.
    DataError
        The file is not a photcode table, or contradicts what the database has.
    """
    command = one_line(["photcodes", str(db.root), "--import", fspath(path)])
    return add_photcodes(db, read(fspath(path)), command)


def add_photcode(db: Database, photcode: Photcode) -> int:
    """Add one photcode to a database and return how many are new: 0 if it is there already.

    Raises
    ------
    UsageError
        Its band is no mean band (SEC) of the database.
    DataError
        The database has a photcode of that name or number, and another one.
    """
    bands = stored_photcodes(db).bands
    if photcode.band is not None and photcode.band not in (photcode.name, *bands):
        todo = f"{did_you_mean(photcode.band, bands)}; a band is a photcode too, and comes first: --add {photcode.band}"
        raise UsageError(f"no band named {photcode.band!r}", str(db.root), todo)
    return add_photcodes(db, [photcode], one_line(["photcodes", str(db.root), "--add", photcode.name]))


def add_photcodes(db: Database, given: Iterable[Photcode], command: str) -> int:
    """Add photcodes to a database, again if another writer comes first, and return how many are new.

    Raises
    ------
    DataError
        The database has a photcode of one's name or number, and another one.
    """
    rows = tuple(given)
    with scratch(db.root) as place:
        return until_committed(db.root, lambda: _merge(db, rows, command, place))


def _merge(db: Database, given: Iterable[Photcode], command: str, place: Scratch) -> int:
    """Commit the photcodes that the newest snapshot lacks."""
    snapshot = db.snapshot()
    known = Photcodes.from_arrow(snapshot.read_global("photcodes"))
    merged = known.merge(given)
    if merged == known:
        return 0
    file = place.store(snapshot, sort_rows(merged.to_arrow(), "photcodes"), "photcodes")
    old = tuple(f.name for f in snapshot.files("photcodes"))
    db.commit(
        Changes("photcodes", command, snapshot.id, adds=(file,), replaces=old, replaces_globals=("photcodes",))
    )
    return len(merged) - len(known)

"""The verbs `declare_table` and `drop_table`: give a database a table of its own, its next version, or take it away."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

from skydb import database
from skydb.database import Database
from skydb.errors import UsageError, did_you_mean
from skydb.schema.declaration import declaration_text, names_of, read_declaration
from skydb.schema.evolve import forbidden_changes
from skydb.schema.model import Table
from skydb.store.changes import NOWHERE, WHOLE_SKY, Changes, Declaration
from skydb.store.command_line import one_line
from skydb.store.history import catalog_table
from skydb.store.retries import until_committed


def declare_table(db: Database | str | PathLike[str], declaration: str | PathLike[str]) -> int:
    """Declare a table besides skydb's own; `skydb.addrows` brings its rows.

    Parameters
    ----------
    db
        The database, or its path.
    declaration
        Path of a TOML file, or the name of a declaration that comes with skydb: starpar, lensing, lens_objects,
        galphot. The next version of a table that is there already may add columns and widen types.

    Returns
    -------
    int
        The snapshot that has it; nothing is committed if it is there already.

    Raises
    ------
    UsageError
        The declaration declares no table, or changes one in a way that its rows cannot follow.

    Examples
    --------
    ::

        skydb.declare_table("survey.sky", "starpar")
        skydb.declare_table("survey.sky", "spectra.toml")
    """
    opened = db if isinstance(db, Database) else database.open(db)
    given = fspath(declaration)
    table = read_declaration(Path(declaration) if isinstance(declaration, PathLike) else given)
    command = one_line(["table", str(opened.root), "--declare", given])
    return until_committed(opened.root, lambda: _declare(opened, table, given, command))


def drop_table(db: Database | str | PathLike[str], name: str) -> int:
    """Take a declared table away, with all its rows; its files may be brought again, to a table declared anew.

    Earlier snapshots keep it.

    Returns
    -------
    int
        The snapshot without it.

    Raises
    ------
    UsageError
        The database declares no such table.
    """
    opened = db if isinstance(db, Database) else database.open(db)
    return until_committed(opened.root, lambda: _drop(opened, name))


def _drop(db: Database, name: str) -> int:
    snapshot = db.snapshot()
    if name not in snapshot.declared:
        what, todo = f"the database declares no table {name!r}", did_you_mean(name, snapshot.declared)
        raise UsageError(what, str(db.root), todo)
    log = catalog_table(snapshot, "ingest_log").to_pylist()
    return db.commit(Changes(
        "table", one_line(["table", str(db.root), "--drop", name]), snapshot.id, ends_declarations=(name,),
        replaces=tuple(f.name for f in snapshot.files(name)),
        ends_log=tuple(row["digest"] for row in log if row["format"].split(":")[0] == name),
        reads=WHOLE_SKY, writes=WHOLE_SKY,
    ))  # fmt: skip


def _declare(db: Database, table: Table, source: str, command: str) -> int:
    snapshot = db.snapshot()
    earlier = snapshot.declared.get(table.name)
    if earlier == table:
        return snapshot.id
    others = (t for name, t in snapshot.declared.items() if name != table.name)
    if taken := names_of(table) & {name for other in others for name in names_of(other)}:
        raise UsageError(f"another table has the name {min(taken)!r}, as its own or as DVO's", source, "choose another")
    if earlier is not None:
        _check_change(earlier, table, source)
    sky = NOWHERE if earlier is None else WHOLE_SKY  # who writes rows by the earlier version starts again
    return db.commit(Changes(
        "table", command, snapshot.id, declarations=(Declaration(table.name, declaration_text(table)),),
        ends_declarations=() if earlier is None else (table.name,), reads=sky, writes=sky,
    ))  # fmt: skip


def _check_change(earlier: Table, table: Table, source: str) -> None:
    forbidden = list(forbidden_changes(earlier, table))
    if forbidden:
        todo = "columns may be added (since) and types widened (widened); else declare a table of another name"
        raise UsageError(f"table {table.name}: {'; '.join(forbidden)}", source, todo)
    if table.version <= earlier.version:
        what = f"table {table.name} is there already, in version {earlier.version}, and another"
        raise UsageError(what, source, f"write version = {earlier.version + 1}, or choose another name")

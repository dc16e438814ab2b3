"""The hosts of a database, managed: add one, fill them evenly, empty one, keep second copies, give a lost one up."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from skydb.arguments import at_least_one
from skydb.database import Database
from skydb.errors import DataError, SkydbError, UsageError, clear_disk_errors, did_you_mean
from skydb.parallel.executor import Progress, Workers, executor_for
from skydb.sky.partition import merge_ranges
from skydb.store.catalog import reading, writing
from skydb.store.cells import LOCAL
from skydb.store.changes import Changes, Host, Setting
from skydb.store.host_report import Unreadable, in_words, unreadable
from skydb.store.hosts import (
    ACTIVE,
    DRAINING,
    LOST,
    Storage,
    checked_name,
    checked_root,
    storage_of,
)  # fmt: skip
from skydb.store.keeper import identity_at, require_identity, write_identity
from skydb.store.layout import HOST_FILE
from skydb.store.moving import Group, Moved, Target, groups_of, move_all, wanted_place
from skydb.store.placement import Key, host_of_copy, placement_setting, planned_hosts
from skydb.store.roots import Place
from skydb.store.tags import publish_stale_tags
from skydb.store.transfer import bytes_at, digest_at, remove_copy

SAMPLED = 50
"""Files that are looked for when a host's root is changed, unless all are checked."""

STATES = (ACTIVE, DRAINING)


def add_host(db: Database, name: str, root: str | PathLike[str], *, worker: str | None = None) -> int:
    """Make a storage root known as a host, and return the snapshot of the commit.

    Parameters
    ----------
    root
        A folder, which is made if its parent is there, or a URL that fsspec knows.
    worker
        Name or address of the Dask worker that reads it as local.

    Raises
    ------
    UsageError
        The name is taken; the root cannot be written, belongs to another host, or lies in the root of another.
    """
    storage = storage_of(db.root)
    name = checked_name(storage, name)
    place = Place(name, checked_root(storage, name, fspath(root)), HOST_FILE)
    found, ours = identity_at(place), storage.identity(name)
    if found is not None and replace(found, keeper=found.keeper or ours.keeper) != ours:
        at = f", at {found.keeper}" if found.keeper else ""
        what = f"this is host {found.host!r} of the database {found.database}{at}"
        raise UsageError(what, place.root, "choose another place, or remove its host.json if that is gone")
    write_identity(place, ours)
    try:
        return _commit(db, storage, f"hosts {db.root} add {name} {root}", hosts=(Host(name, place.root, worker),))
    except BaseException:
        if found is None and name not in storage_of(db.root).hosts:
            with suppress(OSError, SkydbError):
                remove_copy(place)
        raise


def set_host(
    db: Database, name: str, *, root: str | PathLike[str] | None = None, worker: str | None = None,
    state: str | None = None, check: bool = False,
) -> int:  # fmt: skip
    """Say that a host's files are at another root by now, that another worker reads it, or whether it takes new files.

    Parameters
    ----------
    root
        Where its files are already; nothing is moved. From now on this database writes and removes files there, and no
        other of which it is a copy, or which is a copy of it.
    worker
        None leaves it as it is, "" takes it away.
    state
        "active" or "draining".
    check
        Compare every file with its digest; else some are looked for.

    Raises
    ------
    UsageError, DataError
        There is no such host; its files are not at that root.
    """
    storage = storage_of(db.root)
    host = storage.host(name)
    if state not in (None, *STATES):
        raise UsageError(f"{state!r} is no state of a host", None, did_you_mean(str(state), STATES))
    if root is not None:
        if name == LOCAL:
            raise UsageError("the host 'local' is the database's own folder", str(db.root), "move the database itself")
        host = replace(host, root=checked_root(storage, name, fspath(root)))
    changed = replace(host, worker=host.worker if worker is None else worker or None, state=state or host.state)
    if root is not None or check or (storage.hosts[name].state == LOST and state):
        _require_files(db, changed, check=check)
    words = f"hosts {db.root} set {name}"
    snapshot = _commit(db, storage, words, ends_hosts=(name,), hosts=(changed,))
    if root is not None:
        with suppress(OSError, SkydbError):  # what cannot be written is read only: whoever writes there hears of it
            write_identity(Place(name, changed.root, HOST_FILE), storage.identity(name))
    publish_stale_tags(db.root)
    return snapshot


def _require_files(db: Database, host: Host, *, check: bool) -> None:
    """Refuse a root where a host's files are not, or not as they were written."""
    storage = storage_of(db.root)
    moved = replace(storage, hosts={**storage.hosts, host.name: host})
    if host.name != LOCAL:
        require_identity(Place(host.name, moved.root_of(host.name), HOST_FILE), db.id)
    with reading(db.root) as connection:
        files = connection.execute(
            "SELECT path, bytes, digest FROM files WHERE ? IN (host, backup) GROUP BY name ORDER BY name", (host.name,)
        ).fetchall()
    chosen = files if check else random.Random(0).sample(files, min(SAMPLED, len(files)))
    looked_for = [(moved.place(host.name, path), size, digest) for path, size, digest in chosen]
    wrong = [place for place, size, digest in looked_for if not _is_there(place, size, digest, check)]
    if wrong:
        what = f"{len(wrong)} of {len(chosen)} files that were looked for are not there, or are damaged"
        raise DataError(what, str(wrong[0]), "mount the right disk, or copy the files there first")


def _is_there(place: Place, size: int, digest: str, check: bool) -> bool:
    if not check:
        return bytes_at(place) == size
    try:
        return digest_at(place) == digest
    except SkydbError:
        return False


def remove_host(db: Database, name: str) -> int:
    """Forget a host on which nothing lies that any snapshot needs, and return the snapshot of the commit.

    Copies there that are needed no more are left to `skydb gc`.

    Raises
    ------
    UsageError
        There is no such host, or something lies there: says what.
    """
    storage = storage_of(db.root)
    storage.host(name)
    if name == LOCAL:
        raise UsageError("the host 'local' is the database's own folder", str(db.root), "it cannot be removed")
    held = _held_by(db, name)
    if held:
        todo = f"`skydb hosts DB drain {name}` moves it to others"
        if storage.hosts[name].state == LOST:
            todo = "`skydb gc` gives up the old snapshots that name it"
        raise UsageError(f"the host {name!r} still has {held}", str(db.root), todo)
    snapshot = _commit(db, storage, f"hosts {db.root} remove {name}", ends_hosts=(name,))
    with suppress(OSError, SkydbError):
        storage.require_kept(name)
        remove_copy(storage.place(name, HOST_FILE))
    publish_stale_tags(db.root)
    return snapshot


def _held_by(db: Database, name: str) -> str:
    """Say what lies on a host, in any snapshot; nothing: an empty text."""
    with reading(db.root) as connection:
        files, size, live, second = connection.execute(
            "SELECT COUNT(*), COALESCE(SUM(bytes), 0), COALESCE(SUM(live), 0), COALESCE(SUM(host <> ?1), 0) FROM"
            " (SELECT host, bytes, MAX(end_snapshot IS NULL) AS live FROM files"
            " WHERE ?1 IN (host, backup) GROUP BY name)",
            (name,),
        ).fetchone()
        query = "SELECT COUNT(*) FROM cells WHERE end_snapshot IS NULL AND host = ?"
        (cells,) = connection.execute(query, (name,)).fetchone()
    parts = [f"{cells} cells"] if cells else []
    if files:
        parts.append(f"{files} files of {size} bytes ({live} of the newest snapshot, {second} second copies)")
    return ", ".join(parts)


def drain(db: Database, name: str, *, workers: Workers = None, progress: Progress | None = None) -> Moved:
    """Move everything away from a host, which takes nothing new from now on.

    From `local` go the cells; the global tables stay with the catalog.

    Raises
    ------
    UsageError
        There is no such host, or no other that could take the files.
    DataError, BusyError
        A disk is full, a host not there, another process moves files: what was moved stays moved. Run it again.
    """
    storage = storage_of(db.root)
    host, others = storage.host(name), set(storage.active) - {name}
    if len(others) < min(storage.copies, 2) if name != LOCAL else not others:
        what = f"no {'two ' * (storage.copies > 1)}other hosts take what lies on {name!r}"
        raise UsageError(what, str(db.root), "add one with `skydb hosts DB add`")
    storage.require_kept()
    command = f"hosts {db.root} drain {name}"
    if host.state == ACTIVE:
        _commit(db, storage, command, ends_hosts=(name,), hosts=(replace(host, state=DRAINING),))
    return _move_cells(db, command, even=False, workers=workers, progress=progress)


def balance(
    db: Database, *, by: str | None = None, rules: str | PathLike[str] | None = None, workers: Workers = None,
    progress: Progress | None = None,
) -> Moved:  # fmt: skip
    """Move cells until every host has its share.

    Parameters
    ----------
    by
        "bytes", "random" or "rule": how cells are placed, these and new ones, from now on; None: as it was.
    rules
        A TOML file; `skydb.store.placement.parse_rules`.

    Raises
    ------
    UsageError, DataError, BusyError
        No such policy, wrong rules; as `drain`.
    """
    storage, command = storage_of(db.root), f"hosts {db.root} balance"
    storage.require_kept()
    if by is not None:
        setting = placement_setting(storage, by, Path(rules) if rules is not None else None)
        _set(db, storage, f"{command} --by {by}", "placement", json.dumps(setting))
    return _move_cells(db, command, even=True, workers=workers, progress=progress)


def set_copies(
    db: Database, copies: int | None = None, *, workers: Workers = None, progress: Progress | None = None
) -> Moved:
    """Give every file as many copies as are wanted, from now on: 1, or 2 on different hosts; None: as it was.

    Raises
    ------
    UsageError
        Another number, or too few hosts.
    DataError, BusyError
        As `drain`.
    """
    storage = storage_of(db.root)
    copies = storage.copies if copies is None else at_least_one(copies, "copies")
    if copies > 2:
        raise UsageError(f"{copies} copies of each file are too many", None, "choose 1 or 2")
    if copies > len(storage.active):
        raise UsageError("there is one host that takes files", str(db.root), "add another: `skydb hosts DB add`")
    storage.require_kept()
    command = f"hosts {db.root} backup --copies {copies}"
    _set(db, storage, command, "copies", str(copies))
    return _moving(db, command, partial(wanted_place, hosts={}), {}, workers, progress)


def lose_host(
    db: Database, name: str, *, accept_loss: bool = False, workers: Workers = None, progress: Progress | None = None
) -> tuple[Moved, list[Unreadable]]:
    """Give up a host whose files are gone: second copies elsewhere take their place, and get new ones if that is set.

    Returns what was moved, and the rows of the newest snapshot that were lost. Where old snapshots have files nowhere
    else, the host stays known as lost, until `skydb gc` gives those snapshots up.

    Raises
    ------
    UsageError
        There is no such host.
    DataError
        Rows of the newest snapshot have no other copy, and that is not accepted: says which. The host stays known as
        lost; `set_host` takes it back.
    """
    storage = storage_of(db.root)
    host = storage.host(name)
    if name == LOCAL:
        raise UsageError("the host 'local' has the catalog", str(db.root), "see docs/how-to/recover-from-damage.md")
    command = f"hosts {db.root} remove {name} --lost"
    if host.state != LOST:
        _commit(db, storage, command, ends_hosts=(name,), hosts=(replace(host, state=LOST),))
    moved = _moving(db, command, _without(name), _cells_of_lost(db, name), workers, progress)
    lost = unreadable(db.root, [name])
    if lost and not accept_loss:
        back = f"`skydb hosts DB set {name} --root … --state active`"
        todo = f"it is marked lost; bring it back ({back}), or give them up (--accept-loss)"
        raise DataError(f"no copy is left of {in_words(lost)}", f"host {name}", todo)
    if lost:
        _give_up_rows(db, f"{command} --accept-loss", name)
    with writing(db.root) as connection:
        connection.execute("DELETE FROM removals WHERE host = ?", (name,))
    if not _held_by(db, name):
        remove_host(db, name)
    return moved, lost


def _without(lost: str) -> Target:
    """Return where files belong when a host is lost."""

    def target(storage: Storage, group: Group) -> tuple[str, str | None]:
        left = [h for h in (group.host, group.backup) if h not in (lost, None)]
        if not left or lost not in (group.host, group.backup):
            return group.host, group.backup
        return str(left[0]), host_of_copy(storage, str(left[0]), group.about)

    return target


def _cells_of_lost(db: Database, name: str) -> dict[Key, str]:
    """Return where cells of a lost host go: to the host of their second copies, else where new ones go."""
    storage, groups = storage_of(db.root), groups_of(db.root)
    backups = {g.key: g.backup for g in groups if g.key and g.host == name and g.backup}
    cells = {c.key: (c.host, 0) for c in db.snapshot().cells() if c.host == name}
    planned = planned_hosts(storage, cells, even=False)
    return {key: backups.get(key) or planned[key] for key in cells}


def _give_up_rows(db: Database, command: str, name: str) -> None:
    """End what a lost host had: a cell's derived tables alone are made anew; of others the whole cell is given up."""
    snapshot = db.snapshot()
    cells = {c.key: c for c in snapshot.cells()}
    with reading(db.root) as connection:
        files = connection.execute(
            "SELECT name, table_name, norder, npix, host FROM files WHERE end_snapshot IS NULL AND norder IS NOT NULL"
        ).fetchall()
    lost = [(file, table, (norder, npix)) for file, table, norder, npix, host in files if host == name]
    gone = {key for file, table, key in lost if not Unreadable(name, "", table, 1, 0).derived}
    ending = {file for file, _, _ in lost} | {file for file, _, *key, _ in files if tuple(key) in gone}
    touched = [cells[key] for key in sorted({key for _, _, key in lost})]
    ranges = merge_ranges(np.array(sorted((c.lo, c.hi) for c in touched), dtype=np.int64))
    db.commit(Changes(
        "hosts", command, snapshot.id, replaces=tuple(sorted(ending)), reads=ranges, writes=ranges,
        cells=tuple(replace(c, stale=c.key not in gone) for c in touched),
    ))  # fmt: skip


def _move_cells(db: Database, command: str, *, even: bool, workers: Workers, progress: Progress | None) -> Moved:
    """Plan where cells go, and move them."""
    storage, groups = storage_of(db.root), groups_of(db.root)
    live = {c.key: c.host for c in db.snapshot().cells()}
    planned = planned_hosts(storage, _weighed(storage, groups, live), even=even)
    settled = {key: planned.get(key, host) for key, host in live.items()}
    return _moving(db, command, partial(wanted_place, hosts={**planned, **settled}), settled, workers, progress)


def _weighed(storage: Storage, groups: Iterable[Group], live: Mapping[Key, str]) -> dict[Key, tuple[str, int]]:
    """Return host and bytes of every live cell, and of cells that are no more but have files where none may stay."""
    sizes: dict[Key, tuple[str, int]] = {key: (host, 0) for key, host in live.items()}
    for group in groups:
        if group.key is not None and (group.key in live or group.host not in storage.active):
            host, size = sizes.get(group.key, (group.host, 0))
            sizes[group.key] = host, size + group.bytes
    return {key: (host, size) for key, (host, size) in sizes.items() if storage.hosts[host].state != LOST}


def _moving(
    db: Database, command: str, target: Target, placed: Mapping[Key, str], workers: Workers, progress: Progress | None
) -> Moved:
    with clear_disk_errors(db.root):
        return move_all(db.root, command, target, placed=placed, executor=executor_for(workers or 1), progress=progress)


def _set(db: Database, storage: Storage, command: str, key: str, value: str) -> None:
    """Change a setting, if it is another."""
    with reading(db.root) as connection:
        row = connection.execute("SELECT value FROM settings WHERE key = ? AND end_snapshot IS NULL", (key,)).fetchone()
    if row != (value,):
        _commit(db, storage, command, settings=(Setting(key, value),), ends_settings=(key,) if row else ())


def _commit(db: Database, storage: Storage, command: str, **what: object) -> int:
    """Commit changes of hosts or settings, on top of the newest snapshot."""
    with clear_disk_errors(db.root):
        return db.commit(Changes("hosts", command, db.snapshot().id, **what))  # type: ignore[arg-type]  # as named there

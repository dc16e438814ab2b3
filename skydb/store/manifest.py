"""Manifests: one JSON file for each commit, from which the catalog can be made again.

Each row has a line of its own, to read and to compare. The last line is the CRC32 of all before it, because a manifest
is believed when there is no catalog to compare it with.
"""

from __future__ import annotations

import json
import re
import sqlite3
import uuid
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from skydb.errors import DataError

from .catalog import FORMAT_VERSION, reading
from .catalog_tables import CATALOG_TABLES, LIVING
from .files import write_durably
from .layout import CATALOG, COMMITS, manifest_path
from .mending import how_to_mend
from .ranges import pack_ranges, unpack_ranges
from .record import MOVED, Record, Row, apply_record, recorded_in

_TABLES = {table.name: table for table in CATALOG_TABLES}
_CRC_LINE = re.compile(rb' "crc32": "([0-9a-f]{8})"\n}\n\Z')


def write_manifest(root: Path, snapshot: int) -> None:
    """Write the manifest of the newest snapshot from the catalog, durably.

    Whoever opens the database or commits next does so too, if it is not there yet: hence the temporary name. When a
    later commit has come, it is there, and the catalog may tell it no more.
    """
    text, path = manifest_text(root, snapshot), manifest_path(root, snapshot)
    if text is None:
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    write_durably(path, lambda to: _write_bytes(to, text), temporary=temporary)


def complete_head(root: Path, head: int) -> None:
    """Write the manifest of the newest snapshot if its writer has died without; after another commit it is too late.

    Raises
    ------
    DataError
        The catalog is not that of the manifests.
    """
    if not manifest_path(root, head).exists():
        require_own_catalog(root)
        write_manifest(root, head)


def require_own_catalog(root: Path) -> None:
    """Refuse to go by a catalog that is not that of the manifests: an older copy of it, or another database's.

    What was committed since would be written over, and its files be taken for orphans.

    Raises
    ------
    DataError
        There is a manifest after the newest snapshot, or the first or the newest one is not the catalog's.
    """
    seen = None
    while True:
        with reading(root) as connection:
            head, fault = _newest(connection), _fault(root, connection)
        if fault is None:
            return
        if head == seen:  # nobody committed meanwhile, who would have been ahead of this reader
            raise fault
        seen = head


def refuse_other_catalog(root: Path, connection: sqlite3.Connection) -> None:
    """Refuse the same, inside the transaction of the catalog's one writer."""
    fault = _fault(root, connection)
    if fault is not None:
        raise fault


def _newest(connection: sqlite3.Connection) -> Row:
    newest = "SELECT snapshot, parent, time FROM snapshots ORDER BY snapshot DESC LIMIT 1"
    return tuple(connection.execute(newest).fetchone())


def _fault(root: Path, connection: sqlite3.Connection) -> DataError | None:
    """Return what tells a catalog from the one that the manifests tell of, if anything does."""
    newest = _newest(connection)
    head, first = newest[0], connection.execute("SELECT snapshot, parent, time FROM snapshots WHERE snapshot = 0")
    what = None
    if manifest_path(root, head + 1).exists():
        what = f"it ends at snapshot {head}, but there is a manifest of snapshot {head + 1}"
    meta = dict(connection.execute("SELECT key, value FROM meta ORDER BY key"))
    for row in (*first, newest):
        if what is None and not _tells_of(manifest_path(root, row[0]), meta, row):
            what = f"its snapshot {row[0]} is not that of the manifest"
    if what is None:
        return None
    advice = "it is an older copy, or another database's, or has lost its catalog.sqlite-wal; "
    path = root / CATALOG
    return DataError(f"this is not the catalog that commits/ tells of: {what}", str(path), advice + how_to_mend(path))


def _tells_of(path: Path, meta: dict[str, str], row: Row) -> bool:
    """Say whether a manifest is of this database and snapshot; one that is missing or damaged is left to `fsck`."""
    names = _TABLES["snapshots"].brought[: len(row)]
    begins = _encoded({"format": FORMAT_VERSION, "database": meta, "snapshot": dict(zip(names, row, strict=True))})
    begins = begins[: begins.rindex(b"},\n")]
    try:
        with path.open("rb") as handle:
            if handle.read(len(begins)) == begins:
                return True
        its_meta, record = read_manifest(path)
    except (OSError, DataError):
        return True
    return its_meta == meta and record.snapshot[: len(row)] == row


def _write_bytes(path: Path, text: bytes) -> None:
    path.write_bytes(text)


def manifest_text(root: Path, snapshot: int) -> bytes | None:
    """Return the manifest of the newest snapshot, as the catalog tells it; None where it is not the newest."""
    with reading(root) as connection:
        if connection.execute("SELECT MAX(snapshot) FROM snapshots").fetchone() != (snapshot,):
            return None
        return manifest_as_told(connection, snapshot)


def manifest_as_told(connection: sqlite3.Connection, snapshot: int) -> bytes:
    """Return the manifest of any snapshot as a catalog tells it; of one but the newest, what came later may show."""
    meta = dict(connection.execute("SELECT key, value FROM meta ORDER BY key"))
    record = recorded_in(connection, snapshot)
    return _encoded({"format": FORMAT_VERSION, "database": meta, **_as_json(record)})


def _as_json(record: Record) -> dict[str, Any]:
    """Return a record as lists of objects, the columns by name."""
    (head,) = _named([record.snapshot], _TABLES["snapshots"].brought)
    head["writes"] = unpack_ranges(head["writes"]).tolist()
    sections: dict[str, Any] = {
        "snapshot": head, "calibrations": _named(record.calibrations, _TABLES["calibrations"].brought),
    }  # fmt: skip
    for table in LIVING:
        sections[f"{table.name}_ended"] = _named(record.ended.get(table.name, ()), table.key)
        sections[f"{table.name}_added"] = _named(record.added.get(table.name, ()), table.brought)
    sections["files_moved"] = _named(record.moved, MOVED)
    sections["snapshots_expired"] = list(record.expired)
    return sections


def _named(rows: Iterable[Row], columns: tuple[str, ...]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _encoded(manifest: dict[str, Any]) -> bytes:
    parts = []
    for key, value in manifest.items():
        rows = ",\n  ".join(map(json.dumps, value)) if isinstance(value, list) else None
        text = json.dumps(value) if rows is None else f"[\n  {rows}\n ]" if rows else "[]"
        parts.append(f" {json.dumps(key)}: {text},\n")
    body = ("{\n" + "".join(parts)).encode()
    return body + f' "crc32": "{zlib.crc32(body):08x}"\n}}\n'.encode()


def read_manifest(path: Path) -> tuple[dict[str, str], Record]:
    """Return what a manifest says: the database's `meta`, and what the commit did.

    Raises
    ------
    DataError
        It is missing, damaged or of another format.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"a manifest cannot be read: {error.strerror}", str(path), how_to_mend(path)) from error
    found = _CRC_LINE.search(text)
    if found is None or zlib.crc32(text[: found.start()]) != int(found[1], 16):
        raise DataError("a manifest is damaged", str(path), how_to_mend(path))
    content = json.loads(text)
    if content["format"] != FORMAT_VERSION:
        raise DataError(f"a manifest is of format {content['format']}", str(path), "use the skydb that wrote it")
    return content["database"], _from_json(content)


def _from_json(content: dict[str, Any]) -> Record:
    head = {**content["snapshot"], "writes": pack_ranges(content["snapshot"]["writes"])}
    return Record(
        _values([head], _TABLES["snapshots"].brought)[0],
        _values(content["calibrations"], _TABLES["calibrations"].brought),
        {t.name: _values(content[f"{t.name}_ended"], t.key) for t in LIVING},
        {t.name: _values(content[f"{t.name}_added"], t.brought) for t in LIVING},
        _values(content["files_moved"], MOVED),
        tuple(content["snapshots_expired"]),
    )


def _values(rows: Iterable[dict[str, Any]], columns: tuple[str, ...]) -> tuple[Row, ...]:
    return tuple(tuple(row[column] for column in columns) for row in rows)


def manifest_numbers(root: Path) -> list[int]:
    """Return the snapshots that have a manifest, sorted."""
    return sorted(int(path.stem) for path in (root / COMMITS).glob("*.json") if path.stem.isdigit())


def replay(connection: sqlite3.Connection, manifests: Iterable[Path]) -> Iterator[Record]:
    """Fill an empty catalog from manifests, in the order of their commits; yields each record when it was applied.

    The first one's `meta` becomes the catalog's. A copy that waits to be removed is listed even where it is gone.

    Raises
    ------
    DataError
        A manifest is missing, damaged, of another database, or does not fit those before it.
    """
    meta: dict[str, str] = {}
    for number, path in enumerate(manifests):
        its_meta, record = read_manifest(path)
        if not meta:
            meta = its_meta
            connection.executemany("INSERT INTO meta VALUES (?, ?)", sorted(meta.items()))
        if its_meta != meta or record.number != number:
            raise DataError(f"this is no manifest of snapshot {number} of the database", str(path), how_to_mend(path))
        try:
            apply_record(connection, record)
        except sqlite3.IntegrityError as error:
            what = f"a manifest does not fit those before it: {error}"
            raise DataError(what, str(path), how_to_mend(path)) from error
        yield record

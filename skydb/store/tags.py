"""Tags: names of snapshots. Each is published as a copy of the catalog, which is read where nothing can be written."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from skydb.errors import CommitConflict, UsageError, clear_disk_errors

from .catalog import reading
from .changes import Changes, Tag
from .commit import commit
from .crashpoints import reached
from .files import write_durably
from .layout import CATALOG, tag_path
from .manifest import complete_head
from .snapshot import snapshot_number


def set_tag(root: Path, tag: str, at: int | str | None = None) -> int:
    """Name a snapshot, publish a read-only copy of the catalog under the name, and return the snapshot's number.

    The commit that does it is a snapshot of its own; without `at`, the newest one that is no such commit is named. A
    name that the snapshot has already is given again: where the disk was full, that completes it.

    Raises
    ------
    UsageError
        The name is taken, or is not made of letters, digits, ".", "_" and "-" with a letter first; there is no such
        snapshot.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,63}", tag):
        raise UsageError(f"{tag!r} is not a tag", None, "use letters, digits, '.', '_', '-'; a letter first")
    number = snapshot_number(root, at)[0] if at is not None else _newest(root)
    with clear_disk_errors(root):
        if not _has(root, tag, number):
            try:
                commit(root, Changes("tag", f"tag {tag}", number, tags=(Tag(tag, number),)))
            except CommitConflict:
                if not _has(root, tag, number):
                    raise
        complete_head(root)
        publish_tag(root, tag)
        reached("tag.published")
    return number


def _newest(root: Path) -> int:
    with reading(root) as connection:
        (number,) = connection.execute("SELECT MAX(snapshot) FROM snapshots WHERE kind <> 'tag'").fetchone()
    return int(number)


def _has(root: Path, tag: str, number: int) -> bool:
    """Say whether a snapshot has the name; refuse one that another has."""
    taken = live_tags(root).get(tag)
    if taken not in (None, number):
        raise UsageError(f"tag {tag!r} names snapshot {taken} already", str(root), "choose another name")
    return taken is not None


def live_tags(root: Path) -> dict[str, int]:
    """Return the tags and the snapshots that they name."""
    with reading(root) as connection:
        return dict(connection.execute("SELECT tag, snapshot FROM tags WHERE end_snapshot IS NULL ORDER BY tag"))


def publish_tag(root: Path, tag: str) -> None:
    """Copy the catalog as it is now into one file that needs no write access to be read."""
    write_durably(tag_path(root, tag), lambda path: _copy_catalog(root, path))


def publish_missing_tags(root: Path) -> None:
    """Publish the tags whose copy a crash has prevented."""
    for tag in live_tags(root):
        if not tag_path(root, tag).exists():
            publish_tag(root, tag)


def _copy_catalog(root: Path, path: Path) -> None:
    with closing(sqlite3.connect(root / CATALOG)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")

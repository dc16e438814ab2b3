"""Tags: names of snapshots. Each is published as a copy of the catalog, which is read where nothing can be written."""

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

from skydb.errors import CommitConflict, UsageError, clear_disk_errors, did_you_mean, done_so_far

from .catalog import clear_errors, reading
from .catalog_copies import seal
from .changes import Changes, Tag
from .commit import commit
from .crashpoints import reached
from .files import require_writable, write_durably
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
        snapshot; nothing may be written here.
    DataError
        The disk is full or fails: the error says whether the tag is given all the same.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,63}", tag):
        raise UsageError(f"{tag!r} is not a tag", None, "use letters, digits, '.', '_', '-'; a letter first")
    number = snapshot_number(root, at)[0] if at is not None else _newest(root)
    with clear_disk_errors(root):
        require_writable(tag_path(root, tag).parent)
        if not _has(root, tag, number):
            try:
                commit(root, Changes("tag", f"tag {tag}", number, tags=(Tag(tag, number),)))
            except CommitConflict:
                if not _has(root, tag, number):
                    raise
        complete_head(root, snapshot_number(root, None)[0])
        with done_so_far(f"tag {tag!r} is given", root):
            publish_tag(root, tag)
        reached("tag.published")
    return number


def delete_tag(root: Path, tag: str) -> int:
    """Take a name away, with the published copy of the catalog, and return the snapshot that had it.

    The commit that does it is a snapshot of its own. Without a name, `gc` may give the snapshot up.

    Raises
    ------
    UsageError
        There is no such tag.
    """
    with clear_disk_errors(root):
        tags = live_tags(root)
        if tag not in tags:
            raise UsageError(f"no tag named {tag!r}", str(root), did_you_mean(tag, tags))
        for _ in range(2):  # whoever opens the database publishes the copy of a tag that is still there
            tag_path(root, tag).unlink(missing_ok=True)
            reached("tag.withdrawn")
            if tag in live_tags(root):
                with suppress(CommitConflict):  # another took it away
                    commit(root, Changes("tag", f"tag --delete {tag}", tags[tag], ends_tags=(tag,)))
    return tags[tag]


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
        return tags_in(connection)


def tags_in(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the tags of an open catalog and the snapshots that they name."""
    return dict(connection.execute("SELECT tag, snapshot FROM tags WHERE end_snapshot IS NULL ORDER BY tag"))


def publish_tag(root: Path, tag: str) -> None:
    """Copy the catalog as it is now into one file that needs no write access to be read.

    Whoever opens the database does so too, if it is not there yet: hence the temporary name.
    """
    path = tag_path(root, tag)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with clear_errors(path):
        write_durably(path, lambda to: _copy_catalog(root, to), temporary=temporary)


def publish_missing_tags(root: Path, tags: Iterable[str]) -> None:
    """Publish those of the tags whose copy a crash has prevented."""
    for tag in tags:
        if not tag_path(root, tag).exists():
            publish_tag(root, tag)


def publish_stale_tags(root: Path) -> None:
    """Publish the tags again whose copies say of files that they lie where they were before a move."""
    with reading(root) as connection:
        (moved,) = connection.execute(
            "SELECT MAX(COALESCE((SELECT MAX(moved_snapshot) FROM files WHERE moved_snapshot IS NOT NULL), 0),"
            " (SELECT MAX(begin_snapshot) FROM hosts))"
        ).fetchone()
    for tag in live_tags(root):
        if _published_at(tag_path(root, tag)) < moved:
            publish_tag(root, tag)


def _published_at(path: Path) -> int:
    """Return the newest snapshot that a published tag knows; -1 where it is missing or damaged."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            return int(connection.execute("SELECT MAX(snapshot) FROM snapshots").fetchone()[0])
    except sqlite3.Error:
        return -1


def _copy_catalog(root: Path, path: Path) -> None:
    with closing(sqlite3.connect(root / CATALOG)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")
    seal(path)

"""What a repair writes into the ingest log, and what it says is lost: rows counted as they are to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from skydb.store.changes import LogEntry
from skydb.store.history import every_entry
from skydb.store.row_log import brings_rows_of, log_with_rows, rows_logged
from skydb.store.snapshot import Snapshot

from .keys import Ints
from .report import Loss

_INGESTED = ("images", "measurements", "measurements_cal")
"""Tables whose rows come back when their files are ingested again."""


@dataclass(frozen=True)
class LostRows:
    """Rows that a repair gives up; what is the same as in `Loss` is explained there.

    `file` is the name of the damaged file, the first of several; `digests` are those of the ingested files that had the
    rows, where no images tell.
    """

    table: str
    rows: int
    cell: str | None = None
    file: str | None = None
    images: tuple[int, ...] = ()
    digests: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    part: str = ""


class Ledger:
    """The ingest log under repair; `digest_of` says of each image of the index which file brought it."""

    def __init__(self, snapshot: Snapshot, digest_of: Mapping[int, str]) -> None:
        self._snapshot, self._digest_of = snapshot, digest_of
        self._entries = {entry.digest: entry for entry in every_entry(snapshot)}
        self._measurements: dict[str, int] = {}
        self._images: dict[str, int] = {}
        self._rows: dict[str, int] = {}

    def entries(self, images: Ints, counts: Ints) -> list[LogEntry]:
        """Return the entries that are to change, so that they count the images that stay, and their measurements."""
        stored, indexed = Counter[str](), Counter[str]()
        for image, count in zip(images.tolist(), counts.tolist(), strict=True):
            stored[self._digest_of[image]] += count
            indexed[self._digest_of[image]] += 1
        changed = []
        for digest, entry in self._entries.items():
            self._measurements[digest] = entry.n_measurements - entry.n_deleted_measurements - stored[digest]
            self._images[digest] = entry.n_images - entry.n_deleted_images - indexed[digest]
            now = _without(entry, self._measurements[digest], self._images[digest])
            changed += [now] if now != entry else []
        return changed

    def row_entries(self, rows: Mapping[str, int]) -> list[LogEntry]:
        """Return the entries that are to change, so that they count no more rows of declared tables than there are."""
        entries = self._entries.values()
        short = {t: rows_logged(e for e in entries if brings_rows_of(e, t)) - n for t, n in rows.items()}
        self._rows = {table: missing for table, missing in short.items() if missing > 0}
        return log_with_rows(self._snapshot, {table: -missing for table, missing in self._rows.items()})

    def losses(self, lost: Sequence[LostRows], kept: Mapping[str, str | None]) -> tuple[Loss, ...]:
        """Say what is lost; `kept` says by name where damaged files lie now."""
        return tuple(self._loss(rows, kept) for rows in [*lost, *self._untold(lost)])

    def _untold(self, lost: Sequence[LostRows]) -> list[LostRows]:
        """Return what the log misses where no file and no cell can be told that had it."""
        told = {rows.table.removesuffix("_cal") for rows in lost if not rows.part}
        missing = {"measurements": self._measurements, "images": self._images}
        gone = {table: {d: n for d, n in of.items() if n > 0} for table, of in missing.items() if table not in told}
        rows = [LostRows(table, missing) for table, missing in self._rows.items() if table not in told]
        return [*(LostRows(table, sum(of.values()), digests=tuple(of)) for table, of in gone.items() if of), *rows]

    def _loss(self, rows: LostRows, kept: Mapping[str, str | None]) -> Loss:
        images, digests = rows.images, set(rows.digests)
        if rows.table in _INGESTED:
            short = digests or {d for d, missing in self._measurements.items() if missing > 0}
            images = images or tuple(i for i, d in self._digest_of.items() if d in short)
            digests |= {self._digest_of[i] for i in images if i in self._digest_of}
        files = tuple(sorted(self._entries[d].file for d in digests if d in self._entries))
        quarantine = kept.get(rows.file) if rows.file else None
        return Loss(rows.table, rows.cell, rows.rows, quarantine, images, files, rows.names, rows.part)


def _without(entry: LogEntry, measurements: int, images: int) -> LogEntry:
    """Return an entry with so many more of its measurements and images gone, fewer where that is negative."""
    rows = entry.n_deleted + measurements if entry.n_measurements else entry.n_deleted
    return replace(
        entry, n_deleted=min(max(rows, 0), entry.n_matched + entry.n_new),
        n_deleted_measurements=max(entry.n_deleted_measurements + measurements, 0),
        n_deleted_images=max(entry.n_deleted_images + images, 0),
    )  # fmt: skip

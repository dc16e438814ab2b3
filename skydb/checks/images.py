"""The global tables against each other and the catalog: images, their solutions, exposures and photcodes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.calibration.columns import int_column
from skydb.calibration.mapped import load_mapped, save_mapped
from skydb.kernels.distinct import counted, distinct, is_among
from skydb.schema.identity import image_id as id_of_key
from skydb.schema.tables import TABLES
from skydb.store.catalog import alive
from skydb.store.parquet import read_file
from skydb.store.snapshot import Snapshot

from .findings import Finding
from .keys import Ints
from .stored import check_file

UNKNOWN = np.iinfo(np.int64).min
"""Photcode of an image whose row cannot be read."""
KEYS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Images:
    """The images that the catalog knows: (N,) ids, ascending, and photcodes; `UNKNOWN` where the row is lost.

    `cut` are those of files that have measurements which are not here: they may be here in part.
    """

    image_id: Ints
    code: Ints
    cut: NDArray[np.bool_]

    def save(self, path: Path) -> None:
        """Write them where worker processes map them."""
        save_mapped(path, vars(self))

    @classmethod
    def load(cls, path: Path) -> Images:
        """Map what `save` wrote."""
        return cls(**load_mapped(path))

    def rows_of(self, image_id: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Return the place of each image, and whether it is there."""
        if not len(self.image_id):
            return np.zeros(len(image_id), np.int64), np.zeros(len(image_id), np.bool_)
        at = np.searchsorted(self.image_id, image_id).clip(max=len(self.image_id) - 1)
        return at, np.asarray(self.image_id[at] == image_id)

    def are_whole(self, image_id: Ints) -> NDArray[np.bool_]:
        """Say which images are there, and surely with all their measurements."""
        return is_among(image_id, self.image_id[~self.cut])


@dataclass(frozen=True)
class GlobalAnswer:
    """What the check of the global tables found.

    `n_measurements` (N,) is what `images_cal` counts for the images, None where that cannot be read; `usable` names the
    tables all of whose files can be read.
    """

    findings: tuple[Finding, ...]
    images: Images
    n_measurements: Ints | None
    usable: frozenset[str]
    n_files: int
    n_rows: int
    n_bytes: int


def check_globals(
    snapshot: Snapshot, connection: sqlite3.Connection, away: frozenset[str] = frozenset()
) -> GlobalAnswer:
    """Check images, images_cal, exposures and photcodes of a snapshot; `connection` is to its catalog.

    `away` are hosts that are not there.
    """
    files = [f for name, table in TABLES.items() if table.kind == "global" for f in snapshot.files(name)]
    checked = [check_file(f, snapshot, away) for f in files]
    bad = {f.table for f, c in zip(files, checked, strict=True) if c.whole is None}
    usable = frozenset(name for name, table in TABLES.items() if table.kind == "global" and name not in bad)
    known = indexed_images(connection, snapshot.id)
    cut = is_among(known, _cut_images(connection, snapshot.id))
    images, found = _images(snapshot, known, cut, usable), [f for c in checked for f in c.findings]
    found += [
        *(_index_findings(snapshot, connection, known) if "images" in usable else ()),
        *(_solution_findings(snapshot, known) if "images_cal" in usable else ()),
        *(_exposure_findings(snapshot) if {"images", "exposures"} <= usable else ()),
        *(_photcode_findings(snapshot, images) if "photcodes" in usable else ()),
    ]
    counts = _counts(snapshot, known) if "images_cal" in usable else None
    return GlobalAnswer(
        tuple(found), images, counts, usable, len(files), sum(f.rows for f in files), sum(f.bytes for f in files)
    )


def indexed_images(connection: sqlite3.Connection, at: int) -> Ints:
    """Return the ids of the images that the catalog's index has at a snapshot, ascending."""
    rows = connection.execute(f"SELECT image_id FROM image_index WHERE {alive(at)} ORDER BY image_id")
    return np.fromiter((i for (i,) in rows), dtype=np.int64)


def _cut_images(connection: sqlite3.Connection, at: int) -> Ints:
    """Return the images, ascending, of files of which measurements were deleted, or left out by a merge."""
    files = f"SELECT digest FROM ingest_log WHERE {alive(at)} AND n_deleted_measurements > 0"
    query = f"SELECT image_id FROM image_index WHERE {alive(at)} AND digest IN ({files}) ORDER BY image_id"
    return np.fromiter((i for (i,) in connection.execute(query)), dtype=np.int64)


def _images(snapshot: Snapshot, known: Ints, cut: NDArray[np.bool_], usable: frozenset[str]) -> Images:
    code = np.full(len(known), UNKNOWN, dtype=np.int64)
    if "images" in usable and len(known):
        rows = snapshot.read_global("images", ["image_id", "code"])
        ids = int_column(rows, "image_id")
        there = is_among(ids, known)
        code[np.searchsorted(known, ids[there])] = int_column(rows, "code")[there]
    return Images(known, code, cut)


def _index_findings(snapshot: Snapshot, connection: sqlite3.Connection, known: Ints) -> Iterator[Finding]:
    """Compare `images` with the catalog's index, key by key."""
    seen: list[Ints] = []
    strange = 0
    for file in snapshot.files("images"):
        rows = read_file(snapshot.stored(file), ["image_id", "image_key", "exposure_id"])
        seen.append(int_column(rows, "image_id"))
        strange += sum(_strange(connection, part, snapshot.id) for part in rows.to_batches(KEYS_AT_ONCE))
    ids = np.concatenate([np.empty(0, np.int64), *seen])
    yield from _once(ids, "images")
    lost = int((~is_among(known, np.sort(ids))).sum())
    if lost:
        yield Finding("image-unindexed", f"{lost} images of the index have no row", "images", rows=lost)
    if strange:
        what = f"{strange} images are not in the index under their key, exposure and the id of their key"
        yield Finding("image-unindexed", what, "images", rows=strange)


def _strange(connection: sqlite3.Connection, rows: pa.RecordBatch, at: int) -> int:
    """Count the images that the index does not have as they are, or whose id is not that of their key."""
    columns = (rows.column(name).to_pylist() for name in ("image_id", "image_key", "exposure_id"))
    there = list(zip(*columns, strict=True))
    query = (
        "SELECT image_id, image_key, exposure_id FROM image_index"
        f" WHERE image_id IN (SELECT value FROM json_each(?)) AND {alive(at)}"
    )
    indexed = set(connection.execute(query, (json.dumps([image for image, _, _ in there]),)))
    return sum(row not in indexed or id_of_key(row[1]) != row[0] for row in there)


def _solution_findings(snapshot: Snapshot, known: Ints) -> Iterator[Finding]:
    """Check that `images_cal` has every image once."""
    ids = int_column(snapshot.read_global("images_cal", ["image_id"]), "image_id")
    lost = known[~is_among(known, np.sort(ids))]
    if len(lost):
        what = f"{len(lost)} images have no row, such as {lost[0]}"
        yield Finding("solution-missing", what, "images_cal", rows=len(lost))
    extra = len(ids) - len(known) + len(lost)
    if extra:
        yield Finding("solution-missing", f"{extra} rows too many", "images_cal", rows=extra)


def _exposure_findings(snapshot: Snapshot) -> Iterator[Finding]:
    exposures = int_column(snapshot.read_global("exposures", ["exposure_id"]), "exposure_id")
    yield from _once(exposures, "exposures")
    wanted = distinct(int_column(snapshot.read_global("images", ["exposure_id"]), "exposure_id"))
    lost = wanted[~is_among(wanted, np.sort(exposures))]
    if len(lost):
        what = f"{len(lost)} exposures of images are not there, such as {lost[0]}"
        yield Finding("exposure-missing", what, "exposures", rows=len(lost))


def _photcode_findings(snapshot: Snapshot, images: Images) -> Iterator[Finding]:
    rows = snapshot.read_global("photcodes", ["code", "name"])
    names, codes = rows["name"].to_pylist(), int_column(rows, "code")
    if len(set(names)) < len(names):
        yield Finding("image-twice", f"{len(names) - len(set(names))} names are there twice", "photcodes")
    wanted = distinct(images.code[images.code != UNKNOWN])
    lost = wanted[~is_among(wanted, np.sort(codes))]
    if len(lost):
        what = f"images have codes of no photcode: {', '.join(map(str, lost))}"
        yield Finding("photcode-missing", what, "photcodes", rows=len(lost))


def _once(ids: Ints, table: str) -> Iterator[Finding]:
    distinct_ids, counts = counted(ids)
    twice = distinct_ids[counts > 1]
    if len(twice):
        yield Finding("image-twice", f"{len(twice)} ids have several rows, such as {twice[0]}", table, rows=len(twice))


def _counts(snapshot: Snapshot, known: Ints) -> Ints:
    """Return `n_measurements` of the images; -1 where it is not known."""
    rows = snapshot.read_global("images_cal", ["image_id", "n_measurements"])
    ids = int_column(rows, "image_id")
    counts, there = np.full(len(known), -1, dtype=np.int64), is_among(ids, known)
    counts[np.searchsorted(known, ids[there])] = int_column(rows, "n_measurements", missing=-1)[there]
    return counts

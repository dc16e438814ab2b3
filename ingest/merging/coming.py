"""What another database has that this one lacks: images with all their measurements, files of the log, declarations.

An image is there or it is not: one that both have keeps the measurements that it has here, and the other's are left
out. So what the log says of a file's rows stays true, and a second merge brings only images that came since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.errors import DataError
from skydb.kernels.distinct import is_among
from skydb.schema.declaration import declaration_text
from skydb.schema.photcodes import Photcodes
from skydb.store.changes import Declaration, ImageKey, LogEntry
from skydb.store.history import digests_of_images, every_entry, logged_files
from skydb.store.snapshot import Snapshot


@dataclass(frozen=True)
class Coming:
    """What a snapshot of another database, the source, brings to a snapshot of this one, the base.

    `images`, `images_cal`, `exposures` are rows of the tables, `digest` says by image which file brought it, `log` has
    the source's entries of all files that come whole or in part, by digest, `there` the base's of those that it has.
    `known_images` counts the source's images that the base has already.
    """

    source: Snapshot
    base: Snapshot
    images: pa.Table
    images_cal: pa.Table
    exposures: pa.Table
    photcodes: Photcodes
    base_photcodes: Photcodes
    declarations: tuple[Declaration, ...]
    digest: dict[int, str]
    log: dict[str, LogEntry]
    there: dict[str, LogEntry]
    known_images: int

    @property
    def ids(self) -> np.ndarray:
        """The ids of the images that come, ascending."""
        ids: np.ndarray = np.sort(self.images.column("image_id").to_numpy())
        return ids

    @property
    def brings_photcodes(self) -> bool:
        """Whether photcodes come."""
        return self.photcodes != self.base_photcodes

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is to come, rows of declared tables aside."""
        return not (self.images.num_rows or self.log or self.declarations or self.brings_photcodes)

    def keys(self) -> tuple[ImageKey, ...]:
        """Return the entries of the index of images."""
        columns = (self.images.column(name).to_pylist() for name in ("image_id", "image_key", "exposure_id"))
        rows = zip(*columns, strict=True)
        return tuple(ImageKey(image, key, exposure, self.digest[image]) for image, key, exposure in rows)


def coming_from(source: Snapshot, base: Snapshot) -> Coming:
    """Return what a source brings to a base.

    Raises
    ------
    DataError
        A photcode or a declared table is another in both, or a file was read otherwise here and there.
    """
    images = source.read_global("images")
    ids = images.column("image_id").to_numpy()
    known = np.array(sorted(digests_of_images(base, ids.tolist())), dtype=np.int64)
    new = pa.array(~is_among(ids, known))
    images = images.filter(new)
    digest = digests_of_images(source, images.column("image_id").to_pylist())
    solutions = source.read_global("images_cal")
    solutions = solutions.filter(pc.is_in(solutions.column("image_id"), images.column("image_id").combine_chunks()))
    log, there = _log_of(source, base, set(digest.values()))
    _check_read_alike(log, there)
    photcodes, base_photcodes = (Photcodes.from_arrow(s.read_global("photcodes")) for s in (source, base))
    return Coming(
        source, base, images, _with_own_components(solutions, base), _new_exposures(source, base, images),
        base_photcodes.merge(photcodes), base_photcodes, _new_declarations(source, base), digest, log, there,
        len(known),
    )  # fmt: skip


def _with_own_components(solutions: pa.Table, base: Snapshot) -> pa.Table:
    """Return solutions whose components have numbers that none here has: nothing ties them to those."""
    taken = pc.max(base.read_global("images_cal", ["component"]).column(0)).as_py()
    if taken is None:
        return solutions
    at = solutions.column_names.index("component")
    own = pc.add(solutions.column("component"), pa.scalar(taken + 1, pa.int32()))
    return solutions.set_column(at, solutions.field(at), own)


def _log_of(source: Snapshot, base: Snapshot, digests: set[str]) -> tuple[dict[str, LogEntry], dict[str, LogEntry]]:
    """Return the source's entries of files that bring images, or never had any; and the base's of the former."""
    entries = every_entry(source)
    there = logged_files(base, [entry.digest for entry in entries])
    coming = {e.digest: e for e in entries if e.digest in digests or not (e.n_images or e.digest in there)}
    return coming, {digest: entry for digest, entry in there.items() if digest in coming}


def _check_read_alike(log: Mapping[str, LogEntry], there: Mapping[str, LogEntry]) -> None:
    """Refuse images of a file of which the base has others, if it was read otherwise there."""
    for name, entry in there.items():
        theirs = log[name]
        same = (entry.n_images, entry.n_in, entry.n_rejected, entry.n_measurements)
        if same != (theirs.n_images, theirs.n_in, theirs.n_rejected, theirs.n_measurements):
            what = "some of its images were deleted here, and the other database read it otherwise"
            raise DataError(what, entry.file, "delete all of it in one of the two databases, then merge")


def _new_exposures(source: Snapshot, base: Snapshot, images: pa.Table) -> pa.Table:
    wanted = pc.unique(images.column("exposure_id"))
    exposures = source.read_global("exposures")
    known = base.read_global("exposures", ["exposure_id"]).column(0).combine_chunks()
    ids = exposures.column("exposure_id")
    return exposures.filter(pc.and_(pc.is_in(ids, wanted), pc.invert(pc.is_in(ids, known))))


def _new_declarations(source: Snapshot, base: Snapshot) -> tuple[Declaration, ...]:
    for name, table in source.declared.items():
        if name in base.declared and base.declared[name] != table:
            what = f"both databases declare a table {name}, and not the same"
            raise DataError(what, str(base.root), "declare the later version in the other: `skydb table`")
    return tuple(
        Declaration(name, declaration_text(table)) for name, table in source.declared.items()
        if name not in base.declared
    )  # fmt: skip


def log_after(
    coming: Coming, n_measurements: Mapping[int, int], founded: Mapping[int, int]
) -> tuple[tuple[LogEntry, ...], tuple[str, ...]]:
    """Return the entries of the log as they are after the merge, and the digests of those that end.

    Parameters
    ----------
    n_measurements
        How many measurements come of each image.
    founded
        How many objects each image founds here: rows of it that did so there have matched here.
    """
    images, rows, new = Counter(coming.digest.values()), Counter[str](), Counter[str]()
    for image, digest in coming.digest.items():
        rows[digest] += n_measurements.get(image, 0)
        new[digest] += founded.get(image, 0)
    entries = []
    for digest, theirs in coming.log.items():
        entry = coming.there.get(digest)
        if entry is None:
            kept = theirs.n_matched + theirs.n_new
            moved = replace(theirs, n_new=new[digest], n_matched=kept - new[digest]) if images[digest] else theirs
            entries.append(_with_deleted(moved, theirs.n_images - images[digest], theirs.n_measurements - rows[digest]))
        else:
            left = entry.n_deleted_images - images[digest], entry.n_deleted_measurements - rows[digest]
            entries.append(_with_deleted(entry, *left))
    return tuple(entries), tuple(coming.there)


def _with_deleted(entry: LogEntry, n_images: int, n_measurements: int) -> LogEntry:
    """Return a file's entry with so many of its images and measurements not here."""
    rows = 0 if not n_images else entry.n_matched + entry.n_new if n_images == entry.n_images else n_measurements
    return replace(entry, n_deleted=rows, n_deleted_measurements=n_measurements, n_deleted_images=n_images)

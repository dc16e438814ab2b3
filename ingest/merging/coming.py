"""What another database has that this one lacks: images with all their measurements, files of the log, declarations.

An image that both have keeps the measurements that it has here, and the other's are left out; but one that an earlier
merge brought in part is completed (`in_part`). What of a file's rows is not here, the log counts as deleted: so what it
says stays true, and a second merge brings only what came since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.calibration.apply import ImageTerms
from skydb.calibration.mapped import save_mapped
from skydb.errors import DataError
from skydb.kernels.distinct import is_among
from skydb.schema.declaration import declaration_text
from skydb.schema.photcodes import Photcodes
from skydb.store.changes import Declaration, ImageKey, LogEntry
from skydb.store.history import digests_of_images, every_entry, logged_files
from skydb.store.snapshot import Snapshot

from .in_part import InPart, images_in_part, reads_alike
from .selection import Selection


@dataclass(frozen=True)
class Coming:
    """What a snapshot of another database, the source, brings to a snapshot of this one, the base.

    `images`, `images_cal`, `exposures` are rows of the tables, `digest` says by image which file brought it, `log` has
    the source's entries of all files that come whole or in part, by digest, `there` the base's of those that it has.
    `known_images` counts the source's images that the base has already; of `in_part` it lacks measurements. The images
    `left_out` (ascending) come not, by their photcodes.
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
    in_part: InPart
    left_out: np.ndarray

    @property
    def ids(self) -> np.ndarray:
        """The ids of the images that come, ascending."""
        ids: np.ndarray = np.sort(self.images.column("image_id").to_numpy())
        return ids

    def terms(self) -> ImageTerms:
        """Return what the measurements that come need of their images: of one in part, what the base has."""
        more = self.in_part
        return ImageTerms.of(_both(self.images, more.images), _both(self.images_cal, more.images_cal))

    @property
    def brings_photcodes(self) -> bool:
        """Whether photcodes come."""
        return self.photcodes != self.base_photcodes

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is to come, rows of declared tables aside."""
        brings = self.images.num_rows or self.in_part.digest or self.log or self.declarations
        return not (brings or self.brings_photcodes)

    @property
    def several(self) -> tuple[str, ...]:
        """The digests of files whose rows make several measurements, or none."""
        return tuple(sorted(d for d, entry in self.log.items() if entry.n_images and _makes_several(entry)))

    def save_several(self, folder: Path) -> Path:
        """Write the images of those files, ascending, with the files' numbers, where worker processes map them."""
        number = {digest: n for n, digest in enumerate(self.several)}
        images = sorted((i, number[d]) for i, d in (self.digest | self.in_part.digest).items() if d in number)
        path = folder / f"several-{self.base.id}.arrow"
        ids, files = (np.array([pair[n] for pair in images], dtype=np.int64) for n in range(2))
        save_mapped(path, {"image_id": ids, "file": files})
        return path

    def counts(self) -> dict[int, int]:
        """Return how many measurements the source has of the images that are to come, where it has a count."""
        rows = self.images_cal.select(["image_id", "n_measurements"]).drop_null()
        return dict(zip(*(column.to_pylist() for column in rows.columns), strict=True))

    def keys(self) -> tuple[ImageKey, ...]:
        """Return the entries of the index of images."""
        columns = (self.images.column(name).to_pylist() for name in ("image_id", "image_key", "exposure_id"))
        rows = zip(*columns, strict=True)
        return tuple(ImageKey(image, key, exposure, self.digest[image]) for image, key, exposure in rows)

    def that_came(self, n_measurements: Mapping[int, int], *, cut: bool) -> Coming:
        """Return what is left of it when measurements of these images came; of a `cut` one, no image without any."""
        ids = self.images.column("image_id")
        came = pa.array([image for image in ids.to_pylist() if not cut or image in n_measurements], pa.int64())
        images, solutions = (t.filter(pc.is_in(t.column("image_id"), came)) for t in (self.images, self.images_cal))
        exposures = self.exposures.filter(pc.is_in(self.exposures["exposure_id"], pc.unique(images["exposure_id"])))
        digest, in_part = {image: self.digest[image] for image in came.to_pylist()}, self.in_part.of(n_measurements)
        files = {*digest.values(), *in_part.digest.values()}
        log = {d: entry for d, entry in self.log.items() if d in files or not entry.n_images}
        there = {d: entry for d, entry in self.there.items() if d in log}
        return replace(
            self, images=images, images_cal=solutions, exposures=exposures, digest=digest, log=log, there=there,
            in_part=in_part,
        )  # fmt: skip


def _both(first: pa.Table, second: pa.Table) -> pa.Table:
    return pa.concat_tables([t.replace_schema_metadata() for t in (first, second)], promote_options="permissive")


def coming_from(source: Snapshot, base: Snapshot, selection: Selection) -> Coming:
    """Return what a source brings to a base.

    Raises
    ------
    UsageError
        No such photcode; or only some of a survey's.
    DataError
        A photcode or a declared table is another in both, or a file was read otherwise here and there.
    """
    images = source.read_global("images")
    ids, chosen = images.column("image_id").to_numpy(), selection.of_images(source, images)
    known = np.array(sorted(digests_of_images(base, ids.tolist())), dtype=np.int64)
    new = ~is_among(ids, known)
    in_part = images_in_part(source, base, ids[chosen & ~new])
    images = images.filter(pa.array(new & chosen))
    digest = digests_of_images(source, images.column("image_id").to_pylist())
    solutions = source.read_global("images_cal")
    solutions = solutions.filter(pc.is_in(solutions.column("image_id"), images.column("image_id").combine_chunks()))
    log, there = _log_of(source, base, {*digest.values(), *in_part.digest.values()})
    _check_read_alike(log, there)
    photcodes, base_photcodes = (Photcodes.from_arrow(s.read_global("photcodes")) for s in (source, base))
    return Coming(
        source, base, images, _with_own_components(solutions, base), _new_exposures(source, base, images),
        base_photcodes.merge(photcodes), base_photcodes, _new_declarations(source, base), digest, log, there,
        len(known), in_part, np.sort(ids[new & ~chosen]),
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
        if not reads_alike(log[name], entry):
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


@dataclass(frozen=True)
class Came:
    """What came in the end, counted: measurements and founded objects by image, rows by the digest of their file.

    Rows that founded an object there, and join another one here, are not founders. `rows` has files whose rows make
    several measurements; of others the measurements are the rows.
    """

    n_measurements: Mapping[int, int]
    founded: Mapping[int, int]
    rows: Mapping[str, int]


def log_after(coming: Coming, came: Came) -> tuple[tuple[LogEntry, ...], tuple[str, ...]]:
    """Return the entries of the log as they are after the merge, and the digests of those that end."""
    images, rows, new, more = Counter(coming.digest.values()), Counter[str](), Counter[str](), Counter[str]()
    for image, digest in (coming.digest | coming.in_part.digest).items():
        rows[digest] += came.n_measurements.get(image, 0)
        (more if image in coming.in_part.digest else new)[digest] += came.founded.get(image, 0)
    entries = []
    for digest, theirs in coming.log.items():
        entry = coming.there.get(digest)
        before = _nothing_here(theirs, new[digest] + more[digest]) if entry is None else _founding(entry, more[digest])
        entries.append(_with(before, images[digest], rows[digest], came.rows.get(digest, rows[digest])))
    return tuple(entries), tuple(coming.there)


def _makes_several(entry: LogEntry) -> bool:
    """Say whether a file's rows make more than one measurement each, or less."""
    return entry.n_measurements != entry.n_matched + entry.n_new


def _nothing_here(theirs: LogEntry, n_new: int) -> LogEntry:
    """Return the entry of a file of which nothing is here yet, and of whose rows so many are to found objects."""
    kept = theirs.n_matched + theirs.n_new
    if not theirs.n_images:
        return replace(theirs, n_deleted_measurements=theirs.n_measurements)
    return replace(
        theirs, n_new=n_new, n_matched=kept - n_new, n_deleted=kept,
        n_deleted_images=theirs.n_images, n_deleted_measurements=theirs.n_measurements,
    )  # fmt: skip


def _founding(entry: LogEntry, n_new: int) -> LogEntry:
    """Return a file's entry when rows of it that were left out found so many objects."""
    n_new = min(n_new, entry.n_matched)
    return replace(entry, n_new=entry.n_new + n_new, n_matched=entry.n_matched - n_new)


def _with(entry: LogEntry, n_images: int, n_measurements: int, n_rows: int) -> LogEntry:
    """Return a file's entry when so many of its images, measurements and rows came that were not here."""
    images, measurements = entry.n_deleted_images - n_images, entry.n_deleted_measurements - n_measurements
    whole = not images and not measurements
    rows = 0 if whole else min(max(entry.n_deleted - n_rows, 0), entry.n_matched + entry.n_new)
    return replace(entry, n_deleted=rows, n_deleted_measurements=measurements, n_deleted_images=images)

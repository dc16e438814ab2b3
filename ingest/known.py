"""What a database has already of the files of a batch: whole files, images of other files, images that are left.

A file from which images were deleted brings those back, and no other: so its rows are never there twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from skydb.database import Database
from skydb.errors import DataError, UsageError
from skydb.schema.identity import image_words
from skydb.store.changes import LogEntry
from skydb.store.history import digests_of_images, known_images, logged_files
from skydb.store.snapshot import Snapshot

from .readers.hats_folder import is_leaf
from .routing import FileSummary, InputFile

_REPLACE = " if it is a newer or a whole version of that file, give `--replace`;"
DIFFERENCE = "diff"
"""The kind of difference images."""


@dataclass(frozen=True)
class Staying:
    """The files of a call whose images are not replaced by others of it, by digest.

    Those that `came` with it already, as in one batch; and of those that were `known` before with all their images what
    other files have lost: the images that they have replaced.
    """

    known: Set[str]
    came: Set[str]

    def images(self, snapshot: Snapshot, summaries: Iterable[FileSummary]) -> list[int]:
        """Return those of the images that files bring."""
        lost_before = {
            image: s.logged is not None for s in summaries if s.accepted
            for image in s.images.column("image_id").to_pylist()
        }  # fmt: skip
        owner = digests_of_images(snapshot, lost_before)
        return [i for i, digest in owner.items() if digest in self.came or (lost_before[i] and digest in self.known)]


def accepted_images(
    db: Database, snapshot: Snapshot, files: Sequence[InputFile], summaries: Iterable[FileSummary],
    *, replacing: Staying | None = None, offer_replacing: bool = True,
) -> list[FileSummary]:  # fmt: skip
    """Return the summaries of a batch's files with what is known about them, and only the images that are to come.

    Images of a kind that the database does not take are an error of their file. Of two files that bring the same image
    the first one does, but one that comes for the first time goes before one that only brings back what was deleted: a
    call that replaces images and was killed when the old ones had gone brings the new ones when it is done again.

    Parameters
    ----------
    db, snapshot
        What the files go into.
    files, summaries
        Those of the batch.
    replacing
        None: images that the database has from other files are errors of their files. Else they are to be replaced,
        but for these.
    offer_replacing
        Errors of images that are there already name `--replace`: not in a call that has it.
    """
    summaries = [_of_kind(db, s) for s in summaries]
    digests = {f.number: f.digest for f in files}
    logged = logged_files(snapshot, digests.values())
    read = [_without_known(snapshot, s, logged.get(digests[s.number])) for s in summaries]
    read.sort(key=lambda summary: summary.logged is not None)
    if replacing is None:
        refused = [image for s in read if s.accepted for image in s.images.column("image_id").to_pylist()]
    else:
        refused = replacing.images(snapshot, read)
    known = known_images(snapshot, refused)
    return refuse_known_images(read, known, {f.number: f.path for f in files}, offer_replacing=offer_replacing)


def _of_kind(db: Database, summary: FileSummary) -> FileSummary:
    """Return the summary, with an error if its images are difference images and the database is not one, or reverse."""
    kinds = {*summary.images.column("kind").to_pylist()} - {"reference"}
    if not summary.accepted or not (kinds - {DIFFERENCE} if db.difference else kinds & {DIFFERENCE}):
        return summary
    what, option = ("not of difference images", "") if db.difference else ("of difference images", " --difference")
    this = "for difference images" if db.difference else "not for difference images"
    error = UsageError(f"it is {what}, the database is {this}", None, f"make one: `skydb create OTHER{option}`")
    return summary.failed(error, "database")


def _without_known(snapshot: Snapshot, summary: FileSummary, logged: LogEntry | None) -> FileSummary:
    """Return the summary of a file, of one that is in the log with the images that were deleted from it."""
    if logged is None or not summary.accepted:
        return summary
    ids = summary.images.column("image_id").to_pylist()
    owner = digests_of_images(snapshot, ids) if logged.n_deleted_images else {}
    left = tuple(image for image in ids if owner.get(image) == logged.digest)
    if not logged.n_deleted_images or len(left) == len(ids):
        return replace(summary, known=True)
    coming = summary.images.filter(pc.invert(pc.is_in(summary.images.column("image_id"), pa.array(left, pa.int64()))))
    rows = sum(summary.rows_of_image[image] for image in coming.column("image_id").to_pylist())
    if left and (coming.num_rows, rows) != (logged.n_deleted_images, logged.n_deleted_measurements):
        return summary.failed(_read_otherwise(logged, coming.num_rows, rows), "database")
    exposures = summary.exposures.filter(pc.is_in(summary.exposures["exposure_id"], pc.unique(coming["exposure_id"])))
    return replace(summary, images=coming, exposures=exposures, logged=logged, left_out=left)


def _read_otherwise(logged: LogEntry, n_images: int, n_rows: int) -> DataError:
    """Return the error of a file that does not bring back what was deleted from it."""
    what = (
        f"{logged.n_deleted_images} images with {logged.n_deleted_measurements} measurements were deleted from it,"
        f" {n_images} with {n_rows} would come back: it is read otherwise than the images that are left, or of these a"
        " merge brought only a part"
    )
    todo = "give the photcode, mapping and limits of the first time; or delete all of it, then ingest it"
    return DataError(what, logged.file, todo)


def refuse_known_images(
    summaries: Iterable[FileSummary], known: dict[int, str], names: dict[int, str], *, offer_replacing: bool = True
) -> list[FileSummary]:
    """Return the summaries, with an error in every file that brings an image which the database or an earlier file has.

    Parameters
    ----------
    summaries
        In the order of the call.
    known
        Those of their images that the database has, with the files that they came from.
    names
        Names of the files, by number.
    offer_replacing
        As in `accepted_images`.
    """
    seen = dict(known)
    checked = []
    for summary in summaries:
        if summary.accepted:
            ids = summary.images.column("image_id").to_pylist()
            twice = next((row for row, image in enumerate(ids) if image in seen), None)
            if twice is None:
                seen.update(dict.fromkeys(ids, names[summary.number]))
            else:
                image = summary.images.slice(twice, 1).to_pylist()[0]
                cure = _REPLACE if offer_replacing else ""
                error = _second_copy(image, names[summary.number], seen[ids[twice]], form=summary.format, cure=cure)
                summary = summary.failed(error, "database")
        checked.append(summary)
    return checked


def _second_copy(image: dict[str, Any], file: str, first: str, *, form: str, cure: str) -> DataError:
    """Return the error of a file of some format whose image is there already, from the file `first`."""
    words = image_words(image["image_key"])
    what = f"its image {image['name'] or ''} ({words}) is in the database already, from {first}"
    todo = (
        f"leave the file out;{cure} or, if it is another image, tell the two apart by what makes an image: start,"
        " photcode, chip and exposure name (in a mapping images.chip and exposures.name, in headers such as CHIPNAME"
        " and OBS_ID)"
    )
    if is_leaf(Path(file)):
        todo = "give the folder of the HATS catalog in place of its leaf files: an image lies in several of them"
    elif form == "table":
        todo += "; or, if it holds more rows of that image, put all into one file (alert packets: one tar archive)"
    return DataError(what, file, todo)

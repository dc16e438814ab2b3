"""Which images a call means: by id or name, by the file that brought them, by exposure or night."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import PurePath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from skydb.errors import UsageError
from skydb.schema.tables import TABLES
from skydb.sky.partition import unit_vectors

from .catalog import alive, reading
from .history import BROUGHT_IMAGES, images_of_digests
from .parquet import read_file
from .snapshot import Snapshot

BRING_IMAGES = ("addstar", "merge")
"""Kinds of commits that bring images."""
COLUMNS = ("image_id", "exposure_id", "name", "kind", "ra", "dec", "radius")
"""What is told of a chosen image: columns of `images`."""


Wanted = dict[str, set[int] | set[str]]
"""Values that are looked for, by column."""


@dataclass(frozen=True)
class Choice:
    """What a call names: image and exposure ids or names, paths or digests of ingested files, nights, ingests.

    A number, or a text of digits, is an id. A night is the modified Julian day of its noon, as in `exposures.night`; an
    ingest is the snapshot that it made.
    """

    images: tuple[int | str, ...] = ()
    files: tuple[str, ...] = ()
    exposures: tuple[int | str, ...] = ()
    nights: tuple[int, ...] = ()
    ingests: tuple[int, ...] = ()

    def words(self) -> list[str]:
        """Return the options of a command line that names the same."""
        option = {
            "images": "--image", "files": "--file", "exposures": "--exposure", "nights": "--night",
            "ingests": "--ingest",
        }  # fmt: skip
        named = [(option[f.name], str(value)) for f in fields(self) for value in getattr(self, f.name)]
        return [word for pair in named for word in pair]


def chosen_images(snapshot: Snapshot, choice: Choice) -> pa.Table:
    """Return the images that are meant, each once, ascending by id: `COLUMNS`.

    A file all of whose images were deleted before gives none.

    Raises
    ------
    UsageError
        Nothing is named; or something is that is not there, or that several have as their name.
    """
    if choice == Choice():
        raise UsageError("no images are named", None, "name images, files, exposures, nights or ingests")
    image_ids, image_names = _parted(choice.images)
    of_files = _images_of_files(snapshot, choice.files) | _images_of_ingests(snapshot, choice.ingests)
    exposures = _exposure_ids(snapshot, choice)
    wanted: Wanted = {"image_id": {*image_ids, *of_files}, "name": image_names, "exposure_id": exposures}
    parts = [TABLES["images"].empty().select(list(COLUMNS)).replace_schema_metadata()]
    for file in snapshot.files("images"):
        rows = read_file(snapshot.stored(file), list(COLUMNS)).replace_schema_metadata()
        parts.append(rows.filter(_any_among(rows, wanted)))
    found = pa.concat_tables(parts, promote_options="default").sort_by("image_id")
    _check_found(snapshot, "image", image_ids, image_names, found.select(["image_id", "name"]))
    return found


def _parted(given: Sequence[int | str]) -> tuple[set[int], set[str]]:
    """Return the ids and the names among what is given."""
    ids = {int(value) for value in given if isinstance(value, int) or value.isdigit()}
    return ids, {value for value in given if isinstance(value, str) and not value.isdigit()}


def _any_among(rows: pa.Table, wanted: Wanted) -> pa.ChunkedArray:
    """Say of every row whether one of some columns has one of the values wanted in it."""
    hit = pa.chunked_array([np.zeros(rows.num_rows, dtype=bool)])
    for name, values in wanted.items():
        hit = pc.or_(hit, pc.is_in(rows.column(name), pa.array(sorted(values), rows.schema.field(name).type)))
    return hit


def _images_of_files(snapshot: Snapshot, files: Sequence[str]) -> set[int]:
    chosen = f"(file = ? OR digest = ?) AND {BROUGHT_IMAGES} AND {alive(snapshot.id)}"
    query = f"SELECT digest, file FROM ingest_log WHERE {chosen}"
    digests = []
    with reading(snapshot.root) as connection:
        for file in files:
            found = connection.execute(query, (file, file)).fetchall()
            if not found:
                like = _files_of_that_name(connection, snapshot, file)
                advice = f"did you mean {', '.join(map(repr, like))}?" if like else "see `skydb log`"
                raise UsageError(f"no file {file!r} was ingested", str(snapshot.root), advice)
            if len(found) > 1:
                raise UsageError(
                    f"{len(found)} files were ingested as {file!r}", str(snapshot.root),
                    f"give the digest: {', '.join(digest for digest, _ in found)}",
                )  # fmt: skip
            digests.append(found[0][0])
    return set(images_of_digests(snapshot, digests)) if digests else set()


def _images_of_ingests(snapshot: Snapshot, ingests: Sequence[int]) -> set[int]:
    """Return the images that came in some commits and are still there."""
    came = f"SELECT image_id FROM image_index WHERE begin_snapshot = ? AND {alive(snapshot.id)}"
    found: set[int] = set()
    with reading(snapshot.root) as connection:
        for number in ingests:
            kind = connection.execute("SELECT kind FROM snapshots WHERE snapshot = ?", (number,)).fetchone()
            if kind is None or kind[0] not in BRING_IMAGES:
                what = "there is no such snapshot" if kind is None else f"it is a {kind[0]}"
                raise UsageError(f"snapshot {number} is no ingest: {what}", str(snapshot.root), "see `skydb log`")
            found |= {image for (image,) in connection.execute(came, (number,))}
    return found


def _files_of_that_name(connection: sqlite3.Connection, snapshot: Snapshot, file: str) -> list[str]:
    """Return up to three ingested files that have a file's name in another folder, as they were given."""
    name = PurePath(file).name
    named = f"(file = ? OR file LIKE ? ESCAPE '!') AND {BROUGHT_IMAGES}"
    query = f"SELECT DISTINCT file FROM ingest_log WHERE {named} AND {alive(snapshot.id)}"
    ending = "%/" + "".join(f"!{letter}" if letter in "%_!" else letter for letter in name)
    return [row[0] for row in connection.execute(f"{query} ORDER BY file LIMIT 3", (name, ending))]


def _exposure_ids(snapshot: Snapshot, choice: Choice) -> set[int]:
    if not choice.exposures and not choice.nights:
        return set()
    ids, names = _parted(choice.exposures)
    rows = snapshot.read_global("exposures", ["exposure_id", "name", "night"])
    wanted: Wanted = {"exposure_id": ids, "name": names, "night": set(choice.nights)}
    found = rows.filter(_any_among(rows, wanted))
    _check_found(snapshot, "exposure", ids, names, found.select(["exposure_id", "name"]))
    missing = set(choice.nights) - set(found["night"].to_pylist())
    if missing:
        there = {night for night in rows["night"].to_pylist() if night is not None}
        nearest = sorted(sorted(there, key=lambda night: abs(night - min(missing)))[:3])
        advice = f"the nearest are {', '.join(map(str, nearest))}" if nearest else "there are no exposures"
        raise UsageError(f"no exposure of night {min(missing)}", str(snapshot.root), advice)
    return set(found["exposure_id"].to_pylist())


def _check_found(snapshot: Snapshot, what: str, ids: set[int], names: set[str], found: pa.Table) -> None:
    """Refuse ids and names that none has, and names that several have; `found` has the columns of id and name."""
    how = f"they are listed by `skydb sql DB \"SELECT {what}_id, name FROM {what}s\"`"
    for problem, todo in _problems(ids, names, *(column.to_pylist() for column in found.columns), how=how):
        raise UsageError(f"{problem[0]} {what} {problem[1]}", str(snapshot.root), todo)


def _problems(
    ids: set[int], names: set[str], found_ids: Sequence[int], found_names: Sequence[str], *, how: str
) -> Iterator[tuple[tuple[str, str], str]]:
    for number in sorted(ids - set(found_ids)):
        yield ("no", f"has the id {number}"), how
    for name in sorted(names):
        owners = [i for i, n in zip(found_ids, found_names, strict=True) if n == name]
        if not owners:
            yield ("no", f"is named {name!r}"), how
        if len(owners) > 1:
            yield ("more than one", f"is named {name!r}"), f"give the id: {', '.join(map(str, owners))}"


def cells_near(snapshot: Snapshot, images: pa.Table) -> list[int]:
    """Return the places among a snapshot's cells of those that the circles of some images may reach, drift included.

    Of a reference survey, and of an image without a circle, that is every cell.
    """
    cells = snapshot.cells()
    circles = [images.column(name).to_numpy(zero_copy_only=False).astype(float) for name in ("ra", "dec", "radius")]
    of_survey = images.column("kind").to_numpy(zero_copy_only=False) == "reference"
    if not cells or of_survey.any() or np.isnan(circles).any():
        return list(range(len(cells)))
    import healpy

    npix = np.array([c.npix for c in cells], dtype=np.int64)
    nside = 1 << np.array([c.norder for c in cells], dtype=np.int64)
    reach = np.array([healpy.max_pixrad(int(n)) for n in nside]) + np.radians([c.drift_arcsec / 3600 for c in cells])
    return _near(np.stack(healpy.pix2vec(nside, npix, nest=True), axis=1), reach, *circles)


SLACK_DEG = 0.01
"""How far beyond its circle an image's detections are looked for at first; whether all were found is counted."""
IMAGES_AT_ONCE = 256


def _near(
    centres: NDArray[np.float64], reach: NDArray[np.float64], ra: NDArray[np.float64], dec: NDArray[np.float64],
    radius: NDArray[np.float64],
) -> list[int]:  # fmt: skip
    """Return which circles of `reach` radians about `centres` (C, 3) may touch the circle of one of the images."""
    images, near = unit_vectors(ra, dec), np.zeros(len(centres), dtype=bool)
    for first in range(0, len(images), IMAGES_AT_ONCE):
        part = slice(first, first + IMAGES_AT_ONCE)
        limit = np.minimum(reach + np.radians(radius[part].max() + SLACK_DEG), np.pi)
        near |= ((centres @ images[part].T).max(axis=1) >= np.cos(limit) - 1e-12)
    return np.flatnonzero(near).tolist()

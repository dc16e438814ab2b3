"""Copies of stored files on storage roots: written whole or not at all, compared by digest, removed.

In a folder a file appears by a rename. Of a store behind a URL it is expected that an object is there whole or not at
all, as S3 has it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from skydb.errors import BusyError, DataError, SkydbError, disk_error

from .fetching import fetch_to, fetch_whole, refusal
from .files import digest_of, temporary_of, write_durably
from .roots import Place, filesystem_of

CHUNK_BYTES = 4 * 2**20


def put_file(source: Path, to: Place) -> None:
    """Copy a local file to a place.

    Raises
    ------
    OSError
        The disk of a folder is full, fails, or may not be written.
    SkydbError
        What is behind a URL cannot be reached, or does not take the file.
    """
    if to.is_local:
        write_durably(to.local, lambda temporary: _copy(source, temporary))
        return
    try:
        filesystem_of(to.root).put_file(str(source), to.url)
    except Exception as error:
        raise not_written(to, error) from error


def _copy(source: Path, target: Path) -> None:
    """Copy bytes; unlike `shutil.copyfile` it leaves it open which of the two a full disk is about."""
    with source.open("rb") as read, target.open("wb") as write:
        shutil.copyfileobj(read, write, CHUNK_BYTES)


def copy_whole(sources: Sequence[Place], to: Place, digest: str, *, spare: Path) -> None:
    """Copy a file from the first of its places where it is as it was written, and verify the copy.

    Parameters
    ----------
    sources
        Where it lies.
    to
        Where it is wanted; a file that is there already is replaced.
    digest
        BLAKE2b of its bytes.
    spare
        A local path to keep it in where both sides are URLs.

    Raises
    ------
    DataError, BusyError
        It is whole at none of the places, or the copy is not.
    OSError
        The disk that it goes to is full, or fails.
    """
    source, is_spare = _whole_source(sources, digest, spare)
    try:
        put_file(source, to)
        if digest_at(to) != digest:
            remove_copy(to)
            raise DataError("a copy differs from the file that was copied", to.where, "check the disk, and try again")
    finally:
        if is_spare:
            spare.unlink(missing_ok=True)


def _whole_source(sources: Sequence[Place], digest: str, spare: Path) -> tuple[Path, bool]:
    """Return a local path of the file, whole, and whether it is `spare`, to which it was fetched."""
    wrong: list[SkydbError] = []
    for place in sources:
        try:
            path = place.local if place.is_local else spare
            if not place.is_local:
                fetch_to(place, spare)
            if digest_of(path) == digest:
                return path, not place.is_local
            wrong.append(DataError("a stored file is damaged: digest", place.where, "see `skydb fsck`"))
        except SkydbError as error:
            wrong.append(error)
        except OSError as error:
            wrong.append(refusal(place, error))
    raise wrong[0]


def fetch_file(place: Place, to: Path) -> None:
    """Copy the file at a place to a local path as it is, damaged or not: there whole, or not at all.

    Raises
    ------
    OSError
        The disk is full, fails, or may not be written.
    DataError, BusyError
        The file is not there, or cannot be read behind its URL.
    """
    def write(temporary: Path) -> None:
        if place.is_local:
            _copy(place.local, temporary)
        else:
            fetch_to(place, temporary)

    write_durably(to, write)


def digest_at(place: Place) -> str:
    """Return the BLAKE2b (128 bits, hexadecimal) of the file at a place.

    Raises
    ------
    DataError, BusyError
        It is not there, or cannot be read.
    """
    if place.is_local:
        try:
            return digest_of(place.local)
        except OSError as error:
            raise refusal(place, error) from error
    return hashlib.blake2b(fetch_whole(place), digest_size=16).hexdigest()


def is_whole(place: Place, digest: str) -> bool:
    """Say whether a file is at a place as it was written."""
    try:
        return digest_at(place) == digest
    except SkydbError:
        return False


def bytes_at(place: Place) -> int | None:
    """Return the size of the file at a place; None where there is none, or it cannot be asked."""
    try:
        return place.local.stat().st_size if place.is_local else int(filesystem_of(place.root).size(place.url))
    except Exception:
        return None


def is_missing(place: Place) -> bool:
    """Say whether it is certain that there is no file at a place."""
    try:
        place.local.stat() if place.is_local else filesystem_of(place.root).size(place.url)
    except FileNotFoundError:
        return True
    except Exception:
        return False
    return False


def remove_copy(place: Place) -> None:
    """Remove the file at a place, and what is left of writing it; where nothing is, all is well.

    Raises
    ------
    OSError
        A folder does not let it go.
    SkydbError
        What is behind a URL cannot be reached, or does not let it go.
    """
    if place.is_local:
        for path in (temporary_of(place.local), place.local):
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
        return
    try:
        with suppress(FileNotFoundError):
            filesystem_of(place.root).rm_file(place.url)
    except Exception as error:
        raise not_written(place, error) from error


def not_written(place: Place, error: Exception) -> SkydbError:
    """Return what it means that a store behind a URL did not do what it was told, whatever library says so."""
    if isinstance(error, SkydbError):
        return error
    clear = disk_error(error, place.url) if isinstance(error, OSError) else None
    said = " ".join(str(error).split()) or type(error).__name__
    server = urlsplit(place.root).netloc or place.root
    return clear or BusyError(f"{server} cannot be reached, or refuses to write ({said})", place.where, "try again")

"""What an input is made of: its files, their bytes, and the digest that tells whether it was ingested before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skydb.store.files import digest_of

from .hats_folder import files_of

if TYPE_CHECKING:
    from .interface import FolderReader


@dataclass(frozen=True)
class Content:
    """The path of one input, its files in the order in which they are digested, their bytes, and how new they are.

    `changed` is when one was written last, in ns since 1970. Where `names` are given, they are digested with the files:
    of tables that are told apart by them.
    """

    path: Path
    files: tuple[Path, ...]
    bytes: int
    changed: int
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path, files: tuple[Path, ...], names: tuple[str, ...] = ()) -> Content:
        """Look at some files.

        Raises
        ------
        OSError
            One is not there.
        """
        found = [file.stat() for file in files]
        newest = max((each.st_mtime_ns for each in found), default=0)
        return cls(path, files, sum(each.st_size for each in found), newest, names)

    @property
    def was_changed(self) -> bool:
        """Whether its files are others by now; one that is gone is for its reader to miss."""
        try:
            return Content.of(self.path, self.files, self.names) != self
        except OSError:
            return False

    def digest(self) -> str:
        """Return the digest of the file that the path is; of a folder, that of its files' digests.

        Raises
        ------
        OSError
            One cannot be read.
        """
        if self.files == (self.path,):
            return digest_of(self.path)
        digests = [digest_of(file) for file in self.files]
        text = "".join(digests)
        if self.names:
            text = "\n".join(f"{name} {digest}" for name, digest in zip(self.names, digests, strict=True))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def has_wildcards(name: str) -> bool:
    """Say whether a name may be a pattern that stands for several files."""
    return any(letter in name for letter in "*?[")


def content_of(path: Path, reader: FolderReader | None = None) -> Content:
    """Return what an input is made of: as the reader says; else the leaves of a HATS catalog, or the file itself.

    Raises
    ------
    UsageError, DataError
        A folder lacks what it should hold.
    OSError
        There is no such file.
    """
    return Content.of(path, files_of(path)) if reader is None else reader.content(path)

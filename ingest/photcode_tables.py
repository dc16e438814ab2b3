"""Photcode tables in the forms that DVO writes: text, and FITS."""

from __future__ import annotations

from os import PathLike, fspath

from skydb.database import Database
from skydb.photcodes import add_photcodes, import_photcodes
from skydb.store.command_line import one_line

from .readers.dvo.photcodes import is_fits, read_photcodes_fits


def import_photcode_table(db: Database, path: str | PathLike[str]) -> int:
    """Add the photcodes of a DVO table, in text or FITS, to a database and return how many are new.

    Raises
    ------
    UsageError
        There is no such file.
    DataError
        The file is not a photcode table, or contradicts what the database has.
    """
    if not is_fits(fspath(path)):
        return import_photcodes(db, path)
    command = one_line(["photcodes", str(db.root), "--import", fspath(path)])
    return add_photcodes(db, read_photcodes_fits(fspath(path)), command)

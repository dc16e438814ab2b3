"""Photcode tables in the forms that DVO writes: text, and FITS."""

from __future__ import annotations

from os import PathLike, fspath

from skydb.database import Database
from skydb.photcodes import import_photcodes
from skydb.schema.photcodes import read_photcodes_text

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
    return import_photcodes(db, path, read_photcodes_fits if is_fits(fspath(path)) else read_photcodes_text)

"""A DVO database as one input: the reader, and what of its folder is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..contents import Content
from ..fits_tables import reading
from ..interface import Chunk, ReadRequest
from .blocks import DvoMeasurements
from .images import DvoImages
from .regions import IMAGE_TABLE, region_tables


class DvoReader:
    """Reader of a DVO database's folder (its CATDIR)."""

    format = "dvo"

    def recognises(self, path: Path, head: bytes, request: ReadRequest) -> bool:
        """Say whether the folder holds an image table."""
        return (path / IMAGE_TABLE).is_file()

    def read(self, path: Path, request: ReadRequest) -> Iterator[Chunk]:
        """Yield all measurements, region by region, then the images that have none.

        Raises
        ------
        DataError
            A table is missing, damaged, or of a format that is not known.
        """
        with reading(path):
            for block in DvoMeasurements(path, request).blocks():
                yield block.chunk

    def first_start(self, path: Path, request: ReadRequest) -> float:
        """Return when the first image began."""
        with reading(path):
            return DvoImages(path).first_start()

    def content(self, path: Path) -> Content:
        """Return what is read of a DVO database: its images and its measurements.

        Raises
        ------
        DataError
            A table is missing or damaged.
        """
        with reading(path):
            files = {"images": path / IMAGE_TABLE}
            files |= {tables.region.name: tables.measures for tables in region_tables(path)}
            return Content.of(path, tuple(files.values()), tuple(files))

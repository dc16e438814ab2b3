"""Cells: the HEALPix pixels of the adaptive partition."""

from __future__ import annotations

from dataclasses import dataclass

LOCAL = "local"
"""The host of files in the database's own folder."""

OBJECT_ORDER = 29
"""Order of the pixels that name objects."""


@dataclass(frozen=True, order=True)
class Cell:
    """One pixel of the partition.

    `drift_arcsec` bounds how far the cell's objects and measurements lie from where the objects were founded;
    `stale` says that its derived tables wait for a refresh.
    """

    norder: int
    npix: int
    host: str = LOCAL
    drift_arcsec: float = 0.0
    stale: bool = False

    @property
    def key(self) -> tuple[int, int]:
        """Order and pixel."""
        return self.norder, self.npix

    @property
    def lo(self) -> int:
        """First object id of the cell."""
        return self.npix << 2 * (OBJECT_ORDER - self.norder)

    @property
    def hi(self) -> int:
        """One past the last object id of the cell."""
        return (self.npix + 1) << 2 * (OBJECT_ORDER - self.norder)

    def __str__(self) -> str:
        return f"{self.norder}/{self.npix}"

"""Cells: the HEALPix pixels of the adaptive partition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

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


COLUMNS = np.dtype(
    [("norder", np.int64), ("npix", np.int64), ("host", object), ("drift_arcsec", np.float64), ("stale", np.bool_)]
)
"""A cell as a row: the columns of `Cell`."""


class Cells(Sequence[Cell]):
    """Cells in sky order, kept as columns; a `Cell` is made when it is asked for.

    A cone needs a few of 100,000: to make them all took longer than to read them from the catalog.
    """

    def __init__(self, rows: np.ndarray) -> None:
        """Keep rows of `COLUMNS`, in sky order."""
        self._rows = rows

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, str, float, int]]) -> Cells:
        """Return the cells that rows of the catalog, in any order, tell of."""
        cells = cls(np.fromiter(rows, COLUMNS))
        return cls(cells._rows[np.argsort(cells.lo, kind="stable")])

    @property
    def norder(self) -> Ints:
        """Order of each cell; (N,)."""
        return self._rows["norder"]

    @property
    def npix(self) -> Ints:
        """Pixel of each cell; (N,)."""
        return self._rows["npix"]

    @property
    def drift_arcsec(self) -> Floats:
        """Drift of each cell; (N,) arcsec."""
        return self._rows["drift_arcsec"]

    @property
    def lo(self) -> Ints:
        """First object id of each cell; (N,)."""
        return self.npix << 2 * (OBJECT_ORDER - self.norder)

    @property
    def hi(self) -> Ints:
        """One past the last object id of each cell; (N,)."""
        return (self.npix + 1) << 2 * (OBJECT_ORDER - self.norder)

    def overlapping(self, ranges: np.ndarray) -> Cells:
        """Return the cells that overlap one of some sorted pixel ranges; (K, 2)."""
        after = np.searchsorted(ranges[:, 1], self.lo, side="right")
        begin = np.append(ranges[:, 0], np.iinfo(np.int64).max)[after]
        return Cells(self._rows[begin < self.hi])

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Cell]:
        return (Cell(*row) for row in self._rows.tolist())

    @overload
    def __getitem__(self, which: int) -> Cell: ...
    @overload
    def __getitem__(self, which: slice) -> Cells: ...
    def __getitem__(self, which: int | slice) -> Cell | Cells:
        if isinstance(which, slice):
            return Cells(self._rows[which])
        return Cell(*self._rows[which].item())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        return repr(list(self))

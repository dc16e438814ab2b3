"""The numbers of a photcode table as arrays over photcodes, ready to be looked up for millions of rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from skydb.errors import DataError

from .columns import float_column, int_column

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Masks = NDArray[np.uint32]

STORED_KINDS = ("SEC", "DEP", "REF")
"""ALT photcodes share the number of a SEC one and are never stored with a measurement."""

LONGEST_TABLE = 1 << 18
"""Photcode numbers that a direct look-up table spans at most."""


@dataclass(frozen=True)
class PhotcodeTerms:
    """What the photometry needs of P photcodes, one element per code; masks are of photflags bits.

    `band` and `color_bands` are indices into `bands` (which are in alphabetical order), -1 for none. A code whose
    position errors are not given (systematic part and factor both 0 or NULL, as in DVO's short tables) has factor 1.
    """

    code: Ints
    bands: tuple[str, ...]
    band: Ints
    is_reference: NDArray[np.bool_]
    is_ab: NDArray[np.bool_]
    zero_point: Floats
    airmass_slope: Floats
    color_offset: Floats
    color_terms: Floats
    color_bands: Ints
    photometry_err_sys: Floats
    photometry_poor_mask: Masks
    photometry_bad_mask: Masks
    astrometry_err_sys_mas: Floats
    astrometry_err_scale: Floats
    astrometry_err_mag_scale_mas: Floats
    astrometry_poor_mask: Masks
    astrometry_bad_mask: Masks

    @classmethod
    def from_table(cls, photcodes: pa.Table) -> PhotcodeTerms:
        """Return the terms of the rows of a `photcodes` table.

        Raises
        ------
        DataError
            Two rows have the same code.
        """
        rows = photcodes.filter(pc.is_in(photcodes["kind"], pa.array(STORED_KINDS))).sort_by("code")
        code = int_column(rows, "code")
        if (repeated := code[1:][code[1:] == code[:-1]]).size:
            raise DataError(f"photcode number {repeated[0]} occurs twice", "table photcodes", "keep one of the two")
        named = rows.select(["band", "color_1", "color_2"])
        bands = tuple(sorted({name for column in named.columns for name in column.to_pylist() if name is not None}))
        kinds, systems = rows["kind"].to_pylist(), rows["system"].to_pylist()
        return cls(
            code=code,
            bands=bands,
            band=_indices(rows, "band", bands),
            is_reference=np.array([kind == "REF" for kind in kinds], np.bool_),
            is_ab=np.array([system in (None, "", "AB") for system in systems], np.bool_),
            color_bands=np.stack([_indices(rows, "color_1", bands), _indices(rows, "color_2", bands)], axis=1),
            **_photometry(rows),
            **_astrometry(rows),
        )

    def rows_of(self, code: NDArray[Any]) -> Ints:
        """Return the element of every row's photcode.

        Parameters
        ----------
        code : (N,)
            Photcode numbers.

        Raises
        ------
        DataError
            A number that the photcode table does not hold.
        """
        if code.size == 0:
            return np.zeros(0, np.int64)
        places = self._dense_places(code) if self._table is not None else self._searched_places(code)
        unknown = code[places < 0]
        if unknown.size:
            what = f"no photcode has the number {unknown[0]}"
            raise DataError(what, "column code", "import its photcode table first")
        return np.asarray(places, np.int64)

    @cached_property
    def _table(self) -> Ints | None:
        """The element of every code from the lowest on, -1 for none: 6 times faster than a search, where it is short.

        Codes that mappings declare are hashes of names, up to 2**30: they are searched for.
        """
        span = int(self.code.max(initial=0)) - int(self.code.min(initial=0)) + 1
        if span > LONGEST_TABLE:
            return None
        table = np.full(span, -1)
        table[self.code - self.code.min(initial=0)] = np.arange(self.code.size)
        return table

    def _dense_places(self, code: NDArray[Any]) -> Ints:
        assert self._table is not None
        lowest = int(self.code.min(initial=0))
        outside = (code < lowest) | (code >= lowest + self._table.size)
        places = self._table[np.where(outside, lowest, code) - lowest]
        return np.where(outside, -1, places)

    def _searched_places(self, code: NDArray[Any]) -> Ints:
        found = np.searchsorted(self.code, code).clip(max=self.code.size - 1)
        return np.where(self.code[found] == code, found, -1)


def _photometry(rows: pa.Table) -> dict[str, Any]:
    return {
        "zero_point": 0.001 * int_column(rows, "zero_point_mmag"),
        "airmass_slope": _filled(rows, "airmass_slope"),
        "color_offset": 0.001 * int_column(rows, "color_offset_mmag"),
        "color_terms": _color_terms(rows),
        "photometry_err_sys": _filled(rows, "photometry_err_sys"),
        "photometry_poor_mask": int_column(rows, "photometry_poor_mask", np.uint32),
        "photometry_bad_mask": int_column(rows, "photometry_bad_mask", np.uint32),
    }


def _astrometry(rows: pa.Table) -> dict[str, Any]:
    sys_mas, scale = 1000.0 * _filled(rows, "astrometry_err_sys"), _filled(rows, "astrometry_err_scale")
    return {
        "astrometry_err_sys_mas": sys_mas,
        "astrometry_err_scale": np.where((scale == 0) & (sys_mas == 0), 1.0, scale),
        "astrometry_err_mag_scale_mas": 1000.0 * _filled(rows, "astrometry_err_mag_scale"),
        "astrometry_poor_mask": int_column(rows, "astrometry_poor_mask", np.uint32),
        "astrometry_bad_mask": int_column(rows, "astrometry_bad_mask", np.uint32),
    }


def _filled(rows: pa.Table, name: str) -> Floats:
    return np.asarray(np.nan_to_num(float_column(rows, name)), np.float64)


def _color_terms(rows: pa.Table) -> Floats:
    lists = [terms or [] for terms in rows["color_terms"].to_pylist()]
    padded = np.zeros((len(lists), max(map(len, lists), default=0)))
    for row, terms in zip(padded, lists, strict=True):
        row[: len(terms)] = terms
    return padded


def _indices(rows: pa.Table, name: str, bands: tuple[str, ...]) -> Ints:
    place = {band: i for i, band in enumerate(bands)}
    return np.array([place.get(band, -1) for band in rows[name].to_pylist()], np.int64)

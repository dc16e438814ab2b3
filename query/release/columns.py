"""The columns of a released object catalog: objects, means by band, nested light curves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa

from skydb.errors import UsageError, did_you_mean
from skydb.schema.model import ARROW_TYPES, Column
from skydb.schema.tables import OBJECT_BANDS, OBJECTS

from ..views import visible_columns

SPATIAL_INDEX = Column(
    "_healpix_29", "int64", None, "pos.healpix", "nested HEALPix index, order 29, of ra and dec", required=True
)
"""What HATS sorts by; unlike `object_id` it follows the current position."""

LIGHT_CURVE = "lightcurve"

LIGHT_CURVE_COLUMNS = (
    "mjd", "band", "photcode", "mag", "mag_err", "flux", "flux_err", "ra", "dec", "image_id", "det_id", "db_flags",
)  # fmt: skip
"""What a point of a light curve tells, unless other columns of `measurements` are asked for."""

MEANS = (
    "mag", "mag_err", "mag_stdev", "flux", "flux_err", "ap_mag", "ap_mag_err", "kron_mag", "kron_mag_err", "chi2",
    "n_measurements", "n_used", "flags",
)  # fmt: skip
"""Columns of `object_bands` that are released for every band and source."""

_SUFFIXES = {"chip": "", "stack": "_stack", "warp": "_warp", "reference": "", "diff": "_diff"}
_SOURCES = tuple(_SUFFIXES)


@dataclass(frozen=True)
class BandMeans:
    """The means of one band and source, and what the names of their columns begin with."""

    band: str
    source: str
    prefix: str

    @property
    def columns(self) -> list[Column]:
        """The released columns, in the order of `MEANS`."""
        where = f"; band {self.band}, source {self.source}"
        declared = [OBJECT_BANDS[name] for name in MEANS]
        return [replace(c, name=f"{self.prefix}_{c.name}", meaning=c.meaning + where) for c in declared]


@dataclass(frozen=True)
class ReleaseColumns:
    """All columns of a release; `light_curve` are those of the nested column."""

    bands: tuple[BandMeans, ...]
    light_curve: tuple[Column, ...]

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema, with units and meanings; the light curve is a struct of lists, as nested-pandas reads."""
        plain = [SPATIAL_INDEX, *OBJECTS.columns, *(c for means in self.bands for c in means.columns)]
        nested = pa.struct([_list_field(c) for c in self.light_curve])
        notes = {"description": "the object's measurements, in order of time"}
        return pa.schema([*(c.arrow for c in plain), pa.field(LIGHT_CURVE, nested, nullable=False, metadata=notes)])


def _list_field(column: Column) -> pa.Field:
    return pa.field(column.name, pa.list_(ARROW_TYPES[column.type]), nullable=False, metadata=column.arrow.metadata)


def release_columns(pairs: Iterable[tuple[str, str]], light_curve: Sequence[str] | None = None) -> ReleaseColumns:
    """Return the columns of a release.

    The means of band g of chip images are `g_mag`, `g_mag_err`, …; those of stacks and warps `g_stack_mag`,
    `g_warp_mag`. References have bands of their own. What is neither letter nor digit becomes "_" in a name, since a
    dot means a nested column; a name that is taken gets a number.

    Parameters
    ----------
    pairs
        The (band, source) pairs that the objects have.
    light_curve
        Columns of `measurements`; None: `LIGHT_CURVE_COLUMNS`.

    Raises
    ------
    UsageError
        A column that measurements do not have, or that is named twice.
    """
    known = {c.name: c.column for c in visible_columns("measurements") if c.name != "object_id"}
    names = list(LIGHT_CURVE_COLUMNS if light_curve is None else light_curve)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"no column named {unknown[0]!r}", "light curves", did_you_mean(unknown[0], known))
    if not names or len(set(names)) < len(names):
        raise UsageError(f"columns {names}", "light curves", "name at least one column, each once")
    return ReleaseColumns(tuple(_band_means(pairs)), tuple(known[name] for name in names))


def _band_means(pairs: Iterable[tuple[str, str]]) -> list[BandMeans]:
    taken = {SPATIAL_INDEX.name, LIGHT_CURVE, *OBJECTS.names}
    means = []
    for band, source in sorted(pairs, key=lambda pair: (_SOURCES.index(pair[1]), pair[0])):
        stem = re.sub(r"[^A-Za-z0-9_]", "_", band) + _SUFFIXES[source]
        prefix, number = stem, 1
        while taken & {f"{prefix}_{name}" for name in MEANS}:
            number += 1
            prefix = f"{stem}_{number}"
        means.append(BandMeans(band, source, prefix))
        taken |= {c.name for c in means[-1].columns}
    return means

"""The files of a HATS collection, version 1.0: paths, properties, partitions, Parquet metadata, maps.

Source: IVOA note "HATS: HiPSCat / Hierarchical Adaptive Tiling Scheme", and what hats 0.11 reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skydb.store.files import write_durably
from skydb.store.layout import PIXELS_PER_DIR

from .partitions import Ints

DATASET = "dataset"
VERSION = {"hats_version": "v1.0", "hats_release_date": "2025-08-22"}
ROW_GROUP_ROWS = 16_384
MAP_ORDER = 8
"""Order of the maps of object counts: 14 arcmin."""


def leaf_path(norder: int, npix: int) -> str:
    """Return the path of a partition's file below `dataset`.

    >>> leaf_path(7, 123456)
    'Norder=7/Dir=120000/Npix=123456.parquet'
    """
    return f"Norder={norder}/Dir={npix // PIXELS_PER_DIR * PIXELS_PER_DIR}/Npix={npix}.parquet"


def write_leaf(catalog: Path, pixel: tuple[int, int], rows: pa.Table) -> None:
    """Write the rows of one partition; the same rows make the same bytes."""
    named = _dictionary_columns(rows.schema)

    def write(path: Path) -> None:
        pq.write_table(
            rows, path, row_group_size=ROW_GROUP_ROWS, compression="zstd", compression_level=3, use_dictionary=named,
            write_page_index=True,
        )  # fmt: skip

    write_durably(catalog / DATASET / leaf_path(*pixel), write)


def _dictionary_columns(schema: pa.Schema) -> list[str]:
    """Parquet paths of the columns whose values repeat: neither floats nor the index."""
    paths = []
    for field in schema:
        if pa.types.is_struct(field.type):
            paths += [f"{field.name}.{f.name}.list.element" for f in field.type if not _is_float(f.type.value_type)]
        elif not _is_float(field.type) and field.name not in ("_healpix_29", "object_id"):
            paths.append(field.name)
    return paths


def _is_float(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind))


def write_properties(path: Path, title: str, properties: Mapping[str, object]) -> None:
    """Write a properties file (of Java's kind)."""
    lines = [f"#{title}", *(f"{key}={_escaped(str(value))}" for key, value in properties.items()), ""]
    write_durably(path, lambda temporary: _write_text(temporary, "\n".join(lines)))


def _escaped(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n")
    return "\\" + escaped if escaped.startswith(" ") else escaped


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class CatalogFiles:
    """One catalog of a collection, its partitions written: what is written about them."""

    root: Path
    pixels: Sequence[tuple[int, int]]
    schema: pa.Schema

    def write_metadata(self) -> tuple[int, int]:
        """Write partition_info.csv, `_common_metadata` and `_metadata`; return all rows and those of the fullest."""
        lines = ["Norder,Npix", *(f"{norder},{npix}" for norder, npix in self.pixels), ""]
        write_durably(self.root / "partition_info.csv", lambda path: _write_text(path, "\n".join(lines)))
        dataset = self.root / DATASET
        write_durably(dataset / "_common_metadata", lambda path: pq.write_metadata(self.schema, path))
        footers = [self._footer(pixel) for pixel in self.pixels]
        write_durably(dataset / "_metadata", lambda path: pq.write_metadata(self.schema, path, footers or None))
        rows = [footer.num_rows for footer in footers]
        return sum(rows), max(rows, default=0)

    def _footer(self, pixel: tuple[int, int]) -> pq.FileMetaData:
        footer = pq.read_metadata(self.root / DATASET / leaf_path(*pixel))
        footer.set_file_path(leaf_path(*pixel))
        return footer

    def write_properties(self, properties: Mapping[str, object]) -> None:
        """Write hats.properties, and the same under its older name, with the size of what is there by now."""
        stored = sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())
        every = {**properties, "hats_estsize": stored // 1024}
        for name in ("hats.properties", "properties"):
            write_properties(self.root / name, "HATS catalog", every)


def write_maps(catalog: Path, pixel: Ints, objects: Ints) -> None:
    """Write skymap.fits and point_map.fits, the numbers of objects in nested pixels of order `MAP_ORDER`.

    Readers take the second for the area that the catalog covers.

    Parameters
    ----------
    pixel, objects : (K,)
        Occupied pixels, sorted, and the objects in each.
    """
    from astropy.io import fits

    columns = [fits.Column("PIXEL", "K", array=pixel), fits.Column("VALUE", "K", array=objects)]
    table = fits.BinTableHDU.from_columns(columns)
    table.header.update({
        "PIXTYPE": "HEALPIX", "INDXSCHM": "EXPLICIT", "ORDERING": "NESTED", "COORDSYS": "C", "NSIDE": 1 << MAP_ORDER,
        "OBS_NPIX": len(pixel),
    })  # fmt: skip
    for name in ("skymap.fits", "point_map.fits"):
        write_durably(catalog / name, lambda path: table.writeto(path, overwrite=True))


def map_counts(pixel: Ints, objects: Ints, order: int) -> tuple[Ints, Ints]:
    """Add up counts in pixels of a deeper order to those of `MAP_ORDER`."""
    coarse, inverse = np.unique(pixel >> 2 * (order - MAP_ORDER), return_inverse=True)
    total = np.zeros(len(coarse), dtype=np.int64)
    np.add.at(total, inverse, objects)
    return coarse, total

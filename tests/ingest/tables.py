"""Small tables and mappings for the tests of the table reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from skydb.ingest.readers.interface import Chunk, DetectionFilter, ReadRequest
from skydb.ingest.readers.mapping import Mapping, load_mapping
from skydb.ingest.readers.table import TableReader
from skydb.schema.photcodes import Photcode, Photcodes

CODES = Photcodes(
    (
        Photcode(1, "g", "SEC"), Photcode(2, "r", "SEC"),
        Photcode(11, "X.g", "DEP", band="g", zero_point_mmag=24_500),
        Photcode(12, "X.r", "DEP", band="r", zero_point_mmag=25_000),
        Photcode(13, "X.K", "DEP", band="g", zero_point_mmag=24_500, airmass_slope=-0.1),
        Photcode(21, "R.G", "REF"), Photcode(22, "R.B", "REF"), Photcode(23, "R.C", "REF"),
    )
)  # fmt: skip

HEAD = """
name = "t"
kind = "detections"
[file]
format = "text"
delimiter = ","
{file}
[time]
column = "mjd"
scale = "utc"
at = "start"
exptime = 60
[photcode]
name = "X.g"
[measurements]
ra_raw = "ra"
dec_raw = "dec"
inst_mag = "mag"
"""

REFERENCE = """
name = "survey"
kind = "reference"
det_id = "id"
[file]
format = "text"
delimiter = ","
[time]
value = 2000.0
format = "jyear"
scale = "tt"
[measurements]
ra_raw = "ra"
dec_raw = "dec"
[[magnitudes]]
photcode = "R.G"
columns = { inst_mag = "g", inst_mag_err = "g_err" }
[[magnitudes]]
photcode = "R.B"
columns = { inst_mag = "b" }
[[magnitudes]]
photcode = "R.C"
columns = { inst_flux = { column = "c", unit = "uJy" }, inst_flux_err = { column = "c_err", unit = "uJy" } }
"""


def mapping_of(folder: Path, text: str) -> Mapping:
    """A mapping from its text."""
    path = folder / "mapping.toml"
    path.write_text(text)
    return load_mapping(path)


def detections_mapping(folder: Path, extra: str = "", *, file: str = "") -> Mapping:
    """The mapping of columns ra, dec, mjd, mag (text with commas, photcode X.g), with lines added at its end."""
    return mapping_of(folder, HEAD.format(file=file) + extra)


def read(path: Path, mapping: Mapping | str, *, codes: Photcodes | None = None, **request: Any) -> list[Chunk]:
    """All chunks of a file, under a mapping and the photcodes that it declares."""
    if isinstance(mapping, str):
        mapping = load_mapping(mapping)
    known = codes or (Photcodes(mapping.photcodes) if mapping.photcodes else CODES)
    keep = request.pop("keep", DetectionFilter())
    return list(TableReader().read(path, ReadRequest(known, mapping=mapping, keep=keep, **request)))


def joined(chunks: list[Chunk]) -> pa.Table:
    """The detections of all chunks."""
    return pa.concat_tables([c.detections for c in chunks])


def rejected(chunks: list[Chunk]) -> dict[str, int]:
    """The rejected rows of all chunks, by reason."""
    total: dict[str, int] = {}
    for chunk in chunks:
        for reason, count in chunk.rejected.items():
            total[reason] = total.get(reason, 0) + count
    return total

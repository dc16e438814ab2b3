"""DVO's photcode table in FITS (Photcodes.dat), which holds what its text form does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skydb.errors import DataError, SkydbError
from skydb.schema.photcodes import Photcode, Photcodes

from ..fits_tables import reading
from .tables import Columns, DvoColumn, DvoTable, open_table

KINDS = {2: "SEC", 3: "DEP", 4: "REF", 5: "ALT"}
_SHORT, _WHOLE, _NUMBER = (DvoColumn(form, needed=True) for form in "IJE")
_ERRORS = {
    "astrometry_err_sys": "ASTROM_ERR_SYS", "astrometry_err_scale": "ASTROM_ERR_SCALE",
    "astrometry_err_mag_scale": "ASTROM_ERR_MAG_SCALE", "photometry_err_sys": "PHOTOM_ERR_SYS",
}  # fmt: skip
_MASKS = {
    "astrometry_poor_mask": "ASTROM_POOR_MASK", "astrometry_bad_mask": "ASTROM_BAD_MASK",
    "photometry_poor_mask": "PHOTOM_POOR_MASK", "photometry_bad_mask": "PHOTOM_BAD_MASK",
}  # fmt: skip
COLUMNS: Columns = {
    "CODE": DvoColumn("I", unsigned=True, needed=True), "NAME": DvoColumn("A", needed=True),
    "TYPE": DvoColumn("A", needed=True), "C_LAM": _SHORT, "C_LAM_ERR": _SHORT, "X_ERR": _SHORT, "K": _NUMBER,
    "C1": _WHOLE, "C2": _WHOLE, "EQUIV": _WHOLE, "NC": _WHOLE, "X": DvoColumn("E", 4, needed=True),
    **dict.fromkeys(_ERRORS.values(), DvoColumn("E")),
    **dict.fromkeys(_MASKS.values(), DvoColumn("J", unsigned=True)),
}  # fmt: skip


@dataclass(frozen=True)
class _Row:
    """One row: the photcode without its ties, and the numbers of the photcodes that it is tied to (0: none)."""

    photcode: dict[str, Any]
    equiv: int
    colors: tuple[int, int]


def read_photcodes_fits(path: str | Path) -> Photcodes:
    """Read a photcode table in DVO's FITS form.

    Raises
    ------
    DataError
        The file is missing or damaged, of a format that is not known, or a row cannot be used: which, and why.
    """
    with reading(Path(path)):
        table = open_table(Path(path), "DVO_PHOTCODE", COLUMNS)
        rows = [_row(table, number) for number in range(len(table))]
        if not rows:
            raise DataError("there is no photcode in it", str(path), "restore the table")
        names = {row.photcode["code"]: row.photcode["name"] for row in rows if row.photcode["kind"] != "ALT"}
        return Photcodes(tuple(_tied(row, names, f"{table.where}, row {n}") for n, row in enumerate(rows, start=1)))


def is_fits(path: str | Path) -> bool:
    """Say whether a file begins as FITS does."""
    try:
        with Path(path).open("rb") as file:
            return file.read(9) == b"SIMPLE  ="
    except OSError:
        return False


def _row(table: DvoTable, number: int) -> _Row:
    rows = slice(number, number + 1)
    where = f"{table.where}, row {number + 1}"
    value = {name: table.values(name, rows)[0] for name in COLUMNS if name in table and name != "TYPE"}
    type_ = int(table.small_numbers("TYPE", rows)[0])
    if type_ not in KINDS:
        raise DataError(f"its TYPE is {type_}", where, f"known: {', '.join(f'{n} ({k})' for n, k in KINDS.items())}")
    name = value["NAME"].decode("ascii", "backslashreplace").strip()
    photcode: dict[str, Any] = {"code": int(value["CODE"]), "name": name, "kind": KINDS[type_]}
    photcode |= {field: _decimal(value[column]) for field, column in _ERRORS.items() if column in value}
    photcode |= {field: int(value[column]) for field, column in _MASKS.items() if column in value}
    if KINDS[type_] == "REF":
        return _Row(photcode, int(value["EQUIV"]), (0, 0))
    terms = [_decimal(x) for x in value["X"][:max(0, min(4, int(value["NC"])))]]
    while terms and terms[-1] == 0.0:
        terms.pop()
    photcode |= {
        "zero_point_mmag": int(value["C_LAM"]), "zero_point_offset_mmag": int(value["C_LAM_ERR"]),
        "color_offset_mmag": int(value["X_ERR"]), "airmass_slope": _decimal(value["K"]), "color_terms": tuple(terms),
    }  # fmt: skip
    colors = int(value["C1"]), int(value["C2"])
    return _Row(photcode, int(value["EQUIV"]), colors if all(colors) else (0, 0))


def _tied(row: _Row, names: dict[int, str], where: str) -> Photcode:
    """The photcode with its ties: as in DVO, those to 0 are none."""
    kind = row.photcode["kind"]
    owner = row.photcode["code"] if kind == "ALT" else row.equiv if kind in ("DEP", "REF") else 0
    wanted = {"band": owner, "color_1": row.colors[0], "color_2": row.colors[1]}
    unknown = [f"{name} {code}" for name, code in wanted.items() if code and code not in names]
    if unknown:
        raise DataError(f"{row.photcode['name']}: {unknown[0]} is no photcode of this table", where, "correct the row")
    ties: dict[str, Any] = {name: names[code] if code else None for name, code in wanted.items()}
    try:
        return Photcode(**row.photcode, **ties)
    except SkydbError as error:
        raise DataError(f"{error.where}: {error.what}", where, error.todo) from error


def _decimal(value: np.float32) -> float:
    """A float32 by its shortest decimal: what a text table had before DVO stored it."""
    return float(str(value))

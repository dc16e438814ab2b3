"""The SQL functions that give the bit of a named flag, as DuckDB macros: a constant before the first row is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skydb.flags import (
    Flags,
    ImageFlags,
    MeasurementFlags,
    ObjectBandFlags,
    ObjectFlags,
    PhotFlags,
    PhotFlags2,
    flag_rows,
)

if TYPE_CHECKING:
    import duckdb

FLAG_FUNCTIONS: dict[str, type[Flags]] = {
    "image_flag": ImageFlags,
    "measurement_flag": MeasurementFlags,
    "object_flag": ObjectFlags,
    "object_band_flag": ObjectBandFlags,
    "phot_flag": PhotFlags,
    "phot_flag2": PhotFlags2,
}
"""The flags whose names each function knows, in any case."""


def register_flags(con: duckdb.DuckDBPyConnection) -> None:
    """Define the functions of flags on a connection.

    >>> import duckdb
    >>> con = duckdb.connect()
    >>> register_flags(con)
    >>> con.execute("SELECT image_flag('PHOTOM_POOR') | image_flag('PHOTOM_FEW')").fetchall()
    [(10,)]
    """
    for name, flags in FLAG_FUNCTIONS.items():
        bits = ", ".join(f"'{flag}': {bit}::UINTEGER" for flag, bit, _ in flag_rows(flags))
        con.execute(f"CREATE OR REPLACE MACRO {name}(name) AS struct_extract({{{bits}}}, name)")

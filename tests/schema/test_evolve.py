"""Rows of files that earlier versions wrote, and which changes of a table are allowed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from skydb.errors import UsageError
from skydb.schema.evolve import WIDENINGS, evolved, forbidden_changes, stored_names
from skydb.schema.model import ARROW_TYPES, SCHEMA_VERSION, Column, Table
from skydb.schema.tables import TABLES
from tests.golden.make import record_path, recorded


def column(name: str = "mag", kind: str = "float32", **more: Any) -> Column:
    return Column(name, kind, "mag", "phot.mag", "a magnitude", **more)


ID = Column("id", "int64", None, "meta.id", "number", required=True)


def pets(*columns: Column, version: int = 1) -> Table:
    return Table("pets", "global", "for these tests", (ID, *columns), sort=("id",), version=version)


EARLIER = pets(column())


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_nothing_that_was_released_is_gone_or_narrower_or_in_another_unit(version: int) -> None:
    released = recorded(record_path(version))
    assert released.keys() <= TABLES.keys()
    for name, earlier in released.items():
        assert list(forbidden_changes(earlier, TABLES[name])) == []


def test_record_of_this_version_is_stored() -> None:
    stored = {name: table for name, table in TABLES.items() if table.kind != "catalog"}
    assert recorded(record_path(SCHEMA_VERSION)) == stored, "before its release: python -m tests.golden.make"


@pytest.mark.parametrize(("present", "said"), [
    (pets(version=2), "column mag is gone"),
    (pets(column(kind="float64"), version=2), "was float32 in version 1, not float64"),
    (pets(column(kind="int16", widened=((2, "float32"),)), version=2), "float32 cannot be widened to int16"),
    (pets(replace(column(), unit="nJy"), version=2), "was in mag, not in nJy"),
    (pets(column(required=True), version=2), "column mag may be NULL in version 1"),
    (pets(column(since=2), version=2), "column mag came before version 2"),
    (pets(column(), column("err"), version=2), "column err is new, but says that version 1 has it"),
    (pets(column(), column("err", required=True, since=2), version=2), "err is never NULL, but rows of earlier"),
    (replace(EARLIER, sort=("mag",), version=2), "the order of its rows"),
])  # fmt: skip
def test_forbidden_change_is_named(present: Table, said: str) -> None:
    assert any(said in change for change in forbidden_changes(EARLIER, present))


def test_allowed_changes_are_none() -> None:
    present = pets(
        column(kind="float64", widened=((2, "float32"),)), column("err", since=2),
        column("n", "int32", since=3, default=0, required=True), version=3,
    )  # fmt: skip
    assert list(forbidden_changes(EARLIER, present)) == []


@pytest.mark.parametrize(("narrow", "wide"), sorted(WIDENINGS))
def test_widened_column_keeps_every_value_and_null(narrow: str, wide: str) -> None:
    present = pets(column(kind=wide, widened=((2, narrow),)), version=2)
    values = pa.array([*extremes(narrow), None], ARROW_TYPES[narrow])
    rows = evolved(pa.table({"mag": values}), present, ["mag"])
    assert rows.schema.field("mag").type == ARROW_TYPES[wide]
    assert rows["mag"].to_pylist() == values.to_pylist()


def extremes(kind: str) -> list[float]:
    """The least and the largest whole numbers of a type, or the least and the finest floating-point numbers."""
    if kind.startswith("float"):
        return [float(np.finfo(kind).min), float(np.finfo(kind).smallest_subnormal)]
    return [int(np.iinfo(kind).min), int(np.iinfo(kind).max)]


def test_whole_numbers_may_become_what_holds_them_all_and_nothing_else() -> None:
    whole = [kind for kind in ARROW_TYPES if "int" in kind]
    holding = {
        (narrow, wide) for narrow in whole for wide in whole
        if narrow != wide and extremes(wide)[0] <= extremes(narrow)[0] and extremes(narrow)[1] <= extremes(wide)[1]
    }  # fmt: skip
    assert holding | {("float32", "float64")} == WIDENINGS


def test_added_column_is_null_or_its_default_in_earlier_rows() -> None:
    present = pets(column("err", since=2), column("n", "int16", since=2, default=7), version=2)
    assert stored_names(present, 1, ["n", "id", "err"]) == ["id"]
    assert stored_names(present, 2, ["n", "id", "err"]) == ["n", "id", "err"]
    rows = evolved(pa.table({"id": [1, 2]}), present, ["n", "id", "err"])
    assert rows.to_pydict() == {"n": [7, 7], "id": [1, 2], "err": [None, None]}


def test_file_of_a_later_version_is_refused_with_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"version 2 .* knows versions up to 1; upgrade skydb"):
        stored_names(EARLIER, 2, ["id"])

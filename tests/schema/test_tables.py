"""The declared tables are sound: names, units, UCDs, and what `conform` accepts."""

from __future__ import annotations

import pyarrow as pa
import pytest
from astropy.io.votable.ucd import parse_ucd
from astropy.units import Unit

from skydb.errors import UsageError
from skydb.schema.model import ARROW_TYPES, Column, Table
from skydb.schema.tables import TABLES

EVERY_TABLE = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())

PETS = Table(
    "pets",
    "global",
    "for these tests",
    (Column("id", "int64", None, "meta.id", "number", required=True), Column("mag", "float32", "mag", "phot.mag", "m")),
    sort=("id",),
)


@EVERY_TABLE
def test_units_are_spelled_as_the_vo_knows_them(table: Table) -> None:
    for column in table:
        if column.unit is not None:
            assert Unit(column.unit, format="vounit") == Unit(column.unit, format="fits"), column


@EVERY_TABLE
def test_ucds_are_of_the_controlled_vocabulary(table: Table) -> None:
    for column in table:
        assert parse_ucd(column.ucd, check_controlled_vocabulary=True), column


@EVERY_TABLE
def test_columns_have_a_known_type_and_a_meaning(table: Table) -> None:
    for column in table:
        assert column.type in ARROW_TYPES, column
        assert column.meaning, column
        assert not column.meaning.endswith("."), column


@EVERY_TABLE
def test_names_differ_without_regard_to_case(table: Table) -> None:
    assert len({name.lower() for name in table.names}) == len(table.columns)


@EVERY_TABLE
def test_alias_that_sql_would_fold_names_one_column(table: Table) -> None:
    aliases = [c.dvo.lower() for c in table if c.dvo and c.dvo.lower() != c.name]
    assert len(set(aliases)) == len(aliases)


@EVERY_TABLE
def test_stored_table_says_how_it_is_sorted(table: Table) -> None:
    assert table.kind in {"sky", "global", "catalog"}
    assert bool(table.sort) == (table.kind != "catalog")


@EVERY_TABLE
def test_sort_keys_are_never_null_except_times(table: Table) -> None:
    assert all(table[name].required for name in table.sort if name != "mjd")


@EVERY_TABLE
def test_sky_table_begins_with_the_object(table: Table) -> None:
    if table.kind == "sky":
        assert table.names[0] == table.sort[0] == "object_id"


def test_pair_of_measurement_tables_repeats_its_keys() -> None:
    raw, calibrated = TABLES["measurements"], TABLES["measurements_cal"]
    assert raw.sort == calibrated.sort
    assert raw.names[:5] == calibrated.names[:5] == ("object_id", "image_id", "det_id", "code", "mjd")


def test_conform_orders_casts_and_fills() -> None:
    rows = PETS.conform(pa.table({"id": pa.array([3, 1], pa.int32())}))
    assert rows.schema.equals(PETS.arrow, check_metadata=True)
    assert rows.to_pydict() == {"id": [3, 1], "mag": [None, None]}


def test_conform_refuses_a_column_that_is_not_declared() -> None:
    with pytest.raises(UsageError, match=r"table pets: columns \['nmae'\] are not declared"):
        PETS.conform(pa.table({"id": [1], "nmae": ["x"]}))


def test_conform_refuses_rows_without_a_required_column() -> None:
    with pytest.raises(UsageError, match=r"required columns \['id'\] are absent"):
        PETS.conform(pa.table({"mag": [1.0]}))


def test_unknown_column_is_answered_with_the_closest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'mag'"):
        PETS["mga"]


def test_table_that_declares_a_column_twice_is_refused() -> None:
    column = PETS["id"]
    with pytest.raises(ValueError, match="twice"):
        Table("pets", "global", "", (column, column))


def test_table_sorted_by_an_undeclared_column_is_refused() -> None:
    with pytest.raises(ValueError, match="undeclared"):
        Table("pets", "global", "", PETS.columns, sort=("name",))


def test_empty_has_the_declared_schema() -> None:
    assert PETS.empty().schema.equals(PETS.arrow)
    assert PETS.empty().num_rows == 0


def test_arrow_field_carries_unit_ucd_and_description() -> None:
    notes = TABLES["objects"].arrow.field("ra").metadata
    assert notes[b"unit"] == b"deg"
    assert notes[b"ucd"] == b"pos.eq.ra;meta.main"
    assert notes[b"description"].startswith(b"mean right ascension")

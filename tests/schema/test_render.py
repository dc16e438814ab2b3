"""Headers and pages say what the declarations say."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.io.votable import from_table, parse_single_table
from astropy.table import Table as AstropyTable
from astropy.units import Unit

from skydb.errors import UsageError
from skydb.flags import FLAGS_OF_COLUMN
from skydb.schema.render import FITS_FORMS, annotate, fits_columns, flags_page, notes_of, tables_page
from skydb.schema.tables import TABLES


def test_page_has_every_table_and_column_once() -> None:
    page = tables_page()
    for table in TABLES.values():
        section = page.split(f"\n### {table.name}\n")[1].split("\n### ")[0]
        assert all(section.count(f"\n| `{c.name}` | `{c.type}` |") == 1 for c in table)


def test_page_rows_have_as_many_cells_as_their_head() -> None:
    for block in tables_page().split("\n\n"):
        rows = [line.replace("\\|", "").count("|") for line in block.split("\n") if line.startswith("|")]
        assert len(set(rows)) <= 1


def test_flags_page_has_every_column_that_has_flags() -> None:
    page = flags_page()
    assert all(f"\n## {column}\n" in page for column in FLAGS_OF_COLUMN)
    assert "| `0x00000200` | `PHOTOM_UBERCAL` | never yet |" in page
    assert "| `0x00000002` | `PHOTOM_POOR` | stored |" in page
    assert "| `0x00100000` | `PHOTOM_PSF` | derived |" in page


def test_metadata_of_the_field_comes_first() -> None:
    field = pa.field("ra", pa.float64(), metadata={"unit": "rad", "ucd": "pos", "description": "mine"})
    (notes,) = notes_of(pa.schema([field]), ["objects"])
    assert (notes.unit, notes.ucd, notes.meaning) == ("rad", "pos", "mine")


def test_field_without_metadata_is_described_by_the_table_it_comes_from() -> None:
    (notes,) = notes_of(pa.schema([("ra", pa.float64())]), ["objects", "images"])
    assert notes.meaning == TABLES["objects"]["ra"].meaning


def test_only_what_all_tables_agree_on_is_said_of_a_column_from_anywhere() -> None:
    ra, nothing = notes_of(pa.schema([("ra", pa.float64()), ("my_own", pa.float64())]))
    assert (ra.unit, ra.ucd, ra.meaning) == ("deg", "pos.eq.ra;meta.main", "")
    assert (nothing.unit, nothing.ucd, nothing.meaning) == (None, "", "")


def test_fits_cards_carry_unit_ucd_and_description() -> None:
    columns = fits_columns(TABLES["objects"].empty().select(["object_id", "pm_ra", "flags"]))
    header = fits.Header([card for number, c in enumerate(columns, 1) for card in c.cards(number)])
    assert [header[f"TFORM{n}"] for n in (1, 2, 3)] == ["K", "E", "J"]
    assert "TUNIT1" not in header
    assert Unit(header["TUNIT2"], format="fits") == Unit("mas/yr")
    assert header["TUCD2"] == "pos.pm;pos.eq.ra"
    assert header["TCOMM2"] == TABLES["objects"]["pm_ra"].meaning
    assert header["TZERO3"] == 2**31


@pytest.mark.parametrize("kind", FITS_FORMS, ids=str)
def test_fits_form_reads_back_with_its_extremes(kind: pa.DataType) -> None:
    dtype = np.dtype(kind.to_pandas_dtype())
    extremes = (0, 1) if dtype.kind in "bf" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = np.array(extremes, dtype)
    (column,) = fits_columns(pa.table({"v": pa.array(values, kind)}))
    hdu = fits.BinTableHDU.from_columns(
        [fits.Column(column.name, column.form, array=values, bzero=column.zero or None)]
    )
    stored = io.BytesIO()
    hdu.writeto(stored)
    np.testing.assert_array_equal(fits.getdata(io.BytesIO(stored.getvalue()))["v"], values)


def test_null_is_declared_only_where_integers_are_null() -> None:
    rows = pa.table({"n": pa.array([1, None], pa.int32()), "m": pa.array([1, 2], pa.int32()), "f": [1.0, None]})
    assert [c.null for c in fits_columns(rows)] == [-(2**31), None, None]


def test_unsigned_null_is_the_largest_value() -> None:
    (column,) = fits_columns(pa.table({"flags": pa.array([1, None], pa.uint32())}))
    assert column.null == 2**32 - 1
    assert ("TNULL1", 2**31 - 1, "stands for NULL") in list(column.cards(1))


def test_string_is_as_wide_as_its_longest_value_in_bytes() -> None:
    assert [c.form for c in fits_columns(pa.table({"name": ["g", "Ωr", None], "none": ["", None, ""]}))] == ["3A", "1A"]


def test_list_becomes_a_variable_length_array() -> None:
    rows = pa.table({"corner_ra": pa.array([[1.0, 2.0], None, []], pa.list_(pa.float64()))})
    assert [c.form for c in fits_columns(rows)] == ["QD(2)"]


def test_type_without_a_fits_form_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="column when: FITS has no form for type"):
        fits_columns(pa.table({"when": pa.array([0], pa.timestamp("us"))}))


def test_votable_has_units_ucds_and_descriptions() -> None:
    table = AstropyTable({"ra": [1.0], "mag": [20.5]})
    annotate(table, ["object_bands", "objects"])
    stored = io.BytesIO()
    from_table(table).to_xml(stored)
    read = parse_single_table(io.BytesIO(stored.getvalue()))
    ra, mag = read.get_field_by_id("ra"), read.get_field_by_id("mag")
    assert (ra.unit, ra.ucd) == (Unit("deg"), "pos.eq.ra;meta.main")
    assert (mag.unit, mag.ucd) == (Unit("mag"), "phot.mag;stat.mean")
    assert mag.description == TABLES["object_bands"]["mag"].meaning


def test_what_a_column_says_of_itself_stays() -> None:
    table = AstropyTable({"ra": [1.0]})
    table["ra"].unit, table["ra"].description, table["ra"].info.meta = "rad", "mine", {"ucd": "pos"}
    annotate(table)
    assert (table["ra"].unit, table["ra"].description, table["ra"].info.meta["ucd"]) == (Unit("rad"), "mine", "pos")

"""The columns of a release have names that readers take, units and meanings."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from skydb.errors import UsageError
from skydb.query.release.columns import LIGHT_CURVE, MEANS, release_columns
from skydb.schema.tables import OBJECT_BANDS, OBJECTS


def test_means_are_named_by_band_and_source() -> None:
    columns = release_columns([("r", "stack"), ("g", "warp"), ("g", "chip"), ("TYCHO.B", "reference")])
    assert [means.prefix for means in columns.bands] == ["g", "r_stack", "g_warp", "TYCHO_B"]
    assert {"g_mag", "r_stack_mag_err", "g_warp_n_used", "TYCHO_B_flux"} <= set(columns.schema.names)


def test_names_stay_apart_and_without_dots() -> None:
    chip, other = ("a.b", "a_b", "position", "g_stack"), [("a-b", "reference"), ("g", "stack")]
    pairs = [*((band, "chip") for band in chip), *other]
    names = release_columns(pairs).schema.names
    assert len(set(names)) == len(names) == 2 + len(OBJECTS.names) + len(pairs) * len(MEANS)
    assert all(re.fullmatch(r"\w+", name) for name in names)


def test_every_column_says_what_it_is_and_in_which_unit() -> None:
    schema = release_columns([("g", "chip")]).schema
    assert schema.field("g_mag").metadata[b"unit"] == b"mag"
    assert schema.field("g_mag").metadata[b"description"].startswith(OBJECT_BANDS["mag"].meaning.encode())
    assert b"band g" in schema.field("g_mag").metadata[b"description"]
    assert schema.field("pm_ra").metadata[b"unit"] == b"mas/yr"
    nested = schema.field(LIGHT_CURVE).type
    assert nested.field("flux").metadata[b"unit"] == b"nJy"
    assert all(field.metadata[b"description"] for field in [*schema, *nested])


def test_light_curve_has_the_columns_asked_for() -> None:
    nested = release_columns([], ["mjd", "photcode", "airmass", "x"]).schema.field(LIGHT_CURVE).type
    assert [(field.name, field.type.value_type) for field in nested] == [
        ("mjd", pa.float64()), ("photcode", pa.string()), ("airmass", pa.float32()), ("x", pa.float32()),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "said"),
    [(["mjd", "magg"], "did you mean 'mag'"), (["object_id"], "no column named 'object_id'"), ([], "at least one"),
     (["mag", "mag"], "each once")],
)  # fmt: skip
def test_light_curve_columns_that_are_not_there_are_refused(columns: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        release_columns([], columns)

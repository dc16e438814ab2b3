"""Flags that no row has: light curves derive them when asked; SQL does not pretend that nothing is flagged."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from skydb.database import Database
from skydb.errors import UsageError
from skydb.flags import FLAGS_OF_COLUMN, ORIGINS, MeasurementFlags, Origin
from skydb.query.connection import Connection, connect
from skydb.query.lightcurve_points import light_curve
from skydb.tools.cli import main

DERIVED = int(ORIGINS[MeasurementFlags][Origin.DERIVED])


@pytest.fixture(scope="module")
def con(survey: Database) -> Iterator[Connection]:
    """A connection of this module's own, to register tables with."""
    with connect(survey) as connection:
        yield connection


@pytest.fixture(scope="module")
def curves(con: Connection) -> pa.Table:
    """The light curves of all objects, with derived flags, and the kinds of their images."""
    ids = con.sql("SELECT object_id FROM objects").arrow()["object_id"]
    con.register("curves", con.lightcurve(ids, columns="*", derive_flags=True).arrow())
    return con.sql("SELECT c.*, i.kind FROM curves c JOIN images i USING (image_id)").arrow()


def with_bits(curves: pa.Table, bits: MeasurementFlags) -> pa.Table:
    """The measurements that have all of some bits."""
    return curves.filter(pa.array(curves["db_flags"].to_numpy() & int(bits) == int(bits)))


def test_rows_used_in_a_mean_are_as_many_as_it_says(con: Connection, curves: pa.Table) -> None:
    used = with_bits(curves, MeasurementFlags.PHOTOM_PSF)
    found = Counter(zip(*(used[name].to_pylist() for name in ("object_id", "band", "kind")), strict=True))
    means = con.sql("SELECT object_id, band, source, n_used FROM object_bands WHERE n_used > 0").arrow().to_pylist()
    assert found == {(row["object_id"], row["band"], row["source"]): row["n_used"] for row in means}
    assert 0 < with_bits(curves, MeasurementFlags.MASKED_PSF).num_rows < used.num_rows < curves.num_rows


def test_rows_used_in_a_position_are_as_many_as_it_says(con: Connection, curves: pa.Table) -> None:
    used = with_bits(curves, MeasurementFlags.USED_OBJ | MeasurementFlags.UNMASKED_ASTRO)
    found = Counter(used["object_id"].to_pylist())
    rows = con.sql("SELECT object_id, n_position FROM objects WHERE n_position > 0").arrow().to_pylist()
    assert found == {row["object_id"]: row["n_position"] for row in rows}
    assert with_bits(curves, MeasurementFlags.USED_OBJ | MeasurementFlags.POOR_ASTROM).num_rows > 0


def test_means_can_be_had_again_from_flagged_rows(con: Connection, curves: pa.Table) -> None:
    con.register("used", with_bits(curves, MeasurementFlags.PHOTOM_PSF))
    rows = con.sql(
        "SELECT b.mag_min, b.mag_max, min(u.mag) AS brightest, max(u.mag) AS faintest FROM object_bands b"
        " JOIN used u ON u.object_id = b.object_id AND u.band = b.band AND u.kind = b.source"
        " GROUP BY b.object_id, b.band, b.source, b.mag_min, b.mag_max"
    ).arrow()
    assert rows.num_rows > 300
    for stored, found in (("mag_min", "brightest"), ("mag_max", "faintest")):
        np.testing.assert_allclose(rows[found].to_numpy(), rows[stored].to_numpy(), rtol=0, atol=1e-6)


def test_derived_bits_stand_beside_stored_ones(con: Connection, curves: pa.Table) -> None:
    plain = con.lightcurve(curves["object_id"], columns="db_flags").arrow()["db_flags"].to_numpy()
    whole = con.lightcurve(curves["object_id"], columns="db_flags", derive_flags=True).arrow()["db_flags"].to_numpy()
    assert not (plain & DERIVED).any()
    assert (plain & int(MeasurementFlags.BLEND_MEAS)).any()
    np.testing.assert_array_equal(whole & ~np.uint32(DERIVED), plain)


def test_plot_shows_as_used_what_the_derived_flags_call_used(con: Connection, curves: pa.Table) -> None:
    for star in with_bits(curves, MeasurementFlags.MASKED_APER)["object_id"].to_pylist():
        listed = with_bits(con.lightcurve(star, derive_flags=True).arrow(), MeasurementFlags.PHOTOM_PSF)
        drawn = [time for band in light_curve(con, star).bands for time in band.mjd[band.used].tolist()]
        assert sorted(drawn) == sorted(listed["mjd"].to_pylist())


def test_no_objects_have_no_flags(con: Connection) -> None:
    assert con.lightcurve([], derive_flags=True).arrow().num_rows == 0


def test_flags_are_not_derived_without_their_column(con: Connection) -> None:
    with pytest.raises(UsageError, match="add db_flags to the columns"):
        con.lightcurve(5, columns="mjd, mag", derive_flags=True)


def test_command_derives_flags(survey: Database, curves: pa.Table, capsys: pytest.CaptureFixture[str]) -> None:
    star = with_bits(curves, MeasurementFlags.PHOTOM_PSF)["object_id"][0].as_py()
    ask = ["lightcurve", str(survey.root), str(star), "--columns", "db_flags", "--format", "csv"]
    assert main([*ask, "--derive-flags"]) == 0
    found = [int(row["db_flags"]) for row in csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert found == curves.filter(pa.array(curves["object_id"].to_numpy() == star))["db_flags"].to_pylist()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM measurements WHERE (db_flags & measurement_flag('PHOTOM_PSF')) > 0",
        "SELECT MAG FROM Measure WHERE DB_FLAGS & Measurement_Flag('masked_kron') = 0",
        "SELECT bits & measurement_flag('POOR_ASTROM') FROM (SELECT db_flags AS bits FROM measurements)",
    ],
)
def test_derived_flag_is_refused_where_rows_do_not_have_it(con: Connection, query: str) -> None:
    for ask in (con.sql, con.explain):
        with pytest.raises(UsageError, match=r"is stored in no row: .* con\.lightcurve\(ids, derive_flags=True\)"):
            ask(query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT name FROM images WHERE (flags & image_flag('ASTROM_POOR')) > 0",
        "SELECT count(*) FROM objects WHERE flags & (object_flag('FIT_AVE') | object_flag('FIT_PM')) > 0",
        "SELECT count(*) FROM object_bands WHERE flags & object_band_flag('OBJ_EXT') > 0",
        "SELECT count(*) FROM measurements WHERE db_flags & measurement_flag('ARTIFACT') > 0",
    ],
)
def test_flag_that_is_never_set_is_refused(con: Connection, query: str) -> None:
    with pytest.raises(UsageError, match="is never set yet"):
        con.sql(query)


@pytest.mark.parametrize(
    "argument", ["", "name := 'PHOTOM_PSF'", "$$PHOTOM_PSF$$", "'PHOTOM' || '_PSF'", "3", "'PHOTOM_PSF', 'MASKED_PSF'"]
)
def test_flag_that_is_not_named_plainly_is_refused(con: Connection, argument: str) -> None:
    with pytest.raises(UsageError, match=r"takes one name in quotes; write it as in measurement_flag\('BLEND_MEAS'\)"):
        con.sql(f"SELECT count(*) FROM measurements WHERE db_flags & measurement_flag({argument}) > 0")


def test_derived_flag_has_its_bit_in_a_table_that_has_it(con: Connection, curves: pa.Table) -> None:
    query = "SELECT count(*) AS n FROM curves WHERE (db_flags & measurement_flag('PHOTOM_PSF')) > 0"
    assert con.sql(query).arrow()["n"].to_pylist() == [with_bits(curves, MeasurementFlags.PHOTOM_PSF).num_rows]


@pytest.mark.parametrize(
    "condition",
    [
        "db_flags & measurement_flag('BLEND_MEAS') > 0", "photflags & phot_flag('POOR') = 0",
        "photflags2 & phot_flag2('MATCHED') = 0 OR photflags2 IS NULL",
    ],
)  # fmt: skip
def test_stored_flags_are_asked_for_by_name(con: Connection, condition: str) -> None:
    assert len(con.sql(f"SELECT object_id FROM measurements WHERE {condition}")) > 0


@pytest.mark.parametrize("declared", ["measurements_cal.db_flags", "objects.flags", "object_bands.flags"])
def test_rows_have_stored_flags_alone(con: Connection, declared: str) -> None:
    table, column = declared.replace("_cal.", ".").split(".")
    values = con.sql(f"SELECT DISTINCT {column} FROM {table}").arrow()[column].to_numpy()
    assert not (values & ~np.uint32(ORIGINS[FLAGS_OF_COLUMN[declared]][Origin.STORED])).any()
    assert values.any()

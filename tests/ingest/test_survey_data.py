"""The shipped mappings of surveys on real rows: Gaia, 2MASS, SDSS, Hipparcos, Tycho-2, HATS catalogs of others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from astropy.time import Time

import skydb
from skydb.database import Database
from skydb.errors import DataError, UsageError
from skydb.ingest.readers.hats_folder import leaf_files
from skydb.ingest.readers.mapping import load_mapping
from tests.ingest.skies import contents, new_database
from tests.ingest.tables import joined, mapping_of, read

pytestmark = pytest.mark.data

CHUNK = "testcase8_gaia_chunk-05483.fits"
HATS = Path("hats") / "lsdb"
SMALL_SKY = """
name = "small_sky"
kind = "{kind}"
det_id = "{id}"
file = {{ format = "any" }}
[time]
{time}
[photcode]
{photcode}
[measurements]
ra_raw = {{ column = "{ra}", unit = "deg" }}
dec_raw = {{ column = "{dec}", unit = "deg" }}
{more}
"""
OBJECTS = SMALL_SKY.format(
    kind="reference", id="id", ra="ra", dec="dec", time='value = 2000.0\nformat = "jyear"\nscale = "tt"',
    photcode='name = "R.G"', more='[[photcodes]]\nname = "R.G"\nkind = "REF"',
)  # fmt: skip
SOURCES = SMALL_SKY.format(
    kind="detections", id="source_id", ra="source_ra", dec="source_dec",
    time='column = "mjd"\nscale = "tai"\nexptime = 1',
    photcode='column = "band"\n[photcode.values]\ng = "CAM.g.XY01"\n'
    + "\n".join(f'{band} = "CAM.r"' for band in "urizy"),
    more='inst_mag = { column = "mag", unit = "mag" }',
)  # fmt: skip


def by_code(detections: pa.Table, survey: str, name: str) -> dict[int, dict[str, Any]]:
    """The detections of one photcode by number."""
    code = next(c.code for c in load_mapping(survey).photcodes if c.name == name)
    return {row["det_id"]: row for row in detections.to_pylist() if row["code"] == code}


def plain(column: Any) -> np.ndarray:
    return np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)


def test_gaia_chunks_read_with_every_number_magnitude_and_epoch(data_dir: Path) -> None:
    found = joined(read(data_dir / "gaia" / CHUNK, "gaia_dr3"))
    table = Table.read(data_dir / "gaia" / CHUNK, hdu=1)
    assert found.num_rows == sum(np.isfinite(plain(table[f"phot_{b}_mean_mag"])).sum() for b in ("g", "bp", "rp"))
    rows = by_code(found, "gaia_dr3", "GAIA_DR3.BP")
    mag, snr = plain(table["phot_bp_mean_mag"]), plain(table["phot_bp_mean_flux_over_error"])
    for i in np.flatnonzero(np.isfinite(mag)):
        row = rows[int(table["source_id"][i])]
        assert row["inst_mag"] == pytest.approx(mag[i])
        assert row["inst_mag_err"] == pytest.approx(2.5 / np.log(10) / snr[i], rel=1e-6)
        assert (row["ra_raw"], row["dec_raw"]) == (table["ra"][i], table["dec"][i])
        assert row["dec_raw_err"] == pytest.approx(table["dec_error"][i])
        for ours, theirs in (("pm_ra", "pmra"), ("pm_dec_err", "pmdec_error"), ("parallax", "parallax")):
            given = float(plain(table[theirs])[i])
            assert row[ours] == (pytest.approx(given, rel=1e-6) if np.isfinite(given) else None)
    epoch = Time(2015.5, format="jyear", scale="tdb").tai.mjd  # the chunks are of DR2: the rows say so
    assert found["mjd"].to_pylist() == pytest.approx([epoch] * found.num_rows, abs=1e-8)
    assert min(found["det_id"].to_pylist()) > 2**53


def test_gaia_chunks_all_go_in_and_empty_ones_bring_nothing(data_dir: Path, tmp_path: Path) -> None:
    db = new_database(tmp_path / "gaia.sky")
    files = sorted((data_dir / "gaia").glob("*_gaia_chunk-*.fits"))
    report = skydb.addstar(db, files, mapping="gaia_dr3", workers=1)
    tables = {path: Table.read(path, hdu=1) for path in files}
    assert report.n_failed == 0
    assert report.n_ingested + report.n_known == len(files) == 20
    ids = {int(i) for table in tables.values() for i in table["source_id"]}
    assert set(contents(db, ["measurements"])["measurements"]["det_id"].to_pylist()) == ids
    one = tables[next(p for p in files if p.name == CHUNK)][0]
    row = asked(db, f"SELECT band, mag FROM measurements WHERE det_id = {one['source_id']} AND band = 'GAIA_DR3.G'")
    assert row == [{"band": "GAIA_DR3.G", "mag": pytest.approx(float(one["phot_g_mean_mag"]))}]


def asked(db: Database, query: str) -> list[dict[str, Any]]:
    with skydb.connect(db) as con:
        return con.sql(query).arrow().to_pylist()


def test_sdss_shards_give_ab_magnitudes_at_their_places(data_dir: Path) -> None:
    path = data_dir / "sdss" / "903281.fits"
    found, table = joined(read(path, "sdss_refcat")), Table.read(path, hdu=1)
    rows = by_code(found, "sdss_refcat", "SDSS.r")
    flux, error = np.array(table["r_flux"]), np.array(table["r_fluxErr"])
    assert set(rows) == {int(i) for i, f in zip(table["id"], flux, strict=True) if np.isfinite(f)}
    for i in np.flatnonzero(flux > 0):
        row = rows[int(table["id"][i])]
        assert row["inst_mag"] == pytest.approx(31.4 - 2.5 * np.log10(flux[i]), abs=1e-4)
        assert row["inst_mag_err"] == pytest.approx(2.5 / np.log(10) * error[i] / flux[i], rel=1e-5)
        assert row["ra_raw"] == pytest.approx(np.degrees(table["coord_ra"][i]), abs=1e-10)
    assert min(rows) > 2**53


def test_sdss_shard_without_rows_gives_nothing(data_dir: Path) -> None:
    chunks = read(data_dir / "sdss" / "master_schema.fits", "sdss_refcat")
    assert sum(chunk.n_in for chunk in chunks) == 0


def test_tycho2_positions_stand_at_j2000(data_dir: Path, tmp_path: Path) -> None:
    stars = Table.read(data_dir / "hipparcos" / "hipparcos_star_catalog.fits.gz")
    fast = stars[np.hypot(plain(stars["pmRA"]), plain(stars["pmDE"])) > 1000.0]  # mas/yr: 9 arcsec until 2000
    every = pq.read_table(data_dir / "tycho2" / "tycho2.parquet")
    epoch = Time(load_mapping("tycho2").time.value, format="jyear")
    ra, dec = (np.asarray(every[name]) for name in ("ra", "dec"))
    away = {}
    for year in (1991.25, epoch.jyear):
        moved = (year - 1991.25) / 3.6e6
        to_dec = plain(fast["DEICRS"]) + moved * plain(fast["pmDE"])
        to_ra = plain(fast["RAICRS"]) + moved * plain(fast["pmRA"]) / np.cos(np.radians(to_dec))
        places = zip(to_ra, to_dec, strict=True)
        away[year] = [np.hypot((ra - a) * np.cos(np.radians(d)), dec - d).min() * 3600 for a, d in places]
    assert np.median(away[epoch.jyear]) < 0.1
    assert np.median(away[1991.25]) > 9.0


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")  # of IRSA's old VOTable
def test_2mass_magnitudes_of_irsa_stay_where_their_flags_say_so(data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "edgecases" / "astropy" / "votable" / "irsa-nph-m31.xml"  # without pts_key and jdate
    text = 'based_on = "2mass_psc"\nname = "m31"\ndet_id = "designation"\ndet_id_text = "digits"\n[time]\ncolumn = ""\n'
    found = joined(read(path, mapping_of(tmp_path, text)))
    table = Table.read(path, format="votable")
    numbers = [int(re.sub(r"\D", "", name)) for name in table["designation"]]
    kept = dropped = 0
    for place, (band, name) in enumerate(zip("jhk", ("J", "H", "Ks"), strict=True)):
        rows = by_code(found, "2mass_psc", f"2MASS.{name}")
        for number, flags, mag in zip(numbers, table["ph_qual"], plain(table[f"{band}_m"]), strict=True):
            good = flags[place] in "ABCD"
            there = rows.get(number, {}).get("inst_mag")
            assert there == (pytest.approx(mag) if good else None)
            kept, dropped = kept + good, dropped + (not good)
    assert min(kept, dropped) >= 10
    assert set(found["det_id"].to_pylist()) == set(numbers)


def test_shard_of_another_survey_is_refused_by_its_columns(data_dir: Path) -> None:
    with pytest.raises(DataError, match="no column 'ra'; known: coord_dec"):
        read(data_dir / "sdss" / "903281.fits", "gaia_dr3")


def test_gaia_as_a_hats_leaf_reads_like_the_fits_chunk(data_dir: Path, tmp_path: Path) -> None:
    table = Table.read(data_dir / "gaia" / CHUNK, hdu=1)
    columns = {n: pa.array(table[n].tolist()) for n in table.colnames}
    leaf = tmp_path / "gaia" / "dataset" / "Norder=2" / "Dir=0" / "Npix=100.parquet"
    leaf.parent.mkdir(parents=True)
    pq.write_table(pa.table({"_healpix_29": pa.array([0] * len(table)), **columns}), leaf)
    (tmp_path / "gaia" / "hats.properties").write_text("dataproduct_type=object\n")
    chunk = joined(read(data_dir / "gaia" / CHUNK, "gaia_dr3"))
    assert joined(read(leaf, "gaia_dr3")).drop(["image_id"]) == chunk.drop(["image_id"])
    db = new_database(tmp_path / "hats.sky")
    report = skydb.addstar(db, tmp_path / "gaia", mapping="gaia_dr3", workers=1)
    assert (report.n_ingested, report.count("n_measurements")) == (1, chunk.num_rows)


@pytest.mark.parametrize(
    "name",
    ["small_sky", "small_sky_npix_as_dir", "small_sky_order1_collection", "small_sky_order1_nested_sources"],
)
def test_hats_catalogs_of_objects_go_in_whole(data_dir: Path, tmp_path: Path, name: str) -> None:
    folder = data_dir / HATS / name
    leaves = leaf_files(folder)
    ids = [i for leaf in leaves for i in pq.ParquetFile(leaf).read(columns=["id"])["id"].to_pylist()]
    db = new_database(tmp_path / "hats.sky")
    report = skydb.addstar(db, folder, mapping=mapping_of(tmp_path, OBJECTS), workers=1)
    assert report.n_failed == 0, report.text()
    assert report.n_ingested == len(leaves)
    assert len(ids) == 131
    assert sorted(contents(db, ["measurements"])["measurements"]["det_id"].to_pylist()) == sorted(ids)


def test_hats_catalog_of_sources_goes_in_as_one_table(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / HATS / "small_sky_source"
    db = new_database(tmp_path / "hats.sky")
    report = skydb.addstar(db, folder, mapping=mapping_of(tmp_path, SOURCES), workers=1)
    assert report.n_failed == 0, report.text()
    assert (report.n_ingested, report.count("n_in"), report.count("n_measurements")) == (1, 17_161, 17_161)
    table = pa.concat_tables(pq.ParquetFile(leaf).read(["source_id", "mjd", "mag"]) for leaf in leaf_files(folder))
    stored = contents(db, ["measurements"])["measurements"]
    assert dict(zip(table["source_id"].to_pylist(), table["mag"].to_pylist(), strict=True)) == {
        number: pytest.approx(mag, abs=1e-5)
        for number, mag in zip(stored["det_id"].to_pylist(), stored["inst_mag"].to_pylist(), strict=True)
    }


def test_hats_margin_is_refused(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / HATS / "small_sky_order1_collection" / "small_sky_order1_margin_1deg"
    db = new_database(tmp_path / "hats.sky")
    with pytest.raises(UsageError, match="a HATS margin holds no rows of its own"):
        skydb.addstar(db, folder, mapping=mapping_of(tmp_path, OBJECTS), workers=1)


def test_hipparcos_and_gaia_keep_their_own_epochs_side_by_side(data_dir: Path, tmp_path: Path) -> None:
    db = new_database(tmp_path / "both.sky")
    stars = sorted((data_dir / "hipparcos").glob("hipparcos*.fits.gz"))
    for name, files in (("hipparcos", stars), ("gaia_dr3", [data_dir / "gaia" / CHUNK])):
        assert skydb.addstar(db, files, mapping=name, workers=1).n_failed == 0
    rows = asked(db, "SELECT e.name, min(m.mjd) AS mjd FROM measurements m JOIN images USING (image_id)"
                     " JOIN exposures e USING (exposure_id) GROUP BY ALL ORDER BY e.name")  # fmt: skip
    epochs = {row["name"]: Time(row["mjd"], format="mjd", scale="tai").jyear for row in rows}
    assert epochs == {"gaia_dr3": pytest.approx(2015.5, abs=1e-5), "hipparcos": pytest.approx(1991.25, abs=1e-5)}

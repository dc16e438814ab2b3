"""The reader of mapped tables on real tables: counts, values against other readers, memory, odd and broken files."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import Angle
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time

from skydb.errors import DataError, SkydbError
from skydb.ingest.readers.interface import CHUNK_ROWS
from skydb.ingest.readers.mapping import Mapping

from .tables import joined, mapping_of, read, rejected

pytestmark = pytest.mark.data

GAIA = """
name = "gaia_dr2"
kind = "reference"
det_id = "source_id"
file = { format = "fits" }
time = { value = 2015.5, column = "ref_epoch", format = "jyear", scale = "tdb" }
[measurements]
ra_raw = { column = "ra", unit = "deg" }
dec_raw = { column = "dec", unit = "deg" }
ra_raw_err = { column = "ra_error", unit = "mas" }
dec_raw_err = { column = "dec_error", unit = "mas" }
[[magnitudes]]
photcode = "GAIA.G"
columns = { inst_mag = { column = "phot_g_mean_mag", nulls = [0] } }
[[magnitudes]]
photcode = "GAIA.BP"
columns = { inst_mag = { column = "phot_bp_mean_mag", nulls = [0] } }
[[magnitudes]]
photcode = "GAIA.RP"
columns = { inst_mag = { column = "phot_rp_mean_mag", nulls = [0] } }
"""
SDSS = """
name = "sdss"
kind = "reference"
det_id = "id"
file = { format = "fits" }
time = { value = 2005.0, format = "jyear", scale = "tt" }
[measurements]
ra_raw = "coord_ra"
dec_raw = "coord_dec"
"""
RR_LYRAE = """
name = "rrlyrae"
kind = "detections"
time = { scale = "tai", nulls = [-99.99] }
[file]
format = "text"
header = "none"
names = ["ra", "dec", "tu", "u", "ue", "tg", "g", "ge", "tr", "r", "re", "ti", "i", "ie", "tz", "z", "ze"]
[measurements]
ra_raw = "ra"
dec_raw = "dec"
"""
REF_CODE = '[[photcodes]]\nname = "{name}"\nkind = "REF"\n'


def test_elais_has_its_detections_in_images_of_time_and_filter(data_dir):
    path = data_dir / "decam_elais" / "candidate_objects_elais.dat"
    chunks = read(path, "decam_elais")
    found = joined(chunks)
    words = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    assert found.num_rows == len(words) == sum(c.n_in for c in chunks) == 43_770
    assert chunks[0].images.num_rows == len({(w[4], w[5]) for w in words}) == 1064
    assert found["det_id"].to_pylist() == [int(w[1]) for w in words]
    assert found["ra_raw"].to_pylist() == [float(w[2]) for w in words]
    nan, below_zero = sum(w[6] == "nan" for w in words), sum(float(w[7]) < 0 for w in words)
    assert (sum(c.n_nulled for c in chunks), nan, below_zero) == (2, 1, 1)
    seconds = {"g": 60.0, "r": 86.0, "i": 130.0}
    mag = np.array([float(w[6]) for w in words])
    exptime = np.array([seconds[w[5]] for w in words])
    calibrated = found["inst_mag"].to_numpy() + 25.0 + 2.5 * np.log10(exptime)
    np.testing.assert_allclose(calibrated, mag, atol=2e-6)
    start = Time(np.array([float(w[4]) for w in words]), format="mjd", scale="utc").tai.mjd
    np.testing.assert_allclose(found["mjd"].to_numpy(), start + exptime / 2 / 86400, atol=1e-9)


def test_tycho2_streams_all_its_rows_as_one_image(data_dir):
    path = data_dir / "tycho2" / "tycho2.parquet"
    chunks = read(path, "tycho2")
    assert [c.n_in for c in chunks][:-1] == [CHUNK_ROWS] * (len(chunks) - 1)
    assert len({c.images["image_id"][0].as_py() for c in chunks}) == 1
    found = joined(chunks)
    assert found.num_rows == 1_871_011
    assert found["ra_raw"].equals(pq.read_table(path)["ra"])
    assert found["det_id"].to_numpy()[[0, -1]].tolist() == [0, 1_871_010]


MEMORY = """
import resource, sys, warnings
from pathlib import Path
from skydb.ingest.readers.interface import ReadRequest
from skydb.ingest.readers.mapping import load_mapping
from skydb.ingest.readers.table import TableReader
from skydb.schema.photcodes import Photcodes
mapping = load_mapping(sys.argv[1])
peaks = []
for chunk in TableReader().read(Path(sys.argv[2]), ReadRequest(Photcodes(mapping.photcodes), mapping=mapping)):
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
print(len(peaks), peaks[-1] - peaks[1])
"""


def test_memory_does_not_grow_with_the_file(data_dir, tmp_path):
    tycho = pq.read_table(data_dir / "tycho2" / "tycho2.parquet")
    pq.write_table(pa.concat_tables([tycho] * 3), tmp_path / "long.parquet", row_group_size=1_000_000)
    command = [sys.executable, "-c", MEMORY, "tycho2", str(tmp_path / "long.parquet")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    n_chunks, growth_mb = map(int, answer.stdout.split())
    assert n_chunks >= 12
    assert growth_mb < 60  # a chunk is 20 MB of source and 30 MB of detections; the file is 120 MB in memory


def test_hsc_visits_give_824_images_with_zero_points_and_corners(data_dir):
    ids, exposures = set(), set()
    for path in sorted((data_dir / "hsc_visits").glob("*.fits")):
        chunk, = read(path, "hsc_visits")
        assert (chunk.detections.num_rows, chunk.n_in, chunk.rejected) == (0, 0, {})
        with fits.open(path) as hdus:
            summary, info = Table(hdus[1].data), Table(hdus["VisitInfo"].data)
        images = chunk.images
        per_second = summary["zeroPoint"] - 2.5 * np.log10(info["exposuretime"])
        np.testing.assert_allclose(images["zpt_obs"].to_numpy(), per_second, atol=1e-5)
        assert images["corner_ra"].to_pylist() == np.asarray(summary["raCorners"]).tolist()
        assert images["chip"].to_pylist() == [str(i) for i in summary["id"]]
        assert images["fwhm_major"].to_numpy() == pytest.approx(2.35482 * np.asarray(summary["psfSigma"]), rel=1e-5)
        mid = Time(int(info["tai"][0]) // 10**9 / 86400 + 40587, format="mjd", scale="tai")
        assert images["mjd"][0].as_py() == pytest.approx(mid.mjd, abs=2e-5)
        assert images["radius"].to_numpy().max() < 0.15
        assert chunk.exposures["name"].to_pylist() == [str(summary["visit"][0])]
        ids |= set(images["image_id"].to_pylist())
        exposures |= set(images["exposure_id"].to_pylist())
    assert (len(ids), len(exposures)) == (824, 8)


def test_hipparcos_rows_are_conserved(data_dir):
    path = data_dir / "hipparcos" / "hipparcos_star_catalog.fits.gz"
    chunk, = read(path, "hipparcos")
    source = Table.read(path)
    ra, blue = (np.asarray(source[name], dtype=float) for name in ("RAICRS", "BTmag"))
    lost = int(np.isnan(ra).sum())
    assert chunk.n_in == len(source) == 41_074
    assert chunk.rejected == {"no_position": lost}
    assert len(np.unique(chunk.detections["det_id"].to_numpy())) == chunk.n_in - lost
    by_code = np.unique(chunk.detections["code"].to_numpy(), return_counts=True)[1]
    assert by_code.min() == (np.isfinite(blue) & np.isfinite(ra)).sum()


def test_sexagesimal_positions_agree_with_astropy(data_dir, tmp_path):
    text = """
name = "bsc"
kind = "reference"
det_id = "HR"
file = { format = "fits" }
time = { value = 2000.0, format = "jyear", scale = "tt" }
photcode = { name = "BSC.V" }
[measurements]
ra_raw = { column = "RAJ2000", unit = "hourangle", sexagesimal = true }
dec_raw = { column = "DEJ2000", unit = "deg", sexagesimal = true }
inst_mag = "Vmag"
"""
    path = data_dir / "hipparcos" / "yale_bright_star_catalog.fits.gz"
    chunk, = read(path, mapping_of(tmp_path, text + REF_CODE.format(name="BSC.V")))
    source = Table.read(path)
    source = source[[bool(str(r).strip()) for r in source["RAJ2000"]]]
    assert chunk.rejected.get("no_position", 0) == 9096 - len(source)
    assert chunk.detections.num_rows == len(source)
    some = slice(0, 300)
    np.testing.assert_allclose(
        chunk.detections["ra_raw"].to_numpy()[some], Angle(list(source["RAJ2000"][some]), "hourangle").deg, atol=1e-9
    )
    np.testing.assert_allclose(
        chunk.detections["dec_raw"].to_numpy()[some], Angle(list(source["DEJ2000"][some]), "deg").deg, atol=1e-9
    )


def test_gaia_chunks_keep_ids_errors_and_epoch(data_dir, tmp_path):
    codes = "".join(REF_CODE.format(name=f"GAIA.{band}") for band in ("G", "BP", "RP"))
    mapping = mapping_of(tmp_path, GAIA + codes)
    paths = sorted((data_dir / "gaia").glob("*_gaia_chunk-*.fits"))
    images = set()
    for path in paths:
        source, chunks = Table.read(path), read(path, mapping)
        if not len(source):
            assert chunks == []
            continue
        chunk, = chunks
        assert chunk.n_in == len(source)
        assert not chunk.rejected
        assert set(chunk.detections["det_id"].to_pylist()) == set(source["source_id"].tolist())
        measured = sum(int((np.nan_to_num(source[f"phot_{b}_mean_mag"]) != 0).sum()) for b in ("g", "bp", "rp"))
        assert chunk.detections.num_rows == measured
        epoch = Time(2015.5, format="jyear", scale="tdb").tai.mjd
        assert chunk.detections["mjd"].to_numpy() == pytest.approx(epoch, abs=1e-6)
        images |= set(chunk.images["image_id"].to_pylist())
    contents = {path.read_bytes() for path in paths if len(Table.read(path))}
    assert len(images) == 3 * len(contents)


def test_sdss_fluxes_make_magnitudes_and_radians_degrees(data_dir, tmp_path):
    groups = "".join(
        f'[[magnitudes]]\nphotcode = "SDSS.{b}"\n'
        f'columns = {{ inst_flux = "{b}_flux", inst_flux_err = "{b}_fluxErr" }}\n'
        + REF_CODE.format(name=f"SDSS.{b}")
        for b in "ugriz"
    )
    path = data_dir / "sdss" / "903282.fits"
    chunk, = read(path, mapping_of(tmp_path, SDSS + groups))
    source = Table.read(path)
    assert chunk.n_in == len(source)
    first = chunk.detections.slice(0, 1).to_pylist()[0]
    assert first["ra_raw"] == pytest.approx(np.degrees(source["coord_ra"][0]))
    assert first["inst_mag"] == pytest.approx(31.4 - 2.5 * np.log10(source["u_flux"][0]), abs=1e-5)


def test_rr_lyrae_bands_have_times_of_their_own(data_dir, tmp_path):
    groups = "".join(
        f'[[magnitudes]]\nphotcode = "S82.{b}"\ntime = "t{b}"\n'
        f'columns = {{ inst_mag = {{ column = "{b}", nulls = [-99.99] }}, inst_mag_err = "{b}e" }}\n'
        + REF_CODE.format(name=f"S82.{b}")
        for b in "ugriz"
    )
    mapping = mapping_of(tmp_path, RR_LYRAE + groups)
    with tarfile.open(data_dir / "rrlyrae" / "stripe82_rrlyrae.tar.gz") as archive:
        archive.extractall(tmp_path, [m for m in archive.getmembers() if m.isfile()][:20], filter="data")
    for path in sorted(tmp_path.rglob("*.dat")):
        chunks = read(path, mapping)
        source = np.loadtxt(path, ndmin=2)
        mags = source[:, [3, 6, 9, 12, 15]]
        assert joined(chunks).num_rows == (mags > -99).sum() + (mags < -99).all(axis=1).sum()
        assert sum(c.n_in for c in chunks) == len(source)
        assert rejected(chunks) == {}


def detections_of_any(folder: Path, form: str, ra: str, dec: str):
    return mapping_of(folder, f"""
name = "any"
kind = "reference"
file = {{ format = "{form}" }}
time = {{ value = 2000.0, format = "jyear", scale = "tt" }}
photcode = {{ name = "ANY" }}
measurements = {{ ra_raw = "{ra}", dec_raw = "{dec}" }}
[[photcodes]]
name = "ANY"
kind = "REF"
""")  # fmt: skip


FOREIGN = {
    "astroquery/ipac__irsa__Cone.xml": ("votable", "ra", "dec"),
    "astroquery/gaia__1710099405832VAL-result.vot": ("votable", "ra", "dec"),
    "astroquery/esa__hubble__cone_search.vot": ("votable", "RA", "DEC"),
    "astroquery/ipac__irsa__most_gator.tbl": ("ascii.ipac", "ra", "dec"),
    "astropy/votable/irsa-nph-m31.xml": ("votable", "ra", "dec"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_tables_conserve_their_rows(data_dir, tmp_path, name):
    form, ra, dec = FOREIGN[name]
    chunks = read(data_dir / "edgecases" / name, detections_of_any(tmp_path, form, ra, dec))
    made = len({d for c in chunks for d in c.detections["det_id"].to_pylist()})
    assert sum(c.n_in for c in chunks) == made + sum(rejected(chunks).values())


def error_of(path: Path, mapping: Mapping) -> SkydbError | None:
    try:
        read(path, mapping)
    except SkydbError as error:
        return error
    return None


def test_any_odd_file_gives_rows_or_an_error_of_skydb(data_dir, tmp_path):
    formats = {".fits": "fits", ".fit": "fits", ".xml": "votable", ".vot": "votable", ".ecsv": "ecsv"}
    paths = [p for p in sorted((data_dir / "edgecases").rglob("*")) if p.is_file() and p.stat().st_size < 2e6]
    for path in paths:
        mapping = detections_of_any(tmp_path, formats.get(path.suffix, "text"), "ra", "dec")
        error = error_of(path, mapping)
        assert error is None or (str(path) in str(error) and error.todo), path


@pytest.mark.parametrize(
    ("name", "form", "columns", "message"),
    [
        ("ascii/ipac.dat", "ascii.ipac", ("ra", "dec"), "column 'ra': unknown unit 'unit'; name the unit"),
        ("ascii/bad.txt", "text", ("test2", "test3"), r"bad\.txt: line \d+ has 5 fields, not 4"),
        ("votable/irsa-nph-error.xml", "votable", ("ra", "dec"), "the document holds no table|answered with an error"),
    ],
)
def test_odd_file_of_others_says_what_is_wrong(data_dir, tmp_path, name, form, columns, message):
    mapping = detections_of_any(tmp_path, form, *columns)
    with pytest.raises(DataError, match=message):
        read(data_dir / "edgecases" / "astropy" / name, mapping)


def test_fpacked_table_is_read_as_its_plain_twin(data_dir, tmp_path):
    mapping = detections_of_any(tmp_path, "fits", "coord_ra", "coord_dec")
    packed = read(data_dir / "fpacked_tables" / "sdss903294.fits.fz", mapping)
    plain = read(data_dir / "sdss" / "903294.fits", mapping)
    columns = ["det_id", "ra_raw", "dec_raw", "mjd"]
    assert [c.detections.select(columns) for c in packed] == [c.detections.select(columns) for c in plain]
    assert sum(c.detections.num_rows for c in packed) == 2680

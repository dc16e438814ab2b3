"""The mappings of surveys: their columns are published ones, and rows come out as the survey means them.

Rows are written here by each survey's published schema, with invented values; real rows are in `test_survey_data`.
"""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table
from astropy.time import Time

import skydb
from skydb.errors import DataError
from skydb.ingest.readers.mapping import load_mapping, shipped_mappings
from skydb.ingest.readers.table import source_columns
from skydb.tools.cli import main
from tests.ingest.skies import new_database
from tests.ingest.tables import joined, mapping_of, read
from tests.test_docs import PROJECT

TMASS = (
    "ra dec err_maj err_min err_ang designation j_m j_cmsig j_msigcom j_snr h_m h_cmsig h_msigcom h_snr k_m k_cmsig"
    " k_msigcom k_snr ph_qual rd_flg bl_flg cc_flg ndet prox pxpa pxcntr gal_contam mp_flg pts_key hemis date scan glon"
    " glat x_scan jdate j_psfchi h_psfchi k_psfchi j_m_stdap j_msig_stdap h_m_stdap h_msig_stdap k_m_stdap k_msig_stdap"
    " dist_edge_ns dist_edge_ew dist_edge_flg dup_src use_src a dist_opt phi_opt b_m_opt vr_m_opt nopt_mchs ext_key"
    " scan_key coadd_key coadd"
)
"""All 60 columns, in the order of the bulk files (IPAC, format_psc.html)."""

PUBLISHED = {
    "gaia_dr3": "solution_id designation source_id random_index ref_epoch ra ra_error dec dec_error parallax"
    " parallax_error"
    " parallax_over_error pm pmra pmra_error pmdec pmdec_error ruwe duplicated_source phot_g_n_obs phot_g_mean_flux"
    " phot_g_mean_flux_error phot_g_mean_flux_over_error phot_g_mean_mag phot_bp_n_obs phot_bp_mean_flux"
    " phot_bp_mean_flux_error phot_bp_mean_flux_over_error phot_bp_mean_mag phot_rp_n_obs phot_rp_mean_flux"
    " phot_rp_mean_flux_error phot_rp_mean_flux_over_error phot_rp_mean_mag phot_bp_rp_excess_factor",
    "2mass_psc": TMASS,
    "allwise": "designation ra dec sigra sigdec sigradec glon glat elon elat wx wy cntr source_id coadd_id src"
    " w1mpro w1sigmpro w1snr w1rchi2 w2mpro w2sigmpro w2snr w2rchi2 w3mpro w3sigmpro w3snr w3rchi2 w4mpro w4sigmpro"
    " w4snr w4rchi2 rchi2 nb na w1sat w2sat w3sat w4sat satnum ra_pm dec_pm sigra_pm sigdec_pm sigradec_pm pmra sigpmra"
    " pmdec sigpmdec cc_flags rel ext_flg var_flg ph_qual det_bit moon_lev w1mjdmin w1mjdmax w1mjdmean",
    "usnob1": "USNO-B1.0 Tycho-2 RAJ2000 DEJ2000 e_RAJ2000 e_DEJ2000 Epoch pmRA pmDE muPr e_pmRA e_pmDE fit_RA"
    " fit_DE Ndet"
    " Flags B1mag B1C B1S B1f B1s/g B1xi B1eta R1mag R1C R1S R1f R1s/g R1xi R1eta B2mag B2C B2S B2f B2s/g B2xi"
    " B2eta R2mag"
    " R2C R2S R2f R2s/g R2xi R2eta Imag IC IS If Is/g Ixi Ieta",
    "sdss_photoobj": "objID skyVersion run rerun camcol field obj mode nChild type clean probPSF insideMask flags"
    " rowc colc"
    " psfMag_u psfMag_g psfMag_r psfMag_i psfMag_z psfMagErr_u psfMagErr_g psfMagErr_r psfMagErr_i psfMagErr_z"
    " raErr decErr ra dec mjd score thingId TAI_u TAI_g TAI_r TAI_i TAI_z",
    "sdss_refcat": "flags id coord_ra coord_dec parent u_flux g_flux r_flux i_flux z_flux i_fluxErr r_fluxErr u_fluxErr"
    " z_fluxErr g_fluxErr",
    "ps1_dr2": "objName objID uniquePspsOBid ippObjID surveyID htmID zoneID tessID projectionID skyCellID objInfoFlag"
    " qualityFlag raStack decStack raStackErr decStackErr raMean decMean raMeanErr decMeanErr epochMean posMeanChisq"
    " nStackObjectRows nStackDetections nDetections ng nr ni nz ny"
    + "".join(f" {b}MeanPSFMag {b}MeanPSFMagErr {b}MeanPSFMagStd {b}MeanKronMag {b}Flags" for b in "grizy"),
    "ps1_dr2_stack": "objName objID qualityFlag raStack decStack raStackErr decStackErr raMean decMean epochMean"
    " nDetections uniquePspsSTid primaryDetection bestDetection"
    + "".join(f" {b}stackImageID {b}Epoch {b}PSFMag {b}PSFMagErr {b}ApMag {b}KronMag" for b in "grizy"),
    "lsst_source": "sourceId coord_ra coord_dec parentSourceId x y xErr yErr ra dec raErr decErr ra_dec_Cov calibFlux"
    " calibFluxErr ap12Flux ap12FluxErr sky skyErr psfFlux psfFluxErr ixx iyy ixy extendedness visit detector band"
    " physical_filter midpointMjdTai",
    "paudm": "production_id ref_id band flux flux_error chi2 n_coadd run ra dec",
}  # fmt: skip
"""Published columns of each survey, those about identity, place, time and brightness; the mappings name the sources."""

MOTIONS = ("pm_ra", "pm_ra_err", "pm_dec", "pm_dec_err", "parallax", "parallax_err")
BIG = 2**53 + 1
"""A number that a float64 cannot hold."""


def gaia(**changes: Any) -> dict[str, list[Any]]:
    """Two rows of gaia_source; the second has neither BP nor RP."""
    row: dict[str, list[Any]] = {
        "source_id": [4472832130942575873, BIG], "ra": [269.5, 0.0], "dec": [4.5, -89.9], "ra_error": [0.026, 0.5],
        "dec_error": [0.029, 0.6], "ref_epoch": [2016.0, 2016.0], "phot_g_mean_mag": [8.19, 20.5],
        "phot_g_mean_flux_over_error": [1085.73620476, 108.573620476], "phot_bp_mean_mag": [9.8, None],
        "phot_bp_mean_flux_over_error": [500.0, None], "phot_rp_mean_mag": [6.9, None],
        "phot_rp_mean_flux_over_error": [900.0, None], "pmra": [-801.551, None], "pmra_error": [0.032, None],
        "pmdec": [10362.394, None], "pmdec_error": [0.036, None], "parallax": [546.976, None],
        "parallax_error": [0.040, None],
    }  # fmt: skip
    return row | changes


def mags(detections: pa.Table, survey: str) -> dict[tuple[int, str], tuple[Any, Any]]:
    """Magnitude and error by number and photcode."""
    names = {code.code: code.name for code in load_mapping(survey).photcodes}
    rows = detections.to_pylist()
    return {(r["det_id"], names[r["code"]]): (r["inst_mag"], r.get("inst_mag_err")) for r in rows}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_column_is_a_published_one(name: str) -> None:
    mapping = load_mapping(name)
    assert set(source_columns(mapping)) <= set(PUBLISHED[name].split())
    assert mapping.det_id
    assert mapping.description


def test_surveys_asked_for_are_shipped_with_photcodes_of_reference() -> None:
    assert {*PUBLISHED, "tycho2", "hipparcos"} <= set(shipped_mappings())
    for name in PUBLISHED:
        mapping = load_mapping(name)
        kinds = {code.kind for code in mapping.photcodes}
        assert kinds == ({"REF"} if mapping.kind == "reference" else {"SEC", "DEP"})


@pytest.mark.parametrize(
    ("name", "system"),
    [("gaia_dr3", "Vega"), ("2mass_psc", "Vega"), ("allwise", "Vega"), ("usnob1", "Vega"), ("sdss_photoobj", "AB"),
     ("ps1_dr2", "AB"), ("ps1_dr2_stack", "AB"), ("lsst_source", "AB"), ("paudm", "AB")],
)  # fmt: skip
def test_magnitude_system_is_that_of_the_survey(name: str, system: str) -> None:
    assert {code.system for code in load_mapping(name).photcodes} == {system}


def test_columns_of_2mass_bulk_files_are_in_the_published_order() -> None:
    assert load_mapping("2mass_psc").file.names == tuple(TMASS.split())


def bulk_ecsv(path: Path, rows: dict[str, list[Any]]) -> Path:
    """A file as Gaia's bulk download has it: gzipped ECSV with commas and `null`."""
    kinds = {"source_id": "int64", "ra": "float64", "dec": "float64", "ref_epoch": "float64"}
    units = {"ra": "deg", "dec": "deg", "ra_error": "mas", "dec_error": "mas", "ref_epoch": "yr"}
    lines = ["# %ECSV 1.0", "# ---", "# delimiter: ','", "# datatype:"]
    for name in (*rows, "libname_gspphot"):
        kind = "string" if name.startswith("lib") else kinds.get(name, "float32")
        lines += ["# -", f"#   name: {name}", f"#   datatype: {kind}", "#   description: 'As, ''published'''"]
        lines += [f"#   unit: {units[name]}"] if name in units else []
    lines += [",".join((*rows, "libname_gspphot"))]
    for row in zip(*rows.values(), strict=True):
        lines.append(",".join("null" if v is None else repr(v) for v in row) + ',"MARCS"')
    path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode()))
    return path


def as_table(rows: dict[str, list[Any]]) -> Table:
    """The rows as an astropy table, None masked."""
    return Table({n: MaskedColumn([v or 0 for v in c], mask=[v is None for v in c]) for n, c in rows.items()})


def gaia_file(folder: Path, form: str) -> Path:
    """The Gaia rows in one of the formats in which they come."""
    rows = gaia()
    if form == "bulk":
        return bulk_ecsv(folder / "GaiaSource_000000-003111.csv.gz", rows)
    if form == "parquet":
        pq.write_table(pa.table(rows), folder / "Npix=1.parquet")
        return folder / "Npix=1.parquet"
    if form == "csv":
        cells = ([("" if v is None else repr(v)) for v in row] for row in zip(*rows.values(), strict=True))
        lines = [",".join(row) for row in (list(rows), *cells)]
        (folder / "result.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
        return folder / "result.csv.gz"
    table = as_table(rows)
    table.rename_column("source_id", "SOURCE_ID")  # as the archive's newer exports write it
    path = folder / f"result.{'fits' if form == 'fits' else 'vot'}"
    table.write(path, format=form)
    return path


@pytest.mark.parametrize("form", ["bulk", "csv", "fits", "votable", "parquet"])
def test_gaia_reads_the_same_in_every_format(tmp_path: Path, form: str) -> None:
    chunk, = read(gaia_file(tmp_path, form), "gaia_dr3")
    found = mags(chunk.detections, "gaia_dr3")
    assert set(found) == {(4472832130942575873, f"GAIA_DR3.{b}") for b in ("G", "BP", "RP")} | {(BIG, "GAIA_DR3.G")}
    assert found[4472832130942575873, "GAIA_DR3.G"] == (pytest.approx(8.19), pytest.approx(0.001))
    assert found[BIG, "GAIA_DR3.G"] == (pytest.approx(20.5), pytest.approx(0.01))
    first = chunk.detections.to_pylist()[0]
    assert (first["ra_raw_err"], first["dec_raw_err"]) == (pytest.approx(0.026), pytest.approx(0.029))
    assert first["mjd"] == pytest.approx(Time(2016.0, format="jyear", scale="tdb").tai.mjd, abs=1e-8)
    assert chunk.rejected == {}
    moving = {row["det_id"]: [row[name] for name in MOTIONS] for row in chunk.detections.to_pylist()}
    assert moving[BIG] == [None] * 6
    assert moving[4472832130942575873] == pytest.approx([-801.551, 0.032, 10362.394, 0.036, 546.976, 0.040], rel=1e-6)


@pytest.mark.parametrize("form", ["bulk", "csv", "fits", "votable", "parquet"])
def test_gaia_without_motions_reads_the_same_in_every_format(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = {name: values for name, values in gaia().items() if not name.startswith(("pm", "parallax"))}
    monkeypatch.setitem(globals(), "gaia", lambda: some)
    chunk, = read(gaia_file(tmp_path, form), "gaia_dr3")
    assert len(mags(chunk.detections, "gaia_dr3")) == 4
    assert [chunk.detections[name].null_count for name in MOTIONS] == [4] * 6


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")  # of writing such units
@pytest.mark.parametrize("form", ["fits", "votable"])
def test_units_as_the_archive_writes_them_are_accepted(tmp_path: Path, form: str) -> None:
    written = {"ra": "deg", "ra_error": "mas", "dec_error": "Angle[mas]", "ref_epoch": "yr", "phot_g_mean_mag": "mag"}
    table = as_table(gaia())
    for name, unit in written.items():
        table[name].unit = u.Unit(unit, parse_strict="silent")
    table.write(tmp_path / "gaia", format=form)
    row = joined(read(tmp_path / "gaia", "gaia_dr3")).to_pylist()[0]
    assert (row["ra_raw"], row["ra_raw_err"]) == (269.5, pytest.approx(0.026))
    assert row["dec_raw_err"] == pytest.approx(0.029)


def test_unit_that_is_not_the_survey_s_is_refused(tmp_path: Path) -> None:
    table = as_table(gaia())
    table["ra"].unit = "rad"
    table.write(tmp_path / "gaia.fits")
    with pytest.raises(DataError, match="the mapping says 'deg', the file 'rad'"):
        read(tmp_path / "gaia.fits", "gaia_dr3")


def test_gaia_row_without_any_magnitude_keeps_its_position(tmp_path: Path) -> None:
    none = {name: [None, None] for name in gaia() if name.startswith("phot")}
    pq.write_table(pa.table({n: pa.array(c, pa.float64()) if n in none else c for n, c in gaia(**none).items()}),
                   tmp_path / "a.parquet")  # fmt: skip
    chunk, = read(tmp_path / "a.parquet", "gaia_dr3")
    assert chunk.detections["inst_mag"].to_pylist() == [None, None]
    assert chunk.detections["ra_raw"].to_pylist() == [269.5, 0.0]


def test_gaia_signal_to_noise_that_is_none_gives_no_error(tmp_path: Path) -> None:
    pq.write_table(pa.table(gaia(phot_g_mean_flux_over_error=[0.0, -2.0])), tmp_path / "a.parquet")
    chunk, = read(tmp_path / "a.parquet", "gaia_dr3")
    found = mags(chunk.detections, "gaia_dr3")
    assert [found[number, "GAIA_DR3.G"][1] for number in (4472832130942575873, BIG)] == [None, None]
    assert chunk.n_nulled == 2


def test_numbers_that_were_stored_as_floats_are_refused_not_rounded(tmp_path: Path) -> None:
    pq.write_table(pa.table(gaia(source_id=[4.472832130942576e18, 5.0])), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"row 0: 447283213094257\d+ in column 'source_id', stored as double"):
        read(tmp_path / "a.parquet", "gaia_dr3")


STAR = {
    "ra": "10.684737", "dec": "41.269035", "err_maj": "0.08", "err_min": "0.06", "err_ang": "90",
    "designation": "00424433+4116085", "j_m": "9.453", "j_cmsig": "0.050", "j_msigcom": "0.052", "h_m": "8.668",
    "h_cmsig": "0.050", "h_msigcom": "0.051", "k_m": "8.475", "ph_qual": "AAU", "cc_flg": "000", "mp_flg": "0",
    "pts_key": "1275498281", "jdate": "2450745.7012",
}  # fmt: skip
"""A source that is well measured in J and H, and an upper limit in Ks (its errors are null)."""


def tmass_line(**changes: str) -> str:
    """A line of a bulk file of 2MASS."""
    return "|".join((STAR | changes).get(name, r"\N") for name in TMASS.split())


def tmass_file(folder: Path) -> Path:
    """A good source, an asteroid, one without a position, one poorly measured, one with no error known in H."""
    lines = [
        tmass_line(), tmass_line(pts_key="2", mp_flg="1"), tmass_line(pts_key="3", dec=r"\N"),
        tmass_line(pts_key="4", ra="11", ph_qual="EEE", k_msigcom="0.1"),
        tmass_line(pts_key="5", ra="12", ph_qual="DFX", h_msigcom="9.999"),
    ]  # fmt: skip
    path = folder / "psc_aaa.gz"
    path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode()))
    return path


def test_2mass_keeps_valid_magnitudes_alone_and_cuts_minor_planets(tmp_path: Path) -> None:
    chunk, = read(tmass_file(tmp_path), "2mass_psc")
    found = mags(chunk.detections, "2mass_psc")
    assert found == {
        (1275498281, "2MASS.J"): (pytest.approx(9.453), pytest.approx(0.052)),
        (1275498281, "2MASS.H"): (pytest.approx(8.668), pytest.approx(0.051)),
        (4, "2MASS.J"): (None, None),  # its position is a measurement too
        (5, "2MASS.J"): (pytest.approx(9.453), pytest.approx(0.052)),
    }
    assert chunk.rejected == {"minor_planet": 1, "no_position": 1}
    row = chunk.detections.to_pylist()[0]
    assert row["ra_raw_err"] == row["dec_raw_err"] == pytest.approx(80.0)
    assert row["mjd"] == pytest.approx(Time(2450745.7012, format="jd", scale="utc").tai.mjd, abs=1e-8)


def test_stricter_choice_of_the_how_to_keeps_clean_rows_alone(tmp_path: Path) -> None:
    page = (PROJECT / "docs" / "how-to" / "add-a-survey.md").read_text()
    text = re.search(r"```toml\n(.*?)```", page, re.S)
    assert text
    flags = [("AAB", "000"), ("AAU", "000"), ("BBB", "0d0"), ("CAA", "000")]
    lines = [tmass_line(pts_key=str(i), ph_qual=q, cc_flg=c, k_msigcom="0.1") for i, (q, c) in enumerate(flags)]
    (tmp_path / "psc_aaa").write_text("\n".join([*lines, tmass_line(mp_flg="1"), ""]))
    chunk, = read(tmp_path / "psc_aaa", mapping_of(tmp_path, text[1]))
    assert set(chunk.detections["det_id"].to_pylist()) == {0}
    assert chunk.rejected == {"cut_ph_qual": 2, "contaminated": 1, "minor_planet": 1}


def test_2mass_as_ipac_table_reads_like_the_bulk_file(tmp_path: Path) -> None:
    names = [n for n in TMASS.split() if n in STAR or n in ("j_msigcom", "h_msigcom", "k_msigcom")]
    text = {n: STAR.get(n, "null") for n in names}
    widths = [max(len(n), len(v), 6) + 1 for n, v in text.items()]
    typed = {"designation": "char", "ph_qual": "char", "cc_flg": "char", "pts_key": "long", "mp_flg": "long"}
    kinds = [typed.get(n, "double") for n in names]
    head = (names, kinds, [""] * len(names), ["null"] * len(names))  # names, types, units, what null is
    rows = ["|" + "|".join(w.rjust(k) for w, k in zip(line, widths, strict=True)) + "|" for line in head]
    rows += [" " + " ".join(w.rjust(k) for w, k in zip(text.values(), widths, strict=True)) + " "]
    (tmp_path / "gator.tbl").write_text("\n".join([r"\fixlen = T", *rows, ""]))
    chunk, = read(tmp_path / "gator.tbl", "2mass_psc")
    bulk, = read(tmass_file(tmp_path), "2mass_psc")
    expected = {key: value for key, value in mags(bulk.detections, "2mass_psc").items() if key[0] == 1275498281}
    assert mags(chunk.detections, "2mass_psc") == expected


def test_allwise_limits_and_artefacts_are_null_and_positions_stand_at_2010(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"cntr": [1863123001351015321, 7], "ra": [359.99999] * 2, "dec": [41.0] * 2,
                               "sigra": [0.04] * 2, "sigdec": [0.05] * 2, "cc_flags": ["0d00", "D0pH"]}  # fmt: skip
    for n, (mag, err) in enumerate([(12.1, 0.024), (12.0, 0.023), (11.5, None), (None, None)], start=1):
        columns |= {f"w{n}mpro": pa.array([mag, 9.0], pa.float64()), f"w{n}sigmpro": pa.array([err, 0.1], pa.float64())}
    pq.write_table(pa.table(columns), tmp_path / "row-group-0.parquet")
    chunk, = read(tmp_path / "row-group-0.parquet", "allwise")
    assert mags(chunk.detections, "allwise") == {
        (1863123001351015321, "WISE.W1"): (pytest.approx(12.1), pytest.approx(0.024)),
        (1863123001351015321, "WISE.W2"): (pytest.approx(12.0), pytest.approx(0.023)),
        (7, "WISE.W2"): (9.0, pytest.approx(0.1)), (7, "WISE.W3"): (9.0, pytest.approx(0.1)),
    }  # fmt: skip
    row = chunk.detections.to_pylist()[0]
    assert (row["ra_raw_err"], row["dec_raw_err"]) == (pytest.approx(40.0), pytest.approx(50.0))
    assert row["mjd"] == pytest.approx(55400 + 34 / 86400, abs=1e-9)  # 34 leap seconds in 2010


def usno(folder: Path, ids: list[str], form: str, flags: list[str] | None = None) -> Path:
    n = len(ids)
    columns: dict[str, Any] = {"USNO-B1.0": ids, "RAJ2000": np.linspace(0, 359, n), "DEJ2000": np.linspace(-90, 90, n)}
    table = Table(columns)
    table["e_RAJ2000"], table["e_DEJ2000"] = np.full(n, 89), np.full(n, 62)
    table["Flags"] = flags or ["..."] * n
    table["RAJ2000"].unit = table["DEJ2000"].unit = "deg"
    table["e_RAJ2000"].unit = table["e_DEJ2000"].unit = "mas"
    for name in ("B1mag", "R1mag", "B2mag", "R2mag", "Imag"):
        table[name] = MaskedColumn(np.full(n, 15.25), mask=[name == "R1mag"] * n, unit="mag")
    path = folder / f"usno.{form}"
    table.write(path, format=form)
    return path


@pytest.mark.parametrize("form", ["fits", "votable"])
def test_usnob_numbers_are_the_digits_of_its_names(tmp_path: Path, form: str) -> None:
    chunk, = read(usno(tmp_path, ["0000-0000001", "0987-0123456", "1799-9999999"], form), "usnob1")
    found = mags(chunk.detections, "usnob1")
    assert {number for number, _ in found} == {1, 9870123456, 17999999999}
    assert {name for _, name in found} == {"USNOB.B1", "USNOB.B2", "USNOB.R2", "USNOB.I"}
    assert found[9870123456, "USNOB.I"] == (pytest.approx(15.25), None)
    assert chunk.detections["ra_raw_err"].to_pylist()[0] == 89.0
    assert chunk.detections["mjd"].to_pylist()[0] == pytest.approx(Time(2000.0, format="jyear", scale="tt").tai.mjd)


@pytest.mark.parametrize("form", ["fits", "votable"])
def test_usnob_diffraction_spikes_are_cut(tmp_path: Path, form: str) -> None:
    ids = [f"0987-000000{i}" for i in range(1, 6)]
    path = usno(tmp_path, ids, form, ["...", ".s.", "MsY", "M.Y", ""])
    chunk, = read(path, "usnob1")
    assert {row["det_id"] for row in chunk.detections.to_pylist()} == {9870000001, 9870000004, 9870000005}
    assert chunk.rejected == {"diffraction_spike": 2}


TAI = 4412910179.40
"""Seconds since the zero of MJD, of an SDSS header: MJD 51075.349 (1998-09-19)."""


def sdss_csv(path: Path) -> Path:
    """Rows as SkyServer writes them; bands were observed 71.7 s after each other, in the order r, i, u, z, g."""
    names = ["objid", "ra", "dec", "raErr", "decErr", "mode", "clean"]
    names += [f"psfMag{e}_{b}" for e in ("", "Err") for b in "ugriz"] + [f"TAI_{b}" for b in "ugriz"]
    good = ["18.1", "17.2", "16.9", "16.8", "-9999", "0.02", "0.01", "0.01", "0.01", "-9999"]
    times = [f"{TAI + 71.7 * 'riuzg'.index(b):.2f}" for b in "ugriz"]
    rows = [
        ["1237668296598749281", "179.689", "-0.454", "0.003", "0.004", "1", "1", *good, *times],
        ["1237668296598749282", "179.690", "-0.455", "0.003", "0.004", "2", "1", *good, *times],
        ["1237668296598749283", "179.691", "-0.456", "-9999", "-9999", "1", "0", *good, *times],
        ["1237668296598749284", "179.692", "-0.457", "0.003", "0.004", "1", "1", *good, *["-9999"] * 5],
    ]
    path.write_text("\n".join(["#Table1", ",".join(names), *(",".join(r) for r in rows), ""]))
    return path


def test_sdss_keeps_primary_clean_rows_with_all_digits_of_their_ids(tmp_path: Path) -> None:
    chunk, = read(sdss_csv(tmp_path / "skyserver.csv"), "sdss_photoobj")
    found = mags(chunk.detections, "sdss_photoobj")
    assert set(found) == {(1237668296598749281, f"SDSS.{b}") for b in "ugri"}
    assert found[1237668296598749281, "SDSS.g"] == (pytest.approx(17.2), pytest.approx(0.01))
    assert chunk.rejected == {"not_primary": 1, "not_clean": 1, "no_time": 1}
    rows = chunk.detections.to_pylist()
    assert rows[0]["ra_raw_err"] == pytest.approx(3.0)
    names = {code.code: code.name for code in load_mapping("sdss_photoobj").photcodes}
    seconds = {names[row["code"]]: row["mjd"] * 86400 - TAI for row in rows}
    late = {"SDSS.u": 143.4, "SDSS.g": 286.8, "SDSS.r": 0.0, "SDSS.i": 71.7}
    assert seconds == {name: pytest.approx(value, abs=1e-3) for name, value in late.items()}
    assert set(chunk.images["mjd"].to_pylist()) == {53114.0}


def ps1_csv(path: Path, header: list[str], rows: list[list[Any]]) -> Path:
    path.write_text("\n".join(",".join(map(str, r)) for r in [header, *rows]) + "\n")
    return path


def test_ps1_means_stand_at_their_own_epochs(tmp_path: Path) -> None:
    names = ["objID", "raMean", "decMean", "raMeanErr", "decMeanErr", "epochMean", "nDetections", "qualityFlag"]
    names += [f"{b}MeanPSFMag{e}" for b in "grizy" for e in ("", "Err")]
    good = [21.5, 0.05, 20.5, 0.02, -999.0, -999.0, 19.9, -999.0, 19.8, 0.04]
    rows = [
        [190361393344112894, 139.33, 68.6, 0.0042, 0.0041, 55900.25, 22, 52, *good],
        [190361393344112895, 139.34, 68.6, 0.0042, 0.0041, 55900.25, 1, 52, *good],
        [190361393344112896, -999.0, -999.0, -999.0, -999.0, -999.0, 0, 0, *good],
    ]
    chunk, = read(ps1_csv(tmp_path / "mean.csv", names, rows), "ps1_dr2")
    found = mags(chunk.detections, "ps1_dr2")
    assert set(found) == {(190361393344112894, f"PS1.{b}") for b in "grzy"}
    assert found[190361393344112894, "PS1.z"] == (pytest.approx(19.9), None)
    assert chunk.rejected == {"single_detection": 1, "no_position": 1}
    row = chunk.detections.to_pylist()[0]
    assert (row["mjd"], row["photflags"], row["ra_raw_err"]) == (55900.25, 52, pytest.approx(4.2))


def test_ps1_errors_that_a_file_calls_degrees_are_refused(tmp_path: Path) -> None:
    table = Table({"objID": [1], "raMean": [1.0], "decMean": [2.0], "raMeanErr": [0.0042], "decMeanErr": [0.0041],
                   "epochMean": [55900.25], "nDetections": [22], "qualityFlag": [52]})  # fmt: skip
    for band in "grizy":
        table[f"{band}MeanPSFMag"], table[f"{band}MeanPSFMagErr"] = [20.5], [0.02]
    table["raMeanErr"].unit = "deg"  # as MAST's list of columns says; its documentation says arcsec
    table.write(tmp_path / "mean.vot", format="votable")
    with pytest.raises(DataError, match="column 'raMeanErr': the mapping says 'arcsec', the file 'deg'"):
        read(tmp_path / "mean.vot", "ps1_dr2")


def test_ps1_stacks_have_an_epoch_in_each_band_and_one_primary_row(tmp_path: Path) -> None:
    names = ["objID", "raStack", "decStack", "raStackErr", "decStackErr", "qualityFlag", "primaryDetection"]
    names += [f"{b}{c}" for b in "grizy" for c in ("Epoch", "PSFMag", "PSFMagErr")]
    bands = [55800.5, 22.5, 0.05, 55810.5, 21.5, 0.02, *[-999.0] * 9]
    rows = [
        [190361393344112894, 139.33, 68.6, 0.01, 0.01, 52, 1, *bands],
        [190361393344112894, 139.33, 68.6, 0.01, 0.01, 52, 0, *bands],
        [190361393344112894, 139.33, 68.6, 0.01, 0.01, 52, 1, *bands],
    ]
    chunk, = read(ps1_csv(tmp_path / "stack.csv", names, rows), "ps1_dr2_stack")
    assert set(mags(chunk.detections, "ps1_dr2_stack")) == {(190361393344112894, f"PS1_STACK.{b}") for b in "gr"}
    assert sorted(chunk.detections["mjd"].to_pylist()) == [55800.5, 55810.5]
    assert chunk.rejected == {"not_primary": 1, "duplicate": 1}


def lsst(path: Path, **changes: Any) -> Path:
    """Four sources of one visit on two detectors, one of them negative."""
    columns: dict[str, Any] = {
        "sourceId": [600408134082330625, 600408134082330626, 600408134082330627, 600408134082330628],
        "coord_ra": [53.1, 53.2, 53.3, 53.4], "coord_dec": [-28.1] * 4, "x": [10.0, 20.0, 30.0, 40.0], "y": [5.0] * 4,
        "xErr": [0.01, 0.02, 0.03, 0.04], "yErr": [0.05] * 4,
        "psfFlux": [3630.7805, 36307.805, -12.0, 363.07805], "psfFluxErr": [36.307805] * 4,
        "midpointMjdTai": [60623.25] * 4, "band": ["r"] * 4, "visit": [2024110800250] * 4, "detector": [3, 3, 5, 5],
    }  # fmt: skip
    pq.write_table(pa.table(columns | changes), path)
    return path


def test_lsst_sources_are_images_of_visit_and_detector(tmp_path: Path) -> None:
    chunk, = read(lsst(tmp_path / "source.parquet"), "lsst_source")
    images = chunk.images.to_pylist()
    assert [(i["chip"], i["ccdnum"], i["external_id"]) for i in images] == [(str(d), d, 2024110800250) for d in (3, 5)]
    assert chunk.exposures["name"].to_pylist() == ["2024110800250"]
    found = chunk.detections.to_pylist()
    assert [row["det_id"] for row in found] == [600408134082330625 + i for i in range(4)]
    assert {row["mjd"] for row in found} == {60623.25}
    assert [row["inst_mag"] is None for row in found] == [False, False, True, False]
    assert found[0]["inst_mag"] + 2.5 * np.log10(30) + 31.4 == pytest.approx(22.5, abs=1e-4)  # 3631 nJy
    assert found[0]["inst_mag_err"] == pytest.approx(0.0108574, rel=1e-4)
    assert (found[1]["x_err"], found[1]["y_err"]) == (pytest.approx(0.02), pytest.approx(0.05))


def test_lsst_sky_sources_are_cut_by_a_copy_that_says_so(tmp_path: Path) -> None:
    path = lsst(tmp_path / "source.parquet", sky_source=[False, True, False, None])
    copy = tmp_path / "no_sky.toml"
    copy.write_text('based_on = "lsst_source"\nname = "no_sky"\n[[cuts]]\ncolumn = "sky_source"\nbits = 1\n')
    chunk, = read(path, load_mapping(copy))
    assert (chunk.detections.num_rows, chunk.rejected) == (3, {"cut_sky_source": 1})


def test_paudm_coadds_have_magnitudes_with_the_zero_point_26(tmp_path: Path) -> None:
    columns = {
        "production_id": [1015] * 4, "ref_id": [BIG, BIG, BIG, 7], "band": ["NB455", "NB845", "NB455", "NB455"],
        "flux": [100.0, 10.0, 99.0, 5.0], "flux_error": [1.0, 1.0, 1.0, 1.0], "n_coadd": [3, 4, 3, 0],
        "ra": [150.1] * 4, "dec": [2.2] * 4,
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "fac.parquet")
    chunk, = read(tmp_path / "fac.parquet", "paudm")
    names = {code.code: code.name for code in load_mapping("paudm").photcodes}
    found = {(r["det_id"], names[r["code"]]): r["inst_mag"] + 26.0 for r in chunk.detections.to_pylist()}
    assert found == {(BIG, "PAU.NB455"): pytest.approx(21.0), (BIG, "PAU.NB845"): pytest.approx(23.5)}
    assert chunk.rejected == {"no_coadd": 1, "duplicate": 1}
    assert set(chunk.images["kind"].to_pylist()) == {"stack"}


def answers(db: Any, sql: str) -> list[tuple[Any, ...]]:
    with skydb.connect(db) as con:
        return [tuple(row.values()) for row in con.sql(sql).arrow().to_pylist()]


def test_surveys_meet_in_one_database_and_answer_by_band(tmp_path: Path) -> None:
    db = new_database(tmp_path / "sky.sky")
    still = {"pmra": [-5.0, None], "pmdec": [3.0, None]}
    pq.write_table(pa.table(gaia(ra=[10.684737, 50.0], dec=[41.269035, 0.0], **still)), tmp_path / "gaia.parquet")
    for name, path in (("gaia_dr3", tmp_path / "gaia.parquet"), ("2mass_psc", tmass_file(tmp_path))):
        report = skydb.addstar(db, path, mapping=name, workers=1)
        assert (report.n_ingested, report.n_failed) == (1, 0)
    rows = answers(db, "SELECT b.band, source, mag, system FROM object_bands b JOIN photcodes p ON p.name = b.band"
                       " WHERE object_id = (SELECT object_id FROM measurements WHERE det_id = 1275498281 LIMIT 1)"
                       " ORDER BY b.band")  # fmt: skip
    assert [(band, source, system) for band, source, _, system in rows] == [
        (band, "reference", "Vega") for band in ("2MASS.H", "2MASS.J", "GAIA_DR3.BP", "GAIA_DR3.G", "GAIA_DR3.RP")
    ]
    assert [mag for _, _, mag, _ in rows] == pytest.approx([8.668, 9.453, 9.8, 8.19, 6.9], abs=1e-4)
    again = skydb.addstar(db, tmp_path / "gaia.parquet", mapping="gaia_dr3", workers=1)
    assert (again.n_known, again.n_ingested) == (1, 0)


def written(name: str, folder: Path) -> Path:
    """A file of a survey."""
    makers = {
        "gaia_dr3": lambda: gaia_file(folder, "bulk"), "2mass_psc": lambda: tmass_file(folder),
        "usnob1": lambda: usno(folder, ["0987-0123456"], "fits"), "sdss_photoobj": lambda: sdss_csv(folder / "s.csv"),
        "lsst_source": lambda: lsst(folder / "source.parquet"),
    }  # fmt: skip
    return makers[name]()


@pytest.mark.parametrize(
    ("name", "det_id", "expected"),
    [
        ("gaia_dr3", BIG, {"GAIA_DR3.G": 20.5}),
        ("2mass_psc", 1275498281, {"2MASS.J": 9.453, "2MASS.H": 8.668}),
        ("usnob1", 9870123456, dict.fromkeys(("USNOB.B1", "USNOB.B2", "USNOB.I", "USNOB.R2"), 15.25)),
        ("sdss_photoobj", 1237668296598749281, {"SDSS.u": 18.1, "SDSS.g": 17.2, "SDSS.r": 16.9, "SDSS.i": 16.8}),
        ("lsst_source", 600408134082330625, {"r": 22.5}),
    ],
)
def test_survey_goes_in_by_the_command_and_comes_out_as_a_light_curve(
    tmp_path: Path, name: str, det_id: int, expected: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    db = str(tmp_path / "sky.sky")
    assert main(["create", db]) == 0
    assert main(["addstar", db, str(written(name, tmp_path)), "--survey", name, "--workers", "1"]) == 0
    owner = answers(db, f"SELECT DISTINCT object_id FROM measurements WHERE det_id = {det_id}")[0][0]
    capsys.readouterr()
    assert main(["lightcurve", db, str(owner), "--columns", "band,mag", "--format", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert {row["band"]: float(row["mag"]) for row in rows} == pytest.approx(expected, abs=1e-3)

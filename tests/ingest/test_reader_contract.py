"""What every reader promises, whatever its format."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skydb.errors import DataError, UsageError
from skydb.ingest.readers import reader_for
from skydb.ingest.readers.interface import CHUNK_ROWS, DetectionFilter, ReadRequest
from skydb.ingest.readers.mapping import load_mapping
from skydb.schema.photcodes import Photcodes
from skydb.schema.tables import EXPOSURES, IMAGES, MEASUREMENTS
from tests.ingest.alert_packets import candidate, container, ztf_packet
from tests.ingest.catalog_files import PHOTCODES, Chip, rows, sources, write_cmf, write_ldac, write_smf
from tests.ingest.test_daophot import als, header

KEYS = ("image_id", "det_id", "code", "mjd", "ra_raw", "dec_raw")
MAPPING = """
name = "test"
kind = "detections"
det_id = "ID"
[file]
format = "fits"
[time]
column = "MJD"
scale = "utc"
at = "start"
exptime = 30.0
[photcode]
name = "CAM.r"
[measurements]
ra_raw = { column = "RA", unit = "deg" }
dec_raw = { column = "DEC", unit = "deg" }
inst_mag = { column = "MAG", unit = "mag" }
inst_mag_err = { column = "MAGERR", unit = "mag" }
"""


@dataclass(frozen=True)
class Case:
    """One file of a format: where it is, what to ask, how many rows it holds."""

    format: str
    path: Path
    request: ReadRequest
    n_rows: int


def damaged_rows():
    table = rows(40)
    table["X_PSF"][3], table["PSF_INST_MAG"][5], table["PSF_INST_MAG_SIG"][:4] = np.nan, np.nan, 0.9
    table["IPP_IDET"][9] = 8
    mark_errors(table["PSF_INST_MAG_SIG"])
    return table


def mark_errors(values):
    """A file's errors with two that are none, and one of 0."""
    values[20:23] = -1.0, -0.01, 0.0


def smf(folder):
    others = Chip("XY02", rows(0), {"CRVAL1": 9000.0}), Chip("XY03", rows(7), {"CRVAL1": 1.0})
    path = write_smf(folder / "a.smf", (Chip("XY01", damaged_rows()), *others))
    return Case("smf", path, ReadRequest(PHOTCODES, keep=DetectionFilter(max_mag_err=0.5)), 47)


def cmf(folder):
    return Case("smf", write_cmf(folder / "a.cmf", damaged_rows()), ReadRequest(PHOTCODES), 40)


def ldac(folder):
    table = sources(30)
    table["X_IMAGE"][2], table["MAG_AUTO"][4] = np.nan, 99.0
    mark_errors(table["MAGERR_AUTO"])
    return Case("ldac", write_ldac(folder / "a.ldac", [({}, table)]), ReadRequest(PHOTCODES, "CAM.r"), 30)


def daophot(folder):
    errors = np.full(40, 0.1)
    mark_errors(errors)
    stars = [(i if i != 9 else 8, 20.0 * i, 15.0 * i, 99.999 if i == 5 else 12.0, errors[i], 50.0) for i in range(40)]
    header(folder)
    return Case("daophot", als(folder, stars), ReadRequest(PHOTCODES), 40)


def table(folder):
    rng = np.random.default_rng(1)
    columns = {
        "ID": np.arange(60), "RA": rng.uniform(0, 1, 60), "DEC": rng.uniform(0, 1, 60), "MAG": rng.normal(size=60),
        "MAGERR": rng.uniform(0.01, 0.1, 60), "MJD": np.full(60, 56900.25),
    }
    mark_errors(columns["MAGERR"])
    columns["RA"][5] = np.nan
    made = [fits.Column(name, "K" if name == "ID" else "D", array=values) for name, values in columns.items()]
    fits.BinTableHDU.from_columns(made).writeto(folder / "a.fits")
    (folder / "test.toml").write_text(MAPPING)
    return Case("table", folder / "a.fits", ReadRequest(PHOTCODES, mapping=load_mapping(folder / "test.toml")), 60)


def alerts(folder):
    errors = np.full(50, 0.1)
    mark_errors(errors)
    found = [candidate(i, ra=i / 10, sigmapsf=errors[i], fid=1 + i % 3) for i in range(50)]
    found[3]["ra"], found[5]["candid"] = np.nan, 2
    packets = [ztf_packet(None), *(ztf_packet(one) for one in found)]
    path = folder / "a.avro"
    path.write_bytes(container(packets))
    mapping = load_mapping("ztf_alerts")
    return Case("table", path, ReadRequest(Photcodes(mapping.photcodes), mapping=mapping), 51)


@pytest.fixture(params=[smf, cmf, ldac, daophot, table, alerts], ids=lambda make: make.__name__)
def case(request, tmp_path):
    return request.param(tmp_path)


@pytest.fixture
def chunks(case):
    return list(reader_for(case.path, case.request).read(case.path, case.request))


def test_format_is_recognised(case):
    assert reader_for(case.path, case.request).format == case.format


def test_chunks_have_the_declared_schemas(chunks):
    for chunk in chunks:
        assert chunk.images.schema.equals(IMAGES.arrow)
        assert chunk.exposures.schema.equals(EXPOSURES.arrow)
        names = chunk.detections.column_names
        assert "object_id" not in names
        assert chunk.detections.schema.equals(MEASUREMENTS.select(names))
        assert names == [name for name in MEASUREMENTS.names if name in names]
        assert chunk.detections.num_rows <= CHUNK_ROWS


def test_keys_are_never_null(chunks):
    for chunk in chunks:
        for name in KEYS:
            assert chunk.detections[name].null_count == 0, name
        for declared, rows_ in ((IMAGES, chunk.images), (EXPOSURES, chunk.exposures)):
            assert all(rows_[column.name].null_count == 0 for column in declared if column.required)
        assert np.isfinite(chunk.detections["mjd"].to_numpy()).all()
        ra, dec = chunk.detections["ra_raw"].to_numpy(), chunk.detections["dec_raw"].to_numpy()
        assert ((ra >= 0) & (ra < 360) & (np.abs(dec) <= 90)).all()


def test_every_row_is_kept_or_counted(case, chunks):
    assert sum(chunk.n_in for chunk in chunks) == case.n_rows
    for chunk in chunks:
        assert chunk.n_in == chunk.detections.num_rows + sum(chunk.rejected.values())
        assert all(count > 0 for count in chunk.rejected.values())


def test_detections_name_images_and_images_name_exposures(chunks):
    for chunk in chunks:
        assert set(chunk.detections["image_id"].to_pylist()) <= set(chunk.images["image_id"].to_pylist())
        assert set(chunk.images["exposure_id"].to_pylist()) == set(chunk.exposures["exposure_id"].to_pylist())
        assert set(chunk.detections["code"].to_pylist()) <= set(chunk.images["code"].to_pylist())


def test_a_detection_number_is_there_once_per_image(chunks):
    tables = [chunk.detections.select(["image_id", "det_id"]) for chunk in chunks]
    names = [tuple(row.values()) for table in tables for row in table.to_pylist()]
    assert len(names) == len(set(names))


def test_nan_never_reaches_a_column(chunks):
    for chunk in chunks:
        for column in chunk.detections.columns:
            values = column.drop_null().to_numpy()
            assert values.dtype.kind not in "f" or np.isfinite(values).all()


def test_error_below_zero_is_no_error_and_zero_is_one(chunks):
    errors = [name for name in chunks[0].detections.column_names if MEASUREMENTS[name].is_error]
    assert "inst_mag_err" in errors
    for chunk in chunks:
        assert all((chunk.detections[name].drop_null().to_numpy() >= 0).all() for name in errors)
    values = [value for chunk in chunks for value in chunk.detections["inst_mag_err"].to_pylist()]
    assert values.count(None) == 2
    assert values.count(0.0) == 1
    assert sum(chunk.n_nulled for chunk in chunks) >= 2


def test_reading_twice_gives_the_same(case, chunks):
    again = list(reader_for(case.path, case.request).read(case.path, case.request))
    assert len(again) == len(chunks)
    for one, other in zip(chunks, again, strict=True):
        assert one.images.equals(other.images)
        assert one.detections.equals(other.detections)
        assert one.rejected == other.rejected


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_a_data_error(case, fraction):
    content = case.path.read_bytes()
    case.path.write_bytes(content[:int(fraction * len(content))])
    with pytest.raises(DataError) as caught:
        list(reader_for(case.path, case.request).read(case.path, case.request))
    assert case.path.name in str(caught.value)


def test_a_file_of_no_known_format_is_refused_with_what_is_known(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="SMF"):
        reader_for(tmp_path / "notes.txt", ReadRequest(PHOTCODES))
    (tmp_path / "a.smf.gz").write_bytes(b"\x1f\x8b rest")
    with pytest.raises(DataError, match="compressed by gzip; expand it first"):
        reader_for(tmp_path / "a.smf.gz", ReadRequest(PHOTCODES))


def test_what_is_no_file_is_an_error_of_the_call(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        reader_for(tmp_path / "absent.smf", ReadRequest(PHOTCODES))
    with pytest.raises(UsageError, match="directory"):
        reader_for(tmp_path, ReadRequest(PHOTCODES))


def test_first_start_is_that_of_the_earliest_image(case, chunks):
    first = reader_for(case.path, case.request).first_start(case.path, case.request)
    assert first == min(start for chunk in chunks for start in chunk.images["utc_start"].to_pylist())

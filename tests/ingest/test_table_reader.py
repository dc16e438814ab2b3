"""The reader of mapped tables on small tables: what becomes of rows and values, in every format."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import Angle
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.errors import DataError, UsageError
from skydb.ingest.readers import table as table_module
from skydb.ingest.readers.interface import DetectionFilter, ReadRequest
from skydb.ingest.readers.mapping import load_mapping
from skydb.ingest.readers.table import TableReader
from skydb.ingest.readers.table_times import tai_and_utc_start
from skydb.ingest.readers.table_values import converted
from skydb.schema.identity import image_id
from skydb.schema.tables import EXPOSURES, IMAGES, MEASUREMENTS

from .tables import CODES, REFERENCE, detections_mapping, joined, mapping_of, read, rejected

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "map-a-table.md"


def rows(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_only_a_mapping_makes_a_file_a_table(tmp_path):
    reader, path = TableReader(), tmp_path / "t.csv"
    assert not reader.recognises(path, b"ra,dec", ReadRequest(CODES))
    assert reader.recognises(path, b"ra,dec", ReadRequest(CODES, mapping=detections_mapping(tmp_path)))
    with pytest.raises(UsageError, match="a table needs a mapping file"):
        list(reader.read(path, ReadRequest(CODES)))


def test_examples_of_the_howto_do_what_it_says(tmp_path):
    page = PAGE.read_text()
    text = re.search(r"```text\n(star,.*?)```", page, re.S)[1]
    first, second = re.findall(r"```toml\n(.*?)```", page, re.S)
    assert mapping_of(tmp_path, second).kind == "reference"
    chunks = read(rows(tmp_path, text, "night.csv"), mapping_of(tmp_path, first))
    found = joined(chunks)
    assert (found.num_rows, rejected(chunks), sum(c.n_nulled for c in chunks)) == (4, {"saturated": 1}, 2)
    assert found["ra_raw"].to_pylist() == pytest.approx([150, 150 + 15 / 3600, 150 + 30 / 3600, 150])
    assert found["dec_raw"].to_pylist() == pytest.approx([2, 2 + 10 / 3600, -0.5, 2])
    assert found["inst_mag"].to_pylist()[2] is None
    assert chunks[0].images.num_rows == 2
    assert chunks[0].exposures["telescope"].to_pylist() == ["1 m", "1 m"]


def test_error_below_zero_is_nulled_and_counted_whatever_it_belongs_to(tmp_path):
    extra = 'inst_mag_err = "err"\nsky_err = "dsky"\nra_raw_err = { column = "dra", unit = "mas" }\n'
    text = "ra,dec,mjd,mag,err,dsky,dra\n1,2,59000,-7,-1,-99,3\n1,3,59000,-7,0,1,-0.5\n1,4,59000,-7,,1,0\n"
    chunk, = read(rows(tmp_path, text), detections_mapping(tmp_path, extra))
    assert chunk.detections["inst_mag_err"].to_pylist() == [None, 0.0, None]
    assert chunk.detections["sky_err"].to_pylist() == [None, 1.0, 1.0]
    assert chunk.detections["ra_raw_err"].to_pylist() == [3.0, None, 0.0]
    assert chunk.n_nulled == 3


def test_airmass_that_cannot_be_is_nulled_and_counted(tmp_path):
    (tmp_path / "a.csv").write_text(
        "ra,dec,mjd,mag,x,ix\n10,5,57000,-9,0,0\n11,5,57000,-9,1.5,1\n12,5,57000,-9,-1,1\n13,5,57000,-9,,1\n"
    )
    mapping = detections_mapping(tmp_path, 'airmass = "x"\n[images]\nairmass = "ix"\n')
    (chunk,) = read(tmp_path / "a.csv", mapping)
    assert chunk.detections["airmass"].to_pylist() == [None, 1.5, None, None]
    assert chunk.images["airmass"].to_pylist() == [None]
    assert chunk.n_nulled == 3


def test_constant_error_below_zero_is_refused(tmp_path):
    mapping = detections_mapping(tmp_path, "inst_mag_err = { value = -1 }\n")
    with pytest.raises(UsageError, match=r"inst_mag_err: the error -1 is below 0; leave it out"):
        read(rows(tmp_path, "ra,dec,mjd,mag\n1,2,59000,-7\n"), mapping)


def test_chunk_has_declared_schemas_and_required_columns(tmp_path):
    chunk, = read(rows(tmp_path, "ra,dec,mjd,mag\n1,2,59000,-7\n"), detections_mapping(tmp_path))
    assert chunk.images.schema == IMAGES.arrow
    assert chunk.exposures.schema == EXPOSURES.arrow
    names = ["image_id", "det_id", "code", "mjd", "ra_raw", "dec_raw", "inst_mag"]
    assert chunk.detections.schema == MEASUREMENTS.select(names)
    assert chunk.detections["det_id"].to_pylist() == [0]


def test_images_of_one_table_have_names_of_their_own(tmp_path):
    text = "ra,dec,mjd,mag\n1,2,59000,-7\n1,2,59001,-7\n1,2,59000,-8\n"
    chunk, = read(rows(tmp_path, text), detections_mapping(tmp_path))
    days = ("2020-05-31", "2020-06-01")
    assert chunk.images["name"].to_pylist() == [f"t.csv[{day}T00:00:00.000 X.g]" for day in days]


def test_times_are_tai_at_mid_exposure_and_utc_at_the_start(tmp_path):
    chunk, = read(rows(tmp_path, "ra,dec,mjd,mag\n1,2,59000.25,-7\n"), detections_mapping(tmp_path))
    start = Time(59000.25, format="mjd", scale="utc")
    assert chunk.images["utc_start"].to_pylist() == [59000.25]
    assert chunk.images["mjd"].to_pylist() == pytest.approx([start.tai.mjd + 30 / 86400], abs=1e-10)
    assert chunk.detections["mjd"].to_pylist() == chunk.images["mjd"].to_pylist()
    assert chunk.images["image_key"].to_pylist() == ["chip|2020-05-31T06:00:00.000|X.g||"]
    assert chunk.images["image_id"].to_pylist() == [image_id("chip|2020-05-31T06:00:00.000|X.g||")]


@pytest.mark.parametrize("scale", ["tai", "utc", "tt", "tdb"])
@pytest.mark.parametrize(("at", "before"), [("start", 0.0), ("mid", 50.0), ("end", 100.0)])
def test_every_scale_and_instant_agrees_with_astropy(scale, at, before):
    days = np.array([50000.5, 57753.99999, np.nan, 60000.0])
    mjd, utc = tai_and_utc_start(days, np.full(4, 100.0), scale=scale, at=at)
    for i in (0, 1, 3):
        start = Time(days[i], format="mjd", scale=scale).tai.mjd - before / 86400
        assert mjd[i] == pytest.approx(start + 50 / 86400, abs=2e-10)
        assert utc[i] == pytest.approx(Time(start, format="mjd", scale="tai").utc.mjd, abs=2e-10)
    assert np.isnan(mjd[2])
    assert np.isnan(utc[2])


@pytest.mark.parametrize(
    ("form", "value"),
    [("mjd", "59000.25"), ("jd", "2459000.75"), ("unix", "1590904800"),
     ("jyear", repr(2000 + (59000.25 - 51544.5) / 365.25)),
     ("iso", "2020-05-31T06:00:00"), ("iso", "2020-05-31 06:00:00.000 UTC"), ("iso", "2020-05-31T06:00:00Z")],
)  # fmt: skip
def test_time_formats_mean_the_same_instant(tmp_path, form, value):
    mapping = mapping_of(tmp_path, HEAD_TIME.format(form=form))
    chunk, = read(rows(tmp_path, f"ra,dec,t,mag\n1,2,{value},-7\n"), mapping)
    assert chunk.images["utc_start"].to_pylist() == pytest.approx([59000.25], abs=1e-7)


HEAD_TIME = """
name = "t"
kind = "detections"
file = {{ format = "text", delimiter = "," }}
time = {{ column = "t", format = "{form}", scale = "utc" }}
photcode = {{ name = "X.g" }}
[measurements]
ra_raw = "ra"
dec_raw = "dec"
"""


def test_calibrated_magnitudes_and_fluxes_come_out_as_the_file_has_them(tmp_path):
    extra = 'inst_mag_err = "e"\ninst_flux = { column = "f", unit = "nJy", calibrated = true }\n'
    text = detections_text().replace('inst_mag = "mag"', 'inst_mag = { column = "mag", calibrated = true }')
    chunk, = read(rows(tmp_path, "ra,dec,mjd,mag,e,f\n1,2,59000,20.5,0.1,1000\n"), mapping_of(tmp_path, text + extra))
    row = chunk.detections.to_pylist()[0]
    assert row["inst_mag"] + 2.5 * np.log10(60) + 24.5 == pytest.approx(20.5, abs=1e-5)
    assert row["inst_flux"] / 60 * 10 ** (-0.4 * (24.5 - 31.4)) == pytest.approx(1000, rel=1e-6)
    assert row["inst_mag_err"] == pytest.approx(0.1)


def test_calibrated_magnitudes_need_a_photcode_without_airmass_slope(tmp_path):
    text = detections_text().replace('"mag"', '{ column = "mag", calibrated = true }').replace("X.g", "X.K")
    with pytest.raises(UsageError, match=r"'X\.K' has an airmass slope"):
        read(rows(tmp_path, "ra,dec,mjd,mag\n1,2,59000,20.5\n"), mapping_of(tmp_path, text))


def test_counts_per_second_become_counts_of_the_exposure(tmp_path):
    text = detections_text().replace('"mag"', '{ column = "mag", per = "second" }')
    extra = 'inst_flux = { column = "f", unit = "adu/s", per = "second" }\n'
    path = rows(tmp_path, "ra,dec,mjd,mag,f\n1,2,59000,-5,10\n")
    chunk, = read(path, mapping_of(tmp_path, text + extra))
    row = chunk.detections.to_pylist()[0]
    assert row["inst_mag"] == pytest.approx(-5 - 2.5 * np.log10(60), abs=1e-6)
    assert row["inst_flux"] == pytest.approx(600)


def test_fluxes_alone_make_magnitudes(tmp_path):
    text = detections_text().replace('inst_mag = "mag"', 'inst_flux = "f"\ninst_flux_err = "e"')
    chunk, = read(rows(tmp_path, "ra,dec,mjd,f,e\n1,2,59000,100,1\n1,2,59000,-3,1\n"), mapping_of(tmp_path, text))
    assert chunk.detections["inst_mag"].to_pylist() == [-5.0, None]
    assert chunk.detections["inst_mag_err"].to_pylist()[0] == pytest.approx(2.5 / np.log(10) / 100)


def detections_text() -> str:
    from .tables import HEAD

    return HEAD.format(file="")


def test_row_of_a_reference_survey_makes_one_detection_per_photcode_with_a_value(tmp_path):
    path = rows(tmp_path, "id,ra,dec,g,g_err,b,c,c_err\n5,1,2,10,0.1,11,,\n6,3,4,,,,,\n7,5,6,,,12,3.6307805,1\n")
    chunk, = read(path, mapping_of(tmp_path, REFERENCE))
    made = {(r["det_id"], r["code"]): r for r in chunk.detections.to_pylist()}
    assert set(made) == {(5, 21), (5, 22), (6, 21), (7, 22), (7, 23)}
    assert made[6, 21]["inst_mag"] is None
    assert made[7, 23]["inst_flux"] == pytest.approx(3630.7805)
    assert made[7, 23]["inst_mag"] == pytest.approx(22.5, abs=1e-5)
    assert (chunk.n_in, chunk.rejected) == (3, {})
    assert chunk.images["kind"].to_pylist() == ["reference"] * 3
    assert chunk.images["mjd"].to_pylist() == pytest.approx([Time(2000.0, format="jyear", scale="tt").tai.mjd] * 3)
    assert chunk.exposures["name"].to_pylist() == ["survey"]


def test_image_of_a_reference_survey_depends_on_content_not_on_the_path(tmp_path):
    mapping = mapping_of(tmp_path, REFERENCE)
    text = "id,ra,dec,g,g_err,b,c,c_err\n5,1,2,10,0.1,11,,\n"
    ids = [
        read(rows(tmp_path, content, name), mapping)[0].images["image_id"].to_pylist()
        for name, content in (("a.csv", text), ("b.csv", text), ("c.csv", text + "6,3,4,9,0.1,,,\n"))
    ]
    assert ids[0] == ids[1]
    assert not set(ids[0]) & set(ids[2])


def test_time_of_each_photcode_makes_images_of_their_own(tmp_path):
    text = """
name = "t"
kind = "detections"
file = { format = "text", delimiter = ",", header = "none", names = ["ra", "dec", "tg", "g", "tr", "r"] }
time = { scale = "tai", nulls = [0] }
[measurements]
ra_raw = "ra"
dec_raw = "dec"
[[magnitudes]]
photcode = "X.g"
time = "tg"
columns = { inst_mag = { column = "g", nulls = [-99.99] } }
[[magnitudes]]
photcode = "X.r"
time = "tr"
columns = { inst_mag = { column = "r", nulls = [-99.99] } }
"""
    lines = "1,2,59000,-7,59000.001,-8\n1,2,59001,-99.99,59001.001,-8\n1,2,0,-99.99,0,-99.99\n1,2,0,-7,59002,-8\n"
    path = rows(tmp_path, lines)
    chunk, = read(path, mapping_of(tmp_path, text))
    assert chunk.detections["det_id"].to_pylist() == [0, 0, 1, 3]
    assert sorted(chunk.images["mjd"].to_pylist()) == [59000.0, 59000.001, 59001.001, 59002.0]
    assert (chunk.n_in, chunk.rejected) == (4, {"no_time": 1})
    assert chunk.n_nulled == 3 + 3 + 1  # magnitudes and times that are sentinels, and one magnitude without a time


def test_bad_positions_are_rejected_and_angles_wrapped(tmp_path):
    places = ("-10,0", "370,0", "-1e-15,0", "1,91", ",0", "nan,0", "800,0")
    text = "ra,dec,mjd,mag\n" + "".join(f"{place},59000,1\n" for place in places)
    chunk, = read(rows(tmp_path, text), detections_mapping(tmp_path))
    assert chunk.detections["ra_raw"].to_pylist() == [350.0, 10.0, 0.0]
    assert chunk.rejected == {"bad_position": 2, "no_position": 2}


def test_cuts_reject_rows_and_count_them_by_reason(tmp_path):
    extra = '[[cuts]]\ncolumn = "q"\nmin = 0.5\nreason = "poor"\n[[cuts]]\ncolumn = "flag"\nbits = 6\n'
    text = "ra,dec,mjd,mag,q,flag\n1,2,59000,1,0.6,1\n1,2,59000,1,0.4,0\n1,2,59000,1,,0\n1,2,59000,1,0.9,4\n"
    chunk, = read(rows(tmp_path, text), detections_mapping(tmp_path, extra))
    assert (chunk.detections.num_rows, chunk.rejected) == (1, {"poor": 2, "cut_flag": 1})


def test_filters_of_the_caller_apply_as_in_addstar(tmp_path):
    extra = 'inst_mag_err = "e"\nphotflags = "flag"\nx = "x"\n'
    values = ("0.1,0,5", "0.5,0,5", ",0,5", "0.1,8,5", "0.1,0,50")
    text = "ra,dec,mjd,mag,e,flag,x\n" + "".join(f"1,2,59000,1,{value}\n" for value in values)
    keep = DetectionFilter(max_mag_err=0.2, exclude_photflags=8, x_range=(None, 10.0))
    chunk, = read(rows(tmp_path, text), detections_mapping(tmp_path, extra), keep=keep)
    assert chunk.detections["det_id"].to_pylist() == [0, 2]
    assert chunk.rejected == {"magnitude_error": 1, "photflags": 1, "window": 1}
    for bounds, n_outside in (((None, 0), 5), ((0, None), 0), ((6, 0), 5)):
        chunk, = read(tmp_path / "t.csv", detections_mapping(tmp_path, extra), keep=DetectionFilter(x_range=bounds))
        assert chunk.rejected.get("window", 0) == n_outside


def test_photcode_option_overrides_the_mapping(tmp_path):
    chunk, = read(rows(tmp_path, "ra,dec,mjd,mag\n1,2,59000,1\n"), detections_mapping(tmp_path), photcode="X.r")
    assert chunk.detections["code"].to_pylist() == [12]
    with pytest.raises(UsageError, match="the mapping has several"):
        read(rows(tmp_path, "id\n"), mapping_of(tmp_path, REFERENCE), photcode="X.r")


def test_photcode_that_the_database_lacks_is_named(tmp_path):
    mapping = mapping_of(tmp_path, detections_text().replace("X.g", "X.gg"))
    with pytest.raises(UsageError, match=r"no photcode named 'X\.gg'.*did you mean 'X\.g'"):
        read(rows(tmp_path, "ra,dec,mjd,mag\n"), mapping)


def photcode_column(folder: Path, others: str):
    rule = f'column = "f"\nvalues = {{ g = "X.g", r = "X.r" }}\nothers = "{others}"'
    return mapping_of(folder, detections_text().replace('name = "X.g"', rule))


def test_unlisted_photcode_stops_the_file_or_is_counted(tmp_path):
    path = rows(tmp_path, "ra,dec,mjd,mag,f\n1,2,59000,1,g\n1,2,59000,1,z\n1,2,59000,1,\n1,2,59000,1,r\n")
    with pytest.raises(DataError, match=r"t\.csv, line 3: no photcode is given for 'z' in column 'f'"):
        read(path, photcode_column(tmp_path, "error"))
    chunk, = read(path, photcode_column(tmp_path, "reject"))
    assert chunk.rejected == {"other_photcode": 1, "no_photcode": 1}
    assert chunk.detections["code"].to_pylist() == [11, 12]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_any_chunk_size_gives_the_same_detections_and_counts(tmp_path, monkeypatch, size):
    lines = [f"{i % 7},{i},{i % 5 - 2},{59000 + i % 3},{i % 4}" for i in range(20)]
    path = rows(tmp_path, "id,ra,dec,mjd,mag\n" + "\n".join(lines) + "\n")
    mapping = mapping_of(tmp_path, 'det_id = "id"\n' + detections_text())
    whole = read(path, mapping)
    monkeypatch.setattr(table_module, "CHUNK_ROWS", size)
    cut = read(path, mapping)
    assert len(cut) == -(-20 // size)
    assert joined(cut).equals(joined(whole))
    assert rejected(cut) == rejected(whole)
    images = {r["image_id"]: r for c in cut for r in c.images.to_pylist()}
    assert list(images.values()) == whole[0].images.to_pylist()


def test_number_that_comes_twice_in_an_image_is_rejected(tmp_path):
    path = rows(tmp_path, "id,ra,dec,mjd,mag\n4,1,2,59000,1\n4,1,2,59001,1\n4,3,2,59000,1\n,3,2,59000,1\n")
    chunk, = read(path, mapping_of(tmp_path, 'det_id = "id"\n' + detections_text()))
    assert chunk.detections["ra_raw"].to_pylist() == [1.0, 1.0]
    assert chunk.rejected == {"duplicate": 1, "no_det_id": 1}


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["1", "", "nan", "-400", "359.9"]), st.sampled_from(["0", "-90", "91", "inf"]),
            st.sampled_from(["59000", "", "1e9", "59001"]), st.sampled_from(["20", "", "99.99", "1e300", "x"]),
        ),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_every_row_is_kept_or_rejected_with_a_reason(tmp_path_factory, cells):
    folder = tmp_path_factory.mktemp("rows")
    path = rows(folder, "ra,dec,mjd,mag\n" + "".join(",".join(c) + "\n" for c in cells))
    chunk, = read(path, detections_mapping(folder, file='bad_rows = "reject"'))
    assert chunk.n_in == len(cells) == chunk.detections.num_rows + sum(chunk.rejected.values())
    places = [c for c in cells if c[0] in ("1", "359.9") and c[1] in ("0", "-90")]
    good = [c for c in places if c[2].startswith("590") and c[3] != "x"]
    assert chunk.detections.num_rows == len(good)
    for name in ("image_id", "det_id", "code", "mjd", "ra_raw", "dec_raw"):
        assert chunk.detections[name].null_count == 0


BROKEN = {
    "empty": ("", "the file is empty"),
    "no header": ("# only a comment\n", "no line names the columns"),
    "missing column": ("ra,decl,mjd,mag\n1,2,3,4\n", r"no column 'dec'; did you mean 'decl'"),
    "column twice": ("ra,dec,mjd,mag,ra\n1,2,3,4,5\n", "2 columns are called 'ra'"),
    "too many fields": ("ra,dec,mjd,mag\n1,2,3,4\n\n1,2,3,4,5\n", r"line 4 has 5 fields, not 4"),
    "too few fields": ("ra,dec,mjd,mag\n1,2\n", r"line 2 has 2 fields, not 4"),
    "text for a number": ("ra,dec,mjd,mag\n1,2,59000,bright\n", r"line 2: 'bright' in column 'mag' is no float32"),
    "text for a time": ("ra,dec,mjd,mag\n1,2,today,1\n", r"line 2: 'today' in column 'mjd' is no time"),
    "open quote": ('ra,dec,mjd,mag\n1,2,59000,"4\n', r"a quote opened on line 2 is not closed"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_text_is_an_error_with_its_line_and_advice(tmp_path, case):
    text, message = BROKEN[case]
    path = rows(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        read(path, detections_mapping(tmp_path))
    assert str(path) in str(caught.value)
    assert caught.value.todo


def test_absent_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "none.csv", detections_mapping(tmp_path))


def test_header_without_rows_gives_nothing(tmp_path):
    assert read(rows(tmp_path, "ra,dec,mjd,mag\n"), detections_mapping(tmp_path)) == []


def test_chunk_whose_rows_are_all_rejected_has_no_images(tmp_path):
    chunk, = read(rows(tmp_path, "ra,dec,mjd,mag\n1,99,59000,1\n"), detections_mapping(tmp_path))
    assert (chunk.n_in, chunk.rejected) == (1, {"bad_position": 1})
    assert (chunk.images.num_rows, chunk.detections.num_rows) == (0, 0)


def test_line_of_a_bad_row_is_right_far_down_the_file(tmp_path):
    lines = [f"{i % 360},{i % 90},59000,{i}.123456789012345" for i in range(60_000)]
    lines[55_000] = "1,2"
    with pytest.raises(DataError, match=r"line 55002 has 2 fields"):
        read(rows(tmp_path, "ra,dec,mjd,mag\n" + "\n".join(lines) + "\n"), detections_mapping(tmp_path))


def test_latin_1_text_is_read(tmp_path):
    (tmp_path / "t.csv").write_bytes("ra,dec,mjd,mag,who\n1,2,59000,4,Høg\n1,2\n".encode("latin-1"))
    extra = '[exposures]\nname = "who"\n'
    chunk, = read(tmp_path / "t.csv", detections_mapping(tmp_path, extra, file='bad_rows = "reject"'))
    assert chunk.exposures["name"].to_pylist() == ["Høg"]


def test_bad_rows_are_counted_when_asked(tmp_path):
    text = "ra,dec,mjd,mag\n1,2,59000,4\n1,2\n1,2,59000,bright\n9,9,59000,9,9\n"
    chunk, = read(rows(tmp_path, text), detections_mapping(tmp_path, file='bad_rows = "reject"'))
    assert chunk.rejected == {"wrong_field_count": 2, "unreadable_mag": 1}
    assert (chunk.n_in, chunk.detections["det_id"].to_pylist()) == (4, [0])


def test_row_numbers_count_refused_rows_too(tmp_path):
    text = "ra,dec,mjd,mag\n1,2\n1,2,59000,4\n# a comment\n1,2,59000,4\n"
    chunk, = read(rows(tmp_path, text), detections_mapping(tmp_path, file='bad_rows = "reject"'))
    assert chunk.detections["det_id"].to_pylist() == [1, 2]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("", 'ra,dec,mjd,mag,name\n1,2,59000,4,"a, ""b"""\n'),
        ("", 'ra,dec,mjd,mag,name\n1,2,59000,4,"two\nlines"\n'),
        ("", "ra , dec, mjd ,mag\r\n 1 ,2,\t59000, 4\r\n"),
        ('quote = ""', 'ra,dec,mjd,mag,name\n1,2,59000,4,5" wide\n'),
        ("skip_lines = 2", "made by\nhand\nra,dec,mjd,mag\n1,2,59000,4\n"),
        ('header = "commented"', "# ra,dec,mjd,mag\n# more\n1,2,59000,4\n"),
        ('header = "none"\nnames = ["ra", "dec", "mjd", "mag"]', "1,2,59000,4\n"),
        ('names = ["ra", "dec", "mjd", "mag"]', "a,b,c,d\n1,2,59000,4\n"),
        ('comment = "%"', "% note\nra,dec,mjd,mag,#\n1,2,59000,4,5\n"),
    ],
)  # fmt: skip
def test_text_in_its_varieties_reads_the_same(tmp_path, options, text):
    chunk, = read(rows(tmp_path, text), detections_mapping(tmp_path, file=options))
    assert chunk.detections.select(["ra_raw", "dec_raw", "inst_mag"]).to_pylist() == [
        {"ra_raw": 1.0, "dec_raw": 2.0, "inst_mag": 4.0}
    ]


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv"])
def test_whitespace_and_compressed_text_read_the_same(tmp_path, name):
    text = b'  ra   dec\tmjd  mag  name \n 1  2  59000   4 "a b"\n'
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    mapping = mapping_of(tmp_path, detections_text().replace('delimiter = ","', 'delimiter = "whitespace"'))
    chunk, = read(tmp_path / name, mapping)
    assert chunk.detections["inst_mag"].to_pylist() == [4.0]


def test_sentinels_become_null_and_are_counted(tmp_path):
    text = detections_text().replace('"mag"', '{ column = "mag", nulls = [-99.99, 99] }')
    values = ("-99.99", "99", "nan", "", "--", "5")
    path = rows(tmp_path, "ra,dec,mjd,mag\n" + "".join(f"1,2,59000,{value}\n" for value in values))
    chunk, = read(path, mapping_of(tmp_path, text.replace("[time]", 'nulls = "--"\n[time]')))
    assert chunk.detections["inst_mag"].to_pylist() == [None] * 5 + [5.0]
    assert chunk.n_nulled == 4


SOURCE = {
    "id": np.array([2**62 + 1, 7, 8], dtype=np.int64),
    "ra": np.radians([10.0, 20.0, 30.0]),
    "dec": np.array([1.0, 2.0, np.nan]),
    "mjd": np.array([59000.0, 59000.0, 59001.0]),
    "mag": np.array([-7.5, -99.99, -8.0], dtype=np.float32),
    "flags": np.array([1, 2**31, 3], dtype=np.uint32),
}


def typed_mapping(folder: Path, form: str):
    text = detections_text().replace('format = "text"', f'format = "{form}"')
    text = text.replace('"mag"', '{ column = "mag", nulls = [-99.99] }')
    return mapping_of(folder, 'det_id = "id"\n' + text + 'photflags = "flags"\n')


@pytest.mark.parametrize("form", ["parquet", "fits", "ecsv", "votable"])
def test_typed_formats_with_units_read_the_same(tmp_path, form):
    path, table = tmp_path / f"t.{form}", Table(SOURCE)
    if form == "votable":
        table["flags"] = SOURCE["flags"].astype(np.int64)  # VOTable knows no unsigned integers of 32 bits
    table["ra"].unit = "rad"
    if form == "parquet":
        arrow = pa.table(SOURCE)
        pq.write_table(arrow.set_column(1, pa.field("ra", pa.float64(), metadata={"unit": "rad"}), arrow["ra"]), path)
    else:
        table.write(path, format={"ecsv": "ascii.ecsv"}.get(form, form))
    chunk, = read(path, typed_mapping(tmp_path, form))
    assert chunk.detections["det_id"].to_pylist() == [2**62 + 1, 7]
    assert chunk.detections["ra_raw"].to_pylist() == pytest.approx([10.0, 20.0])
    assert chunk.detections["inst_mag"].to_pylist() == [-7.5, None]
    assert chunk.detections["photflags"].to_pylist() == [1, 2**31]
    assert chunk.rejected == {"no_position": 1}
    assert chunk.n_nulled == (1 if form == "votable" else 2)  # in a VOTable, NaN is how a missing value is written


@pytest.mark.parametrize("form", ["fits", "ecsv", "votable"])
def test_masked_values_are_null_and_not_counted_as_made_so(tmp_path, form):
    table = Table(SOURCE)
    table["mag"] = MaskedColumn([-7.5, -8.5, -8.0], mask=[False, True, False], dtype=np.float32)
    table["flags"] = MaskedColumn([1, 2, 3], mask=[False, False, True], dtype=np.int32)
    table["dec"] = [0.0, 0.0, 0.0]
    path = tmp_path / f"t.{form}"
    table.write(path, format={"ecsv": "ascii.ecsv"}.get(form, form))
    chunk, = read(path, typed_mapping(tmp_path, form))
    assert chunk.detections["inst_mag"].to_pylist() == [-7.5, None, -8.0]
    assert chunk.detections["photflags"].to_pylist() == [1, 2, None]


def test_unit_of_the_file_that_contradicts_the_mapping_is_an_error(tmp_path):
    table = Table(SOURCE)
    table["ra"].unit = "rad"
    table.write(tmp_path / "t.fits")
    text = detections_text().replace('"text"', '"fits"').replace('"ra"', '{ column = "ra", unit = "deg" }')
    with pytest.raises(DataError, match=r"column 'ra': the mapping says 'deg', the file 'rad'"):
        read(tmp_path / "t.fits", mapping_of(tmp_path, text))


def test_unit_of_the_file_that_does_not_convert_is_an_error(tmp_path):
    table = Table(SOURCE)
    table["ra"].unit = "pix"
    table.write(tmp_path / "t.fits")
    with pytest.raises(DataError, match=r"column 'ra': unit 'pix' does not convert to deg"):
        read(tmp_path / "t.fits", typed_mapping(tmp_path, "fits"))


def test_integer_that_does_not_fit_is_an_error_with_its_row(tmp_path):
    source = SOURCE | {"flags": np.array([1, -1, 3])}
    pq.write_table(pa.table(source), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"row 1: -1 in column 'flags' is no uint32"):
        read(tmp_path / "t.parquet", typed_mapping(tmp_path, "parquet"))


def test_array_column_needs_an_element(tmp_path):
    mags = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32()))
    table = pa.table({"ra": [1.0, 2.0], "dec": [0.0, 0.0], "mjd": [59000.0] * 2, "mag": mags})
    pq.write_table(table, tmp_path / "t.parquet")
    text = detections_text().replace('"text"', '"parquet"')
    with pytest.raises(DataError, match=r"column 'mag' holds arrays; name an element in the mapping, such as mag\[0\]"):
        read(tmp_path / "t.parquet", mapping_of(tmp_path, text))
    chunk, = read(tmp_path / "t.parquet", mapping_of(tmp_path, text.replace('"mag"', '"mag[1]"')))
    assert chunk.detections["inst_mag"].to_pylist() == [2.0, 4.0]
    with pytest.raises(DataError, match=r"column 'mag' has no element 5"):
        read(tmp_path / "t.parquet", mapping_of(tmp_path, text.replace('"mag"', '"mag[5]"')))


def image_list(folder: Path, extra: str = ""):
    return mapping_of(folder, f"""
name = "t"
kind = "images"
file = {{ format = "fits", beside = [{{ table = "INFO", match = {{ visit = "idnum" }} }}] }}
time = {{ column = "INFO.mid", scale = "tai", exptime = "INFO.seconds" }}
photcode = {{ name = "X.g" }}
[images]
chip = "chip"
zpt_obs = {{ column = "zp", per = "exposure" }}
sky = {{ column = "sky", unit = "count", per = "exposure" }}
corner_ra = "ra"
corner_dec = "dec"
[exposures]
name = "visit"
{extra}
""")  # fmt: skip


def write_images(path: Path, *, idnum: tuple[int, ...] = (8, 8), chips: tuple[str, ...] = ("a", "b")) -> Path:
    ra, dec = [[359.9, 0.1, 0.1, 359.9]] * 2, [[-0.1, -0.1, 0.1, 0.1]] * 2
    main = Table({"visit": [8, 8], "chip": list(chips), "zp": [30.0, 31.0], "sky": [200.0, np.nan]})
    main["ra"], main["dec"] = ra, dec
    info = Table({"idnum": list(idnum), "mid": [59000.0] * len(idnum), "seconds": [100.0] * len(idnum)})
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(main, name="MAIN"), fits.BinTableHDU(info, name="INFO")]
    fits.HDUList(hdus).writeto(path)
    return path


def test_rows_that_are_images_give_images_and_no_detections(tmp_path):
    chunk, = read(write_images(tmp_path / "t.fits"), image_list(tmp_path))
    assert (chunk.n_in, chunk.rejected, chunk.detections.num_rows) == (0, {}, 0)
    assert chunk.images["name"].to_pylist() == [f"t.fits[2020-05-30T23:58:33.000 X.g {c} 8]" for c in "ab"]
    assert chunk.images["zpt_obs"].to_pylist() == [25.0, 26.0]
    assert chunk.images["sky"].to_pylist() == [2.0, None]
    assert chunk.images["ra"].to_pylist() == pytest.approx([0.0, 0.0], abs=1e-9)
    assert chunk.images["radius"].to_pylist() == pytest.approx([0.1 * np.sqrt(2)] * 2, rel=1e-5)
    assert chunk.exposures.num_rows == 1
    assert chunk.images["exposure_id"].to_pylist() == chunk.exposures["exposure_id"].to_pylist() * 2


@pytest.mark.parametrize(("idnum", "message"), [((8, 9), "idnum differs from visit"), ((8, 8, 8), "3 rows, not 2")])
def test_tables_beside_each_other_must_agree(tmp_path, idnum, message):
    with pytest.raises(DataError, match=message):
        read(write_images(tmp_path / "t.fits", idnum=idnum), image_list(tmp_path))


def test_two_rows_of_one_image_are_an_error(tmp_path):
    with pytest.raises(DataError, match=r"row 1: a second row makes the image chip\|"):
        read(write_images(tmp_path / "t.fits", chips=("a", "a")), image_list(tmp_path))


def test_truncated_fits_is_an_error(tmp_path):
    Table({name: np.tile(v, 2000) for name, v in SOURCE.items()}).write(tmp_path / "t.fits")
    content = (tmp_path / "t.fits").read_bytes()
    (tmp_path / "t.fits").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"the file ends after \d+ of \d+ bytes"):
        read(tmp_path / "t.fits", typed_mapping(tmp_path, "fits"))


def test_fits_table_that_is_not_there_is_named(tmp_path):
    path = write_images(tmp_path / "t.fits")
    text = detections_text().replace('"text"', '"fits"\ntable = "MAINE"')
    with pytest.raises(DataError, match=r"no table in HDU 'MAINE'; did you mean 'MAIN'"):
        read(path, mapping_of(tmp_path, text))


@pytest.mark.parametrize("form", ["parquet", "fits", "votable", "ecsv", "ascii.cds"])
def test_file_of_another_format_is_an_error(tmp_path, form):
    path = rows(tmp_path, "ra,dec,mjd,mag\n1,2,3,4\n" * 3)
    with pytest.raises(DataError, match=rf"cannot be read as {form}"):
        read(path, typed_mapping(tmp_path, form))


@pytest.mark.parametrize("form", ["parquet", "fits", "votable", "ecsv"])
def test_damaged_file_gives_rows_or_an_error_of_skydb(tmp_path, form):
    table = Table({name: np.tile(v.astype(np.int64) if name == "flags" else v, 50) for name, v in SOURCE.items()})
    whole, path = tmp_path / f"whole.{form}", tmp_path / f"t.{form}"
    table.write(whole, format={"ecsv": "ascii.ecsv"}.get(form, form))
    content, mapping, random = whole.read_bytes(), typed_mapping(tmp_path, form), np.random.default_rng(1)
    outcomes = {"rows": 0, "error": 0}
    for _ in range(40):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), 30):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged[: random.integers(len(content) // 2, len(content) + 1)])
        outcomes[outcome(path, mapping)] += 1
    assert sum(outcomes.values()) == 40
    assert outcomes["error"]


def outcome(path: Path, mapping) -> str:
    try:
        read(path, mapping)
    except (DataError, UsageError):
        return "error"
    return "rows"


@settings(deadline=None)
@given(st.floats(-89.999, 89.999), st.sampled_from([":", " ", "d m s"]))
def test_sexagesimal_text_agrees_with_astropy(value, style):
    sep = style if len(style) == 1 else ("d", "m", "s")
    text = Angle(value, "deg").to_string(sep=sep, precision=6, pad=True, alwayssign=True)
    result = converted(pa.array([text]), "float64", nulls=(), sexagesimal=True, factor=1.0)
    assert result.array.to_pylist() == pytest.approx([value], abs=1e-9)


@pytest.mark.parametrize("text", ["12:60.5:00", "12:30:61", "12:30", "abc", "1:2:3:4", "12.5"])
def test_text_that_is_not_sexagesimal_cannot_be_read(text):
    assert converted(pa.array([text]), "float64", nulls=(), sexagesimal=True, factor=1.0).unreadable.all()


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1),
    st.sampled_from(["int32", "int64", "uint32"]),
)
def test_integers_keep_all_bits_from_numbers_and_from_text(values, wanted):
    limits = np.iinfo(wanted)
    expected = [v if v is not None and limits.min <= v <= limits.max else None for v in values]
    lost = [v is not None and e is None for v, e in zip(values, expected, strict=True)]
    words = pa.array([None if v is None else str(v) for v in values], pa.string())
    for source in (pa.array(values, pa.int64()), words):
        result = converted(source, wanted, nulls=(), sexagesimal=False, factor=1.0)
        assert result.array.to_pylist() == expected
        assert result.unreadable.tolist() == lost


@pytest.mark.parametrize(
    ("text", "value"), [("1.5D+02", 150.0), ("+3", 3.0), (" 4 ", 4.0), ("1e400", None), ("-inf", None), ("", None)]
)
def test_numbers_in_text_are_read_as_people_write_them(text, value):
    result = converted(pa.array([text]), "float64", nulls=(), sexagesimal=False, factor=1.0)
    assert result.array.to_pylist() == [value]
    assert not result.unreadable.any()


@pytest.mark.parametrize("text", ["1_0", "1_0.5", "\uff11\uff10", "\u0661", "1e1_0", "0b1"])
@pytest.mark.parametrize("wanted", ["float64", "int32"])
def test_what_python_alone_takes_for_a_number_cannot_be_read(text, wanted):
    result = converted(pa.array([text, "7"]), wanted, nulls=(), sexagesimal=False, factor=1.0)
    assert result.array.to_pylist() == [None, 7]
    assert result.unreadable.tolist() == [True, False]


def test_shipped_mapping_by_name_is_a_mapping_for_the_reader():
    assert TableReader().recognises(Path("x"), b"", ReadRequest(CODES, mapping=load_mapping("tycho2")))


@pytest.mark.parametrize(("unit", "factor"), [
    ("mas/yr", 1.0), ("arcsec/yr", 1e3), ("deg/yr", 3.6e6), ("0.01 mas/yr", 0.01), ("mas/hyr", 0.01),
])  # fmt: skip
def test_motions_convert_from_the_units_of_the_file(tmp_path: Path, unit: str, factor: float) -> None:
    (tmp_path / "t.csv").write_text("id,ra,dec,g,g_err,b,c,c_err,mu,nu\n7,10,20,15,0.1,16,3,0.1,2.5e-3,-1.5e-3\n")
    parts = (("pm_ra", "mu"), ("pm_dec", "nu"))
    columns = (f'{name} = {{ column = "{given}", unit = "{unit}" }}\n' for name, given in parts)
    moving = "[measurements]\n" + "".join(columns)
    mapping = mapping_of(tmp_path, REFERENCE.replace("[measurements]\n", moving))
    found = joined(read(tmp_path / "t.csv", mapping))
    assert found["pm_ra"].to_pylist() == pytest.approx([2.5e-3 * factor] * 3, rel=1e-6)
    assert found["pm_dec"].to_pylist() == pytest.approx([-1.5e-3 * factor] * 3, rel=1e-6)


@pytest.mark.parametrize("how", ["", ', per = "second"', ", calibrated = true"])
def test_zero_of_a_column_is_no_exposure_time_where_counts_are_of_the_whole_exposure(tmp_path, how):
    text = detections_text().replace("exptime = 60", 'exptime = "t"')
    text = text.replace('inst_mag = "mag"', f'inst_mag = {{ column = "mag"{how} }}')
    table = rows(tmp_path, "ra,dec,mjd,mag,t\n10,10,57000,-9,30\n11,10,57001,-9,0\n")
    (chunk,) = read(table, mapping_of(tmp_path, text))
    assert chunk.images["exptime"].to_pylist() == [30.0, 0.0 if how else None]
    assert chunk.n_nulled == (0 if how else 1)


def test_zero_of_a_mapping_says_that_counts_are_per_second(tmp_path):
    table = rows(tmp_path, "ra,dec,mjd,mag\n10,10,57000,-9\n")
    (chunk,) = read(table, mapping_of(tmp_path, detections_text().replace("exptime = 60", "exptime = 0")))
    assert chunk.images["exptime"].to_pylist() == [0.0]


def test_exposure_time_of_the_photcode_stands_in_for_zero_of_the_column(tmp_path):
    times = 'exptime = "t"\nexptime_by_photcode = { "X.g" = 43 }'
    table = rows(tmp_path, "ra,dec,mjd,mag,t\n10,10,57000,-9,0\n")
    (chunk,) = read(table, mapping_of(tmp_path, detections_text().replace("exptime = 60", times)))
    assert chunk.images["exptime"].to_pylist() == [43.0]


@pytest.mark.parametrize("cut", ["2026-05-01", "2026-05", "2026", "today", "now"])
def test_a_date_without_time_of_day_is_not_taken_for_midnight(tmp_path, cut):
    text = detections_text().replace('scale = "utc"', 'scale = "utc"\nformat = "iso"')
    table = rows(tmp_path, f"ra,dec,mag,mjd\n10,10,-9,2026-05-01T06:00:00\n11,10,-9,{cut}\n")
    with pytest.raises(DataError, match=f"'{cut}' in column 'mjd' is no time"):
        read(table, mapping_of(tmp_path, text))
    chunks = read(table, mapping_of(tmp_path, text.replace("[time]", 'bad_rows = "reject"\n[time]')))
    assert rejected(chunks) == {"unreadable_mjd": 1}
    assert chunks[0].images["utc_start"].to_pylist() == [61161.25]


def test_the_constant_time_of_a_mapping_may_be_a_date(tmp_path):
    text = detections_text().replace('column = "mjd"', 'value = "2026-05-01"\nformat = "iso"')
    (chunk,) = read(rows(tmp_path, "ra,dec,mag\n10,10,-9\n"), mapping_of(tmp_path, text))
    assert chunk.images["utc_start"].to_pylist() == [61161.0]

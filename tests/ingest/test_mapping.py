# ruff: noqa: E501  one case, one line: they are read as a table
"""Mapping files: what is accepted, what is refused and with which words, what comes with skydb."""

from __future__ import annotations

import pickle
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from skydb.errors import UsageError
from skydb.ingest.readers.mapping import load_mapping, shipped_mappings
from skydb.ingest.readers.mapping_page import SECTIONS, mapping_page
from skydb.ingest.readers.quantities import conversion
from skydb.schema.photcodes import Photcode, Photcodes

PROJECT = Path(__file__).resolve().parents[2]

PLAIN = """
name = "plain"
kind = "detections"
[file]
format = "text"
[time]
column = "mjd"
scale = "utc"
[photcode]
name = "X.g"
[measurements]
ra_raw = "ra"
dec_raw = "dec"
"""
SIGN = '[difference]\ncolumn = "s"\npositive = "t"\nnegative = ["f"]\n'
BAND_G = '[[photcodes]]\nname = "g"\nkind = "SEC"\n'


@pytest.fixture
def write(tmp_path: Path):
    def to_file(text: str) -> Path:
        path = tmp_path / "m.toml"
        path.write_text(text)
        return path

    return to_file


def test_mapping_has_the_keys_of_the_one_it_is_based_on_but_for_its_own(write):
    text = 'based_on = "decam_elais"\nname = "mine"\n[photcode]\nothers = "reject"\n[measurements]\nx = "x"\n'
    mapping, base = load_mapping(write(text)), load_mapping("decam_elais")
    assert (mapping.name, mapping.based_on) == ("mine", "decam_elais")
    assert mapping.photcode == replace(base.photcode, others="reject")
    assert mapping.measurements == {**base.measurements, "x": mapping.measurements["x"]}
    assert (mapping.file, mapping.time, mapping.photcodes) == (base.file, base.time, base.photcodes)
    assert load_mapping(write('based_on = "decam_elais"\nname = "m"\nphotcodes = []\n')).photcodes == ()


def test_minimal_mapping_is_accepted(write):
    mapping = load_mapping(write(PLAIN))
    assert (mapping.name, mapping.kind, mapping.bands[0].photcode) == ("plain", "detections", "X.g")
    assert mapping.measurements["ra_raw"].column == "ra"


@pytest.mark.parametrize("name", shipped_mappings())
def test_shipped_mappings_load_by_name_and_survive_pickling(name):
    mapping = load_mapping(name)
    assert mapping.name == name
    assert pickle.loads(pickle.dumps(mapping)) == mapping
    assert len(Photcodes(mapping.photcodes)) == len(mapping.photcodes)


def test_shipped_mappings_are_those_promised():
    assert {"decam_elais", "tycho2", "hsc_visits", "hipparcos"} <= set(shipped_mappings())


STARS = PLAIN.replace("detections", "reference").replace('column = "mjd"', "value = 51544.5")

REFUSED = {
    "unknown key": (PLAIN + '[cut]\nmin = 1\n', r"no key named 'cut'; did you mean 'cuts'\?"),
    "unknown key of a section": (PLAIN.replace("format", "fromat"), r"file: no key named 'fromat'; did you mean 'format'"),
    "unknown key of a column": (PLAIN + 'x = { columm = "x" }\n', r"measurements\.x: no key named 'columm'; did you mean 'column'"),
    "unknown column": (PLAIN + 'inst_magg = "m"\n', r"no column 'inst_magg'; did you mean 'inst_mag'\?"),
    "column of its own": (PLAIN + 'mjd = "m"\n', r"column 'mjd' cannot be mapped"),
    "unknown unit": (PLAIN + 'x = { column = "x", unit = "pixle" }\n', r"measurements\.x: unknown unit 'pixle'"),
    "unit that does not convert": (PLAIN + 'x = { column = "x", unit = "deg" }\n', r"unit 'deg' does not convert to pixel"),
    "unit of the time": (PLAIN.replace('scale', 'unit = "deg"\nscale'), r"time\.unit: unit 'deg' does not convert to d"),
    "wrong kind": (PLAIN.replace("detections", "detection"), r"kind: 'detection' is not one of .*did you mean 'detections'"),
    "no kind": (PLAIN.replace('kind = "detections"', ""), r"key 'kind' is absent"),
    "no position": (PLAIN.replace('dec_raw = "dec"', ""), r"measurements: dec_raw is absent"),
    "no time": (PLAIN.replace('column = "mjd"\n', ""), r"time: give either column or value"),
    "two times": (PLAIN.replace('scale', "value = 1\nscale"), r"time: give either column or value"),
    "no scale": (PLAIN.replace('scale = "utc"', ""), r"time: key 'scale' is absent"),
    "no photcode": (PLAIN.replace('[photcode]\nname = "X.g"\n', ""), r"no photcode is given"),
    "headerless without names": (PLAIN.replace("[time]", 'header = "none"\n[time]'), r"needs names"),
    "unknown format": (PLAIN.replace('"text"', '"parket"'), r"unknown format 'parket'; did you mean 'parquet'"),
    "text for a number": (PLAIN.replace("[time]", 'skip_lines = "2"\n[time]'), r"file\.skip_lines: a whole number is wanted"),
    "column and constant": (PLAIN + 'x = { column = "x", value = 1 }\n', r"measurements\.x: give either column or value"),
    "sexagesimal without unit": (PLAIN + 'file_ra = { column = "r", sexagesimal = true }\n', r"needs a unit"),
    "calibrated position": (PLAIN + 'x = { column = "x", calibrated = true }\n', r"calibrated is for magnitudes"),
    "epochless reference": (PLAIN.replace("detections", "reference"), r"time\.value: the epoch of the survey is absent"),
    "images with detections": (PLAIN.replace("detections", "images"), r"rows that are images hold no detections"),
    "unknown photcode column": (PLAIN + '[[photcodes]]\nname = "g"\nkind = "SEC"\nzero_point = 1\n', r"no column 'zero_point'; did you mean 'zero_point_mmag'"),
    "unknown photcode kind": (PLAIN + '[[photcodes]]\nname = "g"\nkind = "SECC"\n', r"'SECC' is no kind of photcode"),
    "motions of detections": (PLAIN + 'pm_ra = "m"\npm_dec = "n"\n', r"measurements\.pm_dec: motions and parallaxes are taken of reference"),
    "half a motion": (STARS + 'pm_dec = "n"\n', r"a motion has two parts; give both pm_ra \(times cos dec\) and pm_dec"),
    "motion of a photcode": (STARS.replace("[photcode]\nname", "[[magnitudes]]\ncolumns = { parallax = \"p\" }\nphotcode"), r"parallax is the star's"),
    "motion in mas": (STARS + 'pm_dec = { column = "n", unit = "mas" }\npm_ra = "m"\n', r"unit 'mas' does not convert to mas/yr"),
    "optional position": (PLAIN.replace("[time]", 'optional = ["ra"]\n[time]'), r"file\.optional: 'ra' is no column that measurements"),
    "no TOML": ("name = \n", r"not a TOML file"),
    "based on none": ('based_on = "ztf_alert"\nname = "m"\n', r"based_on: no mapping named 'ztf_alert' comes with skydb; did you mean 'ztf_alerts'\?"),
    "based on a number": ("based_on = 3\n", r"based_on: a text is wanted, not 3"),
    "packets of a text file": (PLAIN.replace("[time]", 'packets = { records = "a" }\n[time]'), r"an avro file has packets, and no other"),
    "avro without packets": (PLAIN.replace('"text"', '"avro"'), r'give both: format = "avro", and packets\.records'),
    "packets without records": (PLAIN.replace('"text"', '"avro"\npackets = { records = [] }'), r"no field of the packets is named"),
    "a sign and no magnitude": (PLAIN + SIGN, r"there are no magnitudes to give a sign"),
    "a sign and a flux": (PLAIN + 'inst_mag = "m"\ninst_flux = "f"\n' + SIGN, r"inst_flux is mapped, and would be made of inst_mag"),
    "one sign for both": (PLAIN + 'inst_mag = "m"\n' + SIGN.replace('"f"', '"t"'), r"a value stands for both signs"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_mapping_is_refused_with_place_and_advice(write, case):
    text, message = REFUSED[case]
    path = write(text)
    with pytest.raises(UsageError, match=message) as caught:
        load_mapping(path)
    assert str(path) in str(caught.value)


def test_unknown_name_names_the_closest():
    with pytest.raises(UsageError, match=r"no mapping file or name 'tyco2'; did you mean 'tycho2'"):
        load_mapping("tyco2")


def test_file_wins_over_nothing_but_a_path_is_never_taken_for_a_name(tmp_path):
    with pytest.raises(UsageError, match="no mapping file or name"):
        load_mapping(tmp_path / "tycho2.toml")


def test_units_may_carry_a_factor():
    assert conversion("0.168 arcsec", "arcsec", "") == pytest.approx(0.168)
    assert conversion("adu", "count", "") == 1.0
    assert conversion("mag(AB)", "mag", "") == 1.0


def test_photcodes_that_the_database_has_keep_its_values(write):
    declared = PLAIN + BAND_G + '[[photcodes]]\nname = "X.g"\nkind = "DEP"\nband = "g"\n'
    mapping = load_mapping(write(declared))
    known = Photcodes((Photcode(7, "g", "SEC"),))
    new = mapping.new_photcodes(known)
    assert [code.name for code in new] == ["X.g"]
    assert known.merge(new).by_name("g").code == 7


def test_photcode_of_another_kind_in_the_database_is_refused(write):
    mapping = load_mapping(write(PLAIN + BAND_G))
    with pytest.raises(UsageError, match=r"the database has 'g' as REF of g, not SEC"):
        mapping.new_photcodes(Photcodes((Photcode(7, "g", "REF"),)))


def test_photcode_numbers_are_the_same_everywhere(write):
    text = PLAIN + BAND_G
    first, second = (load_mapping(write(text)).photcodes[0].code for _ in range(2))
    assert first == second > 65_535


def test_radius_of_the_mapping_becomes_that_of_its_photcodes():
    radii = {code.name: code.radius_arcsec for code in load_mapping("decam_elais").photcodes}
    assert radii["DECam.diff.g"] == 2.0
    assert radii["g"] is None


@pytest.mark.parametrize("section", [section for _, section in SECTIONS], ids=lambda s: s.__name__)
def test_every_key_is_documented(section):
    page = (PROJECT / "docs" / "reference" / "mapping.md").read_text()
    for declared in fields(section):
        assert declared.metadata["meaning"]
        assert re.search(rf"^\| `{declared.name}` \| .* \| .* \| .+ \|$", page, re.M), declared.name


def test_reference_page_is_what_the_declarations_say():
    page = (PROJECT / "docs" / "reference" / "mapping.md").read_text()
    assert page == mapping_page(), "run: python -m skydb.ingest.readers.mapping_page > docs/reference/mapping.md"

from dataclasses import replace
from pathlib import Path

import pytest

from skydb.errors import DataError, UsageError
from skydb.schema.photcodes import Photcode, Photcodes, read_photcodes_text
from skydb.schema.tables import PHOTCODES

TABLE = """
# a comment, then a blank line

1 g sec 0.0 0.0 0.0 1 r 0.02,-0.005 0.05 -
2 r PRIMARY 0.0 0.0 0.0 - - 0.0 0.0 -
1 g_old alt 0.0 0.0 0.0 1 2 0.01 0.0 -   # another transformation of g
3 GAIA.G ref 25.0 -0.1 0.2 1 2 0.3 0.4 -
4 SDSS.g ref 0 0 0 - - 0 0 g
10 CAM.g.XY01 dep 24.563 -0.147 0.010 g 2 0.02,-0.005 0.05 g 0.010 1.0 0.5 0.006 0x80 0x1880 8 0x3888
11 CAM.g.XY02 dep 24.563 -0.147 0.010 - - 0.0 0.0 1 0.010 1.0 0.0 0.006
12 CAM.r.XY02 dep 24.563 -0.147 0.010 - - 0.0 0.0 -
"""


@pytest.fixture
def write(tmp_path):
    def writer(text):
        path = tmp_path / "dvo.photcodes"
        path.write_text(text)
        return path

    return writer


def test_text_table_keeps_every_field(write):
    codes = read_photcodes_text(write(TABLE))
    cam = codes.by_name("CAM.g.XY01")
    assert cam == Photcode(
        10, "CAM.g.XY01", "DEP", "g", 24563, -0.147, 50, 10, "g", "r", (0.02, -0.005), None, "AB",
        0.010, 1.0, 0.5, 0.006, 0x80, 0x1880, 8, 0x3888,
    )
    assert cam.zero_point == pytest.approx(24.563)
    assert codes.bands == ("g", "r")
    assert codes.by_name("g").band == "g"
    assert codes.by_code(12).band is None


def test_alt_lines_are_found_by_name_only(write):
    codes = read_photcodes_text(write(TABLE))
    assert codes.by_code(1).name == "g"
    assert codes.by_name("g_old").kind == "ALT"
    assert codes.by_name("g_old").band == "g"


def test_ref_lines_carry_no_calibration(write):
    gaia = read_photcodes_text(write(TABLE)).by_name("GAIA.G")
    assert (gaia.zero_point_mmag, gaia.airmass_slope, gaia.color_terms, gaia.color_1) == (0, 0.0, (), None)
    assert gaia.band == "GAIA.G"
    assert read_photcodes_text(write(TABLE)).band_of(4) == "g"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("5 x dep 0 0 0 - - 0 0", "10 fields"), ("5 x dep 0 0 0 - - 0 0 g 1", "12 fields"),
        ("5 x what 0 0 0 - - 0 0 g", "'what'"), ("0 x dep 0 0 0 - - 0 0 g", "number"),
        ("5 MAG dep 0 0 0 - - 0 0 g", "'MAG'"), ("5 x dep zero 0 0 - - 0 0 g", "zero"),
        ("five x dep 0 0 0 - - 0 0 g", "five"), ("5 x dep 0 0 0 - - 1,2,3,4,5 0 g", "5 colour terms"),
        ("5 x dep 0 0 0 z g 1 0 g", "'z'"), ("5 x dep 0 0 0 - - 0 0 nowhere", "'nowhere'"),
        ("5 x dep 0 0 0 - - 0 0 GAIA.G", "no SEC"), ("5 g dep 0 0 0 - - 0 0 g", "line 4 too"),
        ("2 x dep 0 0 0 - - 0 0 g", "line 5 too"), ("9 x alt 0 0 0 - - 0 0 -", "no SEC photcode has the number 9"),
        ("5 x dep 0 0 0 - - 0 0 g 0 0 0 0 0x1ffffffff 0", "32 bits"), ("5 x dep nan 0 0 - - 0 0 g", "nan|NaN"),
        ("5 x dep 0 nan 0 - - 0 0 g", "airmass_slope"),
    ],
)
def test_a_bad_line_is_refused_by_number(write, line, words):
    with pytest.raises(DataError, match=words) as caught:
        read_photcodes_text(write(TABLE + line + "\n"))
    assert "line 12" in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_photcodes_text(tmp_path / "absent")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_photcodes_text(tmp_path / "binary")


def test_a_table_without_a_photcode_is_refused(write):
    with pytest.raises(DataError, match="no photcode in it; see `skydb photcodes --help`"):
        read_photcodes_text(write("# nothing here\n"))


@pytest.mark.data
def test_real_table_is_read_whole(data_dir: Path):
    codes = read_photcodes_text(data_dir / "golden_smf" / "photcodes.dat")
    assert len(codes) == 86
    assert codes.bands == ("g", "r", "i", "z", "y")
    assert codes.by_code(10004).color_terms == (-0.0213, -0.0017)
    assert codes.by_code(10302).photometry_bad_mask == 0x3888


def test_table_survives_arrow(write):
    codes = read_photcodes_text(write(TABLE))
    assert codes.to_arrow().schema.equals(PHOTCODES.arrow)
    assert Photcodes.from_arrow(codes.to_arrow()) == codes
    assert Photcodes.from_arrow(PHOTCODES.empty()) == Photcodes()


def test_merge_adds_the_new_and_keeps_the_same(write):
    codes = read_photcodes_text(write(TABLE))
    assert codes.merge(codes) == codes
    more = codes.merge([Photcode(13, "CAM.g.XY03", "DEP", "g")])
    assert more.by_code(13).name == "CAM.g.XY03"
    assert len(codes) == 8
    assert Photcodes().merge(codes) == codes


@pytest.mark.parametrize(
    "change", [{"zero_point_mmag": 24000}, {"band": "r"}, {"code": 99}, {"name": "other"}, {"color_terms": (0.02,)}]
)
def test_merge_refuses_a_contradiction(write, change):
    codes = read_photcodes_text(write(TABLE))
    with pytest.raises(DataError, match="differently"):
        codes.merge([replace(codes.by_code(10), **change)])


def test_unknown_names_get_advice(write):
    codes = read_photcodes_text(write(TABLE))
    with pytest.raises(UsageError, match=r"did you mean 'CAM\.g\.XY0"):
        codes.by_name("CAM.g.XY09")
    with pytest.raises(UsageError, match=r"known: CAM\.g\.XY01, .*`skydb photcodes DB` lists all and adds more"):
        codes.by_name("GWAC")
    with pytest.raises(UsageError, match="no photcodes yet: `skydb photcodes DB` adds them"):
        Photcodes().by_name("GWAC")
    with pytest.raises(UsageError, match="77"):
        codes.by_code(77)
    assert "CAM.g.XY01" in codes
    assert "CAM.g.XY09" not in codes


@pytest.mark.parametrize(
    "rows",
    [
        (Photcode(1, "g", "SEC"), Photcode(2, "g", "SEC")), (Photcode(1, "g", "SEC"), Photcode(1, "r", "SEC")),
        (Photcode(2, "x", "DEP", band="g"),), (Photcode(1, "x", "DEP", color_1="g", color_2="r"),),
        (Photcode(1, "a", "ALT"),),
    ],
)
def test_a_contradictory_set_is_refused(rows):
    with pytest.raises(DataError):
        Photcodes(rows)

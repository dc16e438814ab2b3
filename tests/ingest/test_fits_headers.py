import warnings
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.errors import DataError
from skydb.ingest.readers import header_values
from skydb.ingest.readers import headers as headers_module
from skydb.ingest.readers import times as times_module
from skydb.ingest.readers.fits_cards import Header, card_value, parse_cards
from skydb.ingest.readers.fits_tables import column_values, open_fits, table_layout
from skydb.ingest.readers.times import (
    longitude_of,
    night_of,
    observing_time,
    sexagesimal,
    sidereal_time,
    tai_to_utc,
    utc_to_tai,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "image-headers.md"


def header(**cards):
    made = fits.Header()
    for key, value in cards.items():
        made[key.replace("_", "-") if key != "MJD_OBS" else key] = value
    return Header(made.tostring(sep="", endcard=False, padding=False))


def times(exptime=30.0, **cards):
    return observing_time([header(**cards)], exptime, "here")


@pytest.mark.data
def test_every_card_of_real_files_equals_what_astropy_reads(data_dir: Path):
    paths = [*sorted((data_dir / "golden_smf").glob("*.smf")), *sorted((data_dir / "gwac").glob("*.Fcat"))]
    n_cards = 0
    for path in paths:
        with fits.open(path, memmap=False) as hdus:
            mine = open_fits(path).hdus
            assert len(mine) == len(hdus)
            for hdu, other in zip(mine, hdus, strict=True):
                for key, value in other.header.items():
                    assert hdu.header.values[key] == value, (path, key)
                    n_cards += 1
                info = other.fileinfo()
                assert hdu.start == info["datLoc"]
                assert -(-hdu.size // 2880) * 2880 == info["datSpan"]
    assert n_cards > 5000


@pytest.mark.data
def test_odd_real_headers_never_fail(data_dir: Path):
    n_equal, n_files = 0, 0
    for path in sorted((data_dir / "edgecases").rglob("*.fits")):
        try:
            mine = open_fits(path).hdus
        except DataError:
            continue
        n_files += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for hdu in mine:
                theirs = fits.Header.fromstring(hdu.header.text)
                for key in {key for key in theirs if key and key not in ("COMMENT", "HISTORY", "CONTINUE")}:
                    try:
                        value = theirs[key]
                    except (ValueError, fits.VerifyError):
                        continue
                    n_equal += hdu.header.values.get(key) == value
    assert n_files > 3
    assert n_equal > 100


values = st.one_of(
    st.booleans(), st.integers(-(10**15), 10**15), st.floats(-1e30, 1e30, allow_nan=False),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=150).map(str.rstrip),
)


@settings(deadline=None)
@given(st.lists(values, max_size=6))
def test_cards_written_by_astropy_are_read_back(contents):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = fits.Header([(f"KEY{k}", value, "a comment / here") for k, value in enumerate(contents)])
        text = made.tostring(sep="", endcard=False, padding=False)
        expected = {key: fits.Header.fromstring(text)[key] for key in made if key.startswith("KEY")}
    found = {key: value for key, value in parse_cards(text).items() if key.startswith("KEY")}
    assert found == expected


def test_odd_cards_are_understood():
    cards = [
        "DOUBLED = 'it''s'", "HIERARCH DETEFF.MAGREF = 21.5 / limit", "EXP     =  1.5D+03", "EMPTY   =",
        "ODD     = 12:34", "TWICE   =                    1", "TWICE   =                    2", "OPEN    = 'no end",
        "COMMENT = 'none'",
    ]
    found = parse_cards("".join(card.ljust(80) for card in cards))
    assert found == {
        "DOUBLED": "it's", "DETEFF.MAGREF": 21.5, "EXP": 1500.0, "EMPTY": None, "ODD": "12:34", "TWICE": 1,
        "OPEN": "no end", "COMMENT": "none",
    }
    assert card_value("".join(card.ljust(80) for card in cards), "TWICE") == 1
    assert card_value("X = 'TWICE   = 5'".ljust(80), "TWICE") is None


def test_scaled_and_null_columns_are_converted(tmp_path):
    columns = [
        fits.Column("SCALED", "I", array=[1, 2, 3]),
        fits.Column("NULLED", "J", array=[1, -9, 3], null=-9),
        fits.Column("BIG", "K", array=np.array([2**63, 2**64 - 1, 5], dtype="u8"), bzero=2**63),
        fits.Column("NAME", "5A", array=["a", "bc ", "d"]),
        fits.Column("PAIR", "2E", array=[[1, 2], [3, 4], [5, 6]]),
    ]
    hdu = fits.BinTableHDU.from_columns(columns)
    hdu.writeto(tmp_path / "plain.fits")
    content = (tmp_path / "plain.fits").read_bytes()
    end = next(k for k in range(content.index(b"TFORM5"), len(content)) if content[k:k + 80] == b"END".ljust(80))
    scale = b"TSCAL1  =                  0.5".ljust(80) + b"TZERO1  =                  1.0".ljust(80)
    (tmp_path / "a.fits").write_bytes(content[:end] + scale + content[end:end + 80] + content[end + 240:])
    file = open_fits(tmp_path / "a.fits")
    layout, records = table_layout(file.hdus[1]), file.records(file.hdus[1])
    assert column_values([records], layout, "SCALED")[0].tolist() == [1.5, 2.0, 2.5]
    assert column_values([records], layout, "NULLED")[1].tolist() == [False, True, False]
    assert column_values([records], layout, "BIG")[0].tolist() == [2**63, 2**64 - 1, 5]
    assert column_values([records], layout, "NAME")[0].tolist() == [b"a", b"bc", b"d"]
    assert column_values([records], layout, "PAIR")[0].tolist() == [[1, 2], [3, 4], [5, 6]]


@settings(deadline=None, max_examples=60)
@given(st.floats(41317.0, 60000.0))
def test_tai_agrees_with_astropy(mjd):
    assert utc_to_tai(mjd) == pytest.approx(Time(mjd, format="mjd", scale="utc").tai.mjd, abs=1e-10)
    assert tai_to_utc(utc_to_tai(mjd)) == pytest.approx(mjd, abs=1e-10)


@pytest.mark.parametrize(("longitude", "mjd"), [(0.0, 50000.0), (-110.0, 56900.33), (155.0, 59999.99)])
def test_sidereal_time_agrees_with_astropy(longitude, mjd):
    time = Time(mjd, format="mjd", scale="utc")
    time.delta_ut1_utc = 0.0
    expected = time.sidereal_time("mean", f"{longitude}d").hour
    assert sidereal_time(mjd, longitude) == pytest.approx(expected, abs=1e-5)
    assert longitude_of(mjd, expected) == pytest.approx(longitude, abs=1e-3)


@settings(deadline=None)
@given(st.integers(0, 3 * 86_400_000 - 1))
def test_dates_keep_the_millisecond(ms):
    moment = datetime(2014, 8, 31) + timedelta(milliseconds=ms)
    found = times(DATE_OBS=moment.isoformat(timespec="milliseconds"))
    assert round((found.utc_start - 56900) * 86_400_000) == ms
    assert (found.mjd - utc_to_tai(found.utc_start)) * 86400 == pytest.approx(15.0, abs=1e-5)


@pytest.mark.parametrize(
    "cards",
    [
        {"MJD-OBS": 56900.25}, {"MJD-OBS": "56900.25"}, {"DATE-OBS": "2014-08-31T06:00:00"},
        {"DATE-OBS": "2014-08-31T06:00:00Z"}, {"DATE-OBS": "2014-08-31 06:00:00.000"}, {"JD": 2456900.75},
        {"DATE-OBS": "2014-08-31", "UT": "06:00:00"}, {"TZERO": 1409464800},
        {"MJD-OBS": "NaN", "DATE-OBS": "2014-08-31T06:00:00"}, {"MJD-OBS": 0.0, "JD": 2456900.75},
        {"MJD-OBS": 56900.25 + 35 / 86400, "TIMESYS": "TAI"}, {"MJD-OBS": 56900.25 + 67.184 / 86400, "TIMESYS": "TT"},
        {"MJD-AVG": 56900.25 + 15 / 86400}, {"DATE-AVG": "2014-08-31T06:00:15"},
        {"MJD-OBS": 56900.25, "MJD-MID": 56900.25 + 15 / 86400},
    ],
)
def test_every_way_to_give_the_time_gives_the_same(cards):
    found = times(**cards)
    assert found.utc_start == pytest.approx(56900.25, abs=1e-9)
    assert found.mjd == pytest.approx(56900.25 + 50 / 86400, abs=1e-9)


def test_old_dates_and_a_julian_date_in_the_middle_are_understood():
    assert times(**{"DATE-OBS": "12/01/99", "UT": "00:00:00"}).utc_start == 51190.0
    middle = header(JD=(2456900.75, "julian date in middle time"))
    found = observing_time([middle], 30.0, "here")
    assert found.mjd == pytest.approx(56900.25 + 35 / 86400, abs=1e-9)
    assert found.utc_start == pytest.approx(56900.25 - 15 / 86400, abs=1e-9)


def test_the_image_s_own_time_comes_before_its_exposure_s():
    found = observing_time([header(**{"DATE-OBS": "2014-08-31T06:00:00"}), header(**{"MJD-OBS": 56901.0})], 0.0, "here")
    assert found.utc_start == 56900.25


@pytest.mark.parametrize(
    "cards", [{}, {"DATE-OBS": "2014-13-31T06:00:00"}, {"DATE-OBS": "2014-08-31"}, {"MJD-OBS": True}]
)
def test_no_time_is_an_error_that_says_what_was_there(cards):
    with pytest.raises(DataError, match="time of observation"):
        times(**cards)


@pytest.mark.parametrize(
    ("text", "value"),
    [("10:30:00", 10.5), ("-00:30", -0.5), ("10 30 36", 10.51), (12, 12.0), ("12.5", 12.5), ("x", None), ("NaN", None)],
)
def test_sexagesimal_values(text, value):
    assert sexagesimal(text) == (pytest.approx(value) if value is not None else None)


def test_a_night_starts_at_local_noon():
    hawaii = -155.5
    evening, morning = 56900.2, 56900.7
    assert night_of(evening, hawaii) == night_of(morning, hawaii) == 56899
    assert night_of(evening + 1, hawaii) == 56900


@pytest.mark.parametrize("scale", ["LOCAL", "IST", "garbage", "TCB", "1"])
def test_a_time_scale_that_is_not_known_is_refused(scale):
    with pytest.raises(DataError, match=rf"here: TIMESYS = '{scale}'.*UTC.*TAI.*TDB.*GPS"):
        times(**{"MJD-OBS": 56900.25, "TIMESYS": scale})


def test_known_time_scales_are_as_astropy_has_them():
    utc = Time(56900.25, format="mjd", scale="utc")
    given = {"tai": "TAI", "tt": "TT", "tdb": "tdb", "utc": "UTC(NIST)"}
    for scale, name in given.items():
        found = times(**{"MJD-OBS": getattr(utc, scale).mjd, "TIMESYS": name})
        assert found.utc_start == pytest.approx(56900.25, abs=3e-8)
    gps = 44244.0 + utc.gps / 86400  # seconds since 1980 January 6
    assert times(**{"MJD-OBS": gps, "TIMESYS": "GPS"}).utc_start == pytest.approx(56900.25, abs=1e-9)


def test_the_exposure_s_time_scale_holds_for_a_chip_that_names_none():
    tai = 56900.25 + 35 / 86400
    found = observing_time([header(**{"MJD-OBS": tai}), header(TIMESYS="TAI")], 0.0, "here")
    assert found.utc_start == pytest.approx(56900.25, abs=1e-9)


def test_times_of_one_start_that_are_more_than_a_day_apart_are_refused():
    cards = {"MJD-OBS": 56900.25, "DATE-OBS": "2014-08-31T06:00:00"}
    assert times(**cards).utc_start == 56900.25
    assert times(**cards | {"DATE-OBS": "2014-08-30T06:00:00"}).utc_start == 56900.25  # the date of the night
    assert times(**cards | {"MJD-AVG": 56950.0}).utc_start == 56900.25  # of a stack
    wrong = cards | {"DATE-OBS": "2014-09-03T06:00:00"}
    for headers in ([header(**wrong)], [header(**{key: value}) for key, value in wrong.items()]):
        with pytest.raises(DataError, match=r"MJD-OBS = 56900\.25 and DATE-OBS = '2014-09-03T.* are more than a day"):
            observing_time(headers, 30.0, "here")
    other = header(**{"MJD-OBS": 56900.25, "DATE-OBS": ("2014-09-03T06:00:00", "end of the last exposure")})
    assert observing_time([other], 30.0, "here").utc_start == 56900.25


@pytest.mark.parametrize(
    "keys",
    [
        times_module.START_MJD, times_module.START_DATE, times_module.CLOCK, times_module.MID_MJD,
        times_module.MID_DATE, times_module.SCALES, header_values.EXPTIME, header_values.AIRMASS,
        header_values.SIDEREAL, header_values.LATITUDE, header_values.LONGITUDE, headers_module.EXPOSURE_NAME,
        headers_module.CHIP_NAME, headers_module.FILTER,
    ],
)
def test_the_page_of_headers_lists_the_keywords_in_the_order_in_which_they_are_taken(keys):
    assert ", ".join(f"`{key}`" for key in keys) in PAGE.read_text(encoding="utf-8")

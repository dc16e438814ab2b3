"""Angles and positions as people type them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.errors import UsageError
from skydb.sky.angles import parse_angle, parse_position


@pytest.mark.parametrize(
    ("text", "degrees"),
    [
        ("5arcmin", 5 / 60), ("5 arcmin", 5 / 60), ("5'", 5 / 60), ("1.5deg", 1.5), ("1.5°", 1.5), ("30", 30.0),
        ('2"', 2 / 3600), ("2''", 2 / 3600), ("2 ARCSEC", 2 / 3600), ("100mas", 100 / 3.6e6), ("-3d", -3.0),
        ("1e-3", 1e-3), ("1e-3deg", 1e-3), (".5arcsec", 0.5 / 3600), ("+2.", 2.0), ("0", 0.0),
    ],
)
def test_angle_is_degrees_or_has_a_unit(text: str, degrees: float) -> None:
    assert parse_angle(text) == degrees


def test_radians_are_understood() -> None:
    assert parse_angle(f"{math.pi}rad") == pytest.approx(180.0, abs=1e-13)


@pytest.mark.parametrize("text", ["", "arcmin", "five", "nan", "inf", "1e999", "1 2", "1:2:3", "5 arcmin 3"])
def test_text_that_is_no_angle_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not an angle|unknown unit"):
        parse_angle(text)


def test_misspelt_unit_is_named() -> None:
    with pytest.raises(UsageError, match=r"unknown unit of angle 'arcmim'.*did you mean 'arcmin'"):
        parse_angle("5arcmim")


M31 = (15 * (0 + 42 / 60 + 44.3 / 3600), 41 + 16 / 60 + 9 / 3600)


@pytest.mark.parametrize(
    "text",
    [
        "00:42:44.3 +41:16:09", "00:42:44.3, 41:16:09", "00:42:44.3,+41:16:09", "00h42m44.3s +41d16m09s",
        "0h42m44.3s+41d16m9s", "00 42 44.3 +41 16 09", "00:42:44.3+41:16:09", "00h 42m 44.3s  +41d 16m 09s",
        "00h42m44.3s 41°16'09\"", f"{M31[0]!r} {M31[1]!r}", f"{M31[0]!r},{M31[1]!r}", f"{M31[0]!r}deg {M31[1]!r}deg",
        f"{M31[0]!r}+{M31[1]!r}",
    ],
)
def test_one_position_written_in_many_ways_is_one_position(text: str) -> None:
    ra, dec = parse_position(text)
    assert ra == pytest.approx(M31[0], abs=1e-12)
    assert dec == pytest.approx(M31[1], abs=1e-12)


def test_coordinates_may_come_apart() -> None:
    assert parse_position("12:00:00", "-1.5") == (180.0, -1.5)
    assert parse_position("180", "-00:30") == (180.0, -0.5)


def test_minus_zero_degrees_keep_their_sign() -> None:
    assert parse_position("0 -00:00:36")[1] == -0.01
    assert parse_position("0 -0d0m36s")[1] == -0.01


def test_right_ascension_marked_with_d_is_in_degrees() -> None:
    assert parse_position("180d30m00s 0")[0] == 180.5


def test_right_ascension_is_wrapped_once() -> None:
    assert parse_position("-10 0")[0] == 350.0
    assert parse_position("360 0")[0] == 0.0
    assert parse_position("24:00:00 0")[0] == 0.0


@pytest.mark.parametrize(
    "text",
    ["", "12", "12 13 14", "a b", "nan 0", "12:60:00 0", "12:00:60 0", "0 91", "0 -90:00:01", "25:00:00 0", "400 0",
     "0 1h00m00s", "1,2,3", "12:30.5:10 0", "0 inf"],
)
def test_text_that_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"position|coordinate|minutes|ascension|declination"):
        parse_position(text)


def sexagesimal(value: float) -> str:
    seconds = min(value % 1 * 60 % 1 * 60, 59.9999999999)
    return f"{int(value):02d}:{int(value % 1 * 60):02d}:{seconds:.10f}"


@settings(deadline=None)
@given(st.floats(0, 359.9999), st.floats(-89.9999, 89.9999))
def test_sexagesimal_text_comes_back(ra: float, dec: float) -> None:
    text = f"{sexagesimal(ra / 15)} {'-' if dec < 0 else '+'}{sexagesimal(abs(dec))}"
    back_ra, back_dec = parse_position(text)
    assert back_ra == pytest.approx(ra, abs=1e-11)
    assert back_dec == pytest.approx(dec, abs=1e-11)

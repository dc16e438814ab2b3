import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.errors import DataError
from skydb.schema.identity import exposure_id, exposure_key, image_id, image_key, key_parts

words = st.text(max_size=8)


def key(**more):
    parts = {"kind": "chip", "utc_start": 56900.25, "photcode": "G", "chip": "XY01", "exposure": "o1"}
    return image_key(**(parts | more))


def test_ids_are_fixed_for_ever():
    text = key(photcode="GPC1.g.XY01", exposure="o6900g0001o")
    assert text == "chip|2014-08-31T06:00:00.000|GPC1.g.XY01|XY01|o6900g0001o"
    assert image_id(text) == 8512907912398574922


@settings(deadline=None)
@given(st.text())
def test_id_fits_a_signed_64_bit_integer_and_is_not_negative(text):
    assert 0 <= image_id(text) < 2**63


@settings(deadline=None)
@given(words, words, words)
def test_parts_of_a_key_come_back(photcode, chip, exposure):
    parts = key_parts(key(photcode=photcode, chip=chip, exposure=exposure))
    assert parts == ["chip", "2014-08-31T06:00:00.000", photcode.strip(), chip.strip(), exposure.strip()]


@pytest.mark.parametrize(
    "change", [{"kind": "warp"}, {"utc_start": 56900.26}, {"photcode": "R"}, {"chip": "XY02"}, {"exposure": "o2"}]
)
def test_every_part_of_the_key_counts(change):
    assert image_id(key(**change)) != image_id(key())


def test_start_counts_to_the_millisecond():
    ms = 1 / 86_400_000
    assert key(utc_start=56900.25 + 0.4 * ms) == key()
    assert key(utc_start=56900.25 + 0.6 * ms) == key(utc_start=56900.25 + ms) != key()
    assert key(utc_start=56899.9999999999) == key(utc_start=56900.0)
    assert "T23:59:59.999" in key(utc_start=56900 - ms)


@settings(deadline=None)
@given(st.tuples(words, words, words), st.tuples(words, words, words))
def test_different_parts_never_share_a_key(one, other):
    def made(parts):
        return key(photcode=parts[0], chip=parts[1], exposure=parts[2])

    same = [a.strip() for a in one] == [b.strip() for b in other]
    assert (made(one) == made(other)) == same


def test_a_missing_part_is_the_same_as_an_empty_one():
    assert key(exposure=None) == key(exposure="")
    assert key(utc_start=None).startswith("chip||G|")


def test_exposure_id_hashes_kind_start_and_name():
    assert exposure_key(kind="chip", utc_start=56900.25, name="o1") == "chip|2014-08-31T06:00:00.000|o1"
    first = exposure_id(kind="chip", utc_start=56900.25, name="o1")
    assert first == image_id("chip|2014-08-31T06:00:00.000|o1")
    assert first != exposure_id(kind="stack", utc_start=56900.25, name="o1")


@pytest.mark.parametrize("mjd", [float("nan"), float("inf"), 1e9, -1e9])
def test_a_time_that_is_no_date_is_refused(mjd):
    with pytest.raises(DataError):
        key(utc_start=mjd)

"""Conditions on columns of text in a mapping: flags with a character for each band, and words for the row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from skydb.errors import DataError, UsageError
from skydb.ingest.readers.mapping_rules import TextRule
from skydb.ingest.readers.table_texts import not_good
from tests.ingest.tables import REFERENCE, detections_mapping, joined, mapping_of, read, rejected

WORDS = ["AAA", "AUX", "UAA", "A", "", None, "null", " AA", "AA  "]
"""Three bands, some of them not measured; too short; absent in three ways; blank in the first band; padded."""


@pytest.mark.parametrize(
    ("rule", "good"),
    [
        (TextRule(good="A"), ["AAA", "A", "AA  "]),
        (TextRule(good="A", place=0), ["AAA", "AUX", "A", "AA  "]),
        (TextRule(good="A", place=1), ["AAA", "UAA", " AA", "AA  "]),
        (TextRule(good="A", place=2), ["AAA", "UAA", " AA"]),
        (TextRule(bad="U"), ["AAA", "A", "", None, "null", " AA", "AA  "]),
        (TextRule(bad="UX", place=2), ["AAA", "UAA", "A", "", None, "null", " AA", "AA  "]),
        (TextRule(among=("AA", "A")), ["A", " AA", "AA  "]),
    ],
    ids=str,
)
def test_texts_are_judged_by_their_characters_or_as_a_whole(rule: TextRule, good: list[str | None]) -> None:
    wrong = not_good(pa.array(WORDS), rule, ["null", -999])
    assert [word for word, bad in zip(WORDS, wrong, strict=True) if not bad] == good


def test_column_without_any_text_is_good_only_where_nothing_is_asked_for() -> None:
    nothing = pa.nulls(2)
    assert not_good(nothing, TextRule(good="A"), ()).tolist() == [True, True]
    assert not_good(nothing, TextRule(bad="A"), ()).tolist() == [False, False]
    assert not_good(pa.array([], pa.string()), TextRule(good="A"), ()).tolist() == []


FLAGGED = REFERENCE.replace(
    'photcode = "R.G"\n',
    'photcode = "R.G"\nonly_where = { q = { place = 0, good = "ABC" }, cc = { place = 0, bad = "DP" } }\n',
).replace('format = "text"', 'format = "any"')
STARS: dict[str, list[Any]] = {
    "id": [1, 2, 3, 4, 5], "ra": [1.0] * 5, "dec": [2.0] * 5, "g": [10.0, 11.0, 12.0, 13.0, None], "g_err": [0.1] * 5,
    "b": [1.0] * 5, "c": [1.0] * 5, "c_err": [0.1] * 5, "q": ["AA", "UA", "BU", None, "AA"],
    "cc": ["00", "00", "D0", "00", "D0"],
}  # fmt: skip
"""Good; not measured in the first band; an artefact there; no flag; an artefact with an error alone."""


@pytest.mark.parametrize("form", ["parquet", "csv", "fits", "votable"])
def test_magnitudes_with_bad_flags_become_null_counted_and_the_other_bands_stay(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"stars.{form}"
    if form == "parquet":
        pq.write_table(pa.table(STARS), path)
    elif form == "csv":
        rows = [list(STARS), *zip(*STARS.values(), strict=True)]
        path.write_text("\n".join(",".join("" if v is None else str(v) for v in row) for row in rows) + "\n")
    else:
        columns = {n: ["" if v is None else v for v in c] if n == "q" else c for n, c in STARS.items()}
        columns["g"] = [*STARS["g"][:4], float("nan")]
        Table(columns).write(path, format=form)
    (chunk,) = read(path, mapping_of(tmp_path, FLAGGED))
    rows = chunk.detections.to_pylist()
    first = [(row["det_id"], row["inst_mag"], row["inst_mag_err"]) for row in rows if row["code"] == 21]
    assert first == [(1, 10.0, pytest.approx(0.1))]
    assert [row["det_id"] for row in rows if row["code"] == 22] == [1, 2, 3, 4, 5]
    assert chunk.n_nulled == 7 + (form == "fits")  # magnitude and error of 2, 3 and 4, the error of 5; and a NaN
    assert chunk.rejected == {}


def test_cuts_on_text_reject_rows_and_count_them(tmp_path: Path) -> None:
    cuts = (
        '[[cuts]]\ncolumn = "flags"\nholds = { bad = "s" }\nreason = "spike"\n'
        '[[cuts]]\ncolumn = "type"\nholds = { among = ["PSF", "STAR"] }\n'
    )
    rows = ["1,2,59000,1,...,PSF", "1,2,59000,1,.s.,PSF", "1,2,59000,1,,STAR", "1,2,59000,1,,", "1,2,59000,1,M..,psf"]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["ra,dec,mjd,mag,flags,type", *rows, ""]))
    chunks = read(path, detections_mapping(tmp_path, cuts))
    assert joined(chunks)["det_id"].to_pylist() == [0, 2]
    assert rejected(chunks) == {"spike": 1, "cut_type": 2}


def test_flags_that_were_read_as_a_number_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table(STARS | {"cc": [0, 0, 1000, 0, 0]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column 'cc': a condition is on a text, the file has int64; have it written"):
        read(tmp_path / "a.parquet", mapping_of(tmp_path, FLAGGED))


def test_flag_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({n: c for n, c in STARS.items() if n != "cc"}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no column 'cc'"):
        read(tmp_path / "a.parquet", mapping_of(tmp_path, FLAGGED))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('holds = { place = 0 }', r"cuts\[0\]\.holds: give one of among, good and bad"),
        ('holds = { good = "A", bad = "B" }', r"cuts\[0\]\.holds: give one of among, good and bad"),
        ('holds = { among = ["A"], place = 0 }', r"place is that of a character, from 0"),
        ('holds = { good = "A", place = -1 }', r"place is that of a character, from 0"),
        ('holds = { good = "A" }\nmin = 1', r"cuts\[0\]: a column is of text or of numbers"),
    ],
)
def test_conditions_that_say_nothing_or_two_things_are_refused(tmp_path: Path, rule: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        detections_mapping(tmp_path, f'[[cuts]]\ncolumn = "q"\n{rule}\n')


def test_condition_of_a_photcode_is_checked_too(tmp_path: Path) -> None:
    wrong = FLAGGED.replace('good = "ABC"', 'good = ""')
    with pytest.raises(UsageError, match=r"magnitudes\[0\]\.only_where\.q: give one of among, good and bad"):
        mapping_of(tmp_path, wrong)

"""Formats told by a file's first bytes, names in another case, ECSV in blocks, and rules about values and numbers."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import MaskedColumn, Table

from skydb.errors import DataError, UsageError
from skydb.ingest.readers.interface import Chunk
from skydb.ingest.readers.table_formats import format_of
from tests.ingest.tables import HEAD, detections_mapping, joined, mapping_of, read

ANY = """
name = "t"
kind = "detections"
det_id = "id"
{top}
[file]
format = "{form}"
delimiter = ","
nulls = ["null"]
[time]
value = 59000
scale = "utc"
exptime = 1
[photcode]
name = "X.g"
[measurements]
ra_raw = {{ column = "ra", unit = "deg" }}
dec_raw = {{ column = "dec", unit = "deg" }}
inst_mag = {mag}
"""
PACKED = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def any_mapping(folder: Path, *, form: str = "any", mag: str = '"mag"', top: str = "") -> Any:
    return mapping_of(folder, ANY.format(form=form, mag=mag, top=top))


def table(**more: Any) -> Table:
    return Table({"id": [2**53 + 1, 2], "ra": [1.5, 359.5], "dec": [-1.0, 89.0], "mag": [-7.25, -8.5], **more})


@pytest.mark.parametrize(
    ("form", "name"),
    [("fits", "fits"), ("votable", "votable"), ("ascii.ecsv", "ecsv"), ("ascii.ipac", "ascii.ipac"),
     ("ascii.csv", "text")],
)  # fmt: skip
def test_format_is_told_by_the_content_whatever_the_name(tmp_path: Path, form: str, name: str) -> None:
    path = tmp_path / "table.dat"
    table().write(path, format=form)
    assert format_of(path) == name
    chunk, = read(path, any_mapping(tmp_path))
    assert chunk.detections["det_id"].to_pylist() == [2**53 + 1, 2]
    assert chunk.detections["inst_mag"].to_pylist() == [-7.25, -8.5]


def test_parquet_is_told_by_its_first_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "ra": [1.0], "dec": [2.0], "mag": [-7.0]}), tmp_path / "leaf")
    assert format_of(tmp_path / "leaf") == "parquet"
    assert read(tmp_path / "leaf", any_mapping(tmp_path))[0].detections.num_rows == 1


@pytest.mark.parametrize("end", PACKED)
@pytest.mark.parametrize("form", ["ascii.csv", "ascii.ecsv"])
def test_compressed_text_is_told_by_its_content(tmp_path: Path, form: str, end: str) -> None:
    table().write(tmp_path / "plain", format=form)
    path = tmp_path / f"t.txt{end}"
    path.write_bytes(PACKED[end]((tmp_path / "plain").read_bytes()))
    assert joined(read(path, any_mapping(tmp_path)))["inst_mag"].to_pylist() == [-7.25, -8.5]


@pytest.mark.parametrize(
    "content", [b"\x1f\x8b\x08", b"PAR1", b"SIMPLE  =", b"<VOTABLE>", b"# %ECSV 1.0\n", b"\\a=1\n|"]
)
def test_stump_of_a_file_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"t\.gz"):
        read(tmp_path / "t.gz", any_mapping(tmp_path))


NAMED = {"fits": "fits", "votable": "votable", "ascii.ecsv": "ecsv", "ascii.ipac": "ascii.ipac", "ascii.csv": "text"}


@pytest.mark.parametrize("end", [end for end in PACKED if end])
@pytest.mark.parametrize("form", NAMED)
def test_compressed_file_that_was_cut_is_an_error_that_names_it(tmp_path: Path, form: str, end: str) -> None:
    table().write(tmp_path / "plain", format=form)
    whole = PACKED[end]((tmp_path / "plain").read_bytes())
    for size in (len(whole) // 2, len(whole) - 3):
        (tmp_path / "cut").write_bytes(whole[:size])
        for given in ("any", NAMED[form]):
            with pytest.raises(DataError, match=r"/cut: the file is damaged or ends early"):
                read(tmp_path / "cut", any_mapping(tmp_path, form=given))


@pytest.mark.parametrize("end", [end for end in PACKED if end])
@pytest.mark.parametrize("form", ["fits", "ascii.csv"])
def test_damaged_byte_of_a_compressed_file_is_an_error_that_names_it(tmp_path: Path, form: str, end: str) -> None:
    """Its sum is at the end: whoever stops at the last row of a FITS table never compares it."""
    n, rng = 2000, np.random.default_rng(3)
    rows = {"id": np.arange(n), "ra": rng.uniform(0, 360, n), "dec": rng.uniform(-90, 90, n), "mag": np.zeros(n)}
    Table(rows).write(tmp_path / "plain", format=form)
    packed = bytearray(PACKED[end]((tmp_path / "plain").read_bytes()))
    packed[len(packed) // 2] ^= 0x10
    (tmp_path / "bad").write_bytes(packed)
    with pytest.raises(DataError, match=r"/bad: the file is damaged or ends early"):
        read(tmp_path / "bad", any_mapping(tmp_path))


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"\x1f\x9d\x90", "compress"), (b"PK\x03\x04\x14", "zip"), (b"\x28\xb5\x2f\xfd\x20", "zstd"),
     (b"\x04\x22\x4d\x18\x60", "lz4")],
)  # fmt: skip
@pytest.mark.parametrize("form", ["any", *NAMED.values()])
def test_what_is_not_expanded_is_called_by_its_name(tmp_path: Path, head: bytes, name: str, form: str) -> None:
    (tmp_path / "t.csv").write_bytes(head + bytes(100))
    with pytest.raises(DataError, match=rf"t\.csv: it is compressed by {name}; expand it, or compress it by gzip"):
        read(tmp_path / "t.csv", any_mapping(tmp_path, form=form))


def test_server_that_expanded_a_file_and_kept_its_name_does_no_harm(tmp_path: Path) -> None:
    table().write(tmp_path / "t.csv.gz", format="ascii.csv")
    found = joined(read(tmp_path / "t.csv.gz", any_mapping(tmp_path, form="text")))
    assert found["inst_mag"].to_pylist() == [-7.25, -8.5]


def test_compressed_file_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(DataError, match=r"t\.gz: no line names the columns"):
        read(tmp_path / "t.gz", any_mapping(tmp_path))


def test_error_of_a_compressed_fits_file_speaks_of_the_file_itself(tmp_path: Path) -> None:
    table().write(tmp_path / "plain", format="fits")
    whole = (tmp_path / "plain").read_bytes()
    (tmp_path / "t.fits.gz").write_bytes(gzip.compress(whole[: 2 * 2880 + 40]))
    with pytest.raises(DataError, match=r"t\.fits\.gz") as caught:
        read(tmp_path / "t.fits.gz", any_mapping(tmp_path))
    assert "tmp" not in str(caught.value).replace(str(tmp_path), "")


@pytest.mark.parametrize("form", ["fits", "votable", "ascii.ecsv", "ascii.csv"])
def test_column_is_found_whatever_the_case_of_its_name_and_keeps_its_unit(tmp_path: Path, form: str) -> None:
    wanted = table()
    wanted["ra"] = np.radians(wanted["ra"])
    wanted["ra"].unit = "rad"
    wanted.rename_columns(["id", "ra", "mag"], ["ID", "Ra", "MAG"])
    wanted.write(tmp_path / "t", format=form)
    text = ANY.format(form="any", mag='"mag"', top="")
    text = text if form == "ascii.csv" else text.replace('{ column = "ra", unit = "deg" }', '"ra"')
    found = joined(read(tmp_path / "t", mapping_of(tmp_path, text)))
    scale = np.radians(1.0) if form == "ascii.csv" else 1.0  # CSV has no units: radians are taken for degrees
    assert found["ra_raw"].to_pylist() == pytest.approx([1.5 * scale, 359.5 * scale])


def test_name_itself_wins_over_one_in_another_case_and_two_others_are_refused(tmp_path: Path) -> None:
    columns = {"id": [1], "ra": [1.0], "dec": [2.0], "mag": [-7.0], "MAG": [-9.0]}
    pq.write_table(pa.table(columns), tmp_path / "t")
    assert joined(read(tmp_path / "t", any_mapping(tmp_path)))["inst_mag"].to_pylist() == [-7.0]
    with pytest.raises(DataError, match="2 columns are called 'Mag'"):
        read(tmp_path / "t", any_mapping(tmp_path, mag='"Mag"'))


def ecsv(path: Path, *, n: int = 5, **more: Any) -> Path:
    columns = {"id": np.arange(n), "ra": np.linspace(0, 359, n), "dec": np.zeros(n), **more}
    found = Table(columns)
    found["mag"] = MaskedColumn(np.linspace(-9, -5, n), mask=np.arange(n) == 1, unit="mag")
    found["ra"].unit = "deg"
    found.write(path, format="ascii.ecsv", delimiter="," if path.suffix == ".csv" else " ")
    return path


def in_blocks(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Chunk]:
    monkeypatch.setattr("skydb.ingest.readers.table.CHUNK_ROWS", 2)
    return read(path, any_mapping(folder, form="ecsv"))


@pytest.mark.parametrize("name", ["t.csv", "t.ecsv"])
def test_ecsv_comes_in_blocks_with_its_units_and_nulls(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astropy.table.Table.read", None)  # read whole, it would fail
    chunks = in_blocks(ecsv(tmp_path / name), tmp_path, monkeypatch)
    assert [c.n_in for c in chunks] == [2, 2, 1]
    assert joined(chunks)["inst_mag"].to_pylist() == [-9.0, None, -7.0, -6.0, -5.0]
    assert sum(c.n_nulled for c in chunks) == 0


@pytest.mark.parametrize("name", ["t.csv", "t.ecsv"])
def test_ecsv_with_text_in_quotes_reads_the_same(tmp_path: Path, name: str) -> None:
    words = ['plain', 'two words', 'a "quote" in it', 'comma, here', '']
    chunks = read(ecsv(tmp_path / name, label=words), any_mapping(tmp_path))
    assert joined(chunks)["inst_mag"].to_pylist() == [-9.0, None, -7.0, -6.0, -5.0]


def test_ecsv_of_arrays_gives_elements(tmp_path: Path) -> None:
    path = ecsv(tmp_path / "t.ecsv", mags=np.arange(10.0).reshape(5, 2) - 20)
    chunks = read(path, any_mapping(tmp_path, mag='"mags[1]"'))
    assert joined(chunks)["inst_mag"].to_pylist() == [-19.0, -17.0, -15.0, -13.0, -11.0]


def test_ecsv_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'magg'"):
        read(ecsv(tmp_path / "t.ecsv"), any_mapping(tmp_path, mag='"magg"'))


@pytest.mark.parametrize("size", [1, 40, 100])
def test_wide_text_comes_in_blocks_of_few_rows_that_keep_their_numbers(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{i},{i},0,-{i}.5,{'x' * i}" for i in range(10, 30)]
    (tmp_path / "t.csv").write_text("\n".join(["id,ra,dec,mag,note", *rows, "9,x,0,0,"]))
    mapping = any_mapping(tmp_path)
    with pytest.raises(DataError, match="line 22: 'x' in column 'ra'"):
        read(tmp_path / "t.csv", mapping)
    (tmp_path / "t.csv").write_text("\n".join(["id,ra,dec,mag,note", *rows]))
    whole, = read(tmp_path / "t.csv", mapping)
    monkeypatch.setattr("skydb.ingest.readers.table_text.BLOCK_BYTES", size)
    blocks = read(tmp_path / "t.csv", mapping)
    assert len(blocks) > 3
    assert joined(blocks) == whole.detections
    (tmp_path / "t.csv").write_text("\n".join(["id,ra,dec,mag,note", *rows, "9,x,0,0,"]))
    with pytest.raises(DataError, match="line 22: 'x' in column 'ra'"):
        read(tmp_path / "t.csv", mapping)


def csv_file(folder: Path, rows: list[str]) -> Path:
    (folder / "t.csv").write_text("\n".join(["ra,dec,mjd,mag,err,snr,vouch", *rows, ""]))
    return folder / "t.csv"


def rule(folder: Path, text: str) -> Any:
    """A mapping whose magnitude or error has a rule."""
    return mapping_of(folder, HEAD.format(file='nulls = ["-"]').replace('inst_mag = "mag"\n', text))


def test_values_beyond_the_limits_of_a_column_are_null_and_counted(tmp_path: Path) -> None:
    path = csv_file(tmp_path, [f"1,{i},59000,{mag},0.1,5,1" for i, mag in enumerate((-99, -10, 0, 5, 99, ""))])
    chunk, = read(path, rule(tmp_path, 'inst_mag = { column = "mag", min = -10, max = 5 }\n'))
    assert chunk.detections["inst_mag"].to_pylist() == [None, -10, 0, 5, None, None]
    assert chunk.n_nulled == 2


def test_limits_are_in_the_units_of_the_file(tmp_path: Path) -> None:
    path = csv_file(tmp_path, ["1,1,59000,1,0.5,5,1", "1,2,59000,1,2.0,5,1"])
    text = 'inst_mag = "mag"\nra_raw_err = { column = "err", unit = "arcsec", max = 1 }\n'
    chunk, = read(path, rule(tmp_path, text))
    assert chunk.detections["ra_raw_err"].to_pylist() == [500.0, None]


def test_value_without_the_column_that_vouches_for_it_is_null_and_counted(tmp_path: Path) -> None:
    path = csv_file(tmp_path, [f"1,{i},59000,-7,0.1,5,{v}" for i, v in enumerate(("0.02", "", "-", "nan", "0"))])
    chunk, = read(path, rule(tmp_path, 'inst_mag = { column = "mag", only_with = "vouch" }\n'))
    assert chunk.detections["inst_mag"].to_pylist() == [-7, None, None, None, -7]
    assert chunk.n_nulled == 3


def test_error_of_a_magnitude_follows_from_signal_to_noise(tmp_path: Path) -> None:
    path = csv_file(tmp_path, [f"1,{i},59000,-7,0.1,{snr},1" for i, snr in enumerate((10, 1000, 0, -3, "", "inf"))])
    text = 'inst_mag = "mag"\ninst_mag_err = { column = "snr", signal_to_noise = true }\n'
    chunk, = read(path, rule(tmp_path, text))
    errors = chunk.detections["inst_mag_err"].to_pylist()
    assert errors[:2] == pytest.approx([2.5 / np.log(10) / 10, 2.5 / np.log(10) / 1000], rel=1e-6)
    assert errors[2:] == [None] * 4
    assert chunk.n_nulled == 3  # 0, -3 and infinity; an empty field is NULL as it stands


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('inst_mag = { column = "mag", signal_to_noise = true }\n', "signal_to_noise is for inst_mag_err"),
        ('inst_mag_err = { column = "e", signal_to_noise = true, unit = "mag" }\n', "has no unit"),
        ("inst_mag = { value = 5, max = 3 }\n", "are for columns"),
        ('inst_mag = { column = "mag", max = "3" }\n', "a number is wanted"),
    ],
)
def test_wrong_rule_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rule(tmp_path, text)


def test_limits_of_text_and_numbers_of_no_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="columns of numbers"):
        detections_mapping(tmp_path, '[exposures]\nfilter = { column = "band", min = 3 }\n')
    with pytest.raises(UsageError, match="det_id is absent"):
        mapping_of(tmp_path, 'det_id_text = "hash"' + HEAD.format(file=""))


def names_table(folder: Path, names: list[str | None]) -> Path:
    n = len(names)
    columns = {"id": pa.array(names, pa.string()), "ra": np.arange(n) / 10, "dec": np.zeros(n), "mag": np.full(n, -7.0)}
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


def test_numbers_are_the_digits_of_a_text(tmp_path: Path) -> None:
    path = names_table(tmp_path, ["0987-0123456", "J12-34", None, "9223372036854775807", "09 87 0123456"])
    chunk, = read(path, any_mapping(tmp_path, top='det_id_text = "digits"'))
    assert chunk.detections["det_id"].to_pylist() == [9870123456, 1234, 2**63 - 1]
    assert chunk.rejected == {"no_det_id": 1, "duplicate": 1}


@pytest.mark.parametrize("name", ["no digits", "9223372036854775808", "123456789-123456789-12"])
def test_text_without_digits_or_with_too_many_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"row 0: '{name}' in column 'id' is no text with digits"):
        read(names_table(tmp_path, [name]), any_mapping(tmp_path, top='det_id_text = "digits"'))


def test_numbers_made_of_any_text_are_the_same_everywhere_and_tell_texts_apart(tmp_path: Path) -> None:
    names: list[str | None] = [f"WISEA J{i:06d}.00+000000.0" for i in range(1000)]
    mapping = any_mapping(tmp_path, top='det_id_text = "hash"')
    first = joined(read(names_table(tmp_path, [*names, names[0], None]), mapping))["det_id"].to_pylist()
    again = joined(read(names_table(tmp_path, names[::-1]), mapping))["det_id"].to_pylist()
    assert len(set(first)) == len(first) == 1000
    assert first == again[::-1]
    assert min(first) >= 0


@pytest.mark.parametrize(
    ("kind", "fits", "lost"), [(pa.float64(), 2**53, 2**53 + 2), (pa.float32(), 2**24, 2**24 + 2)]
)
def test_whole_numbers_in_floats_are_taken_as_far_as_floats_tell_them_apart(
    tmp_path: Path, kind: pa.DataType, fits: int, lost: int
) -> None:
    for value in (fits, lost):
        columns = {"id": pa.array([float(value)], kind), "ra": [1.0], "dec": [2.0], "mag": [-7.0]}
        pq.write_table(pa.table(columns), tmp_path / f"{value}")
    assert joined(read(tmp_path / f"{fits}", any_mapping(tmp_path)))["det_id"].to_pylist() == [fits]
    with pytest.raises(DataError, match="has lost digits; have the file written with integers"):
        read(tmp_path / f"{lost}", any_mapping(tmp_path))

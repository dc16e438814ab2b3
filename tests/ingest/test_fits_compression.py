import numpy as np
import pytest
from astropy.io import fits

from skydb.errors import DataError
from skydb.ingest.readers.fits_tables import open_fits, write_expanded
from skydb.ingest.readers.table_arrays import open_hdus
from tests.ingest.catalog_files import write_ldac, write_smf
from tests.ingest.packed import packed_hdu, write_packed
from tests.ingest.test_ldac import only as ldac
from tests.ingest.test_smf import only as smf

TYPES = ["L", "X", "B", "I", "J", "K", "E", "D", "C", "M", "5A", "3I", "2E", "4J", "0E"]


@pytest.fixture
def every_type(tmp_path):
    """A file with a column of every type, in 50 rows."""
    header = fits.BinTableHDU.from_columns(
        [fits.Column(f"c{i}", form) for i, form in enumerate(TYPES)], nrows=50
    ).header
    raw = np.random.default_rng(1).bytes(header["NAXIS1"] * 50)
    texts = [fits.PrimaryHDU().header.tostring(), header.tostring()]
    (tmp_path / "plain.fits").write_bytes("".join(texts).encode() + raw + bytes(-len(raw) % 2880))
    return tmp_path / "plain.fits"


def rows_of(path):
    file = open_fits(path)
    return file.records(file.hdus[1])


@pytest.mark.parametrize("tile_rows", [1, 7, 50, 1000])
def test_rows_of_every_type_are_those_of_the_plain_table(every_type, tmp_path, tile_rows):
    for number, codecs in enumerate(({}, "GZIP_1", "GZIP_2", "NOCOMPRESS")):
        chosen = {"codecs": lambda letter, c=codecs: c} if codecs else {}
        path = write_packed(tmp_path / f"{number}.fits", every_type, tile_rows, **chosen)
        rows, plain = rows_of(path), rows_of(every_type)
        assert rows.dtype == plain.dtype
        assert rows.tobytes() == plain.tobytes()


def test_header_is_that_of_the_plain_table(every_type, tmp_path):
    packed = open_fits(write_packed(tmp_path / "p.fits", every_type)).hdus[1]
    plain = open_fits(every_type).hdus[1]
    assert packed.header.values == plain.header.values
    assert packed.where == f"{tmp_path / 'p.fits'}, HDU 1"


def test_file_written_expanded_is_the_plain_file(every_type, tmp_path):
    with (tmp_path / "again.fits").open("wb") as sink:
        write_expanded(write_packed(tmp_path / "p.fits", every_type), sink)
    again, plain = open_fits(tmp_path / "again.fits"), open_fits(every_type)
    assert [hdu.header.values for hdu in again.hdus] == [hdu.header.values for hdu in plain.hdus]
    assert rows_of(tmp_path / "again.fits").tobytes() == rows_of(every_type).tobytes()
    assert (tmp_path / "again.fits").stat().st_size == every_type.stat().st_size
    with open_hdus(tmp_path / "p.fits") as hdus, fits.open(every_type) as plain:
        assert hdus[1].data.tobytes() == plain[1].data.tobytes()


def test_catalogs_read_the_same(tmp_path):
    for name, write, read, asked in (("a.smf", write_smf, smf, {}), ("a.cat", write_ldac, ldac, {})):
        for folder in ("plain", "packed"):
            (tmp_path / folder).mkdir(exist_ok=True)
        plain = write(tmp_path / "plain" / name)
        packed = write_packed(tmp_path / "packed" / name, plain)
        one, other = read(packed, **asked), read(plain, **asked)
        assert one.detections.equals(other.detections)
        assert one.images.equals(other.images)


@pytest.mark.data
@pytest.mark.parametrize(("packed", "plain"), [
    ("bt12.fits.fz", "fpacked_tables/bt12.fits"), ("sdss903294.fits.fz", "sdss/903294.fits"),
    ("gwac472.fits.fz", "gwac/P_130112_177d55072_60d851283-472.Fcat"),
])  # fmt: skip
def test_fpacked_files_are_their_plain_twins(data_dir, packed, plain):
    one, other = open_fits(data_dir / "fpacked_tables" / packed), open_fits(data_dir / plain)
    assert len(one.hdus) == len(other.hdus) > 1
    for mine, theirs in zip(one.hdus[1:], other.hdus[1:], strict=True):
        assert mine.packed is not None
        assert one.records(mine).tobytes() == other.records(theirs).tobytes()


@pytest.mark.parametrize(("change", "words"), [
    ({"ZCTYP5": "PLIO_1"}, "tile 1, column c4: it is compressed by PLIO_1, of type J; expand it with funpack"),
    ({"ZCTYP7": "RICE_1"}, "column c6: it is compressed by RICE_1, of type E; expand it with funpack first"),
    ({"ZFORM7": "1PE(3)", "ZNAXIS1": 100}, "column c6: its values vary in length; expand it with funpack first"),
    ({"ZTILELEN": 8}, "8 tiles of 8 rows do not make 50 rows"),
    ({"ZTILELEN": -1}, "ZTILELEN is -1"),
    ({"ZNAXIS2": 49}, "8 tiles of 7 rows do not make 49 rows; write the file again"),
    ({"ZNAXIS2": 56}, "tile 8, column c0: it expands to 1 bytes, not 7; copy the file again"),
    ({"ZNAXIS1": 3}, "NAXIS1 is 3"),
    ({"ZFORM7": None}, "TFORM7"),
])  # fmt: skip
def test_headers_that_contradict_the_data_are_refused(every_type, tmp_path, change, words):
    path = write_packed(tmp_path / "p.fits", every_type)
    content = path.read_bytes()
    with fits.open(path, disable_image_compression=True) as hdus:
        header = hdus[1].header.copy()
        start, end = hdus[1].fileinfo()["hdrLoc"], hdus[1].fileinfo()["datLoc"]
    if "ZNAXIS1" in change and "ZFORM7" in change:
        change = {**change, "ZNAXIS1": header["ZNAXIS1"] + 4}
    for key, value in change.items():
        if value is None:
            del header[key]
        else:
            header[key] = value
    text = header.tostring(padding=True).encode()
    path.write_bytes(content[:start] + text + content[end:])
    with pytest.raises(DataError, match=words):
        rows_of(path)


def test_damaged_heap_is_refused_or_harmless(every_type, tmp_path):
    """Whatever byte is lost: an error that names the file, never another."""
    path = write_packed(tmp_path / "p.fits", every_type)
    content, plain = path.read_bytes(), rows_of(every_type).tobytes()
    with fits.open(path, disable_image_compression=True) as hdus:
        start = hdus[1].fileinfo()["datLoc"]
    outcomes = set()
    for place in range(start, len(content) - 2880, 37):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1:])
        try:
            outcomes.add(rows_of(path).tobytes() == plain)
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017 - some damage is harmless
            outcomes.add("refused")
    assert "refused" in outcomes


def test_table_without_rows_is_empty(tmp_path):
    hdu = fits.BinTableHDU.from_columns([fits.Column("a", "E")], nrows=0)
    header, data = packed_hdu(hdu, 5)
    (tmp_path / "e.fits").write_bytes(fits.PrimaryHDU().header.tostring().encode() + header.tostring().encode() + data)
    assert len(rows_of(tmp_path / "e.fits")) == 0

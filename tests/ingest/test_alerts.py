"""Alert packets of ZTF and LSST: what becomes of candidates, histories, negative fluxes, and of damaged packets."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import re
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.time import Time

import skydb.database as database
from skydb.database import Database
from skydb.errors import DataError, UsageError
from skydb.ingest.addstar import addstar
from skydb.ingest.readers import reader_for, table_avro
from skydb.ingest.readers.interface import Chunk, ReadRequest
from skydb.ingest.readers.mapping import load_mapping
from skydb.ingest.readers.table import TableReader
from skydb.schema.photcodes import Photcodes
from tests.ingest.alert_packets import (
    JD,
    ZTF_CANDIDATE,
    archive,
    candidate,
    container,
    limit,
    lsst_packet,
    lsst_schema,
    record,
    source,
    ztf_packet,
    ztf_schema,
)
from tests.ingest.skies import check_conservation, contents
from tests.ingest.tables import joined, mapping_of, read, rejected
from tests.test_docs import PROJECT, run_page


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return database.create(tmp_path / "t.sky", difference=True)


def written(folder: Path, content: bytes, name: str = "a.avro") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def n_in(chunks: list[Chunk]) -> int:
    return sum(chunk.n_in for chunk in chunks)


def rejecting(folder: Path) -> Path:
    """The shipped mapping of ZTF, with damaged packets and unreadable values rejected."""
    path = folder / "rejecting.toml"
    path.write_text('based_on = "ztf_alerts"\nname = "r"\n[file]\nbad_rows = "reject"\n')
    return path


def test_candidate_is_a_measurement_as_the_packet_has_it(db, tmp_path):
    path = written(tmp_path, container([ztf_packet(candidate(1247250000515015001))]))
    report = addstar(db, path, mapping="ztf_alerts", workers=1).files[0]
    assert (report.n_images, report.n_in, report.n_new) == (1, 1, 1)
    (row,), (image,) = (table.to_pylist() for table in contents(db, ["measurements", "images"]).values())
    assert row["det_id"] == 1247250000515015001
    assert (row["ra_raw"], row["dec_raw"], row["x"], row["y"]) == (150.0, 2.0, 100.5, 200.25)
    assert row["mjd"] == pytest.approx(Time(JD, format="jd", scale="utc").tai.mjd + 15 / 86400, abs=1e-9)
    assert image["image_key"] == "diff|2020-05-31T06:00:00.000|ZTF.diff.r|5|600"
    assert (image["exptime"], image["external_id"], image["chip"]) == (30.0, 1_247_250_000_515, "5")
    assert image["detection_limit"] == 20.5
    assert row["sky"] == pytest.approx(6.0 / 30)


def calibrated(db: Database, names: str = "det_id, band, mag, mag_err, flux, flux_err, ap_mag") -> dict[int, dict]:
    """The calibrated measurements, by number."""
    import skydb

    with skydb.connect(db.root) as connection:
        return {row["det_id"]: row for row in connection.sql(f"SELECT {names} FROM measurements").arrow().to_pylist()}


def test_fluxes_of_fainter_sources_are_negative_and_have_no_magnitude(db, tmp_path):
    signs = {1: "t", 2: "f", 3: "1", 4: "0"}
    packets = [ztf_packet(candidate(i, isdiffpos=word, ra=150 + i / 10)) for i, word in signs.items()]
    addstar(db, written(tmp_path, container(packets)), mapping="ztf_alerts", workers=1)
    rows, njy = calibrated(db), 10 ** ((31.4 - 19.0) / 2.5)
    for number, word in signs.items():
        row, positive = rows[number], word in "t1"
        assert row["flux"] == pytest.approx(njy if positive else -njy, rel=2e-6)
        assert row["flux_err"] == pytest.approx(njy * 0.1 * np.log(10) / 2.5, rel=2e-6)
        assert row["mag"] == (pytest.approx(19.0, abs=2e-6) if positive else None)
        assert row["mag_err"] == (pytest.approx(0.1) if positive else None)
        assert row["ap_mag"] == (pytest.approx(18.9, abs=2e-6) if positive else None)
        assert row["band"] == "r"


def test_filters_are_told_apart_by_their_number(tmp_path):
    packets = [ztf_packet(candidate(i, fid=i)) for i in (1, 2, 3)]
    (chunk,) = read(written(tmp_path, container(packets)), "ztf_alerts")
    names = {code.code: code.name for code in load_mapping("ztf_alerts").photcodes}
    assert [names[code] for code in chunk.detections["code"].to_pylist()] == ["ZTF.diff.g", "ZTF.diff.r", "ZTF.diff.i"]
    with pytest.raises(DataError, match=r"no photcode is given for '4' in column 'fid'"):
        read(written(tmp_path, container([ztf_packet(candidate(1, fid=4))])), "ztf_alerts")


def test_sign_that_is_none_is_refused_and_an_absent_one_leaves_no_photometry(tmp_path):
    odd = written(tmp_path, container([ztf_packet(candidate(1)), ztf_packet(candidate(2, isdiffpos="x"))]))
    with pytest.raises(DataError, match=r"a\.avro \(row 1\): 'x' in column 'isdiffpos' is no sign"):
        read(odd, "ztf_alerts")
    chunks = read(odd, load_mapping(rejecting(tmp_path)))
    assert rejected(chunks) == {"unreadable_isdiffpos": 1}
    history = [ztf_packet(candidate(1), candidate(2, jd=JD - 1, isdiffpos=None))]
    chunks = read(written(tmp_path, container(history)), "ztf_alert_histories")
    rows = {row["det_id"]: row for row in joined(chunks).to_pylist()}
    assert (rows[2]["inst_mag"], rows[2]["inst_flux"]) == (None, None)
    assert sum(chunk.n_nulled for chunk in chunks) == 1


def histories() -> list[dict]:
    """Three packets of one source, each with those before in its history, and a limit."""
    first, second, third = (candidate(10 + i, jd=JD + i, exptime=30.0) for i in range(3))
    return [ztf_packet(first, limit(jd=JD - 2)), ztf_packet(second, limit(jd=JD - 2), first),
            ztf_packet(third, first, limit(jd=JD - 1), second)]  # fmt: skip


def test_detection_that_comes_in_many_packets_is_stored_once(db, tmp_path):
    path = written(tmp_path, container(histories()))
    report = addstar(db, path, mapping="ztf_alert_histories", workers=1).files[0]
    assert report.reasons == {"upper_limit": 3, "duplicate": 3}
    assert (report.n_in, report.n_new, report.n_matched, report.n_images) == (9, 1, 2, 3)
    assert sorted(contents(db, ["measurements"])["measurements"]["det_id"].to_pylist()) == [10, 11, 12]
    check_conservation(db)


def test_candidates_alone_leave_histories_out(tmp_path):
    chunks = read(written(tmp_path, container(histories())), "ztf_alerts")
    assert joined(chunks)["det_id"].to_pylist() == [10, 11, 12]
    assert (n_in(chunks), rejected(chunks)) == (3, {})


def test_history_is_the_same_in_whichever_packet_it_comes(tmp_path):
    """Previous candidates have no exposure time of their own."""
    packets = histories()
    tables = []
    for order in (packets, packets[::-1]):
        found = joined(read(written(tmp_path, container(order)), "ztf_alert_histories"))
        tables.append(found.sort_by("det_id"))
    assert tables[0].equals(tables[1])


def test_nights_follow_each_other_and_a_second_part_of_an_image_is_refused(db, tmp_path):
    nights = []
    for night in range(2):
        members = {f"{i}.avro": container([ztf_packet(candidate(100 * night + i, jd=JD + night, dec=2 + i / 10),
                                                      candidate(i, jd=JD))]) for i in range(3)}  # fmt: skip
        nights.append(archive(tmp_path / f"{night}.tar.gz", members, "w:gz"))
    for night in nights:
        assert addstar(db, night, mapping="ztf_alerts", workers=1).files[0].n_in == 3
    assert addstar(db, nights, mapping="ztf_alerts", workers=1).n_known == 2
    more = written(tmp_path, container([ztf_packet(candidate(99, dec=3.0))]))
    refused = addstar(db, more, mapping="ztf_alerts", workers=1).files[0]
    assert refused.status == "failed"
    assert "put all into one file (alert packets: one tar archive)" in (refused.error or "")
    check_conservation(db)


def test_packets_without_an_exposure_time_take_that_of_the_public_survey(tmp_path):
    """Schemas before 3.2 lack the field; an archive may hold packets of both."""
    members = {
        "old.avro": container([ztf_packet(candidate(1, jd=JD - 1))], ztf_schema(without=["exptime"])),
        "null.avro": container([ztf_packet(candidate(2, jd=JD - 2, exptime=None))]),
        "long.avro": container([ztf_packet(candidate(3, exptime=300.0))]),
    }
    (chunk,) = read(archive(tmp_path / "a.tar", members), "ztf_alerts")
    assert chunk.images["exptime"].to_pylist() == [30.0, 30.0, 300.0]
    assert chunk.images["utc_start"].to_pylist() == [58999.25, 58998.25, 59000.25]
    old = written(tmp_path, members["old.avro"])
    assert read(old, "ztf_alerts")[0].images["exptime"].to_pylist() == [30.0]


def test_lsst_sources_keep_their_fluxes_of_either_sign(db, tmp_path):
    before = source(6, visit=3, midpointMjdTai=61000.0, psfFlux=-50.0, band="g")
    packets = [
        lsst_packet(source(7), before), lsst_packet(source(8, ra=151.0, detector=95), before),
        lsst_packet(source(9, ra=152.0), source(5, timeWithdrawnMjdTai=61000.5)),
    ]  # fmt: skip
    path = written(tmp_path, container(packets, lsst_schema()))
    report = addstar(db, path, mapping="lsst_alert_histories", workers=1).files[0]
    assert report.reasons == {"duplicate": 1, "withdrawn": 1}
    assert (report.n_in, report.n_new + report.n_matched, report.n_images) == (6, 4, 3)
    rows = calibrated(db, "det_id, band, mag, flux, mjd")
    assert {number: row["flux"] for number, row in rows.items()} == pytest.approx({6: -50, 7: 1000, 8: 1000, 9: 1000})
    assert rows[6]["mag"] is None
    assert rows[6]["band"] == "g"
    assert rows[7]["mag"] == pytest.approx(31.4 - 7.5, abs=2e-6)
    assert rows[7]["mjd"] == 61222.1
    images = contents(db, ["images", "exposures"])
    assert sorted(images["images"]["chip"].to_pylist()) == ["94", "94", "95"]
    assert sorted(images["exposures"]["name"].to_pylist()) == ["2026070100123", "3"]
    assert images["images"]["exptime"].to_pylist() == [0.0, 0.0, 0.0]
    alone = read(path, "lsst_alerts")
    assert joined(alone)["det_id"].to_pylist() == [7, 8, 9]
    check_conservation(db)


def test_lsst_errors_of_position_are_those_on_the_sky(tmp_path):
    packets = [lsst_packet(source(7, dec=60.0, raErr=1e-5, decErr=2e-5)), lsst_packet(source(8))]
    found = joined(read(written(tmp_path, container(packets, lsst_schema())), "lsst_alerts")).to_pylist()
    assert [(row["ra_raw_err"], row["dec_raw_err"]) for row in found] == [
        (pytest.approx(36.0), pytest.approx(72.0)), (None, None),  # mas; cos(dec) is in them already
    ]  # fmt: skip


def test_cuts_of_ones_own_are_based_on_the_shipped_mapping(tmp_path):
    mapping = mapping_of(tmp_path, 'based_on = "ztf_alerts"\nname = "good"\n[[cuts]]\ncolumn = "rb"\nmin = 0.5\n')
    packets = [ztf_packet(candidate(i, rb=value)) for i, value in enumerate([0.9, 0.4, None])]
    chunks = read(written(tmp_path, container(packets)), mapping)
    assert (joined(chunks)["det_id"].to_pylist(), rejected(chunks)) == ([0], {"cut_rb": 2})


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "a.avro": bytes, "a.avro.gz": gzip.compress, "a.avro.bz2": bz2.compress, "a.avro.xz": lzma.compress,
}  # fmt: skip


@pytest.mark.parametrize("name", COMPRESS)
@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_compressed_containers_hold_the_same(tmp_path, name, codec):
    packets = [ztf_packet(candidate(i, dec=i / 10)) for i in range(50)]
    plain = read(written(tmp_path, container(packets), "plain.avro"), "ztf_alerts")
    found = read(written(tmp_path, COMPRESS[name](container(packets, codec=codec)), name), "ztf_alerts")
    assert joined(found).equals(joined(plain))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_hold_the_same_as_one_container(tmp_path, monkeypatch, mode, form):
    monkeypatch.setattr(tarfile.TarFile, "format", form)
    packets = [ztf_packet(candidate(i, dec=i / 10)) for i in range(20)]
    plain = read(written(tmp_path, container(packets)), "ztf_alerts")
    members = {f"night/{i:0>90}.avro": container([packet]) for i, packet in enumerate(packets)}
    assert joined(read(archive(tmp_path / "any name", members, mode), "ztf_alerts")).equals(joined(plain))


def test_folders_of_an_archive_are_passed_over_and_large_members_read(tmp_path, monkeypatch):
    monkeypatch.setattr("skydb.ingest.readers.avro_files._SPOOLED_BYTES", 1000)
    path = tmp_path / "a.tar"
    (tmp_path / "night").mkdir()
    written(tmp_path / "night", container([ztf_packet(candidate(i)) for i in range(30)]))
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "night", "night")
    assert joined(read(path, "ztf_alerts"))["det_id"].to_pylist() == list(range(30))


def test_blocks_make_no_difference(tmp_path, monkeypatch):
    found = [candidate(i, jd=JD + i % 3) for i in range(40)]
    packets = [ztf_packet(one, found[i // 2], limit()) for i, one in enumerate(found)]
    path = written(tmp_path, container(packets))
    whole = read(path, "ztf_alert_histories")
    monkeypatch.setattr(table_avro, "BLOCK_ROWS", 7)
    parts = read(path, "ztf_alert_histories")
    assert len(parts) > 10
    assert all(part.n_in <= 7 for part in parts)
    assert joined([part for part in parts if part.detections.num_rows]).equals(joined(whole))
    assert (n_in(parts), rejected(parts)) == (n_in(whole), rejected(whole))
    assert (n_in(whole), rejected(whole)) == (120, {"upper_limit": 40, "duplicate": 40})


def test_position_that_is_none_or_beyond_the_sky(tmp_path):
    ra, dec = [np.nan, 10.0, 360.0, 0.0, -1e-20, 5.0, 5.0, 721.0], [2.0, np.nan, 1.0, 1.0, 1.0, 90.0, 90.1, 0.0]
    packets = [ztf_packet(candidate(i, ra=ra[i], dec=dec[i])) for i in range(8)]
    chunks = read(written(tmp_path, container(packets)), "ztf_alerts")
    assert rejected(chunks) == {"no_position": 2, "bad_position": 2}
    found = {row["det_id"]: row["ra_raw"] for row in joined(chunks).to_pylist()}
    assert found == {2: 0.0, 3: 0.0, 4: 0.0, 5: 5.0}


def test_values_that_are_none_become_null_and_are_counted(tmp_path):
    packets = [ztf_packet(candidate(1, magpsf=np.nan, sigmapsf=-1.0)), ztf_packet(candidate(2, jd=np.nan))]
    chunks = read(written(tmp_path, container(packets)), "ztf_alerts")
    (row,) = joined(chunks).to_pylist()
    assert (row["inst_mag"], row["inst_flux"], row["inst_mag_err"]) == (None, None, None)
    assert rejected(chunks) == {"no_time": 1}
    assert sum(chunk.n_nulled for chunk in chunks) == 3


def test_number_that_comes_twice_in_a_file_is_stored_once(db, tmp_path):
    packets = [ztf_packet(candidate(4)), ztf_packet(candidate(4, dec=2.5)), ztf_packet(candidate(4, rcid=6))]
    report = addstar(db, written(tmp_path, container(packets)), mapping="ztf_alerts", workers=1).files[0]
    assert (report.reasons, report.n_measurements) == ({"duplicate": 1}, 2)
    check_conservation(db)


def test_packet_without_its_candidate_is_counted(tmp_path):
    chunks = read(written(tmp_path, container([ztf_packet(None), ztf_packet(candidate(1))])), "ztf_alerts")
    assert (n_in(chunks), rejected(chunks)) == (2, {"no_candidate": 1})
    alone = read(written(tmp_path, container([ztf_packet(None)])), "ztf_alerts")
    assert (n_in(alone), rejected(alone), joined(alone).num_rows) == (1, {"no_candidate": 1}, 0)


def test_night_without_alerts_is_ingested_and_known(db, tmp_path):
    """ZTF's archive has an empty one for such a night."""
    archives = [archive(tmp_path / "e.tar", {}), archive(tmp_path / "e.tar.gz", {}, "w:gz")]
    empty = [*archives, written(tmp_path, container([]))]
    for path in empty:
        report = addstar(db, path, mapping="ztf_alerts", workers=1).files[0]
        assert (report.status, report.n_in, report.n_images) == ("ingested", 0, 0)
    assert addstar(db, empty, mapping="ztf_alerts", workers=1).n_known == 3


def test_first_start_is_the_earliest_of_all_packets(tmp_path):
    packets = [ztf_packet(candidate(i, jd=JD + offset)) for i, offset in enumerate((1.0, -3.0, 2.0))]
    mapping = load_mapping("ztf_alerts")
    request = ReadRequest(Photcodes(mapping.photcodes), mapping=mapping)
    assert TableReader().first_start(written(tmp_path, container(packets)), request) == 58997.25


def foreign() -> bytes:
    """A container of other records."""
    schema = {"type": "record", "name": "star", "fields": [{"name": "candidates", "type": "long"}]}
    return container([{"candidates": 1}], schema)


def without_magnitude() -> bytes:
    return container([ztf_packet(candidate(1))], ztf_schema(without=["magpsf"]))


def candidate_that_is_a_number() -> bytes:
    schema = {"type": "record", "name": "star", "fields": [{"name": "candidate", "type": "long"}]}
    return container([{"candidate": 1}], schema)


def position_that_is_bytes() -> bytes:
    inner = record("c", ZTF_CANDIDATE.replace(" ra:double ", " ra:bytes "))
    schema = {"type": "record", "name": "alert", "fields": [{"name": "candidate", "type": inner}]}
    return container([{"candidate": candidate(1, ra=b"150")}], schema)


def packed_by_snappy() -> bytes:
    return container([ztf_packet(candidate(1))]).replace(b"\x08null", b"\x0csnappy", 1)


WRONG: dict[str, tuple[Callable[[], bytes], str]] = {
    "other records": (foreign, r"its packets have no field 'candidate'; did you mean 'candidates'\?"),
    "older names": (without_magnitude, r"no column 'magpsf' in 'candidate'; did you mean"),
    "no record": (candidate_that_is_a_number, "it holds neither a record nor a list of records"),
    "bytes": (position_that_is_bytes, "column 'ra' is of the Avro type 'bytes', no single value"),
    "a message": (lambda: b"\0\0\0\0\x07rest", "a Kafka message, without its schema"),
    "text": (lambda: b"candid,ra,dec\n", "neither an Avro container nor a tar archive"),
    "nothing in gzip": (lambda: gzip.compress(b""), "there is nothing in it"),
    "nothing": (lambda: b"", "the file is empty"),
    "no schema": (lambda: b"Obj\x01\0" + bytes(16), r"packet 0 cannot be read \(.*\): damaged, or the file ends early"),
    "a codec that is not installed": (packed_by_snappy, r"snappy.*; install what reads the codec"),
    "a link": (lambda: b"", "a link or another thing that is no file"),
}


def linked(path: Path) -> Path:
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("a.avro")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(entry)
    return path


@pytest.mark.parametrize("case", WRONG)
def test_file_that_holds_no_such_packets_is_refused_with_advice(tmp_path, case):
    make, message = WRONG[case]
    path = linked(tmp_path / "a.tar") if case == "a link" else written(tmp_path, make())
    with pytest.raises(DataError, match=message) as caught:
        read(path, "ztf_alerts")
    assert str(path) in str(caught.value)


def cut_points(size: int) -> Iterator[int]:
    some = random.Random(3).sample(range(1, size), 25)
    return iter(sorted({1, 3, 5, size // 3, size // 2, size - 40, size - 17, size - 1, *some}))


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_truncated_container_is_refused_wherever_it_ends(tmp_path, codec):
    whole = container([ztf_packet(candidate(i)) for i in range(3)], codec=codec)
    for size in cut_points(len(whole)):
        with pytest.raises(DataError, match=r"a\.avro"):
            print(size, len(whole), read(written(tmp_path, whole[:size]), "ztf_alerts"))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_truncated_archive_is_refused_wherever_it_ends(tmp_path, mode):
    """Also between two members, where nothing but the missing end tells."""
    members = {f"{i}.avro": container([ztf_packet(candidate(i))]) for i in range(4)}
    whole = archive(tmp_path / "whole", members, mode).read_bytes()
    sizes = cut_points(len(whole.rstrip(b"\0")) if mode == "w" else len(whole))
    between = [n for n in range(512, len(whole), 512) if mode == "w" and whole[n + 257 : n + 262] == b"ustar"]
    assert len(between) == (3 if mode == "w" else 0)
    for size in [*sizes, *between]:
        with pytest.raises(DataError, match=r"cut\.tar"):
            print(size, len(whole), read(written(tmp_path, whole[:size], "cut.tar"), "ztf_alerts"))


def test_damaged_packet_stops_its_archive_by_name_or_is_counted(db, tmp_path):
    good = [container([ztf_packet(candidate(i, dec=i / 10))]) for i in range(4)]
    members = {"0.avro": good[0], "1.avro": good[1][:-30], "2.avro": foreign(), "3.avro": b"", "4.avro": good[3]}
    path = archive(tmp_path / "night.tar.gz", members, "w:gz")
    with pytest.raises(DataError, match=r"night\.tar\.gz\[1\.avro\]: packet 0 cannot be read"):
        read(path, "ztf_alerts")
    report = addstar(db, path, mapping=rejecting(tmp_path), workers=1).files[0]
    assert (report.n_in, report.n_new, report.reasons) == (5, 2, {"unreadable_packet": 3})
    check_conservation(db)


def test_any_damaged_byte_gives_rows_or_an_error_of_skydb(tmp_path):
    whole, rng = container([ztf_packet(candidate(1), candidate(2, jd=JD - 1))]), random.Random(5)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] = rng.randrange(256)
        try:
            chunks = read(written(tmp_path, bytes(damaged)), "ztf_alert_histories")
        except (DataError, UsageError):
            continue
        made = sum(chunk.detections.num_rows for chunk in chunks)
        assert n_in(chunks) == made + sum(rejected(chunks).values())


def test_column_of_another_type_in_another_packet_is_refused(tmp_path):
    other = ztf_schema()
    fields = other["fields"][4]["type"][1]["fields"]
    next(f for f in fields if f["name"] == "isdiffpos")["type"] = "long"
    members = {"0.avro": container([ztf_packet(candidate(0))]),
               "1.avro": container([ztf_packet(candidate(1, isdiffpos=1))], other)}  # fmt: skip
    with pytest.raises(DataError, match=r"column 'isdiffpos' is int64 here and string elsewhere"):
        read(archive(tmp_path / "a.tar", members), "ztf_alerts")


def test_number_of_another_width_in_another_packet_is_joined(tmp_path):
    wide = ztf_schema()
    fields = wide["fields"][4]["type"][1]["fields"]
    next(f for f in fields if f["name"] == "fid")["type"] = ["null", "long"]
    next(f for f in fields if f["name"] == "magpsf")["type"] = "double"
    members = {"0.avro": container([ztf_packet(candidate(0))]), "1.avro": container([ztf_packet(candidate(1))], wide)}
    found = joined(read(archive(tmp_path / "a.tar", members), "ztf_alerts"))
    assert found["inst_mag"].to_pylist()[0] == pytest.approx(found["inst_mag"].to_pylist()[1])


def test_without_fastavro_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(UsageError, match=r"fastavro, .* is not installed; pip install 'skydb\[alerts\]'"):
        read(written(tmp_path, container([])), "ztf_alerts")


def test_without_a_mapping_the_shipped_ones_are_named(tmp_path):
    path = written(tmp_path, container([]))
    with pytest.raises(DataError, match=r"Avro records; say whose: --mapping ztf_alerts, --mapping lsst_alerts"):
        reader_for(path, ReadRequest(Photcodes(())))


@pytest.mark.parametrize("survey", ["ztf", "lsst"])
def test_mapping_of_histories_reads_what_the_other_reads(survey):
    alerts, both = load_mapping(f"{survey}_alerts"), load_mapping(f"{survey}_alert_histories")
    assert alerts.file.packets is not None
    assert both.file.packets is not None
    assert both.file.packets.records[:1] == alerts.file.packets.records
    for name in ("measurements", "images", "exposures", "photcodes", "photcode", "det_id", "difference"):
        assert getattr(alerts, name) == getattr(both, name)


def write_page_files(folder: Path) -> None:
    """The archives that the how-to page speaks of."""
    night, after = 1247250000515015000, 1248250000515015000
    first = [candidate(night + 1, rb=0.9), candidate(night + 2, ra=151.0, magpsf=18.5, rb=0.8),
             candidate(night + 3, ra=152.0, magpsf=19.5, isdiffpos="f", rb=0.1)]  # fmt: skip
    second = [candidate(after + 1, jd=JD + 1, fid=1, magpsf=18.8),
              candidate(after + 2, jd=JD + 1, fid=1, ra=152.0, isdiffpos="f")]  # fmt: skip
    for name, found in (("20200531", first), ("20200601", second)):
        members = {f"{one['candid']}.avro": container([ztf_packet(one)]) for one in found}
        archive(folder / f"ztf_public_{name}.tar.gz", members, "w:gz")
    archive(folder / "objects.tar", {f"{i}.avro": container([one]) for i, one in enumerate(histories())})
    (folder / "packets").mkdir()
    for one in first:
        written(folder / "packets", container([ztf_packet(one)]), f"{one['candid']}.avro")


def test_page_does_what_it_says(tmp_path, monkeypatch):
    page = PROJECT / "docs" / "how-to" / "alerts.md"
    write_page_files(tmp_path)
    mapping = re.search(r"```toml\n(.*?)```", page.read_text(), re.S)
    assert mapping is not None
    (tmp_path / "good.toml").write_text(mapping[1])
    database.create(tmp_path / "night.sky", difference=True)
    monkeypatch.chdir(tmp_path)
    run_page(page)

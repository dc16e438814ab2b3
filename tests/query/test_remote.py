"""A published tag gives the same answers from a server as from its folder, and says what it cannot read, and why."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from operator import methodcaller
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from skydb.database import Database
from skydb.errors import BusyError, DataError, SkydbError, UsageError
from skydb.query.connection import Connection, connect
from skydb.query.results import Result
from skydb.store import catalog_copies, checksums, copies, fetching
from skydb.store.mending import AT_THE_SERVER
from skydb.store.roots import Place
from skydb.store.tags import set_tag
from skydb.tools.cli import main
from tests.query.databases import FIELDS
from tests.servers import Served, http_server

TAG = "PV3"
NAME = "survey.sky"
PLACE = FIELDS[0]

Ask = Callable[[Connection], Result]

QUESTIONS: dict[str, Ask] = {
    "whole cells": methodcaller("sql", "SELECT * FROM objects ORDER BY ALL"),
    "calibrated measurements": methodcaller("sql", "SELECT object_id, mjd, mag, band FROM measurements ORDER BY ALL"),
    "paired columns": methodcaller("sql", "SELECT object_id, mag, inst_mag, x FROM measurements ORDER BY ALL"),
    "a global table": methodcaller("sql", "SELECT * FROM photcodes ORDER BY ALL"),
    "images side by side": methodcaller("sql", "SELECT * FROM images ORDER BY ALL"),
    "the catalog": methodcaller("sql", "SELECT norder, npix, bytes FROM cells ORDER BY ALL"),
    "measurements joined with images": methodcaller(
        "sql", "SELECT i.name, count(*), avg(m.mag) FROM measurements m JOIN images i USING (image_id) GROUP BY ALL "
        "ORDER BY ALL",
    ),
    "some cells": methodcaller("sql", f"SELECT * FROM objects WHERE in_cone(ra, dec, {PLACE[0]}, {PLACE[1]}, 0.05)"
                                      " ORDER BY ALL"),
    "cone": methodcaller("cone", *PLACE, 0.1),
    "cone of measurements": methodcaller("cone", *PLACE, 0.1, table="measurements", columns="*"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test learns of servers and footers is no business of the next."""
    monkeypatch.setattr(copies, "_told", set())
    monkeypatch.setattr(fetching, "_away", {})
    monkeypatch.setattr(checksums, "_fetched", type(checksums._fetched)())


@pytest.fixture(scope="module")
def published(survey: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the three fields, tagged, in a folder of its own."""
    root = tmp_path_factory.mktemp("published") / NAME
    shutil.copytree(survey.root, root)
    set_tag(root, TAG)
    return root


@pytest.fixture(scope="module")
def star(published: Path) -> int:
    """An object of many measurements."""
    with connect(published, at=TAG) as con:
        query = "SELECT object_id FROM objects ORDER BY n_measurements DESC, object_id LIMIT 1"
        return int(con.sql(query).arrow()["object_id"][0].as_py())


@pytest.fixture(scope="module")
def answers(published: Path, star: int) -> dict[str, pa.Table]:
    """What the database answers in its folder."""
    with connect(published, at=TAG) as con:
        return {name: ask(con).arrow() for name, ask in questions(star).items()}


def questions(star: int) -> dict[str, Ask]:
    return {
        **QUESTIONS,
        "light curve": methodcaller("lightcurve", star, columns="*"),
        "light curve with flags": methodcaller("lightcurve", star, derive_flags=True),
    }


@pytest.fixture(scope="module")
def served(published: Path) -> Iterator[Served]:
    with http_server(published.parent) as server:
        yield server


@pytest.fixture(scope="module")
def in_memory(published: Path) -> Iterator[str]:
    """A copy in fsspec's memory."""
    memory = fsspec.filesystem("memory")
    for path in published.rglob("*"):
        if path.is_file() and path.name != "catalog.sqlite":
            memory.pipe_file(f"/skydb-remote/{NAME}/{path.relative_to(published)}", path.read_bytes())
    yield f"memory://skydb-remote/{NAME}"
    memory.rm("/skydb-remote", recursive=True)


def require_same(
    con: Connection, answers: dict[str, pa.Table], star: int, *, only: Collection[str] | None = None
) -> None:
    for name, ask in questions(star).items():
        if only is None or name in only:
            assert ask(con).arrow().equals(answers[name]), name
    assert all(len(rows) for rows in answers.values())


def test_answers_over_http_are_those_of_the_folder(
    served: Served, answers: dict[str, pa.Table], star: int
) -> None:
    served.forget()
    with connect(f"{served.url}/{NAME}", at=TAG) as con:
        require_same(con, answers, star)
    asked = [path for path, _ in served.requests]
    assert f"/{NAME}/tags/{TAG}.sqlite" in asked
    assert not any("catalog.sqlite" in path for path in asked)


def test_answers_from_memory_are_those_of_the_folder(
    in_memory: str, answers: dict[str, pa.Table], star: int
) -> None:
    with connect(in_memory + "/", at=TAG) as con:
        assert in_memory in repr(con)
        require_same(con, answers, star)


@pytest.mark.slow
def test_answers_from_s3_are_those_of_the_folder(
    published: Path, answers: dict[str, pa.Table], star: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    server = moto.ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        bucket = fsspec.filesystem("s3")
        bucket.mkdir("surveys")
        bucket.put(str(published), f"surveys/{NAME}", recursive=True)
        with connect(f"s3://surveys/{NAME}", at=TAG) as con:
            some = ("whole cells", "images side by side", "some cells", "cone of measurements", "light curve")
            require_same(con, answers, star, only=some)
        with pytest.raises(UsageError, match=f"tags: {TAG}"):
            connect(f"s3://surveys/{NAME}", at="PV4")
    finally:
        server.stop()


def test_cone_over_http_costs_few_requests_and_bytes(served: Served, published: Path) -> None:
    """Tails of all files in one round of requests, the columns in another; nothing of other cells."""
    whole = sum(path.stat().st_size for path in (published / "data" / "objects").rglob("*.parquet"))
    with connect(f"{served.url}/{NAME}", at=TAG) as con:
        served.forget()
        rows = con.cone(*PLACE, "1arcmin").arrow()
    files = {path for path, _ in served.requests}
    assert len(rows)
    assert len(served.requests) <= 2 * len(files)
    assert served.bytes_sent < whole / 2


def test_second_question_fetches_no_footer_again(served: Served) -> None:
    with connect(f"{served.url}/{NAME}", at=TAG) as con:
        counts = []
        for _ in range(2):
            served.forget()
            con.cone(*PLACE, 0.05).arrow()
            counts.append(len(served.requests))
    assert counts[1] <= counts[0] / 2


@pytest.mark.parametrize("kind", ["objects", "measurements_cal", "measurements", "images"])
def test_flipped_byte_on_the_server_is_damage(published: Path, tmp_path: Path, kind: str) -> None:
    ask = {"objects": "SELECT * FROM objects", "measurements_cal": "SELECT * FROM measurements",
           "measurements": "SELECT * FROM measurements", "images": "SELECT * FROM images"}  # fmt: skip
    root = tmp_path / NAME
    shutil.copytree(published, root, copy_function=os.link)
    with connect(published, at=TAG) as con:
        file = con.snapshot.files(kind)[0]
    path = root / file.path
    content = bytearray(path.read_bytes())
    content[file.tail_start // 2] ^= 4
    path.unlink()
    path.write_bytes(content)
    with (
        http_server(tmp_path) as server, connect(f"{server.url}/{NAME}", at=TAG) as con,
        pytest.raises(DataError, match=rf"{server.url}/{NAME}/{file.path}: a stored file is damaged: column") as error,
    ):  # fmt: skip
        con.sql(ask[kind]).arrow()
    assert error.value.todo == AT_THE_SERVER


def test_damaged_tag_is_refused(published: Path, tmp_path: Path) -> None:
    root = tmp_path / NAME
    shutil.copytree(published, root, copy_function=os.link)
    tag = root / "tags" / f"{TAG}.sqlite"
    content = bytearray(tag.read_bytes())
    content[len(content) // 2] ^= 1
    tag.unlink()
    tag.write_bytes(content)
    with http_server(tmp_path) as server, pytest.raises(DataError, match="a published tag is damaged: checksum"):
        connect(f"{server.url}/{NAME}", at=TAG)
    (root / "catalog.sqlite").unlink()
    with pytest.raises(DataError, match="a published tag is damaged: checksum"):
        connect(root, at=TAG)


def test_server_without_ranges_is_refused_clearly(published: Path) -> None:
    with http_server(published.parent, has_ranges=False) as server, connect(f"{server.url}/{NAME}", at=TAG) as con:
        for ask in (QUESTIONS["cone"], QUESTIONS["whole cells"]):
            with pytest.raises(DataError, match=r"127.0.0.1:\d+ does not serve parts of files \(HTTP ranges\)"):
                ask(con).arrow()


REFUSALS: dict[str, tuple[int, type[SkydbError], str]] = {
    "missing": (404, DataError, "a stored file is missing"),
    "forbidden": (403, DataError, r"no right to read a stored file \(403"),
    "failing": (503, BusyError, r"127.0.0.1:\d+ cannot be reached, or broke off \(503"),
}


@pytest.mark.parametrize("question", ["whole cells", "cone", "images side by side"])
@pytest.mark.parametrize("refusal", list(REFUSALS))
def test_refusal_names_the_server_and_the_file(published: Path, refusal: str, question: str) -> None:
    status, kind, said = REFUSALS[refusal]
    with http_server(published.parent) as server, connect(f"{server.url}/{NAME}", at=TAG) as con:
        server.answers = lambda path: status if "/data/" in path else None
        with pytest.raises(kind, match=said) as error:
            QUESTIONS[question](con).arrow()
        assert error.value.where is not None
        assert error.value.where.startswith(f"{server.url}/{NAME}/data/")


@pytest.mark.parametrize("question", ["whole cells", "cone of measurements", "paired columns"])
def test_server_that_breaks_off_in_mid_query_is_named(published: Path, question: str) -> None:
    """After some files were read; nothing hangs, and no short answer is given."""
    with http_server(published.parent) as server, connect(f"{server.url}/{NAME}", at=TAG) as con:
        counted = iter(range(10_000))

        def after_five(path: str) -> None:
            server.breaks_off = next(counted) > 5

        server.answers = after_five
        with pytest.raises(BusyError, match=r"127.0.0.1:\d+ cannot be reached, or broke off"):
            QUESTIONS[question](con).arrow()


def test_server_that_is_gone_is_named(published: Path) -> None:
    with http_server(published.parent) as server:
        url = f"{server.url}/{NAME}"
        con = connect(url, at=TAG)
    with con, pytest.raises(BusyError, match=r"127.0.0.1:\d+ cannot be reached"):
        con.cone(*PLACE, 0.1)
    with pytest.raises(BusyError, match=r"127.0.0.1:\d+ cannot be reached"):
        connect(url, at=TAG)


def test_error_of_the_query_itself_is_still_one_of_use(in_memory: str) -> None:
    with connect(in_memory, at=TAG) as con, pytest.raises(UsageError, match="Conversion Error"):
        con.sql("SELECT CAST('a' AS INTEGER) FROM objects").arrow()


def test_database_at_a_url_is_asked_by_a_tag(served: Served, in_memory: str) -> None:
    with pytest.raises(UsageError, match=rf"asked by one of its tags.*tags: {TAG}"):
        connect(in_memory)
    with pytest.raises(UsageError, match="3 is no tag"):
        connect(in_memory, at=3)
    with pytest.raises(UsageError, match=rf"no tag 'PV4' is published here.*tags: {TAG}"):
        connect(in_memory, at="PV4")
    with pytest.raises(UsageError, match=r"no tag 'PV4' is published here; its tags cannot be listed here"):
        connect(f"{served.url}/{NAME}", at="PV4")


def test_nothing_but_questions_is_done_at_a_url(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["status"], ["tag", "PV5"], ["compact"]):
        assert main([command[0], f"{served.url}/{NAME}", *command[1:]]) == 2
        assert "a database at a URL can be asked, and nothing else" in capsys.readouterr().err


def test_commands_take_urls(
    served: Served, star: int, answers: dict[str, pa.Table], capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{served.url}/{NAME}"
    for words in (
        ["sql", url, "SELECT count(*) AS n FROM objects"],
        ["cone", url, str(PLACE[0]), str(PLACE[1]), "0.1"],
        ["lightcurve", url, str(star)],
        ["explain", url, "SELECT * FROM objects"],
    ):
        assert main([*words, "--at", TAG, "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        assert rows
    assert main(["sql", url, "SELECT count(*) AS n FROM objects", "--at", TAG, "--format", "csv"]) == 0
    assert capsys.readouterr().out.split() == ["n", str(answers["whole cells"].num_rows)]


def test_tag_is_read_without_the_catalog(
    published: Path, tmp_path: Path, answers: dict[str, pa.Table], star: int
) -> None:
    root = tmp_path / NAME
    shutil.copytree(published, root, copy_function=os.link, ignore=shutil.ignore_patterns("catalog.sqlite*", "leases"))
    with connect(root, at=TAG) as con:
        require_same(con, answers, star)


def test_files_without_a_home_are_read_from_hosts_of_their_own(
    published: Path, tmp_path: Path, in_memory: str, answers: dict[str, pa.Table], star: int
) -> None:
    """A local database whose files lie on a server."""
    root = tmp_path / NAME
    shutil.copytree(published, root, ignore=shutil.ignore_patterns("data"))
    with closing(sqlite3.connect(root / "catalog.sqlite")) as catalog, catalog:
        catalog.execute("UPDATE hosts SET root = ? WHERE name = 'local'", (in_memory,))
    with connect(root) as con:
        assert con.snapshot.is_far
        require_same(con, answers, star)


def test_reader_of_an_older_tag_finds_what_was_moved_since(
    published: Path, in_memory: str, answers: dict[str, pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tag's copy, written anew after a move, is fetched once more: once for all files."""
    memory = fsspec.filesystem("memory")
    memory.cp(f"/skydb-remote/{NAME}", f"/skydb-remote/moved/{NAME}", recursive=True)
    con = connect(f"memory://skydb-remote/moved/{NAME}", at=TAG)
    assert QUESTIONS["cone"](con).arrow().equals(answers["cone"])
    checksums._fetched.clear()
    memory.mv(f"/skydb-remote/moved/{NAME}/data", "/skydb-remote/elsewhere/data", recursive=True)
    tag = tmp_path / "moved.sqlite"
    shutil.copy(published / "tags" / f"{TAG}.sqlite", tag)
    with closing(sqlite3.connect(tag)) as catalog, catalog:
        catalog.execute("UPDATE hosts SET root = 'memory://skydb-remote/elsewhere'")
    catalog_copies.seal(tag)
    memory.pipe_file(f"/skydb-remote/moved/{NAME}/tags/{TAG}.sqlite", tag.read_bytes())
    fetched: list[str] = []
    fetch_to = fetching.fetch_to

    def counted(place: Place, path: Path) -> None:
        fetched.append(place.url)
        fetch_to(place, path)

    monkeypatch.setattr(catalog_copies, "fetch_to", counted)
    with con:
        for name in ("cone", "whole cells", "images side by side"):
            assert QUESTIONS[name](con).arrow().equals(answers[name])
    assert 1 <= len(fetched) <= 2  # a minute may end in between


def test_tag_on_a_network_file_system_is_read_from_its_own_copy(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(published, at=TAG) as con:
        assert con.snapshot.root == published
    monkeypatch.setattr("skydb.store.published.network_file_system", lambda root: "nfs4")
    with connect(published, at=TAG) as con:
        assert con.snapshot.root.name == f"{TAG}.sqlite"
    with connect(published) as con:
        assert con.snapshot.root == published


def test_password_in_a_url_is_refused_without_showing_it() -> None:
    with pytest.raises(UsageError, match="a password in a URL would show") as error:
        connect(f"https://me:secret@archive.example/{NAME}", at=TAG)
    assert "secret" not in str(error.value)


SCRIPT = """
import skydb, sys
with skydb.connect(sys.argv[1], at=sys.argv[2]) as con:
    print(con.sql("SELECT count(*) AS n FROM objects").arrow()["n"][0].as_py(), con.snapshot.root.name)
"""


HEEDING = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Starts Python again, which as root too heeds who may write where."""


@pytest.mark.skipif(sys.platform != "linux", reason="root heeds no permissions elsewhere")
def test_who_may_not_write_reads_a_tag(published: Path, tmp_path: Path, answers: dict[str, pa.Table]) -> None:
    """Also where a killed writer has left commits in the catalog's log."""
    root = tmp_path / NAME
    shutil.copytree(published, root)
    (root / "catalog.sqlite-wal").write_bytes(b"what a killed writer left")
    paths = [root, *root.rglob("*")]
    try:
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        words = [sys.executable, "-c", HEEDING, "-c", SCRIPT, str(root), TAG]
        run = subprocess.run(words, capture_output=True, text=True)
    finally:
        for path in paths:
            path.chmod(0o755)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [str(answers["whole cells"].num_rows), f"{TAG}.sqlite"]

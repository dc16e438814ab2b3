"""Rows of declared tables: tied to their objects, counted, asked for like all others."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table as AstropyTable

import skydb
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.errors import CommitConflict, UsageError
from skydb.ingest.addrows import addrows
from skydb.ingest.rows import reading
from skydb.parallel.executor import executor_for
from skydb.sky.partition import separation_arcsec
from skydb.store.changes import Changes
from skydb.store.compact import cells_to_compact, compact
from skydb.tools.cli import main
from tests.ingest.skies import check_nothing_is_left_over, new_database, write_night
from tests.parallel.simulated import SimulatedExecutor
from tests.store.test_aliases import add_aliases

SPECTRA = """
name = "spectra"
meaning = "redshifts of the follow-up programme"
keyed_by = "object"
key = ["programme"]
{more}
[[columns]]
name = "programme"
type = "string"
meaning = "observing programme"
[[columns]]
name = "redshift"
type = "float32"
ucd = "src.redshift"
meaning = "redshift"
dvo = "Z_SPEC"
[[columns]]
name = "width"
type = "{width}"
unit = "arcsec"
meaning = "slit width"
[[columns]]
name = "redshift_err"
type = "float32"
ucd = "stat.error;src.redshift"
meaning = "error of redshift"
"""
SHAPES = """
name = "shapes"
meaning = "shapes of single measurements"
keyed_by = "measurement"
[[columns]]
name = "e1"
type = "float64"
meaning = "ellipticity"
"""


def declare(db: Database, text: str, *, width: str = "float32", more: str = "") -> None:
    path = db.root.with_suffix(".toml")
    path.write_text(text.format(width=width, more=more) if "{width}" in text else text)
    skydb.declare_table(db, path)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of a night in several cells, with the tables spectra and shapes; each test has a copy."""
    folder = tmp_path_factory.mktemp("night")
    made = new_database(folder / "s.sky", cell_rows=150)
    skydb.addstar(made, write_night(folder / "night", exposures=3, stars=100), workers=1)
    declare(made, SPECTRA)
    declare(made, SHAPES)
    return made.root


@pytest.fixture
def db(night: Path, tmp_path: Path) -> Database:
    """A copy of the night's database."""
    return skydb.open(shutil.copytree(night, tmp_path / "s.sky"))


def write(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def sql(db: Database, query: str) -> list[dict[str, Any]]:
    with skydb.connect(db) as con:
        return con.sql(query).arrow().to_pylist()


def objects(db: Database) -> dict[str, np.ndarray]:
    with skydb.connect(db) as con:
        rows = con.sql("SELECT object_id, ra, dec FROM objects ORDER BY object_id").arrow()
    return {name: rows[name].to_numpy() for name in rows.column_names}


def spectra_of(ids: np.ndarray, programme: str = "A", start: int = 0) -> dict[str, Any]:
    number = np.arange(start, start + len(ids))
    return {"object_id": ids, "programme": [programme] * len(ids), "redshift": number / 100}


def test_rows_by_id_are_stored_with_their_objects(db: Database, tmp_path: Path) -> None:
    ids = objects(db)["object_id"]
    shuffled = np.random.default_rng(0).permutation(len(ids))
    given = {k: np.asarray(v)[shuffled] for k, v in spectra_of(ids).items()}
    report = addrows(db, "spectra", write(tmp_path / "s.parquet", **given), workers=1)
    assert (report.count("n_in"), report.count("n_matched"), report.count("n_rejected")) == (len(ids), len(ids), 0)
    found = sql(db, "SELECT object_id, programme, redshift, width FROM spectra ORDER BY object_id")
    assert [r["object_id"] for r in found] == ids.tolist()
    np.testing.assert_allclose([r["redshift"] for r in found], np.arange(len(ids)) / 100, rtol=1e-6)
    assert {(r["programme"], r["width"]) for r in found} == {("A", None)}
    snapshot = db.snapshot()
    for cell in snapshot.cells():
        kept = snapshot.read_cell("spectra", cell)["object_id"].to_numpy()
        assert (np.diff(kept) > 0).all()
        assert ((kept >= cell.lo) & (kept < cell.hi)).all()
    assert len({f.npix for f in snapshot.files("spectra")}) > 1


def test_every_row_is_stored_or_rejected_with_a_reason(db: Database, tmp_path: Path) -> None:
    ids = objects(db)["object_id"]
    given = spectra_of(ids[:10])
    empty_sky, next_door = 5 << 50, int(ids[0]) + 1
    given["object_id"] = pa.array([*ids[:6].tolist(), int(ids[5]), None, empty_sky, next_door])
    given["programme"] = [*"AAAAAAAAA", None]
    path = write(tmp_path / "s.parquet", **given)
    report = addrows(db, "spectra", path, workers=1)
    assert report.files[0].reasons == {"duplicate": 1, "no key": 2, "no object": 1}
    assert (report.count("n_in"), report.count("n_matched")) == (10, 6)
    given["programme"][9] = "A"
    again = addrows(db, "spectra", write(tmp_path / "t.parquet", **given), workers=1)
    assert again.files[0].reasons == {"duplicate": 7, "no key": 1, "no object": 2}
    log = sql(db, "SELECT * FROM ingest_log WHERE format = 'spectra:parquet' ORDER BY snapshot")
    assert [(r["n_in"], r["n_matched"], r["n_new"], r["n_rejected"], r["n_measurements"]) for r in log] == [
        (10, 6, 0, 4, 0), (10, 0, 0, 10, 0),
    ]  # fmt: skip
    assert [r["redshift"] for r in sql(db, "SELECT redshift FROM spectra ORDER BY object_id")] == pytest.approx(
        np.arange(6) / 100
    )


def test_same_file_is_recognised_and_changes_nothing(db: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "s.parquet", **spectra_of(objects(db)["object_id"]))
    first = addrows(db, "spectra", path, workers=1)
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(path.read_bytes())
    second = addrows(db, "spectra", [copy, path], workers=1)
    assert [f.status for f in second.files] == ["known", "known"]
    assert second.snapshot == first.snapshot


def test_rows_by_position_find_the_nearest_object_over_all_cells(db: Database, tmp_path: Path) -> None:
    known = objects(db)
    rng = np.random.default_rng(1)
    ra, dec = (known[n] + rng.normal(0, 0.6 / 3600, len(known[n])) for n in ("ra", "dec"))
    path = write(tmp_path / "s.parquet", RA=ra - 360 * (ra > 180), Dec=dec, programme=["A"] * len(ra),
                 redshift=np.arange(len(ra)) / 10)  # fmt: skip
    report = addrows(db, "spectra", path, radius_arcsec=1.0, workers=1)
    wanted, far = {}, 0
    for row in range(len(ra)):
        away = separation_arcsec(ra[row] % 360, dec[row], known["ra"], known["dec"])
        if away.min() <= 1.0:
            wanted.setdefault(int(known["object_id"][away.argmin()]), row / 10)
        else:
            far += 1
    found = {r["object_id"]: r["redshift"] for r in sql(db, "SELECT object_id, redshift FROM spectra")}
    assert found == pytest.approx(wanted)
    assert 0 < far == report.files[0].reasons["no object within the radius"]
    assert report.count("n_in") == report.count("n_matched") + report.count("n_rejected") == len(ra)


def test_object_that_waits_for_a_refresh_is_found_where_it_was_founded(tmp_path: Path) -> None:
    db = new_database(tmp_path / "s.sky")
    skydb.addstar(db, write_night(tmp_path / "night", exposures=1, stars=20), defer=True, workers=1)
    declare(db, SPECTRA)
    seeds = sql(db, "SELECT object_id, assoc_ra AS ra, assoc_dec AS dec FROM object_seeds")
    given = {n: [s[n] for s in seeds] for n in ("ra", "dec")} | {"programme": ["A"] * len(seeds)}
    report = addrows(db, "spectra", write(tmp_path / "s.parquet", **given), radius_arcsec=0.001, workers=1)
    assert report.count("n_matched") == len(seeds) > 10


def test_rows_of_measurements_find_their_objects(db: Database, tmp_path: Path) -> None:
    rows = sql(db, "SELECT object_id, image_id, det_id, i.name FROM measurements JOIN images i USING (image_id)")
    given = {n: [r[n] for r in rows] for n in ("image_id", "det_id")} | {"e1": np.arange(len(rows)) / 7}
    given["det_id"][3] = 10**6
    report = addrows(db, "shapes", write(tmp_path / "s.parquet", **given), workers=1)
    assert report.files[0].reasons == {"no measurement": 1}
    found = {(r["object_id"], r["image_id"], r["det_id"]): r["e1"] for r in sql(db, "SELECT * FROM shapes")}
    assert found == {(r["object_id"], r["image_id"], r["det_id"]): i / 7 for i, r in enumerate(rows) if i != 3}
    joined = "SELECT count(*) AS n FROM measurements JOIN shapes USING (object_id, image_id, det_id)"
    assert sql(db, joined) == [{"n": len(rows) - 1}]


def test_rows_of_measurements_may_name_their_image(db: Database, tmp_path: Path) -> None:
    rows = sql(db, "SELECT object_id, det_id, i.name AS image FROM measurements JOIN images i USING (image_id) LIMIT 9")
    given = {n: [r[n] for r in rows] for n in ("image", "det_id")} | {"e1": np.arange(9.0)}
    given["image"][0] = "no such image"
    report = addrows(db, "shapes", write(tmp_path / "s.parquet", **given), workers=1)
    assert report.files[0].reasons == {"no image": 1}
    assert {r["object_id"] for r in sql(db, "SELECT object_id FROM shapes")} == {r["object_id"] for r in rows[1:]}


def test_fits_rows_are_converted_to_the_declared_units(db: Database, tmp_path: Path) -> None:
    ids = objects(db)["object_id"][:3]
    table = AstropyTable({"object_id": ids, "Programme": ["A", "B", "C"], "Z_SPEC": [0.5, np.nan, np.inf],
                          "width": [0.01, 0.02, 0.03], "redshift_err": [0.1, -1.0, 0.2], "colour": [1, 2, 3]})
    table["width"].unit = "arcmin"
    table.write(tmp_path / "s.fits")
    report = addrows(db, "spectra", tmp_path / "s.fits", workers=1)
    found = sql(db, "SELECT programme, redshift, width, redshift_err FROM spectra ORDER BY object_id")
    assert [(r["programme"], r["redshift"]) for r in found] == [("A", 0.5), ("B", None), ("C", None)]
    assert [r["width"] for r in found] == pytest.approx([0.6, 1.2, 1.8])
    assert [r["redshift_err"] for r in found] == pytest.approx([0.1, None, 0.2])
    assert report.count("n_nulled") == 3
    assert report.files[0].unused == ("colour",)


@pytest.mark.parametrize(("columns", "said"), [
    ({"programme": ["A"], "redshift": [1.0]}, "no column 'ra' says what the rows .* give object_id, or ra and dec"),
    ({"object_id": [1.0], "programme": ["A"]}, "an id as floating-point numbers has lost its last digits"),
    ({"object_id": [1], "redshift": [1.0]}, "no column 'programme', a key of table spectra"),
    ({"object_id": [1], "programme": ["A"], "redshift": ["high"]}, "column redshift: a value does not fit float32"),
])  # fmt: skip
def test_file_whose_rows_make_no_sense_is_reported_and_nothing_is_kept(
    db: Database, tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    before = db.snapshot().id
    report = addrows(db, "spectra", write(tmp_path / "s.parquet", **columns), workers=1)
    assert (report.files[0].status, report.exit_code, db.snapshot().id) == ("failed", 3, before)
    assert re.search(said, report.files[0].error or "")


def test_unknown_table_is_refused_with_how_to_declare_it(db: Database) -> None:
    with pytest.raises(UsageError, match="no table 'starpar'; skydb table DB --declare starpar"):
        addrows(db, "starpar", "s.parquet")
    with pytest.raises(UsageError, match="did you mean 'spectra'"):
        addrows(db, "spectre", "s.parquet")


def test_id_that_was_merged_into_another_brings_its_rows_there(db: Database, tmp_path: Path) -> None:
    ids = objects(db)["object_id"]
    add_aliases(db, {int(ids[4]) + 1: int(ids[4])})
    addrows(db, "spectra", write(tmp_path / "s.parquet", **spectra_of(np.array([ids[4] + 1]))), workers=1)
    assert [r["object_id"] for r in sql(db, "SELECT object_id FROM spectra")] == [ids[4]]


def test_object_whose_images_were_deleted_gets_no_rows(db: Database, tmp_path: Path) -> None:
    lost = objects(db)
    skydb.delete(db, images=[r["image_id"] for r in sql(db, "SELECT image_id FROM images")], workers=1)
    by_id = addrows(db, "spectra", write(tmp_path / "1.parquet", **spectra_of(lost["object_id"])), workers=1)
    there = {"ra": lost["ra"], "dec": lost["dec"], "programme": ["A"] * len(lost["ra"])}
    near = addrows(db, "spectra", write(tmp_path / "2.parquet", **there), workers=1)
    assert by_id.files[0].reasons == {"no object": len(lost["ra"])}
    assert near.files[0].reasons == {"no object within the radius": len(lost["ra"])}


def test_rows_of_a_measurement_go_with_its_image(db: Database, tmp_path: Path) -> None:
    rows = sql(db, "SELECT image_id, det_id FROM measurements")
    given = {n: [r[n] for r in rows] for n in ("image_id", "det_id")} | {"e1": np.zeros(len(rows))}
    addrows(db, "shapes", write(tmp_path / "s.parquet", **given), workers=1)
    gone = rows[0]["image_id"]
    skydb.delete(db, images=[gone], workers=1)
    assert {r["image_id"] for r in sql(db, "SELECT image_id FROM shapes")} == {r["image_id"] for r in rows} - {gone}


def test_rows_do_not_depend_on_how_the_file_was_cut(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = objects(db)["object_id"]
    given = spectra_of(np.concatenate([ids, ids[::3], ids[::-1][:10]]))
    monkeypatch.setattr(reading, "BLOCK_ROWS", 7)
    report = addrows(db, "spectra", write(tmp_path / "s.parquet", **given), workers=1)
    first_of_each = [r["redshift"] for r in sql(db, "SELECT redshift FROM spectra ORDER BY object_id")]
    np.testing.assert_allclose(first_of_each, np.arange(len(ids)) / 100, rtol=1e-6)
    assert report.files[0].reasons == {"duplicate": len(ids[::3]) + 10}


def test_unreliable_workers_without_a_catalog_store_the_same_rows(db: Database, tmp_path: Path) -> None:
    executor, rows = SimulatedExecutor(1), sql(db, "SELECT image_id, det_id FROM measurements")
    ids = objects(db)["object_id"]
    by_id = write(tmp_path / "1.parquet", **spectra_of(np.concatenate([ids, ids[:5]])))
    shapes = {n: [r[n] for r in rows] for n in ("image_id", "det_id")} | {"e1": np.arange(len(rows)) / 7}
    report = addrows(db, "spectra", by_id, workers=executor)
    assert addrows(db, "shapes", write(tmp_path / "2.parquet", **shapes), workers=executor).count("n_rejected") == 0
    executor.let_late_tasks_run()
    assert executor.befell["repeated"] + executor.befell["lost"] + executor.befell["crashed"] > 3
    assert report.files[0].reasons == {"duplicate": 5}
    found = sql(db, "SELECT image_id, det_id, e1 FROM shapes ORDER BY e1")
    assert [(r["image_id"], r["det_id"]) for r in found] == [(r["image_id"], r["det_id"]) for r in rows]
    assert [r["object_id"] for r in sql(db, "SELECT object_id FROM spectra ORDER BY object_id")] == ids.tolist()
    check_nothing_is_left_over(db)


def test_writer_that_loses_the_race_stores_its_rows_on_top_of_the_other(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = objects(db)["object_id"]
    mine, theirs = (write(tmp_path / f"{p}.parquet", **spectra_of(ids, p)) for p in "AB")
    original, raced = Database.commit, []

    def commit(self: Database, changes: Changes) -> int:
        if not raced:
            raced.append(addrows_there())
        return original(self, changes)

    def addrows_there() -> int:
        with monkeypatch.context() as inner:
            inner.setattr(Database, "commit", original)
            return addrows(db, "spectra", theirs, workers=1).snapshot

    monkeypatch.setattr(Database, "commit", commit)
    report = addrows(db, "spectra", mine, workers=1)
    assert (report.count("n_matched"), len(raced)) == (len(ids), 1)
    assert sql(db, "SELECT programme, count(*) AS n FROM spectra GROUP BY ALL ORDER BY ALL") == [
        {"programme": "A", "n": len(ids)}, {"programme": "B", "n": len(ids)},
    ]  # fmt: skip


def test_writer_that_always_loses_says_so(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(self: Database, changes: Changes) -> int:
        raise CommitConflict("another writer came first")

    monkeypatch.setattr(Database, "commit", commit)
    monkeypatch.setattr("skydb.store.retries.ATTEMPTS", 2)
    with pytest.raises(CommitConflict):
        addrows(db, "spectra", write(tmp_path / "s.parquet", **spectra_of(objects(db)["object_id"])), workers=1)
    assert not list(db.root.glob("data/spectra/**/*.parquet"))


def test_compaction_folds_and_splits_a_declared_table_with_its_cell(tmp_path: Path) -> None:
    db = new_database(tmp_path / "s.sky")
    skydb.addstar(db, write_night(tmp_path / "night", exposures=3, stars=100), workers=1)
    declare(db, SPECTRA)
    ids = objects(db)["object_id"]
    for number in range(3):
        addrows(db, "spectra", write(tmp_path / f"{number}.parquet", **spectra_of(ids, f"P{number}")), workers=1)
    query = "SELECT * FROM spectra ORDER BY ALL"
    before, cells = sql(db, query), db.snapshot().cells()
    compact(db.snapshot, db.commit, cells, cell_rows=60, executor=executor_for(1))
    after = db.snapshot()
    assert len(after.cells()) > len(cells)
    assert all(len(after.files("spectra", c)) <= 1 for c in after.cells())
    assert sum(f.rows for f in after.files("spectra")) == 3 * len(ids)
    assert sql(db, query) == before


def test_cell_with_few_measurements_and_many_rows_of_a_declared_table_splits_too(tmp_path: Path) -> None:
    db = new_database(tmp_path / "s.sky", cell_rows=300)
    skydb.addstar(db, write_night(tmp_path / "night", exposures=2, stars=100), workers=1)
    declare(db, SPECTRA)
    ids, cells = objects(db)["object_id"], db.snapshot().cells()
    many = [spectra_of(ids, f"P{number}") for number in range(50)]
    rows = {name: np.concatenate([part[name] for part in many]) for name in many[0]}
    addrows(db, "spectra", write(tmp_path / "s.parquet", **rows), workers=1)
    after = db.snapshot()
    assert len(after.cells()) > len(cells)
    assert cells_to_compact(after, db.cell_rows) == []
    assert sum(f.rows for f in after.files("spectra")) == 50 * len(ids)
    assert fsck(db, workers=1).clean


def test_many_small_files_of_a_declared_table_are_folded_by_themselves(db: Database, tmp_path: Path) -> None:
    ids = objects(db)["object_id"]
    for number in range(10):
        addrows(db, "spectra", write(tmp_path / f"{number}.parquet", **spectra_of(ids, f"P{number}")), workers=1)
    assert max(len(db.snapshot().files("spectra", c)) for c in db.snapshot().cells()) <= 9
    assert sql(db, "SELECT count(*) AS n FROM spectra") == [{"n": 10 * len(ids)}]


def test_sql_prunes_a_declared_table_by_id_and_by_what_it_is_joined_with(db: Database, tmp_path: Path) -> None:
    known = objects(db)
    ids = known["object_id"]
    addrows(db, "spectra", write(tmp_path / "s.parquet", **spectra_of(ids)), workers=1)
    cells = len(db.snapshot().cells())
    ra, dec = known["ra"][0], known["dec"][0]
    with skydb.connect(db) as con:
        by_id = f"SELECT redshift FROM spectra WHERE object_id = {ids[0]}"
        assert con.sql(by_id).arrow()["redshift"].to_pylist() == [0.0]
        assert con.explain(by_id).arrow()["cells"].to_pylist() == [1]
        joined = (f"SELECT s.redshift FROM objects o JOIN spectra s USING (object_id)"
                  f" WHERE in_cone(o.ra, o.dec, {ra}, {dec}, 0.0001)")  # fmt: skip
        assert con.sql(joined).arrow()["redshift"].to_pylist() == [0.0]
        assert max(con.explain(joined).arrow()["cells"].to_pylist()) < cells
        assert con.sql("SELECT Z_SPEC FROM Spectra ORDER BY object_id LIMIT 1").arrow().column_names == ["Z_SPEC"]


def test_workers_read_a_declared_table_as_this_process_does(db: Database, tmp_path: Path) -> None:
    addrows(db, "spectra", write(tmp_path / "s.parquet", **spectra_of(objects(db)["object_id"])), workers=1)
    query = "SELECT * FROM objects JOIN spectra USING (object_id) WHERE programme = 'A' AND redshift < 0.5 ORDER BY ALL"
    with skydb.connect(db) as con, skydb.connect(db, workers=SimulatedExecutor(1)) as gathering:
        assert '("redshift" < 0.5)' in gathering.explain(query).arrow()["decided_there"][1].as_py()
        assert gathering.sql(query).arrow() == con.sql(query).arrow()
        assert 0 < len(con.sql(query)) < len(con.sql("FROM spectra"))
        assert con.sql("SELECT redshift, width FROM spectra LIMIT 1").units["width"] == "arcsec"


def test_positions_of_its_own_do_not_prune_a_declared_table(db: Database, tmp_path: Path) -> None:
    declare(db, SPECTRA.replace('"spectra"', '"elsewhere"').replace('"redshift"', '"ra"').replace('"width"', '"dec"'))
    ids = objects(db)["object_id"]
    given = {"object_id": ids, "programme": ["A"] * len(ids), "ra": np.full(len(ids), 200.0), "dec": [-70.0] * len(ids)}
    addrows(db, "elsewhere", write(tmp_path / "s.parquet", **given), workers=1)
    assert sql(db, "SELECT count(*) AS n FROM elsewhere WHERE in_cone(ra, dec, 200, -70, 1)") == [{"n": len(ids)}]


def test_show_tables_and_describe_know_a_declared_table_from_its_snapshot_on(db: Database) -> None:
    first = next(s["snapshot"] for s in sql(db, "SELECT snapshot, kind FROM snapshots") if s["kind"] == "table")
    names = [r["name"] for r in sql(db, "SHOW TABLES")]
    assert {"spectra", "shapes"} <= set(names)
    facts = {r["name"]: r for r in sql(db, "DESCRIBE spectra")}
    assert (facts["width"]["unit"], facts["redshift"]["ucd"]) == ("arcsec", "src.redshift")
    with skydb.connect(db, at=first - 1) as con:
        assert "spectra" not in con.sql("SHOW TABLES").arrow()["name"].to_pylist()
        with pytest.raises(UsageError, match="no table named 'spectra'"):
            con.sql("SELECT * FROM spectra")


def test_next_version_reads_the_rows_of_the_one_before(db: Database, tmp_path: Path) -> None:
    ids = objects(db)["object_id"]
    addrows(db, "spectra", write(tmp_path / "1.parquet", **spectra_of(ids), width=[0.1] * len(ids)), workers=1)
    old = db.snapshot().id
    added = '[[columns]]\nname = "good"\ntype = "bool"\nmeaning = "m"\nsince = 2\ndefault = true\n'
    text = SPECTRA.replace('type = "{width}"', 'type = "float64"\nwidened = [[2, "float32"]]') + added
    path = tmp_path / "2.toml"
    path.write_text(text.format(more="version = 2"))
    skydb.declare_table(db, path)
    new = spectra_of(ids, "B") | {"width": [0.1] * len(ids), "good": [False] * len(ids)}
    addrows(db, "spectra", write(tmp_path / "2.parquet", **new), workers=1)
    query = "SELECT programme, width, good, count(*) AS n FROM spectra GROUP BY ALL ORDER BY ALL"
    wanted = [
        {"programme": "A", "width": float(np.float32(0.1)), "good": True, "n": len(ids)},
        {"programme": "B", "width": 0.1, "good": False, "n": len(ids)},
    ]
    assert sql(db, query) == wanted
    compact(db.snapshot, db.commit, db.snapshot().cells(), cell_rows=10**6, executor=executor_for(1))
    assert {f.schema_version for f in db.snapshot().files("spectra")} == {2}
    assert sql(db, query) == wanted
    with skydb.connect(db, at=old) as con:
        assert "good" not in con.sql("SELECT * FROM spectra").columns


@pytest.mark.parametrize(("change", "more", "said"), [
    (('"{width}"', '"int32"'), "version = 2", "column width was float32 in version 1, not int32"),
    (('unit = "arcsec"', 'unit = "deg"'), "version = 2", "column width was in arcsec, not in deg"),
    (('meaning = "slit width"', 'meaning = "another"'), "", "is there already, in version 1.* write version = 2"),
    (('key = ["programme"]', ""), "version = 2", "its keys or the order of its rows"),
])  # fmt: skip
def test_change_that_stored_rows_cannot_follow_is_refused(
    db: Database, tmp_path: Path, change: tuple[str, str], more: str, said: str
) -> None:
    path = tmp_path / "2.toml"
    path.write_text(SPECTRA.replace(*change).format(more=more, width="float32"))
    with pytest.raises(UsageError, match=said):
        skydb.declare_table(db, path)


def test_dropped_table_is_gone_and_its_files_may_come_again(db: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "s.parquet", **spectra_of(objects(db)["object_id"]))
    addrows(db, "spectra", path, workers=1)
    before, log = db.snapshot().id, len(sql(db, "SELECT * FROM ingest_log"))
    skydb.drop_table(db, "spectra")
    assert "spectra" not in [r["name"] for r in sql(db, "SHOW TABLES")]
    assert len(sql(db, "SELECT * FROM ingest_log")) == log - 1
    with skydb.connect(db, at=before) as con:
        kept = len(con.sql("SELECT * FROM spectra"))
    assert skydb.fsck(db, workers=1).clean  # earlier snapshots have its files
    declare(db, SPECTRA, width="float64")
    assert addrows(db, "spectra", path, workers=1).count("n_matched") == kept == len(objects(db)["object_id"])
    with pytest.raises(UsageError, match="declares no table 'spectr'; did you mean 'spectra'"):
        skydb.drop_table(db, "spectr")


@pytest.mark.parametrize(("name", "more"), [("z_spectra", 'dvo = "Shapes"'), ("starpar", "")])
def test_name_that_another_declared_table_has_is_refused(
    db: Database, tmp_path: Path, name: str, more: str
) -> None:
    other = tmp_path / "other.toml"
    other.write_text(SPECTRA.replace('"spectra"', '"stars"').format(width="float32", more='dvo = "StarPar"'))
    skydb.declare_table(db, other)
    path = tmp_path / "2.toml"
    path.write_text(SPECTRA.replace('"spectra"', f'"{name}"').format(width="float32", more=more))
    with pytest.raises(UsageError, match="another table has the name"):
        skydb.declare_table(db, path)


def test_command_says_what_became_of_a_table(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    head = db.snapshot().id
    for words, said in (
        ("--declare starpar", f"declared starpar; snapshot {head + 1}"),
        ("--declare starpar", f"declared already: starpar; snapshot {head + 1}"),
        ("--drop starpar", f"dropped starpar; snapshot {head + 2}"),
    ):
        assert main(["table", str(db.root), *words.split()]) == 0
        assert capsys.readouterr().out.splitlines()[0] == said


def test_same_declaration_again_commits_nothing(db: Database) -> None:
    before = db.snapshot().id
    declare(db, SPECTRA)
    assert db.snapshot().id == before


def test_shipped_tables_take_rows_by_the_names_of_dvo(db: Database, tmp_path: Path) -> None:
    skydb.declare_table(db, "starpar")
    ids = objects(db)["object_id"][:2]
    report = addrows(db, "starpar", write(tmp_path / "s.parquet", OBJ_ID=ids, E_BV=[0.1, 0.2], FEH=[-1.0, -2.0]))
    assert report.count("n_matched") == 2
    assert [r["FEH"] for r in sql(db, "SELECT FEH FROM StarPar ORDER BY object_id")] == [-1.0, -2.0]

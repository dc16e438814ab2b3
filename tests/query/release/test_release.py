"""A release holds every row, partitioned by current position, whole or not at all, the same every time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from skydb import database
from skydb.database import Database
from skydb.errors import DataError, UsageError
from skydb.flags import MeasurementFlags
from skydb.query.connection import connect
from skydb.query.release import release
from skydb.query.release.writing import PartitionTask
from skydb.sky.partition import cell_range, pixel_of, separation_arcsec
from skydb.store.changes import Changes
from skydb.store.parquet import store_rows
from skydb.store.tags import set_tag
from skydb.tools.cli import cli

from .skies import BANDS, CODES, Sky, build, scattered

NOW, FOUNDED = (44.9, 0.05), (45.1, 0.05)


@pytest.fixture(scope="module")
def sky() -> Sky:
    """300 objects within 2 degrees of the north pole, and one that moved from one pixel of order 3 to another."""
    still = scattered(299, seed=5, radius_deg=2.0)
    (ra, dec), (founded_ra, founded_dec) = NOW, FOUNDED
    return Sky(
        np.append(still.ra, founded_ra), np.append(still.dec, founded_dec), np.append(still.ra, ra),
        np.append(still.dec, dec), np.append(still.points, 4),
    )  # fmt: skip


@pytest.fixture(scope="module")
def db(sky: Sky, tmp_path_factory: pytest.TempPathFactory) -> Database:
    return build(tmp_path_factory.mktemp("release") / "t.sky", sky, files=2)


@pytest.fixture(scope="module")
def out(db: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("release") / "dr1"
    release(db, path, workers=1, rows_per_partition=60, margin_arcsec=600.0)
    return path


def test_what_a_killed_release_left_is_removed_by_the_next_of_that_name(db: Database, tmp_path: Path) -> None:
    left = [tmp_path / f".dr1.{'0' * 32}.tmp", tmp_path / f".dr10.{'0' * 32}.tmp"]
    for folder in left:
        folder.mkdir()
        (folder / "part").write_text("rows")
    release(db, tmp_path / "dr1", workers=1, margin_arcsec=0.0)
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "dr1", left[1]])


def leaves(catalog: Path) -> dict[tuple[int, int], pa.Table]:
    """The rows of every partition of a catalog."""
    found = {}
    for path in sorted(catalog.glob("dataset/Norder=*/Dir=*/Npix=*.parquet")):
        norder, _, npix = (int(part.split("=")[1].removesuffix(".parquet")) for part in path.parts[-3:])
        found[norder, npix] = pq.ParquetFile(path).read()
    return found


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_every_object_is_released_once_in_the_partition_of_its_position(sky: Sky, out: Path) -> None:
    seen: list[int] = []
    for (norder, npix), rows in leaves(out / "dr1").items():
        index = rows["_healpix_29"].to_numpy()
        low, high = cell_range(norder, npix)
        assert ((index >= low) & (index < high)).all()
        assert (np.diff(index) >= 0).all()
        assert (index == pixel_of(rows["ra"].to_numpy(), rows["dec"].to_numpy())).all()
        assert rows.num_rows <= 60
        seen += rows["object_id"].to_pylist()
    assert sorted(seen) == sorted(sky.object_id.tolist())


def test_object_that_moved_over_a_border_is_released_where_it_is_now(sky: Sky, out: Path) -> None:
    moved = sky.object_id[-1]
    (there,) = [p for p, rows in leaves(out / "dr1").items() if moved in rows["object_id"].to_pylist()]
    low, high = cell_range(*there)
    assert low <= int(pixel_of(*NOW)) < high
    assert not low <= int(moved) < high
    (row,) = [r for r in leaves(out / "dr1")[there].to_pylist() if r["object_id"] == moved]
    assert len(row["lightcurve"]["mjd"]) == 4


def test_columns_are_those_of_the_database(sky: Sky, out: Path) -> None:
    rows = {r["object_id"]: r for table in leaves(out / "dr1").values() for r in table.to_pylist()}
    for i, object_id in enumerate(sky.object_id.tolist()):
        assert (rows[object_id]["ra"], rows[object_id]["dec"], rows[object_id]["flags"]) == (sky.ra[i], sky.dec[i], i)
        assert rows[object_id]["pm_ra"] is None
        for number, (prefix, code) in enumerate([("g", 11), ("r_stack", 12), ("TYCHO_B", 21)]):
            mag = np.float32(15 + i + code / 100) if number < i % 4 else None
            assert rows[object_id][f"{prefix}_mag"] == mag
            assert rows[object_id][f"{prefix}_n_used"] == (i if number < i % 4 else None)


def test_light_curves_are_the_measurements_in_order_of_time(sky: Sky, out: Path) -> None:
    rows = {r["object_id"]: r["lightcurve"] for table in leaves(out / "dr1").values() for r in table.to_pylist()}
    ours, names = sky.measurements_cal(), {code: band for band, _, code in BANDS}
    photcodes = {row.code: row.name for row in CODES}
    for object_id in sky.object_id.tolist():
        expected = ours.filter(pa.array(ours["object_id"].to_numpy() == object_id)).sort_by("mjd").to_pylist()
        curve = rows[object_id]
        for name in ("mjd", "image_id", "det_id", "ra", "dec", "flux"):
            assert curve[name] == [row[name] for row in expected]
        assert curve["mag"] == [None if row["mag"] is None else float(np.float32(row["mag"])) for row in expected]
        assert curve["band"] == [names[row["code"]] for row in expected]
        assert curve["photcode"] == [photcodes[row["code"]] for row in expected]


def test_flags_of_light_curves_say_what_the_means_use(survey: Database, tmp_path: Path) -> None:
    release(survey, tmp_path / "dr", workers=1, rows_per_partition=40)
    rows = [row for table in leaves(tmp_path / "dr" / "dr").values() for row in table.to_pylist()]
    with connect(survey) as con:
        expected = con.lightcurve([row["object_id"] for row in rows], derive_flags=True).arrow()
    flags: dict[int, list[int]] = {}
    for object_id, value in zip(expected["object_id"].to_pylist(), expected["db_flags"].to_pylist(), strict=True):
        flags.setdefault(object_id, []).append(value)
    assert {row["object_id"]: row["lightcurve"]["db_flags"] for row in rows} == flags
    used = sum(value & MeasurementFlags.PHOTOM_PSF > 0 for values in flags.values() for value in values)
    assert used == sum(row[name] or 0 for row in rows for name in row if name.endswith("_n_used")) > 1000


def test_margins_hold_every_object_within_them(sky: Sky, out: Path) -> None:
    partition = {i: p for p, rows in leaves(out / "dr1").items() for i in rows["object_id"].to_pylist()}
    margins = {p: set(rows["object_id"].to_pylist()) for p, rows in leaves(out / "dr1_margin").items()}
    ids = sky.object_id.tolist()
    apart = separation_arcsec(sky.ra[:, None], sky.dec[:, None], sky.ra[None, :], sky.dec[None, :])
    near = [(ids[a], ids[b]) for a, b in np.argwhere(apart <= 600)]
    pairs = [(one, partition[other]) for one, other in near if partition[one] != partition[other]]
    assert len(pairs) > 100
    assert [(one, pixel) for one, pixel in pairs if one not in margins.get(pixel, set())] == []
    assert not any(partition[one] == pixel for pixel, held in margins.items() for one in held)


def test_margin_rows_are_those_of_the_catalog(out: Path) -> None:
    rows = {r["object_id"]: r for table in leaves(out / "dr1").values() for r in table.to_pylist()}
    margins = leaves(out / "dr1_margin")
    assert all(r == rows[r["object_id"]] for table in margins.values() for r in table.to_pylist())
    assert all((np.diff(table["_healpix_29"].to_numpy()) >= 0).all() for table in margins.values())


def test_release_does_not_depend_on_workers_cells_or_files(sky: Sky, db: Database, out: Path, tmp_path: Path) -> None:
    release(db, tmp_path / "dr1", workers=2, rows_per_partition=60, margin_arcsec=600.0)
    assert bytes_of(tmp_path / "dr1") == bytes_of(out)
    other = build(tmp_path / "other.sky", sky, order=5)
    release(other, tmp_path / "dr2", name="dr1", workers=1, rows_per_partition=60, margin_arcsec=600.0)
    for name in ("dr1", "dr1_margin"):
        ours, theirs = leaves(out / name), leaves(tmp_path / "dr2" / name)
        assert ours.keys() == theirs.keys()
        assert all(ours[pixel].equals(theirs[pixel]) for pixel in ours)


def test_release_of_a_tag_stays_the_same_when_the_database_goes_on(sky: Sky, tmp_path: Path) -> None:
    db = build(tmp_path / "t.sky", Sky.at([10.0, 200.0], [20.0, -80.0]))
    set_tag(db.root, "DR1")
    release(db, tmp_path / "a", name="dr", at="DR1", workers=1)
    from skydb.store.commit import Changes

    old = tuple(f.name for f in db.snapshot().files("objects"))
    db.commit(Changes("test", "test", 1, replaces=old))
    release(db, tmp_path / "b", name="dr", at="DR1", workers=1)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    with pytest.raises(UsageError, match="no objects to release"):
        release(db, tmp_path / "c", workers=1)


def test_provenance_names_database_snapshot_calibration_and_version(db: Database, out: Path) -> None:
    for path in ("collection.properties", "dr1/hats.properties", "dr1_margin/hats.properties"):
        said = dict(line.split("=", 1) for line in (out / path).read_text().splitlines() if not line.startswith("#"))
        assert said["skydb_database_id"] == db.id
        assert said["skydb_snapshot"] == "1"
        assert said["skydb_calibration_id"] == "0"
        assert said["hats_builder"] == f"skydb {said['skydb_version']}"
        assert said["hats_creation_date"].endswith("UTC")


def test_empty_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no objects to release"):
        release(database.create(tmp_path / "t.sky"), tmp_path / "dr", workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["t.sky"]


def test_means_that_wait_for_a_refresh_are_not_released(tmp_path: Path) -> None:
    db = build(tmp_path / "t.sky", Sky.at([10.0], [20.0]), stale=True)
    with pytest.raises(UsageError, match="skydb refresh"):
        release(db, tmp_path / "dr", workers=1)


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"as_": "hat"}, "did you mean 'hats'"), ({"margin_arcsec": -1}, "margin"), ({"margin_arcsec": np.nan}, "margin"),
     ({"margin_arcsec": 1e6}, "margin"), ({"rows_per_partition": 0}, "at least 1"), ({"name": "a b"}, "cannot name"),
     ({"at": 99}, "no snapshot 99"), ({"light_curve_columns": ["magg"]}, "did you mean 'mag'"),
     ({"workers": 0}, "workers")],
)  # fmt: skip
def test_call_that_cannot_work_is_refused_and_writes_nothing(
    db: Database, tmp_path: Path, asked: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        release(db, tmp_path / "dr", **{"workers": 1, **asked})  # type: ignore[arg-type]  # one wrong argument each
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(db: Database, tmp_path: Path) -> None:
    (tmp_path / "dr").mkdir()
    with pytest.raises(UsageError, match="already exists"):
        release(db, tmp_path / "dr", workers=1)


def test_failure_leaves_nothing_behind(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = PartitionTask.__call__, []

    def fail_at_third(self: PartitionTask, job: object) -> object:
        calls.append(job)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return whole(self, job)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(PartitionTask, "__call__", fail_at_third)
    with pytest.raises(UsageError, match="No space left"):
        release(db, tmp_path / "dr", workers=1, rows_per_partition=40)
    assert list(tmp_path.iterdir()) == []


def test_measurement_without_object_is_reported(tmp_path: Path) -> None:
    sky = Sky.at([10.0, 10.001, 200.0], [20.0, 20.0, 5.0])
    db = build(tmp_path / "t.sky", sky)
    (cell,) = [c for c in db.snapshot().cells() if c.lo <= sky.object_id[0] < c.hi]
    (old,) = db.snapshot().files("objects", cell)
    kept = store_rows(db.root, db.id, sky.objects().slice(0, 1), "objects", cell=cell.key)
    db.commit(Changes("test", "test", 1, adds=(kept,), replaces=(old.name,)))
    with pytest.raises(DataError, match=f"object {sky.object_id[1]}"):
        release(db, tmp_path / "dr", workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["t.sky"]


@pytest.mark.parametrize("points", [(3, 0), (0, 0)])
def test_cell_whose_objects_have_no_measurements_is_released(points: tuple[int, int], tmp_path: Path) -> None:
    """Such a cell has no files of measurements and means, but seeds and objects."""
    sky = replace(Sky.at([10.0, 20.0], [5.0, 5.0]), points=np.array(points))
    db = build(tmp_path / "t.sky", sky)
    every = [f for table in ("measurements", "measurements_cal", "object_bands") for f in db.snapshot().files(table)]
    db.commit(Changes("test", "test", 1, replaces=tuple(f.name for f in every if not f.rows)))
    release(db, tmp_path / "dr", workers=1)
    (rows,) = leaves(tmp_path / "dr" / "dr").values()
    found = {row["object_id"]: len(row["lightcurve"]["mjd"]) for row in rows.to_pylist()}
    assert found == dict(zip(sky.object_id.tolist(), points, strict=True))


def test_command_writes_and_reports(db: Database, tmp_path: Path) -> None:
    call = ["release", str(db.root), str(tmp_path / "dr"), "--margin", "2arcmin", "--name", "north", "--workers", "1",
            "--partition-rows", "50", "--light-curve", "mjd, mag", "--json"]  # fmt: skip
    run = CliRunner().invoke(cli, call)
    assert run.exit_code == 0, run.output
    said = json.loads(run.stdout)
    assert (said["name"], said["objects"], said["margin_arcsec"], said["snapshot"]) == ("north", 300, 120.0, 1)
    schema = pq.read_schema(tmp_path / "dr" / "north" / "dataset" / "_common_metadata")
    assert [f.name for f in schema.field("lightcurve").type] == ["mjd", "mag"]
    assert said["bytes"] == sum(len(b) for b in bytes_of(tmp_path / "dr").values())

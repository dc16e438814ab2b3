"""Write the record and the database of this version: `python -m tests.golden.make`, before its release, never after.

Everything goes through the command line, in a folder of its own, so that no path of the machine gets in.
"""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import skydb
from skydb.schema.model import SCHEMA_VERSION, Column, Table
from skydb.schema.tables import TABLES
from skydb.store.catalog import FORMAT_VERSION
from skydb.tools.cli import main
from tests.ingest.skies import PHOTCODES, write_night

GOLDEN = Path(__file__).parent
DATABASE = f"format-{FORMAT_VERSION}.sky"

QUESTIONS = {
    "tables": ["SHOW TABLES"],
    "objects": ["SELECT object_id, ra, dec, n_measurements, flags FROM objects ORDER BY object_id"],
    "means": ["SELECT object_id, band, source, mag, mag_err, n_used FROM object_bands ORDER BY ALL"],
    "measurements": [
        "SELECT object_id, image_id, det_id, photcode, band, mjd, mag, mcal, inst_mag, ra_raw, ra FROM measurements"
        " ORDER BY ALL"
    ],
    "images": ["SELECT image_id, name, band, zero_point, mcal, mcal_source, n_measurements FROM images ORDER BY ALL"],
    "exposures": ["SELECT exposure_id, name, night FROM exposures ORDER BY ALL"],
    "log": ["SELECT file, n_in, n_matched, n_new, n_rejected, n_deleted, format FROM ingest_log ORDER BY ALL"],
    "snapshots": ["SELECT snapshot, kind, command, tags FROM snapshots ORDER BY snapshot"],
    "starpar": ["SELECT object_id, e_bv, feh FROM starpar ORDER BY object_id"],
    "tagged": ["SELECT count(*) AS n, sum(mag) AS mag FROM measurements", "DR1"],
}
"""Queries that the golden database answers, each with the tag to ask, if any."""


def record(tables: dict[str, Table]) -> dict[str, Any]:
    """Return what a version declares of the tables that lie in Parquet files, as JSON has it."""
    stored = {name: asdict(t) for name, t in tables.items() if t.kind != "catalog"}
    for declared in stored.values():
        del declared["_by_name"]
    return stored


def recorded(path: Path) -> dict[str, Table]:
    """Return the tables of a record."""
    stored = json.loads(path.read_text())
    for declared in stored.values():
        declared["columns"] = tuple(
            Column(**{**c, "widened": tuple(map(tuple, c["widened"]))}) for c in declared["columns"]
        )
        declared["sort"] = tuple(declared["sort"])
    return {name: Table(**declared) for name, declared in stored.items()}


def record_path(version: int) -> Path:
    """Return where the record of a schema version lies."""
    return GOLDEN / f"schema-{version}.json"


def archive_path(version: int) -> Path:
    """Return where the database of a format lies, packed: most of its bytes are footers, which pack well."""
    return GOLDEN / f"format-{version}.tar.xz"


def answers_path(version: int) -> Path:
    """Return where the answers of the database of a format lie."""
    return GOLDEN / f"format-{version}.json"


def write_record() -> None:
    """Write the record of this schema version, a column a line."""
    lines = []
    for name, declared in record(TABLES).items():
        columns = ",\n  ".join(json.dumps(c, ensure_ascii=False) for c in declared.pop("columns"))
        head = json.dumps(declared, ensure_ascii=False)[:-1]
        lines.append(f'{json.dumps(name)}: {head}, "columns": [\n  {columns}]}}')
    record_path(SCHEMA_VERSION).write_text("{" + ",\n".join(lines) + "}\n")


def answers(path: Path) -> dict[str, Any]:
    """Return what a database answers to the questions, and a cone and a light curve of it."""
    found: dict[str, Any] = {}
    for name, (query, *tag) in QUESTIONS.items():
        with skydb.connect(path, at=tag[0] if tag else None) as con:
            found[name] = con.sql(query).arrow().to_pylist()
    first = max(found["objects"], key=lambda row: row["n_measurements"])
    with skydb.connect(path) as con:
        curve = con.lightcurve(first["object_id"]).arrow().to_pylist()
        near = con.cone(first["ra"], first["dec"], "5arcmin", table="measurements").arrow()
    return found | {"lightcurve": curve, "cone": sorted(near["det_id"].to_pylist())}


def run(*words: str) -> None:
    """Run a command of skydb."""
    if main([*words, "--json"]):
        raise SystemExit(f"skydb {' '.join(words)} failed")


def write_database() -> None:
    """Write the database of this format in the current folder: nights, tag, calibration, rows of a table, deletion."""
    Path("photcodes.dat").write_text(PHOTCODES)
    nights = [write_night(Path(f"night{n}"), exposures=3, stars=25, ra=45.0, dec=30.0, seed=n) for n in (1, 2)]
    run("create", DATABASE)
    run("photcodes", DATABASE, "--import", "photcodes.dat")
    run("addstar", DATABASE, *map(str, nights[0]), "--workers", "1")
    run("tag", DATABASE, "DR1")
    run("addstar", DATABASE, *map(str, nights[1]), "--workers", "1")
    run("relcal", DATABASE, "--exclude-photflags", "0", "--allow-poor", "--max-mag-err", "1", "--workers", "1")
    run("table", DATABASE, "--declare", "starpar")
    with skydb.connect(DATABASE) as con:
        ids = con.sql("SELECT object_id FROM objects ORDER BY object_id LIMIT 9").arrow()["object_id"]
        image = con.sql("SELECT image_id FROM images ORDER BY image_id LIMIT 1").arrow()["image_id"][0].as_py()
    rows = pa.table({"object_id": ids, "e_bv": [0.01 * i for i in range(9)], "feh": [-0.1 * i for i in range(9)]})
    pq.write_table(rows, "starpar.parquet")
    run("addrows", DATABASE, "starpar", "starpar.parquet", "--workers", "1")
    run("compact", DATABASE, "--all", "--workers", "1")
    run("delete", DATABASE, "--image", str(image), "--workers", "1")


def write_all() -> None:
    """Write records, database and answers of this version."""
    write_record()
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            write_database()
            found = answers(Path(DATABASE))
        finally:
            os.chdir(here)
        with tarfile.open(archive_path(FORMAT_VERSION), "w:xz") as archive:
            archive.add(Path(folder) / DATABASE, DATABASE, filter=_without_owner)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(answer)}" for name, answer in found.items())
    answers_path(FORMAT_VERSION).write_text("{" + lines + "}\n")


def _without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, "", ""
    return entry


if __name__ == "__main__":
    write_all()

"""Questions to the database of the survey: cones, light curves, scans, a join."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.query.connection import Connection, connect
from skydb.sky.regions import Cone

from . import duckdb_peer
from .case import OURS, Case
from .scene import Scene, random_numbers

GROUP = "queries"
NAMES = (
    "cone 1'", "cone 10'", "cone 1°", "cold cone 1'", "light curve", "1000 curves, field", "1000 curves, sky", "scan",
    "join",
)  # fmt: skip
DUCKDB = "DuckDB, tuned"
CONES, WIDE_CONES, CURVES = 20, 5, 20

BY_BAND = "SELECT band, count(*) AS n, avg(mag) AS mag FROM measurements GROUP BY band ORDER BY band"
JOINED = (
    "SELECT m.band, count(*) AS n, avg(m.mag) AS mag, avg(i.exptime) AS exptime"
    " FROM objects o JOIN measurements m ON o.object_id = m.object_id JOIN images i ON m.image_id = i.image_id"
    " WHERE o.n_measurements >= 5 GROUP BY m.band ORDER BY m.band"
)

Position = tuple[float, float]

Seen = tuple[int, int, float]
"""What tells one set of measurements from another."""

Asked = Callable[[str], pa.Table]
"""Gives what DuckDB answers to a query."""


def cases(scene: Scene) -> Iterator[Case]:
    """Yield the cases; what they ask is prepared when they are made."""
    ours, asked = connect(scene.db), partial(duckdb_peer.answer, duckdb_peer.opened(scene))
    for name, radius, goal in (("1'", 1 / 60, "6 ms"), ("10'", 10 / 60, "30 ms"), ("1°", 1.0, "200 ms")):
        cones = [Cone(*p, radius) for p in positions(ours, f"cone {name}", CONES if radius < 1 else WIDE_CONES)]
        systems = {OURS: partial(_cones, ours, cones), DUCKDB: partial(_their_cones, asked, cones)}
        yield Case(f"cone {name}", GROUP, f"measurements within {name} of an object", systems, goal, calls=len(cones))
    yield _cold_cone(scene, Cone(*positions(ours, "cold", 1)[0], 1 / 60))
    single = [[number] for number in object_ids(ours, "curve", CURVES)]
    yield _curves(ours, asked, ("light curve", "measurements of one object, by id", "3 ms"), single)
    field, sky = neighbours(ours, 1_000), object_ids(ours, "curves", 1_000)
    yield _curves(ours, asked, ("1000 curves, field", "measurements of 1,000 neighbours", "30 ms"), [field])
    yield _curves(ours, asked, ("1000 curves, sky", "measurements of 1,000 objects anywhere", "30 ms"), [sky])
    for name, query in (("scan", BY_BAND), ("join", JOINED)):
        job = {"scan": "count and mean magnitude by band", "join": "object x measurement x image"}[name]
        scans = {OURS: partial(_query, ours, query), DUCKDB: partial(_their_query, asked, query)}
        yield Case(name, GROUP, job, scans, goal="1.2 x")


def _curves(ours: Connection, asked: Asked, labels: tuple[str, str, str], calls: Sequence[Sequence[int]]) -> Case:
    """Return a case that asks for the light curves of some objects at a time."""
    name, job, goal = labels
    systems = {OURS: partial(_our_curves, ours, calls), DUCKDB: partial(_their_curves, asked, calls)}
    return Case(name, GROUP, job, systems, goal, calls=len(calls))


def _cones(con: Connection, cones: Sequence[Cone]) -> list[Seen]:
    return [_seen(con.within(cone, table="measurements").arrow()) for cone in cones]


def _their_cones(asked: Asked, cones: Sequence[Cone]) -> list[Seen]:
    return [_seen(asked(duckdb_peer.cone_query(cone))) for cone in cones]


def _our_curves(con: Connection, calls: Sequence[Sequence[int]]) -> list[Seen]:
    return [_seen(con.lightcurve(ids).arrow()) for ids in calls]


def _their_curves(asked: Asked, calls: Sequence[Sequence[int]]) -> list[Seen]:
    return [_seen(asked(duckdb_peer.light_curve_query(ids))) for ids in calls]


def _query(con: Connection, query: str) -> list[tuple[object, ...]]:
    return _rounded(con.sql(query).arrow())


def _their_query(asked: Asked, query: str) -> list[tuple[object, ...]]:
    return _rounded(asked(query))


def positions(con: Connection, name: str, count: int) -> list[Position]:
    """Return positions of random objects: most lie where the sky is dense."""
    ids = ", ".join(map(str, object_ids(con, name, count)))
    rows = con.sql(f"SELECT ra, dec FROM objects WHERE object_id IN ({ids}) ORDER BY object_id").arrow()
    return [(row["ra"], row["dec"]) for row in rows.to_pylist()]


def object_ids(con: Connection, name: str, count: int) -> list[int]:
    """Return random objects, sorted."""
    ids = np.sort(con.sql("SELECT object_id FROM objects").arrow().column(0).to_numpy())
    return sorted(random_numbers(name).choice(ids, min(count, len(ids)), replace=False).tolist())


def neighbours(con: Connection, count: int) -> list[int]:
    """Return so many objects that follow one another on the sky."""
    ids = np.sort(con.sql("SELECT object_id FROM objects").arrow().column(0).to_numpy())
    first = int(random_numbers("field").integers(0, max(1, len(ids) - count)))
    return [int(i) for i in ids[first : first + count]]


def _seen(rows: pa.Table) -> Seen:
    """Return what tells one set of measurements from another: how many, of which objects, how bright."""
    if not rows.num_rows:
        return 0, 0, 0.0
    ids = rows.column("object_id").to_numpy()
    brightness = pc.sum(pc.cast(rows.column("mag"), pa.float64())).as_py()
    return rows.num_rows, int(np.bitwise_xor.reduce(ids)), round(brightness or 0.0, 3)


def _rounded(rows: pa.Table) -> list[tuple[object, ...]]:
    """Return rows with as many digits as sums in another order agree on."""
    return [tuple(round(v, 4) if isinstance(v, float) else v for v in row.values()) for row in rows.to_pylist()]


def _cold_cone(scene: Scene, cone: Cone) -> Case:
    copy = duckdb_peer.copies(scene) / "measurements.parquet"
    query = duckdb_peer.cone_query(cone, f"read_parquet('{copy}')")
    theirs = f"import duckdb; print(len(duckdb.connect().sql({query!r}).to_arrow_table()))"
    position = [repr(cone.ra), repr(cone.dec), f"{cone.radius_deg!r}deg"]
    command = ["cone", str(scene.db.root), *position, "--table", "measurements", "--json"]
    ours = f"import sys; from skydb.tools.cli import main; sys.exit(main({command!r}))"
    systems = {OURS: partial(_rows_of_json, ours), DUCKDB: partial(_number, theirs)}
    return Case("cold cone 1'", GROUP, "the same in a new process", systems, goal="0.6 s", repeat=7)


def _rows_of_json(program: str) -> int:
    return len(json.loads(_output(program))["rows"])


def _number(program: str) -> int:
    return int(_output(program))


def _output(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

"""The analysts' door: one snapshot, asked by SQL, by position, by object."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from os import PathLike, fspath
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from skydb import database
from skydb.arguments import at_least_one
from skydb.database import Database
from skydb.errors import SkydbWarning, UsageError
from skydb.executors import executor_of
from skydb.kernels.distinct import distinct, is_among
from skydb.parallel.executor import Workers
from skydb.schema.model import Column
from skydb.sky.regions import Region
from skydb.store.aliases import current_ids
from skydb.store.arrays import numbers_of
from skydb.store.layout import given_path
from skydb.store.published import is_read_as_published, published_snapshot
from skydb.store.roots import is_url
from skydb.store.snapshot import Snapshot

from .arguments import (
    AngleLike,
    Position,
    columns_named,
    cone_of,
    object_ids,
    require_text,
    sky_table_named,
    snapshot_named,
)
from .atlas import Atlas, CellPart
from .described import column_facts, description, facts_of_schema, table_facts
from .failures import blame, clear_errors
from .gathering import GatheredRows, Gathering, gather
from .names import codes_of, with_names
from .result_names import declarations
from .results import Result
from .sources import CellRows, CellStream, FileStream
from .user_tables import arrow_of, require_free_name
from .views import OWN, Views, views_of

if TYPE_CHECKING:
    from .parse import ParsedQuery
    from .relations import Scan
    from .session import Session

STANDARD = {
    "objects": tuple(c.name for c in OWN.columns("objects")),
    "measurements": (
        "object_id", "mjd", "photcode", "band", "mag", "mag_err", "flux", "flux_err", "ap_mag", "kron_mag", "ra", "dec",
        "airmass", "exptime", "mcal", "mflat", "image_id", "det_id", "db_flags",
    ),
}  # fmt: skip
"""Standard columns of cones and light curves; those of measurements all lie in the calibrated file."""


class StaleWarning(SkydbWarning):
    """Rows that a query read wait for `skydb refresh`."""


def connect(
    db: Database | str | PathLike[str], *, at: int | str | None = None, memory_limit: str | None = None,
    threads: int | None = None, workers: Workers = None, cluster: object = None, gather_limit: int | None = None,
) -> Connection:  # fmt: skip
    """Open a snapshot of a database for questions.

    Parameters
    ----------
    db
        The database, or its path or URL (s3://, http:// …).
    at
        Number or tag of the snapshot; None: the newest. The connection sees this one, whatever is committed later. A
        database at a URL is asked by a tag.
    memory_limit
        What DuckDB may use at most, such as "2GB"; it spills to disk beyond.
    threads
        Threads of DuckDB; None: one per core.
    workers, cluster
        Who reads the cells: so many local worker processes, or an executor; or the workers of a Dask cluster, by the
        address of its scheduler or a `distributed.Client`, each those of its host. They send the rows that a question
        needs, and the rest of it is done here. None of both: this process reads.
    gather_limit : bytes
        What they may send for one use of a table; None: what the temporary folder, where it waits, has room for.

    Raises
    ------
    UsageError
        No such database, snapshot or tag; workers and a cluster; no Dask here, or no scheduler there.
    DataError, BusyError
        The catalog is damaged, or cannot be had.

    Examples
    --------
    ::

        with skydb.connect("survey.sky", at="DR1") as con:
            print(con.sql("SELECT band, count(*) AS n FROM measurements GROUP BY band"))
        skydb.connect("https://archive.example/survey.sky", at="DR1")
        skydb.connect("survey.sky", cluster="tcp://10.0.0.1:8786")
    """
    if not isinstance(db, Database | str | PathLike):
        raise UsageError(f"a {type(db).__name__} is no database", "connect", "give its path, or an open one")
    snapshot, gathering = _snapshot_of(db, snapshot_named(at)), None
    if workers is not None or cluster is not None:
        limit = None if gather_limit is None else at_least_one(gather_limit, "gather_limit")
        gathering = Gathering(executor_of(snapshot, workers, cluster), limit)
    return Connection(snapshot, memory_limit=memory_limit, threads=threads, workers=gathering)


def _snapshot_of(db: Database | str | PathLike[str], at: int | str | None) -> Snapshot:
    """Return the snapshot to ask, from the catalog, or from a published copy where that may not be written."""
    if isinstance(db, Database):
        return db.snapshot(at)
    if is_url(db):
        return published_snapshot(fspath(db).rstrip("/"), at)
    root = given_path(db)
    return published_snapshot(str(root), at) if is_read_as_published(root, at) else database.open(db).snapshot(at)


class Connection:
    """Questions to one snapshot; close it when done, or use it in a `with` block."""

    def __init__(
        self, snapshot: Snapshot, *, memory_limit: str | None = None, threads: int | None = None,
        workers: Gathering | None = None,
    ) -> None:  # fmt: skip
        self.snapshot = snapshot
        self._memory_limit, self._threads, self._workers = memory_limit, threads, workers
        self._tables: dict[str, pa.Table] = {}
        self._session: Session | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self._closed else ""
        return f"<skydb connection to {self.snapshot.home}, snapshot {self.snapshot.id}{state}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        todo = "call skydb.connect in each process; answers can be pickled"
        raise UsageError("a connection cannot be pickled", self.snapshot.home, todo)

    def close(self) -> None:
        """Close the connection; results that were not fetched are lost."""
        self._closed = True
        if self._session is not None:
            self._session.close()
            self._session = None
        if self._workers is not None:
            self._workers.close()

    def register(self, name: str, table: object) -> None:
        """Make an Arrow, pandas or astropy table known to SQL under a name, in the place of one of that name before.

        Raises
        ------
        UsageError
            The name is that of a table of the database, or no plain identifier; `table` is no table.

        Examples
        --------
        ::

            con.register("mine", Table.read("targets.fits"))
            con.sql("SELECT o.*, m.note FROM objects o JOIN mine m USING (object_id)").table()
        """
        name = require_text(name, "register", 'give a name, then the table: register("mine", table)')
        require_free_name(name, self._views)
        self._tables[name.lower()] = arrow_of(table)

    def tables(self) -> Result:
        """Return the tables that SQL knows, registered ones too: name, number of columns, DVO name, meaning.

        `con.sql("SHOW TABLES")` is the same.
        """
        return Result(table_facts(self._views, self._tables), {})

    def columns(self, table: str) -> Result:
        """Return the columns of a table: name, type, unit, meaning, DVO name, UCD.

        `con.sql("DESCRIBE objects")` is the same.

        Parameters
        ----------
        table
            Its name, or DVO's, in any case.

        Raises
        ------
        UsageError
            No such table.

        Examples
        --------
        ::

            units = {c["name"]: c["unit"] for c in con.columns("objects")}
        """
        name = require_text(table, "columns", 'give the name of a table, such as "objects"; see con.tables()')
        return Result(column_facts(name, self._views, self._tables), {})

    def sql(self, query: str) -> Result:
        """Answer one SELECT in DuckDB's dialect over the tables of the snapshot; or SHOW TABLES, or DESCRIBE.

        Tables and columns are those of the tables reference, or DVO's names; `in_cone`, `in_box`, `in_polygon` and
        `separation` work on degrees. Conditions on position and object_id decide which cells are read.
        `DESCRIBE name` lists the columns of a table, `DESCRIBE SELECT …` those of an answer.

        Raises
        ------
        UsageError
            Not one SELECT, an unknown table, column or function, or rows that fail while they are computed.
        DataError
            A stored file is missing or damaged.

        Examples
        --------
        ::

            con.sql("SELECT object_id, ra, dec FROM objects WHERE in_cone(ra, dec, 10.68, 41.27, 5/60)").table()
        """
        from .relations import relation_of

        facts = self._facts(query)
        if facts is not None:
            return Result(facts, {})
        parsed, scans = self._plan(query)
        self._warn(sum(scan.stale_cells for scan in scans))
        relations = {scan.relation: relation_of(self.snapshot, scan, self._workers) for scan in scans}
        streams = [stream for relation in relations.values() for stream in relation.streams.values()]
        failures = [stream.failures for stream in streams if isinstance(stream, CellStream | FileStream)]
        read_here = [file for scan in scans if self._workers is None or scan.parts is None for file in scan.files]
        check = partial(blame, self.snapshot, read_here, failures)
        with clear_errors(check):
            rows = self._opened().answer(parsed.sql, relations, self._tables)
        prepare = partial(gather, [stream for stream in streams if isinstance(stream, GatheredRows)])
        return Result(rows, declarations(rows.columns, parsed.declared), check=check, prepare=prepare)

    def explain(self, query: str) -> Result:
        """Say, without running it, what a query would read: for every use of a table its cells, files, bytes, rows.

        `rows` are those of the files; within a cell that is not read whole, fewer are. Where workers read the cells,
        also the conditions that they decide, and about how many bytes they send here if these exclude nothing.

        Raises
        ------
        UsageError
            As for `sql`.

        Examples
        --------
        ::

            print(con.explain("SELECT mag FROM measurements WHERE in_box(ra, dec, 350, 10, -5, 5)"))
        """
        from .explain import explained

        return Result(explained(self.snapshot, self._plan(query)[1], gathered=self._workers is not None))

    def cone(
        self, ra: AngleLike | Position, dec: AngleLike | None = None, radius: AngleLike | None = None, *,
        table: str = "objects", columns: str | Iterable[str] | None = None,
    ) -> Result:  # fmt: skip
        """Return the objects, or measurements, within a radius of a position, complete.

        Parameters
        ----------
        ra, dec
            The position, ICRS: degrees, texts as on the command line ("00:42:44"), or angles of astropy. Right
            ascensions are taken modulo 360 degrees. Or one SkyCoord, of any frame, or one text of both, without `dec`.
        radius
            0 to 180: degrees, a text ("5arcmin"), or an angle of astropy. 0 finds what lies exactly there.
        table
            "objects" or "measurements".
        columns
            Their names, "*" for all; None: the standard ones, which of measurements leave out the raw values.

        Raises
        ------
        UsageError
            A position not on the sky, or several; another radius, another table, or an unknown column.

        Examples
        --------
        ::

            con.cone(10.68, 41.27, 0.1)
            con.cone("00:42:44 +41:16:09", "5arcmin", table="measurements", columns=["mjd", "band", "mag"])
            con.cone(SkyCoord.from_name("M31"), radius=5 * u.arcmin)
        """
        return self.within(cone_of(ra, dec, radius), table=table, columns=columns)

    def within(
        self, region: Region, *, table: str = "objects", columns: str | Iterable[str] | None = None
    ) -> Result:
        """Return the objects, or measurements, inside a region of `skydb.sky.regions`; see `cone`.

        Examples
        --------
        ::

            from skydb.sky.regions import Box
            con.within(Box(350.0, 10.0, -5.0, 5.0), table="measurements")
        """
        if not hasattr(region, "distance"):
            todo = "give a Cone, Box or Polygon of skydb.sky.regions"
            raise UsageError(f"a {type(region).__name__} is no region", "within", todo)
        table = sky_table_named(table, tuple(STANDARD))
        names = columns_named(table, columns, STANDARD[table])
        parts = self._atlas.parts_of_region(region)
        self._warn(sum(part.cell.stale for part in parts) if table == "objects" else 0)
        return self._answer(table, names, self._read(table, [*names, "ra", "dec"], parts, region))

    def lightcurve(
        self, object_id: int | Iterable[int], *, columns: str | Iterable[str] | None = None, derive_flags: bool = False
    ) -> Result:
        """Return the measurements of one object, or of several, by object and time.

        Parameters
        ----------
        object_id
            Whole numbers, also a column of an answer; a float has lost the last digits of an id. One that the object
            had in a database that was merged into this one leads to it.
        columns
            Their names, "*" for all; None: the standard ones, which leave out the raw values.
        derive_flags
            Give `db_flags` the bits that depend on the object's other measurements too: which of them its means use
            (`PHOTOM_PSF`, `USED_OBJ`, …), and which are outliers (`MASKED_PSF`, `POOR_ASTROM`, …). Reads raw files.

        Raises
        ------
        UsageError
            No whole number, an object that does not exist, an unknown column, or `derive_flags` without `db_flags`.

        Examples
        --------
        ::

            con.lightcurve(1423153691549715841).table()
            curve = con.lightcurve(1423153691549715841, derive_flags=True).table()
            curve[curve["db_flags"] & MeasurementFlags.PHOTOM_PSF > 0]       # MeasurementFlags is of skydb.flags
            con.lightcurve(con.cone(10.68, 41.27, "1arcmin").table()["object_id"], columns="object_id, mjd, mag")
        """
        ids = current_ids(self.snapshot, object_ids(object_id))
        names = columns_named("measurements", columns, STANDARD["measurements"])
        if derive_flags and "db_flags" not in names:
            raise UsageError("derive_flags without the column db_flags", "lightcurve", "add db_flags to the columns")
        parts = self._atlas.parts_of_objects(ids)
        derived = _needed_for_flags() if derive_flags else ()
        rows = self._read("measurements", [*names, *_TIME_ORDER, *derived], parts)
        rows = rows.sort_by([(name, "ascending") for name in _TIME_ORDER])
        unknown = distinct(ids[~is_among(ids, distinct(numbers_of(rows.column("object_id"))))])
        if len(unknown):
            which = ", ".join(map(str, unknown[:3].tolist())) + (", …" if len(unknown) > 3 else "")
            raise UsageError(f"no object has the id {which}", self.snapshot.home, "see the table objects")
        return self._answer("measurements", names, self._with_derived_flags(rows, parts) if derive_flags else rows)

    @cached_property
    def _atlas(self) -> Atlas:
        return Atlas(self.snapshot)

    @cached_property
    def _views(self) -> Views:
        return views_of(self.snapshot)

    @cached_property
    def _codes(self) -> pa.Table:
        return codes_of(self.snapshot)

    def _opened(self) -> Session:
        """Return DuckDB behind this connection, which is loaded when it is first needed."""
        from .session import Session

        if self._session is None:
            self._session = Session(self.snapshot, memory_limit=self._memory_limit, threads=self._threads)
        return self._session

    def _facts(self, query: str) -> pa.Table | None:
        """Return the answer to SHOW TABLES and DESCRIBE; None for a query."""
        self._require_open()
        asked = description(require_text(query, "SQL", "give one SELECT"))
        if asked is None:
            return None
        if asked.query is not None:
            answer = self.sql(asked.query)
            return facts_of_schema(answer.schema, answer.declared)
        if asked.table is None:
            return table_facts(self._views, self._tables)
        return column_facts(asked.table, self._views, self._tables)

    def _plan(self, query: str) -> tuple[ParsedQuery, list[Scan]]:
        from .parse import parse
        from .relations import plan

        self._require_open()
        parsed = parse(require_text(query, "SQL", "give one SELECT"), tuple(self._tables), self._views)
        return parsed, plan(self._atlas, parsed)

    def _read(
        self, table: str, columns: Sequence[str], parts: Sequence[CellPart], region: Region | None = None
    ) -> pa.Table:
        """Read the stored columns that give some columns."""
        self._require_open()
        rows = CellRows(self.snapshot, table, tuple(OWN.stored_columns(table, columns)), region)
        return CellStream(rows, tuple(parts), self._workers).read()

    def _with_derived_flags(self, rows: pa.Table, parts: Sequence[CellPart]) -> pa.Table:
        from .derived_flags import SEED_COLUMNS, with_derived_flags

        return with_derived_flags(self.snapshot, rows, self._read("object_seeds", SEED_COLUMNS, parts))

    def _answer(self, table: str, names: list[str], rows: pa.Table) -> Result:
        codes = self._codes if OWN.looked_up(table, names) else None
        return Result(with_names(rows, codes, names), _declared(table, names))

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("the connection is closed", self.snapshot.home, "open another with skydb.connect")

    def _warn(self, stale_cells: int) -> None:
        if stale_cells:
            text = f"{stale_cells} cells wait for `skydb refresh`: means are older than measurements"
            warnings.warn(text, StaleWarning, stacklevel=3)


_TIME_ORDER = ("object_id", "mjd", "image_id", "det_id")


def _needed_for_flags() -> tuple[str, ...]:
    from .derived_flags import NEEDED

    return NEEDED


def _declared(table: str, names: Sequence[str]) -> dict[str, Column]:
    return {c.name: c.column for c in OWN.columns(table) if c.name in names}

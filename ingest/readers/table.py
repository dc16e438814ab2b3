"""The reader of every table that a mapping file describes: detections, reference surveys, lists of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from skydb.errors import DataError, UsageError
from skydb.schema.tables import EXPOSURES, IMAGES, MEASUREMENTS
from skydb.store.files import digest_of

from .interface import CHUNK_ROWS, Chunk, ReadRequest
from .mapping import Mapping
from .mapping_rules import ColumnRule
from .table_columns import BlockColumns, arrays_of, floats
from .table_detections import BlockDetections, NumbersSeen, detections_of
from .table_files import open_table
from .table_images import ImageColumns, Moments, first_rows, image_tables
from .table_photometry import as_kept
from .table_rows import Plan, apply_cuts, earliest_start, exposure_times, moments_of, row_photcodes

NO_DETECTIONS = MEASUREMENTS.select(["image_id", "det_id", "code", "mjd", "ra_raw", "dec_raw"]).empty_table()


class TableReader:
    """Reads a table as a mapping file says; no file is recognised without one."""

    format = "table"

    def recognises(self, path: Path, head: bytes, request: ReadRequest) -> bool:
        """Say whether the request has a mapping: then the file is what the mapping says."""
        return request.mapping is not None

    def read(self, path: Path, request: ReadRequest) -> Iterator[Chunk]:
        """Yield the table in chunks of at most `CHUNK_ROWS` rows.

        A row makes one detection, or with `magnitudes` one per photcode that has a magnitude or flux; a row where
        none has any makes one of the first photcode, with NULL magnitudes, so that its position is kept. Rows that
        are images make no detections: `n_in` then counts those rejected only.

        Raises
        ------
        UsageError
            There is no mapping, or it names a photcode that the request lacks.
        DataError
            The file cannot be read as the mapping says: which column, row or line, and what to do.
        """
        plan = _plan(path, request)
        digest = digest_of(path) if plan.mapping.kind == "reference" and path.is_file() else ""
        rows = max(1, CHUNK_ROWS // len(plan.mapping.bands))  # a row may make as many detections
        file = open_table(path, plan.mapping.file, source_columns(plan.mapping), rows=rows)
        seen = NumbersSeen()
        for block in file.blocks:
            columns = BlockColumns(path, plan.mapping, file.units, block)
            if plan.mapping.kind == "images":
                yield _image_rows(plan, columns)
            else:
                yield _detections(plan, columns, digest, seen)

    def first_start(self, path: Path, request: ReadRequest) -> float:
        """Return the earliest start of the rows, from the columns of time alone; a survey's is its epoch.

        Raises
        ------
        UsageError
            There is no mapping, or it names a photcode that the request lacks.
        DataError
            The file cannot be read as the mapping says.
        """
        plan = _plan(path, request)
        if plan.mapping.kind == "reference":
            return plan.epoch_utc
        file = open_table(path, plan.mapping.file, time_columns(plan.mapping), rows=CHUNK_ROWS)
        starts = [earliest_start(plan, BlockColumns(path, plan.mapping, file.units, block)) for block in file.blocks]
        return float(np.fmin.reduce(starts, initial=np.nan))


def _plan(path: Path, request: ReadRequest) -> Plan:
    if request.mapping is None:
        raise UsageError("a table needs a mapping file", str(path), "give --mapping NAME or --mapping FILE.toml")
    return Plan.of(request.mapping, request)


def source_columns(mapping: Mapping) -> list[str]:
    """Return the columns of the file that a mapping names."""
    rules: list[ColumnRule] = [
        *mapping.measurements.values(), *mapping.images.values(), *mapping.exposures.values(),
        *(rule for band in mapping.magnitudes for rule in band.columns.values()),
        *([mapping.time.exptime] if mapping.time.exptime else []),
    ]  # fmt: skip
    names = [name for rule in rules for name in (rule.column, rule.only_with)]
    names += [name for band in mapping.magnitudes for name in band.only_where]
    names += [mapping.det_id, *(cut.column for cut in mapping.cuts)]
    names += [mapping.photcode.column if mapping.photcode else "", *time_columns(mapping)]
    names += [mapping.difference.column] if mapping.difference else []
    return list(dict.fromkeys(name for name in names if name))


def time_columns(mapping: Mapping) -> list[str]:
    """Return the columns of the file that say when its rows were measured."""
    names = [mapping.time.column, *(band.time for band in mapping.magnitudes)]
    names += [mapping.time.exptime.column] if mapping.time.exptime else []
    names += [mapping.photcode.column] if mapping.time.exptime_by_photcode and mapping.photcode else []
    return list(dict.fromkeys(name for name in names if name))


def _detections(plan: Plan, columns: BlockColumns, digest: str, seen: NumbersSeen) -> Chunk:
    """Return the chunk of a block whose rows are detections, or stars of a reference survey."""
    sources = ImageColumns.of(columns)
    found = detections_of(plan, columns, sources)
    if not len(found.row):
        return _chunk(columns, IMAGES.empty(), EXPOSURES.empty(), NO_DETECTIONS)
    if plan.mapping.kind == "reference":
        image = found.photcode
        images, exposures = _reference_images(plan, columns.path, sources, digest)
    else:
        sources = sources.take(found.row)
        first, image = first_rows(sources, found.moments, found.photcode)
        codes = [plan.photcodes[i] for i in found.photcode[first]]
        images, exposures = image_tables(
            sources.take(first), found.moments.take(first), codes, kind=plan.mapping.image_kind, file=columns.path.name
        )
    detections = _table(plan, found, images, image)
    if plan.mapping.det_id:
        detections = _without_repeated(columns, found, detections, seen)
    return _chunk(columns, images, exposures, detections)


def _without_repeated(
    columns: BlockColumns, found: BlockDetections, detections: pa.Table, seen: NumbersSeen
) -> pa.Table:
    """Return the detections whose image and number are new; rows left with none are rejected."""
    again = seen.repeated(detections.column("image_id").to_numpy(), detections.column("det_id").to_numpy())
    if not again.any():
        return detections
    left = np.zeros(len(columns), dtype=bool)
    left[found.row[~again]] = True
    columns.reject(~left, "duplicate")
    return detections.filter(pa.array(~again))


def _table(plan: Plan, found: BlockDetections, images: pa.Table, image: np.ndarray) -> pa.Table:
    """Return the detections as a table of declared columns, with the ids of their images."""
    numbers = np.array([code.code for code in plan.photcodes], dtype=np.int32)
    content = {
        "image_id": images.column("image_id").combine_chunks().take(pa.array(image)),
        "code": pa.array(numbers[found.photcode]),
        "mjd": pa.array(found.moments.mjd),
        **found.columns,
    }
    schema = MEASUREMENTS.select(name for name in MEASUREMENTS.names if name in content)
    return pa.table([content[name] for name in schema.names], schema=schema)


def _chunk(columns: BlockColumns, images: pa.Table, exposures: pa.Table, detections: pa.Table) -> Chunk:
    reasons, counts = np.unique(columns.reason[~columns.kept].astype(str), return_counts=True)
    rejected = dict(columns.block.refused or {})
    for reason, count in zip(reasons.tolist(), counts.tolist(), strict=True):
        rejected[reason] = rejected.get(reason, 0) + count
    exposures = exposures.take(pa.array(_first_of_each(exposures.column("exposure_id").to_numpy())))
    return Chunk(images, exposures, detections, columns.block.n_in, rejected, columns.n_nulled)


def _first_of_each(ids: np.ndarray) -> np.ndarray:
    return np.sort(np.unique(ids, return_index=True)[1])


def _reference_images(
    plan: Plan, path: Path, sources: ImageColumns, digest: str
) -> tuple[pa.Table, pa.Table]:
    """Return one image per photcode of a reference survey's file: the survey's name and the file's content name it."""
    n = len(plan.photcodes)
    given = sources.take(np.zeros(n, dtype=np.int64))
    own = {"chip": pa.array([digest] * n), "name": pa.array([f"{path.name}[{code.name}]" for code in plan.photcodes])}
    named = ImageColumns({**given.images, **own}, {**given.exposures, "name": pa.array([plan.mapping.name] * n)})
    epoch = Moments(np.full(n, plan.epoch_mjd), np.full(n, plan.epoch_utc), np.full(n, np.nan))
    return image_tables(named, epoch, list(plan.photcodes), kind="reference", file=path.name)


def _image_rows(plan: Plan, columns: BlockColumns) -> Chunk:
    """Return the chunk of a block whose rows are images."""
    apply_cuts(plan, columns)
    photcode = row_photcodes(plan, columns)
    exptime = exposure_times(plan, columns, photcode)
    moments = moments_of(plan, columns, exptime)
    sources = _per_second(plan, ImageColumns.of(columns), exptime)
    columns.reject(np.isnan(moments.mjd), "no_time")
    rows = np.flatnonzero(columns.kept)
    images, exposures = IMAGES.empty(), EXPOSURES.empty()
    if len(rows):
        sources, moments, photcode = sources.take(rows), moments.take(rows), photcode[rows]
        codes = [plan.photcodes[i] for i in photcode]
        images, exposures = image_tables(
            sources, moments, codes, kind=plan.mapping.image_kind, file=columns.path.name
        )
        _refuse_repeated(columns, images, rows)
    chunk = _chunk(columns, images, exposures, NO_DETECTIONS)
    return replace(chunk, n_in=sum(chunk.rejected.values()))


def _per_second(plan: Plan, sources: ImageColumns, exptime: np.ndarray) -> ImageColumns:
    """Return the columns with sky and zero points per second."""
    images = dict(sources.images)
    for name, rule in plan.mapping.images.items():
        if rule.per:
            values = as_kept(name, floats(images[name]), rule, seconds=exptime, zero_point=np.zeros(len(exptime)))
            images[name] = arrays_of(values, IMAGES[name])
    return replace(sources, images=images)


def _refuse_repeated(columns: BlockColumns, images: pa.Table, rows: np.ndarray) -> None:
    ids = images.column("image_id").to_numpy()
    first = _first_of_each(ids)
    if len(first) == len(ids):
        return
    again = int(np.setdiff1d(np.arange(len(ids)), first)[0])
    todo = "map images.chip and exposures.name, which tell images of one time and photcode apart"
    key = images.column("image_key")[again].as_py()
    raise DataError(f"a second row makes the image {key}", columns.place(int(rows[again])), todo)

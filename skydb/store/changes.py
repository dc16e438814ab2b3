"""What one commit would do to a database: value objects, which the verbs fill and `commit.py` carries out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .cells import Cell
from .files import DataFile

WHOLE_SKY = np.array([[0, 12 << 58]], dtype=np.int64)
NOWHERE = np.empty((0, 2), dtype=np.int64)
ROLLBACK = "rollback"
"""The kind of commit after which whatever another writer has read may be no more."""


@dataclass(frozen=True)
class LogEntry:
    """What became of one ingested file: a row of `ingest_log`."""

    file: str
    digest: str
    bytes: int
    format: str
    n_images: int
    n_in: int
    n_matched: int
    n_new: int
    n_rejected: int
    n_measurements: int
    n_nulled: int
    reasons: dict[str, int]
    n_deleted: int = 0
    n_deleted_measurements: int = 0
    n_deleted_images: int = 0


@dataclass(frozen=True)
class ImageKey:
    """An image that a commit brings: its id, what the id is the hash of, its exposure, and its file's digest."""

    image_id: int
    image_key: str
    exposure_id: int
    digest: str


@dataclass(frozen=True)
class Calibration:
    """A calibration that a commit brings and makes current: a row of `calibrations`."""

    kind: str
    bands: tuple[str, ...]
    n_images: int
    n_measurements: int
    chi2: float | None
    report: dict[str, Any]


@dataclass(frozen=True)
class Tag:
    """A name that a commit gives to a snapshot."""

    tag: str
    snapshot: int


@dataclass(frozen=True)
class Host:
    """A storage root, and the worker beside it, as a commit makes it known.

    `root` is a folder or an fsspec URL, empty for the database's own folder; `worker` the address or name of the Dask
    worker that reads it as local; `state` "active", or "draining": nothing new is placed there.
    """

    name: str
    root: str
    worker: str | None = None
    state: str = "active"


@dataclass(frozen=True)
class Setting:
    """What is chosen for the whole database from now on."""

    key: str
    value: str


@dataclass(frozen=True)
class Move:
    """Where a file lies from now on: its host, and the host of its second copy, if it has one."""

    name: str
    host: str
    backup: str | None = None


@dataclass(frozen=True)
class Declaration:
    """A table of the user's own: its name, and what declares it, as JSON."""

    name: str
    text: str


@dataclass(frozen=True)
class Changes:
    """What one commit would do.

    Attributes
    ----------
    kind, command, base
        The verb, the command line that does it, and the snapshot that the changes were made on top of.
    adds, replaces
        Files that begin (one that ended may begin again), and names of files that end.
    cells, ends_cells
        Cells that are new or changed, and keys of those that end.
    log, ends_log, images, ends_images
        Entries of the ingest log and of the index of images; by digest and by image_id, those that end.
    exposures
        Ids of the exposures whose rows it adds or ends, because its base has no images of theirs, or no others.
    exposures_of_images
        Ids of the exposures of the images that it brings or ends: whether others of theirs are there matters.
    calibration, calibration_id
        A calibration that it brings and makes current, or the number of an earlier one that it makes current.
    tags, hosts, settings, declarations
        What begins.
    ends_tags, ends_hosts, ends_settings, ends_declarations
        The keys of what ends.
    moves
        Where files lie from now on, in every snapshot; nobody has moved them since the base.
    placed
        Order, pixel and host of cells whose new files go to that host from now on. `cells` says nothing of the host of
        a cell that is there: a writer need not know that it was placed elsewhere meanwhile.
    expires
        Snapshots that are given up: what only they see leaves the catalog, and its files are to be removed.
    reads, writes
        (K, 2) sorted half-open ranges of order-29 pixels: the sky that the answer depends on, and that it changes.
    uses_calibration
        The answer depends on the current calibration.
    uses_settings
        Keys of the settings on which the answer depends.
    replaces_globals
        Global tables whose every file it has read and ends.
    """

    kind: str
    command: str
    base: int
    adds: tuple[DataFile, ...] = ()
    replaces: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = ()
    ends_cells: tuple[tuple[int, int], ...] = ()
    log: tuple[LogEntry, ...] = ()
    ends_log: tuple[str, ...] = ()
    images: tuple[ImageKey, ...] = ()
    ends_images: tuple[int, ...] = ()
    exposures: tuple[int, ...] = ()
    exposures_of_images: tuple[int, ...] = ()
    calibration: Calibration | None = None
    calibration_id: int | None = None
    tags: tuple[Tag, ...] = ()
    ends_tags: tuple[str, ...] = ()
    hosts: tuple[Host, ...] = ()
    ends_hosts: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    ends_settings: tuple[str, ...] = ()
    declarations: tuple[Declaration, ...] = ()
    ends_declarations: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()
    placed: tuple[tuple[int, int, str], ...] = ()
    expires: tuple[int, ...] = ()
    reads: np.ndarray = field(default_factory=lambda: NOWHERE)
    writes: np.ndarray = field(default_factory=lambda: NOWHERE)
    uses_calibration: bool = False
    uses_settings: tuple[str, ...] = ()
    replaces_globals: tuple[str, ...] = ()


"""What the steps of one ingest share: database, options, executor, steps."""

from __future__ import annotations

from dataclasses import dataclass, field

from skydb.database import Database
from skydb.parallel.executor import WORKERS_WORTH_SECONDS, Executor, SerialExecutor
from skydb.parallel.steps import Steps
from skydb.schema.photcodes import Photcodes
from skydb.store.snapshot import Snapshot

from .readers.interface import DetectionFilter, FolderReader, ReadRequest
from .readers.mapping import Mapping


@dataclass(frozen=True)
class AddstarOptions:
    """How an ingest runs; see `addstar`. `reader`: its files are folders for this one, see `import_dvo`."""

    photcode: str | None = None
    mapping: Mapping | None = None
    radius_arcsec: float | None = None
    keep: DetectionFilter = field(default_factory=DetectionFilter)
    one_to_many: bool = False
    keep_order: bool = False
    defer: bool = False
    compact: bool = True
    only_match: bool = False
    existing_cells: bool = False
    dry_run: bool = False
    replace: bool = False
    reader: FolderReader | None = None

    def words(self) -> list[str]:
        """Return the options of the command line that does the same; a window of pixels has none there."""
        keep = self.keep
        valued = {
            "--photcode": self.photcode, "--mapping": self.mapping and self.mapping.name,
            "--radius": self.radius_arcsec and f"{self.radius_arcsec:g}",
            "--association": "dvo" if self.one_to_many else None,
            "--max-mag-err": keep.max_mag_err and f"{keep.max_mag_err:g}",
            "--exclude-photflags": f"{keep.exclude_photflags:#x}" if keep.exclude_photflags else None,
        }  # fmt: skip
        flags = {
            "--keep-order": self.keep_order, "--defer": self.defer, "--only-match": self.only_match,
            "--existing-cells": self.existing_cells, "--replace": self.replace,
        }  # fmt: skip
        words = [word for name, value in valued.items() if value for word in (name, value)]
        return words + [name for name, is_set in flags.items() if is_set]


@dataclass(frozen=True)
class Job:
    """One call of addstar; `command` is the line that does the same.

    `adaptive`: nobody asked for a number of workers, so that small steps need none.
    """

    db: Database
    options: AddstarOptions
    executor: Executor
    steps: Steps
    command: str
    adaptive: bool = False

    def executor_of(self, seconds: float) -> Executor:
        """Return the executor of a step that takes about so many seconds in one process."""
        return SerialExecutor() if self.adaptive and seconds < WORKERS_WORTH_SECONDS else self.executor

    def photcodes(self, snapshot: Snapshot) -> Photcodes:
        """Return the photcodes of a snapshot, with those that the mapping declares."""
        stored = Photcodes.from_arrow(snapshot.read_global("photcodes"))
        mapping = self.options.mapping
        return stored if mapping is None else stored.merge(mapping.new_photcodes(stored))

    def request(self, snapshot: Snapshot) -> ReadRequest:
        """Return what the readers need to know."""
        options = self.options
        tables = tuple(t for t in snapshot.declared.values() if t.keyed_by == "measurement")
        return ReadRequest(
            self.photcodes(snapshot), options.photcode, options.mapping, options.keep, tables, options.reader
        )  # fmt: skip

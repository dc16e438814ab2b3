"""What an `apply` keeps in its folder, so that it can be continued: the solution, and the cells that are done.

Everything is plain data: the solution as JSON and Arrow, each cell's new files as a line of the job's journal, and
under which terms these were written as Arrow files. What a crash of the machine has spoiled is done again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb import __version__
from skydb.errors import DataError, SkydbError
from skydb.store.arrow_files import map_arrow, write_arrow
from skydb.store.cells import Cell
from skydb.store.changes import Calibration
from skydb.store.files import DataFile, write_durably
from skydb.store.hosts import Storage
from skydb.store.layout import new_name
from skydb.store.notes import names_noted_in
from skydb.store.snapshot import Snapshot
from skydb.store.transfer import bytes_at
from skydb.store.unfinished import Journal, Unfinished, describe_job

from .apply import ImageTerms
from .rewriting import Done, RewrittenCell

_SOLUTION, _IMAGES, _PHOTCODES = "solution.arrow", ".images.arrow", ".photcodes.arrow"


@dataclass(frozen=True)
class Solved:
    """A solved calibration: its row, the command that made it, the snapshot that was solved, and what was solved.

    `rows` are about images, one each with its `image_id`; who has solved them says how they enter `images_cal`.
    """

    calibration: Calibration
    command: str
    base: int
    rows: pa.Table


class KeptApply:
    """The folder of an apply, as far as it is for who continues it."""

    def __init__(self, folder: Path) -> None:
        """Keep it in a job's folder."""
        self._folder, self._journal = folder, Journal(folder)

    def describe(self, solved: Solved, head: int, n_cells: int) -> None:
        """Keep the solution; from now on the job can be continued. `head` is the newest snapshot."""
        _write(self._folder / _SOLUTION, solved.rows)
        describe_job(
            self._folder, kind=solved.calibration.kind, command=solved.command, head=head, n_cells=n_cells,
            about={"calibration": asdict(solved.calibration), "base": solved.base},
        )  # fmt: skip

    def begin(self, images: ImageTerms, photcodes: pa.Table) -> tuple[str, set[str]]:
        """Keep the terms of an attempt; returns their name, and those of all that agree with them, these included.

        Terms are of one version of skydb: another one may calibrate otherwise.
        """
        photcodes = photcodes.replace_schema_metadata({"skydb": __version__})
        agreeing = {name: same for name in self._names() if (same := self._same(name, images, photcodes)) is not None}
        name = next((name for name, is_all in agreeing.items() if is_all), None)
        if name is None:
            name = new_name()
            write_durably(self.images_path(name), images.save)
            _write(self._folder / f"{name}{_PHOTCODES}", photcodes)
        return name, agreeing.keys() | {name}

    def images_path(self, name: str) -> Path:
        """Return where the images' terms of an attempt are."""
        return self._folder / f"{name}{_IMAGES}"

    def _names(self) -> list[str]:
        return [path.name.removesuffix(_PHOTCODES) for path in self._folder.glob(f"*{_PHOTCODES}")]

    def _same(self, name: str, images: ImageTerms, photcodes: pa.Table) -> bool | None:
        """Say whether earlier terms are the same in all; None: not even in what both know of.

        A cell that was done under those terms knew of no more.
        """
        with suppress(pa.ArrowInvalid, FileNotFoundError):
            codes, terms = map_arrow(self._folder / f"{name}{_PHOTCODES}"), ImageTerms.load(self.images_path(name))
            both = photcodes.filter(pc.is_in(photcodes["code"], codes["code"].combine_chunks()))
            if both.equals(codes, check_metadata=True) and images.agrees(terms):
                return len(codes) == len(photcodes) and np.array_equal(terms.image_id, images.image_id)
        return None

    def keep(self, done: Done[RewrittenCell]) -> None:
        """Keep a cell that is done."""
        made = done.made
        words = [astuple(made.cell), [astuple(file) for file in made.adds], made.replaces]
        self._journal.add(str(made.cell), [done.terms, done.inputs, *words])

    def done(self, snapshot: Snapshot) -> Iterator[Done[RewrittenCell]]:
        """Yield the cells that are done and whose new files are still there, for a commit on top of a snapshot.

        A file without its note, which a power cut may have taken, could be collected before it is committed.
        """
        noted, is_writable = names_noted_in(self._folder), cache(lambda host: _is_writable(snapshot.storage, host))
        for terms, inputs, cell, adds, replaces in self._journal:
            made = RewrittenCell(Cell(*cell), tuple(DataFile(*file) for file in adds), tuple(replaces))
            copies = [(file, host) for file in made.adds for host in (file.host, file.backup) if host is not None]
            if all(
                file.name in noted and is_writable(host) and _is_there(snapshot.storage, file, host)
                for file, host in copies
            ):
                yield Done(made.cell.key, tuple(inputs), terms, made)


def kept_calibration(job: Unfinished) -> Calibration:
    """Return the row of the calibration that an unfinished job applies."""
    row = job.about["calibration"]
    return Calibration(**{**row, "bands": tuple(row["bands"])})


def kept_solution(job: Unfinished) -> Solved:
    """Return the solution that an unfinished job applies.

    Raises
    ------
    DataError
        It cannot be read.
    """
    path = job.folder / _SOLUTION
    try:
        rows = map_arrow(path)
    except (OSError, pa.ArrowInvalid) as error:
        todo = "give it up (`skydb relcal DB --discard`), and solve again"
        raise DataError(f"what was solved cannot be read: {error}", str(path), todo) from error
    return Solved(kept_calibration(job), job.command, job.about["base"], rows)


def _is_writable(storage: Storage, host: str) -> bool:
    with suppress(SkydbError):
        if host in storage.hosts:
            storage.require_writable(host)
            return True
    return False


def _is_there(storage: Storage, file: DataFile, host: str) -> bool:
    """Say whether a copy is there; behind a URL that is not asked, a request for each file."""
    place = storage.place(host, file.path)
    return not place.is_local or bytes_at(place) == file.bytes


def _write(path: Path, table: pa.Table) -> None:
    write_durably(path, partial(write_arrow, table))

"""What an `apply` keeps in its folder, so that it can be continued: the solution, and the cells that are done.

Everything is plain data: the solution as JSON and Arrow, each cell's new files as a line of the job's journal, and
under which terms these were written as Arrow files. What a crash of the machine has spoiled is done again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from skydb import __version__
from skydb.errors import SkydbError
from skydb.store.cells import Cell
from skydb.store.changes import Calibration
from skydb.store.commit import now
from skydb.store.files import DataFile, write_durably
from skydb.store.hosts import Storage
from skydb.store.layout import new_name
from skydb.store.notes import names_noted_in
from skydb.store.snapshot import Snapshot
from skydb.store.transfer import bytes_at
from skydb.store.unfinished import Journal, Unfinished, about_job, describe_job

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

    def describe(self, solved: Solved, n_cells: int) -> None:
        """Keep the solution; from now on the job can be continued."""
        _write(self._folder / _SOLUTION, solved.rows)
        about = {"calibration": asdict(solved.calibration), "base": solved.base, "version": __version__}
        describe_job(self._folder, solved.calibration.kind, solved.command, n_cells, now(), about)

    def begin(self, images: ImageTerms, photcodes: pa.Table) -> tuple[str, set[str]]:
        """Keep the terms of an attempt; returns their name, and those of all that agree with them, these included."""
        name = new_name()
        agreeing = {other for other in self._names() if self._agrees(other, images, photcodes)}
        write_durably(self.images_path(name), images.save)
        _write(self._folder / f"{name}{_PHOTCODES}", photcodes)
        return name, agreeing | {name}

    def images_path(self, name: str) -> Path:
        """Return where the images' terms of an attempt are."""
        return self._folder / f"{name}{_IMAGES}"

    def _names(self) -> list[str]:
        return [path.name.removesuffix(_PHOTCODES) for path in self._folder.glob(f"*{_PHOTCODES}")]

    def _agrees(self, name: str, images: ImageTerms, photcodes: pa.Table) -> bool:
        """Say whether what both know is the same: a cell that was done under those terms knew of no more."""
        with suppress(pa.ArrowInvalid, FileNotFoundError):
            its = _read(self._folder / f"{name}{_PHOTCODES}")
            same = photcodes.filter(pc.is_in(photcodes["code"], its["code"].combine_chunks()))
            return bool(same.equals(its)) and images.agrees(ImageTerms.load(self.images_path(name)))
        return False

    def keep(self, done: Done[RewrittenCell]) -> None:
        """Keep a cell that is done."""
        made = done.made
        words = [astuple(made.cell), [astuple(file) for file in made.adds], made.replaces]
        self._journal.add([done.terms, done.inputs, *words])

    def done(self, snapshot: Snapshot) -> Iterator[Done[RewrittenCell]]:
        """Yield the cells that are done and whose new files are still there, for a commit on top of a snapshot.

        Another version of skydb may have calibrated otherwise. A file without its note, which a power cut may have
        taken, could be collected before it is committed.
        """
        if about_job(self._folder).get("version") != __version__:
            return
        noted, is_writable = names_noted_in(self._folder), cache(lambda host: _is_writable(snapshot.storage, host))
        for terms, inputs, cell, adds, replaces in self._journal:
            made = RewrittenCell(Cell(*cell), tuple(DataFile(*file) for file in adds), tuple(replaces))
            copies = [(file, host) for file in made.adds for host in (file.host, file.backup) if host is not None]
            if all(
                file.name in noted and is_writable(host) and _is_whole(snapshot.storage, file, host)
                for file, host in copies
            ):
                yield Done(made.cell.key, tuple(inputs), terms, made)


def kept_solution(job: Unfinished) -> Solved:
    """Return the solution that an unfinished job applies."""
    row = job.about["calibration"]
    calibration = Calibration(**{**row, "bands": tuple(row["bands"])})
    return Solved(calibration, job.command, job.about["base"], _read(job.folder / _SOLUTION))


def _is_writable(storage: Storage, host: str) -> bool:
    with suppress(SkydbError):
        if host in storage.hosts:
            storage.require_writable(host)
            return True
    return False


def _is_whole(storage: Storage, file: DataFile, host: str) -> bool:
    """Say whether a copy is there; behind a URL that is not asked, a request for each file."""
    place = storage.place(host, file.path)
    return not place.is_local or bytes_at(place) == file.bytes


def _write(path: Path, table: pa.Table) -> None:
    def write(temporary: Path) -> None:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)

    write_durably(path, write)


def _read(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as source:
        return pa.ipc.open_file(source).read_all()

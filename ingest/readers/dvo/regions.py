"""Where the tables of a DVO database lie: its regions (SkyTable.fits), and the hosts that keep them (HostTable.dat)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from skydb.errors import DataError

from ..fits_tables import open_fits, reading
from .tables import CONVERT, Columns, DvoColumn, count_rows, open_table

SKY_TABLE, IMAGE_TABLE, PHOTCODE_TABLE, HOST_TABLE = "SkyTable.fits", "Images.dat", "Photcodes.dat", "HostTable.dat"
USE_BACKUP = 4
LARGEST_HOST = 255

COLUMNS: Columns = {
    "INDEX": DvoColumn("J", needed=True),
    "TABLE": DvoColumn("B", needed=True),
    "NAME": DvoColumn("A", needed=True),
    "HOST_FLAGS": DvoColumn("B"),
    "HOST_ID": DvoColumn("B"),
    "BACKUP_ID": DvoColumn("B"),
}


@dataclass(frozen=True)
class Region:
    """One region: its number in the sky table (DVO's catID), its name, and the folder that keeps its tables."""

    index: int
    name: str
    root: Path

    @property
    def averages(self) -> Path:
        """The file of its objects, which names those of its other tables."""
        return self.root / f"{self.name}.cpt"


@dataclass(frozen=True)
class RegionTables:
    """A region that has measurements: how many objects, and the file of the measurements."""

    region: Region
    n_objects: int
    n_measurements: int
    measures: Path


def region_tables(catdir: Path) -> list[RegionTables]:
    """Return the regions that have measurements, in the order of the sky table.

    Raises
    ------
    DataError
        A table is missing, damaged, or has other rows than the header of the region's objects says; a folder of a host
        is not there.
    """
    found = [_tables_of(region) for region in regions(catdir)]
    return [tables for tables in found if tables is not None]


def regions(catdir: Path) -> list[Region]:
    """Return the regions that may have tables.

    Raises
    ------
    DataError
        The sky table or the host table is missing or damaged, or the folder of a host is not there.
    """
    table = open_table(catdir / SKY_TABLE, "SKY_REGION", COLUMNS)
    owns = table.values("TABLE") != 0
    hosts = table.file.hdus[0].word("HOSTS")
    n_rows, with_hosts = len(table), bool(hosts) and "HOST_ID" in table
    flags, primary, backup = (
        table.values(name).tolist() if with_hosts and name in table else [0] * n_rows
        for name in ("HOST_FLAGS", "HOST_ID", "BACKUP_ID")
    )
    roots = _roots(catdir, hosts or HOST_TABLE)
    made = []
    for row in owns.nonzero()[0].tolist():
        host = backup[row] if flags[row] & USE_BACKUP else primary[row]
        name = table.values("NAME", slice(row, row + 1))[0].decode("ascii", "backslashreplace")
        made.append(Region(int(table.values("INDEX", slice(row, row + 1))[0]), _checked(name, table.where),
                           _root(roots, host, name, catdir)))  # fmt: skip
    _refuse_repeats(made, table.where)
    return made


def _refuse_repeats(made: list[Region], where: str) -> None:
    for name, words in (("name", [r.name for r in made]), ("number", [str(r.index) for r in made])):
        twice = next((word for word, count in Counter(words).items() if count > 1), None)
        if twice is not None:
            raise DataError(f"two regions have the {name} {twice}", where, "restore the sky table")


def _checked(name: str, where: str) -> str:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts:
        raise DataError(f"{name!r} is no name of a region", where, "restore the sky table")
    return name


def _roots(catdir: Path, name: str) -> dict[int, tuple[str, Path]]:
    """Hosts by number: name and folder. Without a host table all is in the database's own folder, as in DVO."""
    path = catdir / name
    if not path.exists():
        return {}
    roots: dict[int, tuple[str, Path]] = {}
    with reading(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where, todo = f"{path}, line {number}", "a line has a number from 1 to 255, a host and a folder"
        if len(words) != 3 or not words[0].isdigit() or not 1 <= int(words[0]) <= LARGEST_HOST:
            raise DataError(f"{line.strip()!r} names no host", where, todo)
        if int(words[0]) in roots:
            raise DataError(f"the number {words[0]} is that of another host too", where, "keep one of them")
        roots[int(words[0])] = words[1], Path(words[2])
    return roots


def _root(roots: dict[int, tuple[str, Path]], host: int, region: str, catdir: Path) -> Path:
    """The folder that keeps a region: of its host, else the database's own."""
    if host == 0 or not roots:
        return catdir
    if host not in roots:
        raise DataError(f"region {region} is kept by host {host}, which the host table does not name",
                        str(catdir), "add its line to the host table")  # fmt: skip
    name, folder = roots[host]
    if not folder.is_dir():
        what = f"region {region} is kept by host {host} ({name}), whose folder {folder} is not there"
        raise DataError(what, str(catdir), "mount it, or let the host table name the folder where it is")
    return folder


def _tables_of(region: Region) -> RegionTables | None:
    """A region's tables; None where it has no measurements. One without files is empty, as in DVO."""
    path = region.averages
    if not _is_there(path):
        if _is_there(path.with_name(f"{path.stem}.cpm")):
            raise DataError("there are measurements without the table of their objects", str(path), "restore it")
        return None
    with reading(path):
        head = open_fits(path).hdus[0]
        if not head.word("MEASURE"):
            raise DataError("the header names no file of measurements (MEASURE)", head.where, CONVERT)
        counts = [head.get("NSTARS"), head.get("NMEAS")]
    n_objects, n_measurements = (count if isinstance(count, int) and count >= 0 else -1 for count in counts)
    if min(n_objects, n_measurements) < 0:
        raise DataError(f"NSTARS and NMEAS are {counts[0]!r} and {counts[1]!r}", head.where, "restore the file")
    measures = path.parent / _checked(head.word("MEASURE"), head.where)
    _check_rows(path, "DVO_AVERAGE", n_objects, "NSTARS")
    if not n_measurements and not _is_there(measures):
        return None
    if not _is_there(measures):
        what = f"it is missing or empty, but {path.name} has {n_measurements} measurements (NMEAS)"
        raise DataError(what, str(measures), "restore it")
    _check_rows(measures, "DVO_MEASURE", n_measurements, "NMEAS")
    return RegionTables(region, n_objects, n_measurements, measures) if n_measurements else None


def _is_there(path: Path) -> bool:
    """Say whether a file has content; DVO makes empty ones when it locks them."""
    return path.is_file() and path.stat().st_size > 0


def _check_rows(path: Path, extname: str, wanted: int, key: str) -> None:
    rows = count_rows(path, extname)
    if rows != wanted:
        what = f"the table {extname} has {rows} rows, {key} is {wanted}"
        raise DataError(what, str(path), "repair the database with DVO's dvorepair, or restore the file")

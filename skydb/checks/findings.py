"""What `skydb fsck` can find: every kind of finding declared once, with what it means and what mends it.

The manual's page follows from here. `damage` sets the exit code; a `notice` tells of what costs space or time, and of
no row that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

FROM_COPY = "put the file back from a copy of the database"
REBUILD = "`skydb fsck --rebuild-catalog`"
REPAIR = "`skydb fsck --repair`"


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    `todo` is what to do about it; where that is `REPAIR`, `repair` says what a repair does.
    """

    name: str
    family: str
    meaning: str
    todo: str
    repair: str = ""
    severity: str = "damage"


CATALOG, MANIFESTS, FILES, GLOBALS, CELLS, COUNTS, DEEP, FOLDERS = (
    "The catalog", "Manifests and tags", "Files", "Global tables", "Cells", "Counts", "Only with --deep", "Folders",
)  # fmt: skip
_DERIVED = "derives `objects` and `object_bands` of the cell anew"
_APPLIED = "applies the calibration to the cell's raw measurements anew"
_LOST = "moves the file to `quarantine/`, gives up its rows, and says what is lost"

KINDS = {kind.name: kind for kind in (
    Kind("catalog-unreadable", CATALOG, "SQLite finds `catalog.sqlite` damaged, or cannot open it", REBUILD),
    Kind("cells-overlap", CATALOG, "one live cell lies inside another, or is there twice", REBUILD),
    Kind("life-impossible", CATALOG, "a row begins or ends at a snapshot that is not there, or ends before it begins",
         REBUILD),
    Kind("file-without-cell", CATALOG, "a live file lies in no live cell", REBUILD),
    Kind("name-impossible", CATALOG, "a file's path is not that of its table, cell and name, or its host is not known",
         REBUILD),
    Kind("manifest-missing", MANIFESTS, "a snapshot has no manifest, or an unreadable one", REPAIR,
         "writes it from the catalog, as long as that tells it still"),
    Kind("manifest-differs", MANIFESTS, "the catalog is not what its manifests make",
         f"keep a copy of both, then {REBUILD}, or put `catalog.sqlite` back from a copy"),
    Kind("manifest-ahead", MANIFESTS, "there are manifests of snapshots that the catalog does not know", REBUILD),
    Kind("tag-unpublished", MANIFESTS, "a tag's copy of the catalog is missing or damaged", REPAIR,
         "writes it from the catalog"),
    Kind("host-away", FILES, "a host is not where the catalog says, or another is there: what is only there was not "
         "checked", "mount its disk, or say where it is: `skydb hosts DB set NAME --root …`; if it is gone for "
         "good, `skydb hosts DB remove NAME --lost`; a repair waits for that"),
    Kind("host-kept", FILES, "another copy of this database writes and removes files on a host; from here it is read "
         "only", "if this is the one to go on with, `skydb hosts DB set NAME --root …` takes the host over; else copy "
         "the host's folder, and name that there", severity="notice"),
    Kind("file-unread", FILES, "a file could not be read, so that nobody knows whether it is damaged: no right, no "
         "answer, a failing disk", "see that whoever runs skydb can read it; if it is gone for good, remove it; a "
         "repair waits for that"),
    Kind("file-missing", FILES, "a file that a snapshot names is not there", REPAIR,
         "as for file-damaged"),
    Kind("file-damaged", FILES, "its size, BLAKE2b digest, tail, a column chunk or a page is not as it was written",
         REPAIR, "puts it back from the backup copy if there is one; else derives or calibrates it anew; else "
         "moves it to `quarantine/`, gives up its rows, and says what is lost"),
    Kind("old-file-damaged", FILES, "a file that only older snapshots name is missing or damaged",
         f"{FROM_COPY}; where nobody needs those snapshots, `skydb gc` gives them up"),
    Kind("backup-damaged", FILES, "the second copy of a file is missing or damaged", REPAIR, "copies the file again"),
    Kind("file-foreign", FILES, "its footer names another database, table, cell, raw file or schema version", REPAIR,
         "as for file-damaged"),
    Kind("file-schema", FILES, "its columns are not those declared for its schema version", REPAIR,
         "as for file-damaged"),
    Kind("file-bounds", FILES, "its number of rows, or its least or greatest key, is not what the catalog says",
         REPAIR, "as for file-damaged"),
    Kind("file-unsorted", FILES, "its rows are not in the declared order", REPAIR, "as for file-damaged"),
    Kind("null-required", FILES, "a column that must have values has NULL", REPAIR, "as for file-damaged"),
    Kind("image-twice", GLOBALS, "an image, exposure or photcode has two rows", REPAIR, "keeps one"),
    Kind("image-unindexed", GLOBALS, "`images` and the catalog's index of images do not hold the same images, under "
         "the ids that their keys have", REPAIR, "gives up the measurements of images that have lost theirs"),
    Kind("solution-missing", GLOBALS, "an image has no row in `images_cal`, or one row too many", REPAIR,
         "takes it from the calibrated measurements"),
    Kind("exposure-missing", GLOBALS, "an image's exposure is not there", REPAIR, "makes it from its images"),
    Kind("photcode-missing", GLOBALS, "an image or a measurement has a photcode that is not there",
         f"{REPAIR}; what that does not find, import with `skydb photcodes --import`",
         "takes it from the newest older file"),
    Kind("pair-broken", CELLS, "a raw file has no calibrated one beside it, or two; or a calibrated one no raw one",
         REPAIR, f"{_APPLIED}; a calibrated file without its raw one is moved to `quarantine/`"),
    Kind("pair-misaligned", CELLS, "rows of a calibrated file do not have the keys of the raw rows beside them", REPAIR,
         _APPLIED),
    Kind("id-outside", CELLS, "rows of a cell's file belong to another cell", REPAIR, _LOST),
    Kind("object-twice", CELLS, "an object has two rows in `object_seeds`, `objects`, or of one band and source in "
         "`object_bands`", REPAIR, f"{_DERIVED}; keeps the older of two seeds"),
    Kind("seed-missing", CELLS, "an object has measurements and no seed, or one that says that it has none", REPAIR,
         "founds it again by the measurement that lies in its pixel, else by its first, or lets it live"),
    Kind("founder-missing", CELLS, "the measurement that founded an object is not among its own, though its image is "
         "there as a whole", REPAIR, "as for seed-missing"),
    Kind("objects-differ", CELLS, "`objects` or `object_bands` of a cell that waits for no refresh do not hold its "
         "objects with the numbers of measurements that they have", REPAIR, _DERIVED),
    Kind("image-missing", CELLS, "measurements have an image that is not there, or the photcode of another one", REPAIR,
         "gives up these measurements"),
    Kind("drift-exceeded", CELLS, "an object or a measurement lies farther from where the object was founded than the "
         "cell's bound", REPAIR, "sets the bound"),
    Kind("motion-exceeded", CELLS, "an object moves faster, or has another epoch, than the setting `motion` of the "
         "catalog says of all that move: association may miss it", REPAIR, "raises the bound"),
    Kind("row-unlinked", CELLS, "rows of a declared table are about objects or measurements that are not there", REPAIR,
         "gives up these rows"),
    Kind("row-twice", CELLS, "two rows of a declared table, or two old ids of one database, have the same keys", REPAIR,
         "keeps one"),
    Kind("object-empty", CELLS, "an object lives, by `object_seeds`, and has no measurements", REPAIR, "retires it"),
    Kind("alias-broken", CELLS, "an id that a merged database gave to an object stands for one that is not there",
         REPAIR, "gives up these ids, and names them"),
    Kind("measurement-twice", CELLS, "two measurements of one image have one detection number",
         "which of the two is right cannot be told here: `skydb delete DB --image ID`, then ingest its file again"),
    Kind("log-differs", COUNTS, "an entry of the ingest log does not add up, or the measurements stored of its images "
         "are not as many as it says", f"{REPAIR}; what that leaves: {FROM_COPY}", "counts as deleted what is gone and "
         "nothing else, and says which files to ingest again"),
    Kind("images-differ", COUNTS, "the index of images has not as many of an ingested file as the ingest log says",
         f"{REPAIR}; what that leaves: {FROM_COPY}", "as for log-differs"),
    Kind("image-count", COUNTS, "`n_measurements` of an image is not the number of its measurements", REPAIR,
         "counts them anew"),
    Kind("calibrated-differ", DEEP, "calibrated measurements do not follow from the raw ones and the current "
         "calibration", REPAIR, _APPLIED),
    Kind("derived-differ", DEEP, "objects or their means do not follow from the measurements", REPAIR, _DERIVED),
    Kind("orphan", FOLDERS, "a file under `data/` that no snapshot, running job or removal names",
         "`skydb gc`, which waits for the grace time; what that leaves alone is not skydb's: remove it by hand",
         severity="notice"),
    Kind("left-behind", FOLDERS, "a killed job's folder, with the files that it noted",
         "nothing: the next job that writes removes it", severity="notice"),
    Kind("unfinished", FOLDERS, "a job that was cut short and can be continued, with the files that it noted",
         "`skydb relcal DB --resume`, or `--discard`; or nothing: after a week the next job that writes removes it",
         severity="notice"),
    Kind("removal-waiting", FOLDERS, "copies that the catalog needs no more and that are not removed yet",
         "`skydb gc`", severity="notice"),
    Kind("refresh-waiting", CELLS, "cells whose derived tables wait for a refresh; they were not compared",
         "`skydb refresh`", severity="notice"),
    Kind("quarantined", FILES, "a file that a repair gave up, and that older snapshots still name: they cannot be read "
         "whole", "nothing; where nobody needs those snapshots, `skydb gc` gives them up", severity="notice"),
    Kind("unchecked", COUNTS, "what could not be checked, because of other findings", "mend those, then run it again",
         severity="notice"),
)}  # fmt: skip


WAITED_FOR = frozenset({"host-away", "file-unread"})
"""What a repair waits for: it would give up rows that may be whole."""


@dataclass(frozen=True)
class Finding:
    """One thing found: its kind, what it is in words, and where.

    `cell` is "norder/npix", `file` a path as the catalog has it; `rows` how many rows are concerned, if that is known.
    """

    kind: str
    what: str
    table: str | None = None
    cell: str | None = None
    file: str | None = None
    rows: int | None = None

    @property
    def severity(self) -> str:
        """`damage` or `notice`."""
        return KINDS[self.kind].severity

    @property
    def todo(self) -> str:
        """What to do about it."""
        return KINDS[self.kind].todo

    def __str__(self) -> str:
        return f"{self.kind}: {place_text(self.table, self.cell, self.file)}{self.what}"


def place_text(table: str | None, cell: str | None, file: str | None) -> str:
    """Return where something is, with a colon behind it; nothing for nowhere.

    >>> place_text("objects", "3/5", None)
    'table objects, cell 3/5: '
    """
    parts = [f"table {table}" if table and not file else "", f"cell {cell}" if cell else "", file or ""]
    place = ", ".join(filter(None, parts))
    return f"{place}: " if place else ""


def findings_page() -> str:
    """Return the page of the manual about what `skydb fsck` finds."""
    return "\n".join(["# What fsck finds", "", *_page_lines()])


def _page_lines() -> Iterator[str]:
    yield "Each finding of `skydb fsck` has one of these names. *Notices* leave the exit code at 0."
    for family in dict.fromkeys(kind.family for kind in KINDS.values()):
        yield from ("", f"## {family}", "", "| finding | meaning | what to do | a repair |", "|---|---|---|---|")
        for kind in (k for k in KINDS.values() if k.family == family):
            notice = " *(notice)*" if kind.severity == "notice" else ""
            yield f"| `{kind.name}`{notice} | {kind.meaning} | {kind.todo} | {kind.repair} |"
    yield ""

"""What `skydb fsck` answers: findings, what was checked, what was mended, what was lost."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import Any

from .findings import Finding, place_text

TOLD = 100
"""Names of one loss that people are told; programs get all."""


@dataclass(frozen=True)
class Mended:
    """One thing that a repair did: what, to which table, cell and file, and the snapshot that it made, if any."""

    what: str
    table: str | None = None
    cell: str | None = None
    file: str | None = None
    snapshot: int | None = None


@dataclass(frozen=True)
class Loss:
    """Rows that a repair could not save: of a table and cell, the images and ingested files that had them.

    `part` says what of the rows is lost; empty: all. `names` are those of photcodes and exposures, and old ids of
    objects. `quarantine` is where the damaged file lies now, relative to the database, or where it was if it could not
    be moved; None: nothing was left of it. `images` are ids, `files` the ingested files to ingest again.
    """

    table: str
    cell: str | None
    rows: int
    quarantine: str | None
    images: tuple[int, ...] = ()
    files: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    part: str = ""


@dataclass(frozen=True)
class FsckReport:
    """The answer of `fsck`.

    Attributes
    ----------
    database, snapshot
        What was checked, after a repair as it is now.
    deep
        Whether what follows from the raw measurements was computed anew.
    findings
        What was found; after a repair, what is left.
    found
        What was found before a repair; empty without one.
    mended, lost
        What a repair did, and what it could not save.
    cells, files, rows, bytes
        How much was checked.
    seconds
        How long it took.
    """

    database: str
    snapshot: int | None
    deep: bool
    findings: tuple[Finding, ...]
    cells: int = 0
    files: int = 0
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    found: tuple[Finding, ...] = ()
    mended: tuple[Mended, ...] = ()
    lost: tuple[Loss, ...] = ()

    @property
    def damage(self) -> tuple[Finding, ...]:
        """The findings that are damage, and no notices."""
        return tuple(f for f in self.findings if f.severity == "damage")

    @property
    def clean(self) -> bool:
        """Whether no damage was found, or all of it is mended."""
        return not self.damage

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        plain = dataclasses.asdict(self)
        for name in ("findings", "found"):
            plain[name] = [
                {**dataclasses.asdict(f), "severity": f.severity, "todo": f.todo} for f in getattr(self, name)
            ]
        return {"clean": self.clean, **plain}

    def text(self) -> str:
        """Return the report for people."""
        lines = [f"{f.severity:<7} {f}" for f in self.found]
        lines += [f"mended  {place_text(m.table, m.cell, m.file)}{m.what}" for m in self.mended]
        lines += [line for loss in self.lost for line in _loss_lines(loss)]
        if self.found:
            lines += ["", "after the repair:"]
        lines += [f"{f.severity:<7} {f}" for f in self.findings]
        lines += [f"{'':<7} {kind}: {todo}" for kind, todo in {f.kind: f.todo for f in self.damage}.items()]
        return "\n".join([*lines, self.summary()])

    def summary(self) -> str:
        """Return one line: how much was checked, and how many findings there are."""
        checked = f"{self.cells} cells, {self.files} files, {self.rows} rows, {self.bytes / 1e6:.1f} MB"
        kinds = Counter(f.kind for f in self.damage)
        said = "clean" if self.clean else ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        return f"{said}: {checked}{' and all that follows from them' if self.deep else ''}, {self.seconds:.1f} s"


def _loss_lines(loss: Loss) -> list[str]:
    where = f"table {loss.table}" + (f", cell {loss.cell}" if loss.cell else "")
    what = f"{loss.part} of {loss.rows} rows" if loss.part else f"{loss.rows} rows"
    whose = f" of {len(loss.images)} images" if loss.images else ""
    kept = f", kept in {loss.quarantine}" if loss.quarantine else ""
    lines = [f"lost    {where}: {what}{whose}{kept}", *(f"        {name}" for name in loss.names[:TOLD])]
    if len(loss.names) > TOLD:
        lines.append(f"        and {len(loss.names) - TOLD} more, which --json names")
    return lines + [f"        ingest again: {file}" for file in loss.files]

"""What a report and the log say of rows of declared tables that came with detections, file by file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from skydb.store.changes import LogEntry
from skydb.store.history import logged_files
from skydb.store.row_log import log_with_rows, rows_that_came
from skydb.store.snapshot import Snapshot

from .companions import NO_MEASUREMENT, CompanionCounts, rows_digest
from .report import FileReport
from .routing import FileSummary, InputFile
from .writing import WrittenCell


def sum_of(cells: Iterable[Mapping[str, CompanionCounts]]) -> dict[str, CompanionCounts]:
    """Add up, by table, what became of rows in several cells."""
    total: dict[str, CompanionCounts] = {}
    for name, counts in (each for cell in cells for each in cell.items()):
        total.setdefault(name, CompanionCounts()).update(counts)
    return total


def counts_of_file(
    summary: FileSummary, snapshot: Snapshot, stored: Mapping[str, CompanionCounts]
) -> dict[str, dict[str, int]]:
    """Return what became of the rows that a file has, by table: how many are in it, were stored, and why others not."""
    found = {}
    for name in sorted(summary.companions.keys() & snapshot.declared.keys()):
        counts, n_in = stored.get(name, CompanionCounts()), summary.companions[name]
        reasons = {reason: by_file[summary.number] for reason, by_file in counts.rejected.items()}
        n_stored = counts.stored[summary.number]
        reasons[NO_MEASUREMENT] = n_in - n_stored - sum(reasons.values())
        found[name] = {"in": n_in, "stored": n_stored, **{reason: n for reason, n in reasons.items() if n}}
    return found


class CompanionLog(NamedTuple):
    """Entries of the log that begin, and digests of those that end."""

    begins: tuple[LogEntry, ...]
    ends: tuple[str, ...]


def companion_log(
    files: Sequence[InputFile], summaries: Iterable[FileSummary], snapshot: Snapshot, cells: Sequence[WrittenCell],
    reports: Mapping[str, FileReport],
) -> CompanionLog:  # fmt: skip
    """Return what the log gets of rows that came with the detections of some files.

    A file of which images come back has its entries already: what had been taken off them is given back.
    """
    by_number = {file.number: file for file in files}
    accepted = [s for s in summaries if s.accepted and s.companions]
    brought = [entry for s in accepted for entry in _entries(by_number[s.number], s, reports)]
    returning = any(s.logged is not None for s in accepted)
    known = logged_files(snapshot, [entry.digest for entry in brought]) if returning else {}
    new = {entry.digest: entry for entry in brought if entry.digest not in known}
    if not known:
        return CompanionLog(tuple(new.values()), ())
    came = rows_that_came(snapshot, ((w.cell, w.adds, w.replaces) for w in cells))
    changed = {entry.digest: entry for entry in log_with_rows(snapshot, came, list(new.values()))}
    return CompanionLog(tuple((new | changed).values()), tuple(changed.keys() - new.keys()))


def _entries(file: InputFile, summary: FileSummary, reports: Mapping[str, FileReport]) -> Iterable[LogEntry]:
    for name, counts in reports[file.path].companions.items():
        reasons = {reason: n for reason, n in counts.items() if reason not in ("in", "stored")}
        yield LogEntry(
            file.path, rows_digest(name, file.digest), file.bytes, f"{name}:{summary.format}", 0, counts["in"],
            counts["stored"], 0, sum(reasons.values()), 0, 0, reasons,
        )  # fmt: skip

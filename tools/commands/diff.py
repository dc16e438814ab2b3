"""skydb diff: what differs between two snapshots."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from ..output import emit, json_option, text_table

if TYPE_CHECKING:
    from skydb.store.difference import Counts, Difference, IngestedFile, State

SHOWN_FILES = 20
"""Ingested files that are named; --json names all."""


@click.command(epilog="Example: skydb diff survey.sky PV1")
@click.argument("db", type=click.Path())
@click.argument("before", metavar="FROM")
@click.argument("after", metavar="[TO]", required=False)
@click.option("--cells", "by_cell", is_flag=True, help="List the cells too, not only whole tables.")
@json_option
def command(db: str, before: str, after: str | None, by_cell: bool, as_json: bool) -> None:
    """Show what came to DB and what went from snapshot FROM to TO (numbers or tags), by default the newest.

    Rows are added and removed, rewritten (they lie in other files: compact, refresh), or recalibrated.
    """
    from skydb.snapshots import diff

    found = diff(db, before, after)
    if as_json:
        plain = {f.name: getattr(found, f.name) for f in fields(found) if f.name != "counted"}
        emit({**plain, "cells": found.cells} if by_cell else plain, as_json=True)
    else:
        click.echo("\n".join(_lines(found, by_cell=by_cell)))


def _lines(found: Difference, *, by_cell: bool) -> list[str]:
    first, second = found.before, found.after
    commits = ", ".join(f"{count} {kind}" for kind, count in found.commits.items()) or "nothing"
    lines = [
        f"from snapshot {_state(first)}",
        f"to snapshot   {_state(second)}",
        f"between them  {commits}",
        *(f"tag {tag} names snapshot {number}" for tag, number in found.tags.items()),
        *(f"calibration {c.calibration_id} came with snapshot {c.snapshot}: {c.kind} {c.bands}"
          for c in found.calibrations),
        f"images: {len(found.images_came)} came, {len(found.images_went)} went",
        *_files("+", found.files_came), *_files("-", found.files_went),
    ]  # fmt: skip
    if found.tables:
        lines += ["", text_table([{"table": t.table, **_row(t.counts)} for t in found.tables])]
    if by_cell and found.cells:
        cells = [{"table": c.table, "cell": f"{c.norder}/{c.npix}", **_row(c.counts)} for c in found.cells]
        lines += ["", text_table(cells)]
    return lines


def _files(sign: str, files: tuple[IngestedFile, ...]) -> list[str]:
    shown = [f"{sign} {f.file} ({f.n_measurements} measurements)" for f in files[:SHOWN_FILES]]
    more = len(files) - SHOWN_FILES
    return [*shown, f"{sign} … and {more} more: see --json"] if more > 0 else shown


def _state(state: State) -> str:
    return f"{state.snapshot} of {state.time}, calibration {state.calibration_id}, {state.n_cells} cells"


def _row(counts: Counts) -> dict[str, Any]:
    return {
        "added": counts.added, "removed": counts.removed, "rewritten": counts.rewritten,
        "recalibrated": counts.recalibrated, "files": f"+{counts.files_added} -{counts.files_removed}",
        "bytes": f"+{counts.bytes_added} -{counts.bytes_removed}",
    }  # fmt: skip

"""skydb calibrations: what was solved."""

from __future__ import annotations

import click

from ..output import emit, json_option


@click.command(epilog="Example: skydb calibrations survey.sky")
@click.argument("db", type=click.Path())
@click.option("--at", metavar="SNAPSHOT|TAG", help="As of this snapshot; by default the newest.")
@json_option
def command(db: str, at: str | None, as_json: bool) -> None:
    """List the calibrations of DB, and which of them is the current one.

    With --json each has its report: convergence, gauges, rejections.
    """
    import json

    from skydb import database
    from skydb.store.history import catalog_table

    snapshot = database.open(db).snapshot(at)
    rows = catalog_table(snapshot, "calibrations").to_pylist()
    for row in rows:
        row["current"] = row["calibration_id"] == snapshot.calibration_id
        report = json.loads(row.pop("report") or "{}")
        row |= {"report": report} if as_json else {}
    emit(rows, as_json=as_json)

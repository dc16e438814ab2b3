"""skydb rollback: go back to a snapshot."""

from __future__ import annotations

import click

from ..output import emit, json_option


@click.command(epilog="Example: skydb rollback survey.sky 12")
@click.argument("db", type=click.Path())
@click.argument("to")
@json_option
def command(db: str, to: str, as_json: bool) -> None:
    """Make a new snapshot of DB that has what the snapshot TO (number or tag) has.

    The snapshots between stay, so that a rollback can be taken back by another. Tags and hosts stay as they are.
    """
    from skydb.snapshots import rollback

    done = rollback(db, to)
    if as_json:
        emit(done, as_json=True)
    elif done.is_new:
        click.echo(f"snapshot {done.snapshot} has what snapshot {done.to} has, under calibration "
                   f"{done.calibration_id}: {done.n_returned} files returned, {done.n_ended} ended")  # fmt: skip
    else:
        click.echo(f"nothing to do: snapshot {done.snapshot} has what snapshot {done.to} has")

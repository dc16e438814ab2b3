"""skydb tag: name a snapshot, take a name away, list the names."""

from __future__ import annotations

import click

from ..output import emit, json_option


@click.command(epilog="Example: skydb tag survey.sky PV1")
@click.argument("db", type=click.Path())
@click.argument("name", required=False)
@click.option("--at", metavar="SNAPSHOT", help="The snapshot to name; by default the newest.")
@click.option("--delete", "deleted", metavar="NAME", help="Take this name away.")
@json_option
def command(db: str, name: str | None, at: str | None, deleted: str | None, as_json: bool) -> None:
    """Give a snapshot of DB the name NAME, and publish a read-only copy of the catalog under it.

    Without NAME, list the tags. A snapshot that has a tag is kept; without one, `skydb gc` may give it up.
    """
    from skydb import database
    from skydb.store.tags import delete_tag, live_tags, set_tag

    if deleted is not None and (name is not None or at is not None):
        raise click.UsageError("--delete takes one name away: leave out NAME and --at")
    if name is None and at is not None:
        raise click.UsageError("--at needs a NAME to give")
    root = database.open(db).root
    if deleted is not None:
        emit({"deleted": deleted, "snapshot": delete_tag(root, deleted)}, as_json=as_json)
    elif name is not None:
        emit({"tag": name, "snapshot": set_tag(root, name, at)}, as_json=as_json)
    else:
        emit([{"tag": tag, "snapshot": number} for tag, number in live_tags(root).items()], as_json=as_json)

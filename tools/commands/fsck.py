"""skydb fsck: check a database, and mend it."""

from __future__ import annotations

import click

from ..output import cluster_option, emit, json_option, steps, workers_option


@click.command(epilog="Example: skydb fsck survey.sky --deep")
@click.argument("db", type=click.Path())
@click.option("--deep", is_flag=True, help="Also compute calibrated values, objects and means anew, and compare.")
@click.option("--repair", is_flag=True, help="Mend what can be mended, put what cannot into quarantine/.")
@click.option("--rebuild-catalog", is_flag=True, help="First make the catalog anew, from the manifests in commits/.")
@workers_option
@cluster_option
@json_option
def command(
    db: str, deep: bool, repair: bool, rebuild_catalog: bool, workers: int | None, cluster: str | None, as_json: bool
) -> int:  # fmt: skip
    """Check DB against itself: its catalog, every byte of every file, keys, links, counts, bounds.

    Nothing is written without --repair or --rebuild-catalog. The exit code is 3 if damage is left, or rows
    had to be given up.
    """
    from skydb.checks.fsck import fsck
    from skydb.checks.rebuild import rebuild_catalog as rebuild

    rebuilt = rebuild(db) if rebuild_catalog else None
    with steps() as show:
        report = fsck(db, deep=deep, repair=repair, workers=workers, cluster=cluster, progress=show)
    if as_json:
        emit({**report.as_dict(), "rebuilt": rebuilt}, as_json=True)
    else:
        emit("\n".join([*([rebuilt.text()] if rebuilt else []), report.text()]))
    return 0 if report.clean and not report.lost else 3

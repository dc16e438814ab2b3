"""skydb gc: remove what no snapshot needs."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import click

from skydb.errors import in_ranges

from ..output import emit, json_option, plain_value, text_table

if TYPE_CHECKING:
    from skydb.store.collect import GcReport, Kept

WHY = {
    "newest": "the newest", "tag": "tagged", "read": "read by a process", "grace": "within the grace time",
    "shared": "giving them up frees nothing",
}  # fmt: skip


@click.command(epilog="Example: skydb gc survey.sky --grace 30d --dry-run")
@click.argument("db", type=click.Path())
@click.option("--grace", default="7d", show_default=True, metavar="TIME",
              help="How long a snapshot is kept after another followed it: 12h, 7d, 2w, or 0.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@json_option
def command(db: str, grace: str, dry_run: bool, as_json: bool) -> None:
    """Give up old snapshots of DB, and remove the files that only they need and those that nothing names.

    Kept are the newest snapshot, those with a tag, those that a process reads, and those within the grace time.
    """
    from skydb.snapshots import gc

    report = gc(db, grace=grace, dry_run=dry_run)
    if as_json:
        emit({**plain_value(report), "files": report.files, "bytes": report.bytes}, as_json=True)
    else:
        click.echo("\n".join(_lines(report)))


def _lines(report: GcReport) -> list[str]:
    gave_up, freed = ("would give up", "would free") if report.dry_run else ("gave up", "freed")
    lines = [f"{gave_up} snapshots {in_ranges(report.given_up)}" if report.given_up else "no snapshot to give up"]
    lines += [f"kept {in_ranges([k.snapshot for k in kept])}: {WHY[reason]}{_details(kept)}"
              for reason, kept in _by_reason(report.kept)]  # fmt: skip
    rows = [{"table": f.table, "what": what, "files": f.files, "bytes": f.bytes}
            for what, freed in (("given up", report.freed), ("left over", report.orphans)) for f in freed]  # fmt: skip
    if rows:
        lines += ["", text_table(rows), ""]
    lines.append(f"{freed} {report.files} files, {report.bytes} bytes")
    if report.waiting:
        lines.append(f"{report.waiting} copies wait: they may still be read, or their host is away")
    return lines


def _by_reason(kept: tuple[Kept, ...]) -> list[tuple[str, list[Kept]]]:
    order = list(WHY)
    ranked = sorted(kept, key=lambda k: order.index(k.reason))
    return [(reason, list(each)) for reason, each in groupby(ranked, key=lambda k: k.reason)]


def _details(kept: list[Kept]) -> str:
    """Say which tags, which processes."""
    said = [f"{k.snapshot}: {k.detail}" for k in kept if k.detail and k.reason in ("tag", "read")]
    return f" ({'; '.join(said)})" if said else ""

"""skydb hosts: where the files of a database lie."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..output import emit, json_option, plain_value, progress, workers_option

if TYPE_CHECKING:
    from skydb.database import Database
    from skydb.store.moving import Moved


class Listing(click.Group):
    """The commands about hosts; without one, the hosts are listed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words of the call; `skydb hosts add --help` needs no database."""
        if args and args[0] in self.commands and not Path(args[0]).exists():
            if not {"-h", "--help"} & set(args):
                raise click.UsageError(f"the database comes before the command: skydb hosts DB {' '.join(args)}")
            args = ["DB", *args]
        if args and not args[0].startswith("-") and all(word.startswith("-") for word in args[1:]):
            args = [args[0], "list", *args[1:]]
        return super().parse_args(ctx, args)


@click.group(cls=Listing, epilog="Example: skydb hosts survey.sky add b /disk2/survey")
@click.argument("db", type=click.Path())
@click.pass_context
def command(context: click.Context, db: str) -> None:
    """List the hosts of DB, add one, move files between them.

    A host is a folder or a URL where files of the database lie. Without a command they are listed. `skydb hosts
    COMMAND --help` tells of each command.
    """
    context.meta["db"] = db


def _opened() -> Database:
    from skydb import database

    return database.open(click.get_current_context().meta["db"])


@command.command("list", epilog="Example: skydb hosts survey.sky list")
@json_option
def list_hosts(as_json: bool) -> None:
    """List the hosts, what lies there, and what cannot be read.

    Files and bytes, those of earlier snapshots included, are of first copies, backup_bytes of second ones.
    only_copies: files that have no copy on another host. waiting: copies that are needed no more, until `skydb gc`
    removes them.
    """
    from skydb.store.host_report import away_hosts, host_rows, unreadable
    from skydb.store.hosts import storage_of

    root = _opened().root
    storage, rows = storage_of(root), host_rows(root)
    away = away_hosts(storage)
    lost = unreadable(root, list(away)) if away else []
    if as_json:
        emit({"hosts": rows, "copies": storage.copies, "placement": storage.placement.get("by", "bytes"),
              "unreadable": lost}, as_json=True)  # fmt: skip
        return
    emit(plain_value(rows))
    if lost:
        emit("\nCannot be read, because no copy can be reached:")
        emit([asdict(part) for part in lost])


@command.command(epilog="Example: skydb hosts survey.sky add b /disk2/survey")
@click.argument("name")
@click.argument("root")
@click.option("--worker", metavar="NAME", help="The Dask worker (name or address) that reads it as local.")
@json_option
def add(name: str, root: str, worker: str | None, as_json: bool) -> None:
    """Make the folder or URL ROOT known as host NAME. New cells may go there; `balance` fills it."""
    from skydb.hosts import add_host

    if root.startswith("memory:"):
        raise click.UsageError("what lies in memory is gone with this process: name a folder or another URL")
    emit({"added": name, "snapshot": add_host(_opened(), name, root, worker=worker)}, as_json=as_json)


@command.command("set", epilog="Example: skydb hosts survey.sky set b --root /mnt/new/survey --check")
@click.argument("name")
@click.option("--root", metavar="ROOT", help="Where its files are by now; nothing is moved.")
@click.option("--worker", metavar="NAME", help="The Dask worker that reads it as local; '' for none.")
@click.option("--state", type=click.Choice(["active", "draining"]), help="Whether new files are placed there.")
@click.option("--check", is_flag=True, help="Compare every file there with its digest; else some are looked for.")
@json_option
def set_command(
    name: str, root: str | None, worker: str | None, state: str | None, check: bool, as_json: bool
) -> None:  # fmt: skip
    """Change what is known of host NAME."""
    from skydb.hosts import set_host

    number = set_host(_opened(), name, root=root, worker=worker, state=state, check=check)
    emit({"changed": name, "snapshot": number}, as_json=as_json)


@command.command(epilog="Example: skydb hosts survey.sky remove b")
@click.argument("name")
@click.option("--lost", is_flag=True, help="Its files are gone: second copies take their place.")
@click.option("--accept-loss", is_flag=True, help="With --lost: give up the rows that have no other copy.")
@workers_option
@json_option
def remove(name: str, lost: bool, accept_loss: bool, workers: int | None, as_json: bool) -> None:
    """Forget host NAME, on which nothing lies any more.

    With --lost it is marked `lost` first, so that nothing new goes there, and stays so where rows have no other copy
    and --accept-loss is not given: `skydb hosts DB set NAME --state active` takes that back.
    """
    from skydb.hosts import lose_host, remove_host

    if not lost:
        if accept_loss:
            raise click.UsageError("--accept-loss belongs to --lost")
        emit({"removed": name, "snapshot": remove_host(_opened(), name)}, as_json=as_json)
        return
    with progress("remove") as show:
        moved, gone = lose_host(_opened(), name, accept_loss=accept_loss, workers=workers, progress=show)
    answer = {"removed": name, **_told(moved), "lost_rows": sum(part.rows for part in gone if not part.derived)}
    emit({**answer, "lost": gone} if as_json else answer, as_json=as_json)
    if gone and not as_json:
        emit([asdict(part) for part in gone])


@command.command(epilog="Example: skydb hosts survey.sky drain b")
@click.argument("name")
@workers_option
@json_option
def drain(name: str, workers: int | None, as_json: bool) -> None:
    """Move everything away from host NAME, which takes nothing new from now on."""
    from skydb.hosts import drain as move_away

    with progress("drain") as show:
        moved = move_away(_opened(), name, workers=workers, progress=show)
    emit({"drained": name, **_told(moved)}, as_json=as_json)


@command.command(epilog="Example: skydb hosts survey.sky balance --by rule --rules places.toml")
@click.option("--by", type=click.Choice(["bytes", "random", "rule"]), help="How cells are placed from now on.")
@click.option("--rules", type=click.Path(), metavar="FILE", help="With --by rule: which part of the sky goes where.")
@workers_option
@json_option
def balance(by: str | None, rules: str | None, workers: int | None, as_json: bool) -> None:
    """Move cells until every host has its share."""
    from skydb.hosts import balance as move_evenly

    with progress("balance") as show:
        moved = move_evenly(_opened(), by=by, rules=rules, workers=workers, progress=show)
    emit(_told(moved), as_json=as_json)


@command.command(epilog="Example: skydb hosts survey.sky backup --copies 2")
@click.option("--copies", type=click.IntRange(1, 2), help="How many of each file, from now on; by default as it was.")
@workers_option
@json_option
def backup(copies: int | None, workers: int | None, as_json: bool) -> None:
    """Give every file its second copy on another host, or take second copies away.

    moved_files counts the files that got or lost one.
    """
    from skydb.hosts import set_copies

    with progress("backup") as show:
        moved = set_copies(_opened(), copies, workers=workers, progress=show)
    emit(_told(moved), as_json=as_json)


def _told(moved: Moved) -> dict[str, Any]:
    """Return what was moved, for people and scripts."""
    return {
        "moved_files": moved.files, "copied_files": moved.copies, "copied_bytes": moved.bytes,
        "commits": len(moved.snapshots),
    }  # fmt: skip

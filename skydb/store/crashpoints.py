"""Crash points: named places of the write path where a test may have the process killed, to see what is left.

A point does nothing unless it is armed: with `SKYDB_CRASH_AT=commit.committed:2` in its environment, a process that
passes the point `commit.committed` for the second time ends there as by `kill -9`. So do its worker processes.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "SKYDB_CRASH_AT"

POINTS = (
    # creating a database: its parts are built aside, then moved into place, the catalog last
    "create.begun", "create.built", "create.moved",
    # a job's folder in work/
    "job.opened", "job.described", "job.cell-done", "job.ending", "job.renamed", "job.emptied", "job.files-dropped",
    # a data file of a job: its note, then the file
    "store.noted", "store.stored",
    # any durable file: data, manifests, published tags
    "file.begun", "file.filled", "file.synced", "file.renamed", "file.durable",
    # a verb's own steps
    "addstar.read", "addstar.linked", "addstar.written", "compact.written", "apply.written", "refresh.written",
    "merge.matched", "merge.written", "delete.written", "addrows.written", "tag.published", "tag.withdrawn",
    # images that come again: the old ones are deleted; a bad file: its reason is written, it is moved
    "replace.deleted", "quarantine.noted", "quarantine.moved",
    # a DVO database: its photcodes are there
    "dvo.photcodes",
    # a catalog made anew from the manifests: it is whole, the old one is kept beside it, it has taken its place
    "rebuild.built", "rebuild.kept", "rebuild.swapped",
    # moving files between hosts: a batch is copied, then committed; the last one is followed by the tags
    "move.copied", "move.committed", "move.published",
    # the transaction, and the manifest after it
    "commit.begun", "commit.checked", "commit.numbered", "commit.ended", "commit.added", "commit.applied",
    "commit.committed", "commit.acknowledged",
)  # fmt: skip
"""Every point, declared once."""

passed = dict.fromkeys(POINTS, 0)
"""How often this process has passed each point."""


def reached(point: str) -> None:
    """Pass a point; the process ends here if that is asked for."""
    passed[point] += 1
    if os.environ.get(VARIABLE) == f"{point}:{passed[point]}":
        os.kill(os.getpid(), signal.SIGKILL)

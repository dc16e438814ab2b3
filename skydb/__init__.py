"""skydb: the catalog database that a sky survey runs on.

`import skydb` is light: a verb loads its module when it is first asked for. A verb is offered when its module is
there.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from skydb.caches import place_caches

if TYPE_CHECKING:
    from skydb.calib.relcal import relcal as relcal
    from skydb.checks.fsck import fsck as fsck
    from skydb.database import create as create
    from skydb.database import open as open
    from skydb.declared import declare_table as declare_table
    from skydb.declared import drop_table as drop_table
    from skydb.deletion import delete as delete
    from skydb.derived import refresh as refresh
    from skydb.ingest.addrows import addrows as addrows
    from skydb.ingest.addstar import addstar as addstar
    from skydb.ingest.import_dvo import import_dvo as import_dvo
    from skydb.ingest.merge import merge as merge
    from skydb.query.connection import connect as connect
    from skydb.query.release import release as release
    from skydb.snapshots import diff as diff
    from skydb.snapshots import gc as gc
    from skydb.snapshots import rollback as rollback

__version__ = "0.1.0"

VERBS = {
    "create": "skydb.database",
    "open": "skydb.database",
    "addstar": "skydb.ingest.addstar",
    "declare_table": "skydb.declared",
    "drop_table": "skydb.declared",
    "addrows": "skydb.ingest.addrows",
    "refresh": "skydb.derived",
    "delete": "skydb.deletion",
    "diff": "skydb.snapshots",
    "rollback": "skydb.snapshots",
    "gc": "skydb.snapshots",
    "fsck": "skydb.checks.fsck",
    "merge": "skydb.ingest.merge",
    "import_dvo": "skydb.ingest.import_dvo",
    "relcal": "skydb.calib.relcal",
    "relastro": "skydb.calib.relastro",
    "connect": "skydb.query.connection",
    "release": "skydb.query.release",
}
"""Which module holds which verb: the only place where the store names what is built upon it."""


place_caches()


def __getattr__(name: str) -> Any:
    """Return a verb, loading its module."""
    if name not in VERBS or find_spec(VERBS[name]) is None:
        raise AttributeError(f"module 'skydb' has no attribute {name!r}")
    verb = getattr(import_module(VERBS[name]), name)
    globals()[name] = verb
    return verb


def __dir__() -> list[str]:
    """List the verbs that are there, beside what is loaded."""
    return sorted({*globals(), *(verb for verb, module in VERBS.items() if find_spec(module))})

"""Say why a first run is slow: kernels are compiled when they are first called, and kept in a cache of numba's."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import click

PATIENCE_S = 2.0
"""Silence after which people begin to wonder."""

LOOKS = 30
"""How often the cache is looked at: by then every kernel of a command is compiled."""

NOTE = "skydb: compiling kernels, up to half a minute: only the first run of a command does"


@contextmanager
def telling_of_compilation() -> Iterator[None]:
    """Say on stderr, if it is a terminal, when kernels are compiled in a block that lasts.

    Worker processes compile as well as this one, so what counts is what appears in the cache.
    """
    if not sys.stderr.isatty():
        yield
        return
    done = Event()
    Thread(target=tell_of_compilation, args=(done, time.time(), PATIENCE_S), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def tell_of_compilation(done: Event, since: float, every_s: float) -> None:
    """Look at the cache from time to time until `done`, and say once that kernels were compiled since a Unix time."""
    for _ in range(LOOKS):
        if done.wait(every_s):
            return
        if kernels_compiled_since(since):
            click.echo(NOTE, err=True)
            return


def kernels_compiled_since(since: float) -> bool:
    """Say whether numba has put a kernel of a loaded module of skydb into its cache since a Unix time."""
    return any(_written(path) >= since for folder in _cache_folders() for path in folder.glob("*.nbi"))


def _cache_folders() -> set[Path]:
    """Return where numba caches: beside the modules, else in the user's cache, else where its setting says."""
    modules = [m for name, m in list(sys.modules.items()) if name.startswith("skydb.")]
    beside = {Path(file).parent / "__pycache__" for m in modules if (file := getattr(m, "__file__", None))}
    elsewhere = Path(os.environ.get("NUMBA_CACHE_DIR") or Path.home() / ".cache" / "numba")
    return beside | ({p for p in elsewhere.iterdir() if p.is_dir()} if elsewhere.is_dir() else set())


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # numba has replaced it
        return 0.0

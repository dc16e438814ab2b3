"""Folders for work outside a database: held as long as they are used, so that the next user clears up after the killed.

As in `scratch`, the kernel lets go of a folder however its process ends. Where a file system has no locks, a folder is
not held, and nothing is cleared up.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .layout import new_name
from .locks import alone, shared


@contextmanager
def held_folder(parent: Path, prefix: str, suffix: str = "") -> Iterator[Path]:
    """Yield a new folder with a fresh name between a prefix and a suffix; in the end it goes, unless it was renamed.

    Folders of such names that nobody holds, which killed processes have left, are removed first.

    Raises
    ------
    OSError
        It cannot be made.
    """
    _remove_left(parent, prefix, suffix)
    with ExitStack() as held:
        folder = _new_folder(parent, prefix, suffix, held)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _new_folder(parent: Path, prefix: str, suffix: str, held: ExitStack) -> Path:
    """Make a folder and hold it; another one, if somebody takes it for that of a killed process before it is held."""
    while True:
        folder = parent / f"{prefix}{new_name()}{suffix}"
        folder.mkdir()
        try:
            held.enter_context(shared(folder))
        except FileNotFoundError:
            continue
        except OSError:  # there are no locks here
            pass
        return folder


def _remove_left(parent: Path, prefix: str, suffix: str) -> None:
    name = re.compile(f"{re.escape(prefix)}[0-9a-f]{{32}}{re.escape(suffix)}")
    with suppress(OSError):
        for folder in [path for path in parent.iterdir() if name.fullmatch(path.name)]:
            with suppress(OSError), alone(folder) as left:
                if left:
                    shutil.rmtree(folder, ignore_errors=True)

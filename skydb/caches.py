"""Where libraries keep what they have compiled, on behalf of a user who has no folder for it."""

from __future__ import annotations

import os
import stat
import sys

_OF_NUMBA, _OF_MATPLOTLIB = "NUMBA_CACHE_DIR", "MPLCONFIGDIR"


def place_caches() -> None:
    """Give numba and matplotlib a temporary folder where neither the user's own nor skydb's may be written.

    Numba compiles nothing without one. What the environment says already stays.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__pycache__")
    if _may_be_written(home):
        return
    names = [_OF_MATPLOTLIB] if _may_be_written(beside) else [_OF_MATPLOTLIB, _OF_NUMBA]
    if all(name in os.environ for name in names):
        return
    folder = _private_folder()
    for name in names if folder else ():
        os.environ.setdefault(name, os.path.join(folder, name.lower()))
    if "numba" in sys.modules and _OF_NUMBA in names:  # which has read its settings
        sys.modules["numba"].config.CACHE_DIR = os.environ.get(_OF_NUMBA, "")


def _may_be_written(path: str) -> bool:
    """Say whether a folder may be written, or made."""
    while path and not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return os.access(path, os.W_OK | os.X_OK)


def _private_folder() -> str:
    """Return a temporary folder that nobody else may write, since code is read from it; "" where there can be none."""
    import atexit
    import shutil
    import tempfile

    try:
        folder = os.path.join(tempfile.gettempdir(), f"skydb-{os.getuid()}")
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            there = os.lstat(folder)
            if there.st_uid != os.getuid() or stat.S_IMODE(there.st_mode) & 0o077 or not stat.S_ISDIR(there.st_mode):
                folder = tempfile.mkdtemp(prefix="skydb-")  # another has taken the name
                atexit.register(shutil.rmtree, folder, ignore_errors=True)
    except OSError:
        return ""
    return folder

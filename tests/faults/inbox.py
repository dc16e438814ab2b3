"""A folder beside the database where files appear, and one where bad ones are set aside: none may ever be lost."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from skydb.errors import clear_disk_errors
from skydb.ingest.quarantine import REASON
from skydb.store.files import fsync_directory

ARRIVALS = "arrivals"
TAKEN_BY = {"quarantine": "1-", "watch": "2-"}
"""How the names of the files begin that a step takes."""
BAD = "bad.cmf"
"""How those of bad files end."""


def write_arrivals(inputs: Path, good: Sequence[Path]) -> None:
    """Write what will appear: for each of two steps a half of the good files, and one that is cut off."""
    (inputs / ARRIVALS).mkdir()
    half = len(good) // 2
    for start, files in zip(TAKEN_BY.values(), (good[:half], good[half:]), strict=True):
        for number, path in enumerate(files):
            path.rename(inputs / ARRIVALS / f"{start}{number}.cmf")
        whole = (inputs / ARRIVALS / f"{start}0.cmf").read_bytes()
        (inputs / ARRIVALS / f"{start}{BAD}").write_bytes(whole[: len(whole) * 2 // 3])


def inbox_of(root: Path) -> Path:
    """The folder where they appear."""
    return root.parent / "inbox"


def aside_of(root: Path) -> Path:
    """The folder where bad ones are set aside."""
    return root.parent / "aside"


def arrive(root: Path, inputs: Path) -> None:
    """Let all files appear, each whole and for good."""
    inbox = inbox_of(root)
    with clear_disk_errors(root):
        inbox.mkdir(exist_ok=True)
        for path in sorted((inputs / ARRIVALS).iterdir()):
            coming = inbox / f".{path.name}"
            with coming.open("wb") as file:
                file.write(path.read_bytes())
                file.flush()
                os.fsync(file.fileno())
            coming.rename(inbox / path.name)
        fsync_directory(inbox)
        fsync_directory(inbox.parent)


def check_files(root: Path, inputs: Path, done: Sequence[str]) -> None:
    """Fail unless every file that came, once they came, is in one of the folders; after their steps bad ones are aside.

    `done` are the steps that were acknowledged. What is aside has its reason beside it, and is bad.
    """
    if "arrive" not in done:
        return
    aside = {path.name for path in _held(aside_of(root)) if not path.name.startswith(".")}
    due = {f"{start}{BAD}" for step, start in TAKEN_BY.items() if step in done}
    for path in (inputs / ARRIVALS).iterdir():
        places = [folder / path.name for folder in (inbox_of(root), aside_of(root)) if (folder / path.name).exists()]
        assert len(places) == 1, f"{path.name} is at {places}"
        assert places[0].read_bytes() == path.read_bytes(), f"{places[0]} is not what came"
        if path.name in due | aside:
            why = aside_of(root) / f"{path.name}{REASON}"
            assert path.name in aside, f"{path.name} was not set aside"
            assert "copy the file again" in why.read_text(), why
    bad = {f"{start}{BAD}" for start in TAKEN_BY.values()}
    assert aside <= bad | {f"{name}{REASON}" for name in bad}, aside


def check_nothing_half_written(root: Path) -> None:
    """Fail if a step that is done has left something in the folders under another name."""
    assert not [path for folder in (inbox_of(root), aside_of(root)) for path in _held(folder) if path.name[0] == "."]


def _held(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []

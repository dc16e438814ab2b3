"""A snapshot says how it was made: the words as typed, or those that would do the same."""

from __future__ import annotations

import shlex
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import skydb.database as database
from skydb.ingest.addstar import addstar
from skydb.ingest.readers.interface import DetectionFilter
from skydb.photcodes import add_photcode
from skydb.schema.photcodes import Photcode
from skydb.store.command_line import LONGEST, one_line
from skydb.store.history import catalog_table
from skydb.tools.cli import main
from tests.ingest.catalog_files import sources, write_ldac


def commands(root: Path) -> list[str]:
    return catalog_table(database.open(root).snapshot(), "snapshots")["command"].to_pylist()


def test_command_line_is_recorded_as_it_was_typed(tmp_path: Path) -> None:
    root, file = tmp_path / "my survey.sky", write_ldac(tmp_path / "n.ldac", [({}, sources(5))])
    calls = [
        ["create", str(root)], ["photcodes", str(root), "--add", "R"],
        ["photcodes", str(root), "--add", "C.R", "--band", "R", "--zero-point", "25.1", "--json"],
        ["addstar", str(root), str(file), "--photcode", "C.R", "--radius=2", "--workers", "1"],
    ]  # fmt: skip
    assert [main(call) for call in calls] == [0, 0, 0, 0]
    assert [shlex.split(line) for line in commands(root)] == calls


def test_python_call_is_recorded_as_the_command_line_that_does_the_same(tmp_path: Path) -> None:
    file = write_ldac(tmp_path / "n.ldac", [({}, sources(5))])
    db = database.create(tmp_path / "t.sky")
    add_photcode(db, Photcode(1, "C.R", "DEP"))
    keep = DetectionFilter(max_mag_err=0.5, exclude_photflags=0x200)
    addstar(db, file, photcode="C.R", radius_arcsec=2.5, keep=keep, keep_order=True, defer=True, workers=1)
    assert commands(db.root) == [
        "create",
        f"photcodes {db.root} --add C.R",
        f"addstar {db.root} {file} --photcode C.R --radius 2.5 --max-mag-err 0.5 --exclude-photflags 0x200"
        " --keep-order --defer",
    ]


def test_many_files_are_the_first_and_a_number() -> None:
    files = [f"n{k}.smf" for k in range(83)]
    assert one_line(["addstar", "s.sky", *files, "--defer", *files[:2]]) == (
        "addstar s.sky n0.smf n1.smf … (+81 more) --defer n0.smf n1.smf"
    )
    assert one_line(["addstar", "s.sky", "--photcode", "C.R", *files]) == (
        "addstar s.sky --photcode C.R n0.smf n1.smf n2.smf n3.smf … (+79 more)"
    )


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=6), max_size=6))
def test_few_words_come_back_and_any_are_bounded(words: list[str]) -> None:
    assert shlex.split(one_line(words)) == words
    assert len(one_line([word * LONGEST for word in words])) <= LONGEST + 2

"""Images that replace others, where the process is killed between the deletion and the ingest."""

from __future__ import annotations

from pathlib import Path

from skydb.checks.fsck import fsck
from skydb.ingest.addstar import addstar
from tests.ingest.catalog_files import rows, write_cmf
from tests.ingest.skies import check_nothing_is_left_over, contents, new_database
from tests.stateful.killing import killed_at


def test_same_call_brings_the_new_images_though_the_old_file_is_given_too(tmp_path: Path) -> None:
    """As a watched folder has both: what was deleted for the new file must not come back in its place."""
    db = new_database(tmp_path / "t.sky")
    old = write_cmf(tmp_path / "a.cmf", rows(20, seed=1))
    addstar(db, old, workers=1)
    new = write_cmf(tmp_path / "b.cmf", rows(5, seed=2))

    def replace() -> None:
        addstar(db, [old, new], replace_images=True, workers=1)

    assert killed_at("replace.deleted:1", replace)
    assert contents(db)["measurements"].num_rows == 0
    replace()
    held = contents(db)["measurements"]["inst_flux"].to_pylist()
    assert sorted(held) == sorted(rows(5, seed=2)["PSF_INST_FLUX"].tolist())
    assert fsck(db, deep=True, workers=1).findings == ()
    check_nothing_is_left_over(db)

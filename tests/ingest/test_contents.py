"""What an input is made of, and that its digest is the one that databases have in their log."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from skydb import addstar
from skydb.ingest.readers import hats_folder
from skydb.ingest.readers.contents import content_of
from skydb.ingest.readers.dvo.reader import DvoReader
from skydb.ingest.readers.hats_folder import leaf_files
from tests.ingest.dvo_surveys import NAMES, make_survey
from tests.ingest.skies import new_database
from tests.ingest.tables import mapping_of
from tests.ingest.test_hats_folder import LEAVES, SOURCES, catalog, sources


def blake(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def test_file_is_its_own_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"stars")
    content = content_of(tmp_path / "a")
    assert (content.files, content.bytes, content.digest()) == ((tmp_path / "a",), 5, blake(b"stars"))
    with pytest.raises(FileNotFoundError):
        content_of(tmp_path / "b")


@pytest.mark.parametrize("n_leaves", [1, 4])
def test_catalog_is_its_leaves_in_order_of_pixels(tmp_path: Path, n_leaves: int) -> None:
    """Also of one leaf: the folder is another input than that."""
    folder = catalog(tmp_path / "cat", dict(list(LEAVES.items())[-n_leaves:]))
    leaves = [folder / "dataset" / name for name in sorted(LEAVES) if (folder / "dataset" / name).exists()]
    zero_first = sorted(leaves, key=lambda leaf: (leaf.relative_to(folder).parts[1], "Npix=9" not in leaf.name, leaf))
    content = content_of(folder)
    assert content.files == tuple(zero_first)
    assert content.bytes == sum(leaf.stat().st_size for leaf in leaves)
    assert content.digest() == blake("".join(blake(leaf.read_bytes()) for leaf in zero_first).encode())


def test_dvo_database_is_its_images_and_the_measurements_of_its_regions(tmp_path: Path) -> None:
    catdir = make_survey(tmp_path / "files", n_exposures=1, n_stars=8).dvo.write(tmp_path / "catdir")
    tables = {"images": catdir / "Images.dat", **{name: catdir / f"{name}.cpm" for name in NAMES}}
    content = content_of(catdir, DvoReader())
    assert dict(zip(content.names, content.files, strict=True)) == tables
    assert content.bytes == sum(path.stat().st_size for path in tables.values())
    words = [f"{name} {blake(path.read_bytes())}" for name, path in tables.items()]
    assert content.digest() == blake("\n".join(words).encode())


def test_a_catalog_is_listed_once_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = catalog(tmp_path / "cat", {"Norder=0/Dir=0/Npix=1.parquet": sources([1, 2], [59000.0, 59001.0], 45.0)})
    listed = []

    def counted(path: Path) -> tuple[Path, ...]:
        listed.append(path)
        return leaf_files(path)

    monkeypatch.setattr(hats_folder, "leaf_files", counted)
    report = addstar(new_database(tmp_path / "t.sky"), folder, mapping=mapping_of(tmp_path, SOURCES), workers=1)
    assert (report.n_ingested, listed) == (1, [folder])

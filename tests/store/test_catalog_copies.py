"""The checksum in a published copy of the catalog."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path

import pytest

from skydb.errors import DataError
from skydb.store import catalog_copies
from skydb.store.catalog_copies import place_of, require_whole, seal

PLACE = place_of("survey.sky", "DR1")


@pytest.mark.parametrize("size", [64, 65, 163, 164, 165, 1000])
def test_seal_is_the_checksum_of_the_copy_with_zeros_in_its_place(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_copies, "_PIECE_BYTES", 100)
    path, content = tmp_path / "DR1.sqlite", bytes(n % 251 for n in range(size))
    path.write_bytes(content)
    seal(path)
    crc = zlib.crc32(content[:60] + bytes(4) + content[64:])
    assert path.read_bytes() == content[:60] + crc.to_bytes(4, "big") + content[64:]
    require_whole(path, PLACE)


@pytest.mark.parametrize("at", [0, 59, 60, 63, 64, 163, 164, 299])
def test_copy_with_a_flipped_bit_is_refused(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_copies, "_PIECE_BYTES", 100)
    path = tmp_path / "DR1.sqlite"
    path.write_bytes(bytes(range(150)) * 2)
    seal(path)
    content = bytearray(path.read_bytes())
    content[at] ^= 16
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"tags/DR1.sqlite: a published tag is damaged: checksum"):
        require_whole(path, PLACE)


def test_copy_is_never_whole_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "DR1.sqlite"
    with path.open("wb") as file:
        file.truncate(16 * 2**20)
    tracemalloc.start()
    try:
        seal(path)
        require_whole(path, PLACE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20

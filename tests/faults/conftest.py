"""The server, the story and the disk of all tests here: made once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cases import Server, Story
from .disk import FaultyDisk, compiler


@pytest.fixture(scope="session")
def any_disk(tmp_path_factory: pytest.TempPathFactory) -> FaultyDisk | None:
    return FaultyDisk(tmp_path_factory.mktemp("disk")) if compiler() else None


@pytest.fixture
def disk(any_disk: FaultyDisk | None) -> FaultyDisk:
    if any_disk is None:
        pytest.skip("no C compiler here, or no Linux: the disk that fails cannot be built")
    return any_disk


@pytest.fixture(scope="session")
def quick_folder() -> Iterator[Path]:
    """A folder in memory where there is one: cases take 0.5 s instead of 3 s, which go to `fsync`."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(prefix="faults-", dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder).resolve()


@pytest.fixture(scope="session")
def story(any_disk: FaultyDisk | None, quick_folder: Path) -> Iterator[Story]:
    server = Server(quick_folder, any_disk.environment if any_disk else None)
    yield Story(quick_folder, server)
    server.close()

"""What the tests with LSDB share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def serial_dask() -> Iterator[None]:
    """Let dask, on which LSDB computes, work in this thread."""
    dask = pytest.importorskip("dask")
    with dask.config.set(scheduler="synchronous"):
        yield

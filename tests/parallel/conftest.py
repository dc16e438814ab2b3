"""A Dask cluster of three worker processes on this machine, two of which are a host each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from skydb.parallel.dask_client import disconnect


@pytest.fixture(scope="session")
def local_cluster() -> Iterator[Callable[..., Any]]:
    """Return a function that starts a cluster of three workers with some settings, stopped at the end."""
    distributed = pytest.importorskip("distributed", reason="needs the extra: pip install 'skydb[cluster]'")
    started = []

    def start(**settings: Any) -> Any:
        asked = {"n_workers": 3, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0, **settings}
        started.append(distributed.LocalCluster(**asked))
        return started[-1]

    yield start
    disconnect()
    for cluster in started:
        cluster.close()


@pytest.fixture(scope="session")
def cluster(local_cluster: Callable[..., Any]) -> Any:
    """A cluster whose workers all see the same."""
    return local_cluster()

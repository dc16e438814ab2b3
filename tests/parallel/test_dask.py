"""Dask workers: bound to hosts, killed, gone; what cannot be reached is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from skydb.errors import SkydbError, UsageError
from skydb.parallel import dask_client, dask_stage
from skydb.parallel.dask import DaskExecutor
from skydb.parallel.executor import Executor, executor_for

from . import tasks
from .tasks import Part

HOSTS = ("north", "south", "east")


pytestmark = pytest.mark.slow


@pytest.fixture
def hosts(local_cluster: Callable[..., Any]) -> Iterator[str]:
    """The address of a cluster of three workers that nobody starts again, each a host of its own."""
    address = local_cluster(n_workers=0).scheduler_address
    with ExitStack() as stack:
        for host in HOSTS:
            stack.enter_context(started_worker(address, "--resources", f"skydb-host-{host}=1"))
        yield address
        dask_client.disconnect()


@contextmanager
def started_worker(address: str, *words: str) -> Iterator[None]:
    """A worker of its own, started as people start it."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    worker = subprocess.Popen([*command, "--no-nanny", "--death-timeout", "20", *words], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        worker.kill()
        worker.wait()


def processes(executor: Executor) -> dict[str, int]:
    """The process of every host's worker."""
    while executor.workers < len(HOSTS):
        time.sleep(0.05)
    parts = [Part(number, host) for number, host in enumerate(HOSTS)]
    return {host: process for _, host, process in executor.map(tasks.where, parts)}


def test_tasks_run_on_the_host_that_holds_their_item(hosts: str) -> None:
    executor = executor_for(cluster=hosts)
    process = processes(executor)
    assert len(set(process.values())) == 3
    parts = [Part(number, HOSTS[number**2 % 3]) for number in range(30)]
    assert list(executor.map(tasks.where, parts)) == [(p.number, p.host, process[p.host]) for p in parts]


def test_backup_takes_over_from_a_host_that_is_lost_in_the_middle(hosts: str) -> None:
    executor = executor_for(cluster=hosts)
    process = processes(executor)
    parts = [Part(number, HOSTS[number % 3], HOSTS[(number + 1) % 3]) for number in range(60)]
    answers = executor.map(partial(slow_where, seconds=0.02), parts)
    first = [next(answers) for _ in range(3)]
    os.kill(process["north"], signal.SIGKILL)
    found = first + list(answers)
    assert [number for number, _, _ in found] == list(range(60))
    assert {host for _, host, _ in found[9:]} == {"south", "east"}
    assert {p for number, _, p in found[9:] if number % 3 == 0} == {process["south"]}


def slow_where(part: Part, *, seconds: float) -> tuple[int, str, int]:
    time.sleep(seconds)
    return tasks.where(part)


def test_lost_host_without_a_backup_is_an_error_that_names_cell_and_host(hosts: str) -> None:
    executor = DaskExecutor.at(hosts)
    executor.patience = 0.5
    os.kill(processes(executor)["north"], signal.SIGKILL)
    parts = [Part(number, HOSTS[number % 3]) for number in range(6)]
    with pytest.raises(SkydbError, match=r"cell Part\(number=0.*no Dask worker is on host 'north'.*skydb-host-north=1"):
        list(executor.map(tasks.where, parts))


def test_host_that_the_catalog_gives_to_a_worker_which_is_not_there_is_an_error(cluster: Any) -> None:
    executor = DaskExecutor.at(cluster.scheduler_address, places={"north": "10.0.0.7:1234"})
    executor.patience = 0.2
    with pytest.raises(SkydbError, match="no Dask worker is on host 'north'"):
        list(executor.map(tasks.where, [Part(0, "north")]))


def test_worker_killed_in_the_middle_is_made_up_for(cluster: Any, tmp_path: Path) -> None:
    executor = executor_for(cluster=cluster.scheduler_address)
    assert list(executor.map(partial(tasks.die_once, folder=tmp_path), range(30))) == list(range(30))
    assert (tmp_path / "died").exists()


@pytest.mark.slow
def test_task_that_kills_every_worker_is_an_error_that_names_it(local_cluster: Callable[..., Any]) -> None:
    executor = executor_for(cluster=local_cluster(silence_logs=50).scheduler_address)
    with pytest.raises(SkydbError, match="2: Dask workers died again and again at the same task"):
        list(executor.map(tasks.die_at_two, range(6)))
    assert list(executor.map(tasks.square, range(3))) == [0, 1, 4]


def test_many_items_are_few_tasks(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_stage, "MOST_TASKS", 20)
    executor = executor_for(cluster=cluster.scheduler_address)
    sent: list[object] = []
    submit = executor.client.submit  # type: ignore[attr-defined]  # the client of Dask
    monkeypatch.setattr(executor.client, "submit", lambda *a, **k: sent.append(a) or submit(*a, **k))  # type: ignore[attr-defined,func-returns-value]  # the same
    assert list(executor.map(tasks.square, range(1001))) == [x * x for x in range(1001)]
    assert len(sent) <= 20
    with pytest.raises(Exception, match="three is bad"):
        list(executor.map(tasks.fail_at_three, range(1001)))


def test_answer_that_takes_long_to_fetch_arrives(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile it is looked for lost workers many times."""
    monkeypatch.setattr(dask_stage, "TICK_SECONDS", 0.001)
    found = list(executor_for(cluster=cluster).map(partial(tasks.ones, megabytes=64), range(2)))
    assert [len(answer) for answer in found] == [64 << 17] * 2


def test_large_task_is_sent_to_a_worker_once(cluster: Any) -> None:
    executor = executor_for(cluster=cluster.scheduler_address)
    big = bytes(10 * dask_stage.SHARED_BYTES)
    assert list(executor.map(partial(length_of, big=big), range(12))) == [len(big)] * 12


def length_of(_: int, *, big: bytes) -> int:
    return len(big)


@contextmanager
def started_scheduler(file: Path, port: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """A scheduler of its own, which writes its address into a file."""
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", str(port), "--no-dashboard"]
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--scheduler-file", str(file)], stderr=subprocess.DEVNULL
    ) as scheduler:
        try:
            yield scheduler
        finally:
            scheduler.kill()
            dask_client.disconnect()


def test_scheduler_that_goes_away_is_an_error_until_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_client, "CONNECT_SECONDS", 1)
    with started_scheduler(tmp_path / "s.json") as scheduler:
        address = address_in(tmp_path / "s.json")
        with started_worker(address):
            executor = executor_for(cluster=address)
            answers = executor.map(partial(slow_square, seconds=0.05), range(200))
            assert next(answers) == 0
            scheduler.kill()
            with pytest.raises(SkydbError, match="the Dask scheduler is gone"):
                list(answers)
        for _ in range(2):
            with pytest.raises(UsageError, match="no Dask scheduler answers; start one"):
                list(executor.map(tasks.square, range(3)))
    with started_scheduler(tmp_path / "s.json", int(address.rpartition(":")[2])):
        assert address_in(tmp_path / "s.json") == address
        with started_worker(address):
            assert list(executor.map(tasks.square, range(3))) == [0, 1, 4]


@pytest.mark.parametrize(("how", "said"), [
    (signal.SIGKILL, "the Dask scheduler is gone"), (signal.SIGSTOP, "the Dask scheduler has not answered for 1 s"),
])  # fmt: skip
def test_lost_scheduler_is_all_that_is_said_and_the_process_ends(
    how: signal.Signals, said: str, tmp_path: Path
) -> None:
    script = """
import os, sys
from functools import partial
from skydb.parallel import dask_client
from skydb.parallel.executor import executor_for
from tests.parallel.test_dask import slow_square

dask_client.ANSWER_SECONDS = 1.0
answers = executor_for(cluster=sys.argv[1]).map(partial(slow_square, seconds=0.05), range(200))
next(answers)
os.kill(int(sys.argv[2]), int(sys.argv[3]))
try:
    list(answers)
except Exception as error:
    print(error)
"""
    with started_scheduler(tmp_path / "s.json") as scheduler:
        address = address_in(tmp_path / "s.json")
        with started_worker(address):
            ended = subprocess.run(
                [sys.executable, "-c", script, address, str(scheduler.pid), str(int(how))],
                capture_output=True, text=True, timeout=60, check=True, env={**os.environ, "PYTHONPATH": os.getcwd()},
            )  # fmt: skip
    assert ended.stdout.startswith(f"{address}: {said}")
    assert ended.stderr == ""


def test_scheduler_that_is_stopped_before_it_is_asked_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_client, "CONNECT_SECONDS", 1)
    with started_scheduler(tmp_path / "s.json") as scheduler:
        address = address_in(tmp_path / "s.json")
        scheduler.send_signal(signal.SIGSTOP)
        with pytest.raises(UsageError, match="no Dask scheduler answers; start one"):
            executor_for(cluster=address)


def test_stopped_worker_is_let_go_and_its_batches_are_done_by_others(
    hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_stage, "SILENT_SECONDS", 2.0)
    executor = executor_for(cluster=hosts)
    process = processes(executor)
    free = executor.map(partial(slow_square, seconds=0.02), range(100))
    bound = executor.map(
        partial(slow_where, seconds=0.02), [Part(n, HOSTS[n % 3], HOSTS[(n + 1) % 3]) for n in range(60)]
    )
    assert [next(free), next(bound)[0]] == [0, 0]
    os.kill(process["north"], signal.SIGSTOP)
    assert list(free) == [x * x for x in range(1, 100)]
    found = list(bound)
    assert [number for number, _, _ in found] == list(range(1, 60))
    assert {host for _, host, _ in found[9:]} == {"south", "east"}


def slow_square(x: int, *, seconds: float) -> int:
    time.sleep(seconds)
    return x * x


def address_in(path: Path) -> str:
    import json

    for _ in range(300):
        if path.exists() and path.read_text():
            return str(json.loads(path.read_text())["address"])
        time.sleep(0.1)
    raise TimeoutError


def test_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_client, "CONNECT_SECONDS", 1)
    with pytest.raises(UsageError, match=r"tcp://127.0.0.1:9: no Dask scheduler answers; start one"):
        executor_for(cluster="tcp://127.0.0.1:9")
    for address in ("no address", "127.0.0.1", "tcp://127.0.0.1:port"):
        with pytest.raises(UsageError, match="no Dask scheduler answers"):
            executor_for(cluster=address)
    with pytest.raises(UsageError, match="3 is no cluster"):
        executor_for(cluster=3)


def test_missing_dask_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"Dask is not installed; pip install 'skydb\[cluster\]'"):
        executor_for(cluster="tcp://127.0.0.1:8786")


def test_workers_and_a_cluster_are_one_too_many() -> None:
    with pytest.raises(UsageError, match="give one"):
        executor_for(2, cluster="tcp://127.0.0.1:8786")


def test_cluster_object_is_a_cluster(cluster: Any) -> None:
    assert list(executor_for(cluster=cluster).map(tasks.square, range(3))) == [0, 1, 4]

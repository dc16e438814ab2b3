"""Every executor keeps the contract."""

from __future__ import annotations

from typing import Any

import pytest

from skydb.parallel.executor import Executor, SerialExecutor, executor_for
from skydb.parallel.processes import ProcessExecutor

from .contract import ExecutorContract

pytestmark = pytest.mark.filterwarnings("ignore:.*worker stopped while some jobs:UserWarning")


class TestSerial(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Executor:
        return SerialExecutor()


class TestProcesses(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Executor:
        return ProcessExecutor(2)


class TestDask(ExecutorContract):
    @pytest.fixture
    def executor(self, cluster: Any) -> Executor:
        return executor_for(cluster=cluster.scheduler_address)

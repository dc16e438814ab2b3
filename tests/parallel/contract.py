"""What every executor promises; a test class per executor inherits it and gives the fixture `executor`."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path

import pytest

from skydb.errors import DataError
from skydb.parallel.executor import Executor

from . import tasks


class ExecutorContract:
    """The claims."""

    def test_answers_come_in_the_order_of_the_items(self, executor: Executor) -> None:
        assert list(executor.map(tasks.late_first, range(9))) == list(range(9))

    def test_no_items_have_no_answers_and_one_has_one(self, executor: Executor) -> None:
        assert list(executor.map(tasks.square, [])) == []
        assert list(executor.map(tasks.square, [3])) == [9]

    def test_items_may_be_any_iterable(self, executor: Executor) -> None:
        assert list(executor.map(tasks.square, (x for x in (1, 2, 3)))) == [1, 4, 9]

    def test_error_of_a_task_arrives_whole_after_the_answers_before_it(self, executor: Executor) -> None:
        answers = executor.map(tasks.fail_at_three, range(6))
        assert [next(answers) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(DataError, match="item 3: three is bad; leave it out") as raised:
            next(answers)
        assert (raised.value.what, raised.value.where, raised.value.todo) == (
            "three is bad", "item 3", "leave it out",
        )  # fmt: skip
        assert list(executor.map(tasks.square, range(4))) == [0, 1, 4, 9]

    def test_timeout_of_a_task_is_its_own(self, executor: Executor) -> None:
        with pytest.raises(TimeoutError, match="the task's own, at 0"):
            list(executor.map(tasks.time_out, range(2)))

    def test_progress_rises_item_by_item_to_the_total(self, executor: Executor) -> None:
        seen: list[tuple[int, int]] = []
        list(executor.map(tasks.square, range(7), progress=lambda done, of: seen.append((done, of))))
        assert seen == [(done, 7) for done in range(1, 8)]

    def test_tasks_run_where_their_caller_is(
        self, executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        list(executor.map(tasks.folder_of, range(4)))
        monkeypatch.chdir(tmp_path)
        assert set(executor.map(tasks.folder_of, range(4))) == {str(tmp_path)}

    def test_what_is_done_ahead_is_bounded(self, executor: Executor, tmp_path: Path) -> None:
        answers = executor.map(partial(tasks.leave_trace, folder=tmp_path), range(400))
        next(answers)
        time.sleep(0.5)
        assert len(list(tmp_path.iterdir())) < 60
        assert sum(1 for _ in answers) == 399

    def test_large_answers_arrive_whole(self, executor: Executor) -> None:
        sums = [float(answer.sum()) for answer in executor.map(tasks.ones, range(12))]
        assert sums == [float(4 << 17)] * 12

    def test_abandoned_map_starts_no_more_tasks(self, executor: Executor, tmp_path: Path) -> None:
        answers = executor.map(partial(tasks.leave_trace, folder=tmp_path, seconds=0.05), range(200))
        next(answers)
        answers.close()  # type: ignore[attr-defined]  # every executor yields, and so has a generator
        time.sleep(0.8)
        count = len(list(tmp_path.iterdir()))
        time.sleep(0.4)
        assert len(list(tmp_path.iterdir())) == count < 60
        assert list(executor.map(tasks.square, range(3))) == [0, 1, 4]

    def test_maps_may_run_inside_each_other(self, executor: Executor) -> None:
        inside = [list(executor.map(tasks.square, range(x))) for x in executor.map(tasks.square, range(3))]
        assert inside == [[], [0], [0, 1, 4, 9]]
        both = zip(executor.map(tasks.square, range(20)), executor.map(tasks.late_first, range(20)), strict=True)
        assert list(both) == [(x * x, x) for x in range(20)]
        assert list(executor.map(tasks.map_inside, [2, 3])) == [[0, 1], [0, 1, 4]]

    def test_maps_may_run_in_several_threads(self, executor: Executor) -> None:
        answers: dict[int, list[int]] = {}

        def work(number: int) -> None:
            answers[number] = list(executor.map(tasks.square, range(10 * number)))

        threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == {number: [x * x for x in range(10 * number)] for number in (1, 2, 3)}

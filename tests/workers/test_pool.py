"""A worker's threads: never more than allowed, more or fewer while they work, and no task lost at the end."""

import threading
from collections.abc import Callable, Iterator

import pytest
from celery.concurrency import get_implementation
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.workers.pool import MOST_THREADS, ResizablePool


class Work:
    """Tasks that stand until they are let go, and how many stood at once."""

    def __init__(self) -> None:
        self.go_on = threading.Semaphore(0)
        self._changing = threading.Condition()
        self.running = self.most = self.done = 0

    def __call__(self) -> None:
        with self._changing:
            self.running += 1
            self.most = max(self.most, self.running)
            self._changing.notify_all()
        assert self.go_on.acquire(timeout=60)
        with self._changing:
            self.running -= 1
            self.done += 1
            self._changing.notify_all()

    def until(self, right: Callable[[], bool]) -> None:
        with self._changing:
            assert self._changing.wait_for(right, 60), (self.running, self.done)


@pytest.fixture
def pool() -> Iterator[ResizablePool]:
    made = ResizablePool(2)
    made.start()
    yield made
    made.stop()


def hand_over(pool: ResizablePool, work: Callable[[], None], count: int) -> list:
    return [pool.apply_async(work, callback=lambda _: None) for _ in range(count)]


def test_no_more_tasks_run_than_are_allowed_and_handing_over_never_waits(pool):
    work = Work()
    results = hand_over(pool, work, 7)
    work.until(lambda: work.running == 2)
    assert (pool.busy, pool.num_processes) == (2, 2)
    work.go_on.release(7)
    for one in results:
        one.wait(60)
    assert (work.most, work.done) == (2, 7)


def test_what_waits_begins_at_once_when_more_are_allowed(pool):
    work = Work()
    hand_over(pool, work, 5)
    work.until(lambda: work.running == 2)
    pool.grow(2)
    work.until(lambda: work.running == 4)
    work.go_on.release(5)
    work.until(lambda: work.done == 5)
    assert work.most == 4


def test_a_smaller_pool_lets_running_tasks_end_and_begins_no_more_of_them(pool):
    work = Work()
    pool.grow(2)
    hand_over(pool, work, 8)
    work.until(lambda: work.running == 4)
    pool.shrink(3)
    assert (pool.num_processes, pool.busy) == (1, 4)
    for done in range(1, 4):
        work.go_on.release()
        work.until(lambda done=done: work.done == done)
    work.until(lambda: work.running == 1)
    work.most = 0
    work.go_on.release(5)
    work.until(lambda: work.done == 8)
    assert work.most == 1


def test_a_task_that_fails_frees_its_thread_and_tells_why(pool):
    def fails() -> None:
        raise ValueError("no")

    (failed,) = hand_over(pool, fails, 1)
    with pytest.raises(ValueError, match="no"):
        failed.get(60)
    work = Work()
    work.go_on.release(4)
    for one in hand_over(pool, work, 4):
        one.wait(60)
    assert work.done == 4


def test_the_end_of_a_pool_waits_for_every_task_that_it_took():
    pool = ResizablePool(1)
    pool.start()
    work = Work()
    hand_over(pool, work, 5)
    pool.shrink(5)
    work.until(lambda: work.running == 1)
    ending = threading.Thread(target=pool.stop)
    ending.start()
    work.go_on.release(5)
    ending.join(60)
    assert (work.done, pool.busy) == (5, 0)


@given(st.lists(st.integers(-5, 5), max_size=12), st.integers(0, 20))
def test_whatever_the_changes_every_task_runs_once_and_one_thread_stays(changes, tasks):
    pool = ResizablePool(3)
    pool.start()
    seen: list[int] = []
    results = []
    for number in range(tasks):
        results.append(pool.apply_async(seen.append, (number,), callback=lambda _: None))
        if number < len(changes):
            (pool.grow if changes[number] > 0 else pool.shrink)(abs(changes[number]))
            assert 1 <= pool.num_processes <= MOST_THREADS
    pool.stop()
    assert sorted(seen) == list(range(tasks))
    assert all(one.f.done() for one in results)


def test_celery_takes_it_as_it_is_and_tells_of_it(pool):
    assert get_implementation(ResizablePool) is ResizablePool
    assert pool.info["max-concurrency"] == 2

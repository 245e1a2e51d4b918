"""Requests of several threads share runs, and none is given another's result."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragsaver.models.micro_batching import MicroBatcher


class Gate:
    """Doubles numbers, and holds the first run until it is opened."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, items: list[int]) -> Sequence[int]:
        self.runs.append(items)
        self.entered.set()
        assert self.opened.wait(30)
        if any(item < 0 for item in items):
            raise ValueError(f"{min(items)} is below 0")
        return [2 * item for item in items]


def behind_one(gate: Gate, shared: MicroBatcher[int, int], items: Sequence[int]):
    """One request runs, and `items` come while it does; the futures, the one's first."""
    pool = ThreadPoolExecutor(len(items) + 1)
    futures = [pool.submit(shared, 0)]
    assert gate.entered.wait(30)
    futures += [pool.submit(shared, item) for item in items]
    while len(shared._waiting) < len(items):
        threading.Event().wait(0.001)
    gate.opened.set()
    pool.shutdown(wait=True)
    return futures


def test_a_lone_request_runs_at_once_and_alone() -> None:
    gate = Gate()
    gate.opened.set()
    shared = MicroBatcher(gate, most=8)
    assert [shared(item) for item in (3, 4)] == [6, 8]
    assert gate.runs == [[3], [4]]


def test_those_who_come_while_the_model_runs_share_the_next_run() -> None:
    gate = Gate()
    futures = behind_one(gate, MicroBatcher(gate, most=3), [1, 2, 3, 4, 5])
    assert [future.result() for future in futures] == [0, 2, 4, 6, 8, 10]
    assert [len(run) for run in gate.runs] == [1, 3, 2]


def test_one_that_fails_fails_alone() -> None:
    gate = Gate()
    futures = behind_one(gate, MicroBatcher(gate, most=8), [1, -2, 3])
    assert [futures[at].result() for at in (0, 1, 3)] == [0, 2, 6]
    with pytest.raises(ValueError, match="-2 is below 0"):
        futures[2].result()


def test_what_ends_the_thread_that_runs_leaves_nobody_waiting() -> None:
    gate = Gate()

    def end(items: list[int]) -> Sequence[int]:
        gate(items)
        if 0 in items:
            raise KeyboardInterrupt
        return items

    shared = MicroBatcher(end, most=8)
    futures = behind_one(gate, shared, [1, 2])
    with pytest.raises(KeyboardInterrupt):
        futures[0].result()
    assert [future.result() for future in futures[1:]] == [1, 2]
    assert shared(7) == 7


def test_a_run_holds_the_first_that_fit_by_weight_and_what_is_too_heavy_runs_alone() -> None:
    gate = Gate()
    futures = behind_one(gate, MicroBatcher(gate, most=10, weigh=lambda item: item), [4, 5, 3, 20, 10, 1])
    assert [future.result() for future in futures] == [0, 8, 10, 6, 40, 20, 2]
    assert gate.runs[0] == [0]
    assert all(len(run) == 1 or sum(run) <= 10 for run in gate.runs)
    assert sorted(map(len, gate.runs)) != [1] * 7


def test_who_waits_for_a_run_of_others_gives_up_in_time() -> None:
    gate = Gate()
    shared = MicroBatcher(gate, most=8)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(shared, 1)
        assert gate.entered.wait(30)
        with pytest.raises(TimeoutError):
            shared(2, until=time.monotonic() + 0.02)
        gate.opened.set()
        assert first.result() == 2
    assert shared(3) == 6
    assert gate.runs == [[1], [3]], "what nobody waits for any more is not run"


def test_a_run_that_ends_too_late_for_one_serves_those_who_have_time() -> None:
    gate = Gate()
    shared = MicroBatcher(gate, most=8)
    with ThreadPoolExecutor(2) as pool:
        until = time.monotonic() + 0.05
        hurried = pool.submit(shared, 1, until=until)
        assert gate.entered.wait(30)
        patient = pool.submit(shared, 2)
        while time.monotonic() <= until:
            threading.Event().wait(0.001)
        gate.opened.set()
        with pytest.raises(TimeoutError):
            hurried.result()
        assert patient.result() == 4


def test_one_that_comes_too_late_is_not_run_and_leaves_the_lead_to_others() -> None:
    gate = Gate()
    gate.opened.set()
    shared = MicroBatcher(gate, most=8)
    with pytest.raises(TimeoutError):
        shared(1, until=time.monotonic() - 1)
    assert shared(2) == 4
    assert gate.runs == [[2]]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=40), st.integers(1, 8))
def test_deadlines_of_some_lose_nothing_of_others(asked: list[tuple[int, bool]], threads: int) -> None:
    shared = MicroBatcher(lambda some: [2 * item for item in some], 10, weigh=lambda item: item)

    def ask(one: tuple[int, bool]) -> int | None:
        item, hurried = one
        try:
            return shared(item, until=time.monotonic() + 0.0001) if hurried else shared(item)
        except TimeoutError:
            assert hurried
            return None

    with ThreadPoolExecutor(threads) as pool:
        for (item, hurried), found in zip(asked, pool.map(ask, asked), strict=True):
            assert found == 2 * item or (hurried and found is None)
    assert not shared._waiting
    assert shared(1) == 2


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 8))
def test_whatever_comes_when_each_gets_its_own(count: int, most: int, threads: int) -> None:
    items = range(count)  # made at once, also while all cores are busy
    seen: list[int] = []

    def run(some: list[int]) -> Sequence[int]:
        seen.append(len(some))
        return [item + 1 for item in some]

    shared = MicroBatcher(run, most)
    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(shared, items)) == [item + 1 for item in items]
    assert sum(seen) == len(items)
    assert max(seen) <= most

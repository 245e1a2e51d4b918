"""Requests of several threads share runs, and none is given another's result."""

import threading
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


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=60), st.integers(1, 9), st.integers(1, 8))
def test_whatever_comes_when_each_gets_its_own(items: list[int], most: int, threads: int) -> None:
    seen: list[int] = []

    def run(some: list[int]) -> Sequence[int]:
        seen.append(len(some))
        return [item + 1 for item in some]

    shared = MicroBatcher(run, most)
    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(shared, items)) == [item + 1 for item in items]
    assert sum(seen) == len(items)
    assert max(seen) <= most

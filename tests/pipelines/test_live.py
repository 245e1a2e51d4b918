"""A runtime takes another's place: what began on the old one ends on it, and no writing is cut in two."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime


class Closed(Exception):
    """The runtime is not open any more."""


class Opened(Runtime):
    """A runtime of which only its name and its end matter."""

    def __init__(self, name: str) -> None:
        self.name, self.closed = name, False

    def close(self) -> None:
        if self.closed:
            raise Closed
        self.closed = True


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def nothing(_: Runtime = None) -> None:
    """What is done at the switch."""


def test_what_began_on_the_old_one_ends_on_it_and_it_closes_after_the_last(pool: ThreadPoolExecutor):
    old, new = Opened("old"), Opened("new")
    live, stopping = LiveRuntime(old), threading.Event()
    with live.use() as first:
        assert live.replace(new, nothing) is old
        gone = pool.submit(live.let_go, old, nothing, stopping)
        with live.use() as second:
            assert (first.name, first.closed, second.name) == ("old", False, "new")
    assert gone.result(60) and old.closed and not new.closed
    live.close()
    assert new.closed


def test_a_writing_ends_before_the_switch_and_the_next_one_has_the_new_runtime(pool: ThreadPoolExecutor):
    live, new, written = LiveRuntime(Opened("old")), Opened("new"), []

    def complete(_: Runtime) -> None:
        written.append("switch")

    def write() -> None:
        with live.write() as runtime:
            written.append(runtime.name)

    with live.write() as runtime:
        switching = pool.submit(live.replace, new, complete)
        written.append(runtime.name)
    switching.result(60)
    pool.submit(write).result(60)
    assert written == ["old", "switch", "new"]


def test_no_writing_begins_while_the_switch_waits_or_runs(pool: ThreadPoolExecutor):
    live, new, written = LiveRuntime(Opened("old")), Opened("new"), []
    writers = []

    def write() -> None:
        with live.write() as runtime:
            written.append(runtime.name)

    def complete(_: Runtime) -> None:
        writers.extend(pool.submit(write) for _ in range(4))
        assert not written

    live.replace(new, complete)
    for writer in writers:
        writer.result(60)
    assert written == ["new"] * 4


def test_a_switch_that_fails_leaves_the_old_one_in_use_and_writable():
    old, new = Opened("old"), Opened("new")
    live = LiveRuntime(old)

    def complete(_: Runtime) -> None:
        raise Closed

    with pytest.raises(Closed):
        live.replace(new, complete)
    with live.write() as runtime:
        assert runtime is old
    live.close()
    assert old.closed and not new.closed


def test_a_process_that_ends_closes_a_runtime_that_is_still_used():
    old, new = Opened("old"), Opened("new")
    live, stopping = LiveRuntime(old), threading.Event()
    stopping.set()
    with live.use():
        live.replace(new, nothing)
        assert not live.let_go(old, nothing, stopping)
    live.close()
    assert old.closed and new.closed

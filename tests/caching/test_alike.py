"""What any process was asked is found by likeness in every other one, as long as its entry is there."""

import contextlib
import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ragsaver.caching.alike import Alike
from ragsaver.caching.entries import EntryStore, Key, MemoryEntries, Place
from ragsaver.caching.guarded import Guarded
from ragsaver.caching.redis_entries import RedisEntries
from ragsaver.caching.sqlite_entries import SqliteEntries
from ragsaver.errors import StorageError
from tests.clock import Clock

DIM, TTL_S, SECOND = 384, 1000.0, 1.01
PLACE = Place.of("acme", "docs", None)
SHELF = Key.of(PLACE, "shelf", "pipeline")
MADE = np.random.default_rng(0).normal(size=(600, DIM)).astype(np.float32)
MADE /= np.linalg.norm(MADE, axis=1, keepdims=True)

Opened = Callable[[], EntryStore]


@pytest.fixture(params=["sqlite", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[Opened]:
    """The store, each time as another process opens it."""
    stores: list[EntryStore] = []

    def another() -> EntryStore:
        if request.param == "sqlite":
            stores.append(SqliteEntries(tmp_path / "answers.sqlite", 1000, 2**24))
        else:
            stores.append(RedisEntries(redis_url, "alike", 1000))
        return stores[-1]

    another().clear()
    yield another
    for store in stores:
        store.close()


def key(n: int) -> Key:
    return Key.of(PLACE, "answer", str(n))


def answer(alike: Alike, store: EntryStore, n: int, shelf: Key = SHELF) -> None:
    store.put(key(n), b"an answer", TTL_S)
    alike.put(store, shelf, key(n), f"Question {n}?", MADE[n], TTL_S)


def known(alike: Alike, store: EntryStore, among: range | list[int], shelf: Key = SHELF) -> list[int]:
    return [n for n in among if look(alike, store, n, shelf)]


def look(alike: Alike, store: EntryStore, n: int, shelf: Key = SHELF) -> list[tuple[Key, str]]:
    return [(one.label, one.question) for one in alike.near(store, shelf, "answer", MADE[n], 0.9, 8)]


def test_what_was_answered_before_a_start_and_elsewhere_since_is_found(opened: Opened, clock: Clock):
    one, here = opened(), Alike(1000, clock)
    for n in range(3):
        answer(here, one, n)
    two, there = opened(), Alike(1000, clock)
    assert look(there, two, 1) == [(key(1), "Question 1?")]
    answer(here, one, 3)
    clock.now += SECOND
    assert look(there, two, 3) == [(key(3), "Question 3?")]
    assert known(here, one, range(5)) == [0, 1, 2, 3]
    answer(there, two, 4)
    assert known(here, one, range(5)) == [0, 1, 2, 3] and known(there, two, range(5)) == [0, 1, 2, 3, 4]
    clock.now += SECOND
    assert known(here, one, range(5)) == [0, 1, 2, 3, 4]


def _answer(path: Path) -> None:
    store = SqliteEntries(path, 1000, 2**24)
    answer(Alike(1000), store, 7)
    store.close()


def test_another_process_s_questions_are_found(tmp_path: Path):
    process = multiprocessing.get_context("spawn").Process(target=_answer, args=(tmp_path / "answers.sqlite",))
    process.start()
    process.join()
    store = SqliteEntries(tmp_path / "answers.sqlite", 1000, 2**24)
    assert look(Alike(1000), store, 7) == [(key(7), "Question 7?")]
    store.close()


def test_what_was_removed_elsewhere_is_not_taken_over(opened: Opened, clock: Clock):
    store, here = opened(), Alike(1000, clock)
    for n in range(3):
        answer(here, store, n)
    opened().remove(key(1))
    assert known(Alike(1000, clock), opened(), range(3)) == [0, 2]


def test_a_shelf_s_questions_are_not_on_another_one(opened: Opened, clock: Clock):
    store, here = opened(), Alike(1000, clock)
    answer(here, store, 1)
    for other in (
        Key.of(PLACE, "shelf", "another pipeline"),
        Key.of(Place.of("acme", "docs", ["x"]), "shelf", "pipeline"),
        Key.of(Place.of("acme", "docs", []), "shelf", "pipeline"),
        Key.of(Place.of("acm", "docs", None), "shelf", "pipeline"),
    ):
        for alike in (here, Alike(1000, clock)):
            assert look(alike, opened(), 1, other) == []


def test_many_are_taken_over_in_steps_and_no_more_than_fit(opened: Opened, clock: Clock):
    store, here = opened(), Alike(1000, clock)
    for n in range(600):
        answer(here, store, n)
    there, small = Alike(1000, clock), Alike(100, clock)
    assert look(there, store, 599) == []  # the first step ends before it
    assert known(there, store, range(600)) == list(range(600))
    for _ in range(3):
        look(small, store, 0)
    assert known(small, store, range(600)) == list(range(500, 600))


def test_a_store_with_nothing_new_is_asked_once_a_second(tmp_path: Path, clock: Clock):
    asked = []

    class Counting(SqliteEntries):
        def noted(self, *given):
            asked.append(given)
            return super().noted(*given)

    store = Counting(tmp_path / "answers.sqlite", 1000, 2**24)
    alike = Alike(1000, clock)
    answer(alike, store, 0)
    for _ in range(50):
        look(alike, store, 0)
    assert len(asked) == 1
    clock.now += SECOND
    look(alike, store, 0)
    assert len(asked) == 2 and asked[1][2] > asked[0][2]
    store.close()


def test_a_shelf_that_made_room_is_read_again(opened: Opened, clock: Clock):
    store, writer, alike = opened(), Alike(1000, clock), Alike(5, clock)
    other = Key.of(PLACE, "shelf", "another pipeline")
    for n in range(3):
        answer(writer, store, n)
    for n in range(3, 6):
        answer(writer, store, n, other)
    assert known(alike, store, range(3)) == [0, 1, 2]
    assert known(alike, store, range(3, 6), other) == [3, 4, 5]
    clock.now += SECOND
    assert known(alike, store, range(3)) == [0, 1, 2]


def test_what_passed_for_gone_while_the_store_could_not_be_asked_comes_back(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    store = SqliteEntries(tmp_path / "answers.sqlite", 1000, 2**24)
    guarded, alike = Guarded(store), Alike(1000, clock)
    answer(alike, guarded, 0)
    assert known(alike, guarded, [0]) == [0]

    def fails(*_: object) -> None:
        raise StorageError("it is away")

    clock.now += SECOND
    with monkeypatch.context() as away:
        away.setattr(store, "get", fails)
        assert guarded.get(key(0)) is None
        alike.remove(SHELF, key(0))
        assert known(alike, guarded, [0]) == []
    monkeypatch.setattr("ragsaver.caching.guarded._PAUSE_S", 0)
    guarded = Guarded(store)
    clock.now += SECOND
    assert known(alike, guarded, [0]) == [0]
    store.close()


@pytest.mark.parametrize("vector", [b"", b"\0", b"\xff" * 2 * DIM, b"\0" * 2 * DIM, b"\0\x7c" * DIM, "text", 7])
def test_a_damaged_row_is_passed_over(tmp_path: Path, clock: Clock, vector: object):
    store, here = SqliteEntries(tmp_path / "answers.sqlite", 1000, 2**24), Alike(1000, clock)
    for n in range(3):
        answer(here, store, n)
    with contextlib.closing(sqlite3.connect(tmp_path / "answers.sqlite", isolation_level=None)) as direct:
        direct.execute("UPDATE questions SET vector = ? WHERE name = ?", (vector, key(1).name))
        direct.execute("UPDATE questions SET question = CAST(x'ff' AS TEXT) WHERE name = ?", (key(2).name,))
    assert known(Alike(1000, clock), store, range(3)) == [0, 2]
    store.close()


def test_in_memory_there_is_nobody_to_learn_from(clock: Clock):
    store, alike = MemoryEntries(10, 2**20), Alike(10, clock)
    answer(alike, store, 0)
    clock.now += SECOND
    assert known(alike, store, [0]) == [0] and known(Alike(10, clock), store, [0]) == []

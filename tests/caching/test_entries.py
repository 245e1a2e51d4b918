"""Entries of every store: kept for their time, within their bounds, each in its own place, computed by one at a time."""

import contextlib
import multiprocessing
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from ragsaver.caching.entries import Asked, EntryStore, Key, MemoryEntries, Noted, Place
from ragsaver.caching.guarded import Guarded
from ragsaver.caching.redis_entries import RedisEntries
from ragsaver.caching.sqlite_entries import SqliteEntries
from ragsaver.errors import StorageError
from tests.clock import Clock

MINUTE = 61.0


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, redis_url: str) -> Iterator[EntryStore]:
    if request.param == "memory":
        made: EntryStore = MemoryEntries(5, 2**20, clock)
    elif request.param == "sqlite":
        made = SqliteEntries(tmp_path / "answers.sqlite", 5, 2**20, clock)
    else:
        made = RedisEntries(redis_url, "test", 5, clock)
        made.clear()
    yield made
    made.close()


def key(name: str, tenant: str = "acme", collection: str = "docs", groups: tuple[str, ...] | None = None) -> Key:
    return Key.of(Place.of(tenant, collection, groups), "answer", name)


def test_an_entry_comes_back_until_its_time_is_over(store: EntryStore, clock: Clock):
    assert store.get(key("a")) is None
    assert store.put(key("a"), b"one", 100)
    clock.now += 99
    assert store.get(key("a")) == b"one"
    clock.now += 1
    assert store.get(key("a")) is None


def test_what_is_put_again_takes_the_place_and_what_is_removed_is_gone(store: EntryStore):
    store.put(key("a"), b"one", 100)
    store.put(key("a"), b"two", 100)
    assert (store.get(key("a")), store.holding().entries) == (b"two", 1)
    store.remove(key("a"))
    store.remove(key("never there"))
    assert store.get(key("a")) is None


def test_the_longest_unused_entries_go_first(store: EntryStore, clock: Clock):
    for n in range(5):
        store.put(key(str(n)), b"x", 10_000)
        clock.now += MINUTE
    assert store.get(key("0")) == b"x"
    clock.now += MINUTE
    store.put(key("5"), b"x", 10_000)
    assert [n for n in range(6) if store.get(key(str(n)))] == [0, 2, 3, 4, 5]
    assert store.holding().entries == 5


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_all_values_together_stay_within_the_bound(kind: str, tmp_path: Path, clock: Clock):
    if kind == "memory":
        store: EntryStore = MemoryEntries(10_000, 400_000, clock)
    else:
        store = SqliteEntries(tmp_path / "answers.sqlite", 10_000, 400_000, clock)
    for n in range(100):
        store.put(key(str(n)), b"x" * 10_000, 10_000)
        clock.now += MINUTE
        assert store.holding().bytes <= 400_000
    assert store.get(key("99")) is not None and store.get(key("0")) is None
    assert not store.put(key("huge"), b"x" * 400_001, 10_000)
    assert store.get(key("99")) is not None
    store.close()


def test_a_tenant_s_or_a_collection_s_entries_are_cleared_and_no_others(store: EntryStore):
    mine = [key("a"), key("a", groups=("x",)), key("a", collection="other")]
    theirs = key("a", tenant="acm")
    for one in (*mine, theirs):
        store.put(one, b"x", 100)
    assert store.clear("acme", "docs") == 2
    assert [store.get(one) for one in (*mine, theirs)] == [None, None, b"x", b"x"]
    assert store.clear("acme") == 1
    assert store.get(theirs) == b"x"
    assert store.clear() == 1
    assert store.holding().entries == 0


def test_a_right_to_compute_is_one_caller_s_until_it_is_given_back_or_ends(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, redis_url: str
):
    for store in (SqliteEntries(tmp_path / "a.sqlite", 5, 2**20, clock), RedisEntries(redis_url, "leases", 5, clock)):
        assert store.claim(key("a"), "one", 60)
        assert not store.claim(key("a"), "two", 60)
        assert store.claim(key("b"), "two", 60)
        store.release(key("a"), "two")  # it is not its own
        assert not store.claim(key("a"), "two", 60)
        store.release(key("a"), "one")
        assert store.claim(key("a"), "two", 60)
        store.close()


def test_the_right_of_a_process_that_died_ends_by_itself(tmp_path: Path, clock: Clock):
    store = SqliteEntries(tmp_path / "a.sqlite", 5, 2**20, clock)
    assert store.claim(key("a"), "died", 60)
    clock.now += 61
    assert store.claim(key("a"), "two", 60)
    store.release(key("a"), "died")
    assert not store.claim(key("a"), "three", 60)


def _claim(path: Path, won: "multiprocessing.Queue[bool]", name: str, start: "multiprocessing.Barrier") -> None:
    store = SqliteEntries(path, 5, 2**20)
    start.wait()
    won.put(store.claim(key("a"), name, 60))
    store.close()


def test_of_several_processes_one_gets_the_right(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    won, start = context.Queue(), context.Barrier(3)
    processes = [
        context.Process(target=_claim, args=(tmp_path / "a.sqlite", won, str(n), start), daemon=True) for n in range(3)
    ]
    for process in processes:
        process.start()
    assert sorted(won.get(timeout=60) for _ in processes) == [False, False, True]
    for process in processes:
        process.join()


def test_threads_share_a_store(store: EntryStore):
    problems: list[BaseException] = []

    def use(n: int) -> None:
        try:
            for turn in range(30):
                store.put(key(f"{n % 3}"), f"{n % 3}".encode(), 100)
                assert store.get(key(f"{n % 3}")) in (f"{n % 3}".encode(), None)
                if turn % 10 == 0:
                    store.remove(key(f"{n % 3}"))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=use, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


SHELF = Key.of(Place.of("acme", "docs", None), "shelf", "one")


def note(store: EntryStore, name: str, clock: Clock, ttl_s: float = 10_000, shelf: Key = SHELF) -> Asked:
    asked = Asked(key(name).name, f"What is {name}?", b"\x00\x3c" * 8)
    store.put(key(name), b"x", ttl_s)
    store.note(shelf, asked, "answer", ttl_s)
    clock.now += MINUTE
    return asked


@pytest.fixture(params=["sqlite", "redis"])
def shared(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, redis_url: str) -> Iterator[EntryStore]:
    made: EntryStore = (
        SqliteEntries(tmp_path / "answers.sqlite", 5, 2**20, clock)
        if request.param == "sqlite"
        else RedisEntries(redis_url, "asked", 5, clock)
    )
    made.clear()
    yield made
    made.close()


def noted(store: EntryStore, after: int = 0, most: int = 10, shelf: Key = SHELF) -> Noted:
    return store.noted(shelf, "answer", after, most)


def test_what_entries_answer_is_read_in_order_and_in_steps(shared: EntryStore, clock: Clock):
    asked = [note(shared, name, clock) for name in "abc"]
    first = noted(shared, most=2)
    second = noted(shared, first.upto, most=2)
    assert (list(first.asked), first.more, list(second.asked), second.more) == (asked[:2], True, asked[2:], False)
    assert noted(shared, second.upto) == Noted(second.upto)
    again = note(shared, "a", clock)
    assert list(noted(shared, second.upto).asked) == [again]
    other = Key.of(Place.of("acme", "docs", ("x",)), "shelf", "one")
    assert not noted(shared, shelf=other).asked and not noted(shared, shelf=replace(SHELF, name="another")).asked


def test_what_an_entry_answers_goes_with_it(shared: EntryStore, clock: Clock):
    asked = {name: note(shared, name, clock) for name in "abcde"}
    upto = noted(shared).upto
    shared.remove(key("a"))
    assert list(noted(shared).asked) == [asked[one] for one in "bcde"]
    shared.put(key("f"), b"x", 10_000), shared.put(key("g"), b"x", 10_000)
    assert list(noted(shared).asked) == [asked[one] for one in "cde"]  # the longest unused one made room
    shared.clear("acm")
    assert list(noted(shared).asked) == [asked[one] for one in "cde"]
    assert shared.clear("acme") == 5
    assert not noted(shared).asked
    assert [note(shared, "h", clock)] == list(noted(shared, upto).asked)


def test_what_an_entry_answers_is_over_when_it_is(tmp_path: Path, clock: Clock):
    store = SqliteEntries(tmp_path / "answers.sqlite", 5, 2**20, clock)
    note(store, "a", clock, ttl_s=100)
    clock.now += 100
    assert not noted(store).asked and noted(store).upto > 0
    store.close()


def test_redis_lets_a_question_go_with_its_entry(redis_url: str, clock: Clock):
    store, direct = RedisEntries(redis_url, "over", 5, clock), Redis.from_url(redis_url)
    note(store, "a", clock, ttl_s=100)
    names = [one for one in direct.scan_iter("ragsaver:over:*") if not one.endswith(b":uses")]
    assert len(names) == 3 and all(0 < direct.pttl(one) <= 100_000 for one in names)
    direct.delete(*(one for one in names if one.endswith(b":asked")))
    assert not noted(store).asked
    assert not direct.exists(*(one for one in names if b":shelf:" in one))
    direct.close(), store.close()


def test_a_question_without_its_entry_is_not_kept_in_the_file(tmp_path: Path, clock: Clock):
    store = SqliteEntries(tmp_path / "answers.sqlite", 5, 2**20, clock)
    store.note(SHELF, Asked(key("gone").name, "?", b""), "answer", 100)
    assert noted(store) == Noted()
    store.close()


def test_a_file_of_before_learns_what_entries_answer(tmp_path: Path, clock: Clock):
    file = tmp_path / "answers.sqlite"
    store = SqliteEntries(file, 5, 2**20, clock)
    store.put(key("a"), b"one", 10_000)
    store.close()
    with contextlib.closing(sqlite3.connect(file)) as direct:
        direct.executescript("DROP TRIGGER questions_go_with_entries; DROP TABLE questions")
    store = SqliteEntries(file, 5, 2**20, clock)
    assert store.get(key("a")) == b"one"
    assert list(noted(store).asked) == [] and note(store, "b", clock) in noted(store).asked
    store.close()


NAMES = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["a", "a/b", "a\0b", '","', "a:b", "*", "a*", "%", "_", "..", "'; DROP TABLE entries; --", "null"]),
)
PLACES = st.builds(Place.of, NAMES, NAMES, st.one_of(st.none(), st.lists(NAMES, max_size=3)))


@given(PLACES, PLACES, st.lists(NAMES, max_size=3), st.lists(NAMES, max_size=3))
def test_two_keys_are_the_same_only_if_all_that_decides_is(one: Place, two: Place, these: list[str], those: list[str]):
    first, second = Key.of(one, "answer", *these), Key.of(two, "answer", *those)
    assert (first == second) == ((one, these) == (two, those))
    assert first != Key.of(one, "passages", *these)


def test_groups_count_in_any_order_and_none_is_not_nobody():
    assert Place.of("t", "c", ["b", "a", "b"]) == Place.of("t", "c", {"a", "b"})
    assert Key.of(Place.of("t", "c", None), "answer", "q") != Key.of(Place.of("t", "c", []), "answer", "q")


def test_a_store_that_fails_costs_no_answer_and_is_left_alone_for_a_while():
    store = Guarded(RedisEntries("redis://127.0.0.1:1/0", "test", 5))
    assert store.get(key("a")) is None
    assert not store.put(key("a"), b"x", 10)
    assert store.claim(key("a"), "one", 10)
    assert store.failures == 1
    with pytest.raises(StorageError, match="can't be reached"):
        store.clear()


@pytest.mark.parametrize("most", [1, 7, 500])
def test_a_file_keeps_to_its_number_of_entries_within_one_moment(tmp_path: Path, clock: Clock, most: int):
    store = SqliteEntries(tmp_path / "entries.sqlite", most, 2**30, clock)
    most_there = 0
    for n in range(most + 150):
        store.put(Key.of(Place("acme", "default", None), "answer", str(n)), b"x" * 100, 3600)
        most_there = max(most_there, store.holding().entries)
    assert most_there == store.holding().entries == most
    store.close()


def test_a_file_keeps_to_its_bytes_within_one_moment(tmp_path: Path, clock: Clock):
    file, bound = tmp_path / "entries.sqlite", 2**20
    store = SqliteEntries(file, 100_000, bound, clock)
    for n in range(600):
        store.put(Key.of(Place("acme", "default", None), "answer", str(n)), b"x" * (n % 50) * 200, 3600)
        assert store.holding().bytes <= bound
    assert store.holding().bytes > bound // 4
    store.close()
    assert file.stat().st_size <= 2 * bound


def test_what_is_over_leaves_the_file_a_moment_later(tmp_path: Path, clock: Clock):
    store = SqliteEntries(tmp_path / "entries.sqlite", 100, 2**30, clock)
    place = Place("acme", "default", None)
    store.put(Key.of(place, "answer", "short"), b"x", 0.5)
    store.put(Key.of(place, "answer", "long"), b"x", 3600)
    clock.now += 2
    assert store.get(Key.of(place, "answer", "short")) is None
    store.put(Key.of(place, "answer", "new"), b"x", 3600)
    assert store.holding().entries == 2
    store.close()

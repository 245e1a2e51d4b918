"""Entries of every store: kept for their time, within their bounds, each in its own place, computed by one at a time."""

import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.caching.entries import EntryStore, Key, MemoryEntries, Place
from ragsaver.caching.guarded import Guarded
from ragsaver.caching.redis_entries import RedisEntries
from ragsaver.caching.sqlite_entries import SqliteEntries
from ragsaver.errors import StorageError
from tests.redis_server import redis_server

MINUTE = 61.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


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

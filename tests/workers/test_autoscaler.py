"""A worker resizes its pool of threads by what the job store says that waits. Only the clock is a stand-in."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from celery import Celery
from celery.concurrency.thread import TaskPool as ThreadPool
from kombu.utils.imports import symbol_by_name

from ragsaver.errors import SettingsError
from ragsaver.index.scope import Scope
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.jobs import JobStore
from ragsaver.ingestion.queued_document import NewDocument
from ragsaver.workers.app import CONVERT, EMBED
from ragsaver.workers.autoscaler import QueueAutoscaler, QueueWatch
from ragsaver.workers.backlog import APPLY, Backlog
from ragsaver.workers.moves import Done
from ragsaver.workers.pool import ResizablePool
from ragsaver.workers.scaling import Policy

POLICY = Policy(
    max_workers=20, target_age_s=100, tokens_per_worker_s=100, cooldown_s=60, tokens_per_document=400, look_every_s=5
)
SCOPE = Scope("default", "default")


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Store:
    """Jobs whose documents are as old as the test says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs = JobStore(folder / "jobs.sqlite")
        self.clock = Clock()
        for module in ("document_line", "jobs", "manifest"):
            monkeypatch.setattr(f"ragsaver.ingestion.{module}.now", self.clock, raising=False)
        monkeypatch.setattr("ragsaver.workers.backlog.now", self.clock)

    def put(self, documents: int) -> list[str]:
        job = self.jobs.create(SCOPE, None, 10**6)
        self.jobs.add(job, [NewDocument(f"{n}.md", text="Owls.") for n in range(documents)], first=0, lease_s=60)
        return [f"{job}-{n}" for n in range(documents)]

    def backlog(self) -> Backlog:
        return Backlog(self.jobs, 0.0)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    made = Store(tmp_path, monkeypatch)
    yield made
    made.jobs.close()


@pytest.fixture
def pool() -> Iterator[ResizablePool]:
    made = ResizablePool(1)
    made.start()
    yield made
    made.stop()


def scaler(
    pool: object,
    store: Store,
    most: int = 10,
    least: int = 1,
    done: Callable[[], Done] = Done,
    **more: object,
) -> QueueAutoscaler:
    watch = QueueWatch(store.backlog(), [CONVERT], done)
    return QueueAutoscaler(pool, most, least, watch=watch, policy=POLICY, clock=store.clock, **more)


def test_a_pool_grows_with_the_queue_and_within_celerys_bounds(pool, store):
    one = scaler(pool, store)
    store.put(100)
    one.maybe_scale()
    # 40,000 tokens in 100 s at 80 a second for each
    assert pool.num_processes == 5
    assert "40000 tokens wait" in one.decision.reason
    store.put(900)
    store.clock.now_s += 5
    one.maybe_scale()
    assert pool.num_processes == 10


def test_the_age_of_the_oldest_document_counts(pool, store):
    store.put(20)
    store.clock.now_s += 80
    scaler(pool, store).maybe_scale()
    # 8,000 tokens in the 20 s that are left
    assert pool.num_processes == 5


def test_a_document_counts_for_what_those_that_were_embedded_had(pool, store):
    done = [Done()]
    one = scaler(pool, store, done=lambda: done[-1])
    store.put(100)
    one.maybe_scale()
    assert "40000 tokens wait" in one.decision.reason
    store.put(20)
    done.append(Done(10, 40_000))
    store.clock.now_s += 5
    one.maybe_scale()
    assert "480000 tokens wait" in one.decision.reason
    assert pool.num_processes == 10


def test_the_store_is_not_asked_with_every_message(pool, store):
    one = scaler(pool, store)
    one.maybe_scale()
    store.put(100)
    one.maybe_scale()
    assert pool.num_processes == 1


def test_a_pool_shrinks_by_half_after_the_cool_down_keeps_one_thread_and_tells_of_it(pool, store):
    pool.grow(7)
    told: list[int] = []
    one = scaler(pool, store, least=0, resized=told.append)
    sizes = []
    for _ in range(80):
        one.maybe_scale()
        sizes.append(pool.num_processes)
        store.clock.now_s += 5
    assert list(dict.fromkeys(sizes)) == [8, 4, 2, 1]
    assert sizes[:12] == [8] * 12
    assert told == [4, 2, 1]


def test_busy_threads_are_left_to_finish(pool, store):
    pool.grow(7)
    go_on = threading.Event()
    results = [pool.apply_async(go_on.wait, (60,), callback=lambda _: None) for _ in range(6)]
    one = scaler(pool, store)
    for _ in range(20):
        one.maybe_scale()
        store.clock.now_s += 5
    assert (pool.num_processes, pool.busy) == (8, 6)
    go_on.set()
    assert all(one.f.result(60) is None for one in results)


def test_a_document_that_somebody_works_on_waits_no_more(store):
    first, again, *_ = store.put(4)
    store.clock.now_s += 7
    later = store.put(1)
    held = store.jobs.documents.claim(State.QUEUED, "me", limit=2, lease_s=60)
    assert [one.id for one in held] == [first, again]
    # one that is to be tried again waits, also before its time has come
    store.jobs.documents.put_back(again, "me", wait_s=5, error="busy", tried=True)
    store.jobs.documents.forward(later[0], State.QUEUED, State.CONVERTED)
    seen = store.backlog().look()
    assert (seen[CONVERT].documents, seen[CONVERT].oldest_age_s) == (3, 7)
    assert (seen[EMBED].documents, seen[EMBED].oldest_age_s) == (1, 0)
    assert (seen[APPLY].documents, seen[APPLY].oldest_age_s) == (0, 0)


def test_what_waits_is_read_no_more_often_than_it_has_to_be(store):
    backlog = Backlog(store.jobs, 1.0, store.clock)
    assert backlog.look()[CONVERT].documents == 0
    store.put(2)
    assert backlog.look()[CONVERT].documents == 0
    store.clock.now_s += 1
    assert backlog.look()[CONVERT].documents == 2


def test_a_store_that_cannot_be_read_leaves_the_pool_as_it_is(pool, store, caplog):
    pool.grow(2)
    one = scaler(pool, store)
    with sqlite3.connect(store.jobs.place) as file:
        file.execute("DROP TABLE documents")
    with caplog.at_level("WARNING"):
        one.maybe_scale()
    assert pool.num_processes == 3
    assert "keeps its 3 threads" in caplog.text


def test_a_pool_that_cannot_grow_is_refused_with_the_remedy(store):
    with pytest.raises(SettingsError, match="ragsaver worker --autoscale"):
        scaler(ThreadPool(1), store)


def test_celery_makes_it_from_a_setting(pool, store):
    app = Celery(set_as_current=False)
    watch = QueueWatch(store.backlog(), [CONVERT], Done)
    app.conf.worker_autoscaler = partial(QueueAutoscaler, watch=watch, policy=POLICY)
    # as celery.worker.autoscale.WorkerComponent does
    made = symbol_by_name(app.conf.worker_autoscaler)(pool, 10, 1, worker=None, mutex=None)
    assert made.info()["max"] == 10
    assert made.keepalive == 5.0

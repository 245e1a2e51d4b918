"""What one key may ask for is bounded, and told; another key's requests don't count."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError

from ragsaver.access.identity import Identity
from ragsaver.errors import LimitsUnavailable, RateLimited
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from ragsaver.server.allowance import Allowance, Rate
from ragsaver.server.app import create_app
from ragsaver.settings import ServerSettings
from tests.redis_server import redis_server

TOKEN = "owner-token"


@contextmanager
def served(runtime: Runtime, **server) -> Iterator[tuple[TestClient, Access]]:
    settings = runtime.settings.model_copy(update={"server": runtime.settings.server.model_copy(update=server)})
    access = Access(LiveRuntime(Runtime(replace(runtime.resources, settings=settings))), TOKEN)
    try:
        yield TestClient(create_app(access), raise_server_exceptions=False), access
    finally:
        access.close()


def key_of(access: Access) -> dict[str, str]:
    return {"authorization": f"Bearer {access.keys.create('ana', 'acme')[1].text()}"}


def test_each_key_has_its_own_rate_and_is_told_of_it(runtime: Runtime):
    with served(runtime, rate_limit="2/hour") as (client, access):
        one, other = key_of(access), key_of(access)
        first, second, third = (client.get("/v1/documents", headers=one) for _ in range(3))
        assert [answer.status_code for answer in (first, second, third)] == [200, 200, 429]
        assert [answer.headers["ratelimit-remaining"] for answer in (first, second)] == ["1", "0"]
        assert first.headers["ratelimit-limit"] == "2" and 3500 < int(first.headers["ratelimit-reset"]) <= 3600
        assert third.json()["type"] == "urn:ragsaver:problem:rate-limited"
        assert 3500 < int(third.headers["retry-after"]) <= 3600
        assert client.get("/v1/documents", headers=other).status_code == 200
        for _ in range(5):
            assert client.get("/healthz").status_code == 200
            own = client.get("/v1/documents", headers={"authorization": f"Bearer {TOKEN}"})
            assert own.status_code == 200 and "ratelimit-limit" not in own.headers


def test_who_needs_no_key_is_counted_together(runtime: Runtime):
    with served(runtime, rate_limit="1/hour") as (client, _):
        answers = [client.get("/v1/documents", headers=headers) for headers in ({}, {"authorization": "Bearer sk-x"})]
        assert [answer.status_code for answer in answers] == [200, 429]


def test_refused_keys_use_up_nobody_s_rate(runtime: Runtime):
    with served(runtime, rate_limit="1/hour") as (client, access):
        key = key_of(access)
        for _ in range(3):
            assert (
                client.get("/v1/documents", headers={"authorization": key["authorization"][:-1] + "_"}).status_code
                == 401
            )
        assert client.get("/v1/documents", headers=key).status_code == 200


def test_several_servers_count_together_in_redis_and_let_nobody_in_without_it(tmp_path: Path):
    with redis_server(tmp_path) as url:
        one, other = Rate("2/hour", url), Rate("2/hour", url)
        assert [rate.hit("key")[0] for rate in (one, other, one, other)] == [True, True, False, False]
        assert one.hit("another")[0]
    with pytest.raises(LimitsUnavailable, match="does not answer"):
        one.hit("key")


def test_a_request_gives_its_place_back_when_it_ends_however_it_ends():
    async def run() -> None:
        held, begun, ended = asyncio.Event(), asyncio.Event(), []

        async def app(scope, receive, send) -> None:
            begun.set()
            await held.wait()
            if scope["path"] == "/fails":
                raise RuntimeError
            ended.append(scope["path"])

        allowance = Allowance(app, ServerSettings(concurrency=1))

        def asking(path: str):
            return allowance(
                {"type": "http", "path": path, "state": {"identity": Identity("a", frozenset(), key_id="k")}},
                None,
                None,
            )

        for path in ("/fails", "/cancelled", "/ends"):
            task = asyncio.create_task(asking(path))
            await begun.wait()
            with pytest.raises(RateLimited, match="under way"):
                await asking("/beside")
            task.cancel() if path == "/cancelled" else held.set()
            await asyncio.wait([task])
            held.clear()
            begun.clear()
        assert ended == ["/ends"]

    asyncio.run(run())


@pytest.mark.parametrize("rate", ["", "0/minute", "10", "10/fortnight", "10 per minute", "-1/day", "1/minute; 2/day"])
def test_a_rate_that_makes_no_sense_is_refused(rate: str):
    with pytest.raises(ValidationError):
        ServerSettings(rate_limit=rate)
    with pytest.raises(ValidationError):
        ServerSettings(rate_limit_redis_url=SecretStr("http://x"))

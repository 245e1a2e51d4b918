"""Requests of one key at a time: no more than it may have, of one server or of all that share a Redis."""

import asyncio
import signal
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from ragsaver.errors import LimitsUnavailable, RateLimited
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from ragsaver.server.slots import SharedSlots, Slots
from tests.listening import listening
from tests.redis_server import RedisServer, redis_server

STEPS = st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=40)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


async def go_through(servers: Sequence[Slots | SharedSlots], steps: list[tuple[str, bool]], most: int) -> None:
    under_way = {"a": [], "b": []}
    for number, (whose, begins) in enumerate(steps):
        if begins:
            one = servers[number % len(servers)].one(whose)
            if len(under_way[whose]) == most:
                with pytest.raises(RateLimited):
                    await one.__aenter__()
            else:
                give_back = await one.__aenter__()
                under_way[whose].append((one, give_back))
        elif under_way[whose]:
            one, give_back = under_way[whose].pop()
            if number % 3:
                await give_back()
            await one.__aexit__(None, None, None)
    for one, _ in under_way["a"] + under_way["b"]:
        await one.__aexit__(None, None, None)


@given(STEPS, st.integers(1, 4))
def test_no_more_requests_of_a_key_are_under_way_than_it_may_have(steps: list[tuple[str, bool]], most: int):
    slots = Slots(most)
    asyncio.run(go_through([slots], steps, most))
    assert not slots._taken


@given(STEPS, st.integers(1, 4))
@settings(max_examples=20)
def test_nor_have_several_servers_more_under_way_together(redis_url: str, steps: list[tuple[str, bool]], most: int):
    asyncio.run(go_through([SharedSlots(most, redis_url) for _ in range(2)], steps, most))
    with redis.Redis.from_url(redis_url) as left:
        assert left.keys() == []


def test_of_many_at_once_as_many_as_may_are_let_in(redis_url: str):
    async def run() -> None:
        servers = [SharedSlots(3, redis_url) for _ in range(2)]
        held, let_in, refused = asyncio.Event(), [], []

        async def ask(number: int) -> None:
            try:
                async with servers[number % 2].one("many"):
                    let_in.append(number)
                    await held.wait()
            except RateLimited:
                refused.append(number)
            if len(refused) == 17:
                held.set()

        async with asyncio.timeout(60):
            await asyncio.gather(*map(ask, range(20)))
        assert (len(let_in), len(refused)) == (3, 17)

    asyncio.run(run())


def test_a_long_request_keeps_its_place_and_one_that_nobody_keeps_is_free_after_its_lease(redis_url: str):
    async def run() -> None:
        mine, other = SharedSlots(2, redis_url, lease_s=2), SharedSlots(2, redis_url)
        with redis.Redis.from_url(redis_url) as there:
            async with mine.one("k"):
                ((_, first),) = there.zrange("ragsaver:slots:k", 0, -1, withscores=True)
                there.zadd("ragsaver:slots:k", {"of a killed server": first})
                with pytest.raises(RateLimited, match="under way"):
                    await other.one("k").__aenter__()
                while now_ms(there) <= first:
                    await asyncio.sleep(0.05)
                async with other.one("k"):
                    with pytest.raises(RateLimited):
                        await other.one("k").__aenter__()
            assert there.keys("*:k") == []

    asyncio.run(run())


def test_a_request_is_counted_again_where_redis_lost_it_and_ends_well_where_redis_is_gone(tmp_path: Path):
    server = RedisServer(tmp_path / "redis")

    async def run() -> None:
        slots = SharedSlots(1, server.url, lease_s=1)
        async with AsyncExitStack() as running:
            await running.enter_async_context(slots.one("k"))
            await asyncio.to_thread(server.stop, signal.SIGKILL)
            with pytest.raises(LimitsUnavailable, match="does not answer"):
                await slots.one("k").__aenter__()
            server.lose()
            await asyncio.to_thread(server.start)
            with redis.Redis.from_url(server.url) as there:
                while not there.zcard("ragsaver:slots:k"):
                    await asyncio.sleep(0.05)
            with pytest.raises(RateLimited):
                await slots.one("k").__aenter__()
            await asyncio.to_thread(server.stop)

    asyncio.run(run())


def test_a_request_that_is_given_up_gives_its_place_back(redis_url: str):
    async def run() -> None:
        slots = SharedSlots(1, redis_url)

        async def hang(begun: asyncio.Event) -> None:
            async with slots.one("given up"):
                begun.set()
                await asyncio.Event().wait()

        for _ in range(3):
            begun = asyncio.Event()
            task = asyncio.create_task(hang(begun))
            await begun.wait()
            task.cancel()
            await asyncio.wait([task])
        for _ in range(10):
            task = asyncio.create_task(hang(asyncio.Event()))
            await asyncio.sleep(0)
            task.cancel()  # while Redis is asked
            await asyncio.wait([task])
        async with slots.one("given up"):
            pass

    asyncio.run(run())


@pytest.mark.parametrize(("servers", "shared"), [(1, False), (1, True), (2, True)])
def test_who_asks_one_thing_after_the_other_is_never_refused(
    runtime: Runtime, redis_url: str, servers: int, shared: bool
):
    url = SecretStr(redis_url) if shared else None
    server = runtime.settings.server.model_copy(update={"concurrency": 1, "rate_limit_redis_url": url})
    changed = runtime.settings.model_copy(update={"server": server})
    access = Access(LiveRuntime(Runtime(replace(runtime.resources, settings=changed))), "token")
    try:
        with ExitStack() as running, httpx.Client(timeout=60) as client:
            urls = [running.enter_context(listening(create_app(access))) for _ in range(servers)]
            for number in range(20):
                url = urls[number % servers]
                assert client.get(f"{url}/v1/documents").status_code == 200
                for stream in (False, True):
                    asked = {"query": "What do owls hunt?", "stream": stream}
                    assert client.post(f"{url}/v1/query", json=asked).status_code == 200
    finally:
        access.close()


def now_ms(there: redis.Redis) -> float:
    seconds, micro = there.time()
    return seconds * 1000 + micro / 1000

"""How many requests of one key are under way: in this process, or in all that share a Redis."""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from starlette.types import Message, Send

from ragsaver.caching.redis_link import connect
from ragsaver.components.to_the_end import to_the_end
from ragsaver.errors import LimitsUnavailable, RateLimited

_SOON_S = 1.0  # a request that is under way may end any moment
_PATIENCE_S = 2.0
# What a killed server had under way is forgotten after it.
_LEASE_S = 15.0
_RENEWALS = 3  # in the time of a lease

GiveBack = Callable[[], Awaitable[None]]

_log = logging.getLogger(__name__)

# By the clock of Redis, which is the same for all servers.
_TAKE = """
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('zremrangebyscore', KEYS[1], '-inf', now)
if redis.call('zcard', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('zadd', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('pexpire', KEYS[1], ARGV[2])
return 1
"""

# Also where Redis was emptied meanwhile: the request is still under way.
_RENEW = """
local time = redis.call('time')
redis.call('zadd', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2], ARGV[1])
redis.call('pexpire', KEYS[1], ARGV[2])
"""


class Slots:
    """So many requests of a key under way in this process."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._taken: Counter[str] = Counter()

    @asynccontextmanager
    async def one(self, whose: str) -> AsyncIterator[GiveBack]:
        """A request's own; what is yielded gives it back before the block ends.

        :raises RateLimited: if all are taken.
        """
        if self._taken[whose] >= self.most:
            raise _all_taken(self.most)
        self._taken[whose] += 1
        held = True

        async def give_back() -> None:
            nonlocal held
            if not held:
                return
            held = False
            self._taken[whose] -= 1
            if not self._taken[whose]:
                del self._taken[whose]

        try:
            yield give_back
        finally:
            await give_back()


class SharedSlots:
    """So many requests of a key under way in all servers that share a Redis.

    Each is leased: a running request renews its own, and a server that was killed renews none.

    :param lease_s: after which a slot that nobody renews is free.
    :raises MissingExtra: if the Redis client is not installed.
    """

    def __init__(self, most: int, redis_url: str, lease_s: float = _LEASE_S) -> None:
        self.most = most
        self._redis, self._failed = connect(
            redis_url, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S, retry=None
        )
        self._lease_s = lease_s

    @asynccontextmanager
    async def one(self, whose: str) -> AsyncIterator[GiveBack]:
        """A request's own; what is yielded gives it back before the block ends.

        :raises RateLimited: if all are taken.
        :raises LimitsUnavailable: if they can't be counted.
        """
        key, name, lease_ms = f"ragsaver:slots:{whose}", uuid.uuid4().hex, int(self._lease_s * 1000)

        def take() -> bool:
            try:
                return bool(self._redis.eval(_TAKE, 1, key, name, lease_ms, self.most))
            except self._failed as error:
                raise not_counted() from error

        def renew() -> None:
            with self._told():
                self._redis.eval(_RENEW, 1, key, name, lease_ms)

        def give_back() -> None:
            with self._told():
                self._redis.zrem(key, name)

        taken, cancelled = await to_the_end(take)
        if cancelled:
            await to_the_end(give_back)
            raise asyncio.CancelledError
        if not taken:
            raise _all_taken(self.most)
        slot = _Leased(renew, give_back, self._lease_s / _RENEWALS)
        try:
            yield slot.give_back
        finally:
            await slot.give_back()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The request itself goes on without Redis."""
        try:
            yield
        except self._failed as error:
            _log.warning("the Redis of `server.rate_limit_redis_url` does not answer: %s", type(error).__name__)


class _Leased:
    """A slot in Redis for as long as its request takes.

    :param renew: blocking, as is `give_back`; neither raises.
    :param every_s: in which it is renewed.
    """

    def __init__(self, renew: Callable[[], None], give_back: Callable[[], None], every_s: float) -> None:
        self._over = asyncio.Event()
        self._kept = asyncio.create_task(self._keep(renew, give_back, every_s))

    async def give_back(self) -> None:
        """It is free for another request, whatever becomes of the task that asks for that."""
        self._over.set()
        await asyncio.shield(self._kept)

    async def _keep(self, renew: Callable[[], None], give_back: Callable[[], None], every_s: float) -> None:
        while not self._over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), every_s)
                break
            await to_the_end(renew)
        await to_the_end(give_back)


def before_the_end(send: Send, give_back: GiveBack) -> Send:
    """Give a slot back before the caller knows that its request has ended: it may ask at once again."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            await give_back()
        await send(message)

    return sent


def not_counted() -> LimitsUnavailable:
    """Why nobody is let in."""
    return LimitsUnavailable(
        "requests can't be counted: the Redis does not answer",
        where="server.rate_limit_redis_url",
        remedy="Start it, or correct the address",
    )


def _all_taken(most: int) -> RateLimited:
    return RateLimited(
        f"{most} requests of this key are under way already",
        remedy="Wait for one of them to end, or ask the operator to raise `server.concurrency`",
        retry_after_s=_SOON_S,
    )

"""Cached things in a Redis that all processes of a fleet share.

Redis lets entries go when their time is over. `max_entries` is kept by a sorted set of uses; how many bytes they may
take is Redis' own `maxmemory`, with the policy `volatile-lru`: every key has a time to live. Messages of a broker in
the same Redis have none, and stay.
"""

import struct
import time
from typing import Any

from ragsaver.addresses import without_password
from ragsaver.caching.entries import Asked, Clock, Holding, Key, Noted, area_of
from ragsaver.caching.redis_link import connect
from ragsaver.errors import StorageError

# A cache that is slower than this is none; questions go on without it.
_PATIENCE_S = 1.0
_SCANNED = 1000
_EXPIRES = struct.Struct("<d")
_SIZE = struct.Struct("<I")

# Only the owner of a lease may end it, and only one process may look at it meanwhile.
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"

# The uses last as long as the entry that lasts longest.
_OUTLIVE = """
if redis.call('pttl', KEYS[1]) < tonumber(ARGV[1]) then redis.call('pexpire', KEYS[1], ARGV[1]) end
"""

# Numbers are microseconds, so that they grow also where Redis was emptied meanwhile. What is over leaves the shelf.
_NOTE = """
redis.call('set', KEYS[2], ARGV[2], 'PX', ARGV[3])
local time = redis.call('time')
local now = time[1] * 1000000 + time[2]
local last = redis.call('zrevrange', KEYS[1], 0, 0, 'WITHSCORES')[2]
redis.call('zadd', KEYS[1], math.max(now, last and last + 1 or 0), ARGV[1])
redis.call('zremrangebyscore', KEYS[1], '-inf', now - ARGV[3] * 1000)
redis.call('zremrangebyrank', KEYS[1], 0, -1 - ARGV[4])
redis.call('pexpire', KEYS[1], ARGV[3])
"""


class RedisEntries:
    """An `EntryStore` in Redis.

    :param url: `redis://HOST:PORT/DB`, or `rediss://` for TLS.
    :param name: of this store; others in the same Redis have other ones.
    :param max_entries: that are kept; the longest unused ones go first.
    :raises MissingExtra: if the redis package is not installed.
    """

    def __init__(self, url: str, name: str, max_entries: int, clock: Clock = time.time) -> None:
        self._redis, self._failed = connect(
            url, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S, retry=None
        )
        self._where = without_password(url)
        self._prefix = f"ragsaver:{name}:"
        self._uses = f"{self._prefix}uses"
        self._max_entries = max_entries
        self._clock = clock

    def get(self, key: Key) -> bytes | None:
        """The entry, if its time is not over."""
        name, now = self._name(key), self._clock()

        def ask(pipe: Any) -> None:
            pipe.get(name)
            pipe.zadd(self._uses, {name: now}, xx=True)

        found: bytes | None = self._ask(ask)[0]
        if found is None or _EXPIRES.unpack_from(found)[0] <= now:
            return None
        return found[_EXPIRES.size :]

    def put(self, key: Key, value: bytes, ttl_s: float) -> bool:
        """Keep an entry, and drop the longest unused ones past the bound."""
        name, now, ttl_ms = self._name(key), self._clock(), max(1, int(ttl_s * 1000))

        def ask(pipe: Any) -> None:
            pipe.set(name, _EXPIRES.pack(now + ttl_s) + value, px=ttl_ms)
            pipe.zadd(self._uses, {name: now})
            pipe.zcard(self._uses)
            pipe.eval(_OUTLIVE, 1, self._uses, ttl_ms)

        surplus = self._ask(ask)[2] - self._max_entries
        if surplus > 0:
            gone = [one.decode() for one, _ in self._ask(lambda pipe: pipe.zpopmin(self._uses, surplus))[0]]
            self._ask(lambda pipe: pipe.delete(*gone, *map(_question_of, gone)))
        return True

    def remove(self, key: Key) -> None:
        """Drop an entry."""
        name = self._name(key)

        def ask(pipe: Any) -> None:
            pipe.delete(name, _question_of(name))
            pipe.zrem(self._uses, name)

        self._ask(ask)

    def note(self, shelf: Key, asked: Asked, kind: str, ttl_s: float) -> None:
        """Keep which question an entry answers."""
        kept = _question_of(self._name(Key(kind, shelf.area, asked.name)))
        told = _SIZE.pack(len(asked.vector)) + asked.vector + asked.question.encode(errors="replace")
        given = (asked.name, told, max(1, int(ttl_s * 1000)), self._max_entries)
        self._ask(lambda pipe: pipe.eval(_NOTE, 2, self._name(shelf), kept, *given))

    def noted(self, shelf: Key, kind: str, after: int, most: int) -> Noted:
        """What was noted after that point; what has gone leaves the shelf."""
        rows = self._ask(
            lambda pipe: pipe.zrangebyscore(self._name(shelf), f"({after}", "+inf", 0, most, withscores=True)
        )[0]
        if not rows:
            return Noted(after)
        names = [name.decode() for name, _ in rows]
        kept = [_question_of(self._name(Key(kind, shelf.area, name))) for name in names]
        told = self._ask(lambda pipe: pipe.mget(kept))[0]
        gone = [name for name, one in zip(names, told, strict=True) if one is None]
        if gone:
            self._ask(lambda pipe: pipe.zrem(self._name(shelf), *gone))
        there = tuple(_read_question(name, one) for name, one in zip(names, told, strict=True) if one is not None)
        return Noted(int(rows[-1][1]), there, len(rows) == most)

    def claim(self, key: Key, owner: str, lease_s: float) -> bool:
        """Ask for the right to compute an entry."""
        taken = self._ask(lambda pipe: pipe.set(self._lease(key), owner, nx=True, px=max(1, int(lease_s * 1000))))
        return bool(taken[0])

    def release(self, key: Key, owner: str) -> None:
        """Give that right back, if it is still this owner's."""
        self._ask(lambda pipe: pipe.eval(_RELEASE, 1, self._lease(key), owner))

    def clear(self, tenant: str | None = None, collection: str | None = None) -> int:
        """Drop all entries, or a tenant's, or those of its collection."""
        begins = f"{self._prefix}{area_of(tenant, collection)}"
        try:
            gone = [
                one
                for one in self._redis.scan_iter(match=f"{begins}*", count=_SCANNED)
                if one not in (self._uses.encode(),) and b":lease:" not in one
            ]
        except self._failed as error:
            raise self._unreachable(error) from error
        entries = 0
        for start in range(0, len(gone), _SCANNED):
            some = gone[start : start + _SCANNED]
            entries += self._ask(lambda pipe, some=some: (pipe.delete(*some), pipe.zrem(self._uses, *some)))[1]
        return entries

    def holding(self) -> Holding:
        """What is there; bytes are Redis' own matter."""
        return Holding(int(self._ask(lambda pipe: pipe.zcard(self._uses))[0]), 0)

    def close(self) -> None:
        """Let go of the connections."""
        self._redis.close()

    def _name(self, key: Key) -> str:
        return f"{self._prefix}{key.area}:{key.kind}:{key.name}"

    def _lease(self, key: Key) -> str:
        return f"{self._prefix}:lease:{key.name}"

    def _ask(self, command: Any) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        try:
            command(pipe)
            answers: list[Any] = pipe.execute()
        except self._failed as error:
            raise self._unreachable(error) from error
        return answers

    def _unreachable(self, error: Exception) -> StorageError:
        return StorageError(
            f"the cache of answers can't be reached: {error}",
            where=self._where,
            remedy="Start it, or set `cache.backend: sqlite`",
        )


def _question_of(name: str) -> str:
    """The key of what an entry answers, by the entry's."""
    return f"{name}:asked"


def _read_question(name: str, told: bytes) -> Asked:
    size = _SIZE.size + int.from_bytes(told[: _SIZE.size], "little")
    return Asked(name, told[size:].decode(errors="replace"), told[_SIZE.size : size])

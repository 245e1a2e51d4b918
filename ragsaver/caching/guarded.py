"""A cache that can't be reached must not cost an answer: questions go on without it, and it is asked again later."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from ragsaver.caching.entries import Asked, EntryStore, Holding, Key, Noted
from ragsaver.errors import StorageError

# For which a store that failed is left alone: each question would wait for it otherwise.
_PAUSE_S = 5.0

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Guarded:
    """An `EntryStore` whose failures are misses; only `clear` and `holding` tell them.

    :ivar failures: calls that failed so far.
    """

    def __init__(self, store: EntryStore) -> None:
        self._store = store
        self._resumes_at = 0.0
        self._counting = threading.Lock()
        self.failures = 0

    def get(self, key: Key) -> bytes | None:
        """The entry, if it is there and can be had."""
        return self._ask(lambda: self._store.get(key), None)

    def put(self, key: Key, value: bytes, ttl_s: float) -> bool:
        """Keep an entry; whether it was kept."""
        return self._ask(lambda: self._store.put(key, value, ttl_s), False)

    def remove(self, key: Key) -> None:
        """Drop an entry."""
        self._ask(lambda: self._store.remove(key), None)

    def note(self, shelf: Key, asked: Asked, kind: str, ttl_s: float) -> None:
        """Keep which question an entry answers."""
        self._ask(lambda: self._store.note(shelf, asked, kind, ttl_s), None)

    def noted(self, shelf: Key, kind: str, after: int, most: int) -> Noted:
        """What was noted since; if it can't be had all is read again later: what could not be had passed for gone."""
        return self._ask(lambda: self._store.noted(shelf, kind, after, most), Noted())

    def claim(self, key: Key, owner: str, lease_s: float) -> bool:
        """Ask for the right to compute an entry; where nobody can be asked, everybody may."""
        return self._ask(lambda: self._store.claim(key, owner, lease_s), True)

    def release(self, key: Key, owner: str) -> None:
        """Give that right back; else it ends by itself."""
        self._ask(lambda: self._store.release(key, owner), None)

    def clear(self, tenant: str | None = None, collection: str | None = None) -> int:
        """Drop all entries, or a tenant's, or those of its collection."""
        return self._store.clear(tenant, collection)

    def holding(self) -> Holding:
        """What is there."""
        return self._store.holding()

    def close(self) -> None:
        """Let go of what keeps them."""
        self._store.close()

    def _ask(self, call: Callable[[], T], without: T) -> T:
        if time.monotonic() < self._resumes_at:
            return without
        try:
            return call()
        except StorageError as error:
            with self._counting:
                self.failures += 1
            self._resumes_at = time.monotonic() + _PAUSE_S
            _log.warning("questions go on without the cache for %g s: %s", _PAUSE_S, error)
            return without

"""A cache that can't be reached must not cost an answer: questions go on without it, and it is asked again later."""

import logging
import threading
import time

from ragsaver.caching.entries import EntryStore, Holding, Key
from ragsaver.errors import StorageError

# For which a store that failed is left alone: each question would wait for it otherwise.
_PAUSE_S = 5.0

_log = logging.getLogger(__name__)


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
        if self._rests():
            return None
        try:
            return self._store.get(key)
        except StorageError as error:
            self._failed(error)
            return None

    def put(self, key: Key, value: bytes, ttl_s: float) -> bool:
        """Keep an entry; whether it was kept."""
        if self._rests():
            return False
        try:
            return self._store.put(key, value, ttl_s)
        except StorageError as error:
            self._failed(error)
            return False

    def remove(self, key: Key) -> None:
        """Drop an entry."""
        if self._rests():
            return
        try:
            self._store.remove(key)
        except StorageError as error:
            self._failed(error)

    def claim(self, key: Key, owner: str, lease_s: float) -> bool:
        """Ask for the right to compute an entry; where nobody can be asked, everybody may."""
        if self._rests():
            return True
        try:
            return self._store.claim(key, owner, lease_s)
        except StorageError as error:
            self._failed(error)
            return True

    def release(self, key: Key, owner: str) -> None:
        """Give that right back; else it ends by itself."""
        if self._rests():
            return
        try:
            self._store.release(key, owner)
        except StorageError as error:
            self._failed(error)

    def clear(self, tenant: str | None = None, collection: str | None = None) -> int:
        """Drop all entries, or a tenant's, or those of its collection."""
        return self._store.clear(tenant, collection)

    def holding(self) -> Holding:
        """What is there."""
        return self._store.holding()

    def close(self) -> None:
        """Let go of what keeps them."""
        self._store.close()

    def _rests(self) -> bool:
        return time.monotonic() < self._resumes_at

    def _failed(self, error: StorageError) -> None:
        with self._counting:
            self.failures += 1
        self._resumes_at = time.monotonic() + _PAUSE_S
        _log.warning("questions go on without the cache for %g s: %s", _PAUSE_S, error)

"""Where cached things are kept: entries by key, bounded, each for its time; and who may compute one meanwhile.

A key is made of everything that decides about its entry. Tenant, collection and groups are in it and beside it:
no two of them ever share an entry, whatever their names look like.
"""

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Place:
    """Whose entries: a tenant's collection, read in the name of these groups (None: by who may read all of it)."""

    tenant: str
    collection: str
    groups: tuple[str, ...] | None

    @classmethod
    def of(cls, tenant: str, collection: str, groups: Collection[str] | None) -> "Place":
        """Groups in any order."""
        return cls(tenant, collection, None if groups is None else tuple(sorted(set(groups))))


@dataclass(frozen=True, slots=True)
class Key:
    """One entry's key.

    :ivar area: the place in digests, tenant first, then collection: what begins alike belongs to the same.
    :ivar name: digest of the place and of all else that decides, hex.
    """

    kind: str
    area: str
    name: str

    @classmethod
    def of(cls, place: Place, kind: str, *deciding: str) -> "Key":
        """The key of what all these decide."""
        whole = [place.tenant, place.collection, place.groups, kind, *deciding]
        return cls(kind, f"{area_of(place.tenant, place.collection)}{_digest(place.groups)}", _digest(whole, 32))


@dataclass(frozen=True, slots=True)
class Holding:
    """What a store holds."""

    entries: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that an entry answers.

    :ivar name: of the entry's key; the entry is in the same area as the shelf.
    :ivar vector: (dim,) float16, as bytes.
    """

    name: str
    question: str
    vector: bytes


@dataclass(frozen=True, slots=True)
class Noted:
    """Questions of a shelf in the order in which they were noted.

    :ivar upto: where to read on; 0 to begin anew.
    :ivar more: whether there are more already.
    """

    upto: int = 0
    asked: tuple[Asked, ...] = ()
    more: bool = False


class EntryStore(Protocol):
    """Entries by key; any thread may use it.

    Every method raises StorageError if what keeps them can't be reached.
    """

    def get(self, key: Key) -> bytes | None:
        """The entry, if its time is not over; its use is noted."""
        ...

    def put(self, key: Key, value: bytes, ttl_s: float) -> bool:
        """Keep an entry in place of what was there; whether it was kept, which it is not if it is larger than all."""
        ...

    def remove(self, key: Key) -> None:
        """Drop an entry."""
        ...

    def note(self, shelf: Key, asked: Asked, kind: str, ttl_s: float) -> None:
        """Keep which question an entry of that kind answers, for others to read; it goes with the entry.

        :param shelf: questions are read by; in the entry's area.
        """
        ...

    def noted(self, shelf: Key, kind: str, after: int, most: int) -> Noted:
        """What was noted after that point, oldest first, as far as its entries are there."""
        ...

    def claim(self, key: Key, owner: str, lease_s: float) -> bool:
        """Ask for the right to compute an entry, which ends by itself after `lease_s`; others get False meanwhile."""
        ...

    def release(self, key: Key, owner: str) -> None:
        """Give that right back, if it is still this owner's."""
        ...

    def clear(self, tenant: str | None = None, collection: str | None = None) -> int:
        """Drop all entries, or a tenant's, or those of its collection; how many."""
        ...

    def holding(self) -> Holding:
        """What is there, entries included whose time is over."""
        ...

    def close(self) -> None:
        """Let go of what keeps them."""
        ...


class MemoryEntries:
    """An `EntryStore` in this process.

    :param max_entries: that are kept; the longest unused ones go first.
    :param max_bytes: of all values together.
    """

    def __init__(self, max_entries: int, max_bytes: int, clock: Clock = time.time) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._kept: OrderedDict[Key, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Key) -> bytes | None:
        """The entry, if its time is not over."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if found[0] <= self._clock():
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return found[1]

    def put(self, key: Key, value: bytes, ttl_s: float) -> bool:
        """Keep an entry, and drop the longest unused ones past the bound."""
        if len(value) > self._max_bytes:
            return False
        with self._lock:
            self._drop(key)
            self._kept[key] = (self._clock() + ttl_s, value)
            self._bytes += len(value)
            while len(self._kept) > self._max_entries or self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))
        return True

    def remove(self, key: Key) -> None:
        """Drop an entry."""
        with self._lock:
            self._drop(key)

    def note(self, shelf: Key, asked: Asked, kind: str, ttl_s: float) -> None:
        """There is nobody to read it."""

    def noted(self, shelf: Key, kind: str, after: int, most: int) -> Noted:
        """Nobody else notes anything."""
        return Noted()

    def claim(self, key: Key, owner: str, lease_s: float) -> bool:
        """There is no other process to wait for."""
        return True

    def release(self, key: Key, owner: str) -> None:
        """Nothing was taken."""

    def clear(self, tenant: str | None = None, collection: str | None = None) -> int:
        """Drop all entries, or a tenant's, or those of its collection."""
        area = area_of(tenant, collection)
        with self._lock:
            gone = [key for key in self._kept if key.area.startswith(area)]
            for key in gone:
                self._drop(key)
        return len(gone)

    def holding(self) -> Holding:
        """What is there."""
        with self._lock:
            return Holding(len(self._kept), self._bytes)

    def close(self) -> None:
        """Nothing to let go of."""

    def _drop(self, key: Key) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self._bytes -= len(gone[1])


def area_of(tenant: str | None, collection: str | None = None) -> str:
    """What the areas of all keys of a tenant, or of its collection, begin with; of all keys if there is no tenant."""
    if tenant is None:
        return ""
    return _digest(tenant) + ("" if collection is None else _digest(collection))


def _digest(value: object, size: int = 8) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=size).hexdigest()

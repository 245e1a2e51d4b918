"""A kept answer that held a moment ago is not held against the index again while nothing in its collection changes.

What changes a collection sets its mark anew, in the transaction that commits the change; the mark is asked for every
time. The index is asked again after a moment even so: it may have been changed by other means than RAGSaver's.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from ragsaver.caching.entries import Key
from ragsaver.pipelines.kept_answer import KeptAnswer

GOOD_FOR_S = 2.0
_MOST = 1024
_MOST_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer that held.

    :ivar data: as it is in the store.
    :ivar mark: of its collection, taken before it was looked at; empty where nobody sets one.
    :ivar until: of `time.monotonic()`.
    """

    data: bytes
    kept: KeptAnswer
    mark: str
    until: float

    def holds(self, mark: str) -> bool:
        """Whether it does still, at this mark of its collection, without another look."""
        return bool(mark) and mark == self.mark and time.monotonic() < self.until


class CheckedAnswers:
    """The last ones, read and checked. Safe from any number of threads."""

    def __init__(self) -> None:
        self._checked: OrderedDict[Key, Checked] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Key, data: bytes) -> Checked | None:
        """What is known of an entry; None if it is another one by now."""
        with self._lock:
            known = self._checked.get(key)
            if known is None or known.data != data:
                return None
            self._checked.move_to_end(key)
            return known

    def put(self, key: Key, data: bytes, kept: KeptAnswer, mark: str) -> None:
        """It held just now; those that were not asked for longest are forgotten past the bound."""
        with self._lock:
            self._drop(key)
            self._checked[key] = Checked(data, kept, mark, time.monotonic() + GOOD_FOR_S)
            self._bytes += len(data)
            while len(self._checked) > _MOST or self._bytes > _MOST_BYTES:
                self._drop(next(iter(self._checked)))

    def _drop(self, key: Key) -> None:
        gone = self._checked.pop(key, None)
        if gone is not None:
            self._bytes -= len(gone.data)

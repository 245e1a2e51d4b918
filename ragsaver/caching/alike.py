"""Which questions like this one were answered, by whichever process? What others noted in the store is taken over here.

The store says what is: a question that was noted is not promised an answer, whoever is given it looks for its entry.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ragsaver.caching.entries import Asked, EntryStore, Key
from ragsaver.caching.nearest import Near, Nearest

# What others noted is asked for once in so many seconds and shelf, and taken over in steps: no question waits long.
_READ_EVERY_S = 1.0
_STEP = 250
# Shelves of which it is remembered how far they were read; one beyond is read anew.
_SHELVES = 10_000
_LENGTH_WITHIN = 0.01  # of 1: half precision is a tenth of it off


class Alike:
    """Questions that were answered, by shelf; any thread may use it.

    :param most: questions of all shelves together that this process holds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._nearest: Nearest[Key, Key] = Nearest(most)
        self._clock = clock
        self._read: OrderedDict[Key, tuple[int, float]] = OrderedDict()  # up to where, and when to read on
        self._lock = threading.Lock()

    def put(
        self, store: EntryStore, shelf: Key, key: Key, question: str, vector: NDArray[np.float32], ttl_s: float
    ) -> None:
        """Remember what an entry answers, and let others know; `vector` is (dim,), L2-normalised."""
        if shelf not in self._nearest:  # it may have made room: it is read from its beginning
            with self._lock:
                self._read.pop(shelf, None)
        self._nearest.put(shelf, key, question, vector)
        store.note(shelf, Asked(key.name, question, vector.astype(np.float16).tobytes()), key.kind, ttl_s)

    def near(
        self,
        store: EntryStore,
        shelf: Key,
        kind: str,
        vector: NDArray[np.float32],
        cosine_at_least: float,
        most: int,
    ) -> list[Near[Key]]:
        """Questions of the shelf whose entries are of that kind, nearest first."""
        self._read_on(store, shelf, kind, len(vector))
        return self._nearest.near(shelf, vector, cosine_at_least, most)

    def remove(self, shelf: Key, key: Key) -> None:
        """Forget a question whose entry is gone."""
        self._nearest.remove(shelf, key)

    def _read_on(self, store: EntryStore, shelf: Key, kind: str, dim: int) -> None:
        now = self._clock()
        with self._lock:
            upto, due_at = self._read.get(shelf, (0, now))
            if now < due_at:
                return
            self._plan(shelf, upto, now + _READ_EVERY_S)
        noted = store.noted(shelf, kind, upto if shelf in self._nearest else 0, _STEP)
        if noted.asked:
            asked, vectors = _sound(noted.asked, dim)
            self._nearest.put_all(shelf, {Key(kind, shelf.area, one.name): one.question for one in asked}, vectors)
        with self._lock:
            self._plan(shelf, noted.upto, now if noted.more else now + _READ_EVERY_S)

    def _plan(self, shelf: Key, upto: int, due_at: float) -> None:
        self._read[shelf] = (upto, due_at)
        self._read.move_to_end(shelf)
        if len(self._read) > _SHELVES:
            self._read.popitem(last=False)


def _sound(asked: Sequence[Asked], dim: int) -> tuple[list[Asked], NDArray[np.float32]]:
    """Those whose vectors are as `put` made them, and the vectors, (questions, dim)."""
    whole = [one for one in asked if len(one.vector) == 2 * dim]
    vectors = np.frombuffer(b"".join(one.vector for one in whole), np.float16).reshape(-1, dim).astype(np.float32)
    sound = np.flatnonzero(np.abs(np.linalg.norm(vectors, axis=1) - 1) < _LENGTH_WITHIN)
    return [whole[n] for n in sound], vectors[sound]

"""Does this key let its holder in? Asked for every request, so keys are kept for a moment after they were read."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from ragsaver.access.identity import Identity
from ragsaver.access.key import Key, fits_nobody
from ragsaver.access.key_store import KeyStore
from ragsaver.access.secret import Presented
from ragsaver.errors import Unauthorized

FRESH_S = 2.0  # after which a revoked key is refused everywhere
_NOTE_EVERY_S = 60.0
_KEPT = 4096

_log = logging.getLogger(__name__)


class Keyring:
    """The keys of a running server. Only `fetch`, `look` and `note_use` touch the database.

    :param clock: seconds since 1970.
    """

    def __init__(self, store: KeyStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Key | None]] = OrderedDict()
        self._noted: dict[str, float] = {}
        self._there_are: tuple[float, bool] | None = None

    def there_are_keys(self) -> bool | None:
        """Whether there are any; None if that has to be looked up. Once there are, there always are."""
        if self._there_are is None:
            return None
        looked_at, found = self._there_are
        return found if found or self._clock() - looked_at < FRESH_S else None

    def look(self) -> bool:
        """Look up whether there are any keys.

        :raises StorageError: if that can't be known.
        """
        found = self._store.any()
        self._there_are = (self._clock(), found)
        return found

    def stale(self, id: str) -> bool:
        """Whether `fetch` must be called before `identify` is."""
        kept = self._kept.get(id)
        return kept is None or not 0 <= self._clock() - kept[0] < FRESH_S

    def fetch(self, id: str) -> None:
        """Read a key.

        :raises StorageError: if that can't be done: nobody is let in meanwhile.
        """
        key = self._store.find(id)
        self._kept[id] = (self._clock(), key)
        self._kept.move_to_end(id)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def identify(self, presented: Presented) -> Identity:
        """In whose name the holder of a key asks.

        :raises Unauthorized: if the key is none, or not good any more. Only who has its secret is told which.
        """
        _, key = self._kept.get(presented.id, (0.0, None))
        now = self._clock()
        fits = fits_nobody(presented.secret) if key is None else key.fits(presented.secret, now)
        if key is None or not fits:
            raise Unauthorized("there is no such API key", remedy="Check the key, or ask the operator for one")
        if not key.good(now):
            raise Unauthorized(f"the API key `{key.id}` is {key.state(now)}", remedy="Ask the operator for another one")
        return key.identity()

    def use_to_note(self, id: str) -> bool:
        """Whether it is time to note again when a key was last used; then call `note_use`."""
        now = self._clock()
        if 0 <= now - self._noted.get(id, -_NOTE_EVERY_S) < _NOTE_EVERY_S:
            return False
        self._noted[id] = now
        return True

    def note_use(self, id: str) -> None:
        """Note that a key was used; that this fails stops nobody."""
        try:
            self._store.note_use(id)
        except Exception:
            _log.warning("when key %s was last used can't be noted", id, exc_info=True)

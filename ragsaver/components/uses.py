"""Which documents were of use? Noted beside the questions, written down together, never on a question's thread."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from ragsaver.errors import RagSaverError

_log = logging.getLogger(__name__)

Write = Callable[[Mapping[str, float]], None]


class UseLog:
    """Collects uses and hands them to whoever keeps the manifest; without one, nothing is collected."""

    def __init__(self) -> None:
        self._write: Write | None = None
        self._every_s = 0.0
        self._used_at: dict[str, float] = {}
        self._timer: threading.Timer | None = None
        self._noting = threading.Lock()
        self._writing = threading.Lock()

    def write_to(self, write: Write, every_s: float) -> None:
        """Hand uses over from now on.

        :param write: gets when each document was last used (seconds since 1970), by id; called in a thread of its own.
        :param every_s: it is called no more often than this.
        """
        self._write, self._every_s = write, every_s

    def note(self, document_ids: Iterable[str]) -> None:
        """These documents were packed into a context, or shown by a search; takes microseconds."""
        if self._write is None:
            return
        at = time.time()
        with self._noting:
            self._used_at.update((one, at) for one in document_ids if one)
            if self._used_at and self._timer is None:
                self._timer = threading.Timer(self._every_s, self._hand_over)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Hand over what is left."""
        with self._noting:
            if self._timer is not None:
                self._timer.cancel()
        self._hand_over()
        self._write = None

    def _hand_over(self) -> None:
        with self._writing:
            with self._noting:
                used_at, self._used_at, self._timer = self._used_at, {}, None
            if not used_at or self._write is None:
                return
            try:
                self._write(used_at)
            except RagSaverError as error:
                # A question that was answered must not fail for this; what is found again is noted again.
                _log.warning("uses of %d documents were not noted: %s", len(used_at), error)

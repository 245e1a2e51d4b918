"""How long may work take? As long as its process lives: what it holds is held on to while it works.

Only a process that is gone lets its holds run out.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ragsaver.errors import StorageError
from ragsaver.ingestion.jobs import JobStore

_BEATS = 4  # in the time of a hold: one that comes late, or fails, loses nothing
_LEAST_S = 0.05

_log = logging.getLogger(__name__)


class Holding:
    """Renews the holds of a process from a thread of its own."""

    def __init__(self, jobs: JobStore, lease_s: float) -> None:
        self._jobs = jobs
        self._lease_s = lease_s
        self._holders: set[str] = set()
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def __call__(self, holders: Sequence[str]) -> Iterator[None]:
        """Hold on to what these hold, for the code inside."""
        with self._changing:
            self._holders.update(holders)
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="holding", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changing:
                self._holders.difference_update(holders)

    def _beat(self) -> None:
        pause = threading.Event()
        while not pause.wait(max(_LEAST_S, self._lease_s / _BEATS)):
            with self._changing:
                holders = list(self._holders)
                if not holders:
                    self._thread = None
                    return
            try:
                self._jobs.hold_on(holders, self._lease_s)
            except StorageError as error:
                _log.warning("holds can't be renewed: %s", error)

"""How long may work take? What a process holds is held on to while it works, up to a bound for work that hangs.

A process that is gone lets its holds run out; one that hangs has others take over what it holds.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ragsaver.errors import StorageError
from ragsaver.ingestion.jobs import JobStore

_BEATS = 4  # in the time of a hold: one that comes late, or fails, loses nothing
_LEAST_S = 0.05

_log = logging.getLogger(__name__)


class Holding:
    """Renews the holds of a process from a thread of its own.

    :param lease_s: for which a hold is renewed each time.
    :param max_hold_s: after which it is renewed no more.
    :param clock: seconds that never go back.
    """

    def __init__(
        self, jobs: JobStore, lease_s: float, max_hold_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._jobs = jobs
        self._lease_s = lease_s
        self._max_hold_s = max_hold_s
        self._clock = clock
        self._since: dict[str, float] = {}
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def __call__(self, holders: Sequence[str]) -> Iterator[None]:
        """Hold on to what these hold, for the code inside."""
        with self._changing:
            self._since.update(dict.fromkeys(holders, self._clock()))
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="holding", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changing:
                for holder in holders:
                    self._since.pop(holder, None)

    def renew(self) -> bool:
        """Renew what is held; false if nothing is, and the thread that asks is to end."""
        with self._changing:
            hanging = too_long(self._since, self._clock(), self._max_hold_s)
            for holder in hanging:
                del self._since[holder]
            holders = list(self._since)
            if not holders:
                self._thread = None
        if hanging:
            _log.error("work under way for more than %g s is given up to others", self._max_hold_s)
        if holders:
            try:
                self._jobs.hold_on(holders, self._lease_s)
            except StorageError as error:
                _log.warning("holds can't be renewed: %s", error)
        return bool(holders)

    def _beat(self) -> None:
        pause = threading.Event()
        while not pause.wait(max(_LEAST_S, self._lease_s / _BEATS)) and self.renew():
            pass


def too_long(since: Mapping[str, float], now: float, max_hold_s: float) -> list[str]:
    """Who has held on for too long."""
    return [holder for holder, began in since.items() if now - began >= max_hold_s]

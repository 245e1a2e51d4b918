"""One computes, the rest wait: whoever asks first leads, and those who ask the same meanwhile follow."""

import threading
from concurrent.futures import Future
from enum import Enum
from typing import Generic, TypeVar

Name = TypeVar("Name")


class Landed(Enum):
    """How a flight ended.

    KEPT: what was computed is in the cache. FAILED: the next one may try. ALONE: nobody else can use it, so
    that those who waited compute for themselves.
    """

    KEPT = "kept"
    FAILED = "failed"
    ALONE = "alone"


class Flights(Generic[Name]):
    """The computations under way in this process, by name. Safe from any number of threads."""

    def __init__(self) -> None:
        self._under_way: dict[Name, Future[Landed]] = {}
        self._lock = threading.Lock()

    def join(self, name: Name) -> "Future[Landed] | None":
        """The flight to wait for; None if the caller leads it now, and has to call `land`."""
        with self._lock:
            flight = self._under_way.get(name)
            if flight is None:
                self._under_way[name] = Future()
            return flight

    def land(self, name: Name, how: Landed) -> None:
        """The leader's computation has ended."""
        with self._lock:
            flight = self._under_way.pop(name)
        flight.set_result(how)

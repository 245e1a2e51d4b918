"""Is it worth asking this endpoint now? Not for a while after it failed several times in a row.

Closed, every attempt goes through. After so many failures in a row it opens: attempts are refused at once, so that
their questions go elsewhere and nobody waits for a timeout. When its time is over one attempt is let through as a
probe; if that is answered it closes, else it opens again, for twice as long (Nygard, Release It!, chapter 5).
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from ragsaver.components.chat_reply import CutReply
from ragsaver.components.endpoint_errors import status_of
from ragsaver.errors import EndpointResting, GenerationError, GenerationLate

State = Literal["closed", "open", "half-open"]
_LONGEST_TIMES = 8


def failed(error: BaseException) -> bool | None:
    """Whether an attempt's error says that the endpoint is not well; None if it says nothing about it."""
    if isinstance(error, CutReply):
        return None if error.hurried else True
    if not isinstance(error, GenerationError) or isinstance(error, GenerationLate) or error.__cause__ is None:
        return None
    status = status_of(error.__cause__)
    return status is None or status >= 500 or status == 408


class Breaker:
    """Of one endpoint, for any number of threads and tasks.

    :param where: it is, for errors.
    :param failures: in a row that open it; 0 never does.
    :param open_s: seconds for which it is open the first time.
    :param clock: seconds, never going back.
    """

    def __init__(self, where: str, failures: int, open_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._where = where
        self._most = failures
        self._open_s = open_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._times = 1
        self._until: float | None = None  # None: closed
        self._probe: object | None = None
        self._probe_until = 0.0

    @property
    def state(self) -> State:
        """As it is now."""
        with self._lock:
            if self._until is None:
                return "closed"
            return "open" if self._clock() < self._until else "half-open"

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """One attempt, made inside; what it raises, or does not, is the verdict.

        :raises EndpointResting: if it must not be made now.
        """
        mine = self._enter()
        try:
            yield
        except BaseException as error:
            self._leave(mine, failed(error))
            raise
        self._leave(mine, False)

    def _enter(self) -> object | None:
        """The right to probe; None for an attempt while it is closed.

        :raises EndpointResting: if it is open, or somebody probes.
        """
        with self._lock:
            if self._until is None:
                return None
            now = self._clock()
            wait_s = max(self._until, self._probe_until if self._probe else 0.0) - now
            if wait_s > 0:
                raise EndpointResting(
                    "failed several times in a row and is left alone for a while",
                    where=self._where,
                    remedy="Try again later, and look at the endpoint's own log",
                    retry_after_s=wait_s,
                )
            self._probe = object()
            self._probe_until = now + self._open_s  # who died with it does not keep it for ever
            return self._probe

    def _leave(self, mine: object | None, bad: bool | None) -> None:
        with self._lock:
            stale = mine is None and self._until is not None
            if stale or mine is not self._probe:  # it began before the state changed, and says nothing about now
                return
            probing = self._probe is not None
            self._probe = None
            if bad is None:
                return
            if not bad:
                self._failures, self._times, self._until = 0, 1, None
                return
            self._failures += 1
            if probing:
                self._times = min(self._times * 2, _LONGEST_TIMES)
            if probing or 0 < self._most <= self._failures:
                self._until = self._clock() + self._open_s * self._times


_breakers: dict[tuple[str, int, float], Breaker] = {}
_making = threading.Lock()


def breaker_of(where: str, failures: int, open_s: float) -> Breaker:
    """That of an endpoint, one for all who ask it in this process."""
    with _making:
        return _breakers.setdefault((where, failures, open_s), Breaker(where, failures, open_s))

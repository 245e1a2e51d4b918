"""May an attempt that failed be made again? Only while retries are a small share of all calls at the endpoint.

Each call that fails is asked again a few times: harmless for one in a hundred, and twice the load and more on an
endpoint that fails because it has too much of it. So a window's first attempts each put a part of a retry into a
bucket, each retry takes a whole one out, and what was put in is lost when the window is over (the retry budget of
Finagle; gRPC's throttling of retries, proposal A6, is a relative). A few retries are there in any window, for endpoints
that are called seldom.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Literal

Kind = Literal["first", "retry", "refused"]
KINDS: tuple[Kind, ...] = ("first", "retry", "refused")

WINDOW_S = 60.0
_SLOTS = 10

# What the remedy of a failure says that might have been retried.
NOT_AGAIN = (
    "It was not asked again: retries are at their share of its calls (`retry_share`, `retry_least` of the model)"
)


class RetryBudget:
    """Of one endpoint, for any number of threads and tasks.

    Within a window, a minute and up to six seconds long, retries are at most `least + share * first attempts`.

    :param share: of a retry that a first attempt is worth.
    :param least: retries that a window has in any case.
    :param clock: seconds, never going back.
    """

    def __init__(self, share: float, least: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._least = least
        self._clock = clock
        self._lock = threading.Lock()
        self._slots: deque[tuple[int, Counter[Kind]]] = deque()
        self._ever: Counter[Kind] = Counter()

    def first(self) -> None:
        """A first attempt is made."""
        with self._lock:
            self._count("first")

    def again(self) -> bool:
        """Take a retry out; false if there is none, and the attempt must not be made."""
        with self._lock:
            slots = self._now()
            firsts, retries = (sum(slot[kind] for _, slot in slots) for kind in ("first", "retry"))
            # a millionth: of ten tenths the sum is a little less than one
            granted = retries + 1 <= self._least + self._share * firsts + 1e-6
            self._count("retry" if granted else "refused")
            return granted

    def counts(self) -> Mapping[Kind, int]:
        """First attempts, retries, and retries that were refused, since the process began."""
        with self._lock:
            return {kind: self._ever[kind] for kind in KINDS}

    def _count(self, kind: Kind) -> None:
        self._now()[-1][1][kind] += 1
        self._ever[kind] += 1

    def _now(self) -> deque[tuple[int, Counter[Kind]]]:
        """The window's slots; the last one is open."""
        number = int(self._clock() * _SLOTS / WINDOW_S)
        while self._slots and self._slots[0][0] < number - _SLOTS:
            self._slots.popleft()
        if not self._slots or self._slots[-1][0] < number:
            self._slots.append((number, Counter()))
        return self._slots


_budgets: dict[tuple[str, float, int], RetryBudget] = {}
_making = threading.Lock()


def retry_budget_of(where: str, share: float, least: int) -> RetryBudget:
    """That of an endpoint, one for all who ask it in this process."""
    with _making:
        return _budgets.setdefault((where, share, least), RetryBudget(share, least))

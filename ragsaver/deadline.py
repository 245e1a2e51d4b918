"""How long may the running request still take? Known to every layer, like a trace span."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_deadline: ContextVar[float | None] = ContextVar("ragsaver_deadline", default=None)


@contextmanager
def due(deadline: float | None) -> Iterator[None]:
    """Let the code inside know when it is to be done.

    :param deadline: of `time.monotonic()`; None where nobody counts.
    """
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


def time_left_s() -> float | None:
    """Seconds that the running request has, below 0 when they are over; None if nobody counts them."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.monotonic()


def allowed_s(most_s: float) -> float:
    """Seconds for a stage with a limit of its own: the running request has no more for it than it has left."""
    left_s = time_left_s()
    return most_s if left_s is None else max(0.0, min(most_s, left_s))


@contextmanager
def holding(
    lock: "threading.Lock | threading.RLock", late: Callable[[], Exception], least_s: float = 0.0
) -> Iterator[None]:
    """Hold a lock that others may have for long.

    :param late: gives what is raised if the running request's time is over first.
    :param least_s: to wait for it also where no time is left.
    """
    left_s = time_left_s()
    if not (lock.acquire() if left_s is None else lock.acquire(timeout=max(left_s, least_s))):
        raise late()
    try:
        yield
    finally:
        lock.release()

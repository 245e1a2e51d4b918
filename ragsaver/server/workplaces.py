"""So many threads work on answers at a time; who waits for a model, or for another's answer, works on none.

A model takes seconds, and all else of an answer milliseconds of one interpreter: more threads that work get in each
other's way, and fewer that wait leave an endpoint idle.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Workplaces:
    """Places for threads.

    :param most: that work at a time.
    """

    def __init__(self, most: int) -> None:
        self._free = threading.Semaphore(most)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Have one for the code inside."""
        with self._free:
            yield

    @contextmanager
    def left(self) -> Iterator[None]:
        """Let another thread have this one's for the code inside."""
        self._free.release()
        try:
            yield
        finally:
            self._free.acquire()

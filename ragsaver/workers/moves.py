"""Who is told when documents come into a state? Whoever counts them: the metrics, and the size of the pool."""

import threading
from collections.abc import Callable

from ragsaver.ingestion.job_report import State

# Called with the state and how many came into it, from whatever thread moved them.
Moved = Callable[[State, int], None]


def nobody(state: State, count: int) -> None:
    """Nobody counts."""


class Tally:
    """Counts all of them together, and tells the next one.

    :ivar total: documents so far.
    """

    def __init__(self, then: Moved = nobody) -> None:
        self._then = then
        self._adding = threading.Lock()
        self.total = 0

    def __call__(self, state: State, count: int) -> None:
        """Documents came into a state."""
        with self._adding:
            self.total += count
        self._then(state, count)

"""Who is told when documents come into a state? Whoever counts them: the metrics, and the size of the pool."""

import threading
from collections.abc import Callable
from typing import NamedTuple

from ragsaver.ingestion.job_report import State

# Called with the state and how many came into it, from whatever thread moved them.
Moved = Callable[[State, int], None]

# Called by a worker for a document that it moved on: with its state, and the tokens that were embedded for it.
MovedOn = Callable[[State, int], None]


def nobody(state: State, count: int) -> None:
    """Nobody counts."""


class Done(NamedTuple):
    """Documents that a worker has moved on since it counts, and the tokens that it embedded for them."""

    documents: int = 0
    tokens: int = 0


class Tally:
    """Counts all of them together, and tells the next one.

    :ivar done: so far.
    """

    def __init__(self, then: Moved = nobody) -> None:
        self._then = then
        self._adding = threading.Lock()
        self.done = Done()

    def __call__(self, state: State, tokens: int) -> None:
        """A document came into a state."""
        with self._adding:
            self.done = Done(self.done.documents + 1, self.done.tokens + tokens)
        self._then(state, 1)

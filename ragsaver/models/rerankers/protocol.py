"""What the rest of RAGSaver asks of a reranker."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragsaver.errors import RerankLate

NO_LIMIT = math.inf


class Reranker(Protocol):
    """How well does each text answer the question?"""

    @property
    def name(self) -> str:
        """What a person calls it; a gate is tuned for one reranker and knows it by this."""
        ...

    def score(
        self, question: str, texts: Sequence[str], *, until: float = NO_LIMIT, tenant: str = ""
    ) -> NDArray[np.float32]:
        """(len(texts),) float32, in the order given; higher is better, on a scale of the model's own.

        :param until: by the monotonic clock; what takes longer is given up between two batches.
        :param tenant: whose texts these are: nothing that is kept of them serves another.
        :raises RerankLate: if it is not done by then.
        :raises RerankError: if it failed.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def giving_up(until: float, name: str) -> Callable[[int], None]:
    """For after each batch: raises `RerankLate` once it is too late."""

    def look(_: int) -> None:
        if time.monotonic() > until:
            raise too_late(name)

    return look


def too_late(name: str) -> RerankLate:
    """What is raised for a reranker that is not done in time."""
    return RerankLate("was not done in time", where=name, remedy="Raise `rerank.deadline_ms`")

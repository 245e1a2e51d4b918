"""What became of what was looked for in the caches, counted."""

import threading
from collections import Counter
from decimal import Decimal
from typing import Literal

Outcome = Literal["hits", "semantic_hits", "misses", "invalidations", "waits"]


class Tally:
    """Counts by cache and outcome, and the dollars that hits did not cost again. Safe from any number of threads."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._saved_usd = Decimal(0)
        self._lock = threading.Lock()

    def count(self, cache: str, outcome: Outcome, saved_usd: Decimal = Decimal(0)) -> None:
        """Count one."""
        with self._lock:
            self._counts[cache, outcome] += 1
            self._saved_usd += saved_usd

    def counts(self) -> dict[tuple[str, str], int]:
        """So far, by cache and outcome."""
        with self._lock:
            return dict(self._counts)

    @property
    def saved_usd(self) -> Decimal:
        """What the answers that came from the cache had cost when they were made."""
        with self._lock:
            return self._saved_usd

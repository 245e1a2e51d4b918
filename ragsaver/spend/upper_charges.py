"""How often was a charge made at an upper price, because nobody knows the model's own? Counted for the operator."""

import threading
from collections import Counter


class UpperCharges:
    """Charges of this process, by model. Any thread may count."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._counting = threading.Lock()

    def count(self, model: str) -> None:
        """One more."""
        with self._counting:
            self._counts[model] += 1

    def counts(self) -> dict[str, int]:
        """All so far."""
        with self._counting:
            return dict(self._counts)

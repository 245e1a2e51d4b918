"""Pairs of a question and a passage that several questions want scored at the same time share runs of a cross-encoder.

A question's pairs are cut into runs of like length, as `batches` has it, and each is given to a micro-batcher: what
comes from other questions meanwhile joins it within the budget. A GPU, whose run holds the pairs of many questions,
reads them together. Where a run is soon full and several can be made side by side, as on a CPU, each question makes its
own.
"""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragsaver.models.batching import batches
from ragsaver.models.devices import Budget
from ragsaver.models.micro_batching import MicroBatcher
from ragsaver.models.rerankers.protocol import giving_up, too_late

Pair = TypeVar("Pair")


class _Group(NamedTuple, Generic[Pair]):
    """Pairs of one question that fit one run, and the tokens of each."""

    pairs: list[Pair]
    lengths: list[int]


class PairRuns(Generic[Pair]):
    """Scores pairs, those of several threads together where that helps.

    :param name: the model's.
    :param run: (pairs,) float32, the scores of pairs that fit one run; called by one thread at a time if they are
        shared.
    :param shared: whether questions share runs; else each makes its own, in its thread.
    """

    def __init__(
        self, name: str, run: Callable[[list[Pair]], NDArray[np.float32]], budget: Budget, *, shared: bool
    ) -> None:
        self._name = name
        self._run = run
        self._budget = budget
        self._are_shared = shared
        self._shared: MicroBatcher[_Group[Pair], NDArray[np.float32]] = MicroBatcher(
            self._score_together, budget.tokens, weigh=lambda group: len(group.lengths) * max(group.lengths)
        )

    def score(self, pairs: Sequence[Pair], lengths: Sequence[int], until: float) -> NDArray[np.float32]:
        """(pairs,) float32, in the order given.

        :param lengths: tokens of each pair.
        :param until: by the monotonic clock; what takes longer is given up between two runs.
        :raises RerankLate: if it is not done by then.
        """
        found = np.zeros(len(pairs), dtype=np.float32)
        for positions in batches(lengths, self._budget):
            group = _Group([pairs[place] for place in positions], [lengths[place] for place in positions])
            found[positions] = self._score_group(group, until)
        return found

    def _score_group(self, group: _Group[Pair], until: float) -> NDArray[np.float32]:
        if not self._are_shared:
            giving_up(until, self._name)(0)
            return self._run(group.pairs)
        try:
            return self._shared(group, until=until)
        except TimeoutError:
            raise too_late(self._name) from None

    def _score_together(self, groups: list[_Group[Pair]]) -> list[NDArray[np.float32]]:
        pairs = [pair for group in groups for pair in group.pairs]
        lengths = [length for group in groups for length in group.lengths]
        found = np.zeros(len(pairs), dtype=np.float32)
        for positions in batches(lengths, self._budget):
            found[positions] = self._run([pairs[place] for place in positions])
        return np.split(found, np.cumsum([len(group.pairs) for group in groups[:-1]]))

"""Fill a budget of tokens with the sentences that are worth most: the packer's choice, of plain values."""

import math
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import TypeVar

from ragsaver.components.answer_kind import refers_back
from ragsaver.components.sentence_worth import Candidate

GAP_TOKENS = 1  # of what marks a gap between two chosen sentences
# In logits; what reads on without a gap costs less and says more. docs/benchmarks.md has the measurements.
BESIDE = 0.5

# Of a budget that another tokenizer counts; where less than that is used, more is packed.
_USED_AT_LEAST = 0.95

Packed = TypeVar("Packed")


def choose(
    worth: Sequence[Sequence[float]],
    candidates: Sequence[Candidate],
    budget_tokens: int,
    complete_from: float,
) -> list[list[int]]:
    """Fill the budget with the sentences that are worth most.

    One beside a chosen sentence is worth `BESIDE` more, and one that refers back brings the sentence in front of it.

    :param worth: as `score_sentences` gives it; minus infinity is not taken for itself.
    :param complete_from: share of a passage's tokens from which the rest of it is taken too, if it fits.
    :returns: positions of the chosen sentences of each candidate, ascending.
    """
    filling = _Filling(candidates, budget_tokens)
    value = [list(scores) for scores in worth]
    waiting = [
        (-score, row, column)
        for row, scores in enumerate(worth)
        for column, score in enumerate(scores)
        if score > -math.inf
    ]
    heapify(waiting)
    while waiting and filling.has_room:
        negative, row, column = heappop(waiting)
        mine = value[row]
        if mine[column] != -negative or not filling.take(row, column):
            continue
        filling.complete(row, complete_from)
        for beside in (column - 1, column + 1):
            if 0 <= beside < len(mine) and beside not in filling.chosen[row]:
                mine[beside] += BESIDE
                heappush(waiting, (-mine[beside], row, beside))
    return [sorted(mine) for mine in filling.chosen]


def fit(fill: Callable[[int], Packed], size: Callable[[Packed], int], budget_tokens: int) -> tuple[Packed, int]:
    """What fills a budget whose tokens another tokenizer counts and does not exceed it, and how many it uses.

    :param fill: packs for so many tokens of the shipped tokenizer.
    :param size: tokens of what was packed, by the other one.
    """
    room, packed = budget_tokens, fill(budget_tokens)
    used = size(packed)
    if 0 < used < budget_tokens * _USED_AT_LEAST:
        more = fill(room * budget_tokens // used)
        if (grown := size(more)) <= budget_tokens:
            return more, grown
    while used > budget_tokens:
        room = min(room * budget_tokens // used, room - 1)
        packed = fill(room)
        used = size(packed)
    return packed, used


class _Filling:
    """The budget while it is spent."""

    def __init__(self, candidates: Sequence[Candidate], budget_tokens: int) -> None:
        self._candidates = candidates
        self._left = budget_tokens
        self._least = min((tokens for one in candidates for tokens in one.tokens), default=0)
        self.chosen: list[set[int]] = [set() for _ in candidates]

    @property
    def has_room(self) -> bool:
        """Whether the shortest of all sentences fits; at best it closes a gap."""
        return self._least - GAP_TOKENS <= self._left

    def take(self, row: int, column: int) -> bool:
        """Take a sentence if it is not there and fits, with the one that it refers back to if that fits too."""
        candidate, mine = self._candidates[row], self.chosen[row]
        # most are left because they don't fit, which is soon told
        if column in mine or candidate.tokens[column] - GAP_TOKENS > self._left:
            return False
        before = column - 1
        if before >= 0 and before not in mine and refers_back(candidate.sentences[column].text):
            return self._pay(row, {before, column}) or self._pay(row, {column})
        return self._pay(row, {column})

    def complete(self, row: int, complete_from: float) -> None:
        """Take the rest of a passage if most of it is there, and it fits."""
        candidate, mine = self._candidates[row], self.chosen[row]
        if len(mine) < len(candidate.tokens) and _sum(candidate, mine) >= complete_from * sum(candidate.tokens):
            self._pay(row, set(range(len(candidate.tokens))) - mine)

    def _pay(self, row: int, columns: set[int]) -> bool:
        candidate, mine = self._candidates[row], self.chosen[row]
        price = 0 if mine else candidate.heading_tokens - GAP_TOKENS  # one run has no gap
        added: set[int] = set()
        for column in columns:
            beside = sum(near in mine or near in added for near in (column - 1, column + 1))
            price += candidate.tokens[column] + GAP_TOKENS * (1 - beside)
            added.add(column)
        if price > self._left:
            return False
        self._left -= price
        mine |= columns
        return True


def why_left_out(candidate: Candidate, worth: Sequence[float], room_tokens: int) -> str:
    """Why nothing of a passage is packed, if nothing is.

    :param worth: as for `choose`, of its sentences.
    """
    wanted = [tokens for tokens, score in zip(candidate.tokens, worth, strict=True) if score > -math.inf]
    if not wanted:
        return "an outline in front says it already" if candidate.tokens else "it has no text"
    if candidate.heading_tokens + min(wanted) > room_tokens:
        return f"not one sentence fits into {room_tokens} tokens with its heading"
    return f"other sentences are worth more of the {room_tokens} tokens"


def price_of(candidate: Candidate, columns: set[int]) -> int:
    """Tokens of a passage's heading, of some of its sentences, and of what marks the gaps between them."""
    gaps = sum(column - 1 not in columns for column in columns) - 1
    return candidate.heading_tokens + _sum(candidate, columns) + GAP_TOKENS * gaps


def _sum(candidate: Candidate, columns: set[int]) -> int:
    return sum(candidate.tokens[column] for column in columns)

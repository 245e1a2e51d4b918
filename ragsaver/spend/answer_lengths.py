"""How long will an answer be? No longer than nearly all answers of its model to the same task were."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

# Sizes grow by a fifth: the quantile is at most so much too large.
_GROWTH = 1.2
# Before there are so many nobody knows.
_ENOUGH = 30
# From so many on the older half is forgotten by and by.
_MOST = 2000
# What was cut may have been going to be twice as long.
_CUT = 2
_ROOM = 1.25
_LEAST_TOKENS = 32


@dataclass(frozen=True, slots=True)
class AnswerLengths:
    """What was learned of one model and task.

    :ivar counts: of answers, by size: the n-th holds those of no more than 1.2^n tokens.
    :ivar prompt_factor: by which the endpoint counted more tokens in a prompt than were allowed for, at most.
    """

    counts: Mapping[int, float] = field(default_factory=dict)
    prompt_factor: float = 1.0

    def with_answer(self, tokens: int, *, cut: bool, prompt_factor: float = 1.0) -> "AnswerLengths":
        """The same with one more.

        :param cut: whether it was not at its end.
        :param prompt_factor: that its prompt would have needed.
        """
        size = math.ceil(math.log(max(tokens * _CUT if cut else tokens, 1), _GROWTH))
        counts = dict(self.counts)
        if sum(counts.values()) >= _MOST:
            counts = {one: count / 2 for one, count in counts.items() if count > 0.01}
        counts[size] = counts.get(size, 0) + 1
        return AnswerLengths(counts, max(self.prompt_factor, prompt_factor))

    def foreseen(self, prompt_tokens: int) -> int:
        """Tokens to allow for a prompt that was counted to have so many at most."""
        return int(prompt_tokens * self.prompt_factor) + 1

    def clamp(self, quantile: float, most: int) -> int | None:
        """Tokens that the share `quantile` of all answers do not exceed, with some room, and never more than `most`;
        None if too little is known.
        """
        total = sum(self.counts.values())
        if total < _ENOUGH:
            return None
        seen = 0.0
        for size in sorted(self.counts):
            seen += self.counts[size]
            if seen >= quantile * total:
                return min(max(math.ceil(_GROWTH**size * _ROOM), _LEAST_TOKENS), most)
        return most

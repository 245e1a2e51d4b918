"""How well do a sentence's words match the question's? BM25 over the sentences of all candidates."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain

from ragsaver.sentences import Sentence

# BM25 for short texts: little weight on length and on repetition. docs/benchmarks.md has the measurements.
K1, B = 0.9, 0.4


def said_by(stems: AbstractSet[str], passages: Iterable[Iterable[Sentence]]) -> list[list[set[str]]]:
    """Which of the question's stems each sentence of each passage has."""
    return [[stems & one.stems.keys() for one in some] for some in passages]


def rarity(query: Iterable[str], said: Iterable[AbstractSet[str]]) -> dict[str, float]:
    """What each stem of the question is worth: the fewer of the texts have it, the more.

    :param said: which of them each text has.
    """
    texts = list(said)
    found_in = Counter(chain.from_iterable(texts))
    return {
        term: math.log(1 + (len(texts) - found_in[term] + 0.5) / (found_in[term] + 0.5))
        for term in dict.fromkeys(query)
    }


def word_scores(
    weights: Mapping[str, float], passages: Sequence[Sequence[Sentence]], said: Sequence[Sequence[AbstractSet[str]]]
) -> list[list[float]]:
    """The BM25 score of each sentence of each passage, scaled to at most 1.

    :param weights: of the question's stems, as `rarity` gives them.
    :param said: as `said_by` gives it.
    """
    lengths = [one.length for some in passages for one in some]
    mean = sum(lengths) / max(len(lengths), 1) or 1.0
    raw = [
        [_bm25(weights, one, has, mean) if has else 0.0 for one, has in zip(some, row, strict=True)]
        for some, row in zip(passages, said, strict=True)
    ]
    top = max((score for row in raw for score in row), default=0.0) or 1.0
    return [[score / top for score in row] for row in raw]


def _bm25(weights: Mapping[str, float], sentence: Sentence, has: AbstractSet[str], mean_length: float) -> float:
    norm = K1 * (1 - B + B * sentence.length / mean_length)
    stems = sentence.stems
    return math.fsum(weights[term] * stems[term] * (K1 + 1) / (stems[term] + norm) for term in has)

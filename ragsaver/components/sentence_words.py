"""How well do a sentence's words match the question's? BM25 over the sentences of all candidates."""

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence

from ragsaver.sentences import Sentence

# BM25 for short texts: little weight on length and on repetition. docs/benchmarks.md has the measurements.
K1, B = 0.9, 0.4


def rarity(query: Sequence[str], texts: Sequence[Container[str]]) -> dict[str, float]:
    """What each stem of the question is worth: the fewer of the texts have it, the more.

    :param texts: the stems of each.
    """
    total = len(texts)
    found_in = {term: sum(term in stems for stems in texts) for term in set(query)}
    return {term: math.log(1 + (total - found + 0.5) / (found + 0.5)) for term, found in found_in.items()}


def word_scores(weights: Mapping[str, float], passages: Sequence[Sequence[Sentence]]) -> list[list[float]]:
    """The BM25 score of each sentence of each passage, scaled to at most 1.

    :param weights: of the question's stems, as `rarity` gives them.
    """
    lengths = [one.length for some in passages for one in some]
    mean = sum(lengths) / max(len(lengths), 1) or 1.0
    raw = [[_bm25(weights, one, mean) for one in some] for some in passages]
    top = max((score for row in raw for score in row), default=0.0) or 1.0
    return [[score / top for score in row] for row in raw]


def _bm25(weights: Mapping[str, float], sentence: Sentence, mean_length: float) -> float:
    norm = K1 * (1 - B + B * sentence.length / mean_length)
    stems: Counter[str] = sentence.stems
    return sum(
        weight * stems[term] * (K1 + 1) / (stems[term] + norm) for term, weight in weights.items() if term in stems
    )
